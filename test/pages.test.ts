/** Listings of a machine a page at a time, with changes in between, as a thread that moves frames makes them. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Machine } from '../src/host/machine.js';
import { PAGE_ENTRIES, type Page } from '../src/host/pages.js';
import { plan, type ListRequest } from '../src/schema/index.js';
import { type Vtep } from '../src/vtep/index.js';
import { machineOf } from './support/planned.js';

const VNI = 7;

function machine(): { vtep: Vtep; server: Machine } {
  const made = plan({ local: '172.31.1.5', segments: [{ vni: VNI }, { vni: 8 }], taps: [{ name: 'a', vni: VNI }] });
  const server = machineOf(made);
  return { vtep: server.vtep, server };
}

const octets = (i: number): [number, number] => [i >> 8, i & 255];
const hex = (value: number): string => value.toString(16).padStart(2, '0');

function endpoint(i: number, vtep = '192.0.2.1'): { ip: string; mac: string; vtep: string } {
  const [high, low] = octets(i);
  return { ip: `10.1.${high}.${low}`, mac: `02:00:00:00:${hex(high)}:${hex(low)}`, vtep };
}

let next = 0;

/** All pages of a listing, with a change after each. */
function list<T>(server: Machine, of: ListRequest, change: (page: number) => void = () => undefined): T[] {
  const listing = next++;
  const entries: unknown[] = [];
  for (let i = 0; ; i++) {
    const request = { command: 'page', listing, ...(i === 0 ? { of } : {}) } as const;
    const { result, last } = server.answer(request, 0) as Page;
    assert.ok(result.length <= PAGE_ENTRIES);
    entries.push(...result);
    if (last === true) return entries as T[];
    change(i);
  }
}

for (const command of ['fdb', 'neighbors'] as const)
  test(`${command}: what is there all the time is listed once, whatever comes and goes between two pages`, () => {
    const { vtep, server } = machine();
    for (let i = 0; i < 6000; i++) vtep.addEndpoint(VNI, endpoint(i));
    // Every third one goes, others come: so many that the table grows while it is listed.
    let removed = 0;
    let added = 6000;
    const listed = list<{ vni: number; mac: string; vtep: string | null }>(server, { command }, () => {
      for (let i = 0; i < 300; i++, removed += 3) if (removed < 6000) vtep.removeEndpoint(VNI, endpoint(removed));
      for (let i = 0; i < 1000 && added < 30_000; i++) vtep.addEndpoint(VNI, endpoint(added++, '192.0.2.2'));
      vtep.tick(0, { deliver: () => undefined, transmit: () => undefined });
    });
    const times = new Map<string, number>();
    for (const { mac } of listed) times.set(mac, (times.get(mac) ?? 0) + 1);
    for (let i = 0; i < 6000; i++) if (i % 3 !== 0) assert.is(times.get(endpoint(i).mac), 1, endpoint(i).mac);
    assert.ok(listed.every(({ vni }) => vni === VNI));
  });

test('a segment that goes, and endpoints of one address that go, do not end a listing', () => {
  const { vtep, server } = machine();
  for (let i = 0; i < 1000; i++) {
    vtep.addEndpoint(VNI, endpoint(i));
    vtep.addEndpoint(VNI, { ...endpoint(i), mac: '02:00:00:01:00:00' });
    vtep.addEndpoint(8, endpoint(i));
  }
  const listed = list<{ vni: number }>(server, { command: 'neighbors' }, (page) => {
    if (page === 0) for (let i = 0; i < 1000; i++) vtep.removeEndpoint(VNI, endpoint(i));
    if (page === 1) vtep.removeSegment(8);
  });
  assert.ok(listed.filter(({ vni }) => vni === VNI).length >= 1000);
  assert.is(listed.filter(({ vni }) => vni === 8).length, 0);
});

test('a listing of one segment, of remotes, and of a segment that does not exist', () => {
  const { vtep, server } = machine();
  vtep.addEndpoint(8, endpoint(1));
  vtep.addPeer(VNI, '192.0.2.9');
  assert.equal(list(server, { command: 'fdb', vni: VNI }), []);
  assert.is(list(server, { command: 'fdb', vni: 8 }).length, 1);
  assert.equal(list(server, { command: 'peers' }), [{ vni: VNI, address: '192.0.2.9', port: 4789 }]);
  assert.is(list(server, { command: 'remotes' }).length, 2);
  assert.throws(() => list(server, { command: 'fdb', vni: 9 }), /vni: expected the VNI of a segment \(7, 8\), got 9/);
});

test('a page of 40,000 entries takes a few milliseconds of processor time', () => {
  const { vtep, server } = machine();
  for (let i = 0; i < 40_000; i++) vtep.addEndpoint(VNI, endpoint(i));
  for (const command of ['fdb', 'neighbors'] as const) {
    const medians: number[] = [];
    for (let run = 0; run < 5; run++) {
      const times: number[] = [];
      let before = process.cpuUsage();
      list(server, { command }, () => {
        const { user, system } = process.cpuUsage(before);
        times.push((user + system) / 1000);
        before = process.cpuUsage();
      });
      times.sort((a, b) => a - b);
      medians.push(times[Math.floor(times.length / 2)]!);
    }
    assert.ok(Math.min(...medians) < 4, `${command}: ${medians.map((time) => time.toFixed(2)).join(', ')} ms`);
    console.log(`# ${command}: a page takes ${Math.min(...medians).toFixed(2)} ms`);
  }
});

test.run();

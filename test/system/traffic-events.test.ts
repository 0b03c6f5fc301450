/** The events that traffic causes, in a live VTEP: over HTTP, and with `vtep events`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { NOTICE_TYPES } from '../../src/schema/index.js';
import { EventStream, requireDescribed, type Line } from '../support/event-stream.js';
import { createUnderlay, must, ping, run, VTEP, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { RawFrames } from '../support/raw-frames.js';
import { quietNamespace } from '../support/traffic.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('the events that traffic causes', ['root', 'tun', 'ip', 'ping', 'curl', 'python3']);
const VNI = 4097;
/** The segment of a switch that is connected twice. */
const LOOPED = 4098;
/** The MAC address of the TAP of each host. */
const MACS = { 1: '02:42:0a:00:00:01', 2: '02:42:0a:00:00:02' } as const;
const directory = mkdtempSync(join(tmpdir(), 'weft-traffic-events-'));
const control = join(directory, 'vtep.sock');
let underlay: Underlay;
const container = {} as Record<1 | 2, string>;

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'te' });
  for (const which of [1, 2] as const) container[which] = await quietNamespace(underlay.lab, `c${which}`);
});
test.after.each(() => underlay?.lab.killAll());
test.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

/** A VTEP, with host 1 or host 2 of segment `VNI` in its container. */
function start(which: 1 | 2, engine: string): Promise<Running> {
  const [here, there] = which === 1 ? [underlay.node1, underlay.node2] : [underlay.node2, underlay.node1];
  const args = [
    ...['up', '--vni', String(VNI), '--local', here.address, '--peer', there.address, '--engine', engine],
    ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`, '--mac', MACS[which]],
    ...(which === 1 ? ['--control', control] : []),
  ];
  return underlay.lab.startVtep({ ns: here.ns, args });
}

const inside = (ns: string, ...args: string[]): Promise<string> => must(['ip', '-n', ns, ...args]);
const reaches = async (): Promise<boolean> => (await ping(container[1], '10.0.0.2', { count: 1 })) === 1;
/** Another host with an address of the subnet, which looks for a third one. */
const claim = (which: 1 | 2, ip: string): Promise<unknown> =>
  run(['ip', 'netns', 'exec', container[which], 'ping', '-c1', '-W1', '-I', ip, '10.0.0.77']);

/** The place of a host, as the VTEP of host 1 sees it. */
const place = (which: 1 | 2): object =>
  which === 1
    ? { tap: 'eth0', netns: container[1], vtep: null }
    : { tap: null, netns: null, vtep: underlay.node2.address };

/** An event without what all have. */
function fieldsOf({ event: _event, type: _type, time: _time, level, message, ...fields }: Line): object {
  assert.is(level, 'warning');
  assert.is(typeof message, 'string');
  return fields;
}

for (const engine of ['linux', 'dgram'])
  test(`${engine}: unreachable peers, narrow paths, duplicate addresses, floods and loops`, async () => {
    const [one, two] = await Promise.all([start(1, engine), start(2, engine)]);
    const description = (await call(control, 'GET', '/v1/openapi.json')).text;
    const all = await new EventStream(underlay.lab, control).begun();
    const ofSegment = await new EventStream(
      underlay.lab,
      control,
      `curl --no-buffer --unix-socket vtep.sock http://vtep/v1/events?vni=${VNI}`,
    ).begun();
    const command = underlay.lab.spawn([...VTEP, 'events', '--control', control]);
    await waitFor('a ping', reaches);
    const post = async (target: string, body: object): Promise<void> =>
      assert.is((await call(control, 'POST', target, { body })).status, 200);
    await waitFor('the command', async () => {
      await post('/v1/segments', { vni: LOOPED });
      assert.is((await call(control, 'DELETE', `/v1/segments?vni=${LOOPED}`)).status, 200);
      return command.stdout.includes('segment-removed');
    });

    // A host behind the other VTEP takes the address of host 1, which the control plane knows.
    await inside(container[2], 'addr', 'add', '10.0.0.1/24', 'dev', 'eth0');
    await claim(2, '10.0.0.1');
    const known = { vni: VNI, ip: '10.0.0.1', macs: [MACS[1], MACS[2]], place: place(2) };
    assert.equal(fieldsOf(await all.has('duplicate-address')), known);
    await inside(container[2], 'addr', 'del', '10.0.0.1/24', 'dev', 'eth0');
    // Both have an address that the control plane does not know.
    for (const which of [1, 2] as const)
      await inside(container[which], 'addr', 'add', '10.0.0.50/24', 'dev', 'eth0', 'noprefixroute');
    const unknown = await waitFor('the duplicate', async () => {
      for (const which of [1, 2] as const) await claim(which, '10.0.0.50');
      return all.lines.find(({ type, ip }) => type === 'duplicate-address' && ip === '10.0.0.50');
    });
    const { macs, ...rest } = fieldsOf(unknown) as { macs: string[] };
    assert.equal([...macs].sort(), Object.values(MACS));
    assert.equal(rest, { vni: VNI, ip: '10.0.0.50', place: place(macs[1] === MACS[1] ? 1 : 2) });
    for (const which of [1, 2] as const) await inside(container[which], 'addr', 'del', '10.0.0.50/24', 'dev', 'eth0');

    // A host sends from ever more addresses.
    const frames = await RawFrames.open(container[1], ['eth0']);
    let sent = 0;
    const flood = await waitFor('the flood', async () => {
      for (let i = 0; i < 500; i++) {
        const source = `02ee${(++sent).toString(16).padStart(8, '0')}`;
        frames.send('eth0', `ffffffffffff${source}88b5${'00'.repeat(46)}`);
      }
      return all.lines.find(({ type }) => type === 'mac-flood');
    });
    await frames.close();
    const { learned, ...ofFlood } = fieldsOf(flood) as { learned: number };
    assert.equal(ofFlood, { vni: VNI, refused: 0, place: place(1) });
    assert.ok(learned > 1000 && learned <= sent, `${learned} of ${sent}`);

    // A switch that is connected twice, without a spanning tree.
    const ring = await quietNamespace(underlay.lab, `ring-${engine}`);
    await post('/v1/segments', { vni: LOOPED });
    for (const name of ['left', 'right']) await post('/v1/taps', { name, netns: ring, vni: LOOPED });
    const mac = '02:42:0a:00:00:aa';
    await inside(ring, 'link', 'add', 'name', 'br0', 'address', mac, 'type', 'bridge');
    for (const name of ['left', 'right']) await inside(ring, 'link', 'set', 'dev', name, 'master', 'br0');
    await inside(ring, 'addr', 'add', '10.1.0.1/24', 'dev', 'br0');
    await inside(ring, 'link', 'set', 'dev', 'br0', 'up');
    const loop = await waitFor('the loop', async () => {
      await run(['ip', 'netns', 'exec', ring, 'ping', '-c1', '-W1', '10.1.0.2']);
      return all.lines.find((line) => line.type === 'loop' && line['mac'] === mac);
    });
    await inside(ring, 'link', 'del', 'dev', 'br0');
    const { moves, places, ...ofLoop } = fieldsOf(loop) as { moves: number; places: { tap: string }[] };
    assert.equal(ofLoop, { vni: LOOPED, mac });
    assert.ok(Number.isInteger(moves) && moves >= 5, String(moves));
    assert.equal(
      places.sort((a, b) => (a.tap < b.tap ? -1 : 1)),
      ['left', 'right'].map((tap) => ({ tap, netns: ring, vtep: null })),
    );

    // The path becomes narrower: 1400 bytes less 50 of IPv4, UDP, VXLAN and Ethernet.
    const { router, node2, node1 } = underlay;
    if (engine === 'linux') {
      await inside(router, 'link', 'set', 'dev', 'eth2', 'mtu', '1400');
      await waitFor('the error of the router', async () => {
        await ping(container[1], '10.0.0.2', { count: 1, size: 1400 });
        return all.types.includes('path-narrowed');
      });
      assert.equal(fieldsOf(await all.has('path-narrowed')), { address: node2.address, mtu: 1350 });
      await inside(router, 'link', 'set', 'dev', 'eth2', 'mtu', '1500');
    }

    // This host loses the route. Then, with the engine that hears of ICMP errors, the other VTEP ends.
    const lose = async (code: string): Promise<void> => {
      await waitFor(`${code} in the stream`, async () => {
        await reaches();
        return all.lines.some((line) => line.type === 'peer-unreachable' && line['code'] === code);
      });
      const { lost, ...ofPeer } = fieldsOf(await all.has('peer-unreachable', { code })) as { lost: number };
      assert.equal(ofPeer, { address: node2.address, code });
      assert.ok(Number.isInteger(lost) && lost >= 1, String(lost));
    };
    const back = async (count: number): Promise<void> => {
      const found: Line = await waitFor('the peer to be back', async () => {
        await reaches();
        const some = all.lines.filter(({ type }) => type === 'peer-reachable');
        return some.length === count ? some[count - 1] : undefined;
      });
      assert.is(found['address'], node2.address);
      assert.is(found['level'], 'info');
      for (const name of ['seconds', 'lost']) assert.ok(Number.isInteger(found[name]) && Number(found[name]) > 0, name);
    };
    await inside(node1.ns, 'route', 'del', 'default', 'via', '172.31.1.1');
    await lose('ENETUNREACH');
    await inside(node1.ns, 'route', 'add', 'default', 'via', '172.31.1.1');
    await back(1);
    if (engine === 'linux') {
      await two.stop();
      await lose('ECONNREFUSED');
      await start(2, engine);
      await back(2);
    }

    await one.stop();
    await all.ended();
    requireDescribed(description, all.lines);
    for (const type of all.types) assert.ok((NOTICE_TYPES as readonly string[]).includes(type), type);
    await ofSegment.ended();
    assert.equal([...new Set(ofSegment.types)].sort(), ['duplicate-address', 'mac-flood']);
    const { code, stdout, stderr } = await command.ended;
    assert.equal([code, stderr], [0, '']);
    const lines = stdout.trimEnd().split('\n');
    for (const { event, type, time, level, message } of all.lines)
      if (event === 'notice' && level !== undefined)
        assert.ok(lines.includes(`${time} ${type} ${level}: ${message}`), `${type}: ${message}`);
  });

test.run();

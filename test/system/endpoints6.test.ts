/** IPv6 endpoints: two hosts that neither learn nor flood, and the kernels of two containers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import { createUnderlay, exec, must, ping, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { countersOf, neighborOf } from '../support/traffic.js';

const endpoints6 = suiteWith('IPv6 endpoints', ['root', 'tun', 'ip', 'ping', 'sysctl']);

const VNI = 4097;
const IP1 = 'fd00:7::3';
const IP2 = 'fd00:7::4';
const MAC1 = '02:42:0a:00:00:03';
const MAC2 = '02:42:0a:00:00:04';
const VTEP_MAC = '02:76:00:00:10:01'; // derived from the VNI
const directory = mkdtempSync(join(tmpdir(), 'weft-endpoints6-'));
const control = (which: 1 | 2): string => join(directory, `control${which}`);

let underlay: Underlay;
let containers: [string, string];
let running: Running[] = [];

interface Address {
  local: string;
  tentative?: boolean;
  dadfailed?: boolean;
}

async function addressesOf(ns: string): Promise<Address[]> {
  const text = await must(['ip', '-n', ns, '-6', '-j', 'addr', 'show', 'dev', 'eth0', 'scope', 'global']);
  const all = (JSON.parse(text) as { addr_info?: Partial<Address>[] }[]).flatMap(({ addr_info }) => addr_info ?? []);
  return all.filter((one): one is Address => one.local !== undefined); // it lists those of another scope as empty
}

/** Starts both sides, each with the endpoint of the other one. */
async function pair(...flags: string[]): Promise<void> {
  const { lab, node1, node2 } = underlay;
  const side = (which: 1 | 2): { ns: string; args: string[] } => {
    const [here, there] = which === 1 ? [node1, node2] : [node2, node1];
    const [address, mac] = which === 1 ? [IP1, MAC1] : [IP2, MAC2];
    const endpoint = which === 1 ? [IP2, MAC2] : [IP1, MAC1];
    return {
      ns: here.ns,
      args: [
        ...['up', '--vni', String(VNI), '--local', here.address, '--control', control(which)],
        ...['--tap', 'eth0', '--netns', containers[which - 1]!, '--address', `${address}/64`, '--mac', mac],
        ...['--no-learn', '--no-flood', '--endpoint', [...endpoint, there.address].join(','), ...flags],
      ],
    };
  };
  running = await Promise.all([lab.startVtep(side(1)), lab.startVtep(side(2))]);
}

async function stop(): Promise<void> {
  for (const one of running) {
    const { code, stderr } = await one.stop();
    assert.equal([code, stderr], [0, '']);
  }
}

/** A kernel that takes the address of a remote endpoint notices; an address that no endpoint has is free. */
async function detectDuplicate(ns: string): Promise<void> {
  const free = 'fd00:7::5';
  for (const ip of [IP2, free]) await must(['ip', '-n', ns, 'addr', 'add', `${ip}/64`, 'dev', 'eth0']);
  const of = async (ip: string): Promise<Address | undefined> =>
    (await addressesOf(ns)).find(({ local }) => local === ip);
  await waitFor('the duplicate to be detected', async () => (await of(IP2))?.dadfailed === true);
  await waitFor('the detection to end', async () => (await of(free))?.tentative !== true);
  assert.not((await of(free))!.dadfailed);
}

endpoints6.before(async () => {
  underlay = await createUnderlay({ prefix: 'e6' });
  containers = [await underlay.lab.namespace('c1'), await underlay.lab.namespace('c2')];
});
endpoints6.after.each(() => underlay?.lab.killVteps());
endpoints6.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

for (const proxy of ['endpoint', 'vtep'] as const)
  endpoints6(`without learning and flooding, hosts reach each other through proxy ${proxy}`, async () => {
    await pair('--proxy', proxy);
    const [c1, c2] = containers;
    assert.equal([await ping(c1, IP2), await ping(c2, IP1)], [3, 3]);
    const [near, far] = proxy === 'vtep' ? [VTEP_MAC, VTEP_MAC] : [MAC2, MAC1];
    assert.equal([await neighborOf(c1, IP2), await neighborOf(c2, IP1)], [near, far]);
    for (const which of [1, 2] as const) {
      const { counts, drops } = (await countersOf(control(which))).vtep;
      assert.ok(counts['nd-answered'] >= 1, `${counts['nd-answered']} answers`);
      assert.equal([counts['learned'], drops['unknown-destination'], drops['no-neighbor']], [1, 0, 0]);
    }
    // The TAP's own address is an endpoint too, and none is a duplicate.
    const neighbors = (await ask(control(1), { command: 'neighbors' })) as NeighborListing[];
    assert.equal(
      neighbors.map(({ ip, mac, vtep: at }) => [ip, mac, at]),
      [
        [IP2, MAC2, underlay.node2.address],
        [IP1, MAC1, null],
      ],
    );
    for (const ns of containers) assert.not((await addressesOf(ns)).some(({ dadfailed }) => dadfailed));
    await detectDuplicate(c1);
    await stop();
  });

endpoints6('an endpoint is added to a running VTEP, and removed', async () => {
  await pair('--proxy', 'endpoint');
  const [c1] = containers;
  const { node2 } = underlay;
  const ip = 'fd00:7::44';
  await must(['ip', '-n', containers[1], 'addr', 'add', `${ip}/64`, 'dev', 'eth0', 'nodad']);
  assert.is(await ping(c1, ip, { count: 1 }), 0);
  const change = async (action: string, text: string): Promise<string> => {
    const args = ['endpoint', action, text, '--vni', String(VNI), '--control', control(1)];
    const { code, stdout, stderr } = await underlay.lab.runVtep({ ns: underlay.node1.ns, args });
    return `${code} ${stdout}${stderr}`;
  };
  const endpoint = `FD00:7:0::44,${MAC2},${node2.address}`;
  assert.match(await change('add', endpoint), /^0 added endpoint FD00:7:0::44/);
  assert.is(await ping(c1, ip), 3);
  assert.match(await change('rm', endpoint), /^0 removed/);
  assert.match(await change('add', `ff02::1,${MAC2},${node2.address}`), /^\d vtep endpoint: IP: .*a multicast address/);
  await stop();
});

endpoints6(
  'the address of a TAP answers as soon as the VTEP is ready: of a new one, and of a kept one that gets another',
  async () => {
    const { lab, node1 } = underlay;
    const [asked, asking] = [await lab.namespace('asked'), await lab.namespace('asking')];
    // Duplicate address detection would take half a minute: longer than the test, on every machine.
    for (const ns of [asked, asking]) await exec(ns, ['sysctl', '-qw', 'net.ipv6.conf.default.dad_transmits=30']);
    const tap = (netns: string, address: string): object => ({
      name: 'eth0',
      netns,
      vni: VNI,
      address: `${address}/64`,
    });
    for (const ip of ['fd00:7::8', 'fd00:7::9']) {
      const file = join(directory, 'kept.json');
      const taps = [tap(asked, ip), tap(asking, IP1)];
      writeFileSync(
        file,
        JSON.stringify({ local: node1.address, keepTaps: true, segments: [{ vni: VNI, mtu: 1450 }], taps }),
      );
      const vtep = await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file] });
      assert.is(await ping(asking, ip), 3);
      assert.equal(
        (await addressesOf(asked)).map(({ local, tentative }) => [local, tentative]),
        [[ip, undefined]],
      );
      await vtep.stop('SIGKILL');
    }
    for (const ns of [asked, asking]) await lab.removeNamespace(ns);
  },
);

endpoints6.run();

/**
 * Networks of two subnets that come and go on two running hosts, with `vtep network`: on two VTEPs and on two agents. Other
 * containers keep on talking beside them.
 *
 *     a1 10.1.1.2, a2 11.1.1.2, c1 10.0.0.1 -- node1 ---- router ---- node2 -- b1 10.1.1.3, b2 11.1.1.3, c2 10.0.0.2
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask, type NetworkListing, type SegmentListing } from '../../src/host/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import {
  createUnderlay,
  devices,
  ENGINE,
  exec,
  hopsIn,
  must,
  ping,
  TRACEROUTE,
  VTEP,
  waitFor,
  type Host,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const test = suiteWith('networks that come and go', ['root', 'tun', 'ip', 'ping', 'traceroute']);
const directory = mkdtempSync(join(tmpdir(), 'weft-live-networks-'));
const [NEAR, FAR, OTHER] = [5001, 5002, 4096];
const GATEWAYS = ['10.1.1.1', '11.1.1.254'];
/** The network, as the flags of `vtep network add`. */
const PROD = ['prod', '--subnet', '10.1.1.0/24', '--vni', `${NEAR}`, '--subnet', '11.1.1.0/24', '--vni', `${FAR}`];
const ADD = [...PROD, '--gateway', '11.1.1.254'];

interface Container {
  ns: string;
  ip: string;
  vni: number;
  node: Host;
}

let underlay: Underlay;
let containers: Record<'a1' | 'a2' | 'b1' | 'b2' | 'c1' | 'c2', Container>;

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'lnw' });
  const { lab, node1, node2 } = underlay;
  const of = async (name: string, ip: string, vni: number, node: Host): Promise<Container> => ({
    ns: await lab.namespace(name),
    ...{ ip, vni, node },
  });
  containers = {
    a1: await of('a1', '10.1.1.2', NEAR, node1),
    a2: await of('a2', '11.1.1.2', FAR, node1),
    b1: await of('b1', '10.1.1.3', NEAR, node2),
    b2: await of('b2', '11.1.1.3', FAR, node2),
    c1: await of('c1', '10.0.0.1', OTHER, node1),
    c2: await of('c2', '10.0.0.2', OTHER, node2),
  };
});
test.after.each(() => underlay?.lab.killAll());
test.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

const socket = ({ address }: Host): string => join(directory, `${address}.sock`);
/** Runs a command that must succeed against the VTEP of a node, and returns what it prints. */
async function vtep(node: Host, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await underlay.lab.runVtep({ args: [...args, '--control', socket(node)] });
  assert.equal([code, stderr], [0, ''], args.join(' '));
  return stdout;
}
/** Runs one that it must refuse, and returns the error. */
async function refused(node: Host, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await underlay.lab.runVtep({ args: [...args, '--control', socket(node)] });
  assert.equal([code, stdout], [1, ''], args.join(' '));
  return stderr;
}
const attach = ({ node, ns, ip, vni }: Container): Promise<unknown> =>
  ask(socket(node), { command: 'attach', name: 'eth0', netns: ns, address: `${ip}/24`, vni });
const detach = ({ node, ns }: Container): Promise<unknown> =>
  ask(socket(node), { command: 'detach', name: 'eth0', netns: ns });

/** The containers of the network. */
const members = (): Container[] => {
  const { a1, a2, b1, b2 } = containers;
  return [a1, a2, b1, b2];
};

/** Every container of the network reaches every other, and the gateways; to the other subnet by its gateway. */
async function allReachAll(): Promise<void> {
  const targets = [...GATEWAYS, ...members().map(({ ip }) => ip)];
  for (const from of members()) {
    const received = await Promise.all(targets.map((to) => ping(from.ns, to, { count: 2 })));
    assert.equal(
      received.map((count, i) => `${targets[i]} ${count}`),
      targets.map((to) => `${to} 2`),
      from.ip,
    );
  }
  const { a1, a2, b1, b2 } = containers;
  const way = async (from: Container, to: Container): Promise<string[]> =>
    hopsIn(await exec(from.ns, [...TRACEROUTE, to.ip]));
  assert.equal(await way(a1, b2), ['10.1.1.1', b2.ip]);
  assert.equal(await way(b2, a1), ['11.1.1.254', a1.ip]);
  assert.equal(await way(a1, a2), ['10.1.1.1', a2.ip]);
  assert.equal(await way(a1, b1), [b1.ip], 'no hop within a subnet');
}

/** Starts `vtep up` on a node, with a container of another network. */
function startVtep(node: Host, peer: Host, own: Container, networks: object[] = []): Promise<Running> {
  const file = join(directory, `${node.address}.json`);
  const segments = [{ vni: OTHER, peers: [peer.address] }];
  const taps = [{ name: 'eth0', netns: own.ns, address: `${own.ip}/24`, vni: OTHER }];
  const control = socket(node);
  writeFileSync(file, JSON.stringify({ local: node.address, control, networks, segments, taps }));
  return underlay.lab.startVtep({ ns: node.ns, args: ['up', '--config', file] });
}

const segmentsOf = async (node: Host): Promise<[number, string | null | undefined][]> =>
  ((await ask(socket(node), { command: 'segments' })) as SegmentListing[]).map(({ vni, network }) => [vni, network]);

test('on two VTEPs: added, used, removed, and added again; another network is not disturbed', async () => {
  const { node1, node2, lab } = underlay;
  const { a1, c1, c2 } = containers;
  const [one] = [await startVtep(node1, node2, c1), await startVtep(node2, node1, c2)];
  const events = lab.spawn([...VTEP, 'events', '--control', socket(node1)]);
  assert.is(await ping(c1.ns, c2.ip), 3);
  const pings = ping(c1.ns, c2.ip, { count: 1500, interval: 0.02 });

  for (let round = 0; round < 2; round++) {
    for (const [node, peer] of [
      [node1, node2],
      [node2, node1],
    ] as const) {
      const line = await vtep(node, 'network', 'add', ...ADD, '--peer', peer.address);
      assert.is(
        line,
        'added network prod: 10.1.1.0/24 (VNI 5001, gateway 10.1.1.1, MTU 1450), 11.1.1.0/24 (VNI 5002, gateway 11.1.1.254, MTU 1450)\n',
      );
    }
    for (const one of members()) await attach(one);
    assert.match(await must(['ip', '-n', a1.ns, 'route']), /^11\.1\.1\.0\/24 via 10\.1\.1\.1 dev eth0 *$/m);
    await allReachAll();
    const ls = await vtep(node1, 'network', 'ls');
    assert.match(ls, /^4096 +- +- +- +1450 /m);
    assert.match(ls, /^5001 +prod +10\.1\.1\.0\/24 +10\.1\.1\.1 +1450 /m);
    assert.match(ls, /^5002 +prod +11\.1\.1\.0\/24 +11\.1\.1\.254 +1450 /m);
    assert.match(await vtep(node1, 'show', 'networks'), /^prod +5001 +10\.1\.1\.0\/24 +10\.1\.1\.1 +no gossip +1 /m);
    assert.match(
      await refused(node1, 'network', 'rm', 'prod'),
      /^vtep network: NAME: network prod is in use by TAP "eth0" in namespace \S+-a1, "eth0" in namespace \S+-a2; detach these TAPs first\n$/,
    );
    assert.is(
      await refused(node1, 'network', 'add', ...ADD),
      'vtep network: NAME: network prod exists already (wanted by: api)\n',
    );
    for (const one of members()) await detach(one);
    for (const node of [node1, node2])
      assert.is(await vtep(node, 'network', 'rm', 'prod'), 'removed network prod (VNI 5001, 5002)\n');
    assert.equal(await segmentsOf(node1), [[OTHER, null]]);
    for (const { ns } of members()) assert.equal(await devices(ns), ['lo']);
    assert.is(
      await refused(node1, 'network', 'rm', 'prod'),
      'vtep network: NAME: there is no network prod; there are none\n',
    );
  }
  // What is left of the VNIs is nothing: a plain network of one of them knows no gateway.
  await vtep(node1, 'network', 'add', String(NEAR));
  await attach(a1);
  assert.is(await ping(a1.ns, '10.1.1.1', { count: 1 }), 0);
  assert.equal(
    await must(['ip', '-n', a1.ns, 'route']),
    '10.1.1.0/24 dev eth0 proto kernel scope link src 10.1.1.2 \n',
  );
  await detach(a1);

  await waitFor('the events', () => events.stdout.match(/ network-removed /g)?.length === 2);
  assert.match(
    events.stdout,
    /^\S+Z network-added prod: 10\.1\.1\.0\/24 \(VNI 5001, gateway 10\.1\.1\.1\), 11\.1\.1\.0\/24 \(VNI 5002, gateway 11\.1\.1\.254\) \(wanted by: api\)$/m,
  );
  assert.match(events.stdout, /^\S+Z network-removed prod: VNI 5001, 5002$/m);
  assert.is(await pings, 1500);
  assert.is((await one.stop()).code, 0);
});

test('a network of the configuration is removed, and comes back with a reload; TAPs follow', async () => {
  const { node1, node2 } = underlay;
  const { a1, b2, c1, c2 } = containers;
  const subnets = [
    { prefix: '10.1.1.0/24', vni: NEAR },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: FAR },
  ];
  await startVtep(node1, node2, c1, [{ name: 'prod', subnets }]);
  await startVtep(node2, node1, c2);
  assert.match(await vtep(node1, 'network', 'add', ...ADD), /; also wanted by: configuration\n$/);
  await vtep(node2, 'network', 'add', ...ADD, '--peer', node1.address);
  for (const vni of [NEAR, FAR]) await vtep(node1, 'peer', 'add', node2.address, '--vni', String(vni));
  for (const one of [a1, b2]) await attach(one);
  assert.is(await ping(a1.ns, b2.ip), 3);
  await detach(a1);
  await vtep(node1, 'network', 'rm', 'prod');
  assert.equal(await segmentsOf(node1), [[OTHER, null]]);
  assert.is(await vtep(node1, 'reload'), 'the configuration was read again: 2 segments added, 1 network added\n');
  assert.equal(await segmentsOf(node1), [
    [OTHER, null],
    [NEAR, 'prod'],
    [FAR, 'prod'],
  ]);
  for (const vni of [NEAR, FAR]) await vtep(node1, 'peer', 'add', node2.address, '--vni', String(vni));
  await attach(a1);
  assert.is(await ping(a1.ns, b2.ip), 3);
});

test('after a crash, the same requests continue with the TAPs that were kept', async () => {
  const { node1, lab } = underlay;
  const { a1 } = containers;
  const flags = ['--local', node1.address, '--control', socket(node1), '--engine', ENGINE];
  const start = (): Promise<Running> => lab.startVtep({ ns: node1.ns, args: ['agent', ...flags] });
  const index = async (): Promise<string> =>
    (await must(['ip', '-n', a1.ns, '-o', 'link', 'show', 'eth0'])).split(':')[0]!;
  const first = await start();
  await vtep(node1, 'network', 'add', ...ADD);
  await attach(a1);
  assert.is(await ping(a1.ns, '10.1.1.1'), 3);
  const before = await index();
  await exec(a1.ns, ['ip', 'route', 'add', '12.0.0.0/8', 'via', '10.1.1.1']);
  await first.stop('SIGKILL');
  const second = await start();
  assert.equal(await segmentsOf(node1), []);
  await vtep(node1, 'network', 'add', ...ADD);
  await attach(a1);
  assert.is(await index(), before);
  assert.match(
    await must(['ip', '-n', a1.ns, 'route']),
    /^11\.1\.1\.0\/24 via 10\.1\.1\.1[^]*^12\.0\.0\.0\/8 via 10\.1\.1\.1/m,
  );
  assert.is(await ping(a1.ns, '11.1.1.254'), 3);
  assert.is((await second.stop()).code, 0);
  assert.equal(await devices(a1.ns), ['lo']);
});

test('on two agents: joined, announced, heard, and left', async () => {
  const { node1, node2, lab } = underlay;
  const { a1, a2, b1, b2, c1, c2 } = containers;
  const start = (node: Host, ...more: string[]): Promise<Running> => {
    const flags = ['--local', node.address, '--control', socket(node), '--no-keep-taps', '--engine', ENGINE];
    return lab.startVtep({ ns: node.ns, args: ['agent', ...flags, ...more] });
  };
  await start(node1);
  const two = await start(node2, '--join', node1.address);
  const other = ['other', '--subnet', '10.0.0.0/24', '--vni', String(OTHER)];
  for (const node of [node1, node2])
    assert.is(
      await vtep(node, 'network', 'add', ...other),
      'added network other of the gossip: 10.0.0.0/24 (VNI 4096, MTU 1450)\n',
    );
  for (const one of [c1, c2]) await attach(one);
  const remote = async (node: Host, vni: number): Promise<string[]> =>
    ((await ask(socket(node), { command: 'neighbors', vni })) as NeighborListing[])
      .flatMap(({ ip, vtep: place }) => (place === null ? [] : [ip]))
      .sort();
  const knows = (node: Host, vni: number, ...ips: string[]): Promise<unknown> =>
    waitFor(`${node.address} to know ${ips.join()}`, async () => (await remote(node, vni)).join() === ips.join());
  await knows(node1, OTHER, c2.ip);
  await knows(node2, OTHER, c1.ip);
  assert.is(await ping(c1.ns, c2.ip), 3);
  const pings = ping(c1.ns, c2.ip, { count: 1000, interval: 0.02 });

  // The endpoints of the first host are there before the second one joins the network.
  const closed = ['--no-learn', '--no-flood'];
  await vtep(node1, 'network', 'add', ...ADD, ...closed);
  for (const one of [a1, a2]) await attach(one);
  await vtep(node2, 'network', 'add', ...ADD, ...closed);
  for (const one of [b1, b2]) await attach(one);
  await knows(node1, NEAR, b1.ip);
  await knows(node1, FAR, b2.ip);
  await knows(node2, NEAR, a1.ip);
  await knows(node2, FAR, a2.ip);
  await allReachAll();
  assert.match(
    await vtep(node1, 'show', 'networks'),
    /^prod +5001 +10\.1\.1\.0\/24 +10\.1\.1\.1 +in sync +1 +0 +1 +0 +172\.31\.1\.5 192\.168\.1\.25$/m,
  );
  assert.match(
    await refused(node2, 'network', 'rm', 'prod'),
    /^vtep network: NAME: network prod is in use by TAP "eth0" in namespace \S+-b1, .*; detach these TAPs first\n$/,
  );

  // The second host leaves: the first one forgets its endpoints at once.
  for (const one of [b1, b2]) await detach(one);
  await knows(node1, NEAR);
  await knows(node1, FAR);
  assert.is(await vtep(node2, 'network', 'rm', 'prod'), 'removed network prod (VNI 5001, 5002)\n');
  assert.equal(await segmentsOf(node2), [[OTHER, 'other']]);
  const listed = (await ask(socket(node2), { command: 'networks' })) as NetworkListing[];
  assert.equal(
    listed.map(({ network, gossip, sources }) => [network, gossip, sources]),
    [['other', true, ['api']]],
  );
  const ofOne = (await ask(socket(node1), { command: 'networks' })) as NetworkListing[];
  assert.equal(ofOne.find(({ network }) => network === 'prod')!.members, [node1.address]);
  // And comes back.
  await vtep(node2, 'network', 'add', ...ADD, ...closed);
  await attach(b2);
  await knows(node1, FAR, b2.ip);
  await knows(node2, NEAR, a1.ip);
  assert.is(await ping(a1.ns, b2.ip), 3);
  assert.is(await pings, 1000);
  assert.equal(await remote(node1, OTHER), [c2.ip]);
  assert.is(two.stderr.includes('refused'), false, two.stderr);
  assert.is((await two.stop()).code, 0);
  await knows(node1, FAR);
});

test.run();

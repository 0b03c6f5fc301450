/**
 * Containers with an IPv4 and an IPv6 address, in a network of two subnets of each family:
 *
 *     a1 10.1.1.2 fd01::2, a2 11.1.1.2 fd02::2 -- node1 ---- router ---- node2 -- b1 10.1.1.3 fd01::3, b2 11.1.1.3 fd02::3
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask, type NetworkListing, type TapListing } from '../../src/host/index.js';
import { type Tap } from '../../src/schema/index.js';
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
  waitFor,
  type Host,
  type Outcome,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const test = suiteWith('containers with IPv4 and IPv6 addresses', ['root', 'tun', 'ip', 'ping', 'traceroute']);
const directory = mkdtempSync(join(tmpdir(), 'weft-dual-stack-'));
const [NEAR, FAR] = [4097, 4098];
const SUBNETS = [
  { prefix: '10.1.1.0/24', vni: NEAR },
  { prefix: 'fd01::/64', vni: NEAR },
  { prefix: '11.1.1.0/24', vni: FAR },
  { prefix: 'fd02::/64', gateway: 'fd02::fe', vni: FAR },
];
const GATEWAYS = ['10.1.1.1', 'fd01::1', '11.1.1.1', 'fd02::fe'];

interface Container {
  ns: string;
  ips: [four: string, six: string];
  vni: number;
  node: Host;
}

let underlay: Underlay;
let containers: Record<'a1' | 'a2' | 'b1' | 'b2', Container>;

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'dst' });
  const { lab, node1, node2 } = underlay;
  const of = async (name: string, four: string, six: string, vni: number, node: Host): Promise<Container> => ({
    ...{ ns: await lab.namespace(name), vni, node },
    ips: [four, six],
  });
  containers = {
    a1: await of('a1', '10.1.1.2', 'fd01::2', NEAR, node1),
    a2: await of('a2', '11.1.1.2', 'fd02::2', FAR, node1),
    b1: await of('b1', '10.1.1.3', 'fd01::3', NEAR, node2),
    b2: await of('b2', '11.1.1.3', 'fd02::3', FAR, node2),
  };
});
test.after.each(async () => {
  await underlay?.lab.killAll();
  for (const { ns } of Object.values(containers ?? {}))
    if ((await devices(ns)).includes('eth0')) await must(['ip', '-n', ns, 'link', 'del', 'eth0']);
});
test.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

const socket = ({ address }: Host): string => join(directory, `${address}.sock`);
const addressesOf = ({ ips: [four, six] }: Container): string[] => [`${four}/24`, `${six}/64`];
const tapOf = (one: Container): Tap => ({ name: 'eth0', netns: one.ns, address: addressesOf(one), vni: one.vni });

/** Writes a configuration of a node with its containers, and returns the file. */
function configOf(node: Host, peer: Host, taps: Tap[]): string {
  const file = join(directory, `${node.address}.json`);
  const segments = [NEAR, FAR].map((vni) => ({ vni, peers: [peer.address] }));
  const networks = [{ name: 'dual', subnets: SUBNETS }];
  const config = {
    local: node.address,
    control: socket(node),
    engine: ENGINE,
    keepTaps: true,
    networks,
    segments,
    taps,
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

function run(...args: string[]): Promise<Outcome> {
  return underlay.lab.runVtep({ args });
}

/** Every container reaches every other one and all gateways, over both families. */
async function allReachAll(): Promise<void> {
  const all = Object.values(containers);
  const targets = [...GATEWAYS, ...all.flatMap(({ ips }) => ips)];
  for (const from of all) {
    const received = await Promise.all(targets.map((to) => ping(from.ns, to, { count: 2 })));
    assert.equal(
      received.map((count, i) => `${targets[i]} ${count}`),
      targets.map((to) => `${to} 2`),
      from.ips[0],
    );
  }
  const { a1, b1, b2 } = containers;
  const way = async (from: Container, to: string): Promise<string[]> =>
    hopsIn(await exec(from.ns, [...TRACEROUTE, to]));
  assert.equal(await way(a1, b2.ips[0]), ['10.1.1.1', b2.ips[0]]);
  assert.equal(await way(a1, b2.ips[1]), ['fd01::1', b2.ips[1]]);
  assert.equal(await way(b2, a1.ips[1]), ['fd02::fe', a1.ips[1]]);
  assert.equal(await way(a1, b1.ips[1]), [b1.ips[1]], 'no hop within a subnet');
}

/** The addresses of a container's device, without its link-local one. */
async function onDevice({ ns }: Container): Promise<string[]> {
  const text = await must(['ip', '-n', ns, '-j', 'addr', 'show', 'dev', 'eth0']);
  const [device] = JSON.parse(text) as { addr_info: { local: string; prefixlen: number; scope: string }[] }[];
  return device!.addr_info.flatMap(({ local, prefixlen, scope }) =>
    scope === 'link' ? [] : [`${local}/${prefixlen}`],
  );
}

async function routesOf({ ns }: Container, family: '-4' | '-6'): Promise<string[]> {
  const text = await must(['ip', '-n', ns, family, 'route', 'show', 'dev', 'eth0']);
  return text
    .split('\n')
    .flatMap((line) => /^(\S+) via (\S+)/.exec(line)?.slice(1, 3).join(' ') ?? [])
    .sort();
}

async function neighborsOf(node: Host): Promise<string[]> {
  const all = (await ask(socket(node), { command: 'neighbors' })) as NeighborListing[];
  return all.map(({ ip, vtep }) => `${ip} ${vtep ?? 'here'}`).sort();
}

test('from a configuration: pings in both families, routes, listings, a kill and a restart, a reload', async () => {
  const { lab, node1, node2 } = underlay;
  const { a1, a2, b1, b2 } = containers;
  const file = configOf(node1, node2, [a1, a2].map(tapOf));
  const one = await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file] });
  await lab.startVtep({ ns: node2.ns, args: ['up', '--config', configOf(node2, node1, [b1, b2].map(tapOf))] });
  await allReachAll();
  assert.equal([await routesOf(a1, '-4'), await routesOf(a1, '-6')], [['11.1.1.0/24 10.1.1.1'], ['fd02::/64 fd01::1']]);
  assert.equal(
    [await routesOf(b2, '-4'), await routesOf(b2, '-6')],
    [['10.1.1.0/24 11.1.1.1'], ['fd01::/64 fd02::fe']],
  );
  const taps = (await ask(socket(node1), { command: 'taps' })) as TapListing[];
  assert.equal(
    taps.map(({ addresses }) => addresses),
    [addressesOf(a1), addressesOf(a2)],
  );
  assert.equal(await neighborsOf(node1), [a1, a2].flatMap(({ ips }) => ips.map((ip) => `${ip} here`)).sort());

  await one.stop('SIGKILL');
  assert.equal(await onDevice(a1), addressesOf(a1), 'the TAP is kept');
  await must(['ip', '-n', a1.ns, 'addr', 'add', '10.77.0.1/24', 'dev', 'eth0']);
  await must(['ip', '-n', a1.ns, '-6', 'route', 'add', 'fd99::/64', 'via', 'fd01::3', 'dev', 'eth0']);
  await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file] });
  assert.equal([await ping(b2.ns, a1.ips[0]), await ping(b2.ns, a1.ips[1])], [3, 3]);
  assert.equal((await onDevice(a1)).sort(), [...addressesOf(a1), '10.77.0.1/24'].sort());

  // The next run has another IPv6 address: the old one goes, and what was added by hand stays.
  await lab.killVteps();
  const changed = { ...tapOf(a1), address: ['10.1.1.2/24', 'fd01::22/64'] };
  configOf(node1, node2, [changed, tapOf(a2)]);
  await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file] });
  await lab.startVtep({ ns: node2.ns, args: ['up', '--config', join(directory, `${node2.address}.json`)] });
  assert.equal((await onDevice(a1)).sort(), ['10.1.1.2/24', '10.77.0.1/24', 'fd01::22/64']);
  assert.equal(await routesOf(a1, '-6'), ['fd02::/64 fd01::1', 'fd99::/64 fd01::3']);
  assert.equal([await ping(b2.ns, 'fd01::22'), await ping(b2.ns, '10.1.1.2')], [3, 3]);

  // A reload gives the address back.
  configOf(node1, node2, [a1, a2].map(tapOf));
  const { code, stdout, stderr } = await run('reload', '--control', socket(node1));
  assert.equal([code, stderr], [0, '']);
  assert.match(stdout, /TAP/);
  assert.equal(await onDevice(a1), addressesOf(a1));
  assert.equal(await neighborsOf(node1), [a1, a2].flatMap(({ ips }) => ips.map((ip) => `${ip} here`)).sort());
  await allReachAll();
});

test('vtep up, attach and detach: --address is repeated, or has a list', async () => {
  const { lab, node1 } = underlay;
  const { a1, a2 } = containers;
  const flags = ['--local', node1.address, '--control', socket(node1), '--engine', ENGINE, '--vni', '7'];
  const tap = (one: Container): string[] => ['--netns', one.ns, '--address', '10.0.0.1/24', '--address', 'fd07::1/64'];
  const vtep = await lab.startVtep({ ns: node1.ns, args: ['up', ...flags, '--tap', 'eth0', ...tap(a1)] });
  assert.match(vtep.stdout, /tap eth0 .*10\.0\.0\.1\/24, fd07::1\/64, MTU/);
  const attach = ['attach', 'eth0', '--netns', a2.ns, '--vni', '7', '--control', socket(node1)];
  const taken = await run(...attach, '--address', '10.0.0.2/24,fd07::1/64');
  assert.equal([taken.code, taken.stdout], [1, '']);
  assert.match(taken.stderr, /--address: .*fd07::1/);
  assert.equal(await devices(a2.ns), ['lo']);
  const { code, stdout, stderr } = await run(...attach, '--address', '10.0.0.2/24,fd07::2/64');
  assert.equal([code, stderr], [0, '']);
  assert.match(stdout, /10\.0\.0\.2\/24, fd07::2\/64/);
  assert.equal([await ping(a1.ns, '10.0.0.2'), await ping(a1.ns, 'fd07::2')], [3, 3]);
  assert.equal(await neighborsOf(node1), ['10.0.0.1 here', '10.0.0.2 here', 'fd07::1 here', 'fd07::2 here']);
  const detached = await run('detach', 'eth0', '--netns', a2.ns, '--control', socket(node1));
  assert.match(detached.stdout, /10\.0\.0\.2\/24, fd07::2\/64/);
  assert.equal(await neighborsOf(node1), ['10.0.0.1 here', 'fd07::1 here']);
  await vtep.stop();
});

test('vtep up starts without segments and TAPs, which come and go over the control socket', async () => {
  const { lab, node1 } = underlay;
  const { a1, a2 } = containers;
  const control = ['--control', socket(node1)];
  const empty = { local: node1.address, control: socket(node1), engine: ENGINE };
  const file = join(directory, 'empty.json');
  writeFileSync(file, JSON.stringify(empty));
  for (const args of [
    ['--local', node1.address, '--engine', ENGINE, ...control],
    ['--config', file],
  ]) {
    const vtep = await lab.startVtep({ ns: node1.ns, args: ['up', ...args] });
    const add = await run(
      'network',
      'add',
      'dual',
      '--subnet',
      '10.1.1.0/24',
      'fd01::/64',
      '--vni',
      '9',
      '9',
      ...control,
    );
    assert.equal([add.code, add.stderr], [0, '']);
    for (const { ns, ips } of [a1, { ...a2, ips: ['10.1.1.7', 'fd01::7'] }]) {
      const address = `${ips[0]}/24,${ips[1]}/64`;
      const attached = await run('attach', 'eth0', '--netns', ns, '--vni', '9', '--address', address, ...control);
      assert.equal([attached.code, attached.stderr], [0, '']);
    }
    assert.equal(
      [await ping(a1.ns, '10.1.1.7'), await ping(a2.ns, 'fd01::2'), await ping(a2.ns, 'fd01::1')],
      [3, 3, 3],
    );
    for (const { ns } of [a1, a2]) assert.is((await run('detach', 'eth0', '--netns', ns, ...control)).code, 0);
    assert.is((await vtep.stop()).code, 0);
  }
});

/** Starts an agent on a node with the first of its containers; the second one is attached later. */
async function startAgent(node: Host, join: Host, own: readonly [Container, Container]): Promise<Running> {
  const { lab } = underlay;
  const networks = SUBNETS.map(({ prefix, gateway, vni }) =>
    ['dual', vni, prefix, ...(gateway === undefined ? [] : [gateway])].join(':'),
  );
  const tap = [
    '--tap',
    'eth0',
    '--netns',
    own[0].ns,
    '--address',
    addressesOf(own[0]).join(),
    '--vni',
    `${own[0].vni}`,
  ];
  const args = [
    ...['agent', '--local', node.address, '--join', join.address, '--control', socket(node), '--engine', ENGINE],
    ...['--no-keep-taps', ...networks.flatMap((network) => ['--network', network]), ...tap],
  ];
  const agent = await lab.startVtep({ ns: node.ns, args });
  await ask(socket(node), { command: 'attach', ...tapOf(own[1]), name: 'eth0' });
  return agent;
}

/** The networks of a node: subnet, gateway, endpoints here and elsewhere, conflicts. */
async function networksOf(node: Host): Promise<unknown[][]> {
  const all = (await ask(socket(node), { command: 'networks' })) as NetworkListing[];
  return all.map(({ subnet, gateway, local, remote, refused, conflicts }) => [
    ...[subnet, gateway, local, remote, refused],
    conflicts.map(({ kind, value }) => `${kind} ${value}`),
  ]);
}

test('two agents with a routed network: the gossip announces the endpoints of both families', async () => {
  const { node1, node2 } = underlay;
  const { a1, a2, b1, b2 } = containers;
  await startAgent(node1, node1, [a1, a2]);
  const second = await startAgent(node2, node1, [b1, b2]);
  const all = Object.values(containers);
  const seenFrom = (node: Host): string[] =>
    all.flatMap((one) => one.ips.map((ip) => `${ip} ${one.node === node ? 'here' : one.node.address}`)).sort();
  for (const node of [node1, node2])
    await waitFor('the endpoints', async () => (await neighborsOf(node)).length === seenFrom(node).length);
  for (const node of [node1, node2]) assert.equal(await neighborsOf(node), seenFrom(node));
  await allReachAll();
  assert.equal(await networksOf(node1), [
    ['10.1.1.0/24', '10.1.1.1', 1, 1, 0, []],
    ['fd01::/64', 'fd01::1', 1, 1, 0, []],
    ['11.1.1.0/24', '11.1.1.1', 1, 1, 0, []],
    ['fd02::/64', 'fd02::fe', 1, 1, 0, []],
  ]);

  // Another container asks for an address of the other host: it gets none of its addresses.
  const attach = ['attach', 'eth1', '--netns', a1.ns, '--vni', `${NEAR}`, '--control', socket(node1)];
  const refused = await run(...attach, '--address', '10.1.1.9/24,fd01::3/64');
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /fd01::3/);
  assert.equal(await neighborsOf(node1), seenFrom(node1));
  const wrong = await run(...attach, '--address', '10.1.1.9/24,fd02::9/64');
  assert.match(wrong.stderr, /--address: expected an address of fd01::\/64, the subnet of network dual, got "fd02::9"/);

  await second.stop();
  await waitFor('the endpoints to go', async () => (await neighborsOf(node1)).length === 4);
  assert.equal(
    (await networksOf(node1)).map(([subnet, , here, elsewhere]) => [subnet, here, elsewhere]),
    [
      ['10.1.1.0/24', 1, 0],
      ['fd01::/64', 1, 0],
      ['11.1.1.0/24', 1, 0],
      ['fd02::/64', 1, 0],
    ],
  );
});

test('two agents with a network of IPv6 alone, which is added while they run', async () => {
  const { lab, node1, node2 } = underlay;
  const { a1, b2 } = containers;
  const pair = [
    [node1, a1, 'fd05::1/64'],
    [node2, b2, 'fd05::2/64'],
  ] as const;
  for (const [node, { ns }, address] of pair) {
    const flags = ['--control', socket(node), '--engine', ENGINE, '--no-keep-taps'];
    await lab.startVtep({ ns: node.ns, args: ['agent', '--local', node.address, '--join', node1.address, ...flags] });
    const add = await run('network', 'add', 'six', '--subnet', 'fd05::/64', '--vni', '55', '--control', socket(node));
    assert.equal([add.code, add.stderr], [0, '']);
    const attach = ['attach', 'eth0', '--netns', ns, '--vni', '55', '--control', socket(node)];
    const wrong = await run(...attach, '--address', '10.0.0.1/24');
    assert.match(wrong.stderr, /--address: expected an IPv6 address, because network six of the gossip/);
    const { code, stderr } = await run(...attach, '--address', address);
    assert.equal([code, stderr], [0, '']);
  }
  await waitFor('the endpoints', async () => (await neighborsOf(node1)).length === 2);
  assert.equal([await ping(a1.ns, 'fd05::2'), await ping(b2.ns, 'fd05::1')], [3, 3]);
  assert.equal(await networksOf(node2), [['fd05::/64', null, 1, 1, 0, []]]);
});

test.run();

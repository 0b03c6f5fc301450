/**
 * A network of two subnets on two hosts, as `docker network create -d overlay --subnet 10.1.1.0/24 --subnet 11.1.1.0/24`
 * makes it: each subnet has its VNI and its gateway, which every host has.
 *
 *     a1 10.1.1.2, a2 11.1.1.2 -- node1 ---- router ---- node2 -- b1 10.1.1.3, b2 11.1.1.3
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask, type NetworkListing } from '../../src/host/index.js';
import { type Config, type Request, type Tap } from '../../src/schema/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import {
  createUnderlay,
  ENGINE,
  exec,
  must,
  ping,
  type Host,
  type Running,
  type Underlay,
  waitFor,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const test = suiteWith('networks of several subnets', ['root', 'tun', 'ip', 'ping', 'traceroute']);
const directory = mkdtempSync(join(tmpdir(), 'weft-networks-'));
const [NEAR, FAR] = [4097, 4098];
const GATEWAYS = { [NEAR]: '10.1.1.1', [FAR]: '11.1.1.1' };

interface Container {
  ns: string;
  ip: string;
  vni: number;
}

let underlay: Underlay;
let containers: Record<'a1' | 'a2' | 'b1' | 'b2', Container>;

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'nw' });
  const of = async (name: string, ip: string, vni: number): Promise<Container> => ({
    ns: await underlay.lab.namespace(name),
    ip,
    vni,
  });
  containers = {
    a1: await of('a1', '10.1.1.2', NEAR),
    a2: await of('a2', '11.1.1.2', FAR),
    b1: await of('b1', '10.1.1.3', NEAR),
    b2: await of('b2', '11.1.1.3', FAR),
  };
});
test.after.each(() => underlay?.lab.killAll());
test.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

function tapOf({ ns, ip, vni }: Container): Tap {
  return { name: 'eth0', netns: ns, address: `${ip}/24`, vni };
}

/** Starts `vtep up` on a node with its containers. */
function start(node: Host, config: Partial<Config>, own: readonly Container[], ...more: string[]): Promise<Running> {
  const file = join(directory, `${node.address}.json`);
  const subnets = [
    { prefix: '10.1.1.0/24', vni: NEAR },
    { prefix: '11.1.1.0/24', vni: FAR },
  ];
  const networks = [{ name: 'prod-net', subnets }];
  writeFileSync(file, JSON.stringify({ local: node.address, networks, taps: own.map(tapOf), ...config }));
  return underlay.lab.startVtep({ ns: node.ns, args: ['up', '--config', file, ...more] });
}

async function startBoth(...more: string[]): Promise<[Running, Running]> {
  const { node1, node2 } = underlay;
  const { a1, a2, b1, b2 } = containers;
  const peersOf = (peer: Host): Partial<Config> => ({
    segments: [NEAR, FAR].map((vni) => ({ vni, peers: [peer.address] })),
  });
  return [await start(node1, peersOf(node2), [a1, a2], ...more), await start(node2, peersOf(node1), [b1, b2], ...more)];
}

/** The addresses that answer on the way. */
async function way(from: Container, to: Container): Promise<string[]> {
  const text = await exec(from.ns, ['traceroute', '-n', '-q1', '-m4', '-w2', to.ip]);
  return [...text.matchAll(/^ *\d+ +(\S+)/gm)].map(([, address]) => address!);
}

/** The MAC address that a container has for its gateway. */
async function gatewayMac({ ns, vni }: Container): Promise<string> {
  const text = await must(['ip', '-n', ns, 'neigh', 'show', GATEWAYS[vni]!]);
  return /lladdr (\S+)/.exec(text)?.[1] ?? text;
}

/** Every container reaches every other, and the gateways. */
async function allReachAll(): Promise<void> {
  const targets = [...Object.values(GATEWAYS), ...Object.values(containers).map(({ ip }) => ip)];
  for (const from of Object.values(containers)) {
    const received = await Promise.all(targets.map((to) => ping(from.ns, to, { count: 2 })));
    assert.equal(
      received.map((count, i) => `${targets[i]} ${count}`),
      targets.map((to) => `${to} 2`),
      from.ip,
    );
  }
}

test('containers of both subnets on both hosts reach each other by their gateways', async () => {
  const [one] = await startBoth();
  assert.match(one.stdout, /^network prod-net: gateways (\S+), 10\.1\.1\.1 of 10\.1\.1\.0\/24 \(segment 4097\), 11\./m);
  const { a1, a2, b1, b2 } = containers;
  assert.match(await must(['ip', '-n', a1.ns, 'route']), /^11\.1\.1\.0\/24 via 10\.1\.1\.1 dev eth0 *$/m);
  assert.match(await must(['ip', '-n', b2.ns, 'route']), /^10\.1\.1\.0\/24 via 11\.1\.1\.1 dev eth0 *$/m);
  await allReachAll();
  for (const to of [a2, b2]) assert.equal(await way(a1, to), ['10.1.1.1', to.ip]);
  assert.equal(await way(a1, b1), [b1.ip], 'no hop within a subnet');
  const macs = await Promise.all([a1, a2, b1, b2].map(gatewayMac));
  assert.match(macs[0]!, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
  assert.equal(new Set(macs).size, 1, macs.join(' '));
  assert.match(one.stdout, macs[0]!);
  const { stdout } = await one.stop();
  assert.match(stdout, /^gateway-echo +[1-9]/m);
});

test('without learning and flooding, with endpoints in the configuration', async () => {
  const { node1, node2 } = underlay;
  const { a1, a2, b1, b2 } = containers;
  const mac = (ip: string): string =>
    `02:42:${ip
      .split('.')
      .map((octet) => Number(octet).toString(16).padStart(2, '0'))
      .join(':')}`;
  const segments = (peer: Host, theirs: readonly Container[]): Partial<Config> => ({
    segments: [NEAR, FAR].map((vni) => ({
      vni,
      learn: false,
      flood: false,
      endpoints: theirs.flatMap((one) =>
        one.vni === vni ? [{ ip: one.ip, mac: mac(one.ip), vtep: peer.address }] : [],
      ),
    })),
  });
  const taps = (own: readonly Container[]): Tap[] => own.map((one) => ({ ...tapOf(one), mac: mac(one.ip) }));
  await start(node1, { ...segments(node2, [b1, b2]), taps: taps([a1, a2]) }, []);
  await start(node2, { ...segments(node1, [a1, a2]), taps: taps([b1, b2]) }, []);
  await allReachAll();
});

test('two agents, with endpoints that they hear by gossip, without learning and flooding', async () => {
  const { node1, node2, lab } = underlay;
  const { a1, a2, b1, b2 } = containers;
  const socket = (node: Host): string => join(directory, `${node.address}.sock`);
  const agent = (node: Host, own: readonly Container[], ...joins: string[]): Promise<Running> => {
    const file = join(directory, `${node.address}.agent.json`);
    const subnets = [
      { prefix: '10.1.1.0/24', vni: NEAR },
      { prefix: '11.1.1.0/24', vni: FAR },
    ];
    const segments = [NEAR, FAR].map((vni) => ({ vni, learn: false, flood: false }));
    const gossip = { networks: [{ id: 'prod-net', subnets }], join: joins };
    const taps = own.map(tapOf);
    const config = { local: node.address, control: socket(node), keepTaps: false, gossip, segments, taps };
    writeFileSync(file, JSON.stringify(config));
    return lab.startVtep({ ns: node.ns, args: ['agent', '--config', file, '--engine', ENGINE] });
  };
  const remote = async (node: Host): Promise<string[]> =>
    ((await ask(socket(node), { command: 'neighbors' })) as NeighborListing[])
      .flatMap(({ ip, vtep }) => (vtep === null ? [] : [ip]))
      .sort();
  // Only on the first host is a container of the second subnet at the beginning.
  const one = await agent(node1, [a1, a2]);
  await agent(node2, [b1], node1.address);
  await waitFor(
    'both to know all',
    async () => (await remote(node1)).length === 1 && (await remote(node2)).length === 2,
  );
  assert.equal(await remote(node2), [a1.ip, a2.ip]);
  for (const to of [a1, a2]) assert.is(await ping(b1.ns, to.ip), 3);
  assert.is(await ping(a2.ns, b1.ip), 3);
  await ask(socket(node2), { command: 'attach', ...tapOf(b2) } as Request);
  await waitFor('the first host to know the new endpoint', async () => (await remote(node1)).length === 2);
  await allReachAll();
  assert.equal(await way(a1, b2), ['10.1.1.1', b2.ip]);
  assert.equal(new Set(await Promise.all([a1, a2, b1, b2].map(gatewayMac))).size, 1);
  const networks = (await ask(socket(node1), { command: 'networks' })) as NetworkListing[];
  assert.equal(
    networks.map(({ network, vni, subnet, gateway, inSync, local, remote: there, conflicts }) => [
      ...[network, vni, subnet, gateway, inSync, local, there],
      conflicts.length,
    ]),
    [
      ['prod-net', NEAR, '10.1.1.0/24', '10.1.1.1', true, 1, 1, 0],
      ['prod-net', FAR, '11.1.1.0/24', '11.1.1.1', true, 1, 1, 0],
    ],
  );
  const ls = await lab.runVtep({ args: ['network', 'ls', '--control', socket(node1)] });
  assert.match(ls.stdout, /^4097 +prod-net +10\.1\.1\.0\/24 +10\.1\.1\.1 +1450 /m);
  assert.match(ls.stdout, /^4098 +prod-net +11\.1\.1\.0\/24 +11\.1\.1\.1 +1450 /m);
  // With its last endpoint in a subnet, the host stays in the network for the other one.
  await ask(socket(node2), { command: 'detach', name: 'eth0', netns: b2.ns });
  await waitFor('the endpoint to go', async () => (await remote(node1)).length === 1);
  assert.equal(await remote(node2), [a1.ip, a2.ip]);
  assert.is(await ping(b1.ns, a2.ip), 3);
  assert.is(one.stderr.includes('refused'), false, one.stderr);
});

test('kept TAPs keep their routes, and get the one that they lack', async () => {
  const [one, two] = await startBoth('--keep-taps');
  const { a1 } = containers;
  await one.stop('SIGKILL');
  const routes = (): Promise<string> => must(['ip', '-n', a1.ns, 'route']);
  assert.match(await routes(), /^11\.1\.1\.0\/24 via 10\.1\.1\.1 dev eth0/m);
  await exec(a1.ns, ['ip', 'route', 'add', '12.0.0.0/8', 'via', '10.1.1.3']);
  await exec(a1.ns, ['ip', 'route', 'del', '11.1.1.0/24']);
  await two.stop();
  const [again, other] = await startBoth('--keep-taps');
  assert.match(await routes(), /^11\.1\.1\.0\/24 via 10\.1\.1\.1 dev eth0/m);
  assert.match(await routes(), /^12\.0\.0\.0\/8 via 10\.1\.1\.3 dev eth0/m);
  await again.stop('SIGKILL');
  await exec(a1.ns, ['ip', 'route', 'replace', '11.1.1.0/24', 'via', '10.1.1.9']);
  await other.stop();
  const [last, peer] = await startBoth('--keep-taps');
  assert.match(await routes(), /^11\.1\.1\.0\/24 via 10\.1\.1\.1 dev eth0/m);
  await Promise.all([last.stop(), peer.stop()]);
});

test('a TAP is refused whose namespace has another route to a subnet of the network', async () => {
  const { a1 } = containers;
  await exec(a1.ns, ['ip', 'route', 'add', '11.1.1.0/24', 'dev', 'lo']);
  try {
    await start(underlay.node1, {}, [a1]);
    assert.unreachable('it was accepted');
  } catch (error) {
    assert.match(
      (error as Error).message,
      /taps\[0\]\.address: TAP "eth0" in namespace \S+ cannot get a route to 11\.1\.1\.0\/24, a subnet of its network: it exists already/,
    );
  } finally {
    await exec(a1.ns, ['ip', 'route', 'del', '11.1.1.0/24']);
  }
  assert.equal(await must(['ip', '-n', a1.ns, 'route']), '', 'nothing is left');
});

test.run();

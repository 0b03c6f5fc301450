/** The demo without privileges: the story of a cluster whose hosts are in this process, over UDP on the loopback. */
import { performance } from 'node:perf_hooks';
import { HostError } from '../host/index.js';
import { build, dissect, summarize } from '../packet/index.js';
import { type PingResult, type Station } from '../sim/index.js';
import { type NetworkRecord } from '../cluster/index.js';
import { DemoManager } from './demo-manager.js';
import { DemoNode, LOOPBACK, type DemoTrace } from './demo-node.js';
import { encapsulation, heading, indent } from './demo-story.js';
import { print } from './streams.js';
import { table } from './table.js';

const HOST1 = { name: 'host1', address: '172.31.1.5' };
const HOST2 = { name: 'host2', address: '192.168.1.25' };
/** Milliseconds that the gossip may take, and between two looks at it. */
const PATIENCE = 15_000;
const POLL = 20;
/** Milliseconds between two pings. */
const INTERVAL = 200;

/** Runs the demo and returns the exit code. */
export async function loopback(count: number): Promise<number> {
  const nodes: DemoNode[] = [];
  try {
    return await tell(count, nodes);
  } finally {
    for (const node of nodes) node.stop();
  }
}

async function tell(count: number, nodes: DemoNode[]): Promise<number> {
  const seen = new Seen();
  print([
    'weft: a cluster of two hosts, and networks that span them',
    '',
    `   ${HOST1.name} ${HOST1.address} --- UDP on ${LOOPBACK} --- ${HOST2.address} ${HOST2.name}`,
  ]);

  heading(`${HOST1.name} makes a cluster, and ${HOST2.name} joins it`);
  const manager = await DemoManager.create(HOST1.name, HOST1.address);
  const worker = await manager.join(HOST2.name, HOST2.address);
  const one = await DemoNode.start(HOST1.name, HOST1.address, manager.assignment(manager.node), seen);
  nodes.push(one);
  const two = await DemoNode.start(HOST2.name, HOST2.address, manager.assignment(worker), seen, one);
  nodes.push(two);
  one.reach(two);
  two.reach(one);
  await until('the hosts have not met by gossip', () => nodes.every(({ members }) => members === nodes.length));
  const places = new Map(nodes.map((node) => [node.id, node]));
  show(
    ['NODE', 'ROLE', 'ADDRESS', 'GOSSIP HERE', 'VXLAN HERE'],
    [...manager.state.nodes.values()].map(({ id, name, role, address }) => {
      const node = places.get(id)!;
      return [name, role, address, node.gossipPort, node.socket.address().port];
    }),
  );

  heading('A network: a subnet of the pool, a gateway, a VNI; a worker without an endpoint there does not know it');
  const uber = manager.run({ do: 'create-network', name: 'uber-net' });
  showNetwork(uber);
  showKnown(manager, two);

  heading('A service: a task on each host; now the worker knows the network');
  const command = ['sleep', 'infinity'];
  manager.run({ do: 'create-service', name: 'test', command, networks: [uber.id], replicas: 2 });
  await assign(manager, nodes);
  showEndpoints(manager, uber);
  showKnown(manager, two);

  const [test1, test2] = [stationOf(nodes, 'test.1'), stationOf(nodes, 'test.2')];
  heading(`${test1.name} pings ${test2.name}`);
  const first = await ping(test1, test2, count);

  heading('One packet, layer by layer');
  const { frame, datagram } = seen.carried(test1.name);
  encapsulation(test1.name, frame, datagram);

  heading('A network of two subnets: an endpoint in each, and the gateway between them');
  const subnets = [{ subnet: '10.1.1.0/24' }, { subnet: '11.1.1.0/24' }];
  const prod = manager.run({ do: 'create-network', name: 'prod-net', subnets });
  for (const [name, node, ip] of [
    ['p1', one.id, '10.1.1.10'],
    ['web', two.id, '11.1.1.20'],
  ] as const)
    manager.run({ do: 'create-endpoint', name, network: prod.id, node, kind: 'run', addresses: [ip] });
  await assign(manager, nodes);
  showNetwork(prod);
  showEndpoints(manager, prod);
  const [p1, web] = [stationOf(nodes, 'p1'), stationOf(nodes, 'web')];
  const second = await ping(p1, web, count);
  print(
    `   ${web.name} received: ${summarize(dissect(seen.received(web.name)).layers)}, TTL ${ttlOf(seen.received(web.name))}`,
  );
  return first.lost + second.lost === 0 ? 0 : 1;
}

/** What the hosts have sent and received. */
class Seen implements DemoTrace {
  readonly #sent = new Map<string, Uint8Array>();
  readonly #received = new Map<string, Uint8Array>();
  readonly #datagrams: Uint8Array[] = [];

  frame(event: Parameters<DemoTrace['frame']>[0]): void {
    if (event.kind !== 'frame' || !isEcho(event.frame)) return;
    const name = event.location.slice(event.location.indexOf('/') + 1);
    const to = event.event === 'send' ? this.#sent : this.#received;
    if (!to.has(name)) to.set(name, event.frame);
  }

  /** Adds the headers that a datagram has on a real underlay. */
  datagram(source: string, destination: string, sourcePort: number, bytes: Uint8Array): void {
    if (this.#datagrams.length > 0) return;
    this.#datagrams.push(
      build([
        { protocol: 'ipv4', protocolNumber: 17, ttl: 64, source, destination },
        { protocol: 'udp', sourcePort, destinationPort: 4789 },
        { protocol: 'payload', bytes },
      ]),
    );
  }

  /** The first echo request of a station, and the datagram that carried it. @throws HostError */
  carried(name: string): { frame: Uint8Array; datagram: Uint8Array } {
    const [frame, [datagram]] = [this.#sent.get(name), this.#datagrams];
    if (frame === undefined || datagram === undefined) throw new HostError(`${name} has sent no packet`);
    return { frame, datagram };
  }

  /** The first echo request that a station received. @throws HostError */
  received(name: string): Uint8Array {
    const frame = this.#received.get(name);
    if (frame === undefined) throw new HostError(`${name} has received no packet`);
    return frame;
  }
}

function isEcho(frame: Uint8Array): boolean {
  return dissect(frame).layers.some((layer) => layer.protocol === 'icmp' && layer.type === 8);
}

function ttlOf(frame: Uint8Array): number {
  return dissect(frame).layers.flatMap((layer) => (layer.protocol === 'ipv4' ? [layer.ttl ?? 0] : []))[0]!;
}

/** Lets the hosts do what the manager assigns to them, and waits until both know all endpoints. */
async function assign(manager: DemoManager, nodes: readonly DemoNode[]): Promise<void> {
  for (const node of nodes) await node.assign(manager.assignment(node.id));
  for (const { id, subnets } of manager.state.networks.values())
    for (const { addresses } of manager.state.endpointsIn(id).values())
      await until('the hosts have not heard of all endpoints by gossip', () =>
        nodes.every((node) => subnets.some(({ vni }) => node.neighbors(vni).some(({ ip }) => ip === addresses[0]))),
      );
}

/** @throws HostError */
function stationOf(nodes: readonly DemoNode[], name: string): Station {
  const found = nodes.flatMap(({ stations }) => [...stations.values()]).find((station) => station.name === name);
  if (found === undefined) throw new HostError(`there is no endpoint ${name}`);
  return found;
}

async function ping(from: Station, to: Station, count: number): Promise<PingResult> {
  const result = await new Promise<PingResult>((resolve) =>
    from.ping(to.ip, { count, interval: INTERVAL }, performance.now(), resolve),
  );
  print(result.rtts.map((rtt, i) => `   64 bytes from ${to.ip}: icmp_seq=${i + 1} time=${rtt.toFixed(3)} ms`));
  print(`   ${result.sent} packets transmitted, ${result.received} received`);
  return result;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const limit = performance.now() + PATIENCE;
  while (!holds()) {
    if (performance.now() > limit) throw new HostError(`after ${PATIENCE / 1000} s, ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function show(head: string[], rows: (string | number)[][]): void {
  print(indent(table(head, rows)));
}

function showNetwork({ name, subnets }: NetworkRecord): void {
  show(
    ['NETWORK', 'SUBNET', 'GATEWAY', 'VNI'],
    subnets.map(({ prefix, gateway, vni }) => [name, prefix, gateway, vni]),
  );
}

function showEndpoints({ state }: DemoManager, { id }: NetworkRecord): void {
  show(
    ['ENDPOINT', 'ADDRESS', 'MAC', 'NODE'],
    [...state.endpointsIn(id).values()].map(({ name, addresses, mac, node }) => [
      ...[name, addresses.join(' '), mac],
      state.nodes.get(node)!.name,
    ]),
  );
}

function showKnown(manager: DemoManager, { id, name }: DemoNode): void {
  const known = manager.assignment(id).networks.map((network) => network.name);
  print(`   ${name} takes part in: ${known.length === 0 ? 'no network' : known.join(', ')}`);
}

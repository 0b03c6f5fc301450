/** Measurements of clusters, on the virtual clock and from seeds: independent of the machine's speed. */
import { LAN, suspicionTimes, type MemberlistOptions } from '../../src/gossip/memberlist/index.js';
import { Random } from '../../src/sim/index.js';
import { Cluster, copyOf, known, type ClusterNode } from './cluster.js';
import { epidemic, expectedDeath, serfTime, type Gossip } from './model.js';

/** Latency in milliseconds within one data centre, half of it random. */
const LINK = { latency: 0.5, jitter: 0.5 };
/** Most milliseconds of a trial. */
const PATIENCE = 120_000;
/** Milliseconds between trials, until all broadcasts have been sent. */
const REST = 4000;

/** Milliseconds until 50, 99 and 100 % of the nodes know; `null` if that did not happen. */
export interface Spread {
  half: number | null;
  most: number | null;
  all: number | null;
}

export interface Death {
  first: number | null;
  most: number | null;
  all: number | null;
}

export interface SizeFigures extends SpreadFigures {
  /** Bytes of heap and arrays per node, in a cluster where each has an endpoint. */
  memory: number;
}

export interface SpreadFigures {
  nodes: number;
  trials: number;
  /** A new endpoint: a NetworkDB entry on a network that all nodes are attached to. Medians. */
  endpoint: Spread;
  /** The 99 % of the slowest trial. */
  endpointWorst: number | null;
  /** New metadata of a member: a memberlist broadcast. */
  broadcast: Spread;
  /** From the stop of a node until the others declare it dead. */
  death: Death;
  serf: Spread;
  model: Spread;
  expectedDeath: number;
  /** Octets that an idle node sends per second, with headers; it receives as many. */
  idle: { packets: number; streams: number; total: number; linksAgree: boolean };
  /** Share of nodes that know an endpoint, in hundredths, and the median time. */
  curve: [share: number, milliseconds: number][];
}

export interface FalseDeaths {
  nodes: number;
  loss: number;
  lifeguard: boolean;
  minutes: number;
  /** Living members that were declared dead, each incarnation counted once. */
  declared: number;
  /** How often a member accepted such a declaration, over all members. */
  believed: number;
  /** Suspicions that the suspect refuted. */
  refuted: number;
}

/** How many trials a cluster of a given size gets. */
export interface Plan {
  seeds: number;
  endpoints: number;
  broadcasts: number;
  deaths: number;
  /** Virtual seconds. */
  idle: number;
}

export function planFor(nodes: number, quick: boolean): Plan {
  if (quick) return { seeds: 1, endpoints: 3, broadcasts: 3, deaths: 2, idle: 60 };
  if (nodes <= 200) return { seeds: 3, endpoints: 5, broadcasts: 3, deaths: 3, idle: 120 };
  if (nodes <= 1000) return { seeds: 1, endpoints: 5, broadcasts: 2, deaths: 2, idle: 30 };
  return { seeds: 1, endpoints: 3, broadcasts: 1, deaths: 1, idle: 0 };
}

export const GOSSIP = { interval: LAN.gossipInterval, fanout: LAN.gossipNodes, loss: 0 };

/** Measures a cluster of a given size, except its memory and false deaths. */
export function measureSize(nodes: number, plan: Plan, progress: (what: string) => void): SpreadFigures {
  const [endpoints, broadcasts, deaths]: [number[][], number[][], number[][]] = [[], [], []];
  for (let seed = 1; seed <= plan.seeds; seed++) {
    progress(`${nodes} nodes, seed ${seed}`);
    const cluster = new Cluster({ nodes, seed, link: LINK });
    const random = new Random(seed);
    cluster.clock.advance(REST);
    for (let i = 0; i < plan.endpoints; i++) endpoints.push(tellEndpoint(cluster, random.pick(cluster.nodes), i));
    for (let i = 0; i < plan.broadcasts; i++) broadcasts.push(tellMeta(cluster, random.pick(cluster.nodes), i));
    for (let i = 0; i < plan.deaths && cluster.running.length > 4; i++)
      deaths.push(kill(cluster, random.pick(cluster.running)));
  }
  progress(`${nodes} nodes, idle`);
  const idle = plan.idle > 0 ? measureIdle(nodes, plan.idle) : { packets: 0, streams: 0, total: 0, linksAgree: true };
  progress(`${nodes} nodes, the model`);
  const gossip: Gossip = { nodes, ...GOSSIP };
  const random = new Random(1);
  const runs = Array.from({ length: 20 }, () => epidemic(gossip, 0.75, random));
  const { min } = suspicionTimes(LAN.suspicionMult, LAN.suspicionMaxTimeoutMult, nodes, LAN.probeInterval);
  return {
    nodes,
    trials: endpoints.length,
    endpoint: spreadOf(endpoints, nodes),
    endpointWorst: worst(endpoints.map((times) => at(times, nodes, 0.99))),
    broadcast: spreadOf(broadcasts, nodes),
    death: deathOf(deaths, nodes),
    serf: { half: serfTime(gossip, 0.5), most: serfTime(gossip, 0.99), all: null },
    model: spreadOf(runs, nodes),
    expectedDeath: expectedDeath(LAN.probeInterval, min),
    idle,
    curve: curveOf(endpoints, nodes),
  };
}

/** Lets a node announce an endpoint. @returns the milliseconds until each node knew, ascending. */
function tellEndpoint(cluster: Cluster, from: ClusterNode, number: number): number[] {
  const key = `${number}`.padStart(64, '0');
  return trial(cluster, cluster.running.length, (note) => {
    cluster.witness = { learned: (of, _, now) => of === key && note(now) };
    from.addEndpoint(key);
  });
}

function tellMeta(cluster: Cluster, from: ClusterNode, number: number): number[] {
  return trial(cluster, cluster.running.length, (note) => {
    cluster.witness = { updated: (name, _, now) => name === from.name && note(now) };
    from.act((now) => from.machine.updateMeta(Uint8Array.of(1, number), now));
    note(cluster.clock.now); // itself
  });
}

function kill(cluster: Cluster, node: ClusterNode): number[] {
  return trial(cluster, cluster.running.length - 1, (note) => {
    const informed = new Set<number>();
    cluster.witness = {
      died: (name, by, now) => {
        if (name === node.name && !informed.has(by)) note(now);
        informed.add(by);
      },
    };
    node.kill();
  });
}

/** Runs `begin` and collects the times that it notes, until there are `wanted` or `PATIENCE` has passed. */
function trial(cluster: Cluster, wanted: number, begin: (note: (now: number) => void) => void): number[] {
  const { clock } = cluster;
  // At a random phase of the nodes' intervals.
  clock.advance(cluster.random.float() * 1000);
  const start = clock.now;
  const times: number[] = [];
  begin((now) => void times.push(now - start));
  while (times.length < wanted && clock.now < start + PATIENCE) clock.advance(100);
  cluster.witness = {};
  clock.advance(REST);
  return times;
}

function measureIdle(nodes: number, seconds: number): SpreadFigures['idle'] {
  const cluster = new Cluster({ nodes, seed: 1, link: LINK, endpoints: true });
  // Until the initial broadcasts have been sent.
  cluster.clock.advance(REST);
  const before = { ...cluster.traffic, links: cluster.linkOctets };
  cluster.clock.advance(seconds * 1000);
  const packets = cluster.traffic.packetOctets - before.packetOctets;
  const rate = (octets: number): number => octets / nodes / seconds;
  const streams = rate(cluster.traffic.streamOctets - before.streamOctets);
  const linksAgree = cluster.linkOctets - before.links === packets;
  return { packets: rate(packets), streams, total: rate(packets) + streams, linksAgree };
}

/** Bytes that a node takes in a cluster of a given size, where each has an endpoint. Needs `--expose-gc`. */
export function memoryOfNode(nodes: number): number {
  const options = { nodes, seed: 1, endpoints: true };
  const all = known(options);
  // Many of them: the process's own heap varies by more than a few small nodes take.
  const count = Math.ceil(2000 / nodes);
  const clusters = Array.from({ length: Math.ceil(count / nodes) }, () => new Cluster(options, 0));
  const used = (): number => {
    for (let i = 0; i < 3; i++) globalThis.gc?.(); // array buffers outside the heap are freed later
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  new Cluster(options, 0).add(copyOf(all)); // the first one also loads code
  const before = used();
  for (let i = 0; i < count; i++) clusters[i % clusters.length]!.add(copyOf(all));
  const bytes = (used() - before) / count;
  if (clusters.some((cluster) => cluster.nodes.length === 0)) throw new Error('a cluster is empty'); // and keeps them alive
  return bytes;
}

/** SWIM without Lifeguard: no local health awareness, a fixed suspicion timeout, no nacks. */
const SWIM: Partial<MemberlistOptions> = {
  timing: { awarenessMax: 1, suspicionMaxTimeoutMult: 1 },
  vsn: Uint8Array.of(1, 3, 2, 0, 0, 0),
};

/** @param streamPings Whether members probe a silent member by stream too, as memberlist does. */
export function falseDeaths(
  nodes: number,
  loss: number,
  lifeguard: boolean,
  minutes: number,
  streamPings = true,
): FalseDeaths {
  const memberlist = { ...(lifeguard ? {} : SWIM), streamPings };
  const cluster = new Cluster({ nodes, seed: 1, link: { ...LINK, loss }, memberlist, tables: false });
  const declared = new Set<string>();
  let believed = 0;
  cluster.witness = {
    died: (name, by) => {
      believed++;
      declared.add(`${name} ${cluster.nodes[by]!.machine.member(name)!.incarnation}`);
    },
  };
  cluster.clock.advance(minutes * 60_000);
  const refuted = cluster.nodes.reduce((sum, { machine }) => sum + machine.counters().refuted, 0);
  return { nodes, loss, lifeguard, minutes, declared: declared.size, believed, refuted };
}

// Statistics

/** When a share of the nodes knew; `null` if that many never did. */
function at(times: readonly number[], nodes: number, share: number): number | null {
  return times[Math.ceil(nodes * share) - 1] ?? null;
}

function median(values: readonly (number | null)[]): number | null {
  const sorted = values.map((value) => value ?? Infinity).sort((a, b) => a - b);
  const middle = sorted[sorted.length >> 1];
  return middle === undefined || middle === Infinity ? null : middle;
}

function worst(values: readonly (number | null)[]): number | null {
  return values.includes(null) || values.length === 0 ? null : Math.max(...(values as number[]));
}

function spreadOf(trials: readonly number[][], nodes: number): Spread {
  const share = (of: number): number | null => median(trials.map((times) => at(times, nodes, of)));
  return { half: share(0.5), most: share(0.99), all: share(1) };
}

function deathOf(trials: readonly number[][], nodes: number): Death {
  return {
    first: median(trials.map((times) => times[0] ?? null)),
    // A share of the nodes left, one or a few fewer than at first.
    most: median(trials.map((times) => at(times, Math.min(times.length, nodes - 1), 0.99))),
    all: median(trials.map((times) => times.at(-1) ?? null)),
  };
}

function curveOf(trials: readonly number[][], nodes: number): [number, number][] {
  const curve: [number, number][] = [];
  for (let hundredths = 1; hundredths <= 100; hundredths++) {
    const time = median(trials.map((times) => at(times, nodes, hundredths / 100)));
    if (time !== null) curve.push([hundredths, Math.round(time * 10) / 10]);
  }
  return curve;
}

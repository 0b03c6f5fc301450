/** What is measured of clusters, on the virtual clock, from seeds: nothing here depends on how fast the machine is. */
import { LAN, suspicionTimes, type MemberlistOptions } from '../../src/gossip/memberlist/index.js';
import { Random } from '../../src/sim/index.js';
import { Cluster, copyOf, known, type ClusterNode } from './cluster.js';
import { epidemic, expectedDeath, serfTime, type Gossip } from './model.js';

/** Milliseconds on the way, half of it chance: one data centre. */
const LINK = { latency: 0.5, jitter: 0.5 };
/** How long a trial may take. */
const PATIENCE = 120_000;
/** Between trials, for everybody to have told what there was to tell. */
const REST = 4000;

/** Milliseconds until so many nodes know, 50, 99 and 100 % of them; `null` where that did not happen. */
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
  /** Bytes of heap and arrays of one node, each node having an endpoint. */
  memory: number;
}

export interface SpreadFigures {
  nodes: number;
  trials: number;
  /** A new endpoint: an entry of NetworkDB's on a network that all are attached to. Medians. */
  endpoint: Spread;
  /** The slowest trial's 99 %. */
  endpointWorst: number | null;
  /** New meta data of a member: a broadcast of memberlist's. */
  broadcast: Spread;
  /** From a node's end to when the others take it for dead. */
  death: Death;
  serf: Spread;
  model: Spread;
  expectedDeath: number;
  /** Octets that a node sends in a second while nothing happens, headers included; as many come in. */
  idle: { packets: number; streams: number; total: number; linksAgree: boolean };
  /** Share of nodes that know of an endpoint, in hundredths, and the median time. */
  curve: [share: number, milliseconds: number][];
}

export interface FalseDeaths {
  nodes: number;
  loss: number;
  lifeguard: boolean;
  minutes: number;
  /** Members that were alive and yet declared dead: each incarnation once. */
  declared: number;
  /** How often that was believed, by all members together. */
  believed: number;
  /** Suspicions that their subject put right. */
  refuted: number;
}

/** How much is done for a cluster of a size. */
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

/** Everything of a cluster of a size but its memory and false deaths. */
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

/** Lets a node tell of an endpoint. @returns when each node knew, in order, from then on. */
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
    const told = new Set<number>();
    cluster.witness = {
      died: (name, by, now) => {
        if (name === node.name && !told.has(by)) note(now);
        told.add(by);
      },
    };
    node.kill();
  });
}

/** Times of what `begin` has noted, from now on, until there are `wanted` or patience ends. */
function trial(cluster: Cluster, wanted: number, begin: (note: (now: number) => void) => void): number[] {
  const { clock } = cluster;
  // At any time of everybody's intervals.
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
  // Until what each node tells of itself at first has been told.
  cluster.clock.advance(REST);
  const before = { ...cluster.traffic, links: cluster.linkOctets };
  cluster.clock.advance(seconds * 1000);
  const packets = cluster.traffic.packetOctets - before.packetOctets;
  const rate = (octets: number): number => octets / nodes / seconds;
  const streams = rate(cluster.traffic.streamOctets - before.streamOctets);
  const linksAgree = cluster.linkOctets - before.links === packets;
  return { packets: rate(packets), streams, total: rate(packets) + streams, linksAgree };
}

/** What a node takes in a cluster of a size, where each has an endpoint. The program is to run with `--expose-gc`. */
export function memoryOfNode(nodes: number): number {
  const options = { nodes, seed: 1, endpoints: true };
  const all = known(options);
  // Many, also where they are small: the program's own heap comes and goes by more than a few of them take.
  const count = Math.ceil(2000 / nodes);
  const clusters = Array.from({ length: Math.ceil(count / nodes) }, () => new Cluster(options, 0));
  const used = (): number => {
    for (let i = 0; i < 3; i++) globalThis.gc?.(); // what arrays leave outside of the heap goes later
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  new Cluster(options, 0).add(copyOf(all)); // the first one brings its code along
  const before = used();
  for (let i = 0; i < count; i++) clusters[i % clusters.length]!.add(copyOf(all));
  const bytes = (used() - before) / count;
  if (clusters.some((cluster) => cluster.nodes.length === 0)) throw new Error('a cluster is empty'); // and all are kept
  return bytes;
}

/** As SWIM was before: no awareness of oneself, a fixed time of suspicion, no nacks. */
const SWIM: Partial<MemberlistOptions> = {
  timing: { awarenessMax: 1, suspicionMaxTimeoutMult: 1 },
  vsn: Uint8Array.of(1, 3, 2, 0, 0, 0),
};

/** @param streamPings Whether a member that is silent is asked by stream too, as memberlist does. */
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

/** When a share of the nodes knew; `null` where that many never did. */
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
    // Of those that are left: one or a few fewer than there were.
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

/** The longest single call of a `Vtep` with many endpoints, networks and ports. */
import { createRequire } from 'node:module';
import { PerformanceObserver } from 'node:perf_hooks';
import { ipv4ToText, macToText } from '../src/address/index.js';
import { Vtep } from '../src/vtep/index.js';
import { Counter, Ping } from './networks.js';

/** The calls of one kind. */
export interface Call {
  name: string;
  calls: number;
  /** Milliseconds. */
  longest: number;
  /** Milliseconds. */
  mean: number;
}

/** A call that may be the longest of its kind: its processor time, and when it began and ended. */
interface Slow {
  took: number;
  start: number;
  end: number;
}

/** Milliseconds of a call that is remembered on its own. */
const SLOW = 0.1;

/**
 * Times calls by name, in processor time of this thread: other processes may interrupt a call. A call in which the garbage
 * collector ran is counted, but not timed; what it took depends on what all calls before it have left.
 */
export class Stopwatch {
  readonly #clock = threadClock();
  readonly #calls = new Map<string, { calls: number; longest: number; total: number; slow: Slow[] }>();
  readonly #collections: { start: number; end: number }[] = [];
  readonly #observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries())
      this.#collections.push({ start: startTime, end: startTime + duration });
  });

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  time<T>(name: string, call: () => T): T {
    let known = this.#calls.get(name);
    if (known === undefined) this.#calls.set(name, (known = { calls: 0, longest: 0, total: 0, slow: [] }));
    const start = performance.now();
    const before = this.#clock();
    const result = call();
    const took = this.#clock() - before;
    known.calls++;
    known.total += took;
    if (took > SLOW) known.slow.push({ took, start, end: performance.now() });
    else if (took > known.longest) known.longest = took;
    return result;
  }

  async results(): Promise<Call[]> {
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve)); // reports of the collector are late
    this.#observer.disconnect();
    return [...this.#calls].map(([name, { calls, longest, total, slow }]) => {
      const alone = slow.filter(
        (one) => !this.#collections.some(({ start, end }) => start < one.end && end > one.start),
      );
      // If the collector ran in all of them, the shortest one says most.
      const interrupted = calls === slow.length && alone.length === 0;
      const most = interrupted
        ? Math.min(...slow.map(({ took }) => took))
        : Math.max(longest, ...alone.map(({ took }) => took));
      return { name, calls, longest: most, mean: total / calls };
    });
  }
}

/**
 * Returns a function that returns the processor time of this thread in milliseconds: CLOCK_THREAD_CPUTIME_ID of Linux.
 * Without koffi or on another system, it returns the time of day.
 */
function threadClock(): () => number {
  const CLOCK = 3;
  const time = new BigInt64Array(2);
  const bytes = new Uint8Array(time.buffer);
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const clock = koffi.load(null).func('int clock_gettime(int clock, void *time)');
    if (clock(CLOCK, bytes) !== 0) return () => performance.now();
    return () => {
      clock(CLOCK, bytes);
      return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
    };
  } catch {
    return () => performance.now();
  }
}

/** How large a VTEP is. */
export interface Size {
  networks: number;
  ports: number;
  /** Per network: half of them announced by the control plane, a quarter learned on ports and a quarter from tunnels. */
  endpoints: number;
}

export const MILLION: Size = { networks: 4000, ports: 1000, endpoints: 250 };
export const SMALL: Size = { networks: 400, ports: 100, endpoints: 100 };

/** Remotes that the control plane names, and as many that only datagrams name. */
const REMOTES = 1024;
/** Ports that are trunks of all networks. */
const TRUNKS = 4;
/** Milliseconds in which the addresses are learned, evenly. */
const LEARNING = 250_000;
/** Milliseconds after which all of them have expired: the default of the segments, and some seconds. */
const EXPIRED = 320_000;
const SECOND = 1000;
/** Entries on a page of a listing. */
const PAGE = 256;
/** Stations per port in the single network. */
const STATIONS = 1000;

const announced = (i: number): string => ipv4ToText(0xac10_0001 + (i % REMOTES));
const unannounced = (i: number): string => ipv4ToText(0xac20_0001 + (i % REMOTES));
const macOf = (network: number, kind: number, i: number): number =>
  0x0200_0000_0000 + kind * 0x1_0000_0000 + network * 0x1_0000 + i;

/** Many networks. Returns the number of endpoints. */
export function manyNetworks({ networks, ports, endpoints }: Size, watch: Stopwatch): number {
  const vtep = new Vtep({ seed: 12_345, learnedRemotes: REMOTES });
  const sink = new Counter();
  const frame = new Ping();
  for (let vni = 1; vni <= networks; vni++) watch.time('addSegment', () => vtep.addSegment({ vni }));
  const vlans = new Map(Array.from({ length: Math.min(networks, 4094) }, (_, i) => [i + 1, i + 1]));
  const trunks = Array.from({ length: TRUNKS }, (_, i) =>
    watch.time('addPort, a trunk of all networks', () => vtep.addPort({ name: `trunk${i}`, vlans })),
  );
  const access = Array.from({ length: ports - TRUNKS }, (_, i) => {
    const vni = 1 + (i % networks);
    return { vni, port: watch.time('addPort', () => vtep.addPort({ name: `tap${i}`, vni })) };
  });
  const quarter = Math.floor(endpoints / 4);
  for (let i = 0; i < quarter * 2; i++)
    for (let vni = 1; vni <= networks; vni++) {
      const ip = ipv4ToText(0x0a00_0000 + i);
      const endpoint = { ip, mac: macToText(macOf(vni, 0, i)), vtep: announced(i + vni) };
      watch.time('addEndpoint', () => vtep.addEndpoint(vni, endpoint));
    }
  for (let i = 0; i < REMOTES; i++) watch.time('addPeer', () => vtep.addPeer(1, announced(i)));
  // Each frame goes to an announced endpoint, or is dropped by the split horizon.
  const local = quarter * networks;
  for (let i = 0; i < local; i++) {
    const now = (i / local) * LEARNING;
    const { vni, port } = access[i % access.length]!;
    const own = macOf(vni, 1, Math.floor(i / access.length));
    watch.time('receiveFrame, new station', () => frame.receive(vtep, port, vni, macOf(vni, 0, 0), own, now, sink));
    const at = 1 + (i % networks);
    const other = macOf(at, 2, Math.floor(i / networks));
    watch.time('receiveDatagram, new station', () =>
      frame.receive(vtep, unannounced(i), at, macOf(at, 0, 0), other, now, sink),
    );
  }
  let now = LEARNING;
  const counted = [...vtep.vnis()].reduce((sum, vni) => sum + vtep.fdb(vni, now).length, 0);

  watch.time('fdb, first page', () => firstPage(vtep, (vni) => vtep.fdbEntries(vni, now)));
  watch.time('neighbors, first page', () => firstPage(vtep, (vni) => vtep.neighborEntries(vni)));
  watch.time('remotes, first page', () => take(vtep.remoteEntries(), PAGE));
  for (let i = 0; i < 20; i++) vtep.counts(); // compiled before it is measured
  for (let i = 0; i < 10; i++) {
    watch.time('counts', () => vtep.counts());
    watch.time('findings', () => vtep.findings(now));
  }
  watch.time('counters', () => vtep.counters());

  const tick = (name: string, until: number): void => {
    for (; now < until; now += SECOND) watch.time(name, () => vtep.tick(now, sink));
  };
  tick('tick', now + 10 * SECOND);
  for (const { port } of access.slice(0, access.length / 2)) {
    watch.time('forgetPort', () => vtep.forgetPort(port));
    watch.time('removePort', () => vtep.removePort(port));
  }
  watch.time('removePort, a trunk of all networks', () => vtep.removePort(trunks[0]!));
  tick('tick, after removals', now + 10 * SECOND);
  for (let vni = networks; vni > networks * 0.9; vni--) watch.time('removeSegment', () => vtep.removeSegment(vni));
  for (let vni = 1; vni <= networks / 2; vni++) {
    const endpoint = { ip: ipv4ToText(0x0a00_0000), mac: macToText(macOf(vni, 0, 0)), vtep: announced(vni) };
    watch.time('removeEndpoint', () => vtep.removeEndpoint(vni, endpoint));
  }
  tick('tick, after removals', now + 10 * SECOND);
  tick('tick, addresses expire', EXPIRED + LEARNING);
  return counted;
}

/** One network, whose stations are all learned on ports. Returns the number of them. */
export function oneNetwork({ networks, ports, endpoints }: Size, watch: Stopwatch): number {
  const stations = Math.min(STATIONS, Math.floor((networks * endpoints) / ports));
  const vtep = new Vtep({ seed: 12_345 });
  const sink = new Counter();
  const frame = new Ping();
  vtep.addSegment({ vni: 1, capacity: 1 << 22, flood: false });
  for (let i = 0; i < ports; i++) vtep.addPort({ name: `tap${i}`, vni: 1 });
  vtep.addEndpoint(1, { ip: '10.0.0.1', mac: macToText(macOf(1, 0, 0)), vtep: announced(0) });
  for (let i = 0; i < ports * stations; i++)
    watch.time('one network: receiveFrame, new station', () =>
      frame.receive(
        vtep,
        i % ports,
        1,
        macOf(1, 0, 0),
        macOf(1 + (i % ports), 1, Math.floor(i / ports)),
        i / 1000,
        sink,
      ),
    );
  let now = ports;
  const counted = vtep.fdb(1, now).length - 1;
  const tick = (name: string, until: number): void => {
    for (; now < until; now += SECOND) watch.time(name, () => vtep.tick(now, sink));
  };
  tick('one network: tick', now + 10 * SECOND);
  watch.time('one network: fdb, first page', () => take(vtep.fdbEntries(1, now), PAGE));
  for (let port = 0; port < ports / 4; port++) watch.time('one network: removePort', () => vtep.removePort(port));
  tick('one network: tick, after removals', now + 20 * SECOND);
  // All stations were seen within a second, so all of them expire at once.
  tick('one network: tick, all addresses expire', EXPIRED + 60 * SECOND);
  watch.time('one network: removeSegment', () => vtep.removeSegment(1));
  return counted;
}

/** The first entries of a listing over all networks. */
function firstPage(vtep: Vtep, entries: (vni: number) => Iterable<unknown>): number {
  let left = PAGE;
  for (const vni of vtep.vnis()) {
    left -= take(entries(vni), left);
    if (left === 0) break;
  }
  return PAGE - left;
}

function take(entries: Iterable<unknown>, most: number): number {
  let taken = 0;
  for (const _ of entries) if (++taken === most) break;
  return taken;
}

/**
 * `npm run bench -- scale`: what a `Vtep` costs as its network grows, without I/O: delivery by the number of ports, a
 * frame by the number of networks, and the longest single call with a million endpoints. Each figure is the least of
 * several, because other load on the same processor and caches makes all of them larger.
 */
import { manyNetworks, MILLION, oneNetwork, SMALL, Stopwatch, type Call } from './calls.js';
import {
  ARRIVALS,
  networks,
  PATHS,
  PORT_KINDS,
  ports,
  TOGETHER,
  type Arrival,
  type PathKind,
  type PortKind,
} from './networks.js';

const PORTS = [10, 100, 500, 5000];
const NETWORKS = [1, 100, 1000, 4000];
const ENDPOINTS = 100;
/** Most nanoseconds of a frame with the most networks. */
const FRAME_TARGET = 150;
/** Most milliseconds of a call. */
const CALL_TARGET = 1;
/** Parts of a measurement, between which others are measured. */
const TURNS = 10;
/** Frames of a batch: a millisecond or two, so that other processes do not interrupt all of them. */
const BATCH = 3200;
/** Batches of a measurement. */
const BATCHES = 600;
const BATCHES_QUICK = 180;

export interface Scale {
  /** Nanoseconds of a frame, by kind and number of ports. */
  delivery: { kind: PortKind; ports: number; nanoseconds: number }[];
  /** Nanoseconds of a frame, by path, number of networks, and how the frames arrive. */
  frames: { path: PathKind; networks: number; arrival: Arrival; nanoseconds: number }[];
  calls: Call[];
}

export async function scale(quick: boolean): Promise<Scale> {
  const rounds = quick ? 1 : 3;
  const delivery: Scale['delivery'] = [];
  for (const kind of PORT_KINDS)
    for (const count of PORTS) delivery.push({ kind, ports: count, nanoseconds: least(ports(kind, count).run, quick) });
  const frames: Scale['frames'] = [];
  for (const count of quick ? [1, 4000] : NETWORKS) {
    const { run } = networks(count, ENDPOINTS);
    // In turn, so that what else the machine does affects all of them.
    for (const path of PATHS) {
      const found = ARRIVALS.map(() => Number.POSITIVE_INFINITY);
      for (let turn = 0; turn < TURNS; turn++)
        for (const [i, arrival] of ARRIVALS.entries()) {
          const frameCount = arrival === 'one' ? 1 : TOGETHER;
          found[i] = Math.min(found[i]!, least(run[path][arrival], quick, frameCount, TURNS));
        }
      for (const [i, arrival] of ARRIVALS.entries())
        frames.push({ path, networks: count, arrival, nanoseconds: found[i]! });
    }
  }
  // A small VTEP first, so that the code is compiled.
  for (let i = 0; i < 2; i++) {
    manyNetworks(SMALL, new Stopwatch());
    oneNetwork(SMALL, new Stopwatch());
  }
  const results: Call[][] = [];
  for (let round = 0; round < rounds; round++) {
    const watch = new Stopwatch();
    for (const build of [manyNetworks, oneNetwork]) {
      globalThis.gc?.();
      build(MILLION, watch);
    }
    results.push(await watch.results());
  }
  const calls = results[0]!.map((call, i) => ({
    ...call,
    longest: Math.min(...results.map((round) => round[i]!.longest)),
    mean: Math.min(...results.map((round) => round[i]!.mean)),
  }));
  return { delivery, frames, calls };
}

/**
 * Nanoseconds of a frame: the mean of a batch, in the fastest of many batches.
 * @param frames Frames of a call.
 * @param parts How many calls of this function share the batches.
 */
function least(run: () => void, quick: boolean, frames = 1, parts = 1): number {
  let found = Number.POSITIVE_INFINITY;
  const calls = BATCH / frames;
  for (let batch = 0; batch < (quick ? BATCHES_QUICK : BATCHES) / parts; batch++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) run();
    found = Math.min(found, ((performance.now() - start) / BATCH) * 1e6);
  }
  return found;
}

export function printScale({ delivery, frames, calls }: Scale): void {
  for (const kind of PORT_KINDS) {
    const rows = delivery.filter((one) => one.kind === kind);
    chart(
      `Delivery to the last of N ${kind} ports, ns a frame; target: the same for every N`,
      rows.map((one) => [`${one.ports}`, one.nanoseconds]),
      Number.POSITIVE_INFINITY,
    );
  }
  for (const path of PATHS) {
    const rows = frames.filter((one) => one.path === path);
    chart(
      `A frame from ${path}, N networks of ${ENDPOINTS} endpoints in random order, ns; target: ${FRAME_TARGET}`,
      rows.map((one) => [`${one.networks}${ARRIVAL_TEXT[one.arrival]}`, one.nanoseconds]),
      FRAME_TARGET,
    );
  }
  const { networks: count, ports: used, endpoints } = MILLION;
  chart(
    `Longest call with ${count * endpoints} endpoints, ${count} networks and ${used} ports, ms; target: ${CALL_TARGET}`,
    calls.map(({ name, longest }) => [name, longest]),
    CALL_TARGET,
  );
}

const ARRIVAL_TEXT: Record<Arrival, string> = {
  one: '',
  together: `, ${TOGETHER} at a time`,
  prepared: `, ${TOGETHER} at a time, prepared`,
};
const WIDTH = 40;
/** Names of rows are at least as wide. */
const NAME = 6;

/** Prints bars of a logarithmic scale. A bar beyond `target` is marked. */
function chart(title: string, rows: readonly [name: string, value: number][], target: number): void {
  console.log(title);
  const values = rows.map(([, value]) => value);
  // Whole decades, so that charts are comparable at a glance.
  const low = Math.floor(Math.log10(Math.max(1e-3, Math.min(...values))));
  const high = Math.ceil(Math.log10(Math.max(...values)) + 1e-9);
  const width = Math.max(NAME, ...rows.map(([name]) => name.length));
  for (const [name, value] of rows) {
    const share = (Math.log10(Math.max(value, 10 ** low)) - low) / Math.max(1, high - low);
    const bar = '#'.repeat(Math.max(1, Math.round(share * WIDTH)));
    const shown = value >= 100 ? value.toFixed(0) : value.toPrecision(3);
    console.log(`  ${name.padEnd(width)} ${shown.padStart(8)}  ${bar}${value > target ? '  missed' : ''}`);
  }
  console.log('');
}

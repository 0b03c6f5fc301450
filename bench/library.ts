/**
 * `npm run bench -- library`: the codecs and machines without I/O. Each figure is the median of five rounds, each the
 * median of many samples, and stands beside what it is held to.
 */
import { do_not_optimize, measure } from 'mitata';
import { dissect } from '../src/packet/index.js';
import { forwarding, lookups } from './machines.js';
import * as vxlan from '../src/vxlan/index.js';
import { INNER, PING, readFields, warmUp } from './packet.js';

/** Nanoseconds, and bytes of heap, an operation. */
export interface Figure {
  name: string;
  nanoseconds: number;
  bytes: number;
  /** What it is to stay under, in nanoseconds. */
  bar: number;
}

export const ROUNDS = 5;

/** The packet as a snap length of 96 leaves it, and without its VXLAN flags. A problem costs no more than a header. */
const CUT = PING.slice(0, 96);
const MALFORMED = PING.slice();
MALFORMED[INNER - vxlan.HEADER_LENGTH] = 0;

export async function library(): Promise<Figure[]> {
  warmUp();
  const { forward, sent } = forwarding();
  const { lookup } = lookups();
  const subjects: [name: string, bar: number, run: () => unknown][] = [
    ['fields: 7 headers of a 148-byte VXLAN packet checked and read', 45, () => readFields(PING)],
    ['values: dissect of the same packet', 800, () => dissect(PING)],
    ['values: dissect of it cut at 96 bytes', 800, () => dissect(CUT, { originalLength: PING.length })],
    ['values: dissect of it malformed, VXLAN without flag I', 800, () => dissect(MALFORMED)],
    ['vtep: one frame forwarded with encapsulation, 4096 endpoints', 100, forward],
    ['fdb: look-up among a million entries', 150, lookup],
  ];
  const figures: Figure[] = [];
  for (const [name, bar, run] of subjects) {
    const medians: number[] = [];
    for (let round = 0; round < ROUNDS; round++) medians.push(await nanoseconds(run));
    figures.push({ name, nanoseconds: median(medians), bytes: allocated(run), bar });
  }
  do_not_optimize(sent());
  return figures;
}

/** The median time of one call. */
export async function nanoseconds(run: () => unknown): Promise<number> {
  const { p50 } = await measure(() => do_not_optimize(loop(run)), { min_cpu_time: 400e6 });
  return p50 / CALLS;
}

const CALLS = 1000;

/**
 * Makes the calls. It has seen so many functions that V8 calls whatever it is given, a few nanoseconds each, as a program
 * calls what it uses in many places; inlined into a loop, a subject would compete with the loop for V8's inlining budget.
 */
function loop(run: () => unknown): unknown {
  let last: unknown;
  for (let i = 0; i < CALLS; i++) last = run();
  return last;
}
for (let i = 0; i < 8; i++) loop(new Function(`return ${i}`) as () => unknown);

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/**
 * Bytes of heap that an operation takes, to a tenth: the least of several batches, each too short to be collected in
 * between. The program is to run with `--expose-gc`.
 */
export function allocated(run: () => unknown): number {
  const times = 5000;
  let least = Number.POSITIVE_INFINITY;
  for (let batch = 0; batch < 10; batch++) {
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < times; i++) run();
    const used = process.memoryUsage().heapUsed - before;
    if (used >= 0) least = Math.min(least, used / times);
  }
  return Math.round(least * 10) / 10;
}

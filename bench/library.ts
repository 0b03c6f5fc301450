/**
 * `npm run bench -- library`: the codecs and machines without I/O. Each figure is the median of five rounds, each the
 * median of many samples, beside its target.
 */
import { do_not_optimize, measure } from 'mitata';
import { dissect } from '../src/packet/index.js';
import { forwarding, lookups } from './machines.js';
import * as vxlan from '../src/vxlan/index.js';
import { INNER, PING, readFields, warmUp } from './packet.js';

/** Nanoseconds and bytes of heap per operation. */
export interface Figure {
  name: string;
  nanoseconds: number;
  bytes: number;
  /** Upper limit in nanoseconds. */
  target: number;
}

export const ROUNDS = 5;

/**
 * The packet cut by a snap length of 96, and one without VXLAN flags. A malformed header must not cost more than a good
 * one.
 */
const CUT = PING.slice(0, 96);
const MALFORMED = PING.slice();
MALFORMED[INNER - vxlan.HEADER_LENGTH] = 0;

export async function library(): Promise<Figure[]> {
  warmUp();
  const { forward, sent } = forwarding();
  const { lookup } = lookups();
  const subjects: [name: string, target: number, run: () => unknown][] = [
    ['fields: 7 headers of a 148-byte VXLAN packet checked and read', 45, () => readFields(PING)],
    ['values: dissect of the same packet', 800, () => dissect(PING)],
    ['values: dissect of the same packet cut at 96 bytes', 800, () => dissect(CUT, { originalLength: PING.length })],
    ['values: dissect of the same packet without VXLAN flag I', 800, () => dissect(MALFORMED)],
    ['vtep: forward one frame with encapsulation, 4096 endpoints', 100, forward],
    ['fdb: lookup among a million entries', 150, lookup],
  ];
  const figures: Figure[] = [];
  for (const [name, target, run] of subjects) {
    const medians: number[] = [];
    for (let round = 0; round < ROUNDS; round++) medians.push(await nanoseconds(run));
    figures.push({ name, nanoseconds: median(medians), bytes: allocated(run), target });
  }
  do_not_optimize(sent());
  return figures;
}

/** The median time of one call, in nanoseconds. */
export async function nanoseconds(run: () => unknown): Promise<number> {
  const { p50 } = await measure(() => do_not_optimize(loop(run)), { min_cpu_time: 400e6 });
  return p50 / CALLS;
}

const CALLS = 1000;

/**
 * Makes the calls. It has run so many functions that V8 does not inline the one it is given: a call costs a few
 * nanoseconds, as in a program that calls a function from many places. Inlined, it would share the loop's inlining
 * budget.
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
 * Bytes of heap that an operation allocates, to a tenth: the least of several batches, each too short to trigger a
 * collection. Needs `--expose-gc`.
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

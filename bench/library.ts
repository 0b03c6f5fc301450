/**
 * `npm run bench -- library [--json]`: the codecs and machines without I/O, a line a figure with the bar it is held to.
 * Each figure is the median of five measurements, each the median of many samples.
 */
import { do_not_optimize, measure } from 'mitata';

import { forwarding, lookups } from './machines.js';
import { PING, readFields } from './packet.js';

/** One figure: nanoseconds, and bytes allocated, an operation. */
export interface Figure {
  name: string;
  nanoseconds: number;
  bytes: number;
  /** What it is to stay under, in nanoseconds. */
  bar: number;
}

const ROUNDS = 5;

export async function library(): Promise<Figure[]> {
  const { forward, sent } = forwarding();
  const { lookup } = lookups();
  const subjects: [string, number, () => unknown][] = [
    ['fields: 7 headers of a 148-byte VXLAN packet checked and read', 45, () => readFields(PING)],

    ['vtep: forward one frame with encapsulation, 4096 endpoints', 100, forward],
    ['fdb: look-up among a million entries', 150, lookup],
  ];
  const figures: Figure[] = [];
  for (const [name, bar, run] of subjects) {
    const medians: number[] = [];
    for (let round = 0; round < ROUNDS; round++) medians.push((await measure(() => do_not_optimize(run()))).p50);
    figures.push({ name, nanoseconds: median(medians), bytes: allocated(run), bar });
  }
  do_not_optimize(sent());
  return figures;
}

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

/** What the loop counts, in memory that both threads see. */
import { type EngineCounters } from '../engine.js';
import { errorName } from './libc.js';

/** Plain counts, in the order of their places. */
const NAMES = [
  'framesRead',
  'framesWritten',
  'datagramsReceived',
  'datagramsSent',
  'superFramesRead',
  'superFramesWritten',
  'sendCalls',
  'receiveCalls',
  'readCalls',
  'writeCalls',
  'pollCalls',
] as const;

export type LinuxCount = (typeof NAMES)[number];

/** Error numbers that have a place; what is above counts as the last. */
const ERRNOS = 192;
const KINDS = ['writeErrors', 'sendErrors', 'receiveErrors'] as const;
const FIRST_ERROR = NAMES.length;
/** In the place of an errno: what an overflowing receive buffer lost. Linux has no error 0. */
export const OVERFLOW = 0;

/** Place of each count. */
export const COUNT = Object.fromEntries(NAMES.map((name, i) => [name, i])) as Record<LinuxCount, number>;
/** First place of each kind of error, to which the error number is added. */
export const ERRORS = Object.fromEntries(KINDS.map((name, i) => [name, FIRST_ERROR + i * ERRNOS])) as Record<
  (typeof KINDS)[number],
  number
>;

/** Places for all, zero. */
export function newCounts(): Float64Array {
  return new Float64Array(new SharedArrayBuffer((FIRST_ERROR + KINDS.length * ERRNOS) * 8));
}

export function countError(counts: Float64Array, kind: (typeof KINDS)[number], errno: number, times = 1): void {
  counts[ERRORS[kind] + Math.min(errno, ERRNOS - 1)]! += times;
}

/** The counts by name. */
export function readCounts(counts: Float64Array): EngineCounters {
  const errors = (kind: (typeof KINDS)[number]): Record<string, number> =>
    Object.fromEntries(
      Array.from({ length: ERRNOS }, (_, errno) => [nameOf(errno), counts[ERRORS[kind] + errno]!] as const).filter(
        ([, count]) => count > 0,
      ),
    );
  return {
    ...(Object.fromEntries(NAMES.map((name, i) => [name, counts[i]!])) as Record<LinuxCount, number>),
    sendQueue: 0,
    writeErrors: errors('writeErrors'),
    sendErrors: errors('sendErrors'),
    receiveErrors: errors('receiveErrors'),
  };
}

function nameOf(errno: number): string {
  return errno === OVERFLOW ? 'OVERFLOW' : errorName(errno);
}

/** The loop's counters, in memory that both threads share. */
import { type EngineCounters } from '../data-plane.js';
import { errorName } from './libc.js';

/** Plain counters, in the order of their indices. */
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

/** Number of errno values with their own counter; larger values share the last one. */
const ERRNOS = 192;
const KINDS = ['writeErrors', 'sendErrors', 'receiveErrors'] as const;
const FIRST_ERROR = NAMES.length;
/** Takes the place of an errno: datagrams that the kernel dropped at the receiving socket. Linux has no error 0. */
export const OVERFLOW = 0;

export const COUNT = Object.fromEntries(NAMES.map((name, i) => [name, i])) as Record<LinuxCount, number>;
/** Index of the first counter of each kind of error, to which the error number is added. */
export const ERRORS = Object.fromEntries(KINDS.map((name, i) => [name, FIRST_ERROR + i * ERRNOS])) as Record<
  (typeof KINDS)[number],
  number
>;

/** Allocates all counters, zero. */
export function newCounts(): Float64Array {
  return new Float64Array(new SharedArrayBuffer((FIRST_ERROR + KINDS.length * ERRNOS) * 8));
}

export function countError(counts: Float64Array, kind: (typeof KINDS)[number], errno: number, times = 1): void {
  counts[ERRORS[kind] + Math.min(errno, ERRNOS - 1)]! += times;
}

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

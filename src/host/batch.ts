/**
 * A batch of changes on its way to a machine, which makes them in slices, so that frames need not wait for a large batch.
 * To another thread it travels as one text: to copy a text takes a fraction of the time that copying as many objects
 * takes, and the thread that moves frames parses it slice by slice.
 */
import { type Change, type Rejection } from '../model/index.js';
import { type Applied } from './data-plane.js';
import { type Machine } from './machine.js';

/** Microseconds that a slice of a batch takes, approximately. */
export const SLICE = 500;
/** Number of changes between two looks at the clock. */
const STRIDE = 8;

/**
 * Milliseconds between two slices of a batch while frames flow, and after the last frame. A thread that is busy all the
 * time gets the processor late when another program wants it too, and its frames with it.
 */
const PAUSE = 2;
const FLOWING = 100;

/** How long a batch pauses after a slice. */
export class Pauses {
  #frames = 0;
  #flowed = -Infinity;

  /**
   * @param frames Frames that have passed the TAPs of the thread so far.
   * @param now Milliseconds of a monotonic clock.
   * @returns milliseconds; 0 while no frames flow.
   */
  after(frames: number, now: number): number {
    if (frames !== this.#frames) this.#flowed = now;
    this.#frames = frames;
    return now - this.#flowed < FLOWING ? PAUSE : 0;
  }
}

/** The text of a batch: each change in JSON, followed by a line feed. */
export function packChanges(changes: readonly Change[]): string {
  let text = '';
  for (const change of changes) text += `${JSON.stringify(change)}\n`;
  return text;
}

/** The changes of a text by `packChanges`, one at a time. */
export function* unpackChanges(text: string): Generator<Change> {
  for (let at = 0; at < text.length;) {
    const end = text.indexOf('\n', at);
    yield JSON.parse(text.slice(at, end)) as Change;
    at = end + 1;
  }
}

/** A batch, and how far a machine has made its changes. */
export class Batch implements Applied {
  readonly rejected: Rejection[] = [];
  readonly unchanged: number[] = [];
  readonly #changes: Iterator<Change>;
  #next = 0;

  constructor(changes: Iterable<Change>) {
    this.#changes = changes[Symbol.iterator]();
  }

  /**
   * Makes changes until the batch ends or `late` returns true.
   * @returns whether the whole batch is done.
   */
  work(machine: Machine, late: () => boolean): boolean {
    do
      for (let i = 0; i < STRIDE; i++) {
        const { done, value } = this.#changes.next();
        if (done === true) return true;
        const index = this.#next++;
        try {
          if (!machine.apply(value)) this.unchanged.push(index);
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          this.rejected.push({ index, reason: error.message });
        }
      }
    while (!late());
    return false;
  }
}

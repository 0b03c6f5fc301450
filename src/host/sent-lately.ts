/** The largest datagram sent to each remote within the last seconds. */
import { type Remote } from '../vtep/index.js';

/** Milliseconds after which a sent datagram may be forgotten. */
const PERIOD = 5000;

export class SentLately {
  /** By id of the remote: in this period, and in the one before. */
  #now: number[] = [];
  #before: number[] = [];
  #due = 0;

  /** A datagram of `length` bytes went to a remote. */
  note({ id }: Remote, length: number): void {
    if (!(length <= (this.#now[id] ?? 0))) this.#now[id] = length;
  }

  /** The length of the largest datagram; 0 for none. */
  largestTo({ id }: Remote): number {
    return Math.max(this.#now[id] ?? 0, this.#before[id] ?? 0);
  }

  /** Call it about once a second. */
  tick(now: number): void {
    if (now < this.#due) return;
    this.#due = now + PERIOD;
    [this.#before, this.#now] = [this.#now, []];
  }
}

import { suspicionTimeout } from './formula.js';

/** A suspicion: its accusers, and its deadline. The timer is elsewhere. */
export class Suspicion {
  /** Whether this member's own probes failed, too. */
  own = false;
  readonly #start: number;
  readonly #expected: number;
  readonly #min: number;
  readonly #max: number;
  /** The first accuser, and those that confirmed. */
  readonly #accusers: Set<string>;

  constructor(from: string, expected: number, min: number, max: number, now: number) {
    this.#accusers = new Set([from]);
    this.#expected = expected;
    this.#min = min;
    this.#max = max;
    this.#start = now;
  }

  /** When the member is declared dead. */
  get deadline(): number {
    return this.#start + suspicionTimeout(this.#accusers.size - 1, this.#expected, this.#min, this.#max);
  }

  /** Adds an accuser; returns whether it counts. */
  confirm(from: string): boolean {
    if (this.#accusers.size > this.#expected || this.#accusers.has(from)) return false;
    this.#accusers.add(from);
    return true;
  }
}

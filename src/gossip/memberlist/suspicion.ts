import { suspicionTimeout } from './formula.js';

/** A suspicion: who shares it, and until when it lasts. The timer is elsewhere. */
export class Suspicion {
  /** Whether this member has found out by itself, whoever else has. */
  own = false;
  readonly #start: number;
  readonly #expected: number;
  readonly #min: number;
  readonly #max: number;
  /** The first accuser, and those who confirmed. */
  readonly #accusers: Set<string>;

  constructor(from: string, expected: number, min: number, max: number, now: number) {
    this.#accusers = new Set([from]);
    this.#expected = expected;
    this.#min = min;
    this.#max = max;
    this.#start = now;
  }

  /** When the member is taken for dead. */
  get deadline(): number {
    return this.#start + suspicionTimeout(this.#accusers.size - 1, this.#expected, this.#min, this.#max);
  }

  /** Whether `from` is one more accuser that counts. */
  confirm(from: string): boolean {
    if (this.#accusers.size > this.#expected || this.#accusers.has(from)) return false;
    this.#accusers.add(from);
    return true;
  }
}

import { Allowance } from '../memberlist/index.js';

/**
 * Cost of the recalculations of a network, at once and per second. A unit is one record that is examined, which takes
 * one to five microseconds. A change without a conflict costs one or two.
 */
const BURST = 32_768;
const PER_SECOND = 16_384;

/**
 * Spaces the recalculations of a network: they are performed at once while they are cheap. After expensive ones follows
 * a pause, and the changes that arrive meanwhile are handled together at its end.
 */
export class Pace {
  readonly #allowance = new Allowance(BURST, PER_SECOND);
  readonly #sleep: (delay: number, now: number, then: (now: number) => void) => void;
  /** A new object for each pause; `null` while there is none. */
  #pause: object | null = null;

  /** @param sleep Calls back after a time in milliseconds. */
  constructor(sleep: (delay: number, now: number, then: (now: number) => void) => void) {
    this.#sleep = sleep;
  }

  get pausing(): boolean {
    return this.#pause !== null;
  }

  /** Accounts for a recalculation. @param then Called at the end of the pause, if one begins. */
  spend(cost: number, now: number, then: (now: number) => void): void {
    this.#allowance.left(now);
    this.#allowance.spend(cost);
    const left = this.#allowance.left(now);
    if (left > 0 || this.#pause !== null) return;
    const pause = (this.#pause = {});
    this.#sleep(Math.ceil((-left / PER_SECOND) * 1000) + 1, now, (later) => {
      if (this.#pause !== pause) return;
      this.#pause = null;
      then(later);
    });
  }

  /** Ends a pause; nothing is called. */
  cancel(): void {
    this.#pause = null;
  }
}

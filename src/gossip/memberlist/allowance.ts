/** A token bucket: a burst, and a rate per second. Times are milliseconds. */
export class Allowance {
  readonly #most: number;
  readonly #perSecond: number;
  #left: number;
  #since = -Infinity;

  constructor(most: number, perSecond: number) {
    this.#most = most;
    this.#perSecond = perSecond;
    this.#left = most;
  }

  /** The budget now; negative if the last expense exceeded it. */
  left(now: number): number {
    const seconds = Math.max(0, now - this.#since) / 1000;
    this.#since = now;
    return (this.#left = Math.min(this.#most, this.#left + seconds * this.#perSecond));
  }

  spend(amount: number): void {
    this.#left -= amount;
  }
}

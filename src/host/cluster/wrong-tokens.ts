/** Most addresses that are remembered. */
const ADDRESSES = 4096;

/** Counts the wrong tokens of each address, and says when to look at no further one for a while. */
export class WrongTokens {
  readonly #most: number;
  readonly #interval: number;
  readonly #counts = new Map<string, { count: number; since: number }>();

  /**
   * @param most Most wrong tokens of an address in an interval.
   * @param interval Milliseconds.
   */
  constructor(most: number, interval: number) {
    this.#most = most;
    this.#interval = interval;
  }

  get size(): number {
    return this.#counts.size;
  }

  /** Whether a token of this address is looked at. */
  allow(address: string, now: number): boolean {
    const known = this.#counts.get(address);
    if (known === undefined) return true;
    if (Math.abs(now - known.since) < this.#interval) return known.count < this.#most;
    this.#counts.delete(address);
    return true;
  }

  /** A token of this address was wrong. */
  wrong(address: string, now: number): void {
    const known = this.#counts.get(address);
    if (known !== undefined) return void known.count++;
    if (this.#counts.size >= ADDRESSES) this.#counts.delete(this.#counts.keys().next().value!);
    this.#counts.set(address, { count: 1, since: now });
  }
}

/** Says when something is worth telling again, so that whoever repeats it does not fill a log. */
export class Throttle {
  readonly #interval: number;
  readonly #most: number;
  readonly #told = new Map<string, number>();

  /**
   * @param interval Milliseconds in which one thing is told once.
   * @param most Things told in such a time at most.
   */
  constructor(interval: number, most: number) {
    this.#interval = interval;
    this.#most = most;
  }

  /** Whether to tell of `what` now. */
  tells(what: string, now: number): boolean {
    for (const [key, time] of this.#told) if (now - time >= this.#interval) this.#told.delete(key);
    if (this.#told.has(what) || this.#told.size >= this.#most) return false;
    this.#told.set(what, now);
    return true;
  }
}

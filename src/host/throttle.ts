/** Limits how often the same thing is reported. */
export class Throttle {
  readonly #interval: number;
  readonly #most: number;
  readonly #told = new Map<string, number>();

  /**
   * @param interval Milliseconds in which the same thing is reported once.
   * @param most Most different things reported in that time.
   */
  constructor(interval: number, most: number) {
    this.#interval = interval;
    this.#most = most;
  }

  /** Returns whether to report `what` now. */
  tells(what: string, now: number): boolean {
    for (const [key, time] of this.#told) if (now - time >= this.#interval) this.#told.delete(key);
    if (this.#told.has(what) || this.#told.size >= this.#most) return false;
    this.#told.set(what, now);
    return true;
  }
}

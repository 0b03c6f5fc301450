/** Limits how often the same thing is reported. */
export class Throttle {
  readonly #interval: number;
  readonly #most: number;
  readonly #reported = new Map<string, number>();

  /**
   * @param interval Milliseconds in which the same thing is reported once.
   * @param most Most different things reported in that time.
   */
  constructor(interval: number, most: number) {
    this.#interval = interval;
    this.#most = most;
  }

  /** Returns whether to report `what` now. */
  allow(what: string, now: number): boolean {
    for (const [key, time] of this.#reported) if (now - time >= this.#interval) this.#reported.delete(key);
    if (this.#reported.has(what) || this.#reported.size >= this.#most) return false;
    this.#reported.set(what, now);
    return true;
  }
}

/** Limits a rate: a burst of `perSecond` events, and as many per second after that. */
export class TokenBucket {
  tokens: number;
  readonly #perSecond: number;
  #time = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.tokens = perSecond;
  }

  /** Whether an event is allowed at a time in milliseconds. */
  has(now: number): boolean {
    const gained = ((now - this.#time) * this.#perSecond) / 1000;
    if (gained > 0) {
      this.tokens = Math.min(this.#perSecond, this.tokens + gained);
      this.#time = now;
    }
    return this.tokens >= 1;
  }

  take(): void {
    this.tokens--;
  }
}

/** Senders that share a bucket at most: a power of two. */
const BUCKETS = 64;

/**
 * Limits the rate of errors (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4 (f)): each sender gets a burst of
 * `perSecond`, and as many per second after that. Senders whose numbers differ by a multiple of 64 share.
 */
export class ErrorLimit {
  readonly #perSecond: number;
  readonly #tokens: Float64Array;
  readonly #times = new Float64Array(BUCKETS);

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#tokens = new Float64Array(BUCKETS).fill(perSecond);
  }

  /** Takes an error for a sender at a time in milliseconds, and returns whether it is allowed. */
  take(sender: number, now: number): boolean {
    const at = sender & (BUCKETS - 1);
    const gained = ((now - this.#times[at]!) * this.#perSecond) / 1000;
    if (gained > 0) {
      this.#tokens[at] = Math.min(this.#perSecond, this.#tokens[at]! + gained);
      this.#times[at] = now;
    }
    if (this.#tokens[at]! < 1) return false;
    this.#tokens[at]! -= 1;
    return true;
  }
}

/** Parts of an interval in which some of the networks gossip, and how many of them do at least. */
const STEPS = 20;
const LEAST = 4;

/**
 * When which network gossips: each once in every interval, but not all in one turn, as their packets would overflow the
 * receive buffers of the peers; and each round begins with another network.
 */
export class Rounds<N> {
  readonly #interval: number;
  #round: N[] = [];
  #at = 0;
  #share = LEAST;
  #began = 0;
  #offset = 0;
  /** When `tick` has something to do. */
  next = Infinity;

  /** @param interval Milliseconds. */
  constructor(interval: number) {
    this.#interval = interval;
  }

  start(at: number): void {
    this.next = at;
  }

  stop(): void {
    this.next = Infinity;
    this.#round = [];
    this.#at = 0;
  }

  /**
   * @param ready The networks that have something to tell, asked for at the beginning of a round.
   * @param gossip Is called with each network whose turn it is.
   */
  tick(now: number, ready: () => N[], gossip: (network: N) => void): void {
    while (now >= this.next) {
      if (this.#at >= this.#round.length) this.#begin(now, ready());
      const step = this.#interval / STEPS;
      // A late caller makes up for the steps that it missed.
      const steps = 1 + Math.floor((now - this.next) / step);
      const end = Math.min(this.#round.length, this.#at + this.#share * steps);
      while (this.#at < end) gossip(this.#round[this.#at++]!);
      this.next = this.#at < this.#round.length ? now + step : Math.max(this.#began, now - step) + this.#interval;
    }
  }

  #begin(now: number, networks: N[]): void {
    this.#began = now;
    this.#at = 0;
    this.#share = Math.max(LEAST, Math.ceil(networks.length / STEPS));
    this.#offset += this.#share;
    const first = networks.length === 0 ? 0 : this.#offset % networks.length;
    this.#round = [...networks.slice(first), ...networks.slice(0, first)];
  }
}

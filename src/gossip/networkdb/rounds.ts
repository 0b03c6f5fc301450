/** Milliseconds between two turns of a round. */
const STEP = 10;
/** The part of the interval that a round takes. */
const PART = 1 / 2;
/** Networks that gossip in one turn at least. */
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
  #nextRound = Infinity;
  #offset = 0;
  /** When `tick` has something to do. */
  next = Infinity;

  /** @param interval Milliseconds. */
  constructor(interval: number) {
    this.#interval = interval;
  }

  start(at: number): void {
    this.next = this.#nextRound = at;
  }

  stop(): void {
    this.next = this.#nextRound = Infinity;
    this.#round = [];
    this.#at = 0;
  }

  /**
   * @param ready The networks that have something to tell, asked for at the beginning of a round.
   * @param gossip Is called with each network whose turn it is.
   * @param ended Is called at the end of a round with networks in it.
   */
  tick(now: number, ready: () => N[], gossip: (network: N) => void, ended: (round: readonly N[]) => void): void {
    if (now < this.next) return;
    if (this.#at >= this.#round.length) this.#begin(ready(), now);
    // A late caller makes up for the turns that it missed.
    const turns = 1 + Math.floor((now - this.next) / STEP);
    const end = Math.min(this.#round.length, this.#at + this.#share * turns);
    while (this.#at < end) gossip(this.#round[this.#at++]!);
    if (this.#at < this.#round.length) this.next = now + STEP;
    else {
      this.next = this.#nextRound;
      if (this.#round.length > 0) ended(this.#round);
    }
  }

  #begin(networks: N[], now: number): void {
    const { length } = networks;
    this.#nextRound = Math.max(this.#nextRound, now - STEP) + this.#interval;
    this.#at = 0;
    this.#share = Math.max(LEAST, Math.ceil((length * STEP) / (this.#interval * PART)));
    this.#offset += this.#share;
    const first = length === 0 ? 0 : this.#offset % length;
    this.#round = [...networks.slice(first), ...networks.slice(0, first)];
  }
}

/** Milliseconds between two turns of a round. */
const STEP = 10;
/** The part of the interval in which the turns of a round take place. */
const PART = 1 / 2;
/** Minimum number of networks in one turn. */
const LEAST = 4;
/** Maximum duration of a turn in milliseconds, if there is a clock, and the pause before the rest of it. */
const LONGEST = 2;
const PAUSE = 1;

/**
 * Schedules the gossip of networks: each network once per interval, but not all in one turn, because their packets
 * would overflow the receive buffers of the peers. Each round starts with another network.
 */
export class Rounds<N> {
  readonly #interval: number;
  readonly #clock: (() => number) | undefined;
  #round: N[] = [];
  #at = 0;
  #share = LEAST;
  #nextRound = Infinity;
  #offset = 0;
  /** When `tick` must be called next. */
  next = Infinity;

  /**
   * @param interval Milliseconds.
   * @param clock Returns the time in milliseconds, which advances during a turn.
   */
  constructor(interval: number, clock?: () => number) {
    this.#interval = interval;
    this.#clock = clock;
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
   * @param ready Returns the networks with queued events; called at the start of a round.
   * @param gossip Called with each network whose turn it is.
   * @param ended Called at the end of each round that has networks.
   */
  tick(now: number, ready: () => N[], gossip: (network: N) => void, ended: (round: readonly N[]) => void): void {
    if (now < this.next) return;
    if (this.#at >= this.#round.length) this.#begin(ready(), now);
    // After a late call, the missed turns follow at once.
    const turns = 1 + Math.floor((now - this.next) / STEP);
    const end = Math.min(this.#round.length, this.#at + this.#share * turns);
    const began = this.#clock?.() ?? 0;
    while (this.#at < end) {
      gossip(this.#round[this.#at++]!);
      if (this.#clock === undefined || this.#clock() - began < LONGEST || this.#at === end) continue;
      this.next = now + PAUSE;
      return;
    }
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

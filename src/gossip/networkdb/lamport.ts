/** Times up to this one are always accepted; beyond, a message advances a clock by at most {@link LEAP}. */
const TRUSTED = 2 ** 52;
const LEAP = 2 ** 32;

/**
 * A Lamport clock: it counts events, and is never behind a time that it has witnessed.
 *
 * Times are numbers of 64 bits on the wire and exact up to 2^53 - 1 here. So that one message with an absurd time
 * cannot use them up, those far beyond any honest count (2^52 is one event a microsecond for 142 years) move the clock
 * by no more than 2^32: exhausting it takes a million messages, and every event of other nodes is still accepted then.
 */
export class Lamport {
  #time = 0;

  get time(): number {
    return this.#time;
  }

  /** Returns the time for a new event of this node. */
  increment(): number {
    if (this.#time < Number.MAX_SAFE_INTEGER) this.#time++;
    return this.#time;
  }

  /** Advances the clock to an event's time. @returns false, without a change, if the time is not plausible. */
  witness(time: number): boolean {
    if (time > Math.max(this.#time, TRUSTED) + LEAP || time >= Number.MAX_SAFE_INTEGER) return false;
    if (time >= this.#time) this.#time = time + 1;
    return true;
  }
}

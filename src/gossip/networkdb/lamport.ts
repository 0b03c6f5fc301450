/** Times up to here are taken whatever the clock shows; beyond, a clock advances by {@link LEAP} a message at most. */
const TRUSTED = 2 ** 52;
const LEAP = 2 ** 32;

/**
 * A Lamport clock: it counts events, and is never behind a time that it was told of.
 *
 * Times are numbers of 64 bits on the wire and exact up to 2^53 - 1 here. So that one message with an absurd time cannot
 * use them up, those far beyond any honest count (2^52 is one event a microsecond for 142 years) move the clock by no
 * more than 2^32: whoever wants to spoil it needs a million messages, and every event of others is still accepted then.
 */
export class Lamport {
  #time = 0;

  get time(): number {
    return this.#time;
  }

  /** The time of a new event of one's own. */
  increment(): number {
    if (this.#time < Number.MAX_SAFE_INTEGER) this.#time++;
    return this.#time;
  }

  /** Hears of an event's time, and says whether it may be true; one that may not changes nothing. */
  witness(time: number): boolean {
    if (time > Math.max(this.#time, TRUSTED) + LEAP || time >= Number.MAX_SAFE_INTEGER) return false;
    if (time >= this.#time) this.#time = time + 1;
    return true;
  }
}

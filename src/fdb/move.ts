import { hashPair } from '../wire/index.js';
import { DESTINATION, HIGH, isFlushed, KEPT, LOW, SEEN, slotOf, STATIC, STRIDE, type Slots } from './slot.js';

/** The destination in a slot whose entry has moved. */
const MOVED = -1;
/** What an entry that moves counts for, in slots. */
const MOVING = 8;

/**
 * What an addition does of a move, as `Move.advance` counts. Some 28 entries move for each one that is added, so a move has
 * ended before another one must begin.
 */
export const STEP = 256;
/** Most slots that are left in one call: it takes some 20 us. */
export const AT_ONCE = 1024;
/** The most times that a table becomes smaller in one move, so that it has room for what is added meanwhile. */
export const SHRINKING = 16;

/**
 * The entries of a table on their way from its former slots to other ones, a few at a time: a million take 30 ms.
 *
 * An address stays in its former slot when its entry moves, so that look-ups of others find theirs there, and that a
 * listing in progress reads the same addresses.
 */
export class Move {
  readonly from: Slots;
  readonly #to: Slots;
  readonly #seed: number;
  /** What was flushed before. */
  readonly #flushed: Map<number, number> | null;
  /** The next slot to look at, as an index into the words. */
  #next: number;
  /** Entries that `flush` removed, and that did not move, since `takeDropped`. */
  #dropped = 0;

  constructor(from: Slots, to: Slots, seed: number, flushed: Map<number, number> | null) {
    this.from = from;
    this.#to = to;
    this.#seed = seed;
    this.#flushed = flushed;
    this.#next = from.base;
  }

  /**
   * Moves entries, and returns as how many slots the work counts: at most some more than `most`.
   * @param since What was flushed since the move began. All entries in the former slots are older.
   */
  advance(most: number, since: Map<number, number> | null): number {
    const { words, base, count } = this.from;
    const to = this.#to;
    const mask = to.count - 1;
    const end = base + count * STRIDE;
    let done = 0;
    let at = this.#next;
    for (; at < end && done < most; at += STRIDE) {
      done++;
      const word = words[at + HIGH]!;
      if (word === 0 || words[at + DESTINATION] === MOVED) continue;
      done += MOVING;
      let slot = hashPair(this.#seed, words[at + LOW]!, word & 0xffff) & mask;
      while (to.words[to.base + slot * STRIDE + HIGH] !== 0) slot = (slot + 1) & mask;
      this.#take(at, to.base + slot * STRIDE, since);
    }
    this.#next = at;
    return done;
  }

  get isDone(): boolean {
    return this.#next === this.from.base + this.from.count * STRIDE;
  }

  /** Moves the entry of an address to a free slot, if there is one and it has not moved. */
  fetch(low: number, high: number, free: number, since: Map<number, number> | null): void {
    const { words, base, count } = this.from;
    const at = slotOf(words, base, count - 1, this.#seed, low, high);
    if (words[at + HIGH] !== 0 && words[at + DESTINATION] !== MOVED) this.#take(at, free, since);
  }

  /** The number of entries since the last call that `flush` had removed, and that did not move. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  #take(at: number, free: number, since: Map<number, number> | null): void {
    const { words } = this.from;
    if (this.#isFlushed(at, since)) this.#dropped++;
    else {
      const to = this.#to.words;
      to[free + LOW] = words[at + LOW]!;
      to[free + HIGH] = words[at + HIGH]! & KEPT; // of the first era: what was flushed since does not move
      to[free + DESTINATION] = words[at + DESTINATION]!;
      to[free + SEEN] = words[at + SEEN]!;
    }
    words[at + DESTINATION] = MOVED;
  }

  #isFlushed(at: number, since: Map<number, number> | null): boolean {
    const { words } = this.from;
    if (isFlushed(this.#flushed, words, at)) return true;
    return since !== null && (words[at + HIGH]! & STATIC) === 0 && since.has(words[at + DESTINATION]!);
  }
}

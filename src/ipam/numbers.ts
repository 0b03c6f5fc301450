import { Heap } from '../state/index.js';

/** A number that was given back. */
interface Hold {
  readonly number: number;
  /** When it is free. */
  readonly until: number;
}

/**
 * The numbers 0 to `size` - 1: which are free, and which comes next.
 *
 * Numbers go round: the next one is the first free one after the last one given. A number that is given back is not free
 * before its hold ends.
 *
 * The free ones are found in a tree of bits: a word of the lowest level has a bit for each of 32 numbers, set if the number
 * is not free; a bit of the next level is set if the whole word below is. Absent words are zero. So every operation takes
 * one step for each factor of 32 in `size`, and the memory is that of the numbers in use.
 */
export class Numbers {
  /** At most 2^32. */
  readonly size: number;
  readonly #levels: Map<number, number>[] = [];
  readonly #reserved = new Set<number>();
  readonly #holds = new Map<number, Hold>();
  /** By the end of the hold. */
  readonly #ending = new Heap<Hold>((a, b) => a.until < b.until || (a.until === b.until && a.number < b.number));
  #last = -1;
  #order = -Infinity;
  #used = 0;

  constructor(size: number) {
    this.size = size;
    for (let words = size; this.#levels.length === 0 || words > 1;) {
      words = Math.ceil(words / 32);
      this.#levels.push(new Map());
    }
  }

  /** How many are given back and not free yet. */
  get held(): number {
    return this.#holds.size;
  }

  /** How many are in use, without the reserved ones. */
  get used(): number {
    return this.#used - this.#holds.size - this.#reserved.size;
  }

  /** When the first of the held ones is free; `undefined` if none is held. */
  get nextEnd(): number | undefined {
    return this.#ending.first?.until;
  }

  /** Never give this one. */
  reserve(number: number): void {
    this.#reserved.add(number);
    this.#mark(number, true);
  }

  /**
   * A number is in use.
   * @param order Of one that was given by `next`: the next one comes after that with the greatest order.
   */
  take(number: number, order?: number): void {
    this.#endHold(number);
    this.#mark(number, true);
    if (order === undefined || order < this.#order) return;
    // Of those given at once, the highest: the same whatever the order of the calls.
    this.#last = order === this.#order ? Math.max(this.#last, number) : number;
    this.#order = order;
  }

  /** A number is in use no more, and free from `until`. */
  release(number: number, until: number): void {
    if (this.#reserved.has(number)) return;
    this.#endHold(number);
    this.#mark(number, true);
    const hold = { number, until };
    this.#holds.set(number, hold);
    this.#ending.put(hold);
  }

  /** A number is free now. */
  forget(number: number): void {
    if (this.#reserved.has(number)) return;
    this.#endHold(number);
    this.#mark(number, false);
  }

  /**
   * The next free number, which stays free; `undefined` if there is none.
   * @param now The time; holds that ended by then are over.
   * @param after Go on after this number, which an earlier call returned, with nothing changed since.
   */
  next(now: number, after?: number): number | undefined {
    this.#endHolds(now);
    const hasWrapped = after !== undefined && after <= this.#last;
    if (!hasWrapped) {
      const found = this.#firstFree((after ?? this.#last) + 1);
      if (found < this.size) return found;
    }
    const found = this.#firstFree(hasWrapped ? after + 1 : 0);
    return found <= this.#last ? found : undefined;
  }

  #endHolds(now: number): void {
    for (let hold = this.#ending.first; hold !== null && hold.until <= now; hold = this.#ending.first)
      this.forget(hold.number);
  }

  #endHold(number: number): void {
    const hold = this.#holds.get(number);
    if (hold === undefined) return;
    this.#holds.delete(number);
    this.#ending.remove(hold);
  }

  #mark(number: number, isUsed: boolean): void {
    let at = number;
    for (const level of this.#levels) {
      const word = Math.floor(at / 32);
      const old = level.get(word) ?? 0;
      const bit = 1 << (at % 32);
      const changed = isUsed ? old | bit : old & ~bit;
      if (changed === old) return;
      if (level === this.#levels[0]) this.#used += isUsed ? 1 : -1;
      if (changed === 0) level.delete(word);
      else level.set(word, changed);
      if ((old === -1) === (changed === -1)) return;
      at = word;
    }
  }

  /** The first free number from `from` on; `size` or more if there is none. */
  #firstFree(from: number): number {
    let at = from;
    for (let height = 0; height < this.#levels.length; height++) {
      const free = this.#freeIn(height, Math.floor(at / 32)) & (-1 << (at % 32));
      at = Math.floor(at / 32);
      if (free === 0) {
        at += 1;
        continue;
      }
      at = at * 32 + lowestBit(free);
      while (height-- > 0) at = at * 32 + lowestBit(this.#freeIn(height, at));
      return at;
    }
    return Infinity;
  }

  #freeIn(height: number, word: number): number {
    return ~(this.#levels[height]!.get(word) ?? 0);
  }
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

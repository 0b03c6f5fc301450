import { STRIDE } from './record.js';

/** Records in an array: a power of two. */
const TOGETHER = 1 << 12;
/** Records of the smallest array. */
const SMALLEST = 4;
/** The largest number of a record: the bits that a slot of an `Index` has for it. */
export const LAST = 0xff_ffff;

/**
 * The records of a table by number, from 1 on. A record keeps its number, and the one that was given back last is taken
 * first.
 *
 * Only the first array grows, because copying a larger one would take too long.
 */
export class Records {
  #arrays: Int32Array[] = [];
  /** The highest number so far. */
  #last = 0;
  /** The record that was given back last; its first word has the number of the one before it. */
  #free = 0;

  get last(): number {
    return this.#last;
  }

  /** The array that a record is in. */
  wordsOf(record: number): Int32Array {
    return this.#arrays[(record / TOGETHER) | 0]!;
  }

  /** Where the record is in that array. */
  placeOf(record: number): number {
    return (record & (TOGETHER - 1)) * STRIDE;
  }

  /** A record with arbitrary words. @throws RangeError if there are too many. */
  take(): number {
    const record = this.#free;
    if (record !== 0) {
      this.#free = this.wordsOf(record)[this.placeOf(record)]!;
      return record;
    }
    if (this.#last === LAST) throw new RangeError(`a segment has room for ${LAST} endpoints at most; remove one first`);
    this.#last++;
    this.#makeRoom();
    return this.#last;
  }

  /** Takes back a record. */
  give(record: number): void {
    this.wordsOf(record)[this.placeOf(record)] = this.#free;
    this.#free = record;
  }

  /** Takes back all records. */
  clear(): void {
    this.#arrays = [];
    this.#last = this.#free = 0;
  }

  /** Makes room for the record with the highest number. */
  #makeRoom(): void {
    const arrays = this.#arrays;
    const [first] = arrays;
    const needed = this.placeOf(this.#last) + STRIDE;
    if (first === undefined) arrays.push(new Int32Array(SMALLEST * STRIDE));
    else if (this.#last >= TOGETHER * arrays.length) arrays.push(new Int32Array(TOGETHER * STRIDE));
    else if (arrays.length === 1 && needed > first.length) {
      const grown = new Int32Array(first.length * 2);
      grown.set(first);
      arrays[0] = grown;
    }
  }
}

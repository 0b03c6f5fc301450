import { STRIDE } from './record.js';

/** Records in an array. */
const SHIFT = 12;
const TOGETHER = 1 << SHIFT;
/** Records of the smallest array. */
const SMALLEST = 4;
/** The largest number of a record: the bits that a slot of an `Index` has for it. */
export const LAST = 0xff_ffff;

const NONE = new Int32Array(0);

/**
 * The records of a table by number, from 1 on. A record keeps its number, and the one that was given back last is taken
 * first.
 *
 * Only the first array grows, because copying a larger one would take too long.
 */
export class Records {
  /** The first array has no level between, which most tables need nothing but. */
  #first = NONE;
  /** The further ones. */
  readonly #arrays: Int32Array[] = [];
  /** The highest number so far. */
  #last = 0;
  /** The record that was given back last; its first word has the number of the one before it. */
  #free = 0;

  get last(): number {
    return this.#last;
  }

  /** What the arrays take. */
  get octets(): number {
    return this.#first.byteLength + this.#arrays.length * TOGETHER * STRIDE * Int32Array.BYTES_PER_ELEMENT;
  }

  /** The array that a record is in. */
  wordsOf(record: number): Int32Array {
    return record < TOGETHER ? this.#first : this.#arrays[(record >>> SHIFT) - 1]!;
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
    this.#first = NONE;
    this.#arrays.length = 0;
    this.#last = this.#free = 0;
  }

  /** Makes room for the record with the highest number. */
  #makeRoom(): void {
    const needed = this.placeOf(this.#last) + STRIDE;
    if (this.#last >= TOGETHER) {
      if (needed === STRIDE) this.#arrays.push(new Int32Array(TOGETHER * STRIDE));
    } else if (needed > this.#first.length) {
      const grown = new Int32Array(Math.max(this.#first.length * 2, SMALLEST * STRIDE));
      grown.set(this.#first);
      this.#first = grown;
    }
  }
}

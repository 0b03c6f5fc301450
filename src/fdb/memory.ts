import { STRIDE, type Slots } from './slot.js';

/** Slots of no table, whose words are all 0. */
type Region = Omit<Slots, 'count'>;

/** Slots of the smallest and of the largest region that shares an array with others: powers of two. */
const SMALLEST = 16;
const SHARED = 1 << 16;
/** Slots of all tables that the processor's caches hold: 512 KiB. */
const CACHED = 1 << 15;

/**
 * What the forwarding databases of one machine share: the arrays that their slots are in, and the number of addresses
 * learned behind each destination.
 *
 * With an array of its own for each table, a frame reads one or two cache lines more, those of the array's object.
 */
export class FdbMemory {
  /** Free regions by size: `SMALLEST` times two to the power of the index. */
  readonly #free: Region[][] = [];
  #behind = new Int32Array(16);
  /** Slots in use. */
  #slots = 0;
  /** Slots of the next array: few at first, because a machine may have few addresses. */
  #nextArray = 256;

  /** Learned entries behind a destination, in all tables. */
  behind(destination: number): number {
    return this.#behind[destination] ?? 0;
  }

  /** Changes the number of learned entries behind a destination. */
  count(destination: number, change: number): void {
    if (destination >= this.#behind.length) {
      const grown = new Int32Array(Math.max(destination + 1, this.#behind.length * 2));
      grown.set(this.#behind);
      this.#behind = grown;
    }
    this.#behind[destination]! += change;
  }

  /** Whether the slots in use are more than the processor's caches hold. */
  get isLarge(): boolean {
    return this.#slots > CACHED;
  }

  /** The most entries of a table of `count` slots. With more, an address is often not in the cache line of its home slot. */
  room(count: number): number {
    return count - (count >> 2);
  }

  /** `count` slots, a power of two of at least 16. All of them are free. */
  take(count: number): Region {
    this.#slots += count;
    if (count > SHARED) return { words: new Int32Array(count * STRIDE), base: 0 };
    const size = sizeOf(count);
    let from = size;
    while (from <= sizeOf(SHARED) && (this.#free[from]?.length ?? 0) === 0) from++;
    let region = this.#free[from]?.pop();
    if (region === undefined) {
      const slots = Math.max(count, this.#nextArray);
      this.#nextArray = Math.min(SHARED, this.#nextArray * 2);
      region = { words: new Int32Array(slots * STRIDE), base: 0 };
      from = sizeOf(slots);
    }
    // Halves a larger region until it has the size.
    while (from > size) {
      from--;
      const half = (SMALLEST << from) * STRIDE;
      (this.#free[from] ??= []).push({ words: region.words, base: region.base + half });
    }
    return region;
  }

  /** Takes back what `take` returned. */
  give({ words, base, count }: Slots): void {
    this.#slots -= count;
    if (count > SHARED) return;
    words.fill(0, base, base + count * STRIDE);
    (this.#free[sizeOf(count)] ??= []).push({ words, base });
  }
}

function sizeOf(count: number): number {
  return 31 - Math.clz32(count / SMALLEST);
}

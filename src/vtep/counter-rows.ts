/** Rows per array. */
const ROWS = 64;
/** A row is a multiple of this many counters, which are one cache line. */
const LINE = 8;

/**
 * The counters of all segments: rows of equal length, many in one array. Two or three of the cache lines that a frame
 * touches in a segment were those of an array object of its own.
 */
export class CounterRows {
  /** Counters in a row. */
  readonly length: number;
  readonly #stride: number;
  readonly #arrays: Float64Array[] = [];
  readonly #free: { counters: Float64Array; row: number }[] = [];

  constructor(length: number) {
    this.length = length;
    this.#stride = Math.ceil(length / LINE) * LINE;
  }

  /** A row of zeros: the counters from the index `row` on. */
  take(): { counters: Float64Array; row: number } {
    if (this.#free.length === 0) {
      const counters = new Float64Array(ROWS * this.#stride);
      this.#arrays.push(counters);
      for (let i = ROWS - 1; i >= 0; i--) this.#free.push({ counters, row: i * this.#stride });
    }
    return this.#free.pop()!;
  }

  /** Takes back a row that `take` returned. */
  give(counters: Float64Array, row: number): void {
    counters.fill(0, row, row + this.length);
    this.#free.push({ counters, row });
  }

  /** Copies all rows. The function that it returns writes the copies back. */
  save(): () => void {
    const copies = this.#arrays.map((counters) => counters.slice());
    return () => copies.forEach((copy, i) => this.#arrays[i]!.set(copy));
  }
}

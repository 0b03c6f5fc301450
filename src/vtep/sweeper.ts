import type { Fdb } from '../fdb/index.js';
import type { Segment } from './segment.js';

/** What one call of `sweep` does, in slots: see `Fdb.sweepSome`. It takes about half a millisecond. */
const SLOTS = 1 << 17;
/** What a look at a table with nothing to do counts for: a call looks at 2,000 tables. */
const LOOK = 64;

/** Removes expired addresses from the tables of all segments in turn, a part at a time. */
export class Sweeper {
  readonly #segments: ReadonlyMap<number, Segment>;
  #next: Iterator<Segment>;
  /** The table whose sweep has not ended. */
  #table: Fdb | null = null;

  constructor(segments: ReadonlyMap<number, Segment>) {
    this.#segments = segments;
    this.#next = segments.values();
  }

  sweep(now: number): void {
    let left = SLOTS;
    for (let tables = this.#segments.size; tables > 0; tables--) {
      const table = this.#table ?? this.#nextTable();
      left -= LOOK + table.sweepSome(now, left);
      this.#table = left > 0 ? null : table;
      if (left <= 0) return;
    }
  }

  /** The table of the next segment, of which there is one. An iterator of a Map continues after changes. */
  #nextTable(): Fdb {
    let { value } = this.#next.next();
    if (value === undefined) {
      this.#next = this.#segments.values();
      value = this.#next.next().value;
    }
    return (value as Segment).fdb;
  }
}

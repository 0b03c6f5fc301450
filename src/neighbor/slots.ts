import { areSame, hashOf } from './record.js';
import { LAST, type Records } from './records.js';

/**
 * The bits of a used slot: what the record is found by, six bits of the hash, so that few records of other keys are read, and
 * the number of the record.
 */
const BY_SHIFT = 30;
const TAG = 0x3f00_0000;
const RECORD = LAST;
/** A slot of which the entry has moved, or was removed, while the others move. It is not free: others are found behind it. */
const LEFT = 1 << 24;

const SMALLEST = 16;
/** Most slots that are left in one call: it takes some 20 us. */
const AT_ONCE = 1024;
/** Slots that each further entry, and each removal, leaves. A move has ended long before another one must begin. */
const STEP = 16;

/** The slots of an index without entries. */
const NONE = new Int32Array(1);

/**
 * Finds the newest record of each key, in a hash table with open addressing. Keys are those of `hashOf`.
 *
 * When it is full, the entries move to twice as many slots, a few with each change: a million take 50 ms.
 */
export class Index {
  #slots = NONE;
  /** The slots that the entries are moving out of; `null` if all are in `#slots`. */
  #former: Int32Array | null = null;
  readonly #records: Records;
  readonly #seed: number;
  /** The next of the former slots to leave. */
  #next = 0;
  /** Entries, also those in former slots. */
  #used = 0;

  /** @param seed An integer that outsiders cannot guess, so that they cannot choose keys with equal hashes. */
  constructor(records: Records, seed: number) {
    this.#records = records;
    this.#seed = seed;
  }

  /** The number of the record with a key; 0 if there is none. Does not allocate. */
  find(by: number, words: Int32Array, at: number): number {
    const hash = hashOf(by, words, at, this.#seed);
    const slot = this.#seek(this.#slots, by, hash, words, at);
    if (slot >= 0) return this.#slots[slot]! & RECORD;
    return this.#former === null ? 0 : this.#findFormer(this.#former, by, hash, words, at);
  }

  #findFormer(former: Int32Array, by: number, hash: number, words: Int32Array, at: number): number {
    const slot = this.#seek(former, by, hash, words, at);
    return slot < 0 ? 0 : former[slot]! & RECORD;
  }

  /** Names a record for its key. @returns the one that it replaces; 0 if there was none. */
  put(by: number, words: Int32Array, at: number, record: number): number {
    if (this.#used >= (this.#slots.length >> 2) * 3) this.#grow();
    if (this.#former !== null) this.#advance(this.#former, STEP);
    const hash = hashOf(by, words, at, this.#seed);
    const entry = (by << BY_SHIFT) | (hash & TAG) | record;
    const slots = this.#slots;
    const slot = this.#seek(slots, by, hash, words, at);
    if (slot >= 0) return replace(slots, slot, entry);
    const former = this.#former;
    const other = former === null ? -1 : this.#seek(former, by, hash, words, at);
    if (other >= 0) return replace(former!, other, entry);
    slots[~slot] = entry;
    this.#used++;
    return 0;
  }

  /** Removes the entry of a key, which must exist. */
  delete(by: number, words: Int32Array, at: number): void {
    if (this.#former !== null) this.#advance(this.#former, STEP);
    const hash = hashOf(by, words, at, this.#seed);
    const slot = this.#seek(this.#slots, by, hash, words, at);
    if (slot >= 0) this.#close(slot);
    else this.#former![this.#seek(this.#former!, by, hash, words, at)] = LEFT;
    this.#used--;
  }

  /** Removes all entries. */
  clear(): void {
    this.#slots = NONE;
    this.#former = null;
    this.#used = 0;
  }

  /** The slot of a key, or the complement of the free slot for it. */
  #seek(slots: Int32Array, by: number, hash: number, words: Int32Array, at: number): number {
    const mask = slots.length - 1;
    const records = this.#records;
    const top = (by << BY_SHIFT) | (hash & TAG);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return ~slot;
      if ((entry & ~RECORD) !== top) continue;
      const record = entry & RECORD;
      if (record !== 0 && areSame(by, records.wordsOf(record), records.placeOf(record), words, at)) return slot;
    }
  }

  /** The hash of the key of an entry. */
  #hashOf(entry: number): number {
    const record = entry & RECORD;
    return hashOf(entry >>> BY_SHIFT, this.#records.wordsOf(record), this.#records.placeOf(record), this.#seed);
  }

  /** Empties a slot and moves the entries that probed past it, so that no tombstones are needed. */
  #close(free: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = (free + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.#hashOf(slots[slot]!) & mask;
      // The entry may move only if its home slot is not between the hole and the entry.
      if (((slot - home) & mask) < ((slot - free) & mask)) continue;
      slots[free] = slots[slot]!;
      free = slot;
    }
    slots[free] = 0;
  }

  #grow(): void {
    const former = this.#slots;
    this.#slots = new Int32Array(Math.max(SMALLEST, former.length * 2));
    this.#former = former;
    this.#next = 0;
    if (former.length <= AT_ONCE) this.#advance(former, former.length);
  }

  /** Moves the entries in the next `most` of the former slots. */
  #advance(former: Int32Array, most: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    const end = Math.min(this.#next + most, former.length);
    for (let i = this.#next; i < end; i++) {
      const entry = former[i]!;
      if ((entry & RECORD) === 0) continue;
      let slot = this.#hashOf(entry) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = entry;
      former[i] = LEFT;
    }
    this.#next = end;
    if (end === former.length) this.#former = null;
  }
}

/** Replaces an entry, and returns the number of the record that it named. */
function replace(slots: Int32Array, slot: number, entry: number): number {
  const before = slots[slot]! & RECORD;
  slots[slot] = entry;
  return before;
}

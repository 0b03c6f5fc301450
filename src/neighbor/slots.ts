import { hashPair, hashWords } from '../wire/index.js';
import { areSame, HIGH, IP, IPV4, IPV6, LOW, MAC } from './record.js';
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
 * Finds the record of each IP address, and the newest of each MAC address, in a hash table with open addressing.
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

  /** What the slots take. */
  get octets(): number {
    return this.#slots === NONE ? 0 : this.#slots.byteLength + (this.#former?.byteLength ?? 0);
  }

  // ---- Look-ups ----

  // One loop for each kind of address: V8 makes one function of a look-up then, which takes half of the time.

  /** The number of the record with an IPv4 address; 0 if there is none. */
  ofIpv4(ip: number): number {
    const hash = hashPair(this.#seed, ip, 0);
    const record = this.#ipv4In(this.#slots, hash, ip);
    return record === 0 && this.#former !== null ? this.#ipv4In(this.#former, hash, ip) : record;
  }

  /** The same for an IPv6 address, in four words. */
  ofIpv6(a: number, b: number, c: number, d: number): number {
    const hash = hashWords(this.#seed, a, b, c, d);
    const record = this.#ipv6In(this.#slots, hash, a, b, c, d);
    return record === 0 && this.#former !== null ? this.#ipv6In(this.#former, hash, a, b, c, d) : record;
  }

  /** The number of the newest record with a MAC address: its low 32 bits and its high 16 bits. */
  ofMac(low: number, high: number): number {
    const hash = hashPair(this.#seed, low, high);
    const record = this.#macIn(this.#slots, hash, low, high);
    return record === 0 && this.#former !== null ? this.#macIn(this.#former, hash, low, high) : record;
  }

  #ipv4In(slots: Int32Array, hash: number, ip: number): number {
    const mask = slots.length - 1;
    const top = topOf(IPV4, hash);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return 0;
      const record = entry ^ top;
      if (record <= 0 || record > RECORD) continue;
      if (this.#records.wordsOf(record)[this.#records.placeOf(record) + IP] === ip) return record;
    }
  }

  #ipv6In(slots: Int32Array, hash: number, a: number, b: number, c: number, d: number): number {
    const mask = slots.length - 1;
    const top = topOf(IPV6, hash);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return 0;
      const record = entry ^ top;
      if (record <= 0 || record > RECORD) continue;
      const words = this.#records.wordsOf(record);
      const at = this.#records.placeOf(record) + IP;
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) return record;
    }
  }

  #macIn(slots: Int32Array, hash: number, low: number, high: number): number {
    const mask = slots.length - 1;
    const top = topOf(MAC, hash);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return 0;
      const record = entry ^ top;
      if (record <= 0 || record > RECORD) continue;
      const words = this.#records.wordsOf(record);
      const at = this.#records.placeOf(record);
      if (words[at + LOW] === low && (words[at + HIGH]! & 0xffff) === high) return record;
    }
  }

  // ---- Changes ----

  /** The number of the record of a key; 0 if there is none. The key is what is found by `by` of a record. */
  find(by: number, words: Int32Array, at: number): number {
    const hash = this.#hashAt(by, words, at);
    const slot = this.#seek(this.#slots, by, hash, words, at);
    if (slot >= 0) return this.#slots[slot]! & RECORD;
    const former = this.#former;
    const other = former === null ? -1 : this.#seek(former, by, hash, words, at);
    return other < 0 ? 0 : former![other]! & RECORD;
  }

  /** Names a record for its key. @returns the one that it replaces; 0 if there was none. */
  put(by: number, record: number): number {
    if (this.#used >= (this.#slots.length >> 2) * 3) this.#grow();
    if (this.#former !== null) this.#advance(this.#former, STEP);
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    const hash = this.#hashAt(by, words, at);
    const entry = topOf(by, hash) | record;
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

  /** Removes the entry for the key of a record, which must exist. */
  delete(by: number, record: number): void {
    if (this.#former !== null) this.#advance(this.#former, STEP);
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    const hash = this.#hashAt(by, words, at);
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

  /** The hash of what a record is found by. */
  #hashAt(by: number, words: Int32Array, at: number): number {
    if (by === MAC) return hashPair(this.#seed, words[at + LOW]!, words[at + HIGH]! & 0xffff);
    if (by === IPV4) return hashPair(this.#seed, words[at + IP]!, 0);
    return hashWords(this.#seed, words[at + IP]!, words[at + IP + 1]!, words[at + IP + 2]!, words[at + IP + 3]!);
  }

  /** The slot of a key; the complement of the free slot for it, if it has none. */
  #seek(slots: Int32Array, by: number, hash: number, words: Int32Array, at: number): number {
    const mask = slots.length - 1;
    const top = topOf(by, hash);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === 0) return ~slot;
      const record = entry ^ top;
      if (record <= 0 || record > RECORD) continue;
      if (areSame(by, this.#records.wordsOf(record), this.#records.placeOf(record), words, at)) return slot;
    }
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

  /** The hash of what the record of an entry is found by. */
  #hashOf(entry: number): number {
    const record = entry & RECORD;
    return this.#hashAt(entry >>> BY_SHIFT, this.#records.wordsOf(record), this.#records.placeOf(record));
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

/** The bits of an entry above the number of its record. */
function topOf(by: number, hash: number): number {
  return (by << BY_SHIFT) | (hash & TAG);
}

/** Replaces an entry, and returns the number of the record that it named. */
function replace(slots: Int32Array, slot: number, entry: number): number {
  const before = slots[slot]! & RECORD;
  slots[slot] = entry;
  return before;
}

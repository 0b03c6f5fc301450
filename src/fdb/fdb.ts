import { getI32, getU16 } from '../wire/index.js';
import { FdbMemory } from './memory.js';
import { CONFIRMED, CONTRADICTED, FULL, INVALID, LEARNED, MOVED, NONE, QUOTA, REFRESHED } from './outcome.js';
import {
  DESTINATION,
  entryAt,
  KEPT,
  ERA_SHIFT,
  GROUP,
  hashOf,
  HIGH,
  highOf,
  isFlushed,
  isInvalid,
  isLearned,
  LAST_ERA,
  LOW,
  SEEN,
  STATIC,
  STRIDE,
  TICK,
  ticks,
  USED,
  type FdbEntry,
} from './slot.js';

export interface FdbOptions {
  /** Maximum number of learned entries; static ones do not count. Default 65,536. */
  capacity?: number;
  /**
   * Maximum number of learned entries behind one destination. It keeps a flood of source addresses from one port or
   * remote from filling the table. Default: half the capacity.
   */
  perDestination?: number;
  /** Milliseconds after which a learned entry that was not refreshed expires; 0 for never. Default 300,000, as in Linux. */
  ageing?: number;
  /** An integer; if outsiders cannot guess it, they cannot choose addresses that collide in the hash table. Default 0. */
  seed?: number;
  /** Memory that the table shares with others. Default: its own. */
  memory?: FdbMemory;
}

const SMALLEST = 16;
/** What the removal of an entry counts for `sweepSome`, in slots: it takes as long. */
const REMOVAL = 16;
/** Most slots of a table whose listing is a copy. */
const COPIED = 1 << 16;

export class Fdb {
  // What a look-up reads comes first, so that it is in one cache line or two.
  #words: Int32Array;
  #base: number;
  #mask = SMALLEST - 1;
  readonly #seed: number;
  /** Entries that `flush` removed and that still use a slot. */
  #stale = 0;
  readonly #ageTicks: number;
  /** By destination, the last era in which a learned entry was flushed; `null` if no such entry uses a slot. */
  #flushed: Map<number, number> | null = null;
  /** Increases with each flush. */
  #era = 0;
  #statics = 0;
  #learned = 0;
  readonly capacity: number;
  readonly perDestination: number;
  /** The former destination of the address for which `learn` last returned `MOVED`. */
  movedFrom = NONE;
  /** Learned entries by destination. */
  readonly #behind = new Map<number, number>();
  readonly #memory: FdbMemory;
  /** The next slot that `sweepSome` looks at. */
  #cursor = 0;
  /** No learned entry was last seen before this tick; without meaning if there are none. */
  #oldest = 0;
  /** The same for the slots before the cursor. */
  #oldestSwept = 0;
  /** Whether there are any before the cursor. */
  #anySwept = false;

  constructor(options: FdbOptions = {}) {
    this.capacity = options.capacity ?? 65_536;
    if (!Number.isInteger(this.capacity) || this.capacity < 0 || this.capacity > 1 << 24)
      throw new RangeError(`fdb.capacity must be an integer from 0 to ${1 << 24}, not ${this.capacity}`);
    this.perDestination = options.perDestination ?? Math.ceil(this.capacity / 2);
    const ageing = options.ageing ?? 300_000;
    if (!(ageing >= 0)) throw new RangeError(`fdb.ageing must be 0 or more milliseconds, not ${ageing}`);
    this.#ageTicks = ageing === 0 ? 0x7fff_ffff : Math.min(Math.ceil(ageing / TICK), 0x7fff_ffff);
    this.#seed = (options.seed ?? 0) | 0;
    this.#memory = options.memory ?? new FdbMemory();
    const { words, base } = this.#memory.take(SMALLEST);
    this.#words = words;
    this.#base = base;
  }

  /** Entries of both kinds; learned ones that expired count until they are swept. */
  get size(): number {
    return this.#statics + this.#learned;
  }

  /** Learned entries behind one destination. */
  behind(destination: number): number {
    return this.#behind.get(destination) ?? 0;
  }

  /** The destination of the address at `offset`, or `NONE`. Does not find an expired entry. */
  lookup(bytes: Uint8Array, offset: number, now: number): number {
    return this.find(getI32(bytes, offset + 2), getU16(bytes, offset), now);
  }

  /** Like `lookup`. The address is given by its low 32 bits, signed, and its high 16 bits. */
  find(low: number, high: number, now: number): number {
    const words = this.#words;
    const at = this.#find(low, high);
    const word = words[at + HIGH]!;
    if (word === 0 || ((word & STATIC) === 0 && this.#isGone(at, ticks(now)))) return NONE;
    return words[at + DESTINATION]!;
  }

  /** Whether the address at `offset` has a static entry. */
  isStatic(bytes: Uint8Array, offset: number): boolean {
    return (this.#words[this.#find(getI32(bytes, offset + 2), getU16(bytes, offset)) + HIGH]! & STATIC) !== 0;
  }

  /** The destination of a MAC address, a number of 48 bits, or `NONE`. Does not find an expired entry. */
  locate(mac: number, now: number): number {
    return this.find(mac | 0, highOf(mac), now);
  }

  /**
   * Refreshes the entry of the address at `offset` if its destination is `destination`, as for nearly every frame.
   * @returns whether it is; if not, call `learn`.
   */
  refresh(bytes: Uint8Array, offset: number, destination: number, now: number): boolean {
    return this.touch(getI32(bytes, offset + 2), getU16(bytes, offset), destination, now);
  }

  /** Like `refresh`. The address is given by its low 32 bits, signed, and its high 16 bits. */
  touch(low: number, high: number, destination: number, now: number): boolean {
    const words = this.#words;
    const at = this.#find(low, high);
    if (words[at + HIGH] === 0 || words[at + DESTINATION] !== destination) return false;
    if (this.#stale !== 0 && this.#isStale(at)) return false;
    words[at + SEEN] = ticks(now); // has no meaning for a static entry
    return true;
  }

  /**
   * Learns that the address at `offset` was seen as a source behind `destination`.
   * @returns one of `REFRESHED`, `LEARNED`, `MOVED`, `CONFIRMED`, `CONTRADICTED`, `FULL`, `QUOTA`, `INVALID`.
   */
  learn(bytes: Uint8Array, offset: number, destination: number, now: number): number {
    const low = getI32(bytes, offset + 2);
    const high = getU16(bytes, offset);
    if ((high & GROUP) !== 0 || (low === 0 && high === 0)) return INVALID;
    const words = this.#words;
    const at = this.#find(low, high);
    const word = words[at + HIGH]!;
    const tick = ticks(now);
    if (word !== 0 && !this.#isStale(at)) {
      const known = words[at + DESTINATION]!;
      if ((word & STATIC) !== 0) return known === destination ? CONFIRMED : CONTRADICTED;
      if (known === destination) {
        words[at + SEEN] = tick;
        return REFRESHED;
      }
      const isAged = this.#isAged(at, tick);
      if (this.behind(destination) >= this.perDestination) return QUOTA;
      this.#move(at, destination, tick);
      this.movedFrom = known;
      return isAged ? LEARNED : MOVED;
    }
    if (this.#learned >= this.capacity) return FULL;
    if (this.behind(destination) >= this.perDestination) return QUOTA;
    this.#addLearned(at, low, high, destination, tick);
    return LEARNED;
  }

  /**
   * Learns from another table of the same segment that an address was seen behind `destination` `age` milliseconds ago.
   * Does not replace a static entry, or one that was seen later.
   * @param mac A number of 48 bits.
   */
  adopt(mac: number, destination: number, age: number, now: number): void {
    if (isInvalid(mac)) return;
    const at = this.#find(mac | 0, highOf(mac));
    const words = this.#words;
    const word = words[at + HIGH]!;
    const seen = ticks(now - age);
    if (word === 0 || this.#isStale(at)) {
      if (this.#learned >= this.capacity || this.behind(destination) >= this.perDestination) return;
      this.#addLearned(at, mac | 0, highOf(mac), destination, seen);
      return;
    }
    if ((word & STATIC) !== 0 || ((seen - words[at + SEEN]!) | 0) < 0) return;
    if (words[at + DESTINATION] === destination) words[at + SEEN] = seen;
    else if (this.behind(destination) < this.perDestination) this.#move(at, destination, seen);
  }

  /** The destination of a MAC address, a number of 48 bits, whatever its age, or `NONE`. */
  peek(mac: number): number {
    const at = this.#find(mac | 0, highOf(mac));
    return this.#words[at + HIGH] === 0 || this.#isStale(at) ? NONE : this.#words[at + DESTINATION]!;
  }

  /** Sets a static entry, and replaces any other. `mac` is a number of 48 bits. */
  setStatic(mac: number, destination: number): void {
    if (!Number.isInteger(destination) || destination < 0 || destination >= 1 << 30)
      throw new RangeError(`fdb.destination must be an integer from 0 to ${(1 << 30) - 1}, not ${destination}`);
    const at = this.#find(mac | 0, highOf(mac));
    // An existing entry keeps its slot: a listing in progress could list it twice if it moved.
    if (this.#words[at + HIGH] !== 0) this.#forget(at);
    this.#statics++;
    this.#write(at, mac | 0, highOf(mac) | USED | STATIC, destination, 0);
  }

  /** Removes the entry, learned or static, and returns whether there was one. */
  remove(mac: number): boolean {
    const at = this.#find(mac | 0, highOf(mac));
    if (this.#words[at + HIGH] === 0) return false;
    const isStale = this.#isStale(at);
    this.#forget(at);
    this.#close(at);
    return !isStale;
  }

  /**
   * Removes the learned entries: all, or those behind one destination. They are gone at once, but use their slots until
   * they are swept, so the time of a call does not depend on their number.
   */
  flush(destination?: number): void {
    if (destination === undefined) {
      for (const one of [...this.#behind.keys()]) this.flush(one);
      return;
    }
    const count = this.behind(destination);
    if (count === 0) return;
    if (this.#era === LAST_ERA) this.#resize(this.#mask + 1); // takes time by the slot, once in 16,383 flushes
    (this.#flushed ??= new Map()).set(destination, this.#era++);
    this.#stale += count;
    this.#learned -= count;
    this.#behind.delete(destination);
    this.#memory.count(destination, -count);
  }

  /** Removes expired entries. Look-ups do not find them anyway; call it from time to time to free memory. */
  sweep(now: number): void {
    this.#cursor = 0;
    this.sweepSome(now, Number.POSITIVE_INFINITY);
  }

  /**
   * Does a part of what `sweep` does. The next call continues where this one ends. A whole round takes at least one call
   * for each `most` slots, of which there are two to three for an entry.
   * @param most The most slots to look at. An entry that is removed counts as 16 of them.
   * @returns as how many slots the work counts; 0 if there was none to do.
   */
  sweepSome(now: number, most: number): number {
    const tick = ticks(now);
    if (this.#cursor === 0 && this.#stale === 0 && !this.#isDue(tick)) return this.#shrink();
    const words = this.#words;
    const base = this.#base;
    const limit = this.#ageTicks;
    const end = base + (this.#mask + 1) * STRIDE;
    let at = base + this.#cursor * STRIDE;
    if (this.#cursor === 0) this.#anySwept = false;
    const anyStale = this.#stale !== 0;
    let greatest = 0; // age of the learned entries that stay
    let done = 0;
    while (at < end && done < most) {
      done++;
      // Most entries stay. A branch by what is in a slot would be predicted wrongly as often as not: 2 ns a slot.
      const age = (tick - words[at + SEEN]!) & (0 - isLearned(words[at + HIGH]!)); // -0 would be a float
      if (age > limit || (anyStale && words[at + HIGH] !== 0 && this.#isStale(at))) {
        this.#forget(at);
        this.#close(at); // looks at the same slot again: another entry may have moved into it
        done += REMOVAL;
      } else {
        if (age > greatest) greatest = age;
        at += STRIDE;
      }
    }
    this.#noteSwept((tick - greatest) | 0);
    if (at < end) this.#cursor = (at - base) / STRIDE;
    else {
      this.#cursor = 0;
      this.#oldest = this.#oldestSwept;
      this.#shrink();
    }
    return done;
  }

  /** Gives the memory back. The table must not be used any more, except by listings in progress. */
  close(): void {
    for (const [destination, count] of this.#behind) this.#memory.count(destination, -count);
    this.#behind.clear();
    this.#memory.give({ words: this.#words, base: this.#base }, this.#mask + 1);
    this.#words = new Int32Array(SMALLEST * STRIDE);
    this.#base = 0;
    this.#mask = SMALLEST - 1;
    this.#statics = this.#learned = this.#stale = this.#cursor = 0;
    this.#flushed = null;
  }

  /**
   * The entries that have not expired, in unspecified order. The table may change during the iteration. An entry that
   * exists throughout is listed exactly once; an entry that is added or removed meanwhile may be missing.
   */
  *entries(now: number): Generator<FdbEntry> {
    const tick = ticks(now);
    const count = this.#mask + 1;
    // A copy, or an array that stays as it is when the table grows: other tables may use the slots that this one leaves.
    const words = count <= COPIED ? this.#words.slice(this.#base, this.#base + count * STRIDE) : this.#words;
    let flushed = this.#stale === 0 ? null : new Map(this.#flushed);
    // A removal moves later entries of the same run of used slots to earlier slots of that run. The iteration therefore
    // reads a whole run before it yields. It begins after a free slot, because a run may wrap around the end of the table.
    let before = 0;
    while (words[before + HIGH] !== 0) before += STRIDE;
    const run: FdbEntry[] = [];
    for (let i = STRIDE; i <= words.length; i += STRIDE) {
      const at = (before + i) & (words.length - 1);
      const word = words[at + HIGH]!;
      if (
        word !== 0 &&
        ((word & STATIC) !== 0 ||
          (((tick - words[at + SEEN]!) | 0) <= this.#ageTicks && !isFlushed(flushed, words, at)))
      )
        run.push(entryAt(words, at, tick));
      if (word !== 0 && i < words.length) continue;
      for (let k = 0; k < run.length; k++) yield run[k]!; // faster than yield*
      if (words === this.#words) flushed = this.#flushed;
      run.length = 0;
    }
  }

  /** The entry of a MAC address, a number of 48 bits, or `null`. */
  entry(mac: number, now: number): FdbEntry | null {
    const words = this.#words;
    const at = this.#find(mac | 0, highOf(mac));
    const word = words[at + HIGH]!;
    if (word === 0 || ((word & STATIC) === 0 && this.#isGone(at, ticks(now)))) return null;
    return entryAt(words, at, ticks(now));
  }

  /** The slot of an address, or the free slot for it. */
  #find(low: number, high: number): number {
    const words = this.#words;
    const base = this.#base;
    const mask = this.#mask;
    let slot = hashOf(low, high, this.#seed) & mask;
    for (;;) {
      const at = base + slot * STRIDE;
      const word = words[at + HIGH]!;
      if (word === 0 || (words[at + LOW] === low && (word & 0xffff) === high)) return at;
      slot = (slot + 1) & mask;
    }
  }

  #isAged(at: number, tick: number): boolean {
    return ((tick - this.#words[at + SEEN]!) | 0) > this.#ageTicks;
  }

  /** Whether the entry in a used slot was removed by `flush`. */
  #isStale(at: number): boolean {
    return this.#stale !== 0 && isFlushed(this.#flushed, this.#words, at);
  }

  #isGone(at: number, tick: number): boolean {
    return this.#isAged(at, tick) || this.#isStale(at);
  }

  /** Whether a learned entry may have expired. */
  #isDue(tick: number): boolean {
    return this.#learned > 0 && ((tick - this.#oldest) | 0) > this.#ageTicks;
  }

  /** A learned entry is before the cursor of `sweepSome`, or it may be. */
  #noteSwept(seen: number): void {
    if (this.#anySwept && ((seen - this.#oldestSwept) | 0) >= 0) return;
    this.#oldestSwept = seen;
    this.#anySwept = true;
  }

  /** Puts an address into its slot, which is free or has an entry that `flush` removed. */
  #addLearned(at: number, low: number, high: number, destination: number, seen: number): void {
    if (this.#words[at + HIGH] !== 0) this.#forget(at);
    if (this.#learned === 0 || ((seen - this.#oldest) | 0) < 0) this.#oldest = seen;
    this.#noteSwept(seen);
    this.#learned++;
    this.#count(destination, 1);
    this.#write(at, low, high | USED, destination, seen);
  }

  /** Moves a learned entry to another destination. */
  #move(at: number, destination: number, seen: number): void {
    const words = this.#words;
    this.#count(words[at + DESTINATION]!, -1);
    this.#count(destination, 1);
    words[at + HIGH] = (words[at + HIGH]! & KEPT) | (this.#era << ERA_SHIFT);
    words[at + DESTINATION] = destination;
    words[at + SEEN] = seen;
  }

  /** Writes an entry, which is counted already, into its slot; into a larger table if the slot was free and this is full. */
  #write(at: number, low: number, high: number, destination: number, seen: number): void {
    const isFree = this.#words[at + HIGH] === 0;
    if (isFree && this.size + this.#stale > this.#memory.room(this.#mask + 1)) {
      this.#resize((this.#mask + 1) * 2);
      at = this.#find(low, high & 0xffff);
    }
    const words = this.#words;
    words[at + LOW] = low;
    words[at + HIGH] = high | (this.#era << ERA_SHIFT); // the era after `#resize`
    words[at + DESTINATION] = destination;
    words[at + SEEN] = seen;
  }

  /** Copies the entries to a region of `count` slots, without those that `flush` removed. The eras start again. */
  #resize(count: number): void {
    const [before, from, slots] = [this.#words, this.#base, this.#mask + 1];
    const { words, base } = this.#memory.take(count);
    const flushed = this.#stale === 0 ? null : this.#flushed;
    this.#words = words;
    this.#base = base;
    this.#mask = count - 1;
    for (let at = from; at < from + slots * STRIDE; at += STRIDE) {
      const word = before[at + HIGH]!;
      if (word === 0 || isFlushed(flushed, before, at)) continue;
      const to = this.#find(before[at + LOW]!, word & 0xffff);
      words[to + LOW] = before[at + LOW]!;
      words[to + HIGH] = word & KEPT;
      words[to + DESTINATION] = before[at + DESTINATION]!;
      words[to + SEEN] = before[at + SEEN]!;
    }
    this.#memory.give({ words: before, base: from }, slots);
    this.#stale = 0;
    this.#flushed = null;
    this.#era = 0;
    this.#cursor = 0; // the round of `sweepSome` starts again
  }

  /** Stops counting the entry in a used slot. */
  #forget(at: number): void {
    const words = this.#words;
    if ((words[at + HIGH]! & STATIC) !== 0) this.#statics--;
    else if (!this.#isStale(at)) {
      this.#learned--;
      this.#count(words[at + DESTINATION]!, -1);
    } else if (--this.#stale === 0) this.#flushed = null; // a new one next time, because a listing may have this one
  }

  /** Empties a slot and moves the entries that probed past it, so that no tombstones are needed. */
  #close(hole: number): void {
    const words = this.#words;
    const base = this.#base;
    const mask = this.#mask;
    let free = (hole - base) / STRIDE;
    for (let slot = (free + 1) & mask; ; slot = (slot + 1) & mask) {
      const at = base + slot * STRIDE;
      const word = words[at + HIGH]!;
      if (word === 0) break;
      const home = hashOf(words[at + LOW]!, word & 0xffff, this.#seed) & mask;
      // The entry may move only if its home slot is not between the hole and the entry.
      if (((slot - home) & mask) < ((slot - free) & mask)) continue;
      // It may pass the cursor of `sweepSome`.
      if ((word & STATIC) === 0) this.#noteSwept(words[at + SEEN]!);
      const to = base + free * STRIDE;
      for (let i = 0; i < STRIDE; i++) words[to + i] = words[at + i]!;
      free = slot;
    }
    words.fill(0, base + free * STRIDE, base + (free + 1) * STRIDE);
  }

  /** Moves few entries out of a large table. Returns the number of slots that it looked at. */
  #shrink(): number {
    const slots = this.#mask + 1;
    let count = slots;
    while (count > SMALLEST && this.size * 8 < count) count /= 2;
    if (count === slots) return 0;
    this.#resize(count);
    return slots;
  }

  #count(destination: number, change: number): void {
    const count = this.behind(destination) + change;
    if (count === 0) this.#behind.delete(destination);
    else this.#behind.set(destination, count);
    this.#memory.count(destination, change);
  }
}

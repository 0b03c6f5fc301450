import { macHigh } from '../address/index.js';
import { getI32, getU16, hashPair } from '../wire/index.js';
import { listEntries } from './listing.js';
import type { FdbMemory } from './memory.js';
import { AT_ONCE, Move, SHRINKING, STEP } from './move.js';
import { complete, type FdbOptions } from './options.js';
import { CONFIRMED, CONTRADICTED, FULL, INVALID, LEARNED, MOVED, NONE, QUOTA, REFRESHED } from './outcome.js';
import {
  DESTINATION,
  entryAt,
  KEPT,
  ERA_SHIFT,
  GROUP,
  HIGH,
  isFlushed,
  isInvalid,
  isLearned,
  LAST_ERA,
  LOW,
  SEEN,
  STATIC,
  STRIDE,
  ticks,
  USED,
  type FdbEntry,
  type Slots,
} from './slot.js';

const SMALLEST = 16;
/** What a look at a slot counts for `sweepSome` while there are flushed entries: each entry may be one. */
const FLUSHED_LOOK = 2;
/** What the removal of an entry counts for `sweepSome`, in slots: it takes as long. */
const REMOVAL = 16;
export class Fdb {
  // What a look-up reads comes first, so that it is in one cache line or two.
  #words: Int32Array;
  #base: number;
  #mask = SMALLEST - 1;
  readonly #seed: number;
  /** Entries that `flush` removed and that still use a slot. */
  #stale = 0;
  /** The slots that the entries are moving out of; `null` if all are in `#words`. */
  #move: Move | null = null;
  /** The age from which a learned entry is expired. */
  readonly ageTicks: number;
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
  readonly #publishTo: FdbOptions['publish'];
  /** The next slot that `sweepSome` looks at. */
  #cursor = 0;
  /** No learned entry was last seen before this tick; without meaning if there are none. */
  #oldest = 0;
  /** The same for the slots before the cursor. */
  #oldestSwept = 0;
  /** Whether there are any before the cursor. */
  #anySwept = false;

  constructor(options: FdbOptions = {}) {
    const { capacity, perDestination, ageTicks, seed, memory } = complete(options);
    this.capacity = capacity;
    this.perDestination = perDestination;
    this.ageTicks = ageTicks;
    this.#seed = seed;
    this.#memory = memory;
    const { words, base } = this.#memory.take(SMALLEST);
    this.#words = words;
    this.#base = base;
    this.#publishTo = options.publish;
    this.#publish();
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
    return this.find(mac | 0, macHigh(mac), now);
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
      this.#relocate(at, destination, tick);
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
    const at = this.#find(mac | 0, macHigh(mac));
    const words = this.#words;
    const word = words[at + HIGH]!;
    const seen = ticks(now - age);
    if (word === 0 || this.#isStale(at)) {
      if (this.#learned >= this.capacity || this.behind(destination) >= this.perDestination) return;
      this.#addLearned(at, mac | 0, macHigh(mac), destination, seen);
      return;
    }
    if ((word & STATIC) !== 0 || ((seen - words[at + SEEN]!) | 0) < 0) return;
    if (words[at + DESTINATION] === destination) words[at + SEEN] = seen;
    else if (this.behind(destination) < this.perDestination) this.#relocate(at, destination, seen);
  }

  /** The destination of a MAC address, a number of 48 bits, whatever its age, or `NONE`. */
  peek(mac: number): number {
    const at = this.#find(mac | 0, macHigh(mac));
    return this.#words[at + HIGH] === 0 || this.#isStale(at) ? NONE : this.#words[at + DESTINATION]!;
  }

  /** Sets a static entry, and replaces any other. `mac` is a number of 48 bits. */
  setStatic(mac: number, destination: number): void {
    if (!Number.isInteger(destination) || destination < 0 || destination >= 1 << 30)
      throw new RangeError(`fdb.destination must be an integer from 0 to ${(1 << 30) - 1}, not ${destination}`);
    const at = this.#find(mac | 0, macHigh(mac));
    // An existing entry keeps its slot: a listing in progress could list it twice if it moved.
    if (this.#words[at + HIGH] !== 0) this.#forget(at);
    this.#statics++;
    this.#write(at, mac | 0, macHigh(mac) | USED | STATIC, destination, 0);
  }

  /** Removes the entry, learned or static, and returns whether there was one. */
  remove(mac: number): boolean {
    const at = this.#find(mac | 0, macHigh(mac));
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
    if (this.#era === LAST_ERA) {
      const isHalfFull = (this.size + this.#stale) * 2 > this.#mask + 1;
      this.#rebuild((this.#mask + 1) * (isHalfFull ? 2 : 1)); // the eras start again
    }
    (this.#flushed ??= new Map()).set(destination, this.#era++);
    this.#stale += count;
    this.#publish();
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
    const moved = this.#move === null ? 0 : this.#advance(most);
    if (this.#move !== null || (moved > 0 && moved >= most)) return moved;
    if (this.#cursor === 0 && this.#stale === 0 && !this.#isDue(tick)) return moved + this.#shrink();
    const words = this.#words;
    const base = this.#base;
    const limit = this.ageTicks;
    const end = base + (this.#mask + 1) * STRIDE;
    let at = base + this.#cursor * STRIDE;
    if (this.#cursor === 0) this.#anySwept = false;
    const look = this.#stale === 0 ? 1 : FLUSHED_LOOK;
    let greatest = 0; // age of the learned entries that stay
    let done = moved;
    while (at < end && done < most) {
      done += look;
      // Most entries stay. A branch by what is in a slot would be predicted wrongly as often as not: 2 ns a slot.
      const age = (tick - words[at + SEEN]!) & (0 - isLearned(words[at + HIGH]!)); // -0 would be a float
      if (age > limit || (look === FLUSHED_LOOK && words[at + HIGH] !== 0 && this.#isStale(at))) {
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
      done += this.#shrink();
    }
    return done;
  }

  /** Gives the memory back. The table must not be used any more, except by listings in progress. */
  close(): void {
    this.#publishTo?.(null);
    for (const [destination, count] of this.#behind) this.#memory.count(destination, -count);
    this.#behind.clear();
    if (this.#move !== null) this.#memory.give(this.#move.from);
    this.#move = null;
    this.#memory.give(this.#slots);
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
  entries(now: number): Generator<FdbEntry> {
    const tick = ticks(now);
    const former = this.#move === null ? null : this.#move.from;
    return listEntries(this.#slots, former, this.#seed, (low, high) => this.#entry(low, high, tick));
  }

  /** The entry of a MAC address, a number of 48 bits, or `null`. */
  entry(mac: number, now: number): FdbEntry | null {
    return this.#entry(mac | 0, macHigh(mac), ticks(now));
  }

  #entry(low: number, high: number, tick: number): FdbEntry | null {
    const words = this.#words;
    const at = this.#find(low, high);
    const word = words[at + HIGH]!;
    return word === 0 || ((word & STATIC) === 0 && this.#isGone(at, tick)) ? null : entryAt(words, at, tick);
  }

  get #slots(): Slots {
    return { words: this.#words, base: this.#base, count: this.#mask + 1 };
  }

  /** The slot of an address, or the free slot for it. A call of `slotOf` instead costs a frame in the bridge up to 7 %. */
  #find(low: number, high: number): number {
    const words = this.#words;
    const base = this.#base;
    const mask = this.#mask;
    let slot = hashPair(this.#seed, low, high) & mask;
    for (;;) {
      const at = base + slot * STRIDE;
      const word = words[at + HIGH]!;
      if (word === 0) return this.#move === null ? at : this.#fetch(low, high, at);
      if (words[at + LOW] === low && (word & 0xffff) === high) return at;
      slot = (slot + 1) & mask;
    }
  }

  /** Moves the entry of an address, if it has one in the former slots, to a free slot, and returns that. */
  #fetch(low: number, high: number, free: number): number {
    this.#move!.fetch(low, high, free, this.#flushed);
    this.#forgetStale(this.#move!.takeDropped());
    return free;
  }

  #isAged(at: number, tick: number): boolean {
    return ((tick - this.#words[at + SEEN]!) | 0) > this.ageTicks;
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
    return this.#learned > 0 && ((tick - this.#oldest) | 0) > this.ageTicks;
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
  #relocate(at: number, destination: number, seen: number): void {
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
      this.#rebuild((this.#mask + 1) * 2);
      at = this.#find(low, high & 0xffff);
    }
    const words = this.#words;
    words[at + LOW] = low;
    words[at + HIGH] = high | (this.#era << ERA_SHIFT); // the era after `#rebuild`
    words[at + DESTINATION] = destination;
    words[at + SEEN] = seen;
    if (isFree && this.#move !== null) this.#advance(STEP);
  }

  /**
   * Begins to move the entries to `count` other slots. Each addition and each `sweepSome` moves some, and each look-up what
   * it finds. An entry is in the former slots or in the current ones; other methods read only these.
   * @returns as how many slots the work counts.
   */
  #rebuild(count: number): number {
    if (this.#move !== null) this.#advance(Number.POSITIVE_INFINITY);
    const from = this.#slots;
    const { words, base } = this.#memory.take(count);
    this.#words = words;
    this.#base = base;
    this.#mask = count - 1;
    this.#move = new Move(from, this.#slots, this.#seed, this.#stale === 0 ? null : this.#flushed);
    this.#flushed = null;
    this.#era = 0;
    this.#cursor = 0; // the round of `sweepSome` starts again
    this.#publish();
    return from.count <= AT_ONCE ? this.#advance(Number.POSITIVE_INFINITY) : 1;
  }

  #advance(most: number): number {
    const move = this.#move!;
    const done = move.advance(most, this.#flushed);
    this.#forgetStale(move.takeDropped());
    if (move.isDone) {
      this.#move = null;
      this.#memory.give(move.from);
      this.#publish();
    }
    return done;
  }

  /** Stops counting the entry in a used slot. */
  #forget(at: number): void {
    const words = this.#words;
    if ((words[at + HIGH]! & STATIC) !== 0) this.#statics--;
    else if (!this.#isStale(at)) {
      this.#learned--;
      this.#count(words[at + DESTINATION]!, -1);
    } else this.#forgetStale(1);
  }

  /** Entries that `flush` removed leave their slots. */
  #forgetStale(count: number): void {
    if (count === 0) return;
    this.#stale -= count;
    if (this.#stale > 0) return;
    this.#flushed = null;
    this.#publish();
  }

  #publish(): void {
    this.#publishTo?.(this.#move === null && this.#stale === 0 ? this.#slots : null);
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
      const home = hashPair(this.#seed, words[at + LOW]!, word & 0xffff) & mask;
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

  /** Begins to move few entries out of a large table. Returns as how many slots the work counts. */
  #shrink(): number {
    const slots = this.#mask + 1;
    let count = slots;
    while (count > SMALLEST && count * SHRINKING > slots && this.size * 8 < count) count /= 2;
    return count === slots ? 0 : this.#rebuild(count);
  }

  #count(destination: number, change: number): void {
    const count = this.behind(destination) + change;
    if (count === 0) this.#behind.delete(destination);
    else this.#behind.set(destination, count);
    this.#memory.count(destination, change);
  }
}

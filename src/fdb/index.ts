/**
 * The forwarding database of one segment. It maps a MAC address to a destination: learned from frames, with ageing, or set
 * by the control plane, which takes precedence.
 *
 * A destination is an integer from 0 to 2^30 - 1 whose meaning is the caller's: a port, a remote VTEP.
 *
 * Open addressing with linear probing over one `Int32Array`, four words an entry, so that a look-up touches one cache
 * line in most cases and allocates nothing. (3.5 ns a look-up against 25 for a Map of numbers and 157 for one of
 * strings; among a million entries what counts is the cache line.)
 */
import { macToText, parseMac, setMac } from '../address/index.js';
import { getI32, getU16 } from '../wire/index.js';

/** No destination is known. */
export const NONE = -1;

/** `learn`: the entry existed and has been refreshed. */
export const REFRESHED = 0;
/** `learn`: a new entry. */
export const LEARNED = 1;
/** `learn`: the address moved here from another destination. */
export const MOVED = 2;
/** `learn`: a static entry names the same destination. */
export const CONFIRMED = 3;
/** `learn`: a static entry names another destination, and stays. */
export const CONTRADICTED = 4;
/** `learn`: not learned, because the table holds `capacity` learned entries. */
export const FULL = 5;
/** `learn`: not learned, because `perDestination` entries are learned behind this destination. */
export const QUOTA = 6;

/** `learn`: not learned, because no station has a group address or all zeros. */
export const INVALID = 7;

/** Resolution of ages, in milliseconds. */
export const TICK = 64;

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
}

/** One entry of a listing. */
export interface FdbEntry {
  mac: string;
  destination: number;
  static: boolean;
  /** Milliseconds since the address was last seen; 0 for static entries. */
  age: number;
}

// One slot: the low 32 bits of the address, its high 16 bits and the flags, the destination, and the time it was last
// seen.
const STRIDE = 4;
const LOW = 0;
const HIGH = 1;
const DESTINATION = 2;
const SEEN = 3;
// Flags above the 16 address bits of the second word.
const USED = 0x1_0000;
const STATIC = 0x2_0000;
/** The bit of the high word that marks a group address: multicast or broadcast. */
const GROUP = 0x0100;

const SMALLEST = 64;

export class Fdb {
  readonly capacity: number;
  readonly perDestination: number;
  /** The former destination of the address for which `learn` last returned `MOVED`. */
  movedFrom = NONE;
  readonly #ageTicks: number;
  readonly #seed: number;
  #slots = new Int32Array(SMALLEST * STRIDE);
  #mask = SMALLEST - 1;
  #statics = 0;
  #learned = 0;
  /** Learned entries by destination. */
  #behind = new Int32Array(16);

  constructor(options: FdbOptions = {}) {
    this.capacity = options.capacity ?? 65_536;
    if (!Number.isInteger(this.capacity) || this.capacity < 0 || this.capacity > 1 << 24)
      throw new RangeError(`fdb.capacity must be an integer from 0 to ${1 << 24}, not ${this.capacity}`);
    this.perDestination = options.perDestination ?? Math.ceil(this.capacity / 2);
    const ageing = options.ageing ?? 300_000;
    if (!(ageing >= 0)) throw new RangeError(`fdb.ageing must be 0 or more milliseconds, not ${ageing}`);
    this.#ageTicks = ageing === 0 ? 0x7fff_ffff : Math.min(Math.ceil(ageing / TICK), 0x7fff_ffff);
    this.#seed = (options.seed ?? 0) | 0;
  }

  /** Entries of both kinds; learned ones that expired count until the next `sweep`. */
  get size(): number {
    return this.#statics + this.#learned;
  }

  /** Learned entries behind one destination. */
  behind(destination: number): number {
    return this.#behind[destination] ?? 0;
  }

  /** The destination of the address at `offset`, or `NONE`. Does not find an expired entry. */
  lookup(bytes: Uint8Array, offset: number, now: number): number {
    const slots = this.#slots;
    const at = this.#find(getI32(bytes, offset + 2), getU16(bytes, offset));
    const word = slots[at + HIGH]!;
    if (word === 0 || ((word & STATIC) === 0 && this.#aged(at, ticks(now)))) return NONE;
    return slots[at + DESTINATION]!;
  }

  /** Whether the address at `offset` has a static entry. */
  isStatic(bytes: Uint8Array, offset: number): boolean {
    return (this.#slots[this.#find(getI32(bytes, offset + 2), getU16(bytes, offset)) + HIGH]! & STATIC) !== 0;
  }

  /** The destination of a MAC address, a number of 48 bits, or `NONE`. Does not find an expired entry. */
  locate(mac: number, now: number): number {
    const at = this.#find(mac | 0, highOf(mac));
    const word = this.#slots[at + HIGH]!;
    if (word === 0 || ((word & STATIC) === 0 && this.#aged(at, ticks(now)))) return NONE;
    return this.#slots[at + DESTINATION]!;
  }

  /**
   * Refreshes the entry of the address at `offset` if its destination is `destination`, as for nearly every frame.
   * @returns whether it is; if not, call `learn`.
   */
  refresh(bytes: Uint8Array, offset: number, destination: number, now: number): boolean {
    const slots = this.#slots;
    const at = this.#find(getI32(bytes, offset + 2), getU16(bytes, offset));
    if (slots[at + HIGH] === 0 || slots[at + DESTINATION] !== destination) return false;
    slots[at + SEEN] = ticks(now); // has no meaning for a static entry
    return true;
  }

  /**
   * Learns that the address at `offset` was seen as a source behind `destination`.
   * @returns one of `REFRESHED`, `LEARNED`, `MOVED`, `CONFIRMED`, `CONTRADICTED`, `FULL`, `QUOTA`, `INVALID`.
   */
  learn(bytes: Uint8Array, offset: number, destination: number, now: number): number {
    const low = getI32(bytes, offset + 2);
    const high = getU16(bytes, offset);
    const slots = this.#slots;
    if ((high & GROUP) !== 0 || (low === 0 && high === 0)) return INVALID;
    const at = this.#find(low, high);
    const word = slots[at + HIGH]!;
    if (word !== 0) {
      const known = slots[at + DESTINATION]!;
      if ((word & STATIC) !== 0) return known === destination ? CONFIRMED : CONTRADICTED;
      if (known === destination) {
        slots[at + SEEN] = ticks(now);
        return REFRESHED;
      }
      const aged = this.#aged(at, ticks(now));
      if (this.behind(destination) >= this.perDestination) return QUOTA;
      this.#count(known, -1);
      this.#count(destination, 1);
      slots[at + DESTINATION] = destination;
      slots[at + SEEN] = ticks(now);
      this.movedFrom = known;
      return aged ? LEARNED : MOVED;
    }
    if (this.#learned >= this.capacity) return FULL;
    if (this.behind(destination) >= this.perDestination) return QUOTA;
    this.#insert(low, high | USED, destination, ticks(now));
    this.#learned++;
    this.#count(destination, 1);
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
    const slots = this.#slots;
    const word = slots[at + HIGH]!;
    const seen = ticks(now - age);
    if (word === 0) {
      if (this.#learned >= this.capacity || this.behind(destination) >= this.perDestination) return;
      this.#insert(mac | 0, highOf(mac) | USED, destination, seen);
      this.#learned++;
      this.#count(destination, 1);
      return;
    }
    if ((word & STATIC) !== 0 || ((seen - slots[at + SEEN]!) | 0) < 0) return;
    const known = slots[at + DESTINATION]!;
    if (known !== destination) {
      if (this.behind(destination) >= this.perDestination) return;
      this.#count(known, -1);
      this.#count(destination, 1);
      slots[at + DESTINATION] = destination;
    }
    slots[at + SEEN] = seen;
  }

  /** The destination of a MAC address, a number of 48 bits, whatever its age, or `NONE`. */
  peek(mac: number): number {
    const at = this.#find(mac | 0, highOf(mac));
    return this.#slots[at + HIGH] === 0 ? NONE : this.#slots[at + DESTINATION]!;
  }

  /** Sets a static entry, and replaces any other. `mac` is a number of 48 bits. */
  setStatic(mac: number, destination: number): void {
    if (!Number.isInteger(destination) || destination < 0 || destination >= 1 << 30)
      throw new RangeError(`fdb.destination must be an integer from 0 to ${(1 << 30) - 1}, not ${destination}`);
    const at = this.#find(mac | 0, highOf(mac));
    // An existing entry keeps its slot: a listing in progress could list it twice if it moved.
    if (this.#slots[at + HIGH] !== 0) this.#forget(at);
    this.#insert(mac | 0, highOf(mac) | USED | STATIC, destination, 0);
    this.#statics++;
  }

  /** Removes the entry, learned or static, and returns whether there was one. */
  remove(mac: number): boolean {
    return this.#drop(mac);
  }

  /** Removes the learned entries: all, or those behind one destination. */
  flush(destination?: number): void {
    this.#filter((at) => destination !== undefined && this.#slots[at + DESTINATION] !== destination);
  }

  /** Removes expired entries. Lookups do not find them anyway; call it from time to time to free memory. */
  sweep(now: number): void {
    const tick = ticks(now);
    this.#filter((at) => !this.#aged(at, tick));
  }

  /**
   * The entries that have not expired, in unspecified order. The table may change during the iteration. An entry that
   * exists throughout is listed exactly once; an entry that is added or removed meanwhile may be missing.
   */
  *entries(now: number): Generator<FdbEntry> {
    const slots = this.#slots; // kept until the end, because the table may grow between two entries
    const tick = ticks(now);
    // A removal moves later entries of the same run of used slots to earlier slots of that run. The iteration therefore
    // reads a whole run before it yields. It begins after a free slot, because a run may wrap around the end of the table.
    let before = 0;
    while (slots[before + HIGH] !== 0) before += STRIDE;
    const run: FdbEntry[] = [];
    for (let i = STRIDE; i <= slots.length; i += STRIDE) {
      const at = (before + i) & (slots.length - 1);
      const word = slots[at + HIGH]!;
      if (word !== 0 && ((word & STATIC) !== 0 || ((tick - slots[at + SEEN]!) | 0) <= this.#ageTicks))
        run.push(entryAt(slots, at, tick));
      if (word !== 0 && i < slots.length) continue;
      for (let k = 0; k < run.length; k++) yield run[k]!; // faster than yield*
      run.length = 0;
    }
  }

  /** The entry of a MAC address, a number of 48 bits, or `null`. */
  entry(mac: number, now: number): FdbEntry | null {
    const slots = this.#slots;
    const at = this.#find(mac | 0, highOf(mac));
    const word = slots[at + HIGH]!;
    if (word === 0 || ((word & STATIC) === 0 && this.#aged(at, ticks(now)))) return null;
    return entryAt(slots, at, ticks(now));
  }

  /** The slot of an address, or the free slot for it. */
  #find(low: number, high: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = this.#hash(low, high) & mask;
    for (;;) {
      const at = slot * STRIDE;
      const word = slots[at + HIGH]!;
      if (word === 0 || (slots[at + LOW] === low && (word & 0xffff) === high)) return at;
      slot = (slot + 1) & mask;
    }
  }

  #hash(low: number, high: number): number {
    let hash = Math.imul(low ^ this.#seed, 0x9e37_79b1) ^ Math.imul(high + this.#seed, 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d);
    return hash ^ (hash >>> 13);
  }

  #aged(at: number, tick: number): boolean {
    return ((tick - this.#slots[at + SEEN]!) | 0) > this.#ageTicks;
  }

  #insert(low: number, word: number, destination: number, seen: number): void {
    // Never more than half full, so that a run of used slots stays short.
    if ((this.size + 1) * 2 > this.#mask + 1) this.#resize((this.#mask + 1) * 2);
    const at = this.#find(low, word & 0xffff);
    const slots = this.#slots;
    slots[at + LOW] = low;
    slots[at + HIGH] = word;
    slots[at + DESTINATION] = destination;
    slots[at + SEEN] = seen;
  }

  #resize(count: number): void {
    const before = this.#slots;
    this.#slots = new Int32Array(count * STRIDE);
    this.#mask = count - 1;
    for (let from = 0; from < before.length; from += STRIDE) {
      if (before[from + HIGH] === 0) continue;
      const to = this.#find(before[from + LOW]!, before[from + HIGH]! & 0xffff);
      this.#slots.set(before.subarray(from, from + STRIDE), to);
    }
  }

  #drop(mac: number): boolean {
    const at = this.#find(mac | 0, highOf(mac));
    if (this.#slots[at + HIGH] === 0) return false;
    this.#forget(at);
    this.#close(at);
    return true;
  }

  #forget(at: number): void {
    if ((this.#slots[at + HIGH]! & STATIC) !== 0) this.#statics--;
    else {
      this.#learned--;
      this.#count(this.#slots[at + DESTINATION]!, -1);
    }
  }

  /** Empties a slot and moves the entries that probed past it, so that no tombstones are needed. */
  #close(hole: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let free = hole / STRIDE;
    for (let slot = (free + 1) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * STRIDE;
      const word = slots[at + HIGH]!;
      if (word === 0) break;
      const home = this.#hash(slots[at + LOW]!, word & 0xffff) & mask;
      // The entry may move only if its home slot is not between the hole and the entry.
      if (((slot - home) & mask) < ((slot - free) & mask)) continue;
      slots.copyWithin(free * STRIDE, at, at + STRIDE);
      free = slot;
    }
    slots.fill(0, free * STRIDE, free * STRIDE + STRIDE);
  }

  /** Keeps static entries and the learned ones that `keep` selects; shrinks the table when few are left. */
  #filter(keep: (at: number) => boolean): void {
    const slots = this.#slots;
    for (let at = 0; at < slots.length;) {
      const word = slots[at + HIGH]!;
      if (word === 0 || (word & STATIC) !== 0 || keep(at)) at += STRIDE;
      else {
        this.#forget(at);
        this.#close(at); // looks at the same slot again: another entry may have moved into it
      }
    }
    let count = this.#mask + 1;
    while (count > SMALLEST && this.size * 8 < count) count /= 2;
    if (count !== this.#mask + 1) this.#resize(count);
  }

  #count(destination: number, change: number): void {
    if (destination >= this.#behind.length) {
      const grown = new Int32Array(Math.max(destination + 1, this.#behind.length * 2));
      grown.set(this.#behind);
      this.#behind = grown;
    }
    this.#behind[destination] = this.#behind[destination]! + change;
  }
}

function entryAt(slots: Int32Array, at: number, tick: number): FdbEntry {
  const word = slots[at + HIGH]!;
  const fixed = (word & STATIC) !== 0;
  return {
    mac: macToText((word & 0xffff) * 0x1_0000_0000 + (slots[at + LOW]! >>> 0)),
    destination: slots[at + DESTINATION]!,
    static: fixed,
    age: fixed ? 0 : Math.max(0, ((tick - slots[at + SEEN]!) | 0) * TICK),
  };
}

/** Wraps after 4,351 years; differences of it stay correct. */
function ticks(now: number): number {
  return (now / TICK) | 0;
}

/** Whether a MAC address cannot be a station's: a group address, or all zeros. */
function isInvalid(mac: number): boolean {
  return mac === 0 || (highOf(mac) & GROUP) !== 0;
}

function highOf(mac: number): number {
  return Math.floor(mac / 0x1_0000_0000);
}

/** The six octets of a MAC address given as text, for `lookup` and `learn`. */
export function macBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(6);
  setMac(bytes, 0, parseMac(text));
  return bytes;
}

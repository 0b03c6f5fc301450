/**
 * The layout of a slot of a table, in four words: the low 32 bits of the address, its high 16 bits with the flags and the
 * era, the destination, and the time it was last seen.
 */
import { macHigh, macToText } from '../address/index.js';
import { hashPair } from '../wire/index.js';

/** Words of a slot. */
export const STRIDE = 4;
export const LOW = 0;
export const HIGH = 1;
export const DESTINATION = 2;
export const SEEN = 3;
// Flags above the 16 address bits of the second word, and above them the era in which the entry was learned.
export const USED = 0x1_0000;
export const STATIC = 0x2_0000;
export const ERA_SHIFT = 18;
/** The address bits and the flags, without the era. */
export const KEPT = 0x3_ffff;
export const LAST_ERA = 0x3fff;
/** The bit of the high word that marks a group address: multicast or broadcast. */
export const GROUP = 0x0100;

/** Resolution of ages, in milliseconds. */
export const TICK = 64;

/** The slots of a table: `count` of them, a power of two, from the word `base` on. */
export interface Slots {
  readonly words: Int32Array;
  readonly base: number;
  readonly count: number;
}

/** One entry of a listing. */
export interface FdbEntry {
  mac: string;
  destination: number;
  static: boolean;
  /** Milliseconds since the address was last seen; 0 for static entries. */
  age: number;
}

/** From the second word of a slot, 1 if it has a learned entry, 0 if it is free or has a static one. Without a branch. */
export function isLearned(word: number): number {
  return (word >>> 16) & ~(word >>> 17) & 1;
}

/** Whether the learned entry in a slot was flushed: its destination was, in the era of the entry or later. */
export function isFlushed(flushed: Map<number, number> | null, words: Int32Array, at: number): boolean {
  if (flushed === null || (words[at + HIGH]! & STATIC) !== 0) return false;
  const era = flushed.get(words[at + DESTINATION]!);
  return era !== undefined && words[at + HIGH]! >>> ERA_SHIFT <= era;
}

/** Where the search for an address begins. Reads no slot. */
export function homeOf(base: number, mask: number, seed: number, low: number, high: number): number {
  return base + (hashPair(seed, low, high) & mask) * STRIDE;
}

/** The slot of an address in a table without entries that move or were flushed, or the free slot where the search ends. */
export function slotOf(words: Int32Array, base: number, mask: number, seed: number, low: number, high: number): number {
  for (let slot = hashPair(seed, low, high) & mask; ; slot = (slot + 1) & mask) {
    const at = base + slot * STRIDE;
    const word = words[at + HIGH]!;
    if (word === 0 || (words[at + LOW] === low && (word & 0xffff) === high)) return at;
  }
}

export function entryAt(words: Int32Array, at: number, tick: number): FdbEntry {
  const word = words[at + HIGH]!;
  const fixed = (word & STATIC) !== 0;
  return {
    mac: macToText((word & 0xffff) * 0x1_0000_0000 + (words[at + LOW]! >>> 0)),
    destination: words[at + DESTINATION]!,
    static: fixed,
    age: fixed ? 0 : Math.max(0, ((tick - words[at + SEEN]!) | 0) * TICK),
  };
}

/** Wraps after 8.7 years; differences of it stay correct. */
export function ticks(now: number): number {
  return (now / TICK) | 0;
}

/** Whether a MAC address cannot be a station's: a group address, or all zeros. */
export function isInvalid(mac: number): boolean {
  return mac === 0 || (macHigh(mac) & GROUP) !== 0;
}

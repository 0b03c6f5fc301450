/**
 * The layout of a binding in a table, in eleven words: the IP address in four of them (an IPv4 address is in the first), the
 * low 32 bits of the MAC address, its high 16 bits with the family of the IP address, the location, and the numbers of the
 * bindings next to it that have the same IP address, or the same MAC address. The number 0 stands for none.
 */
import type { Ip } from '../address/index.js';
import { getI32, hashPair, hashWords, setU32 } from '../wire/index.js';

/** Words of a record. */
export const STRIDE = 11;
export const IP = 0;
export const LOW = 4;
/** 0 in a record without a binding. */
export const HIGH = 5;
export const LOCATION = 6;
/** The next older binding of the same IP address; the word behind it has the next newer one. */
export const OLDER_IP = 7;
/** The same for the MAC address. */
export const OLDER_MAC = 9;
/** What the next newer one has, from the word of the next older one. */
export const NEWER = 1;
/** Flags above the 16 address bits of `HIGH`. */
const OF_IPV4 = 0x1_0000;
const OF_IPV6 = 0x2_0000;

/** By what an index finds a record: its IP address of either family, its MAC address, or the whole binding. */
export const IPV4 = 0;
export const IPV6 = 1;
export const MAC = 2;
export const BINDING = 3;

/** A binding that a look-up is about, in the layout of a record. Nothing keeps it: every look-up writes its own. */
export const KEY = new Int32Array(STRIDE);

export function setIpv4(ip: number): void {
  KEY[IP] = ip;
}

/** The IPv6 address at `offset`. */
export function setIpv6(bytes: Uint8Array, offset: number): void {
  KEY[IP] = getI32(bytes, offset);
  KEY[IP + 1] = getI32(bytes, offset + 4);
  KEY[IP + 2] = getI32(bytes, offset + 8);
  KEY[IP + 3] = getI32(bytes, offset + 12);
}

export function setMac(mac: number): void {
  KEY[LOW] = mac; // of a number beyond 32 bits, an `Int32Array` stores the low ones
  KEY[HIGH] = Math.floor(mac / 0x1_0000_0000);
}

/** Sets the whole key. @returns by what an index finds the IP address. */
export function setBinding(ip: Ip, mac: number, location: number): number {
  KEY.fill(0);
  setMac(mac);
  KEY[LOCATION] = location;
  if (typeof ip === 'number') {
    setIpv4(ip);
    KEY[HIGH]! |= OF_IPV4;
    return IPV4;
  }
  setIpv6(ip, 0);
  KEY[HIGH]! |= OF_IPV6;
  return IPV6;
}

/** By what an index finds the IP address of a record. */
export function familyOf(words: Int32Array, at: number): number {
  return (words[at + HIGH]! & OF_IPV4) === 0 ? IPV6 : IPV4;
}

/** A hash of what an index finds a record by. */
export function hashOf(by: number, words: Int32Array, at: number, seed: number): number {
  switch (by) {
    case IPV4:
      return hashPair(seed, words[at + IP]!, 0);
    case IPV6:
      return hashWords(seed, words[at + IP]!, words[at + IP + 1]!, words[at + IP + 2]!, words[at + IP + 3]!);
    case MAC:
      return hashPair(seed, words[at + LOW]!, words[at + HIGH]! & 0xffff);
    default: {
      const ip = hashWords(seed, words[at + IP]!, words[at + IP + 1]!, words[at + IP + 2]!, words[at + IP + 3]!);
      return hashWords(ip, words[at + LOW]!, words[at + HIGH]!, words[at + LOCATION]!, 0);
    }
  }
}

/** Whether an index must find both records by the same key. */
export function areSame(by: number, words: Int32Array, at: number, others: Int32Array, other: number): boolean {
  switch (by) {
    case IPV4:
      return words[at + IP] === others[other + IP];
    case IPV6:
      return hasSame(words, at, others, other, IP, IP + 3);
    case MAC:
      return (
        words[at + LOW] === others[other + LOW] && (words[at + HIGH]! & 0xffff) === (others[other + HIGH]! & 0xffff)
      );
    default:
      return hasSame(words, at, others, other, IP, LOCATION);
  }
}

function hasSame(
  words: Int32Array,
  at: number,
  others: Int32Array,
  other: number,
  first: number,
  last: number,
): boolean {
  for (let i = first; i <= last; i++) if (words[at + i] !== others[other + i]) return false;
  return true;
}

export function ipAt(words: Int32Array, at: number): Ip {
  if (familyOf(words, at) === IPV4) return words[at + IP]! >>> 0;
  const octets = new Uint8Array(16);
  for (let i = 0; i < 4; i++) setU32(octets, i * 4, words[at + IP + i]!);
  return octets;
}

export function macAt(words: Int32Array, at: number): number {
  return (words[at + HIGH]! & 0xffff) * 0x1_0000_0000 + (words[at + LOW]! >>> 0);
}

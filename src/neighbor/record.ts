/**
 * The layout of a binding in a table, in nine words: the IP address in four of them (an IPv4 address is in the first), the
 * low 32 bits of the MAC address, its high 16 bits with the family of the IP address, the location, and the numbers of the
 * bindings next to it that have the same MAC address. The number 0 stands for none.
 */
import { macHigh, type Ip } from '../address/index.js';
import { getI32, setU32 } from '../wire/index.js';

/** Words of a record. */
export const STRIDE = 9;
export const IP = 0;
export const LOW = 4;
/** 0 in a record without a binding. */
export const HIGH = 5;
export const LOCATION = 6;
/** The next older binding of the same MAC address, and the next newer one. */
export const OLDER = 7;
export const NEWER = 8;
/** Flags above the 16 address bits of `HIGH`. */
const OF_IPV4 = 0x1_0000;
const OF_IPV6 = 0x2_0000;

/** By what an index finds a record: its IP address of either family, or its MAC address. */
export const IPV4 = 0;
export const IPV6 = 1;
export const MAC = 2;

/** The binding that is added, removed or looked up, in the layout of a record: nothing keeps it from one call to the next. */
export const KEY = new Int32Array(STRIDE);

/** Writes a binding into `KEY`. */
export function setKey(ip: Ip, mac: number, location: number): void {
  KEY.fill(0);
  KEY[LOW] = mac | 0;
  KEY[HIGH] = macHigh(mac);
  KEY[LOCATION] = location;
  KEY[HIGH]! |= typeof ip === 'number' ? OF_IPV4 : OF_IPV6;
  if (typeof ip === 'number') KEY[IP] = ip | 0;
  else for (let i = 0; i < 4; i++) KEY[IP + i] = getI32(ip, i * 4);
}

/** Whether two records have the same of what they are found by. */
export function areSame(by: number, words: Int32Array, at: number, others: Int32Array, other: number): boolean {
  if (by === MAC)
    return words[at + LOW] === others[other + LOW] && ((words[at + HIGH]! ^ others[other + HIGH]!) & 0xffff) === 0;
  for (let i = IP; i < IP + 4; i++) if (words[at + i] !== others[other + i]) return false;
  return true;
}

/** Whether two records of one IP address have the same binding. */
export function areSameBinding(words: Int32Array, at: number, others: Int32Array, other: number): boolean {
  return areSame(MAC, words, at, others, other) && words[at + LOCATION] === others[other + LOCATION];
}

/** By what an index finds the IP address of a record. */
export function familyOf(words: Int32Array, at: number): number {
  return (words[at + HIGH]! & OF_IPV4) === 0 ? IPV6 : IPV4;
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

/** Hashes of words, and keys of 128 bits, such as IPv6 addresses: read as four words of 32 bits, so that neither text nor objects are built. */
import { getI32 } from './bytes.js';

/** A hash of two words: 32 bits, signed. */
export function hashPair(seed: number, a: number, b: number): number {
  let hash = Math.imul(a ^ seed, 0x9e37_79b1) ^ Math.imul(b + seed, 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d);
  return hash ^ (hash >>> 13);
}

/** A hash of four words: 30 bits, a small integer to every engine, so that it is not allocated as a key of a `Map`. */
export function hashWords(seed: number, a: number, b: number, c: number, d: number): number {
  let hash = Math.imul(seed ^ a, 0x9e37_79b1);
  hash = Math.imul((hash ^ (hash >>> 15)) + b, 0x85eb_ca6b);
  hash = Math.imul((hash ^ (hash >>> 13)) + c, 0xc2b2_ae35);
  hash = Math.imul((hash ^ (hash >>> 16)) + d, 0x27d4_eb2f);
  return (hash ^ (hash >>> 15)) & 0x3fff_ffff;
}

/** The hash of the 16 octets at `offset`: see {@link hashWords}. */
export function hash128(seed: number, bytes: Uint8Array, offset: number): number {
  return hashWords(
    seed,
    getI32(bytes, offset),
    getI32(bytes, offset + 4),
    getI32(bytes, offset + 8),
    getI32(bytes, offset + 12),
  );
}

/** Whether the 16 octets at `a` of `one` and those at `b` of `other` are the same. */
export function areEqual128(one: Uint8Array, a: number, other: Uint8Array, b: number): boolean {
  for (let i = 0; i < 16; i += 4) if (getI32(one, a + i) !== getI32(other, b + i)) return false;
  return true;
}

/** Whether the 16 octets at `offset` are zero. */
export function areZero128(bytes: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 16; i += 4) if (getI32(bytes, offset + i) !== 0) return false;
  return true;
}

/** What the implementations that call a library through koffi have in common. */
import { endianness } from 'node:os';
import type { Aead } from '../../esp/index.js';

export type Koffi = typeof import('koffi');

/**
 * Binds an implementation to a buffer.
 * @param address Of the first byte. An implementation that needs none ignores it.
 */
export type Bind = (packets: Uint8Array, address: number) => Aead;

/**
 * The address of the first byte. It stays valid while the buffer exists and is not detached.
 *
 * Addresses are numbers, and parameters that are pointers are declared as `size_t`: koffi converts a number to it in 5 ns
 * less than a bigint, and adding an offset to a bigint costs another 20 ns.
 * @throws Error if it is beyond what a number holds exactly.
 */
export function addressOf(koffi: Koffi, bytes: Uint8Array): number {
  return exact(koffi.address(bytes.buffer as ArrayBuffer)) + bytes.byteOffset;
}

/** @throws Error if it is beyond what a number holds exactly, as on systems that keep a tag in the upper bits. */
export function exact(address: number | bigint): number {
  const value = Number(address);
  if (!Number.isSafeInteger(value)) throw new Error(`the address 0x${address.toString(16)} is beyond 53 bits`);
  return value;
}

/** @throws Error where structures in memory look different. */
export function requireWords(koffi: Koffi): void {
  if (koffi.sizeof('size_t') !== 8 || endianness() !== 'LE')
    throw new Error('this machine is not 64-bit little-endian');
}

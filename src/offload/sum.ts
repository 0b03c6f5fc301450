import { fold } from '../wire/index.js';

/** Offset of the checksum in a TCP header: virtio's `checksumOffset`. */
export const TCP_CHECKSUM = 16;
/** Offset of the checksum in a UDP header. */
export const UDP_CHECKSUM = 6;

/**
 * Adds the 16-bit words of `[offset, offset + length)`, in network order, to a partial sum below 2^32, and folds. The
 * function is bound to a buffer. The result is 0 to 0xffff, and 0 only if everything is zero. An odd last byte counts
 * as the high half of a word. `length` is at most 2^18.
 */
export type Sum = (offset: number, length: number, initial: number) => number;

/** Copies `length` bytes between ranges of the buffer that do not overlap, and sums them up like {@link Sum}. */
export type CopySum = (from: number, to: number, length: number, initial: number) => number;

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** {@link Sum} over `bytes`, in JavaScript. */
export function jsSum(bytes: Uint8Array): Sum {
  const base = bytes.byteOffset;
  // Sixteen bytes per iteration from the first aligned word, in 32-bit arithmetic: measured 2.5 times as fast as byte
  // pairs.
  const words = new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >>> 2);
  return (offset, length, initial) => {
    const end = offset + length;
    let at = offset;
    // Byte by byte in the host's order up to the first aligned word; the result is swapped at the end.
    let head = 0;
    let tail = 0;
    while (at < end && ((base + at) & 3) !== 0) {
      head += ((at - offset) & 1) === 0 ? bytes[at]! << 8 : bytes[at]!;
      at += 1;
    }
    const odd = ((at - offset) & 1) !== 0;
    let low = 0;
    let high = 0;
    const stop = (base + end) >>> 2;
    let i = (base + at) >>> 2;
    for (; i + 4 <= stop; i += 4) {
      const a = words[i]!;
      const b = words[i + 1]!;
      const c = words[i + 2]!;
      const d = words[i + 3]!;
      low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
      high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
    }
    for (; i < stop; i++) {
      low = (low + (words[i]! & 0xffff)) | 0;
      high = (high + (words[i]! >>> 16)) | 0;
    }
    if (at < end) at = Math.max(at, (stop << 2) - base);
    for (; at < end; at++) tail += ((at - offset) & 1) === 0 ? bytes[at]! << 8 : bytes[at]!;
    const middle = fold((low >>> 0) + (high >>> 0));
    // The sum of byte-swapped words is the byte-swapped sum (RFC 1071).
    return fold(initial + head + tail + (LITTLE_ENDIAN === odd ? middle : swap(middle)));
  };
}

/** {@link CopySum} over `bytes`, in JavaScript. */
export function jsCopySum(bytes: Uint8Array): CopySum {
  const sum = jsSum(bytes);
  return (from, to, length, initial) => {
    bytes.copyWithin(to, from, from + length);
    return sum(from, length, initial);
  };
}

/** The number that removes a word from a partial sum when added to it. */
export function less(word: number): number {
  return ~word & 0xffff;
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}

import { finish } from '../wire/index.js';
import { TCP_CHECKSUM, type CopySum } from './sum.js';

/**
 * Operations on all segments of a super-frame in one call, over a buffer that the functions are bound to: in JavaScript
 * ({@link jsBulk}) or in WebAssembly. They read and write up to {@link SLACK} bytes behind what they are given.
 */
export interface Bulk {
  readonly cut: Cut;
  readonly join: Join;
}

/** Bytes behind heads and segments that may be read, or written with anything. */
export const SLACK = 16;

/**
 * Bytes of a cache line. Data that the kernel copies from a buffer should have the same offset in its line as in the target
 * page: processors have a string copy (`rep movsb`) that is slower by a tenth otherwise, and sixteen times slower where the
 * destination is 1 to 15 bytes ahead of the source modulo 4096 (seen on Zen 4).
 */
export const LINE = 64;

/** The next multiple of a cache line. */
export function toLine(length: number): number {
  return (length + LINE - 1) & -LINE;
}

/**
 * Makes consecutive segments: the head with what differs between them, and `size` bytes of data each.
 * @param head Where the head is, with everything right but IPv4 identification and checksum, TCP sequence number and the
 *   TCP or UDP checksum.
 * @param ip Offset of an IPv4 header in the head; -1 for IPv6.
 * @param upper Offset of the TCP or UDP header in the head.
 * @param field Offset of the checksum in that, which says which of both it is: `TCP_CHECKSUM` or `UDP_CHECKSUM`.
 * @param id IPv4 identification of the first, and `step` what it differs by from one to the next.
 * @param sequence Sequence number of the first.
 * @param ipSum Partial sum of the IPv4 header without identification and checksum, below 2^17.
 * @param upperSum Partial sum of pseudo-header and head from `upper` without sequence number and checksum, below 2^20.
 * @returns where the last one ends.
 */
export type Cut = (
  head: number,
  headLength: number,
  ip: number,
  upper: number,
  field: number,
  data: number,
  size: number,
  count: number,
  to: number,
  id: number,
  step: number,
  sequence: number,
  ipSum: number,
  upperSum: number,
) => number;

/**
 * Finds how many of consecutive frames continue a first one, with correct checksums that are not 0xffff, and copies their
 * data together.
 * @param head Where the first frame's head is. Each head must equal it wherever the mask has ones.
 * @param mask As long as the head, and zeros up to a multiple of 16 bytes.
 * @param ip Offset of an IPv4 header in the head; -1 for IPv6.
 * @param upper Offset of the TCP or UDP header.
 * @param field As for {@link Cut}.
 * @param next Where the frames are, `size` bytes each.
 * @param to Where the data goes.
 * @param id Expected IPv4 identification of the first of them, and `step` what it differs by from one to the next.
 * @param sequence Expected TCP sequence number of the first of them.
 * @param ipSum Partial sum of the first frame's IPv4 header without identification and checksum, below 2^17. What a head
 *   has in common with the first need not be summed up again.
 * @param upperSum Partial sum of the pseudo-header and the first frame's head from `upper`, without sequence number and
 *   checksum, below 2^20.
 * @returns how many, up to the first that does not continue.
 */
export type Join = (
  head: number,
  mask: number,
  headLength: number,
  ip: number,
  upper: number,
  field: number,
  next: number,
  size: number,
  count: number,
  to: number,
  id: number,
  step: number,
  sequence: number,
  ipSum: number,
  upperSum: number,
) => number;

// Offsets in the headers.
const IPV4_ID = 4;
const IPV4_CHECKSUM = 10;
const TCP_SEQUENCE = 4;

/** {@link Bulk} over `bytes`, in JavaScript. */
export function jsBulk(bytes: Uint8Array, copySum: CopySum): Bulk {
  const get16 = (at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
  const put16 = (at: number, word: number): void => {
    bytes[at] = word >>> 8;
    bytes[at + 1] = word;
  };

  const cut: Cut = (...parameters) => {
    const [head, headLength, ip, upper, field, data, size, count, start, id, step, sequence, ipSum, upperSum] =
      parameters;
    let to = start;
    for (let i = 0; i < count; i++) {
      bytes.copyWithin(to, head, head + headLength);
      if (ip >= 0) {
        const identification = (id + i * step) & 0xffff;
        put16(to + ip + IPV4_ID, identification);
        put16(to + ip + IPV4_CHECKSUM, finish(ipSum + identification));
      }
      let partial = upperSum;
      if (field === TCP_CHECKSUM) {
        const number = (sequence + i * size) >>> 0;
        put16(to + upper + TCP_SEQUENCE, number >>> 16);
        put16(to + upper + TCP_SEQUENCE + 2, number);
        partial += (number >>> 16) + (number & 0xffff);
      }
      const checksum = ~copySum(data + i * size, to + headLength, size, partial) & 0xffff;
      put16(to + upper + field, checksum === 0 && field !== TCP_CHECKSUM ? 0xffff : checksum);
      to += headLength + size;
    }
    return to;
  };

  const join: Join = (...parameters) => {
    const [head, mask, headLength, ip, upper, field, next, size, count, to, id, step, sequence, ipSum, upperSum] =
      parameters;
    const length = size - headLength;
    for (let i = 0; i < count; i++) {
      const at = next + i * size;
      for (let j = 0; j < headLength; j++) if (((bytes[head + j]! ^ bytes[at + j]!) & bytes[mask + j]!) !== 0) return i;
      if (ip >= 0) {
        const identification = (id + i * step) & 0xffff;
        if (get16(at + ip + IPV4_ID) !== identification) return i;
        if (get16(at + ip + IPV4_CHECKSUM) !== finish(ipSum + identification)) return i;
      }
      const checksum = get16(at + upper + field);
      let partial = upperSum + checksum;
      if (field === TCP_CHECKSUM) {
        const number = (sequence + i * length) >>> 0;
        const [high, low] = [number >>> 16, number & 0xffff];
        if (get16(at + upper + TCP_SEQUENCE) !== high || get16(at + upper + TCP_SEQUENCE + 2) !== low) return i;
        if (checksum === 0xffff) return i;
        partial += high + low;
      } else if (checksum === 0) return i;
      if (copySum(at + headLength, to + i * length, length, partial) !== 0xffff) return i;
    }
    return count;
  };

  return { cut, join };
}

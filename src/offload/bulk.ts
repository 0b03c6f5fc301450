import { finish } from '../wire/index.js';
import { TCP_CHECKSUM, type CopySum } from './sum.js';

/**
 * Operations on all segments of a super-frame in one call. They are bound to a buffer, and implemented in JavaScript
 * ({@link jsBulk}) or WebAssembly. They read and write up to {@link SLACK} bytes past the ranges that they are given.
 */
export interface Bulk {
  readonly cut: Cut;
  readonly join: Join;
}

/** Bytes past heads and segments that may be read or overwritten. */
export const SLACK = 16;

/**
 * Bytes of a cache line. Data that the kernel copies should have the same offset in its line as in the target page.
 * Otherwise the string copy of some processors (`rep movsb`) is slower by a tenth, and sixteen times slower if the
 * destination is 1 to 15 bytes ahead of the source modulo 4096 (seen on Zen 4).
 */
export const LINE = 64;

/** Rounds up to a multiple of a cache line. */
export function toLine(length: number): number {
  return (length + LINE - 1) & -LINE;
}

/**
 * Makes consecutive segments: the head, adapted to each, and `size` bytes of data.
 * @param head Offset of the head. It is complete except for IPv4 identification and checksum, TCP sequence number and
 *   the TCP or UDP checksum.
 * @param ip Offset of an IPv4 header in the head; -1 for IPv6.
 * @param upper Offset of the TCP or UDP header in the head.
 * @param field Offset of the checksum in that header, which tells TCP from UDP: `TCP_CHECKSUM` or `UDP_CHECKSUM`.
 * @param id IPv4 identification of the first segment; `step` is the difference to the next one.
 * @param sequence Sequence number of the first segment.
 * @param ipSum Partial sum of the IPv4 header without identification and checksum, below 2^17.
 * @param upperSum Partial sum of the pseudo-header and the head from `upper`, without sequence number and checksum,
 *   below 2^20.
 * @returns the offset behind the last segment.
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
 * Counts how many consecutive frames continue a first one, with correct checksums other than 0xffff, and copies their
 * data together.
 * @param head Offset of the first frame's head. Each head must equal it wherever the mask has ones.
 * @param mask As long as the head, padded with zeros to a multiple of 16 bytes.
 * @param ip Offset of an IPv4 header in the head; -1 for IPv6.
 * @param upper Offset of the TCP or UDP header.
 * @param field As for {@link Cut}.
 * @param next Offset of the frames, `size` bytes each.
 * @param to Offset of the output.
 * @param id Expected IPv4 identification of the first of them; `step` is the difference to the next one.
 * @param sequence Expected TCP sequence number of the first of them.
 * @param ipSum Partial sum of the first frame's IPv4 header without identification and checksum, below 2^17. The bytes
 *   that a head shares with the first need no second summing.
 * @param upperSum Partial sum of the pseudo-header and the first frame's head from `upper`, without sequence number and
 *   checksum, below 2^20.
 * @param gap Bytes between two frames, which are ignored.
 * @returns the number of frames before the first that does not continue.
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
  gap: number,
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
    const [head, mask, headLength, ip, upper, field, next, size, count, to, id, step, sequence, ipSum, upperSum, gap] =
      parameters;
    const length = size - headLength;
    for (let i = 0; i < count; i++) {
      const at = next + i * (size + gap);
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

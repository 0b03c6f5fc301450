/**
 * The header of virtio-net (Virtual I/O Device 1.2, section 5.1.6) as it stands before each frame of a TAP device that was
 * opened with IFF_VNET_HDR: what is left to do to the frame, or what has been done already.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Flags     |   GSO Type    |         Header Length         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           GSO Size            |        Checksum Start         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |        Checksum Offset        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The 16-bit fields are little-endian: what virtio 1.0 and later have, and what a TAP has on little-endian hosts. On a
 * big-endian host, configure the device for it (ioctl TUNSETVNETLE).
 */
import { room, TRUNCATED, truncatedProblem, uint, WireError, type WireProblem } from '../wire/index.js';

// Offsets from the header's start.
const FLAGS = 0;
const GSO_TYPE = 1;
const HEADER_LENGTH_FIELD = 2;
const GSO_SIZE = 4;
const CHECKSUM_START = 6;
const CHECKSUM_OFFSET = 8;

/** Length of the header in bytes. */
export const HEADER_LENGTH = 10;

/** Flag: the checksum is yet to be computed; its field holds the folded sum of the pseudo-header, not inverted. */
export const FLAG_NEEDS_CSUM = 1;
/** Flag: the checksum has been verified. */
export const FLAG_DATA_VALID = 2;

/** One frame, not to be segmented. */
export const GSO_NONE = 0;
/** TCP over IPv4, to be segmented. */
export const GSO_TCPV4 = 1;
/** UDP to be fragmented by IP, which Linux no longer offers. */
export const GSO_UDP = 3;
/** TCP over IPv6, to be segmented. */
export const GSO_TCPV6 = 4;
/** UDP over IPv4 or IPv6, to be cut into datagrams. */
export const GSO_UDP_L4 = 5;
/** Bit beside the type: flag CWR is set, and belongs to the first segment alone. */
export const GSO_ECN = 0x80;

/** A virtio-net header and the frame behind it. What is absent is 0. */
export interface Virtio {
  /** {@link FLAG_NEEDS_CSUM}, {@link FLAG_DATA_VALID}. */
  flags?: number;
  /** {@link GSO_NONE} and so on, all eight bits. */
  gsoType?: number;
  /** Bytes of the frame's headers, Ethernet to TCP or UDP: a hint. */
  headerLength?: number;
  /** Bytes of payload of each segment but the last. */
  gsoSize?: number;
  /** Where in the frame the checksum begins to cover it. */
  checksumStart?: number;
  /** Where the checksum's field is, from there. */
  checksumOffset?: number;
  /** The frame. */
  payload: Uint8Array;
}

function getLittle(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

function setLittle(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

/**
 * Looks once at everything that can be wrong with the header at `offset`. Neither throws nor allocates. Whether the fields
 * fit the frame is a question for who acts on them: `offload`.
 * @returns the header's length, or `TRUNCATED`.
 */
export function check(_bytes: Uint8Array, offset: number, end: number): number {
  return end - offset < HEADER_LENGTH ? TRUNCATED : HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(_bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  return truncatedProblem('virtio', offset, HEADER_LENGTH, end, limitedBy);
}

/** All eight flag bits. */
export function getFlags(bytes: Uint8Array, offset: number): number {
  return bytes[offset + FLAGS]!;
}

/** The type with {@link GSO_ECN}. */
export function getGsoType(bytes: Uint8Array, offset: number): number {
  return bytes[offset + GSO_TYPE]!;
}

/** Bytes of the frame's headers: a hint. */
export function getHeaderLength(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + HEADER_LENGTH_FIELD);
}

/** Bytes of payload of each segment but the last. */
export function getGsoSize(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + GSO_SIZE);
}

/** Where in the frame the checksum begins to cover it; meaningful where {@link FLAG_NEEDS_CSUM} is set. */
export function getChecksumStart(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + CHECKSUM_START);
}

/** Where the checksum's field is, from the start of what it covers; meaningful where {@link FLAG_NEEDS_CSUM} is set. */
export function getChecksumOffset(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + CHECKSUM_OFFSET);
}

export function setFlags(bytes: Uint8Array, offset: number, flags: number): void {
  bytes[offset + FLAGS] = flags;
}

export function setGsoType(bytes: Uint8Array, offset: number, type: number): void {
  bytes[offset + GSO_TYPE] = type;
}

export function setHeaderLength(bytes: Uint8Array, offset: number, length: number): void {
  setLittle(bytes, offset + HEADER_LENGTH_FIELD, length);
}

export function setGsoSize(bytes: Uint8Array, offset: number, size: number): void {
  setLittle(bytes, offset + GSO_SIZE, size);
}

export function setChecksumStart(bytes: Uint8Array, offset: number, start: number): void {
  setLittle(bytes, offset + CHECKSUM_START, start);
}

export function setChecksumOffset(bytes: Uint8Array, offset: number, at: number): void {
  setLittle(bytes, offset + CHECKSUM_OFFSET, at);
}

/** Writes the header of a frame that is whole: all zero. */
export function writePlain(bytes: Uint8Array, offset: number): void {
  for (let i = 0; i < HEADER_LENGTH; i++) bytes[offset + i] = 0;
}

/** Writes a whole header of a frame whose checksum, and those of its segments, are yet to be computed. */
export function writeHeader(
  bytes: Uint8Array,
  offset: number,
  gsoType: number,
  headerLength: number,
  gsoSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  bytes[offset + FLAGS] = FLAG_NEEDS_CSUM;
  bytes[offset + GSO_TYPE] = gsoType;
  setLittle(bytes, offset + HEADER_LENGTH_FIELD, headerLength);
  setLittle(bytes, offset + GSO_SIZE, gsoSize);
  setLittle(bytes, offset + CHECKSUM_START, checksumStart);
  setLittle(bytes, offset + CHECKSUM_OFFSET, checksumOffset);
}

/**
 * Reads the header and the frame behind it.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Virtio> {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return {
    flags: getFlags(bytes, offset),
    gsoType: getGsoType(bytes, offset),
    headerLength: getHeaderLength(bytes, offset),
    gsoSize: getGsoSize(bytes, offset),
    checksumStart: getChecksumStart(bytes, offset),
    checksumOffset: getChecksumOffset(bytes, offset),
    payload: bytes.subarray(offset + HEADER_LENGTH, end),
  };
}

/** Reads what `decode` reads; `null` where the ten octets are not all there. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Virtio> | null {
  return check(bytes, offset, end) < 0 ? null : decode(bytes, offset, end);
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Virtio): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the frame ends.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Virtio, bytes: Uint8Array, offset: number): number {
  const end = room('virtio', bytes, offset, HEADER_LENGTH + value.payload.length);
  bytes[offset + FLAGS] = uint('virtio.flags', value.flags ?? 0, 0xff);
  bytes[offset + GSO_TYPE] = uint('virtio.gsoType', value.gsoType ?? GSO_NONE, 0xff);
  setLittle(bytes, offset + HEADER_LENGTH_FIELD, uint('virtio.headerLength', value.headerLength ?? 0, 0xffff));
  setLittle(bytes, offset + GSO_SIZE, uint('virtio.gsoSize', value.gsoSize ?? 0, 0xffff));
  setLittle(bytes, offset + CHECKSUM_START, uint('virtio.checksumStart', value.checksumStart ?? 0, 0xffff));
  setLittle(bytes, offset + CHECKSUM_OFFSET, uint('virtio.checksumOffset', value.checksumOffset ?? 0, 0xffff));
  bytes.set(value.payload, offset + HEADER_LENGTH);
  return end;
}

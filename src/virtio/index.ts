/**
 * The virtio-net header (Virtual I/O Device 1.2, section 5.1.6). It precedes each frame of a TAP device that was opened
 * with IFF_VNET_HDR, and says what is left to do to the frame, or has been done already.
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
 * The 16-bit fields are little-endian, as in virtio 1.0 and later, and as on TAPs of little-endian hosts. On a big-
 * endian host, configure the device accordingly (ioctl TUNSETVNETLE).
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

/** Flag: the checksum is incomplete; its field holds the folded sum of the pseudo-header, not inverted. */
export const FLAG_NEEDS_CSUM = 1;
/** Flag: the checksum has been verified. */
export const FLAG_DATA_VALID = 2;

/** A single frame, without segmentation. */
export const GSO_NONE = 0;
/** TCP over IPv4, to segment. */
export const GSO_TCPV4 = 1;
/** UDP for IP fragmentation, which Linux no longer offers. */
export const GSO_UDP = 3;
/** TCP over IPv6, to segment. */
export const GSO_TCPV6 = 4;
/** UDP over IPv4 or IPv6, to cut into datagrams. */
export const GSO_UDP_L4 = 5;
/** Bit beside the type: flag CWR is set, and only the first segment keeps it. */
export const GSO_ECN = 0x80;

/** A virtio-net header and the frame behind it. Absent fields are 0. */
export interface Virtio {
  /** {@link FLAG_NEEDS_CSUM}, {@link FLAG_DATA_VALID}. */
  flags?: number;
  /** One of {@link GSO_NONE} and so on; all eight bits. */
  gsoType?: number;
  /** Bytes of the frame's headers, Ethernet to TCP or UDP: a hint. */
  headerLength?: number;
  /** Bytes of payload of each segment except the last. */
  gsoSize?: number;
  /** Offset in the frame at which the checksum starts to cover it. */
  checksumStart?: number;
  /** Offset of the checksum field from `checksumStart`. */
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
 * Validates the header at `offset`. Neither throws nor allocates. Does not check that the fields fit the frame:
 * `offload` does.
 * @returns the header's length, or `TRUNCATED`.
 */
export function check(_bytes: Uint8Array, offset: number, end: number): number {
  return end - offset < HEADER_LENGTH ? TRUNCATED : HEADER_LENGTH;
}

/**
 * Returns why `check` rejects the header, or `null` if it accepts it. Never throws.
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

/** Bytes of payload of each segment except the last. */
export function getGsoSize(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + GSO_SIZE);
}

/** Offset in the frame at which the checksum starts to cover it; meaningful if {@link FLAG_NEEDS_CSUM} is set. */
export function getChecksumStart(bytes: Uint8Array, offset: number): number {
  return getLittle(bytes, offset + CHECKSUM_START);
}

/** Offset of the checksum field from the start of the covered bytes; meaningful if {@link FLAG_NEEDS_CSUM} is set. */
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

/** Writes the header of a frame that needs no offload: all zeros. */
export function writePlain(bytes: Uint8Array, offset: number): void {
  for (let i = 0; i < HEADER_LENGTH; i++) bytes[offset + i] = 0;
}

/** Writes the header of a frame with incomplete checksums. */
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

/** Like `decode`, but returns `null` if the header is incomplete. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Virtio> | null {
  return check(bytes, offset, end) < 0 ? null : decode(bytes, offset, end);
}

/**
 * Encodes into a new buffer.
 * @throws RangeError if a field does not fit.
 */
export function encode(value: Virtio): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, writes every octet, and returns the end of the frame.
 * @throws RangeError if a field or the whole does not fit.
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

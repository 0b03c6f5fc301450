/**
 * UDP, RFC 768; over IPv6, RFC 8200, section 8.1.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Source Port          |       Destination Port        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |            Length             |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The checksum also covers the addresses of the IP header, which the caller passes.
 */
import { type Addresses, isIpv6Text, pseudoHeaderSum } from '../address/index.js';
import {
  finish,
  getU16,
  MALFORMED,
  problemAt,
  room,
  setU16,
  sum,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the header's start.
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const LENGTH = 4;
const CHECKSUM = 6;

/** Length of the header in bytes. */
export const HEADER_LENGTH = 8;
/** The protocol number that IP headers carry for UDP. */
export const PROTOCOL = 17;

/** A UDP header and its data. */
export interface Udp {
  sourcePort: number;
  destinationPort: number;
  /** Bytes of header and data. Computed when absent. */
  length?: number;
  /** 0 for none. When absent, computed if `encode` is given addresses, else 0. */
  checksum?: number;
  payload: Uint8Array;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length, or `TRUNCATED` where the header or its length field runs past `end`, or `MALFORMED` where
 * that length is less than the header's.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  const available = end - offset;
  if (available < HEADER_LENGTH) return TRUNCATED;
  const length = getU16(bytes, offset + LENGTH);
  if (length < HEADER_LENGTH) return MALFORMED;
  return length > available ? TRUNCATED : HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  let needed = HEADER_LENGTH;
  if (end - offset >= needed) {
    const length = getU16(bytes, offset + LENGTH);
    if (length < needed) return problemAt('udp', offset + LENGTH, `length is ${length}, less than the header's 8`);
    needed = length;
  }
  return truncatedProblem('udp', offset, needed, end, limitedBy);
}

export function getSourcePort(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + SOURCE_PORT);
}

export function getDestinationPort(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + DESTINATION_PORT);
}

/** Bytes of header and data. */
export function getLength(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + LENGTH);
}

/** The checksum; 0 for none. */
export function getChecksum(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + CHECKSUM);
}

/**
 * Whether the checksum fits the datagram, which `check` has accepted.
 * @param pseudo the addresses, or the partial sum of the pseudo-header with the UDP length.
 * @param zeroAllowed whether a checksum of 0, that is none, is right. When absent: unless the addresses are IPv6, where it
 * is not (RFC 8200, section 8.1) but for tunnels (RFC 6935).
 */
export function verifyChecksum(
  bytes: Uint8Array,
  offset: number,
  pseudo: number | Addresses,
  zeroAllowed = typeof pseudo === 'number' || !isIpv6Text(pseudo.source),
): boolean {
  if (getU16(bytes, offset + CHECKSUM) === 0) return zeroAllowed;
  const length = getU16(bytes, offset + LENGTH);
  const partial = typeof pseudo === 'number' ? pseudo : pseudoHeaderSum(pseudo, PROTOCOL, length);
  return finish(sum(bytes, offset, offset + length, partial)) === 0;
}

export function setSourcePort(bytes: Uint8Array, offset: number, port: number): void {
  setU16(bytes, offset + SOURCE_PORT, port);
}

export function setDestinationPort(bytes: Uint8Array, offset: number, port: number): void {
  setU16(bytes, offset + DESTINATION_PORT, port);
}

/** Sets the bytes of header and data. */
export function setLength(bytes: Uint8Array, offset: number, length: number): void {
  setU16(bytes, offset + LENGTH, length);
}

export function setChecksum(bytes: Uint8Array, offset: number, checksum: number): void {
  setU16(bytes, offset + CHECKSUM, checksum);
}

/**
 * Computes the checksum of `bytes[offset, end)` as it stands and writes it; a computed 0 as 0xffff (RFC 768).
 * @param pseudoSum the partial sum of the pseudo-header with the UDP length.
 */
export function fillChecksum(bytes: Uint8Array, offset: number, end: number, pseudoSum: number): void {
  setU16(bytes, offset + CHECKSUM, 0);
  const checksum = finish(sum(bytes, offset, end, pseudoSum));
  setU16(bytes, offset + CHECKSUM, checksum === 0 ? 0xffff : checksum);
}

/** Writes a whole header without a checksum, as VXLAN wants it sent (RFC 7348, section 5). */
export function writeHeader(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  length: number,
): void {
  setU16(bytes, offset + SOURCE_PORT, sourcePort);
  setU16(bytes, offset + DESTINATION_PORT, destinationPort);
  setU16(bytes, offset + LENGTH, length);
  setU16(bytes, offset + CHECKSUM, 0);
}

/**
 * Reads the header and its data, which end where the length says.
 * @throws WireError `truncated` or `malformed`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Udp> {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, offset + getU16(bytes, offset + LENGTH));
}

/**
 * Also reads a datagram with a wrong length. The data extend to `end` where the length is 0 (a jumbogram, RFC 2675, or a
 * capture of segments that a network card has yet to cut) or is beyond `end`; there are none where it is less than the
 * header's. `null` where fewer than eight octets are available.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Udp> | null {
  if (end - offset < HEADER_LENGTH) return null;
  const length = getU16(bytes, offset + LENGTH);
  return read(bytes, offset, length === 0 ? end : Math.min(offset + Math.max(length, HEADER_LENGTH), end));
}

function read(bytes: Uint8Array, offset: number, end: number): Required<Udp> {
  return {
    sourcePort: getU16(bytes, offset + SOURCE_PORT),
    destinationPort: getU16(bytes, offset + DESTINATION_PORT),
    length: getU16(bytes, offset + LENGTH),
    checksum: getU16(bytes, offset + CHECKSUM),
    payload: bytes.subarray(offset + HEADER_LENGTH, end),
  };
}

/**
 * Encodes into a buffer of its own.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Udp, addresses?: Addresses): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0, addresses);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the datagram ends.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Udp, bytes: Uint8Array, offset: number, addresses?: Addresses): number {
  const end = room('udp', bytes, offset, HEADER_LENGTH + value.payload.length);
  const length = uint('udp.length', value.length ?? end - offset, 0xffff);
  setU16(bytes, offset + SOURCE_PORT, uint('udp.sourcePort', value.sourcePort, 0xffff));
  setU16(bytes, offset + DESTINATION_PORT, uint('udp.destinationPort', value.destinationPort, 0xffff));
  setU16(bytes, offset + LENGTH, length);
  setU16(bytes, offset + CHECKSUM, uint('udp.checksum', value.checksum ?? 0, 0xffff));
  bytes.set(value.payload, offset + HEADER_LENGTH);
  if (value.checksum === undefined && addresses !== undefined)
    fillChecksum(bytes, offset, end, pseudoHeaderSum(addresses, PROTOCOL, length));
  return end;
}

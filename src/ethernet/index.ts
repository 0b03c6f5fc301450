/**
 * Ethernet II and IEEE 802.3 frames, without preamble and frame check sequence.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Destination                          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Destination          |            Source             |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                            Source                             |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |        Type or length         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * A number up to 1500 in the last field is a length (IEEE 802.3), a higher one a type. VLAN tags follow their types as a
 * protocol of their own: {@link vlan}.
 */
import { formatMac, getMac, parseMac, setMac } from '../address/index.js';
import {
  getI32,
  getU16,
  room,
  setU16,
  TRUNCATED,
  truncatedProblem,
  WireError,
  type WireProblem,
} from '../wire/index.js';
import { isLength, typeOrLength } from './type.js';

export * as vlan from './vlan.js';
export {
  isLength,
  isVlanType,
  MAX_LENGTH,
  TYPE_ARP,
  TYPE_IPV4,
  TYPE_IPV6,
  TYPE_LLDP,
  TYPE_MPLS,
  TYPE_OLD_VLAN,
  TYPE_SERVICE_VLAN,
  TYPE_VLAN,
} from './type.js';

// Offsets from the header's start.
const DESTINATION = 0;
const SOURCE = 6;
const TYPE = 12;

/** Offset of the source address in the header, for callers that take an address as bytes, such as `fdb`. */
export const SOURCE_OFFSET = SOURCE;

/** Length of the header in bytes. */
export const HEADER_LENGTH = 14;
/** The minimum length of a frame without the frame check sequence: shorter ones are padded (IEEE 802.3, 3.2.8). */
export const MIN_FRAME_LENGTH = 60;
/** The first four octets of the group addresses that IEEE 802.1Q reserves. */
const RESERVED_GROUP = 0x0180_c200;

/** A frame: Ethernet II where it has an `etherType`, IEEE 802.3 where it has a `length`. */
export interface Ethernet {
  /** Text: `02:42:0a:00:00:02`. */
  destination: string;
  source: string;
  /** The type of the payload, 1501 to 65535; 0 where the frame does not say. */
  etherType?: number;
  /** Bytes of payload, 1 to 1500, in a frame without `etherType`. Computed when both are absent. */
  length?: number;
  payload: Uint8Array;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length, or `TRUNCATED` where the header, or the payload of a given length, runs past `end`.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  const room = end - offset - HEADER_LENGTH;
  if (room < 0) return TRUNCATED;
  const type = getU16(bytes, offset + TYPE);
  return type > room && isLength(type) ? TRUNCATED : HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  let needed = HEADER_LENGTH;
  if (end - offset >= needed) {
    const type = getU16(bytes, offset + TYPE);
    if (isLength(type)) needed += type;
  }
  return truncatedProblem('ethernet', offset, needed, end, limitedBy);
}

/** The destination as a 48-bit number. */
export function getDestination(bytes: Uint8Array, offset: number): number {
  return getMac(bytes, offset + DESTINATION);
}

/** The source as a 48-bit number. */
export function getSource(bytes: Uint8Array, offset: number): number {
  return getMac(bytes, offset + SOURCE);
}

/** Whether the destination is a group: multicast or broadcast. */
export function isToGroup(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + DESTINATION]! & 1) !== 0;
}

/** Whether the source is a group address, which IEEE 802.3 forbids (section 3.2.3). */
export function isFromGroup(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + SOURCE]! & 1) !== 0;
}

/** Whether destination and source are equal. */
export function isToItself(bytes: Uint8Array, offset: number): boolean {
  return (
    getI32(bytes, offset + DESTINATION + 2) === getI32(bytes, offset + SOURCE + 2) &&
    getU16(bytes, offset + DESTINATION) === getU16(bytes, offset + SOURCE)
  );
}

/** Whether the destination is one of 01:80:c2:00:00:00 to 0f, which no bridge forwards (IEEE 802.1Q, table 8-1). */
export function isToReservedGroup(bytes: Uint8Array, offset: number): boolean {
  return (
    getI32(bytes, offset + DESTINATION) === RESERVED_GROUP &&
    bytes[offset + DESTINATION + 4] === 0 &&
    bytes[offset + DESTINATION + 5]! < 0x10
  );
}

/** The type of the payload, or its length; {@link isLength} says which. */
export function getEtherType(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + TYPE);
}

export function setDestination(bytes: Uint8Array, offset: number, mac: number): void {
  setMac(bytes, offset + DESTINATION, mac);
}

export function setSource(bytes: Uint8Array, offset: number, mac: number): void {
  setMac(bytes, offset + SOURCE, mac);
}

export function setEtherType(bytes: Uint8Array, offset: number, etherType: number): void {
  setU16(bytes, offset + TYPE, etherType);
}

/** Writes a whole header, addresses as 48-bit numbers. */
export function writeHeader(
  bytes: Uint8Array,
  offset: number,
  destination: number,
  source: number,
  etherType: number,
): void {
  setMac(bytes, offset + DESTINATION, destination);
  setMac(bytes, offset + SOURCE, source);
  setU16(bytes, offset + TYPE, etherType);
}

/**
 * Reads the header and its payload: everything after a type, or as many bytes as a length says.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Ethernet {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, end);
}

/** Also reads a payload that is shorter than the length says. `null` where the header is incomplete. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Ethernet | null {
  return end - offset < HEADER_LENGTH ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): Ethernet {
  const destination = formatMac(bytes, offset + DESTINATION);
  const source = formatMac(bytes, offset + SOURCE);
  const type = getU16(bytes, offset + TYPE);
  const start = offset + HEADER_LENGTH;
  if (!isLength(type)) return { destination, source, etherType: type, payload: bytes.subarray(start, end) };
  return { destination, source, length: type, payload: bytes.subarray(start, Math.min(start + type, end)) };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Ethernet): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the frame ends. Adds no padding.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Ethernet, bytes: Uint8Array, offset: number): number {
  const end = room('ethernet', bytes, offset, HEADER_LENGTH + value.payload.length);
  const type = typeOrLength('ethernet', value);
  writeHeader(bytes, offset, parseMac(value.destination), parseMac(value.source), type);
  bytes.set(value.payload, offset + HEADER_LENGTH);
  return end;
}

/**
 * IPv6, RFC 8200: the fixed header, and a walk over the extension headers behind it.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Version|   DSCP    |ECN|              Flow Label               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |         Payload Length        |  Next Header  |   Hop Limit   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                                                               |
 *     +                                                               +
 *     |                                                               |
 *     +                         Source Address                        +
 *     |                                                               |
 *     +                                                               +
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                                                               |
 *     +                                                               +
 *     |                                                               |
 *     +                      Destination Address                      +
 *     |                                                               |
 *     +                                                               +
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
import { formatIpv6, IPV6_LENGTH, parseIpv6 } from '../address/index.js';
import {
  getI32,
  getU16,
  MALFORMED,
  problemAt,
  room,
  setU16,
  setU32,
  sum,
  TRUNCATED,
  truncatedProblem,
  uint,
  UNSUPPORTED,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the header's start.
const VERSION_CLASS_LABEL = 0;
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SOURCE = 8;
const DESTINATION = 24;
// Offsets from an extension header's start.
const EXTENSION_NEXT_HEADER = 0;
const EXTENSION_LENGTH = 1;
const FRAGMENT_OFFSET = 2;

const CLASS_SHIFT = 20;
const LABEL_MASK = 0xf_ffff;
/** The bits of a fragment header's word that hold the offset. */
const FRAGMENT_OFFSET_MASK = 0xfff8;
/** The bit of that word that says more fragments follow. */
const FRAGMENT_MORE = 1;
/** The least length of an extension header. */
const EXTENSION_MIN_LENGTH = 8;

/** Length of the fixed header in bytes. */
export const HEADER_LENGTH = 40;
/** Offset of the source, 16 octets. */
export const SOURCE_OFFSET = SOURCE;
/** Offset of the destination, 16 octets. */
export const DESTINATION_OFFSET = DESTINATION;
/** The highest payload length of a packet that is no jumbogram. */
export const MAX_PAYLOAD_LENGTH = 0xffff;
/** The hop limit that `encode` takes when absent. */
export const DEFAULT_HOP_LIMIT = 64;

export const NEXT_HOP_BY_HOP = 0;
export const NEXT_ROUTING = 43;
export const NEXT_FRAGMENT = 44;
/** Encapsulating security payload: what follows is encrypted. */
export const NEXT_ESP = 50;
/** Authentication header (RFC 4302). */
export const NEXT_AUTHENTICATION = 51;
export const NEXT_ICMPV6 = 58;
/** Nothing follows. */
export const NEXT_NONE = 59;
export const NEXT_DESTINATION_OPTIONS = 60;
/** Mobility header (RFC 6275). */
export const NEXT_MOBILITY = 135;
/** Host identity protocol (RFC 7401). */
export const NEXT_HIP = 139;
/** Shim6 (RFC 5533). */
export const NEXT_SHIM6 = 140;

/** The most extension headers that {@link findUpper} passes over. */
export const MAX_EXTENSIONS = 16;

// What findUpper returns: the protocol in 8 bits, its offset in 16 (17 headers of 2048 bytes at most), and a flag.
const FOUND_OFFSET_SHIFT = 8;
const FOUND_FRAGMENT = 1 << 24;

/** An IPv6 header and what it carries. */
export interface Ipv6 {
  /** Differentiated services code point, 0 to 63. 0 when absent. */
  dscp?: number;
  /** Explicit congestion notification, 0 to 3. 0 when absent. */
  ecn?: number;
  /** 20 bits. 0 when absent. */
  flowLabel?: number;
  /** Bytes of payload, extension headers included. Computed when absent. 0 in a jumbogram (RFC 2675). */
  payloadLength?: number;
  /** The type of the payload's first header: an extension header or an upper protocol. */
  nextHeader: number;
  /** {@link DEFAULT_HOP_LIMIT} when absent. */
  hopLimit?: number;
  /** Text in the form of RFC 5952: `fd00::4`. */
  source: string;
  destination: string;
  payload: Uint8Array;
}

/** Whether the header is that of a jumbogram, whose length stands in a hop-by-hop option (RFC 2675). */
function isJumbogram(bytes: Uint8Array, offset: number): boolean {
  return getU16(bytes, offset + PAYLOAD_LENGTH) === 0 && bytes[offset + NEXT_HEADER]! === NEXT_HOP_BY_HOP;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the fixed header's length, or `TRUNCATED` where it or the payload length runs past `end`, or `MALFORMED` where
 * the version is not 6, or `UNSUPPORTED` for a jumbogram.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  if (bytes[offset + VERSION_CLASS_LABEL]! >>> 4 !== 6) return MALFORMED;
  if (isJumbogram(bytes, offset)) return UNSUPPORTED;
  return getU16(bytes, offset + PAYLOAD_LENGTH) > end - offset - HEADER_LENGTH ? TRUNCATED : HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  let needed = HEADER_LENGTH;
  if (end - offset >= needed) {
    const version = bytes[offset + VERSION_CLASS_LABEL]! >>> 4;
    if (version !== 6) return problemAt('ipv6', offset + VERSION_CLASS_LABEL, `version is ${version}, not 6`);
    if (isJumbogram(bytes, offset))
      return problemAt('ipv6', offset + PAYLOAD_LENGTH, 'it is a jumbogram', 'unsupported');
    needed += getU16(bytes, offset + PAYLOAD_LENGTH);
  }
  return truncatedProblem('ipv6', offset, needed, end, limitedBy);
}

/** DSCP and ECN in one octet. */
export function getTrafficClass(bytes: Uint8Array, offset: number): number {
  return (getU16(bytes, offset + VERSION_CLASS_LABEL) >>> 4) & 0xff;
}

/** Differentiated services code point, 0 to 63. */
export function getDscp(bytes: Uint8Array, offset: number): number {
  return getTrafficClass(bytes, offset) >>> 2;
}

/** Explicit congestion notification, 0 to 3. */
export function getEcn(bytes: Uint8Array, offset: number): number {
  return getTrafficClass(bytes, offset) & 3;
}

export function getFlowLabel(bytes: Uint8Array, offset: number): number {
  return getI32(bytes, offset + VERSION_CLASS_LABEL) & LABEL_MASK;
}

/** Bytes of payload, extension headers included. */
export function getPayloadLength(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + PAYLOAD_LENGTH);
}

export function getNextHeader(bytes: Uint8Array, offset: number): number {
  return bytes[offset + NEXT_HEADER]!;
}

export function getHopLimit(bytes: Uint8Array, offset: number): number {
  return bytes[offset + HOP_LIMIT]!;
}

/** One of the source's four words, `index` 0 to 3, as a signed 32-bit number: for keys and hashes. */
export function getSourceWord(bytes: Uint8Array, offset: number, index: number): number {
  return getI32(bytes, offset + SOURCE + index * 4);
}

/** One of the destination's four words, `index` 0 to 3, as a signed 32-bit number: for keys and hashes. */
export function getDestinationWord(bytes: Uint8Array, offset: number, index: number): number {
  return getI32(bytes, offset + DESTINATION + index * 4);
}

/**
 * The partial checksum sum of the pseudo-header (section 8.1), for `sum` and `finish` of `wire`. Behind a routing header
 * with segments left, the destination is not yet the one that the sender summed up.
 * @param length bytes of the upper-layer header and its data.
 */
export function pseudoHeaderSum(bytes: Uint8Array, offset: number, protocol: number, length: number): number {
  return sum(bytes, offset + SOURCE, offset + HEADER_LENGTH) + protocol + (length >>> 16) + (length & 0xffff);
}

/** Whether a next header's number is that of an extension header which {@link findUpper} passes over. */
export function isExtension(nextHeader: number): boolean {
  switch (nextHeader) {
    case NEXT_HOP_BY_HOP:
    case NEXT_ROUTING:
    case NEXT_FRAGMENT:
    case NEXT_AUTHENTICATION:
    case NEXT_DESTINATION_OPTIONS:
    case NEXT_MOBILITY:
    case NEXT_HIP:
    case NEXT_SHIM6:
      return true;
    default:
      return false;
  }
}

/**
 * Walks over the extension headers of the packet at `offset`, which may be a jumbogram, to its upper protocol: past
 * hop-by-hop and destination options, routing, authentication, mobility, HIP, Shim6 and the first fragment's header. It
 * stops before ESP, before the header of a later fragment, whose upper header is elsewhere, and where nothing follows.
 * Neither throws nor allocates; reads nothing from `end` on.
 * @returns what {@link upperProtocol}, {@link upperOffset} and {@link isUpperFragment} take apart, or `TRUNCATED` where a header runs past `end`, or
 * `UNSUPPORTED` after {@link MAX_EXTENSIONS}.
 */
export function findUpper(bytes: Uint8Array, offset: number, end: number): number {
  let next = bytes[offset + NEXT_HEADER]!;
  let at = offset + HEADER_LENGTH;
  let fragment = 0;
  for (let passed = 0; passed <= MAX_EXTENSIONS; passed++) {
    if (!isExtension(next)) return fragment | ((at - offset) << FOUND_OFFSET_SHIFT) | next;
    if (end - at < EXTENSION_MIN_LENGTH) return TRUNCATED;
    let length = EXTENSION_MIN_LENGTH;
    if (next === NEXT_FRAGMENT) {
      const word = getU16(bytes, at + FRAGMENT_OFFSET);
      if ((word & FRAGMENT_OFFSET_MASK) !== 0) return ((at - offset) << FOUND_OFFSET_SHIFT) | next;
      if ((word & FRAGMENT_MORE) !== 0) fragment = FOUND_FRAGMENT;
    } else if (next === NEXT_AUTHENTICATION) {
      length = (bytes[at + EXTENSION_LENGTH]! + 2) * 4;
    } else {
      length = (bytes[at + EXTENSION_LENGTH]! + 1) * 8;
    }
    if (length > end - at) return TRUNCATED;
    next = bytes[at + EXTENSION_NEXT_HEADER]!;
    at += length;
  }
  return UNSUPPORTED;
}

/** The protocol that {@link findUpper} found; {@link NEXT_FRAGMENT} for a fragment behind the first. */
export function upperProtocol(found: number): number {
  return found & 0xff;
}

/** Bytes from the start of the IPv6 header to what {@link findUpper} found. */
export function upperOffset(found: number): number {
  return (found >>> FOUND_OFFSET_SHIFT) & 0xffff;
}

/** Whether what {@link findUpper} found is in a first fragment, so that the packet has more of it than is here. */
export function isUpperFragment(found: number): boolean {
  return (found & FOUND_FRAGMENT) !== 0;
}

/** Sets ECN, 0 to 3. */
export function setEcn(bytes: Uint8Array, offset: number, ecn: number): void {
  setTrafficClass(bytes, offset, (getTrafficClass(bytes, offset) & ~3) | ecn);
}

/** Sets DSCP and ECN. */
export function setTrafficClass(bytes: Uint8Array, offset: number, trafficClass: number): void {
  const rest = getU16(bytes, offset + VERSION_CLASS_LABEL) & 0xf00f;
  setU16(bytes, offset + VERSION_CLASS_LABEL, rest | (trafficClass << 4));
}

export function setFlowLabel(bytes: Uint8Array, offset: number, label: number): void {
  const rest = getI32(bytes, offset + VERSION_CLASS_LABEL) & ~LABEL_MASK;
  setU32(bytes, offset + VERSION_CLASS_LABEL, rest | label);
}

export function setPayloadLength(bytes: Uint8Array, offset: number, length: number): void {
  setU16(bytes, offset + PAYLOAD_LENGTH, length);
}

export function setNextHeader(bytes: Uint8Array, offset: number, nextHeader: number): void {
  bytes[offset + NEXT_HEADER] = nextHeader;
}

export function setHopLimit(bytes: Uint8Array, offset: number, hopLimit: number): void {
  bytes[offset + HOP_LIMIT] = hopLimit;
}

/** Sets the source, 16 octets. */
export function setSource(bytes: Uint8Array, offset: number, address: Uint8Array): void {
  for (let i = 0; i < IPV6_LENGTH; i++) bytes[offset + SOURCE + i] = address[i]!;
}

/** Sets the destination, 16 octets. */
export function setDestination(bytes: Uint8Array, offset: number, address: Uint8Array): void {
  for (let i = 0; i < IPV6_LENGTH; i++) bytes[offset + DESTINATION + i] = address[i]!;
}

/** Writes everything in front of the addresses, with traffic class and flow label 0. Does not allocate. */
export function writeHeader(
  bytes: Uint8Array,
  offset: number,
  nextHeader: number,
  hopLimit: number,
  payloadLength: number,
): void {
  setU32(bytes, offset + VERSION_CLASS_LABEL, 0x6000_0000);
  setU16(bytes, offset + PAYLOAD_LENGTH, payloadLength);
  bytes[offset + NEXT_HEADER] = nextHeader;
  bytes[offset + HOP_LIMIT] = hopLimit;
}

/**
 * Reads the fixed header and its payload, which ends where the payload length says.
 * @throws WireError `truncated`, `malformed` or `unsupported`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Ipv6> {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, offset + HEADER_LENGTH + getU16(bytes, offset + PAYLOAD_LENGTH));
}

/**
 * Also reads a packet with a wrong payload length. The payload extends to `end` in a jumbogram and where the payload length
 * is beyond `end`. `null` unless there are 40 octets with version 6.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Ipv6> | null {
  if (end - offset < HEADER_LENGTH || bytes[offset + VERSION_CLASS_LABEL]! >>> 4 !== 6) return null;
  if (isJumbogram(bytes, offset)) return read(bytes, offset, end);
  return read(bytes, offset, Math.min(offset + HEADER_LENGTH + getU16(bytes, offset + PAYLOAD_LENGTH), end));
}

function read(bytes: Uint8Array, offset: number, end: number): Required<Ipv6> {
  const word = getI32(bytes, offset + VERSION_CLASS_LABEL);
  return {
    dscp: (word >>> (CLASS_SHIFT + 2)) & 63,
    ecn: (word >>> CLASS_SHIFT) & 3,
    flowLabel: word & LABEL_MASK,
    payloadLength: getU16(bytes, offset + PAYLOAD_LENGTH),
    nextHeader: bytes[offset + NEXT_HEADER]!,
    hopLimit: bytes[offset + HOP_LIMIT]!,
    source: formatIpv6(bytes, offset + SOURCE),
    destination: formatIpv6(bytes, offset + DESTINATION),
    payload: bytes.subarray(offset + HEADER_LENGTH, end),
  };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Ipv6): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the packet ends.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Ipv6, bytes: Uint8Array, offset: number): number {
  const end = room('ipv6', bytes, offset, HEADER_LENGTH + value.payload.length);
  const trafficClass = (uint('ipv6.dscp', value.dscp ?? 0, 63) << 2) | uint('ipv6.ecn', value.ecn ?? 0, 3);
  const label = uint('ipv6.flowLabel', value.flowLabel ?? 0, LABEL_MASK);
  setU32(bytes, offset + VERSION_CLASS_LABEL, 0x6000_0000 | (trafficClass << CLASS_SHIFT) | label);
  const length = value.payloadLength ?? value.payload.length;
  setU16(bytes, offset + PAYLOAD_LENGTH, uint('ipv6.payloadLength', length, MAX_PAYLOAD_LENGTH));
  bytes[offset + NEXT_HEADER] = uint('ipv6.nextHeader', value.nextHeader, 0xff);
  bytes[offset + HOP_LIMIT] = uint('ipv6.hopLimit', value.hopLimit ?? DEFAULT_HOP_LIMIT, 0xff);
  bytes.set(parseIpv6(value.source), offset + SOURCE);
  bytes.set(parseIpv6(value.destination), offset + DESTINATION);
  bytes.set(value.payload, offset + HEADER_LENGTH);
  return end;
}

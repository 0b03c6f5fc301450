/**
 * IPv4, RFC 791; differentiated services, RFC 2474; explicit congestion notification, RFC 3168.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Version|  IHL  |   DSCP    |ECN|          Total Length         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |         Identification        |R|D|M|     Fragment Offset     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  Time to Live |    Protocol   |        Header Checksum        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Source Address                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                     Destination Address                       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Options, in 32-bit words                   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
import { formatIpv4, parseIpv4 } from '../address/index.js';
import {
  checksum,
  getU16,
  getI32,
  MALFORMED,
  problemAt,
  type Option,
  optionsLength,
  readOptions,
  room,
  setU16,
  setU32,
  sum,
  TRUNCATED,
  truncatedProblem,
  uint,
  update,
  WireError,
  type WireProblem,
  writeOptions,
} from '../wire/index.js';

// Offsets from the header's start.
const VERSION_LENGTH = 0;
const TOS = 1;
const TOTAL_LENGTH = 2;
const IDENTIFICATION = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;
const OPTIONS = 20;

// Bits of the word at FRAGMENT.
const RESERVED_FLAG = 0x8000;
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_MASK = 0x1fff;

/** Version 4 and a header of five words, as the first octet has them. */
const NO_OPTIONS = 0x45;
/** Length of a header without options in bytes. */
export const MIN_HEADER_LENGTH = 20;
/** Length of a header with the most options in bytes. */
export const MAX_HEADER_LENGTH = 60;
/** The highest total length. */
export const MAX_LENGTH = 0xffff;
/** The TTL that RFC 1700 recommends, which `encode` takes when absent. */
export const DEFAULT_TTL = 64;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_IGMP = 2;
/** IPv4 in IPv4 (RFC 2003). */
export const PROTOCOL_IPV4 = 4;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
/** Datagram congestion control (RFC 4340). */
export const PROTOCOL_DCCP = 33;
/** IPv6 in IPv4 (RFC 4213). */
export const PROTOCOL_IPV6 = 41;
export const PROTOCOL_GRE = 47;
/** Encapsulating security payload (RFC 4303), as Docker's encrypted overlays use it. */
export const PROTOCOL_ESP = 50;
export const PROTOCOL_ICMPV6 = 58;
export const PROTOCOL_SCTP = 132;

/** Not ECN-capable (RFC 3168, section 5). */
export const ECN_NOT_ECT = 0;
export const ECN_ECT1 = 1;
export const ECN_ECT0 = 2;
/** Congestion experienced. */
export const ECN_CE = 3;

/** An IPv4 header and what it carries. */
export interface Ipv4 {
  /** Differentiated services code point, 0 to 63. 0 when absent. */
  dscp?: number;
  /** Explicit congestion notification, 0 to 3. 0 when absent. */
  ecn?: number;
  /** Bytes of header and payload. Computed when absent. */
  totalLength?: number;
  /** 0 when absent. */
  identification?: number;
  /** The reserved flag, which must be 0 (RFC 791); RFC 3514, of the first of April, calls it the evil bit. */
  reservedFlag?: boolean;
  dontFragment?: boolean;
  moreFragments?: boolean;
  /** Offset of the payload in the whole packet, in bytes: a multiple of 8. 0 when absent. */
  fragmentOffset?: number;
  /** {@link DEFAULT_TTL} when absent. */
  ttl?: number;
  protocol: number;
  /** Over the header. Computed when absent. */
  checksum?: number;
  /** Text: `10.0.0.4`. */
  source: string;
  destination: string;
  /** None when absent. */
  options?: Option[];
  payload: Uint8Array;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length with its options, or `TRUNCATED` where the header or the total length runs past `end`, or
 * `MALFORMED` where the version is not 4 or one of the two lengths is less than it must be.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  const available = end - offset;
  // Short, so that V8 inlines it: nearly all packets are whole and have no options.
  if (available >= MIN_HEADER_LENGTH && bytes[offset + VERSION_LENGTH] === NO_OPTIONS) {
    const total = getU16(bytes, offset + TOTAL_LENGTH);
    if (total >= MIN_HEADER_LENGTH && total <= available) return MIN_HEADER_LENGTH;
  }
  return checkAny(bytes, offset, available);
}

function checkAny(bytes: Uint8Array, offset: number, available: number): number {
  if (available < MIN_HEADER_LENGTH) return TRUNCATED;
  const first = bytes[offset + VERSION_LENGTH]!;
  const length = (first & 15) << 2;
  if (first >>> 4 !== 4 || length < MIN_HEADER_LENGTH) return MALFORMED;
  if (length > available) return TRUNCATED;
  const total = getU16(bytes, offset + TOTAL_LENGTH);
  if (total < length) return MALFORMED;
  return total > available ? TRUNCATED : length;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  let needed = MIN_HEADER_LENGTH;
  if (end - offset >= needed) {
    const version = bytes[offset]! >> 4;
    if (version !== 4) return problemAt('ipv4', offset, `version is ${version}, not 4`);
    needed = (bytes[offset]! & 15) << 2; // written out, as in `decode`: shorter in a bundle than the getter
    if (needed < MIN_HEADER_LENGTH)
      return problemAt('ipv4', offset, `header length is ${needed}, less than ${MIN_HEADER_LENGTH}`);
    if (needed <= end - offset) {
      const total = getU16(bytes, offset + TOTAL_LENGTH);
      if (total < needed) return problemAt('ipv4', offset + TOTAL_LENGTH, `total length ${total} < header ${needed}`);
      needed = total;
    }
  }
  return truncatedProblem('ipv4', offset, needed, end, limitedBy);
}

/** Bytes of header, options included. */
export function getHeaderLength(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + VERSION_LENGTH]! & 15) << 2;
}

/** The octet that RFC 791 calls type of service: DSCP and ECN. */
export function getTos(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TOS]!;
}

/** Differentiated services code point, 0 to 63. */
export function getDscp(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TOS]! >>> 2;
}

/** Explicit congestion notification, 0 to 3. */
export function getEcn(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TOS]! & 3;
}

/** Bytes of header and payload. */
export function getTotalLength(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + TOTAL_LENGTH);
}

export function getIdentification(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + IDENTIFICATION);
}

export function getReservedFlag(bytes: Uint8Array, offset: number): boolean {
  return (getU16(bytes, offset + FRAGMENT) & RESERVED_FLAG) !== 0;
}

export function getDontFragment(bytes: Uint8Array, offset: number): boolean {
  return (getU16(bytes, offset + FRAGMENT) & DONT_FRAGMENT) !== 0;
}

export function getMoreFragments(bytes: Uint8Array, offset: number): boolean {
  return (getU16(bytes, offset + FRAGMENT) & MORE_FRAGMENTS) !== 0;
}

/** Offset of the payload in the whole packet, in bytes. */
export function getFragmentOffset(bytes: Uint8Array, offset: number): number {
  return (getU16(bytes, offset + FRAGMENT) & FRAGMENT_MASK) << 3;
}

/** Whether this is a fragment, the first one included. */
export function isFragment(bytes: Uint8Array, offset: number): boolean {
  return (getU16(bytes, offset + FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_MASK)) !== 0;
}

export function getTtl(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TTL]!;
}

export function getProtocol(bytes: Uint8Array, offset: number): number {
  return bytes[offset + PROTOCOL]!;
}

export function getChecksum(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + CHECKSUM);
}

/** The source as an unsigned 32-bit number. */
export function getSource(bytes: Uint8Array, offset: number): number {
  return getI32(bytes, offset + SOURCE) >>> 0;
}

/** The destination as an unsigned 32-bit number. */
export function getDestination(bytes: Uint8Array, offset: number): number {
  return getI32(bytes, offset + DESTINATION) >>> 0;
}

/** Whether headers of this protocol begin with a source and a destination port of 16 bits each. */
export function hasPorts(protocol: number): boolean {
  return (
    protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP || protocol === PROTOCOL_SCTP || protocol === PROTOCOL_DCCP
  );
}

/** The source as a signed 32-bit number, for keys and hashes: V8 stores it without a heap allocation. */
export function getSourceWord(bytes: Uint8Array, offset: number): number {
  return getI32(bytes, offset + SOURCE);
}

/** The destination likewise. */
export function getDestinationWord(bytes: Uint8Array, offset: number): number {
  return getI32(bytes, offset + DESTINATION);
}

/** Whether the checksum of the header is right. */
export function verifyChecksum(bytes: Uint8Array, offset: number): boolean {
  return checksum(bytes, offset, offset + getHeaderLength(bytes, offset)) === 0;
}

/**
 * The partial checksum sum of the pseudo-header that UDP and TCP cover (RFC 768), for `sum` and `finish` of `wire`.
 * @param length bytes of the upper-layer header and its data.
 */
export function pseudoHeaderSum(bytes: Uint8Array, offset: number, protocol: number, length: number): number {
  return sum(bytes, offset + SOURCE, offset + OPTIONS) + protocol + length;
}

/** Sets DSCP and ECN; the checksum stays as it is. */
export function setTos(bytes: Uint8Array, offset: number, tos: number): void {
  bytes[offset + TOS] = tos;
}

/** Sets ECN, 0 to 3, and updates the checksum (RFC 1624). */
export function setEcn(bytes: Uint8Array, offset: number, ecn: number): void {
  const before = getU16(bytes, offset + VERSION_LENGTH);
  const after = (before & ~3) | ecn;
  bytes[offset + TOS] = after;
  setU16(bytes, offset + CHECKSUM, update(getU16(bytes, offset + CHECKSUM), before, after));
}

export function setTotalLength(bytes: Uint8Array, offset: number, length: number): void {
  setU16(bytes, offset + TOTAL_LENGTH, length);
}

export function setIdentification(bytes: Uint8Array, offset: number, identification: number): void {
  setU16(bytes, offset + IDENTIFICATION, identification);
}

export function setDontFragment(bytes: Uint8Array, offset: number, dontFragment: boolean): void {
  const rest = getU16(bytes, offset + FRAGMENT) & ~DONT_FRAGMENT;
  setU16(bytes, offset + FRAGMENT, dontFragment ? rest | DONT_FRAGMENT : rest);
}

/** Sets the TTL; the checksum stays as it is. */
export function setTtl(bytes: Uint8Array, offset: number, ttl: number): void {
  bytes[offset + TTL] = ttl;
}

/** Decrements a TTL above 0, updates the checksum (RFC 1624), and returns the new TTL. */
export function decrementTtl(bytes: Uint8Array, offset: number): number {
  const before = getU16(bytes, offset + TTL);
  const after = before - 0x100;
  bytes[offset + TTL] = after >>> 8;
  setU16(bytes, offset + CHECKSUM, update(getU16(bytes, offset + CHECKSUM), before, after));
  return after >>> 8;
}

export function setProtocol(bytes: Uint8Array, offset: number, protocol: number): void {
  bytes[offset + PROTOCOL] = protocol;
}

/** Sets the source, an unsigned 32-bit number. */
export function setSource(bytes: Uint8Array, offset: number, address: number): void {
  setU32(bytes, offset + SOURCE, address);
}

/** Sets the destination, an unsigned 32-bit number. */
export function setDestination(bytes: Uint8Array, offset: number, address: number): void {
  setU32(bytes, offset + DESTINATION, address);
}

export function setChecksum(bytes: Uint8Array, offset: number, value: number): void {
  setU16(bytes, offset + CHECKSUM, value);
}

/** Computes the checksum of the header as it stands and writes it. */
export function fillChecksum(bytes: Uint8Array, offset: number): void {
  setU16(bytes, offset + CHECKSUM, 0);
  setU16(bytes, offset + CHECKSUM, checksum(bytes, offset, offset + getHeaderLength(bytes, offset)));
}

/**
 * Reads the header and its payload, which ends where the total length says.
 * @throws WireError `truncated` or `malformed`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Ipv4> {
  const problem = diagnose(bytes, offset, end);
  if (problem) throw new WireError(problem);
  return read(bytes, offset, offset + ((bytes[offset]! & 15) << 2), offset + getU16(bytes, offset + TOTAL_LENGTH));
}

/**
 * Also reads a packet with a wrong total length. The payload extends to `end` where the total length is 0, as in captures
 * of segments that a network card has yet to cut, or is beyond `end`; it is empty where the total length is less than the
 * header's. `null` unless there are 20 octets with version 4 and a valid header length.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Ipv4> | null {
  if (end - offset < MIN_HEADER_LENGTH) return null;
  const length = getHeaderLength(bytes, offset);
  if (bytes[offset + VERSION_LENGTH]! >>> 4 !== 4 || length < MIN_HEADER_LENGTH) return null;
  const total = getU16(bytes, offset + TOTAL_LENGTH);
  const start = Math.min(offset + length, end);
  return read(bytes, offset, start, total === 0 ? end : Math.max(start, Math.min(offset + total, end)));
}

function read(bytes: Uint8Array, offset: number, start: number, end: number): Required<Ipv4> {
  const tos = bytes[offset + TOS]!;
  const fragment = getU16(bytes, offset + FRAGMENT);
  return {
    dscp: tos >> 2,
    ecn: tos & 3,
    totalLength: getU16(bytes, offset + TOTAL_LENGTH),
    identification: getU16(bytes, offset + IDENTIFICATION),
    reservedFlag: fragment > 0x7fff,
    dontFragment: !!(fragment & DONT_FRAGMENT),
    moreFragments: !!(fragment & MORE_FRAGMENTS),
    fragmentOffset: (fragment & FRAGMENT_MASK) * 8,
    ttl: bytes[offset + TTL]!,
    protocol: bytes[offset + PROTOCOL]!,
    checksum: getU16(bytes, offset + CHECKSUM),
    source: formatIpv4(bytes, offset + SOURCE),
    destination: formatIpv4(bytes, offset + DESTINATION),
    options: readOptions(bytes, offset + OPTIONS, start),
    payload: bytes.subarray(start, end),
  };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Ipv4): Uint8Array {
  const bytes = new Uint8Array(headerLength(value) + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the packet ends. Options are filled up to whole
 * words with zeros.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Ipv4, bytes: Uint8Array, offset: number): number {
  const length = headerLength(value);
  const end = room('ipv4', bytes, offset, length + value.payload.length);
  const fragmentOffset = uint('ipv4.fragmentOffset', value.fragmentOffset ?? 0, FRAGMENT_MASK << 3);
  if ((fragmentOffset & 7) !== 0)
    throw new RangeError(`ipv4.fragmentOffset must be a multiple of 8, not ${fragmentOffset}`);
  bytes[offset + VERSION_LENGTH] = 0x40 | (length >>> 2);
  bytes[offset + TOS] = (uint('ipv4.dscp', value.dscp ?? 0, 63) << 2) | uint('ipv4.ecn', value.ecn ?? 0, 3);
  const total = value.totalLength ?? length + value.payload.length;
  setU16(bytes, offset + TOTAL_LENGTH, uint('ipv4.totalLength', total, MAX_LENGTH));
  setU16(bytes, offset + IDENTIFICATION, uint('ipv4.identification', value.identification ?? 0, 0xffff));
  const flags =
    (value.reservedFlag === true ? RESERVED_FLAG : 0) |
    (value.dontFragment === true ? DONT_FRAGMENT : 0) |
    (value.moreFragments === true ? MORE_FRAGMENTS : 0);
  setU16(bytes, offset + FRAGMENT, flags | (fragmentOffset >>> 3));
  bytes[offset + TTL] = uint('ipv4.ttl', value.ttl ?? DEFAULT_TTL, 0xff);
  bytes[offset + PROTOCOL] = uint('ipv4.protocol', value.protocol, 0xff);
  setU32(bytes, offset + SOURCE, parseIpv4(value.source));
  setU32(bytes, offset + DESTINATION, parseIpv4(value.destination));
  if (value.options !== undefined) writeOptions('ipv4.options', value.options, bytes, offset + OPTIONS);
  if (value.checksum === undefined) fillChecksum(bytes, offset);
  else setU16(bytes, offset + CHECKSUM, uint('ipv4.checksum', value.checksum, 0xffff));
  bytes.set(value.payload, offset + length);
  return end;
}

function headerLength(value: Ipv4): number {
  const options = value.options === undefined ? 0 : optionsLength(value.options);
  return MIN_HEADER_LENGTH + uint('ipv4.options length', options, MAX_HEADER_LENGTH - MIN_HEADER_LENGTH);
}

/** The bit of an option's kind that says that every fragment has it (RFC 791, section 3.1). */
const COPIED = 0x80;

/**
 * Cuts a packet, which may be a fragment itself, into fragments of `mtu` bytes at most (RFC 791, section 3.2).
 * @param end At least the end of the packet.
 * @throws RangeError if not even 8 bytes of the payload fit.
 */
export function fragmentsOf(bytes: Uint8Array, offset: number, end: number, mtu: number): Uint8Array[] {
  const { checksum: _, totalLength: __, ...header } = decode(bytes, offset, end);
  const { payload } = header;
  const later = header.options.filter(({ kind }) => kind >= COPIED);
  const fragments: Uint8Array[] = [];
  for (let at = 0; at < payload.length;) {
    const options = at === 0 ? header.options : later;
    const room = (mtu - MIN_HEADER_LENGTH - optionsLength(options)) & ~7;
    if (room < 8) throw new RangeError(`an MTU of ${mtu} bytes leaves no room for 8 bytes of payload`);
    const size = Math.min(room, payload.length - at);
    fragments.push(
      encode({
        ...header,
        options,
        fragmentOffset: header.fragmentOffset + at,
        moreFragments: header.moreFragments || at + size < payload.length,
        payload: payload.subarray(at, at + size),
      }),
    );
    at += size;
  }
  return fragments;
}

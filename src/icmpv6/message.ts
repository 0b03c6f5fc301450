/**
 * ICMPv6, RFC 4443, with neighbor discovery (RFC 4861) and the length of what is quoted (RFC 4884).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |     Code      |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           what the type makes of these four octets            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     |          Identifier           |           Sequence            |  echo
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    Length     |                    Unused                     |  unreachable, time exceeded
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        MTU or pointer                         |  packet too big, parameter problem
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |   Hop limit   |M|O| Reserved  |           Lifetime            |  router advertisement
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |R|S|O|                       Reserved                          |  neighbor advertisement
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Reserved                            |  solicitations, redirect
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * Two times follow in a router advertisement, the target's address in neighbor solicitation, neighbor advertisement and
 * redirect, and then the destination's address in redirect. All messages of neighbor discovery end with options. Errors
 * quote the packet that caused them.
 */
import { type Addresses, formatIpv6, IPV6_LENGTH, parseIpv6, pseudoHeaderSum } from '../address/index.js';
import { NEXT_ICMPV6 } from '../ipv6/index.js';
import {
  finish,
  getI32,
  getU16,
  getU32,
  room,
  setU16,
  setU32,
  sum,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';
import {
  OPTION_TARGET_LINK_LAYER_ADDRESS,
  optionsLength,
  readOptions,
  writeLinkLayerAddress,
  writeOptions,
  type Option,
} from './options.js';

// Offsets from the header's start.
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const REST = 4;
const IDENTIFIER = 4;
const SEQUENCE = 6;
const MTU = 4;
const FLAGS = 4;
const HOP_LIMIT = 4;
const ROUTER_FLAGS = 5;
const LIFETIME = 6;
const REACHABLE_TIME = 8;
const RETRANSMIT_TIMER = 12;
const TARGET = 8;
const DESTINATION = 24;
// Bits of the octet at ROUTER_FLAGS.
const MANAGED = 0x80;
const OTHER = 0x40;
const ROUTER_RESERVED = 0x3f;
// Bits of the first octet at FLAGS, and of the word.
const ROUTER = 0x80;
const SOLICITED = 0x40;
const OVERRIDE = 0x20;
const RESERVED_MASK = 0x1fff_ffff;

/** Length in bytes of the header that every type has. */
export const HEADER_LENGTH = 8;
/** Length in bytes of a router advertisement before its options. */
const ADVERTISEMENT_LENGTH = 16;
/** Length in bytes of a neighbor solicitation or advertisement before its options. */
export const NEIGHBOR_LENGTH = 24;
const REDIRECT_LENGTH = 40;
/** Length in bytes of type, code and checksum. */
export const COMMON_LENGTH = 4;
/** Offset of the target's address, 16 octets, in a neighbor solicitation, a neighbor advertisement or a redirect. */
export const TARGET_OFFSET = TARGET;
/** Offset of the destination's address in a redirect. */
export const DESTINATION_OFFSET = DESTINATION;
/** The longest error, its IPv6 header included, and the least MTU of a link (RFC 4443, section 2.4 (c)), in bytes. */
export const MAX_ERROR_LENGTH = 1280;

export const UNREACHABLE = 1;
export const PACKET_TOO_BIG = 2;
export const TIME_EXCEEDED = 3;
export const PARAMETER_PROBLEM = 4;
export const ECHO_REQUEST = 128;
export const ECHO_REPLY = 129;
export const ROUTER_SOLICITATION = 133;
export const ROUTER_ADVERTISEMENT = 134;
export const NEIGHBOR_SOLICITATION = 135;
export const NEIGHBOR_ADVERTISEMENT = 136;
export const REDIRECT = 137;

// Codes of UNREACHABLE.
export const CODE_NO_ROUTE = 0;
export const CODE_PROHIBITED = 1;
export const CODE_BEYOND_SCOPE = 2;
export const CODE_ADDRESS_UNREACHABLE = 3;
export const CODE_PORT_UNREACHABLE = 4;

// Codes of PARAMETER_PROBLEM.
export const CODE_ERRONEOUS_FIELD = 0;
export const CODE_UNKNOWN_NEXT_HEADER = 1;
export const CODE_UNKNOWN_OPTION = 2;

/** Types from here on are informational (RFC 4443, section 2.1). */
const FIRST_INFORMATIONAL = 128;

/** The hop limit of neighbor discovery: no router forwards a packet with it, so the sender is on the link. */
export const DISCOVERY_HOP_LIMIT = 255;

/** A message. Which fields it has beside `type`, `code`, `checksum` and `payload` follows from its type. */
export interface Icmpv6 {
  type: number;
  code: number;
  /** Over pseudo-header and message. Computed when absent and the addresses are known; otherwise 0. */
  checksum?: number;
  /** Echo. 0 when absent, as all numbers below. */
  identifier?: number;
  /** Echo. */
  sequence?: number;
  /** Packet too big: the next hop's MTU in bytes. */
  mtu?: number;
  /** Parameter problem: the octet of the quoted packet that is at fault. */
  pointer?: number;
  /**
   * Unreachable, time exceeded: 64-bit words of the quoted packet, behind which extensions begin (RFC 4884). 0 where there
   * are none.
   */
  length?: number;
  /** Unreachable, time exceeded: 24 bits, to be 0. */
  unused?: number;
  /** Router advertisement: the hop limit for hosts to use, 0 for no advice. */
  hopLimit?: number;
  /** Router advertisement: addresses are available by DHCPv6. */
  managed?: boolean;
  /** Router advertisement: other configuration is available by DHCPv6. */
  otherConfiguration?: boolean;
  /** Router advertisement: seconds for which the router is a default router; 0 if it is none. */
  lifetime?: number;
  /** Router advertisement: milliseconds for which a neighbor is reachable after a confirmation. */
  reachableTime?: number;
  /** Router advertisement: milliseconds between two solicitations. */
  retransmitTimer?: number;
  /** Neighbor advertisement: the sender is a router. */
  router?: boolean;
  /** Neighbor advertisement: it answers a solicitation. */
  solicited?: boolean;
  /** Neighbor advertisement: it overrides a cached link-layer address. */
  override?: boolean;
  /** Neighbor discovery: bits to be 0: 6 of a router advertisement, 29 of a neighbor advertisement, otherwise 32. */
  reserved?: number;
  /** Neighbor solicitation, neighbor advertisement: the address in question, as text. Redirect: the better first hop. */
  target?: string;
  /** Redirect: the redirected destination, as text. */
  destination?: string;
  /** Neighbor discovery. None when absent. */
  options?: Option[];
  /** Other types: the four octets, 32 bits. */
  rest?: number;
  /** The data; of an error, the packet that caused it; of neighbor discovery, nothing. */
  payload: Uint8Array;
}

/** A message as `decode` returns it. */
export type DecodedIcmpv6 = Icmpv6 & Required<Pick<Icmpv6, 'checksum'>>;

/** Bytes before data or options by the type: 8, or what neighbor discovery has beyond. */
function headerLength(type: number): number {
  if (type === NEIGHBOR_SOLICITATION || type === NEIGHBOR_ADVERTISEMENT) return NEIGHBOR_LENGTH;
  if (type === ROUTER_ADVERTISEMENT) return ADVERTISEMENT_LENGTH;
  return type === REDIRECT ? REDIRECT_LENGTH : HEADER_LENGTH;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates. `verifyDiscovery` validates a message of neighbor
 * discovery with its options.
 * @returns the header's length, times and addresses included and options excluded, or `TRUNCATED`.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  const length = headerLength(bytes[offset + TYPE]!);
  return length > end - offset ? TRUNCATED : length;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  const needed = end - offset < HEADER_LENGTH ? HEADER_LENGTH : headerLength(bytes[offset + TYPE]!);
  return truncatedProblem('icmpv6', offset, needed, end, limitedBy);
}

export function getType(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TYPE]!;
}

export function getCode(bytes: Uint8Array, offset: number): number {
  return bytes[offset + CODE]!;
}

export function getChecksum(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + CHECKSUM);
}

/** Meaningful in echo. */
export function getIdentifier(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + IDENTIFIER);
}

/** Meaningful in echo. */
export function getSequence(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + SEQUENCE);
}

/** The next hop's MTU in bytes; meaningful in packet too big. */
export function getMtu(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + MTU);
}

/** Whether the sender is a router; meaningful in neighbor advertisement. */
export function isRouter(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + FLAGS]! & ROUTER) !== 0;
}

/** Whether it answers a solicitation; meaningful in neighbor advertisement. */
export function isSolicited(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + FLAGS]! & SOLICITED) !== 0;
}

/** Whether it overrides a cached link-layer address; meaningful in neighbor advertisement. */
export function isOverride(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + FLAGS]! & OVERRIDE) !== 0;
}

/**
 * One of the four words of the target's address, `index` 0 to 3, as a signed 32-bit number; meaningful in neighbor
 * solicitation, neighbor advertisement and redirect.
 */
export function getTargetWord(bytes: Uint8Array, offset: number, index: number): number {
  return getI32(bytes, offset + TARGET + index * 4);
}

/** Whether messages of this type are neighbor discovery (RFC 4861), which end with options and are valid on a link only. */
export function isDiscovery(type: number): boolean {
  return type >= ROUTER_SOLICITATION && type <= REDIRECT;
}

/** Whether messages of this type are errors, which quote a packet. */
export function isError(type: number): boolean {
  return type < FIRST_INFORMATIONAL;
}

/** Whether an error may answer messages of this type: not if it is an error or a redirect (RFC 4443, section 2.4 (e)). */
export function mayCauseError(type: number): boolean {
  return type >= FIRST_INFORMATIONAL && type !== REDIRECT;
}

/**
 * Whether the checksum fits the message `bytes[offset, end)`.
 * @param pseudo the addresses, or the partial sum of the pseudo-header with the length of the message.
 */
export function verifyChecksum(bytes: Uint8Array, offset: number, end: number, pseudo: number | Addresses): boolean {
  return finish(sum(bytes, offset, end, pseudoSum(pseudo, end - offset))) === 0;
}

function pseudoSum(pseudo: number | Addresses, length: number): number {
  return typeof pseudo === 'number' ? pseudo : pseudoHeaderSum(pseudo, NEXT_ICMPV6, length);
}

export function setType(bytes: Uint8Array, offset: number, type: number): void {
  bytes[offset + TYPE] = type;
}

export function setCode(bytes: Uint8Array, offset: number, code: number): void {
  bytes[offset + CODE] = code;
}

export function setChecksum(bytes: Uint8Array, offset: number, value: number): void {
  setU16(bytes, offset + CHECKSUM, value);
}

export function setIdentifier(bytes: Uint8Array, offset: number, identifier: number): void {
  setU16(bytes, offset + IDENTIFIER, identifier);
}

export function setSequence(bytes: Uint8Array, offset: number, sequence: number): void {
  setU16(bytes, offset + SEQUENCE, sequence);
}

export function setMtu(bytes: Uint8Array, offset: number, mtu: number): void {
  setU32(bytes, offset + MTU, mtu);
}

/**
 * Writes a neighbor advertisement with the override flag and the target's link-layer address, and returns its end. Its
 * checksum is 0: see {@link fillChecksum}. Does not allocate.
 * @param solicited Whether it answers a solicitation from an address.
 * @param target Start of the target's address in `from`.
 */
export function writeAdvertisement(
  bytes: Uint8Array,
  offset: number,
  solicited: boolean,
  from: Uint8Array,
  target: number,
  mac: number,
): number {
  setU32(bytes, offset, NEIGHBOR_ADVERTISEMENT << 24);
  setU32(bytes, offset + FLAGS, ((solicited ? SOLICITED : 0) | OVERRIDE) << 24);
  for (let i = 0; i < IPV6_LENGTH; i++) bytes[offset + TARGET + i] = from[target + i]!;
  return writeLinkLayerAddress(bytes, offset + NEIGHBOR_LENGTH, OPTION_TARGET_LINK_LAYER_ADDRESS, mac);
}

/**
 * Computes the checksum of the message `bytes[offset, end)` as it stands and writes it.
 * @param pseudo as for {@link verifyChecksum}.
 */
export function fillChecksum(bytes: Uint8Array, offset: number, end: number, pseudo: number | Addresses): void {
  setU16(bytes, offset + CHECKSUM, 0);
  setU16(bytes, offset + CHECKSUM, finish(sum(bytes, offset, end, pseudoSum(pseudo, end - offset))));
}

/**
 * Reads the message.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): DecodedIcmpv6 {
  const problem = diagnose(bytes, offset, end);
  if (problem) throw new WireError(problem);
  return read(bytes, offset, end);
}

/**
 * Also reads a message that is cut: of less than eight octets, type, code and checksum; of neighbor discovery, the fields
 * of the first eight octets, with the rest as payload. `null` where fewer than four octets are available.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): DecodedIcmpv6 | null {
  return end - offset < COMMON_LENGTH ? null : read(bytes, offset, end);
}

/** In few words rather than a `switch`, because every bundle with a `decode` contains it. */
function read(bytes: Uint8Array, offset: number, end: number): DecodedIcmpv6 {
  const type = bytes[offset + TYPE]!;
  const available = end - offset;
  const length = headerLength(type);
  const whole = length <= available;
  const options = offset + (available < HEADER_LENGTH ? COMMON_LENGTH : whole ? length : HEADER_LENGTH);
  const value: DecodedIcmpv6 = {
    type,
    code: bytes[offset + CODE]!,
    checksum: getU16(bytes, offset + CHECKSUM),
    payload: bytes.subarray(whole && isDiscovery(type) ? end : options, end),
  };
  if (available < HEADER_LENGTH) return value;
  const word = getU32(bytes, offset + REST);
  const first = word >>> 24;
  const tail = word & 0xffff;
  if (type === ECHO_REQUEST || type === ECHO_REPLY) return { ...value, identifier: word >>> 16, sequence: tail };
  if (type === PACKET_TOO_BIG) return { ...value, mtu: word };
  if (type === PARAMETER_PROBLEM) return { ...value, pointer: word };
  if (type === UNREACHABLE || type === TIME_EXCEEDED) return { ...value, length: first, unused: word & 0xff_ffff };
  if (!isDiscovery(type)) return { ...value, rest: word };
  if (type === ROUTER_ADVERTISEMENT) {
    const flags = (word >>> 16) & 0xff;
    value.hopLimit = first;
    value.managed = (flags & MANAGED) > 0;
    value.otherConfiguration = (flags & OTHER) > 0;
    value.reserved = flags & ROUTER_RESERVED;
    value.lifetime = tail;
    if (whole) {
      value.reachableTime = getU32(bytes, offset + REACHABLE_TIME);
      value.retransmitTimer = getU32(bytes, offset + RETRANSMIT_TIMER);
    }
  } else if (type === NEIGHBOR_ADVERTISEMENT) {
    value.router = (first & ROUTER) > 0;
    value.solicited = (first & SOLICITED) > 0;
    value.override = (first & OVERRIDE) > 0;
    value.reserved = word & RESERVED_MASK;
  } else value.reserved = word;
  if (whole) {
    if (length > ADVERTISEMENT_LENGTH) value.target = formatIpv6(bytes, offset + TARGET);
    if (type === REDIRECT) value.destination = formatIpv6(bytes, offset + DESTINATION);
    value.options = readOptions(bytes, options, end);
  }
  return value;
}

/**
 * Encodes into a buffer of its own.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Icmpv6, addresses?: Addresses): Uint8Array {
  const bytes = new Uint8Array(encodedLength(value));
  encodeInto(value, bytes, 0, addresses);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the message ends. Fields that the type does not
 * have are left out.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Icmpv6, bytes: Uint8Array, offset: number, addresses?: Addresses): number {
  const { type } = value;
  const end = room('icmpv6', bytes, offset, encodedLength(value));
  bytes[offset + TYPE] = uint('icmpv6.type', type, 0xff);
  bytes[offset + CODE] = uint('icmpv6.code', value.code, 0xff);
  setU16(bytes, offset + CHECKSUM, uint('icmpv6.checksum', value.checksum ?? 0, 0xffff));
  switch (type) {
    case ECHO_REQUEST:
    case ECHO_REPLY:
      setU16(bytes, offset + IDENTIFIER, uint('icmpv6.identifier', value.identifier ?? 0, 0xffff));
      setU16(bytes, offset + SEQUENCE, uint('icmpv6.sequence', value.sequence ?? 0, 0xffff));
      break;
    case UNREACHABLE:
    case TIME_EXCEEDED:
      setU32(
        bytes,
        offset + REST,
        (uint('icmpv6.length', value.length ?? 0, 0xff) << 24) | uint('icmpv6.unused', value.unused ?? 0, 0xff_ffff),
      );
      break;
    case PACKET_TOO_BIG:
      setU32(bytes, offset + MTU, uint('icmpv6.mtu', value.mtu ?? 0, 0xffff_ffff));
      break;
    case PARAMETER_PROBLEM:
      setU32(bytes, offset + REST, uint('icmpv6.pointer', value.pointer ?? 0, 0xffff_ffff));
      break;
    case ROUTER_ADVERTISEMENT:
      bytes[offset + HOP_LIMIT] = uint('icmpv6.hopLimit', value.hopLimit ?? 0, 0xff);
      bytes[offset + ROUTER_FLAGS] =
        (value.managed === true ? MANAGED : 0) |
        (value.otherConfiguration === true ? OTHER : 0) |
        uint('icmpv6.reserved', value.reserved ?? 0, ROUTER_RESERVED);
      setU16(bytes, offset + LIFETIME, uint('icmpv6.lifetime', value.lifetime ?? 0, 0xffff));
      setU32(bytes, offset + REACHABLE_TIME, uint('icmpv6.reachableTime', value.reachableTime ?? 0, 0xffff_ffff));
      setU32(bytes, offset + RETRANSMIT_TIMER, uint('icmpv6.retransmitTimer', value.retransmitTimer ?? 0, 0xffff_ffff));
      break;
    case NEIGHBOR_ADVERTISEMENT: {
      setU32(bytes, offset + FLAGS, uint('icmpv6.reserved', value.reserved ?? 0, RESERVED_MASK));
      bytes[offset + FLAGS]! |=
        (value.router === true ? ROUTER : 0) |
        (value.solicited === true ? SOLICITED : 0) |
        (value.override === true ? OVERRIDE : 0);
      break;
    }
    case ROUTER_SOLICITATION:
    case NEIGHBOR_SOLICITATION:
    case REDIRECT:
      setU32(bytes, offset + REST, uint('icmpv6.reserved', value.reserved ?? 0, 0xffff_ffff));
      break;
    default:
      setU32(bytes, offset + REST, uint('icmpv6.rest', value.rest ?? 0, 0xffff_ffff));
  }
  const length = headerLength(type);
  if (length >= NEIGHBOR_LENGTH) bytes.set(parseIpv6(value.target ?? '::'), offset + TARGET);
  if (length === REDIRECT_LENGTH) bytes.set(parseIpv6(value.destination ?? '::'), offset + DESTINATION);
  let at = offset + length;
  if (isDiscovery(type)) at = writeOptions(value.options ?? [], bytes, at);
  bytes.set(value.payload, at);
  if (value.checksum === undefined && addresses !== undefined) fillChecksum(bytes, offset, end, addresses);
  return end;
}

function encodedLength(value: Icmpv6): number {
  const options = isDiscovery(value.type) ? optionsLength(value.options ?? []) : 0;
  return headerLength(value.type) + options + value.payload.length;
}

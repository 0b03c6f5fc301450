/**
 * ICMP, RFC 792, with address masks (RFC 950), the next hop's MTU (RFC 1191) and the length of what is quoted (RFC 4884).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |     Code      |           Checksum            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           what the type makes of these four octets            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     |          Identifier           |           Sequence            |  echo, timestamp, information, address mask
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    Unused     |    Length     |    Unused or next-hop MTU     |  unreachable, time exceeded
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    Pointer    |    Length     |            Unused             |  parameter problem
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                            Gateway                            |  redirect
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * Three times follow in a timestamp, a mask in an address mask. Errors quote the packet that caused them.
 */
import { formatIpv4, parseIpv4 } from '../address/index.js';
import * as ipv4 from '../ipv4/index.js';
import {
  checksum,
  getU16,
  getU32,
  room,
  setU16,
  setU32,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the header's start.
const TYPE = 0;
const CODE = 1;
const CHECKSUM = 2;
const REST = 4;
const IDENTIFIER = 4;
const SEQUENCE = 6;
const UNUSED = 4;
const POINTER = 4;
const LENGTH = 5;
const NEXT_HOP_MTU = 6;
const UNUSED_TAIL = 6;
const GATEWAY = 4;
const ORIGINATE = 8;
const RECEIVE = 12;
const TRANSMIT = 16;
const MASK = 8;
// Offsets from the start of a quoted packet's payload.
const QUOTED_SOURCE_PORT = 0;
const QUOTED_DESTINATION_PORT = 2;

/** Length in bytes of the header that every type has. */
export const HEADER_LENGTH = 8;
const MASK_LENGTH = 12;
const TIMESTAMP_LENGTH = 20;
/** Length in bytes of type, code and checksum. */
export const COMMON_LENGTH = 4;

export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const SOURCE_QUENCH = 4;
export const REDIRECT = 5;
export const ECHO_REQUEST = 8;
export const ROUTER_ADVERTISEMENT = 9;
export const ROUTER_SOLICITATION = 10;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;
export const TIMESTAMP_REQUEST = 13;
export const TIMESTAMP_REPLY = 14;
export const INFORMATION_REQUEST = 15;
export const INFORMATION_REPLY = 16;
export const MASK_REQUEST = 17;
export const MASK_REPLY = 18;

// Codes of UNREACHABLE.
export const CODE_NETWORK_UNREACHABLE = 0;
export const CODE_HOST_UNREACHABLE = 1;
export const CODE_PROTOCOL_UNREACHABLE = 2;
export const CODE_PORT_UNREACHABLE = 3;
/** Too big for the next hop, and must not be fragmented: the message names that hop's MTU (RFC 1191). */
export const CODE_FRAGMENTATION_NEEDED = 4;

/** A message. Which fields it has beside `type`, `code`, `checksum` and `payload` follows from its type. */
export interface Icmp {
  type: number;
  code: number;
  /** Over the whole message. Computed when absent. */
  checksum?: number;
  /** Echo, timestamp, information, address mask. 0 when absent, as all fields below. */
  identifier?: number;
  /** Where there is an identifier. */
  sequence?: number;
  /** Timestamp: milliseconds since midnight UT, 32 bits. */
  originate?: number;
  receive?: number;
  transmit?: number;
  /** Address mask, as text: `255.255.255.0`. */
  mask?: string;
  /** Redirect: the better gateway, as text. */
  gateway?: string;
  /** Parameter problem: the octet of the quoted packet that is at fault. */
  pointer?: number;
  /**
   * Unreachable, time exceeded, parameter problem: 32-bit words of the quoted packet, behind which extensions begin
   * (RFC 4884). 0 where there are none.
   */
  length?: number;
  /** Unreachable with {@link CODE_FRAGMENTATION_NEEDED}: the next hop's MTU in bytes. */
  nextHopMtu?: number;
  /** Errors but redirect: the bits that no field above covers, as one number, to be 0. */
  unused?: number;
  /** Other types: the four octets, 32 bits. */
  rest?: number;
  /** The data; of an error, the packet that caused it. */
  payload: Uint8Array;
}

/** A message as `decode` returns it. */
export type DecodedIcmp = Icmp & Required<Pick<Icmp, 'checksum'>>;

/** The packet that an error quotes: an IPv4 header and, where the quote goes that far, the ports behind it. */
export interface Quoted {
  header: Required<ipv4.Ipv4>;
  /** Of TCP, UDP, DCCP and SCTP, but not of fragments behind the first. */
  sourcePort?: number;
  destinationPort?: number;
}

/** Bytes of header by the type: 8, or what a timestamp or an address mask has beyond. */
function headerLength(type: number): number {
  if (type === TIMESTAMP_REQUEST || type === TIMESTAMP_REPLY) return TIMESTAMP_LENGTH;
  if (type === MASK_REQUEST || type === MASK_REPLY) return MASK_LENGTH;
  return HEADER_LENGTH;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length, times and mask included, or `TRUNCATED`.
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
  return truncatedProblem('icmp', offset, needed, end, limitedBy);
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

/** Meaningful in echo, timestamp, information and address mask. */
export function getIdentifier(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + IDENTIFIER);
}

/** Meaningful where the identifier is. */
export function getSequence(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + SEQUENCE);
}

/** The next hop's MTU in bytes; meaningful in unreachable with {@link CODE_FRAGMENTATION_NEEDED}. */
export function getNextHopMtu(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + NEXT_HOP_MTU);
}

/** Whether messages of this type are errors, which quote a packet and which no error may answer (RFC 1122, 3.2.2). */
export function isError(type: number): boolean {
  return (
    type === UNREACHABLE ||
    type === SOURCE_QUENCH ||
    type === REDIRECT ||
    type === TIME_EXCEEDED ||
    type === PARAMETER_PROBLEM
  );
}

/** Whether the checksum fits the message `bytes[offset, end)`. */
export function verifyChecksum(bytes: Uint8Array, offset: number, end: number): boolean {
  return checksum(bytes, offset, end) === 0;
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

export function setNextHopMtu(bytes: Uint8Array, offset: number, mtu: number): void {
  setU16(bytes, offset + NEXT_HOP_MTU, mtu);
}

/** Computes the checksum of the message `bytes[offset, end)` as it stands and writes it. */
export function fillChecksum(bytes: Uint8Array, offset: number, end: number): void {
  setU16(bytes, offset + CHECKSUM, 0);
  setU16(bytes, offset + CHECKSUM, checksum(bytes, offset, end));
}

/**
 * Reads the message.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): DecodedIcmp {
  const problem = diagnose(bytes, offset, end);
  if (problem) throw new WireError(problem);
  return read(bytes, offset, end);
}

/**
 * Also reads a message that is cut: of less than eight octets, type, code and checksum; of a timestamp or an address mask,
 * the fields before the times or the mask. `null` where fewer than four octets are available.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): DecodedIcmp | null {
  return end - offset < COMMON_LENGTH ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): DecodedIcmp {
  const type = bytes[offset + TYPE]!;
  const code = bytes[offset + CODE]!;
  const length = headerLength(type);
  const available = end - offset;
  const start = available < HEADER_LENGTH ? COMMON_LENGTH : length <= available ? length : HEADER_LENGTH;
  const payload = bytes.subarray(offset + start, end);
  const message = { type, code, checksum: getU16(bytes, offset + CHECKSUM), payload };
  if (start === COMMON_LENGTH) return message;
  const word = (at: number): number => getU32(bytes, offset + at);
  const rest = word(REST);
  const quoted = (rest >>> 16) & 0xff;
  const tail = rest & 0xffff;
  switch (type) {
    case ECHO_REPLY:
    case ECHO_REQUEST:
    case INFORMATION_REQUEST:
    case INFORMATION_REPLY:
    case TIMESTAMP_REQUEST:
    case TIMESTAMP_REPLY:
    case MASK_REQUEST:
    case MASK_REPLY: {
      const query = { ...message, identifier: rest >>> 16, sequence: tail };
      if (start === MASK_LENGTH) return { ...query, mask: formatIpv4(bytes, offset + MASK) };
      if (start === HEADER_LENGTH) return query;
      return { ...query, originate: word(ORIGINATE), receive: word(RECEIVE), transmit: word(TRANSMIT) };
    }
    case UNREACHABLE:
    case TIME_EXCEEDED: {
      const quotes = { ...message, length: quoted };
      const unused = rest >>> 24;
      return type === UNREACHABLE && code === CODE_FRAGMENTATION_NEEDED
        ? { ...quotes, nextHopMtu: tail, unused }
        : { ...quotes, unused: (unused << 16) | tail };
    }
    case PARAMETER_PROBLEM:
      return { ...message, pointer: rest >>> 24, length: quoted, unused: tail };
    case SOURCE_QUENCH:
      return { ...message, unused: rest };
    case REDIRECT:
      return { ...message, gateway: formatIpv4(bytes, offset + GATEWAY) };
    default:
      return { ...message, rest };
  }
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Icmp): Uint8Array {
  const bytes = new Uint8Array(headerLength(value.type) + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the message ends. Fields that the type does not
 * have are left out.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Icmp, bytes: Uint8Array, offset: number): number {
  const length = headerLength(value.type);
  const end = room('icmp', bytes, offset, length + value.payload.length);
  bytes[offset + TYPE] = uint('icmp.type', value.type, 0xff);
  bytes[offset + CODE] = uint('icmp.code', value.code, 0xff);
  switch (value.type) {
    case ECHO_REPLY:
    case ECHO_REQUEST:
    case INFORMATION_REQUEST:
    case INFORMATION_REPLY:
    case TIMESTAMP_REQUEST:
    case TIMESTAMP_REPLY:
    case MASK_REQUEST:
    case MASK_REPLY:
      setU16(bytes, offset + IDENTIFIER, uint('icmp.identifier', value.identifier ?? 0, 0xffff));
      setU16(bytes, offset + SEQUENCE, uint('icmp.sequence', value.sequence ?? 0, 0xffff));
      if (length === MASK_LENGTH) setU32(bytes, offset + MASK, parseIpv4(value.mask ?? '0.0.0.0'));
      if (length === TIMESTAMP_LENGTH) {
        setU32(bytes, offset + ORIGINATE, uint('icmp.originate', value.originate ?? 0, 0xffff_ffff));
        setU32(bytes, offset + RECEIVE, uint('icmp.receive', value.receive ?? 0, 0xffff_ffff));
        setU32(bytes, offset + TRANSMIT, uint('icmp.transmit', value.transmit ?? 0, 0xffff_ffff));
      }
      break;
    case UNREACHABLE:
    case TIME_EXCEEDED: {
      const toMtu = value.type === UNREACHABLE && value.code === CODE_FRAGMENTATION_NEEDED;
      const unused = uint('icmp.unused', value.unused ?? 0, toMtu ? 0xff : 0xff_ffff);
      bytes[offset + UNUSED] = toMtu ? unused : unused >>> 16;
      bytes[offset + LENGTH] = uint('icmp.length', value.length ?? 0, 0xff);
      if (toMtu) setU16(bytes, offset + NEXT_HOP_MTU, uint('icmp.nextHopMtu', value.nextHopMtu ?? 0, 0xffff));
      else setU16(bytes, offset + UNUSED_TAIL, unused);
      break;
    }
    case PARAMETER_PROBLEM:
      bytes[offset + POINTER] = uint('icmp.pointer', value.pointer ?? 0, 0xff);
      bytes[offset + LENGTH] = uint('icmp.length', value.length ?? 0, 0xff);
      setU16(bytes, offset + UNUSED_TAIL, uint('icmp.unused', value.unused ?? 0, 0xffff));
      break;
    case SOURCE_QUENCH:
      setU32(bytes, offset + UNUSED, uint('icmp.unused', value.unused ?? 0, 0xffff_ffff));
      break;
    case REDIRECT:
      setU32(bytes, offset + GATEWAY, parseIpv4(value.gateway ?? '0.0.0.0'));
      break;
    default:
      setU32(bytes, offset + REST, uint('icmp.rest', value.rest ?? 0, 0xffff_ffff));
  }
  bytes.set(value.payload, offset + length);
  if (value.checksum === undefined) fillChecksum(bytes, offset, end);
  else setU16(bytes, offset + CHECKSUM, uint('icmp.checksum', value.checksum, 0xffff));
  return end;
}

/** Where in an error's payload the quoted packet ends and extensions may begin (RFC 4884, section 5.1). */
function quotedEnd(value: Icmp): number {
  const length = (value.length ?? 0) * 4;
  return length === 0 ? value.payload.length : Math.min(length, value.payload.length);
}

/**
 * Reads, as far as it is there, the packet that caused an error. RFC 792 quotes its header and eight octets.
 * `null` where the message is no error or quotes no IPv4 header.
 */
export function quoted(value: Icmp): Quoted | null {
  if (!isError(value.type)) return null;
  const header = ipv4.decodeLax(value.payload, 0, quotedEnd(value));
  if (header === null) return null;
  const { fragmentOffset, payload, protocol } = header;
  if (fragmentOffset !== 0 || !ipv4.hasPorts(protocol) || payload.length < QUOTED_DESTINATION_PORT + 2)
    return { header };
  return {
    header,
    sourcePort: getU16(payload, QUOTED_SOURCE_PORT),
    destinationPort: getU16(payload, QUOTED_DESTINATION_PORT),
  };
}

/** The extension structure behind what an error quotes (RFC 4884, section 7), empty where there is none. */
export function extensions(value: Icmp): Uint8Array {
  return value.payload.subarray(quotedEnd(value));
}

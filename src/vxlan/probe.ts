/**
 * A probe of the path MTU, and the answer to one: a datagram to the VXLAN port whose header lacks flag I, which every VTEP
 * must discard (RFC 7348, section 5), with a body that VTEPs of this kind know.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |       Header of VXLAN: eight octets that are all zero         |
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                  Magic: "weftPMTU" in ASCII                   |
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    Version    |     Type      |             Size              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Reserved                            |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                            Token                              |
 *     |                                                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * Size is the length of the outer IP packet that carries the probe: of a probe as sent, of an answer as received. A probe has
 * zeros behind the token, up to that size; an answer ends there. Where an inner frame would have its EtherType is the
 * reserved field, which is zero and thus names no protocol.
 */
import {
  getU16,
  getU32,
  MALFORMED,
  problemAt,
  room,
  setU16,
  setU32,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the start of the datagram.
const VXLAN = 0;
const MAGIC = 8;
const VERSION = 16;
const TYPE = 17;
const SIZE = 18;
const RESERVED = 20;
const TOKEN = 24;
const PADDING = 32;

/** Length without padding: that of an answer, and of the shortest probe. */
export const LENGTH = PADDING;
/** Octets of a token. */
export const TOKEN_LENGTH = PADDING - TOKEN;
export const TYPE_PROBE = 1;
export const TYPE_ANSWER = 2;

/** The magic, in two words of 32 bits. */
const MAGIC_HIGH = 0x7765_6674;
const MAGIC_LOW = 0x504d_5455;
const ONLY_VERSION = 1;

/** A probe, or the answer to one. */
export interface Probe {
  /** {@link TYPE_PROBE} or {@link TYPE_ANSWER}. */
  type: number;
  /** Length of the outer IP packet: of the probe as sent, or as the sender of the answer has received it. */
  size: number;
  /** Eight octets, which an answer repeats. */
  token: Uint8Array;
  /** Zeros behind the token, in bytes. */
  padding: number;
}

/**
 * Validates the datagram at `offset`. Neither throws nor allocates, and reads nothing of the padding.
 * @returns the length without the padding; or `TRUNCATED`; or `MALFORMED` if it is no probe of this version.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < LENGTH) return TRUNCATED;
  if (getU32(bytes, offset + VXLAN) !== 0 || getU32(bytes, offset + VXLAN + 4) !== 0) return MALFORMED;
  if (getU32(bytes, offset + MAGIC) !== MAGIC_HIGH || getU32(bytes, offset + MAGIC + 4) !== MAGIC_LOW) return MALFORMED;
  if (bytes[offset + VERSION] !== ONLY_VERSION || getU32(bytes, offset + RESERVED) !== 0) return MALFORMED;
  const type = bytes[offset + TYPE]!;
  return type === TYPE_PROBE || type === TYPE_ANSWER ? LENGTH : MALFORMED;
}

/** Says why `check` refuses the datagram, or `null` if it accepts. Throws nothing. */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  if (check(bytes, offset, end) === MALFORMED)
    return problemAt('vxlan', offset, 'neither a VXLAN header with flag I nor a probe of the path MTU');
  return truncatedProblem('vxlan', offset, LENGTH, end, limitedBy);
}

/** {@link TYPE_PROBE} or {@link TYPE_ANSWER}. */
export function getType(bytes: Uint8Array, offset: number): number {
  return bytes[offset + TYPE]!;
}

/** See {@link Probe.size}. */
export function getSize(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + SIZE);
}

/** The first four octets of the token as a number. */
export function getTokenHigh(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + TOKEN);
}

/** The last four octets of the token as a number. */
export function getTokenLow(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + TOKEN + 4);
}

/** The token, copied. */
export function getToken(bytes: Uint8Array, offset: number): Uint8Array {
  return bytes.slice(offset + TOKEN, offset + PADDING);
}

/**
 * Reads a whole datagram.
 * @throws WireError `truncated`, or `malformed` if it is no probe, or its padding is not zero.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Probe {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  for (let at = offset + PADDING; at < end; at++)
    if (bytes[at] !== 0) throw new WireError(problemAt('vxlan', at, 'the padding of a probe must be zero'));
  return {
    type: getType(bytes, offset),
    size: getSize(bytes, offset),
    token: getToken(bytes, offset),
    padding: end - offset - LENGTH,
  };
}

/** @throws RangeError for a value that does not fit its field. */
export function encode(value: Probe): Uint8Array {
  const bytes = new Uint8Array(LENGTH + uint('padding', value.padding, 0xffff));
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Writes every octet at `offset`, and returns the end.
 * @throws RangeError for a value that does not fit its field, or too few bytes.
 */
export function encodeInto(value: Probe, bytes: Uint8Array, offset: number): number {
  const { type, size, token, padding } = value;
  const end = offset + LENGTH + uint('padding', padding, 0xffff);
  room('vxlan', bytes, offset, end - offset);
  if (type !== TYPE_PROBE && type !== TYPE_ANSWER) throw new RangeError(`type must be 1 or 2, not ${type}`);
  if (token.length !== TOKEN_LENGTH) throw new RangeError(`token must have 8 octets, not ${token.length}`);
  bytes.fill(0, offset, end);
  setU32(bytes, offset + MAGIC, MAGIC_HIGH);
  setU32(bytes, offset + MAGIC + 4, MAGIC_LOW);
  bytes[offset + VERSION] = ONLY_VERSION;
  bytes[offset + TYPE] = type;
  setU16(bytes, offset + SIZE, uint('size', size, 0xffff));
  bytes.set(token, offset + TOKEN);
  return end;
}

/**
 * A VLAN tag, IEEE 802.1Q: the four octets behind one of the types that announce it.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Priority|D|     VLAN id        |        Type or length         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The type is that of what follows the tag, so tags stack.
 */
import { getU16, room, setU16, TRUNCATED, truncatedProblem, uint, WireError, type WireProblem } from '../wire/index.js';
import { isLength, typeOrLength } from './type.js';

// Offsets from the tag's start, behind the type that announces it.
const CONTROL = 0;
const TYPE = 2;

const PRIORITY_SHIFT = 13;
const DROP_ELIGIBLE = 0x1000;
const ID_MASK = 0x0fff;

/** Length of the tag in bytes, without the type that announces it. */
export const HEADER_LENGTH = 4;
/** The id of a priority tag, which names no VLAN. */
export const ID_NONE = 0;
/** The highest id that may name a VLAN; 4095 is reserved. */
export const MAX_ID = 4094;

/** A tag, and either the `etherType` of what follows or the `length` of an IEEE 802.3 frame. */
export interface Vlan {
  /** Priority code point, 0 to 7. 0 when absent. */
  priority?: number;
  /** Drop eligible indicator. `false` when absent. */
  dropEligible?: boolean;
  /** VLAN id, 0 to 4095. */
  id: number;
  /** The type of the payload, 1501 to 65535; 0 where the frame does not say. */
  etherType?: number;
  /** Bytes of payload, 1 to 1500, without `etherType`. Computed when both are absent. */
  length?: number;
  payload: Uint8Array;
}

/** A tag as `decode` returns it. */
export type DecodedVlan = Vlan & Required<Pick<Vlan, 'priority' | 'dropEligible'>>;

/**
 * Validates the tag at `offset`. Neither throws nor allocates.
 * @returns the tag's length, or `TRUNCATED` where it, or the payload of a given length, runs past `end`.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  const type = getU16(bytes, offset + TYPE);
  return isLength(type) && type > end - offset - HEADER_LENGTH ? TRUNCATED : HEADER_LENGTH;
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
  return truncatedProblem('vlan', offset, needed, end, limitedBy);
}

/** Priority code point, 0 to 7. */
export function getPriority(bytes: Uint8Array, offset: number): number {
  return bytes[offset + CONTROL]! >>> (PRIORITY_SHIFT - 8);
}

/** Drop eligible: under congestion, a bridge drops the frame before others. */
export function getDropEligible(bytes: Uint8Array, offset: number): boolean {
  return (getU16(bytes, offset + CONTROL) & DROP_ELIGIBLE) !== 0;
}

/** VLAN id, 0 to 4095. */
export function getId(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + CONTROL) & ID_MASK;
}

/** The type of what follows the tag; `isLength` tells a length. */
export function getEtherType(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + TYPE);
}

export function setPriority(bytes: Uint8Array, offset: number, priority: number): void {
  const rest = getU16(bytes, offset + CONTROL) & (DROP_ELIGIBLE | ID_MASK);
  setU16(bytes, offset + CONTROL, (priority << PRIORITY_SHIFT) | rest);
}

export function setDropEligible(bytes: Uint8Array, offset: number, dropEligible: boolean): void {
  const rest = getU16(bytes, offset + CONTROL) & ~DROP_ELIGIBLE;
  setU16(bytes, offset + CONTROL, dropEligible ? rest | DROP_ELIGIBLE : rest);
}

export function setId(bytes: Uint8Array, offset: number, id: number): void {
  setU16(bytes, offset + CONTROL, (getU16(bytes, offset + CONTROL) & ~ID_MASK) | id);
}

export function setEtherType(bytes: Uint8Array, offset: number, etherType: number): void {
  setU16(bytes, offset + TYPE, etherType);
}

/** Writes a whole tag, priority 0 and not drop eligible. */
export function writeHeader(bytes: Uint8Array, offset: number, id: number, etherType: number): void {
  setU16(bytes, offset + CONTROL, id);
  setU16(bytes, offset + TYPE, etherType);
}

/**
 * Reads the tag and its payload: everything after a type, or as many bytes as a length says.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): DecodedVlan {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, end);
}

/** Also reads a payload that is shorter than the length says. `null` where the tag is incomplete. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): DecodedVlan | null {
  return end - offset < HEADER_LENGTH ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): DecodedVlan {
  const priority = getPriority(bytes, offset);
  const dropEligible = getDropEligible(bytes, offset);
  const id = getId(bytes, offset);
  const type = getU16(bytes, offset + TYPE);
  const start = offset + HEADER_LENGTH;
  if (!isLength(type)) return { priority, dropEligible, id, etherType: type, payload: bytes.subarray(start, end) };
  return { priority, dropEligible, id, length: type, payload: bytes.subarray(start, Math.min(start + type, end)) };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Vlan): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the payload ends.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Vlan, bytes: Uint8Array, offset: number): number {
  const end = room('vlan', bytes, offset, HEADER_LENGTH + value.payload.length);
  const control =
    (uint('vlan.priority', value.priority ?? 0, 7) << PRIORITY_SHIFT) |
    (value.dropEligible === true ? DROP_ELIGIBLE : 0) |
    uint('vlan.id', value.id, ID_MASK);
  setU16(bytes, offset + CONTROL, control);
  setU16(bytes, offset + TYPE, typeOrLength('vlan', value));
  bytes.set(value.payload, offset + HEADER_LENGTH);
  return end;
}

/**
 * VXLAN, RFC 7348: an Ethernet frame behind eight octets, inside UDP.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |R|R|R|R|I|R|R|R|            Reserved                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                VXLAN Network Identifier (VNI) |   Reserved    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * Two extensions read the reserved bits: Group Policy (draft-smith-vxlan-group-policy; flag G, then D, A and a 16-bit
 * group) and GPE (draft-ietf-nvo3-vxlan-gpe; flag P, then the number of the next protocol).
 */
import {
  getU16,
  getU24,
  MALFORMED,
  problemAt,
  room,
  setU16,
  setU24,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the header's start.
const FLAGS = 0;
const RESERVED1 = 1;
const GROUP_FLAGS = 1;
const GROUP = 2;
const NEXT_PROTOCOL = 3;
const VNI = 4;
const RESERVED2 = 7;

/** Length of the header in bytes. */
export const HEADER_LENGTH = 8;
/** The UDP port that IANA assigned (section 5). */
export const PORT = 4789;
/** The highest VNI: 2^24 - 1. */
export const MAX_VNI = 0xff_ffff;

/** Flag I: the VNI is valid. A receiver discards a packet without it (section 5). */
export const FLAG_VNI = 0x08;
/** Flag G of the Group Policy extension: a group id is present. */
export const FLAG_GROUP = 0x80;
/** Flag P of GPE: the next protocol's number is present. */
export const FLAG_NEXT_PROTOCOL = 0x04;

/** Group Policy's bit D, in the octet after the flags: the egress VTEP must not learn the source. */
const DONT_LEARN = 0x40;
/** Group Policy's bit A: policy has been applied already. */
const POLICY_APPLIED = 0x08;

/** A VXLAN header and the frame behind it. */
export interface Vxlan {
  /** The first octet, all eight bits. `encode` takes {@link FLAG_VNI} when absent. */
  flags?: number;
  /** VXLAN Network Identifier, 0 to 2^24 - 1. */
  vni: number;
  /** The 24 bits after the flags, which extensions use. 0 when absent. */
  reserved1?: number;
  /** The last octet. 0 when absent. */
  reserved2?: number;
  /** The inner frame, without a frame check sequence. */
  payload: Uint8Array;
}

/** The Group Policy fields of a header. */
export interface GroupPolicy {
  group: number;
  dontLearn: boolean;
  applied: boolean;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length, or `TRUNCATED`, or `MALFORMED` where flag I is not set (section 5).
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  if ((bytes[offset + FLAGS]! & FLAG_VNI) === 0) return MALFORMED;
  return HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  if (end - offset >= HEADER_LENGTH && (bytes[offset + FLAGS]! & FLAG_VNI) === 0)
    return problemAt('vxlan', offset + FLAGS, 'flag I is not set, so there is no VNI');
  return truncatedProblem('vxlan', offset, HEADER_LENGTH, end, limitedBy);
}

/** All eight flag bits. */
export function getFlags(bytes: Uint8Array, offset: number): number {
  return bytes[offset + FLAGS]!;
}

/** The VXLAN Network Identifier. */
export function getVni(bytes: Uint8Array, offset: number): number {
  return getU24(bytes, offset + VNI);
}

/** The 24 bits after the flags. */
export function getReserved1(bytes: Uint8Array, offset: number): number {
  return getU24(bytes, offset + RESERVED1);
}

/** The last octet. */
export function getReserved2(bytes: Uint8Array, offset: number): number {
  return bytes[offset + RESERVED2]!;
}

/** The Group Policy id; meaningful where {@link FLAG_GROUP} is set. */
export function getGroup(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + GROUP);
}

/** Whether Group Policy forbids learning from this packet. */
export function getDontLearn(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset + FLAGS]! & FLAG_GROUP) !== 0 && (bytes[offset + GROUP_FLAGS]! & DONT_LEARN) !== 0;
}

/** GPE's next protocol (1 IPv4, 2 IPv6, 3 Ethernet, 4 NSH); meaningful where {@link FLAG_NEXT_PROTOCOL} is set. */
export function getNextProtocol(bytes: Uint8Array, offset: number): number {
  return bytes[offset + NEXT_PROTOCOL]!;
}

export function setFlags(bytes: Uint8Array, offset: number, flags: number): void {
  bytes[offset + FLAGS] = flags;
}

export function setVni(bytes: Uint8Array, offset: number, vni: number): void {
  setU24(bytes, offset + VNI, vni);
}

/** Sets the Group Policy id and flag G. */
export function setGroup(bytes: Uint8Array, offset: number, group: number): void {
  bytes[offset + FLAGS] = bytes[offset + FLAGS]! | FLAG_GROUP;
  setU16(bytes, offset + GROUP, group);
}

/** Sets GPE's next protocol and flag P. */
export function setNextProtocol(bytes: Uint8Array, offset: number, protocol: number): void {
  bytes[offset + FLAGS] = bytes[offset + FLAGS]! | FLAG_NEXT_PROTOCOL;
  bytes[offset + NEXT_PROTOCOL] = protocol;
}

/** Writes a whole header as RFC 7348 requires: flag I, the VNI, and zeros. */
export function writeHeader(bytes: Uint8Array, offset: number, vni: number): void {
  bytes[offset + FLAGS] = FLAG_VNI;
  setU24(bytes, offset + RESERVED1, 0);
  setU24(bytes, offset + VNI, vni);
  bytes[offset + RESERVED2] = 0;
}

/**
 * Reads the header and the frame behind it.
 * @throws WireError `truncated`, or `malformed` where flag I is not set.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Vxlan> {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, end);
}

/** Also reads a header without flag I. `null` where fewer than eight octets are available. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Vxlan> | null {
  return end - offset < HEADER_LENGTH ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): Required<Vxlan> {
  return {
    flags: bytes[offset + FLAGS]!,
    vni: getU24(bytes, offset + VNI),
    reserved1: getU24(bytes, offset + RESERVED1),
    reserved2: bytes[offset + RESERVED2]!,
    payload: bytes.subarray(offset + HEADER_LENGTH, end),
  };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Vxlan): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the packet ends.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Vxlan, bytes: Uint8Array, offset: number): number {
  const end = room('vxlan', bytes, offset, HEADER_LENGTH + value.payload.length);
  bytes[offset + FLAGS] = uint('vxlan.flags', value.flags ?? FLAG_VNI, 0xff);
  setU24(bytes, offset + RESERVED1, uint('vxlan.reserved1', value.reserved1 ?? 0, 0xff_ffff));
  setU24(bytes, offset + VNI, uint('vxlan.vni', value.vni, MAX_VNI));
  bytes[offset + RESERVED2] = uint('vxlan.reserved2', value.reserved2 ?? 0, 0xff);
  bytes.set(value.payload, offset + HEADER_LENGTH);
  return end;
}

/** The Group Policy fields of a decoded value, or `undefined` where flag G is not set. */
export function groupPolicy(value: Vxlan): GroupPolicy | undefined {
  if (((value.flags ?? FLAG_VNI) & FLAG_GROUP) === 0) return undefined;
  const word = value.reserved1 ?? 0;
  return {
    group: word & 0xffff,
    dontLearn: ((word >>> 16) & DONT_LEARN) !== 0,
    applied: ((word >>> 16) & POLICY_APPLIED) !== 0,
  };
}

/** GPE's next protocol of a decoded value, or `undefined` where flag P is not set. */
export function nextProtocol(value: Vxlan): number | undefined {
  return ((value.flags ?? FLAG_VNI) & FLAG_NEXT_PROTOCOL) === 0 ? undefined : (value.reserved1 ?? 0) & 0xff;
}

export * as probe from './probe.js';

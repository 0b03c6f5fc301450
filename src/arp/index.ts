/**
 * ARP, RFC 826; probes and announcements, RFC 5227. Addresses may have any length; the diagram is for Ethernet and IPv4.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |         Hardware type         |         Protocol type         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |Hardware length|Protocol length|           Operation           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Sender MAC                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Sender MAC           |           Sender IP           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           Sender IP           |          Target MAC           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Target MAC                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Target IP                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */
import {
  formatIpv4,
  formatMac,
  getMac,
  IPV4_LENGTH,
  MAC_LENGTH,
  parseIpv4,
  parseMac,
  setMac,
} from '../address/index.js';
import {
  getI32,
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

// Offsets from the packet's start.
const HARDWARE_TYPE = 0;
const PROTOCOL_TYPE = 2;
const HARDWARE_LENGTH = 4;
const PROTOCOL_LENGTH = 5;
const OPERATION = 6;
const ADDRESSES = 8;
// For Ethernet and IPv4.
const SENDER_MAC = 8;
const SENDER_IP = 14;
const TARGET_MAC = 18;
const TARGET_IP = 24;

/** Length in bytes of the part before the addresses. */
export const HEADER_LENGTH = 8;
/** Length in bytes of a packet with the addresses of Ethernet and IPv4. */
export const ETHERNET_IPV4_LENGTH = 28;

export const HARDWARE_ETHERNET = 1;
/** The protocol type of IPv4: its EtherType. */
export const PROTOCOL_IPV4 = 0x0800;

export const REQUEST = 1;
export const REPLY = 2;

/** Hardware type Ethernet and protocol type IPv4 in one word. */
const ETHERNET_IPV4_TYPES = (HARDWARE_ETHERNET << 16) | PROTOCOL_IPV4;
/** Lengths 6 and 4 in one half word. */
const ETHERNET_IPV4_LENGTHS = (MAC_LENGTH << 8) | IPV4_LENGTH;

/** The fields of every ARP packet. */
interface Common {
  /** {@link HARDWARE_ETHERNET} when absent. */
  hardwareType?: number;
  /** {@link PROTOCOL_IPV4} when absent. */
  protocolType?: number;
  /** Octets in a hardware address. Computed when absent. */
  hardwareLength?: number;
  /** Octets in a protocol address. Computed when absent. */
  protocolLength?: number;
  operation: number;
}

/** A packet whose addresses have 6 and 4 octets: text. */
export interface EthernetArp extends Common {
  /** Text: `02:42:0a:00:00:02`. */
  senderMac: string;
  /** Text: `10.0.0.4`. */
  senderIp: string;
  targetMac: string;
  targetIp: string;
}

/** A packet with addresses of any other lengths: bytes. */
export interface OtherArp extends Common {
  senderHardware: Uint8Array;
  senderProtocol: Uint8Array;
  targetHardware: Uint8Array;
  targetProtocol: Uint8Array;
}

/** An ARP packet; `'senderMac' in arp` tells which. */
export type Arp = EthernetArp | OtherArp;

/** An ARP packet as `decode` returns it. */
export type DecodedArp = Required<EthernetArp> | Required<OtherArp>;

/** Length in bytes of a packet, computed from its two address lengths. */
function lengthOf(bytes: Uint8Array, offset: number): number {
  return ADDRESSES + 2 * (bytes[offset + HARDWARE_LENGTH]! + bytes[offset + PROTOCOL_LENGTH]!);
}

/**
 * Validates the packet at `offset`. Neither throws nor allocates.
 * @returns the packet's length, all addresses included, or `TRUNCATED`.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  const length = lengthOf(bytes, offset);
  return length > end - offset ? TRUNCATED : length;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  const needed = end - offset < HEADER_LENGTH ? HEADER_LENGTH : lengthOf(bytes, offset);
  return truncatedProblem('arp', offset, needed, end, limitedBy);
}

/** Whether the packet is for Ethernet and IPv4: the getters of addresses are valid only then. */
export function isEthernetIpv4(bytes: Uint8Array, offset: number): boolean {
  return (
    getI32(bytes, offset + HARDWARE_TYPE) === ETHERNET_IPV4_TYPES &&
    getU16(bytes, offset + HARDWARE_LENGTH) === ETHERNET_IPV4_LENGTHS
  );
}

/** {@link REQUEST}, {@link REPLY} or another. */
export function getOperation(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + OPERATION);
}

/** The sender's MAC address as a 48-bit number. */
export function getSenderMac(bytes: Uint8Array, offset: number): number {
  return getMac(bytes, offset + SENDER_MAC);
}

/** The sender's IPv4 address as an unsigned 32-bit number. */
export function getSenderIp(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + SENDER_IP);
}

/** The target's MAC address as a 48-bit number; it has no meaning in a request. */
export function getTargetMac(bytes: Uint8Array, offset: number): number {
  return getMac(bytes, offset + TARGET_MAC);
}

/** The target's IPv4 address as an unsigned 32-bit number. */
export function getTargetIp(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + TARGET_IP);
}

/** Whether an Ethernet and IPv4 packet is a probe: a request from 0.0.0.0 (RFC 5227, section 1.1). */
export function isProbe(bytes: Uint8Array, offset: number): boolean {
  return getU16(bytes, offset + OPERATION) === REQUEST && getI32(bytes, offset + SENDER_IP) === 0;
}

/**
 * Whether an Ethernet and IPv4 packet is an announcement: a request whose sender and target address are equal (RFC 5227,
 * section 3).
 */
export function isAnnouncement(bytes: Uint8Array, offset: number): boolean {
  const sender = getI32(bytes, offset + SENDER_IP);
  return getU16(bytes, offset + OPERATION) === REQUEST && sender !== 0 && sender === getI32(bytes, offset + TARGET_IP);
}

export function setOperation(bytes: Uint8Array, offset: number, operation: number): void {
  setU16(bytes, offset + OPERATION, operation);
}

export function setSenderMac(bytes: Uint8Array, offset: number, mac: number): void {
  setMac(bytes, offset + SENDER_MAC, mac);
}

export function setSenderIp(bytes: Uint8Array, offset: number, address: number): void {
  setU32(bytes, offset + SENDER_IP, address);
}

export function setTargetMac(bytes: Uint8Array, offset: number, mac: number): void {
  setMac(bytes, offset + TARGET_MAC, mac);
}

export function setTargetIp(bytes: Uint8Array, offset: number, address: number): void {
  setU32(bytes, offset + TARGET_IP, address);
}

/** Writes a whole packet for Ethernet and IPv4, {@link ETHERNET_IPV4_LENGTH} octets, addresses as numbers. */
export function writeEthernetIpv4(
  bytes: Uint8Array,
  offset: number,
  operation: number,
  senderMac: number,
  senderIp: number,
  targetMac: number,
  targetIp: number,
): void {
  setU32(bytes, offset + HARDWARE_TYPE, ETHERNET_IPV4_TYPES);
  setU16(bytes, offset + HARDWARE_LENGTH, ETHERNET_IPV4_LENGTHS);
  setU16(bytes, offset + OPERATION, operation);
  setMac(bytes, offset + SENDER_MAC, senderMac);
  setU32(bytes, offset + SENDER_IP, senderIp);
  setMac(bytes, offset + TARGET_MAC, targetMac);
  setU32(bytes, offset + TARGET_IP, targetIp);
}

/**
 * Reads the packet; addresses are text where they have 6 and 4 octets, whatever their types.
 * @throws WireError `truncated`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): DecodedArp {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, end);
}

/** Reads addresses that are cut as bytes. `null` where fewer than eight octets are available. */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): DecodedArp | null {
  return end - offset < HEADER_LENGTH ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): DecodedArp {
  const hardwareType = getU16(bytes, offset + HARDWARE_TYPE);
  const protocolType = getU16(bytes, offset + PROTOCOL_TYPE);
  const hardwareLength = bytes[offset + HARDWARE_LENGTH]!;
  const protocolLength = bytes[offset + PROTOCOL_LENGTH]!;
  const operation = getU16(bytes, offset + OPERATION);
  if (hardwareLength === MAC_LENGTH && protocolLength === IPV4_LENGTH && end - offset >= ETHERNET_IPV4_LENGTH) {
    return {
      hardwareType,
      protocolType,
      hardwareLength,
      protocolLength,
      operation,
      senderMac: formatMac(bytes, offset + SENDER_MAC),
      senderIp: formatIpv4(bytes, offset + SENDER_IP),
      targetMac: formatMac(bytes, offset + TARGET_MAC),
      targetIp: formatIpv4(bytes, offset + TARGET_IP),
    };
  }
  const sender = offset + ADDRESSES;
  const target = sender + hardwareLength + protocolLength;
  const part = (from: number, length: number): Uint8Array =>
    bytes.subarray(Math.min(from, end), Math.min(from + length, end));
  return {
    hardwareType,
    protocolType,
    hardwareLength,
    protocolLength,
    operation,
    senderHardware: part(sender, hardwareLength),
    senderProtocol: part(sender + hardwareLength, protocolLength),
    targetHardware: part(target, hardwareLength),
    targetProtocol: part(target + hardwareLength, protocolLength),
  };
}

/**
 * Encodes into a buffer of its own.
 * @throws RangeError where a field does not fit.
 */
export function encode(value: Arp): Uint8Array {
  const bytes = new Uint8Array(encodedLength(value));
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the packet ends.
 * @throws RangeError where a field or the whole does not fit.
 */
export function encodeInto(value: Arp, bytes: Uint8Array, offset: number): number {
  const end = room('arp', bytes, offset, encodedLength(value));
  const text = 'senderMac' in value;
  const hardwareLength = value.hardwareLength ?? (text ? MAC_LENGTH : value.senderHardware.length);
  const protocolLength = value.protocolLength ?? (text ? IPV4_LENGTH : value.senderProtocol.length);
  setU16(bytes, offset + HARDWARE_TYPE, uint('arp.hardwareType', value.hardwareType ?? HARDWARE_ETHERNET, 0xffff));
  setU16(bytes, offset + PROTOCOL_TYPE, uint('arp.protocolType', value.protocolType ?? PROTOCOL_IPV4, 0xffff));
  bytes[offset + HARDWARE_LENGTH] = uint('arp.hardwareLength', hardwareLength, 0xff);
  bytes[offset + PROTOCOL_LENGTH] = uint('arp.protocolLength', protocolLength, 0xff);
  setU16(bytes, offset + OPERATION, uint('arp.operation', value.operation, 0xffff));
  if (text) {
    setMac(bytes, offset + SENDER_MAC, parseMac(value.senderMac));
    setU32(bytes, offset + SENDER_IP, parseIpv4(value.senderIp));
    setMac(bytes, offset + TARGET_MAC, parseMac(value.targetMac));
    setU32(bytes, offset + TARGET_IP, parseIpv4(value.targetIp));
    return end;
  }
  let at = offset + ADDRESSES;
  for (const part of [value.senderHardware, value.senderProtocol, value.targetHardware, value.targetProtocol]) {
    bytes.set(part, at);
    at += part.length;
  }
  return end;
}

function encodedLength(value: Arp): number {
  if ('senderMac' in value) return ETHERNET_IPV4_LENGTH;
  const { senderHardware, senderProtocol, targetHardware, targetProtocol } = value;
  if (senderHardware.length !== targetHardware.length || senderProtocol.length !== targetProtocol.length)
    throw new RangeError('arp addresses of sender and target must have the same lengths');
  return HEADER_LENGTH + 2 * (senderHardware.length + senderProtocol.length);
}

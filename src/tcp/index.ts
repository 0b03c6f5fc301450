/**
 * TCP, RFC 9293; the flag AE, once NS, RFC 9768.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          Source Port          |       Destination Port        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Sequence Number                        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Acknowledgment Number                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     | Data  |Rsr- |A|C|E|U|A|P|R|S|F|                               |
 *     | Offset|ved  |E|W|C|R|C|S|S|Y|I|            Window             |
 *     |       |     | |R|E|G|K|H|T|N|N|                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           Checksum            |         Urgent Pointer        |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Options, in 32-bit words                   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The checksum also covers the addresses of the IP header, which the caller passes.
 */
import { type Addresses, pseudoHeaderSum } from '../address/index.js';
import {
  finish,
  getU16,
  getU32,
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
  WireError,
  type WireProblem,
  writeOptions,
} from '../wire/index.js';

// Offsets from the header's start.
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const SEQUENCE = 4;
const ACKNOWLEDGMENT = 8;
const DATA_OFFSET_FLAGS = 12;
const WINDOW = 14;
const CHECKSUM = 16;
const URGENT_POINTER = 18;
const OPTIONS = 20;

// Bits of the word at DATA_OFFSET_FLAGS.
const DATA_OFFSET_SHIFT = 12;
const RESERVED_SHIFT = 9;
const FLAGS_MASK = 0x1ff;

/** Length of a header without options in bytes. */
export const MIN_HEADER_LENGTH = 20;
/** Length of a header with the most options in bytes. */
export const MAX_HEADER_LENGTH = 60;
/** The protocol number that IP headers carry for TCP. */
export const PROTOCOL = 6;

export const FLAG_FIN = 0x001;
export const FLAG_SYN = 0x002;
export const FLAG_RST = 0x004;
export const FLAG_PSH = 0x008;
export const FLAG_ACK = 0x010;
export const FLAG_URG = 0x020;
export const FLAG_ECE = 0x040;
export const FLAG_CWR = 0x080;
/** Accurate ECN, once the nonce sum NS. */
export const FLAG_AE = 0x100;

export const OPTION_MSS = 2;
export const OPTION_WINDOW_SCALE = 3;
export const OPTION_SACK_PERMITTED = 4;
export const OPTION_SACK = 5;
export const OPTION_TIMESTAMPS = 8;

/** A TCP header and its data. */
export interface Tcp {
  sourcePort: number;
  destinationPort: number;
  /** 32 bits. */
  sequence: number;
  /** 32 bits. 0 when absent. */
  acknowledgment?: number;
  /** The three bits before the flags. 0 when absent. */
  reserved?: number;
  /** Nine bits, `FLAG_FIN` to `FLAG_AE`. */
  flags: number;
  window: number;
  /** Computed when absent, which takes addresses. */
  checksum?: number;
  /** 0 when absent. */
  urgentPointer?: number;
  /** None when absent. */
  options?: Option[];
  payload: Uint8Array;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length with its options, or `TRUNCATED`, or `MALFORMED` where the data offset is less than 5.
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < MIN_HEADER_LENGTH) return TRUNCATED;
  const length = getHeaderLength(bytes, offset);
  if (length < MIN_HEADER_LENGTH) return MALFORMED;
  return length > end - offset ? TRUNCATED : length;
}

/**
 * Says why `check` refuses the header, or `null` where it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  let needed = MIN_HEADER_LENGTH;
  if (end - offset >= needed) {
    const length = getHeaderLength(bytes, offset);
    if (length < needed)
      return problemAt('tcp', offset + DATA_OFFSET_FLAGS, `header length is ${length}, less than ${needed}`);
    needed = length;
  }
  return truncatedProblem('tcp', offset, needed, end, limitedBy);
}

export function getSourcePort(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + SOURCE_PORT);
}

export function getDestinationPort(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + DESTINATION_PORT);
}

/** The sequence number as an unsigned 32-bit number. */
export function getSequence(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + SEQUENCE);
}

/** The acknowledgment number as an unsigned 32-bit number; meaningful where {@link FLAG_ACK} is set. */
export function getAcknowledgment(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + ACKNOWLEDGMENT);
}

/** Bytes of header, options included: the data offset in bytes. */
export function getHeaderLength(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + DATA_OFFSET_FLAGS]! >>> 4) << 2;
}

/** The three bits before the flags. */
export function getReserved(bytes: Uint8Array, offset: number): number {
  return (getU16(bytes, offset + DATA_OFFSET_FLAGS) >>> RESERVED_SHIFT) & 7;
}

/** All nine flags. */
export function getFlags(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + DATA_OFFSET_FLAGS) & FLAGS_MASK;
}

export function getWindow(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + WINDOW);
}

export function getChecksum(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + CHECKSUM);
}

/** Meaningful where {@link FLAG_URG} is set. */
export function getUrgentPointer(bytes: Uint8Array, offset: number): number {
  return getU16(bytes, offset + URGENT_POINTER);
}

/**
 * Whether the checksum fits the segment `bytes[offset, end)`.
 * @param pseudo the addresses, or the partial sum of the pseudo-header with the segment's length.
 */
export function verifyChecksum(bytes: Uint8Array, offset: number, end: number, pseudo: number | Addresses): boolean {
  const partial = typeof pseudo === 'number' ? pseudo : pseudoHeaderSum(pseudo, PROTOCOL, end - offset);
  return finish(sum(bytes, offset, end, partial)) === 0;
}

export function setSourcePort(bytes: Uint8Array, offset: number, port: number): void {
  setU16(bytes, offset + SOURCE_PORT, port);
}

export function setDestinationPort(bytes: Uint8Array, offset: number, port: number): void {
  setU16(bytes, offset + DESTINATION_PORT, port);
}

export function setSequence(bytes: Uint8Array, offset: number, sequence: number): void {
  setU32(bytes, offset + SEQUENCE, sequence);
}

export function setAcknowledgment(bytes: Uint8Array, offset: number, acknowledgment: number): void {
  setU32(bytes, offset + ACKNOWLEDGMENT, acknowledgment);
}

/** Sets all nine flags. */
export function setFlags(bytes: Uint8Array, offset: number, flags: number): void {
  setU16(bytes, offset + DATA_OFFSET_FLAGS, (getU16(bytes, offset + DATA_OFFSET_FLAGS) & ~FLAGS_MASK) | flags);
}

export function setWindow(bytes: Uint8Array, offset: number, window: number): void {
  setU16(bytes, offset + WINDOW, window);
}

export function setChecksum(bytes: Uint8Array, offset: number, checksum: number): void {
  setU16(bytes, offset + CHECKSUM, checksum);
}

export function setUrgentPointer(bytes: Uint8Array, offset: number, pointer: number): void {
  setU16(bytes, offset + URGENT_POINTER, pointer);
}

/**
 * Computes the checksum of the segment `bytes[offset, end)` as it stands and writes it.
 * @param pseudoSum the partial sum of the pseudo-header with the segment's length.
 */
export function fillChecksum(bytes: Uint8Array, offset: number, end: number, pseudoSum: number): void {
  setU16(bytes, offset + CHECKSUM, 0);
  setU16(bytes, offset + CHECKSUM, finish(sum(bytes, offset, end, pseudoSum)));
}

/**
 * Reads the header and the data up to `end`.
 * @throws WireError `truncated` or `malformed`.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Required<Tcp> {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, offset + getHeaderLength(bytes, offset), end);
}

/**
 * Also reads options that are cut. `null` unless there are 20 octets with a valid data offset.
 */
export function decodeLax(bytes: Uint8Array, offset: number, end: number): Required<Tcp> | null {
  if (end - offset < MIN_HEADER_LENGTH) return null;
  const length = getHeaderLength(bytes, offset);
  return length < MIN_HEADER_LENGTH ? null : read(bytes, offset, Math.min(offset + length, end), end);
}

function read(bytes: Uint8Array, offset: number, start: number, end: number): Required<Tcp> {
  const word = getU16(bytes, offset + DATA_OFFSET_FLAGS);
  return {
    sourcePort: getU16(bytes, offset + SOURCE_PORT),
    destinationPort: getU16(bytes, offset + DESTINATION_PORT),
    sequence: getU32(bytes, offset + SEQUENCE),
    acknowledgment: getU32(bytes, offset + ACKNOWLEDGMENT),
    reserved: (word >>> RESERVED_SHIFT) & 7,
    flags: word & FLAGS_MASK,
    window: getU16(bytes, offset + WINDOW),
    checksum: getU16(bytes, offset + CHECKSUM),
    urgentPointer: getU16(bytes, offset + URGENT_POINTER),
    options: readOptions(bytes, offset + OPTIONS, start),
    payload: bytes.subarray(start, end),
  };
}

/**
 * Encodes into a buffer of its own.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field does not fit, or there is neither a checksum nor addresses.
 */
export function encode(value: Tcp, addresses?: Addresses): Uint8Array {
  const bytes = new Uint8Array(headerLength(value) + value.payload.length);
  encodeInto(value, bytes, 0, addresses);
  return bytes;
}

/**
 * Encodes into the caller's buffer, every octet of it, and returns where the segment ends. Options are filled up to whole
 * words with zeros.
 * @param addresses for the checksum, where the value has none.
 * @throws RangeError where a field or the whole does not fit, or there is neither a checksum nor addresses.
 */
export function encodeInto(value: Tcp, bytes: Uint8Array, offset: number, addresses?: Addresses): number {
  const length = headerLength(value);
  const end = room('tcp', bytes, offset, length + value.payload.length);
  if (value.checksum === undefined && addresses === undefined)
    throw new RangeError('tcp requires a checksum, or the addresses to compute it with');
  setU16(bytes, offset + SOURCE_PORT, uint('tcp.sourcePort', value.sourcePort, 0xffff));
  setU16(bytes, offset + DESTINATION_PORT, uint('tcp.destinationPort', value.destinationPort, 0xffff));
  setU32(bytes, offset + SEQUENCE, uint('tcp.sequence', value.sequence, 0xffff_ffff));
  setU32(bytes, offset + ACKNOWLEDGMENT, uint('tcp.acknowledgment', value.acknowledgment ?? 0, 0xffff_ffff));
  const word =
    ((length >>> 2) << DATA_OFFSET_SHIFT) |
    (uint('tcp.reserved', value.reserved ?? 0, 7) << RESERVED_SHIFT) |
    uint('tcp.flags', value.flags, FLAGS_MASK);
  setU16(bytes, offset + DATA_OFFSET_FLAGS, word);
  setU16(bytes, offset + WINDOW, uint('tcp.window', value.window, 0xffff));
  setU16(bytes, offset + CHECKSUM, uint('tcp.checksum', value.checksum ?? 0, 0xffff));
  setU16(bytes, offset + URGENT_POINTER, uint('tcp.urgentPointer', value.urgentPointer ?? 0, 0xffff));
  if (value.options !== undefined) writeOptions('tcp.options', value.options, bytes, offset + OPTIONS);
  bytes.set(value.payload, offset + length);
  if (value.checksum === undefined && addresses !== undefined)
    fillChecksum(bytes, offset, end, pseudoHeaderSum(addresses, PROTOCOL, end - offset));
  return end;
}

function headerLength(value: Tcp): number {
  const options = value.options === undefined ? 0 : optionsLength(value.options);
  return MIN_HEADER_LENGTH + uint('tcp.options length', options, MAX_HEADER_LENGTH - MIN_HEADER_LENGTH);
}

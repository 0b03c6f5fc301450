/**
 * The header of the Encapsulating Security Payload, RFC 4303, section 2, with the IV of AES-GCM, RFC 4106, section 3.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |               Security Parameters Index (SPI)                 |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                      Sequence Number                          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                    Payload, of AES-GCM:                       |
 *     |           IV of 8 octets, ciphertext, ICV                     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * Without the keys, nothing else of a packet can be read: this codec passes the rest on as the payload.
 */
import {
  getU32,
  MALFORMED,
  problemAt,
  room,
  setU32,
  TRUNCATED,
  truncatedProblem,
  uint,
  WireError,
  type WireProblem,
} from '../wire/index.js';

// Offsets from the header's start.
const SPI = 0;
const SEQUENCE = 4;
const IV = 8;

/** Length of the header in bytes. */
export const HEADER_LENGTH = 8;
/** Length of the IV of AES-GCM behind it, in bytes (RFC 4106, section 3.1). */
export const IV_LENGTH = 8;
/** The IP protocol number. */
export const PROTOCOL = 50;
/** The UDP port of ESP in UDP (RFC 3948). */
export const PORT = 4500;
/** The lowest SPI that an association may have: 0 marks other datagrams, and IANA reserves 1 to 255 (section 2.1). */
export const MIN_SPI = 256;

/** An ESP header and what follows it. */
export interface Esp {
  /** Security Parameters Index, 32 bits: the receiver's name for the association. Not 0. */
  spi: number;
  /** The low 32 bits of the sequence number. */
  sequence: number;
  /** IV, ciphertext and ICV. */
  payload: Uint8Array;
}

/**
 * Validates the header at `offset`. Neither throws nor allocates.
 * @returns the header's length, or `TRUNCATED`, or `MALFORMED` if the SPI is 0 (section 2.1).
 */
export function check(bytes: Uint8Array, offset: number, end: number): number {
  if (end - offset < HEADER_LENGTH) return TRUNCATED;
  if (getSpi(bytes, offset) === 0) return MALFORMED;
  return HEADER_LENGTH;
}

/**
 * Says why `check` refuses the header, or `null` if it accepts. Throws nothing.
 * @param limitedBy what set `end`, for a `truncated` problem: see `WireProblem`.
 */
export function diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null {
  if (end - offset >= HEADER_LENGTH && getSpi(bytes, offset) === 0)
    return problemAt('esp', offset + SPI, 'the SPI is 0, which no association has');
  return truncatedProblem('esp', offset, HEADER_LENGTH, end, limitedBy);
}

/** The Security Parameters Index, unsigned. */
export function getSpi(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + SPI);
}

/** The low 32 bits of the sequence number, unsigned. */
export function getSequence(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset + SEQUENCE);
}

export function setSpi(bytes: Uint8Array, offset: number, spi: number): void {
  setU32(bytes, offset + SPI, spi);
}

export function setSequence(bytes: Uint8Array, offset: number, sequence: number): void {
  setU32(bytes, offset + SEQUENCE, sequence);
}

/** Writes the IV of AES-GCM behind the header: 64 bits, of which the packet's sequence number makes each one unique. */
export function setIv(bytes: Uint8Array, offset: number, high: number, low: number): void {
  setU32(bytes, offset + IV, high);
  setU32(bytes, offset + IV + 4, low);
}

/**
 * Decodes the header at `offset`.
 * @throws WireError if it is truncated, or its SPI is 0.
 */
export function decode(bytes: Uint8Array, offset = 0, end = bytes.length): Esp {
  if (check(bytes, offset, end) < 0) throw new WireError(diagnose(bytes, offset, end)!);
  return read(bytes, offset, end);
}

/** Decodes the header at `offset`; `null` if it is incomplete, or is none: in UDP, an SPI of 0 marks other datagrams. */
export function decodeLax(bytes: Uint8Array, offset = 0, end = bytes.length): Esp | null {
  return check(bytes, offset, end) < 0 ? null : read(bytes, offset, end);
}

function read(bytes: Uint8Array, offset: number, end: number): Esp {
  return {
    spi: getSpi(bytes, offset),
    sequence: getSequence(bytes, offset),
    payload: bytes.subarray(offset + HEADER_LENGTH, end),
  };
}

/** @throws RangeError for a field out of range. */
export function encode(value: Esp): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}

/**
 * Encodes into `bytes` at `offset`, and returns the end.
 * @throws RangeError for a field out of range, or if there is no room.
 */
export function encodeInto({ spi, sequence, payload }: Esp, bytes: Uint8Array, offset: number): number {
  const end = room('esp', bytes, offset, HEADER_LENGTH + payload.length);
  if (uint('esp.spi', spi, 0xffff_ffff) === 0) throw new RangeError('esp.spi must not be 0 (RFC 4303, section 2.1)');
  setSpi(bytes, offset, spi);
  setSequence(bytes, offset, uint('esp.sequence', sequence, 0xffff_ffff));
  bytes.set(payload, offset + HEADER_LENGTH);
  return end;
}

/**
 * Messages between two hosts about the keys of an association. In UDP, the non-ESP marker of RFC 3948, section 2.2, precedes them.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Magic, "weft"                          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |    Version    |     Type      |    Senders    |   Reserved    |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                             SPI                               |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |      Key id (8), instance (16), sender's nonce (32),          |
 *     |      receiver's nonce (32), authentication code (16)          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * A request has SPI and receiver's nonce 0. `invalid SPI` ends behind the SPI, and is not authenticated: it is a hint.
 */
import { getU32, setU32, TRUNCATED, MALFORMED, UNSUPPORTED } from '../wire/index.js';

const MAGIC = 0;
const VERSION = 4;
const TYPE = 5;
const SENDERS = 6;
const RESERVED = 7;
const SPI = 8;
const KEY_ID = 12;
const INSTANCE = 20;
const SENDER_NONCE = 36;
const RECEIVER_NONCE = 68;
const CODE = 100;

const WEFT = 0x7765_6674;
const THIS_VERSION = 1;

/** Lengths in octets. */
export const KEY_ID_LENGTH = INSTANCE - KEY_ID;
export const INSTANCE_LENGTH = SENDER_NONCE - INSTANCE;
export const NONCE_LENGTH = RECEIVER_NONCE - SENDER_NONCE;
export const CODE_LENGTH = 16;
export const MESSAGE_LENGTH = CODE + CODE_LENGTH;
const HINT_LENGTH = KEY_ID;

export const REQUEST = 1;
export const GRANT = 2;
export const INVALID_SPI = 3;

/** Most workers of a sender, each with an association of its own. */
export const MAX_SENDERS = 64;

/** A request for an association, or its grant. */
export interface KeyingMessage {
  readonly type: typeof REQUEST | typeof GRANT;
  /** How many associations: one for each worker of the sender. */
  readonly senders: number;
  /** The first SPI of the granted associations; those of other workers follow it. */
  readonly spi: number;
  /** Names the group and the key. */
  readonly keyId: Uint8Array;
  /** Random, of the group in the process that wrote the message. */
  readonly instance: Uint8Array;
  readonly senderNonce: Uint8Array;
  readonly receiverNonce: Uint8Array;
}

/**
 * The type of a message, or why it is none: `TRUNCATED`, also if it is too long; `MALFORMED`; `UNSUPPORTED` for another version.
 */
export function check(bytes: Uint8Array): number {
  if (bytes.length < HINT_LENGTH) return TRUNCATED;
  if (getU32(bytes, MAGIC) !== WEFT) return MALFORMED;
  if (bytes[VERSION] !== THIS_VERSION) return UNSUPPORTED;
  const type = bytes[TYPE]!;
  if (type === INVALID_SPI) return bytes.length === HINT_LENGTH ? type : TRUNCATED;
  if (type !== REQUEST && type !== GRANT) return UNSUPPORTED;
  if (bytes.length !== MESSAGE_LENGTH) return TRUNCATED;
  return bytes[SENDERS]! >= 1 && bytes[SENDERS]! <= MAX_SENDERS ? type : MALFORMED;
}

/** Decodes a request or a grant that `check` accepts. Its arrays are parts of `bytes`. */
export function decode(bytes: Uint8Array): KeyingMessage {
  return {
    type: bytes[TYPE] as typeof REQUEST | typeof GRANT,
    senders: bytes[SENDERS]!,
    spi: getU32(bytes, SPI),
    keyId: bytes.subarray(KEY_ID, INSTANCE),
    instance: bytes.subarray(INSTANCE, SENDER_NONCE),
    senderNonce: bytes.subarray(SENDER_NONCE, RECEIVER_NONCE),
    receiverNonce: bytes.subarray(RECEIVER_NONCE, CODE),
  };
}

/** The part of a message that its authentication code protects. */
export function protectedPart(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, CODE);
}

export function codeOf(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(CODE, MESSAGE_LENGTH);
}

/** Encodes a message. @param code Computes the authentication code of the protected part; its first octets are used. */
export function encode(message: KeyingMessage, code: (part: Uint8Array) => Uint8Array): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_LENGTH);
  writeHead(bytes, message.type, message.senders, message.spi);
  bytes.set(message.keyId, KEY_ID);
  bytes.set(message.instance, INSTANCE);
  bytes.set(message.senderNonce, SENDER_NONCE);
  bytes.set(message.receiverNonce, RECEIVER_NONCE);
  bytes.set(code(protectedPart(bytes)).subarray(0, CODE_LENGTH), CODE);
  return bytes;
}

/** The hint that no association has an SPI, as IKE has it (RFC 7296, section 1.5). */
export function encodeInvalidSpi(spi: number): Uint8Array {
  const bytes = new Uint8Array(HINT_LENGTH);
  writeHead(bytes, INVALID_SPI, 0, spi);
  return bytes;
}

export function spiOf(bytes: Uint8Array): number {
  return getU32(bytes, SPI);
}

function writeHead(bytes: Uint8Array, type: number, senders: number, spi: number): void {
  setU32(bytes, MAGIC, WEFT);
  bytes[VERSION] = THIS_VERSION;
  bytes[TYPE] = type;
  bytes[SENDERS] = senders;
  bytes[RESERVED] = 0;
  setU32(bytes, SPI, spi);
}

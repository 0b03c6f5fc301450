/**
 * The layers around messages in a datagram, outermost first: a label, encryption, a checksum, and compounds of
 * messages.
 *
 *     +------+--------+-------+    +--------------------+    +------+------------+    +------+-------+-----------+---------+
 *     | 0xf4 | length | label |    | sealed (seal.ts)   |    | 0x0c | CRC-32 (4) |    | 0x07 | count | lengths   | parts   |
 *     +------+--------+-------+    +--------------------+    +------+------------+    +------+-------+-----------+---------+
 */
import { decodeText, encodeText, getU16, getU32, malformed, setU16, setU32, truncated } from '../../wire/index.js';
import { crc32 } from './crc32.js';
import { compress, compressShorter, decompress } from './lzw.js';
import { bounded, decodeMessage, encodeMessage, TYPE, type Message } from './message.js';
import { open, OVERHEAD, seal, UNREADABLE, type Aead, type Keyring, type SealVersion } from './seal.js';

const PROTOCOL = 'memberlist';
const CRC_HEADER = 5;
/** Octets before the lengths of a compound. */
export const COMPOUND_HEADER = 2;
/** Octets that a part adds to a compound. */
export const COMPOUND_PART = 2;
/** Maximum number of parts of a compound. */
export const MAX_PARTS = 255;
/** Maximum decompressed octets of a datagram: as many as an uncompressed one can hold. */
export const MAX_INFLATED = 65_536;
/** Maximum nesting of compounds and compressed messages in a datagram; peers send two levels. */
export const MAX_NESTING = 4;
/** Maximum number of messages in a datagram, over all levels. */
export const MAX_MESSAGES = 1024;

/** How the traffic of a cluster is protected. */
export interface Security {
  /** If absent, nothing is encrypted. */
  keyring?: Keyring;
  aead?: Aead;
  /** 1 for protocol version 2 and later. Default 1. */
  version?: SealVersion;
  /** Returns 12 octets that never repeat. */
  nonce?: () => Uint8Array;
  /** Identifies the cluster. Default: empty, and no label is sent. */
  label?: string;
  /** Whether to reject unencrypted traffic if there are keys. Default true. */
  verifyIncoming?: boolean;
  /** Whether to encrypt outgoing traffic if there are keys. Default true. */
  verifyOutgoing?: boolean;
}

/** The octets of a label. @throws RangeError for more than 255. */
export function labelBytes(label: string): Uint8Array {
  const octets = encodeText(label, true);
  if (octets.length > 255) throw new RangeError(`a label must have at most 255 octets, not ${octets.length}`);
  return octets;
}

/** Prepends a label; returns `bytes` if the label is empty. */
export function addLabel(label: string, bytes: Uint8Array): Uint8Array {
  const octets = labelBytes(label);
  if (octets.length === 0) return bytes;
  const out = new Uint8Array(2 + octets.length + bytes.length);
  out[0] = TYPE.label;
  out[1] = octets.length;
  out.set(octets, 2);
  out.set(bytes, 2 + octets.length);
  return out;
}

/** The label at the start of `bytes`, empty if there is none, and the rest. @throws WireError */
export function takeLabel(bytes: Uint8Array): { label: string; rest: Uint8Array } {
  if (bytes[0] !== TYPE.label) return { label: '', rest: bytes };
  if (bytes.length < 2) throw truncated(PROTOCOL, 0, 2, bytes.length);
  const end = 2 + bytes[1]!;
  if (end === 2) throw malformed(PROTOCOL, 1, 'the label is empty');
  if (end > bytes.length) throw truncated(PROTOCOL, 0, end, bytes.length);
  return { label: decodeText(bytes, 2, end, true), rest: bytes.subarray(end) };
}

/**
 * Joins messages into one; their lengths come first. @throws RangeError for more than 255 messages, or one that is too
 * long.
 */
export function encodeCompound(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length > MAX_PARTS)
    throw new RangeError(`a compound must have at most ${MAX_PARTS} parts, not ${parts.length}`);
  let at = COMPOUND_HEADER + COMPOUND_PART * parts.length;
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, at));
  out[0] = TYPE.compound;
  out[1] = parts.length;
  parts.forEach((part, i) => {
    if (part.length > 0xffff)
      throw new RangeError(`a part of a compound must have at most 65535 octets, not ${part.length}`);
    setU16(out, COMPOUND_HEADER + COMPOUND_PART * i, part.length);
    out.set(part, at);
    at += part.length;
  });
  return out;
}

/** Decodes a compound. If it is truncated, returns the complete parts and the number of missing ones. @throws WireError */
export function decodeCompound(bytes: Uint8Array): { parts: Uint8Array[]; truncated: number } {
  const count = bytes.length < COMPOUND_HEADER ? 0 : bytes[1]!;
  let at = COMPOUND_HEADER + COMPOUND_PART * count;
  if (bytes.length < at) throw truncated(PROTOCOL, 0, at, bytes.length);
  if (bytes[0] !== TYPE.compound) throw malformed(PROTOCOL, 0, `type ${bytes[0]} is not a compound`);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const end = at + getU16(bytes, COMPOUND_HEADER + COMPOUND_PART * i);
    if (end > bytes.length) return { parts, truncated: count - i };
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  return { parts, truncated: 0 };
}

/** Prepends a checksum. */
export function addCrc(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(CRC_HEADER + bytes.length);
  out[0] = TYPE.crc;
  setU32(out, 1, crc32(bytes));
  out.set(bytes, CRC_HEADER);
  return out;
}

/** Removes the checksum, if there is one. @throws WireError `malformed` if it is wrong. */
export function takeCrc(bytes: Uint8Array): Uint8Array {
  if (bytes.length < CRC_HEADER || bytes[0] !== TYPE.crc) return bytes;
  if (getU32(bytes, 1) !== crc32(bytes, CRC_HEADER)) throw malformed(PROTOCOL, 1, 'the checksum is wrong');
  return bytes.subarray(CRC_HEADER);
}

/** Compresses a message. */
export function deflate(bytes: Uint8Array): Uint8Array {
  return encodeMessage({ type: 'compress', algo: 0, buf: compress(bytes) });
}

/** Decompresses a message. @throws WireError */
export function inflate(message: Message, limit: number): Uint8Array {
  return decompress(deflated(message), limit);
}

/** The contents of a compressed message, compressed. @throws WireError */
export function deflated(message: Message): Uint8Array {
  if (message.type !== 'compress') throw malformed(PROTOCOL, 0, `a message of type ${message.type} is not compressed`);
  if (message.algo !== 0) throw malformed(PROTOCOL, 0, `compression algorithm ${message.algo} is not supported`);
  return message.buf;
}

/** Maximum number of octets that the layers around a message add to a datagram. */
export function packetOverhead(security: Security): number {
  const label = labelBytes(security.label ?? '').length;
  const sealed = encrypts(security) ? OVERHEAD[security.version ?? 1] : 0;
  return (label === 0 ? 0 : 2 + label) + sealed;
}

/** Whether to encrypt outgoing traffic. */
export function encrypts(security: Security): boolean {
  return security.keyring !== undefined && security.verifyOutgoing !== false;
}

/** The parts that encryption needs. @throws RangeError if one is missing. */
export function sealer(security: Security): { aead: Aead; keyring: Keyring } {
  const { aead, keyring } = security;
  if (aead === undefined || keyring === undefined) throw new RangeError('security.keyring requires security.aead');
  return { aead, keyring };
}

/** Encrypts with the first key. @throws RangeError if there are no keys or no cipher. */
export function sealWith(security: Security, plain: Uint8Array, aad: Uint8Array): Uint8Array {
  const { aead, keyring } = sealer(security);
  if (security.nonce === undefined) throw new RangeError('security.keyring requires security.nonce');
  return seal(aead, keyring.primary, security.version ?? 1, security.nonce(), plain, aad);
}

/**
 * Encodes a message as a datagram.
 * @param options `compressed`: if that makes it shorter; `checksum`: for peers with version 5 or later.
 */
export function encodePacket(
  message: Uint8Array,
  security: Security,
  options: { compressed?: boolean; checksum?: boolean } = {},
): Uint8Array {
  let bytes = message;
  if (options.compressed === true) {
    const buf = compressShorter(bytes);
    const smaller = buf === null ? bytes : encodeMessage({ type: 'compress', algo: 0, buf });
    if (smaller.length < bytes.length) bytes = smaller;
  }
  if (options.checksum === true) bytes = addCrc(bytes);
  const label = security.label ?? '';
  if (encrypts(security)) bytes = sealWith(security, bytes, labelBytes(label));
  return addLabel(label, bytes);
}

/** Removes the outer layers of a datagram: label, encryption, checksum. @throws WireError */
export function openPacket(bytes: Uint8Array, security: Security): Uint8Array {
  return openAny(bytes, security).plain;
}

/** Like `openPacket`, and tells whether the datagram was encrypted with a key of this member. @throws WireError */
export function openAny(bytes: Uint8Array, security: Security): { plain: Uint8Array; authentic: boolean } {
  const { label, rest } = takeLabel(bytes);
  if (label !== (security.label ?? '')) throw malformed(PROTOCOL, 0, UNREADABLE.label);
  if (security.keyring === undefined) return { plain: takeCrc(rest), authentic: false };
  const { aead, keyring } = sealer(security);
  let plain: Uint8Array;
  try {
    plain = open(aead, keyring, rest, labelBytes(label));
  } catch (error) {
    if (security.verifyIncoming !== false) throw error;
    return { plain: takeCrc(rest), authentic: false };
  }
  return { plain: takeCrc(plain), authentic: true };
}

/** Receives the messages that `walk` finds. */
export interface PacketVisitor {
  message(message: Message): void;
  /** Handles the bytes of a user message, which may be a view of the datagram. */
  user(bytes: Uint8Array): void;
  /** Handles a part that cannot be decoded; the others are still visited. */
  refused(error: unknown): void;
}

/**
 * Visits the messages of a datagram without its outer layers, including those in compounds and compressed messages.
 * Limits: {@link MAX_NESTING} levels, {@link MAX_INFLATED} decompressed octets, {@link MAX_MESSAGES} messages.
 */
export function walk(bytes: Uint8Array, visitor: PacketVisitor): void {
  let octets = MAX_INFLATED;
  let messages = MAX_MESSAGES;
  const visit = (part: Uint8Array, depth: number): void => {
    if (messages-- <= 0) return;
    const type = part[0];
    if (type === TYPE.user) return visitor.user(part.subarray(1));
    let found: Message | null = null;
    let inner: Uint8Array[] = [];
    try {
      if (type === TYPE.compound || type === TYPE.compress) bounded(depth, MAX_NESTING - 1, 'nesting');
      if (type === undefined) throw truncated(PROTOCOL, 0, 1, 0);
      else if (type === TYPE.compound) {
        const compound = decodeCompound(part);
        inner = compound.parts;
        if (compound.truncated > 0) visitor.refused(truncated(PROTOCOL, 0, part.length + 1, part.length));
      } else if (type === TYPE.compress) {
        const limit = octets;
        octets = 0; // a failure uses up the whole budget
        inner = [inflate(decodeMessage(part), limit)];
        octets = limit - inner[0]!.length;
      } else found = decodeMessage(part);
    } catch (error) {
      return visitor.refused(error);
    }
    if (found !== null) visitor.message(found);
    for (const one of inner) visit(one, depth + 1);
  };
  visit(bytes, 0);
}

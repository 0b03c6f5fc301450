/**
 * What is around messages in a datagram, from the outside in: a label, encryption, a checksum, and then messages that
 * hold messages.
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
/** Parts of a compound at most. */
export const MAX_PARTS = 255;
/** Octets that come out of all that is compressed in one datagram at most: as much as one holds that is not. */
export const MAX_INFLATED = 65_536;
/** How deep compounds and compressed messages in a datagram nest at most; peers send two levels. */
export const MAX_NESTING = 4;
/** Messages in one datagram at most, each level counted. */
export const MAX_MESSAGES = 1024;

/** What protects the traffic of a cluster. */
export interface Security {
  /** Absent: nothing is encrypted. */
  keyring?: Keyring;
  aead?: Aead;
  /** 1 where the protocol's version is 2 and more. Default 1. */
  version?: SealVersion;
  /** 12 octets that never come twice. */
  nonce?: () => Uint8Array;
  /** Tells clusters apart. Default: empty, which sends none. */
  label?: string;
  /** Whether what is not encrypted is refused, where there are keys. Default true. */
  verifyIncoming?: boolean;
  /** Whether what is sent is encrypted, where there are keys. Default true. */
  verifyOutgoing?: boolean;
}

/** The octets of a label. @throws RangeError for more than 255. */
export function labelBytes(label: string): Uint8Array {
  const octets = encodeText(label, true);
  if (octets.length > 255) throw new RangeError(`a label has at most 255 octets, not ${octets.length}`);
  return octets;
}

/** A label before `bytes`; without one, `bytes`. */
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

/** The label before `bytes`, empty where there is none, and what follows it. @throws WireError */
export function takeLabel(bytes: Uint8Array): { label: string; rest: Uint8Array } {
  if (bytes[0] !== TYPE.label) return { label: '', rest: bytes };
  if (bytes.length < 2) throw truncated(PROTOCOL, 0, 2, bytes.length);
  const end = 2 + bytes[1]!;
  if (end === 2) throw malformed(PROTOCOL, 1, 'a label of no octets');
  if (end > bytes.length) throw truncated(PROTOCOL, 0, end, bytes.length);
  return { label: decodeText(bytes, 2, end, true), rest: bytes.subarray(end) };
}

/** Messages as one: lengths first. @throws RangeError for more than 255, or one that is too long. */
export function encodeCompound(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length > MAX_PARTS) throw new RangeError(`a compound has at most ${MAX_PARTS} parts, not ${parts.length}`);
  let at = COMPOUND_HEADER + COMPOUND_PART * parts.length;
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, at));
  out[0] = TYPE.compound;
  out[1] = parts.length;
  parts.forEach((part, i) => {
    if (part.length > 0xffff) throw new RangeError(`a part of a compound has at most 65535 octets, not ${part.length}`);
    setU16(out, COMPOUND_HEADER + COMPOUND_PART * i, part.length);
    out.set(part, at);
    at += part.length;
  });
  return out;
}

/** Reads a compound. Of one that is cut short: the parts that are whole, and how many are not. @throws WireError */
export function decodeCompound(bytes: Uint8Array): { parts: Uint8Array[]; truncated: number } {
  const count = bytes.length < COMPOUND_HEADER ? 0 : bytes[1]!;
  let at = COMPOUND_HEADER + COMPOUND_PART * count;
  if (bytes.length < at) throw truncated(PROTOCOL, 0, at, bytes.length);
  if (bytes[0] !== TYPE.compound) throw malformed(PROTOCOL, 0, `type ${bytes[0]} is no compound`);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const end = at + getU16(bytes, COMPOUND_HEADER + COMPOUND_PART * i);
    if (end > bytes.length) return { parts, truncated: count - i };
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  return { parts, truncated: 0 };
}

/** A checksum before `bytes`. */
export function addCrc(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(CRC_HEADER + bytes.length);
  out[0] = TYPE.crc;
  setU32(out, 1, crc32(bytes));
  out.set(bytes, CRC_HEADER);
  return out;
}

/** What is behind a checksum, where there is one. @throws WireError `malformed` where it is wrong. */
export function takeCrc(bytes: Uint8Array): Uint8Array {
  if (bytes.length < CRC_HEADER || bytes[0] !== TYPE.crc) return bytes;
  if (getU32(bytes, 1) !== crc32(bytes, CRC_HEADER)) throw malformed(PROTOCOL, 1, 'the checksum is wrong');
  return bytes.subarray(CRC_HEADER);
}

/** A message, compressed. */
export function deflate(bytes: Uint8Array): Uint8Array {
  return encodeMessage({ type: 'compress', algo: 0, buf: compress(bytes) });
}

/** What a compressed message holds. @throws WireError */
export function inflate(message: Message, limit: number): Uint8Array {
  if (message.type !== 'compress') throw malformed(PROTOCOL, 0, `a ${message.type} is not compressed`);
  if (message.algo !== 0) throw malformed(PROTOCOL, 0, `compression ${message.algo} is not known`);
  return decompress(message.buf, limit);
}

/** Octets that the layers around a message may add to a datagram. */
export function packetOverhead(security: Security): number {
  const label = labelBytes(security.label ?? '').length;
  const sealed = encrypts(security) ? OVERHEAD[security.version ?? 1] : 0;
  return (label === 0 ? 0 : 2 + label) + sealed;
}

/** Whether what is sent is to be encrypted. */
export function encrypts(security: Security): boolean {
  return security.keyring !== undefined && security.verifyOutgoing !== false;
}

/** The parts that encryption needs. @throws RangeError where one was not given. */
export function sealer(security: Security): { aead: Aead; keyring: Keyring } {
  const { aead, keyring } = security;
  if (aead === undefined || keyring === undefined) throw new RangeError('keys need an aead that encrypts with them');
  return { aead, keyring };
}

/** Encrypts with the first key. @throws RangeError where nothing says how. */
export function sealWith(security: Security, plain: Uint8Array, aad: Uint8Array): Uint8Array {
  const { aead, keyring } = sealer(security);
  if (security.nonce === undefined) throw new RangeError('encryption needs a source of nonces');
  return seal(aead, keyring.primary, security.version ?? 1, security.nonce(), plain, aad);
}

/**
 * The datagram of a message.
 * @param options `compressed`: where that makes it shorter; `checksum`: for peers of version 5 and later.
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

/** Takes the outer layers off a datagram: the label, encryption, the checksum. @throws WireError */
export function openPacket(bytes: Uint8Array, security: Security): Uint8Array {
  const { label, rest } = takeLabel(bytes);
  if (label !== (security.label ?? '')) throw malformed(PROTOCOL, 0, UNREADABLE.label);
  if (security.keyring === undefined) return takeCrc(rest);
  const { aead, keyring } = sealer(security);
  let plain: Uint8Array;
  try {
    plain = open(aead, keyring, rest, labelBytes(label));
  } catch (error) {
    if (security.verifyIncoming !== false) throw error;
    plain = rest;
  }
  return takeCrc(plain);
}

/** Where `walk` puts what it finds. */
export interface PacketVisitor {
  message(message: Message): void;
  /** The bytes of a user message. They are those of the datagram, or its own. */
  user(bytes: Uint8Array): void;
  /** A part that is not to be read; the others are. */
  refused(error: unknown): void;
}

/**
 * Visits the messages of a datagram without its outer layers, those in compounds and compressed ones too. Neither nests
 * deeper than {@link MAX_NESTING}; not more than {@link MAX_INFLATED} octets come out of what is compressed, nor more than
 * {@link MAX_MESSAGES} messages out of it all.
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
        octets = 0; // one that fails has used up all of it
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

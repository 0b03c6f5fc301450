/**
 * Streams: one request per connection, and for some a response on the same one. Layers, outermost first: a label, sent
 * by the client only; encryption with its length; compression; the message.
 *
 *     +------+------------+--------------------+        +------+--------------------------------+
 *     | 0x0a | length (4) | sealed (seal.ts)   |        | 0x06 | header | member | ... | state  |
 *     +------+------------+--------------------+        +------+--------------------------------+
 *
 * An unencrypted message has no length field: it ends where its msgpack and the lengths in it end.
 */
import { getU32, malformed, setU32, truncated, WireError } from '../../wire/index.js';
import {
  bounded,
  readMessage,
  readNodeState,
  readPushPullHeader,
  readUserHeader,
  TYPE,
  writeNodeState,
  writePushPullHeader,
  writeUserHeader,
  type Ack,
  type Err,
  type NodeState,
  type Ping,
} from './message.js';
import { Decompressor } from './lzw.js';
import { Reader, Writer } from './msgpack.js';
import {
  addLabel,
  deflate,
  deflated,
  encrypts,
  labelBytes,
  sealer,
  sealWith,
  takeLabel,
  type Security,
} from './packet.js';
import { open, OVERHEAD, sealedLength, UNREADABLE } from './seal.js';

const PROTOCOL = 'memberlist';
const FRAME = 5;

/** All members known to the sender, and the application's state. */
export interface PushPull {
  type: 'pushPull';
  /** Whether the client is joining. */
  join: boolean;
  nodes: NodeState[];
  userState: Uint8Array;
}

/** A message of the application. */
export interface UserMessage {
  type: 'user';
  payload: Uint8Array;
}

/** The messages that a stream may carry. */
export type StreamMessage = PushPull | UserMessage | Ping | Ack | Err;

/** Limits of a stream. */
export interface StreamLimits {
  /** Maximum buffered octets. Default 20 MiB, as peers have it. */
  octets: number;
  /** Maximum decompressed octets. Default 40 MiB, as peers have it. */
  inflated: number;
  /** Maximum members of a `pushPull`. Default 16,384. */
  nodes: number;
}

export const STREAM_LIMITS: Readonly<StreamLimits> = {
  octets: 20 * 1024 * 1024,
  inflated: 40 * 1024 * 1024,
  nodes: 16_384,
};

/** Longer messages are sent uncompressed, which peers accept: compressing a megabyte blocks the process for 25 ms. */
export const MAX_DEFLATED = 128 * 1024;
/** Approximate memory of a decoded member, in octets: an object, a name, and views of its metadata and versions. */
const MEMBER_MEMORY = 512;
/** Maximum length of a map in octets, except that of a compressed message; no real member's comes near. */
const MAX_MAP = 4096;

/** Encodes a `pushPull`, type octet included. */
export function encodePushPull(value: PushPull): Uint8Array {
  const writer = new Writer(64 + value.nodes.length * 128 + value.userState.length);
  writer.octet(TYPE.pushPull);
  writePushPullHeader(writer, {
    join: value.join,
    nodes: value.nodes.length,
    userStateLen: value.userState.length,
  });
  for (const node of value.nodes) writeNodeState(writer, node);
  writer.bytes(value.userState);
  return writer.done();
}

/** Encodes a user message, type octet included. */
export function encodeUser(payload: Uint8Array): Uint8Array {
  const writer = new Writer(32 + payload.length);
  writer.octet(TYPE.user);
  writeUserHeader(writer, payload.length);
  writer.bytes(payload);
  return writer.done();
}

/**
 * Encodes a message for a stream.
 * @param options `compressed`: compress up to {@link MAX_DEFLATED} octets, even if the result is longer, as peers do;
 *   `dialler`: prepend the label.
 */
export function encodeStream(
  message: Uint8Array,
  security: Security,
  options: { compressed?: boolean; dialler?: boolean } = {},
): Uint8Array {
  let bytes = options.compressed === true && message.length <= MAX_DEFLATED ? deflate(message) : message;
  const label = security.label ?? '';
  if (encrypts(security)) {
    const header = new Uint8Array(FRAME);
    header[0] = TYPE.encrypt;
    setU32(header, 1, sealedLength(security.version ?? 1, bytes.length));
    const sealed = sealWith(security, bytes, joined(header, labelBytes(label)));
    bytes = joined(header, sealed);
  }
  return options.dialler === true ? addLabel(label, bytes) : bytes;
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  const out = new Uint8Array(left.length + right.length);
  out.set(left);
  out.set(right, left.length);
  return out;
}

/** Reads one message from a stream that arrives in pieces of any length. */
export class StreamReader {
  readonly #security: Security;
  readonly #limits: StreamLimits;
  readonly #dialled: boolean;
  #bytes = new Uint8Array(0);
  #length = 0;
  /** Minimum number of octets for the next attempt to parse. */
  #needed = 1;
  /** Offset behind the label; -1 while unknown. */
  #start = -1;
  #parser: MessageParser | null = null;
  /** What was encrypted, once it is complete. */
  #plain: Uint8Array | null = null;
  #message: StreamMessage | null = null;
  /** Number of attempts to parse: the cost of a stream besides copying. */
  looks = 0;
  #paused = false;
  readonly #decompressed: Decompressed = { octets: 0 };

  /** @param dialled Whether this side is the client: it then receives a response, without a label. */
  constructor(security: Security, dialled: boolean, limits: StreamLimits = STREAM_LIMITS) {
    this.#security = security;
    this.#dialled = dialled;
    this.#limits = limits;
  }

  /** Octets decompressed so far; the whole limit if decompression failed. */
  get inflated(): number {
    return this.#decompressed.octets;
  }

  /** Octets of memory that the incomplete message takes. */
  get kept(): number {
    if (this.#message !== null) return 0;
    return this.#bytes.length + (this.#plain?.length ?? 0) + (this.#parser?.kept ?? 0);
  }

  /** Whether a long message has arrived and is not parsed to its end: `resume` goes on. */
  get paused(): boolean {
    return this.#paused;
  }

  /**
   * Appends bytes, and returns the message once it is complete and parsed. Ignores everything after it. A long message is
   * decompressed and parsed in steps: then `paused` is true, and `resume` returns the message.
   * @throws WireError if the caller must close the stream.
   */
  push(bytes: Uint8Array): StreamMessage | null {
    if (this.#message !== null) return this.#message;
    if (this.#plain === null) {
      bounded(this.#length + bytes.length, this.#limits.octets, 'octets of a stream');
      this.#append(bytes);
    }
    return this.#paused || this.#length < this.#needed ? null : this.resume();
  }

  /** Performs the next step of a message that takes several, as `push`. @throws WireError as `push`. */
  resume(): StreamMessage | null {
    this.#paused = false;
    this.looks++;
    try {
      const message = this.#read();
      if (message === null) {
        this.#paused = true;
        return null;
      }
      this.#message = message;
      this.#bytes = new Uint8Array(0);
      this.#length = 0;
      this.#plain = this.#parser = null;
      return message;
    } catch (error) {
      if (!(error instanceof WireError) || error.protocol !== PROTOCOL || error.reason !== 'truncated') throw error;
      this.#needed = error.offset + error.needed;
      bounded(this.#needed, this.#limits.octets, 'octets of a stream');
      return null;
    }
  }

  #append(bytes: Uint8Array): void {
    const end = this.#length + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, Math.min(this.#bytes.length * 2, this.#limits.octets)));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }

  /**
   * Throws WireError `truncated` with the length that the stream needs, counted from its beginning.
   * @returns `null` if the message takes another step.
   */
  #read(): StreamMessage | null {
    const plain = this.#plain;
    if (plain !== null) return withoutTruncation(() => this.#parser!.parse(plain, plain.length));
    const own = this.#security.label ?? '';
    if (this.#start < 0) {
      let start = 0;
      if (!this.#dialled) {
        const { label, rest } = takeLabel(this.#bytes.subarray(0, this.#length));
        if (label !== own) throw malformed(PROTOCOL, 0, UNREADABLE.label);
        start = this.#length - rest.length;
      }
      this.#start = start;
    }
    const start = this.#start;
    if (start >= this.#length) throw truncated(PROTOCOL, start, 1, this.#length);
    const encrypted = this.#bytes[start] === TYPE.encrypt;
    if (!encrypted) {
      if (this.#security.keyring !== undefined && this.#security.verifyIncoming !== false)
        throw malformed(PROTOCOL, start, UNREADABLE.plain);
      this.#parser ??= new MessageParser(this.#limits, start, this.#decompressed);
      return this.#parser.parse(this.#bytes, this.#length);
    }
    if (this.#security.keyring === undefined) throw malformed(PROTOCOL, start, UNREADABLE.encrypted);
    if (this.#length < start + FRAME) throw truncated(PROTOCOL, start, FRAME, this.#length);
    const length = getU32(this.#bytes, start + 1);
    if (length < OVERHEAD[1])
      throw malformed(
        PROTOCOL,
        start + 1,
        `length ${length} is below ${OVERHEAD[1]}, the minimum of an encrypted message`,
      );
    const end = start + FRAME + bounded(length, this.#limits.octets, 'encrypted octets', start + 1);
    if (this.#length < end) throw truncated(PROTOCOL, start, FRAME + length, this.#length);
    const { aead, keyring } = sealer(this.#security);
    const aad = joined(this.#bytes.subarray(start, start + FRAME), labelBytes(own));
    this.#plain = open(aead, keyring, this.#bytes.subarray(start + FRAME, end), aad);
    this.#parser = new MessageParser(this.#limits, 0, this.#decompressed);
    this.#bytes = new Uint8Array(0);
    return this.#read();
  }
}

/** Decodes a complete message, compressed or not. @throws WireError */
export function decodeStream(bytes: Uint8Array, limits: StreamLimits = STREAM_LIMITS): StreamMessage {
  const parser = new MessageParser(limits, 0, { octets: 0 });
  return withoutTruncation(() => {
    for (;;) {
      const message = parser.parse(bytes, bytes.length);
      if (message !== null) return message;
    }
  });
}

/** Octets decompressed so far. */
interface Decompressed {
  octets: number;
}

/** Reports `truncated` as `malformed`, because no more bytes will arrive. */
function withoutTruncation<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof WireError && error.reason === 'truncated')
      throw malformed(PROTOCOL, error.offset, `cut short: ${error.detail}`);
    throw error;
  }
}

/** Number of members to parse, and of octets to decompress, in one step: either takes about a millisecond. */
const STEP = { members: 256, octets: 256 * 1024 };

/** Parses a message from growing bytes, in steps; resumes after the last complete member. */
class MessageParser {
  readonly #limits: StreamLimits;
  readonly #decompressed: Decompressed;
  readonly #isInflated: boolean;
  #at: number;
  #header: { join: boolean; nodes: number; userStateLen: number } | null = null;
  #nodes: NodeState[] = [];
  /** For a compressed message: its contents, and their parser once they are complete. */
  #inflater: Decompressor | null = null;
  #inner: MessageParser | null = null;

  /** @param isInflated Whether the message was compressed. */
  constructor(limits: StreamLimits, at: number, decompressed: Decompressed, isInflated = false) {
    this.#limits = limits;
    this.#at = at;
    this.#decompressed = decompressed;
    this.#isInflated = isInflated;
  }

  /** Approximate octets of memory for what is parsed so far. */
  get kept(): number {
    return this.#nodes.length * MEMBER_MEMORY + (this.#inflater?.kept ?? 0) + (this.#inner?.kept ?? 0);
  }

  /** Performs a step. @returns `null` if there are more. @throws WireError `truncated` if more bytes are needed. */
  parse(bytes: Uint8Array, length: number): StreamMessage | null {
    if (this.#inflater !== null) return this.#inflate(this.#inflater);
    const reader = new Reader(bytes, this.#at, length);
    if (this.#header !== null) return this.#members(reader);
    const type = reader.octet();
    if (type === TYPE.pushPull) {
      const header = this.#map(reader, readPushPullHeader);
      bounded(header.nodes, this.#limits.nodes, 'members', this.#at);
      bounded(header.userStateLen, this.#limits.inflated, 'octets of state', this.#at);
      this.#header = header;
      this.#at = reader.at;
      return this.#members(reader);
    }
    if (type === TYPE.user) {
      const octets = bounded(
        this.#map(reader, readUserHeader),
        this.#limits.inflated,
        'octets of a user message',
        this.#at,
      );
      return { type: 'user', payload: octetsAt(reader, octets) };
    }
    reader.at = this.#at;
    if (type === TYPE.compress) {
      if (this.#isInflated) throw malformed(PROTOCOL, this.#at, 'a compressed message contains a compressed message');
      const message = readMessage(reader);
      this.#decompressed.octets = this.#limits.inflated; // a failure uses up the whole budget
      this.#inflater = new Decompressor(deflated(message), this.#limits.inflated);
      return this.#inflate(this.#inflater);
    }
    if (type !== TYPE.ping && type !== TYPE.ack && type !== TYPE.err)
      throw malformed(PROTOCOL, this.#at, `unexpected message type ${type} in a stream`);
    return this.#map(reader, readMessage) as Ping | Ack | Err;
  }

  #inflate(inflater: Decompressor): StreamMessage | null {
    return withoutTruncation(() => {
      if (this.#inner === null) {
        if (!inflater.step(STEP.octets)) return null;
        this.#decompressed.octets = inflater.output().length;
        this.#inner = new MessageParser(this.#limits, 0, this.#decompressed, true);
      }
      const plain = inflater.output();
      return this.#inner.parse(plain, plain.length);
    });
  }

  #members(reader: Reader): StreamMessage | null {
    const { join, nodes, userStateLen } = this.#header!;
    const most = this.#nodes.length + STEP.members;
    while (this.#nodes.length < nodes) {
      if (this.#nodes.length === most) return null;
      this.#nodes.push(this.#map(reader, readNodeState));
      this.#at = reader.at;
    }
    return { type: 'pushPull', join, nodes: this.#nodes, userState: octetsAt(reader, userStateLen) };
  }

  /** Limits how long an incomplete map may get. */
  #map<T>(reader: Reader, read: (reader: Reader) => T): T {
    const { at } = reader;
    try {
      return read(reader);
    } catch (error) {
      if (error instanceof WireError && error.reason === 'truncated')
        bounded(error.offset + error.needed - at, MAX_MAP, 'octets of a map', at);
      throw error;
    }
  }
}

function octetsAt(reader: Reader, octets: number): Uint8Array {
  const { at } = reader;
  if (reader.end - at < octets) throw truncated(PROTOCOL, at, octets, reader.end);
  return reader.bytes.subarray(at, at + octets);
}

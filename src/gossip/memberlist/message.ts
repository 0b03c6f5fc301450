/**
 * memberlist's messages: a type octet, then a msgpack map whose keys are in byte order.
 *
 *     +------+-------------------------------------------+
 *     | type | fixmap | "Addr" value | "Incarnation" ... |
 *     +------+-------------------------------------------+
 *
 * The layers around messages (compound, compression, checksum, encryption, label) are in `packet.ts` and `stream.ts`.
 */
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../../address/index.js';
import { encodeText, getU16, malformed, setU32, uint, unsupported } from '../../wire/index.js';
import { Reader, Writer } from './msgpack.js';

const PROTOCOL = 'memberlist';

/** The type octet of a message. */
export const TYPE = {
  ping: 0,
  indirectPing: 1,
  ack: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  encrypt: 10,
  nack: 11,
  crc: 12,
  err: 13,
  label: 244,
} as const;

/** State of a member in a `pushPull`. */
export const STATE = { alive: 0, suspect: 1, dead: 2, left: 3 } as const;

/** Maximum length of a member's meta data, in octets. */
export const MAX_META = 512;

/** Asks whether a member is reachable. */
export interface Ping {
  type: 'ping';
  seqNo: number;
  /** The name of the target; a member with another name does not answer. */
  node: string;
  /** Where to send the answer; empty and 0 for the source of the ping. */
  sourceAddr: string;
  sourcePort: number;
  sourceNode: string;
}

/** Asks a member to ping another one. */
export interface IndirectPing {
  type: 'indirectPing';
  seqNo: number;
  /** The address of the target. */
  target: string;
  port: number;
  node: string;
  /** Whether to send a nack if the target does not answer. */
  nack: boolean;
  sourceAddr: string;
  sourcePort: number;
  sourceNode: string;
}

/** Answers a ping. */
export interface Ack {
  type: 'ack';
  seqNo: number;
  /** Payload of the application. */
  payload: Uint8Array;
}

/** Reports that the target of an indirect ping did not answer. */
export interface Nack {
  type: 'nack';
  seqNo: number;
}

/** Reports that a stream's request failed. */
export interface Err {
  type: 'err';
  error: string;
}

/** `from` suspects that `node` is dead. */
export interface Suspect {
  type: 'suspect';
  incarnation: number;
  node: string;
  from: string;
}

/** `from` declares `node` dead; if both are the same, the member leaves. */
export interface Dead {
  type: 'dead';
  incarnation: number;
  node: string;
  from: string;
}

/** A member is alive at this address. */
export interface Alive {
  type: 'alive';
  incarnation: number;
  node: string;
  /** Empty if the bytes are not an address. */
  addr: string;
  port: number;
  meta: Uint8Array;
  /** Minimum, maximum and current version of the protocol, then of the application. */
  vsn: Uint8Array;
}

/** A member as an entry of a `pushPull`. */
export interface NodeState {
  name: string;
  addr: string;
  port: number;
  meta: Uint8Array;
  incarnation: number;
  /** One of {@link STATE}. */
  state: number;
  vsn: Uint8Array;
}

export interface Compress {
  type: 'compress';
  /** 0 is LZW, the only algorithm. */
  algo: number;
  buf: Uint8Array;
}

/** Precedes the members and the application's state. */
export interface PushPullHeader {
  join: boolean;
  nodes: number;
  userStateLen: number;
}

/** Messages that consist of a type and a map. */
export type Message = Ping | IndirectPing | Ack | Nack | Err | Suspect | Dead | Alive | Compress;

const BOOL = 0;
const U8 = 1;
const U16 = 2;
const U32 = 3;
const TEXT = 4;
const RAW = 5;
/** Bytes; nil instead of empty. */
const NILRAW = 6;
const ADDRESS = 7;
type Kind = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;

interface Field {
  /** The name on the wire, in ASCII; then as encoded, with its length. */
  key: string;
  written: Uint8Array;
  /** The name in the decoded message. */
  name: string;
  kind: Kind;
  /** Whether to omit the field if it is empty. */
  omit: boolean;
}

const field = (key: string, kind: Kind, omit = false): Field => ({
  key,
  written: Uint8Array.of(0xa0 | key.length, ...encodeText(key)),
  name: key[0]!.toLowerCase() + key.slice(1),
  kind,
  omit,
});

// Fields in byte order of their keys.
const SOURCE = [field('SourceAddr', ADDRESS, true), field('SourceNode', TEXT, true), field('SourcePort', U16, true)];
const ACCUSATION = [field('From', TEXT), field('Incarnation', U32), field('Node', TEXT)];
const FIELDS: Readonly<Record<Message['type'], readonly Field[]>> = {
  ping: [field('Node', TEXT), field('SeqNo', U32), ...SOURCE],
  indirectPing: [
    field('Nack', BOOL),
    field('Node', TEXT),
    field('Port', U16),
    field('SeqNo', U32),
    ...SOURCE,
    field('Target', ADDRESS),
  ],
  ack: [field('Payload', NILRAW), field('SeqNo', U32)],
  nack: [field('SeqNo', U32)],
  err: [field('Error', TEXT)],
  suspect: ACCUSATION,
  dead: ACCUSATION,
  alive: [
    field('Addr', ADDRESS),
    field('Incarnation', U32),
    field('Meta', RAW),
    field('Node', TEXT),
    field('Port', U16),
    field('Vsn', RAW),
  ],
  compress: [field('Algo', U8), field('Buf', RAW)],
};
const NODE_STATE = [
  field('Addr', ADDRESS),
  field('Incarnation', U32),
  field('Meta', RAW),
  field('Name', TEXT),
  field('Port', U16),
  field('State', U32),
  field('Vsn', RAW),
];
const PUSH_PULL = [field('Join', BOOL), field('Nodes', U32), field('UserStateLen', U32)];
const USER = [field('UserMsgLen', U32)];

const NAMES = new Map<number, Message['type']>(
  (Object.keys(FIELDS) as Message['type'][]).map((name) => [TYPE[name], name]),
);

const MAX: readonly number[] = [1, 0xff, 0xffff, 0xffff_ffff];
/** Maximum number of fields of a map, and of values in unknown fields, nested ones included. */
const MAX_FIELDS = 64;
const MAX_SKIPPED = 256;
const NOTHING = new Uint8Array(0);

type Values = Record<string, unknown>;

/**
 * Decodes a message: its type and its map. Skips unknown fields; absent ones are zero. Ignores bytes after the map.
 * @throws WireError `unsupported` for types without a map.
 */
export function decodeMessage(bytes: Uint8Array, offset = 0, end = bytes.length): Message {
  return readMessage(new Reader(bytes, offset, end));
}

/** Like `decodeMessage`, but more may follow. */
export function readMessage(reader: Reader): Message {
  const { at } = reader;
  const code = reader.octet();
  const type = NAMES.get(code);
  if (type === undefined) throw unsupported(PROTOCOL, at, `unexpected message type ${code}`);
  const value = { type };
  readMap(reader, FIELDS[type], value);
  return value as Message;
}

/**
 * Encodes a message. Omits absent `source` fields.
 * @throws RangeError for a field that does not fit.
 */
export function encodeMessage(message: Message): Uint8Array {
  const writer = new Writer(message.type === 'compress' ? message.buf.length + 32 : 128);
  writer.octet(TYPE[message.type]);
  writeMap(writer, message.type, FIELDS[message.type], message as unknown as Values);
  return writer.done();
}

/** Reads one member of a `pushPull`. */
export function readNodeState(reader: Reader): NodeState {
  const value = {};
  readMap(reader, NODE_STATE, value);
  return value as NodeState;
}

export function writeNodeState(writer: Writer, value: NodeState): void {
  writeMap(writer, 'node', NODE_STATE, value as unknown as Values);
}

/** Reads the map after the type octet of a `pushPull`. */
export function readPushPullHeader(reader: Reader): PushPullHeader {
  const value = {};
  readMap(reader, PUSH_PULL, value);
  return value as PushPullHeader;
}

export function writePushPullHeader(writer: Writer, value: PushPullHeader): void {
  writeMap(writer, 'pushPull', PUSH_PULL, value as unknown as Values);
}

/** Reads the map after the type octet of a user message in a stream; returns the number of bytes that follow. */
export function readUserHeader(reader: Reader): number {
  const value: Values = {};
  readMap(reader, USER, value);
  return value['userMsgLen'] as number;
}

export function writeUserHeader(writer: Writer, length: number): void {
  writeMap(writer, 'user', USER, { userMsgLen: length });
}

function readMap(reader: Reader, fields: readonly Field[], into: Values): void {
  for (const { name, kind } of fields)
    into[name] = kind === BOOL ? false : kind <= U32 ? 0 : kind === TEXT || kind === ADDRESS ? '' : NOTHING;
  const count = bounded(reader.map(), MAX_FIELDS, 'fields of a map', reader.at);
  reader.skips = MAX_SKIPPED;
  // Peers send fields in this order, so the next one is most likely the one after the last.
  let next = 0;
  for (let i = 0; i < count; i++) {
    while (next < fields.length && !reader.passes(fields[next]!.written)) next++;
    const known = next < fields.length ? fields[next++] : readKey(reader, fields);
    if (known === undefined) reader.skip();
    else into[known.name] = readValue(reader, known.kind);
  }
}

function readKey(reader: Reader, fields: readonly Field[]): Field | undefined {
  const key = reader.text();
  return fields.find((one) => one.key === key);
}

function readValue(reader: Reader, kind: Kind): unknown {
  if (kind === BOOL) return reader.bool();
  if (kind <= U32) return reader.uint(MAX[kind]!);
  if (kind === TEXT) return reader.text();
  if (kind === ADDRESS) return addressToText(reader.raw());
  return reader.raw();
}

function writeMap(writer: Writer, what: string, fields: readonly Field[], value: Values): void {
  const present = fields.filter(({ name, omit }) => !omit || !(value[name] === '' || value[name] === 0));
  writer.map(present.length);
  for (const { written: key, name, kind } of present) {
    writer.bytes(key);
    const one = value[name];
    if (kind === BOOL) writer.bool(one as boolean);
    else if (kind <= U32) writer.uint(uint(`memberlist.${what}.${name}`, one as number, MAX[kind]!));
    else if (kind === TEXT) writer.text(one as string);
    else if (kind === ADDRESS) writer.raw(addressBytes(one as string));
    else if (kind === NILRAW && (one as Uint8Array).length === 0) writer.nil();
    else writer.raw(one as Uint8Array);
  }
}

const MAPPED = 0xffff;

/** The text of 4 or 16 octets, IPv4-mapped IPv6 as IPv4; empty for any other length. */
export function addressToText(octets: Uint8Array): string {
  if (octets.length === 4) return formatIpv4(octets);
  if (octets.length !== 16) return '';
  if (getU16(octets, 10) === MAPPED && octets.subarray(0, 10).every((octet) => octet === 0))
    return formatIpv4(octets, 12);
  return formatIpv6(octets);
}

/** The octets of an address; none for empty text. @throws RangeError for an invalid address. */
export function addressBytes(text: string): Uint8Array {
  if (text === '') return NOTHING;
  if (text.includes(':')) return parseIpv6(text);
  const octets = new Uint8Array(4);
  setU32(octets, 0, parseIpv4(text));
  return octets;
}

/** Rejects a length above the limit. @throws WireError */
export function bounded(length: number, limit: number, what: string, offset = 0): number {
  if (length > limit) throw malformed(PROTOCOL, offset, `${what}: ${length}, more than the limit of ${limit}`);
  return length;
}

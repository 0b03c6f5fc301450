/**
 * The part of Protocol Buffers version 3 that NetworkDB's messages use: makes a codec from a table of fields.
 *
 *     message = *( tag value )              tag = varint( number << 3 | wire type )
 *     wire type 0: varint   1: 8 octets     2: length (varint), octets     5: 4 octets
 *
 * Like every protobuf decoder, `decode` accepts fields in any order, the last of repeated values, and varints with more
 * octets than necessary. So `encode(decode(b))` is the message in its canonical form (fields in ascending order,
 * without zero and empty fields), which is what Docker sends, but not always `b`. Fields that are not in the table are
 * kept in `unknown`, in their order, and written after the others.
 */
import { decodeText, encodeText, malformed, room, truncated, uint, unsupported } from '../../wire/index.js';

const VARINT = 0;
const EIGHT = 1;
const LENGTH = 2;
const GROUP = 3;
const GROUP_END = 4;
const FOUR = 5;

/** The highest 64-bit number that a value can represent exactly: 2^53 - 1. */
const MAX_UINT64 = Number.MAX_SAFE_INTEGER;

/** The type of a field's value; `list` fields are arrays. */
export type Kind = 'uint64' | 'uint32' | 'int32' | 'bool' | 'text' | 'bytes';

/** One field of a message. */
export interface Field {
  /** From 1 to 15, so that a tag takes one octet. */
  number: number;
  name: string;
  /** For a nested message: its codec. */
  kind: Kind | MessageCodec<object>;
  /** For a repeated field: the maximum number of values; more are `unsupported`. */
  list?: number;
}

/** Fields of every decoded message. */
export interface Extensible {
  /** Fields that this codec does not know, with their tags; absent if there are none. */
  unknown?: Uint8Array;
}

/** Decodes and encodes one type of message. `V` has all fields; for the encoder, absent ones are zero or empty. */
export interface MessageCodec<V extends object> {
  /**
   * Decodes `bytes[offset, end)`. Fields of type `bytes` are views into it.
   * @throws WireError and nothing else.
   */
  decode(bytes: Uint8Array, offset?: number, end?: number): V;
  /** @throws RangeError if the value of a field is out of range. */
  encode(value: Partial<V>): Uint8Array;
  /** Encodes into the caller's buffer and returns the end. @throws RangeError if the message does not fit. */
  encodeInto(value: Partial<V>, bytes: Uint8Array, offset: number): number;
}

/** Length of a varint. Negative numbers take ten octets, as 64 bits in two's complement. */
export function varintLength(value: number): number {
  if (value < 0) return 10;
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Writes a number and returns the end. */
export function writeVarint(value: number, bytes: Uint8Array, offset: number): number {
  let at = offset;
  if (value < 0) {
    // Only 32-bit values can be negative: four octets with 28 bits, then ones.
    for (let i = 0; i < 4; i++) bytes[at++] = ((value >> (7 * i)) & 127) | 128;
    bytes[at++] = ((value >> 28) & 127) | 128;
    for (let i = 0; i < 4; i++) bytes[at++] = 255;
    bytes[at++] = 1;
    return at;
  }
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes[at++] = (rest % 128) | 128;
  bytes[at++] = rest;
  return at;
}

/** Reads the fields of a message in turn. */
class Reader {
  at: number;
  /** The halves of the last varint. */
  low = 0;
  high = 0;
  readonly #protocol: string;
  readonly #bytes: Uint8Array;
  readonly #end: number;

  constructor(protocol: string, bytes: Uint8Array, offset: number, end: number) {
    this.#protocol = protocol;
    this.#bytes = bytes;
    this.at = offset;
    this.#end = end;
  }

  varint(): void {
    const start = this.at;
    let low = 0;
    let high = 0;
    for (let shift = 0; ; shift += 7) {
      if (this.at >= this.#end) throw truncated(this.#protocol, start, this.at - start + 1, this.#end);
      const octet = this.#bytes[this.at++]!;
      if (shift === 63 && octet > 1) throw malformed(this.#protocol, start, 'the number has more than 64 bits');
      const bits = octet & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (octet < 128) break;
    }
    this.low = low;
    this.high = high >>> 0;
  }

  /** Reads a length and skips as many octets. @returns where they start. */
  block(): number {
    const start = this.at;
    this.varint();
    const length = this.high * 0x1_0000_0000 + (this.low >>> 0);
    this.skip(start, length);
    return this.at - length;
  }

  /** Skips `length` octets of a field that started at `start`. */
  skip(start: number, length: number): void {
    if (length > this.#end - this.at) throw truncated(this.#protocol, start, this.at - start + length, this.#end);
    this.at += length;
  }

  /** Skips an unknown field. */
  pass(start: number, type: number): void {
    if (type === VARINT) this.varint();
    else if (type === EIGHT) this.skip(start, 8);
    else if (type === LENGTH) this.block();
    else if (type === FOUR) this.skip(start, 4);
    else if (type === GROUP || type === GROUP_END)
      throw unsupported(this.#protocol, start, 'a group, which protobuf version 3 does not have');
    else throw malformed(this.#protocol, start, `unknown wire type ${type}`);
  }
}

/** The encoded form of a field: a number, octets, or a message that is still to be written. */
type Part = number | Uint8Array;

const EMPTY = new Uint8Array(0);

/** Makes the codec of a message from its fields, which must be in ascending order of their numbers. */
export function message<V extends object>(protocol: string, fields: readonly Field[]): MessageCodec<V> {
  const byNumber: (Field | undefined)[] = [];
  for (const field of fields) byNumber[field.number] = field;
  /** The zero values of all fields. */
  const blank = (): Record<string, unknown> => {
    const value: Record<string, unknown> = {};
    for (const { name, kind, list } of fields)
      value[name] =
        list !== undefined ? [] : kind === 'bytes' ? EMPTY : kind === 'text' ? '' : kind === 'bool' ? false : 0;
    return value;
  };

  /** By field, the last text. The names of messages in a row are often the same: to compare them takes no memory. */
  const texts: (string | undefined)[] = [];

  function readText(bytes: Uint8Array, number: number, from: number, to: number): string {
    const last = texts[number];
    if (last !== undefined && isAscii(last, bytes, from, to)) return last;
    return (texts[number] = decodeText(bytes, from, to, true));
  }

  function read(bytes: Uint8Array, field: Field, reader: Reader, start: number, type: number): unknown {
    const { kind } = field;
    const wanted = kind === 'bytes' || kind === 'text' || typeof kind === 'object' ? LENGTH : VARINT;
    if (type !== wanted) throw malformed(protocol, start, `${field.name} has wire type ${type}, not ${wanted}`);
    if (wanted === LENGTH) {
      const from = reader.block();
      if (kind === 'text') return readText(bytes, field.number, from, reader.at);
      if (kind === 'bytes') return bytes.subarray(from, reader.at);
      return (kind as MessageCodec<object>).decode(bytes, from, reader.at);
    }
    reader.varint();
    if (kind === 'bool') return reader.low !== 0 || reader.high !== 0;
    if (kind === 'int32') return reader.low;
    if (kind === 'uint32') return reader.low >>> 0;
    if (reader.high >= 0x20_0000) throw unsupported(protocol, start, `${field.name} is above 2^53 - 1`);
    return reader.high * 0x1_0000_0000 + (reader.low >>> 0);
  }

  function decode(bytes: Uint8Array, offset = 0, end = bytes.length): V {
    const reader = new Reader(protocol, bytes, offset, end);
    const value = blank();
    let unknown: number[] | null = null;
    while (reader.at < end) {
      const start = reader.at;
      reader.varint();
      if (reader.high !== 0 || reader.low >>> 3 === 0)
        throw malformed(protocol, start, 'the field number is not from 1 to 2^29 - 1');
      const type = reader.low & 7;
      const field = byNumber[reader.low >>> 3];
      if (field === undefined) {
        reader.pass(start, type);
        (unknown ??= []).push(start, reader.at);
        continue;
      }
      const one = read(bytes, field, reader, start, type);
      if (field.list === undefined) value[field.name] = one;
      else {
        const list = value[field.name] as unknown[];
        if (list.length >= field.list)
          throw unsupported(protocol, start, `${field.name} has more than ${field.list} members`);
        list.push(one);
      }
    }
    if (unknown !== null) value['unknown'] = gather(bytes, unknown);
    return value as V;
  }

  /** Returns what to write for one value of a field; `null` for nothing. */
  function part(field: Field, value: unknown): Part {
    const { kind, name } = field;
    if (typeof kind === 'object') return kind.encode(value as object);
    if (kind === 'bytes') return value as Uint8Array;
    if (kind === 'text') return encodeText(value as string, true);
    if (kind === 'bool') return value === true ? 1 : 0;
    if (kind === 'int32') {
      const number = value as number;
      if ((number | 0) !== number) throw new RangeError(`${protocol}.${name} must be a 32-bit integer, not ${number}`);
      return number;
    }
    return uint(`${protocol}.${name}`, value as number, kind === 'uint32' ? 0xffff_ffff : MAX_UINT64);
  }

  /** Returns the fields to write, alternately a number and a part, and their length. */
  function parts(value: Partial<V>): { list: Part[]; length: number } {
    const list: Part[] = [];
    let length = 0;
    const add = (number: number, one: Part): void => {
      list.push(number, one);
      length += 1 + (typeof one === 'number' ? varintLength(one) : varintLength(one.length) + one.length);
    };
    for (const field of fields) {
      const held = (value as Record<string, unknown>)[field.name];
      if (held === undefined) continue;
      if (field.list !== undefined) {
        const items = held as readonly unknown[];
        uint(`${protocol}.${field.name} members`, items.length, field.list);
        for (const one of items) add(field.number, part(field, one));
        continue;
      }
      const one = part(field, held);
      if (typeof one === 'number' ? one !== 0 : one.length > 0) add(field.number, one);
    }
    return { list, length: length + ((value as Extensible).unknown?.length ?? 0) };
  }

  function write(list: readonly Part[], unknown: Uint8Array | undefined, bytes: Uint8Array, offset: number): void {
    let at = offset;
    for (let i = 0; i < list.length; i += 2) {
      const number = list[i] as number;
      const one = list[i + 1]!;
      if (typeof one === 'number') {
        bytes[at++] = (number << 3) | VARINT;
        at = writeVarint(one, bytes, at);
      } else {
        bytes[at++] = (number << 3) | LENGTH;
        at = writeVarint(one.length, bytes, at);
        bytes.set(one, at);
        at += one.length;
      }
    }
    if (unknown !== undefined) bytes.set(unknown, at);
  }

  return {
    decode,
    encode(value) {
      const { list, length } = parts(value);
      const bytes = new Uint8Array(length);
      write(list, (value as Extensible).unknown, bytes, 0);
      return bytes;
    },
    encodeInto(value, bytes, offset) {
      const { list, length } = parts(value);
      const end = room(protocol, bytes, offset, length);
      write(list, (value as Extensible).unknown, bytes, offset);
      return end;
    },
  };
}

/**
 * Visits the fields of a message without decoding them, with the start and the end of each value (for a number, of its
 * varint). So a caller can read a message with very many elements a few at a time.
 * @throws WireError
 */
export function* fieldsOf(
  protocol: string,
  bytes: Uint8Array,
  offset = 0,
  end = bytes.length,
): Generator<[number: number, from: number, to: number], void> {
  const reader = new Reader(protocol, bytes, offset, end);
  while (reader.at < end) {
    const start = reader.at;
    reader.varint();
    if (reader.high !== 0 || reader.low >>> 3 === 0)
      throw malformed(protocol, start, 'the field number is not from 1 to 2^29 - 1');
    const type = reader.low & 7;
    const number = reader.low >>> 3;
    let from = reader.at;
    if (type === LENGTH) from = reader.block();
    else reader.pass(start, type);
    yield [number, from, reader.at];
  }
}

/** Whether octets are a text of ASCII. */
function isAscii(text: string, bytes: Uint8Array, from: number, to: number): boolean {
  if (text.length !== to - from) return false;
  for (let i = 0; i < text.length; i++) {
    const octet = bytes[from + i]!;
    if (octet >= 0x80 || octet !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** Concatenates the octets of all ranges. */
function gather(bytes: Uint8Array, ranges: readonly number[]): Uint8Array {
  let length = 0;
  for (let i = 0; i < ranges.length; i += 2) length += ranges[i + 1]! - ranges[i]!;
  const all = new Uint8Array(length);
  for (let i = 0, at = 0; i < ranges.length; i += 2) {
    all.set(bytes.subarray(ranges[i]!, ranges[i + 1]!), at);
    at += ranges[i + 1]! - ranges[i]!;
  }
  return all;
}

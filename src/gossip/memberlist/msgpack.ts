/**
 * The msgpack that memberlist writes: the old specification, in which text and bytes share one family.
 *
 *     fixmap    1000nnnn                  nil    c0           u8   cc + 1
 *     map16     de + n, 2 octets          false  c2           u16  cd + 2
 *     raw       101nnnnn + n octets       true   c3           u32  ce + 4
 *     raw16     da + n, 2 octets + n octets                   u64  cf + 8
 *     raw32     db + n, 4 octets + n octets                   small numbers 0nnnnnnn
 *
 * The writer uses the shortest form. The reader accepts what peers accept: numbers of any length; str8 (d9); bin (c4,
 * c5, c6) for bytes but not for text; nil for any zero; and any value in unknown fields.
 */
import {
  decodeText,
  encodeText,
  getU16,
  getU32,
  malformed,
  setU16,
  setU32,
  truncated,
  type WireError,
} from '../../wire/index.js';

const PROTOCOL = 'memberlist';
/** Maximum nesting of a skipped value. */
const MAX_DEPTH = 16;

/** Writes into a growing buffer. */
export class Writer {
  #bytes: Uint8Array;
  #length = 0;

  constructor(room = 128) {
    this.#bytes = new Uint8Array(room);
  }

  /** The octets written so far. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  octet(value: number): void {
    const at = this.#room(1); // may replace the buffer
    this.#bytes[at] = value;
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** A map of up to 15 fields. */
  map(fields: number): void {
    this.octet(0x80 | fields);
  }

  bool(value: boolean): void {
    this.octet(value ? 0xc3 : 0xc2);
  }

  nil(): void {
    this.octet(0xc0);
  }

  /** An integer from 0 to 2^32 - 1. */
  uint(value: number): void {
    if (value < 0x80) this.octet(value);
    else if (value < 0x100) {
      this.octet(0xcc);
      this.octet(value);
    } else if (value < 0x1_0000) {
      this.octet(0xcd);
      this.#u16(value);
    } else {
      this.octet(0xce);
      this.#u32(value);
    }
  }

  raw(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length < 32) this.octet(0xa0 | length);
    else if (length < 0x1_0000) {
      this.octet(0xda);
      this.#u16(length);
    } else {
      this.octet(0xdb);
      this.#u32(length);
    }
    this.bytes(bytes);
  }

  text(text: string): void {
    const { length } = text;
    if (length >= 32) return this.raw(encodeText(text, true));
    const at = this.#room(1 + length);
    const bytes = this.#bytes;
    bytes[at] = 0xa0 | length;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) {
        this.#length = at;
        return this.raw(encodeText(text, true));
      }
      bytes[at + 1 + i] = code;
    }
  }

  #u16(value: number): void {
    const at = this.#room(2);
    setU16(this.#bytes, at, value);
  }

  #u32(value: number): void {
    const at = this.#room(4);
    setU32(this.#bytes, at, value);
  }

  /** Reserves octets and returns their offset. */
  #room(octets: number): number {
    const at = this.#length;
    this.#length += octets;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return at;
  }
}

/** Reads `[at, end)`. Every method throws `WireError`: `truncated` if more bytes may help, otherwise `malformed`. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly end: number;
  /** The offset of the next value. */
  at: number;
  /** How many more values may be skipped. */
  skips = Infinity;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  octet(): number {
    return this.bytes[this.#take(1)]!;
  }

  /** Reads a map's header and returns its number of fields. */
  map(): number {
    const at = this.at;
    const first = this.octet();
    if (first >= 0x80 && first < 0x90) return first & 15;
    if (first === 0xde) return getU16(this.bytes, this.#take(2));
    if (first === 0xdf) return getU32(this.bytes, this.#take(4));
    if (first === 0xc0) return 0;
    throw this.#wrong(at, 'a map');
  }

  /** A number from 0 to `max`; nil is 0. */
  uint(max: number): number {
    const at = this.at;
    const first = this.octet();
    const value = first < 0x80 ? first : first === 0xc0 ? 0 : this.#number(first);
    if (value >= 0 && value <= max) return value;
    throw this.#wrong(at, `a number from 0 to ${max}`);
  }

  /** The number after `cc` to `cf` and `d0` to `d3`; -1 if it is negative, too large, or not a number. */
  #number(first: number): number {
    const { bytes } = this;
    if (first === 0xcc) return this.octet();
    if (first === 0xcd) return getU16(bytes, this.#take(2));
    if (first === 0xce) return getU32(bytes, this.#take(4));
    if (first === 0xd0) return below(this.octet(), 0x80);
    if (first === 0xd1) return below(getU16(bytes, this.#take(2)), 0x8000);
    if (first === 0xd2) return below(getU32(bytes, this.#take(4)), 0x8000_0000);
    if (first === 0xcf || first === 0xd3) {
      const at = this.#take(8);
      return getU32(bytes, at) === 0 ? getU32(bytes, at + 4) : -1;
    }
    return -1;
  }

  /** nil is false. */
  bool(): boolean {
    const at = this.at;
    const first = this.octet();
    if (first === 0xc3) return true;
    if (first === 0xc2 || first === 0xc0) return false;
    throw this.#wrong(at, 'true or false');
  }

  /** If these octets are next, skips them and returns true. */
  passes(octets: Uint8Array): boolean {
    const { at, bytes } = this;
    const { length } = octets;
    if (length > this.end - at) return false;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== octets[i]) return false;
    this.at = at + length;
    return true;
  }

  /** Octets, as a view; nil is empty. */
  raw(): Uint8Array {
    const from = this.#octets(true);
    return this.bytes.subarray(from, this.at);
  }

  /** Text; octets that are not UTF-8 are preserved. nil is empty. */
  text(): string {
    const from = this.#octets(false);
    return decodeText(this.bytes, from, this.at, true);
  }

  /** Skips a byte string and returns the offset of its contents. */
  #octets(bin: boolean): number {
    const at = this.at;
    const first = this.octet();
    let length: number;
    if (first >= 0xa0 && first < 0xc0) length = first & 31;
    else if (first === 0xc0) length = 0;
    else if (first === 0xd9 || (bin && first === 0xc4)) length = this.octet();
    else if (first === 0xda || (bin && first === 0xc5)) length = getU16(this.bytes, this.#take(2));
    else if (first === 0xdb || (bin && first === 0xc6)) length = getU32(this.bytes, this.#take(4));
    else throw this.#wrong(at, bin ? 'bytes' : 'a string');
    return this.#take(length);
  }

  /** Skips a value of any type. */
  skip(depth = 0): void {
    const at = this.at;
    if (this.skips-- <= 0) throw malformed(PROTOCOL, at, 'too many values in unknown fields');
    const first = this.octet();
    if (first < 0x80 || first >= 0xe0) return;
    if (first < 0x90) return this.#skipAll((first & 15) * 2, depth);
    if (first < 0xa0) return this.#skipAll(first & 15, depth);
    if (first < 0xc0) return void this.#take(first & 31);
    const size = SIZES[first - 0xc0]!;
    if (size < 0) throw this.#wrong(at, 'a value');
    if (first >= 0xdc) {
      const count = first & 1 ? getU32(this.bytes, this.#take(4)) : getU16(this.bytes, this.#take(2));
      return this.#skipAll(first >= 0xde ? count * 2 : count, depth);
    }
    if (first >= 0xd9 || (first >= 0xc4 && first <= 0xc9)) {
      // A length of 1, 2 or 4 octets; `ext` has one more octet, its type.
      const length = size === 1 ? this.octet() : this.#wide(size);
      this.#take(length + (first >= 0xc7 && first <= 0xc9 ? 1 : 0));
    } else this.#take(size);
  }

  #skipAll(count: number, depth: number): void {
    if (depth >= MAX_DEPTH) throw malformed(PROTOCOL, this.at, `a value is nested more than ${MAX_DEPTH} levels deep`);
    for (let i = 0; i < count; i++) this.skip(depth + 1);
  }

  #wide(size: number): number {
    const at = this.#take(size);
    return size === 2 ? getU16(this.bytes, at) : getU32(this.bytes, at);
  }

  #take(octets: number): number {
    const { at } = this;
    if (octets > this.end - at) throw truncated(PROTOCOL, at, octets, this.end);
    this.at = at + octets;
    return at;
  }

  #wrong(at: number, wanted: string): WireError {
    return malformed(PROTOCOL, at, `expected ${wanted}, found 0x${this.bytes[at]!.toString(16)}`);
  }
}

/** Octets after each of `c0` to `df`: of the value, or of its length field; -1 for unassigned types. */
const SIZES: readonly number[] = [
  ...[0, -1, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4],
];

function below(value: number, limit: number): number {
  return value < limit ? value : -1;
}

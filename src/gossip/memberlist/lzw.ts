/**
 * LZW as in GIF: codes of 9 to 12 bits, least significant bit first. The output equals that of peers, octet for octet.
 *
 * Code 256 clears the table, 257 ends the text; 258 and up stand for earlier sequences. Codes grow by a bit when the
 * next free code does not fit. When that code is 4095, the table is cleared.
 */
import { malformed, truncated } from '../../wire/index.js';

const CLEAR = 256;
const END = 257;
const FIRST_WIDTH = 9;
const LAST_WIDTH = 12;
const FULL = (1 << LAST_WIDTH) - 1;
const NONE = -1;

// The encoder's hash table. A key is an age, a code and the next octet in one word; its value is the code of the two
// together. Entries of another age do not count: a new age clears the table, because filling it with zeros takes longer
// than compressing a datagram. The tables are allocated once for the same reason.
const SLOTS = 1 << 14;
const KEY_BITS = LAST_WIDTH + 8;
const AGES = 1 << (31 - KEY_BITS);
const keys = new Int32Array(SLOTS);
const codes = new Uint16Array(SLOTS);
let age = 0;

/** Clears the table. Age 0 marks slots that were never used. */
function nextAge(): void {
  if (++age < AGES) return;
  keys.fill(0);
  age = 1;
}

/**
 * The decoder's tables: for each code the code without its last octet, the last octet, the first octet, and the length.
 * Each entry is written before it is read, so nothing of an earlier text leaks.
 */
interface Tables {
  before: Uint16Array;
  tail: Uint8Array;
  head: Uint8Array;
  lengths: Uint16Array;
}

function newTables(): Tables {
  const tail = new Uint8Array(FULL + 1);
  const head = new Uint8Array(FULL + 1);
  const lengths = new Uint16Array(FULL + 1);
  for (let code = 0; code < CLEAR; code++) {
    tail[code] = head[code] = code;
    lengths[code] = 1;
  }
  return { before: new Uint16Array(FULL + 1), tail, head, lengths };
}

/** For texts that are decompressed in one step. */
const shared = newTables();

/** Output buffer for short texts. */
const scratch = new Uint8Array(4096);

export function compress(bytes: Uint8Array): Uint8Array {
  // A code has at most 12 bits and replaces at least one octet.
  const room = Math.ceil(((bytes.length + 3) * 3) / 2 + bytes.length / 1024) + 8;
  if (room > scratch.length) {
    const out = new Uint8Array(room);
    return out.subarray(0, compressInto(bytes, out));
  }
  return scratch.slice(0, compressInto(bytes, scratch));
}

/** Compresses if that makes the text shorter; otherwise returns `null`. */
export function compressShorter(bytes: Uint8Array): Uint8Array | null {
  if (bytes.length * 2 + 16 > scratch.length) return compress(bytes);
  const length = compressInto(bytes, scratch);
  return length < bytes.length ? scratch.slice(0, length) : null;
}

function compressInto(bytes: Uint8Array, out: Uint8Array): number {
  let length = 0;
  let bits = 0;
  let held = 0;
  let width = FIRST_WIDTH;
  let last = END;
  const emit = (code: number): void => {
    bits |= code << held;
    held += width;
    while (held >= 8) {
      out[length++] = bits;
      bits >>>= 8;
      held -= 8;
    }
  };
  /**
   * Called after each code: assigns the next free code and widens codes or clears the table. Returns whether it cleared
   * the table.
   */
  const grow = (): boolean => {
    last++;
    if (last === 1 << width) width++;
    if (last !== FULL) return false;
    emit(CLEAR);
    width = FIRST_WIDTH;
    last = END;
    nextAge();
    return true;
  };
  nextAge();
  emit(CLEAR);
  if (bytes.length > 0) {
    let code = bytes[0]!;
    for (let i = 1; i < bytes.length; i++) {
      const octet = bytes[i]!;
      const pair = (code << 8) | octet;
      const key = (age << KEY_BITS) | pair;
      let slot = ((pair >>> 12) ^ pair) & (SLOTS - 1);
      while (keys[slot]! >>> KEY_BITS === age && keys[slot] !== key) slot = (slot + 1) & (SLOTS - 1);
      if (keys[slot] === key) {
        code = codes[slot]!;
        continue;
      }
      emit(code);
      code = octet;
      if (grow()) continue;
      keys[slot] = key;
      codes[slot] = last;
    }
    emit(code);
    grow();
  }
  emit(END);
  if (held > 0) out[length++] = bits;
  return length;
}

/**
 * Decompresses. Ignores everything after the end code.
 * @param limit Maximum length of the output, in octets.
 * @throws WireError `truncated` if there is no end code; `malformed` for an undefined code or if the output exceeds the
 *   limit.
 */
export function decompress(bytes: Uint8Array, limit: number): Uint8Array {
  const one = new Decompressor(bytes, limit, shared);
  one.step(Infinity);
  return one.output();
}

/** Decompresses in steps, so that a long text does not hold the caller. `bytes` must not change until the end. */
export class Decompressor {
  readonly #bytes: Uint8Array;
  readonly #limit: number;
  readonly #tables: Tables;
  #out: Uint8Array;
  #length = 0;
  #at = 0;
  #bits = 0;
  #held = 0;
  #width = FIRST_WIDTH;
  #next = END;
  #previous = NONE;

  /** @param limit Maximum length of the output, in octets. */
  constructor(bytes: Uint8Array, limit: number, tables = newTables()) {
    this.#bytes = bytes;
    this.#limit = limit;
    this.#tables = tables;
    this.#out = new Uint8Array(Math.min(limit, Math.max(256, bytes.length * 4)));
  }

  /** The octets so far. */
  output(): Uint8Array {
    return this.#out.subarray(0, this.#length);
  }

  /** Octets of memory that the output takes. */
  get kept(): number {
    return this.#out.length;
  }

  /**
   * Produces `octets` more octets, or a few more than that. @returns whether the end is reached.
   * @throws WireError as `decompress`.
   */
  step(octets: number): boolean {
    const bytes = this.#bytes;
    const limit = this.#limit;
    const { before, tail, head, lengths } = this.#tables;
    let out = this.#out;
    let length = this.#length;
    let at = this.#at;
    let bits = this.#bits;
    let held = this.#held;
    let width = this.#width;
    let next = this.#next;
    let previous = this.#previous;
    const enough = length + octets;
    // A code that clears the table makes no output, but the step must end.
    const read = at + octets;
    let ended = false;
    while (length < enough && at < read) {
      while (held < width) {
        if (at === bytes.length) throw truncated('lzw', 0, bytes.length + 1, bytes.length);
        bits |= bytes[at++]! << held;
        held += 8;
      }
      const code = bits & ((1 << width) - 1);
      bits >>>= width;
      held -= width;
      if (code === END) {
        ended = true;
        break;
      }
      if (code === CLEAR) {
        width = FIRST_WIDTH;
        next = END;
        previous = NONE;
        continue;
      }
      if (code > next) throw malformed('lzw', at - 1, `code ${code} is above ${next}, the highest code so far`);
      if (previous !== NONE) {
        // The code may be the one being defined: the previous sequence plus its first octet.
        before[next] = previous;
        head[next] = head[previous]!;
        tail[next] = code === next ? head[previous]! : head[code]!;
        lengths[next] = lengths[previous]! + 1;
      }
      const end = length + lengths[code]!;
      if (end > limit) throw malformed('lzw', at - 1, `the output is longer than the limit of ${limit} octets`);
      if (end > out.length) {
        const grown = new Uint8Array(Math.min(limit, Math.max(end, out.length * 2)));
        grown.set(out);
        out = grown;
      }
      for (let i = end - 1, part = code; i >= length; i--, part = before[part]!) out[i] = tail[part]!;
      length = end;
      previous = code;
      next++;
      if (next < 1 << width) continue;
      if (width < LAST_WIDTH) width++;
      else {
        // All codes are assigned: add nothing until the table is cleared.
        next = FULL;
        previous = NONE;
      }
    }
    this.#out = out;
    this.#length = length;
    this.#at = at;
    this.#bits = bits;
    this.#held = held;
    this.#width = width;
    this.#next = next;
    this.#previous = previous;
    return ended;
  }
}

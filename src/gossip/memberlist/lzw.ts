/**
 * LZW as GIF has it, codes of 9 to 12 bits from the lowest bit on, whose output is octet for octet that of peers.
 *
 * 256 empties the table, 257 ends; 258 and up stand for what was seen. Codes grow by a bit when the next free code no
 * longer fits, and when that is 4095 the table is emptied.
 */
import { malformed, truncated } from '../../wire/index.js';

const CLEAR = 256;
const END = 257;
const FIRST_WIDTH = 9;
const LAST_WIDTH = 12;
const FULL = (1 << LAST_WIDTH) - 1;
const NONE = -1;

// The encoder's table: a slot is that of an age, a code and the next octet, all in one word, and of the code of the two
// together. What is of another age is not there: the table is emptied by beginning an age, since to fill it anew takes
// longer than to compress a datagram. Tables are here since to make them takes longer still.
const SLOTS = 1 << 14;
const KEY_BITS = LAST_WIDTH + 8;
const AGES = 1 << (31 - KEY_BITS);
const keys = new Int32Array(SLOTS);
const codes = new Uint16Array(SLOTS);
let age = 0;

/** Empties the table. No slot is of age 0 but those that were never used. */
function nextAge(): void {
  if (++age < AGES) return;
  keys.fill(0);
  age = 1;
}

// The decoder's: of each code the code before its last octet, the last octet, the first one, and the length. A code is
// written before it is read, so that nothing of an earlier text shows.
const before = new Uint16Array(FULL + 1);
const tail = new Uint8Array(FULL + 1);
const head = new Uint8Array(FULL + 1);
const lengths = new Uint16Array(FULL + 1);
for (let code = 0; code < CLEAR; code++) {
  tail[code] = head[code] = code;
  lengths[code] = 1;
}

/** Where what is short is compressed to. */
const scratch = new Uint8Array(4096);

/** Compresses. */
export function compress(bytes: Uint8Array): Uint8Array {
  // A code has at most 12 bits, and takes the place of at least one octet.
  const room = Math.ceil(((bytes.length + 3) * 3) / 2 + bytes.length / 1024) + 8;
  if (room > scratch.length) {
    const out = new Uint8Array(room);
    return out.subarray(0, compressInto(bytes, out));
  }
  return scratch.slice(0, compressInto(bytes, scratch));
}

/** Compresses what gets shorter by it; `null` for the rest. */
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
  /** After a code: the next free one, wider codes or an empty table; says whether the table was emptied. */
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
 * Decompresses. What follows the end is not looked at.
 * @param limit Octets at most that may come out.
 * @throws WireError `truncated` where there is no end, `malformed` for a code that stands for nothing or too much coming out.
 */
export function decompress(bytes: Uint8Array, limit: number): Uint8Array {
  let out = new Uint8Array(Math.min(limit, Math.max(256, bytes.length * 4)));
  let length = 0;
  let at = 0;
  let bits = 0;
  let held = 0;
  let width = FIRST_WIDTH;
  let next = END;
  let previous = NONE;
  for (;;) {
    while (held < width) {
      if (at === bytes.length) throw truncated('lzw', 0, bytes.length + 1, bytes.length);
      bits |= bytes[at++]! << held;
      held += 8;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    held -= width;
    if (code === END) return out.subarray(0, length);
    if (code === CLEAR) {
      width = FIRST_WIDTH;
      next = END;
      previous = NONE;
      continue;
    }
    if (code > next) throw malformed('lzw', at - 1, `code ${code}, and the highest so far is ${next}`);
    if (previous !== NONE) {
      // The code itself may be the new one: what was before, and its first octet again.
      before[next] = previous;
      head[next] = head[previous]!;
      tail[next] = code === next ? head[previous]! : head[code]!;
      lengths[next] = lengths[previous]! + 1;
    }
    const end = length + lengths[code]!;
    if (end > limit) throw malformed('lzw', at - 1, `more than ${limit} octets come out`);
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
      // All codes are taken: nothing more is noted until the table is emptied.
      next = FULL;
      previous = NONE;
    }
  }
}

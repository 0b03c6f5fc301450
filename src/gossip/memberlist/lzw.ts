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

// The encoder's table: code and next octet in one word, and the code of the two together. Filled anew by each call; it
// is here since making 96 KiB anew takes longer than compressing a datagram.
const SLOTS = 1 << 14;
const keys = new Int32Array(SLOTS);
const codes = new Uint16Array(SLOTS);

/** Compresses. */
export function compress(bytes: Uint8Array): Uint8Array {
  // A code has at most 12 bits, and takes the place of at least one octet.
  const out = new Uint8Array(Math.ceil(((bytes.length + 3) * 3) / 2 + bytes.length / 1024) + 8);
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
    keys.fill(NONE);
    return true;
  };
  keys.fill(NONE);
  emit(CLEAR);
  if (bytes.length > 0) {
    let code = bytes[0]!;
    for (let i = 1; i < bytes.length; i++) {
      const octet = bytes[i]!;
      const key = (code << 8) | octet;
      let slot = ((key >>> 12) ^ key) & (SLOTS - 1);
      while (keys[slot] !== NONE && keys[slot] !== key) slot = (slot + 1) & (SLOTS - 1);
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
  return out.subarray(0, length);
}

/**
 * Decompresses. What follows the end is not looked at.
 * @param limit Octets at most that may come out.
 * @throws WireError `truncated` where there is no end, `malformed` for a code that stands for nothing or too much coming out.
 */
export function decompress(bytes: Uint8Array, limit: number): Uint8Array {
  // Of each code: the code before its last octet, the last octet, the first one, and the length.
  const before = new Uint16Array(FULL + 1);
  const tail = new Uint8Array(FULL + 1);
  const head = new Uint8Array(FULL + 1);
  const lengths = new Uint16Array(FULL + 1);
  for (let code = 0; code < CLEAR; code++) {
    tail[code] = head[code] = code;
    lengths[code] = 1;
  }
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

/**
 * Octets as text with one character for each, U+0000 to U+00FF. V8 keeps such a string in one object of as many octets;
 * a small `Uint8Array` takes some 240 more, for its buffer.
 */
export type Packed = string & { readonly packed: unique symbol };

/** Octets in one call of `fromCharCode`, whose arguments are on the stack. */
const PIECE = 4096;

export function pack(bytes: Uint8Array): Packed {
  let text = '';
  for (let at = 0; at < bytes.length; at += PIECE)
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + PIECE) as unknown as number[]);
  return text as Packed;
}

export function unpack(text: Packed): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

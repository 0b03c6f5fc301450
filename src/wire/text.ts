/** UTF-8 (RFC 3629) without `TextEncoder` and `TextDecoder`, which are not part of the ECMAScript library. */

/**
 * An octet that is not UTF-8, plus this number, is a lone surrogate, U+DC80 to U+DCFF. It represents the octet in text that
 * must round-trip byte for byte, as Python's `surrogateescape` does.
 */
export const ESCAPE = 0xdc00;

/** Maximum number of octets per call of `String.fromCharCode`, which the size of the stack limits. */
const SHORT = 512;

/**
 * Encodes text; a lone surrogate becomes U+FFFD.
 * @param escaped Whether lone surrogates from U+DC80 to U+DCFF represent octets: see {@link ESCAPE}.
 */
export function encodeText(text: string, escaped = false): Uint8Array {
  const plain = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return encodeAny(text, escaped);
    plain[i] = code;
  }
  return plain;
}

function encodeAny(text: string, escaped: boolean): Uint8Array {
  const octets: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0)!;
    if (escaped && code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff) {
      octets.push(code - ESCAPE);
      continue;
    }
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
    if (code < 0x80) octets.push(code);
    else if (code < 0x800) octets.push(0xc0 | (code >>> 6), 0x80 | (code & 63));
    else if (code < 0x1_0000) octets.push(0xe0 | (code >>> 12), 0x80 | ((code >>> 6) & 63), 0x80 | (code & 63));
    else octets.push(0xf0 | (code >>> 18), 0x80 | ((code >>> 12) & 63), 0x80 | ((code >>> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(octets);
}

/**
 * Decodes `bytes[offset, end)`. Every octet that does not begin a well-formed sequence becomes U+FFFD, or, with
 * `escaped`, a lone surrogate that `encodeText` turns back into the octet: see {@link ESCAPE}.
 */
export function decodeText(bytes: Uint8Array, offset: number, end: number, escaped = false): string {
  let text = '';
  let i = offset;
  // One call for plain ASCII, such as names: appending one character at a time would build a chain of pieces.
  while (i < end && i - offset < SHORT && bytes[i]! < 0x80) i++;
  if (i > offset) text = String.fromCharCode.apply(null, bytes.subarray(offset, i) as unknown as number[]);
  while (i < end) {
    const first = bytes[i++]!;
    const more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    let code = more <= 0 ? first : first & (0x3f >>> more);
    let well = more >= 0 && i + more <= end;
    for (let k = 0; well && k < more; k++) {
      well = (bytes[i + k]! & 0xc0) === 0x80;
      code = (code << 6) | (bytes[i + k]! & 63);
    }
    // Three octets from 0x800, four from 0x10000 to 0x10ffff, no surrogates.
    if (well && more === 2) well = code >= 0x800 && (code < 0xd800 || code >= 0xe000);
    if (well && more === 3) well = code >= 0x1_0000 && code <= 0x10_ffff;
    text += well ? String.fromCodePoint(code) : escaped ? String.fromCharCode(ESCAPE + first) : '\ufffd';
    if (well) i += more;
  }
  return text;
}

/** Padding, pad length and next header, RFC 4303, sections 2.4 to 2.6: the end of what is encrypted. */

/** Bytes of pad length and next header. */
export const TRAILER_LENGTH = 2;
/** What is encrypted is a multiple of this (RFC 4303, section 2.4; AES-GCM itself needs none). */
const ALIGN = 4;

/** `readTrailer`: the padding is not 1, 2, 3, …, or longer than the packet. */
export const BAD_PADDING = -1;

/** Bytes of padding behind a payload. */
export function paddingOf(payload: number): number {
  return -(payload + TRAILER_LENGTH) & (ALIGN - 1);
}

/** The longest payload that, with its trailer, has at most `room` bytes. */
export function longestPayload(room: number): number {
  return room - (((room % ALIGN) + ALIGN) % ALIGN) - TRAILER_LENGTH;
}

/** Writes the trailer behind a payload that ends at `end`. @returns its own end. */
export function writeTrailer(bytes: Uint8Array, end: number, payload: number, nextHeader: number): number {
  const padding = paddingOf(payload);
  for (let i = 0; i < padding; i++) bytes[end + i] = i + 1;
  bytes[end + padding] = padding;
  bytes[end + padding + 1] = nextHeader;
  return end + padding + TRAILER_LENGTH;
}

/**
 * The end of the payload of decrypted bytes `[start, end)`, or `BAD_PADDING`. The receiver checks the padding (RFC 4303,
 * section 2.4). The next header is the last byte.
 */
export function payloadEnd(bytes: Uint8Array, start: number, end: number): number {
  const last = end - TRAILER_LENGTH;
  if (last < start) return BAD_PADDING;
  const padding = bytes[last]!;
  const stop = last - padding;
  if (stop < start) return BAD_PADDING;
  for (let i = 0; i < padding; i++) if (bytes[stop + i] !== i + 1) return BAD_PADDING;
  return stop;
}

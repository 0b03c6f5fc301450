/**
 * The options of IPv4 (RFC 791, section 3.1) and TCP (RFC 9293, section 3.2). Each begins with a kind octet: kind 0 ends
 * the list, kind 1 is a single octet, any other kind is followed by the length of the whole option and its data.
 */
import { uint } from './error.js';

/** Ends the list. */
export const OPTION_END = 0;
/** Fills a gap of one octet. */
export const OPTION_NOP = 1;

/** One option, byte for byte. */
export interface Option {
  kind: number;
  /** The data after kind and length. For {@link OPTION_END}, the padding up to the end of the area. */
  data: Uint8Array;
  /** Set if the length octet is missing, below 2, or beyond the area: `data` is then everything after the kind. */
  malformed?: true;
}

/** Reads all options in `bytes[offset, end)`. Malformed options are preserved. */
export function readOptions(bytes: Uint8Array, offset: number, end: number): Option[] {
  const options: Option[] = [];
  for (let at = offset; at < end;) {
    const kind = bytes[at]!;
    const left = end - at;
    // Past the buffer this reads 0. A length octet at `end` or beyond is then below 2, or more than is left.
    let length = kind > OPTION_NOP ? bytes[at + 1]! | 0 : kind || left;
    const malformed = kind > OPTION_NOP && (length < 2 || length > left);
    if (malformed) length = left;
    options.push({
      kind,
      data: bytes.subarray(at + (kind > OPTION_NOP && !malformed ? 2 : 1), at + length),
      ...(malformed && { malformed }),
    });
    at += length;
  }
  return options;
}

/** Whether an option has a length octet. */
function hasLength(option: Option): boolean {
  return option.kind > OPTION_NOP && option.malformed !== true;
}

/** Length of the options in octets, padded to whole 32-bit words. */
export function optionsLength(options: readonly Option[]): number {
  let length = 0;
  for (const option of options) length += (hasLength(option) ? 2 : 1) + option.data.length;
  return (length + 3) & ~3;
}

/**
 * Writes the options and pads with zeros to whole 32-bit words; returns the end. The caller has checked that they fit.
 * @param field the name for errors: `ipv4.options`.
 * @throws RangeError if a kind or a length does not fit its octet.
 */
export function writeOptions(field: string, options: readonly Option[], bytes: Uint8Array, offset: number): number {
  const end = offset + optionsLength(options);
  let at = offset;
  for (const option of options) {
    bytes[at++] = uint(`${field} kind`, option.kind, 0xff);
    if (hasLength(option)) bytes[at++] = uint(`${field} length`, 2 + option.data.length, 0xff);
    bytes.set(option.data, at);
    at += option.data.length;
  }
  bytes.fill(0, at, end);
  return end;
}

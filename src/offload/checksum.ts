import { UDP_CHECKSUM } from './sum.js';
import { finish, MALFORMED, setU16 } from '../wire/index.js';
import type { Sum } from './sum.js';

/**
 * Finishes the checksum of a frame `[frame, end)` whose virtio header says NEEDS_CSUM.
 * @param start The header's `checksumStart`.
 * @param field The header's `checksumOffset`.
 * @returns 0, or `MALFORMED` if the field is not inside the frame.
 */
export function finishChecksum(
  bytes: Uint8Array,
  sum: Sum,
  frame: number,
  end: number,
  start: number,
  field: number,
): number {
  const from = frame + start;
  if (from + field + 2 > end) return MALFORMED;
  // The field holds the sum of the pseudo-header, which is therefore included.
  const checksum = finish(sum(from, end - from, 0));
  setU16(bytes, from + field, checksum === 0 && field === UDP_CHECKSUM ? 0xffff : checksum);
  return 0;
}

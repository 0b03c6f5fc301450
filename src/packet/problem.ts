import { truncatedProblem, type WireProblem } from '../wire/index.js';

/**
 * A problem in words: `needs 20 bytes, has 12 (limited by ipv4.totalLength)`. `dissect` leaves `detail` empty if
 * `needed`, `available` and `limitedBy` say all, because the text takes as long as the rest of the record.
 */
export function problemText({ protocol, offset, needed, available, limitedBy, detail }: WireProblem): string {
  return detail || truncatedProblem(protocol, offset, needed, offset + available, limitedBy)!.detail;
}

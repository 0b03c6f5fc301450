/** What `check` answers instead of a length when a header is cut short by `end`. */
export const TRUNCATED = -1;
/** What `check` answers when a field contradicts the protocol, whatever follows. */
export const MALFORMED = -2;
/** What `check` answers when the bytes may be right but this codec does not read their kind. */
export const UNSUPPORTED = -3;

/** Why a codec did not accept its input. */
export type Reason = 'truncated' | 'malformed' | 'unsupported';

/** Where and why, without the `Error` around it: what `dissect` reports and `vtep read --json` prints. */
export interface WireProblem {
  /** The protocol whose header was being read, in lower case: `ipv4`. */
  protocol: string;
  reason: Reason;
  /** Position in `bytes` of the header for `truncated`, of the offending field otherwise. */
  offset: number;
  /** Bytes that were needed from the header's start (0 where the reason is not one of length). */
  needed: number;
  /** Bytes that there were from the header's start (0 where the reason is not one of length). */
  available: number;
  /** What set the end: `buffer`, or a length field, as `udp.length`; empty where the reason is not one of length. */
  limitedBy: string;
  /** The finding in words: `version is 6, not 4`. */
  detail: string;
}

/** The one error that a `decode` throws. */
export interface WireError extends WireProblem {}
export class WireError extends Error {
  constructor(problem: WireProblem) {
    super(`${problem.protocol}: ${problem.reason} at offset ${problem.offset}: ${problem.detail}`);
    this.name = 'WireError';
    Object.assign(this, problem);
  }
}

/** A `truncated` error: `needed` bytes from `offset` on, of which there are only those before `end`. */
export function truncated(
  protocol: string,
  offset: number,
  needed: number,
  end: number,
  limitedBy = 'buffer',
): WireError {
  const available = Math.max(0, end - offset);
  const detail = `needs ${needed} bytes, has ${available} (limited by ${limitedBy})`;
  return new WireError({ protocol, reason: 'truncated', offset, needed, available, limitedBy, detail });
}

function refused(protocol: string, reason: Reason, offset: number, detail: string): WireError {
  return new WireError({ protocol, reason, offset, needed: 0, available: 0, limitedBy: '', detail });
}

/** A `malformed` error about the field at `offset`. */
export function malformed(protocol: string, offset: number, detail: string): WireError {
  return refused(protocol, 'malformed', offset, detail);
}

/** An `unsupported` error about the field at `offset`. */
export function unsupported(protocol: string, offset: number, detail: string): WireError {
  return refused(protocol, 'unsupported', offset, detail);
}

/**
 * Returns `value` if it is a whole number from 0 to `max`.
 * @throws RangeError naming the field, the value and the bound.
 */
export function uint(field: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new RangeError(`${field} is to be a whole number from 0 to ${max}, not ${value}`);
  return value;
}

/**
 * Checks that an encoder's `length` bytes fit into `bytes` at `offset`, and returns where they end.
 * @throws RangeError naming the protocol and both lengths.
 */
export function room(protocol: string, bytes: Uint8Array, offset: number, length: number): number {
  const end = offset + length;
  if (!(offset >= 0) || end > bytes.length)
    throw new RangeError(`${protocol} needs ${length} bytes at offset ${offset} of a buffer of ${bytes.length}`);
  return end;
}

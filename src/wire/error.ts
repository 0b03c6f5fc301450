/** `check` returns this instead of a length where `end` cuts the header. */
export const TRUNCATED = -1;
/** `check` returns this where a field contradicts the protocol. */
export const MALFORMED = -2;
/** `check` returns this where the header may be right, but this codec does not support it. */
export const UNSUPPORTED = -3;

/** Why a codec rejected its input. */
export type Reason = 'truncated' | 'malformed' | 'unsupported';

/**
 * Why a header was not accepted, and where. A plain record: `diagnose` and `dissect` return it, and `vtep read --json`
 * prints it. It takes no stack trace, which costs 20 times as much as reading a whole packet.
 */
export interface WireProblem {
  /** The protocol whose header was being read, in lower case: `ipv4`. */
  protocol: string;
  reason: Reason;
  /** For `truncated`, the position of the header in `bytes`; otherwise the position of the offending field. */
  offset: number;
  /** For `truncated`, the bytes needed from the header's start; otherwise 0. */
  needed: number;
  /** For `truncated`, the bytes available from the header's start; otherwise 0. */
  available: number;
  /** For `truncated`, what sets the end: `buffer`, or a length field such as `udp.length`; otherwise empty. */
  limitedBy: string;
  /** The problem in words: `version is 6, not 4`. */
  detail: string;
}

/** The one error that `decode` throws: a {@link WireProblem} with a message and a stack. */
export interface WireError extends WireProblem {}
export class WireError extends Error {
  constructor(problem: WireProblem) {
    super(`${problem.protocol}: ${problem.reason} at offset ${problem.offset}: ${problem.detail}`);
    Object.assign(this, problem, { name: 'WireError' });
  }
}

/**
 * A problem of the field at `offset`, `malformed` unless another reason is given. One function with defaults for all reasons: it is
 * part of every bundle that has a `decode`.
 */
export function problemAt(
  protocol: string,
  offset: number,
  detail: string,
  reason: Reason = 'malformed',
  needed = 0,
  available = 0,
  limitedBy = '',
): WireProblem {
  return { protocol, reason, offset, needed, available, limitedBy, detail };
}

/**
 * A `truncated` problem where a header at `offset` needs more bytes, `needed`, than `end` leaves; else `null`.
 * @param limitedBy what set `end`; see {@link WireProblem.limitedBy}.
 */
export function truncatedProblem(
  protocol: string,
  offset: number,
  needed: number,
  end: number,
  limitedBy = 'buffer',
): WireProblem | null {
  const available = Math.max(0, end - offset);
  return needed <= available
    ? null
    : problemAt(
        protocol,
        offset,
        `needs ${needed} bytes, has ${available} (limited by ${limitedBy})`,
        'truncated',
        needed,
        available,
        limitedBy,
      );
}

/** {@link truncatedProblem} as the error to throw: `needed` is more than there is. */
export function truncated(
  protocol: string,
  offset: number,
  needed: number,
  end: number,
  limitedBy = 'buffer',
): WireError {
  return new WireError(truncatedProblem(protocol, offset, needed, end, limitedBy)!);
}

/** {@link problemAt} as the error to throw. */
export function malformed(protocol: string, offset: number, detail: string): WireError {
  return new WireError(problemAt(protocol, offset, detail));
}

/** {@link problemAt} with reason `unsupported`, as the error to throw. */
export function unsupported(protocol: string, offset: number, detail: string): WireError {
  return new WireError(problemAt(protocol, offset, detail, 'unsupported'));
}

/**
 * Returns `value` if it is a whole number from 0 to `max`.
 * @throws RangeError naming the field, the value and the bound.
 */
export function uint(field: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new RangeError(`${field} must be an integer from 0 to ${max}, not ${value}`);
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

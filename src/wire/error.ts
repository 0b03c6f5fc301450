/** Returned by `check` instead of a length if `end` truncates the header. */
export const TRUNCATED = -1;
/** Returned by `check` if a field contradicts the protocol. */
export const MALFORMED = -2;
/** Returned by `check` if the header may be correct, but this codec does not support it. */
export const UNSUPPORTED = -3;

/** Why a codec rejected its input. */
export type Reason = 'truncated' | 'malformed' | 'unsupported';

/**
 * Why a header was rejected, and where. `diagnose` and `dissect` return it, and `vtep read --json` prints it. It is a
 * plain record without a stack trace, because a stack trace costs 20 times as much as dissecting a whole packet.
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

/** The only error that `decode` throws: a {@link WireProblem} with a message and a stack trace. */
export interface WireError extends WireProblem {}
export class WireError extends Error {
  constructor(problem: WireProblem) {
    super(`${problem.protocol}: ${problem.reason} at offset ${problem.offset}: ${problem.detail}`);
    Object.assign(this, problem, { name: 'WireError' });
  }
}

/**
 * A problem with the field at `offset`, `malformed` by default. A single function for all reasons, because every bundle
 * with a `decode` contains it.
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
 * A `truncated` problem if a header at `offset` needs more than the bytes up to `end`; otherwise `null`.
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

/** {@link truncatedProblem} as an error; `needed` must exceed the available bytes. */
export function truncated(
  protocol: string,
  offset: number,
  needed: number,
  end: number,
  limitedBy = 'buffer',
): WireError {
  return new WireError(truncatedProblem(protocol, offset, needed, end, limitedBy)!);
}

/** {@link problemAt} as an error. */
export function malformed(protocol: string, offset: number, detail: string): WireError {
  return new WireError(problemAt(protocol, offset, detail));
}

/** {@link problemAt} with reason `unsupported`, as an error. */
export function unsupported(protocol: string, offset: number, detail: string): WireError {
  return new WireError(problemAt(protocol, offset, detail, 'unsupported'));
}

/**
 * Returns `value` if it is an integer from 0 to `max`.
 * @throws RangeError naming the field, the value and the bound.
 */
export function uint(field: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new RangeError(`${field} must be an integer from 0 to ${max}, not ${value}`);
  return value;
}

/**
 * Checks that an encoder's `length` bytes fit into `bytes` at `offset`, and returns their end.
 * @throws RangeError naming the protocol and both lengths.
 */
export function room(protocol: string, bytes: Uint8Array, offset: number, length: number): number {
  const end = offset + length;
  if (!(offset >= 0) || end > bytes.length)
    throw new RangeError(`${protocol} needs ${length} bytes at offset ${offset} of a buffer of ${bytes.length}`);
  return end;
}

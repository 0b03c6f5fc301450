/** Flags of the commands that query a running VTEP. */
import { UsageError, nonNegativeInteger, type Flag, type Parsed } from './flags.js';

export const CONTROL: Flag = {
  name: 'control',
  value: 'PATH',
  text: 'control socket of the VTEP: the --control of "vtep up" or "vtep agent"',
};
export const TIMEOUT: Flag = {
  name: 'timeout',
  value: 'SECONDS',
  text: 'fail if the VTEP sends nothing for this long (default 10)',
};

const MAX_TIMEOUT = 3600;

/** @throws UsageError if the flag is missing. */
export function requireControl(path: string | undefined): string {
  if (path === undefined) throw new UsageError('missing: --control PATH, the same as that of "vtep up"');
  return path;
}

/** The timeout in milliseconds. @throws UsageError */
export function timeoutOf(flags: Parsed): number {
  const seconds = nonNegativeInteger('timeout', flags.value('timeout') ?? '10');
  if (seconds < 1 || seconds > MAX_TIMEOUT)
    throw new UsageError(`--timeout: expected 1 to ${MAX_TIMEOUT} seconds, got ${seconds}`);
  return seconds * 1000;
}

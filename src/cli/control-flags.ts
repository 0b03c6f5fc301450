/** Flags of the commands that query a running VTEP. */
import { integerOf, requireValues, UsageError, type Flag, type Parsed } from './flags.js';

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

/** In seconds. */
const TIMEOUTS = { least: 1, most: 3600, what: 'seconds' };
const DEFAULT_TIMEOUT = 10;

/** @throws UsageError if the flag is missing, or is no path of a socket. */
export function requireControl(flags: Parsed): string {
  const path = flags.value('control');
  if (path === undefined) throw new UsageError('missing: --control PATH, the same as that of "vtep up"');
  requireValues(flags, 'control', 'socket');
  return path;
}

/** The timeout in milliseconds. @throws UsageError */
export function timeoutOf(flags: Parsed): number {
  return (integerOf(flags, 'timeout', TIMEOUTS) ?? DEFAULT_TIMEOUT) * 1000;
}

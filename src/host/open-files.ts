/** The limit on open files of this process, and what the gossip may use of it. */
import { readFileSync } from 'node:fs';

/**
 * Descriptors that the gossip leaves to others: Node takes 30, the control socket up to 65, the rest is for TAPs, sockets
 * of the engine and namespaces.
 */
const OTHERS = 128;

/**
 * The soft limit on open files; `undefined` if there is none.
 * @param limits The text of /proc/self/limits.
 */
export function openFilesLimit(limits = ownLimits()): number | undefined {
  const files = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
  return files === undefined ? undefined : Number(files);
}

/**
 * Number of descriptors that each of `users` may take so that others have enough.
 * @param least Granted in any case.
 * @param most Not exceeded with any limit.
 */
export function descriptorShare(users: number, least: number, most: number, limit = openFilesLimit()): number {
  return Math.max(least, Math.min(most, Math.floor(((limit ?? Infinity) - OTHERS) / users)));
}

function ownLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return ''; // no /proc: the limit is unknown
  }
}

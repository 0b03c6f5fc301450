/** Limits on this process that would kill it while it starts threads, too late to report an error. */
import { readFileSync } from 'node:fs';
import { HostError } from '../error.js';

const GIB = 2 ** 30;
/**
 * Address space of one worker, in bytes: V8 reserves 10 GiB around each WebAssembly memory, and a thread takes a code
 * range, a heap and a stack. Measured with Node 20: four workers take 41.5 GiB.
 */
const WORKER = 10.5 * GIB;

/**
 * Checks that the threads of `workers` fit into the address space. Without the check, V8 would end the process instead
 * of reporting an error.
 * @throws HostError
 */
export function requireAddressSpace(workers: number): void {
  const limit = addressSpaceLimit();
  if (limit === undefined) return;
  const used = Number(/^VmSize:\s+(\d+) kB/m.exec(read('/proc/self/status'))?.[1] ?? 0) * 1024;
  const needed = used + workers * WORKER;
  if (needed <= limit) return;
  throw new HostError(
    `engine "linux" with ${workers} worker${workers === 1 ? '' : 's'} reserves ${Math.ceil(needed / GIB)} GiB of address space, but this process may use only ${gib(limit)}; run "ulimit -v unlimited" before vtep`,
    { path: '' },
  );
}

/**
 * The soft limit of the address space in bytes; `undefined` if there is none.
 * @param limits The text of /proc/self/limits.
 */
export function addressSpaceLimit(limits = read('/proc/self/limits')): number | undefined {
  const bytes = /^Max address space\s+(\d+)\s/m.exec(limits)?.[1];
  return bytes === undefined ? undefined : Number(bytes);
}

function gib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // no /proc: the limit is unknown
  }
}

/** Processes as /proc shows them (proc(5)): who they are, whichever process gets their number later, and how to end them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { HostError } from '../error.js';

/** A process, and no later one with the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in clock ticks after the start of the system. */
  readonly start: number;
  /** The start of the system that this was, from /proc/sys/kernel/random/boot_id. */
  readonly boot: string;
}

/** Some fields of /proc/PID/stat. */
export interface ProcessStatus {
  readonly pid: number;
  /** `Z` for a process that has ended, and for which its parent has not waited yet. */
  readonly state: string;
  readonly group: number;
  readonly session: number;
  /** Its terminal; 0 for none. */
  readonly terminal: number;
  /** The process group that the terminal sends its signals to. */
  readonly foreground: number;
  readonly start: number;
}

/** Milliseconds between two looks at processes that are to end. */
const POLL = 20;
/** Milliseconds that the kernel may take to end a process after SIGKILL. */
const KILLING = 10_000;
/** Number of files of /proc to read before other work of this thread gets a turn. These take half a millisecond. */
const SLICE = 32;

let boot: string | undefined;

/** Identifies this start of the system. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}

function parseStatus(text: string): ProcessStatus | undefined {
  // The name, in parentheses, may contain any character.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields.length < 20) return undefined;
  const number = (index: number): number => Number(fields[index]);
  return {
    pid: parseInt(text, 10),
    state: fields[0]!,
    group: number(2),
    session: number(3),
    terminal: number(4),
    foreground: number(5),
    start: number(19),
  };
}

/** The status of a process; `undefined` if there is none with this number. */
export function statusOf(pid: number | 'self'): ProcessStatus | undefined {
  try {
    return parseStatus(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return undefined;
  }
}

/** The identity of a process; `undefined` if there is none with this number. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  const status = statusOf(pid);
  return status === undefined ? undefined : { pid, start: status.start, boot: bootId() };
}

/** Parses the line that the shim writes: process, start, boot. */
export function parseIdentity(line: string): ProcessIdentity | undefined {
  const match = /^(\d+) (\d+) (\S+)\n$/.exec(line);
  return match === null ? undefined : { pid: Number(match[1]), start: Number(match[2]), boot: match[3]! };
}

/** Whether a process still runs. */
export function isRunning({ pid, start, boot: then }: ProcessIdentity): boolean {
  const status = then === bootId() ? statusOf(pid) : undefined;
  return status !== undefined && status.start === start && !hasEnded(status);
}

function hasEnded({ state }: ProcessStatus): boolean {
  return state === 'Z' || state === 'X';
}

/** Lists the processes that this one may see and that have not ended. Reads with pauses, so that this thread goes on. */
export const listProcesses = shared(async (): Promise<readonly ProcessStatus[]> => {
  const found = await inProc((pid) => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return found.flatMap(({ answer }) => {
    const status = parseStatus(answer);
    return status === undefined || hasEnded(status) ? [] : [status];
  });
});

const listNamespaces = shared(() => inProc((pid) => readlinkSync(`/proc/${pid}/ns/net`)));

/**
 * Lists the processes in a network namespace.
 * @param inode Of the namespace.
 */
export async function processesIn(inode: number): Promise<number[]> {
  const found = await listNamespaces();
  return found.flatMap(({ pid, answer }) => (answer === `net:[${inode}]` && pid !== process.pid ? [pid] : []));
}

/**
 * Reads a file of each process, and leaves out those that have ended. Reads of /proc do not wait for a disk: to give each to a
 * thread of the pool takes several times as long.
 */
async function inProc(read: (pid: number) => string): Promise<readonly { pid: number; answer: string }[]> {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  const found: { pid: number; answer: string }[] = [];
  for (const [i, pid] of pids.entries()) {
    if (i % SLICE === SLICE - 1) await turn();
    try {
      found.push({ pid, answer: read(pid) });
    } catch {
      // it has ended
    }
  }
  return found;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Shares a search among all that ask for it before it begins: those that end several workloads at a time search for all of
 * them at once. Nothing is shared that was found before one asked.
 */
function shared<T>(search: () => Promise<T>): () => Promise<T> {
  let next: Promise<T> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  return () => {
    if (next === undefined) {
      next = last.then(turn).then(() => {
        next = undefined;
        return search();
      });
      last = next.catch(() => undefined);
    }
    return next;
  };
}

/**
 * Lists the session of a process that began it, also after that process has ended.
 * @param inode If the process has ended, only its processes in this network namespace belong to it for certain: another
 * process may have got its number, begun a session and ended.
 */
export async function sessionOf(leader: ProcessIdentity, inode: number | undefined): Promise<ProcessStatus[]> {
  if (leader.boot !== bootId()) return [];
  const all = await listProcesses();
  const members = all.filter(({ session, start }) => session === leader.pid && start >= leader.start);
  const first = statusOf(leader.pid);
  if (first?.start === leader.start) return members;
  // A number is not given away while a session has it.
  if (first !== undefined || inode === undefined || members.length === 0) return [];
  const inside = new Set(await processesIn(inode));
  return members.filter(({ pid }) => inside.has(pid));
}

/** Sends a signal to a process (negative: a process group), which may have ended. */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Waits. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Ends processes: with SIGTERM, and those that remain after a time with SIGKILL.
 * @param find Lists them; asked again until there is none: they may start others.
 * @param grace Milliseconds.
 * @throws HostError naming processes that do not end.
 */
export async function endProcesses(find: () => Promise<readonly number[]>, grace: number): Promise<void> {
  let pids = await find();
  if (grace > 0) for (const pid of pids) send(pid, 'SIGTERM');
  const limit = performance.now() + grace;
  while (pids.length > 0 && performance.now() < limit) {
    await pause(POLL);
    pids = await find();
  }
  const last = performance.now() + KILLING;
  while (pids.length > 0) {
    for (const pid of pids) send(pid, 'SIGKILL');
    if (performance.now() > last)
      throw new HostError(
        `process ${pids.map(Math.abs).join(', ')} does not end after SIGKILL; see what it waits for in /proc/${Math.abs(pids[0]!)}/stack`,
      );
    await pause(POLL);
    pids = await find();
  }
}

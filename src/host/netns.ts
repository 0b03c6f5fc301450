/** Network namespaces: lists them, and opens kernel devices inside them. */
import { closeSync, readdirSync, readlinkSync, statfsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { codeOf, HostError } from './error.js';

/** Where `ip netns` keeps its names. */
export const NETNS_DIRECTORY = '/var/run/netns';
/** The file system type of namespace files (linux/magic.h). */
export const NSFS_MAGIC = 0x6e73_6673;

/** Returns the file of a namespace that is given by name or by path. */
export function netnsPath(netns: string): string {
  return netns.startsWith('/') ? netns : join(NETNS_DIRECTORY, netns);
}

/**
 * Checks that a network namespace exists.
 * @param path The field of the configuration that names it, for the error.
 * @throws HostError that says what is there instead, or how to create a namespace.
 */
export function requireNetns(netns: string, path?: string): void {
  const file = netnsPath(netns);
  const refuse = (message: string, cause?: unknown): never => {
    throw new HostError(message, { cause, ...(path === undefined ? {} : { path }) });
  };
  let kind: number;
  try {
    kind = statfsSync(file).type;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM')
      return refuse(`no permission to open network namespace ${netns}; run as root`, error);
    if (netns.startsWith('/'))
      return refuse(
        `there is no network namespace at ${netns}; give the path of a running process (/proc/PID/ns/net), or the name of a namespace`,
        error,
      );
    const others = netnsNames();
    return refuse(
      `network namespace "${netns}" does not exist; create it with "ip netns add ${netns}"` +
        (others.length === 0 ? '' : ` (there are: ${others.slice(0, 12).join(', ')})`),
      error,
    );
  }
  if (kind !== NSFS_MAGIC || /^(?!net:)[a-z_]+:\[/.test(linkOf(file)))
    refuse(
      `${netns} is not a network namespace; give the path of one (/proc/PID/ns/net), or its name ("ip netns list")`,
    );
}

function linkOf(file: string): string {
  try {
    return readlinkSync(file); // for /proc/PID/ns: `net:[4026531840]`
  } catch {
    return ''; // the file of a named namespace is not a link
  }
}

function netnsNames(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY).sort();
  } catch {
    return [];
  }
}

/** The request to the thread: a file to open several times (`count`), to write (`text`), or to read. */
interface Visit {
  netns: string;
  file: string;
  count?: number;
  text?: string;
}
/** Its answer: file descriptors, the text of the file or what was written, or an error code. */
type Found = { fds: number[] } | { text: string } | { code: string; step: 'namespace' | 'enter' | 'file' };

// setns(2) changes only the calling thread, so this runs on its own thread, which ends afterwards: no other thread ever
// enters a container's namespace, not even after an error. The file descriptors belong to the process.
const THREAD = `
  const { closeSync, constants, openSync, readFileSync, writeFileSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const CLONE_NEWNET = 0x40000000;
  import(workerData.koffi).then(({ default: koffi }) => {
    const setns = koffi.load(null).func('int setns(int fd, int type)');
    const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
    const visit = ({ netns, file, count, text }) => {
      const fds = [];
      let step = 'namespace';
      try {
        const fd = openSync(netns, constants.O_RDONLY);
        step = 'enter';
        const entered = setns(fd, CLONE_NEWNET);
        const code = names.get(koffi.errno());
        closeSync(fd);
        if (entered < 0) return { code, step };
        step = 'file';
        if (text !== undefined) {
          writeFileSync(file, text, { flag: 'r+' });
          return { text };
        }
        if (count === undefined) return { text: readFileSync(file, 'utf8') };
        for (let i = 0; i < count; i++) fds.push(openSync(file, constants.O_RDWR | constants.O_NONBLOCK));
        return { fds };
      } catch (error) {
        for (const fd of fds) closeSync(fd);
        return { code: error.code, step };
      }
    };
    parentPort.postMessage(workerData.visits.map(visit));
  });`;

/**
 * Opens a kernel device several times inside each namespace, on a thread that enters the namespaces one after the
 * other.
 * @returns the file descriptors, by namespace.
 * @throws HostError naming a namespace that cannot be entered; an error with the system's code if the device cannot be
 * opened. All files are closed then.
 */
export async function openInNetns(
  device: string,
  places: readonly { netns: string; count: number; path?: string }[],
): Promise<number[][]> {
  if (places.length === 0) return [];
  const found = await visitAll(places.map(({ netns, count }) => ({ netns: netnsPath(netns), file: device, count })));
  const failed = found.findIndex((one) => 'code' in one);
  if (failed < 0) return found.map((one) => (one as { fds: number[] }).fds);
  for (const one of found) if ('fds' in one) for (const fd of one.fds) closeSync(fd);
  const { code, step } = found[failed] as { code: string; step: string };
  const { netns, path } = places[failed]!;
  if (step === 'file') throw Object.assign(new Error(`${device}: ${code}`), { code });
  requireNetns(netns, path);
  throw new HostError(
    code === 'EPERM' || code === 'EACCES'
      ? `no permission to enter network namespace ${netns}; run as root or give CAP_SYS_ADMIN`
      : `network namespace ${netns} cannot be entered (${code})`,
    path === undefined ? {} : { path },
  );
}

/**
 * Reads a file inside each namespace, on a thread as `openInNetns` does.
 * @returns the texts; `undefined` for a namespace that cannot be entered, or where the file cannot be read.
 */
export async function readInNetns(file: string, netnses: readonly string[]): Promise<(string | undefined)[]> {
  if (netnses.length === 0) return [];
  const found = await visitAll(netnses.map((netns) => ({ netns: netnsPath(netns), file })));
  return found.map((one) => ('text' in one ? one.text : undefined));
}

/**
 * Writes files, each inside its namespace, on a thread as `openInNetns` does. A file that does not exist there or cannot
 * be written stays as it is.
 * @param files Without `netns`: a file in the namespace of this process.
 */
export async function writeInNetns(files: readonly { netns?: string; file: string; text: string }[]): Promise<void> {
  const elsewhere: Visit[] = [];
  for (const { netns, file, text } of files) {
    if (netns !== undefined) elsewhere.push({ netns: netnsPath(netns), file, text });
    else await writeFile(file, text, { flag: 'r+' }).catch(() => undefined);
  }
  if (elsewhere.length > 0) await visitAll(elsewhere);
}

/** Runs the thread. @throws if it cannot start, or koffi is missing. */
function visitAll(visits: readonly Visit[]): Promise<Found[]> {
  return new Promise<Found[]>((resolve, reject) => {
    const worker = new Worker(THREAD, {
      eval: true,
      workerData: { koffi: import.meta.resolve('koffi'), visits },
      trackUnmanagedFds: false, // otherwise Node closes them when the thread ends
      execArgv: [],
    });
    let answer: Found[] | undefined;
    worker.on('message', (message: Found[]) => (answer = message));
    worker.on('error', reject);
    worker.on('exit', () => (answer === undefined ? reject(new Error('the thread has ended')) : resolve(answer)));
  });
}

/** Files with secrets: who else can read or change them, and reading and writing them so that nobody can. */
import {
  closeSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileTrouble, readBounded } from './bounded-read.js';
import { codeOf, HostError } from './error.js';

/** Mode of a file that its owner alone can read and write. */
export const PRIVATE = 0o600;

/** Bits of a mode (inode(7)). In a sticky directory such as /tmp, only its owner may remove or rename a file. */
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

/** A file, in words for people. */
interface Named {
  /** What it is: `key file`. */
  what: string;
  /** `-`: standard input. */
  path: string;
}

/** Whether every user may replace files in a directory with this status. */
export function isReplaceable({ mode }: Stats): boolean {
  return (mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0;
}

/**
 * Describes who else can change a file or put another in its place, with the command that changes that.
 * @param chmod The mode of that command.
 * @returns `undefined` if nobody can, and for what is no regular file: pipes have no lasting mode.
 */
function tampering({ what, path }: Named, stats: Stats, chmod: string): string | undefined {
  if (!stats.isFile()) return undefined;
  const mode = stats.mode & 0o777;
  const place = `the ${what} ${path === '-' ? 'on standard input' : path}`;
  const shown = `${place} (mode ${mode.toString(8)})`;
  const file = path === '-' ? 'FILE' : path;
  const check = 'check its content, then run:';
  if ((mode & 0o022) !== 0) return `other users can change ${shown}; ${check} chmod ${chmod} ${file}`;
  const stranger = [stats, ...(path === '-' ? [] : [lstatSync(path)])].find(({ uid }) => !owners().includes(uid));
  if (stranger !== undefined)
    return `another user, with id ${stranger.uid}, can change ${shown}; ${check} chown -h ${process.geteuid!()} ${file}`;
  const open = path === '-' ? undefined : openDirectory(path);
  return open === undefined ? undefined : `every user may replace ${place}; ${check} chmod o-w ${open}`;
}

/** The first directory above a file, or above the link to it, in which every user may replace files. */
function openDirectory(path: string): string | undefined {
  for (const start of [resolve(path), realPath(path)])
    for (let at = dirname(start), below = start; at !== below; below = at, at = dirname(at))
      if (isReplaceable(statSync(at))) return at;
  return undefined;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path); // an open file that has been removed: /dev/fd/3 of a here-document
  }
}

/**
 * Describes who else can read a file with secrets, and the command that changes that.
 * @returns `undefined` if nobody can.
 * @throws HostError if others can change it: its content then may be theirs.
 */
function exposure(named: Named, stats: Stats): string | undefined {
  const trouble = tampering(named, stats, '600');
  if (trouble !== undefined) throw new HostError(trouble);
  const mode = stats.mode & 0o777;
  if (!stats.isFile() || (mode & 0o044) === 0) return undefined;
  const [place, file] = named.path === '-' ? ['on standard input', 'FILE'] : [named.path, named.path];
  return `other users can read the ${named.what} ${place} (mode ${mode.toString(8)}); run: chmod 600 ${file}`;
}

/** Like `exposure`, for the file that has this name now; `undefined` if there is none. */
export function exposureOf(what: string, path: string): string | undefined {
  const stats = statusOf(path);
  return stats === undefined ? undefined : exposure({ what, path }, stats);
}

/** Describes who else can change a file without secrets that has this name now; `undefined` if nobody can. */
export function tamperingOf(what: string, path: string): string | undefined {
  const stats = statusOf(path);
  return stats === undefined ? undefined : tampering({ what, path }, stats, 'go-w');
}

function statusOf(path: string): Stats | undefined {
  return path === '-' ? fstatSync(0) : statSync(path, { throwIfNoEntry: false });
}

/** The users whose files this process may trust: root, its own, and the one who called sudo. */
function owners(): number[] {
  return [0, process.geteuid?.() ?? 0, Number(process.env['SUDO_UID'] ?? 0)];
}

/**
 * Reads a small file with secrets.
 * @param path `-`: standard input.
 * @param most Most bytes of it.
 * @returns its text, the warning of `exposure`, and whether it can be read again.
 * @throws HostError if others can change it, if it is larger, or if it cannot be read.
 */
export function readPrivate(
  what: string,
  path: string,
  most: number,
): { text: string; warning: string | undefined; isRegular: boolean } {
  let warning: string | undefined;
  let isRegular = false;
  try {
    const text = readBounded(path, most, (stats) => {
      warning = exposure({ what, path }, stats);
      isRegular = stats.isFile();
    });
    return { text, warning, isRegular };
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw new HostError(unreadable(what, path, error, most), { cause: error });
  }
}

function unreadable(what: string, path: string, error: unknown, most: number): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return `there is no file ${path}`;
    case 'EISDIR':
      return `${path} is a directory, not a ${what}`;
    case 'EFBIG':
      return `${path} has more than ${most} bytes; is it a ${what}?`;
    default:
      return `the ${what} ${path === '-' ? 'on standard input' : path} cannot be read: ${fileTrouble(error)}`;
  }
}

/**
 * Writes a regular file with secrets, mode 0600.
 * @param force Whether to replace an existing file. A process that has the old file open still reads the old content.
 * @param lasting Whether it has to survive a power failure, for which this thread waits for the disk.
 * @throws HostError if the file exists, or cannot be written, or if its name is that of anything else, also of a link.
 */
export function writePrivate(path: string, text: string, force: boolean, lasting = true): void {
  const target = force ? `${path}.${process.pid}.new` : path;
  let file: number;
  try {
    if (force) rmSync(target, { force: true }); // of a process with this id that was killed: in a container, it often is the same
    const old = lstatSync(path, { throwIfNoEntry: false });
    if (old !== undefined && !old.isFile()) throw new HostError(`${path} is ${kindOf(old)}; choose another file`);
    if (old !== undefined && !force) throw new HostError(`${path} exists; overwrite it, or choose another file`);
    file = openSync(target, 'wx', PRIVATE);
  } catch (error) {
    throw unwritable(path, error);
  }
  try {
    fchmodSync(file, PRIVATE); // whatever the umask is
    writeSync(file, text);
    if (lasting) fsyncSync(file);
    if (force) renameSync(target, path);
    if (lasting) syncDirectory(dirname(path));
  } catch (error) {
    rmSync(target, { force: true });
    throw unwritable(path, error);
  } finally {
    closeSync(file);
  }
}

/** Makes sure that the names in a directory survive a power failure. */
function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isSymbolicLink()) return 'a symbolic link';
  return 'not a regular file';
}

function unwritable(path: string, error: unknown): HostError {
  if (error instanceof HostError) return error;
  const trouble = codeOf(error) === 'ENOENT' ? 'no such directory' : fileTrouble(error);
  return new HostError(`${path} cannot be written: ${trouble}`, { cause: error });
}

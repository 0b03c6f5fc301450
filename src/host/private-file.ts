/** Files with secrets: who else can read or change them, and reading and writing them so that nobody can. */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { codeOf, HostError } from './error.js';

/** Mode of a file that its owner alone can read and write. */
export const PRIVATE = 0o600;

/** A file, in words for people. */
interface Named {
  /** What it is: `key file`. */
  what: string;
  /** `-`: standard input. */
  path: string;
}

/**
 * Describes who else can read a file with secrets, and the command that changes that.
 * @returns `undefined` if nobody can, and for what is no regular file: pipes have no lasting mode.
 * @throws HostError if others can change it: its content then may be theirs.
 */
export function exposure({ what, path }: Named, stats: Stats): string | undefined {
  if (!stats.isFile()) return undefined;
  const mode = stats.mode & 0o777;
  const place = `the ${what} ${path === '-' ? 'on standard input' : path} (mode ${mode.toString(8)})`;
  const file = path === '-' ? 'FILE' : path;
  if ((mode & 0o022) !== 0)
    throw new HostError(`other users can change ${place}; check its content, then run: chmod 600 ${file}`);
  if ((mode & 0o044) !== 0) return `other users can read ${place}; run: chmod 600 ${file}`;
  if (!owners().includes(stats.uid))
    return `another user, with id ${stats.uid}, can change ${place}; run: chown ${process.geteuid!()} ${file}`;
  return undefined;
}

/** Like `exposure`, for the file that has this name now; `undefined` if there is none. */
export function exposureOf(what: string, path: string): string | undefined {
  const stats = path === '-' ? fstatSync(0) : statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? undefined : exposure({ what, path }, stats);
}

/** The users whose files this process may trust: root, its own, and the one who called sudo. */
function owners(): number[] {
  return [0, process.geteuid?.() ?? 0, Number(process.env['SUDO_UID'] ?? 0)];
}

/**
 * Reads a small file with secrets.
 * @param path `-`: standard input.
 * @param most Most bytes of it.
 * @returns its text, and the warning of `exposure`.
 * @throws HostError if others can change it, or it is larger; an error with the system's code if it cannot be read.
 */
export function readPrivate(what: string, path: string, most: number): { text: string; warning: string | undefined } {
  const fd = path === '-' ? 0 : openSync(path, constants.O_RDONLY | constants.O_NOCTTY);
  try {
    const warning = exposure({ what, path }, fstatSync(fd));
    const bytes = Buffer.alloc(most + 1);
    let length = 0;
    for (let count = 1; count > 0 && length <= most; length += count)
      count = readSync(fd, bytes, length, bytes.length - length, null);
    if (length > most) throw new HostError(`${path} has more than ${most} bytes; is it a ${what}?`);
    return { text: bytes.toString('utf8', 0, length), warning };
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}

/**
 * Writes a file with secrets, mode 0600.
 * @param force Whether to replace an existing file. It is replaced as a whole: who has it open reads the old content, and
 * a link is replaced, not followed. A device or a pipe is written to.
 * @throws HostError if the file exists, or cannot be written.
 */
export function writePrivate(path: string, text: string, force: boolean): void {
  const isReplaced = force && (lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? true);
  const target = isReplaced ? `${path}.${process.pid}.new` : path;
  let file: number;
  try {
    file = openSync(target, force && !isReplaced ? 'w' : 'wx', PRIVATE);
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && !force)
      throw new HostError(`${path} exists; overwrite it with --force, or choose another file`, { cause: error });
    throw unwritable(path, error);
  }
  try {
    const isFile = fstatSync(file).isFile();
    if (isFile) fchmodSync(file, PRIVATE); // whatever the umask is
    writeSync(file, text);
    if (isFile) fsyncSync(file);
    if (isReplaced) renameSync(target, path);
  } catch (error) {
    if (!force || isReplaced) rmSync(target, { force: true });
    throw unwritable(path, error);
  } finally {
    closeSync(file);
  }
}

function unwritable(path: string, error: unknown): HostError {
  return new HostError(`${path} cannot be written: ${writeTrouble(error)}`, { cause: error });
}

function writeTrouble(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'no such directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'EISDIR':
      return 'it is a directory';
    case 'ENOSPC':
      return 'no space is left on the device';
    case 'EROFS':
      return 'the file system is read-only';
    default:
      return (error as Error).message;
  }
}

/** Reads small files in bounded memory and time, whatever they are, and says in words why one cannot be read. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { codeOf } from './error.js';

/** Milliseconds to wait for the writer of a FIFO, which may also be that of a shell's `<(command)`. */
const PATIENCE = 10_000;
const POLL = 20;
const CHUNK = 65_536;

/**
 * Reads the text of a file.
 * @param path `-` is standard input, which is read to its end.
 * @param most Most bytes of it.
 * @param inspect Receives the open file's status before anything is read; what it throws ends the reading.
 * @throws an error with the system's code, EFBIG if there are more than `most` bytes, or ETIMEDOUT for a FIFO whose writer
 * does not write.
 */
export function readBounded(path: string, most: number, inspect?: (stats: Stats) => void): string {
  // Without O_NONBLOCK, opening a FIFO waits for a writer, perhaps forever.
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
  const fd = path === '-' ? 0 : openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  try {
    const stats = fstatSync(fd);
    inspect?.(stats);
    return readAll(fd, most, path !== '-' && stats.isFIFO() ? PATIENCE : 0);
  } finally {
    if (path !== '-') closeSync(fd);
  }
}

/** @param patience Milliseconds to wait for bytes that are not there yet. */
function readAll(fd: number, most: number, patience: number): string {
  const chunks: Buffer[] = [];
  const deadline = performance.now() + patience;
  let size = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const count = readSome(fd, chunk, patience > 0);
    if (count > 0) {
      chunks.push(chunk.subarray(0, count));
      size += count;
      if (size > most) throw Object.assign(new Error('file too large'), { code: 'EFBIG' });
      continue;
    }
    // A FIFO without a writer is at its end as well.
    if (count === 0 && (size > 0 || patience === 0)) return Buffer.concat(chunks).toString('utf8');
    if (performance.now() > deadline) throw Object.assign(new Error('no writer'), { code: 'ETIMEDOUT' });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL);
  }
}

/** @returns the number of bytes; with `waits`, -1 if none are there yet. */
function readSome(fd: number, chunk: Buffer, waits: boolean): number {
  try {
    return readSync(fd, chunk);
  } catch (error) {
    if (waits && codeOf(error) === 'EAGAIN') return -1;
    throw error;
  }
}

/**
 * Says why a file cannot be read or written, in words that follow "it cannot be read: ".
 * @param tooLarge The words for a file that is larger than the reader takes.
 */
export function fileTrouble(error: unknown, tooLarge = 'it is too large'): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'there is no such file';
    case 'ENOTDIR':
      return 'a part of its path is not a directory';
    case 'EISDIR':
      return 'it is a directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ELOOP':
      return 'its path has too many levels of symbolic links';
    case 'ENAMETOOLONG':
      return 'its name is too long';
    case 'ENXIO':
      return 'it is a socket, or a device that is not there';
    case 'EAGAIN':
    case 'ETIMEDOUT':
      return 'nothing has been written to it yet';
    case 'ENOSPC':
      return 'no space is left on the device';
    case 'EROFS':
      return 'the file system is read-only';
    case 'EFBIG':
      return tooLarge;
    default:
      return (error as Error).message;
  }
}

/** Reads the text of a configuration file, in bounded memory and time whatever the file is. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { codeOf } from '../host/index.js';

/** Most bytes of a configuration: some 200,000 endpoints. */
export const MAX_CONFIG = 16 << 20;
/** Milliseconds to wait for the writer of a FIFO, which may also be that of a shell's `<(command)`. */
const PATIENCE = 10_000;
const POLL = 20;
const CHUNK = 65_536;

/**
 * Reads a file.
 * @param path `-` is standard input, which is read to its end.
 * @throws an error with the system's code, EFBIG if there are more than `MAX_CONFIG` bytes, or ETIMEDOUT for a FIFO
 * whose writer does not write.
 */
export function readConfigText(path: string): string {
  if (path === '-') return read(0, 0);
  // Without O_NONBLOCK, opening a FIFO waits for a writer, perhaps forever.
  const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
  const fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  try {
    return read(fd, fstatSync(fd).isFIFO() ? PATIENCE : 0);
  } finally {
    closeSync(fd);
  }
}

/** @param patience Milliseconds to wait for bytes that are not there yet. */
function read(fd: number, patience: number): string {
  const chunks: Buffer[] = [];
  const deadline = performance.now() + patience;
  let size = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK);
    const count = readSome(fd, chunk, patience > 0);
    if (count > 0) {
      chunks.push(chunk.subarray(0, count));
      size += count;
      if (size > MAX_CONFIG) throw Object.assign(new Error('file too large'), { code: 'EFBIG' });
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

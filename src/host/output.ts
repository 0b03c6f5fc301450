/**
 * Writes lines to standard output and standard error from a process that must continue if these fail: a full disk, a
 * closed terminal, a pipe without a reader. `write` neither blocks nor throws; lines that cannot be written are dropped
 * and counted. It escapes what a terminal would obey (`printable`).
 *
 * `process.stdout` does not suffice: it blocks on a terminal that is stopped with Ctrl-S, and if the reader of a pipe
 * does not read, it keeps every line in memory and the process alive.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { printable } from '../wire/index.js';
import { codeOf } from './error.js';

/** Most bytes queued for a slow reader; further lines are dropped. */
const MAX_QUEUE = 256 << 10;
/** Milliseconds between two attempts to write the queue. */
const RETRY = 50;

export class Output {
  readonly #fd: number;
  /** Our own, non-blocking open file description, or `null`. */
  #own: number | null = null;
  /** Writes through Node; used for sockets, which cannot be opened a second time. */
  #stream: NodeJS.WriteStream | null = null;
  readonly #queue: Buffer[] = [];
  #queued = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Whether the first element of the queue has been written partially. */
  #partial = false;
  /** Whether the rest of a partially written line was dropped: the next line then starts with a line feed. */
  #torn = false;
  /** Dropped lines that `notice` has not reported yet. */
  #unreported = 0;
  #lost = 0;
  #reason = '';
  readonly #notice: ((count: number, code: string) => string) | undefined;

  /** @param notice Returns the line that reports dropped lines, once lines can be written again; absent: no report. */
  constructor(fd: 1 | 2, notice?: (count: number, code: string) => string) {
    this.#fd = fd;
    this.#notice = notice;
    if (!mayBlock(fd)) return;
    try {
      const { O_WRONLY, O_NONBLOCK, O_NOCTTY, O_APPEND } = constants;
      this.#own = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_APPEND);
    } catch {
      this.#stream = fd === 1 ? process.stdout : process.stderr;
      this.#stream.removeAllListeners('error'); // the program's own listener would end the process
      this.#stream.on('error', () => undefined);
    }
  }

  /** Number of lines dropped so far. */
  get lost(): number {
    return this.#lost;
  }

  /** Writes a line, in which a line feed is escaped, or several lines at once. */
  write(lines: string | readonly string[]): void {
    if (this.#unreported > 0 && this.#notice !== undefined && !this.waits) {
      const count = this.#unreported;
      this.#unreported = 0;
      if (!this.#put(this.#notice(count, this.#reason))) this.#unreported += count;
    }
    if (!this.#put(lines)) this.#miss(1, this.#reason);
  }

  /** Whether lines are queued for a slow reader. */
  get waits(): boolean {
    return this.#stream === null ? this.#queued > 0 : this.#stream.writableLength > 0 && !this.#stream.destroyed;
  }

  /** Waits until the queue is empty, or `milliseconds` have passed. */
  async drain(milliseconds: number): Promise<void> {
    const end = performance.now() + milliseconds;
    while (this.waits && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (!this.#flush()) this.#miss(1, this.#reason);
    }
    clearTimeout(this.#timer);
    if (this.#own !== null && this.#queued === 0) {
      closeSync(this.#own);
      this.#own = null;
    }
  }

  /** Returns false if the line is dropped, and sets the reason. */
  #put(lines: string | readonly string[]): boolean {
    const line = typeof lines === 'string' ? printable(lines) : lines.map(printable).join('\n');
    if (this.#stream !== null) return this.#putStream(this.#stream, `${line}\n`);
    const bytes = Buffer.from(`${this.#torn ? '\n' : ''}${line}\n`);
    if (this.#queued + bytes.length > MAX_QUEUE && this.#queued > 0) {
      this.#reason = 'EAGAIN';
      return false;
    }
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    return this.#flush();
  }

  #putStream(stream: NodeJS.WriteStream, line: string): boolean {
    if (stream.destroyed) return false;
    if (stream.writableLength + line.length > MAX_QUEUE && stream.writableLength > 0) {
      this.#reason = 'EAGAIN';
      return false;
    }
    stream.write(line, (error) => {
      if (error != null) this.#miss(1, codeOf(error));
    });
    return true;
  }

  #miss(lines: number, code: string): void {
    this.#lost += lines;
    this.#unreported += lines;
    this.#reason = code || 'EIO';
  }

  /** Writes as much of the queue as possible; returns false if lines were dropped because of an error. */
  #flush(): boolean {
    while (this.#queue.length > 0) {
      const bytes = this.#queue[0]!;
      let count: number;
      try {
        count = writeSync(this.#own ?? this.#fd, bytes);
      } catch (error) {
        const code = codeOf(error);
        if (code === 'EINTR') continue;
        if (code === 'EAGAIN') {
          this.#later();
          return true;
        }
        return this.#discard(code);
      }
      this.#queued -= count;
      this.#torn = false;
      this.#partial = count < bytes.length;
      if (this.#partial) this.#queue[0] = bytes.subarray(count);
      else this.#queue.shift();
    }
    return true;
  }

  /** Empties the queue. Counts all its lines as dropped except the last one, which the caller counts. */
  #discard(code: string): boolean {
    this.#torn ||= this.#partial;
    this.#partial = false;
    this.#miss(this.#queue.length - 1, code);
    this.#queue.length = 0;
    this.#queued = 0;
    return false;
  }

  #later(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#flush()) this.#miss(1, this.#reason);
    }, RETRY);
    this.#timer.unref();
  }
}

/** Whether a write may block: to a pipe, a socket or a terminal. */
function mayBlock(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFIFO() || stat.isSocket() || isatty(fd);
  } catch {
    return false;
  }
}

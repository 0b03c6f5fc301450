/**
 * Standard output and standard error of a command. Every command writes through these functions, which escape what a
 * terminal would obey (`printable`): names and texts of other hosts are in nearly every line. `npm run check` refuses
 * other writes.
 *
 * A string is one line: a line feed in it is escaped, so no text can begin a line of its own. A block is a list of lines.
 */
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { codeOf, HostError } from '../host/index.js';
import { printable } from '../wire/index.js';

/** One line, or several. */
export type Lines = string | readonly string[];

/**
 * Ends the command at the first failed write to standard output. If the reader has gone (`| head`) it ends silently,
 * like other Unix programs; otherwise with one line and exit code 1. Failed writes to standard error are ignored.
 * @param command The command's name, for that line.
 */
export function guardStreams(command: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (codeOf(error) === 'EPIPE') process.exit(process.exitCode ?? 0);
    const [, text] = getSystemErrorMap().get(error.errno ?? 0) ?? ['', error.message];
    try {
      writeSync(2, linesOf(`${command}: standard output cannot be written: ${text}`));
    } catch {
      // standard error fails too
    }
    process.exit(1);
  });
  process.stderr.on('error', () => undefined);
}

/** Prints on standard output. @returns false if the reader is slow: see `drained`. */
export function print(lines: Lines): boolean {
  return process.stdout.write(linesOf(lines));
}

/** Prints on standard error. */
export function printError(lines: Lines): void {
  process.stderr.write(linesOf(lines));
}

/** Writes bytes of a file format on standard output. @returns as `print`. */
export function printBytes(bytes: Uint8Array): boolean {
  return process.stdout.write(bytes);
}

/** Resolves when standard output has taken what was printed. */
export async function drained(): Promise<void> {
  await once(process.stdout, 'drain');
}

/** Calls back when standard output can no longer be written. */
export function onBroken(listener: (error: Error) => void): void {
  process.stdout.on('error', listener);
}

/** Most characters of an entry whose JSON is indented: blanks may make it 17 times as long. */
const MAX_INDENTED = 1 << 20;

/**
 * The lines of a value as indented JSON, entry by entry if it is a list. `JSON.stringify` escapes line feeds, so each line
 * is one of the layout. An entry of more than `MAX_INDENTED` characters is one line.
 */
export function* jsonLines(value: unknown): Generator<string> {
  if (!Array.isArray(value) || value.length === 0) return yield* indented(value);
  yield '[';
  for (const [i, entry] of value.entries()) {
    let held: string | undefined;
    for (const line of indented(entry)) {
      if (held !== undefined) yield held;
      held = `  ${line}`;
    }
    yield `${held}${i < value.length - 1 ? ',' : ''}`;
  }
  yield ']';
}

function indented(value: unknown): string[] {
  const compact = JSON.stringify(value) ?? 'null';
  return compact.length > MAX_INDENTED ? [compact] : (JSON.stringify(value, null, 2) ?? 'null').split('\n');
}

/** Lines to print at a time. */
const BLOCK = 256;

/** Prints any number of lines on standard output, no faster than they are read. @throws HostError if a write fails. */
export async function printAll(lines: Iterable<string>): Promise<void> {
  const output = new BatchOutput();
  let block: string[] = [];
  for (const line of lines) {
    block.push(line);
    if (block.length < BLOCK) continue;
    await output.print(block);
    if (output.closed) return;
    block = [];
  }
  await output.print(block);
  await output.flush();
}

/** Approximate number of characters to collect before writing. */
const BATCH = 65_536;

/** Standard output with backpressure, for many lines. Ends without an error if the reader has gone, as with `| head`. */
export class BatchOutput {
  /** Whether the reader has closed the pipe. */
  closed = false;
  #text = '';
  #failure: Error | null = null;

  constructor() {
    onBroken((error) => {
      this.closed = true;
      if (codeOf(error) !== 'EPIPE') this.#failure = error;
    });
  }

  /** @throws HostError if an earlier write failed. */
  async print(lines: Lines): Promise<void> {
    this.#text += linesOf(lines);
    if (this.#text.length >= BATCH) await this.flush();
  }

  /** @throws HostError if an earlier write failed. */
  async printBytes(bytes: Uint8Array): Promise<void> {
    await this.#write(bytes);
  }

  /** @throws HostError if an earlier write failed. */
  async flush(): Promise<void> {
    const text = this.#text;
    this.#text = '';
    if (text !== '') await this.#write(text);
    else this.#report();
  }

  async #write(data: string | Uint8Array): Promise<void> {
    if (!this.closed && !process.stdout.write(data)) await drained().catch(() => undefined);
    this.#report();
  }

  #report(): void {
    if (this.#failure !== null) throw new HostError(`standard output: ${this.#failure.message}`);
  }
}

function linesOf(lines: Lines): string {
  if (typeof lines === 'string') return `${printable(lines)}\n`;
  if (lines.length === 0) return '';
  // One test for a block of plain lines: `vtep read --tree` prints a dozen for each packet.
  const text = `${lines.join('\n')}\n`;
  return PLAIN_LINES.test(text) && feeds(text) === lines.length ? text : `${lines.map(printable).join('\n')}\n`;
}

const PLAIN_LINES = /^[\n -~]*$/;

/** The number of line feeds in a text. */
function feeds(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

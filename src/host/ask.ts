/** A client of the control socket; control.ts documents the protocol. */
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { type Reply, type Request } from '../schema/index.js';
import { codeOf, HostError } from './error.js';
import { type Page } from './pages.js';

export interface AskOptions {
  /**
   * Milliseconds to wait for the connection and for each line of the reply. Default 10,000. All lines together may take
   * `LINES` times as long, those of a capture also the seconds of the request.
   */
  timeout?: number;
  /** Ends a reply early. */
  signal?: AbortSignal;
}

const TIMEOUT = 10_000;
const LINES = 6;

/**
 * Limits of a reply, in UTF-16 code units: of one line, and of a whole result that `ask` collects. A page of a listing has
 * some 30 thousand, the counters of a thousand segments 1.5 million.
 */
const MAX_LINE = 16 << 20;
const MAX_RESULT = 128 << 20;
/**
 * The same, in entries and in values of any kind, which take some 60 bytes each. The table of MAC addresses of a network
 * has 65,536 entries with 6 values each.
 */
const MAX_ENTRIES = 1 << 20;
const MAX_VALUES = 8 << 20;
/** Most lists and objects inside one another; a reply has 6. */
const MAX_DEPTH = 16;
/** Most characters of an error that the VTEP reports. */
const MAX_ERROR = 1000;

/**
 * Sends a request to the VTEP that listens at `path`, and returns the whole result.
 * @throws HostError if no VTEP listens or answers in time, or if the VTEP refuses the request.
 */
export async function ask(path: string, request: Request, options: AskOptions = {}): Promise<unknown> {
  const parts: unknown[][] = [];
  let [length, entries, values] = [0, 0, 0];
  for await (const { result, last, size, count } of replies(path, request, options)) {
    length += size;
    values += count;
    entries += Array.isArray(result) ? result.length : 0;
    if (length > MAX_RESULT) throw tooLong(path, 'result', `longer than ${MAX_RESULT >> 20} MiB`);
    if (entries > MAX_ENTRIES) throw tooLong(path, 'result', `longer than ${MAX_ENTRIES} entries`);
    if (values > MAX_VALUES) throw tooLong(path, 'result', `longer than ${MAX_VALUES} values`);
    if (last && parts.length === 0) return result;
    parts.push(result as unknown[]);
  }
  return parts.flat();
}

/**
 * Sends a request to the VTEP that listens at `path`, and yields the parts of the result as they arrive. The caller may
 * stop early.
 * @throws HostError as `ask` does.
 */
export async function* follow(path: string, request: Request, options: AskOptions = {}): AsyncGenerator<Page> {
  for await (const { result, dropped, last } of replies(path, request, options))
    yield { result: result as unknown[], last, ...(dropped === undefined ? {} : { dropped }) };
}

async function* replies(
  path: string,
  request: Request,
  { timeout = TIMEOUT, signal }: AskOptions,
): AsyncGenerator<{ result: unknown; dropped?: number; last: boolean; size: number; count: number }> {
  const socket = connect(path);
  socket.setEncoding('utf8');
  const abort = (): void => void socket.destroy();
  signal?.addEventListener('abort', abort);
  socket.write(`${JSON.stringify(request)}\n`);
  const chunks = (socket as AsyncIterable<string>)[Symbol.asyncIterator]();
  /** The beginning of the next line, in pieces: to join them for each piece would copy it each time. */
  let pieces: string[] = [];
  let length = 0;
  // Time counts only while this process waits: the caller may take as long as it likes for each part.
  let left = LINES * timeout + (request.command === 'capture' ? request.seconds * 1000 : 0);
  let lineLeft = timeout;
  try {
    for (;;) {
      const began = performance.now();
      const late = (): void => void socket.destroy(new Late());
      const { done, value } = await within(chunks.next(), Math.min(lineLeft, left), late);
      const waited = performance.now() - began;
      lineLeft -= waited;
      left -= waited;
      if (done === true) {
        if (signal?.aborted === true) return;
        throw new HostError(
          `the VTEP at ${path} closed the connection before the end of its reply: it has stopped, or the reply was read too slowly`,
        );
      }
      const [piece, ...starts] = value.split('\n');
      pieces.push(piece!);
      for (const start of starts) {
        const line = pieces.join('');
        pieces = [start];
        const count = valuesIn(line);
        const reply = parseReply(path, line, count);
        if (!reply.ok) throw new HostError(oneLine(reply.error));
        const { result, dropped, more } = reply;
        yield { result, ...(dropped === undefined ? {} : { dropped }), last: more !== true, size: line.length, count };
        if (more !== true) return;
        lineLeft = timeout;
      }
      length = starts.length === 0 ? length + value.length : pieces[0]!.length;
      if (length > MAX_LINE) throw tooLong(path, 'line', `longer than ${MAX_LINE >> 20} MiB`);
    }
  } catch (error) {
    if (signal?.aborted === true) return;
    if (error instanceof Late)
      throw new HostError(
        `the VTEP at ${path} did not answer within ${timeout / 1000} s; check whether its process is stopped or overloaded, or wait longer with --timeout`,
      );
    if (error instanceof HostError) throw error;
    throw new HostError(unreachable(path, codeOf(error)), { cause: error });
  } finally {
    signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
}

/** The VTEP did not answer in time. */
class Late extends Error {}

/** Calls `late` if a promise does not settle in time. */
async function within<T>(promise: Promise<T>, milliseconds: number, late: () => void): Promise<T> {
  // The second step checks the socket again: the delay may be this process's own, if it was suspended.
  let second: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    second = setImmediate(() => (second = setImmediate(late)));
  }, milliseconds);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    clearImmediate(second);
  }
}

/**
 * @param values As `valuesIn` counts them.
 * @throws HostError
 */
function parseReply(path: string, line: string, values: number): Reply {
  if (values > MAX_VALUES) throw tooLong(path, 'line', `longer than ${MAX_VALUES} values`);
  try {
    const reply: unknown = values < 0 ? null : JSON.parse(line);
    if (isReply(reply)) return reply;
  } catch {
    // not a reply of a VTEP
  }
  throw new HostError(`the process that listens on ${path} is not a VTEP: it answered "${oneLine(line.slice(0, 60))}"`);
}

function isReply(value: unknown): value is Reply {
  if (typeof value !== 'object' || value === null) return false;
  const { ok, result, more, dropped, error } = value as Record<string, unknown>;
  if (ok === false) return typeof error === 'string';
  const isList = Array.isArray(result);
  return (
    ok === true &&
    (more === undefined || (more === true && isList)) &&
    (dropped === undefined || (isList && Number.isSafeInteger(dropped) && (dropped as number) >= 0))
  );
}

/**
 * The number of values in a JSON text, about; -1 if it has more than `MAX_DEPTH` levels: what walks over its value later
 * may recurse.
 */
function valuesIn(json: string): number {
  let depth = 0;
  let values = 0;
  let inString = false;
  for (let i = 0; i < json.length; i++) {
    const char = json[i]!;
    if (char === '"') inString = !inString;
    else if (inString) i += char === '\\' ? 1 : 0;
    else if (char === '[' || char === '{') {
      if (++depth > MAX_DEPTH) return -1;
      values++;
    } else if (char === ',') values++;
    else if (char === ']' || char === '}') depth--;
  }
  return values;
}

/** Text of the VTEP as a part of an error: one line, not longer than a person reads. */
function oneLine(text: string): string {
  const line = text
    .slice(0, MAX_ERROR)
    .trim()
    .replace(/\s*[\r\n\u2028\u2029]+\s*/g, '; ');
  return text.length > MAX_ERROR ? `${line}...` : line;
}

function tooLong(path: string, what: string, how: string): HostError {
  return new HostError(
    `the process that listens on ${path} is not a VTEP, or has too much to say: a ${what} of its reply is ${how}`,
  );
}

function unreachable(path: string, code: string): string {
  switch (code) {
    case 'ENOENT':
      return `there is no control socket at ${path}; start the VTEP with --control ${path}`;
    case 'ECONNREFUSED':
      // The system says the same of what is no socket.
      if (statSync(path, { throwIfNoEntry: false })?.isSocket() === false) return `${path} is not a socket`;
      return `no process listens on ${path}; start the VTEP with --control ${path}`;
    case 'EACCES':
      return `${path}: permission denied; run this command as the user who started the VTEP`;
    case 'ENOTSOCK':
      return `${path} is not a socket`;
    case 'EAGAIN':
      return `the VTEP at ${path} accepts no connections; check whether its process is stopped or overloaded`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `the VTEP at ${path} closed the connection before the end of its reply; it has stopped`;
    default:
      return `the VTEP at ${path} cannot be reached: ${code}`;
  }
}

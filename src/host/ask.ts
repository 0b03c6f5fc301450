/** A client of the control socket; control.ts documents the protocol. */
import { connect } from 'node:net';
import { type Reply, type Request } from '../schema/index.js';
import { codeOf, HostError } from './error.js';
import { type Page } from './pages.js';

export interface AskOptions {
  /** Milliseconds to wait for the connection and for each line of the reply. Default 10,000. */
  timeout?: number;
  /** Ends a reply early. */
  signal?: AbortSignal;
}

const TIMEOUT = 10_000;

/**
 * Sends a request to the VTEP that listens at `path`, and returns the whole result.
 * @throws HostError if no VTEP listens or answers in time, or if the VTEP refuses the request.
 */
export async function ask(path: string, request: Request, options: AskOptions = {}): Promise<unknown> {
  const parts: unknown[][] = [];
  for await (const { result, last } of replies(path, request, options)) {
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
  for await (const page of replies(path, request, options)) yield { ...page, result: page.result as unknown[] };
}

async function* replies(
  path: string,
  request: Request,
  { timeout = TIMEOUT, signal }: AskOptions,
): AsyncGenerator<{ result: unknown; dropped?: number; last: boolean }> {
  const socket = connect(path);
  socket.setEncoding('utf8');
  const abort = (): void => void socket.destroy();
  signal?.addEventListener('abort', abort);
  socket.write(`${JSON.stringify(request)}\n`);
  const chunks = (socket as AsyncIterable<string>)[Symbol.asyncIterator]();
  let text = '';
  let searched = 0;
  try {
    for (;;) {
      const end = text.indexOf('\n', searched);
      if (end >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        searched = 0;
        const reply = parseReply(path, line);
        if (!reply.ok) throw new HostError(reply.error);
        const { result, dropped, more } = reply;
        yield { result, ...(dropped === undefined ? {} : { dropped }), last: more !== true };
        if (more !== true) return;
        continue;
      }
      searched = text.length;
      const { done, value } = await within(chunks.next(), timeout, () => socket.destroy(new Late()));
      if (done === true) {
        if (signal?.aborted === true) return;
        throw new HostError(
          `the VTEP at ${path} closed the connection before the end of its reply: it has stopped, or the reply was read too slowly`,
        );
      }
      text += value;
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

/** @throws HostError */
function parseReply(path: string, line: string): Reply {
  try {
    const reply = JSON.parse(line) as Reply;
    if (typeof reply.ok === 'boolean') return reply;
  } catch {
    // not a reply of a VTEP
  }
  throw new HostError(`the process that listens on ${path} is not a VTEP: it answered "${line.slice(0, 60)}"`);
}

function unreachable(path: string, code: string): string {
  switch (code) {
    case 'ENOENT':
      return `there is no control socket at ${path}; start the VTEP with --control ${path}`;
    case 'ECONNREFUSED':
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

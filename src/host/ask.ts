/** A client of the control socket; control.ts documents the protocol. */
import { statSync } from 'node:fs';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Value } from '@sinclair/typebox/value';
import { type TSchema } from '@sinclair/typebox';
import {
  COMMANDS,
  ERROR_BODY,
  httpRequestOf,
  JSON_TYPE,
  type ControlRequest,
  type ErrorBody,
  type Kind,
} from '../schema/index.js';
import { codeOf, HostError, RequestError } from './error.js';
import { JsonParts, TooMuch, type PartLimits } from './json-parts.js';
import { type Page } from './pages.js';

export interface AskOptions {
  /**
   * Milliseconds to wait for the connection and for each entry of the response, or for the whole if it is one value.
   * Default 10,000. All entries together may take `PARTS` times as long, those of a capture also the seconds of the
   * request. A value may take `STEPS` times as long while the VTEP says that its work goes on.
   */
  timeout?: number;
  /** Ends a response early. */
  signal?: AbortSignal;
}

const TIMEOUT = 10_000;
const PARTS = 6;
const STEPS = 60;
/** The status of an interim response: the work goes on (RFC 2518, section 10.1). */
const PROCESSING = 102;

/**
 * Limits of a response. An entry of a listing has some 100 code units, and the counters of a thousand segments, which are
 * one value, 1.5 million. The table of MAC addresses of a network has 65,536 entries with 6 values each.
 */
const LIMITS: PartLimits = {
  length: 128 << 20,
  entries: 1 << 20,
  values: 8 << 20,
  entry: 16 << 20,
  depth: 32,
};
/** A stream of events goes on as long as the client wants, and is not collected. */
const ENDLESS: PartLimits = { ...LIMITS, length: Infinity, entries: Infinity, values: Infinity };
/** Most bytes of the first line and the headers of a response. */
const MAX_HEADERS = 1 << 14;
/** Most characters of an error that the VTEP reports. */
const MAX_ERROR = 1000;
/** Most wrong fields of such an error. */
const MAX_FIELDS = 50;

/**
 * Sends a request to the VTEP that listens at `path`, and returns the whole result: of a stream, all events in a list.
 * @throws RequestError if no VTEP listens or answers in time, or if the VTEP refuses the request; HostError if what
 * answers is no VTEP.
 */
export async function ask(path: string, request: ControlRequest, options: AskOptions = {}): Promise<unknown> {
  const parts: (readonly unknown[])[] = [];
  let entries = 0;
  for await (const part of partsOf(path, request, LIMITS, options)) {
    if (!Array.isArray(part.result)) return part.result;
    entries += part.result.length;
    if (entries > LIMITS.entries) throw tooMuch(path, new TooMuch('result', `longer than ${LIMITS.entries} entries`));
    parts.push(part.result as readonly unknown[]);
  }
  return parts.flat();
}

/**
 * Sends a request for a list or a stream to the VTEP that listens at `path`, and yields its entries as they arrive. The
 * caller may stop early.
 * @throws RequestError and HostError as `ask` does.
 */
export async function* follow(path: string, request: ControlRequest, options: AskOptions = {}): AsyncGenerator<Page> {
  const limits = COMMANDS[request.command].kind === 'events' ? ENDLESS : LIMITS;
  for await (const part of partsOf(path, request, limits, options))
    yield { ...part, result: Array.isArray(part.result) ? part.result : [part.result] };
}

/** A part of a result: the value of a command that answers one, or entries. */
interface Part extends Omit<Page, 'result'> {
  result: unknown;
}

/** Asks again, for as long as the caller waits for a connection, if the VTEP has no place for a further client. */
async function* partsOf(
  path: string,
  request: ControlRequest,
  limits: PartLimits,
  options: AskOptions,
): AsyncGenerator<Part> {
  const { timeout = TIMEOUT, signal } = options;
  const end = performance.now() + timeout;
  for (;;)
    try {
      return yield* partsOnce(path, request, limits, options);
    } catch (error) {
      // Nothing was done, and no part has come.
      const pause = error instanceof RequestError ? (error.retryAfter ?? Infinity) * 1000 : Infinity;
      if (performance.now() + pause > end) throw error;
      await sleep(pause, undefined, { ...(signal === undefined ? {} : { signal }) }).catch(() => undefined);
      if (signal?.aborted === true) return;
    }
}

async function* partsOnce(
  path: string,
  request: ControlRequest,
  limits: PartLimits,
  { timeout = TIMEOUT, signal }: AskOptions,
): AsyncGenerator<Part> {
  const { kind } = COMMANDS[request.command];
  const call = open(path, request);
  let failure: Error | undefined;
  call.on('error', (error) => (failure ??= error));
  const abort = (): void => void call.destroy();
  signal?.addEventListener('abort', abort);
  if (signal?.aborted === true) abort();
  // Time counts only while this process waits: the caller may take as long as it likes for each part.
  const all = (kind === 'value' ? STEPS : PARTS) * timeout;
  let left = request.command === 'capture' ? all + request.seconds * 1000 : all;
  if (kind === 'events' && request.command !== 'capture') left = Infinity;
  let partLeft = timeout;
  let isLate = false;
  const late = (): void => {
    isLate = true;
    call.destroy();
  };
  let goesOn: () => void = () => undefined;
  if (kind === 'value') call.on('information', ({ statusCode }) => void (statusCode === PROCESSING && goesOn()));
  const timed = async <T>(promise: Promise<T>): Promise<T> => {
    for (;;) {
      const step = new Promise<typeof STEP>((resolve) => (goesOn = () => resolve(STEP)));
      const began = performance.now();
      const value = await within(Promise.race([promise, step]), Math.min(partLeft, left), late);
      const waited = performance.now() - began;
      partLeft = value === STEP ? timeout : partLeft - waited;
      left -= waited;
      if (value !== STEP) return value;
    }
  };
  try {
    const response = await timed(responseTo(call, path));
    response.setEncoding('utf8');
    const failed = (response.statusCode ?? 0) !== 200;
    const reader = new Reader(path, failed ? 'value' : kind, failed ? LIMITS : limits);
    const chunks = (response as AsyncIterable<string>)[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await timed(chunks.next());
      if (done === true) break;
      const part = reader.push(value);
      if (part === undefined) continue;
      if (part.result !== undefined) yield part;
      partLeft = timeout;
    }
    const last = reader.end();
    if (failed) throw refusal(path, last, response.headers['retry-after']);
    if (kind === 'value') yield { result: last, last: true };
  } catch (error) {
    if (signal?.aborted === true) return;
    throw isLate
      ? tooLate(path, left > 0 ? timeout : all)
      : explained(error instanceof HostError ? error : (failure ?? error), path);
  } finally {
    signal?.removeEventListener('abort', abort);
    call.destroy();
  }
}

function open(path: string, request: ControlRequest): ClientRequest {
  const { method, target, body } = httpRequestOf(request);
  const call = httpRequest({
    socketPath: path,
    host: 'vtep',
    method,
    path: target,
    agent: false,
    maxHeaderSize: MAX_HEADERS,
    headers: body === undefined ? {} : { 'Content-Type': JSON_TYPE, 'Content-Length': Buffer.byteLength(body) },
  });
  call.end(body);
  return call;
}

function responseTo(call: ClientRequest, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    call.on('response', resolve).on('error', reject);
    call.on('upgrade', (_, socket) => {
      socket.destroy();
      reject(noVtep(path, '101 Switching Protocols'));
    });
    call.on('close', () => reject(new Cut()));
  });
}

/** Reads a response of one kind. */
class Reader {
  readonly #path: string;
  readonly #kind: Kind;
  readonly #parts: JsonParts;
  /** The beginning of the response, for an error. */
  #beginning = '';
  /** The last event of a stream, or that it has not arrived. */
  #ended = false;

  constructor(path: string, kind: Kind, limits: PartLimits) {
    this.#path = path;
    this.#kind = kind;
    this.#parts = new JsonParts(({ value: 'value', list: 'list', events: 'lines' } as const)[kind], limits);
  }

  /** @returns the entries that a piece completes; `undefined` if it completes none. */
  push(piece: string): Part | undefined {
    if (this.#beginning.length < 60) this.#beginning += piece.slice(0, 60);
    const entries = this.#parsed(() => this.#parts.push(piece));
    if (entries.length === 0) return undefined;
    return this.#kind === 'events' ? this.#events(entries) : { result: entries };
  }

  /** @returns the value, if the response is one. */
  end(): unknown {
    const value = this.#parsed(() => this.#parts.end());
    if (this.#kind === 'events' && !this.#ended) throw new Cut();
    return value;
  }

  #parsed<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      if (error instanceof TooMuch) throw tooMuch(this.#path, error);
      throw noVtep(this.#path, this.#beginning);
    }
  }

  #events(events: readonly unknown[]): Part {
    const result: unknown[] = [];
    let dropped: number | undefined;
    for (const event of events) {
      if (this.#ended || typeof event !== 'object' || event === null) throw noVtep(this.#path, this.#beginning);
      const { event: name, ...rest } = event as Record<string, unknown>;
      if (name === 'error') throw refusal(this.#path, rest);
      if (name === 'packet' || name === 'notice') result.push(rest);
      else if (name !== 'status' && name !== 'end') result.push(event);
      if (Number.isSafeInteger(rest['dropped']) && (name === 'status' || name === 'end'))
        dropped = rest['dropped'] as number;
      if (name === 'end') this.#ended = true;
    }
    return { result, ...(dropped === undefined ? {} : { dropped }), ...(this.#ended ? { last: true } : {}) };
  }
}

const STEP = Symbol('the work goes on');

/** The response has no end. */
class Cut extends Error {}

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

/** The error of a response that is none of status 200. */
function refusal(path: string, body: unknown, after?: string): HostError {
  if (!Value.Check(ERROR_BODY as unknown as TSchema, body)) return noVtep(path, JSON.stringify(body) ?? '');
  const { code, message, fields } = (body as ErrorBody).error;
  const some = fields?.slice(0, MAX_FIELDS).map((field) => ({
    path: oneLine(field.path, 100),
    message: oneLine(field.message),
    ...(field.expected === undefined ? {} : { expected: oneLine(field.expected) }),
    ...(field.given === undefined ? {} : { given: oneLine(field.given) }),
  }));
  const retryAfter = after !== undefined && /^[1-9]\d{0,3}$/.test(after) ? Number(after) : undefined;
  return new RequestError(code, oneLine(message), { retryAfter, ...(some === undefined ? {} : { fields: some }) });
}

function tooLate(path: string, timeout: number): RequestError {
  return new RequestError(
    'timeout',
    `the VTEP at ${path} did not answer within ${timeout / 1000} s; check whether its process is stopped or overloaded`,
  );
}

function explained(error: unknown, path: string): HostError {
  if (error instanceof HostError) return error;
  const { rawPacket } = error as { rawPacket?: Uint8Array };
  if (rawPacket !== undefined) return noVtep(path, Buffer.from(rawPacket.subarray(0, 240)).toString());
  const code = error instanceof Cut ? 'ECONNRESET' : codeOf(error);
  if (code.startsWith('HPE_')) return noVtep(path, '');
  return new RequestError('unreachable', unreachable(path, code), { cause: error });
}

/** Text of the VTEP as a part of an error: one line, not longer than a person reads. */
function oneLine(text: string, most = MAX_ERROR): string {
  const line = text
    .slice(0, 2 * most)
    .trim()
    .replace(/\s*[\r\n\u2028\u2029]+\s*/g, '; ');
  return line.length > most || text.length > 2 * most ? `${line.slice(0, most)}...` : line;
}

function noVtep(path: string, answer: string): HostError {
  return new HostError(
    `the process that listens on ${path} is not a VTEP of this version: it answered "${oneLine(answer.slice(0, 60))}"`,
  );
}

function tooMuch(path: string, { what, message }: TooMuch): HostError {
  const where = what === 'entry' ? 'an entry' : 'a result';
  return new HostError(
    `the process that listens on ${path} is not a VTEP, or has too much to say: ${where} of its reply is ${message}`,
  );
}

function unreachable(path: string, code: string): string {
  switch (code) {
    case 'ENOENT':
      return `there is no control socket at ${path}`;
    case 'ECONNREFUSED':
      // The system says the same of what is no socket.
      if (statSync(path, { throwIfNoEntry: false })?.isSocket() === false) return `${path} is not a socket`;
      return `no process listens on ${path}`;
    case 'EACCES':
      return `${path}: permission denied; run this command as the user who started the VTEP`;
    case 'ENOTSOCK':
      return `${path} is not a socket`;
    case 'EAGAIN':
      return `the VTEP at ${path} accepts no connections; check whether its process is stopped or overloaded`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `the VTEP at ${path} closed the connection before the end of its reply: it has stopped, or the reply was read too slowly`;
    default:
      return `the VTEP at ${path} cannot be reached: ${code}`;
  }
}

/** One connection of the control socket: answers the requests of a client; control.ts documents the protocol. */
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { type Socket } from 'node:net';
import {
  COMMANDS,
  errorField,
  ERRORS,
  EVENTS_TYPE,
  JSON_TYPE,
  openApi,
  requestOf,
  routeOf,
  SchemaError,
  type ControlRequest,
  type ErrorBody,
  type ErrorCode,
  type ErrorField,
  type Method,
  type NodeRequest,
  type Request,
} from '../schema/index.js';
import { EventText, ListText, text, valueText, type Failure } from './control-text.js';
import { codeOf, HostError, RequestError } from './error.js';
import { jsonBody } from './json-body.js';
import { isPages, pagesOf, type Page } from './pages.js';
import { version } from './version.js';

/** Characters in a part of a value. */
const PART = 1 << 14;

/** A request, and the response to it. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  /** The client waits for a sign to send the body (RFC 9110, section 10.1.1), or expects what nobody knows. */
  expects?: 'continue' | 'unknown';
}

/** Limits on the VTEP's time and memory that one client may use. */
export interface ControlLimits {
  /**
   * Most connections that are served at a time. A further one waits until one of them ends, and replaces the one that has
   * been idle longest, if that is idle for `fresh`. A connection is idle until the VTEP has received the whole of a
   * request.
   */
  clients: number;
  /** Most connections that wait. A further one is refused. */
  waiting: number;
  /** Most connections that have been refused or replaced, and that the client has not closed. */
  leaving: number;
  /** Milliseconds that a connection waits; then it is refused. */
  wait: number;
  /** Milliseconds that a connection must have been idle before another one may replace it. */
  fresh: number;
  /** Most bytes of the body of one request. A connection buffers at most that and one read of the socket. */
  request: number;
  /** Most bytes of the first line and the headers of one request. */
  headers: number;
  /** Most requests that a client may send ahead, before the first of them is answered. */
  ahead: number;
  /** Milliseconds that a client may leave a part of a response unread; then the connection is closed. */
  stall: number;
  /** Milliseconds that a connection may have no request in progress; then it is closed. */
  idle: number;
  /** Milliseconds that a client has to read the rest of its responses when the VTEP stops. */
  grace: number;
}

/**
 * Returns the result of a request: a value, an array, or an `AsyncIterable<Page>` for a list and a stream of events. A
 * stream yields a page at least once per second, without entries if nothing happens: the client counts on it, and one
 * that has gone is noticed by it.
 * @param gone Aborted when the client disconnects or the VTEP stops: the pages then end.
 * @param goesOn Tells the client that the work for a value goes on, so that it waits longer. To be called about once per second.
 */
export type Handler = (request: Request | NodeRequest, gone: AbortSignal, goesOn: () => void) => Promise<unknown>;

/** One connection. It answers requests one at a time, and reads them only as fast as it answers them. */
export class Client {
  /** When the last request was answered, or `Infinity` while one is in progress. */
  idleSince = performance.now();
  readonly socket: Socket;
  readonly #handle: Handler;
  readonly #limits: ControlLimits;
  readonly #turns: Turns;
  readonly #gone = new AbortController();
  readonly #waiting: Exchange[] = [];
  #serving = false;
  /** The body of the first request is still being read, and nothing of its response has been sent. */
  #receiving = false;
  /** An error was sent that answers no request. */
  #refused = false;
  /** To send behind the last response. */
  #last: RequestError | undefined;
  /** No further request is accepted. */
  #ended = false;
  #idle: NodeJS.Timeout | undefined;
  /** Called when the socket or the response has news. */
  #wake: () => void = () => undefined;

  constructor(socket: Socket, handle: Handler, limits: ControlLimits, turns: Turns) {
    this.socket = socket;
    this.#handle = handle;
    this.#limits = limits;
    this.#turns = turns;
    socket.on('error', () => this.destroy()); // the parser takes its own listener away when it fails
    socket.on('close', () => {
      this.#ended = true;
      clearTimeout(this.#idle);
      this.#gone.abort();
      this.#wake();
    });
    this.#rest();
  }

  /** Queues a request. */
  add(exchange: Exchange): void {
    if (this.#ended) return;
    // The parser passes on every request of one read, however many these are.
    if (this.#waiting.length >= this.#limits.ahead) return this.destroy();
    this.#waiting.push(exchange);
    if (!this.#serving) void this.#serve();
  }

  /** Closes the connection after the response in progress. */
  end(): void {
    this.#ended = true;
    this.#waiting.length = 0;
    this.#gone.abort();
    if (!this.#serving) this.destroy();
  }

  destroy(): void {
    this.#ended = true;
    this.socket.destroy();
  }

  /** Handles what is no request of HTTP/1.1, or an error of the connection. */
  malformed(error: Error): void {
    const { rawPacket } = error as { rawPacket?: Uint8Array };
    const code = codeOf(error);
    if (rawPacket === undefined && !code.startsWith('HPE_')) return this.destroy();
    if (code === 'HPE_HEADER_OVERFLOW')
      return this.refuse(
        new RequestError('headers-too-large', `the headers must have at most ${this.#limits.headers} bytes`),
      );
    // Without the bytes of the request: they may be a key.
    const remedy = 'for example, "curl --unix-socket PATH http://vtep/v1/counters"';
    this.refuse(
      new RequestError(
        'invalid-request',
        `the request is not one of HTTP/1.1 (${code}); use an HTTP client: ${remedy}`,
      ),
    );
  }

  /** Sends an error that answers no request, after the responses in progress, and closes the connection. */
  refuse(error: RequestError): void {
    if (this.#refused) return; // the parser reports each further read
    if (this.#serving && !this.#receiving) return void (this.#last ??= error);
    if (this.#ended || !this.socket.writable) return this.destroy();
    this.#refused = true;
    this.#ended = true;
    clearTimeout(this.#idle);
    this.socket.end(rawError(error));
    // A client whose write fails may not read the response.
    this.socket.resume();
    this.socket.once('end', () => this.destroy());
    setTimeout(() => this.destroy(), this.#limits.grace).unref();
  }

  /** Closes the connection if no request is complete in time. Parts of a request do not extend it. */
  #rest(): void {
    this.idleSince = performance.now();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.destroy(), this.#limits.idle);
    this.#idle.unref();
  }

  async #serve(): Promise<void> {
    this.#serving = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { request, response } = next;
      if (this.#last !== undefined && !request.complete) break; // the parser failed in its body: the rest never comes
      response.on('drain', () => this.#wake()).on('close', () => this.#wake());
      response.on('error', () => this.destroy());
      await this.#answer(next);
      if (this.#ended) break;
      this.#rest();
    }
    this.#serving = false;
    if (!this.#ended) return this.#last === undefined ? undefined : this.refuse(this.#last);
    if (this.socket.destroyed) return;
    // Responses that the client does not read must not hold the connection.
    const late = setTimeout(() => this.destroy(), this.#limits.stall);
    this.socket.end(() => this.destroy()).on('close', () => clearTimeout(late));
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { request, response } = exchange;
    let allow: readonly string[] = [];
    let unread = hasBody(request);
    try {
      const target = targetOf(request.url ?? '');
      const route = routeOf(target.path);
      const known = request.method === 'OPTIONS' && target.path === '*' ? { methods: {}, fields: {} } : route;
      if (known === undefined)
        throw new RequestError('not-found', 'nothing is at this path; GET /v1/openapi.json describes all paths');
      allow = methodsOf(known.methods);
      if (request.method === 'OPTIONS' && !unread) return await this.#send(exchange, 204, { Allow: allow.join(', ') });
      const command = known.methods[(request.method === 'HEAD' ? 'GET' : request.method) as Method];
      if (command === undefined) throw new RequestError('method-not-allowed', `the methods are ${allow.join(', ')}`);
      if (exchange.expects === 'unknown') throw new RequestError('expectation-failed', 'Expect: only 100-continue');
      const body = unread ? await this.#body(exchange) : undefined;
      if (this.#ended) return; // the client has gone
      unread = false;
      const asked = requestOf(command, known.fields, target.query, body);
      clearTimeout(this.#idle);
      this.idleSince = Infinity;
      await this.#turns.next();
      const { kind } = COMMANDS[command];
      const type = { 'Content-Type': kind === 'events' ? EVENTS_TYPE : JSON_TYPE };
      if (request.method === 'HEAD') await this.#send(exchange, 200, type);
      else if (kind === 'value') await this.#sendValue(exchange, type, await this.#result(asked, exchange));
      else await this.#stream(exchange, type, pagesIn(await this.#result(asked, exchange)), kind);
    } catch (error) {
      if (response.headersSent) return this.destroy();
      const { code, status, body } = failureOf(error);
      const more = code === 'method-not-allowed' ? { Allow: allow.join(', ') } : {};
      await this.#send(exchange, status, { 'Content-Type': JSON_TYPE, ...more }, body, unread);
    }
  }

  #result(asked: ControlRequest, { request, response }: Exchange): Promise<unknown> {
    if (asked.command === 'version') return Promise.resolve({ version: version() });
    if (asked.command === 'openapi') return Promise.resolve(openApi(version()));
    return this.#handle(asked, this.#gone.signal, () => {
      // A client of HTTP/1.0 takes no interim response (RFC 9110, section 15.2).
      if (
        COMMANDS[asked.command].kind === 'value' &&
        request.httpVersion !== '1.0' &&
        !response.headersSent &&
        this.socket.writable
      )
        response.writeProcessing();
    });
  }

  /** Reads the body of a request. @throws RequestError if it is too large or not JSON. */
  async #body({ request, response, expects }: Exchange): Promise<unknown> {
    const { request: most } = this.#limits;
    const tooLarge = new RequestError('too-large', `the body must have at most ${most} bytes`);
    const type = request.headers['content-type'];
    if (type !== undefined && !/^application\/json\s*(;|$)/i.test(type))
      throw new RequestError(
        'unsupported-media-type',
        `the body must be JSON, with the header Content-Type: ${JSON_TYPE} (curl --json sends it)`,
      );
    if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge;
    if (expects === 'continue') response.writeContinue();
    // Not a list of the chunks: each may have a single octet.
    let buffer = Buffer.alloc(Math.min(most, 4096));
    let length = 0;
    this.#receiving = true;
    const whole = await new Promise<boolean>((resolve) => {
      request
        .on('data', (chunk: Buffer) => {
          const at = length;
          length += chunk.length;
          if (length > most) return resolve(true);
          if (length > buffer.length) buffer = Buffer.concat([buffer], Math.min(most, 2 * length));
          chunk.copy(buffer, at);
        })
        .on('end', () => resolve(true))
        .on('close', () => resolve(false))
        .on('error', () => resolve(false));
    });
    this.#receiving = false;
    if (!whole) return undefined;
    if (length > most) throw tooLarge;
    return length === 0 ? undefined : jsonBody(buffer.subarray(0, length));
  }

  /**
   * Sends a response in one piece.
   * @param unread Whether the client may still be sending: one whose write fails may not read the response, so the
   * connection stays until it has sent all, or for the grace period.
   */
  async #send(
    { request, response, expects }: Exchange,
    status: number,
    headers: Record<string, string>,
    body = '',
    unread = false,
  ): Promise<void> {
    const length = status === 204 ? {} : { 'Content-Length': Buffer.byteLength(body) };
    // The length of a GET's response is not known without its result.
    const own = request.method === 'HEAD' && status === 200 ? {} : length;
    if (unread) this.#ended = true;
    response.writeHead(status, { ...headers, ...own, ...COMMON, ...(unread ? { Connection: 'close' } : {}) });
    if (!unread || expects === 'continue') {
      response.end(body);
      return this.#finish(response);
    }
    response.write(body);
    this.idleSince = performance.now();
    request.resume();
    const deadline = this.idleSince + this.#limits.grace;
    request.on('end', () => this.#wake());
    for (let left = this.#limits.grace; left > 0 && !request.complete; left = deadline - performance.now()) {
      await this.#woken(left);
      if (this.socket.destroyed) return;
    }
    this.socket.end();
    this.destroy();
  }

  /** Sends a value, in parts if its text is long. */
  async #sendValue(exchange: Exchange, type: Record<string, string>, value: unknown): Promise<void> {
    const { response } = exchange;
    let part = '';
    for (const piece of valueText(value)) {
      if (part.length > PART) {
        if (!response.headersSent) response.writeHead(200, { ...type, ...COMMON });
        if (!(await this.#write(response, part))) return;
        part = '';
        await this.#turns.next();
      }
      part += piece;
    }
    if (!response.headersSent) return this.#send(exchange, 200, type, `${part}\n`);
    response.end(`${part}\n`);
    await this.#finish(response);
  }

  /** Writes the pages of a list or of a stream of events. */
  async #stream(
    exchange: Exchange,
    type: Record<string, string>,
    pages: AsyncIterable<Page>,
    kind: 'list' | 'events',
  ): Promise<void> {
    const { response } = exchange;
    const writer = kind === 'list' ? new ListText() : new EventText();
    try {
      for await (const page of pages) {
        if (page.last === true && !response.headersSent)
          return await this.#send(exchange, 200, type, writer.add(page) + writer.end());
        if (!response.headersSent) response.writeHead(200, { ...type, ...COMMON }); // the first page may throw
        if (page.last === true) {
          response.end(writer.add(page) + writer.end());
          return await this.#finish(response);
        }
        if (!(await this.#write(response, writer.add(page)))) return;
        await this.#turns.next();
      }
      if (!response.headersSent) return await this.#send(exchange, 200, type, writer.end());
      response.end(writer.end());
      await this.#finish(response);
    } catch (error) {
      if (!response.headersSent) throw error;
      const last = writer.failed(failureOf(error));
      if (last !== '') response.write(last);
      this.#ended = true; // without the last chunk
    }
  }

  /**
   * Writes a part of a response and waits until the client has read it, or most of it: the system buffers some 200 KiB
   * per socket.
   * @returns false if the client has disconnected, or was disconnected because it does not read.
   */
  async #write(response: ServerResponse, part: string): Promise<boolean> {
    const { socket } = this;
    if (!socket.writable || socket.destroyed) return false;
    if (part === '' || response.write(part)) return true;
    const deadline = performance.now() + this.#limits.stall;
    while (!socket.destroyed && response.writableNeedDrain)
      if (!(await this.#woken(deadline - performance.now()))) this.destroy();
    return !socket.destroyed;
  }

  /** Waits until the client has read the rest of a response. */
  async #finish(response: ServerResponse): Promise<void> {
    const deadline = performance.now() + this.#limits.stall;
    while (!this.socket.destroyed && !response.writableFinished)
      if (!(await this.#woken(deadline - performance.now()))) this.destroy();
  }

  /** Waits for an event. @returns false if none came within `milliseconds`. */
  #woken(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (woken: boolean): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve(woken);
      };
      const timer = setTimeout(() => settle(false), Math.max(0, milliseconds));
      timer.unref();
      this.#wake = () => settle(true);
    });
  }
}

/**
 * Gives one turn in each round of the event loop, in order of request. The packets and timers of this thread therefore
 * wait for at most one page of one client, regardless of the number of clients.
 */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  next(): Promise<void> {
    return (this.#last = this.#last.then(() => new Promise((resolve) => setImmediate(resolve))));
  }
}

/** An error as a whole HTTP response, for a connection without a request. */
export function rawError(error: RequestError): string {
  const { status, body } = failureOf(error);
  const length = Buffer.byteLength(body);
  const lines = [
    `HTTP/1.1 ${status} ${error.code}`,
    `Content-Type: ${JSON_TYPE}`,
    `Content-Length: ${length}`,
    'Connection: close',
    ...(status === 503 ? ['Retry-After: 1'] : []),
  ];
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** Headers of every response: a result is true for a moment only. */
const COMMON = { 'Cache-Control': 'no-store' } as const;

function pagesIn(result: unknown): AsyncIterable<Page> {
  if (isPages(result)) return result;
  if (Array.isArray(result)) return pagesOf(result);
  throw new Error('the handler of a list returned none');
}

function methodsOf(methods: Partial<Record<Method, unknown>>): string[] {
  return [...Object.keys(methods), ...(methods.GET === undefined ? [] : ['HEAD']), 'OPTIONS'];
}

/** Whether a request has a body (RFC 9112, section 6). */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/** The path and the query of a request target (RFC 9112, section 3.2); of an absolute one, the host is ignored. */
function targetOf(url: string): { path: string; query: URLSearchParams } {
  const own = url.replace(/^https?:\/\/[^/?]*/i, '');
  const at = own.indexOf('?');
  return { path: at < 0 ? own : own.slice(0, at), query: new URLSearchParams(at < 0 ? '' : own.slice(at + 1)) };
}

function failureOf(error: unknown): Failure {
  const code = errorCodeOf(error);
  const { lines } = error as { lines?: readonly string[] };
  const message = lines?.join('; ') ?? (error as Error).message;
  const fields = fieldsOf(error);
  const body: ErrorBody = { error: { code, message, ...(fields.length === 0 ? {} : { fields }) } };
  return { code, status: ERRORS[code][0], body: `${text(body)}\n` };
}

function fieldsOf(error: unknown): ErrorField[] {
  if (error instanceof SchemaError) return error.problems.map(errorField);
  return error instanceof RequestError ? [...error.fields] : [];
}

function errorCodeOf(error: unknown): ErrorCode {
  if (error instanceof SchemaError) return 'invalid-request';
  if (error instanceof RequestError) return error.code in ERRORS ? (error.code as ErrorCode) : 'unavailable';
  if (error instanceof RangeError) return 'conflict'; // a machine's table is full
  return error instanceof HostError ? 'unavailable' : 'internal';
}

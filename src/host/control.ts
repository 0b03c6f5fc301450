/**
 * The control socket: requests to a running VTEP and its replies, over a Unix socket of mode 0600.
 *
 * A client writes requests and reads replies. Both are newline-delimited JSON: one object per line. The VTEP answers
 * the requests of a connection one after the other. src/schema/control.ts defines the requests.
 *
 *     -> {"command":"counters"}
 *     <- {"ok":true,"result":{"vtep":{...},"engine":{...}}}
 *     -> {"command":"fdb","vni":4097}
 *     <- {"ok":true,"more":true,"result":[{...},{...}]}
 *     <- {"ok":true,"result":[{...}]}
 *     -> {"command":"fly"}
 *     <- {"ok":false,"error":"command: expected one of fdb, neighbors, ..."}
 *
 * A listing and a capture reply with a list. A long list takes several lines: `result` holds a part of it, and every line
 * but the last has `"more":true`. A line with `"ok":false` ends a reply as well.
 *
 * A capture writes its first line when it starts to record, further ones as packets pass, and at least one per second,
 * with an empty list if no packet passed. `dropped` counts the packets so far that passed but are not in the list,
 * because the client or the VTEP was too slow. The capture ends when the client closes the connection.
 *
 *     -> {"command":"capture","count":2,"seconds":10}
 *     <- {"ok":true,"more":true,"result":[],"dropped":0}
 *     <- {"ok":true,"more":true,"result":[{"time":"1700000000000000000","place":"eth0",...}],"dropped":0}
 *     <- {"ok":true,"result":[{...}],"dropped":0}
 *
 * No client can stop or delay the data path, or make the VTEP's memory grow: see `ControlLimits`.
 */
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { parseRequest, type Reply, type Request } from '../schema/index.js';
import { codeOf, HostError } from './error.js';
import { type Page } from './pages.js';

/** Limits on the VTEP's time and memory that one client may use. */
export interface ControlLimits {
  /**
   * Most connections at a time. A further connection replaces the one that has been idle longest; if none is idle, the
   * new one is closed.
   */
  clients: number;
  /** Most UTF-16 code units of one request. A connection buffers at most that and one read of the socket. */
  request: number;
  /** Milliseconds that a client may leave a line of a reply unread; then the connection is closed. */
  stall: number;
  /** Milliseconds that a connection may have no request in progress; then it is closed. */
  idle: number;
  /** Milliseconds that a client has to read the rest of its replies when the VTEP stops. */
  grace: number;
}

const LIMITS: ControlLimits = { clients: 64, request: 1 << 18, stall: 10_000, idle: 300_000, grace: 500 };

/**
 * Returns the result of a request, or its pages one by one.
 * @param gone Aborted when the client disconnects or the VTEP stops: the pages then end.
 */
export type Handler = (request: Request, gone: AbortSignal) => Promise<unknown>;

/** Longest path of a socket in bytes: `sun_path` of unix(7) without its NUL. */
const MAX_PATH = 107;

export interface Control {
  /** Closes every connection and removes the socket. */
  close(): Promise<void>;
}

/**
 * Listens at `path`, mode 0600. Replaces a socket without a listener.
 * @throws HostError if the path is taken or the socket cannot be created.
 */
export async function serveControl(
  path: string,
  handle: Handler,
  limits: Partial<ControlLimits> = {},
): Promise<Control> {
  // Node would truncate it.
  if (Buffer.byteLength(path) > MAX_PATH)
    throw new HostError(`${path}: the path is longer than ${MAX_PATH} bytes; choose a shorter one`);
  await clear(path);
  const bounds = { ...LIMITS, ...limits };
  const turns = new Turns();
  const clients = new Set<Client>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (clients.size >= bounds.clients && !closeIdle(clients)) {
      const error = `${bounds.clients} clients are connected, which is the limit; close one of them`;
      socket.on('error', () => socket.destroy());
      socket.end(lineOf({ ok: false, error }), () => socket.destroy());
      return;
    }
    const client = new Client(socket, handle, bounds, turns);
    clients.add(client);
    socket.on('close', () => clients.delete(client));
  });
  await listen(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => clients.forEach((client) => client.destroy()), bounds.grace);
        server.close(() => {
          clearTimeout(late);
          resolve(); // Node has removed the path
        });
        for (const client of clients) client.end();
      }),
  };
}

/** Closes the connection that has been idle longest. @returns false if none is idle. */
function closeIdle(clients: Set<Client>): boolean {
  let oldest: Client | undefined;
  for (const client of clients) if (client.idleSince < (oldest?.idleSince ?? Infinity)) oldest = client;
  if (oldest === undefined) return false;
  clients.delete(oldest);
  oldest.destroy();
  return true;
}

/** One connection. It answers requests one at a time, and reads them only as fast as it answers them. */
class Client {
  /** When the last request was answered, or `Infinity` while one is in progress. */
  idleSince = performance.now();
  readonly #socket: Socket;
  readonly #handle: Handler;
  readonly #limits: ControlLimits;
  readonly #turns: Turns;
  readonly #gone = new AbortController();
  /** Received text that has not been answered yet. */
  #text = '';
  /** The client sends no more, or no further request is accepted. */
  #ended = false;
  /** Called on new text, end of input, or an empty send buffer. */
  #wake: () => void = () => undefined;

  constructor(socket: Socket, handle: Handler, limits: ControlLimits, turns: Turns) {
    this.#socket = socket;
    this.#handle = handle;
    this.#limits = limits;
    this.#turns = turns;
    socket.setEncoding('utf8');
    socket.on('data', (data: string) => {
      this.#text += data;
      socket.pause(); // until all of it is answered
      this.#wake();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#wake();
    });
    socket.on('drain', () => this.#wake());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#ended = true;
      this.#gone.abort();
      this.#wake();
    });
    void this.#serve();
  }

  /** Closes the connection after the reply in progress. */
  end(): void {
    this.#ended = true;
    this.#text = '';
    this.#gone.abort();
    this.#wake();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #serve(): Promise<void> {
    for (let line = await this.#line(); line !== null; line = await this.#line()) {
      this.idleSince = Infinity;
      await this.#turns.next();
      if (line.length > this.#limits.request) {
        await this.#write({
          ok: false,
          error: `a request must be one line of at most ${this.#limits.request} characters`,
        });
        return this.#linger();
      }
      if (line.trim() !== '') await this.#answer(line);
      this.idleSince = performance.now();
    }
    // Replies that the client does not read must not hold the connection.
    const late = setTimeout(() => this.destroy(), this.#limits.stall);
    this.#socket.end(() => this.#socket.destroy()).on('close', () => clearTimeout(late));
  }

  /**
   * Closes the connection after the client has sent the rest of what it is sending, or after the grace period: a client
   * whose write fails may not read the reply.
   */
  async #linger(): Promise<void> {
    this.#socket.end();
    this.idleSince = performance.now();
    const deadline = this.idleSince + this.#limits.grace;
    for (let left = this.#limits.grace; left > 0 && !this.#ended; left = deadline - performance.now()) {
      this.#text = '';
      this.#socket.resume();
      await this.#woken(left);
    }
    this.#socket.destroy();
  }

  /** Returns the next request, or `null` after the last. A line that is too long may be truncated. */
  async #line(): Promise<string | null> {
    for (;;) {
      const end = this.#text.indexOf('\n');
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return line;
      }
      if (this.#text.length > this.#limits.request || (this.#ended && this.#text !== '')) {
        const line = this.#text;
        this.#text = '';
        return line;
      }
      if (this.#ended) return null;
      this.#socket.resume();
      const left = this.idleSince + this.#limits.idle - performance.now(); // parts of a request do not extend it
      if (!(await this.#woken(left))) this.destroy();
    }
  }

  async #answer(line: string): Promise<void> {
    try {
      const result = await this.#handle(parseRequest(parseJson(line)), this.#gone.signal);
      if (isPages(result)) await this.#writePages(result);
      else await this.#write({ ok: true, result });
    } catch (error) {
      await this.#write({ ok: false, error: (error as Error).message });
    }
  }

  async #writePages(pages: AsyncIterable<Page>): Promise<void> {
    for await (const { last, result, ...rest } of pages) {
      const more = last === true ? {} : { more: true as const };
      if (!(await this.#write({ ok: true, ...more, result, ...rest })) || last === true) return;
      await this.#turns.next();
    }
    await this.#write({ ok: true, result: [] });
  }

  /**
   * Writes a line and waits until the client has read it, or most of it: the system buffers some 200 KiB per socket.
   * @returns false if the client has disconnected, or was disconnected because it does not read.
   */
  async #write(reply: Reply): Promise<boolean> {
    const socket = this.#socket;
    if (!socket.writable) return false;
    if (socket.write(lineOf(reply))) return true;
    const deadline = performance.now() + this.#limits.stall;
    while (socket.writable && socket.writableNeedDrain)
      if (!(await this.#woken(deadline - performance.now()))) this.destroy();
    return socket.writable;
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
class Turns {
  #last: Promise<void> = Promise.resolve();

  next(): Promise<void> {
    return (this.#last = this.#last.then(() => new Promise((resolve) => setImmediate(resolve))));
  }
}

function isPages(result: unknown): result is AsyncIterable<Page> {
  return typeof result === 'object' && result !== null && Symbol.asyncIterator in result;
}

/** @throws HostError */
function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    // Without the part of the request that V8 quotes: it may have a key.
    const why = (error as Error).message.replace(/, (?:\.\.\.)?".*$/s, '');
    throw new HostError(`a request must be a JSON object on one line: ${why}`);
  }
}

function lineOf(reply: Reply): string {
  return `${JSON.stringify(reply)}\n`;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(new HostError(`${path}: ${whyNot(path, error)}`, { cause: error }));
    server.once('error', failed);
    // `listen` creates the socket within this call, so the umask ensures that it never has another mode.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', failed);
        server.on('error', () => undefined); // failing to accept one client (no file descriptor) must not end the VTEP
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

function whyNot(path: string, error: Error): string {
  const directory = dirname(path);
  // Node reports EACCES if the directory does not exist.
  if (!existsSync(directory)) return `there is no directory ${directory}; create it, or choose another path`;
  if (codeOf(error) === 'EACCES') return `permission denied in ${directory}; choose another path`;
  return `it cannot be created: ${error.message}`;
}

/** Removes a socket without a listener. */
async function clear(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw new HostError(`${path}: ${(error as Error).message}`, { cause: error });
  }
  if (!isSocket) throw new HostError(`${path} exists and is not a socket; choose another path`);
  if (await listens(path)) throw new HostError(`another vtep listens on ${path}; stop it, or choose another path`);
  rmSync(path, { force: true });
}

function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error) => resolve(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'));
  });
}

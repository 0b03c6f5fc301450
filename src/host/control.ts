/**
 * The control socket: HTTP/1.1 with JSON over a Unix socket of mode 0600, for requests to a running VTEP.
 *
 * src/schema/commands.ts has the commands, `GET /v1/openapi.json` describes them, and docs/api.md shows them with curl.
 * A connection may be kept for several requests. The VTEP answers them one after the other.
 *
 *     curl --unix-socket /run/vtep.sock http://vtep/v1/counters
 *     curl --unix-socket /run/vtep.sock http://vtep/v1/fdb?vni=4097
 *     curl --unix-socket /run/vtep.sock --json '{"vni":4097,"address":"192.168.1.26"}' http://vtep/v1/peers
 *
 * A list is one JSON array with an entry on each line, written in pieces. If it fails in the middle, the VTEP ends the
 * connection within the array, and the chunked encoding without its last chunk.
 *
 * A stream of events has a JSON object on each line: `{"event":"status","dropped":0}` at its start, and at least once per
 * second; `{"event":"packet",...}` for a packet of a capture, `{"event":"notice",...}` for what changes in the VTEP; `{"event":"end"}`
 * at its end. If it fails,
 * `{"event":"error","error":{...}}` is the last line. A stream without one of the two was cut. `dropped` counts the
 * packets or notices so far that are not in the stream, because the client or the VTEP was too slow.
 *
 * No client can stop or delay the data path, or make the VTEP's memory grow: see `ControlLimits`.
 */
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { Client, Turns, type ControlLimits, type Handler } from './control-client.js';
import { placelessLimits, Places } from './control-places.js';
import { codeOf, HostError, RequestError } from './error.js';

const LIMITS: Omit<ControlLimits, 'waiting' | 'leaving'> = {
  clients: 64,
  wait: 2000,
  fresh: 100,
  request: 1 << 18,
  headers: 1 << 13,
  ahead: 32,
  stall: 10_000,
  idle: 300_000,
  grace: 500,
};

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
  const bounds = { ...LIMITS, ...placelessLimits(), ...limits };
  const turns = new Turns();
  const places: Places = new Places(bounds, (socket) => {
    const client = new Client(socket, handle, bounds, turns);
    http.emit('connection', socket);
    return client;
  });
  const http = parserOf(bounds, places);
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => places.add(socket));
  await listen(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => places.destroy(), bounds.grace);
        server.close(() => {
          clearTimeout(late);
          resolve(); // Node has removed the path
        });
        places.end();
      }),
  };
}

/**
 * Parses the requests of connections that it is given with the event `connection`, and never listens itself: its own
 * timeouts do not distinguish a client that is slow from one that waits.
 */
function parserOf(limits: ControlLimits, clients: Places): HttpServer {
  const http = createHttpServer({
    maxHeaderSize: limits.headers,
    requireHostHeader: false,
    keepAliveTimeout: 0,
    headersTimeout: 0,
    requestTimeout: 0,
  });
  // A client may close its side once it has sent its request, as `nc -N` does.
  Object.assign(http, { httpAllowHalfOpen: true });
  return http
    .on('request', (request, response) => clients.get(request.socket)?.add({ request, response }))
    .on('checkContinue', (request, response) =>
      clients.get(request.socket)?.add({ request, response, expects: 'continue' }),
    )
    .on('checkExpectation', (request, response) =>
      clients.get(request.socket)?.add({ request, response, expects: 'unknown' }),
    )
    .on('connect', ({ socket }) =>
      clients.get(socket)?.refuse(new RequestError('method-not-allowed', 'this socket is no proxy')),
    )
    .on('clientError', (error, socket) => clients.get(socket as Socket)?.malformed(error));
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

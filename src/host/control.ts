/** The control socket: newline-delimited JSON over a Unix socket, for its owner only. */
import { lstatSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { parseRequest, type Reply, type Request } from '../schema/index.js';
import { codeOf, HostError } from './error.js';

/** Bytes of one request at most. */
const MAX_REQUEST = 1 << 20;
/** Milliseconds that a client has, when the VTEP stops, to read what it asked for. */
const GRACE = 500;

export interface Control {
  /** Ends every connection and removes the socket. */
  close(): Promise<void>;
}

/**
 * Listens at `path`, mode 0600; replaces a socket that nobody listens on any more.
 * @throws HostError where the path is taken or cannot be made.
 */
export async function serveControl(path: string, handle: (request: Request) => Promise<unknown>): Promise<Control> {
  await clear(path);
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, handle);
  });
  await listen(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => connections.forEach((socket) => socket.destroy()), GRACE);
        server.close(() => {
          clearTimeout(late);
          resolve(); // Node has removed the path
        });
        for (const socket of connections) socket.end(() => socket.destroy());
      }),
  };
}

/**
 * Asks the VTEP that listens at `path`.
 * @throws HostError where nobody listens, or with the VTEP's own refusal.
 */
export function ask(path: string, request: Request): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (data: string) => {
      text += data;
      const line = text.indexOf('\n');
      if (line < 0) return;
      socket.destroy();
      const reply = JSON.parse(text.slice(0, line)) as Reply;
      if (reply.ok) resolve(reply.result);
      else reject(new HostError(reply.error));
    });
    socket.on('error', (error) => reject(new HostError(unreachable(path, codeOf(error)), { cause: error })));
    socket.on('close', () => reject(new HostError(`the vtep at ${path} closed the connection without an answer`)));
  });
}

function serve(socket: Socket, handle: (request: Request) => Promise<unknown>): void {
  let text = '';
  let busy = Promise.resolve();
  const reply = (answer: Reply): void => void socket.write(`${JSON.stringify(answer)}\n`);
  socket.setEncoding('utf8');
  socket.on('data', (data: string) => {
    text += data;
    const lines = text.split('\n');
    text = lines.pop()!;
    for (const line of lines) busy = busy.then(async () => reply(await respond(line, handle)));
    if (text.length <= MAX_REQUEST) return;
    text = '';
    reply({ ok: false, error: `a request is one line of at most ${MAX_REQUEST} bytes` });
    socket.end();
  });
}

async function respond(line: string, handle: (request: Request) => Promise<unknown>): Promise<Reply> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { ok: false, error: `a request is a JSON object on one line: ${(error as Error).message}` };
  }
  try {
    return { ok: true, result: await handle(parseRequest(value)) };
  } catch (error) {
    return { ok: false, error: (error as Error).message };
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new HostError(`control socket ${path} cannot be made: ${error.message}`, { cause: error })),
    );
    // The socket is made during this very call, so that it never has another mode.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => resolve());
    } finally {
      process.umask(mask);
    }
  });
}

/** Removes a socket that nobody listens on. */
async function clear(path: string): Promise<void> {
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw new HostError(`control socket ${path}: ${(error as Error).message}`, { cause: error });
  }
  if (!isSocket) throw new HostError(`control socket ${path}: something else is there; choose another path`);
  if (await listens(path))
    throw new HostError(`control socket ${path}: another vtep listens there; stop it, or choose another path`);
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

function unreachable(path: string, code: string): string {
  if (code === 'ENOENT') return `there is no control socket at ${path}; start the VTEP with --control ${path}`;
  if (code === 'ECONNREFUSED') return `nobody listens at ${path} any more; start the VTEP with --control ${path}`;
  if (code === 'EACCES') return `${path}: permission denied; ask as the user who started the VTEP`;
  if (code === 'ENOTSOCK') return `${path} is not a socket`;
  return `the vtep at ${path} cannot be reached: ${code}`;
}

/**
 * The directory of a store: private, and used by one process at a time.
 *
 * The lock is a Unix socket that listens in the directory, so it ends with its process, however that ends, and it works
 * between PID and network namespaces. Each process binds a socket of its own name, listens, and then tries to connect to
 * all others. If one accepts, the directory is in use. If one refuses, its process is gone, and the socket is removed.
 *
 * Two processes at once cannot both succeed: each looks at the other's socket after its own listens, so the one that looks
 * last finds the other one listening. Both may fail.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, lstatSync, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileTrouble } from '../bounded-read.js';
import { codeOf, HostError } from '../error.js';

const PREFIX = 'lock.';
/** Most octets of a socket's path (unix(7)), without the final zero. */
const LONGEST_PATH = 107;
/** Milliseconds in which the process that has a lock says its id. */
const PATIENCE = 500;

/**
 * Creates the directory, if there is none, and locks it.
 * @param what Names the directory in errors.
 * @returns ends the lock.
 * @throws HostError if others can read it, or if a process has locked it.
 */
export async function lockDirectory(directory: string, what = 'the store'): Promise<() => Promise<void>> {
  requirePrivate(directory, what);
  const own = `${PREFIX}${randomBytes(6).toString('hex')}`;
  const handle = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  /** The path of a socket, which may be too long without this detour. */
  const pathOf = (name: string): string => {
    const path = join(directory, name);
    return Buffer.byteLength(path) <= LONGEST_PATH ? path : `/proc/self/fd/${handle}/${name}`;
  };
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${process.pid}\n`);
  });
  const unlock = async (): Promise<void> => {
    await new Promise((resolve) => server.close(resolve)); // removes the socket
    closeSync(handle);
  };
  try {
    await listen(server, pathOf(own));
  } catch (error) {
    closeSync(handle);
    throw new HostError(`${what} ${directory} cannot be locked: ${fileTrouble(error)}`, { cause: error });
  }
  try {
    for (const name of readdirSync(directory)) {
      if (!name.startsWith(PREFIX) || name === own) continue;
      const holder = await holderOf(pathOf(name));
      if (holder !== null)
        throw new HostError(
          `another process${holder === '' ? '' : `, ${holder},`} uses ${what} ${directory}; stop it, or choose another directory`,
        );
      rmSync(join(directory, name), { force: true });
    }
    // Another process may have looked between the creation of the socket and `listen`.
    if (!readdirSync(directory).includes(own))
      throw new HostError(`another process opens ${what} ${directory} at the same time; try again`);
  } catch (error) {
    await unlock();
    throw error;
  }
  server.unref();
  return unlock;
}

function requirePrivate(directory: string, what: string): void {
  try {
    const first = mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (first !== undefined) syncAbove(directory, first);
    const { mode, uid } = lstatSync(directory);
    const own = process.geteuid?.() ?? uid;
    if (uid !== own)
      throw new HostError(
        `${what} ${directory} belongs to the user with id ${uid}; run as that user, or choose another`,
      );
    if ((mode & 0o077) !== 0)
      throw new HostError(
        `other users have access to ${what} ${directory} (mode ${(mode & 0o777).toString(8)}); check its content, then run: chmod 700 ${directory}`,
      );
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw new HostError(`${what} ${directory} cannot be used: ${fileTrouble(error)}`, {
      cause: error,
    });
  }
}

/** Makes the names of new directories survive a loss of power, from `directory` up to `first`. */
function syncAbove(directory: string, first: string): void {
  for (let at = directory; ; at = dirname(at)) {
    const handle = openSync(dirname(at), constants.O_RDONLY | constants.O_DIRECTORY);
    fsyncSync(handle);
    closeSync(handle);
    if (at === resolve(first) || at === dirname(at)) return;
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** The process that listens at a socket, as text; empty if it does not say; `null` if none listens. */
function holderOf(path: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    const end = (holder: string | null): void => {
      socket.destroy();
      resolve(holder);
    };
    socket.on('connect', () => setTimeout(() => end(''), PATIENCE).unref());
    socket.on('data', (data) => (text += data.toString()));
    socket.on('end', () => end(/^\d+$/.test(text.trim()) ? text.trim() : ''));
    socket.on('error', (error) => {
      const code = codeOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') end(null);
      else if (code === 'ECONNRESET' || code === 'EPIPE' || code === 'EAGAIN') end('');
      else reject(new HostError(`the lock ${path} cannot be checked: ${fileTrouble(error)}`, { cause: error }));
    });
  });
}

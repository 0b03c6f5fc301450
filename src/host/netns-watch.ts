/**
 * Releases namespaces that have been removed. To use a TAP that already exists in a namespace, the engine opens a file
 * there. That file keeps the namespace and every device in it alive after the container has ended.
 */
import { closeSync, openSync, statSync } from 'node:fs';
import { ip } from './ip.js';
import { netnsPath } from './netns.js';

/** Milliseconds between two checks. */
const INTERVAL = 1000;

interface Watched {
  device: string;
  path: string;
  /** Identifies the namespace. */
  inode: number;
  /** The open file of the namespace: when the namespace is removed, its path no longer works. */
  fd: number;
}

export class NetnsWatch {
  readonly #watched = new Map<number, Watched>();
  #timer: NodeJS.Timeout | undefined;

  /** Watches the namespace of a port, whose TAP already existed there. */
  add(port: number, device: string, netns: string): void {
    const path = netnsPath(netns);
    try {
      const fd = openSync(path, 'r');
      this.#watched.set(port, { device, path, inode: statSync(path).ino, fd });
    } catch {
      return; // the namespace has just been removed, and its file with it: there is nothing to watch
    }
    this.#timer ??= setInterval(() => this.#look(), INTERVAL).unref();
  }

  /** Watches no longer. */
  remove(port: number): void {
    const watched = this.#watched.get(port);
    if (watched === undefined) return;
    this.#watched.delete(port);
    closeSync(watched.fd);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  stop(): void {
    for (const port of this.#watched.keys()) this.remove(port);
  }

  #look(): void {
    for (const [port, watched] of this.#watched) {
      if (inodeOf(watched.path) === watched.inode) continue;
      this.#watched.delete(port);
      const { device, fd } = watched;
      // The data plane then detects that its TAP is gone, and closes the file that holds the namespace.
      void ip(['link', 'del', 'dev', device], `/proc/${process.pid}/fd/${fd}`)
        .catch(() => undefined)
        .then(() => closeSync(fd));
    }
  }
}

/** The inode of a path; `undefined` if there is none. */
function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

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
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param taps TAPs that already existed in their namespaces. */
  constructor(taps: readonly { device: string; netns: string }[]) {
    for (const { device, netns } of taps) {
      const path = netnsPath(netns);
      try {
        const fd = openSync(path, 'r');
        this.#watched.add({ device, path, inode: statSync(path).ino, fd });
      } catch {
        // the namespace has just been removed, and its file with it: there is nothing to watch
      }
    }
    if (this.#watched.size > 0) this.#timer = setInterval(() => this.#look(), INTERVAL).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const { fd } of this.#watched) closeSync(fd);
    this.#watched.clear();
  }

  #look(): void {
    for (const watched of this.#watched) {
      if (inodeOf(watched.path) === watched.inode) continue;
      this.#watched.delete(watched);
      const { device, fd } = watched;
      // The engine then detects that its TAP is gone, and closes the file that holds the namespace.
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

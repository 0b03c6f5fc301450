/**
 * Lets go of namespaces that have been removed. A TAP that was found in its namespace is held by a file that was opened
 * there, and such a file keeps the namespace, and every device in it, after the container has ended.
 */
import { closeSync, openSync, statSync } from 'node:fs';
import { ip } from './ip.js';
import { netnsPath } from './netns.js';

/** Milliseconds between two looks. */
const INTERVAL = 1000;

interface Watched {
  device: string;
  path: string;
  /** Identifies the namespace among all. */
  inode: number;
  /** The namespace's file, open, since its path leads nowhere when it is removed. */
  fd: number;
}

export class NetnsWatch {
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;

  /** @param taps TAPs that were found in their namespaces. */
  constructor(taps: readonly { device: string; netns: string }[]) {
    for (const { device, netns } of taps) {
      const path = netnsPath(netns);
      try {
        const fd = openSync(path, 'r');
        this.#watched.add({ device, path, inode: statSync(path).ino, fd });
      } catch {
        // removed just now: its file is no more, and neither is anybody who would miss the device
      }
    }
    this.#timer = setInterval(() => this.#look(), INTERVAL).unref();
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
      // The engine finds its TAP removed, and closes the file that holds the namespace.
      void ip(['link', 'del', 'dev', device], `/proc/${process.pid}/fd/${fd}`)
        .catch(() => undefined)
        .then(() => closeSync(fd));
    }
  }
}

/** The inode behind a path; `undefined` where there is none. */
function inodeOf(path: string): number | undefined {
  try {
    return statSync(path).ino;
  } catch {
    return undefined;
  }
}

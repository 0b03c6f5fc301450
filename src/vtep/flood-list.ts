import type { Remote } from './remote.js';

/**
 * Most peers of a segment. Each broadcast becomes one datagram per peer (head-end replication), so the limit bounds what
 * a single frame costs.
 */
export const MAX_PEERS = 4096;

/**
 * Most datagrams that one frame from a local port becomes by replication. A super-frame becomes as many per peer as it
 * has segments; one that exceeds the limit goes to the local ports only.
 */
export const MAX_REPLICAS = 8192;

/** The remotes that receive a copy of each BUM frame of a segment. */
export class FloodList {
  readonly #remotes = new Set<Remote>();
  /** The remotes in an array, which is faster to iterate; `null` after a change. */
  #list: readonly Remote[] | null = [];

  get size(): number {
    return this.#remotes.size;
  }

  has(remote: Remote): boolean {
    return this.#remotes.has(remote);
  }

  add(remote: Remote): void {
    this.#remotes.add(remote);
    this.#list = null;
  }

  /** Removes a remote and returns whether it was there. */
  delete(remote: Remote): boolean {
    if (!this.#remotes.delete(remote)) return false;
    this.#list = null;
    return true;
  }

  /** The remotes. A change does not affect the array, because a sink may change the list during an iteration. */
  all(): readonly Remote[] {
    return (this.#list ??= [...this.#remotes]);
  }
}

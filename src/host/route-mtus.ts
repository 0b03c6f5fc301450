/** Looks up the MTUs of the routes to remotes while a VTEP runs, for an engine: the route or its device may change. */
import { type RouteMtu } from '../vtep/index.js';
import { HostError } from './error.js';
import { pathTo } from './underlay.js';

export class RouteMtus {
  readonly #local: string;
  readonly #found: (mtus: readonly RouteMtu[]) => void;
  #busy = false;
  #closed = false;

  constructor(local: string, found: (mtus: readonly RouteMtu[]) => void) {
    this.#local = local;
    this.#found = found;
  }

  /** Looks the routes up, one after the other. While it does so, further calls do nothing: the machine asks again. */
  look(addresses: readonly string[]): void {
    if (this.#busy || this.#closed || addresses.length === 0) return;
    this.#busy = true;
    void this.#lookAll([...addresses]).finally(() => (this.#busy = false));
  }

  close(): void {
    this.#closed = true;
  }

  async #lookAll(addresses: readonly string[]): Promise<void> {
    const mtus: RouteMtu[] = [];
    for (const address of addresses) {
      try {
        const { mtu } = await pathTo(address, this.#local);
        mtus.push({ address, mtu });
      } catch (error) {
        if (!(error instanceof HostError)) throw error; // otherwise there is no route, or no program to look it up
      }
      if (this.#closed) return;
    }
    this.#found(mtus);
  }
}

import type { NetworkDb } from './networkdb.js';

/** This node's attachment to a network, which those share that handle one subnet of it each. */
export class Attachment {
  readonly #db: NetworkDb;
  readonly #network: string;
  #users = 0;

  constructor(db: NetworkDb, network: string) {
    this.#db = db;
    this.#network = network;
  }

  /** Whether others than one user need the attachment. */
  get isShared(): boolean {
    return this.#users > 1;
  }

  join(now: number): void {
    if (this.#users++ === 0) this.#db.joinNetwork(this.#network, now);
  }

  /** With the last user, this node leaves the network, which removes all its entries there. */
  leave(now: number): void {
    if (--this.#users === 0) this.#db.leaveNetwork(this.#network, now);
  }
}

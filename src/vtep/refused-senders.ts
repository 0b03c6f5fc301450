/** An address whose datagrams a segment dropped, because it is not a peer. */
export interface RefusedSender {
  readonly address: string;
  packets: number;
}

/** Maximum number of addresses remembered until the next `take`. Datagrams of others are dropped and counted as well. */
const MAX_SENDERS = 16;

/** The senders that a segment refused recently, so that the log can name them. */
export class RefusedSenders {
  readonly #senders = new Map<string, RefusedSender>();

  note(address: string, packets: number): void {
    const known = this.#senders.get(address);
    if (known !== undefined) known.packets += packets;
    else if (this.#senders.size < MAX_SENDERS) this.#senders.set(address, { address, packets });
  }

  /** Returns and forgets the senders since the last call. */
  take(): RefusedSender[] {
    const senders = [...this.#senders.values()];
    this.#senders.clear();
    return senders;
  }
}

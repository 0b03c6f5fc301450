/** An address whose datagrams a segment dropped, since it is none of its peers. */
export interface RefusedSender {
  readonly address: string;
  packets: number;
}

/** Addresses remembered until the next `take`; datagrams of others are dropped and counted all the same. */
const MAX_SENDERS = 16;

/** The senders that a segment refused lately, so that a person can be told who they are. */
export class RefusedSenders {
  readonly #senders = new Map<string, RefusedSender>();

  note(address: string, packets: number): void {
    const known = this.#senders.get(address);
    if (known !== undefined) known.packets += packets;
    else if (this.#senders.size < MAX_SENDERS) this.#senders.set(address, { address, packets });
  }

  /** Returns the senders since the last call, and forgets them. */
  take(): RefusedSender[] {
    const senders = [...this.#senders.values()];
    this.#senders.clear();
    return senders;
  }
}

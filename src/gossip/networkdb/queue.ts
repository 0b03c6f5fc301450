import { retransmitLimit } from '../memberlist/index.js';

/** Number of messages that do not fit into a packet after which the search for one that does ends. */
const MISFITS = 64;

/**
 * Messages for gossip, each sent as often as it takes to reach all nodes. Those sent least often go first, and among
 * these the oldest, so that none starves. A newer message about the same subject replaces an older one.
 */
export class BroadcastQueue<Message> {
  readonly #capacity: number;
  readonly #mult: number;
  readonly #lengthOf: (message: Message) => number;
  /** By number of transmissions: the messages by subject. */
  readonly #tiers: Map<string, Message>[] = [new Map()];
  readonly #tierOf = new Map<string, number>();

  /**
   * @param capacity Maximum number of messages; the one sent most often is dropped first.
   * @param mult See memberlist's `retransmitLimit`.
   * @param lengthOf Returns the octets of a message.
   */
  constructor(capacity: number, mult: number, lengthOf: (message: Message) => number) {
    this.#capacity = capacity;
    this.#mult = mult;
    this.#lengthOf = lengthOf;
  }

  get size(): number {
    return this.#tierOf.size;
  }

  /** Whether there are messages that have not been sent at all. */
  get hasNew(): boolean {
    return this.#tiers[0]!.size > 0;
  }

  /** Counts each message that has not been sent as sent a number of times, at least once. */
  markSent(times: number): void {
    const tier = Math.max(1, times);
    while (this.#tiers.length <= tier) this.#tiers.push(new Map());
    const sent = this.#tiers[tier]!;
    for (const [about, message] of this.#tiers[0]!) {
      sent.set(about, message);
      this.#tierOf.set(about, tier);
    }
    this.#tiers[0]!.clear();
  }

  /** Adds a message with the subject `about`. @returns whether it displaced another one. */
  put(about: string, message: Message): boolean {
    this.#remove(about);
    const full = this.size >= this.#capacity;
    if (full) this.#remove(this.#mostSent());
    this.#tiers[0]!.set(about, message);
    this.#tierOf.set(about, 0);
    return full;
  }

  /**
   * Takes messages for one packet.
   * @param budget Free octets in the packet.
   * @param overhead Octets that each message takes in addition.
   * @param nodes Number of nodes to reach, which determines how often a message is sent.
   */
  take(budget: number, overhead: number, nodes: number): Message[] {
    const taken: Message[] = [];
    if (this.size === 0) return taken;
    const limit = retransmitLimit(this.#mult, nodes);
    const moved: [about: string, message: Message, tier: number][] = [];
    let left = budget;
    let misfits = 0;
    for (let tier = 0; tier < this.#tiers.length; tier++) {
      const messages = this.#tiers[tier]!;
      // By its keys: a list of a key and a message would be made for each message that does not fit, too.
      for (const about of messages.keys()) {
        const message = messages.get(about)!;
        const needed = this.#lengthOf(message) + overhead;
        if (needed > left) {
          if (++misfits > MISFITS) break;
          continue;
        }
        left -= needed;
        taken.push(message);
        moved.push([about, message, tier + 1]);
      }
    }
    for (const [about, message, tier] of moved) {
      this.#remove(about);
      if (tier >= limit) continue;
      while (this.#tiers.length <= tier) this.#tiers.push(new Map());
      this.#tiers[tier]!.set(about, message);
      this.#tierOf.set(about, tier);
    }
    return taken;
  }

  #remove(about: string): void {
    const tier = this.#tierOf.get(about);
    if (tier === undefined) return;
    this.#tiers[tier]!.delete(about);
    this.#tierOf.delete(about);
  }

  #mostSent(): string {
    for (let tier = this.#tiers.length - 1; ; tier--) for (const about of this.#tiers[tier]!.keys()) return about;
  }
}

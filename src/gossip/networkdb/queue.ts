import { retransmitLimit } from '../memberlist/index.js';

/** Messages that have no room in a packet after which the queue is not searched further, for one that has. */
const MISFITS = 64;

/**
 * Messages to be gossiped, each so many times as it takes to reach everybody. Those sent least go first, and among these
 * the oldest, so that none starves. A newer message about the same thing takes the place of an older one.
 */
export class BroadcastQueue {
  readonly #capacity: number;
  readonly #mult: number;
  /** Messages by what they are about, by how often they have been sent. */
  readonly #tiers: Map<string, Uint8Array>[] = [new Map()];
  readonly #tierOf = new Map<string, number>();

  /**
   * @param capacity Messages at most; the one sent most often makes room.
   * @param mult See memberlist's `retransmitLimit`.
   */
  constructor(capacity: number, mult: number) {
    this.#capacity = capacity;
    this.#mult = mult;
  }

  get size(): number {
    return this.#tierOf.size;
  }

  /** Whether there are messages that have not been sent at all. */
  get hasNew(): boolean {
    return this.#tiers[0]!.size > 0;
  }

  /** Counts each message that has not been sent as sent once. */
  markSent(): void {
    const sent = (this.#tiers[1] ??= new Map<string, Uint8Array>());
    for (const [about, message] of this.#tiers[0]!) {
      sent.set(about, message);
      this.#tierOf.set(about, 1);
    }
    this.#tiers[0]!.clear();
  }

  /** Adds a message about `about`, and says whether another one had to go. */
  put(about: string, message: Uint8Array): boolean {
    this.#remove(about);
    const full = this.size >= this.#capacity;
    if (full) this.#remove(this.#mostSent());
    this.#tiers[0]!.set(about, message);
    this.#tierOf.set(about, 0);
    return full;
  }

  /**
   * Takes messages for one packet.
   * @param budget Octets that there are.
   * @param overhead Octets that each message takes on top.
   * @param nodes Nodes that are to hear of it, which says how often.
   */
  take(budget: number, overhead: number, nodes: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    if (this.size === 0) return taken;
    const limit = retransmitLimit(this.#mult, nodes);
    const moved: [about: string, message: Uint8Array, tier: number][] = [];
    let left = budget;
    let misfits = 0;
    for (let tier = 0; tier < this.#tiers.length; tier++) {
      for (const [about, message] of this.#tiers[tier]!) {
        if (message.length + overhead > left) {
          if (++misfits > MISFITS) break;
          continue;
        }
        left -= message.length + overhead;
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

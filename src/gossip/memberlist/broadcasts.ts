import { retransmitLimit } from './formula.js';

/** Number of messages that do not fit into a packet after which the search for one that does ends. */
const MISFITS = 64;

interface Broadcast {
  readonly about: string;
  readonly message: Uint8Array;
  readonly order: number;
  sent: number;
  /** Called once the message has been sent often enough. */
  readonly finished: (() => void) | null;
}

/**
 * A queue of messages to gossip. Each is sent to some members, as many times as makes it likely to reach all. The order
 * is: least often sent, then longest that fits, then newest. A message replaces an earlier one about the same member.
 */
export class Broadcasts {
  readonly #mult: number;
  readonly #byName = new Map<string, Broadcast>();
  /** In the order of sending. */
  readonly #sorted: Broadcast[] = [];
  #order = 0;

  constructor(retransmitMult: number) {
    this.#mult = retransmitMult;
  }

  get size(): number {
    return this.#sorted.length;
  }

  put(about: string, message: Uint8Array, finished: (() => void) | null = null): void {
    const former = this.#byName.get(about);
    if (former !== undefined) this.#remove(former);
    const one: Broadcast = { about, message, order: this.#order++, sent: 0, finished };
    this.#byName.set(about, one);
    this.#insert(one);
  }

  /**
   * Takes messages for one packet of `budget` octets, with `overhead` octets each in addition, in a cluster of `n`
   * members.
   */
  take(budget: number, overhead: number, n: number): Uint8Array[] {
    const taken: Broadcast[] = [];
    let left = budget;
    let misfits = 0;
    for (const one of this.#sorted) {
      if (one.message.length + overhead > left) {
        if (++misfits > MISFITS) break;
        continue;
      }
      left -= one.message.length + overhead;
      taken.push(one);
    }
    const limit = retransmitLimit(this.#mult, n);
    for (const one of taken) {
      this.#remove(one);
      if (++one.sent < limit) this.#insert(one);
      else {
        this.#byName.delete(one.about);
        one.finished?.();
      }
    }
    return taken.map((one) => one.message);
  }

  // Binary search, because sorting thousands for every packet takes milliseconds.

  #insert(one: Broadcast): void {
    this.#sorted.splice(this.#find(one), 0, one);
  }

  #remove(one: Broadcast): void {
    this.#sorted.splice(this.#find(one), 1);
  }

  #find(one: Broadcast): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.#sorted[middle]!, one) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function compare(a: Broadcast, b: Broadcast): number {
  return a.sent - b.sent || b.message.length - a.message.length || b.order - a.order;
}

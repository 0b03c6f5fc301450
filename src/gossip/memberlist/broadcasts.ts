import { retransmitLimit } from './formula.js';

interface Broadcast {
  readonly about: string;
  readonly message: Uint8Array;
  readonly order: number;
  sent: number;
  /** Runs once it has been sent as often as it is to be. */
  readonly finished: (() => void) | null;
}

/**
 * Messages that go to everybody by going to some, so many times as makes it likely. First go those that were sent least,
 * among these the longest that fits, among these the newest. A message takes the place of one about the same member.
 */
export class Broadcasts {
  readonly #mult: number;
  readonly #byName = new Map<string, Broadcast>();
  #sorted: Broadcast[] = [];
  #order = 0;
  #stale = false;

  constructor(retransmitMult: number) {
    this.#mult = retransmitMult;
  }

  get size(): number {
    return this.#byName.size;
  }

  put(about: string, message: Uint8Array, finished: (() => void) | null = null): void {
    this.#byName.set(about, { about, message, order: this.#order++, sent: 0, finished });
    this.#stale = true;
  }

  /** Takes messages for one packet of `budget` octets, each with `overhead` on top, in a cluster of `n`. */
  take(budget: number, overhead: number, n: number): Uint8Array[] {
    if (this.#byName.size === 0) return [];
    if (this.#stale) {
      this.#sorted = [...this.#byName.values()].sort(
        (a, b) => a.sent - b.sent || b.message.length - a.message.length || b.order - a.order,
      );
      this.#stale = false;
    }
    const taken: Uint8Array[] = [];
    const limit = retransmitLimit(this.#mult, n);
    let left = budget;
    for (const one of this.#sorted) {
      if (one.message.length + overhead > left) continue;
      left -= one.message.length + overhead;
      taken.push(one.message);
      this.#stale = true;
      if (++one.sent < limit) continue;
      this.#byName.delete(one.about);
      one.finished?.();
    }
    return taken;
  }
}

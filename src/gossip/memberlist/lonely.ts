import type { Exchanges } from './exchanges.js';
import { isLive } from './member.js';
import type { Ping } from './message.js';
import { replyAddress, type Origin } from './responder.js';
import type { Roster } from './roster.js';
import type { Verifier } from './verifier.js';

/**
 * Exchanges states with a prober if no other member is known. This happens if a process restarts before the others
 * notice, and has no member to join. Without the exchange it would know no one until the next periodic exchange of
 * another member, up to 30 s later. Without a key, the prober must first answer a ping: its address may be false.
 */
export class Lonely {
  readonly #interval: number;
  readonly #roster: Roster;
  readonly #verifier: Verifier;
  readonly #exchanges: Exchanges;
  /** When a ping may next cause an exchange. */
  #after = -Infinity;

  /** @param interval Milliseconds between two attempts. */
  constructor(interval: number, roster: Roster, verifier: Verifier, exchanges: Exchanges) {
    this.#interval = interval;
    this.#roster = roster;
    this.#verifier = verifier;
    this.#exchanges = exchanges;
  }

  /** A ping arrived. */
  pinged(ping: Ping, origin: Origin, now: number): void {
    if (now < this.#after || this.#roster.leaving) return;
    this.#after = now + this.#interval;
    const { self } = this.#roster;
    if (this.#roster.all().some((one) => one !== self && isLive(one))) return;
    const { address, port } = replyAddress(ping, origin);
    if (address === self.address && port === self.port) return;
    const exchange = (then: number): void => this.#exchanges.contact(address, port, then);
    if (origin.trusted) return exchange(now);
    // Even if others answer first: only the exchange tells who else there is.
    this.#verifier.probe(ping.sourceNode, address, port, origin.credit, now, exchange);
  }
}

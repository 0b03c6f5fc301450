import type { Exchanges } from './exchanges.js';
import type { Member } from './member.js';
import type { Timers } from './timers.js';

/** Maximum number of dead members to reconnect to. */
const MAX_LOST = 1024;

export interface ReconnectOptions {
  /** Milliseconds between attempts; 0 means never. */
  interval: number;
  /** How long to try to reconnect to a member, in milliseconds. */
  timeout: number;
  /** Returns a random number from 0 up to but not including 1. */
  random: () => number;
}

/** A dead member. */
interface Lost {
  readonly address: string;
  readonly port: number;
  readonly since: number;
  /** Whether an attempt is under way. */
  called: boolean;
}

/** Tries to exchange states with dead members, one at a time: they may be alive on the other side of a split. */
export class Reconnects {
  readonly #options: ReconnectOptions;
  readonly #exchanges: Exchanges;
  readonly #timers: Timers;
  readonly #lost = new Map<string, Lost>();

  constructor(options: ReconnectOptions, exchanges: Exchanges, timers: Timers) {
    this.#options = options;
    this.#exchanges = exchanges;
    this.#timers = timers;
  }

  /** Attempts the first reconnection at a time, and from then on one in every interval. */
  start(at: number): void {
    this.#timers.set(at, (now) => this.#attempt(now));
  }

  /** A member is gone. One that announced that it leaves is not contacted, nor one that was never at its address. */
  gone({ name, address, port, state, verified }: Member, now: number): void {
    if (state === 'dead' && verified && this.#options.interval > 0 && this.#lost.size < MAX_LOST)
      this.#lost.set(name, { address, port, since: now, called: false });
  }

  /** A member joined, or returned. */
  joined(name: string): void {
    this.#lost.delete(name);
  }

  #attempt(now: number): void {
    const { interval, timeout, random } = this.#options;
    this.start(now + interval);
    for (const [name, { since }] of this.#lost) if (now - since > timeout) this.#lost.delete(name);
    const idle = [...this.#lost.values()].filter((one) => !one.called);
    const one = idle[Math.floor(random() * idle.length)];
    if (one === undefined) return;
    one.called = true;
    this.#exchanges.exchange(one.address, one.port, false, now, () => {
      one.called = false;
    });
  }
}

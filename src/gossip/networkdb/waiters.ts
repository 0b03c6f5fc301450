import type { Moment } from './types.js';
import type { Work } from '../memberlist/index.js';

/** Cost of a callback, in units of {@link Work}: it announces some endpoints. */
const COST = 20;

interface Waiter {
  readonly deadline: number;
  /** Whether it waits for the deadline even if the tables are known. */
  readonly late: boolean;
  readonly then: (now: number) => void;
}

/** The waiters of a network that this node is attached to. */
interface Awaited {
  readonly network: string;
  waiters: Waiter[];
  /** Set when this node leaves the network: no callback follows. */
  cancelled: boolean;
}

/** Callbacks of a network that wait until the tables of the other nodes there are known, or a deadline has passed. */
export class Waiters {
  readonly #inSync: (network: string) => boolean;
  readonly #work: Work;
  readonly #moment: Moment;
  /** By network, from the first waiter until this node leaves. */
  readonly #networks = new Map<string, Awaited>();
  /** The networks with waiters. */
  readonly #awaited = new Set<Awaited>();

  constructor(inSync: (network: string) => boolean, work: Work, moment: Moment) {
    this.#inSync = inSync;
    this.#work = work;
    this.#moment = moment;
  }

  /** The first deadline. */
  get next(): number {
    let next = Infinity;
    for (const { waiters } of this.#awaited) for (const { deadline } of waiters) next = Math.min(next, deadline);
    return next;
  }

  /** @param late Whether to wait for the deadline even if the tables are known. */
  add(network: string, deadline: number, late: boolean, then: (now: number) => void): void {
    let awaited = this.#networks.get(network);
    if (awaited === undefined) this.#networks.set(network, (awaited = { network, waiters: [], cancelled: false }));
    awaited.waiters.push({ deadline, late, then });
    this.#awaited.add(awaited);
  }

  /** This node leaves a network. */
  cancel(network: string): void {
    const awaited = this.#networks.get(network);
    if (awaited === undefined) return;
    awaited.cancelled = true;
    this.#networks.delete(network);
    this.#awaited.delete(awaited);
  }

  /** Runs the callbacks whose deadline has passed. */
  tick(): void {
    for (const awaited of this.#awaited) this.#call(awaited);
  }

  /** A network may be in sync now. */
  check(network: string): void {
    const awaited = this.#networks.get(network);
    if (awaited !== undefined && this.#awaited.has(awaited)) this.#call(awaited);
  }

  #call(awaited: Awaited): void {
    const synced = this.#inSync(awaited.network);
    const { now } = this.#moment;
    const due = awaited.waiters.filter(({ deadline, late }) => (synced && !late) || deadline <= now);
    if (due.length === 0) return;
    awaited.waiters = awaited.waiters.filter((waiter) => !due.includes(waiter));
    if (awaited.waiters.length === 0) this.#awaited.delete(awaited);
    this.#work.add(this.#calls(awaited, due), now);
  }

  *#calls(awaited: Awaited, waiters: readonly Waiter[]): Generator<number, void> {
    for (const { then } of waiters) {
      if (!awaited.cancelled) then(this.#moment.now);
      yield COST;
    }
  }
}

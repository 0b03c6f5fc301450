import { Allowance } from './allowance.js';

/** Answers to one receiver: a burst, and a rate per second. An honest member sends one or two requests per second. */
export const ANSWERS = { most: 32, perSecond: 16 } as const;
/** Answers to all receivers that are not members. */
export const STRANGERS = { most: 1024, perSecond: 512 } as const;
/** Maximum number of receivers with a budget of their own. */
const MAX_RECEIVERS = 1024;

/**
 * Budgets for answers to requests in datagrams, by receiver. The source of a datagram may be forged, so a receiver gets
 * only so many answers that it may not have asked for.
 */
export class Budgets {
  readonly #byReceiver = new Map<string, Allowance>();
  readonly #total: Allowance | null;

  /** @param total The budget of all receivers together; `null` for none. */
  constructor(total: { readonly most: number; readonly perSecond: number } | null) {
    this.#total = total === null ? null : new Allowance(total.most, total.perSecond);
  }

  /** Takes one answer from the budget of a receiver. @returns false if nothing is left. */
  take(receiver: string, now: number): boolean {
    if (this.#total !== null && this.#total.left(now) < 1) return false;
    const known = this.#byReceiver.get(receiver);
    const budget = known ?? new Allowance(ANSWERS.most, ANSWERS.perSecond);
    if (known !== undefined) this.#byReceiver.delete(receiver);
    else if (this.#byReceiver.size >= MAX_RECEIVERS)
      for (const oldest of this.#byReceiver.keys()) {
        this.#byReceiver.delete(oldest);
        break;
      }
    this.#byReceiver.set(receiver, budget); // the receiver used last comes last
    if (budget.left(now) < 1) return false;
    budget.spend(1);
    this.#total?.spend(1);
    return true;
  }
}

/** Octets that may be sent because of one datagram whose sender has not proved its source address. */
export class Credit {
  #left: number;

  constructor(octets: number) {
    this.#left = octets;
  }

  /** Whether nothing is left: a caller then need not encode what it could not send. */
  get isExhausted(): boolean {
    return this.#left <= 0;
  }

  /** Gives up what is left, because it did not suffice. */
  exhaust(): void {
    this.#left = 0;
  }

  /** Takes octets from the credit. @returns false, without a change, if too few are left. */
  spend(octets: number): boolean {
    if (octets > this.#left) return false;
    this.#left -= octets;
    return true;
  }
}

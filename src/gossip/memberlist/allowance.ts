/** A token bucket: a burst, and a rate per second. Times are milliseconds. */
export class Allowance {
  readonly #most: number;
  readonly #perSecond: number;
  #left: number;
  #since = -Infinity;

  constructor(most: number, perSecond: number) {
    this.#most = most;
    this.#perSecond = perSecond;
    this.#left = most;
  }

  /** The budget now; negative if the last expense exceeded it. */
  left(now: number): number {
    const seconds = Math.max(0, now - this.#since) / 1000;
    this.#since = now;
    return (this.#left = Math.min(this.#most, this.#left + seconds * this.#perSecond));
  }

  spend(amount: number): void {
    this.#left -= amount;
  }
}

/** Share of the budget that is reserved, and share of it after which a source may no longer use the reserve. */
const RESERVE = 1 / 4;
const LIGHT = 1 / 16;
/** Most sources whose expenses are remembered. */
const SOURCES = 1024;

/**
 * A token bucket that one source cannot empty for the others: beside the budget, there is a reserve of a quarter of it for
 * sources that have spent little.
 */
export class SharedAllowance {
  readonly #most: number;
  readonly #perSecond: number;
  readonly #common: Allowance;
  readonly #reserve: Allowance;
  /** What each source may spend before it must do without the reserve; the source first seen comes first. */
  readonly #own = new Map<string, Allowance>();

  constructor(most: number, perSecond: number) {
    this.#most = most;
    this.#perSecond = perSecond;
    this.#common = new Allowance(most, perSecond);
    this.#reserve = new Allowance(most * RESERVE, perSecond * RESERVE);
  }

  /** The budget of a source now; 0 or less if it must wait. */
  left(source: string, now: number): number {
    const common = this.#common.left(now);
    return common > 0 || !this.#isLight(source, now) ? common : this.#reserve.left(now);
  }

  spend(source: string, amount: number, now: number): void {
    const budget = this.#common.left(now) > 0 || !this.#isLight(source, now) ? this.#common : this.#reserve;
    budget.spend(amount);
    if (amount > 0) this.#ownOf(source, now).spend(amount);
  }

  #isLight(source: string, now: number): boolean {
    return (this.#own.get(source)?.left(now) ?? 1) > 0;
  }

  #ownOf(source: string, now: number): Allowance {
    let own = this.#own.get(source);
    if (own === undefined) {
      own = new Allowance(this.#most * LIGHT, this.#perSecond * LIGHT);
      own.left(now); // it refills from now on
      this.#own.set(source, own);
      if (this.#own.size > SOURCES) this.#own.delete(this.#own.keys().next().value!);
    }
    return own;
  }
}

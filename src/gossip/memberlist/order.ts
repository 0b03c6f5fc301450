import { isLive, isVouched, type Entry } from './member.js';

/** Maximum number of random numbers to pick members. */
const MAX_TRIES = 300;

/** All members, in the order of their probes, which is random and changes with each round. */
export class Order {
  readonly #self: Entry;
  readonly #random: () => number;
  #members: Entry[] = [];
  #index = 0;
  /** A member to probe before its turn, and whether the last probe was such a one. */
  #urgent: Entry | null = null;
  #wasUrgent = false;

  /** @param random Returns a number from 0 up to but not including 1. */
  constructor(self: Entry, random: () => number) {
    this.#self = self;
    this.#random = random;
  }

  all(): readonly Entry[] {
    return this.#members;
  }

  add(member: Entry): void {
    const members = this.#members;
    const at = this.#below(members.length + 1);
    members.push(member);
    members[members.length - 1] = members[at]!;
    members[at] = member;
  }

  remove(member: Entry): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    if (at < this.#index) this.#index--;
  }

  /** Probes a member next, unless another one comes before its turn already. */
  hurry(member: Entry): void {
    this.#urgent ??= member;
  }

  /**
   * The next member to probe; `null` if there is none. One that a stranger has announced, and that never answered, is
   * not probed: it would delay the probes of the others.
   * @param stays Called for each member at the end of a round: false if it is removed.
   */
  next(stays: (member: Entry) => boolean): Entry | null {
    // At most every other time, so that accusations cannot starve the probes of other members.
    const urgent = this.#wasUrgent ? null : this.#urgent;
    this.#wasUrgent = urgent !== null;
    if (urgent !== null) {
      this.#urgent = null;
      if (isLive(urgent)) return urgent;
    }
    for (let looked = 0; looked <= this.#members.length; looked++) {
      if (this.#index >= this.#members.length) {
        this.#members = this.#members.filter(stays);
        this.#shuffle();
        this.#index = 0;
      }
      const member = this.#members[this.#index++]!;
      if (member !== this.#self && isLive(member) && isVouched(member)) return member;
    }
    return null;
  }

  /**
   * Up to `count` different random members that `fits` accepts. If few do, it goes on from a random member in order,
   * because random numbers are expensive.
   */
  pick(count: number, fits: (member: Entry) => boolean): Entry[] {
    const picked: Entry[] = [];
    const members = this.#members;
    const take = (member: Entry): void => {
      if (member !== this.#self && fits(member) && !picked.includes(member)) picked.push(member);
    };
    for (let tries = Math.min(3 * members.length, MAX_TRIES); tries > 0 && picked.length < count; tries--)
      take(members[this.#below(members.length)]!);
    if (picked.length >= count || 3 * members.length <= MAX_TRIES) return picked;
    const from = this.#below(members.length);
    for (let i = 0; i < members.length && picked.length < count; i++) take(members[(from + i) % members.length]!);
    return picked;
  }

  #shuffle(): void {
    const members = this.#members;
    for (let i = members.length - 1; i > 0; i--) {
      const j = this.#below(i + 1);
      const member = members[i]!;
      members[i] = members[j]!;
      members[j] = member;
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }
}

import { isVouched, placeOf, type Entry } from './member.js';

/** Members by address and port. */
export class PlaceIndex {
  /** The verified member of a place, or else the first one. */
  readonly #byPlace = new Map<string, Entry>();
  /** The members at an address, with any port: seldom more than one. */
  readonly #byAddress = new Map<string, Set<Entry>>();
  /** Number of verified members at an address, with any port. */
  readonly #verified = new Map<string, number>();

  at(address: string, port: number): Entry | undefined {
    return this.#byPlace.get(placeOf(address, port));
  }

  /** Number of verified members at an address. */
  verifiedAt(address: string): number {
    return this.#verified.get(address) ?? 0;
  }

  /** Whether a member that others vouch for, or a verified one, has an address. */
  isMembers(address: string): boolean {
    for (const member of this.#byAddress.get(address) ?? []) if (isVouched(member)) return true;
    return false;
  }

  add(member: Entry): void {
    const there = this.#byAddress.get(member.address);
    if (there === undefined) this.#byAddress.set(member.address, new Set([member]));
    else there.add(member);
    const place = placeOf(member.address, member.port);
    if (member.verified) this.verified(member);
    else if (!this.#byPlace.has(place)) this.#byPlace.set(place, member);
  }

  /** A member has proved that it is at its place: it is the one there from now on. */
  verified(member: Entry): void {
    this.#byPlace.set(placeOf(member.address, member.port), member);
    this.#verified.set(member.address, this.verifiedAt(member.address) + 1);
  }

  remove(member: Entry): void {
    const there = this.#byAddress.get(member.address);
    if (there?.delete(member) === true && there.size === 0) this.#byAddress.delete(member.address);
    const place = placeOf(member.address, member.port);
    if (this.#byPlace.get(place) === member) this.#byPlace.delete(place);
    if (!member.verified) return;
    const left = this.verifiedAt(member.address) - 1;
    if (left > 0) this.#verified.set(member.address, left);
    else this.#verified.delete(member.address);
  }
}

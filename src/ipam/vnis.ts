import { IpamError } from './error.js';
import { Numbers } from './numbers.js';

/** The lowest VNI that is given automatically, as in Docker: those below look like the IDs of VLANs. */
export const FIRST_VNI = 4096;
/** The highest VNI: 24 bits (RFC 7348, section 5). */
export const LAST_VNI = 0xff_ffff;

/** The VNIs of a cluster: the owner of each, and the next free one. Like `NetworkAddresses`, it contains what `take` and `release` say. */
export class Vnis {
  readonly #first: number;
  readonly #last: number;
  readonly #numbers: Numbers;
  readonly #owners = new Map<number, string>();

  /** @param first The lowest and the highest VNI that are given automatically. */
  constructor(first = FIRST_VNI, last = LAST_VNI) {
    this.#first = first;
    this.#last = last;
    this.#numbers = new Numbers(last - first + 1);
  }

  /** A VNI is in use. The arguments are those of `NetworkAddresses.take`. */
  take(vni: number, owner: string, order?: number): void {
    this.#owners.set(vni, owner);
    if (this.#isGiven(vni)) this.#numbers.take(vni - this.#first, order);
  }

  /** A VNI is in use no more, and may be given automatically from `until` on. It may be requested at once. */
  release(vni: number, until: number): void {
    this.#owners.delete(vni);
    if (this.#isGiven(vni)) this.#numbers.release(vni - this.#first, until);
  }

  /** A VNI is free, as if nobody had ever had it. */
  forget(vni: number): void {
    this.#owners.delete(vni);
    if (this.#isGiven(vni)) this.#numbers.forget(vni - this.#first);
  }

  ownerOf(vni: number): string | undefined {
    return this.#owners.get(vni);
  }

  /**
   * The next VNI to give.
   * @param options.after The VNI that an earlier call returned, for the next one, with nothing reported since.
   * @throws IpamError `exhausted`.
   */
  next(now: number, options: { readonly after?: number | undefined } = {}): number {
    const number = this.#numbers.next(now, options.after === undefined ? undefined : options.after - this.#first);
    if (number !== undefined) return this.#first + number;
    throw new IpamError(
      'exhausted',
      'vni',
      `all VNIs from ${this.#first} to ${this.#last} are in use; remove a network, or choose a VNI outside of this range`,
    );
  }

  /**
   * Checks a VNI that somebody asks for.
   * @throws IpamError `invalid` or `in-use`.
   */
  request(vni: number): number {
    if (!Number.isInteger(vni) || vni < 0 || vni > LAST_VNI)
      throw new IpamError('invalid', 'vni', `the VNI is ${vni}; it must be a whole number from 0 to ${LAST_VNI}`);
    const owner = this.#owners.get(vni);
    if (owner !== undefined)
      throw new IpamError('in-use', 'vni', `VNI ${vni} is in use by ${owner}; choose another, or give none`);
    return vni;
  }

  #isGiven(vni: number): boolean {
    return vni >= this.#first && vni <= this.#last;
  }
}

import { IpamError } from './error.js';
import { Numbers } from './numbers.js';
import {
  addressOf,
  addressToText,
  lastOf,
  parseAddress,
  parsePrefix,
  prefixHas,
  sizeOf,
  type Address,
  type Family,
  type Prefix,
} from './prefix.js';
import { unusableIn, type SubnetPlan } from './subnet.js';

/** Of a larger range, only the first 2^32 addresses are given automatically; all can be requested. */
const WINDOW = 2n ** 32n;

/** Addresses of one subnet. */
interface Space {
  readonly plan: SubnetPlan;
  readonly prefix: Prefix;
  /** The first address that is given automatically; the others follow it. */
  readonly first: bigint;
  readonly numbers: Numbers;
  /** Addresses that no endpoint can have, with the reason as a noun phrase. */
  readonly reserved: ReadonlyMap<bigint, string>;
}

/**
 * The addresses of a network: the owner of each, and the next free one. It contains what the caller says: `take`,
 * `release` and `forget` report what a store says, and `next` and `request` answer without changing that.
 *
 * Addresses go round, as in Docker: after the last one given comes the next higher one, and after the highest the lowest.
 * One that was released is not given automatically before its hold ends, so that nobody's connections and ARP caches meet
 * a stranger. Every operation takes the same time whatever the size of the subnet and however full it is.
 */
export class NetworkAddresses {
  readonly #spaces: readonly Space[];
  /** By canonical text. */
  readonly #owners = new Map<string, string>();

  constructor(subnets: readonly SubnetPlan[]) {
    this.#spaces = subnets.map(spaceOf);
  }

  /**
   * An address is in use.
   * @param address Canonical text, in one of the subnets.
   * @param owner In words that follow "is in use by": `endpoint web.1`.
   * @param order For an address that `next` gave: a number that grows with each, such as the revision at which it was
   * stored. The next address comes after the one with the greatest. Absent: it was requested.
   */
  take(address: string, owner: string, order?: number): void {
    this.#owners.set(address, owner);
    this.#withNumber(address, (numbers, number) => numbers.take(number, order));
  }

  /**
   * An address is in use no more. It may be requested at once.
   * @param until From when on it may be given automatically.
   */
  release(address: string, until: number): void {
    this.#owners.delete(address);
    this.#withNumber(address, (numbers, number) => numbers.release(number, until));
  }

  /** An address is free, as if nobody had ever had it. */
  forget(address: string): void {
    this.#owners.delete(address);
    this.#withNumber(address, (numbers, number) => numbers.forget(number));
  }

  /** The owner of an address. */
  ownerOf(address: string): string | undefined {
    return this.#owners.get(address);
  }

  /** How many addresses are in use. */
  get size(): number {
    return this.#owners.size;
  }

  /** The subnet that contains an address. */
  subnetOf(address: string): SubnetPlan | undefined {
    return this.#spaceOf(addressOf(address))?.plan;
  }

  /**
   * The next address to give. It is free until `take` reports it.
   * @param options.family Absent: that of the first subnet. Subnets of a family are filled one after the other.
   * @param options.after The address that an earlier call returned, for the next one, with nothing reported since.
   * @throws IpamError `exhausted`.
   */
  next(
    now: number,
    options: { readonly family?: Family | undefined; readonly after?: string | undefined } = {},
  ): string {
    const { family = this.#spaces[0]?.prefix.family ?? 4 } = options;
    const after = options.after === undefined ? undefined : addressOf(options.after);
    let spaces = this.#spaces.filter((space) => space.prefix.family === family);
    if (spaces.length === 0)
      throw new IpamError('invalid', 'ip', `the network has no IPv${family} subnet; create one that has`);
    const begun = after === undefined ? undefined : this.#spaceOf(after);
    if (begun !== undefined) spaces = spaces.slice(spaces.indexOf(begun));
    for (const space of spaces) {
      const number = space.numbers.next(now, space === begun ? Number(after!.value - space.first) : undefined);
      if (number !== undefined) return addressToText({ family, value: space.first + BigInt(number) });
    }
    throw exhausted(spaces, now);
  }

  /**
   * Checks an address that somebody asks for.
   * @returns its canonical text.
   * @throws IpamError that says why the address cannot be given, or names its owner.
   */
  request(text: string): string {
    const address = parseAddress(text, 'ip');
    const canonical = addressToText(address);
    const space = this.#spaceOf(address);
    if (space === undefined)
      throw new IpamError(
        'invalid',
        'ip',
        `${canonical} is in no subnet of the network; choose an address in ${this.#spaces.map(({ plan }) => plan.subnet).join(' or ')}`,
      );
    const why = space.reserved.get(address.value);
    if (why !== undefined) throw new IpamError('invalid', 'ip', `${canonical} is ${why}; choose another address`);
    const owner = this.#owners.get(canonical);
    if (owner !== undefined)
      throw new IpamError('in-use', 'ip', `${canonical} is in use by ${owner}; choose another address`);
    return canonical;
  }

  #spaceOf(address: Address): Space | undefined {
    return this.#spaces.find(({ prefix }) => prefixHas(prefix, address));
  }

  /** Runs `change` if the address is one that is given automatically. */
  #withNumber(text: string, change: (numbers: Numbers, number: number) => void): void {
    const address = addressOf(text);
    const space = this.#spaceOf(address);
    if (space === undefined) return;
    const number = Number(address.value - space.first);
    if (number >= 0 && number < space.numbers.size) change(space.numbers, number);
  }
}

function spaceOf(plan: SubnetPlan): Space {
  const prefix = parsePrefix(plan.subnet, 'subnet');
  const range = plan.ipRange === undefined ? prefix : parsePrefix(plan.ipRange, 'ipRange');
  const size = sizeOf(range);
  const numbers = new Numbers(Number(size < WINDOW ? size : WINDOW));
  const reserved = new Map<bigint, string>();
  for (const value of [prefix.first, lastOf(prefix)]) {
    const why = unusableIn(prefix, value);
    if (why !== undefined) reserved.set(value, why);
  }
  reserved.set(addressOf(plan.gateway).value, `the gateway of ${plan.subnet}`);
  for (const [name, text] of Object.entries(plan.aux))
    reserved.set(addressOf(text).value, `reserved as the auxiliary address ${name}`);
  for (const value of reserved.keys())
    if (value >= range.first && value - range.first < numbers.size) numbers.reserve(Number(value - range.first));
  return { plan, prefix, first: range.first, numbers, reserved };
}

function exhausted(spaces: readonly Space[], now: number): IpamError {
  const parts = spaces.map(({ plan, numbers }) => {
    const held = numbers.held === 0 ? '' : ` and ${numbers.held} released a short time ago`;
    return `${plan.ipRange ?? plan.subnet} (${numbers.used} in use${held})`;
  });
  const ends = spaces.flatMap(({ numbers }) => numbers.nextEnd ?? []);
  const wait = ends.length === 0 ? '' : `wait ${Math.ceil((Math.min(...ends) - now) / 1000)} s for a released one, `;
  return new IpamError(
    'exhausted',
    'ip',
    `no address is free in ${parts.join(', ')}; ${wait}remove an endpoint, or create a network with a larger subnet`,
  );
}

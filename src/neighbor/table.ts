import { formatIpv6, ipToText, macToText, type Ip } from '../address/index.js';
import { areEqual128, hash128 } from '../wire/index.js';

/** The location of an endpoint on this host, which answers ARP and neighbor solicitations itself. */
export const LOCAL = -1;

/** One endpoint as the control plane announced it. */
export interface Binding {
  readonly ip: Ip;
  /** MAC address, 48 bits. */
  readonly mac: number;
  readonly location: number;
}

/** One endpoint of a listing. */
export interface NeighborEntry {
  ip: string;
  mac: string;
  location: number;
  /** Whether a newer binding of the same IP address hides this one. */
  hidden: boolean;
}

/** A binding, and its neighbors in the chains of its IP address and of its MAC address: from the newest to the oldest. */
interface Entry {
  readonly binding: Binding;
  olderIp: Entry | undefined;
  newerIp: Entry | undefined;
  olderMac: Entry | undefined;
  newerMac: Entry | undefined;
}

/**
 * The endpoint table. While a container moves, its old and new bindings may both exist for a while. The one added last
 * is in effect. When it is withdrawn, the one before it is in effect again. (Docker's kernel tables refuse the second
 * and lose the first, which drops all packets to the endpoint.)
 *
 * The time of a change does not depend on how many bindings share an address, because other hosts decide that.
 */
export class Neighbors {
  readonly #all = new Map<string, Entry>();
  /** The newest binding of each address. */
  readonly #byIpv4 = new Map<number, Entry>();
  readonly #byIpv6: Ipv6Index;
  readonly #byMac = new Map<number, Entry>();

  /** @param seed An integer that outsiders cannot guess, so that they cannot choose IPv6 addresses with equal hashes. */
  constructor(seed = 0) {
    this.#byIpv6 = new Ipv6Index(seed);
  }

  /** Number of bindings, hidden ones included. */
  get size(): number {
    return this.#all.size;
  }

  /** Adds a binding, or makes an existing one the newest. */
  add(binding: Binding): void {
    this.remove(binding);
    const { ip, mac } = binding;
    const [olderIp, olderMac] = [this.#newest(ip), this.#byMac.get(mac)];
    const entry: Entry = { binding, olderIp, olderMac, newerIp: undefined, newerMac: undefined };
    if (olderIp !== undefined) olderIp.newerIp = entry;
    if (olderMac !== undefined) olderMac.newerMac = entry;
    this.#setNewest(ip, entry);
    this.#byMac.set(mac, entry);
    this.#all.set(keyOf(binding), entry);
  }

  /** Withdraws a binding and returns whether it existed. */
  remove(binding: Binding): boolean {
    const key = keyOf(binding);
    const entry = this.#all.get(key);
    if (entry === undefined) return false;
    this.#all.delete(key);
    const { olderIp, newerIp, olderMac, newerMac } = entry;
    if (olderIp !== undefined) olderIp.newerIp = newerIp;
    if (newerIp !== undefined) newerIp.olderIp = olderIp;
    else this.#setNewest(binding.ip, olderIp);
    if (olderMac !== undefined) olderMac.newerMac = newerMac;
    if (newerMac !== undefined) newerMac.olderMac = olderMac;
    else setNewest(this.#byMac, binding.mac, olderMac);
    return true;
  }

  /** The binding in effect for an IP address. */
  byIp(ip: Ip): Binding | undefined {
    return this.#newest(ip)?.binding;
  }

  /** The binding in effect for an IPv4 address. */
  byIpv4(ip: number): Binding | undefined {
    return this.#byIpv4.get(ip)?.binding;
  }

  /** The binding in effect for the IPv6 address at `offset`. Does not allocate. */
  byIpv6(bytes: Uint8Array, offset: number): Binding | undefined {
    return this.#byIpv6.find(bytes, offset)?.binding;
  }

  /** The binding in effect for a MAC address, which may have several IP addresses. */
  byMac(mac: number): Binding | undefined {
    return this.#byMac.get(mac)?.binding;
  }

  /** All bindings; for each IP address the one in effect comes first. */
  *bindings(): Generator<Binding & { hidden: boolean }> {
    for (const newest of this.#byIpv4.values()) yield* chainOf(newest);
    for (const newest of this.#byIpv6.values()) yield* chainOf(newest);
  }

  /** All bindings for listings. */
  *entries(): Generator<NeighborEntry> {
    for (const { ip, mac, location, hidden } of this.bindings())
      yield { ip: ipToText(ip), mac: macToText(mac), location, hidden };
  }

  #newest(ip: Ip): Entry | undefined {
    return typeof ip === 'number' ? this.#byIpv4.get(ip) : this.#byIpv6.find(ip, 0);
  }

  #setNewest(ip: Ip, newest: Entry | undefined): void {
    if (typeof ip === 'number') setNewest(this.#byIpv4, ip, newest);
    else this.#byIpv6.set(ip, newest);
  }
}

/** The newest binding of each IPv6 address, in buckets of addresses with the same hash. */
class Ipv6Index {
  readonly #seed: number;
  readonly #buckets = new Map<number, Entry[]>();

  constructor(seed: number) {
    this.#seed = seed;
  }

  find(bytes: Uint8Array, offset: number): Entry | undefined {
    if (this.#buckets.size === 0) return undefined;
    const bucket = this.#buckets.get(hash128(this.#seed, bytes, offset));
    if (bucket === undefined) return undefined;
    for (let i = 0; i < bucket.length; i++)
      if (areEqual128(bucket[i]!.binding.ip as Uint8Array, 0, bytes, offset)) return bucket[i];
    return undefined;
  }

  set(ip: Uint8Array, newest: Entry | undefined): void {
    const hash = hash128(this.#seed, ip, 0);
    // A copy, because a listing may be on its way through the bucket.
    const bucket = (this.#buckets.get(hash) ?? []).filter(
      ({ binding }) => !areEqual128(binding.ip as Uint8Array, 0, ip, 0),
    );
    if (newest !== undefined) bucket.push(newest);
    if (bucket.length === 0) this.#buckets.delete(hash);
    else this.#buckets.set(hash, bucket);
  }

  *values(): Generator<Entry> {
    for (const bucket of this.#buckets.values()) yield* bucket;
  }
}

function* chainOf(newest: Entry): Generator<Binding & { hidden: boolean }> {
  const all: Binding[] = []; // a copy, because the chain may change between two entries
  for (let entry: Entry | undefined = newest; entry !== undefined; entry = entry.olderIp) all.push(entry.binding);
  for (let i = 0; i < all.length; i++) yield { ...all[i]!, hidden: i > 0 };
}

function keyOf({ ip, mac, location }: Binding): string {
  return `${typeof ip === 'number' ? ip : formatIpv6(ip)} ${mac} ${location}`;
}

function setNewest(map: Map<number, Entry>, address: number, newest: Entry | undefined): void {
  if (newest === undefined) map.delete(address);
  else map.set(address, newest);
}

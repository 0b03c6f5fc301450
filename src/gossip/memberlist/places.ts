import { IPV6_LENGTH, parseIpv6 } from '../../address/index.js';

/** Limits of {@link Places}. */
export interface PlaceLimits {
  /** Maximum number of holders. */
  most: number;
  /** Maximum number of holders of one source. Default: no limit besides `most`. */
  mostPerSource?: number;
}

/** A holder older than this, in milliseconds, may lose its place to a newcomer; an honest exchange is over by then. */
const GRACE = 1000;

/** Whether a newcomer gets a place, and the holder that must give up its own first. */
export type Admission<K> = { admitted: boolean; leaves?: K };

interface Holder {
  readonly source: string;
  readonly since: number;
}

/**
 * A limited number of places, shared among the sources that want them. A source that holds many cannot keep out one that
 * holds few: at the limit, the oldest holder of the source with the most holders gives up its place.
 */
export class Places<K> {
  readonly #most: number;
  readonly #mostPerSource: number;
  /** The oldest first. */
  readonly #holders = new Map<K, Holder>();
  readonly #counts = new Tally();

  constructor({ most, mostPerSource = most }: PlaceLimits) {
    this.#most = most;
    this.#mostPerSource = mostPerSource;
  }

  /** Number of holders. */
  get size(): number {
    return this.#holders.size;
  }

  /** Number of holders of a source. */
  heldBy(source: string): number {
    return this.#counts.of(source);
  }

  /** Whether a source may have one more place. Changes nothing: the caller deletes the holder that leaves, and adds. */
  admit(source: string, now: number): Admission<K> {
    const own = this.#counts.of(source);
    if (own >= this.#mostPerSource) return this.#replace((holder) => holder.source === source && isOld(holder, now));
    if (this.#holders.size < this.#most) return { admitted: true };
    const largest = this.#counts.largest();
    const isLargest = (holder: Holder): boolean => this.#counts.of(holder.source) === largest;
    return this.#replace(largest > own + 1 ? isLargest : (holder) => isLargest(holder) && isOld(holder, now));
  }

  /** Gives a place to a holder that was admitted. */
  add(key: K, source: string, now: number): void {
    this.#holders.set(key, { source, since: now });
    this.#counts.add(source, 1);
  }

  /** Frees a place. @returns whether it was held. */
  delete(key: K): boolean {
    const holder = this.#holders.get(key);
    if (holder === undefined) return false;
    this.#holders.delete(key);
    this.#counts.add(holder.source, -1);
    return true;
  }

  #replace(mayLeave: (holder: Holder) => boolean): Admission<K> {
    for (const [key, holder] of this.#holders) if (mayLeave(holder)) return { admitted: true, leaves: key };
    return { admitted: false };
  }
}

function isOld({ since }: Holder, now: number): boolean {
  return now - since >= GRACE;
}

/** A number for each source; those that are 0 take no memory. */
export class Tally {
  readonly #numbers = new Map<string, number>();

  of(source: string): number {
    return this.#numbers.get(source) ?? 0;
  }

  /** The largest number; 0 without any. */
  largest(): number {
    return Math.max(0, ...this.#numbers.values());
  }

  add(source: string, amount: number): void {
    const sum = this.of(source) + amount;
    if (sum === 0) this.#numbers.delete(source);
    else this.#numbers.set(source, sum);
  }
}

/** Octets of an IPv6 address that name a network: a host can have any address of its /64 (RFC 4862). */
const NETWORK = 8;

/**
 * What shares are counted by: the address, or the /64 of an IPv6 address. Addresses that are not text of an address are
 * sources of their own.
 */
export function sourceOf(address: string): string {
  if (!address.includes(':')) return address;
  try {
    const octets = parseIpv6(address.replace(/%.*$/, ''));
    // The hosts of a link share fe80::/64, and mapped IPv4 addresses are those of different hosts.
    const isLinkLocal = octets[0] === 0xfe && (octets[1]! & 0xc0) === 0x80;
    const isMapped = octets.subarray(0, NETWORK).every((octet) => octet === 0);
    return octets.subarray(0, isLinkLocal || isMapped ? IPV6_LENGTH : NETWORK).join('.');
  } catch {
    return address;
  }
}

/** Milliseconds after which a path MTU expires (RFC 1191, section 6.3). */
const LIFETIME = 600_000;
/** The minimum MTU of an IPv4 path (RFC 791). */
const LEAST = 68;
/** MTUs to try next if a router does not give one (RFC 1191, section 7.1). */
const PLATEAUS = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, LEAST];

/** Path MTUs by destination, learned from ICMP (RFC 1191) or ICMPv6 (RFC 8201). */
export class PathMtus<Address = number> {
  readonly #least: number;
  readonly #paths = new Map<Address, { mtu: number; until: number }>();

  /** @param least The minimum MTU of a path. */
  constructor(least = LEAST) {
    this.#least = least;
  }

  /** The MTU of the path to an address, or `Infinity` if unknown. */
  get(ip: Address, now: number): number {
    const path = this.#paths.get(ip);
    return path === undefined || path.until <= now ? Infinity : path.mtu;
  }

  /**
   * Handles a "fragmentation needed" message.
   * @param mtu Next-hop MTU of the message; 0 from a router older than RFC 1191.
   * @param length The total length of the packet that was too big.
   * @returns the path's MTU from now on, or `null` if the message is not plausible.
   */
  learn(ip: Address, mtu: number, length: number, now: number): number | null {
    const next = mtu === 0 ? (PLATEAUS.find((plateau) => plateau < length) ?? LEAST) : mtu;
    // A path MTU may only shrink. A message that claims more, or less than the minimum, is forged or late.
    if (next < this.#least || next >= Math.min(this.get(ip, now), length)) return null;
    this.#paths.set(ip, { mtu: next, until: now + LIFETIME });
    return next;
  }

  clear(): void {
    this.#paths.clear();
  }
}

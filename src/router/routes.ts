/** The interfaces and routes of a router. */
import { formatIpv4, formatIpv6 } from '../address/index.js';
import { areEqual, IPV4_LENGTH, maskOf, octetsOf, parsePrefix, wordsOf } from './words.js';

/** The MTU of an overlay segment on an underlay of 1500 bytes. */
const DEFAULT_MTU = 1450;
/** The least MTU of IPv4 (RFC 791, section 3.2), in bytes. */
const MIN_MTU = 68;
const MAX_VNI = 0xff_ffff;

export interface InterfaceOptions {
  /** The segment, 0 to 2^24 - 1. A segment may have several subnets, also of both families. */
  vni: number;
  /** The gateway's address in its subnet: `10.0.0.1/24`, `fd00::1/64`. */
  gateway: string;
  /** The largest IP packet that the segment carries, in bytes. Default 1450. */
  mtu?: number;
}

export interface RouteOptions {
  /** Destinations: `10.8.0.0/16`, `::/0`. */
  prefix: string;
  /** The next router's address, in the subnet of an interface. */
  via: string;
}

/** A subnet that the router is in. */
export interface Interface {
  readonly vni: number;
  readonly mtu: number;
  /** Octets of an address: 4 or 16. */
  readonly size: number;
  /** The gateway's address. */
  readonly octets: Uint8Array;
  readonly words: Int32Array;
  readonly text: string;
  readonly length: number;
  readonly mask: Int32Array;
  /** The directed broadcast address of an IPv4 subnet, unsigned; -1 if it has none (RFC 3021). */
  readonly broadcast: number;
}

/** Where packets to a prefix go. */
export interface Route {
  readonly words: Int32Array;
  readonly mask: Int32Array;
  readonly length: number;
  readonly out: Interface;
  /** The next router's address; `null` if the destination is in the subnet of `out`. */
  readonly via: Uint8Array | null;
}

/** One route of a listing. */
export interface RouteEntry {
  prefix: string;
  vni: number;
  via: string | null;
}

/** The subnets of one segment. */
export interface Segment {
  readonly vni: number;
  readonly four: Interface[];
  readonly six: Interface[];
}

/**
 * Routes of one family, the longest prefix first. A network has few subnets, and looking at each of them is faster than a
 * tree.
 */
export class Routes {
  readonly #routes: Route[] = [];

  add(route: Route): void {
    const at = this.#routes.findIndex(({ length }) => length < route.length);
    this.#routes.splice(at < 0 ? this.#routes.length : at, 0, route);
  }

  /** Removes the routes for which `is` returns true, and returns their number. */
  remove(is: (route: Route) => boolean): number {
    const before = this.#routes.length;
    const left = this.#routes.filter((route) => !is(route));
    this.#routes.splice(0, before, ...left);
    return before - left.length;
  }

  /** The route with the longest prefix that covers an address, or `null`. */
  find(address: Int32Array): Route | null {
    const routes = this.#routes;
    const [a, b, c, d] = [address[0]!, address[1]!, address[2]!, address[3]!];
    for (let i = 0; i < routes.length; i++) {
      const { words, mask } = routes[i]!;
      if (
        ((words[3]! ^ d) & mask[3]!) === 0 &&
        ((words[2]! ^ c) & mask[2]!) === 0 &&
        ((words[1]! ^ b) & mask[1]!) === 0 &&
        ((words[0]! ^ a) & mask[0]!) === 0
      )
        return routes[i]!;
    }
    return null;
  }

  /** Whether there is a route to exactly this prefix. */
  has(words: Int32Array, length: number): boolean {
    return this.#routes.some(
      (route) => route.length === length && areEqual(masked(route.words, route.mask), masked(words, route.mask)),
    );
  }

  *entries(): Generator<RouteEntry> {
    for (const { words, mask, length, out, via } of this.#routes) {
      const network = textOf(octetsOfWords(masked(words, mask), out.size));
      yield { prefix: `${network}/${length}`, vni: out.vni, via: via === null ? null : textOf(via) };
    }
  }
}

function masked(words: Int32Array, mask: Int32Array): Int32Array {
  return words.map((word, i) => word & mask[i]!);
}

function octetsOfWords(words: Int32Array, size: number): Uint8Array {
  const octets = new Uint8Array(16);
  for (let i = 0; i < 16; i++) octets[i] = words[i >> 2]! >>> (24 - (i & 3) * 8);
  return octets.subarray(16 - size);
}

/** An address in octets as text. */
export function textOf(octets: Uint8Array): string {
  return octets.length === IPV4_LENGTH ? formatIpv4(octets) : formatIpv6(octets);
}

/**
 * The interface with these options.
 * @throws RangeError naming the option.
 */
export function makeInterface({ vni, gateway, mtu = DEFAULT_MTU }: InterfaceOptions): Interface {
  if (!Number.isInteger(vni) || vni < 0 || vni > MAX_VNI)
    throw new RangeError(`interface.vni must be an integer from 0 to ${MAX_VNI}, not ${vni}`);
  if (!Number.isInteger(mtu) || mtu < MIN_MTU || mtu > 0xffff)
    throw new RangeError(`interface.mtu must be an integer from ${MIN_MTU} to 65535, not ${mtu}`);
  const { octets, length } = parsePrefix(gateway);
  if (!isHostAddress(octets)) throw new RangeError(`interface.gateway must be the address of one host, not ${gateway}`);
  const words = wordsOf(octets);
  const mask = maskOf(length, octets.length);
  const broadcast = octets.length === IPV4_LENGTH && length < 31 ? (words[3]! | ~mask[3]!) >>> 0 : -1;
  return { vni, mtu, size: octets.length, octets, words, text: textOf(octets), length, mask, broadcast };
}

/**
 * The route with these options.
 * @throws RangeError naming the option, or if no interface is in the subnet of `via`.
 */
export function makeRoute({ prefix, via }: RouteOptions, interfaces: readonly Interface[]): Route {
  const { octets, length } = parsePrefix(prefix);
  const next = octetsOf(via);
  const words = wordsOf(next);
  const out = interfaces.find(
    ({ size, mask, words: own }) =>
      size === next.length && own.every((word, i) => ((word ^ words[i]!) & mask[i]!) === 0),
  );
  if (next.length !== octets.length)
    throw new RangeError(`route.via must be of the address family of ${prefix}, not ${via}`);
  if (out === undefined) throw new RangeError(`route.via must be in the subnet of an interface, not ${via}`);
  return { words: wordsOf(octets), mask: maskOf(length, octets.length), length, out, via: next };
}

/** Whether an address is a unicast address that a host may have. */
function isHostAddress(octets: Uint8Array): boolean {
  const first = octets[0]!;
  if (octets.length === IPV4_LENGTH) return first !== 0 && first !== 127 && first < 224;
  return first !== 0xff && octets.some((octet, i) => octet !== 0 && i < 15);
}

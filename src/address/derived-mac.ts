/**
 * MAC addresses for stations without a configured one: derived, not random, so that a restart or a move to another host
 * changes nothing in anybody's ARP cache.
 */
import { parseIpv4 } from './ipv4.js';
import { parseIpv6 } from './ipv6.js';

/**
 * The MAC address of the station with an IP address in a network, 48 bits. Every host derives the same one, so that an
 * address that moves keeps its MAC address.
 *
 * The last four octets are the IPv4 address itself, as in Docker's `02:42:a.b.c.d`: within one network no two
 * addresses share a MAC address. The first two hold 14 bits of the VNI and the two flags that make the address locally
 * administered and unicast (IEEE 802, clause 8.4): networks whose addresses overlap, bridged by one switch or one
 * container, stay apart. VNIs below 16,384 never share these bits.
 *
 * An IPv6 address gives its last four octets, mixed with a hash of the others: addresses of one /96 never share a MAC
 * address, and others do with a probability of 2^-46.
 * @param vni 0 to 2^24 - 1.
 * @throws RangeError where `ip` is no IP address.
 */
export function deriveMac(vni: number, ip: string): number {
  const network = vni ^ (vni >>> 14);
  if (!ip.includes(':')) return compose(network, parseIpv4(ip));
  const octets = parseIpv6(ip);
  const low = ((octets[12]! << 24) | (octets[13]! << 16) | (octets[14]! << 8) | octets[15]!) >>> 0;
  const upper = octets.subarray(0, 12);
  return compose(network ^ hash(upper, 1), (low ^ hash(upper, 2)) >>> 0);
}

/** A MAC address derived from words alone, 48 bits: for a station without an IP address. */
export function deriveMacFromText(text: string): number {
  const characters = Array.from(text, (character) => character.codePointAt(0)!);
  return compose(hash(characters, 1), hash(characters, 2));
}

/** Locally administered and unicast: 14 bits above, 32 bits below. */
function compose(above: number, below: number): number {
  const first = ((above >>> 6) & 0xfc) | 0x02;
  return (first * 256 + (above & 0xff)) * 0x1_0000_0000 + below;
}

/** Unsigned 32 bits: FNV-1a with the finalizer of MurmurHash3, whose every output bit depends on every input bit. */
function hash(values: ArrayLike<number>, seed: number): number {
  let state = 0x811c_9dc5 ^ seed;
  for (let i = 0; i < values.length; i++) state = Math.imul(state ^ values[i]!, 0x0100_0193);
  state = Math.imul(state ^ (state >>> 16), 0x85eb_ca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2_ae35);
  return (state ^ (state >>> 16)) >>> 0;
}

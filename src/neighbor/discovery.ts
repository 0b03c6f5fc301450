/**
 * The judgement of neighbor discovery: which solicitations a proxy answers (RFC 4861, section 7.2.8; RFC 4862, section
 * 5.4), and which messages contradict the table. Only valid messages count, because hosts discard others.
 *
 * In all functions, `ip` is the start of an IPv6 packet, `at` that of the message that `findDiscovery` found in it, and
 * `source` the frame's source address.
 */
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { areEqual128, areZero128 } from '../wire/index.js';
import { LOCAL, type Neighbors } from './table.js';
import { ANSWER, NOT_A_REQUEST, ON_THIS_HOST, OWN_ADDRESS, UNKNOWN } from './verdict.js';

/**
 * Finds the neighbor solicitation or advertisement in an IPv6 packet. Neither throws nor allocates.
 * @returns its offset, or -1 if the packet is another one, or if hosts must discard it (RFC 4861, section 7.1).
 */
export function findDiscovery(bytes: Uint8Array, ip: number, end: number): number {
  if (ipv6.check(bytes, ip, end) < 0) return -1;
  const stop = stopOf(bytes, ip);
  const found = ipv6.findUpper(bytes, ip, stop);
  if (found < 0 || ipv6.upperProtocol(found) !== ipv6.NEXT_ICMPV6 || ipv6.isUpperFragment(found)) return -1;
  const at = ip + ipv6.upperOffset(found);
  if (icmpv6.check(bytes, at, stop) < 0) return -1;
  if (!isSolicitation(bytes, at) && !isAdvertisement(bytes, at)) return -1;
  return icmpv6.verifyDiscovery(bytes, ip, at, stop) ? at : -1;
}

/** Where the packet ends, as its payload length says. */
function stopOf(bytes: Uint8Array, ip: number): number {
  return ip + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip);
}

export function isSolicitation(bytes: Uint8Array, at: number): boolean {
  return icmpv6.getType(bytes, at) === icmpv6.NEIGHBOR_SOLICITATION;
}

export function isAdvertisement(bytes: Uint8Array, at: number): boolean {
  return icmpv6.getType(bytes, at) === icmpv6.NEIGHBOR_ADVERTISEMENT;
}

/** Whether it is a solicitation of duplicate address detection, whose source is unspecified (RFC 4862, section 5.4.2). */
export function isProbe(bytes: Uint8Array, ip: number, at: number): boolean {
  return isSolicitation(bytes, at) && areZero128(bytes, ip + ipv6.SOURCE_OFFSET);
}

/**
 * The offset of the address that a message claims for its sender: the source of a solicitation, or its target if the
 * source is unspecified; and the target of an advertisement.
 */
export function claimedOffset(bytes: Uint8Array, ip: number, at: number): number {
  return isSolicitation(bytes, at) && !isProbe(bytes, ip, at) ? ip + ipv6.SOURCE_OFFSET : at + icmpv6.TARGET_OFFSET;
}

/** The MAC address at which a message claims that address: of its link-layer address option, or else `source`. */
export function claimedMac(bytes: Uint8Array, ip: number, at: number, source: number): number {
  const type = isSolicitation(bytes, at)
    ? icmpv6.OPTION_SOURCE_LINK_LAYER_ADDRESS
    : icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS;
  // `findDiscovery` has checked that the options are in the message.
  const mac = icmpv6.getLinkLayerAddress(bytes, at + icmpv6.NEIGHBOR_LENGTH, stopOf(bytes, ip), type);
  return mac < 0 ? source : mac;
}

/**
 * Whether a proxy must answer a message. It answers a probe for another endpoint's address, so that the prober detects
 * the duplicate, but never one for the prober's own address.
 * @returns one of `ANSWER`, `NOT_A_REQUEST`, `OWN_ADDRESS`, `UNKNOWN`, `ON_THIS_HOST`.
 */
export function judgeDiscovery(
  neighbors: Neighbors,
  bytes: Uint8Array,
  ip: number,
  at: number,
  source: number,
): number {
  if (!isSolicitation(bytes, at)) return NOT_A_REQUEST;
  const target = at + icmpv6.TARGET_OFFSET;
  if (areEqual128(bytes, target, bytes, ip + ipv6.SOURCE_OFFSET)) return OWN_ADDRESS;
  const binding = neighbors.byIpv6(bytes, target);
  if (binding === undefined) return UNKNOWN;
  if (binding.mac === source || binding.mac === claimedMac(bytes, ip, at, source)) return OWN_ADDRESS;
  return binding.location === LOCAL ? ON_THIS_HOST : ANSWER;
}

/**
 * Whether a message claims an address that the control plane assigns to another MAC address. A probe claims nothing yet:
 * its sender asks whether it may.
 */
export function contradictsDiscovery(
  neighbors: Neighbors,
  bytes: Uint8Array,
  ip: number,
  at: number,
  source: number,
): boolean {
  if (isProbe(bytes, ip, at)) return false;
  const binding = neighbors.byIpv6(bytes, claimedOffset(bytes, ip, at));
  return binding !== undefined && binding.mac !== claimedMac(bytes, ip, at, source);
}

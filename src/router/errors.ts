/** The errors that a router sends about packets that it drops, and the rules for which it sends none. */
import { formatIpv4, formatIpv6, macToText } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { ANSWERED, DROPPED, type Context } from './context.js';
import { COUNT } from './drops.js';
import type { Segment } from './routes.js';
import { IPV4_LENGTH, IPV6_LENGTH, isLinkLocal, readWords } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** Offsets of the source address in the IP headers, for callers that take addresses as octets. */
export const SOURCE4 = 12;
export const DESTINATION4 = 16;
export const SOURCE6 = ipv6.SOURCE_OFFSET;
export const DESTINATION6 = ipv6.DESTINATION_OFFSET;

/**
 * The code point of errors: the precedence internetwork control, and the type of service of the packet (RFC 1812, section
 * 4.3.2.5).
 */
const CONTROL = 48;
const SERVICE_MASK = 7;
/** Bytes of the offending packet to quote, so that an error stays within 576 bytes (RFC 1812, section 4.3.2.3). */
const QUOTE4 = 576 - ipv4.MIN_HEADER_LENGTH - icmp.HEADER_LENGTH;
/** The same for 1280 bytes (RFC 4443, section 2.4 (c)). */
const QUOTE6 = icmpv6.MAX_ERROR_LENGTH - ipv6.HEADER_LENGTH - icmpv6.HEADER_LENGTH;

/** A scratch address. */
const words = new Int32Array(4);

/** The fields of an error about an IPv4 packet. */
export type Error4 = Pick<icmp.Icmp, 'type' | 'code' | 'nextHopMtu' | 'pointer'>;
/** The fields of an error about an IPv6 packet. */
export type Error6 = Pick<icmpv6.Icmpv6, 'type' | 'code' | 'mtu' | 'pointer'>;

/** Drops the current IPv4 packet, and sends an error about it if that is allowed: see `report4`. */
export function refuse4(
  context: Context,
  reason: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  error: Error4,
  toGateway = false,
): number {
  context.drop(reason);
  const { segment, from } = context;
  const to = ethernet.getSource(bytes, offset);
  const sent = report4(context, segment, from, to, bytes, offset + ETHERNET, end, error, toGateway);
  return sent ? ANSWERED : DROPPED;
}

/** Drops the current IPv6 packet, and sends an error about it if that is allowed: see `report6`. */
export function refuse6(
  context: Context,
  reason: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  error: Error6,
  toGateway = false,
): number {
  context.drop(reason);
  const { segment, from } = context;
  const to = ethernet.getSource(bytes, offset);
  const sent = report6(context, segment, from, to, bytes, offset + ETHERNET, end, error, toGateway);
  return sent ? ANSWERED : DROPPED;
}

/**
 * Sends an ICMP error about the IPv4 packet at `ip`, whose header and source are valid, unless RFC 1812, section 4.3.2.7,
 * forbids it: about an ICMP error, a fragment other than the first, or a destination that is no single host. It comes from
 * the gateway's address in the segment of the sender, or, if the packet was for a gateway, from the address that it was for.
 * @param to The sender's MAC address.
 * @param toGateway Whether the packet was for an address of a gateway.
 * @returns whether it was sent.
 */
export function report4(
  context: Context,
  segment: Segment,
  from: number,
  to: number,
  bytes: Uint8Array,
  ip: number,
  end: number,
  error: Error4,
  toGateway = false,
): boolean {
  if (ipv4.getFragmentOffset(bytes, ip) !== 0 || !isHost4(ipv4.getDestination(bytes, ip))) return false;
  const inner = ip + ipv4.getHeaderLength(bytes, ip);
  if (ipv4.getProtocol(bytes, ip) === ipv4.PROTOCOL_ICMP && (inner >= end || icmp.isError(icmp.getType(bytes, inner))))
    return false;
  readWords(words, bytes, ip + SOURCE4, IPV4_LENGTH);
  const own = context.interfaceFor(segment, words, IPV4_LENGTH);
  if (own === undefined || !mayReport(context, from)) return false;
  const stop = Math.min(end, ip + ipv4.getTotalLength(bytes, ip), ip + QUOTE4);
  const payload = ipv4.encode({
    dscp: CONTROL | (ipv4.getDscp(bytes, ip) & SERVICE_MASK),
    protocol: ipv4.PROTOCOL_ICMP,
    source: toGateway ? formatIpv4(bytes, ip + DESTINATION4) : own.text,
    destination: formatIpv4(bytes, ip + SOURCE4),
    payload: icmp.encode({ ...error, payload: bytes.subarray(ip, stop) }),
  });
  answer(context, segment, from, to, ethernet.TYPE_IPV4, payload);
  return true;
}

/**
 * Sends an ICMPv6 error about the IPv6 packet at `ip`, whose header and source are valid, unless RFC 4443, section 2.4 (e),
 * forbids it: about an ICMPv6 error, a redirect or a group. A fragment other than the first may be reported, but nobody
 * could tell whether it is part of an error. The source is that of `report4` (section 2.2).
 * @param to The sender's MAC address.
 * @param toGateway Whether the packet was for an address of a gateway.
 * @returns whether it was sent.
 */
export function report6(
  context: Context,
  segment: Segment,
  from: number,
  to: number,
  bytes: Uint8Array,
  ip: number,
  end: number,
  error: Error6,
  toGateway = false,
): boolean {
  const stop = Math.min(end, ip + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip));
  const found = ipv6.findUpper(bytes, ip, stop);
  if (found < 0 || bytes[ip + DESTINATION6] === 0xff) return false;
  const protocol = ipv6.upperProtocol(found);
  if (protocol === ipv6.NEXT_FRAGMENT) return false;
  const inner = ip + ipv6.upperOffset(found);
  if (protocol === ipv6.NEXT_ICMPV6 && (inner >= stop || !icmpv6.mayCauseError(icmpv6.getType(bytes, inner))))
    return false;
  readWords(words, bytes, ip + SOURCE6, IPV6_LENGTH);
  const own = context.interfaceFor(segment, words, IPV6_LENGTH);
  if (own === undefined || !mayReport(context, from)) return false;
  const ofSegment = isLinkLocal(words) ? context.linkLocalText : own.text;
  const source = toGateway ? formatIpv6(bytes, ip + DESTINATION6) : ofSegment;
  const addresses = { source, destination: formatIpv6(bytes, ip + SOURCE6) };
  const quote = bytes.subarray(ip, Math.min(stop, ip + QUOTE6));
  const payload = ipv6.encode({
    nextHeader: ipv6.NEXT_ICMPV6,
    ...addresses,
    payload: icmpv6.encode({ ...error, payload: quote }, addresses),
  });
  answer(context, segment, from, to, ethernet.TYPE_IPV6, payload);
  return true;
}

/** Whether another error may be sent to a sender now. */
export function mayReport(context: Context, from: number): boolean {
  if (context.dry) return true;
  if (context.limit.take(from, context.now)) {
    context.count(COUNT['errors']);
    return true;
  }
  context.count(COUNT['errors-limited']);
  return false;
}

/** Sends an IP packet of the router's own back to where a frame came from. */
export function answer(
  context: Context,
  segment: Segment,
  from: number,
  to: number,
  etherType: number,
  payload: Uint8Array,
): void {
  const frame = context.allocate(ETHERNET + payload.length);
  const { headroom } = context;
  ethernet.encodeInto(
    { destination: macToText(to), source: macToText(context.mac), etherType, payload },
    frame,
    headroom,
  );
  context.sink.answer(segment.vni, from, frame, headroom, frame.length);
}

/** Whether an IPv4 address may be that of a single host: not in 0/8, loopback, multicast, reserved (RFC 1122, 3.2.1.3). */
export function isHost4(address: number): boolean {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}

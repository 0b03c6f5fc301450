import { isGroupMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';

/** Bytes of the offending packet to quote, so that the answer stays within 576 bytes (RFC 1812, section 4.3.2.3). */
const QUOTE = 576 - 20 - 8;
/** The same for IPv6, so that the answer stays within the MTU of every link (RFC 4443, section 2.4 (c)). */
const QUOTE6 = icmpv6.MAX_ERROR_LENGTH - ipv6.HEADER_LENGTH - icmpv6.HEADER_LENGTH;

/**
 * The answer to an IPv4 packet that has DF set and does not fit: ICMP fragmentation needed (RFC 792, with the next-hop
 * MTU of RFC 1191), in an Ethernet frame back to its sender. Its source is the packet's own destination, as in the
 * kernel's tunnels, because a bridge has no address.
 *
 * @param frame The offending frame: untagged Ethernet, IPv4 behind it.
 * @param mtu The largest IP packet that fits, in bytes.
 * @returns `null` if no answer is allowed (RFC 1812, section 4.3.2.7; RFC 1122, section 3.2.2): to an ICMP error, a
 *   fragment other than the first, a group, a source that is not a single host, or a packet without DF.
 */
export function fragmentationNeeded(bytes: Uint8Array, offset: number, end: number, mtu: number): Uint8Array | null {
  if (ethernet.getEtherType(bytes, offset) !== ethernet.TYPE_IPV4) return null;
  if (isGroupMac(ethernet.getDestination(bytes, offset))) return null;
  const ip = offset + ethernet.HEADER_LENGTH;
  const length = ipv4.check(bytes, ip, end);
  if (length < 0 || !ipv4.getDontFragment(bytes, ip) || ipv4.getFragmentOffset(bytes, ip) !== 0) return null;
  const source = ipv4.getSource(bytes, ip);
  const destination = ipv4.getDestination(bytes, ip);
  if (!isHost(source) || !isHost(destination)) return null;
  const inner = ip + length;
  if (ipv4.getProtocol(bytes, ip) === ipv4.PROTOCOL_ICMP && (inner >= end || icmp.isError(icmp.getType(bytes, inner))))
    return null;
  const header = ipv4.decode(bytes, ip, end);
  const frame = ethernet.decode(bytes, offset, end);
  const error = icmp.encode({
    type: icmp.UNREACHABLE,
    code: icmp.CODE_FRAGMENTATION_NEEDED,
    nextHopMtu: mtu,
    payload: bytes.subarray(ip, Math.min(ip + header.totalLength, ip + QUOTE)),
  });
  return ethernet.encode({
    destination: frame.source,
    source: frame.destination,
    etherType: ethernet.TYPE_IPV4,
    payload: ipv4.encode({
      ttl: 64,
      protocol: ipv4.PROTOCOL_ICMP,
      source: header.destination,
      destination: header.source,
      payload: error,
    }),
  });
}

/** The MTU that every IPv6 link supports (RFC 8200, section 5), and the longest ICMPv6 error (RFC 4443, section 2.4). */
export const IPV6_MIN_MTU = icmpv6.MAX_ERROR_LENGTH;

/**
 * The answer to an IPv6 packet that does not fit: ICMPv6 packet too big (RFC 4443, section 3.2), in an Ethernet frame
 * back to its sender. As with {@link fragmentationNeeded}, its source is the packet's own destination.
 *
 * @param frame The offending frame: untagged Ethernet, IPv6 behind it.
 * @param mtu The largest IP packet that fits, in bytes. The MTU in the answer is at least 1280. A packet of at most 1280 bytes
 *   gets no answer, because its sender cannot make it smaller (RFC 2473, section 7.1).
 * @returns `null` if no answer is allowed (RFC 4443, section 2.4 (e)): to an ICMPv6 error, to a source that is not a
 *   single host, or for a group destination, which cannot be the source of the answer.
 */
export function packetTooBig(bytes: Uint8Array, offset: number, end: number, mtu: number): Uint8Array | null {
  if (ethernet.getEtherType(bytes, offset) !== ethernet.TYPE_IPV6) return null;
  if (isGroupMac(ethernet.getDestination(bytes, offset))) return null;
  const ip = offset + ethernet.HEADER_LENGTH;
  if (ipv6.check(bytes, ip, end) < 0) return null;
  const stop = Math.min(end, ip + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip));
  if (stop - ip <= IPV6_MIN_MTU) return null;
  const source = [0, 1, 2, 3].map((i) => ipv6.getSourceWord(bytes, ip, i));
  if (!isHost6(source) || ipv6.getDestinationWord(bytes, ip, 0) >>> 24 === 0xff) return null;
  const found = ipv6.findUpper(bytes, ip, stop);
  if (found < 0) return null;
  if (ipv6.upperProtocol(found) === ipv6.NEXT_ICMPV6) {
    const inner = ip + ipv6.upperOffset(found);
    if (inner >= stop || !icmpv6.mayCauseError(icmpv6.getType(bytes, inner))) return null;
  }
  const header = ipv6.decode(bytes, ip, end);
  const frame = ethernet.decode(bytes, offset, end);
  const addresses = { source: header.destination, destination: header.source };
  const error = icmpv6.encode(
    {
      type: icmpv6.PACKET_TOO_BIG,
      code: 0,
      mtu: Math.max(mtu, IPV6_MIN_MTU),
      payload: bytes.subarray(ip, Math.min(stop, ip + QUOTE6)),
    },
    addresses,
  );
  return ethernet.encode({
    destination: frame.source,
    source: frame.destination,
    etherType: ethernet.TYPE_IPV6,
    payload: ipv6.encode({ hopLimit: 64, nextHeader: ipv6.NEXT_ICMPV6, ...addresses, payload: error }),
  });
}

/** Whether it is not the unspecified, the loopback or a multicast address. */
function isHost6([a, b, c, d]: readonly number[]): boolean {
  if (a! >>> 24 === 0xff) return false;
  return a !== 0 || b !== 0 || c !== 0 || d! >>> 1 !== 0;
}

/** Whether it is not in 0.0.0.0/8, loopback, multicast or reserved. */
function isHost(address: number): boolean {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}

/**
 * The answer to a packet that does not fit, with `headroom` free bytes in front: {@link fragmentationNeeded} or
 * {@link packetTooBig}, with the VLAN tags of the offending frame.
 * @param tags Bytes of VLAN tags between the frame's addresses and the type of its payload.
 */
export function tooBigAnswer(
  bytes: Uint8Array,
  offset: number,
  end: number,
  tags: number,
  mtu: number,
  headroom: number,
): Uint8Array | null {
  const behind = offset + ADDRESSES + tags;
  const frame = new Uint8Array(end - offset - tags);
  frame.set(bytes.subarray(offset, offset + ADDRESSES));
  frame.set(bytes.subarray(behind, end), ADDRESSES);
  const answer = fragmentationNeeded(frame, 0, frame.length, mtu) ?? packetTooBig(frame, 0, frame.length, mtu);
  if (answer === null) return null;
  const framed = new Uint8Array(headroom + tags + answer.length);
  framed.set(answer.subarray(0, ADDRESSES), headroom);
  framed.set(bytes.subarray(offset + ADDRESSES, behind), headroom + ADDRESSES);
  framed.set(answer.subarray(ADDRESSES), headroom + ADDRESSES + tags);
  return framed;
}

/** Bytes of an Ethernet header before its type. */
const ADDRESSES = ethernet.HEADER_LENGTH - 2;

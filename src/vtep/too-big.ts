import { isGroupMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';

/** As much of the offending packet as keeps the answer within 576 bytes (RFC 1812, section 4.3.2.3). */
const QUOTE = 576 - 20 - 8;

/**
 * The answer to an IPv4 packet that may not be fragmented and does not fit: ICMP fragmentation needed (RFC 792, with the
 * next-hop MTU of RFC 1191), in an Ethernet frame back to its sender. It comes from the packet's own destination, as the
 * kernel's tunnels do it, since a bridge has no address of its own.
 *
 * @param frame The offending frame: untagged Ethernet, IPv4 behind it.
 * @param mtu The largest IP packet that would have fitted, in bytes.
 * @returns `null` where no answer is due (RFC 1812, section 4.3.2.7; RFC 1122, section 3.2.2): an ICMP error, a fragment
 *   other than the first, a group or a source that is no single host, no DF.
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

/** Not 0.0.0.0/8, loopback, multicast or reserved. */
function isHost(address: number): boolean {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}

import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { finish, fold, sum } from '../wire/index.js';
import { behindTags } from './tags.js';

/**
 * Completes a TCP or UDP checksum that the sender left to a network card, if no card has done so.
 *
 * A kernel leaves checksums to its card if the card, or a virtual device, says that it computes them. The kernel then
 * puts only the sum of the pseudo-header into the field, and notes that in the packet's metadata. A socket loses the
 * metadata, the field stays incomplete, and the receiver drops the packet: ping works and nothing else does.
 *
 * An incomplete field equals the pseudo-header's sum. The function tests this first, so that other packets cost little.
 * If a complete checksum happens to equal that sum, completing it again gives the same value.
 *
 * @returns whether the field was changed.
 */
export function fillChecksum(bytes: Uint8Array, offset: number, end: number): boolean {
  const type = ethernet.getEtherType(bytes, offset);
  const packet = offset + ethernet.HEADER_LENGTH;
  if (type === ethernet.TYPE_IPV4) return fillIpv4(bytes, packet, end);
  if (type === ethernet.TYPE_IPV6) return fillIpv6(bytes, packet, end);
  if (!ethernet.isVlanType(type)) return false;
  const start = behindTags(bytes, offset, end);
  return start > offset && fillChecksum(bytes, start, end);
}

// Small functions, because V8 then inlines what nearly all packets need, and no more.

function fillIpv4(bytes: Uint8Array, packet: number, end: number): boolean {
  const length = ipv4.check(bytes, packet, end);
  if (length < 0 || ipv4.isFragment(bytes, packet)) return false;
  const protocol = ipv4.getProtocol(bytes, packet);
  const start = packet + length;
  const stop = packet + ipv4.getTotalLength(bytes, packet);
  const pseudo = fold(ipv4.pseudoHeaderSum(bytes, packet, protocol, stop - start));
  return finishField(bytes, start, stop, protocol, pseudo);
}

function fillIpv6(bytes: Uint8Array, packet: number, end: number): boolean {
  if (ipv6.check(bytes, packet, end) < 0) return false;
  const stop = packet + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, packet);
  const found = ipv6.findUpper(bytes, packet, stop);
  if (found < 0) return false;
  const protocol = ipv6.upperProtocol(found);
  const start = packet + ipv6.upperOffset(found);
  const pseudo = fold(ipv6.pseudoHeaderSum(bytes, packet, protocol, stop - start));
  return finishField(bytes, start, stop, protocol, pseudo);
}

/** @param pseudo The value of an incomplete field. */
function finishField(bytes: Uint8Array, offset: number, end: number, protocol: number, pseudo: number): boolean {
  const length = end - offset;
  if (protocol === ipv4.PROTOCOL_TCP)
    return (
      length >= tcp.MIN_HEADER_LENGTH && tcp.getChecksum(bytes, offset) === pseudo && finishTcp(bytes, offset, end)
    );
  if (protocol === ipv4.PROTOCOL_UDP)
    return length >= udp.HEADER_LENGTH && udp.getChecksum(bytes, offset) === pseudo && finishUdp(bytes, offset, end);
  return false;
}

function finishTcp(bytes: Uint8Array, offset: number, end: number): boolean {
  const before = tcp.getChecksum(bytes, offset);
  const checksum = finish(sum(bytes, offset, end));
  tcp.setChecksum(bytes, offset, checksum);
  return checksum !== before;
}

function finishUdp(bytes: Uint8Array, offset: number, end: number): boolean {
  const before = udp.getChecksum(bytes, offset);
  // 0 would mean that there is no checksum (RFC 768).
  const checksum = finish(sum(bytes, offset, end)) || 0xffff;
  udp.setChecksum(bytes, offset, checksum);
  return checksum !== before;
}

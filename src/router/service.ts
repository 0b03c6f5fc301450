/**
 * Services that a host has at the gateways' addresses, such as DNS: the router passes datagrams to them to its owner, and
 * sends the owner's answers.
 */
import { formatIpv4, formatIpv6 } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as udp from '../udp/index.js';
import { DROPPED, TAKEN, type Context, type ServiceRequest } from './context.js';
import { COUNT, DROP } from './drops.js';
import { answer, DESTINATION4, DESTINATION6, SOURCE4, SOURCE6 } from './errors.js';
import type { Interface, Segment } from './routes.js';
import { IPV4_LENGTH, IPV6_LENGTH, isLinkLocal, octetsOf, readWords, wordsOf } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * What becomes of an answer: `sent`; `too-big` for the MTU of the segment; or `late`, because the gateway is gone, or
 * its time limit is over.
 */
export type ServiceAnswer = 'sent' | 'too-big' | 'late';

/** A scratch address. */
const words = new Int32Array(4);

/** Whether the datagram at `at` is for a port that is served. */
export function isServed({ services }: Context, bytes: Uint8Array, at: number, stop: number): boolean {
  if (services === null || services.ports.size === 0 || stop - at < udp.HEADER_LENGTH) return false;
  return services.ports.has(udp.getDestinationPort(bytes, at));
}

/**
 * Takes a datagram to a service, whose IP header is valid, or each of those of a super-frame. An answer that cannot be sent
 * is not worth a request, so the sender must be a station of the segment.
 * @param at Its UDP header.
 */
export function takeRequest(context: Context, bytes: Uint8Array, offset: number, at: number, stop: number): number {
  const { segment, from, now } = context;
  const services = context.services!;
  const ip = offset + ETHERNET;
  const four = ethernet.getEtherType(bytes, offset) === ethernet.TYPE_IPV4;
  context.service = udp.getDestinationPort(bytes, at);
  if (udp.check(bytes, at, stop) < 0 || udp.getSourcePort(bytes, at) === 0)
    return context.drop(DROP['gateway-datagram']);
  const length = udp.getLength(bytes, at);
  // A super-frame has no valid UDP checksum: the sender of its segments computes theirs.
  if (context.packets === 1) {
    const pseudo = four
      ? ipv4.pseudoHeaderSum(bytes, ip, udp.PROTOCOL, length)
      : ipv6.pseudoHeaderSum(bytes, ip, udp.PROTOCOL, length);
    if (!udp.verifyChecksum(bytes, at, pseudo, four)) return context.drop(DROP['gateway-datagram']);
  }
  readWords(words, bytes, ip + (four ? SOURCE4 : SOURCE6), four ? IPV4_LENGTH : IPV6_LENGTH);
  if (!isStationOf(segment, words, four)) return context.drop(DROP['gateway-source']);
  if (context.dry) return TAKEN;

  const end = at + length;
  const data = at + udp.HEADER_LENGTH;
  // The datagrams of a super-frame are as long as the largest, but for the last one.
  const size = Math.max(1, end - data - context.excess);
  let taken = 0;
  let refused = 0;
  let start = data;
  do {
    const next = Math.min(end, start + size);
    if (services.admits(from, now)) {
      services.take({
        vni: segment.vni,
        from,
        mac: ethernet.getSource(bytes, offset),
        source: four ? formatIpv4(bytes, ip + SOURCE4) : formatIpv6(bytes, ip + SOURCE6),
        sourcePort: udp.getSourcePort(bytes, at),
        gateway: four ? formatIpv4(bytes, ip + DESTINATION4) : formatIpv6(bytes, ip + DESTINATION6),
        gatewayPort: context.service,
        payload: bytes.slice(start, next),
        room: roomIn((four ? segment.four : segment.six)[0]!),
      });
      taken++;
    } else refused++;
    start = next;
  } while (start < end);
  context.count(COUNT['requests'], taken);
  if (refused > 0) {
    context.reason = DROP['gateway-busy'];
    context.lose(segment.vni, context.reason, refused);
  }
  return taken > 0 ? TAKEN : DROPPED;
}

/** Most bytes of a datagram's payload in a segment. */
function roomIn({ mtu, size }: Interface): number {
  const header = size === IPV4_LENGTH ? ipv4.MIN_HEADER_LENGTH : ipv6.HEADER_LENGTH;
  return Math.max(0, mtu - header - udp.HEADER_LENGTH);
}

/**
 * Whether an address may be that of a station of a segment: in one of its subnets, or link-local. The address of a subnet
 * itself belongs to no station (RFC 1122, section 3.2.1.3; RFC 4291, section 2.6.1).
 */
function isStationOf(segment: Segment, address: Int32Array, four: boolean): boolean {
  if (!four && segment.six.length > 0 && isLinkLocal(address)) return true;
  for (const { words: own, mask, length, size } of four ? segment.four : segment.six) {
    let differing = 0;
    let station = 0;
    for (let i = 0; i < 4; i++) {
      differing |= (own[i]! ^ address[i]!) & mask[i]!;
      station |= address[i]! & ~mask[i]!;
    }
    if (differing === 0) return station !== 0 || length >= size * 8 - 1;
  }
  return false;
}

/** Sends the answer of a service to a request: a datagram that is never fragmented. See `Router.respond`. */
export function respond(context: Context, request: ServiceRequest, payload: Uint8Array): ServiceAnswer {
  const { vni, from, mac, source, sourcePort, gateway, gatewayPort } = request;
  const segment = context.segments.get(vni);
  const four = !source.includes(':');
  const own = (four ? segment?.four : segment?.six)?.[0];
  if (segment !== undefined) context.segment = segment;
  if (segment === undefined || own === undefined || !context.isOwn(wordsOf(octetsOf(gateway)))) {
    context.lose(vni, DROP['gateway-late'], 1);
    return 'late';
  }
  if (payload.length > roomIn(own)) {
    context.lose(vni, DROP['gateway-answer'], 1);
    return 'too-big';
  }
  const addresses = { source: gateway, destination: source };
  const datagram = udp.encode({ sourcePort: gatewayPort, destinationPort: sourcePort, payload }, addresses);
  const packet = four
    ? ipv4.encode({ dontFragment: true, protocol: udp.PROTOCOL, ...addresses, payload: datagram })
    : ipv6.encode({ nextHeader: udp.PROTOCOL, ...addresses, payload: datagram });
  context.count(COUNT['answers']);
  answer(context, segment, from, mac, four ? ethernet.TYPE_IPV4 : ethernet.TYPE_IPV6, packet);
  return 'sent';
}

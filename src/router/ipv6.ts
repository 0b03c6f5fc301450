/** The way of IPv6 packets through a router: RFC 8200, RFC 4443. */
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { ANSWERED, DROPPED, type Context } from './context.js';
import { DROP } from './drops.js';
import { DESTINATION6, refuse6, report6, SOURCE6 } from './errors.js';
import { deliver6 } from './local.js';
import { send } from './resolve.js';
import { IPV6_LENGTH, isLinkLocal, readWords } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** Routes an IPv6 packet to the gateway's MAC address: see `Router.receive`. */
export function takeIpv6(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const ip = offset + ETHERNET;
  if (ipv6.check(bytes, ip, end) < 0) return context.drop(DROP['malformed']);
  const { destination } = context;
  readWords(destination, bytes, ip + SOURCE6, IPV6_LENGTH);
  if (!isHost(destination) || context.isOwn(destination)) return context.drop(DROP['martian']);
  const local = isLinkLocal(destination);
  readWords(destination, bytes, ip + DESTINATION6, IPV6_LENGTH);
  if (context.isOwn(destination)) return deliver6(context, bytes, offset, end);
  if (!isHost(destination) || isLinkLocal(destination)) return context.drop(DROP['not-routable']);

  const route = context.six.find(destination);
  if (route === null) {
    const error = { type: icmpv6.UNREACHABLE, code: icmpv6.CODE_NO_ROUTE };
    return refuse6(context, DROP['no-route'], bytes, offset, end, error);
  }
  const hopLimit = ipv6.getHopLimit(bytes, ip);
  if (hopLimit <= 1) return refuse6(context, DROP['ttl'], bytes, offset, end, { type: icmpv6.TIME_EXCEEDED, code: 0 });
  if (local) {
    const error = { type: icmpv6.UNREACHABLE, code: icmpv6.CODE_BEYOND_SCOPE };
    return refuse6(context, DROP['scope'], bytes, offset, end, error);
  }
  const { mtu } = route.out;
  if (ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip) - context.excess > mtu) {
    const error = { type: icmpv6.PACKET_TOO_BIG, code: 0, mtu: Math.max(mtu, icmpv6.MAX_ERROR_LENGTH) };
    return refuse6(context, DROP['too-big'], bytes, offset, end, error);
  }
  ipv6.setHopLimit(bytes, ip, hopLimit - 1);
  return send(context, route, bytes, offset, end, ip + DESTINATION6);
}

/** A routed packet is too big for the path to its next hop: see `Router.narrow`. */
export function narrow6(context: Context, bytes: Uint8Array, offset: number, end: number, mtu: number): number {
  context.drop(DROP['too-big']);
  const { segment, from, sender } = context;
  const error = { type: icmpv6.PACKET_TOO_BIG, code: 0, mtu: Math.max(mtu, icmpv6.MAX_ERROR_LENGTH) };
  return report6(context, segment, from, sender, bytes, offset + ETHERNET, end, error) ? ANSWERED : DROPPED;
}

/** Whether it is not the unspecified, the loopback or a multicast address. */
function isHost(words: Int32Array): boolean {
  if (words[0]! >>> 24 === 0xff) return false;
  return words[0] !== 0 || words[1] !== 0 || words[2] !== 0 || words[3]! >>> 1 !== 0;
}

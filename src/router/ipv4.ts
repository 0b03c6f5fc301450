/** The way of IPv4 packets through a router: RFC 1812, section 5. */
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';
import { ANSWERED, DROPPED, type Context } from './context.js';
import { DROP } from './drops.js';
import { DESTINATION4, isHost4, refuse4, report4, SOURCE4 } from './errors.js';
import { fragment, fragmentRouted } from './fragment.js';
import { deliver4 } from './local.js';
import { MALFORMED_AT, pass, readRouterOptions, SOURCE_ROUTED } from './options.js';
import { send } from './resolve.js';
import { IPV4_LENGTH, readWords } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** 169.254.0.0/16, which no router forwards (RFC 3927, section 7). */
const LINK_LOCAL = 0xa9fe;

/** Routes an IPv4 packet to the gateway's MAC address: see `Router.receive`. */
export function takeIpv4(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const ip = offset + ETHERNET;
  const length = ipv4.check(bytes, ip, end);
  if (length < 0) return context.drop(DROP['malformed']);
  if (!ipv4.verifyChecksum(bytes, ip)) return context.drop(DROP['checksum']);
  const { destination } = context;
  readWords(destination, bytes, ip + SOURCE4, IPV4_LENGTH);
  if (!isSource(context, ipv4.getSource(bytes, ip), destination)) return context.drop(DROP['martian']);
  readWords(destination, bytes, ip + DESTINATION4, IPV4_LENGTH);
  if (length > ipv4.MIN_HEADER_LENGTH) {
    const options = readRouterOptions(bytes, ip + ipv4.MIN_HEADER_LENGTH, ip + length);
    if (options === SOURCE_ROUTED) return context.drop(DROP['source-route']);
    if (options >= MALFORMED_AT) {
      const pointer = ipv4.MIN_HEADER_LENGTH + options - MALFORMED_AT;
      const error = { type: icmp.PARAMETER_PROBLEM, code: 0, pointer };
      return refuse4(context, DROP['options'], bytes, offset, end, error);
    }
  }
  if (context.gatewayAt(destination) !== undefined) return deliver4(context, bytes, offset, end);
  const address = ipv4.getDestination(bytes, ip);
  if (!isHost4(address) || address >>> 16 === LINK_LOCAL) return context.drop(DROP['not-routable']);

  const route = context.four.find(destination);
  if (route === null) {
    const error = { type: icmp.UNREACHABLE, code: icmp.CODE_NETWORK_UNREACHABLE };
    return refuse4(context, DROP['no-route'], bytes, offset, end, error);
  }
  // Directed broadcasts stay where they are (RFC 2644).
  if (route.out.broadcast === address) return context.drop(DROP['not-routable']);
  if (ipv4.getTtl(bytes, ip) <= 1)
    return refuse4(context, DROP['ttl'], bytes, offset, end, { type: icmp.TIME_EXCEEDED, code: 0 });
  const { mtu } = route.out;
  if (ipv4.getTotalLength(bytes, ip) - context.excess > mtu) {
    if (!ipv4.getDontFragment(bytes, ip)) return fragment(context, route, length, bytes, offset, end);
    const error = { type: icmp.UNREACHABLE, code: icmp.CODE_FRAGMENTATION_NEEDED, nextHopMtu: mtu };
    return refuse4(context, DROP['too-big'], bytes, offset, end, error);
  }
  pass(route, bytes, ip, length);
  return send(context, route, bytes, offset, end, ip + DESTINATION4);
}

/** A routed packet is too big for the path to its next hop: see `Router.narrow`. */
export function narrow4(context: Context, bytes: Uint8Array, offset: number, end: number, mtu: number): number {
  const ip = offset + ETHERNET;
  if (!ipv4.getDontFragment(bytes, ip)) return fragmentRouted(context, mtu, bytes, offset, end);
  context.drop(DROP['too-big']);
  const { segment, from, sender } = context;
  const error = { type: icmp.UNREACHABLE, code: icmp.CODE_FRAGMENTATION_NEEDED, nextHopMtu: mtu };
  return report4(context, segment, from, sender, bytes, ip, end, error) ? ANSWERED : DROPPED;
}

/** Whether a source address is that of a host, and not of a gateway. */
function isSource(context: Context, address: number, words: Int32Array): boolean {
  if (!isHost4(address) || context.gatewayAt(words) !== undefined) return false;
  const { four } = context.segment;
  for (let i = 0; i < four.length; i++) if (four[i]!.broadcast === address) return false;
  return true;
}

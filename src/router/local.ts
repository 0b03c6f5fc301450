/**
 * Packets for the gateway itself: it answers ping, passes datagrams to the services that its host has there, and tells
 * senders of anything else that it has no such service.
 */
import { formatIpv4, formatIpv6, type Addresses } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import { ANSWERED, type Context } from './context.js';
import { COUNT, DROP } from './drops.js';
import { answer, DESTINATION4, DESTINATION6, mayReport, refuse4, refuse6, SOURCE4, SOURCE6 } from './errors.js';
import { isServed, takeRequest } from './service.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** Offset of the next header's number in the IPv6 header. */
const NEXT_HEADER = 6;
const NOTHING = new Uint8Array(0);

/** Takes an IPv4 packet to a gateway's address. */
export function deliver4(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const ip = offset + ETHERNET;
  if (ipv4.isFragment(bytes, ip)) return context.drop(DROP['gateway-fragment']);
  const at = ip + ipv4.getHeaderLength(bytes, ip);
  const stop = ip + ipv4.getTotalLength(bytes, ip);
  switch (ipv4.getProtocol(bytes, ip)) {
    case ipv4.PROTOCOL_ICMP: {
      if (icmp.check(bytes, at, stop) < 0 || !icmp.verifyChecksum(bytes, at, stop))
        return context.drop(DROP['malformed']);
      if (icmp.getType(bytes, at) !== icmp.ECHO_REQUEST) return context.drop(DROP['gateway-closed']);
      return echo4(context, bytes, offset, at, stop);
    }
    case ipv4.PROTOCOL_TCP: {
      const payload = reset(bytes, at, stop, turned(bytes, ip, formatIpv4, SOURCE4, DESTINATION4));
      return sendReset(context, bytes, offset, payload);
    }
    case ipv4.PROTOCOL_UDP: {
      if (isServed(context, bytes, at, stop)) return takeRequest(context, bytes, offset, at, stop);
      const error = { type: icmp.UNREACHABLE, code: icmp.CODE_PORT_UNREACHABLE };
      return refuse4(context, DROP['gateway-closed'], bytes, offset, end, error, true);
    }
    default: {
      const error = { type: icmp.UNREACHABLE, code: icmp.CODE_PROTOCOL_UNREACHABLE };
      return refuse4(context, DROP['gateway-closed'], bytes, offset, end, error, true);
    }
  }
}

/** Takes an IPv6 packet to a gateway's address. */
export function deliver6(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const ip = offset + ETHERNET;
  const stop = ip + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip);
  const found = ipv6.findUpper(bytes, ip, stop);
  if (found < 0) return context.drop(DROP['malformed']);
  const protocol = ipv6.upperProtocol(found);
  if (ipv6.isUpperFragment(found) || protocol === ipv6.NEXT_FRAGMENT) return context.drop(DROP['gateway-fragment']);
  const at = ip + ipv6.upperOffset(found);
  switch (protocol) {
    case ipv6.NEXT_ICMPV6: {
      const pseudo = ipv6.pseudoHeaderSum(bytes, ip, protocol, stop - at);
      if (icmpv6.check(bytes, at, stop) < 0 || !icmpv6.verifyChecksum(bytes, at, stop, pseudo))
        return context.drop(DROP['malformed']);
      if (icmpv6.getType(bytes, at) !== icmpv6.ECHO_REQUEST) return context.drop(DROP['gateway-closed']);
      return echo6(context, bytes, offset, at, stop);
    }
    case ipv4.PROTOCOL_TCP: {
      const payload = reset(bytes, at, stop, turned(bytes, ip, formatIpv6, SOURCE6, DESTINATION6));
      return sendReset(context, bytes, offset, payload);
    }
    case ipv4.PROTOCOL_UDP: {
      if (isServed(context, bytes, at, stop)) return takeRequest(context, bytes, offset, at, stop);
      const error = { type: icmpv6.UNREACHABLE, code: icmpv6.CODE_PORT_UNREACHABLE };
      return refuse6(context, DROP['gateway-closed'], bytes, offset, end, error, true);
    }
    default: {
      // Behind extension headers, the number of the protocol is elsewhere.
      if (protocol === ipv6.NEXT_NONE || at !== ip + ipv6.HEADER_LENGTH) return context.drop(DROP['gateway-closed']);
      const code = icmpv6.CODE_UNKNOWN_NEXT_HEADER;
      const error = { type: icmpv6.PARAMETER_PROBLEM, code, pointer: NEXT_HEADER };
      return refuse6(context, DROP['gateway-closed'], bytes, offset, end, error, true);
    }
  }
}

/** The addresses of an answer: those of the packet, exchanged. */
function turned(
  bytes: Uint8Array,
  ip: number,
  format: (bytes: Uint8Array, offset: number) => string,
  source: number,
  destination: number,
): Addresses {
  return { source: format(bytes, ip + destination), destination: format(bytes, ip + source) };
}

function echo4(context: Context, bytes: Uint8Array, offset: number, at: number, stop: number): number {
  const ip = offset + ETHERNET;
  const { checksum: _, ...message } = icmp.decode(bytes, at, stop);
  const payload = ipv4.encode({
    dscp: ipv4.getDscp(bytes, ip),
    ecn: ipv4.getEcn(bytes, ip),
    identification: ipv4.getIdentification(bytes, ip),
    dontFragment: ipv4.getDontFragment(bytes, ip),
    protocol: ipv4.PROTOCOL_ICMP,
    ...turned(bytes, ip, formatIpv4, SOURCE4, DESTINATION4),
    payload: icmp.encode({ ...message, type: icmp.ECHO_REPLY }),
  });
  return sendEcho(context, bytes, offset, ethernet.TYPE_IPV4, payload);
}

function echo6(context: Context, bytes: Uint8Array, offset: number, at: number, stop: number): number {
  const ip = offset + ETHERNET;
  const { checksum: _, ...message } = icmpv6.decode(bytes, at, stop);
  const addresses = turned(bytes, ip, formatIpv6, SOURCE6, DESTINATION6);
  const payload = ipv6.encode({
    dscp: ipv6.getDscp(bytes, ip),
    ecn: ipv6.getEcn(bytes, ip),
    flowLabel: ipv6.getFlowLabel(bytes, ip),
    nextHeader: ipv6.NEXT_ICMPV6,
    ...addresses,
    payload: icmpv6.encode({ ...message, type: icmpv6.ECHO_REPLY }, addresses),
  });
  return sendEcho(context, bytes, offset, ethernet.TYPE_IPV6, payload);
}

function sendEcho(context: Context, bytes: Uint8Array, offset: number, type: number, payload: Uint8Array): number {
  context.count(COUNT['echo-answered']);
  answer(context, context.segment, context.from, ethernet.getSource(bytes, offset), type, payload);
  return ANSWERED;
}

/**
 * The IP packet that resets the connection of a segment, as of a host without a socket (RFC 9293, section 3.10.7.1); `null`
 * for a segment that is itself a reset, or malformed.
 */
function reset(bytes: Uint8Array, at: number, stop: number, addresses: Addresses): Uint8Array | null {
  const length = tcp.check(bytes, at, stop);
  if (length < 0) return null;
  const flags = tcp.getFlags(bytes, at);
  if ((flags & tcp.FLAG_RST) !== 0) return null;
  const acknowledges = (flags & tcp.FLAG_ACK) !== 0;
  const occupied = stop - at - length + ((flags & tcp.FLAG_SYN) !== 0 ? 1 : 0) + ((flags & tcp.FLAG_FIN) !== 0 ? 1 : 0);
  const payload = tcp.encode(
    {
      sourcePort: tcp.getDestinationPort(bytes, at),
      destinationPort: tcp.getSourcePort(bytes, at),
      sequence: acknowledges ? tcp.getAcknowledgment(bytes, at) : 0,
      acknowledgment: acknowledges ? 0 : (tcp.getSequence(bytes, at) + occupied) % 2 ** 32,
      flags: acknowledges ? tcp.FLAG_RST : tcp.FLAG_RST | tcp.FLAG_ACK,
      window: 0,
      payload: NOTHING,
    },
    addresses,
  );
  return addresses.source.includes(':')
    ? ipv6.encode({ nextHeader: ipv4.PROTOCOL_TCP, ...addresses, payload })
    : ipv4.encode({ dontFragment: true, protocol: ipv4.PROTOCOL_TCP, ...addresses, payload });
}

function sendReset(context: Context, bytes: Uint8Array, offset: number, payload: Uint8Array | null): number {
  const dropped = context.drop(DROP['gateway-closed']);
  if (payload === null || !mayReport(context, context.from)) return dropped;
  const type = ethernet.getEtherType(bytes, offset);
  answer(context, context.segment, context.from, ethernet.getSource(bytes, offset), type, payload);
  return ANSWERED;
}

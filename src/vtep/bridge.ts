/**
 * The middle part of the data path, the bridge of each segment: learns source addresses, answers ARP (discovery.ts answers
 * neighbor discovery), and decides which ports and remotes get a frame.
 */
import { formatMac, ipv4ToText, macToText } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import { NONE } from '../fdb/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { ANSWER, hasNoSender, judge, LOCAL, ON_THIS_HOST, UNKNOWN } from '../neighbor/index.js';
import { getI32, getU16 } from '../wire/index.js';
import type { Context } from './context.js';
import { isRemote, portOf, remoteIdOf } from './destination.js';
import { takeDiscovery } from './discovery.js';
import { DROP } from './drops.js';
import { deliver, encapsulate, reply } from './egress.js';
import { VERDICTS } from './explain.js';
import { flood } from './flood.js';
import type { Frame } from './frame.js';
import { admit, isFromGateway } from './learning.js';
import { MAX_REPLY_TAGS, writeArpReply } from './proxy.js';
import { isFalseClaim, keepQuestion } from './resolution.js';
import { COUNT, type Segment } from './segment.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;
/** The bit of the first 16 bits of an address that marks a group: multicast or broadcast. */
const GROUP = 0x0100;

/**
 * Learns the source address of a frame, and forwards it.
 *
 * The path of most frames, a unicast to a known address, is one function. V8 inlines small functions into their caller
 * until a budget is used up; smaller parts would take it from the look-ups in the FDB.
 */
export function forward(context: Context, segment: Segment, frame: Frame): void {
  const { bytes, start, from } = frame;
  // Both addresses are read once, for the same reason.
  const sourceLow = getI32(bytes, start + SOURCE + 2);
  const sourceHigh = getU16(bytes, start + SOURCE);
  if ((sourceHigh & GROUP) !== 0 || (sourceLow | sourceHigh) === 0)
    return context.drop(segment, frame, DROP['source-group']);
  const isProxied = segment.proxy === 'vtep';
  if (isProxied && ethernet.getSource(bytes, start) === segment.mac)
    return context.drop(segment, frame, DROP['source-own']);
  // The look-up of nearly all frames is here, because V8 does not inline `admit`.
  if (
    (context.trace !== null || !segment.fdb.touch(sourceLow, sourceHigh, from, context.now)) &&
    !admit(context, segment, frame)
  )
    return context.drop(segment, frame, isFromGateway(segment, frame) ? DROP['source-own'] : DROP['source-bound']);
  if (frame.type === ethernet.TYPE_ARP) {
    if (takeArp(context, segment, frame)) return;
  } else if (frame.type === ethernet.TYPE_IPV6 && mayBeDiscovery(bytes, frame.payload)) {
    if (takeDiscovery(context, segment, frame)) return;
  } else if (segment.router !== null && segment.router.take(segment, frame)) return;
  const low = getI32(bytes, start + 2);
  const high = getU16(bytes, start);
  if ((high & GROUP) !== 0) return forwardToGroup(context, segment, frame);

  if (low === sourceLow && high === sourceHigh) return context.drop(segment, frame, DROP['same-port']);
  const gateway = isProxied && !isRemote(from) && ethernet.getDestination(bytes, start) === segment.mac;
  const to = gateway ? resolve(context, segment, frame) : segment.fdb.find(low, high, context.now);
  if (context.trace !== null) {
    const place = to === NONE ? 'unknown' : `behind ${context.nameOf(to)}`;
    context.addStep('fdb', `${formatMac(bytes, start)} is ${place}`);
  }
  if (to === NONE) return forwardToUnknown(context, segment, frame, gateway);
  if (isRemote(to)) {
    if (isRemote(from)) return context.drop(segment, frame, DROP['split-horizon']);
    return encapsulate(context, segment, frame, context.remotes.get(remoteIdOf(to)));
  }
  if (to === from) return context.drop(segment, frame, DROP['same-port']);
  const port = portOf(to);
  deliver(context, segment, frame, port, context.ports.vlanOn(port, segment));
}

/**
 * Whether an IPv6 packet, which may be cut, may be neighbor discovery. Those of TCP and UDP, nearly all, are not: they need
 * no call of `takeDiscovery`.
 */
function mayBeDiscovery(bytes: Uint8Array, ip: number): boolean {
  const next = ipv6.getNextHeader(bytes, ip);
  return next !== ipv4.PROTOCOL_TCP && next !== ipv4.PROTOCOL_UDP;
}

/** Forwards a broadcast or multicast. */
function forwardToGroup(context: Context, segment: Segment, frame: Frame): void {
  if (ethernet.isToReservedGroup(frame.bytes, frame.start)) return context.drop(segment, frame, DROP['reserved-group']);
  if (!isRemote(frame.from)) keepQuestion(context, segment, frame);
  flood(context, segment, frame);
}

/**
 * Forwards a unicast for which the FDB has no entry.
 * @param gateway Whether it was addressed to the VTEP.
 */
function forwardToUnknown(context: Context, segment: Segment, frame: Frame, gateway: boolean): void {
  const mac = ethernet.getDestination(frame.bytes, frame.start);
  if (segment.isLocal(mac)) return flood(context, segment, frame, true);
  // If `resolve` finds the neighbor, it rewrites the destination address.
  if (gateway && mac === segment.mac) return context.drop(segment, frame, DROP['no-neighbor']);
  if (!segment.flood) return context.drop(segment, frame, DROP['unknown-destination']);
  flood(context, segment, frame);
}

// ---- Claims of addresses ----

/**
 * Checks whether a second MAC address claims the sender's IP address of an ARP packet.
 * @returns whether the packet must go no further: see `isFalseClaim`.
 */
function watchArp(context: Context, segment: Segment, frame: Frame): boolean {
  const { bytes, payload: packet } = frame;
  if (arp.check(bytes, packet, frame.end) < 0 || !arp.isEthernetIpv4(bytes, packet)) return false;
  const ip = arp.getSenderIp(bytes, packet);
  const mac = arp.getSenderMac(bytes, packet);
  const binding = segment.neighbors.byIpv4(ip);
  if (binding === undefined) {
    const other = context.trace === null ? segment.watch.claims(ip, mac, context.now) : 0;
    if (other !== 0) segment.watch.duplicate(ipv4ToText(ip), other, mac, frame.from, false);
    return false;
  }
  if (binding.mac === mac) return false;
  return isFalseClaim(context, segment, frame, binding, mac);
}

// ---- The ARP proxy ----

/** Watches an ARP packet, and returns whether it goes no further: it is dropped, or the gateway or the proxy answers it. */
function takeArp(context: Context, segment: Segment, frame: Frame): boolean {
  if (hasNoSender(frame.bytes, frame.payload, frame.end)) {
    context.drop(segment, frame, DROP['arp-sender']);
    return true;
  }
  if (watchArp(context, segment, frame)) {
    context.drop(segment, frame, DROP['arp-claim']);
    return true;
  }
  const { router } = segment;
  if (router !== null && router.take(segment, frame)) return true;
  return !isRemote(frame.from) && segment.proxy !== 'off' && proxy(context, segment, frame);
}

/** Lets the proxy answer or drop an ARP packet from a local port, and returns whether it did. */
function proxy(context: Context, segment: Segment, frame: Frame): boolean {
  const { bytes, start, payload: packet } = frame;
  // An answer has the tags of the request. If they do not fit, the request is forwarded like any frame.
  if (frame.snap || packet - start - ETHERNET > MAX_REPLY_TAGS) return false;
  const verdict = judge(segment.neighbors, bytes, packet, frame.end);
  if (context.trace !== null && verdict !== ANSWER) context.addStep('arp', VERDICTS[verdict]!);
  if (verdict === ANSWER) {
    const { mac } = segment.neighbors.byIpv4(arp.getTargetIp(bytes, packet))!;
    answer(context, segment, frame, segment.proxy === 'vtep' ? segment.mac : mac);
    return true;
  }
  // The sender knows the VTEP's address for an endpoint that was remote then and is local now, so its unicast request
  // does not reach the endpoint.
  if (verdict === ON_THIS_HOST && segment.proxy === 'vtep' && ethernet.getDestination(bytes, start) === segment.mac) {
    const { mac } = segment.neighbors.byIpv4(arp.getTargetIp(bytes, packet))!;
    answer(context, segment, frame, mac);
    return true;
  }
  if (verdict === UNKNOWN && !segment.flood && ethernet.isToGroup(bytes, start)) {
    keepQuestion(context, segment, frame);
    context.drop(segment, frame, DROP['arp-unknown']);
    return true;
  }
  return false;
}

/** Answers an ARP request for an endpoint. */
function answer(context: Context, segment: Segment, request: Frame, mac: number): void {
  if (context.trace !== null) {
    const target = arp.getTargetIp(request.bytes, request.payload);
    context.addStep('arp', `the proxy answers: ${ipv4ToText(target)} is at ${macToText(mac)}`);
  }
  writeArpReply(context.answer, request, mac);
  segment.count(COUNT['arp-answered'], 1);
  reply(context, segment, context.answer, request.from);
}

/**
 * The destination of a packet to the VTEP's own MAC address, by its IP address. Rewrites the frame's destination
 * address.
 */
function resolve(context: Context, segment: Segment, frame: Frame): number {
  if (!frame.isIp) return NONE;
  const { bytes, start, type, payload } = frame;
  const binding =
    type === ethernet.TYPE_IPV4
      ? segment.neighbors.byIpv4(ipv4.getDestination(bytes, payload))
      : segment.neighbors.byIpv6(bytes, payload + ipv6.DESTINATION_OFFSET);
  if (binding === undefined) return NONE;
  ethernet.setDestination(bytes, start, binding.mac);
  if (context.trace !== null) {
    const place = context.nameOf(binding.location);
    context.addStep('neighbor', `the packet is for ${macToText(binding.mac)}, ${place}`);
  }
  return binding.location === LOCAL ? segment.fdb.lookup(bytes, start, context.now) : binding.location;
}

/** ARP and neighbor discovery as a router sees it: questions for its gateways, and answers to its own questions. */
import { formatIpv6 } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { setU32 } from '../wire/index.js';
import { ANSWERED, LEARNED, NOT_OURS, TUNNEL, type Context } from './context.js';
import { COUNT, DROP } from './drops.js';
import { SOURCE6 } from './errors.js';
import { confirm, discoveryFrame, isStation, overhear, ownAddress } from './resolve.js';
import { IPV4_LENGTH, IPV6_LENGTH, isLinkLocal, readWords } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const ALL_NODES = 'ff02::1';
/** The group MAC address of {@link ALL_NODES} (RFC 2464, section 7). */
const ALL_NODES_MAC = 0x3333_0000_0001;

/** Scratch addresses. */
const words = new Int32Array(4);
const octets = new Uint8Array(IPV4_LENGTH);

/** Whether the address in `words` is the router's in the current segment. */
function isOwnHere(context: Context): boolean {
  return context.isOwn(words) && (isLinkLocal(words) || context.gatewayAt(words)?.vni === context.segment.vni);
}

function readIpv4(address: number): void {
  setU32(octets, 0, address);
  readWords(words, octets, 0, IPV4_LENGTH);
}

/** Takes an ARP frame, if it is about a gateway or answers a question of the router. */
export function takeArp(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const packet = offset + ETHERNET;
  const toUs = context.isOwnMac(bytes, offset);
  if (arp.check(bytes, packet, end) < 0 || !arp.isEthernetIpv4(bytes, packet))
    return toUs ? context.drop(DROP['malformed']) : NOT_OURS;
  const sender = arp.getSenderMac(bytes, packet);
  readIpv4(arp.getSenderIp(bytes, packet));
  const claimed = isOwnHere(context);
  const entry = context.neighbors.find(context.segment.vni, words);
  // Other hosts ask from the gateway's addresses too.
  if (claimed && sender === context.mac && context.from === TUNNEL) return NOT_OURS;
  if (claimed) return context.drop(DROP['gateway-claim']);
  readIpv4(arp.getTargetIp(bytes, packet));
  const asked = isOwnHere(context);
  const operation = arp.getOperation(bytes, packet);
  if (operation === arp.REQUEST && asked) {
    overhear(context, entry, sender);
    if (context.from === TUNNEL) return context.drop(DROP['gateway-remote']);
    return answerArp(context, bytes, offset, packet);
  }
  if (operation === arp.REPLY && toUs) {
    if (!isStation(context, sender)) return LEARNED;
    if (entry !== undefined) confirm(context, entry, sender);
    setU32(octets, 0, arp.getSenderIp(bytes, packet));
    if (!context.dry) context.sink.answered?.(context.segment.vni, octets, sender);
    return LEARNED;
  }
  overhear(context, entry, sender);
  return toUs ? context.drop(DROP['gateway-closed']) : NOT_OURS;
}

function answerArp(context: Context, bytes: Uint8Array, offset: number, packet: number): number {
  const { mac, headroom } = context;
  const frame = context.allocate(ETHERNET + arp.ETHERNET_IPV4_LENGTH);
  ethernet.writeHeader(frame, headroom, ethernet.getSource(bytes, offset), mac, ethernet.TYPE_ARP);
  const target = arp.getTargetIp(bytes, packet);
  const [sender, ip] = [arp.getSenderMac(bytes, packet), arp.getSenderIp(bytes, packet)];
  arp.writeEthernetIpv4(frame, headroom + ETHERNET, arp.REPLY, mac, target, sender, ip);
  context.count(COUNT['arp-answered']);
  context.sink.answer(context.segment.vni, context.from, frame, headroom, frame.length);
  return ANSWERED;
}

/**
 * Takes a message of neighbor discovery, if it is about a gateway or answers a question of the router; `NOT_OURS` if it is
 * not, or if the packet is another one.
 */
export function takeDiscovery(context: Context, bytes: Uint8Array, offset: number, end: number): number {
  const ip = offset + ETHERNET;
  // Neighbor discovery has no extension headers in practice: RFC 6980 forbids fragments.
  if (ipv6.check(bytes, ip, end) < 0 || ipv6.getNextHeader(bytes, ip) !== ipv6.NEXT_ICMPV6) return NOT_OURS;
  const at = ip + ipv6.HEADER_LENGTH;
  const stop = at + ipv6.getPayloadLength(bytes, ip);
  if (stop - at < icmpv6.NEIGHBOR_LENGTH) return NOT_OURS;
  const type = icmpv6.getType(bytes, at);
  if (type !== icmpv6.NEIGHBOR_SOLICITATION && type !== icmpv6.NEIGHBOR_ADVERTISEMENT) return NOT_OURS;
  readWords(words, bytes, at + icmpv6.TARGET_OFFSET, IPV6_LENGTH);
  const own = isOwnHere(context);
  const toUs = context.isOwnMac(bytes, offset);
  if (!icmpv6.verifyDiscovery(bytes, ip, at, stop)) return own || toUs ? context.drop(DROP['malformed']) : NOT_OURS;
  return type === icmpv6.NEIGHBOR_SOLICITATION
    ? takeSolicitation(context, own, toUs, bytes, offset, at)
    : takeAdvertisement(context, own, toUs, bytes, offset, at, stop);
}

/** @param asked Whether its target is a gateway. */
function takeSolicitation(
  context: Context,
  asked: boolean,
  toUs: boolean,
  bytes: Uint8Array,
  offset: number,
  at: number,
): number {
  readWords(words, bytes, offset + ETHERNET + SOURCE6, IPV6_LENGTH);
  const mac = ethernet.getSource(bytes, offset);
  if (isOwnHere(context)) {
    if (mac === context.mac && context.from === TUNNEL) return NOT_OURS;
    return context.drop(DROP['gateway-claim']);
  }
  const unspecified = (words[0]! | words[1]! | words[2]! | words[3]!) === 0;
  if (!unspecified) overhear(context, context.neighbors.find(context.segment.vni, words), mac);
  if (!asked) return toUs ? context.drop(DROP['gateway-closed']) : NOT_OURS;
  if (context.from === TUNNEL) return context.drop(DROP['gateway-remote']);
  const target = formatIpv6(bytes, at + icmpv6.TARGET_OFFSET);
  // Duplicate address detection: the answer is for all nodes (RFC 4862, section 5.4.3; RFC 4861, section 7.2.4).
  const destination = unspecified ? ALL_NODES : formatIpv6(bytes, offset + ETHERNET + SOURCE6);
  const frame = discoveryFrame(
    context,
    unspecified ? ALL_NODES_MAC : mac,
    { source: target, destination },
    {
      type: icmpv6.NEIGHBOR_ADVERTISEMENT,
      code: 0,
      router: true,
      solicited: !unspecified,
      override: true,
      target,
      options: [ownAddress(context, icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS)],
      payload: new Uint8Array(0),
    },
  );
  context.count(COUNT['neighbor-answered']);
  context.sink.answer(context.segment.vni, context.from, frame, context.headroom, frame.length);
  return ANSWERED;
}

/** @param claimed Whether its target is a gateway. */
function takeAdvertisement(
  context: Context,
  claimed: boolean,
  toUs: boolean,
  bytes: Uint8Array,
  offset: number,
  at: number,
  stop: number,
): number {
  if (claimed) return context.drop(DROP['gateway-claim']);
  readWords(words, bytes, at + icmpv6.TARGET_OFFSET, IPV6_LENGTH);
  const entry = context.neighbors.find(context.segment.vni, words);
  const options = at + icmpv6.NEIGHBOR_LENGTH;
  const given = icmpv6.getLinkLayerAddress(bytes, options, stop, icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS);
  const mac = given < 0 ? ethernet.getSource(bytes, offset) : given;
  if (toUs) {
    // Without the override flag, another address than the known one does not replace it (RFC 4861, section 7.2.5).
    const replaces = entry?.mac === 0 || entry?.mac === mac || icmpv6.isOverride(bytes, at);
    if (!isStation(context, mac)) return LEARNED;
    if (entry !== undefined && replaces) confirm(context, entry, mac);
    if (replaces && !context.dry)
      context.sink.answered?.(
        context.segment.vni,
        bytes.subarray(at + icmpv6.TARGET_OFFSET, at + icmpv6.TARGET_OFFSET + IPV6_LENGTH),
        mac,
      );
    return LEARNED;
  }
  if (icmpv6.isOverride(bytes, at)) overhear(context, entry, mac);
  return NOT_OURS;
}

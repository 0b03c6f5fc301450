/** Questions for MAC addresses: ARP requests and neighbor solicitations of the gateway, and the answers to them. */
import { formatIpv6, macToText, MAC_BROADCAST } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { getU24, getU32 } from '../wire/index.js';
import { DROPPED, PENDING, type Context } from './context.js';
import { COUNT, DROP } from './drops.js';
import { report4, report6 } from './errors.js';
import {
  INCOMPLETE,
  MAX_QUESTIONS,
  PROBING,
  REACHABLE,
  RETRY_INTERVAL,
  type Held,
  type Neighbor,
} from './neighbors.js';
import type { Interface, Route } from './routes.js';
import { IPV4_LENGTH, readWords } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** The group MAC addresses of solicited-node addresses: 33:33:ff, and three octets of the address (RFC 2464, section 7). */
const SOLICITED_NODE_MAC = 0x3333_ff00_0000;
const SOLICITED_NODE = 'ff02::1:ff';

/** A scratch address. */
const words = new Int32Array(4);

/**
 * The MAC address of a next hop, 48 bits: from the control plane, or from an answer to the router's question; 0 if neither
 * is known.
 * @param at The address, `out.size` octets.
 */
function resolve(context: Context, out: Interface, bytes: Uint8Array, at: number): number {
  const mac = context.lookup(out.vni, bytes, at, out.size);
  if (mac !== 0) return mac;
  readWords(words, bytes, at, out.size);
  const entry = context.neighbors.find(out.vni, words);
  if (entry === undefined || entry.mac === 0) return 0;
  entry.used = true;
  return entry.mac;
}

/**
 * Addresses the current frame to the next hop of its packet, whose header has passed the router. Lets it wait if the MAC
 * address is unknown.
 * @param at The packet's destination address.
 * @returns the VNI of the segment to send it into, or what became of it.
 */
export function send(
  context: Context,
  { out, via }: Route,
  bytes: Uint8Array,
  offset: number,
  end: number,
  at: number,
): number {
  const mac = via === null ? resolve(context, out, bytes, at) : resolve(context, out, via, 0);
  if (mac === 0) {
    const sender = ethernet.getSource(bytes, offset);
    ethernet.setSource(bytes, offset, context.mac);
    return via === null
      ? hold(context, out, bytes, at, sender, bytes, offset, end)
      : hold(context, out, via, 0, sender, bytes, offset, end);
  }
  context.sender = ethernet.getSource(bytes, offset);
  context.out = out;
  ethernet.setDestination(bytes, offset, mac);
  ethernet.setSource(bytes, offset, context.mac);
  context.count(COUNT['routed'], context.packets);
  return out.vni;
}

/**
 * Lets the current packet wait for the MAC address of its next hop, and asks for it. The packet is complete but for its
 * destination MAC address.
 * @param octets The next hop's address, `out.size` octets at `at`.
 * @param sender The MAC address that the packet came from.
 */
function hold(
  context: Context,
  out: Interface,
  octets: Uint8Array,
  at: number,
  sender: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
): number {
  if (context.packets > 1) return context.drop(DROP['held-super-frame']);
  if (context.dry) return PENDING;
  const { neighbors, segment, from } = context;
  readWords(words, octets, at, out.size);
  let entry = neighbors.find(out.vni, words);
  if (entry === undefined) {
    const added = neighbors.add(out, octets.slice(at, at + out.size), words.slice());
    entry = added.entry;
    context.lose(context.segment.vni, DROP['held-limit'], added.displaced.length);
    ask(context, entry, MAC_BROADCAST);
  }
  const frame = context.allocate(end - offset);
  frame.set(bytes.subarray(offset, end), context.headroom);
  context.count(COUNT['held']);
  const dropped = neighbors.hold(entry, { bytes: frame, segment, from, sender });
  if (dropped > 0) {
    context.lose(context.segment.vni, DROP['held-limit'], dropped);
    if (entry.held.at(-1)?.bytes !== frame) {
      context.reason = DROP['held-limit'];
      return DROPPED;
    }
  }
  return PENDING;
}

/**
 * Sends a question for an address: to the group of all that may have it, or to the MAC address that it had. Sets the time
 * of the next one.
 */
function ask(context: Context, entry: Neighbor, to: number): void {
  const { out } = entry;
  entry.questions++;
  entry.due = context.now + RETRY_INTERVAL;
  context.count(COUNT['asked']);
  const frame = out.size === IPV4_LENGTH ? arpRequest(context, entry, to) : solicitation(context, entry, to);
  context.sink.send(out.vni, frame, context.headroom, frame.length);
}

function arpRequest(context: Context, { out, octets }: Neighbor, to: number): Uint8Array {
  const { mac, headroom } = context;
  const frame = context.allocate(ETHERNET + arp.ETHERNET_IPV4_LENGTH);
  ethernet.writeHeader(frame, headroom, to, mac, ethernet.TYPE_ARP);
  const [own, target] = [getU32(out.octets, 0), getU32(octets, 0)];
  arp.writeEthernetIpv4(frame, headroom + ETHERNET, arp.REQUEST, mac, own, 0, target);
  return frame;
}

function solicitation(context: Context, { out, octets }: Neighbor, to: number): Uint8Array {
  const target = formatIpv6(octets);
  const tail = getU24(octets, 13);
  const group = to === MAC_BROADCAST;
  const hexTail = tail.toString(16).padStart(6, '0');
  const ends = {
    source: out.text,
    destination: group ? `${SOLICITED_NODE}${hexTail.slice(0, 2)}:${hexTail.slice(2)}` : target,
  };
  return discoveryFrame(context, group ? SOLICITED_NODE_MAC + tail : to, ends, {
    type: icmpv6.NEIGHBOR_SOLICITATION,
    code: 0,
    target,
    options: [ownAddress(context, icmpv6.OPTION_SOURCE_LINK_LAYER_ADDRESS)],
    payload: new Uint8Array(0),
  });
}

/** The option with the gateway's MAC address. */
export function ownAddress(context: Context, type: 1 | 2): icmpv6.Option {
  return icmpv6.encodeOption({ type, address: macToText(context.mac) });
}

/** A frame of the gateway with a message of neighbor discovery, behind the headroom. */
export function discoveryFrame(
  context: Context,
  to: number,
  ends: { source: string; destination: string },
  message: icmpv6.Icmpv6,
): Uint8Array {
  const payload = ipv6.encode({
    hopLimit: icmpv6.DISCOVERY_HOP_LIMIT,
    nextHeader: ipv6.NEXT_ICMPV6,
    ...ends,
    payload: icmpv6.encode(message, ends),
  });
  const frame = context.allocate(ETHERNET + payload.length);
  ethernet.writeHeader(frame, context.headroom, to, context.mac, ethernet.TYPE_IPV6);
  frame.set(payload, context.headroom + ETHERNET);
  return frame;
}

/** An address has answered: it is at `mac`. Sends the packets that waited for it. */
export function confirm(context: Context, entry: Neighbor, mac: number): void {
  if (context.dry) return;
  if (entry.mac !== mac) context.count(COUNT['learned']);
  for (const held of context.neighbors.confirm(entry, mac, context.now)) {
    entry.used = true;
    ethernet.setDestination(held.bytes, context.headroom, mac);
    context.count(COUNT['routed']);
    context.sink.send(entry.out.vni, held.bytes, context.headroom, held.bytes.length);
  }
}

/** An address is known to be at another MAC address, without having been asked. */
export function overhear(context: Context, entry: Neighbor | undefined, mac: number): void {
  if (entry !== undefined && entry.mac !== mac && isStation(context, mac)) confirm(context, entry, mac);
}

/** Whether a MAC address can be that of a neighbor: not a group, all zeros, or the gateway's. */
export function isStation(context: Context, mac: number): boolean {
  return mac !== 0 && mac !== context.mac && (Math.floor(mac / 0x100_0000_0000) & 1) === 0;
}

/** Asks again, or gives up, where that is due. */
export function tickNeighbors(context: Context): void {
  const { neighbors, now } = context;
  for (const entry of neighbors.entries()) {
    context.segment = context.segments.get(entry.out.vni)!;
    // The control plane may have learned of the endpoint since.
    if (entry.state === INCOMPLETE) {
      const mac = context.lookup(entry.out.vni, entry.octets, 0, entry.out.size);
      if (mac !== 0) {
        confirm(context, entry, mac);
        continue;
      }
    }
    if (entry.due > now) continue;
    if (entry.state === REACHABLE && entry.used) {
      entry.state = PROBING;
      ask(context, entry, entry.mac);
    } else if (entry.state !== REACHABLE && entry.questions < MAX_QUESTIONS)
      ask(context, entry, entry.state === PROBING ? entry.mac : MAC_BROADCAST);
    else for (const held of neighbors.remove(entry)) unreachable(context, held);
  }
}

/** Tells the sender of a packet that its next hop has not answered. */
function unreachable(context: Context, { bytes, segment, from, sender }: Held): void {
  context.lose(segment.vni, DROP['no-neighbor'], 1);
  const ip = context.headroom + ETHERNET;
  if (ethernet.getEtherType(bytes, context.headroom) === ethernet.TYPE_IPV4) {
    const error = { type: icmp.UNREACHABLE, code: icmp.CODE_HOST_UNREACHABLE };
    report4(context, segment, from, sender, bytes, ip, bytes.length, error);
  } else {
    const error = { type: icmpv6.UNREACHABLE, code: icmpv6.CODE_ADDRESS_UNREACHABLE };
    report6(context, segment, from, sender, bytes, ip, bytes.length, error);
  }
}

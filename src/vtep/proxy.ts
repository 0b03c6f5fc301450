/** The answers of the proxies of ARP and neighbor discovery. */
import { IPV6_LENGTH } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { isProbe } from '../neighbor/index.js';
import type { Frame } from './frame.js';
import { HEADROOM } from './tunnel.js';

/** Maximum bytes of VLAN tags in a question that a proxy answers. */
export const MAX_REPLY_TAGS = 32;
/** Length of a neighbor advertisement with the target's link-layer address. */
const ADVERTISEMENT_LENGTH = icmpv6.NEIGHBOR_LENGTH + icmpv6.LINK_LAYER_ADDRESS_LENGTH;
/** Maximum length of an answer: that of a neighbor advertisement. */
export const MAX_REPLY = ethernet.HEADER_LENGTH + MAX_REPLY_TAGS + ipv6.HEADER_LENGTH + ADVERTISEMENT_LENGTH;

const ADDRESSES = ethernet.HEADER_LENGTH - 2;

/**
 * Begins an answer with the Ethernet header and the VLAN tags of the question, at most `MAX_REPLY_TAGS` bytes of them.
 * @param answer A buffer with `HEADROOM` free bytes and room for `MAX_REPLY` bytes.
 */
function begin(answer: Frame, question: Frame, destination: number, source: number, type: number): void {
  const { bytes, start, payload } = question;
  answer.start = HEADROOM;
  answer.setTagsOf(question);
  ethernet.writeHeader(answer.bytes, HEADROOM, destination, source, type);
  for (let i = ADDRESSES; start + i < payload; i++) answer.bytes[HEADROOM + i] = bytes[start + i]!;
}

/** Writes the answer to an ARP request: the target address is at `mac`. The answer has the VLAN tags of the request. */
export function writeArpReply(answer: Frame, request: Frame, mac: number): void {
  const { bytes, payload: packet } = request;
  begin(answer, request, ethernet.getSource(bytes, request.start), mac, ethernet.TYPE_ARP);
  arp.writeEthernetIpv4(
    answer.bytes,
    answer.payload,
    arp.REPLY,
    mac,
    arp.getTargetIp(bytes, packet),
    arp.getSenderMac(bytes, packet),
    arp.getSenderIp(bytes, packet),
  );
  answer.end = answer.payload + arp.ETHERNET_IPV4_LENGTH;
}

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
/** The group MAC address of {@link ALL_NODES} (RFC 2464, section 7). */
const ALL_NODES_MAC = 0x3333_0000_0001;

/**
 * Writes the answer to a neighbor solicitation: the neighbor advertisement that the target, at `mac`, would send (RFC 4861,
 * section 7.2.4). Duplicate address detection gets it at the address of all nodes, because the prober has none yet. The
 * override flag is set, as RFC 9161, section 3.2, says; the router flag is not.
 * @param at Start of the solicitation.
 */
export function writeAdvertisement(answer: Frame, solicitation: Frame, at: number, mac: number): void {
  const { bytes, payload: ip } = solicitation;
  const probe = isProbe(bytes, ip, at);
  const receiver = probe ? ALL_NODES_MAC : ethernet.getSource(bytes, solicitation.start);
  begin(answer, solicitation, receiver, mac, ethernet.TYPE_IPV6);
  const { bytes: reply, payload: start } = answer;
  const target = at + icmpv6.TARGET_OFFSET;
  ipv6.writeHeader(reply, start, ipv6.NEXT_ICMPV6, icmpv6.DISCOVERY_HOP_LIMIT, ADVERTISEMENT_LENGTH);
  copyAddress(reply, start + ipv6.SOURCE_OFFSET, bytes, target);
  if (probe) copyAddress(reply, start + ipv6.DESTINATION_OFFSET, ALL_NODES, 0);
  else copyAddress(reply, start + ipv6.DESTINATION_OFFSET, bytes, ip + ipv6.SOURCE_OFFSET);
  const message = start + ipv6.HEADER_LENGTH;
  answer.end = icmpv6.writeAdvertisement(reply, message, !probe, bytes, target, mac);
  const pseudo = ipv6.pseudoHeaderSum(reply, start, ipv6.NEXT_ICMPV6, answer.end - message);
  icmpv6.fillChecksum(reply, message, answer.end, pseudo);
}

function copyAddress(to: Uint8Array, at: number, from: Uint8Array, offset: number): void {
  for (let i = 0; i < IPV6_LENGTH; i++) to[at + i] = from[offset + i]!;
}

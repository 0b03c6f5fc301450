/** The answers of the ARP proxy. */
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';

/** Maximum bytes of VLAN tags in a request that the proxy answers. */
export const MAX_REPLY_TAGS = 32;
/** Maximum length of an answer. */
export const MAX_ARP_REPLY = ethernet.HEADER_LENGTH + MAX_REPLY_TAGS + arp.ETHERNET_IPV4_LENGTH;

const ADDRESSES = ethernet.HEADER_LENGTH - 2;

/**
 * Writes the answer to an ARP request: the target address is at `mac`. The answer has the VLAN tags of the request, at
 * most `MAX_REPLY_TAGS` bytes.
 * @param to Start of the answer in `reply`.
 * @param offset Start of the request's frame.
 * @param packet Start of its ARP packet, behind the tags.
 * @returns the end of the answer.
 */
export function writeArpReply(
  reply: Uint8Array,
  to: number,
  bytes: Uint8Array,
  offset: number,
  packet: number,
  mac: number,
): number {
  ethernet.writeHeader(reply, to, ethernet.getSource(bytes, offset), mac, ethernet.TYPE_ARP);
  for (let i = offset + ADDRESSES; i < packet; i++) reply[to + i - offset] = bytes[i]!;
  const start = to + packet - offset;
  arp.writeEthernetIpv4(
    reply,
    start,
    arp.REPLY,
    mac,
    arp.getTargetIp(bytes, packet),
    arp.getSenderMac(bytes, packet),
    arp.getSenderIp(bytes, packet),
  );
  return start + arp.ETHERNET_IPV4_LENGTH;
}

/** What a running VTEP captured, as packets: frames as they are, datagrams with the headers that they had outside. */
import { UNDERLAY, type Captured } from '../host/index.js';
import { build, dissect, summarize, type Dissection } from '../packet/index.js';
import { LINKTYPE_ETHERNET, LINKTYPE_RAW } from '../pcap/index.js';

/** A packet to show or to write. */
export interface Shown {
  packet: Captured;
  /** A LINKTYPE_ value of `pcap`. */
  linkType: number;
  data: Uint8Array;
}

/**
 * Puts IP and UDP in front of a datagram. The kernel keeps the headers that were really there to itself; of these, the
 * addresses, the ports and the lengths are as they were.
 */
export function toShown(packet: Captured): Shown {
  const bytes = Uint8Array.from(Buffer.from(packet.data, 'hex'));
  const { source, destination } = packet;
  if (source === undefined || destination === undefined) return { packet, linkType: LINKTYPE_ETHERNET, data: bytes };
  const ends = { source: source.address, destination: destination.address };
  const data = build([
    source.address.includes(':')
      ? { protocol: 'ipv6', nextHeader: 17, hopLimit: 64, ...ends }
      : { protocol: 'ipv4', protocolNumber: 17, ttl: 64, ...ends },
    { protocol: 'udp', sourcePort: source.port, destinationPort: destination.port },
    { protocol: 'payload', bytes },
  ]);
  return { packet, linkType: LINKTYPE_RAW, data };
}

/** The layers of a packet. The underlay's datagrams are VXLAN whatever port they have. */
export function layersOf({ packet, linkType, data }: Shown): Dissection {
  const { source, destination } = packet;
  const ports = source === undefined || destination === undefined ? [] : [source.port, destination.port];
  return dissect(data, { linkType, ...(ports.length === 0 ? {} : { vxlanPorts: ports }) });
}

/** A line as tcpdump has it, with the place and the direction. */
export function lineOf(shown: Shown): string {
  const { place, direction, time } = shown.packet;
  const stamp = new Date(Number(BigInt(time) / 1_000_000n)).toISOString().slice(11, -1);
  const micros = String(BigInt(time) / 1000n).slice(-3);
  return `${stamp}${micros} ${place.padEnd(UNDERLAY.length)} ${direction.padEnd(3)} ${summarize(layersOf(shown).layers)}`;
}

/** Prepares packets captured by a running VTEP for output: frames as they are, datagrams with outer headers. */
import * as esp from '../esp/index.js';
import { UNDERLAY, type Captured } from '../host/index.js';
import { build, dissect, summarize, type Dissection } from '../packet/index.js';
import { printable } from '../wire/index.js';
import { LINKTYPE_ETHERNET, LINKTYPE_RAW } from '../pcap/index.js';

/** A packet to print or to write. */
export interface Shown {
  packet: Captured;
  /** A LINKTYPE_ value of pcap. */
  linkType: number;
  data: Uint8Array;
  /** Original length of the packet in bytes; `data` may be shorter. */
  length: number;
}

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const UDP = 17;
/** Largest value of the length fields of IP and UDP. */
const MAX_LENGTH = 65_535;

/**
 * Adds IP and UDP headers to a datagram. The real ones are not available from the kernel; only addresses, ports and
 * lengths match them. A super-frame that is longer than an IP packet can be is truncated to that length.
 */
export function toShown(packet: Captured): Shown {
  const bytes = Uint8Array.from(Buffer.from(packet.data, 'hex'));
  const { source, destination } = packet;
  if (source === undefined || destination === undefined)
    return { packet, linkType: LINKTYPE_ETHERNET, data: bytes, length: packet.length };
  const v6 = source.address.includes(':');
  const udpLength = Math.min(UDP_HEADER + packet.length, v6 ? MAX_LENGTH : MAX_LENGTH - IPV4_HEADER);
  const ends = { source: source.address, destination: destination.address };
  const data = build([
    v6
      ? { protocol: 'ipv6', nextHeader: UDP, hopLimit: 64, payloadLength: udpLength, ...ends }
      : { protocol: 'ipv4', protocolNumber: UDP, ttl: 64, totalLength: IPV4_HEADER + udpLength, ...ends },
    { protocol: 'udp', sourcePort: source.port, destinationPort: destination.port, length: udpLength },
    { protocol: 'payload', bytes: bytes.subarray(0, udpLength - UDP_HEADER) },
  ]);
  return { packet, linkType: LINKTYPE_RAW, data, length: (v6 ? IPV6_HEADER : IPV4_HEADER) + udpLength };
}

/** The layers of a packet. Datagrams of the underlay are decoded as VXLAN on any port, but for that of ESP. */
export function layersOf({ packet, linkType, data, length }: Shown): Dissection {
  const { source, destination, esp: isEsp = false } = packet;
  const ports = isEsp || source === undefined || destination === undefined ? [] : [source.port, destination.port];
  return dissect(data, { linkType, originalLength: length, ...(ports.length === 0 ? {} : { vxlanPorts: ports }) });
}

/** Formats a packet like tcpdump, with the place and the direction. */
export function lineOf(shown: Shown): string {
  const { place, direction, time } = shown.packet;
  const stamp = new Date(Number(BigInt(time) / 1_000_000n)).toISOString().slice(11, -1);
  const micros = String(BigInt(time) / 1000n).slice(-3);
  return `${stamp}${micros} ${printable(place).padEnd(UNDERLAY.length)} ${direction.padEnd(3)} ${summarize(layersOf(shown).layers)}${espText(shown.packet)}`;
}

/** What can be read of a datagram in the port of ESP without the keys. */
function espText({ esp: isEsp = false, data }: Captured): string {
  if (!isEsp) return '';
  const bytes = Uint8Array.from(Buffer.from(data.slice(0, 2 * esp.HEADER_LENGTH), 'hex'));
  if (bytes.length < esp.HEADER_LENGTH) return '';
  const spi = esp.getSpi(bytes, 0);
  if (spi === 0) return ': a message about keys';
  return `: ESP, SPI 0x${spi.toString(16).padStart(8, '0')}, sequence number ${esp.getSequence(bytes, 0)}`;
}

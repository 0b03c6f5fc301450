/** Determines the next header from the number in the header before it. */
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import {
  LINKTYPE_ETHERNET,
  LINKTYPE_IPV4,
  LINKTYPE_IPV6,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_LINUX_SLL2,
  LINKTYPE_LOOP,
  LINKTYPE_NULL,
  LINKTYPE_RAW,
} from '../pcap/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';

// Numbers, so that V8 compiles the `switch` in `dissect`'s loop to a table.
export const REST = 0;
export const ETHERNET = 1;
export const VLAN = 2;
export const ARP = 3;
export const IPV4 = 4;
export const IPV6 = 5;
/** IPv4 or IPv6; the version field decides. */
export const IP = 6;
export const ICMP = 7;
export const UDP = 8;
export const TCP = 9;
export const VXLAN = 10;
export const GPE = 11;
export const NULL = 12;
export const LOOP = 13;
export const SLL = 14;
export const SLL2 = 15;
export const ICMPV6 = 16;

/** The UDP port of VXLAN-GPE, whose header names the next protocol (draft-ietf-nvo3-vxlan-gpe). */
export const GPE_PORT = 4790;
/** The port that Linux used before IANA assigned 4789. IANA assigned it to OTV, and other programs use it too. */
export const LINUX_VXLAN_PORT = 8472;
/** The UDP destination ports that `dissect` treats as VXLAN by default. */
export const VXLAN_PORTS: readonly number[] = [vxlan.PORT, LINUX_VXLAN_PORT];

/** Ethernet in IP (RFC 8986, section 10.1). */
const PROTOCOL_ETHERNET = 143;
const TYPE_RARP = 0x8035;
/** Transparent Ethernet bridging: an Ethernet frame behind an EtherType, as GRE carries it. */
const TYPE_BRIDGED = 0x6558;
/** DLT_ values that stand for {@link LINKTYPE_RAW} in files of some systems. */
const DLT_RAW = 12;
const DLT_RAW_OPENBSD = 14;
const FAMILY_IPV4 = 2;
/** Address families of IPv6: NetBSD, FreeBSD, macOS. */
const IPV6_FAMILIES: readonly number[] = [24, 28, 30];
/** Values of GPE's next protocol. */
const GPE_IPV4 = 1;
const GPE_IPV6 = 2;
const GPE_ETHERNET = 3;

/** -1 for a link type that weft does not decode. */
export function afterLinkType(linkType: number): number {
  switch (linkType) {
    case LINKTYPE_ETHERNET:
      return ETHERNET;
    case LINKTYPE_RAW:
    case DLT_RAW:
    case DLT_RAW_OPENBSD:
      return IP;
    case LINKTYPE_IPV4:
      return IPV4;
    case LINKTYPE_IPV6:
      return IPV6;
    case LINKTYPE_NULL:
      return NULL;
    case LINKTYPE_LOOP:
      return LOOP;
    case LINKTYPE_LINUX_SLL:
      return SLL;
    case LINKTYPE_LINUX_SLL2:
      return SLL2;
    default:
      return -1;
  }
}

export function afterFamily(family: number): number {
  if (family === FAMILY_IPV4) return IPV4;
  return IPV6_FAMILIES.includes(family) ? IPV6 : REST;
}

export function afterEtherType(etherType: number): number {
  switch (etherType) {
    case ethernet.TYPE_IPV4:
      return IPV4;
    case ethernet.TYPE_IPV6:
      return IPV6;
    case ethernet.TYPE_ARP:
    case TYPE_RARP:
      return ARP;
    case TYPE_BRIDGED:
      return ETHERNET;
    default:
      return ethernet.isVlanType(etherType) ? VLAN : REST;
  }
}

export function afterIp(protocol: number): number {
  switch (protocol) {
    case ipv4.PROTOCOL_ICMP:
      return ICMP;
    case ipv4.PROTOCOL_IPV4:
      return IPV4;
    case ipv4.PROTOCOL_TCP:
      return TCP;
    case ipv4.PROTOCOL_UDP:
      return UDP;
    case ipv4.PROTOCOL_IPV6:
      return IPV6;
    case ipv4.PROTOCOL_ICMPV6:
      return ICMPV6;
    case PROTOCOL_ETHERNET:
      return ETHERNET;
    default:
      return REST;
  }
}

/**
 * What the payload of the UDP header at `offset` is. The destination port decides (RFC 7348, section 5): the source
 * port of VXLAN is a hash of the inner flow and may be any number.
 * @param vxlanPorts the caller's, or {@link VXLAN_PORTS}. 8472 is an ephemeral port for most programs: a datagram to it
 *   is VXLAN only if it has a complete header with flag I.
 */
export function afterPort(bytes: Uint8Array, offset: number, vxlanPorts: readonly number[]): number {
  const destination = udp.getDestinationPort(bytes, offset);
  if (vxlanPorts === VXLAN_PORTS) {
    if (destination === vxlan.PORT) return VXLAN;
    if (destination === LINUX_VXLAN_PORT) {
      const complete = udp.getLength(bytes, offset) >= udp.HEADER_LENGTH + vxlan.HEADER_LENGTH;
      const flags = vxlan.getFlags(bytes, offset + udp.HEADER_LENGTH);
      return complete && (flags & vxlan.FLAG_VNI) !== 0 ? VXLAN : REST;
    }
  } else if (vxlanPorts.includes(destination)) return VXLAN;
  return destination === GPE_PORT ? GPE : REST;
}

export function afterGpe(nextProtocol: number): number {
  switch (nextProtocol) {
    case GPE_IPV4:
      return IPV4;
    case GPE_IPV6:
      return IPV6;
    case GPE_ETHERNET:
      return ETHERNET;
    default:
      return REST;
  }
}

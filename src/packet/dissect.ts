import { ipv4ToText, macToText } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
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
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';
import { readOptions, TRUNCATED, truncated, type WireError, type WireProblem } from '../wire/index.js';
import type { Ipv6Layer, Layer, TrailerLayer } from './layers.js';
import { LOOPBACK_LENGTH, readCooked, readLoopback, SLL2_LENGTH, SLL_LENGTH } from './link.js';

/** The most layers of a packet; what is deeper is payload. */
export const MAX_LAYERS = 64;
/** The UDP port of VXLAN-GPE, whose header names what follows (draft-ietf-nvo3-vxlan-gpe). */
export const GPE_PORT = 4790;
/** The UDP ports that {@link dissect} takes for VXLAN: the assigned one, and the one that Linux took before. */
export const VXLAN_PORTS: readonly number[] = [vxlan.PORT, 8472];

export interface DissectOptions {
  /** What the packet begins with, as a LINKTYPE_ value of `pcap`. Ethernet when absent. */
  linkType?: number;
  /** Bytes that the packet had, where a capture cut it. */
  originalLength?: number;
  /** UDP ports, source or destination, of VXLAN. {@link VXLAN_PORTS} when absent. */
  vxlanPorts?: readonly number[];
}

export interface Dissection {
  /** From the outermost inwards; at the end `payload`, where no codec reads all, and `trailer`s. */
  layers: Layer[];
  /**
   * The first thing that a strict `decode` would have thrown, with `limitedBy` saying what set the end: `buffer`, `capture`
   * where the capture cut the packet, or an enclosing layer's length field, as `ipv4.totalLength`. `null` where all is well.
   * Layers behind it are read as far as they go.
   */
  stopped: WireProblem | null;
}

// What may come next. Numbers, so that the loop's `switch` is a table.
const REST = 0;
const ETHERNET = 1;
const VLAN = 2;
const ARP = 3;
const IPV4 = 4;
const IPV6 = 5;
const IP = 6;
const ICMP = 7;
const UDP = 8;
const TCP = 9;
const VXLAN = 10;
const GPE = 11;
const NULL = 12;
const LOOP = 13;
const SLL = 14;
const SLL2 = 15;

/** Ethernet in IP (RFC 8986, section 10.1). */
const PROTOCOL_ETHERNET = 143;
const TYPE_RARP = 0x8035;
/** Ethernet in whatever has EtherTypes, as GRE carries it. */
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

const NO_OPTIONS: DissectOptions = {};

/**
 * Reads a packet as far as it can be understood; never throws. Where every strict `decode` succeeds, the layers hold what
 * those give.
 */
export function dissect(bytes: Uint8Array, options: DissectOptions = NO_OPTIONS): Dissection {
  const layers: Layer[] = [];
  let stopped: WireProblem | null = null;
  /** Outermost first; made only where there is one. */
  let trailers: TrailerLayer[] | null = null;
  /** What is left to read, and what set its end. */
  let offset = 0;
  let end = bytes.length;
  /** Where it ended before a capture cut it. */
  let whole = Math.max(end, options.originalLength ?? 0);
  let limitedBy = whole > end ? 'capture' : 'buffer';
  const vxlanPorts = options.vxlanPorts ?? VXLAN_PORTS;
  const linkType = options.linkType ?? LINKTYPE_ETHERNET;
  let next = afterLinkType(linkType);
  if (next < 0) {
    next = REST;
    stopped = refused('link', 0, `link type ${linkType} is none that weft reads`);
  }

  while (next !== REST) {
    if (layers.length === MAX_LAYERS) {
      stopped ??= refused('packet', offset, `more than ${MAX_LAYERS} layers`);
      break;
    }
    const at = offset;
    const kind: number = next;
    const count = layers.length;
    /** Where the payload ends; what is behind it up to `end` is a trailer. */
    let stop = end;
    next = REST;
    switch (kind) {
      case ETHERNET: {
        const size = ethernet.HEADER_LENGTH;
        if (ethernet.check(bytes, at, end) < 0) {
          stopped ??= problem(ethernet.diagnose(bytes, at, end), limitedBy);
          if (ethernet.decodeLax(bytes, at, end) === null) break;
        }
        offset = at + size;
        const destination = macToText(ethernet.getDestination(bytes, at));
        const source = macToText(ethernet.getSource(bytes, at));
        const etherType = ethernet.getEtherType(bytes, at);
        if (!ethernet.isLength(etherType)) {
          layers.push({ protocol: 'ethernet', offset: at, size, destination, source, etherType });
          next = afterEtherType(etherType);
        } else {
          layers.push({ protocol: 'ethernet', offset: at, size, destination, source, length: etherType });
          if (offset + etherType <= end) {
            stop = offset + etherType;
            limitedBy = 'ethernet.length';
          }
        }
        break;
      }
      case VLAN: {
        const size = ethernet.vlan.HEADER_LENGTH;
        if (ethernet.vlan.check(bytes, at, end) < 0) {
          stopped ??= problem(ethernet.vlan.diagnose(bytes, at, end), limitedBy);
          if (ethernet.vlan.decodeLax(bytes, at, end) === null) break;
        }
        offset = at + size;
        const priority = ethernet.vlan.getPriority(bytes, at);
        const dropEligible = ethernet.vlan.getDropEligible(bytes, at);
        const id = ethernet.vlan.getId(bytes, at);
        const etherType = ethernet.vlan.getEtherType(bytes, at);
        if (!ethernet.isLength(etherType)) {
          layers.push({ protocol: 'vlan', offset: at, size, priority, dropEligible, id, etherType });
          next = afterEtherType(etherType);
        } else {
          layers.push({ protocol: 'vlan', offset: at, size, priority, dropEligible, id, length: etherType });
          if (offset + etherType <= end) {
            stop = offset + etherType;
            limitedBy = 'vlan.length';
          }
        }
        break;
      }
      case ARP: {
        const length = arp.check(bytes, at, end);
        if (length < 0) stopped ??= problem(arp.diagnose(bytes, at, end), limitedBy);
        const value = arp.decodeLax(bytes, at, end);
        if (value === null) break;
        offset = stop = length < 0 ? end : at + length;
        layers.push({ protocol: 'arp', offset: at, size: offset - at, ...value });
        break;
      }
      case IP:
        // The version tells; where it is neither, IPv4 says so.
        next = at < end && bytes[at]! >>> 4 === 6 ? IPV6 : IPV4;
        break;
      case IPV4: {
        const length = ipv4.check(bytes, at, end);
        if (length >= 0) {
          offset = at + length;
          stop = at + ipv4.getTotalLength(bytes, at);
          limitedBy = 'ipv4.totalLength';
        } else {
          stopped ??= problem(ipv4.diagnose(bytes, at, end), limitedBy);
          const value = ipv4.decodeLax(bytes, at, end);
          if (value === null) {
            if (at < end && bytes[at]! >>> 4 === 6) next = IPV6;
            break;
          }
          offset = value.payload.byteOffset - bytes.byteOffset;
          stop = offset + value.payload.length;
          if (value.totalLength > 0) whole = Math.min(whole, at + value.totalLength);
        }
        const protocolNumber = ipv4.getProtocol(bytes, at);
        const fragmentOffset = ipv4.getFragmentOffset(bytes, at);
        layers.push({
          protocol: 'ipv4',
          offset: at,
          size: offset - at,
          dscp: ipv4.getDscp(bytes, at),
          ecn: ipv4.getEcn(bytes, at),
          // Of a super-frame captured before a network card cut it, the header says 0.
          totalLength: ipv4.getTotalLength(bytes, at) || whole - at,
          identification: ipv4.getIdentification(bytes, at),
          reservedFlag: ipv4.getReservedFlag(bytes, at),
          dontFragment: ipv4.getDontFragment(bytes, at),
          moreFragments: ipv4.getMoreFragments(bytes, at),
          fragmentOffset,
          ttl: ipv4.getTtl(bytes, at),
          protocolNumber,
          checksum: ipv4.getChecksum(bytes, at),
          source: ipv4ToText(ipv4.getSource(bytes, at)),
          destination: ipv4ToText(ipv4.getDestination(bytes, at)),
          options: readOptions(bytes, at + ipv4.MIN_HEADER_LENGTH, offset),
        });
        if (fragmentOffset === 0) next = afterIp(protocolNumber);
        break;
      }
      case IPV6: {
        if (stopped === null && ipv6.check(bytes, at, end) < 0)
          stopped = problem(ipv6.diagnose(bytes, at, end), limitedBy);
        const value = ipv6.decodeLax(bytes, at, end);
        if (value === null) break;
        const { payloadLength } = value;
        const start = at + ipv6.HEADER_LENGTH;
        stop = start + value.payload.length;
        if (payloadLength > 0) {
          if (start + payloadLength <= end) limitedBy = 'ipv6.payloadLength';
          else whole = Math.min(whole, start + payloadLength);
        }
        offset = start;
        const upper = ipv6.findUpper(bytes, at, stop);
        if (upper >= 0) {
          offset = at + ipv6.upperOffset(upper);
          next = afterIp(ipv6.upperProtocol(upper));
        } else if (upper === TRUNCATED) stopped ??= extensionsTruncated(start, stop, limitedBy);
        else stopped ??= refused('ipv6', start, `more than ${ipv6.MAX_EXTENSIONS} extension headers`);
        const layer: Ipv6Layer = {
          protocol: 'ipv6',
          offset: at,
          size: offset - at,
          dscp: value.dscp,
          ecn: value.ecn,
          flowLabel: value.flowLabel,
          payloadLength,
          nextHeader: value.nextHeader,
          hopLimit: value.hopLimit,
          source: value.source,
          destination: value.destination,
        };
        if (offset > start) {
          layer.extensions = bytes.subarray(start, offset);
          layer.upperProtocol = ipv6.upperProtocol(upper);
        }
        layers.push(layer);
        break;
      }
      case ICMP: {
        const length = icmp.check(bytes, at, end);
        const type = length < 0 ? -1 : icmp.getType(bytes, at);
        if (type === icmp.ECHO_REQUEST || type === icmp.ECHO_REPLY) {
          offset = at + length;
          layers.push({
            protocol: 'icmp',
            offset: at,
            size: length,
            type,
            code: icmp.getCode(bytes, at),
            checksum: icmp.getChecksum(bytes, at),
            identifier: icmp.getIdentifier(bytes, at),
            sequence: icmp.getSequence(bytes, at),
          });
          break;
        }
        if (length < 0) stopped ??= problem(icmp.diagnose(bytes, at, end), limitedBy);
        const value = icmp.decodeLax(bytes, at, end);
        if (value === null) break;
        const { payload, ...fields } = value;
        offset = payload.byteOffset - bytes.byteOffset;
        layers.push({ protocol: 'icmp', offset: at, size: offset - at, ...fields });
        break;
      }
      case UDP: {
        const size = udp.HEADER_LENGTH;
        if (udp.check(bytes, at, end) >= 0) {
          stop = at + udp.getLength(bytes, at);
          limitedBy = 'udp.length';
        } else {
          stopped ??= problem(udp.diagnose(bytes, at, end), limitedBy);
          const value = udp.decodeLax(bytes, at, end);
          if (value === null) break;
          stop = at + size + value.payload.length;
          if (value.length > 0) whole = Math.min(whole, at + value.length);
        }
        offset = at + size;
        const sourcePort = udp.getSourcePort(bytes, at);
        const destinationPort = udp.getDestinationPort(bytes, at);
        layers.push({
          protocol: 'udp',
          offset: at,
          size,
          sourcePort,
          destinationPort,
          length: udp.getLength(bytes, at),
          checksum: udp.getChecksum(bytes, at),
        });
        if (offset < stop) next = afterPorts(sourcePort, destinationPort, vxlanPorts);
        break;
      }
      case TCP: {
        const length = tcp.check(bytes, at, end);
        if (length >= 0) offset = at + length;
        else {
          stopped ??= problem(tcp.diagnose(bytes, at, end), limitedBy);
          if (end - at < tcp.MIN_HEADER_LENGTH) break;
          // With a header length that cannot be, ports and numbers are there all the same.
          offset = Math.min(at + Math.max(tcp.getHeaderLength(bytes, at), tcp.MIN_HEADER_LENGTH), end);
        }
        layers.push({
          protocol: 'tcp',
          offset: at,
          size: offset - at,
          sourcePort: tcp.getSourcePort(bytes, at),
          destinationPort: tcp.getDestinationPort(bytes, at),
          sequence: tcp.getSequence(bytes, at),
          acknowledgment: tcp.getAcknowledgment(bytes, at),
          reserved: tcp.getReserved(bytes, at),
          flags: tcp.getFlags(bytes, at),
          window: tcp.getWindow(bytes, at),
          checksum: tcp.getChecksum(bytes, at),
          urgentPointer: tcp.getUrgentPointer(bytes, at),
          options: readOptions(bytes, at + tcp.MIN_HEADER_LENGTH, offset),
        });
        break;
      }
      case VXLAN:
      case GPE: {
        const size = vxlan.HEADER_LENGTH;
        if (vxlan.check(bytes, at, end) < 0) {
          stopped ??= problem(vxlan.diagnose(bytes, at, end), limitedBy);
          if (vxlan.decodeLax(bytes, at, end) === null) break;
        }
        offset = at + size;
        const flags = vxlan.getFlags(bytes, at);
        layers.push({
          protocol: 'vxlan',
          offset: at,
          size,
          flags,
          vni: vxlan.getVni(bytes, at),
          reserved1: vxlan.getReserved1(bytes, at),
          reserved2: vxlan.getReserved2(bytes, at),
        });
        if (kind === VXLAN || (flags & vxlan.FLAG_NEXT_PROTOCOL) === 0) next = ETHERNET;
        else next = afterGpe(vxlan.getNextProtocol(bytes, at));
        break;
      }
      case NULL:
      case LOOP: {
        if (end - at < LOOPBACK_LENGTH) {
          stopped = problem(truncated('loopback', at, LOOPBACK_LENGTH, end), limitedBy);
          break;
        }
        const layer = readLoopback(bytes, at, kind === NULL ? 'null' : 'loop');
        layers.push(layer);
        offset = at + layer.size;
        if (layer.family === FAMILY_IPV4) next = IPV4;
        else if (IPV6_FAMILIES.includes(layer.family)) next = IPV6;
        break;
      }
      default: {
        const protocol = kind === SLL ? 'sll' : 'sll2';
        const size = kind === SLL ? SLL_LENGTH : SLL2_LENGTH;
        if (end - at < size) {
          stopped = problem(truncated(protocol, at, size, end), limitedBy);
          break;
        }
        const layer = readCooked(bytes, at, protocol);
        layers.push(layer);
        offset = at + size;
        next = afterEtherType(layer.etherType);
        break;
      }
    }
    if (stop < end) {
      trailers ??= [];
      trailers.push({
        protocol: 'trailer',
        offset: stop,
        size: end - stop,
        behind: count,
        bytes: bytes.subarray(stop, end),
      });
      end = whole = stop;
    }
  }
  if (offset < end)
    layers.push({ protocol: 'payload', offset, size: end - offset, bytes: bytes.subarray(offset, end) });
  if (trailers !== null) for (let i = trailers.length - 1; i >= 0; i--) layers.push(trailers[i]!);
  return { layers, stopped };
}

function afterLinkType(linkType: number): number {
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

function afterEtherType(etherType: number): number {
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

function afterIp(protocol: number): number {
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
    case PROTOCOL_ETHERNET:
      return ETHERNET;
    default:
      return REST;
  }
}

function afterPorts(source: number, destination: number, vxlanPorts: readonly number[]): number {
  if (vxlanPorts.includes(source) || vxlanPorts.includes(destination)) return VXLAN;
  return source === GPE_PORT || destination === GPE_PORT ? GPE : REST;
}

function afterGpe(nextProtocol: number): number {
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

/** An error as plain data, with what set the end in the place of `buffer`. */
function problem(error: WireError, limitedBy: string): WireProblem {
  const { protocol, reason, offset, needed, available } = error;
  if (reason !== 'truncated')
    return { protocol, reason, offset, needed, available, limitedBy: '', detail: error.detail };
  const { detail } = truncated(protocol, offset, needed, offset + available, limitedBy);
  return { protocol, reason, offset, needed, available, limitedBy, detail };
}

function refused(protocol: string, offset: number, detail: string): WireProblem {
  return { protocol, reason: 'unsupported', offset, needed: 0, available: 0, limitedBy: '', detail };
}

function extensionsTruncated(offset: number, end: number, limitedBy: string): WireProblem {
  const available = end - offset;
  const detail = `extension headers need more than ${available} bytes (limited by ${limitedBy})`;
  return { protocol: 'ipv6', reason: 'truncated', offset, needed: available + 1, available, limitedBy, detail };
}

import { ipv4ToText, macToText } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { LINKTYPE_ETHERNET } from '../pcap/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';
import { readOptions, TRUNCATED, truncatedProblem as truncated, problemAt, type WireProblem } from '../wire/index.js';
import type { Ipv6Layer, Layer, TrailerLayer } from './layers.js';
import { LOOPBACK_LENGTH, readCooked, readLoopback, SLL2_LENGTH, SLL_LENGTH } from './link.js';
import {
  afterEtherType,
  afterFamily,
  afterGpe,
  afterIp,
  afterLinkType,
  afterPort,
  ARP,
  ETHERNET,
  GPE,
  ICMP,
  IP,
  IPV4,
  IPV6,
  LOOP,
  NULL,
  REST,
  SLL,
  TCP,
  UDP,
  VLAN,
  VXLAN,
  VXLAN_PORTS,
} from './next.js';

/** Maximum number of layers of a packet; anything deeper is payload. */
export const MAX_LAYERS = 64;

export interface DissectOptions {
  /** The type of the first header, a LINKTYPE_ value of `pcap`. Default: Ethernet. */
  linkType?: number;
  /** Length of the packet on the wire, if the capture truncated it. */
  originalLength?: number;
  /**
   * UDP destination ports of VXLAN. Default: {@link VXLAN_PORTS}, that is 4789, and 8472 if flag I is set. The source
   * port does not matter (RFC 7348, section 5).
   */
  vxlanPorts?: readonly number[];
}

export interface Dissection {
  /** Outermost first. Bytes that weft does not decode become a `payload`; `trailer`s come last. */
  layers: Layer[];
  /**
   * The first problem that a strict `decode` reports, or `null`. `limitedBy` names what set the end: `buffer`;
   * `capture` if the capture truncated the packet; or a length field of an enclosing layer, such as `ipv4.totalLength`.
   * Layers behind the problem are decoded as far as possible. A first fragment contains the headers of upper layers,
   * whose length fields are those of the whole packet: only a header that the fragment cuts is a problem.
   */
  stopped: WireProblem | null;
}

const NO_OPTIONS: DissectOptions = {};

/**
 * Dissects a packet as far as possible; never throws. If every strict `decode` succeeds, the layers have the same
 * values.
 */
export function dissect(bytes: Uint8Array, options: DissectOptions = NO_OPTIONS): Dissection {
  const layers: Layer[] = [];
  let stopped: WireProblem | null = null;
  /** Outermost first; allocated only if there is a trailer. */
  let trailers: TrailerLayer[] | null = null;
  /** The bytes left to decode, and what sets their end. */
  let offset = 0;
  let end = bytes.length;
  /** Where the packet ended before a capture truncated it. */
  let wireEnd = Math.max(end, options.originalLength ?? 0);
  let limitedBy = wireEnd > end ? 'capture' : 'buffer';
  /** Whether the rest is a first fragment, so that length fields may point behind its end. */
  let partial = false;
  const vxlanPorts = options.vxlanPorts ?? VXLAN_PORTS;
  const linkType = options.linkType ?? LINKTYPE_ETHERNET;
  let next = afterLinkType(linkType);
  if (next < 0) {
    next = REST;
    stopped = problemAt('link', 0, `link type ${linkType} is not supported`, 'unsupported');
  }

  while (next !== REST) {
    if (layers.length === MAX_LAYERS) {
      stopped ??= problemAt('packet', offset, `more than ${MAX_LAYERS} layers`, 'unsupported');
      break;
    }
    const at = offset;
    const kind: number = next;
    const count = layers.length;
    /** End of the payload; the bytes from there to `end` are a trailer. */
    let stop = end;
    next = REST;
    switch (kind) {
      case ETHERNET: {
        const size = ethernet.HEADER_LENGTH;
        if (ethernet.check(bytes, at, end) < 0) {
          const cut = end - at < size;
          if (stopped === null && (cut || !partial)) stopped = ethernet.diagnose(bytes, at, end, limitedBy);
          if (cut) break;
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
            partial = false;
          }
        }
        break;
      }
      case VLAN: {
        const size = ethernet.vlan.HEADER_LENGTH;
        if (ethernet.vlan.check(bytes, at, end) < 0) {
          const cut = end - at < size;
          if (stopped === null && (cut || !partial)) stopped = ethernet.vlan.diagnose(bytes, at, end, limitedBy);
          if (cut) break;
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
            partial = false;
          }
        }
        break;
      }
      case ARP: {
        const length = arp.check(bytes, at, end);
        if (length < 0) stopped ??= arp.diagnose(bytes, at, end, limitedBy);
        const value = arp.decodeLax(bytes, at, end);
        if (value === null) break;
        offset = stop = length < 0 ? end : at + length;
        layers.push({ protocol: 'arp', offset: at, size: offset - at, ...value });
        break;
      }
      case IP:
        // The version decides. If it is neither, the IPv4 codec reports it.
        next = at < end && bytes[at]! >>> 4 === 6 ? IPV6 : IPV4;
        break;
      case IPV4: {
        const length = ipv4.check(bytes, at, end);
        if (length >= 0) {
          offset = at + length;
          stop = at + ipv4.getTotalLength(bytes, at);
          limitedBy = 'ipv4.totalLength';
          partial = false;
        } else {
          const size = end - at < ipv4.MIN_HEADER_LENGTH ? 0 : ipv4.getHeaderLength(bytes, at);
          const version = at < end ? bytes[at]! >>> 4 : 0;
          const readable = version === 4 && size >= ipv4.MIN_HEADER_LENGTH;
          const behind = readable && length === TRUNCATED && at + size <= end; // only the total length
          if (stopped === null && !(partial && behind)) stopped = ipv4.diagnose(bytes, at, end, limitedBy);
          if (!readable) {
            if (version === 6) next = IPV6;
            break;
          }
          const total = ipv4.getTotalLength(bytes, at);
          offset = Math.min(at + size, end);
          stop = total === 0 ? end : Math.max(offset, Math.min(at + total, end));
          if (total > 0) wireEnd = Math.min(wireEnd, at + total);
        }
        if (ipv4.getMoreFragments(bytes, at)) partial = true;
        const protocolNumber = ipv4.getProtocol(bytes, at);
        const fragmentOffset = ipv4.getFragmentOffset(bytes, at);
        layers.push({
          protocol: 'ipv4',
          offset: at,
          size: offset - at,
          dscp: ipv4.getDscp(bytes, at),
          ecn: ipv4.getEcn(bytes, at),
          // The header of a super-frame says 0 if it was captured before a network card segmented it.
          totalLength: ipv4.getTotalLength(bytes, at) || wireEnd - at,
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
        const length = ipv6.check(bytes, at, end);
        if (stopped === null && length < 0) {
          const behind = length === TRUNCATED && end - at >= ipv6.HEADER_LENGTH; // only the payload length
          if (!(partial && behind)) stopped = ipv6.diagnose(bytes, at, end, limitedBy);
        }
        const value = ipv6.decodeLax(bytes, at, end);
        if (value === null) break;
        const { payloadLength } = value;
        const start = at + ipv6.HEADER_LENGTH;
        stop = start + value.payload.length;
        if (payloadLength > 0) {
          if (start + payloadLength <= end) {
            limitedBy = 'ipv6.payloadLength';
            partial = false;
          } else wireEnd = Math.min(wireEnd, start + payloadLength);
        }
        offset = start;
        const upper = ipv6.findUpper(bytes, at, stop);
        if (upper >= 0) {
          offset = at + ipv6.upperOffset(upper);
          next = afterIp(ipv6.upperProtocol(upper));
          if (ipv6.isUpperFragment(upper)) partial = true;
        } else if (upper === TRUNCATED) stopped ??= extensionsTruncated(start, stop, limitedBy);
        else stopped ??= problemAt('ipv6', start, `more than ${ipv6.MAX_EXTENSIONS} extension headers`, 'unsupported');
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
        if (length < 0) stopped ??= icmp.diagnose(bytes, at, end, limitedBy);
        if (end - at < icmp.HEADER_LENGTH) {
          if (end - at < icmp.COMMON_LENGTH) break;
          offset = at + icmp.COMMON_LENGTH;
          layers.push({
            protocol: 'icmp',
            offset: at,
            size: icmp.COMMON_LENGTH,
            type: icmp.getType(bytes, at),
            code: icmp.getCode(bytes, at),
            checksum: icmp.getChecksum(bytes, at),
          });
          break;
        }
        const value = icmp.decodeLax(bytes, at, end)!;
        const { payload, ...fields } = value;
        offset = payload.byteOffset - bytes.byteOffset;
        layers.push({ protocol: 'icmp', offset: at, size: offset - at, ...fields });
        break;
      }
      case UDP: {
        const size = udp.HEADER_LENGTH;
        const code = udp.check(bytes, at, end);
        if (code >= 0) {
          stop = at + udp.getLength(bytes, at);
          limitedBy = 'udp.length';
          partial = false;
        } else {
          const cut = end - at < size;
          if (stopped === null && (cut || !(partial && code === TRUNCATED)))
            stopped = udp.diagnose(bytes, at, end, limitedBy);
          if (cut) break;
          const length = udp.getLength(bytes, at);
          stop = length === 0 ? end : Math.min(at + Math.max(length, size), end);
          if (length > 0) wireEnd = Math.min(wireEnd, at + length);
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
        if (offset < stop) next = afterPort(bytes, at, vxlanPorts);
        break;
      }
      case TCP: {
        const length = tcp.check(bytes, at, end);
        if (length >= 0) offset = at + length;
        else {
          stopped ??= tcp.diagnose(bytes, at, end, limitedBy);
          if (end - at < tcp.MIN_HEADER_LENGTH) break;
          // Ports and sequence numbers are valid even if the header length is not.
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
          stopped ??= vxlan.diagnose(bytes, at, end, limitedBy);
          if (end - at < size) break;
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
          stopped = truncated('loopback', at, LOOPBACK_LENGTH, end, limitedBy);
          break;
        }
        const layer = readLoopback(bytes, at, kind === NULL ? 'null' : 'loop');
        layers.push(layer);
        offset = at + layer.size;
        next = afterFamily(layer.family);
        break;
      }
      default: {
        const protocol = kind === SLL ? 'sll' : 'sll2';
        const size = kind === SLL ? SLL_LENGTH : SLL2_LENGTH;
        if (end - at < size) {
          stopped = truncated(protocol, at, size, end, limitedBy);
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
      end = wireEnd = stop;
    }
  }
  if (offset < end)
    layers.push({ protocol: 'payload', offset, size: end - offset, bytes: bytes.subarray(offset, end) });
  if (trailers !== null) for (let i = trailers.length - 1; i >= 0; i--) layers.push(trailers[i]!);
  return { layers, stopped };
}

function extensionsTruncated(offset: number, end: number, limitedBy: string): WireProblem {
  const available = end - offset;
  const detail = `extension headers need more than ${available} bytes (limited by ${limitedBy})`;
  return { protocol: 'ipv6', reason: 'truncated', offset, needed: available + 1, available, limitedBy, detail };
}

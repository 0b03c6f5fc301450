/**
 * The readers of `dissect`, one for each kind of header. They are separate functions because V8 limits how much code it
 * inlines into one function: as a single function, `dissect` calls most accessors of the codecs and takes 1.2 times as
 * long.
 */
import { ipv4ToText, macToText } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';
import { readOptions, TRUNCATED, truncatedProblem, problemAt, type WireProblem } from '../wire/index.js';
import type { Ipv6Layer, Layer } from './layers.js';
import { LOOPBACK_LENGTH, readCooked, readLoopback, SLL2_LENGTH, SLL_LENGTH } from './link.js';
import {
  afterEtherType,
  afterFamily,
  afterGpe,
  afterIp,
  afterPort,
  ETHERNET,
  GPE,
  IPV6,
  NULL,
  REST,
  SLL,
} from './next.js';

/** A dissection in progress. */
export interface Dissecting {
  readonly bytes: Uint8Array;
  readonly vxlanPorts: readonly number[];
  /** Those read so far, outermost first. */
  readonly layers: Layer[];
  /** The first problem, or `null`. */
  stopped: WireProblem | null;
  /** Start of the next layer. */
  offset: number;
  /** End of what the enclosing layers contain. */
  end: number;
  /** End of the payload of the layer that was read last; the bytes from there to `end` are a trailer. */
  stop: number;
  /** Where the packet ended before a capture truncated it. */
  wireEnd: number;
  /** What sets `end`. */
  limitedBy: string;
  /** Whether the rest is a first fragment, so that length fields may point behind its end. */
  partial: boolean;
}

/** More than any length field says: with it, `check` checks the header and not whether the rest is complete. */
const ANY_LENGTH = 0x1_0000;

// Each reader reads the layer at `offset`, moves `offset` behind it, and returns the kind of the next layer. If it cannot
// read the layer, `offset` stays and the kind is REST.

export function readEthernet(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const size = ethernet.HEADER_LENGTH;
  if (ethernet.check(bytes, at, end) < 0) {
    const cut = end - at < size;
    if (state.stopped === null && (cut || !state.partial))
      state.stopped = ethernet.diagnose(bytes, at, end, state.limitedBy);
    if (cut) return REST;
  }
  state.offset = at + size;
  const destination = macToText(ethernet.getDestination(bytes, at));
  const source = macToText(ethernet.getSource(bytes, at));
  const etherType = ethernet.getEtherType(bytes, at);
  if (!ethernet.isLength(etherType)) {
    state.layers.push({ protocol: 'ethernet', offset: at, size, destination, source, etherType });
    return afterEtherType(etherType);
  }
  state.layers.push({ protocol: 'ethernet', offset: at, size, destination, source, length: etherType });
  endAfter(state, etherType, 'ethernet.length');
  return REST;
}

export function readVlan(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const size = ethernet.vlan.HEADER_LENGTH;
  if (ethernet.vlan.check(bytes, at, end) < 0) {
    const cut = end - at < size;
    if (state.stopped === null && (cut || !state.partial))
      state.stopped = ethernet.vlan.diagnose(bytes, at, end, state.limitedBy);
    if (cut) return REST;
  }
  state.offset = at + size;
  const priority = ethernet.vlan.getPriority(bytes, at);
  const dropEligible = ethernet.vlan.getDropEligible(bytes, at);
  const id = ethernet.vlan.getId(bytes, at);
  const etherType = ethernet.vlan.getEtherType(bytes, at);
  if (!ethernet.isLength(etherType)) {
    state.layers.push({ protocol: 'vlan', offset: at, size, priority, dropEligible, id, etherType });
    return afterEtherType(etherType);
  }
  state.layers.push({ protocol: 'vlan', offset: at, size, priority, dropEligible, id, length: etherType });
  endAfter(state, etherType, 'vlan.length');
  return REST;
}

/**
 * The length field `field` of the header at `at` says that its packet has `length` bytes. What follows them is a trailer.
 * In a first fragment, `length` is that of the whole packet.
 */
function endAt(state: Dissecting, protocol: string, at: number, length: number, field: string): void {
  const { end } = state;
  const stop = at + length;
  if (stop < state.wireEnd) state.wireEnd = stop;
  if (stop <= end) {
    state.stop = stop;
    state.limitedBy = field;
    state.partial = false;
  } else if (state.stopped === null && !state.partial)
    // Not by `truncatedProblem`, whose call and text take 10 % of the time of a packet: see `problemText`.
    state.stopped = {
      protocol,
      reason: 'truncated',
      offset: at,
      needed: length,
      available: end - at,
      limitedBy: state.limitedBy,
      detail: '',
    };
}

/** A length field says that `length` bytes follow the header, and then a trailer. */
function endAfter(state: Dissecting, length: number, field: string): void {
  if (state.offset + length > state.end) return;
  state.stop = state.offset + length;
  state.limitedBy = field;
  state.partial = false;
}

export function readArp(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const length = arp.check(bytes, at, end);
  if (length < 0) state.stopped ??= arp.diagnose(bytes, at, end, state.limitedBy);
  const value = arp.decodeLax(bytes, at, end);
  if (value === null) return REST;
  state.offset = state.stop = length < 0 ? end : at + length;
  state.layers.push({ protocol: 'arp', offset: at, size: state.offset - at, ...value });
  return REST;
}

export function readIpv4(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const length = end - at < ipv4.MIN_HEADER_LENGTH ? TRUNCATED : ipv4.check(bytes, at, at + ANY_LENGTH);
  if (length >= 0 && at + length <= end) {
    state.offset = at + length;
    endAt(state, 'ipv4', at, ipv4.getTotalLength(bytes, at), 'ipv4.totalLength');
  } else if (!recoverIpv4(state)) return at < end && bytes[at]! >>> 4 === 6 ? IPV6 : REST;
  const { offset } = state;
  const moreFragments = ipv4.getMoreFragments(bytes, at);
  if (moreFragments) state.partial = true;
  const protocolNumber = ipv4.getProtocol(bytes, at);
  const fragmentOffset = ipv4.getFragmentOffset(bytes, at);
  state.layers.push({
    protocol: 'ipv4',
    offset: at,
    size: offset - at,
    dscp: ipv4.getDscp(bytes, at),
    ecn: ipv4.getEcn(bytes, at),
    // The header of a super-frame says 0 if it was captured before a network card segmented it.
    totalLength: ipv4.getTotalLength(bytes, at) || state.wireEnd - at,
    identification: ipv4.getIdentification(bytes, at),
    reservedFlag: ipv4.getReservedFlag(bytes, at),
    dontFragment: ipv4.getDontFragment(bytes, at),
    moreFragments,
    fragmentOffset,
    ttl: ipv4.getTtl(bytes, at),
    protocolNumber,
    checksum: ipv4.getChecksum(bytes, at),
    source: ipv4ToText(ipv4.getSource(bytes, at)),
    destination: ipv4ToText(ipv4.getDestination(bytes, at)),
    options: readOptions(bytes, at + ipv4.MIN_HEADER_LENGTH, offset),
  });
  return fragmentOffset === 0 ? afterIp(protocolNumber) : REST;
}

/** Reads the lengths of an IPv4 header that is truncated or malformed. @returns whether its fixed part is readable. */
function recoverIpv4(state: Dissecting): boolean {
  const { bytes, offset: at, end } = state;
  state.stopped ??= ipv4.diagnose(bytes, at, end, state.limitedBy);
  if (end - at < ipv4.MIN_HEADER_LENGTH || bytes[at]! >>> 4 !== 4) return false;
  const size = ipv4.getHeaderLength(bytes, at);
  if (size < ipv4.MIN_HEADER_LENGTH) return false;
  const total = ipv4.getTotalLength(bytes, at);
  const offset = Math.min(at + size, end);
  state.offset = offset;
  state.stop = total === 0 ? end : Math.max(offset, Math.min(at + total, end));
  if (total > 0) state.wireEnd = Math.min(state.wireEnd, at + total);
  return true;
}

export function readIpv6(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  if (end - at < ipv6.HEADER_LENGTH || ipv6.check(bytes, at, at + ipv6.HEADER_LENGTH + ANY_LENGTH) < 0)
    state.stopped ??= ipv6.diagnose(bytes, at, end, state.limitedBy);
  const value = ipv6.decodeLax(bytes, at, end);
  if (value === null) return REST;
  const { payloadLength } = value;
  const start = at + ipv6.HEADER_LENGTH;
  const stop = (state.stop = start + value.payload.length);
  if (payloadLength > 0) endAt(state, 'ipv6', at, ipv6.HEADER_LENGTH + payloadLength, 'ipv6.payloadLength');
  let offset = start;
  let next = REST;
  const upper = ipv6.findUpper(bytes, at, stop);
  if (upper >= 0) {
    offset = at + ipv6.upperOffset(upper);
    next = afterIp(ipv6.upperProtocol(upper));
    if (ipv6.isUpperFragment(upper)) state.partial = true;
  } else if (upper === TRUNCATED) state.stopped ??= extensionsTruncated(start, stop, state.limitedBy);
  else state.stopped ??= problemAt('ipv6', start, `more than ${ipv6.MAX_EXTENSIONS} extension headers`, 'unsupported');
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
  state.layers.push(layer);
  state.offset = offset;
  return next;
}

function extensionsTruncated(offset: number, end: number, limitedBy: string): WireProblem {
  const available = end - offset;
  const detail = `extension headers need more than ${available} bytes (limited by ${limitedBy})`;
  return problemAt('ipv6', offset, detail, 'truncated', available + 1, available, limitedBy);
}

export function readIcmp(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const length = icmp.check(bytes, at, end);
  const type = length < 0 ? -1 : icmp.getType(bytes, at);
  if (type === icmp.ECHO_REQUEST || type === icmp.ECHO_REPLY) {
    state.offset = at + length;
    state.layers.push({
      protocol: 'icmp',
      offset: at,
      size: length,
      type,
      code: icmp.getCode(bytes, at),
      checksum: icmp.getChecksum(bytes, at),
      identifier: icmp.getIdentifier(bytes, at),
      sequence: icmp.getSequence(bytes, at),
    });
    return REST;
  }
  if (length < 0) state.stopped ??= icmp.diagnose(bytes, at, end, state.limitedBy);
  if (end - at < icmp.COMMON_LENGTH) return REST;
  if (end - at < icmp.HEADER_LENGTH) {
    state.offset = at + icmp.COMMON_LENGTH;
    state.layers.push({
      protocol: 'icmp',
      offset: at,
      size: icmp.COMMON_LENGTH,
      type: icmp.getType(bytes, at),
      code: icmp.getCode(bytes, at),
      checksum: icmp.getChecksum(bytes, at),
    });
    return REST;
  }
  const { payload, ...fields } = icmp.decodeLax(bytes, at, end)!;
  state.offset = payload.byteOffset - bytes.byteOffset;
  state.layers.push({ protocol: 'icmp', offset: at, size: state.offset - at, ...fields });
  return REST;
}

export function readIcmpv6(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  if (icmpv6.check(bytes, at, end) < 0) state.stopped ??= icmpv6.diagnose(bytes, at, end, state.limitedBy);
  const value = icmpv6.decodeLax(bytes, at, end);
  if (value === null) return REST;
  const { payload, ...fields } = value;
  state.offset = end - payload.length;
  state.layers.push({ protocol: 'icmpv6', offset: at, size: state.offset - at, ...fields });
  return REST;
}

export function readUdp(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const size = udp.HEADER_LENGTH;
  if (end - at >= size && udp.check(bytes, at, at + ANY_LENGTH) >= 0)
    endAt(state, 'udp', at, udp.getLength(bytes, at), 'udp.length');
  else if (!recoverUdp(state)) return REST;
  state.offset = at + size;
  state.layers.push({
    protocol: 'udp',
    offset: at,
    size,
    sourcePort: udp.getSourcePort(bytes, at),
    destinationPort: udp.getDestinationPort(bytes, at),
    length: udp.getLength(bytes, at),
    checksum: udp.getChecksum(bytes, at),
  });
  return state.offset < state.stop ? afterPort(bytes, at, state.vxlanPorts) : REST;
}

/** Reads a UDP header that is truncated, or whose length is less than its own. @returns whether it is complete. */
function recoverUdp(state: Dissecting): boolean {
  const { bytes, offset: at, end } = state;
  state.stopped ??= udp.diagnose(bytes, at, end, state.limitedBy);
  if (end - at < udp.HEADER_LENGTH) return false;
  state.stop = udp.getLength(bytes, at) === 0 ? end : at + udp.HEADER_LENGTH;
  return true;
}

export function readTcp(state: Dissecting): number {
  const { bytes, offset: at, end } = state;
  const length = tcp.check(bytes, at, end);
  let offset = at + length;
  if (length < 0) {
    state.stopped ??= tcp.diagnose(bytes, at, end, state.limitedBy);
    if (end - at < tcp.MIN_HEADER_LENGTH) return REST;
    // Ports and sequence numbers are valid even if the header length is not.
    offset = Math.min(at + Math.max(tcp.getHeaderLength(bytes, at), tcp.MIN_HEADER_LENGTH), end);
  }
  state.offset = offset;
  state.layers.push({
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
  return REST;
}

/** @param kind VXLAN or GPE. */
export function readVxlan(state: Dissecting, kind: number): number {
  const { bytes, offset: at, end } = state;
  const size = vxlan.HEADER_LENGTH;
  if (vxlan.check(bytes, at, end) < 0) {
    state.stopped ??= vxlan.diagnose(bytes, at, end, state.limitedBy);
    if (end - at < size) return REST;
  }
  state.offset = at + size;
  const flags = vxlan.getFlags(bytes, at);
  state.layers.push({
    protocol: 'vxlan',
    offset: at,
    size,
    flags,
    vni: vxlan.getVni(bytes, at),
    reserved1: vxlan.getReserved1(bytes, at),
    reserved2: vxlan.getReserved2(bytes, at),
  });
  if (kind !== GPE || (flags & vxlan.FLAG_NEXT_PROTOCOL) === 0) return ETHERNET;
  return afterGpe(vxlan.getNextProtocol(bytes, at));
}

/** @param kind NULL or LOOP. */
export function readLoopbackLayer(state: Dissecting, kind: number): number {
  const { bytes, offset: at, end } = state;
  if (end - at < LOOPBACK_LENGTH) {
    state.stopped = truncatedProblem('loopback', at, LOOPBACK_LENGTH, end, state.limitedBy);
    return REST;
  }
  const layer = readLoopback(bytes, at, kind === NULL ? 'null' : 'loop');
  state.layers.push(layer);
  state.offset = at + layer.size;
  return afterFamily(layer.family);
}

/** @param kind SLL or SLL2. */
export function readCookedLayer(state: Dissecting, kind: number): number {
  const { bytes, offset: at, end } = state;
  const protocol = kind === SLL ? 'sll' : 'sll2';
  const size = kind === SLL ? SLL_LENGTH : SLL2_LENGTH;
  if (end - at < size) {
    state.stopped = truncatedProblem(protocol, at, size, end, state.limitedBy);
    return REST;
  }
  const layer = readCooked(bytes, at, protocol);
  state.layers.push(layer);
  state.offset = at + size;
  return afterEtherType(layer.etherType);
}

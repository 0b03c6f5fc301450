import { LINKTYPE_ETHERNET } from '../pcap/index.js';
import { problemAt, type WireProblem } from '../wire/index.js';
import {
  readArp,
  readEthernet,
  readLoopbackLayer,
  readIcmp,
  readIcmpv6,
  readIpv4,
  readIpv6,
  readCookedLayer,
  readTcp,
  readUdp,
  readVlan,
  readVxlan,
  type Dissecting,
} from './headers.js';
import type { Layer, TrailerLayer } from './layers.js';
import {
  afterLinkType,
  ARP,
  ETHERNET,
  GPE,
  ICMP,
  ICMPV6,
  IP,
  IPV4,
  IPV6,
  LOOP,
  NULL,
  REST,
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
   * `detail` can be empty; `problemText` gives the words of any problem.
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
  const wireEnd = Math.max(bytes.length, options.originalLength ?? 0);
  const state: Dissecting = {
    bytes,
    vxlanPorts: options.vxlanPorts ?? VXLAN_PORTS,
    layers,
    stopped: null,
    offset: 0,
    end: bytes.length,
    stop: bytes.length,
    wireEnd,
    limitedBy: wireEnd > bytes.length ? 'capture' : 'buffer',
    partial: false,
  };
  /** Outermost first; allocated only if there is a trailer. */
  let trailers: TrailerLayer[] | null = null;
  const linkType = options.linkType ?? LINKTYPE_ETHERNET;
  let next = afterLinkType(linkType);
  if (next < 0) {
    next = REST;
    state.stopped = problemAt('link', 0, `link type ${linkType} is not supported`, 'unsupported');
  }
  while (next !== REST) {
    const count = layers.length;
    if (count === MAX_LAYERS) {
      state.stopped ??= problemAt('packet', state.offset, `more than ${MAX_LAYERS} layers`, 'unsupported');
      break;
    }
    next = readLayer(state, next);
    const { stop, end } = state;
    if (stop < end) {
      trailers ??= [];
      trailers.push({
        protocol: 'trailer',
        offset: stop,
        size: end - stop,
        behind: count,
        bytes: bytes.subarray(stop, end),
      });
      state.end = state.wireEnd = stop;
    }
  }
  const { offset, end, stopped } = state;
  if (offset < end)
    layers.push({ protocol: 'payload', offset, size: end - offset, bytes: bytes.subarray(offset, end) });
  if (trailers !== null) for (let i = trailers.length - 1; i >= 0; i--) layers.push(trailers[i]!);
  return { layers, stopped };
}

function readLayer(state: Dissecting, kind: number): number {
  switch (kind) {
    case ETHERNET:
      return readEthernet(state);
    case VLAN:
      return readVlan(state);
    case ARP:
      return readArp(state);
    case IP: // The version decides. If it is neither, the IPv4 codec reports it.
      return state.offset < state.end && state.bytes[state.offset]! >>> 4 === 6 ? IPV6 : IPV4;
    case IPV4:
      return readIpv4(state);
    case IPV6:
      return readIpv6(state);
    case ICMP:
      return readIcmp(state);
    case ICMPV6:
      return readIcmpv6(state);
    case UDP:
      return readUdp(state);
    case TCP:
      return readTcp(state);
    case VXLAN:
    case GPE:
      return readVxlan(state, kind);
    case NULL:
    case LOOP:
      return readLoopbackLayer(state, kind);
    default:
      return readCookedLayer(state, kind);
  }
}

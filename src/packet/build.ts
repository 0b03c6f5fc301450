import type { Addresses } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';
import type { Layer } from './layers.js';

type Spec<P extends string, V> = { protocol: P; offset?: number; size?: number } & Without<V, 'payload'>;
type Without<V, K extends PropertyKey> = V extends unknown ? Omit<V, K> : never;
type Loose<V, K extends PropertyKey> = Omit<V, K> & { [P in keyof V as P & K]?: V[P] };

/**
 * A layer to build: its codec's value without payload, and its name; or a layer that `dissect` returned. The number of
 * the next layer, lengths and checksums may be absent.
 */
export type LayerToBuild =
  | Layer
  | Spec<'ethernet', ethernet.Ethernet>
  | Spec<'vlan', ethernet.vlan.Vlan>
  | Spec<'arp', arp.Arp>
  | (Spec<'ipv4', Omit<ipv4.Ipv4, 'protocol'>> & { protocolNumber?: number })
  | (Spec<'ipv6', Loose<ipv6.Ipv6, 'nextHeader'>> & { extensions?: Uint8Array })
  | Spec<'icmp', icmp.Icmp>
  | Spec<'icmpv6', icmpv6.Icmpv6>
  | Spec<'udp', udp.Udp>
  | Spec<'tcp', tcp.Tcp>
  | Spec<'vxlan', vxlan.Vxlan>
  | { protocol: 'payload'; bytes: Uint8Array; offset?: number; size?: number }
  /** Bytes behind the end of the layer at position `behind`; default: the outermost layer. */
  | { protocol: 'trailer'; bytes: Uint8Array; behind?: number; offset?: number; size?: number };

const NOTHING = new Uint8Array(0);

const ETHER_TYPES: Readonly<Record<string, number>> = {
  vlan: ethernet.TYPE_VLAN,
  arp: ethernet.TYPE_ARP,
  ipv4: ethernet.TYPE_IPV4,
  ipv6: ethernet.TYPE_IPV6,
};

const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = {
  icmp: ipv4.PROTOCOL_ICMP,
  icmpv6: ipv4.PROTOCOL_ICMPV6,
  ipv4: ipv4.PROTOCOL_IPV4,
  tcp: ipv4.PROTOCOL_TCP,
  udp: ipv4.PROTOCOL_UDP,
  ipv6: ipv4.PROTOCOL_IPV6,
};

/**
 * Writes a packet, outermost layer first. Computes fields that a layer leaves out: the type or number of the next layer
 * (0x8100 before a VLAN tag), lengths, checksums. The UDP checksum between IPv4 and VXLAN is 0, as RFC 7348, section 5,
 * recommends. An Ethernet frame or VLAN tag without an `etherType`, followed by a payload, becomes an IEEE 802.3 frame.
 * @throws RangeError if a field does not fit, an absent field cannot be computed, or a layer occurs only in capture
 *   files.
 */
export function build(layers: readonly LayerToBuild[]): Uint8Array {
  /** Trailers, by the position of the layer that they follow. */
  const trailers = new Map<number, Uint8Array[]>();
  let count = layers.length;
  for (; count > 0; count--) {
    const layer = layers[count - 1]!;
    if (layer.protocol !== 'trailer') break;
    const behind = layer.behind ?? 0;
    trailers.set(behind, [layer.bytes, ...(trailers.get(behind) ?? [])]);
  }
  let bytes: Uint8Array = NOTHING;
  for (let i = count - 1; i >= 0; i--) {
    bytes = encode(layers, i, bytes, i + 1 < count ? layers[i + 1]!.protocol : undefined);
    for (const more of trailers.get(i) ?? []) bytes = join(bytes, more);
  }
  return bytes;
}

function encode(layers: readonly LayerToBuild[], i: number, payload: Uint8Array, next: string | undefined): Uint8Array {
  const layer = layers[i]!;
  switch (layer.protocol) {
    case 'ethernet':
      return ethernet.encode({ ...layer, ...typeOf(layer, next), payload });
    case 'vlan':
      return ethernet.vlan.encode({ ...layer, ...typeOf(layer, next), payload });
    case 'arp':
      return join(arp.encode(layer), payload);
    case 'ipv4': {
      const protocol = layer.protocolNumber ?? numberOf('ipv4.protocolNumber', next);
      return ipv4.encode({ ...layer, protocol, payload });
    }
    case 'ipv6': {
      const { extensions } = layer;
      if (extensions !== undefined && layer.nextHeader === undefined)
        throw new RangeError('ipv6.nextHeader is required with extensions: the number of the first extension');
      const nextHeader = layer.nextHeader ?? numberOf('ipv6.nextHeader', next);
      return ipv6.encode({
        ...layer,
        nextHeader,
        payload: extensions === undefined ? payload : join(extensions, payload),
      });
    }
    case 'icmp':
      return icmp.encode({ ...layer, payload });
    case 'icmpv6':
      return icmpv6.encode({ ...layer, payload }, ipAround(layers, i));
    case 'udp': {
      const ip = ipAround(layers, i);
      return udp.encode({ ...layer, payload }, next === 'vxlan' && ip?.protocol === 'ipv4' ? undefined : ip);
    }
    case 'tcp':
      return tcp.encode({ ...layer, payload }, ipAround(layers, i));
    case 'vxlan':
      return vxlan.encode({ ...layer, payload });
    case 'payload':
      return join(layer.bytes, payload);
    case 'null':
    case 'loop':
    case 'sll':
    case 'sll2':
      throw new RangeError(`${layer.protocol} is a header of capture files, which build does not write`);
    case 'trailer':
      throw new RangeError('a trailer must come after all other layers');
  }
}

/** The type to add to a frame or tag without type and length. */
function typeOf(layer: { etherType?: number; length?: number }, next: string | undefined): { etherType?: number } {
  const etherType = next === undefined ? undefined : ETHER_TYPES[next];
  return layer.etherType !== undefined || layer.length !== undefined || etherType === undefined ? {} : { etherType };
}

function numberOf(field: string, next: string | undefined): number {
  const number = next === undefined ? undefined : PROTOCOL_NUMBERS[next];
  if (number === undefined)
    throw new RangeError(`${field} is required ${next === undefined ? 'without a payload' : `before ${next}`}`);
  return number;
}

/** The nearest IP header outside of a layer, with its addresses. */
function ipAround(layers: readonly LayerToBuild[], i: number): (Addresses & { protocol: string }) | undefined {
  for (let outer = i - 1; outer >= 0; outer--) {
    const layer = layers[outer]!;
    if (layer.protocol === 'ipv4' || layer.protocol === 'ipv6') return layer;
  }
  return undefined;
}

function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (second.length === 0) return first;
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first, 0);
  bytes.set(second, first.length);
  return bytes;
}

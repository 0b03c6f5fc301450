import type { DecodedArp } from '../arp/index.js';
import type { Ethernet, vlan } from '../ethernet/index.js';
import type { DecodedIcmp } from '../icmp/index.js';
import type { DecodedIcmpv6 } from '../icmpv6/index.js';
import type { Ipv4 } from '../ipv4/index.js';
import type { Ipv6 } from '../ipv6/index.js';
import type { Tcp } from '../tcp/index.js';
import type { Udp } from '../udp/index.js';
import type { Vxlan } from '../vxlan/index.js';

/** The fields of every layer in addition to those of its protocol. */
export interface LayerPosition<P extends string> {
  /** The layer's name. */
  protocol: P;
  /** Offset of its header in the packet. */
  offset: number;
  /** Bytes of header, options and extension headers included; of `payload` and `trailer`, all bytes. */
  size: number;
}

/** `Omit` for each member of a union. */
type Without<V, K extends PropertyKey> = V extends unknown ? Omit<V, K> : never;

/** The value that a codec's `decode` returns, without the payload, which becomes the layers that follow. */
type LayerOf<P extends string, V> = LayerPosition<P> & Without<V, 'payload'>;

export type EthernetLayer = LayerOf<'ethernet', Ethernet>;
export type VlanLayer = LayerOf<'vlan', vlan.DecodedVlan>;
export type ArpLayer = LayerOf<'arp', DecodedArp>;
/**
 * Every layer's `protocol` is its name, so the IPv4 header's field of that name is {@link Ipv4Layer.protocolNumber}. If
 * the header says 0, as in a super-frame that was captured before a network card segmented it, `totalLength` is the
 * length of the packet.
 */
export type Ipv4Layer = LayerPosition<'ipv4'> &
  Omit<Required<Ipv4>, 'payload' | 'protocol'> & { protocolNumber: number };
export type Ipv6Layer = LayerOf<'ipv6', Required<Ipv6>> & {
  /** The extension headers up to the upper protocol, if there are any. `nextHeader` is then the first one's number. */
  extensions?: Uint8Array;
  /**
   * With `extensions`: the number of the protocol after them; 44 in a fragment other than the first, whose payload
   * begins with the fragment header.
   */
  upperProtocol?: number;
};
export type IcmpLayer = LayerOf<'icmp', DecodedIcmp>;
export type Icmpv6Layer = LayerOf<'icmpv6', DecodedIcmpv6>;
export type UdpLayer = LayerOf<'udp', Required<Udp>>;
export type TcpLayer = LayerOf<'tcp', Required<Tcp>>;
export type VxlanLayer = LayerOf<'vxlan', Required<Vxlan>>;

/** BSD loopback, in the byte order of the capturing machine (`null`) or of the network (`loop`). */
export interface LoopbackLayer extends LayerPosition<'null' | 'loop'> {
  /** Address family: 2 for IPv4; 24, 28 or 30 for IPv6, depending on the system. */
  family: number;
}

/** Linux "cooked" capture, version 1 or 2. */
export interface CookedLayer extends LayerPosition<'sll' | 'sll2'> {
  /** 0 to us, 1 broadcast, 2 multicast, 3 to another host, 4 sent by us. */
  packetType: number;
  /** ARPHRD_ value of the interface: 1 for Ethernet. */
  hardwareType: number;
  /** Version 2: the interface's index. */
  interfaceIndex?: number;
  /** The sender's link layer address, up to eight octets, as text. */
  address: string;
  /** The next protocol, as an EtherType. */
  etherType: number;
}

/** Bytes that weft does not decode. */
export interface PayloadLayer extends LayerPosition<'payload'> {
  bytes: Uint8Array;
}

/**
 * Bytes behind the end that a layer's length field sets, such as the padding of a short Ethernet frame or a vendor's
 * trailer.
 */
export interface TrailerLayer extends LayerPosition<'trailer'> {
  /** Position, in the list of layers, of the layer that they follow. */
  behind: number;
  bytes: Uint8Array;
}

/** A layer of a packet; `protocol` says which. */
export type Layer =
  | EthernetLayer
  | VlanLayer
  | ArpLayer
  | Ipv4Layer
  | Ipv6Layer
  | IcmpLayer
  | Icmpv6Layer
  | UdpLayer
  | TcpLayer
  | VxlanLayer
  | LoopbackLayer
  | CookedLayer
  | PayloadLayer
  | TrailerLayer;

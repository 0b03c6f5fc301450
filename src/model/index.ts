/**
 * The vocabulary of the control plane: networks, endpoints, and the changes that a data plane receives. All addresses are
 * canonical text. Every layer from the machines upwards uses these types.
 */
import { isIpv6Text, parseIpv4, parseIpv4Prefix, parseIpv6, ipv4PrefixContains } from '../address/index.js';

/**
 * How the proxy of a segment answers ARP requests and neighbor solicitations for remote endpoints: with the endpoint's own
 * MAC address, as Docker's kernel device does; with the VTEP's, so that hosts see a single neighbor; or not at all.
 */
export type Proxy = 'endpoint' | 'vtep' | 'off';

/** A subnet of a network. */
export interface Subnet {
  /** `10.0.0.0/24` or `fd00::/64`. */
  readonly prefix: string;
  /** The address of the router that every host has in this subnet; absent: the subnet is not routed. */
  readonly gateway?: string;
  /** The VNI of its broadcast domain, 0 to 2^24 - 1. An IPv4 and an IPv6 subnet may share one. */
  readonly vni: number;
}

/** An overlay network: one or more subnets. */
export interface Network {
  /** Its id, the same on every host. Docker's ids have 25 characters. */
  readonly id: string;
  readonly name: string;
  readonly subnets: readonly Subnet[];
}

/** A subnet with a gateway. */
export type RoutedSubnet = Subnet & { readonly gateway: string };

/** The router of a network. Every host has one, with the same addresses: the gateway of each routed subnet. */
export interface NetworkRouter {
  /** The id of its network. */
  readonly id: string;
  /** The MAC address of all its gateways, the same on every host. */
  readonly mac: string;
  readonly subnets: readonly RoutedSubnet[];
}

/** A host of an overlay network: a container or a virtual machine. */
export interface Endpoint {
  /** Unique in its network. */
  readonly id: string;
  readonly name: string;
  /** The id of its network. */
  readonly network: string;
  /** IPv4 and IPv6 addresses, without prefix lengths. */
  readonly addresses: readonly string[];
  readonly mac: string;
  /** The underlay address of its VTEP; absent: the endpoint is on this host. */
  readonly vtep?: string;
}

// ---- What a data plane makes real ----

/** A broadcast domain with its VNI. */
export interface Segment {
  /** 0 to 2^24 - 1. */
  readonly vni: number;
  /** Largest inner IP packet in bytes. */
  readonly mtu: number;
  readonly proxy: Proxy;
  /** Whether MAC addresses are learned from the underlay. */
  readonly learn: boolean;
  /** Whether frames to unknown destinations are flooded to every peer. */
  readonly flood: boolean;
  /** Whether VLAN-tagged frames are carried with their tags (RFC 7348, section 6.1). */
  readonly tagged: boolean;
  /** Seconds after which a learned address expires if it is not seen again; 0 for never. */
  readonly ageing: number;
  /** Most learned addresses. */
  readonly capacity: number;
  /** Whether the maximum segment size of TCP connections is lowered to what fits the path. Absent: no. */
  readonly clampMss?: boolean;
  /** The MAC address that proxy `vtep` answers with. Absent: derived from the VNI. */
  readonly mac?: string;
  /**
   * Its key group, if its frames cross the underlay encrypted: the segments of one group share keys and associations. The id
   * of the network or, for a segment without one, `vni-42`.
   */
  readonly group?: string;
}

/** A key of a group. A later key has a greater number. */
export interface GroupKey {
  /** From 1. */
  readonly number: number;
  /** 16 octets for AES-128-GCM or 32 for AES-256-GCM, in base64. */
  readonly key: string;
}

/** What is said of a new segment. Its defaults are `SEGMENT_DEFAULTS`; the data plane finds out its MTU. */
export type NewSegment = Pick<Segment, 'vni'> & Partial<Segment>;

/** What a segment does unless its configuration says otherwise. `ageing` is in seconds. */
export const SEGMENT_DEFAULTS = {
  proxy: 'endpoint',
  learn: true,
  flood: true,
  tagged: false,
  ageing: 300,
  capacity: 65_536,
} as const satisfies Partial<Segment>;

/**
 * The subnet of a network that contains an address: of several, the one with the longest prefix.
 * @throws RangeError for text that is not an IP address.
 */
export function subnetOf(network: Network, address: string): Subnet | undefined {
  let found: Subnet | undefined;
  for (const subnet of network.subnets)
    if (prefixContains(subnet.prefix, address) && (found === undefined || lengthOf(subnet) > lengthOf(found)))
      found = subnet;
  return found;
}

/**
 * Whether a prefix, `10.0.0.0/24` or `fd00::/64`, contains an address; false if the families differ.
 * @throws RangeError for text that is not a prefix or an address.
 */
export function prefixContains(prefix: string, address: string): boolean {
  if (isIpv6Text(prefix) !== isIpv6Text(address)) return false;
  if (!isIpv6Text(prefix)) return ipv4PrefixContains(parseIpv4Prefix(prefix), parseIpv4(address));
  const [network = '', length = ''] = prefix.split('/');
  const bits = Number(length);
  if (!/^\d{1,3}$/.test(length) || bits > 128) throw new RangeError(`an IPv6 prefix ends in /0 to /128, not ${prefix}`);
  const [a, b] = [parseIpv6(network), parseIpv6(address)];
  for (let at = 0; at < bits; at += 8) {
    const mask = bits - at >= 8 ? 0xff : (0xff00 >> (bits - at)) & 0xff;
    if (((a[at >> 3]! ^ b[at >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

function lengthOf({ prefix }: Subnet): number {
  return Number(prefix.slice(prefix.indexOf('/') + 1));
}

/** A MAC address, one IP address, and the VTEP that both are behind. */
export interface Location {
  readonly ip: string;
  readonly mac: string;
  /** The underlay address of the VTEP; absent: this host. */
  readonly vtep?: string;
}

/**
 * One change of a data plane. Changes are applied in order. A change that is in effect already changes nothing, with one
 * exception: adding a location again makes it the newest of its IP and its MAC address.
 *
 * An IP address has one location in a segment: adding one replaces the location of its IP address, and removing one that has
 * been replaced changes nothing. Several IP addresses may share a MAC address, which is behind the VTEP of the newest location;
 * when that is removed, of the next older one that is left.
 */
export type Change =
  | { readonly do: 'add-segment'; readonly segment: Segment }
  /** Its peers and endpoints are removed with it. */
  | { readonly do: 'remove-segment'; readonly vni: number }
  /** A remote VTEP on the flood list of a segment. */
  | { readonly do: 'add-peer' | 'remove-peer'; readonly vni: number; readonly address: string }
  | { readonly do: 'add-endpoint' | 'remove-endpoint'; readonly vni: number; readonly endpoint: Location }
  /** An underlay address whose datagrams are accepted in every segment. */
  | { readonly do: 'add-member' | 'remove-member'; readonly address: string }
  /** Its subnets have segments. */
  | { readonly do: 'add-router'; readonly router: NetworkRouter }
  /** A segment with a gateway cannot be removed before its router. */
  | { readonly do: 'remove-router'; readonly id: string };

/** A change that a data plane did not make. */
export interface Rejection {
  /** Its place in the batch. */
  readonly index: number;
  /** What is wrong with it. */
  readonly reason: string;
}

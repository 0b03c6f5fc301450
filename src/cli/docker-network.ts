/** A network as `docker network inspect` of Docker 20.10 prints it, with the same fields in the same order. */
import { type EndpointEntry, type NetworkDetails } from '../schema/index.js';
import { isIn } from './network-subnets.js';

/** One entry of the list that `docker network inspect` prints. */
export interface DockerNetwork {
  readonly Name: string;
  readonly Id: string;
  /** RFC 3339 with nanoseconds. */
  readonly Created: string;
  readonly Scope: 'swarm';
  readonly Driver: 'overlay';
  readonly EnableIPv6: boolean;
  readonly IPAM: { readonly Driver: 'default'; readonly Options: null; readonly Config: readonly DockerSubnet[] };
  readonly Internal: boolean;
  readonly Attachable: boolean;
  readonly Ingress: boolean;
  readonly ConfigFrom: { readonly Network: '' };
  readonly ConfigOnly: boolean;
  /** Those of this node, by id. */
  readonly Containers: Readonly<Record<string, DockerContainer>>;
  readonly Options: Readonly<Record<string, string>>;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Peers: readonly { readonly Name: string; readonly IP: string }[];
}

interface DockerSubnet {
  readonly Subnet: string;
  readonly IPRange?: string;
  readonly Gateway: string;
  readonly AuxiliaryAddresses?: Readonly<Record<string, string>>;
}

interface DockerContainer {
  readonly Name: string;
  readonly EndpointID: string;
  readonly MacAddress: string;
  /** With the prefix length of the subnet. */
  readonly IPv4Address: string;
  readonly IPv6Address: string;
}

const VXLAN_IDS = 'com.docker.network.driver.overlay.vxlanid_list';
/** With an empty value, as Docker stores it. */
const ENCRYPTED = 'encrypted';
const MTU = 'com.docker.network.driver.mtu';

/**
 * The JSON of `docker network inspect` for a network, field by field. Any endpoint may attach to it, and none of it is a
 * swarm's routing mesh.
 */
export function dockerNetwork(network: NetworkDetails): DockerNetwork {
  const { id, name, created, subnets, ipv6, internal, mtu, encrypted, labels, endpoints, peers } = network;
  const here = endpoints.filter(({ state }) => state !== null);
  return {
    Name: name,
    Id: id,
    Created: new Date(created).toISOString().replace(/(\.\d{3})Z$/, '$1000000Z'),
    Scope: 'swarm',
    Driver: 'overlay',
    EnableIPv6: ipv6,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: subnets.map(({ prefix, gateway, range, auxiliary }) => ({
        Subnet: prefix,
        ...(range === undefined ? {} : { IPRange: range }),
        Gateway: gateway,
        ...(Object.keys(auxiliary).length === 0 ? {} : { AuxiliaryAddresses: sorted(auxiliary) }),
      })),
    },
    Internal: internal,
    Attachable: true,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: sorted(Object.fromEntries(here.map((endpoint) => [endpoint.id, containerOf(endpoint, network)]))),
    Options: sorted({
      [VXLAN_IDS]: vxlanIds(network).join(','),
      ...(mtu === undefined ? {} : { [MTU]: String(mtu) }),
      ...(encrypted === undefined ? {} : { [ENCRYPTED]: '' }),
    }),
    Labels: sorted(labels),
    Peers: peers.map((peer) => ({ Name: peer.name, IP: peer.address })),
  };
}

/** A map of Go, whose JSON has the keys in order. */
function sorted<T>(map: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The VNIs, each once: an IPv4 and an IPv6 subnet may share one. */
function vxlanIds({ subnets }: NetworkDetails): number[] {
  return [...new Set(subnets.map(({ vni }) => vni))];
}

function containerOf({ id, name, mac, addresses }: EndpointEntry, { subnets }: NetworkDetails): DockerContainer {
  const withLength = (isIp6: boolean): string => {
    const address = addresses.find((one) => one.includes(':') === isIp6);
    if (address === undefined) return '';
    const subnet = subnets.find(({ prefix }) => isIn(address, prefix));
    return subnet === undefined ? address : `${address}/${subnet.prefix.split('/')[1]}`;
  };
  return {
    Name: name,
    EndpointID: id,
    MacAddress: mac,
    IPv4Address: withLength(false),
    IPv6Address: withLength(true),
  };
}

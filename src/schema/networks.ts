/** The networks of a configuration, whichever part of it they are in, with their defaults. */
import { deriveMacFromText, macToText } from '../address/index.js';
import { type NetworkRouter, type RoutedSubnet, type Subnet } from '../model/index.js';
import { canonicalIp, family } from './addresses.js';
import { canonicalMac } from './mac.js';
import { firstHost, shareAddresses, subnetText } from './ranges.js';
import { type GossipNetwork, type Network, type NetworkSubnet } from './types.js';

/** The part of a configuration or a plan that has networks. */
export interface WithNetworks {
  networks?: readonly Network[];
  gossip?: { networks?: readonly GossipNetwork[] };
}

/** A network of a configuration. */
export interface AnyNetwork {
  /** The name or the id. */
  readonly id: string;
  /** The MAC address of its gateways; absent if it has none. */
  readonly mac?: string;
  readonly subnets: readonly AnySubnet[];
  /** Its path in the configuration. */
  readonly path: string;
}

/** A subnet of a network of a configuration. */
export interface AnySubnet extends Subnet {
  /** The paths of its fields in the configuration. */
  readonly paths: Readonly<Record<'prefix' | 'gateway' | 'vni', string>>;
}

/** A network with all defaults. */
export interface NetworkPlan extends Omit<Network, 'keyFile'> {
  mac: string;
  subnets: Required<NetworkSubnet>[];
}

/** All networks with all defaults: first those of the configuration, then those of the gossip. */
export function networksOf({ networks = [], gossip }: WithNetworks): AnyNetwork[] {
  return [
    ...networks.map(({ name, mac, subnets }, i) => routed(name, mac, subnets, `networks[${i}]`)),
    ...(gossip?.networks ?? []).map(({ id, mac, subnets, subnet, vni }, i): AnyNetwork => {
      const path = `gossip.networks[${i}]`;
      if (subnets !== undefined) return routed(id, mac, subnets, path);
      const paths = { prefix: `${path}.subnet`, gateway: path, vni: `${path}.vni` };
      const one = subnet === undefined || vni === undefined ? [] : [{ prefix: subnetText(subnet), vni, paths }];
      return { id, subnets: one, path };
    }),
  ];
}

function routed(id: string, mac: string | undefined, subnets: readonly NetworkSubnet[], path: string): AnyNetwork {
  return {
    id,
    mac: mac === undefined ? macToText(deriveMacFromText(`gateway ${id}`)) : canonicalMac(mac),
    subnets: subnets.map(({ prefix, gateway, vni }, k) => {
      const at = `${path}.subnets[${k}]`;
      return {
        prefix: subnetText(prefix),
        gateway: gateway === undefined ? firstHost(prefix) : canonicalIp(gateway),
        vni,
        paths: { prefix: `${at}.prefix`, gateway: `${at}.gateway`, vni: `${at}.vni` },
      };
    }),
    path,
  };
}

/** A network of a configuration with its defaults. */
export function networkPlan(network: Network): NetworkPlan {
  const { id, mac, subnets } = routed(network.name, network.mac, network.subnets, '');
  return { name: id, mac: mac!, subnets: subnets.map(plain) };
}

/** A network of the gossip with its defaults. */
export function gossipNetworkPlan({ keyFile: _keyFile, ...network }: GossipNetwork): GossipNetwork {
  if (network.subnets === undefined) return { ...network, subnet: subnetText(network.subnet!) };
  const { id, mac, subnets } = routed(network.id, network.mac, network.subnets, '');
  return { id, mac: mac!, subnets: subnets.map(plain) };
}

function plain({ prefix, gateway, vni }: AnySubnet): Required<NetworkSubnet> {
  return { prefix, gateway: gateway!, vni };
}

/** The routers of the networks that have one. */
export function routersOf(config: WithNetworks): NetworkRouter[] {
  return networksOf(config).flatMap((network) => routerOf(network) ?? []);
}

/** The router of a network; `undefined` if it has none. */
export function routerOf({ id, mac, subnets }: AnyNetwork): NetworkRouter | undefined {
  return mac === undefined ? undefined : { id, mac, subnets: subnets.map((subnet): RoutedSubnet => plain(subnet)) };
}

/** Whether a network is one of the gossip. */
export function isOfGossip({ path }: AnyNetwork): boolean {
  return path.startsWith('gossip.');
}

/** The VNIs of a network, each once. */
export function vnisOfNetwork({ subnets }: AnyNetwork): number[] {
  return [...new Set(subnets.map(({ vni }) => vni))];
}

/** Whether two networks are the same on a host. The order of the subnets does not matter. */
export function isSameNetwork(one: AnyNetwork, other: AnyNetwork): boolean {
  const text = (network: AnyNetwork): string =>
    JSON.stringify([
      ...[isOfGossip(network), network.id, network.mac],
      ...network.subnets.map(({ prefix, gateway, vni }) => `${vni} ${prefix} ${gateway}`).sort(),
    ]);
  return text(one) === text(other);
}

/** A network as a list of a plan has it. */
export function networkFields(network: AnyNetwork): { network: NetworkPlan } | { gossip: GossipNetwork } {
  const { id, mac } = network;
  const subnets = network.subnets.map(plain);
  if (!isOfGossip(network)) return { network: { name: id, mac: mac!, subnets } };
  if (mac !== undefined) return { gossip: { id, mac, subnets } };
  const [{ prefix, vni }] = network.subnets as [AnySubnet];
  return { gossip: { id, vni, subnet: prefix } };
}

/** The network that a segment belongs to. */
export function networkOf(config: WithNetworks, vni: number): AnyNetwork | undefined {
  return networksOf(narrowed(config, (_, vnis) => vnis.includes(vni)))[0];
}

/** The network with a name or an id. */
export function networkNamed(config: WithNetworks, id: string): AnyNetwork | undefined {
  return networksOf(narrowed(config, (one) => one === id))[0];
}

/** The part of a configuration with some of its networks: there may be thousands, and each takes time to complete. */
export function narrowed<C extends WithNetworks>(
  config: C,
  isWanted: (id: string, vnis: readonly (number | undefined)[]) => boolean,
): C {
  const vnisOf = (subnets: readonly { vni?: number }[]): (number | undefined)[] => subnets.map(({ vni }) => vni);
  const { networks = [], gossip } = config;
  const gossiped = gossip?.networks?.filter((one) => isWanted(one.id, vnisOf(one.subnets ?? [one])));
  return {
    ...config,
    networks: networks.filter(({ name, subnets }) => isWanted(name, vnisOf(subnets))),
    ...(gossip === undefined ? {} : { gossip: { ...gossip, networks: gossiped } }),
  };
}

/** The VNIs of all networks, each once. */
export function networkVnis(config: WithNetworks): number[] {
  return [...new Set(networksOf(config).flatMap(vnisOfNetwork))];
}

/** A subnet and the network that it belongs to. */
export interface SubnetOfNetwork {
  network: AnyNetwork;
  subnet: AnySubnet;
}

/** The subnet of a network that the addresses of a segment belong to: that with the address family of `ip`. */
export function subnetIn(networks: readonly AnyNetwork[], vni: number, ip: string): SubnetOfNetwork | undefined {
  for (const network of networks)
    for (const subnet of network.subnets)
      if (subnet.vni === vni && family(ip) === familyOf(subnet.prefix)) return { network, subnet };
  return undefined;
}

/** A route of a host to another subnet of its network. */
export interface Route {
  /** `10.0.1.0/24` */
  to: string;
  via: string;
}

/**
 * The routes of a host to the other subnets of its network, of each family that it has an address of, through the gateway
 * of its own.
 */
export function routesOf(config: WithNetworks, vni: number, ips: readonly string[]): Route[] {
  if (ips.length === 0) return [];
  const networks = networksOf(config);
  const routes = ips.flatMap((ip) => {
    const { network, subnet } = subnetIn(networks, vni, ip) ?? {};
    const via = subnet?.gateway;
    if (network === undefined || via === undefined || !shareAddresses(ip, subnet!.prefix)) return [];
    return network.subnets
      .filter((other) => other !== subnet && familyOf(other.prefix) === family(ip))
      .map(({ prefix }): [string, Route] => [prefix, { to: prefix, via }]);
  });
  return [...new Map(routes).values()];
}

/** 4 or 6. */
export function familyOf(prefix: string): 4 | 6 | 0 {
  return family(prefix.slice(0, prefix.indexOf('/')));
}

/**
 * The networks of the gossip in parts: one for each VNI, with its subnets and the state machine of its endpoints. An IPv4 and
 * an IPv6 subnet share a part if they share a VNI: a MAC address has one place there, whichever family its records have.
 */
import {
  Attachment,
  OverlayPeers,
  parametersOf,
  type LocalEndpoint,
  type NetworkDb,
  type NetworkPart,
  type OverlayConflict,
  type OverlaySink,
} from '../gossip/networkdb/index.js';
import { isIpv6Text } from '../address/index.js';
import { type Location, type Subnet } from '../model/index.js';
import { shareAddresses, vnisOfNetwork, type AnyNetwork, type AnySubnet } from '../schema/index.js';

/** The subnets of a network of the gossip that have one VNI. */
export interface GossipPart {
  /** The id of the network. */
  readonly id: string;
  readonly vni: number;
  /** The IPv4 subnet, the IPv6 one, or both in this order. With the router's addresses, if the network has a router. */
  readonly subnets: readonly Subnet[];
  /** Connects the tables to the VTEP. */
  readonly peers: OverlayPeers;
  /** Endpoints of this host, by table id. */
  readonly local: Map<string, Location>;
}

/** What the parts report. */
export interface PartEvents {
  conflict(conflict: OverlayConflict, over: boolean): void;
  announced(vni: number, endpoint: LocalEndpoint, since: number | null): void;
  /** Another host announces an endpoint that this host does not take, for a reason. Reported once for each host. */
  refused(reason: string, fields: Record<string, string>): void;
}

/** Most endpoints that are remembered as reported. */
const MAX_REPORTED = 1024;

/**
 * Makes the parts of a network.
 * @param tunnel The address of this VTEP for other hosts.
 */
export function partsOf(
  network: AnyNetwork,
  tunnel: string,
  db: NetworkDb,
  sink: OverlaySink,
  events: PartEvents,
): GossipPart[] {
  const { id } = network;
  const attachment = new Attachment(db, id);
  const refusal = refusalsOf(network, db.name, events);
  return vnisOfNetwork(network).map((vni, i): GossipPart => {
    const subnets = subnetsOf(network, vni);
    const part: NetworkPart = {
      subnet: subnets[0]!.prefix,
      attachment,
      accepts: (endpoint) => {
        const isMine = belongs(endpoint, vni, subnets);
        // The first part reports what belongs to none.
        if (i > 0 && !isMine) return false;
        return !refusal(endpoint) && isMine;
      },
    };
    const peers = new OverlayPeers(
      {
        network: id,
        vni,
        local: tunnel,
        time: Date.now,
        conflict: (conflict, over) => events.conflict(conflict, over),
        announced: (endpoint, since) => events.announced(vni, endpoint, since),
        // A network without a router takes every record, as the conflicts of its parameters require.
        ...(network.mac === undefined ? {} : { part }),
      },
      db,
      sink,
    );
    return { id, vni, subnets, peers, local: new Map<string, Location>() };
  });
}

/** The subnets of a network that have a VNI, first that of IPv4. */
function subnetsOf({ subnets }: AnyNetwork, vni: number): AnySubnet[] {
  return subnets
    .filter((subnet) => subnet.vni === vni)
    .sort((a, b) => Number(isIpv6Text(a.prefix)) - Number(isIpv6Text(b.prefix)));
}

/** Whether an endpoint of this host belongs to a part. One with an IPv6 address needs no subnet. */
export function takes({ subnets }: GossipPart, ip: string): boolean {
  const own = subnets.filter(({ prefix }) => isIpv6Text(prefix) === isIpv6Text(ip));
  return own.length === 0 ? isIpv6Text(ip) : own.some(({ prefix }) => shareAddresses(ip, prefix));
}

/** Returns a function that says whether the endpoint of a record belongs to no subnet, and reports it. */
function refusalsOf(network: AnyNetwork, self: string, { refused }: PartEvents): (endpoint: Announced) => boolean {
  const reported = new Set<string>();
  return (endpoint) => {
    const { ip, mac, owner } = endpoint;
    const reason = owner === self ? undefined : whyNot(network, endpoint);
    if (reason === undefined) return false;
    if (reported.has(`${owner} ${ip} ${mac}`)) return true;
    if (reported.size >= MAX_REPORTED) reported.clear();
    reported.add(`${owner} ${ip} ${mac}`);
    const text = `network ${network.id}: the endpoint ${ip} with ${mac}, which ${owner} announces, is refused: ${reason}`;
    refused(text, { network: network.id, ip, mac, owner });
    return true;
  };
}

type Announced = Parameters<NetworkPart['accepts']>[0];

/**
 * Whether an endpoint is in the subnets of a VNI. The record of one with an IPv6 address names the first of them; where there
 * is no IPv6 subnet, it may have any address.
 */
function belongs({ ip, parameters }: Announced, vni: number, subnets: readonly Subnet[]): boolean {
  const own = subnets.find(({ prefix }) => isIpv6Text(prefix) === isIpv6Text(ip));
  if (own !== undefined && !shareAddresses(ip, own.prefix)) return false;
  return isIpv6Text(ip) ? parameters === parametersOf(vni, subnets[0]!.prefix) : own !== undefined;
}

function whyNot(network: AnyNetwork, endpoint: Announced): string | undefined {
  const { subnets, mac: gateways } = network;
  const { ip, mac } = endpoint;
  const vni = vnisOfNetwork(network).find((one) => belongs(endpoint, one, subnetsOf(network, one)));
  if (vni === undefined) return `the network here has only the subnets ${subnets.map((one) => one.prefix).join(', ')}`;
  const subnet = subnets.find((one) => one.vni === vni && one.gateway === ip);
  if (subnet !== undefined) return `the address is the gateway of ${subnet.prefix}, which every host has`;
  return mac === gateways ? 'the MAC address is that of the gateways, which every host has' : undefined;
}

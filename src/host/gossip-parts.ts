/** The networks of the gossip in parts: one for each subnet, with its VNI and the state machine of its endpoints. */
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
import { type Location } from '../model/index.js';
import { shareAddresses, type AnyNetwork } from '../schema/index.js';

/** A subnet of a network of the gossip. */
export interface GossipPart {
  /** The id of the network. */
  readonly id: string;
  readonly vni: number;
  /** `10.0.0.0/24` */
  readonly subnet: string;
  /** The router's address, if the network has a router. */
  readonly gateway?: string;
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
  const { id, subnets } = network;
  const attachment = new Attachment(db, id);
  const refusal = refusalsOf(network, db.name, events);
  return subnets.map(({ prefix, gateway, vni }, i): GossipPart => {
    const part: NetworkPart = {
      subnet: prefix,
      attachment,
      accepts: (endpoint) => {
        const isMine = belongs(endpoint, vni, prefix);
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
        // A network with one subnet and no router takes every record, as the conflicts of its parameters require.
        ...(network.mac === undefined ? {} : { part }),
      },
      db,
      sink,
    );
    const route = gateway === undefined ? {} : { gateway };
    return { id, vni, subnet: prefix, ...route, peers, local: new Map<string, Location>() };
  });
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

/** Whether an endpoint is in a subnet. The record of one with an IPv6 address names the subnet. */
function belongs({ ip, parameters }: Announced, vni: number, prefix: string): boolean {
  return isIpv6Text(ip) ? parameters === parametersOf(vni, prefix) : shareAddresses(ip, prefix);
}

function whyNot({ subnets, mac: gateways }: AnyNetwork, endpoint: Announced): string | undefined {
  const { ip, mac } = endpoint;
  const subnet = subnets.find(({ vni, prefix }) => belongs(endpoint, vni, prefix));
  if (subnet === undefined)
    return `the network here has only the subnets ${subnets.map((one) => one.prefix).join(', ')}`;
  if (ip === subnet.gateway) return `the address is the gateway of ${subnet.prefix}, which every host has`;
  return mac === gateways ? 'the MAC address is that of the gateways, which every host has' : undefined;
}

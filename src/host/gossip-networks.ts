/** The networks of an agent's gossip, and the endpoints of this host in them, which it announces. */
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { isIpv6Text } from '../address/index.js';
import {
  OverlayNames,
  type EndpointNames,
  type LocalEndpoint,
  type NetworkDb,
  type OverlayConflict,
  type OverlaySink,
} from '../gossip/networkdb/index.js';
import { type Location } from '../model/index.js';
import { type AnyNetwork } from '../schema/index.js';
import { partsOf, takes, type GossipPart, type PartEvents } from './gossip-parts.js';
import { type GossipHost } from './gossip.js';

/** Most milliseconds to announce endpoints without a pause. */
const ANNOUNCE_SLICE = 2;

/** Created once: `localeCompare` with options creates a collator for each comparison, which takes far longer. */
export const BY_NAME = new Intl.Collator('en', { numeric: true });

/** A network of the gossip as listings show it, or one of its subnets: each has an entry of its own. */
export interface GossipNetworkListing {
  network: string;
  vni: number;
  subnet: string;
  /** The router's address in the subnet; null if the network has no router. */
  gateway: string | null;
  /** Whether this host has an endpoint there, and so is a member of the network. */
  attached: boolean;
  /** Whether this host has the tables of the other members. */
  inSync: boolean;
  /** Number of endpoints of this host, and of other hosts. */
  local: number;
  remote: number;
  /** The members of the network that this host knows. */
  members: string[];
  /**
   * Endpoints of this host that are not announced (yet), for example because an older attachment holds their address.
   */
  refused: number;
  /** Conflicts in this network, whether or not they involve this host. */
  conflicts: OverlayConflict[];
}

/** An endpoint of this host, and how others may call it. */
export interface NamedLocation extends EndpointNames {
  readonly mac: string;
}

/** What the networks work with. */
export interface NetworksPlace {
  readonly host: GossipHost;
  readonly db: NetworkDb;
  /** The address of this VTEP for other hosts. */
  readonly tunnel: string;
  /** Receives the endpoints and peers of other hosts. */
  readonly sink: OverlaySink;
  readonly events: PartEvents;
}

export class GossipNetworks {
  readonly #place: NetworksPlace;
  /** One for each VNI of each network. */
  #parts: GossipPart[] = [];
  /** The names of each network. */
  readonly #names = new Map<string, OverlayNames>();
  /** Whether endpoints are announced: only after the first attempt to join. */
  #announces = false;
  #closed = false;

  constructor(place: NetworksPlace) {
    this.#place = place;
  }

  /** Adds networks. This host takes part in one of them once it has an endpoint there. */
  add(networks: readonly AnyNetwork[]): void {
    const { tunnel, db, sink, events } = this.#place;
    for (const network of networks) {
      const parts = partsOf(network, tunnel, db, sink, events);
      this.#parts.push(...parts);
      const isPlaced = (ip: string, owner: string): boolean => parts.some(({ peers }) => peers.isPlaced(ip, owner));
      this.#names.set(network.id, new OverlayNames({ network: network.id, isPlaced }, db));
    }
  }

  /** Withdraws this host's endpoints in a network, leaves it, and removes what it has programmed. */
  remove(id: string): void {
    const own = this.#parts.filter((part) => part.id === id);
    this.#parts = this.#parts.filter((part) => part.id !== id);
    const names = this.#names.get(id);
    this.#names.delete(id);
    this.#place.host.act((_, now) => {
      names?.close(now);
      for (const { peers, local } of own) {
        local.clear();
        peers.close(now);
      }
    });
  }

  /**
   * Announces names of endpoints of this host in a network, exactly these. Those that are not attached, or no longer, get
   * none.
   */
  announceNames(id: string, names: readonly NamedLocation[]): void {
    const known = this.#names.get(id);
    if (known === undefined || this.#closed) return;
    const own = names.flatMap((one): [string, EndpointNames][] => {
      const key = this.#idOf(id, one);
      return this.#parts.some((part) => part.id === id && part.local.has(key)) ? [[key, one]] : [];
    });
    this.#place.host.act((_, now) => known.announce(new Map(own), now));
  }

  /** The names of a network, if it is one of the gossip. */
  namesIn(id: string): OverlayNames | undefined {
    return this.#names.get(id);
  }

  /** The part of a network that has a VNI. */
  partOf(vni: number): GossipPart | undefined {
    return this.#parts.find((part) => part.vni === vni);
  }

  /** Whether the tables of every network with an endpoint here are in sync: until then, datagrams of members are refused. */
  get inSync(): boolean {
    const inSync = new Set(this.#place.db.networks().flatMap((one) => (one.inSync ? [one.network] : [])));
    return this.#parts.every(({ id, local }) => local.size === 0 || inSync.has(id));
  }

  /** The ids of the networks in which this host has no endpoint. */
  absent(): string[] {
    const present = new Set(this.#parts.flatMap(({ id, local }) => (local.size > 0 ? [id] : [])));
    return [...new Set(this.#parts.map(({ id }) => id))].filter((id) => !present.has(id));
  }

  get conflictCount(): number {
    return this.#parts.reduce((sum, { peers }) => sum + peers.conflictCount, 0);
  }

  /** One entry at a time: hundreds of networks have tens of thousands of members in total. */
  *entries(): Generator<GossipNetworkListing> {
    const { db } = this.#place;
    const attached = new Map(db.networks().map(({ network, inSync }) => [network, inSync]));
    for (const part of this.#parts) {
      const { id, vni, subnets } = part;
      for (const { prefix, gateway = null } of subnets)
        yield {
          network: id,
          vni,
          subnet: prefix,
          gateway,
          attached: attached.has(id),
          inSync: attached.get(id) ?? false,
          ...(subnets.length === 1 ? countsOf(part) : countsOfFamily(part, isIpv6Text(prefix))),
          members: db.peers(id).sort(BY_NAME.compare),
        };
    }
  }

  /** The conflict that a new endpoint of this host would have; `null` for none, and for one that it has already. */
  conflictOf(part: GossipPart, endpoint: Location): OverlayConflict | null {
    if (part.local.has(this.#idOf(part.id, endpoint))) return null;
    return part.peers.conflictOf(this.#localEndpoint(part, endpoint));
  }

  /** Stores an endpoint of this host, if it belongs to a network and is new, and announces it. */
  keep(vni: number, endpoint: Location): void {
    const part = this.partOf(vni);
    if (part === undefined || !takes(part, endpoint.ip)) return;
    const id = this.#idOf(part.id, endpoint);
    if (part.local.has(id)) return;
    part.local.set(id, endpoint);
    if (this.#announces) this.#announce(part, endpoint);
  }

  /** Withdraws an endpoint of this host. */
  withdraw(vni: number, endpoint: Location): void {
    const part = this.partOf(vni);
    if (part === undefined) return;
    const id = this.#idOf(part.id, endpoint);
    if (part.local.delete(id) && this.#announces) this.#place.host.act((_, now) => part.peers.removeLocal(id, now));
  }

  /** Announces the endpoints of this host from now on. */
  announceAll(): void {
    if (this.#announces || this.#closed) return;
    this.#announces = true;
    const all = this.#parts.map((part) => [...part.local].map((local) => ({ part, local })));
    // The first endpoint of a network attaches this host to it. Announce these first: few bulk syncs then cover all.
    const queue = [
      ...all.map((endpoints) => endpoints.slice(0, 1)),
      ...all.map((endpoints) => endpoints.slice(1)),
    ].flat();
    this.#announceSome(queue[Symbol.iterator]());
  }

  /** Announces endpoints for a few milliseconds, then continues after other work of the event loop. */
  #announceSome(queue: Iterator<{ part: GossipPart; local: [string, Location] }>): void {
    const end = performance.now() + ANNOUNCE_SLICE;
    while (!this.#closed && performance.now() < end) {
      const { done, value } = queue.next();
      if (done === true) return;
      const [id, endpoint] = value.local;
      // It may have been removed meanwhile and added again, also with its network.
      if (value.part.local.get(id) === endpoint) this.#announce(value.part, endpoint);
    }
    if (!this.#closed) setImmediate(() => this.#announceSome(queue));
  }

  #announce(part: GossipPart, endpoint: Location): void {
    this.#place.host.act((_, now) => {
      part.peers.addLocal(this.#localEndpoint(part, endpoint), now);
      this.#names.get(part.id)?.attached(now);
    });
  }

  /** Withdraws all endpoints of this host, and leaves all networks. */
  close(now: number): void {
    this.end();
    this.#announces = false;
    for (const names of this.#names.values()) names.close(now);
    for (const { peers } of this.#parts) peers.close(now);
  }

  /** Announces nothing any more. */
  end(): void {
    this.#closed = true;
  }

  #localEndpoint({ id, subnets }: GossipPart, endpoint: Location): LocalEndpoint {
    const { ip, mac } = endpoint;
    const own = { id: this.#idOf(id, endpoint), mac };
    const { prefix } = subnets[0]!;
    if (isIpv6Text(ip)) return { ...own, ip: `${ip}/128`, subnet: prefix };
    return { ...own, ip: ip + prefix.slice(prefix.indexOf('/')) };
  }

  /** The table id of an endpoint: in Docker's format, and the same after a restart of this host. */
  #idOf(network: string, { ip, mac }: Pick<Location, 'ip' | 'mac'>): string {
    return createHash('sha256').update(`${network} ${ip} ${mac} ${this.#place.tunnel}`).digest('hex');
  }
}

type PartCounts = Pick<GossipNetworkListing, 'local' | 'remote' | 'refused' | 'conflicts'>;

function countsOf({ peers, local }: GossipPart): PartCounts {
  return { local: local.size, remote: peers.size, refused: peers.refused, conflicts: peers.conflicts() };
}

/** The counts of one address family. Conflicts that are not about an IPv6 address count for IPv4. */
function countsOfFamily({ peers, local }: GossipPart, six: boolean): PartCounts {
  const { size, size6, refused, refused6 } = peers;
  const isSix = ({ kind, value }: OverlayConflict): boolean => kind === 'ip' && isIpv6Text(value);
  return {
    local: [...local.values()].filter(({ ip }) => isIpv6Text(ip) === six).length,
    remote: six ? size6 : size - size6,
    refused: six ? refused6 : refused - refused6,
    conflicts: peers.conflicts().filter((conflict) => isSix(conflict) === six),
  };
}

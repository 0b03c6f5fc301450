/** The segments and the networks of a running VTEP: adds and removes them, for the configuration and for the API. */
import { isIpv6Text } from '../address/index.js';
import {
  addressesOf,
  isOfGossip,
  isSameNetwork,
  listed,
  networkFields,
  networkNamed,
  networkOf,
  networksOf,
  newNetwork,
  planNetwork,
  planSegment,
  prefixAddress,
  requireNoSettings,
  routerOf,
  settingsOfSegments,
  vnisOfNetwork,
  type AnyNetwork,
  type NewNetwork,
  type Plan,
  type Segment,
  type SegmentPlan,
} from '../schema/index.js';
import { inPlace } from './device.js';
import { HostError, RequestError } from './error.js';
import { type GossipNetworkListing } from './gossip-networks.js';
import { type Intent } from './intent.js';
import { type Logger } from './log.js';
import { vnisOf } from './machine.js';
import { segmentMtus, type SegmentMtu } from './mtu.js';
import { type Notices } from './notices.js';
import { type OverlayKeys } from './overlay-keys.js';
import { type OverlayGossip } from './overlay-gossip.js';
import { pagesOf, type Page } from './pages.js';
import { segmentsOf } from './plan-changes.js';
import { withoutNetwork } from './reload-networks.js';

type Source = 'configuration' | 'api';

/** A network that was added. */
export interface AddedNetwork {
  name: string;
  /** Whether it is a network of the gossip. */
  gossip: boolean;
  /** The MAC address of its gateways; null without a router. */
  mac: string | null;
  subnets: { prefix: string; gateway: string | null; vni: number; mtu: number }[];
  /** Who wants it now. */
  sources: string[];
}

/** A network that was removed, with its segments. */
export interface RemovedNetwork {
  name: string;
  vnis: number[];
}

/** A network as listings show it, or one of its subnets: each has an entry of its own. */
export interface NetworkListing extends GossipNetworkListing {
  /** Whether it is a network of the gossip. Any other has no members and no conflicts, and nothing to be in sync with. */
  gossip: boolean;
  sources: string[];
}

/** What the networks of a VTEP work with. */
export interface NetworksContext {
  /** Its segments and networks become those that the VTEP has now. */
  readonly plan: Plan;
  /** The MTUs of the plan's segments, in their order. */
  readonly mtus: SegmentMtu[];
  readonly intent: Intent;
  /** Of an agent, once it has started. */
  readonly gossip: () => OverlayGossip | undefined;
  readonly log: Logger;
  readonly notices: Notices;
  readonly keys: OverlayKeys;
}

export class OverlayNetworks {
  readonly #context: NetworksContext;
  /** Who wants each network. */
  readonly #sources = new Map<string, Set<Source>>();

  /** The configuration wants the networks of the plan. */
  constructor(context: NetworksContext) {
    this.#context = context;
    for (const { id } of networksOf(context.plan)) this.#sources.set(id, new Set(['configuration']));
  }

  /** Tells of the networks that the VTEP has started with. */
  announce(): void {
    for (const network of networksOf(this.#context.plan)) this.#tellAdded(network);
  }

  // ---- Segments ----

  /**
   * Adds a segment with its peers and endpoints. If this fails, nothing of it remains.
   * @throws SchemaError with the fields that are wrong; HostError if there is no route to a peer.
   */
  addSegment(value: Segment): Promise<SegmentMtu> {
    const { plan, keys } = this.#context;
    const segment = planSegment(value, plan);
    return keys.adding(segment.group, value.keyFile, () => this.addPlannedSegment(segment, '', 'api'));
  }

  /** @param path The path of the segment, for errors. */
  async addPlannedSegment(segment: SegmentPlan, path: string, source: Source): Promise<SegmentMtu> {
    const [mtu] = (await this.#setMtus([segment], path)) as [SegmentMtu];
    await this.#context.intent.addSegment(segment, source);
    this.#context.mtus.push(mtu);
    return mtu;
  }

  /** Sets the MTUs of new segments. @param path The path of each of them, for errors. */
  async #setMtus(segments: readonly SegmentPlan[], path: string): Promise<SegmentMtu[]> {
    const { plan, log } = this.#context;
    const mtus = await segmentMtus({ local: plan.local, segments: [...segments] }).catch((error: unknown) => {
      if (error instanceof HostError)
        error.path = error.path?.replace(/^segments\[\d+\]\.?/, path === '' ? '' : `${path}.`);
      throw error;
    });
    for (const [i, { vni, mtu, warning }] of mtus.entries()) {
      segments[i]!.mtu = mtu;
      if (warning !== undefined) log.warning('mtu', warning, { vni, mtu });
    }
    return mtus;
  }

  /**
   * Removes a segment with its peers and endpoints.
   * @throws HostError if there is none, if a TAP is attached to it, or if it belongs to a network.
   */
  async removeSegment(vni: number): Promise<void> {
    const { plan } = this.#context;
    const { segments } = plan;
    const refuse = (message: string, code: 'conflict' | 'not-found' = 'conflict'): never => {
      throw new RequestError(code, message, { path: 'vni' });
    };
    if (!segments.some((segment) => segment.vni === vni))
      refuse(
        `there is no segment ${vni}; there are ${listed(segments.map((segment) => segment.vni)) || 'none'}`,
        'not-found',
      );
    const network = networkOf(plan, vni);
    if (network !== undefined)
      refuse(
        `segment ${vni} belongs to network ${network.id}${isOfGossip(network) ? ' of the gossip' : ''}; remove the network`,
      );
    const [user] = this.#taps([vni]);
    if (user !== undefined) refuse(`segment ${vni} is in use by TAP ${user}; detach that TAP first`);
    await this.removePlannedSegment(vni);
  }

  async removePlannedSegment(vni: number): Promise<void> {
    this.#removeMtus([vni]);
    await this.#context.intent.removeSegment(vni);
    this.#context.keys.prune();
  }

  #removeMtus(vnis: readonly number[]): void {
    const { mtus } = this.#context;
    for (const vni of vnis) {
      const at = mtus.findIndex((one) => one.vni === vni);
      if (at >= 0) mtus.splice(at, 1);
    }
  }

  /** The TAPs of segments, as messages name them. */
  #taps(vnis: readonly number[]): string[] {
    return this.#context.plan.taps
      .filter((tap) => vnisOf(segmentsOf(tap)).some((vni) => vnis.includes(vni)))
      .map((tap) => inPlace(tap.name, tap.netns));
  }

  // ---- Networks ----

  /** All networks: first those outside the gossip. */
  async *list(): AsyncGenerator<Page> {
    const { plan, intent, gossip } = this.#context;
    for (const { id, subnets } of networksOf({ networks: plan.networks }))
      for (const { prefix, gateway = null, vni } of subnets) {
        const { here, elsewhere } = await intent.countEndpoints(vni, (ip) => isIpv6Text(ip) === isIpv6Text(prefix));
        const entry: NetworkListing = {
          ...{ network: id, vni, subnet: prefix, gateway, gossip: false, sources: this.sourcesOf(id) },
          ...{
            attached: here > 0,
            inSync: true,
            local: here,
            remote: elsewhere,
            members: [],
            refused: 0,
            conflicts: [],
          },
        };
        yield { result: [entry] };
      }
    yield* pagesOf(this.#ofGossip(gossip()?.networkEntries() ?? []));
  }

  *#ofGossip(entries: Iterable<GossipNetworkListing>): Generator<NetworkListing> {
    for (const entry of entries) yield { ...entry, gossip: true, sources: this.sourcesOf(entry.network) };
  }

  /** Who wants a network. */
  sourcesOf(id: string): Source[] {
    return [...(this.#sources.get(id) ?? [])].sort();
  }

  /**
   * Adds a network with its segments; one of the gossip is joined with its first endpoint here. A network that the
   * configuration has is wanted by both then. If this fails, nothing of it remains.
   * @param group The key group of its segments, if they are encrypted with keys that come otherwise than from a file.
   * @throws SchemaError with the fields that are wrong; RequestError with the network, the segment or the peer that does
   * not allow it.
   */
  async add(value: NewNetwork, group?: string): Promise<AddedNetwork> {
    const { plan } = this.#context;
    const network = newNetwork(value, plan);
    if (isOfGossip(network) && plan.gossip === undefined)
      throw new RequestError('no-gossip', 'this VTEP has no gossip: it is no agent', { path: 'gossip' });
    const settings = settingsOfSegments(value);
    const known = networkNamed(plan, network.id);
    if (known !== undefined) {
      this.requireSame(network, known, 'name', 'api');
      requireNoSettings(settings, vnisOfNetwork(network));
      await this.addPlanned(network, [], '', 'api');
    } else {
      this.#requireFree(network);
      const segments = planNetwork(network, settings, plan, group);
      const add = (): Promise<void> => this.addPlanned(network, segments, '', 'api');
      await this.#context.keys.adding(network.id, settings.keyFile, add);
    }
    return this.#added(network);
  }

  /**
   * @param path The path of the name, for the error.
   * @throws RequestError if a source cannot want a network besides the one that is there.
   */
  requireSame(network: AnyNetwork, known: AnyNetwork, path: string, source: Source): void {
    const sources = this.sourcesOf(known.id);
    const refuse = (what: string): never => {
      throw new RequestError('conflict', `${what} (wanted by: ${sources.join(', ')})`, { path });
    };
    if (!isSameNetwork(network, known))
      refuse(
        isOfGossip(network) === isOfGossip(known)
          ? `network ${known.id} exists already, with ${textOf(known)}`
          : `network ${known.id} exists already, ${isOfGossip(known) ? 'as one' : 'but not as one'} of the gossip`,
      );
    if (source === 'api' && sources.includes('api')) refuse(`network ${known.id} exists already`);
  }

  /** @throws RequestError if a segment of a network belongs to another one, or is in use. */
  #requireFree(network: AnyNetwork): void {
    const { plan, intent } = this.#context;
    for (const [k, { vni }] of network.subnets.entries()) {
      const path = `subnets[${k}].vni`;
      const other = networkOf(plan, vni);
      if (other !== undefined)
        throw new RequestError(
          'conflict',
          `segment ${vni} belongs to network ${other.id} (wanted by: ${this.sourcesOf(other.id).join(', ')})`,
          { path },
        );
      const [tap] = this.#taps([vni]);
      const [endpoint] = tap === undefined ? intent.ownEndpoints(vni) : [];
      if (tap !== undefined || endpoint !== undefined)
        throw new RequestError(
          'conflict',
          `segment ${vni} is in use by ${tap === undefined ? `endpoint ${endpoint!.ip} of this host` : `TAP ${tap}`}; ` +
            `${tap === undefined ? 'remove it' : 'detach that TAP'}, and add it again after the network`,
          { path },
        );
    }
  }

  /**
   * A source wants a network, which may be there already. If this fails, nothing has changed.
   * @param segments The segments that the VTEP lacks.
   * @param path The path of these segments, for errors.
   */
  async addPlanned(network: AnyNetwork, segments: readonly SegmentPlan[], path: string, source: Source): Promise<void> {
    const { plan, mtus, intent, gossip } = this.#context;
    const { id } = network;
    const isNew = networkNamed(plan, id) === undefined;
    const vnis = vnisOfNetwork(network);
    const taken = plan.segments.filter(({ vni }) => vnis.includes(vni));
    const added = await this.#setMtus(segments, path);
    // Before its segments take endpoints: the gossip must hear of each one.
    if (isNew && isOfGossip(network)) gossip()!.addNetwork(network);
    try {
      await intent.addNetwork({ segments, taken, router: routerOf(network), gossip: isOfGossip(network) }, source);
    } catch (error) {
      if (isNew && isOfGossip(network)) gossip()!.removeNetwork(id);
      throw error;
    }
    mtus.push(...added);
    // A configuration may have had them in its segments before.
    if (isNew && isOfGossip(network)) for (const vni of vnis) gossip()!.keep(vni, intent.ownEndpoints(vni));
    this.#sources.set(id, new Set([...this.sourcesOf(id), source]));
    if (!isNew) return;
    const fields = networkFields(network);
    if ('gossip' in fields) plan.gossip!.networks.push(fields.gossip);
    else plan.networks.push(fields.network);
    this.#tellAdded(network);
  }

  /**
   * Removes a network with its segments, their peers and the endpoints of other hosts; an agent leaves it. A configuration
   * that has it adds it again when it is read again.
   * @throws RequestError if there is none, or if TAPs or endpoints of this host are in it.
   */
  async remove(name: string): Promise<RemovedNetwork> {
    const { plan, intent } = this.#context;
    const network = networkNamed(plan, name);
    if (network === undefined) {
      const there = listed(networksOf(plan).map(({ id }) => id)) || 'none';
      throw new RequestError('not-found', `there is no network ${name}; there are ${there}`, { path: 'name' });
    }
    const vnis = vnisOfNetwork(network);
    const taps = this.#taps(vnis);
    // The endpoints of TAPs go with these.
    const ofTaps = plan.taps.flatMap((tap) => addressesOf(tap).map(prefixAddress));
    const endpoints = vnis.flatMap((vni) => intent.ownEndpoints(vni)).filter(({ ip }) => !ofTaps.includes(ip));
    const users = [
      ...(taps.length === 0 ? [] : [`TAP ${listed(taps)}`]),
      ...(endpoints.length === 0 ? [] : [`endpoint ${listed(endpoints.map(({ ip }) => ip))} of this host`]),
    ];
    if (users.length > 0)
      throw new RequestError(
        'conflict',
        `network ${name} is in use by ${users.join(' and ')}; ${remedyOf(taps, endpoints)}`,
        {
          path: 'name',
        },
      );
    await this.removePlanned(name, vnis);
    return { name, vnis };
  }

  /** Removes a network for all sources. @param removed The VNIs of the segments that go with it. */
  async removePlanned(id: string, removed: readonly number[]): Promise<void> {
    const { plan, intent, gossip } = this.#context;
    const network = networkNamed(plan, id)!;
    Object.assign(plan, withoutNetwork(plan, id));
    this.#sources.delete(id);
    this.#removeMtus(removed);
    const vnis = vnisOfNetwork(network);
    const done = intent.removeNetwork(id, vnis, removed);
    // Its segments take no endpoints any more.
    if (isOfGossip(network)) gossip()?.removeNetwork(id);
    await done;
    this.#context.keys.prune();
    this.#context.notices.tell('network-removed', { network: id, vnis });
  }

  /** The configuration leaves a network to the API. */
  leave(id: string): void {
    this.#sources.set(id, new Set(['api']));
    this.#context.intent.leaveNetwork(id);
  }

  #added(network: AnyNetwork): AddedNetwork {
    const { segments } = this.#context.plan;
    const { id, mac = null } = network;
    const subnets = network.subnets.map(({ prefix, gateway = null, vni }) => ({
      ...{ prefix, gateway, vni },
      mtu: segments.find((segment) => segment.vni === vni)!.mtu!,
    }));
    return { name: id, gossip: isOfGossip(network), mac, subnets, sources: this.sourcesOf(id) };
  }

  #tellAdded(network: AnyNetwork): void {
    const { id, mac = null, subnets } = network;
    this.#context.notices.tell('network-added', {
      ...{ network: id, vnis: vnisOfNetwork(network), gossip: isOfGossip(network), mac },
      subnets: subnets.map(({ prefix, gateway = null, vni }) => ({ prefix, gateway, vni })),
      sources: this.sourcesOf(id),
    });
  }
}

/** The subnets of a network and the MAC address of its gateways, for a message. */
function textOf({ mac, subnets }: AnyNetwork): string {
  const all = subnets.map(
    ({ prefix, gateway, vni }) => `${prefix} (VNI ${vni}${gateway === undefined ? '' : `, gateway ${gateway}`})`,
  );
  return `${listed(all)}${mac === undefined ? ' and no router' : ` and gateways ${mac}`}`;
}

function remedyOf(taps: readonly unknown[], endpoints: readonly unknown[]): string {
  const detach = taps.length > 1 ? 'detach these TAPs' : 'detach that TAP';
  const remove = endpoints.length > 1 ? 'remove these endpoints' : 'remove that endpoint';
  if (taps.length === 0) return `${remove} first`;
  return endpoints.length === 0 ? `${detach} first` : `${detach} and ${remove} first`;
}

/** What a running VTEP has to do, according to all who want something of it, and the data plane that does it. */
import { type OverlaySink } from '../gossip/networkdb/index.js';
import { type Change, type Location, type NetworkRouter, type Rejection } from '../model/index.js';
import {
  networkVnis,
  routersOf,
  type ListRequest,
  type NoticeRival,
  type Plan,
  type SegmentPlan,
} from '../schema/index.js';
import { HostState, type Entry, type Rival, type Wanted } from '../state/index.js';
import { type NeighborListing } from '../vtep/index.js';
import { ChangeNotices, rivalOf } from './change-notices.js';
import { RequestError } from './error.js';
import { Notices } from './notices.js';
import { pagesOf, type Page } from './pages.js';
import { segmentOf } from './plan-changes.js';
import { tableEntry, type TableEntry, type TableRequest } from './requests.js';

/** Who wants something. The gossip makes its wishes through `Intent.gossip`. */
export type Source = 'configuration' | 'api' | 'gossip';

/** A network, as the host state has it. */
export interface NetworkParts {
  /** The segments that come with it, with their peers. */
  readonly segments: readonly SegmentPlan[];
  /** Its segments that are there already. */
  readonly taken: readonly SegmentPlan[];
  readonly router: NetworkRouter | undefined;
  /** Whether the gossip announces the endpoints of this host. */
  readonly gossip: boolean;
}

/** A request for a listing of peers or endpoints. */
export type TableListRequest = Extract<ListRequest, { command: 'neighbors' | 'peers' }>;

/** An endpoint that is in effect, or that is wanted, and another one holds one of its addresses. */
export interface EndpointListing extends NeighborListing {
  hidden: boolean;
  /** If it is hidden: what is in effect instead. */
  by?: NoticeRival;
}

/** An entry of a listing of the data plane. */
type TableListing = { vni: number } & (NeighborListing | { address: string; port: number });

/** Makes changes in their order, as `DataPlane.apply` does. @returns those that it did not make. */
export type Apply = (changes: readonly Change[]) => Promise<readonly Rejection[]>;

/** The outcome of a request that adds or removes a peer or an endpoint. */
export interface Changed {
  /** Of an addition: what is in effect instead, if another entry holds one of its addresses. */
  held?: string;
  /** Of a removal: whether the source had wanted the entry. */
  removed?: boolean;
  /** The other sources that still want it. */
  wantedBy?: string[];
}

/** Most changes at a time. */
const BATCH = 1024;

/** Holds the host state of a VTEP and keeps its data plane up to date. */
export class Intent {
  readonly #plan: Plan;
  /** The segments of the gossip's networks. */
  readonly #gossiped: Set<number>;
  readonly #state: HostState;
  readonly #apply: Apply;
  readonly #notices: ChangeNotices;
  #refused: (reason: string) => void = () => undefined;
  /** The update of the data plane, while it runs. */
  #running: Promise<void> | null = null;
  /** The time of the last request. */
  #latest = 0;

  /**
   * @param plan The plan of the VTEP. The configuration wants all that is in it. Its `segments` become those that the VTEP
   * has now.
   * @param notices Receives what becomes of segments, peers and endpoints.
   */
  constructor(plan: Plan, apply: Apply, notices = new Notices()) {
    this.#plan = plan;
    this.#state = new HostState(plan.local);
    this.#gossiped = new Set(plan.gossip === undefined ? [] : networkVnis({ gossip: plan.gossip }));
    this.#apply = apply;
    this.#notices = new ChangeNotices(this.#state, notices);
    for (const segment of plan.segments) for (const entry of entriesOf(segment)) this.#want('configuration', entry);
    for (const router of routersOf(plan)) this.#state.want('configuration', { kind: 'router', router });
  }

  #want(source: Source, entry: Entry, since = this.#since(source, entry)): void {
    this.#state.want(source, entry, since);
    this.#notices.wanted(entry);
  }

  #withdraw(source: string, entry: Entry): boolean {
    return this.#notices.withdraw(entry, () => this.#state.withdraw(source, entry));
  }

  /**
   * Applies to the data plane what the configuration wants.
   * @throws RequestError with the first entry that the data plane refuses.
   */
  async start(): Promise<void> {
    await this.#settled();
    for (const kind of ['segment', 'router', 'peer', 'endpoint'] as const) this.#requireEffect(this.#state.list(kind));
  }

  // ---- Segments and networks ----

  /**
   * Adds a segment with its peers and endpoints. If this fails, nothing of it remains.
   * @throws RequestError with the first thing that the data plane refuses.
   */
  async addSegment(segment: SegmentPlan, source: 'configuration' | 'api' = 'api'): Promise<void> {
    await this.#add(entriesOf(segment), source);
    this.#plan.segments.push(segment);
  }

  /**
   * A source wants a network: all of its segments, and its router. If this fails, what the source wanted stays.
   * @throws RequestError with the first thing that the data plane refuses.
   */
  async addNetwork({ segments, taken, router, gossip }: NetworkParts, source: 'configuration' | 'api'): Promise<void> {
    const vnis = segments.map(({ vni }) => vni).concat(taken.map(({ vni }) => vni));
    const fresh = gossip ? vnis.filter((vni) => !this.#gossiped.has(vni)) : [];
    for (const vni of fresh) this.#gossiped.add(vni);
    const entries = [
      ...segments.flatMap(entriesOf),
      ...taken.map((segment): Entry => ({ kind: 'segment', segment: segmentOf(segment) })),
      ...(router === undefined ? [] : [{ kind: 'router' as const, router }]),
    ];
    try {
      await this.#add(entries, source);
      this.#plan.segments.push(...segments);
    } catch (error) {
      for (const vni of fresh) this.#gossiped.delete(vni);
      throw error;
    }
  }

  /** A source wants entries, all or none. */
  async #add(entries: readonly Entry[], source: Source): Promise<void> {
    const fresh = entries.filter((entry) => !this.#state.sourcesOf(entry).includes(source));
    for (const entry of entries) this.#want(source, entry);
    await this.#settled();
    try {
      this.#requireEffect(entries.flatMap((entry) => this.#state.wanted(entry) ?? []));
    } catch (error) {
      for (const entry of fresh) this.#withdraw(source, entry);
      await this.#settled();
      throw error;
    }
  }

  /** Withdraws a segment, its peers and its endpoints for all sources, and removes them from the data plane. */
  async removeSegment(vni: number): Promise<void> {
    this.#withdrawSegment(vni);
    await this.#settled();
  }

  /**
   * Withdraws a router for all sources, and segments of its network as `removeSegment` does.
   * @param id The network.
   * @param all The VNIs of the network.
   * @param removed Those of the segments that go; the others stay.
   */
  async removeNetwork(id: string, all: readonly number[], removed: readonly number[] = all): Promise<void> {
    for (const { entry, sources } of [...this.#state.list('router')])
      if (entry.kind === 'router' && entry.router.id === id)
        for (const source of sources) this.#withdraw(source, entry);
    for (const vni of all) this.#gossiped.delete(vni);
    for (const vni of removed) this.#withdrawSegment(vni);
    // The endpoints of this host that stay have no announcement any more, from which they count.
    for (const vni of all) if (!removed.includes(vni)) this.#dateAgain(vni);
    await this.#settled();
  }

  #dateAgain(vni: number): void {
    for (const { entry, sources } of [...this.#state.list('endpoint', vni)])
      if (entry.kind === 'endpoint' && entry.endpoint.vtep === undefined)
        for (const source of sources) this.#state.want(source, entry, this.#since(source as Source, entry));
  }

  #withdrawSegment(vni: number): void {
    // First: what a request adds to it from now on would stay wanted, and come with the next segment of this VNI.
    const { segments } = this.#plan;
    const at = segments.findIndex((segment) => segment.vni === vni);
    if (at >= 0) segments.splice(at, 1);
    for (const kind of ['endpoint', 'peer', 'segment'] as const)
      for (const { entry, sources } of [...this.#state.list(kind, vni)])
        for (const source of sources) this.#withdraw(source, entry);
  }

  /** How many endpoints in a segment anybody wants, on this host and elsewhere. @param isIn Those to count. */
  async countEndpoints(vni: number, isIn: (ip: string) => boolean): Promise<{ here: number; elsewhere: number }> {
    const counts = { here: 0, elsewhere: 0 };
    await inSlices(this.#state.list('endpoint', vni), ({ entry }) => {
      if (entry.kind === 'endpoint' && isIn(entry.endpoint.ip))
        counts[entry.endpoint.vtep === undefined ? 'here' : 'elsewhere']++;
    });
    return counts;
  }

  /** The endpoints of this host in a segment that anybody wants. */
  ownEndpoints(vni: number): Location[] {
    return [...this.#state.list('endpoint', vni)].flatMap(({ entry }) =>
      entry.kind === 'endpoint' && entry.endpoint.vtep === undefined ? { ...entry.endpoint } : [],
    );
  }

  /** Whether the API wants something of a segment besides the configuration. */
  isOfApi(vni: number): boolean {
    for (const kind of ['segment', 'peer', 'endpoint'] as const)
      for (const { sources } of this.#state.list(kind, vni)) if (sources.includes('api')) return true;
    return false;
  }

  /** The configuration leaves a segment to the API. */
  leaveSegment(vni: number): void {
    for (const { entry } of [...this.#state.list('segment', vni)]) this.#leave(entry);
  }

  /** The configuration leaves the router of a network to the API. */
  leaveNetwork(id: string): void {
    for (const { entry } of [...this.#state.list('router')])
      if (entry.kind === 'router' && entry.router.id === id) this.#leave(entry);
  }

  #leave(entry: Entry): void {
    this.#want('api', entry);
    this.#withdraw('configuration', entry);
  }

  // ---- A configuration that is read again ----

  /** Compares the peers and endpoints that the configuration wants with those that it must want. */
  async compare(wanted: readonly TableEntry[]): Promise<{ missing: TableEntry[]; surplus: TableEntry[] }> {
    const keys = new Set<string>();
    const missing: TableEntry[] = [];
    const surplus: TableEntry[] = [];
    await inSlices(wanted, (entry) => {
      keys.add(keyOf(entry));
      if (!this.#state.sourcesOf(entry).includes('configuration')) missing.push(entry);
    });
    await inSlices(this.#state.wantedBy('configuration'), (entry) => {
      if ((entry.kind === 'peer' || entry.kind === 'endpoint') && !keys.has(keyOf(entry))) surplus.push(entry);
    });
    return { missing, surplus };
  }

  /**
   * The configuration wants further entries, and then no longer others: everything stays reachable in between.
   * @returns the entries that were refused, and why, which the configuration does not want then.
   */
  async configure(
    more: readonly TableEntry[],
    less: readonly TableEntry[],
  ): Promise<{ kind: TableEntry['kind']; reason: string }[]> {
    const refused: { kind: TableEntry['kind']; reason: string }[] = [];
    await inSlices(more, (entry) => this.#want('configuration', entry));
    await this.#settled();
    await inSlices(more, (entry) => {
      const wanted = this.#state.wanted(entry);
      if (wanted?.outcome !== 'refused') return;
      refused.push({ kind: entry.kind, reason: wanted.reason });
      this.#withdraw('configuration', entry);
    });
    await inSlices(less, (entry) => void this.#withdraw('configuration', entry));
    await this.#settled();
    return refused;
  }

  #requireEffect(all: Iterable<Wanted>): void {
    for (const wanted of all) if (wanted.outcome === 'refused') throw new RequestError('conflict', wanted.reason);
  }

  // ---- Requests ----

  /**
   * Adds or removes a peer or an endpoint. The control socket also removes what the configuration wants.
   * @throws SchemaError for an invalid request; RequestError if the data plane refuses the entry, or others want it.
   */
  async change(request: TableRequest, source: 'configuration' | 'api'): Promise<Changed> {
    const entry = tableEntry(this.#plan, request);
    const isAddition = request.command === 'add-peer' || request.command === 'add-endpoint';
    return isAddition ? this.#addEntry(entry, source) : this.#remove(entry, source);
  }

  /** @throws SchemaError for an invalid request. */
  check(request: TableRequest): void {
    tableEntry(this.#plan, request);
  }

  async #addEntry(entry: Entry, source: Source): Promise<Changed> {
    this.#want(source, entry);
    await this.#settled();
    const wanted = this.#state.wanted(entry);
    if (wanted?.outcome === 'held') return { held: rivalText(wanted.by) };
    if (wanted?.outcome !== 'refused') return {};
    this.#withdraw(source, entry);
    throw new RequestError('conflict', wanted.reason);
  }

  async #remove(entry: Entry, source: Source): Promise<Changed> {
    const sources: Source[] = source === 'api' ? ['api', 'configuration'] : [source];
    const removed = sources.filter((one) => this.#withdraw(one, entry)).length > 0;
    const others = this.#state.sourcesOf(entry);
    if (removed || others.length === 0) {
      await this.#settled();
      return others.length === 0 ? { removed } : { removed, wantedBy: others };
    }
    throw new RequestError(
      'conflict',
      others.includes('gossip')
        ? 'the gossip announces it; it is removed when its host withdraws it'
        : `it was not configured; wanted by: ${others.join(', ')}`,
    );
  }

  // ---- Questions ----

  /** Whether anybody wants an endpoint. */
  wants(vni: number, endpoint: { ip: string; mac: string; vtep?: string }): boolean {
    return this.#state.isWanted({ kind: 'endpoint', vni, endpoint });
  }

  /** The plan, with the peers of all sources. */
  planWithPeers(): Plan {
    const peersOf = (vni: number): string[] =>
      [...this.#state.list('peer', vni)].flatMap(({ entry }) => (entry.kind === 'peer' ? entry.address : []));
    return {
      ...this.#plan,
      segments: this.#plan.segments.map((segment) => ({ ...segment, peers: peersOf(segment.vni) })),
    };
  }

  // ---- Listings ----

  /** Adds to each entry of a listing the sources that want it, and the endpoints of which another one holds an address. */
  async *list({ command, vni }: TableListRequest, pages: AsyncIterable<Page>): AsyncGenerator<Page> {
    for await (const { result, ...page } of pages) {
      const entries = (result as TableListing[]).map((listed) => ({
        ...listed,
        ...(command === 'neighbors' ? { hidden: false } : {}),
        sources: this.#state.sourcesOf(entryOf(listed)),
      }));
      yield command === 'peers' ? { ...page, result: entries } : { result: entries };
    }
    if (command === 'neighbors') yield* pagesOf(this.#hidden(vni));
  }

  *#hidden(vni?: number): Generator<EndpointListing & { vni: number; sources: string[] }> {
    for (const { entry, sources, ...wanted } of this.#state.list('endpoint', vni)) {
      if (entry.kind !== 'endpoint' || wanted.outcome !== 'held') continue;
      const { ip, mac, vtep } = entry.endpoint;
      yield {
        vni: entry.vni,
        ip,
        mac,
        vtep: vtep ?? null,
        hidden: true,
        by: rivalOf(wanted.by),
        sources: [...sources],
      };
    }
  }

  // ---- The gossip ----

  /**
   * The sink through which the gossip wants endpoints and peers.
   * @param refused Called with the reason when the data plane refuses one.
   */
  gossip(refused: (reason: string) => void): OverlaySink {
    this.#refused = refused;
    const change = (entry: Entry, isWanted: boolean, since = 0): void => {
      if (isWanted) this.#want('gossip', entry, since);
      else this.#withdraw('gossip', entry);
      this.#update();
    };
    return {
      addEndpoint: (vni, endpoint, since) => change({ kind: 'endpoint', vni, endpoint }, true, since),
      removeEndpoint: (vni, endpoint) => change({ kind: 'endpoint', vni, endpoint }, false),
      addPeer: (vni, address) => change({ kind: 'peer', vni, address }, true),
      removePeer: (vni, address) => change({ kind: 'peer', vni, address }, false),
    };
  }

  /** Datagrams of a member of the cluster are accepted, or are no longer. */
  member(address: string, isMember: boolean): void {
    const entry: Entry = { kind: 'member', address };
    if (isMember) this.#state.want('gossip', entry);
    else this.#state.withdraw('gossip', entry);
    this.#update();
  }

  /**
   * The time from which an endpoint of this host counts in the gossip.
   * @param since `null` while it is not announced: every announced endpoint is older.
   */
  announced(vni: number, { ip, mac }: { ip: string; mac: string }, since: number | null): void {
    const entry: Entry = { kind: 'endpoint', vni, endpoint: { ip, mac } };
    for (const source of this.#state.sourcesOf(entry)) this.#state.want(source, entry, since ?? Infinity);
    this.#update();
  }

  /**
   * Since when a source wants an entry. An endpoint of this host in a network of the gossip counts from its
   * announcement. Otherwise a configuration has no time, so that all hosts with the same one agree.
   */
  #since(source: Source, entry: Entry): number {
    const isAnnounced = entry.kind === 'endpoint' && entry.endpoint.vtep === undefined && this.#gossiped.has(entry.vni);
    if (isAnnounced) return this.#state.wanted(entry)?.since ?? Infinity;
    if (source === 'configuration') return 0;
    // Of two requests within a millisecond, the second one is newer.
    return (this.#latest = Math.max(Date.now(), this.#latest + 1 / 1024));
  }

  // ---- The data plane ----

  /** Updates the data plane after the other changes of this turn. */
  #update(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is due. */
  async #settled(): Promise<void> {
    this.#update();
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve();
    try {
      while (this.#state.isDue || this.#notices.isDue) {
        if (!this.#state.isDue) {
          this.#notices.settle(BATCH);
          if (this.#notices.isDue) await new Promise((resolve) => setImmediate(resolve));
          continue;
        }
        const changes = this.#state.take(BATCH);
        if (changes.length === 0) continue;
        const rejections = await this.#apply(changes).catch((error: Error) =>
          changes.map((_, index) => ({ index, reason: error.message })),
        );
        for (const refused of this.#state.applied(rejections)) this.#report(refused);
        this.#notices.applied(changes, rejections);
      }
    } finally {
      this.#running = null;
    }
  }

  #report(wanted: Wanted): void {
    if (wanted.outcome === 'refused' && wanted.sources.includes('gossip')) this.#refused(wanted.reason);
  }
}

/** What a segment consists of: itself first. */
function entriesOf(segment: SegmentPlan): Entry[] {
  const { vni, peers, endpoints } = segment;
  return [
    { kind: 'segment', segment: segmentOf(segment) },
    ...peers.map((address): Entry => ({ kind: 'peer', vni, address })),
    ...endpoints.map((endpoint): Entry => ({ kind: 'endpoint', vni, endpoint })),
  ];
}

/** Number of entries to handle without a pause. */
const SLICE = 512;

/** Calls a function with each entry of a list, with pauses for other work. */
async function inSlices<T>(entries: Iterable<T>, act: (entry: T) => void): Promise<void> {
  let left = SLICE;
  for (const entry of entries) {
    act(entry);
    if (--left > 0) continue;
    left = SLICE;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function keyOf(entry: TableEntry): string {
  if (entry.kind === 'peer') return `${entry.vni} ${entry.address}`;
  const { ip, mac, vtep = '' } = entry.endpoint;
  return `${entry.vni} ${ip} ${mac} ${vtep}`;
}

function entryOf(listed: TableListing): Entry {
  const { vni } = listed;
  if ('address' in listed) return { kind: 'peer', vni, address: listed.address };
  const { ip, mac, vtep } = listed;
  return { kind: 'endpoint', vni, endpoint: vtep === null ? { ip, mac } : { ip, mac, vtep } };
}

/** Says what is in effect instead of an endpoint. */
function rivalText({ kind, holder: { ip, mac, vtep } }: Rival): string {
  const place = vtep === undefined ? 'this host' : `VTEP ${vtep}`;
  return kind === 'place'
    ? `${ip} with ${mac} is in effect at ${place}, which a newer request names; remove that one first`
    : `${kind === 'ip' ? ip : mac} belongs to an older endpoint, ${ip} with ${mac} at ${place}, until that is removed`;
}

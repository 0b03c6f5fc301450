import type { Change, Location, NetworkRouter, Rejection, Segment } from '../model/index.js';
import { EndpointTable, locationOf, PeerItem, Place, RouterItem, SegmentItem, type Item } from './endpoint-table.js';
import { Wants } from './wants.js';
import { Work, type Outcome } from './work.js';

/** What a source can want. */
export type Entry =
  | { readonly kind: 'segment'; readonly segment: Segment }
  /** The router of a network. It takes effect when every subnet has its segment. */
  | { readonly kind: 'router'; readonly router: NetworkRouter }
  /** A remote VTEP on the flood list of a segment. */
  | { readonly kind: 'peer'; readonly vni: number; readonly address: string }
  | { readonly kind: 'endpoint'; readonly vni: number; readonly endpoint: Location }
  /** An underlay address whose datagrams are accepted in every segment. */
  | { readonly kind: 'member'; readonly address: string };

/** A wanted entry, who wants it, and what became of it. */
export type Wanted = Outcome & {
  readonly entry: Entry;
  /** In the order of their names. */
  readonly sources: readonly string[];
  /** The time of the oldest want. */
  readonly since: number;
};

/** Most changes in a batch unless the caller says otherwise. */
const BATCH = 256;

/** See `index.ts`. */
export class HostState {
  readonly #local: string;
  readonly #wants = new Wants<Item>();
  readonly #segments = new Map<number, SegmentItem>();
  readonly #routers = new Map<string, RouterItem>();
  readonly #members = new Map<string, PeerItem>();
  readonly #work = new Work(this.#wants, this.#segments, {
    segment: (segment) => this.#forget(segment),
    router: (router) => {
      if (this.#routers.get(router.id) === router) this.#routers.delete(router.id);
    },
    member: ({ address }) => this.#members.delete(address),
  });

  /** @param local The underlay address of this host, which orders it among other hosts. Default: before all of them. */
  constructor(local = '') {
    this.#local = local;
  }

  // ---- What sources want ----

  /**
   * A source wants an entry. If it wants it already, only the time changes, and the definition of a segment or a router. An entry
   * that the data plane has refused is offered again.
   * @param since When the endpoint was attached, or the segment defined, in milliseconds of one clock for all sources,
   * such as those since 1970. 0 if nobody knows: before every known time.
   * @throws RangeError if `since` is NaN.
   */
  want(source: string, entry: Entry, since = 0): void {
    if (Number.isNaN(since)) throw new RangeError('the time of a want must be a number of milliseconds, not NaN');
    const { wants, definitions } = this.#wants.source(source);
    const item = this.#obtain(entry);
    wants.set(item, since);
    if (entry.kind === 'segment') definitions.set(item, entry.segment);
    else if (entry.kind === 'router') definitions.set(item, entry.router);
    this.#work.changed(item);
  }

  /** A source wants an entry no more. Of a segment, only the VNI counts; of a router, only the network. @returns whether it wanted it. */
  withdraw(source: string, entry: Entry): boolean {
    const item = this.#find(entry);
    return item !== undefined && this.#withdraw(source, item);
  }

  /** A source wants nothing any more. */
  withdrawAll(source: string): void {
    for (const item of this.#wants.find(source)?.wants.keys() ?? []) this.#withdraw(source, item);
  }

  #withdraw(source: string, item: Item): boolean {
    const known = this.#wants.find(source);
    if (known?.wants.delete(item) !== true) return false;
    known.definitions.delete(item);
    this.#work.changed(item);
    return true;
  }

  // ---- What the data plane gets ----

  /** Whether the data plane may have to change. */
  get isDue(): boolean {
    return this.#work.isDue;
  }

  /**
   * Returns the next batch of changes, in the order in which the data plane must make them. It can make each one: a
   * segment is added before its entries, and its removal takes them along. A router is added after the segments of its
   * subnets, and removed before any of them. An endpoint that takes an address over is
   * added before the other one is removed, so that the address is always somewhere.
   *
   * The time of a call is bounded, so a batch may be short and even empty while `isDue` stays true. A batch that is not
   * empty needs an answer, `applied`, before the next one.
   * @param limit Most changes, at least 2.
   * @throws RangeError if the last batch has no answer yet.
   */
  take(limit = BATCH): Change[] {
    return this.#work.take(limit);
  }

  /**
   * The data plane has applied the last batch.
   *
   * A refused entry stays wanted. The state offers it again when the data plane has lost another one of its kind (and
   * of its segment; a router also when a segment comes or goes), or when a source wants it or withdraws it. A rejected removal counts as made, because the data
   * plane has nothing to remove.
   * @param rejections The changes that it did not make.
   * @returns what it refused, if it is still wanted.
   * @throws RangeError for an index that the batch does not have.
   */
  applied(rejections: readonly Rejection[] = []): Wanted[] {
    return this.#work.applied(rejections).map((item) => this.#wanted(item));
  }

  // ---- Questions ----

  /** Whether any source wants an entry. */
  isWanted(entry: Entry): boolean {
    const item = this.#find(entry);
    return item !== undefined && this.#wants.has(item);
  }

  /** The sources that want an entry, in the order of their names. */
  sourcesOf(entry: Entry): string[] {
    const item = this.#find(entry);
    return item === undefined ? [] : this.#wants.of(item);
  }

  /** What became of an entry; `undefined` if nobody wants it. */
  wanted(entry: Entry): Wanted | undefined {
    const item = this.#find(entry);
    return item === undefined || !this.#wants.has(item) ? undefined : this.#wanted(item);
  }

  /**
   * The wanted entries of a kind; of segments, peers and endpoints those in one segment, if `vni` is given. The state may change between two of them: the
   * listing then contains every entry that was wanted all the time, and maybe others.
   */
  *list(kind: Entry['kind'], vni?: number): Generator<Wanted, undefined> {
    for (const item of this.#itemsOf(kind, vni)) if (this.#wants.has(item)) yield this.#wanted(item);
    return undefined;
  }

  /** The entries that a source wants, in the order of its wants. Those that it withdraws meanwhile may be missing. */
  *wantedBy(source: string): Generator<Entry, undefined> {
    for (const item of this.#wants.find(source)?.wants.keys() ?? []) yield this.#entryOf(item);
    return undefined;
  }

  *#itemsOf(kind: Entry['kind'], vni: number | undefined): Generator<Item, undefined> {
    if (kind === 'member' || kind === 'router') {
      yield* kind === 'member' ? this.#members.values() : this.#routers.values();
      return;
    }
    for (const segment of vni === undefined ? this.#segments.values() : [this.#segments.get(vni)])
      if (segment === undefined) continue;
      else if (kind === 'segment') yield segment;
      else yield* kind === 'peer' ? segment.peers.values() : segment.endpoints.places();
  }

  #wanted(item: Item): Wanted {
    const [sources, since] = [this.#wants.of(item), this.#wants.oldest(item)];
    return { entry: this.#entryOf(item), sources, since, ...this.#work.outcome(item) };
  }

  #entryOf(item: Item): Entry {
    if (item instanceof SegmentItem) return { kind: 'segment', segment: this.#wants.definition(item)! };
    if (item instanceof RouterItem) return { kind: 'router', router: this.#wants.definition(item)! };
    if (item instanceof Place) return { kind: 'endpoint', vni: item.endpoint.segment.vni, endpoint: locationOf(item) };
    const { segment, address } = item;
    return segment === null ? { kind: 'member', address } : { kind: 'peer', vni: segment.vni, address };
  }

  // ---- Items ----

  #find(entry: Entry): Item | undefined {
    switch (entry.kind) {
      case 'segment':
        return this.#segments.get(entry.segment.vni);
      case 'router':
        return this.#routers.get(entry.router.id);
      case 'peer':
        return this.#segments.get(entry.vni)?.peers.get(entry.address);
      case 'endpoint':
        return this.#segments.get(entry.vni)?.endpoints.find(entry.endpoint);
      case 'member':
        return this.#members.get(entry.address);
    }
  }

  /** The item of an entry, which may be new. */
  #obtain(entry: Entry): Item {
    switch (entry.kind) {
      case 'segment':
        return this.#segment(entry.segment.vni);
      case 'router':
        return this.#router(entry.router.id);
      case 'peer': {
        const segment = this.#segment(entry.vni);
        return obtainPeer(segment.peers, segment, entry.address);
      }
      case 'endpoint':
        return this.#segment(entry.vni).endpoints.obtain(entry.endpoint);
      case 'member':
        return obtainPeer(this.#members, null, entry.address);
    }
  }

  #segment(vni: number): SegmentItem {
    const known = this.#segments.get(vni);
    if (known !== undefined) return known;
    const segment = new SegmentItem(vni, (self) => new EndpointTable(self, this.#local, this.#wants, this.#work));
    this.#segments.set(vni, segment);
    return segment;
  }

  #router(id: string): RouterItem {
    const router = this.#routers.get(id) ?? new RouterItem(id);
    this.#routers.set(id, router);
    return router;
  }

  /** Forgets a segment that nobody wants, and that has no entries. */
  #forget(segment: SegmentItem): void {
    const { vni, applied, peers, endpoints } = segment;
    if (applied !== null || peers.size + endpoints.size > 0 || this.#wants.has(segment)) return;
    if (this.#segments.get(vni) === segment) this.#segments.delete(vni);
  }
}

function obtainPeer(peers: Map<string, PeerItem>, segment: SegmentItem | null, address: string): PeerItem {
  const known = peers.get(address);
  if (known !== undefined) return known;
  const peer = new PeerItem(segment, address);
  peers.set(address, peer);
  return peer;
}

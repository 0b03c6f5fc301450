import type { Change, NetworkRouter, Rejection, Segment } from '../model/index.js';
import { locationOf, type Rival, type Touched } from './endpoint-table.js';
import { PeerItem, Place, RouterItem, SegmentItem, type EndpointItem, type Item } from './endpoint-table.js';
import { Queue, Refused } from './queue.js';
import type { Wants } from './wants.js';

/**
 * What became of a wanted entry:
 *
 * - `in-effect`: the data plane has it;
 * - `due`: a following batch adds it;
 * - `no-segment`: nobody wants a segment with its VNI, or with that of one of its subnets, or the data plane refused it;
 * - `held`: another endpoint, or another place of the endpoint, is in effect instead;
 * - `refused`: the data plane refused it.
 */
export type Outcome =
  | { readonly outcome: 'in-effect' | 'due' | 'no-segment' }
  | { readonly outcome: 'held'; readonly by: Rival }
  | { readonly outcome: 'refused'; readonly reason: string };

/** A change in a batch, and what it is about. */
interface Made {
  readonly change: Change;
  readonly item: Item;
}

/** Called for what nobody may want any more. */
export interface Forget {
  /** Something of a segment is gone: it may have nothing left. */
  segment(segment: SegmentItem): void;
  /** A router is neither wanted nor in effect. */
  router(router: RouterItem): void;
  /** A member is neither wanted nor in effect. */
  member(member: PeerItem): void;
}

/** Items that one call of `take` examines, for each change that it may return. */
const EXAMINED_PER_CHANGE = 16;

/**
 * The differences between what is wanted and what the data plane has. It keeps the items that changed, and compares
 * them only when it makes a batch: changes that cancel out in between never reach the data plane.
 */
export class Work implements Touched {
  readonly #wants: Wants<Item>;
  readonly #known: ReadonlyMap<number, SegmentItem>;
  readonly #forget: Forget;
  /** Items to compare. */
  readonly #segments = new Queue<SegmentItem>();
  readonly #routers = new Queue<RouterItem>();
  readonly #peers = new Queue<PeerItem>();
  readonly #endpoints = new Queue<EndpointItem>();
  /** Items of large sets to compare. */
  readonly #walks = new Map<object, Iterator<PeerItem | EndpointItem>>();
  /** Routers to add, after others have been removed: these may have gateways in the same segments. */
  readonly #newRouters = new Queue<RouterItem>();
  /** Routers whose segments are not all there. */
  readonly #waitingRouters = new Set<RouterItem>();
  /** Peers to add, after others have been removed: the flood list may be full. */
  readonly #newPeers = new Queue<PeerItem>();
  /** Endpoints to remove, after others have been added: these may have the same MAC address. */
  readonly #oldEndpoints = new Queue<EndpointItem>();
  readonly #refusedSegments = new Refused<SegmentItem>();
  readonly #refusedRouters = new Refused<RouterItem>();
  readonly #refusedMembers = new Refused<PeerItem>();
  /** The batch that the data plane applies; `null` for none. */
  #batch: Made[] | null = null;
  /** Changes that still fit into the batch, and items that may still be examined. */
  #room = 0;
  #examined = 0;

  /** @param known The segments that anybody wants, or that are in effect. */
  constructor(wants: Wants<Item>, known: ReadonlyMap<number, SegmentItem>, forget: Forget) {
    this.#wants = wants;
    this.#known = known;
    this.#forget = forget;
  }

  get isDue(): boolean {
    const all = [this.#segments, this.#routers, this.#newRouters, this.#walks];
    const inside = [this.#peers, this.#newPeers, this.#endpoints, this.#oldEndpoints];
    return [...all, ...inside].some(({ size }) => size > 0);
  }

  // ---- What changed ----

  /** The wants of an item have changed. */
  changed(item: Item): void {
    if (item instanceof Place) {
      const { segment } = item.endpoint;
      segment.refusedPlaces.delete(item);
      segment.endpoints.update(item);
      this.#forget.segment(segment);
    } else if (item instanceof PeerItem) {
      this.#refusedPeers(item).delete(item);
      this.#peers.add(item);
    } else if (item instanceof RouterItem) {
      this.#refusedRouters.delete(item);
      this.#routers.add(item);
    } else {
      this.#refusedSegments.delete(item);
      this.#segments.add(item);
    }
  }

  touch(endpoint: EndpointItem): void {
    this.#endpoints.add(endpoint);
  }

  touchAll(owner: object, endpoints: Iterator<EndpointItem>): void {
    this.#walks.set(owner, endpoints);
  }

  // ---- Batches ----

  /** See `HostState.take`. */
  take(limit: number): Change[] {
    if (this.#batch !== null) throw new RangeError('the last batch has no answer yet: call applied() first');
    if (!(limit >= 2)) throw new RangeError(`a batch must have room for at least 2 changes, not ${limit}`);
    const batch: Made[] = [];
    this.#batch = batch;
    this.#room = limit;
    this.#examined = limit * EXAMINED_PER_CHANGE;
    this.#takeSegments();
    this.#takeRouters();
    this.#walk(limit * EXAMINED_PER_CHANGE);
    this.#takePeers();
    this.#takeEndpoints();
    if (batch.length === 0) this.#batch = null;
    return batch.map(({ change }) => change);
  }

  /** See `HostState.applied`. @returns what was refused and is still wanted. */
  applied(rejections: readonly Rejection[]): Item[] {
    const batch = this.#batch ?? [];
    const refused: Item[] = [];
    for (const { index, reason } of rejections) {
      const made = batch[index];
      if (made === undefined) throw new RangeError(`the last batch has ${batch.length} changes, and none at ${index}`);
      if (made.change.do.startsWith('add-') && this.#refuse(made.item, reason)) refused.push(made.item);
    }
    this.#batch = null;
    // Endpoints are added before others are removed, which may have made the room that they lacked.
    if (refused.length > 0)
      for (const { change, item } of batch)
        if (change.do === 'remove-endpoint' && item instanceof Place) this.#offerAgain(item.endpoint.segment);
    return refused.filter((item) => this.outcome(item).outcome === 'refused');
  }

  /** @returns whether the item stays wanted. */
  #refuse(item: Item, reason: string): boolean {
    if (item instanceof SegmentItem) {
      const wanted = this.#wants.definition(item);
      const isWanted = wanted !== null && item.applied !== null && isSame(wanted, item.applied);
      this.#lose(item);
      if (isWanted) this.#refusedSegments.add(item, reason);
      this.#segments.add(item);
      return isWanted;
    }
    if (item instanceof RouterItem) return this.#refuseRouter(item, reason);
    const segment = item instanceof Place ? item.endpoint.segment : item.segment;
    // An entry whose segment was refused waits for the segment.
    const isRefused = this.#wants.has(item) && (segment === null || segment.applied !== null);
    if (item instanceof Place) {
      if (isRefused) item.endpoint.segment.refusedPlaces.add(item, reason);
      this.#endpoints.add(item.endpoint);
      item.endpoint.segment.endpoints.refuse(item);
    } else {
      item.isShown = false;
      if (isRefused) this.#refusedPeers(item).add(item, reason);
      this.#peers.add(item);
    }
    return isRefused;
  }

  #refuseRouter(router: RouterItem, reason: string): boolean {
    const wanted = this.#wants.definition(router);
    // A router whose segment was refused waits for the segment.
    const isRefused = wanted !== null && isSameRouter(wanted, router.applied!) && this.#hasSegments(wanted);
    this.#loseRouter(router);
    if (isRefused) this.#refusedRouters.add(router, reason);
    this.#routers.add(router);
    return isRefused;
  }

  /** The data plane has a router no more. */
  #loseRouter(router: RouterItem): void {
    for (const { vni } of router.applied!.subnets) {
      const segment = this.#known.get(vni);
      if (segment?.router === router) segment.router = null;
    }
    router.applied = null;
  }

  /** The data plane has a segment no more, nor anything in it. */
  #lose(segment: SegmentItem): void {
    segment.applied = null;
    segment.generation++;
    segment.refusedPeers.clear();
    segment.refusedPlaces.clear();
  }

  #takeSegments(): void {
    while (this.#segments.size > 0) {
      if (!this.#mayTake()) return;
      const segment = this.#segments.take()!;
      const wanted = this.#wants.definition(segment);
      if (segment.applied !== null && (wanted === null || !isSame(wanted, segment.applied))) {
        if (segment.router !== null) {
          this.#removeRouter(segment.router);
          if (this.#room < 2) return this.#segments.add(segment);
        }
        this.#make({ do: 'remove-segment', vni: segment.vni }, segment);
        this.#lose(segment);
        this.#offerRouters();
        const next = this.#refusedSegments.take();
        if (next !== undefined) this.#segments.add(next);
      }
      if (wanted !== null && segment.applied === null && !this.#refusedSegments.has(segment)) {
        this.#make({ do: 'add-segment', segment: wanted }, segment);
        segment.applied = wanted;
        this.#offerRouters();
        this.#walks.set(segment.peers, segment.peers.values());
        this.#walks.set(segment.endpoints, segment.endpoints.ofEachIp());
      }
      this.#forget.segment(segment);
    }
  }

  /** Comes after the segments: while one of them is due, its router might be removed again. */
  #takeRouters(): void {
    if (this.#segments.size > 0) return;
    while (this.#routers.size > 0) {
      if (!this.#mayTake()) return;
      const router = this.#routers.take()!;
      const wanted = this.#wants.definition(router);
      if (router.applied !== null && (wanted === null || !isSameRouter(wanted, router.applied)))
        this.#removeRouter(router);
      this.#waitingRouters.delete(router);
      this.#newRouters.delete(router);
      if (wanted !== null && router.applied === null) this.#newRouters.add(router);
      else if (wanted === null) this.#forget.router(router);
    }
    while (this.#newRouters.size > 0) {
      if (!this.#mayTake()) return;
      const router = this.#newRouters.take()!;
      const wanted = this.#wants.definition(router);
      if (wanted === null || router.applied !== null || this.#refusedRouters.has(router)) continue;
      if (!this.#hasSegments(wanted)) {
        this.#waitingRouters.add(router);
        continue;
      }
      this.#make({ do: 'add-router', router: wanted }, router);
      router.applied = wanted;
      for (const { vni } of wanted.subnets) this.#known.get(vni)!.router ??= router;
    }
  }

  #removeRouter(router: RouterItem): void {
    this.#make({ do: 'remove-router', id: router.id }, router);
    this.#loseRouter(router);
    this.#routers.add(router);
    this.#offerRouters();
  }

  /** The data plane may accept other routers now: a segment has come or gone, or has lost its gateway. */
  #offerRouters(): void {
    for (const router of this.#waitingRouters) this.#routers.add(router);
    this.#waitingRouters.clear();
    for (let next = this.#refusedRouters.take(); next !== undefined; next = this.#refusedRouters.take())
      this.#routers.add(next);
  }

  #hasSegments({ subnets }: NetworkRouter): boolean {
    return subnets.every(({ vni }) => (this.#known.get(vni)?.applied ?? null) !== null);
  }

  /** Moves items of large sets to the others. */
  #walk(left: number): void {
    for (const [owner, items] of this.#walks) {
      for (let next = items.next(); next.done !== true; next = items.next()) {
        if (next.value instanceof PeerItem) this.#peers.add(next.value);
        else this.#endpoints.add(next.value);
        if (--left === 0) return;
      }
      this.#walks.delete(owner);
    }
  }

  #takePeers(): void {
    while (this.#peers.size > 0) {
      if (!this.#mayTake()) return;
      const peer = this.#peers.take()!;
      if (this.#mayAdd(peer)) this.#newPeers.add(peer);
      if (this.#wants.has(peer)) continue;
      if (peer.isShown) {
        this.#make(peerChange('remove', peer), peer);
        peer.isShown = false;
        const next = this.#refusedPeers(peer).take();
        if (next !== undefined) this.#newPeers.add(next);
      }
      this.#newPeers.delete(peer);
      this.#dropPeer(peer);
    }
    while (this.#newPeers.size > 0) {
      if (!this.#mayTake()) return;
      const peer = this.#newPeers.take()!;
      if (!this.#mayAdd(peer)) continue;
      this.#make(peerChange('add', peer), peer);
      peer.isShown = true;
    }
  }

  /** Whether the data plane must get a peer, as far as it can. */
  #mayAdd(peer: PeerItem): boolean {
    if (peer.isShown || !this.#wants.has(peer) || this.#refusedPeers(peer).has(peer)) return false;
    return peer.segment === null || peer.segment.applied !== null;
  }

  #takeEndpoints(): void {
    while (this.#endpoints.size > 0) {
      if (!this.#mayTake()) return;
      const endpoint = this.#endpoints.take()!;
      const { segment, ip } = endpoint;
      const { endpoints } = segment;
      const place = this.#placeFor(segment, ip);
      const shown = endpoints.shown(ip);
      if (place !== null && !endpoints.isCurrent(place)) {
        this.#make(endpointChange('add', place), place);
        endpoints.show(place);
        if (shown !== null && shown !== place) this.#removePlace(shown);
      } else if (shown !== null && shown !== place) this.#oldEndpoints.add(shown.endpoint);
      endpoints.drop(endpoint);
      this.#forget.segment(segment);
    }
    if (this.#walks.size > 0) return;
    while (this.#oldEndpoints.size > 0) {
      if (!this.#mayTake()) return;
      const endpoint = this.#oldEndpoints.take()!;
      const { segment, ip } = endpoint;
      const shown = segment.endpoints.shown(ip);
      if (shown !== null && shown !== this.#placeFor(segment, ip)) this.#removePlace(shown);
      segment.endpoints.drop(endpoint);
      this.#forget.segment(segment);
    }
  }

  /** The place that the data plane must have for an IP address; `null` for none. */
  #placeFor(segment: SegmentItem, ip: string): Place | null {
    const place = segment.applied === null ? null : segment.endpoints.holder(ip);
    return place === null || segment.refusedPlaces.has(place) ? null : place;
  }

  #removePlace(place: Place): void {
    const { segment } = place.endpoint;
    this.#make(endpointChange('remove', place), place);
    segment.endpoints.hide(place);
    this.#offerAgain(segment);
  }

  /** The data plane has lost an endpoint: maybe it has room for the first that it refused. */
  #offerAgain(segment: SegmentItem): void {
    const { refusedPlaces, endpoints } = segment;
    for (let next = refusedPlaces.take(); next !== undefined; next = refusedPlaces.take()) {
      if (endpoints.holder(next.endpoint.ip) !== next) continue;
      this.#endpoints.add(next.endpoint);
      return;
    }
  }

  /** Whether the batch has room for what one item may need: its removal, and the addition of another. */
  #mayTake(): boolean {
    return this.#room >= 2 && --this.#examined >= 0;
  }

  #make(change: Change, item: Item): void {
    this.#room--;
    this.#batch!.push({ change, item });
  }

  #dropPeer(peer: PeerItem): void {
    const { segment, address } = peer;
    if (segment === null) return this.#forget.member(peer);
    segment.peers.delete(address);
    this.#forget.segment(segment);
  }

  #refusedPeers({ segment }: PeerItem): Refused<PeerItem> {
    return segment === null ? this.#refusedMembers : segment.refusedPeers;
  }

  // ---- Questions ----

  /** What became of a wanted item. */
  outcome(item: Item): Outcome {
    if (item instanceof SegmentItem) {
      const reason = this.#refusedSegments.reason(item);
      if (reason !== undefined) return { outcome: 'refused', reason };
      const isShown = item.applied !== null && isSame(item.applied, this.#wants.definition(item)!);
      return { outcome: isShown ? 'in-effect' : 'due' };
    }
    if (item instanceof RouterItem) return this.#routerOutcome(item);
    const segment = item instanceof Place ? item.endpoint.segment : item.segment;
    if (segment !== null && (!this.#wants.has(segment) || this.#refusedSegments.has(segment)))
      return { outcome: 'no-segment' };
    const by = item instanceof Place ? item.endpoint.segment.endpoints.rivalOf(item) : null;
    if (by !== null) return { outcome: 'held', by };
    const reason = item instanceof Place ? segment!.refusedPlaces.reason(item) : this.#refusedPeers(item).reason(item);
    if (reason !== undefined) return { outcome: 'refused', reason };
    const isShown = item instanceof Place ? item.endpoint.shownAt === item : item.isShown;
    return { outcome: isShown ? 'in-effect' : 'due' };
  }

  #routerOutcome(router: RouterItem): Outcome {
    const reason = this.#refusedRouters.reason(router);
    if (reason !== undefined) return { outcome: 'refused', reason };
    const wanted = this.#wants.definition(router)!;
    if (router.applied !== null && isSameRouter(router.applied, wanted)) return { outcome: 'in-effect' };
    const lacks = wanted.subnets.some(({ vni }) => {
      const segment = this.#known.get(vni);
      return segment === undefined || !this.#wants.has(segment) || this.#refusedSegments.has(segment);
    });
    return { outcome: lacks ? 'no-segment' : 'due' };
  }
}

function isSameRouter(a: NetworkRouter, b: NetworkRouter): boolean {
  const text = ({ mac, subnets }: NetworkRouter): string =>
    [mac, ...subnets.map(({ prefix, gateway, vni }) => `${prefix} ${gateway} ${vni}`)].join();
  return text(a) === text(b);
}

function peerChange(verb: 'add' | 'remove', { segment, address }: PeerItem): Change {
  return segment === null ? { do: `${verb}-member`, address } : { do: `${verb}-peer`, vni: segment.vni, address };
}

function endpointChange(verb: 'add' | 'remove', place: Place): Change {
  return {
    do: verb === 'add' ? 'add-endpoint' : 'remove-endpoint',
    vni: place.endpoint.segment.vni,
    endpoint: locationOf(place),
  };
}

/** Whether two definitions of a segment are the same. */
function isSame(a: Segment, b: Segment): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]) as Set<keyof Segment>;
  for (const name of names) if (a[name] !== b[name]) return false;
  return true;
}

/**
 * What the host state keeps for each thing that is wanted, or in effect in the data plane, and the endpoints of a segment.
 */
import type { Location, NetworkRouter, Segment } from '../model/index.js';
import { Heap } from './heap.js';
import { Refused, Ring } from './queue.js';
import { isNewer, isOlder } from './rule.js';
import type { Wants } from './wants.js';

/** What sources want. */
export type Item = SegmentItem | RouterItem | PeerItem | Place;

/** A VNI that somebody wants something in. */
export class SegmentItem {
  readonly vni: number;
  readonly peers = new Map<string, PeerItem>();
  readonly endpoints: EndpointTable;
  /** The segment in the data plane. */
  applied: Segment | null = null;
  /** The router in the data plane that has a gateway in it. */
  router: RouterItem | null = null;
  /** Incremented when the data plane loses the segment: nothing of an earlier generation is in effect. */
  generation = 1;
  readonly refusedPeers = new Refused<PeerItem>();
  readonly refusedPlaces = new Refused<Place>();

  constructor(vni: number, endpoints: (segment: SegmentItem) => EndpointTable) {
    this.vni = vni;
    this.endpoints = endpoints(this);
  }
}

/** The router of a network that somebody wants. */
export class RouterItem {
  /** The id of the network. */
  readonly id: string;
  /** The router in the data plane. */
  applied: NetworkRouter | null = null;

  constructor(id: string) {
    this.id = id;
  }
}

/** A peer of a segment, or a member of the cluster, which has no segment. */
export class PeerItem {
  readonly segment: SegmentItem | null;
  readonly address: string;
  /** The generation of the segment in which it is in effect; 0 for none. */
  shownIn = 0;

  constructor(segment: SegmentItem | null, address: string) {
    this.segment = segment;
    this.address = address;
  }

  /** Whether it is in effect in the data plane. */
  get isShown(): boolean {
    return this.shownIn === (this.segment?.generation ?? 1);
  }

  set isShown(shown: boolean) {
    this.shownIn = shown ? (this.segment?.generation ?? 1) : 0;
  }
}

/** A VTEP that an endpoint is behind. Sources want places. */
export abstract class Place {
  abstract readonly endpoint: EndpointItem;
  /** Its underlay address; `undefined` for this host. */
  readonly vtep: string | undefined;

  constructor(vtep: string | undefined) {
    this.vtep = vtep;
  }
}

/**
 * An endpoint: an IP and a MAC address. It exists while it has a place, or is in effect. Nearly every endpoint has one place
 * all the time, which is the same object: its first one.
 */
export class EndpointItem extends Place {
  readonly segment: SegmentItem;
  readonly ip: string;
  readonly mac: string;
  /** Where it is wanted. Nearly every endpoint has one place, which is stored without a set. */
  places: Place | Places | null = null;
  /** Its place in the data plane, if that was in generation `shownIn` of the segment. */
  shown: Place | null = null;
  shownIn = 0;

  constructor(segment: SegmentItem, ip: string, mac: string, vtep: string | undefined) {
    super(vtep);
    this.segment = segment;
    this.ip = ip;
    this.mac = mac;
  }

  get endpoint(): EndpointItem {
    return this;
  }

  /** Its place in the data plane; `null` for none. */
  get shownAt(): Place | null {
    return this.shownIn === this.segment.generation ? this.shown : null;
  }

  set shownAt(place: Place | null) {
    this.shown = place;
    this.shownIn = place === null ? 0 : this.segment.generation;
  }
}

/** Another place of an endpoint than its first one. */
class FurtherPlace extends Place {
  readonly endpoint: EndpointItem;

  constructor(endpoint: EndpointItem, vtep: string | undefined) {
    super(vtep);
    this.endpoint = endpoint;
  }
}

/** The places of an endpoint that has several. */
export interface Places {
  readonly all: Map<string | undefined, Place>;
  /** In the order of the first want of each, in any order if these are of one moment. */
  readonly oldest: Heap<Place>;
  /** From the newest to the oldest, in the order of the last want of each. */
  readonly newest: Heap<Place>;
}

/** Receives the endpoints for whose IP address the data plane may have to change. */
export interface Touched {
  touch(endpoint: EndpointItem): void;
  /** The same for many endpoints, which are not yet iterated. Replaces an earlier iterator of the same owner. */
  touchAll(owner: object, endpoints: Iterator<EndpointItem>): void;
}

/** The endpoints of an IP address that has several. */
interface IpCrowd {
  readonly members: Map<string, EndpointItem>;
  /** Those that are wanted. */
  readonly oldest: Heap<EndpointItem>;
  /** The one in the data plane. */
  shown: EndpointItem | null;
}

/** The endpoints of a MAC address that has several. */
interface MacCrowd {
  readonly members: Ring<EndpointItem>;
  /** Those that are wanted. */
  readonly oldest: Heap<EndpointItem>;
  /** The VTEP that the address belongs to: that of the first in `oldest`; `null` if none is wanted. */
  holder: string | undefined | null;
  /** The VTEP with which the data plane got the address last; `null` if that is not known. */
  shown: string | undefined | null;
}

/** What prevents a place from being in effect. */
export interface Rival {
  /** `place`: the endpoint is at a newer place. `ip`, `mac`: this address belongs to an older attachment. */
  readonly kind: 'place' | 'ip' | 'mac';
  /** What is in effect instead, or would be if nothing else prevented it. */
  readonly holder: Location;
}

/** The endpoints of one segment, and the rule of which ones hold; see `index.ts`. */
export class EndpointTable {
  readonly #segment: SegmentItem;
  readonly #local: string;
  readonly #wants: Wants<Item>;
  readonly #touched: Touched;
  /** Nearly every address has just one endpoint, which is stored without a set. */
  readonly #byIp = new Map<string, EndpointItem | IpCrowd>();
  readonly #byMac = new Map<string, EndpointItem | MacCrowd>();

  /** @param local The underlay address of this host. */
  constructor(segment: SegmentItem, local: string, wants: Wants<Item>, touched: Touched) {
    this.#segment = segment;
    this.#local = local;
    this.#wants = wants;
    this.#touched = touched;
  }

  /** Number of IP addresses with an endpoint that is wanted, or still in effect. */
  get size(): number {
    return this.#byIp.size;
  }

  // ---- Wants ----

  /** The place that a location names, if it is wanted. */
  find({ ip, mac, vtep }: Location): Place | undefined {
    const places = this.#find(ip, mac)?.places;
    if (places instanceof Place) return places.vtep === vtep ? places : undefined;
    return places?.all.get(vtep);
  }

  /** The place that a location names. The caller adds a want to it and calls `update`. */
  obtain(location: Location): Place {
    const known = this.find(location);
    if (known !== undefined) return known;
    const { ip, mac, vtep } = location;
    const endpoint = this.#find(ip, mac);
    if (endpoint === undefined) {
      const first = new EndpointItem(this.#segment, ip, mac, vtep);
      this.#link(first);
      return first;
    }
    if (endpoint.vtep === vtep) return endpoint;
    const { shown } = endpoint;
    return shown !== null && shown.vtep === vtep ? shown : new FurtherPlace(endpoint, vtep);
  }

  /** Follows a change of the wants of a place. */
  update(place: Place): void {
    const { endpoint } = place;
    if (this.#wants.has(place)) this.#putPlace(endpoint, place);
    else this.#removePlace(endpoint, place);
    const byIp = this.#byIp.get(endpoint.ip)!;
    if (!(byIp instanceof EndpointItem)) reorder(byIp.oldest, endpoint);
    const byMac = this.#byMac.get(endpoint.mac)!;
    if (!(byMac instanceof EndpointItem)) {
      reorder(byMac.oldest, endpoint);
      this.#updateHolder(byMac);
    }
    this.#touched.touch(endpoint);
    this.drop(endpoint);
  }

  /** Forgets an endpoint that is neither wanted nor in effect. */
  drop(endpoint: EndpointItem): void {
    const { ip, mac } = endpoint;
    if (endpoint.places !== null || endpoint.shownAt !== null || this.#find(ip, mac) !== endpoint) return;
    const byIp = this.#byIp.get(ip)!;
    if (byIp instanceof EndpointItem) this.#byIp.delete(ip);
    else {
      byIp.members.delete(mac);
      if (byIp.shown === endpoint) byIp.shown = null;
      if (byIp.members.size === 1) this.#byIp.set(ip, only(byIp.members.values()));
    }
    const byMac = this.#byMac.get(mac)!;
    if (byMac instanceof EndpointItem) this.#byMac.delete(mac);
    else {
      byMac.members.delete(endpoint);
      this.#simplify(mac, byMac);
    }
  }

  // ---- The rule ----

  /** The place that holds an IP address; `null` for none. */
  holder(ip: string): Place | null {
    const byIp = this.#byIp.get(ip);
    const endpoint = byIp === undefined || byIp instanceof EndpointItem ? byIp : byIp.oldest.first;
    if (endpoint == null || endpoint.places === null) return null;
    const place = newestPlace(endpoint.places);
    const byMac = this.#byMac.get(endpoint.mac)!;
    return byMac instanceof EndpointItem || byMac.holder === place.vtep ? place : null;
  }

  /** What prevents a wanted place from holding its addresses; `null` for nothing. */
  rivalOf(place: Place): Rival | null {
    const { endpoint } = place;
    const newest = newestPlace(endpoint.places!);
    if (newest !== place) return { kind: 'place', holder: locationOf(newest) };
    const byIp = this.#byIp.get(endpoint.ip)!;
    const ipHolder = byIp instanceof EndpointItem ? byIp : byIp.oldest.first!;
    if (ipHolder !== endpoint) return { kind: 'ip', holder: locationOf(newestPlace(ipHolder.places!)) };
    const byMac = this.#byMac.get(endpoint.mac)!;
    if (byMac instanceof EndpointItem || byMac.holder === place.vtep) return null;
    return { kind: 'mac', holder: locationOf(newestPlace(byMac.oldest.first!.places!)) };
  }

  // ---- The data plane ----

  /** The place that the data plane has for an IP address; `null` for none. */
  shown(ip: string): Place | null {
    const byIp = this.#byIp.get(ip);
    const endpoint = byIp === undefined || byIp instanceof EndpointItem ? byIp : byIp.shown;
    return endpoint?.shownAt ?? null;
  }

  /** Whether the data plane has a place, and nothing else came later for its MAC address. */
  isCurrent(place: Place): boolean {
    const { endpoint } = place;
    if (endpoint.shownAt !== place) return false;
    const byMac = this.#byMac.get(endpoint.mac)!;
    return byMac instanceof EndpointItem || byMac.shown === place.vtep;
  }

  /** The data plane gets a place. What it had for the IP address must have been hidden, or is hidden next. */
  show(place: Place): void {
    const { endpoint } = place;
    endpoint.shownAt = place;
    const byIp = this.#byIp.get(endpoint.ip)!;
    if (!(byIp instanceof EndpointItem)) byIp.shown = endpoint;
    const byMac = this.#byMac.get(endpoint.mac)!;
    if (byMac instanceof EndpointItem) return;
    byMac.shown = place.vtep;
    this.#simplify(endpoint.mac, byMac);
  }

  /** The data plane loses the place of an endpoint, unless it has another place for it by now. */
  hide(place: Place): void {
    const { endpoint } = place;
    if (endpoint.shownAt === place) endpoint.shownAt = null;
    const byIp = this.#byIp.get(endpoint.ip);
    if (byIp !== undefined && !(byIp instanceof EndpointItem) && byIp.shown === endpoint && endpoint.shownAt === null)
      byIp.shown = null;
    this.drop(endpoint);
  }

  /** The data plane has refused a place. */
  refuse(place: Place): void {
    const byMac = this.#byMac.get(place.endpoint.mac);
    if (byMac !== undefined && !(byMac instanceof EndpointItem)) {
      byMac.shown = null;
      this.#touched.touchAll(byMac, byMac.members.round());
    }
    this.hide(place);
  }

  // ---- Listings ----

  /** One endpoint of each IP address. */
  *ofEachIp(): Generator<EndpointItem, undefined> {
    for (const found of this.#byIp.values()) yield found instanceof EndpointItem ? found : only(found.members.values());
    return undefined;
  }

  /** The wanted places; those of one IP address in no order. */
  *places(): Generator<Place, undefined> {
    for (const found of this.#byIp.values())
      for (const { places } of found instanceof EndpointItem ? [found] : found.members.values())
        if (places instanceof Place) yield places;
        else if (places !== null) yield* places.all.values();
    return undefined;
  }

  // ---- The indices ----

  #find(ip: string, mac: string): EndpointItem | undefined {
    const found = this.#byIp.get(ip);
    if (!(found instanceof EndpointItem)) return found?.members.get(mac);
    return found.mac === mac ? found : undefined;
  }

  #link(endpoint: EndpointItem): void {
    const { ip, mac } = endpoint;
    const byIp = this.#byIp.get(ip);
    if (byIp === undefined) this.#byIp.set(ip, endpoint);
    else if (!(byIp instanceof EndpointItem)) byIp.members.set(mac, endpoint);
    else {
      const members = new Map([
        [byIp.mac, byIp],
        [mac, endpoint],
      ]);
      const shown = byIp.shownAt === null ? null : byIp;
      this.#byIp.set(ip, { members, oldest: this.#byAge([byIp]), shown });
    }
    const byMac = this.#byMac.get(mac);
    if (byMac === undefined) this.#byMac.set(mac, endpoint);
    else if (!(byMac instanceof EndpointItem)) byMac.members.add(endpoint);
    else {
      const shown = byMac.shownAt === null ? null : byMac.shownAt.vtep;
      const members = new Ring<EndpointItem>();
      members.add(byMac);
      members.add(endpoint);
      const crowd = { members, oldest: this.#byAge([byMac]), holder: null, shown };
      this.#byMac.set(mac, crowd);
      this.#updateHolder(crowd);
    }
  }

  /** If the VTEP of a MAC address has changed, endpoints at the old and at the new one may be concerned. */
  #updateHolder(crowd: MacCrowd): void {
    const { first } = crowd.oldest;
    const holder = first === null ? null : newestPlace(first.places!).vtep;
    if (holder === crowd.holder) return;
    crowd.holder = holder;
    this.#touched.touchAll(crowd, crowd.members.round());
  }

  /** Stores a single endpoint without a set, if the set says nothing about it. */
  #simplify(mac: string, { members, shown }: MacCrowd): void {
    if (members.size !== 1) return;
    const last = members.next()!;
    if (last.shownAt === null || last.shownAt.vtep === shown) this.#byMac.set(mac, last);
  }

  #putPlace(endpoint: EndpointItem, place: Place): void {
    const { places } = endpoint;
    if (places === null || places === place) endpoint.places = place;
    else if (places instanceof Place) {
      const several: Places = {
        all: new Map([
          [places.vtep, places],
          [place.vtep, place],
        ]),
        oldest: new Heap((a, b) => this.#wants.oldest(a) < this.#wants.oldest(b)),
        newest: new Heap((a, b) => this.#isNewer(a, b)),
      };
      for (const one of [places, place]) {
        several.oldest.put(one);
        several.newest.put(one);
      }
      endpoint.places = several;
    } else {
      places.all.set(place.vtep, place);
      places.oldest.put(place);
      places.newest.put(place);
    }
  }

  #removePlace(endpoint: EndpointItem, place: Place): void {
    const { places } = endpoint;
    if (places === place) endpoint.places = null;
    if (places === null || places instanceof Place) return;
    places.all.delete(place.vtep);
    places.oldest.remove(place);
    places.newest.remove(place);
    if (places.all.size === 1) endpoint.places = only(places.all.values());
  }

  #byAge(endpoints: readonly EndpointItem[]): Heap<EndpointItem> {
    const heap = new Heap<EndpointItem>((a, b) => this.#isOlder(a, b));
    for (const endpoint of endpoints) if (endpoint.places !== null) heap.put(endpoint);
    return heap;
  }

  #isOlder(a: EndpointItem, b: EndpointItem): boolean {
    return isOlder(this.#age(a), a, this.#age(b), b);
  }

  #isNewer(a: Place, b: Place): boolean {
    return isNewer(this.#wants.newest(a), a.vtep ?? this.#local, this.#wants.newest(b), b.vtep ?? this.#local);
  }

  #age({ places }: EndpointItem): number {
    const oldest = places instanceof Place ? places : places!.oldest.first!;
    return this.#wants.oldest(oldest);
  }
}

/** The location that a place stands for. */
export function locationOf({ endpoint: { ip, mac }, vtep }: Place): Location {
  return vtep === undefined ? { ip, mac } : { ip, mac, vtep };
}

/** Follows a change of an endpoint's age. */
function reorder(oldest: Heap<EndpointItem>, endpoint: EndpointItem): void {
  if (endpoint.places === null) oldest.remove(endpoint);
  else oldest.put(endpoint);
}

function newestPlace(places: Place | Places): Place {
  return places instanceof Place ? places : places.newest.first!;
}

function only<T>(items: Iterable<T>): T {
  const [item] = items;
  return item!;
}

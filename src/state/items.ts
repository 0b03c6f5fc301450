/** What the host state keeps for each thing that is wanted, or in effect in the data plane. */
import type { Segment } from '../model/index.js';
import type { EndpointTable } from './endpoint-table.js';
import type { Heap } from './heap.js';
import { Refused } from './queue.js';

/** What sources want. */
export type Item = SegmentItem | PeerItem | Place;

/** A VNI that somebody wants something in. */
export class SegmentItem {
  readonly vni: number;
  readonly peers = new Map<string, PeerItem>();
  readonly endpoints: EndpointTable;
  /** The segment in the data plane. */
  applied: Segment | null = null;
  /** Incremented when the data plane loses the segment: nothing of an earlier generation is in effect. */
  generation = 1;
  readonly refusedPeers = new Refused<PeerItem>();
  readonly refusedPlaces = new Refused<Place>();

  constructor(vni: number, endpoints: (segment: SegmentItem) => EndpointTable) {
    this.vni = vni;
    this.endpoints = endpoints(this);
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

/** An endpoint: an IP and a MAC address. It exists while it has a place, or is in effect. */
export class EndpointItem {
  readonly segment: SegmentItem;
  readonly ip: string;
  readonly mac: string;
  /** Where it is wanted. Nearly every endpoint has one place, which is stored without a set. */
  places: Place | Places | null = null;
  /** Its place in the data plane, if that was in generation `shownIn` of the segment. */
  shown: Place | null = null;
  shownIn = 0;

  constructor(segment: SegmentItem, ip: string, mac: string) {
    this.segment = segment;
    this.ip = ip;
    this.mac = mac;
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

/** A VTEP that an endpoint is behind. Sources want places. */
export class Place {
  readonly endpoint: EndpointItem;
  /** Its underlay address; `undefined` for this host. */
  readonly vtep: string | undefined;

  constructor(endpoint: EndpointItem, vtep: string | undefined) {
    this.endpoint = endpoint;
    this.vtep = vtep;
  }
}

/** The places of an endpoint that has several. */
export interface Places {
  readonly all: Map<string | undefined, Place>;
  /** In the order of the first want of each, and from the newest to the oldest in the order of the last one. */
  readonly oldest: Heap<Place>;
  readonly newest: Heap<Place>;
}

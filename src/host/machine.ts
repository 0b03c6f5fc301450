/** The machine of a data plane, on the thread that moves the frames: makes its changes, and answers requests about it. */
import { randomFillSync, randomInt } from 'node:crypto';
import { type Change, type Segment } from '../model/index.js';
import { canonicalIp, knownVni, listed, prefixAddress, SchemaError, type ListRequest } from '../schema/index.js';
import {
  MAX_REQUESTS,
  PROBES_PER_SECOND,
  Vtep,
  type Counts,
  type Explanation,
  type FdbListing,
} from '../vtep/index.js';
import { type ExplainRequest, type PortPlan, type Settings, type RefusedSenderListing } from './data-plane.js';
import { takePage, type Page } from './pages.js';

/** A request that a machine answers at once; not available over the control socket, except `explain`. */
export type Query =
  | ExplainRequest
  /** Returns the refused senders since the last such request. */
  | { command: 'refused-senders' }
  /** Returns the raw counts from which the counters are made. */
  | { command: 'counts' }
  /** Returns the next page of a listing. The first request has `of` and opens the listing. */
  | { command: 'page'; listing: number; of?: ListRequest }
  | { command: 'close'; listing: number }
  /** Serves a UDP port at the gateways, or no more. */
  | { command: 'serve'; port: number; on: boolean }
  /** Returns the FDB entries of these addresses. */
  | { command: 'find'; entries: readonly { vni: number; mac: string }[] };

/**
 * A `Vtep` that is changed by the changes of the model. Several machines that make the same changes in the same order
 * accept the same ones, and give the same numbers to their ports.
 */
export class Machine {
  readonly vtep: Vtep;
  readonly #local: string;
  readonly #segments = new Map<number, Segment>();
  readonly #ports = new Map<number, PortPlan>();
  readonly #listings = new Map<number, Iterator<object>>();
  /** Counts of removed segments: the totals never decrease. */
  #removed: Float64Array | null = null;

  /**
   * @param announce Whether it sends announcements; true for only one of several machines of a data plane.
   * @param machines How many machines the data plane has.
   */
  constructor(
    { port, local, peersOnly }: Pick<Settings, 'port' | 'local' | 'peersOnly'>,
    announce = true,
    machines = 1,
  ) {
    this.#local = local;
    const requests = Math.ceil(MAX_REQUESTS / machines);
    this.vtep = new Vtep({
      ...{ port, local, peersOnly, announce, requests },
      seed: randomInt(2 ** 31),
      random: (octets) => void randomFillSync(octets),
      probes: Math.ceil(PROBES_PER_SECOND / machines),
    });
  }

  /** The shortest time in milliseconds after which a segment forgets a learned address; `Infinity` for never. */
  get ageing(): number {
    let least = Infinity;
    for (const { ageing } of this.#segments.values()) if (ageing > 0) least = Math.min(least, ageing * 1000);
    return least;
  }

  // ---- Changes ----

  /**
   * Makes a change. The caller then calls `sendAnnouncements` of the `Vtep`.
   * @returns false for the removal of what is not there, and for a segment or a router that is there already.
   * @throws RangeError with what is wrong with it.
   */
  apply(change: Change): boolean {
    const { vtep } = this;
    switch (change.do) {
      case 'add-segment':
        return this.#addSegment(change.segment);
      case 'remove-segment':
        return this.#removeSegment(change.vni);
      case 'add-peer':
        vtep.addPeer(this.#known(change.vni), this.#remote(change.address));
        return true;
      case 'remove-peer':
        return vtep.hasSegment(change.vni) && vtep.removePeer(change.vni, change.address);
      case 'add-endpoint':
      case 'remove-endpoint': {
        const { ip, mac, vtep: place } = change.endpoint;
        const here = place === undefined || place === this.#local;
        const endpoint = here ? { ip, mac } : { ip, mac, vtep: this.#remote(place) };
        if (change.do === 'remove-endpoint')
          return vtep.hasSegment(change.vni) && vtep.removeEndpoint(change.vni, endpoint);
        vtep.addEndpoint(this.#known(change.vni), endpoint);
        return true;
      }
      case 'add-member':
        vtep.addMember(change.address);
        return true;
      case 'remove-member':
        vtep.removeMember(change.address);
        return true;
      case 'add-router':
        return vtep.addRouter(change.router);
      case 'remove-router':
        return vtep.removeRouter(change.id);
    }
  }

  /**
   * Adds a port, and queues announcements of its station: neighbors may still have its addresses with another MAC
   * address, or behind another VTEP.
   * @returns its number.
   * @throws RangeError for a VNI without a segment.
   */
  attach(plan: PortPlan): number {
    const { name, mac, addresses = [], segments } = plan;
    const id = this.vtep.addPort({ name, ...segments, ...(mac === undefined ? {} : { mac }) });
    this.#ports.set(id, plan);
    const untagged = 'vni' in segments ? segments.vni : segments.native;
    if (mac !== undefined && untagged !== undefined)
      for (const address of addresses) this.vtep.announce(untagged, { ip: prefixAddress(address), mac, port: id });
    return id;
  }

  /** Removes a port, and what is known to be behind it. */
  detach(port: number): void {
    if (this.#ports.delete(port)) this.vtep.removePort(port);
  }

  #addSegment(segment: Segment): boolean {
    const known = this.#segments.get(segment.vni);
    if (known !== undefined) {
      const fields = Object.keys({ ...known, ...segment }) as (keyof Segment)[];
      const field = fields.find((name) => known[name] !== segment[name]);
      if (field === undefined) return false;
      throw new RangeError(
        `vni ${segment.vni} already has a segment with ${field} ${known[field]}, not ${segment[field]}; remove it first`,
      );
    }
    this.vtep.addSegment(segment);
    this.#segments.set(segment.vni, segment);
    return true;
  }

  #removeSegment(vni: number): boolean {
    if (!this.#segments.has(vni)) return false;
    for (const { name, segments } of this.#ports.values())
      if (vnisOf(segments).includes(vni))
        throw new RangeError(`vni ${vni} is the segment of port ${name}; detach that port first`);
    const values = this.vtep.countsOf(vni);
    this.vtep.removeSegment(vni); // throws if the segment has a gateway
    this.#removed = this.#removed === null ? values : this.#removed.map((count, i) => count + values[i]!);
    this.#segments.delete(vni);
    return true;
  }

  #known(vni: number): number {
    if (!this.vtep.hasSegment(vni)) throw new RangeError(`there is no segment with vni ${vni}; add it first`);
    return vni;
  }

  #remote(address: string): string {
    if (address === this.#local) throw new RangeError(`${address} is the address of this VTEP itself`);
    if (address.includes(':') !== this.#local.includes(':'))
      throw new RangeError(`${address} is not of the same IP version as ${this.#local}, the address of this VTEP`);
    return address;
  }

  // ---- Requests ----

  /** @throws SchemaError or RangeError with what is wrong with the request. */
  answer(request: Query, now: number): unknown {
    switch (request.command) {
      case 'explain':
        return this.#explain(request, now);
      case 'refused-senders':
        return this.refusedSenders();
      case 'counts':
        return this.counts();
      case 'page':
        return this.#page(request.listing, request.of, now);
      case 'close':
        return this.#listings.delete(request.listing);
      case 'serve':
        return request.on ? this.vtep.services.serve(request.port) : this.vtep.services.unserve(request.port);
      case 'find':
        return request.entries.map(({ vni, mac }) => this.#find(vni, mac, now));
    }
  }

  refusedSenders(): RefusedSenderListing[] {
    const of = (vni: number): Iterable<object> => this.vtep.takeRefusedSenders(vni);
    return [...ofSegments(this.vtep.vnis(), this.vtep, of)] as RefusedSenderListing[];
  }

  counts(): Counts {
    const counts = this.vtep.counts();
    this.#removed?.forEach((count, i) => (counts.values[i]! += count));
    return counts;
  }

  #explain(request: ExplainRequest, now: number): Explanation {
    if (request.esp !== undefined)
      throw wrong('esp', 'a VTEP with an encrypted segment; this one has none', request.esp);
    if (request.datagram !== undefined)
      return this.vtep.explain({ from: canonicalIp(request.from!), datagram: bytes(request.datagram) }, now);
    for (const [port, { name }] of this.#ports)
      if (name === request.port) return this.vtep.explain({ port, frame: bytes(request.frame!) }, now);
    const names = [...this.#ports.values()].map(({ name }) => name);
    throw wrong('port', `the name of a TAP (${names.length === 0 ? 'there is none' : listed(names)})`, request.port);
  }

  #page(id: number, of: ListRequest | undefined, now: number): Page {
    if (of !== undefined) this.#listings.set(id, listing(this.vtep, of, now)[Symbol.iterator]());
    const page = takePage(this.#listings.get(id)!);
    if (page.last) this.#listings.delete(id);
    return page;
  }

  #find(vni: number, mac: string, now: number): FdbListing | null {
    return this.vtep.hasSegment(vni) ? this.vtep.fdbEntry(vni, mac, now) : null;
  }
}

/** The VNIs of a port. */
export function vnisOf(segments: PortPlan['segments']): number[] {
  if ('vni' in segments) return [segments.vni];
  return [...Object.values(segments.vlans), ...(segments.native === undefined ? [] : [segments.native])];
}

/**
 * Returns the entries of a listing, computed one at a time.
 * @throws SchemaError for a VNI without a segment.
 */
export function listing(vtep: Vtep, request: ListRequest, now: number): Iterable<object> {
  if (request.command === 'remotes') return vtep.remoteEntries(now);
  const { command, vni } = request;
  if (vni !== undefined && !vtep.hasSegment(vni)) throw wrong('vni', knownVni(vtep.vnis()), vni);
  const entries = {
    fdb: (one: number) => vtep.fdbEntries(one, now),
    neighbors: (one: number) => vtep.neighborEntries(one),
    peers: (one: number) => vtep.peers(one),
  }[command];
  return ofSegments(vni === undefined ? vtep.vnis() : [vni], vtep, entries);
}

function* ofSegments(vnis: number[], vtep: Vtep, entries: (vni: number) => Iterable<object>): Generator<object> {
  for (const vni of vnis) {
    if (!vtep.hasSegment(vni)) continue; // the segment was removed after the listing began
    for (const entry of entries(vni)) yield { vni, ...entry };
  }
}

function wrong(path: string, expected: string, given: unknown): SchemaError {
  return new SchemaError([{ path, expected, given }]);
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

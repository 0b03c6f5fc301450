import { ipToText, parseIp, parseMac } from '../address/index.js';
import { LOCAL, type Binding } from '../neighbor/index.js';
import type { Location, NetworkRouter, NewSegment } from '../model/index.js';
import type { RouterNeighbor } from '../router/index.js';
import * as vxlan from '../vxlan/index.js';
import { uint } from '../wire/index.js';
import { announcementFrame, type AnnouncedEndpoint } from './announcement.js';
import { Announcer } from './announcer.js';
import { Associations } from './associations.js';
import { Context } from './context.js';
import { MAX_PEERS } from './flood-list.js';
import { remoteDestination, remoteIdOf } from './destination.js';
import { dryRun, type DryInput } from './dry-run.js';
import { type Explanation } from './explain.js';
import type { Frame } from './frame.js';
import { receiveDatagram, receiveFrame } from './ingress.js';
import {
  copyCounts,
  copyCountsOf,
  listFdb,
  listFdbEntry,
  listNeighbors,
  listRemotes,
  namedCounters,
  type Counters,
  type Counts,
  type FdbListing,
  type NeighborListing,
  type RemoteListing,
} from './listings.js';
import type { VtepOptions } from './options.js';
import { PathProbes, PROBES_PER_SECOND } from './path-probes.js';
import type { PortOptions } from './port.js';
import { Preparation } from './preparation.js';
import { lengthOfQuote } from './quote.js';
import { type RefusedSender } from './refused-senders.js';
import { canonicalAddress, type Remote } from './remote.js';
import { parseLocation, Segment } from './segment.js';
import { GatewayServices, MAX_REQUESTS } from './services.js';
import { adopt, fresh } from './sharing.js';
import type { Answered, Learned, VtepSink } from './sink.js';
import { isSameRouter, Routing } from './routing.js';
import { Sweeper } from './sweeper.js';
import { type Finding, type FindingPlace } from './watch.js';

/**
 * A VXLAN tunnel end point (RFC 7348) with a learning bridge and a proxy of ARP and neighbor discovery per segment. It is a
 * machine: it receives frames, datagrams and the time, and sends through a sink.
 *
 * Receiving a frame neither allocates nor throws; only the answer to a packet that is too big allocates. A mistake of
 * the caller, such as an unknown port, throws a `RangeError`.
 */
export class Vtep {
  readonly port: number;
  readonly local: string | null;
  /** Makes the frames of a batch faster, if the tables are large: see `Preparation`. */
  readonly preparation: Preparation;
  /** The services of this host at the gateways' addresses. */
  readonly services: GatewayServices;
  readonly associations: Associations;
  /** The MTUs of the paths to the remotes. */
  readonly paths: PathProbes;
  readonly #context: Context;
  readonly #announcer: Announcer;
  readonly #sweeper: Sweeper;
  /** By the ids of their networks. */
  readonly #routers = new Map<string, Routing>();
  /** Time of the last `findings`. */
  #watched = 0;

  constructor(options: VtepOptions = {}) {
    this.port = uint('port', options.port ?? vxlan.PORT, 65_535);
    this.local = options.local ?? null;
    const { peersOnly = false, learnedRemotes = 1024, seed = 0 } = options;
    this.#context = new Context(this.port, this.local, peersOnly, learnedRemotes, seed);
    this.preparation = new Preparation(this.#context);
    this.associations = new Associations(this.#context);
    this.#context.associations = this.associations;
    this.services = new GatewayServices(this.#context, options.requests ?? MAX_REQUESTS);
    this.paths = new PathProbes(this.#context, options.random ?? null, options.probes ?? PROBES_PER_SECOND);
    this.#context.paths = this.paths;
    this.#announcer = new Announcer(this.#context, options.announce ?? true);
    this.#sweeper = new Sweeper(this.#context.segments);
  }

  // ---- Configuration and control plane ----

  /**
   * Adds a segment. Its MTU is 1450 bytes unless given; the other defaults are `SEGMENT_DEFAULTS` of the model.
   * @throws RangeError for a VNI that already has a segment, or a field out of bounds.
   */
  addSegment(settings: NewSegment): void {
    const { segments, rows, common } = this.#context;
    const { vni } = settings;
    if (segments.has(vni)) throw new RangeError(`vni ${vni} already has a segment`);
    const segment = new Segment(settings, common, this.associations);
    segments.set(vni, segment);
    rows.set(vni, segment.hotRow);
  }

  /**
   * Removes a segment and its state. Trunks drop frames of its VLANs from then on.
   * @throws RangeError for a VNI without a segment, or whose segment has a gateway.
   */
  removeSegment(vni: number): void {
    const { segments, rows, ports, remotes } = this.#context;
    const segment = this.#context.segment(vni);
    if (segment.router !== null)
      throw new RangeError(
        `vni ${vni} has a gateway of network ${segment.router.network.id}; remove that router first`,
      );
    segment.named.forEach((references, id) => {
      if (references > 0) remotes.release(id, references);
    });
    segments.delete(vni);
    rows.delete(vni);
    this.#announcer.cancelSegment(segment);
    ports.removeSegment(segment);
    segment.close();
  }

  /**
   * Adds the router of a network: in each of its subnets it is the gateway, on this host as on every other.
   * @returns false if the network has this router already.
   * @throws RangeError for a network that has another router, a VNI without a segment or with another gateway, or an invalid
   *   address.
   */
  addRouter(network: NetworkRouter): boolean {
    const known = this.#routers.get(network.id)?.network;
    if (known === undefined) {
      this.#routers.set(network.id, new Routing(network, this.#context, this.services));
      return true;
    }
    if (isSameRouter(known, network)) return false;
    throw new RangeError(`network ${network.id} already has a router with other addresses; remove it first`);
  }

  /** Removes the router of a network, and returns whether there was one. Packets that wait for an address are dropped. */
  removeRouter(id: string): boolean {
    this.#routers.get(id)?.close();
    return this.#routers.delete(id);
  }

  hasSegment(vni: number): boolean {
    return this.#context.segments.has(vni);
  }

  /** The VNIs that have a segment. */
  vnis(): number[] {
    return [...this.#context.segments.keys()];
  }

  /**
   * Adds a local port and returns its number.
   * @throws RangeError for a VNI without a segment, or a VLAN id out of 1 to 4094.
   */
  addPort(options: PortOptions): number {
    return this.#context.ports.add(options, (vni) => this.#context.knownRowOf(vni));
  }

  /** Removes a local port and the addresses learned behind it. Its number is not reused. */
  removePort(port: number): void {
    this.#context.ports.remove(port); // throws for an unknown one
    this.#announcer.cancelPort(port);
    this.services.forgetPort(port);
  }

  /** Forgets the addresses behind a local port whose device has gone, so that they may appear elsewhere. */
  forgetPort(port: number): void {
    this.#context.ports.forget(port); // throws for an unknown one
    this.services.forgetPort(port);
  }

  /**
   * Accepts datagrams from an address in every segment, even though no peer and no endpoint names it yet: a member of the
   * cluster sends before its endpoints are known here. Without effect unless `peersOnly` is set.
   */
  addMember(address: string): void {
    this.#context.members.add(canonicalAddress(address));
  }

  /** Takes back `addMember`. */
  removeMember(address: string): void {
    this.#context.members.delete(canonicalAddress(address));
  }

  /**
   * Adds a remote VTEP to a segment's flood list. The next `tick` or `sendAnnouncements` sends it the ARP requests and
   * neighbor solicitations that local hosts sent within the last second.
   * @throws RangeError if the list holds `MAX_PEERS` others.
   */
  addPeer(vni: number, address: string, port?: number): void {
    const segment = this.#context.segment(vni);
    const known = this.#context.remotes.find(canonicalAddress(address));
    const isPeer = known !== undefined && segment.peers.has(known);
    if (!isPeer && segment.peers.size >= MAX_PEERS)
      throw new RangeError(
        `vni ${vni} already has ${MAX_PEERS} peers, the most that a network may have; remove one, or split the network`,
      );
    const remote = this.#nameIn(segment, address, port);
    if (isPeer) return this.#releaseIn(segment, remote.id);
    segment.peers.add(remote);
    this.#announcer.addPeer(segment, remote);
  }

  /** Removes a remote from a segment's flood list and returns whether it was there. Addresses learned behind it age out. */
  removePeer(vni: number, address: string): boolean {
    const segment = this.#context.segment(vni);
    const remote = this.#context.remotes.find(canonicalAddress(address));
    if (remote === undefined || !segment.peers.delete(remote)) return false;
    this.#releaseIn(segment, remote.id);
    return true;
  }

  /**
   * Adds an endpoint, which replaces the one that the segment has for its IP address. Several may share a MAC address: frames to
   * it go where the endpoint is that was added last. To add one again makes it the last one.
   *
   * If two hosts claim one address, the caller decides which of them holds it, as `weftnet/state` does.
   * @throws RangeError naming the field that is wrong.
   */
  addEndpoint(vni: number, endpoint: Location): void {
    const segment = this.#context.segment(vni);
    const { ip, mac } = parseLocation(endpoint); // throws for an invalid field before the remote gets a reference
    const before = segment.answeredMac(ip);
    let location = LOCAL;
    if (endpoint.vtep !== undefined) location = remoteDestination(this.#nameIn(segment, endpoint.vtep, undefined).id);
    const known = segment.neighbors.byIp(ip);
    const former = known === undefined ? null : { ip, mac: known.mac, location: known.location };
    segment.neighbors.add({ ip, mac, location });
    segment.applyLocation(mac);
    if (former !== null) this.#forgetEndpoint(segment, former, mac);
    this.#announcer.addressChanged(segment, ip, before);
  }

  /** Withdraws an endpoint. @returns whether the segment had it; if its IP address has another one, nothing changes. */
  removeEndpoint(vni: number, endpoint: Location): boolean {
    const segment = this.#context.segment(vni);
    let location = LOCAL;
    if (endpoint.vtep !== undefined) {
      const remote = this.#context.remotes.find(canonicalAddress(endpoint.vtep));
      if (remote === undefined) return false;
      location = remoteDestination(remote.id);
    }
    const { ip, mac } = parseLocation(endpoint);
    const before = segment.answeredMac(ip);
    if (!segment.neighbors.remove({ ip, mac, location })) return false;
    this.#forgetEndpoint(segment, { ip, mac, location }, 0);
    this.#announcer.addressChanged(segment, ip, before);
    return true;
  }

  /** A segment has a binding no more. @param by The MAC address of the one that has replaced it; 0 for none. */
  #forgetEndpoint(segment: Segment, { ip, mac, location }: Binding, by: number): void {
    if (mac !== by) {
      segment.applyLocation(mac);
      if (location === LOCAL) segment.freeStation(mac);
      this.#announcer.cancel(segment.vni, ipToText(ip), mac);
    }
    if (location !== LOCAL) this.#releaseIn(segment, remoteIdOf(location));
  }

  /**
   * Announces an endpoint of this host to the other local ports and to the flood list, by an ARP announcement (RFC
   * 5227, section 2.3) or an unsolicited neighbor advertisement (RFC 4861, section 7.2.6). The next `tick` or
   * `sendAnnouncements` sends it, and again 2 seconds later. Call it as soon as the endpoint's port can carry frames:
   * an address that returned with another MAC address is unreachable until its neighbors know.
   *
   * If the endpoint's port is given, its MAC address is learned there. A changed MAC address of an endpoint added by
   * `addEndpoint` is announced without a call.
   * @throws RangeError for an address that cannot belong to a single endpoint, or a port that is not in the segment.
   */
  announce(vni: number, { ip, mac, port }: AnnouncedEndpoint): void {
    const segment = this.#context.segment(vni);
    if (port !== undefined && !segment.hasMember(port))
      throw new RangeError(`port ${port} is not in the segment of vni ${vni}`);
    const frame = announcementFrame(ip, mac);
    this.#announcer.announce(segment, ipToText(parseIp(ip)), parseMac(mac), frame, port ?? -1, true);
  }

  /**
   * The remote at an underlay address, or `undefined`. An engine may keep it until the next `tick`, and pass it to
   * `receiveDatagram` instead of the address.
   */
  remote(address: string): Remote | undefined {
    return this.#context.remotes.find(canonicalAddress(address));
  }

  /** All known remotes. */
  remotes(): Iterable<Remote> {
    return this.#context.remotes.all();
  }

  // ---- The data path ----

  /**
   * Receives a frame from a local port. The machine may overwrite the frame and the `HEADROOM` bytes in front of it, and
   * moves the start of `frame`.
   *
   * The frame may be a super-frame: see `Frame.setMany`. The machine then decides once, and counts the packets that it
   * becomes on the wire. The sink receives the same `Frame`; for what the machine itself sends, such as an answer, it
   * receives another one.
   * @param now Milliseconds of a monotonic clock.
   */
  receiveFrame(port: number, frame: Frame, now: number, sink: VtepSink): void {
    this.#context.begin(now, sink);
    receiveFrame(this.#context, port, frame);
  }

  /**
   * Receives a VXLAN datagram: the UDP payload, which the machine may overwrite.
   *
   * It may be the common headers of several merged datagrams, up to TCP or UDP: the machine reads nothing behind them,
   * and delivers them as received.
   * @param source The sender's underlay address, or the `Remote` with that address.
   * @param ecn The ECN field of the outer header; 0 if the engine does not know it.
   */
  receiveDatagram(source: Remote | string, frame: Frame, now: number, ecn: number, sink: VtepSink): void {
    this.#context.begin(now, sink);
    receiveDatagram(this.#context, source, frame, ecn);
  }

  /**
   * The length of the datagram to `remote` that an ICMP error quotes, from its VXLAN header on. The quote is its
   * beginning, `bytes[offset, end)`.
   * @returns `NOT_OURS` if this VTEP has not sent such a datagram; `UNKNOWN_LENGTH` if the quote is too short to say.
   */
  lengthOfQuote(remote: Remote, bytes: Uint8Array, offset: number, end: number, now: number): number {
    return lengthOfQuote(this.#context, remote, bytes, offset, end, now);
  }

  /**
   * Removes expired state and sends the announcements that are due. Call it about once a second.
   *
   * Neither look-ups nor listings find an expired address. A call removes 7,500 of them, or looks at 131,072 slots of the
   * tables, of which there are 1.3 to 2.7 for an address. Until it is removed, an address uses memory and counts towards
   * the capacity of its segment: up to a second longer for every 50,000 addresses in all tables, and for every 2,000
   * segments.
   */
  tick(now: number, sink: VtepSink): void {
    const { common, remotes } = this.#context;
    this.#context.begin(now, sink);
    const asking = common.asking.splice(0);
    for (const questions of asking) if (questions.expire(now)) common.asking.push(questions);
    this.#sweeper.sweep(now);
    for (const router of this.#routers.values()) router.tick();
    this.services.expire(now);
    this.paths.tick();
    for (const id of remotes.forget((one) => common.memory.behind(remoteDestination(one)) > 0))
      this.associations.forget(id);
    this.associations.expire();
    this.#announcer.send();
  }

  /**
   * Sends the announcements that are due, and the recent questions to new peers. Call it after every change of peers or
   * endpoints, so that they do not wait for the next `tick`.
   */
  sendAnnouncements(now: number, sink: VtepSink): void {
    this.#context.begin(now, sink);
    this.#announcer.send();
  }

  // ---- Several machines in step ----

  /** Learns an address that another machine learned, unless this one saw it later. Does not count it as learned. */
  adopt(learned: Learned, now: number): void {
    adopt(this.#context, learned, now);
  }

  /** Learns from another machine that an address has answered a gateway. Packets that waited here for it are sent. */
  adoptAnswer(answered: Answered, now: number, sink: VtepSink): void {
    this.#context.begin(now, sink);
    for (const router of this.#routers.values()) router.adopt(answered);
  }

  /** The addresses seen within the last `age` milliseconds. Other machines adopt them, so that they do not expire there. */
  fresh(age: number, now: number): Learned[] {
    return fresh(this.#context, age, now);
  }

  // ---- Listings and explanations ----

  /** The forwarding database of a segment. */
  fdb(vni: number, now: number): FdbListing[] {
    return [...this.fdbEntries(vni, now)];
  }

  /** Like `fdb`, one entry at a time; frames may pass in between. */
  fdbEntries(vni: number, now: number): Iterable<FdbListing> {
    return listFdb(this.#context.segment(vni), this.#context, now);
  }

  /** The addresses that the router of a network has asked for; none if the network has no router. */
  routerNeighbors(id: string): RouterNeighbor[] {
    return this.#routers.get(id)?.router.neighbors() ?? [];
  }

  /** The FDB entry of one MAC address, or `null`. */
  fdbEntry(vni: number, mac: string, now: number): FdbListing | null {
    const entry = this.#context.segment(vni).fdb.entry(parseMac(mac), now);
    return entry === null ? null : listFdbEntry(entry, this.#context);
  }

  /** The endpoints of a segment that the control plane announced. */
  neighbors(vni: number): NeighborListing[] {
    return [...this.neighborEntries(vni)];
  }

  /** Like `neighbors`, one entry at a time; frames may pass in between. */
  neighborEntries(vni: number): Iterable<NeighborListing> {
    return listNeighbors(this.#context.segment(vni), this.#context);
  }

  /** The remotes, and the state of the paths to them. */
  remoteListing(now = this.#context.now): RemoteListing[] {
    return [...this.remoteEntries(now)];
  }

  /** Like `remoteListing`, one entry at a time; frames may pass in between. */
  remoteEntries(now = this.#context.now): Iterable<RemoteListing> {
    return listRemotes(this.#context, this.paths, now);
  }

  /**
   * With `peersOnly`, the senders that a segment refused since the last call, except those that have become known to
   * the control plane meanwhile. A segment remembers 16.
   */
  takeRefusedSenders(vni: number): RefusedSender[] {
    const segment = this.#context.segment(vni);
    return segment.refused.take().filter(({ address }) => {
      const known = this.#context.remotes.find(canonicalAddress(address));
      return known === undefined || !segment.names(known.id);
    });
  }

  /** The flood list of a segment. */
  peers(vni: number): { address: string; port: number }[] {
    return this.#context
      .segment(vni)
      .peers.all()
      .map(({ address, port }) => ({ address, port }));
  }

  /** Suspected problems since the last call. Call it about once a second. */
  findings(now: number): Finding[] {
    const seconds = Math.max(1, (now - this.#watched) / 1000);
    this.#watched = now;
    const placeOf = (location: number): FindingPlace => this.#context.placeOf(location);
    const { watches } = this.#context.common;
    const found: Finding[] = [];
    watches.period++;
    for (const watch of watches.noticed.splice(0)) found.push(...watch.findings(placeOf, seconds));
    return found;
  }

  counters(): Counters {
    return namedCounters(this.counts());
  }

  /** The counts behind `counters`, copied at one moment. */
  counts(): Counts {
    return copyCounts(this.#context);
  }

  /** The counts of one segment, copied, in the order of `Counts`. */
  countsOf(vni: number): Float64Array {
    return copyCountsOf(this.#context.segment(vni), this.#context);
  }

  /**
   * Explains, step by step, what would happen to a frame from a local port or to a datagram from the underlay, and why.
   * Sends, learns and counts nothing, and does not write the caller's bytes.
   */
  explain(input: DryInput, now: number): Explanation {
    return dryRun(this.#context, input, now);
  }

  /** Adds a reference by the control plane to a remote in a segment; `#releaseIn` removes it. */
  #nameIn(segment: Segment, address: string, port: number | undefined): Remote {
    const remote = this.#context.remotes.name(address, port, this.port);
    segment.named[remote.id] = (segment.named[remote.id] ?? 0) + 1;
    if (segment.group !== null) this.associations.want(segment.group, remote);
    return remote;
  }

  #releaseIn(segment: Segment, id: number): void {
    segment.named[id]!--;
    this.#context.remotes.release(id);
  }
}

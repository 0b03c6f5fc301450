import { formatIpv6, formatMac, ipv4ToText, macToText, parseIpv6, parseMac } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import { CONTRADICTED, FULL, LEARNED, MOVED, NONE, QUOTA } from '../fdb/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { ANSWER, hasNoSender, judge, LOCAL, ON_THIS_HOST, UNKNOWN } from '../neighbor/index.js';
import * as vxlan from '../vxlan/index.js';
import { getI32, getU16, setU16, TRUNCATED, uint } from '../wire/index.js';
import { announcementFrame, arpAnnouncement, AnnouncementQueue, type Announcement } from './announcement.js';
import { fillChecksum } from './checksum-fixup.js';
import { isRemote, portDestination, portOf, remoteDestination, remoteIdOf, UNLEARNED_REMOTE } from './destination.js';
import { DROP, DROPS, type DropReason } from './drops.js';
import { combine, ECN_DROP, NOT_ECT } from './ecn.js';
import { explaining, VERDICTS, type Explanation, type Step } from './explain.js';
import { flowHash, sourcePort } from './flow.js';
import {
  copyCounts,
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
import { vlanPairs, type Port, type PortOptions } from './port.js';
import { MAX_ARP_REPLY, MAX_REPLY_TAGS, writeArpReply } from './proxy.js';
import { type RefusedSender } from './refused-senders.js';
import { canonicalAddress, Remotes, type Remote } from './remote.js';
import {
  COUNT,
  COUNTS,
  FIRST_DROP,
  HEADROOM,
  Segment,
  toBinding,
  type Endpoint,
  type Member,
  type SegmentOptions,
} from './segment.js';
import type { Learned, VtepSink } from './sink.js';
import { FrameTags, isUntagged } from './tags.js';
import { TokenBucket } from './token-bucket.js';
import { IPV6_MIN_MTU, tooBigAnswer } from './too-big.js';
import { claimedAddress, keyOfIpv6, type Finding } from './watch.js';

const { vlan } = ethernet;

/** Maximum number of ICMP errors sent per second (RFC 1812, section 4.3.2.8). */
const ERRORS_PER_SECOND = 1000;

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;
const UNTAGGED = -1;
/** Bytes of destination and source. */
const ADDRESSES = ETHERNET - 2;
export interface VtepOptions {
  /** UDP port of remotes that are given without one. Default 4789. */
  port?: number;
  /** This VTEP's own underlay address; datagrams that claim to come from it are dropped. */
  local?: string;
  /**
   * Whether a segment drops datagrams from addresses that are neither its peers nor the VTEPs of its endpoints. Default
   * false, as in RFC 7348; the `vtep` program sets it.
   */
  peersOnly?: boolean;
  /** Maximum number of remotes learned from datagrams. Default 1024. */
  learnedRemotes?: number;
  /** An integer that outsiders cannot guess; see `FdbOptions.seed`. Default 0. */
  seed?: number;
  /** Whether this machine sends announcements. Of several machines with the same ports only one may. Default true. */
  announce?: boolean;
}

/** An endpoint of this host to announce. */
export interface AnnouncedEndpoint {
  /** IPv4 or IPv6 address. */
  ip: string;
  mac: string;
  /**
   * The local port that it is behind, which does not receive the announcement. Give it if known: a host that receives
   * an advertisement of an address that it is still probing takes the address for a duplicate (RFC 4862, section
   * 5.4.4).
   */
  port?: number;
}

/**
 * A VXLAN tunnel end point (RFC 7348) with a learning bridge and an ARP proxy per segment. It is a machine: it receives
 * frames, datagrams and the time, and sends through a sink.
 *
 * Receiving a frame neither allocates nor throws; only the answer to a packet that is too big allocates. A mistake of
 * the caller, such as an unknown port, throws a `RangeError`.
 */
export class Vtep {
  readonly port: number;
  readonly local: string | null;
  readonly #peersOnly: boolean;
  readonly #seed: number;
  readonly #segments = new Map<number, Segment>();
  readonly #ports: (Port | null)[] = [];
  readonly #remotes: Remotes;
  /** Addresses of cluster members: their datagrams are accepted even if no peer and no endpoint is there. */
  readonly #members = new Set<string>();
  /** Drops of datagrams that reached no segment, at `FIRST_DROP` and up. */
  readonly #counters = new Float64Array(COUNTS.length + DROPS.length);
  readonly #announcements: AnnouncementQueue | null;
  /** Peers added since the last `sendAnnouncements`, which have not received the recent questions of their segment. */
  #newPeers: { segment: Segment; remote: Remote }[] = [];
  readonly #arpReply = new Uint8Array(HEADROOM + MAX_ARP_REPLY);
  /** Those of the current frame. */
  readonly #tags = new FrameTags();
  /** Number of packets on the wire that the current frame represents. */
  #packets = 1;
  /** Their total bytes, minus those of the frame in the buffer. */
  #moreBytes = 0;
  /** How many bytes the frame in the buffer is longer than the largest of them. */
  #excess = 0;
  #watched = 0;
  readonly #errors = new TokenBucket(ERRORS_PER_SECOND);
  /** The steps so far while `explain` runs, otherwise `null`. Nothing is learned while it is set. */
  #trace: Step[] | null = null;
  #traceDrop: DropReason | null = null;

  constructor(options: VtepOptions = {}) {
    this.port = uint('port', options.port ?? vxlan.PORT, 65_535);
    this.local = options.local ?? null;
    this.#peersOnly = options.peersOnly ?? false;
    this.#seed = options.seed ?? 0;
    this.#remotes = new Remotes(options.learnedRemotes ?? 1024);
    this.#announcements = (options.announce ?? true) ? new AnnouncementQueue(HEADROOM) : null;
  }

  // ---- Configuration and control plane ----

  /** @throws RangeError for a VNI that already has a segment, or a field out of bounds. */
  addSegment(options: SegmentOptions): void {
    if (this.#segments.has(options.vni)) throw new RangeError(`vni ${options.vni} already has a segment`);
    this.#segments.set(options.vni, new Segment(options, this.#seed));
  }

  /** Removes a segment and its state. Trunks drop frames of its VLANs from then on. */
  removeSegment(vni: number): void {
    const segment = this.#segment(vni);
    for (const remote of segment.peers) this.#remotes.release(remote.id);
    for (const { location } of segment.neighbors.bindings())
      if (location !== LOCAL) this.#remotes.release(remoteIdOf(location));
    this.#segments.delete(vni);
    this.#newPeers = this.#newPeers.filter((one) => one.segment !== segment);
    this.#announcements?.cancelSegment(vni);
    for (const port of this.#ports) {
      if (port?.segment === segment || (port?.vlans && [...port.vlans.values()].includes(segment)))
        this.#ports[port.id] = {
          ...port,
          segment: port.segment === segment ? null : port.segment,
          vlans: port.vlans && new Map([...port.vlans].filter(([, one]) => one !== segment)),
        };
    }
  }

  hasSegment(vni: number): boolean {
    return this.#segments.has(vni);
  }

  /** The VNIs that have a segment. */
  vnis(): number[] {
    return [...this.#segments.keys()];
  }

  /**
   * Adds a local port and returns its number.
   * @throws RangeError for a VNI without a segment, or a VLAN id out of 1 to 4094.
   */
  addPort(options: PortOptions): number {
    const id = this.#ports.length;
    if ('vni' in options) {
      const segment = this.#segment(options.vni);
      this.#ports.push({ id, name: options.name, segment, vlans: null });
      segment.members = [...segment.members, { port: id, vlan: UNTAGGED }];
      return id;
    }
    const vlans = new Map<number, Segment>();
    const members: [Segment, Member][] = [];
    const native = options.native === undefined ? null : this.#segment(options.native);
    if (native !== null) members.push([native, { port: id, vlan: UNTAGGED }]);
    for (const [vid, vni] of vlanPairs(options.vlans)) {
      if (!Number.isInteger(vid) || vid < 1 || vid > vlan.MAX_ID)
        throw new RangeError(`VLAN id must be an integer from 1 to ${vlan.MAX_ID}, not ${vid}`);
      const segment = this.#segment(vni);
      if (members.some(([other]) => other === segment))
        throw new RangeError(`vni ${vni} is mapped twice on port ${options.name}; map it to one VLAN only`);
      vlans.set(vid, segment);
      members.push([segment, { port: id, vlan: vid }]);
    }
    this.#ports.push({ id, name: options.name, segment: native, vlans });
    for (const [segment, member] of members) segment.members = [...segment.members, member];
    return id;
  }

  /** Removes a local port and the addresses learned behind it. Its number is not reused. */
  removePort(port: number): void {
    this.#port(port);
    this.#ports[port] = null;
    this.#announcements?.cancelPort(port);
    for (const segment of this.#segments.values()) {
      segment.members = segment.members.filter((member) => member.port !== port);
      segment.fdb.flush(portDestination(port));
    }
  }

  /**
   * Accepts datagrams from an address in every segment, even though no peer and no endpoint names it yet: a member of the
   * cluster sends before its endpoints are known here. Without effect unless `peersOnly` is set.
   */
  addMember(address: string): void {
    this.#members.add(canonicalAddress(address));
  }

  /** Takes back `addMember`. */
  removeMember(address: string): void {
    this.#members.delete(canonicalAddress(address));
  }

  /**
   * Adds a remote VTEP to a segment's flood list. The next `tick` or `sendAnnouncements` sends it the ARP requests and
   * neighbor solicitations that local hosts sent within the last second.
   */
  addPeer(vni: number, address: string, port?: number): void {
    const segment = this.#segment(vni);
    const remote = this.#nameIn(segment, address, port);
    if (segment.peers.includes(remote)) return this.#releaseIn(segment, remote.id);
    segment.peers = [...segment.peers, remote];
    this.#newPeers.push({ segment, remote });
  }

  /** Removes a remote from a segment's flood list and returns whether it was there. Addresses learned behind it age out. */
  removePeer(vni: number, address: string): boolean {
    const segment = this.#segment(vni);
    const remote = this.#remotes.find(canonicalAddress(address));
    if (remote === undefined || !segment.peers.includes(remote)) return false;
    segment.peers = segment.peers.filter((one) => one !== remote);
    this.#releaseIn(segment, remote.id);
    return true;
  }

  /**
   * Adds an endpoint. If several have the same IP or MAC address, the one added last is in effect until it is removed.
   * @throws RangeError naming the field that is wrong.
   */
  addEndpoint(vni: number, endpoint: Endpoint): void {
    const segment = this.#segment(vni);
    const { ip } = toBinding(endpoint, LOCAL); // throws for an invalid field before the remote gets a reference
    const before = this.#answeredMac(segment, ip);
    let location = LOCAL;
    if (endpoint.vtep !== undefined) {
      const remote = this.#nameIn(segment, endpoint.vtep, undefined);
      location = remoteDestination(remote.id);
      if (segment.neighbors.remove(toBinding(endpoint, location))) this.#releaseIn(segment, remote.id);
    }
    const binding = toBinding(endpoint, location);
    segment.neighbors.add(binding);
    this.#applyLocation(segment, binding.mac);
    this.#announceChange(segment, ip, before);
  }

  /** Withdraws an endpoint and returns whether it was known. */
  removeEndpoint(vni: number, endpoint: Endpoint): boolean {
    const segment = this.#segment(vni);
    let location = LOCAL;
    if (endpoint.vtep !== undefined) {
      const remote = this.#remotes.find(canonicalAddress(endpoint.vtep));
      if (remote === undefined) return false;
      location = remoteDestination(remote.id);
    }
    const binding = toBinding(endpoint, location);
    const before = this.#answeredMac(segment, binding.ip);
    if (!segment.neighbors.remove(binding)) return false;
    this.#applyLocation(segment, binding.mac);
    if (location !== LOCAL) this.#releaseIn(segment, remoteIdOf(location));
    this.#announcements?.cancel(vni, ipv4ToText(binding.ip), binding.mac);
    this.#announceChange(segment, binding.ip, before);
    return true;
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
    const segment = this.#segment(vni);
    if (port !== undefined && !segment.members.some((member) => member.port === port))
      throw new RangeError(`port ${port} is not in the segment of vni ${vni}`);
    const frame = announcementFrame(ip, mac);
    const canonical = ip.includes(':') ? formatIpv6(parseIpv6(ip)) : ip;
    this.#queueAnnouncement(segment, canonical, parseMac(mac), frame, port ?? -1, true);
  }

  /**
   * The remote at an underlay address, or `undefined`. An engine may keep it until the next `tick`, and pass it to
   * `receiveDatagram` instead of the address.
   */
  remote(address: string): Remote | undefined {
    return this.#remotes.find(canonicalAddress(address));
  }

  /** All known remotes. */
  remotes(): Iterable<Remote> {
    return this.#remotes.all();
  }

  // ---- The data path ----

  /**
   * Receives a frame from a local port. The machine may overwrite the frame and the `HEADROOM` bytes in front of it.
   *
   * The frame may be a super-frame. The machine then decides once, and counts the packets that it becomes on the wire.
   * The sink receives it whole; its `bytes` distinguish it from the machine's own frames, such as an answer.
   * @param now Milliseconds of a monotonic clock.
   * @param packets Number of frames after segmentation.
   * @param wire Total bytes of these.
   * @param largest Bytes of the largest of these.
   */
  receiveFrame(
    port: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: VtepSink,
    packets = 1,
    wire = end - offset,
    largest = end - offset,
  ): void {
    const from = this.#port(port);
    let segment = from.segment;
    this.#packets = packets;
    this.#moreBytes = wire - (end - offset);
    this.#excess = end - offset - largest;
    if (end - offset < ETHERNET) return this.#drop(segment, DROP['frame-truncated']);
    const type = ethernet.getEtherType(bytes, offset);
    if (isUntagged(type)) this.#tags.setUntagged(offset, type);
    else {
      const reason = this.#tags.read(from, segment, bytes, offset, end, this.#trace);
      segment = this.#tags.segment;
      if (reason >= 0) return this.#drop(segment, reason);
      this.#moreBytes -= (this.#tags.start - offset) * (packets - 1);
    }
    if (segment === null) return this.#drop(null, DROP['vlan-unmapped']);
    const start = this.#tags.start;
    segment.counters[COUNT['frames-in']]! += packets;
    segment.counters[COUNT['frame-bytes-in']]! += end - start + this.#moreBytes;
    if (this.#trace !== null)
      this.#addStep(
        'port',
        `${from.name}, VNI ${segment.vni}: ${end - start} bytes from ${formatMac(bytes, start + SOURCE)} to ${formatMac(bytes, start)}`,
      );
    this.#bridge(segment, portDestination(port), bytes, start, end, now, sink);
  }

  /**
   * Receives a VXLAN datagram: the UDP payload, which the machine may overwrite.
   *
   * It may be the common headers of several merged datagrams, up to TCP or UDP: the machine reads nothing behind them,
   * and delivers them as received.
   * @param source The sender's underlay address, or the `Remote` with that address.
   * @param ecn The ECN field of the outer header; 0 if the engine does not know it.
   * @param packets Number of datagrams that were merged.
   * @param wire Total bytes of these.
   */
  receiveDatagram(
    source: Remote | string,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    ecn: number,
    sink: VtepSink,
    packets = 1,
    wire = end - offset,
  ): void {
    this.#packets = packets;
    const code = vxlan.check(bytes, offset, end);
    if (code < 0) return this.#drop(null, code === TRUNCATED ? DROP['datagram-truncated'] : DROP['vxlan-flag']);
    const vni = vxlan.getVni(bytes, offset);
    const segment = this.#segments.get(vni) ?? null;
    if (this.#trace !== null)
      this.#addStep('vxlan', `VNI ${vni} from ${typeof source === 'string' ? source : source.address}`);
    if (segment === null) return this.#drop(null, DROP['unknown-vni']);
    const known = typeof source === 'string' ? this.#remotes.find(source) : source;
    if (source === this.local || (known !== undefined && known.address === this.local))
      return this.#drop(segment, DROP['own-address']);
    if (
      this.#peersOnly &&
      (known === undefined || !isNamed(segment, known.id)) &&
      !this.#members.has(typeof source === 'string' ? source : source.address)
    ) {
      if (this.#trace === null) segment.refused.note(known?.address ?? (source as string), packets);
      return this.#drop(segment, DROP['unknown-peer']);
    }
    segment.counters[COUNT['datagrams-in']]! += packets;
    segment.counters[COUNT['datagram-bytes-in']]! += wire;
    this.#moreBytes = wire - (end - offset) - vxlan.HEADER_LENGTH * (packets - 1);
    this.#excess = 0;

    const frame = offset + vxlan.HEADER_LENGTH;
    if (end - frame < ETHERNET) return this.#drop(segment, DROP['frame-truncated']);
    const type = ethernet.getEtherType(bytes, frame);
    if (isUntagged(type)) this.#tags.setUntagged(frame, type);
    else {
      const reason = this.#tags.read(null, segment, bytes, frame, end, this.#trace);
      if (reason >= 0) return this.#drop(segment, reason);
      this.#moreBytes -= (this.#tags.start - frame) * (packets - 1);
    }
    const start = this.#tags.start;
    if (ecn !== NOT_ECT && !this.#applyEcn(segment, bytes, end, ecn)) return this.#drop(segment, DROP['ecn']);
    if (fillChecksum(bytes, start, end)) {
      segment.counters[COUNT['checksums-filled']]! += packets;
      if (this.#trace !== null) this.#addStep('underlay', 'the sender left the checksum unfinished; it is filled in');
    }

    let from = NONE;
    if (segment.learn && !vxlan.getDontLearn(bytes, offset)) {
      if (known !== undefined) from = remoteDestination(known.id);
      else if (this.#trace !== null)
        this.#addStep('fdb', `${formatMac(bytes, start + SOURCE)} would be learned behind ${source}`);
      else {
        const remote = this.#remotes.learn(source as string, this.port);
        if (remote !== null) from = remoteDestination(remote.id);
        else segment.counters[COUNT['learn-refused']]! += 1;
      }
    }
    this.#bridge(segment, from === NONE ? UNLEARNED_REMOTE : from, bytes, start, end, now, sink);
  }

  /** Removes expired state and sends the announcements that are due. Call it about once a second. */
  tick(now: number, sink: VtepSink): void {
    for (const { fdb, questions } of this.#segments.values()) {
      fdb.sweep(now);
      questions.expire(now);
    }
    this.#remotes.forget((id) => {
      for (const segment of this.#segments.values()) if (segment.fdb.behind(remoteDestination(id)) > 0) return true;
      return false;
    });
    this.sendAnnouncements(now, sink);
  }

  /**
   * Sends the announcements that are due, and the recent questions to new peers. Call it after every change of peers or
   * endpoints, so that they do not wait for the next `tick`.
   */
  sendAnnouncements(now: number, sink: VtepSink): void {
    if (this.#newPeers.length > 0) this.#askNewPeers(now, sink);
    this.#announcements?.send(now, (announcement) => this.#sendAnnouncement(announcement, now, sink));
  }

  // ---- Several machines in step ----

  /** Learns an address that another machine learned, unless this one saw it later. Does not count it as learned. */
  adopt({ vni, mac, location, age }: Learned, now: number): void {
    const segment = this.#segments.get(vni);
    if (segment === undefined) return;
    if (typeof location === 'number') {
      if (this.#ports[location]) segment.fdb.adopt(mac, portDestination(location), age, now);
      return;
    }
    const remote = this.#remotes.learn(location, this.port);
    if (remote !== null) segment.fdb.adopt(mac, remoteDestination(remote.id), age, now);
  }

  /** The addresses seen within the last `age` milliseconds. Other machines adopt them, so that they do not expire there. */
  fresh(age: number, now: number): Learned[] {
    const found: Learned[] = [];
    for (const { vni, fdb } of this.#segments.values())
      for (const entry of fdb.entries(now))
        if (!entry.static && entry.age <= age)
          found.push({ vni, mac: parseMac(entry.mac), location: this.#locationOf(entry.destination), age: entry.age });
    return found;
  }

  // ---- Listings and explanations ----

  /** The forwarding database of a segment. */
  fdb(vni: number, now: number): FdbListing[] {
    return [...this.fdbEntries(vni, now)];
  }

  /** Like `fdb`, one entry at a time; frames may pass in between. */
  fdbEntries(vni: number, now: number): Iterable<FdbListing> {
    return listFdb(this.#segment(vni), this.#ports, this.#remotes, now);
  }

  /** The FDB entry of one MAC address, or `null`. */
  fdbEntry(vni: number, mac: string, now: number): FdbListing | null {
    const entry = this.#segment(vni).fdb.entry(parseMac(mac), now);
    return entry === null ? null : listFdbEntry(entry, this.#ports, this.#remotes);
  }

  /** The endpoints of a segment that the control plane announced. */
  neighbors(vni: number): NeighborListing[] {
    return [...this.neighborEntries(vni)];
  }

  /** Like `neighbors`, one entry at a time; frames may pass in between. */
  neighborEntries(vni: number): Iterable<NeighborListing> {
    return listNeighbors(this.#segment(vni), this.#remotes);
  }

  /** The remotes, and the state of the paths to them. */
  remoteListing(): RemoteListing[] {
    return [...this.remoteEntries()];
  }

  /** Like `remoteListing`, one entry at a time; frames may pass in between. */
  remoteEntries(): Iterable<RemoteListing> {
    return listRemotes(this.#remotes);
  }

  /**
   * With `peersOnly`, the senders that a segment refused since the last call, except those that have become known to
   * the control plane meanwhile. A segment remembers 16.
   */
  takeRefusedSenders(vni: number): RefusedSender[] {
    const segment = this.#segment(vni);
    return segment.refused.take().filter(({ address }) => {
      const known = this.#remotes.find(canonicalAddress(address));
      return known === undefined || !isNamed(segment, known.id);
    });
  }

  /** The flood list of a segment. */
  peers(vni: number): { address: string; port: number }[] {
    return this.#segment(vni).peers.map(({ address, port }) => ({ address, port }));
  }

  counters(): Counters {
    return namedCounters(this.counts());
  }

  /** The counts behind `counters`, copied at one moment. */
  counts(): Counts {
    return copyCounts(this.#counters, this.#segments.values());
  }

  /**
   * Explains, step by step, what would happen to a frame from a local port or to a datagram from the underlay, and why.
   * Sends, learns and counts nothing, and does not write the caller's bytes.
   */
  explain(
    input: { port: number; frame: Uint8Array } | { from: string; datagram: Uint8Array; ecn?: number },
    now: number,
  ): Explanation {
    const steps: Step[] = [];
    const delivered: string[] = [];
    const transmitted: string[] = [];
    const sink = explaining({ steps, delivered, transmitted }, (port) => this.#ports[port]!.name);
    const kept = [this.#counters, ...[...this.#segments.values()].map(({ counters }) => counters)].map(
      (counters) => [counters, counters.slice()] as const,
    );
    const tokens = this.#errors.tokens;
    this.#trace = steps;
    this.#traceDrop = null;
    try {
      const data = 'frame' in input ? input.frame : input.datagram;
      const bytes = new Uint8Array(HEADROOM + data.length);
      bytes.set(data, HEADROOM);
      if ('frame' in input) this.receiveFrame(input.port, bytes, HEADROOM, bytes.length, now, sink);
      else this.receiveDatagram(input.from, bytes, HEADROOM, bytes.length, now, input.ecn ?? 0, sink);
      return { steps, delivered, transmitted, dropped: this.#traceDrop };
    } finally {
      this.#trace = null;
      this.#errors.tokens = tokens;
      for (const [counters, before] of kept) counters.set(before);
    }
  }

  // ---- Inside ----

  /** The bridge of a segment: learn, answer, look up, forward. `from` is where the frame came from. */
  #bridge(
    segment: Segment,
    from: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: VtepSink,
  ): void {
    if (ethernet.isFromGroup(bytes, offset) || isFromZero(bytes, offset))
      return this.#drop(segment, DROP['source-group']);
    if (segment.proxy === 'vtep' && ethernet.getSource(bytes, offset) === segment.mac)
      return this.#drop(segment, DROP['source-own']);
    if (from !== UNLEARNED_REMOTE) this.#learn(segment, from, bytes, offset, now, sink);

    const type = this.#tags.type;
    const group = ethernet.isToGroup(bytes, offset);
    if (type === ethernet.TYPE_ARP) {
      const packet = this.#tags.payload;
      if (hasNoSender(bytes, packet, end)) return this.#drop(segment, DROP['arp-sender']);
      this.#watchArp(segment, from, bytes, packet, end, now);
      if (
        !isRemote(from) &&
        segment.proxy !== 'off' &&
        this.#proxy(segment, from, bytes, offset, end, group, now, sink)
      )
        return;
    }
    if (group) {
      if (type === ethernet.TYPE_IPV6) this.#watchNeighborDiscovery(segment, from, bytes, offset, end, now);
      if (ethernet.isToReservedGroup(bytes, offset)) return this.#drop(segment, DROP['reserved-group']);
      if (!isRemote(from)) this.#keepQuestion(segment, from, bytes, offset, end, now);
      return this.#flood(segment, from, bytes, offset, end, now, sink);
    }

    if (ethernet.isToItself(bytes, offset)) return this.#drop(segment, DROP['same-port']);
    const gateway =
      segment.proxy === 'vtep' && !isRemote(from) && ethernet.getDestination(bytes, offset) === segment.mac;
    const to = gateway ? this.#resolve(segment, bytes, offset, end, now) : segment.fdb.lookup(bytes, offset, now);
    if (this.#trace !== null)
      this.#addStep('fdb', `${formatMac(bytes, offset)} is ${to === NONE ? 'unknown' : `behind ${this.#name(to)}`}`);
    if (to === NONE) {
      const mac = ethernet.getDestination(bytes, offset);
      if (this.#isLocal(segment, mac)) return this.#flood(segment, from, bytes, offset, end, now, sink, true);
      // If `#resolve` finds the neighbor, it rewrites the destination address.
      if (gateway && mac === segment.mac) return this.#drop(segment, DROP['no-neighbor']);
      if (!segment.flood) return this.#drop(segment, DROP['unknown-destination']);
      return this.#flood(segment, from, bytes, offset, end, now, sink);
    }
    if (isRemote(to)) {
      if (isRemote(from)) return this.#drop(segment, DROP['split-horizon']);
      return this.#encapsulate(segment, from, this.#remotes.get(remoteIdOf(to)), bytes, offset, end, now, sink);
    }
    if (to === from) return this.#drop(segment, DROP['same-port']);
    this.#deliver(segment, portOf(to), this.#vlanOn(segment, portOf(to)), bytes, offset, end, sink);
  }

  #learn(segment: Segment, from: number, bytes: Uint8Array, offset: number, now: number, sink: VtepSink): void {
    if (this.#trace !== null) {
      const known = segment.fdb.lookup(bytes, offset + SOURCE, now);
      const stays = isRemote(from) && this.#isLocal(segment, ethernet.getSource(bytes, offset));
      const fixed = stays || segment.fdb.isStatic(bytes, offset + SOURCE) ? ' according to the control plane' : '';
      const source = `source ${formatMac(bytes, offset + SOURCE)}`;
      if (known === from) this.#addStep('fdb', `${source} is known behind ${this.#name(from)}${fixed}`);
      else if (stays)
        this.#addStep('fdb', `${source} is an endpoint of this host according to the control plane; that stays`);
      else {
        const before = known === NONE ? 'is new' : `was behind ${this.#name(known)}${fixed}`;
        const after = fixed ? 'that stays' : `it would be learned behind ${this.#name(from)}`;
        this.#addStep('fdb', `${source} ${before}; ${after}`);
      }
      return;
    }
    if (segment.fdb.refresh(bytes, offset + SOURCE, from, now)) return;
    // A datagram must not move an endpoint of this host to a remote.
    const stays = isRemote(from) && this.#isLocal(segment, ethernet.getSource(bytes, offset));
    const outcome = stays ? CONTRADICTED : segment.fdb.learn(bytes, offset + SOURCE, from, now);
    if (outcome === LEARNED) {
      segment.counters[COUNT['learned']]! += 1;
      segment.watch.learned(from);
    } else if (outcome === MOVED) {
      segment.counters[COUNT['moved']]! += 1;
      segment.watch.moved(ethernet.getSource(bytes, offset), segment.fdb.movedFrom, from);
    } else if (outcome === CONTRADICTED) segment.counters[COUNT['contradicted']]! += this.#packets;
    else if (outcome === FULL || outcome === QUOTA) {
      segment.counters[COUNT['learn-refused']]! += 1;
      segment.watch.refused(from);
    }
    if ((outcome === LEARNED || outcome === MOVED) && sink.learned !== undefined)
      sink.learned({
        vni: segment.vni,
        mac: ethernet.getSource(bytes, offset),
        location: this.#locationOf(from),
        age: 0,
      });
  }

  /** Checks whether a second MAC address claims the sender's IP address of an ARP packet. */
  #watchArp(segment: Segment, from: number, bytes: Uint8Array, packet: number, end: number, now: number): void {
    if (arp.check(bytes, packet, end) < 0 || !arp.isEthernetIpv4(bytes, packet)) return;
    const ip = arp.getSenderIp(bytes, packet);
    const mac = arp.getSenderMac(bytes, packet);
    const binding = segment.neighbors.byIp(ip);
    if (binding === undefined) {
      const other = this.#trace === null ? segment.watch.claims(ip, mac, now) : 0;
      if (other !== 0) segment.watch.duplicate(ipv4ToText(ip), other, mac, from, false);
    } else if (binding.mac !== mac) {
      segment.counters[COUNT['duplicate-address']]! += 1;
      if (this.#trace === null) segment.watch.duplicate(ipv4ToText(ip), binding.mac, mac, from, true);
    }
  }

  /** Does the same for the address in a multicast neighbor solicitation or advertisement. */
  #watchNeighborDiscovery(
    segment: Segment,
    from: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
  ): void {
    const at = claimedAddress(bytes, this.#tags.payload, end);
    if (at < 0 || this.#trace !== null) return;
    const mac = ethernet.getSource(bytes, offset);
    const other = segment.watch.claims(keyOfIpv6(bytes, at), mac, now);
    if (other !== 0) segment.watch.duplicate(formatIpv6(bytes, at), other, mac, from, false);
  }

  /** Suspected problems since the last call. Call it about once a second. */
  findings(now: number): Finding[] {
    const seconds = Math.max(1, (now - this.#watched) / 1000);
    this.#watched = now;
    const name = (location: number): string =>
      location === UNLEARNED_REMOTE
        ? 'a tunnel'
        : isRemote(location)
          ? `VTEP ${this.#remotes.get(remoteIdOf(location))?.address ?? 'forgotten'}`
          : `port ${this.#ports[portOf(location)]?.name ?? 'removed'}`;
    return [...this.#segments.values()].flatMap(({ watch }) => watch.findings(name, seconds));
  }

  #locationOf(destination: number): number | string {
    return isRemote(destination) ? this.#remotes.get(remoteIdOf(destination)).address : portOf(destination);
  }

  /** Lets the proxy answer or drop an ARP packet from a local port, and returns whether it did. */
  #proxy(
    segment: Segment,
    from: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    group: boolean,
    now: number,
    sink: VtepSink,
  ): boolean {
    const packet = this.#tags.payload;
    // An answer has the tags of the request. If they do not fit, the request is forwarded like any frame.
    if (this.#tags.snap || packet - offset - ETHERNET > MAX_REPLY_TAGS) return false;
    const verdict = judge(segment.neighbors, bytes, packet, end);
    if (this.#trace !== null && verdict !== ANSWER) this.#addStep('arp', VERDICTS[verdict]!);
    if (verdict === ANSWER) {
      const { mac } = segment.neighbors.byIp(arp.getTargetIp(bytes, packet))!;
      this.#answer(segment, from, bytes, offset, segment.proxy === 'vtep' ? segment.mac : mac, sink);
      return true;
    }
    // The sender knows the VTEP's address for an endpoint that was remote then and is local now, so its unicast request
    // does not reach the endpoint.
    if (
      verdict === ON_THIS_HOST &&
      segment.proxy === 'vtep' &&
      ethernet.getDestination(bytes, offset) === segment.mac
    ) {
      const { mac } = segment.neighbors.byIp(arp.getTargetIp(bytes, packet))!;
      this.#answer(segment, from, bytes, offset, mac, sink);
      return true;
    }
    if (verdict === UNKNOWN && group && !segment.flood) {
      this.#keepQuestion(segment, from, bytes, offset, end, now);
      this.#drop(segment, DROP['arp-unknown']);
      return true;
    }
    return false;
  }

  /** Answers an ARP request for an endpoint with the request's tags. */
  #answer(segment: Segment, from: number, bytes: Uint8Array, offset: number, mac: number, sink: VtepSink): void {
    const request = this.#tags.payload;
    const reply = this.#arpReply;
    const target = arp.getTargetIp(bytes, request);
    if (this.#trace !== null) this.#addStep('arp', `the proxy answers: ${ipv4ToText(target)} is at ${macToText(mac)}`);
    const end = writeArpReply(reply, HEADROOM, bytes, offset, request, mac);
    segment.counters[COUNT['arp-answered']]! += 1;
    this.#reply(segment, from, reply, end, sink);
  }

  /** Sends a frame of the machine's own, `HEADROOM` bytes into a buffer, to the port that the current frame came from. */
  #reply(segment: Segment, from: number, bytes: Uint8Array, end: number, sink: VtepSink): void {
    const packets = this.#packets;
    const moreBytes = this.#moreBytes;
    this.#packets = 1;
    this.#moreBytes = 0;
    const port = portOf(from);
    this.#deliver(segment, port, this.#vlanOn(segment, port), bytes, HEADROOM, end, sink);
    this.#packets = packets;
    this.#moreBytes = moreBytes;
  }

  /**
   * The destination of a packet to the VTEP's own MAC address, by its IP address. Rewrites the frame's destination
   * address.
   */
  #resolve(segment: Segment, bytes: Uint8Array, offset: number, end: number, now: number): number {
    const ip = this.#tags.payload;
    if (this.#tags.type !== ethernet.TYPE_IPV4 || this.#tags.snap || end - ip < ipv4.MIN_HEADER_LENGTH) return NONE;
    const binding = segment.neighbors.byIp(ipv4.getDestination(bytes, ip));
    if (binding === undefined) return NONE;
    ethernet.setDestination(bytes, offset, binding.mac);
    if (this.#trace !== null)
      this.#addStep('neighbor', `the packet is for ${macToText(binding.mac)}, ${this.#name(binding.location)}`);
    return binding.location === LOCAL ? segment.fdb.lookup(bytes, offset, now) : binding.location;
  }

  /**
   * Floods a frame to every other local port, and to the flood list unless it came from a tunnel (split horizon).
   * @param here Whether it is for a silent endpoint of this host, whose port is unknown; it is then not sent to peers.
   */
  #flood(
    segment: Segment,
    from: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: VtepSink,
    here = false,
  ): void {
    const { members, peers } = segment;
    const tunnels = here || isRemote(from) ? 0 : peers.length;
    const others = members.length - (isRemote(from) ? 0 : 1);
    if (this.#trace !== null)
      this.#addStep(
        'flood',
        `to ${others} other local port(s) and ${tunnels} peer(s)${isRemote(from) ? ', since it came from a tunnel (split horizon)' : ''}`,
      );
    if (others + tunnels === 0) return this.#drop(segment, DROP['no-receiver']);
    segment.counters[COUNT['flooded']]! += this.#packets;
    for (let i = 0; i < members.length; i++) {
      const { port, vlan } = members[i]!;
      if (portDestination(port) !== from) this.#deliver(segment, port, vlan, bytes, offset, end, sink);
    }
    for (let i = 0; i < tunnels; i++) this.#encapsulate(segment, from, peers[i]!, bytes, offset, end, now, sink);
  }

  /** Keeps an ARP request or a neighbor solicitation, in case the one who can answer becomes known within a second. */
  #keepQuestion(segment: Segment, from: number, bytes: Uint8Array, offset: number, end: number, now: number): void {
    const { type, payload } = this.#tags;
    if (type !== ethernet.TYPE_ARP && type !== ethernet.TYPE_IPV6) return;
    if (this.#trace === null && payload - offset === ETHERNET)
      segment.questions.keep(portOf(from), bytes, offset, end, now);
  }

  #askNewPeers(now: number, sink: VtepSink): void {
    const peers = this.#newPeers;
    this.#newPeers = [];
    this.#packets = 1;
    this.#moreBytes = 0;
    this.#excess = 0;
    for (const { segment, remote } of peers) {
      if (!segment.peers.includes(remote)) continue;
      segment.questions.each(now, (port, bytes, offset, end) => {
        this.#tags.setUntagged(offset, ethernet.getEtherType(bytes, offset));
        segment.counters[COUNT['asked-again']]! += 1;
        this.#encapsulate(segment, portDestination(port), remote, bytes, offset, end, now, sink);
      });
    }
  }

  #encapsulate(
    segment: Segment,
    from: number,
    remote: Remote,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: VtepSink,
  ): void {
    const limit = remote.mtu < segment.mtu ? remote.mtu : segment.mtu;
    if (
      end - offset - this.#excess - ETHERNET > limit &&
      this.#tooBig(segment, from, limit, bytes, offset, end, now, sink)
    )
      return;
    const start = offset - vxlan.HEADER_LENGTH;
    vxlan.writeHeader(bytes, start, segment.vni);
    const packets = this.#packets;
    segment.counters[COUNT['datagrams-out']]! += packets;
    segment.counters[COUNT['datagram-bytes-out']]! +=
      end - start + this.#moreBytes + vxlan.HEADER_LENGTH * (packets - 1);
    sink.transmit(remote, bytes, start, end, sourcePort(flowHash(bytes, offset, end)), this.#innerEcn(bytes, end));
  }

  /** Drops a frame that does not fit and notifies its sender; returns false if it fits without its VLAN tags. */
  #tooBig(
    segment: Segment,
    from: number,
    limit: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: VtepSink,
  ): boolean {
    const tags = this.#tags.snap ? 0 : this.#tags.payload - offset - ETHERNET;
    const length = end - offset - this.#excess - ETHERNET - tags;
    if (length <= limit) return false;
    if (this.#trace !== null) this.#addStep('size', `a packet of ${length} bytes does not fit into ${limit}`);
    if (this.#errors.has(now)) {
      const answer = tooBigAnswer(bytes, offset, end, tags, limit, HEADROOM);
      if (answer !== null) {
        this.#errors.take();
        const four = this.#tags.type === ethernet.TYPE_IPV4;
        if (this.#trace !== null)
          this.#addStep(
            'size',
            four
              ? `its sender gets an ICMP error: fragmentation needed, next-hop MTU ${limit}`
              : `its sender gets an ICMPv6 error: packet too big, MTU ${Math.max(limit, IPV6_MIN_MTU)}`,
          );
        segment.counters[four ? COUNT['fragmentation-needed'] : COUNT['packet-too-big']]! += 1;
        this.#reply(segment, from, answer, answer.length, sink);
      }
    }
    this.#drop(segment, DROP['too-big']);
    return true;
  }

  /** Delivers a frame to a port; on a trunk, with the segment's tag there. */
  #deliver(
    segment: Segment,
    port: number,
    id: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    sink: VtepSink,
  ): void {
    // On the untagged side of a trunk, other bridges would read the frame's own tag as the trunk's.
    if (id === UNTAGGED && this.#tags.vlanTagged && this.#ports[port]!.vlans !== null)
      return this.#drop(segment, DROP['vlan-native']);
    segment.counters[COUNT['frames-out']]! += this.#packets;
    segment.counters[COUNT['frame-bytes-out']]! += end - offset + this.#moreBytes;
    if (id === UNTAGGED) return sink.deliver(port, bytes, offset, end);
    if (this.#trace !== null)
      this.#addStep('vlan', `the tag of VLAN ${id} is added for trunk ${this.#ports[port]!.name}`);
    if (this.#tags.priorityTagged) {
      const control = getU16(bytes, offset + ETHERNET);
      const type = ethernet.getEtherType(bytes, offset);
      ethernet.setEtherType(bytes, offset, ethernet.TYPE_VLAN);
      setU16(bytes, offset + ETHERNET, id | this.#tags.priority);
      sink.deliver(port, bytes, offset, end);
      ethernet.setEtherType(bytes, offset, type); // restored, because the sink may get the frame for others
      setU16(bytes, offset + ETHERNET, control);
      return;
    }
    const start = offset - vlan.HEADER_LENGTH;
    bytes.copyWithin(start, offset, offset + ADDRESSES);
    ethernet.setEtherType(bytes, start, ethernet.TYPE_VLAN);
    vlan.writeHeader(bytes, start + ETHERNET, id | this.#tags.priority, ethernet.getEtherType(bytes, offset));
    sink.deliver(port, bytes, start, end);
    bytes.copyWithin(offset, start, start + ADDRESSES); // restored, as above
  }

  /**
   * Combines the outer ECN field into the inner header (RFC 6040, section 4.2). Returns false if the packet must be
   * dropped.
   */
  #applyEcn(segment: Segment, bytes: Uint8Array, end: number, outer: number): boolean {
    const inner = this.#innerEcn(bytes, end);
    const result = combine(inner, outer);
    // A frame without an IP packet has no ECN field; it passes.
    if (result === ECN_DROP) return !this.#isIp(end);
    if (result === inner) return true;
    if (this.#trace !== null) this.#addStep('ecn', `outer ${outer} and inner ${inner} make ${result} (RFC 6040)`);
    if (this.#tags.type === ethernet.TYPE_IPV4) ipv4.setEcn(bytes, this.#tags.payload, result);
    else ipv6.setEcn(bytes, this.#tags.payload, result);
    segment.counters[COUNT['ecn-marked']]! += this.#packets;
    return true;
  }

  #isIp(end: number): boolean {
    const length = end - this.#tags.payload;
    if (this.#tags.type === ethernet.TYPE_IPV4) return length >= ipv4.MIN_HEADER_LENGTH && !this.#tags.snap;
    return this.#tags.type === ethernet.TYPE_IPV6 && length >= ipv6.HEADER_LENGTH && !this.#tags.snap;
  }

  /** The ECN field of the current frame's IP header; Not-ECT if it has none. */
  #innerEcn(bytes: Uint8Array, end: number): number {
    if (!this.#isIp(end)) return NOT_ECT;
    return this.#tags.type === ethernet.TYPE_IPV4
      ? ipv4.getEcn(bytes, this.#tags.payload)
      : ipv6.getEcn(bytes, this.#tags.payload);
  }

  /** Applies the control plane's location of a MAC address to the FDB. */
  #applyLocation(segment: Segment, mac: number): void {
    const binding = segment.neighbors.byMac(mac);
    if (binding !== undefined && binding.location !== LOCAL) return segment.fdb.setStatic(mac, binding.location);
    // A local endpoint's port is learned from its frames; only an entry that says otherwise must be removed.
    const known = segment.fdb.peek(mac);
    if (known !== NONE && isRemote(known)) segment.fdb.remove(mac);
  }

  /** The MAC address that neighbors of a segment know for an IP address, as far as the control plane knows; 0 for none. */
  #answeredMac(segment: Segment, ip: number): number {
    const binding = segment.neighbors.byIp(ip);
    if (binding === undefined) return segment.withdrawn.get(ip) ?? 0;
    return segment.proxy === 'vtep' && binding.location !== LOCAL ? segment.mac : binding.mac;
  }

  /** Announces an endpoint if its MAC address differs from `before`, or if a local host just asked for it without an answer. */
  #announceChange(segment: Segment, ip: number, before: number): void {
    const binding = segment.neighbors.byIp(ip);
    if (binding === undefined) return segment.rememberWithdrawn(ip, before);
    const mac = this.#answeredMac(segment, ip);
    segment.withdrawn.delete(ip);
    const isAwaited = binding.location !== LOCAL && segment.proxy !== 'off' && segment.questions.asked(ip);
    if (!isAwaited && (before === 0 || before === mac)) return;
    // A remote endpoint is announced to other hosts by its own VTEP.
    this.#queueAnnouncement(segment, ipv4ToText(ip), mac, arpAnnouncement(ip, mac), -1, binding.location === LOCAL);
  }

  #queueAnnouncement(
    segment: Segment,
    ip: string,
    mac: number,
    frame: Uint8Array,
    port: number,
    everywhere: boolean,
  ): void {
    if (this.#announcements === null) return;
    if (!this.#announcements.add(segment.vni, ip, mac, frame, port, everywhere))
      segment.counters[COUNT['announcements-refused']]! += 1;
  }

  #sendAnnouncement(announcement: Announcement, now: number, sink: VtepSink): void {
    const { vni, frame, port, everywhere } = announcement;
    const segment = this.#segment(vni);
    const end = frame.length;
    this.#tags.setUntagged(HEADROOM, ethernet.getEtherType(frame, HEADROOM));
    this.#packets = 1;
    this.#moreBytes = 0;
    this.#excess = 0;
    let from = portDestination(port);
    if (port >= 0) this.#learn(segment, from, frame, HEADROOM, now, sink);
    else from = segment.fdb.lookup(frame, HEADROOM + SOURCE, now);
    segment.counters[COUNT['announced']]! += 1;
    const { members, peers } = segment;
    for (const member of members)
      if (portDestination(member.port) !== from)
        this.#deliver(segment, member.port, member.vlan, frame, HEADROOM, end, sink);
    if (everywhere) for (const peer of peers) this.#encapsulate(segment, from, peer, frame, HEADROOM, end, now, sink);
  }

  /** Whether the control plane says that a MAC address is on this host. */
  #isLocal(segment: Segment, mac: number): boolean {
    return segment.neighbors.byMac(mac)?.location === LOCAL;
  }

  #vlanOn(segment: Segment, port: number): number {
    const { members } = segment;
    for (let i = 0; i < members.length; i++) if (members[i]!.port === port) return members[i]!.vlan;
    return UNTAGGED;
  }

  /** Adds a reference by the control plane to a remote in a segment; `#releaseIn` removes it. */
  #nameIn(segment: Segment, address: string, port: number | undefined): Remote {
    const remote = this.#remotes.name(address, port, this.port);
    segment.named[remote.id] = (segment.named[remote.id] ?? 0) + 1;
    return remote;
  }

  #releaseIn(segment: Segment, id: number): void {
    segment.named[id]!--;
    this.#remotes.release(id);
  }

  #drop(segment: Segment | null, reason: number): void {
    (segment === null ? this.#counters : segment.counters)[FIRST_DROP + reason]! += this.#packets;
    if (this.#trace !== null) {
      this.#traceDrop = DROPS[reason]![0];
      this.#addStep('drop', `${DROPS[reason]![0]}: ${DROPS[reason]![1]}`);
    }
  }

  #addStep(stage: Step['stage'], text: string): void {
    this.#trace!.push({ stage, text });
  }

  #name(destination: number): string {
    if (destination === LOCAL) return 'this host';
    if (!isRemote(destination)) return `port ${this.#ports[portOf(destination)]?.name}`;
    return `VTEP ${this.#remotes.get(remoteIdOf(destination)).address}`;
  }

  #segment(vni: number): Segment {
    const segment = this.#segments.get(vni);
    if (segment === undefined) throw new RangeError(`vni ${vni} has no segment; add it with addSegment`);
    return segment;
  }

  #port(port: number): Port {
    const found = this.#ports[port];
    if (found === undefined || found === null) throw new RangeError(`there is no port ${port}`);
    return found;
  }
}

/** Whether the control plane has a reference to a remote in a segment. */
function isNamed(segment: Segment, id: number): boolean {
  return (segment.named[id] ?? 0) > 0;
}

/** Whether the source address is all zeros, which no station has. */
function isFromZero(bytes: Uint8Array, offset: number): boolean {
  return getI32(bytes, offset + SOURCE + 2) === 0 && getU16(bytes, offset + SOURCE) === 0;
}

import { ipToText, isGroupMac, macToText, parseIp, parseMac, type Ip } from '../address/index.js';
import { Fdb, FdbMemory, NONE, type Slots } from '../fdb/index.js';
import { SEGMENT_DEFAULTS, type Location, type NetworkRouter, type NewSegment, type Proxy } from '../model/index.js';
import { LOCAL, Neighbors, type Binding } from '../neighbor/index.js';
import type { ServiceAnswer, ServiceRequest } from '../router/index.js';
import { MAX_VNI } from '../vxlan/index.js';
import { areZero128, uint } from '../wire/index.js';
import type { Group, Groups } from './groups.js';
import { CounterRows } from './counter-rows.js';
import { isRemote, portDestination } from './destination.js';
import { DROPS } from './drops.js';
import { FloodList } from './flood-list.js';
import type { Frame } from './frame.js';
import { HotRows } from './hot-rows.js';
import { Questions } from './questions.js';
import { HEADROOM } from './tunnel.js';
import { RefusedSenders } from './refused-senders.js';
import { Watch, Watches } from './watch.js';

/** The counters of a segment, except for its drops. Only append. */
export const COUNTS = [
  ['frames-in', 'frames received on local ports'],
  ['frame-bytes-in', 'their bytes, Ethernet header included'],
  ['frames-out', 'frames sent on local ports'],
  ['frame-bytes-out', 'their bytes'],
  ['datagrams-in', 'VXLAN datagrams received for this segment'],
  ['datagram-bytes-in', 'their bytes, VXLAN header included'],
  ['datagrams-out', 'VXLAN datagrams sent'],
  ['datagram-bytes-out', 'their bytes'],
  ['flooded', 'broadcast, unknown unicast and multicast (BUM) frames that were flooded'],
  ['arp-answered', 'ARP requests answered by the proxy'],
  ['learned', 'MAC addresses learned'],
  ['moved', 'MAC addresses that moved from one port or remote to another'],
  ['learn-refused', 'MAC addresses not learned, because the table or the share of their port or remote is full'],
  ['contradicted', 'frames dropped because their source address is elsewhere according to the control plane'],
  [
    'duplicate-address',
    'ARP packets and neighbor discovery messages that claim an IP address that the control plane assigns to another MAC address',
  ],
  ['ecn-marked', 'packets marked as congested in the underlay (RFC 6040)'],
  ['fragmentation-needed', 'ICMP errors sent to senders of packets too big for the path (RFC 1191)'],
  ['checksums-filled', 'packets whose TCP or UDP checksum the sender left to a network card'],
  ['packet-too-big', 'ICMPv6 errors sent to senders of packets too big for the path (RFC 8201)'],
  ['announced', 'ARP announcements and neighbor advertisements sent for endpoints (RFC 5227, RFC 4861)'],
  ['announcements-refused', 'announcements not sent, because the queue was full'],
  [
    'asked-again',
    'ARP requests and neighbor solicitations sent again to a peer that was added within a second after them',
  ],
  ['shared-source', 'frames of peers and members that passed, although their source address stays behind a local port'],
  ['nd-answered', 'neighbor solicitations answered by the proxy (RFC 4861)'],
  // Those of a router, in the order that they have in src/router.
  ['routed', 'packets that the router sent into another segment of the network'],
  ['gateway-fragments', 'fragments that the router sent instead of packets that were too big'],
  ['gateway-arp', 'ARP requests that the gateway answered'],
  ['gateway-nd', 'neighbor solicitations that the gateway answered'],
  ['gateway-echo', 'pings that the gateway answered'],
  ['gateway-errors', 'ICMP errors and TCP resets that the gateway sent'],
  ['gateway-errors-limited', 'ICMP errors and TCP resets not sent, because their rate is limited'],
  ['gateway-asked', 'ARP requests and neighbor solicitations that the gateway sent'],
  ['gateway-learned', 'addresses that answered the gateway for the first time, or with another MAC address'],
  ['gateway-held', 'packets that waited until their next hop had answered the gateway'],
  ['gateway-requests', 'datagrams to services at the gateway that this host got'],
  ['gateway-answers', 'datagrams that services at the gateway sent'],
  ['path-probes-sent', 'probes of path MTUs sent to other VTEPs (RFC 8899)'],
  ['path-probes-answered', 'those that the other VTEP answered'],
  ['path-probes-lost', 'those that got no answer within 5 seconds: the path is too narrow, or the VTEP answers none'],
  ['path-probes-replied', 'answers to probes of other VTEPs'],
  ['inner-fragments', 'fragments sent instead of IPv4 packets without DF that were too big for the path'],
  ['outer-fragmented', 'IPv6 packets of 1280 bytes at most that left in fragmented datagrams (RFC 2473, section 7.1)'],
  ['mss-clamped', 'TCP connections whose maximum segment size was lowered, once for each SYN and direction'],
] as const;

export type CountName = (typeof COUNTS)[number][0];

/** Indices into a segment's counters: the counts first, the drops behind them. */
export const COUNT = Object.fromEntries(COUNTS.map(([name], index) => [name, index])) as Record<CountName, number>;
export const FIRST_DROP = COUNTS.length;
/** How many counters a segment has. */
export const COUNTERS = COUNTS.length + DROPS.length;

/** The largest inner IP packet if nothing else is said: of VXLAN over IPv4 and Ethernet. */
const DEFAULT_MTU = 1450;
/** The VTEP's own MAC address in the segment of VNI 0, locally administered; those of the others follow. */
const FIRST_OWN_MAC = 0x0276_0000_0000;

/** `Member.vlan`: none. */
export const UNTAGGED = -1;

/** A local port in a segment, with the VLAN id that its frames carry there, or `UNTAGGED`. */
export interface Member {
  readonly port: number;
  readonly vlan: number;
}

/** Maximum number of withdrawn endpoints to remember per segment. */
const MAX_WITHDRAWN = 4096;

/** What the segments of a `Vtep` share, so that no periodic work visits all of them. */
export class Common {
  readonly seed: number;
  readonly memory = new FdbMemory();
  readonly rows = new CounterRows(COUNTERS);
  readonly hot = new HotRows<Segment>();
  /** Those with a question. */
  readonly asking: Questions[] = [];
  readonly watches = new Watches();

  constructor(seed: number) {
    this.seed = seed;
  }
}

/** The router of a segment's network, as its bridge sees it. */
export interface SegmentRouter {
  readonly network: NetworkRouter;
  /** Whether the control plane has a reference to a remote in any segment of the router, which sends into each of them. */
  names(remote: number): boolean;
  /** Whether a frame's source is the gateways' MAC address. */
  isFromGateway(frame: Frame): boolean;
  /**
   * Takes an untagged frame that is addressed to the gateway, or about it.
   * @returns whether the bridge must not forward it.
   */
  take(segment: Segment, frame: Frame): boolean;
  /** Sends the answer of a service at a gateway. */
  respond(request: ServiceRequest, payload: Uint8Array): ServiceAnswer;
}

/** One virtual network: the state that a `Vtep` keeps for a VNI. */
export class Segment {
  // What most frames read comes first, so that it is in one cache line or two.
  readonly fdb: Fdb;
  /** An array with the segment's counters from the index `row` on. */
  readonly counters: Float64Array;
  readonly row: number;
  readonly proxy: Proxy;
  readonly vni: number;
  readonly mtu: number;
  readonly learn: boolean;
  readonly flood: boolean;
  readonly tagged: boolean;
  readonly clampMss: boolean;
  /** 48 bits. */
  readonly mac: number;
  /** If it is encrypted, the segments that it shares keys with. */
  readonly group: Group | null;
  #router: SegmentRouter | null = null;
  readonly watch: Watch;
  readonly neighbors: Neighbors;
  /** The local ports, with the VLAN ids that frames of this segment carry there, or `UNTAGGED`. */
  readonly #members = new Map<number, number>();
  /** The local ports in an array, which is faster to iterate; `null` after a change. */
  #memberList: readonly Member[] | null = [];
  /** Ports by the MAC address that the control plane binds to them. */
  readonly #stations = new Map<number, number>();
  /** The flood list. */
  readonly peers = new FloodList();
  /** By the remote's id, how many references the control plane has to it in this segment: as a peer, and for endpoints. */
  readonly named: number[] = [];
  readonly refused = new RefusedSenders();
  /** MAC addresses of withdrawn endpoints, by IP address: neighbors may still have them in their ARP or neighbor caches. */
  readonly #withdrawn = new Map<number | string, number>();
  readonly questions: Questions;
  /** Its row of `Common.hot`. */
  readonly hotRow: number;
  readonly #common: Common;
  readonly #groups: Groups;

  constructor(settings: NewSegment, common: Common, groups: Groups) {
    const {
      vni,
      mac,
      mtu = DEFAULT_MTU,
      proxy = SEGMENT_DEFAULTS.proxy,
      learn = SEGMENT_DEFAULTS.learn,
      flood = SEGMENT_DEFAULTS.flood,
      tagged = SEGMENT_DEFAULTS.tagged,
      ageing = SEGMENT_DEFAULTS.ageing,
      capacity = SEGMENT_DEFAULTS.capacity,
      clampMss = false,
    } = settings;
    uint('mtu', mtu, 65_535);
    if (mtu < 68) throw new RangeError(`mtu must be at least 68 (RFC 791), not ${mtu}`);
    uint('vni', vni, MAX_VNI);
    this.mac = mac === undefined ? FIRST_OWN_MAC + vni : parseMac(mac);
    requireUnicast('mac', this.mac);
    const { memory, rows, hot, seed } = common;
    const hotRow = hot.take(this, vni, mtu);
    // The fast path does not know these ways to handle a frame.
    const isSlow = proxy === 'vtep' || !learn || clampMss || settings.group !== undefined;
    const publish = isSlow ? undefined : (slots: Slots | null): void => hot.publish(hotRow, slots);
    this.fdb = new Fdb({ ageing: Math.round(ageing * 1000), capacity, seed, memory, publish });
    hot.setAge(hotRow, this.fdb.ageTicks);
    this.hotRow = hotRow;
    const { counters, row } = rows.take();
    this.counters = counters;
    this.row = row;
    this.proxy = proxy;
    this.vni = vni;
    this.mtu = mtu;
    this.group = settings.group === undefined ? null : groups.join(settings.group);
    this.#groups = groups;
    this.learn = learn;
    this.flood = flood;
    this.tagged = tagged;
    this.clampMss = clampMss;
    this.neighbors = new Neighbors(seed);
    this.watch = new Watch(vni, common.watches);
    this.questions = new Questions(HEADROOM, common.asking);
    this.#common = common;
  }

  /** Gives back what the segment has of `Common`. It must not be used any more. */
  close(): void {
    this.fdb.close();
    this.watch.close();
    if (this.group !== null) this.#groups.leave(this.group);
    this.#common.rows.give(this.counters, this.row);
    this.#common.hot.give(this.hotRow);
  }

  /** The router of its network, if it has a gateway. */
  get router(): SegmentRouter | null {
    return this.#router;
  }

  set router(router: SegmentRouter | null) {
    this.#router = router;
    this.#common.hot.setGateway(this.hotRow, router === null ? null : parseMac(router.network.mac));
  }

  /** Adds to the counter with the index `counter`. */
  count(counter: number, change: number): void {
    this.counters[this.row + counter]! += change;
  }

  /** Counts one packet as dropped for a reason. */
  countDrop(reason: number): void {
    this.count(FIRST_DROP + reason, 1);
  }

  /** Adds a port, and returns whether it is new; otherwise its VLAN id changes. */
  addMember(port: number, vlan: number): boolean {
    const before = this.#members.size;
    this.#members.set(port, vlan);
    this.#memberList = null;
    return this.#members.size > before;
  }

  removeMember(port: number): void {
    if (this.#members.delete(port)) this.#memberList = null;
  }

  hasMember(port: number): boolean {
    return this.#members.has(port);
  }

  /** The local ports. A change does not affect the array, because a sink may add ports during an iteration. */
  get members(): readonly Member[] {
    return (this.#memberList ??= Array.from(this.#members, ([port, vlan]) => ({ port, vlan })));
  }

  /** The VLAN id that frames of this segment carry on a port, or `UNTAGGED`. */
  vlanOn(port: number): number {
    return this.#members.get(port) ?? UNTAGGED;
  }

  /** Binds a MAC address to a local port: no frame from elsewhere moves it. */
  bindStation(mac: number, port: number): void {
    this.#stations.set(mac, port);
  }

  /** The destination that a MAC address is bound to by `bindStation`, or `NONE`. */
  stationAt(mac: number): number {
    const port = this.#stations.get(mac);
    return port === undefined ? NONE : portDestination(port);
  }

  /** The control plane has withdrawn a local endpoint: if nothing else binds its address, it may appear anywhere. */
  freeStation(mac: number): void {
    if (this.neighbors.byMac(mac) === undefined && !this.#stations.has(mac)) this.fdb.remove(mac);
  }

  /** Takes back `bindStation`, unless another port has the address meanwhile. */
  unbindStation(mac: number, port: number): void {
    if (this.#stations.get(mac) === port) this.#stations.delete(mac);
  }

  /** Whether the control plane has a reference to a remote in this segment. */
  names(remote: number): boolean {
    return (this.named[remote] ?? 0) > 0;
  }

  /** Whether the control plane says that a MAC address is on this host. */
  isLocal(mac: number): boolean {
    const binding = this.neighbors.byMac(mac);
    return binding === undefined ? this.#stations.has(mac) : binding.location === LOCAL;
  }

  /** The MAC address that neighbors know for an IP address, as far as the control plane knows; 0 for none. */
  answeredMac(ip: Ip): number {
    const binding = this.neighbors.byIp(ip);
    if (binding === undefined) return this.#withdrawn.get(keyOf(ip)) ?? 0;
    return this.proxy === 'vtep' && binding.location !== LOCAL ? this.mac : binding.mac;
  }

  /** Applies the control plane's location of a MAC address to the FDB. */
  applyLocation(mac: number): void {
    const binding = this.neighbors.byMac(mac);
    if (binding !== undefined && binding.location !== LOCAL) return this.fdb.setStatic(mac, binding.location);
    // A local endpoint's port is learned from its frames; only an entry that says otherwise must be removed.
    const known = this.fdb.peek(mac);
    if (known !== NONE && isRemote(known)) this.fdb.remove(mac);
  }

  /** Remembers the MAC address of a withdrawn endpoint; removes the oldest if there are too many. */
  rememberWithdrawn(ip: Ip, mac: number): void {
    const key = keyOf(ip);
    this.#withdrawn.delete(key);
    this.#withdrawn.set(key, mac);
    if (this.#withdrawn.size > MAX_WITHDRAWN) this.#withdrawn.delete(this.#withdrawn.keys().next().value!);
  }

  /** An address that was withdrawn has an endpoint again. */
  forgetWithdrawn(ip: Ip): void {
    this.#withdrawn.delete(keyOf(ip));
  }
}

/** The key of an address in a `Map`. */
function keyOf(ip: Ip): number | string {
  return typeof ip === 'number' ? ip : ipToText(ip);
}

/** The addresses of an endpoint. @throws RangeError naming the field. */
export function parseLocation(endpoint: Location): Pick<Binding, 'ip' | 'mac'> {
  const mac = parseMac(endpoint.mac);
  requireUnicast('endpoint.mac', mac);
  return { ip: parseEndpointIp(endpoint.ip), mac };
}

/** @throws RangeError for an address that cannot belong to a single endpoint. */
export function parseEndpointIp(text: string): Ip {
  const ip = parseIp(text);
  const isGroup = typeof ip === 'number' ? ip >= FIRST_GROUP : ip[0] === 0xff;
  const isUnspecified = typeof ip === 'number' ? ip === 0 : areZero128(ip, 0);
  if (isGroup || isUnspecified) throw new RangeError(`endpoint.ip must be the address of one endpoint, not ${text}`);
  return ip;
}

/** 224.0.0.0: from here on, IPv4 addresses are multicast or reserved (RFC 5771, RFC 1112). */
const FIRST_GROUP = 0xe000_0000;

/** @throws RangeError for a MAC address that cannot belong to a single station. */
export function requireUnicast(field: string, mac: number): void {
  const what = isGroupMac(mac) ? 'a group address' : mac === 0 ? 'all zeros' : undefined;
  if (what !== undefined)
    throw new RangeError(`${field} must be the address of one station; ${macToText(mac)} is ${what}`);
}

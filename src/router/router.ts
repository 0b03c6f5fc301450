import { macToText, parseMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import {
  Context,
  NO_REASON,
  NOT_OURS,
  TUNNEL,
  type Lookup,
  type RouterSink,
  type RouterTally,
  type ServiceRequest,
  type Services,
} from './context.js';
import { COUNT, COUNTS, DROP, DROPS, type RouterCount, type RouterDrop } from './drops.js';
import { narrow4, takeIpv4 } from './ipv4.js';
import { narrow6, takeIpv6 } from './ipv6.js';
import { INCOMPLETE, PROBING, type Neighbor } from './neighbors.js';
import { takeArp, takeDiscovery } from './questions.js';
import { confirm, isStation, tickNeighbors } from './resolve.js';
import { respond, type ServiceAnswer } from './service.js';
import {
  makeInterface,
  makeRoute,
  textOf,
  type InterfaceOptions,
  type RouteEntry,
  type RouteOptions,
} from './routes.js';
import { areEqual, IPV4_LENGTH, octetsOf, parsePrefix, wordsOf } from './words.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** Errors a second to one port. Linux sends as many in total (`icmp_msgs_per_sec`). */
const ERRORS_PER_SECOND = 1000;
/** Addresses that have answered the router's questions, at most. */
const NEIGHBORS = 4096;

export interface RouterOptions {
  /** The MAC address of the gateways, the same on every host of the network: `02:42:0a:00:00:01`. */
  mac: string;
  /** The endpoints that the control plane knows. The router asks for other addresses by ARP or neighbor discovery. */
  lookup?: Lookup;
  /** Bytes to keep free in front of the router's own frames. Default 0. */
  headroom?: number;
  /** ICMP errors and TCP resets per second for one port: a burst of as many, and then this rate. Default 1000. */
  errorsPerSecond?: number;
  /** Most addresses that have answered the router's questions and are remembered. Default 4096. */
  neighbors?: number;
  /** Receives what the router counts, besides `counters`. Default: nobody. */
  tally?: RouterTally;
  /** What the owner serves at the gateways' addresses. Default: nothing. */
  services?: Services;
}

/** An address that the router has asked for. */
export interface RouterNeighbor {
  ip: string;
  vni: number;
  /** `null` while it has not answered. */
  mac: string | null;
  state: 'incomplete' | 'reachable' | 'probing';
}

/** What a router has counted. */
export interface RouterCounters {
  counts: Record<RouterCount, number>;
  drops: Record<RouterDrop, number>;
}

/**
 * The distributed gateway between the subnets of a network: every host runs one with the same addresses and the same MAC
 * address, and each serves the ports of its own host (RFC 1812, RFC 8200). It answers ARP, neighbor solicitations and ping
 * for the gateways, routes by the longest prefix, and sends errors. It never sends redirects.
 *
 * A packet is routed once, on the host of its sender, and arrives in the segment of its destination with the gateway's MAC
 * address as its source, as from Docker's kernels. So a bridge must not learn that address from tunnels.
 *
 * A router is one routing domain: networks with overlapping subnets need a router each.
 */
export class Router {
  readonly #context: Context;

  /** @throws RangeError naming the option. */
  constructor(options: RouterOptions) {
    const mac = parseMac(options.mac);
    if (mac === 0 || Math.floor(mac / 0x100_0000_0000) % 2 === 1)
      throw new RangeError(`router.mac must be the address of one station, not ${options.mac}`);
    const { lookup = () => 0, headroom = 0, errorsPerSecond = ERRORS_PER_SECOND, neighbors = NEIGHBORS } = options;
    if (!Number.isInteger(neighbors) || neighbors < 1)
      throw new RangeError(`router.neighbors must be a positive integer, not ${neighbors}`);
    const { tally = null, services = null } = options;
    this.#context = new Context(mac, headroom, lookup, errorsPerSecond, neighbors, tally, services);
  }

  // ---- Configuration ----

  /** The gateways' MAC address, 48 bits. */
  get mac(): number {
    return this.#context.mac;
  }

  /**
   * Adds a gateway to a segment, and the route to its subnet.
   * @throws RangeError for an invalid option, or a subnet or an address that the router has already.
   */
  addInterface(options: InterfaceOptions): void {
    const context = this.#context;
    const added = makeInterface(options);
    const routes = added.size === IPV4_LENGTH ? context.four : context.six;
    if (context.gatewayAt(added.words) !== undefined)
      throw new RangeError(`interface.gateway ${options.gateway} is already the address of a gateway`);
    if (routes.has(added.words, added.length))
      throw new RangeError(`interface.gateway ${options.gateway} is in a subnet that the router already has`);
    const { vni, words, mask, length } = added;
    routes.add({ words, mask, length, out: added, via: null });
    context.interfaces.push(added);
    const segment = context.segments.get(vni) ?? { vni, four: [], six: [] };
    context.segments.set(vni, segment);
    (added.size === IPV4_LENGTH ? segment.four : segment.six).push(added);
  }

  /**
   * Removes a gateway, all routes through its subnet, and what its subnet's addresses have answered. Packets that wait are
   * dropped.
   * @param gateway Its address, without a prefix length.
   * @returns whether there was one.
   */
  removeInterface(gateway: string): boolean {
    const context = this.#context;
    const out = context.gatewayAt(wordsOf(octetsOf(gateway)));
    if (out === undefined) return false;
    context.interfaces.splice(context.interfaces.indexOf(out), 1);
    (out.size === IPV4_LENGTH ? context.four : context.six).remove((route) => route.out === out);
    const segment = context.segments.get(out.vni)!;
    const family = out.size === IPV4_LENGTH ? segment.four : segment.six;
    family.splice(family.indexOf(out), 1);
    if (segment.four.length + segment.six.length === 0) context.segments.delete(out.vni);
    for (const entry of context.neighbors.entries())
      if (entry.out === out) context.lose(out.vni, DROP['no-neighbor'], context.neighbors.remove(entry).length);
    return true;
  }

  /**
   * Adds a route through another router.
   * @throws RangeError for an invalid option, a next hop in no subnet of the router, or a prefix that has a route already.
   */
  addRoute(options: RouteOptions): void {
    const route = makeRoute(options, this.#context.interfaces);
    const routes = route.out.size === IPV4_LENGTH ? this.#context.four : this.#context.six;
    if (routes.has(route.words, route.length))
      throw new RangeError(`route.prefix ${options.prefix} already has a route; remove it first`);
    routes.add(route);
  }

  /** Removes a route through another router, and returns whether it existed. */
  removeRoute(prefix: string): boolean {
    const { octets, length } = parsePrefix(prefix);
    const words = wordsOf(octets);
    const routes = octets.length === IPV4_LENGTH ? this.#context.four : this.#context.six;
    return (
      routes.remove(
        (route) =>
          route.via !== null &&
          route.length === length &&
          areEqual(
            route.words.map((word, i) => word & route.mask[i]!),
            words.map((word, i) => word & route.mask[i]!),
          ),
      ) > 0
    );
  }

  // ---- The data path ----

  /**
   * Receives a frame. Pass it every frame of a segment that has a gateway; it returns `NOT_OURS` at once for frames that it
   * does not take. It may overwrite the frame.
   *
   * The frame may be a super-frame: the router then decides once, and TTL and header checksum change once.
   * @param vni The segment that the frame came from.
   * @param from The local port that it came from, or `TUNNEL`. Answers and errors are sent there, and the rate of errors is
   *   limited by it. Out of a tunnel, the router takes only answers to its questions.
   * @param bytes The frame, without VLAN tags, is `bytes[offset, end)`.
   * @param now Milliseconds of a monotonic clock.
   * @param packets Number of frames after segmentation.
   * @param largest Bytes of the largest of these.
   * @returns the VNI of the segment that the packet, rewritten in place, must be sent into; or `NOT_OURS`, `ANSWERED`,
   *   `PENDING`, `LEARNED`, `FRAGMENTED`, `DROPPED` or `TAKEN`, which are negative.
   */
  receive(
    vni: number,
    from: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    now: number,
    sink: RouterSink,
    packets = 1,
    largest = end - offset,
  ): number {
    const context = this.#context;
    const segment = context.segments.get(vni);
    if (segment === undefined || end - offset < ETHERNET) return NOT_OURS;
    const type = ethernet.getEtherType(bytes, offset);
    const toUs = context.isOwnMac(bytes, offset);
    if (!toUs && type !== ethernet.TYPE_ARP && (type !== ethernet.TYPE_IPV6 || !ethernet.isToGroup(bytes, offset)))
      return NOT_OURS;
    context.segment = segment;
    context.from = from;
    context.now = now;
    context.sink = sink;
    context.packets = packets;
    context.excess = end - offset - largest;
    if (from !== TUNNEL && context.isFromOwnMac(bytes, offset)) return context.drop(DROP['source-own']);
    if (type === ethernet.TYPE_ARP) return takeArp(context, bytes, offset, end);
    if (type === ethernet.TYPE_IPV6) {
      const taken = takeDiscovery(context, bytes, offset, end);
      if (taken !== NOT_OURS || !toUs) return taken;
    }
    if (from === TUNNEL) return context.drop(DROP['from-tunnel']);
    if (type === ethernet.TYPE_IPV4) return takeIpv4(context, bytes, offset, end);
    if (type === ethernet.TYPE_IPV6) return takeIpv6(context, bytes, offset, end);
    return context.drop(DROP['not-ip']);
  }

  /**
   * The path of the packet that `receive` has just routed is narrower than its segment: tells the sender, or sends the
   * packet in fragments if it may be fragmented. `bytes[offset, end)` is the frame as `receive` left it.
   * @param mtu The largest IP packet that the path carries, in bytes.
   * @returns `ANSWERED`, `FRAGMENTED` or `DROPPED`.
   */
  narrow(bytes: Uint8Array, offset: number, end: number, mtu: number): number {
    const context = this.#context;
    context.count(COUNT['routed'], -context.packets);
    return ethernet.getEtherType(bytes, offset) === ethernet.TYPE_IPV4
      ? narrow4(context, bytes, offset, end, mtu)
      : narrow6(context, bytes, offset, end, mtu);
  }

  /**
   * Learns that an address is at `mac` from a router with the same gateways, if this one has asked for it.
   * @param ip IPv4 or IPv6 address.
   */
  adopt(vni: number, ip: string, mac: number, now: number, sink: RouterSink): void {
    const context = this.#context;
    const entry = context.neighbors.find(vni, wordsOf(octetsOf(ip)));
    const segment = context.segments.get(vni);
    if (entry === undefined || segment === undefined || !isStation(context, mac)) return;
    context.segment = segment;
    context.now = now;
    context.sink = sink;
    context.packets = 1;
    confirm(context, entry, mac);
  }

  /**
   * Sends the answer of a service to a request that `Services.take` has received, through the port that it came from. An
   * answer that is too big for the segment is not sent.
   */
  respond(request: ServiceRequest, payload: Uint8Array, now: number, sink: RouterSink): ServiceAnswer {
    this.#context.now = now;
    this.#context.sink = sink;
    return respond(this.#context, request, payload);
  }

  /** Whether frames are only explained from now on: nothing is counted, learned, asked or held for them. */
  set dry(on: boolean) {
    this.#context.dry = on;
    this.#context.reason = NO_REASON;
  }

  /**
   * Asks again for addresses that have not answered, tells senders that an address is unreachable, and forgets addresses.
   * Call it about once a second.
   */
  tick(now: number, sink: RouterSink): void {
    this.#context.now = now;
    this.#context.sink = sink;
    this.#context.packets = 1;
    tickNeighbors(this.#context);
  }

  // ---- Listings ----

  /** Why the last frame was dropped; after `ANSWERED` too, if the answer is an error. `null` if none was dropped yet. */
  get reason(): RouterDrop | null {
    return DROPS[this.#context.reason]?.[0] ?? null;
  }

  /** The index of `reason` in `DROPS`; negative if no frame was dropped since `dry` was set. */
  get reasonIndex(): number {
    return this.#context.reason;
  }

  /** The port of the service that the last frame was for; see `TAKEN`. */
  get service(): number {
    return this.#context.service;
  }

  counters(): RouterCounters {
    const { counts, drops } = this.#context;
    return {
      counts: Object.fromEntries(COUNTS.map((name, i) => [name, counts[i]!])) as Record<RouterCount, number>,
      drops: Object.fromEntries(DROPS.map(([name], i) => [name, drops[i]!])) as Record<RouterDrop, number>,
    };
  }

  /** The addresses that the router has asked for. */
  neighbors(): RouterNeighbor[] {
    return Array.from(this.#context.neighbors.entries(), entryOf);
  }

  /** All routes, of each family the longest prefix first. */
  routes(): RouteEntry[] {
    return [...this.#context.four.entries(), ...this.#context.six.entries()];
  }
}

function entryOf({ out, octets, mac, state }: Neighbor): RouterNeighbor {
  const name = state === INCOMPLETE ? 'incomplete' : state === PROBING ? 'probing' : 'reachable';
  return { ip: textOf(octets), vni: out.vni, mac: mac === 0 ? null : macToText(mac), state: name };
}

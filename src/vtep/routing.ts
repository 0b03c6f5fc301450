/** The router of a network within the data path: src/router decides, and this takes its packets to ports and tunnels. */
import { formatIpv6, IPV4_LENGTH, ipv4ToText, macToText, parseMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { NONE } from '../fdb/index.js';
import { prefixContains, type NetworkRouter } from '../model/index.js';
import {
  ANSWERED,
  DROPPED,
  FRAGMENTED,
  LEARNED,
  NOT_OURS,
  PENDING,
  Router,
  TAKEN,
  TUNNEL,
  type RouterSink,
  type RouterTally,
  type ServiceAnswer,
  type ServiceRequest,
  type Services,
} from '../router/index.js';
import { getU32 } from '../wire/index.js';
import type { Context } from './context.js';
import { isRemote, NO_PLACE, portDestination, portOf, remoteIdOf } from './destination.js';
import { FIRST_ROUTER_DROP } from './drops.js';
import { deliver, encapsulate, reply, roomTo } from './egress.js';
import { flood } from './flood.js';
import { ownFrame, type Frame } from './frame.js';
import { isIncompressible } from './oversize.js';
import type { Remote } from './remote.js';
import { COUNT, FIRST_DROP, type Segment, type SegmentRouter } from './segment.js';
import { HEADROOM } from './tunnel.js';
import type { Answered } from './sink.js';

const ETHERNET = ethernet.HEADER_LENGTH;
/** Bytes of an inner packet that fits every path whose MTU is known: see `SMALLEST` of path-search.ts. */
const SMALL = 500;
/** The router's counts have the same order among those of a segment. */
const FIRST_ROUTER_COUNT = COUNT['routed'];

/** What became of a frame that the router took, for explanations. */
const OUTCOMES: Readonly<Record<number, string>> = {
  [ANSWERED]: 'the gateway answers',
  [PENDING]: 'the packet waits until the gateway knows the MAC address of its next hop, for which it asks',
  [LEARNED]: 'an answer to a question of a gateway: each host has that gateway, and any of them may have asked',
  [FRAGMENTED]: 'the packet is too big for the next hop, and leaves in fragments',
};

/** The router of one network. */
export class Routing implements SegmentRouter, RouterSink, RouterTally {
  readonly network: NetworkRouter;
  readonly router: Router;
  /** The segments with a gateway, each once. */
  readonly segments: readonly Segment[];
  readonly #context: Context;
  /** The gateways' MAC address. */
  readonly #mac: number;

  /**
   * Adds the router to its segments, which must exist.
   * @throws RangeError naming what is wrong with it; the segments are then as before.
   */
  constructor(network: NetworkRouter, context: Context, services: Services) {
    this.network = network;
    this.#context = context;
    this.#mac = parseMac(network.mac);
    this.router = new Router({
      mac: network.mac,
      headroom: HEADROOM,
      lookup: (vni, bytes, offset, length) => this.#lookup(vni, bytes, offset, length),
      tally: this,
      services,
    });
    const segments = new Set<Segment>();
    for (const { vni, prefix, gateway } of network.subnets) {
      const segment = context.segments.get(vni);
      if (segment === undefined) throw new RangeError(`there is no segment with vni ${vni}; add it first`);
      const { router } = segment;
      if (router !== null)
        throw new RangeError(
          `vni ${vni} already has a gateway of network ${router.network.id}; remove that router first`,
        );
      if (!prefixContains(prefix, gateway)) throw new RangeError(`gateway ${gateway} is not in its subnet ${prefix}`);
      const length = prefix.slice(prefix.indexOf('/') + 1);
      this.router.addInterface({ vni, gateway: `${gateway}/${length}`, mtu: segment.mtu });
      segments.add(segment);
    }
    this.segments = [...segments];
    for (const segment of this.segments) {
      segment.router = this;
      segment.fdb.remove(this.#mac); // the gateway is here
    }
  }

  /** Removes the router from its segments. Packets that wait for an address are dropped. */
  close(): void {
    for (const { gateway } of this.network.subnets) this.router.removeInterface(gateway);
    for (const segment of this.segments) segment.router = null;
  }

  names(remote: number): boolean {
    for (const segment of this.segments) if (segment.names(remote)) return true;
    return false;
  }

  isFromGateway({ bytes, start }: Frame): boolean {
    return ethernet.getSource(bytes, start) === this.#mac;
  }

  tick(): void {
    this.router.tick(this.#context.now, this);
  }

  /** See `Vtep.adoptAnswer`. */
  adopt({ vni, ip, mac }: Answered): void {
    this.router.adopt(vni, ip, mac, this.#context.now, this);
  }

  respond(request: ServiceRequest, payload: Uint8Array): ServiceAnswer {
    return this.router.respond(request, payload, this.#context.now, this);
  }

  take(segment: Segment, frame: Frame): boolean {
    const context = this.#context;
    const { now, trace } = context;
    const { bytes, start, end, from, packets } = frame;
    // A tag within the segment separates stations that the gateway is not among.
    if (frame.payload !== start + ETHERNET) return false;
    const port = isRemote(from) ? TUNNEL : portOf(from);
    if (trace !== null) this.router.dry = true;
    const largest = end - start - frame.excess;
    const to = this.router.receive(segment.vni, port, bytes, start, end, now, this, packets, largest);
    if (to >= 0) this.#forward(context.segments.get(to)!, frame);
    else if (to === LEARNED && !isRemote(from)) this.#spread(segment, frame);
    if (trace !== null) {
      if (to < 0 && to !== NOT_OURS) this.#explain(to);
      this.router.dry = false;
    }
    return to !== NOT_OURS;
  }

  #explain(outcome: number): void {
    const context = this.#context;
    if (outcome === TAKEN) {
      context.trace!.service = this.router.service;
      context.addStep('router', `the service of this host at UDP port ${this.router.service} of the gateway gets it`);
    } else if (outcome !== DROPPED) context.addStep('router', OUTCOMES[outcome]!);
    const reason = this.router.reasonIndex;
    if (reason >= 0) context.explainDrop(FIRST_ROUTER_DROP + reason);
  }

  /** Sends a routed frame to its next hop. */
  #forward(segment: Segment, frame: Frame): void {
    const context = this.#context;
    const { bytes, start, end } = frame;
    const to = segment.fdb.lookup(bytes, start, context.now);
    if (context.trace !== null) {
      const mac = macToText(ethernet.getDestination(bytes, start));
      const place = to === NONE ? 'unknown' : `behind ${context.nameOf(to)}`;
      context.addStep('router', `routed into VNI ${segment.vni}, to ${mac}, which is ${place}`);
    }
    const packet = end - start - frame.excess - ETHERNET;
    const mtu = this.#roomTo(segment, to, packet);
    // What the sender cannot make smaller leaves in fragments of the outer packet.
    if (packet > mtu && !isIncompressible(frame, packet)) return void this.router.narrow(bytes, start, end, mtu);
    frame.from = NO_PLACE; // no port of this segment, and errors are the router's to send
    this.#send(segment, frame, to);
  }

  /**
   * The largest packet that fits a destination; for `NONE`, to which a packet is flooded, the least of the remotes. Every path
   * carries packets of `packet` bytes if they are as small as `SMALL`.
   */
  #roomTo(segment: Segment, to: number, packet: number): number {
    const { remotes } = this.#context;
    if (to !== NONE) return isRemote(to) ? roomTo(segment, remotes.get(remoteIdOf(to))) : Infinity;
    if (packet <= SMALL) return Infinity;
    return segment.peers.all().reduce((least, peer) => Math.min(least, roomTo(segment, peer)), Infinity);
  }

  /** Sends a frame of the gateway's into a segment: to the destination `to`, or to all if that is `NONE`. */
  #send(segment: Segment, frame: Frame, to: number): void {
    const context = this.#context;
    if (to === NONE) {
      const { bytes, start } = frame;
      const here = !ethernet.isToGroup(bytes, start) && segment.isLocal(ethernet.getDestination(bytes, start));
      return flood(context, segment, frame, here);
    }
    if (isRemote(to)) return encapsulate(context, segment, frame, context.remotes.get(remoteIdOf(to)));
    const port = portOf(to);
    deliver(context, segment, frame, port, context.ports.vlanOn(port, segment));
  }

  /** Sends an answer for a gateway to the other hosts of the network: one of them may have asked. */
  #spread(segment: Segment, frame: Frame): void {
    const remotes = new Set<Remote>();
    for (const { peers } of this.segments) for (const peer of peers.all()) remotes.add(peer);
    for (const remote of remotes) encapsulate(this.#context, segment, frame, remote);
  }

  /** The MAC address of an endpoint, 0 if the control plane does not know it. */
  #lookup(vni: number, bytes: Uint8Array, offset: number, length: number): number {
    const neighbors = this.#context.segments.get(vni)?.neighbors;
    const binding =
      length === IPV4_LENGTH ? neighbors?.byIpv4(getU32(bytes, offset)) : neighbors?.byIpv6(bytes, offset);
    return binding?.mac ?? 0;
  }

  // ---- From the router ----

  answer(vni: number, from: number, bytes: Uint8Array, offset: number, end: number): void {
    const context = this.#context;
    reply(context, context.segment(vni), ownFrame(bytes, offset, end), portDestination(from));
  }

  send(vni: number, bytes: Uint8Array, offset: number, end: number): void {
    const context = this.#context;
    const segment = context.segment(vni);
    const to = ethernet.isToGroup(bytes, offset) ? NONE : segment.fdb.lookup(bytes, offset, context.now);
    this.#send(segment, ownFrame(bytes, offset, end), to);
  }

  answered(vni: number, octets: Uint8Array, mac: number): void {
    const ip = octets.length === IPV4_LENGTH ? ipv4ToText(getU32(octets, 0)) : formatIpv6(octets);
    this.#context.sink.answered?.({ vni, mac, ip });
  }

  count(vni: number, index: number, by: number): void {
    this.#context.segments.get(vni)?.count(FIRST_ROUTER_COUNT + index, by);
  }

  drop(vni: number, index: number, by: number): void {
    this.#context.segments.get(vni)?.count(FIRST_DROP + FIRST_ROUTER_DROP + index, by);
  }
}

/** Whether two descriptions of a router are the same. */
export function isSameRouter(a: NetworkRouter, b: NetworkRouter): boolean {
  const text = ({ id, mac, subnets }: NetworkRouter): string =>
    [id, parseMac(mac), ...subnets.map(({ prefix, gateway, vni }) => `${prefix} ${gateway} ${vni}`)].join();
  return text(a) === text(b);
}

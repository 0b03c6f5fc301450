import { formatIpv6, macHigh, setMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { getI32, getU16 } from '../wire/index.js';
import { COUNTS, DROPS } from './drops.js';
import { ErrorLimit } from './error-limit.js';
import { NeighborTable } from './neighbors.js';
import { Routes, type Interface, type Segment } from './routes.js';
import { areEqual, IPV4_LENGTH, IPV6_LENGTH, wordsOf } from './words.js';

// What `Router.receive` returns instead of the VNI of the segment that a packet was routed to.

/** The frame is not the router's: bridge it. */
export const NOT_OURS = -1;
/** The router has sent an answer: a reply, or an error about a packet that it dropped. */
export const ANSWERED = -2;
/** The packet waits for an answer to ARP or neighbor discovery. */
export const PENDING = -3;
/**
 * An answer to ARP or neighbor discovery. If it came from a port, flood it to all peers: every router has the MAC address
 * that it is addressed to, and one of them may have asked.
 */
export const LEARNED = -4;
/** The router has sent the packet in fragments. */
export const FRAGMENTED = -5;
/** The packet was dropped; `Router.reason` says why. */
export const DROPPED = -6;
/** A datagram to a service at a gateway: `Services.take` has got it. `Router.service` is the port. */
export const TAKEN = -7;

/** `Context.reason` before a frame is dropped. */
export const NO_REASON = -1;

/** `from` of frames out of a tunnel. Local ports have numbers from 0. */
export const TUNNEL = -1;

/**
 * What a router sends. The bytes are valid during the call; the sink may overwrite them and the headroom in front. It must
 * not call the router.
 */
export interface RouterSink {
  /**
   * An answer for the sender of a frame: to be sent through the port `from`, into the segment that the frame came from.
   * @param from what `Router.receive` was called with.
   */
  answer(vni: number, from: number, bytes: Uint8Array, offset: number, end: number): void;
  /**
   * A frame of the router's own for a segment: a question, a packet that had to wait, a fragment. Its source is the
   * gateway's MAC address; its destination may be a group, or unknown to the bridge.
   */
  send(vni: number, bytes: Uint8Array, offset: number, end: number): void;
  /**
   * A station has answered a gateway: its address, 4 or 16 octets, is at `mac`. Another router with the same gateways may
   * have asked: it can `adopt` the answer.
   */
  answered?(vni: number, octets: Uint8Array, mac: number): void;
}

/** Receives what a router counts, by the indices of `COUNTS` and `DROPS`. It must not call the router. */
export interface RouterTally {
  count(vni: number, index: number, by: number): void;
  drop(vni: number, index: number, by: number): void;
}

/** A datagram from a station to a service at a gateway. */
export interface ServiceRequest {
  /** The segment of the station. */
  readonly vni: number;
  /** The port that it came from. */
  readonly from: number;
  /** The station's MAC address, 48 bits. */
  readonly mac: number;
  /** The station's IP address, which is in a subnet of its segment or link-local. */
  readonly source: string;
  readonly sourcePort: number;
  /** The gateway's IP address, which may be that of another subnet of the network. */
  readonly gateway: string;
  readonly gatewayPort: number;
  readonly payload: Uint8Array;
  /** Most bytes of an answer. */
  readonly room: number;
}

/** What the owner of a router serves at the gateways' addresses. It must not call the router. */
export interface Services {
  /** The UDP ports. They may change at any time. */
  readonly ports: ReadonlySet<number>;
  /** Whether a port may send another request now. The router counts and drops those of others. */
  admits(from: number, now: number): boolean;
  /** Receives a request that `admits` has just allowed. */
  take(request: ServiceRequest): void;
}

/**
 * Returns the MAC address of an endpoint that the control plane knows, 48 bits, or 0.
 * @param bytes The IP address is `bytes[offset, offset + length)`; `length` is 4 or 16.
 */
export type Lookup = (vni: number, bytes: Uint8Array, offset: number, length: number) => number;

/** fe80::/64 with the modified EUI-64 of a MAC address. */
function linkLocalOf(mac: number): Uint8Array {
  const octets = new Uint8Array(IPV6_LENGTH);
  octets.set([0xfe, 0x80]);
  setMac(octets, 10, mac);
  octets.set(octets.subarray(10, 13), 8);
  octets[8]! ^= 0x02;
  octets.set([0xff, 0xfe], 11);
  return octets;
}

/** The state of a router, and the frame that it handles. */
export class Context {
  readonly mac: number;
  readonly #macHigh: number;
  readonly #macLow: number;
  /** The gateways' link-local address in every segment with IPv6, made from the MAC address (RFC 4291, appendix A). */
  readonly linkLocal: Int32Array;
  readonly linkLocalText: string;
  readonly headroom: number;
  readonly lookup: Lookup;
  readonly services: Services | null;
  readonly limit: ErrorLimit;

  readonly segments = new Map<number, Segment>();
  readonly interfaces: Interface[] = [];
  readonly four = new Routes();
  readonly six = new Routes();
  readonly neighbors: NeighborTable;
  readonly counts = new Float64Array(COUNTS.length);
  readonly drops = new Float64Array(DROPS.length);
  readonly #tally: RouterTally | null;

  // ---- The current frame; reused for all frames, so that a frame allocates nothing ----

  sink!: RouterSink;
  now = 0;
  /** Where it came from. */
  from = TUNNEL;
  segment!: Segment;
  /** Number of packets on the wire that it represents. */
  packets = 1;
  /** How many bytes it is longer than the largest of them. */
  excess = 0;
  /** Why it was dropped: an index of `DROPS`, or `NO_REASON`. */
  reason = NO_REASON;
  /** Once the frame has been routed: its sender's MAC address, and the subnet that it was routed into. */
  sender = 0;
  out: Interface | null = null;
  /** The port of the last service that a frame was for. */
  service = 0;
  /** Whether the frame is only explained: nothing is counted, learned, asked or held for it. */
  dry = false;
  /** Its destination. */
  readonly destination = new Int32Array(4);

  constructor(
    mac: number,
    headroom: number,
    lookup: Lookup,
    errorsPerSecond: number,
    neighbors: number,
    tally: RouterTally | null,
    services: Services | null,
  ) {
    this.mac = mac;
    this.#macHigh = macHigh(mac);
    this.#macLow = mac | 0;
    const octets = linkLocalOf(mac);
    this.linkLocal = wordsOf(octets);
    this.linkLocalText = formatIpv6(octets);
    this.headroom = headroom;
    this.lookup = lookup;
    this.services = services;
    this.#tally = tally;
    this.limit = new ErrorLimit(errorsPerSecond);
    this.neighbors = new NeighborTable(neighbors);
  }

  /** Whether a MAC address in a frame is the gateway's. */
  isOwnMac(bytes: Uint8Array, at: number): boolean {
    return getI32(bytes, at + 2) === this.#macLow && getU16(bytes, at) === this.#macHigh;
  }

  isFromOwnMac(bytes: Uint8Array, offset: number): boolean {
    return this.isOwnMac(bytes, offset + ethernet.SOURCE_OFFSET);
  }

  /** Whether the router has this address in the current segment, or anywhere, if it is not link-local. */
  isOwn(words: Int32Array): boolean {
    return this.gatewayAt(words) !== undefined || (areEqual(words, this.linkLocal) && this.segment.six.length > 0);
  }

  /** The interface whose gateway has this address, `undefined` if none has. */
  gatewayAt(words: Int32Array): Interface | undefined {
    const { interfaces } = this;
    for (let i = 0; i < interfaces.length; i++) {
      const own = interfaces[i]!.words;
      if (own[3] === words[3] && own[2] === words[2] && own[1] === words[1] && own[0] === words[0])
        return interfaces[i];
    }
    return undefined;
  }

  /**
   * The interface of a segment from which the router answers an address: the one in whose subnet it is, or else the first
   * of its family (RFC 1812, section 4.3.2.4).
   */
  interfaceFor(segment: Segment, words: Int32Array, size: number): Interface | undefined {
    const all = size === IPV4_LENGTH ? segment.four : segment.six;
    for (const one of all) {
      let differing = 0;
      for (let i = 0; i < 4; i++) differing |= (one.words[i]! ^ words[i]!) & one.mask[i]!;
      if (differing === 0) return one;
    }
    return all[0];
  }

  count(counter: number, by = 1): void {
    if (this.dry) return;
    this.counts[counter]! += by;
    this.#tally?.count(this.segment.vni, counter, by);
  }

  /** Counts the current frame as dropped. Returns `DROPPED`. */
  drop(reason: number): number {
    this.reason = reason;
    this.lose(this.segment.vni, reason, this.packets);
    return DROPPED;
  }

  /** Counts packets as dropped that came from the segment `vni`. */
  lose(vni: number, reason: number, packets: number): void {
    if (this.dry) return;
    this.drops[reason]! += packets;
    this.#tally?.drop(vni, reason, packets);
  }

  /** An empty frame of the router's own: `length` bytes behind the headroom. */
  allocate(length: number): Uint8Array {
    return new Uint8Array(this.headroom + length);
  }
}

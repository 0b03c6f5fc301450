import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { LOCAL } from '../neighbor/index.js';
import { isRemote, NEW_REMOTE, portOf, remoteIdOf, UNLEARNED_REMOTE } from './destination.js';
import { DROPS } from './drops.js';
import { NOT_ECT } from './ecn.js';
import type { Explanation, Step } from './explain.js';
import { Ports } from './port.js';
import { MAX_REPLY } from './proxy.js';
import { Remotes, type Remote } from './remote.js';
import { Common, COUNTERS, FIRST_DROP, type Segment } from './segment.js';
import { HEADROOM } from './tunnel.js';
import { FrameTags } from './tags.js';

/**
 * The state of a VTEP: its tables, which the control plane writes and the data path reads, and the frame that is on the
 * data path.
 *
 * The data path consists of functions that take a context: a frame passes ingress.ts, bridge.ts and egress.ts, in this
 * order. An object for each of the three cost 2 % more per datagram, because V8 checks the type of every object that it
 * loads from another one.
 */
export class Context {
  // ---- Tables ----

  /** UDP port of remotes that are given without one. */
  readonly port: number;
  /** The VTEP's own underlay address, if known. */
  readonly local: string | null;
  /** Whether to drop datagrams from addresses that the control plane does not know. */
  readonly peersOnly: boolean;
  /** What the segments share. */
  readonly common: Common;
  /** By VNI. */
  readonly segments = new Map<number, Segment>();
  readonly ports: Ports;
  readonly remotes: Remotes;
  /** Addresses of cluster members: their datagrams are accepted even if no peer and no endpoint is there. */
  readonly members = new Set<string>();
  /** Drops of datagrams that reached no segment, at `FIRST_DROP` and up. */
  readonly counters = new Float64Array(COUNTERS);

  // ---- The current frame, besides its bytes; reused for all frames, so that a frame allocates nothing ----

  readonly tags = new FrameTags();
  /** Number of packets on the wire that the frame represents. */
  packets = 1;
  /** Their total bytes, minus those of the frame in the buffer. */
  moreBytes = 0;
  /** How many bytes the frame in the buffer is longer than the largest of them. */
  excess = 0;
  /** `HEADROOM` free bytes, and room for an answer of a proxy. */
  readonly answer = new Uint8Array(HEADROOM + MAX_REPLY);
  /** The explanation so far while `Vtep.explain` runs, otherwise `null`. Nothing is learned while it is set. */
  trace: Explanation | null = null;
  /** The address of the current datagram's sender, if that is `NEW_REMOTE` or `UNLEARNED_REMOTE`. */
  sender = '';

  /**
   * @param learnedRemotes Maximum number of remotes learned from datagrams.
   * @param seed See `FdbOptions.seed`.
   */
  constructor(port: number, local: string | null, peersOnly: boolean, learnedRemotes: number, seed: number) {
    this.port = port;
    this.local = local;
    this.peersOnly = peersOnly;
    this.remotes = new Remotes(learnedRemotes);
    this.common = new Common(seed);
    this.ports = new Ports(this.common.memory);
  }

  /** @throws RangeError for a VNI without a segment. */
  segment(vni: number): Segment {
    const segment = this.segments.get(vni);
    if (segment === undefined) throw new RangeError(`vni ${vni} has no segment; add it with addSegment`);
    return segment;
  }

  /**
   * Whether the control plane knows a remote: it has a reference to it in the segment, or in another one with the same
   * router, or it is a cluster member.
   */
  knows(segment: Segment, remote: Remote): boolean {
    const { router } = segment;
    return segment.names(remote.id) || this.members.has(remote.address) || (router !== null && router.names(remote.id));
  }

  /** A destination, or the location of an endpoint, for people. Its port or remote may be gone. */
  nameOf(destination: number): string {
    if (destination === LOCAL) return 'this host';
    if (destination === UNLEARNED_REMOTE) return 'a tunnel';
    if (destination === NEW_REMOTE) return `VTEP ${this.sender}`;
    if (isRemote(destination)) return `VTEP ${this.remotes.get(remoteIdOf(destination))?.address ?? 'forgotten'}`;
    return `port ${this.ports.find(portOf(destination))?.name ?? 'removed'}`;
  }

  /** A destination as other machines know it: the local port, or the underlay address of the remote. */
  locationOf(destination: number): number | string {
    return isRemote(destination) ? this.remotes.get(remoteIdOf(destination)).address : portOf(destination);
  }

  /** Makes an untagged frame of the machine's own the current one. */
  setOwn(bytes: Uint8Array, offset: number): void {
    this.tags.setUntagged(offset, ethernet.getEtherType(bytes, offset));
    this.packets = 1;
    this.moreBytes = 0;
    this.excess = 0;
  }

  /** Lets frames of the machine's own pass while another frame is the current one; the function returns to that one. */
  setAside(): () => void {
    const { packets, moreBytes, excess } = this;
    const { start, type } = this.tags;
    return () => {
      this.tags.setUntagged(start, type);
      this.packets = packets;
      this.moreBytes = moreBytes;
      this.excess = excess;
    };
  }

  /** Counts the frame as dropped. */
  drop(segment: Segment | null, reason: number): void {
    if (segment === null) this.counters[FIRST_DROP + reason]! += this.packets;
    else segment.count(FIRST_DROP + reason, this.packets);
    if (this.trace !== null) this.explainDrop(reason);
  }

  /** Completes the explanation of a dropped frame. Call it only if `trace` is set. */
  explainDrop(reason: number): void {
    const [name, meaning] = DROPS[reason]!;
    this.trace!.dropped = name;
    this.addStep('drop', `${name}: ${meaning}`);
  }

  /** Adds a step to the explanation. Call it only if `trace` is set, so that other frames do not build the text. */
  addStep(stage: Step['stage'], text: string): void {
    this.trace!.steps.push({ stage, text });
  }

  /** Whether the frame has a complete IP header. */
  isIp(end: number): boolean {
    const { type, payload, snap } = this.tags;
    const length = end - payload;
    if (type === ethernet.TYPE_IPV4) return length >= ipv4.MIN_HEADER_LENGTH && !snap;
    return type === ethernet.TYPE_IPV6 && length >= ipv6.HEADER_LENGTH && !snap;
  }

  /** The ECN field of the frame's IP header; Not-ECT if it has none. */
  getEcn(bytes: Uint8Array, end: number): number {
    if (!this.isIp(end)) return NOT_ECT;
    const { type, payload } = this.tags;
    return type === ethernet.TYPE_IPV4 ? ipv4.getEcn(bytes, payload) : ipv6.getEcn(bytes, payload);
  }

  /** Sets the ECN field of the frame's IP header, which it must have. */
  setEcn(bytes: Uint8Array, ecn: number): void {
    const { type, payload } = this.tags;
    if (type === ethernet.TYPE_IPV4) ipv4.setEcn(bytes, payload, ecn);
    else ipv6.setEcn(bytes, payload, ecn);
  }
}

import { LOCAL } from '../neighbor/index.js';
import { isRemote, NEW_REMOTE, portOf, remoteIdOf, UNLEARNED_REMOTE } from './destination.js';
import { DROPS } from './drops.js';
import type { Explanation, Step } from './explain.js';
import { Frame } from './frame.js';
import type { Group } from './groups.js';
import { NO_ROW, type HotRows } from './hot-rows.js';
import { IdMap } from './id-map.js';
import { Ports } from './port.js';
import { MAX_REPLY } from './proxy.js';
import { Remotes, type Remote } from './remote.js';
import { Common, COUNTERS, FIRST_DROP, type Segment } from './segment.js';
import type { VtepSink } from './sink.js';
import { HEADROOM } from './tunnel.js';
import type { FindingPlace } from './watch.js';

/** Keeps frames of encrypted segments: see `Associations`. */
export interface Holding {
  hold(segment: Segment, group: Group, frame: Frame, remote: Remote): void;
}

/**
 * The state of a VTEP: its tables, which the control plane writes and the data path reads.
 *
 * The data path consists of functions that take a context, a segment and a frame. A frame passes ingress.ts, bridge.ts and
 * egress.ts, in this order; what the machine sends itself begins at egress.ts, or in the router. An object for each of the
 * three cost 2 % more per datagram, because V8 checks the type of every object that it loads from another one.
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
  readonly hot: HotRows<Segment>;
  /** By VNI, in the order in which they were added. */
  readonly segments = new Map<number, Segment>();
  /** Their rows in `hot`, by VNI. */
  readonly rows = new IdMap<number>();
  readonly ports: Ports;
  readonly remotes: Remotes;
  /** Addresses of cluster members: their datagrams are accepted even if no peer and no endpoint is there. */
  readonly members = new Set<string>();
  /** What belongs to no segment: probes of paths, and from `FIRST_DROP` on the drops of datagrams that reached none. */
  readonly counters = new Float64Array(COUNTERS);
  /** Receives datagrams without flag I; returns whether they are probes of paths. The `Vtep` sets it. */
  paths!: { receive(source: Remote | string, frame: Frame): boolean };

  /** Keeps frames that lack an association. `Vtep` sets it. */
  associations!: Holding;

  // ---- The current call ----

  /** Milliseconds of a monotonic clock. */
  now = 0;
  /** Receives what the machine sends. */
  sink!: VtepSink;
  /** The explanation so far while `Vtep.explain` runs, otherwise `null`. Nothing is learned while it is set. */
  trace: Explanation | null = null;
  /** While a frame is flooded, the smallest MTU of the remotes that it is too big for; else 0. */
  narrowest = 0;
  /** The last answer of a proxy: `HEADROOM` free bytes, and room for an answer. Reused, so that an answer allocates nothing. */
  readonly answer = new Frame(new Uint8Array(HEADROOM + MAX_REPLY));

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
    this.hot = this.common.hot;
    this.ports = new Ports(this.common);
  }

  /** Every call that may send something begins with this. */
  begin(now: number, sink: VtepSink): void {
    this.now = now;
    this.sink = sink;
  }

  /** The row in `hot` of the segment of a VNI, or `NO_ROW`. */
  rowOf(vni: number): number {
    return this.rows.get(vni) ?? NO_ROW;
  }

  /** Like `rowOf`. @throws RangeError for a VNI without a segment. */
  knownRowOf(vni: number): number {
    return this.rows.get(vni) ?? this.segment(vni).hotRow; // there is none: this throws
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

  /**
   * A destination, or the location of an endpoint, for people. Its port or remote may be gone.
   * @param sender `Frame.sender`, if the destination may be `NEW_REMOTE`.
   */
  nameOf(destination: number, sender = ''): string {
    if (destination === LOCAL) return 'this host';
    if (destination === UNLEARNED_REMOTE) return 'a tunnel';
    if (destination === NEW_REMOTE) return `VTEP ${sender}`;
    if (isRemote(destination)) return `VTEP ${this.remotes.get(remoteIdOf(destination))?.address ?? 'forgotten'}`;
    return `port ${this.ports.find(portOf(destination))?.name ?? 'removed'}`;
  }

  /** A destination as a finding has it. Its port or remote may be gone. */
  placeOf(destination: number): FindingPlace {
    if (isRemote(destination)) return { port: null, vtep: this.remotes.get(remoteIdOf(destination))?.address ?? null };
    const port = portOf(destination);
    return { port: this.ports.find(port) === undefined ? null : port, vtep: null };
  }

  /** A destination as other machines know it: the local port, or the underlay address of the remote. */
  locationOf(destination: number): number | string {
    return isRemote(destination) ? this.remotes.get(remoteIdOf(destination)).address : portOf(destination);
  }

  /** Counts a frame as dropped, in a segment if it reached one. */
  drop(segment: Segment | null, { packets }: Frame, reason: number): void {
    if (segment === null) this.counters[FIRST_DROP + reason]! += packets;
    else segment.count(FIRST_DROP + reason, packets);
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
}

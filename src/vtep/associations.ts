/**
 * Encrypted segments: which association seals the frames of a segment to a remote, and which segments the packets of an
 * association may be for (RFC 4301, section 4.4.1). The segments of one network share associations: they are a group. Agreement on
 * the keys is not this machine's business: it says which associations it lacks, and receives them.
 */
import { Inbound, Outbound } from '../esp/index.js';
import type { Context, Holding } from './context.js';
import { DROP } from './drops.js';
import { encapsulate } from './egress.js';
import { explainPacket } from './explain-packet.js';
import type { Explanation } from './explain.js';
import { ownFrame, type Frame } from './frame.js';
import { canonicalAddress, type Remote } from './remote.js';
import { FIRST_DROP, type Segment } from './segment.js';
import type { VtepSink } from './sink.js';
import { receiveDatagram } from './ingress.js';
import { Group, type Groups, type Way } from './groups.js';
import { HEADROOM } from './tunnel.js';

/** Frames to one remote that wait for an association, and in all. */
const MAX_HELD = 16;
const MAX_HELD_IN_ALL = 1024;
/** Milliseconds that a frame waits. */
const PATIENCE = 3000;
/** Milliseconds after which a missing association is reported again. */
const REMINDER = 1000;

/** Why an engine refuses an ESP packet before a segment gets it. */
export type EspDrop =
  'esp-truncated' | 'esp-unknown-spi' | 'esp-source' | 'esp-replay' | 'esp-authentication' | 'esp-payload';

/** An association that this VTEP has not, to send frames of a group to a remote. */
export interface WantedAssociation {
  readonly group: string;
  /** The remote's underlay address. */
  readonly address: string;
}

/** An association from a remote. */
export interface InboundAssociation {
  readonly inbound: Inbound;
  readonly group: Group;
  readonly address: string;
}

/** The associations of a VTEP. */
export class Associations implements Groups, Holding {
  readonly #context: Context;
  readonly #groups = new Map<string, Group>();
  readonly #inbound = new Map<number, InboundAssociation>();
  #wanted: WantedAssociation[] = [];
  /** Ways with frames that wait. */
  readonly #waiting = new Set<Way>();
  #held = 0;

  constructor(context: Context) {
    this.#context = context;
  }

  join(id: string): Group {
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = new Group(id);
      this.#groups.set(id, group);
    }
    group.segments++;
    return group;
  }

  /** The associations of a group go with its last segment. */
  leave(group: Group): void {
    if (--group.segments > 0) return;
    this.#groups.delete(group.id);
    for (const way of group.ways) {
      way?.outbound?.free();
      if (way !== undefined) this.#forgetHeld(way);
    }
    for (const [spi, known] of this.#inbound) if (known.group === group) this.removeInbound(spi);
  }

  // ---- What the control plane does ----

  /** Whether a group has segments. */
  hasGroup(id: string): boolean {
    return this.#groups.has(id);
  }

  /**
   * From now on, frames of a group to a remote leave by this association, which belongs to the machine. Frames that waited for
   * it are sent.
   * @returns false if the group or the remote is not known (any more). The association is freed then.
   */
  setOutbound(id: string, address: string, outbound: Outbound, now: number, sink: VtepSink): boolean {
    const context = this.#context;
    const group = this.#groups.get(id);
    const remote = context.remotes.find(canonicalAddress(address));
    if (group === undefined || remote === undefined) {
      outbound.free();
      return false;
    }
    const way = group.wayTo(remote);
    way.outbound?.free();
    way.outbound = outbound;
    const { held } = way;
    this.#forgetHeld(way);
    context.begin(now, sink);
    for (const { vni, bytes } of held) {
      const segment = context.segments.get(vni);
      if (segment?.group === group) encapsulate(context, segment, ownFrame(bytes, HEADROOM, bytes.length), remote);
    }
    return true;
  }

  /** Frames of a group to a remote leave by no association any more: they wait for another one. */
  removeOutbound(id: string, address: string): void {
    const remote = this.#context.remotes.find(canonicalAddress(address));
    const way = remote === undefined ? undefined : this.#groups.get(id)?.ways[remote.id];
    if (way === undefined || way.remote !== remote) return;
    way.outbound?.free();
    way.outbound = null;
  }

  /**
   * Accepts packets of an association, which belongs to the machine from then on.
   * @returns false if the group is not known (any more), or the SPI is in use. The association is freed then.
   */
  addInbound(id: string, address: string, inbound: Inbound): boolean {
    const group = this.#groups.get(id);
    if (group === undefined || this.#inbound.has(inbound.spi)) {
      inbound.free();
      return false;
    }
    this.#inbound.set(inbound.spi, { inbound, group, address: canonicalAddress(address) });
    return true;
  }

  /** Accepts packets of an association no more. */
  removeInbound(spi: number): void {
    this.#inbound.get(spi)?.inbound.free();
    this.#inbound.delete(spi);
  }

  /** The association of an SPI. */
  find(spi: number): InboundAssociation | undefined {
    return this.#inbound.get(spi);
  }

  /** Whether `takeWanted` returns any. */
  get lacks(): boolean {
    return this.#wanted.length > 0;
  }

  /** The associations that the machine lacks, since the last call. */
  takeWanted(): WantedAssociation[] {
    const wanted = this.#wanted;
    if (wanted.length > 0) this.#wanted = [];
    return wanted;
  }

  // ---- What the engine does ----

  /**
   * Like `Vtep.receiveDatagram`, for the VXLAN datagram that an ESP packet had in it. Only segments of the association's group
   * receive it.
   */
  receive(
    { group }: InboundAssociation,
    source: Remote | string,
    frame: Frame,
    now: number,
    ecn: number,
    sink: VtepSink,
  ): void {
    this.#context.begin(now, sink);
    receiveDatagram(this.#context, source, frame, ecn, group);
  }

  /** Counts packets that the engine refuses before a segment gets them. */
  refuse(reason: EspDrop, packets = 1): void {
    this.#context.counters[FIRST_DROP + DROP[reason]]! += packets;
  }

  /**
   * Explains what would happen to a datagram from the port of ESP. Nothing changes but the bytes.
   * @param bytes The buffer that the keys are bound to. The datagram is `[offset, end)`.
   */
  explain(bytes: Uint8Array, offset: number, end: number, from: string, now: number): Explanation {
    const find = (spi: number): InboundAssociation | undefined => this.#inbound.get(spi);
    return explainPacket(this.#context, find, bytes.subarray(0, end), offset, canonicalAddress(from), now);
  }

  /** Whether frames of any group leave to a remote by an association with this SPI. */
  sendsBy(remote: Remote, spi: number): boolean {
    for (const group of this.#groups.values()) if (group.to(remote)?.spi === spi) return true;
    return false;
  }

  // ---- What the machine does ----

  /** The machine is going to send frames of a group to a remote. */
  want(group: Group, remote: Remote): void {
    const way = group.wayTo(remote);
    const { now } = this.#context;
    if (way.outbound !== null || now - way.asked < REMINDER) return;
    way.asked = now;
    this.#wanted.push({ group: group.id, address: remote.address });
  }

  /** Keeps a frame until there is an association, or drops it: a super-frame, or one too many. */
  hold(segment: Segment, group: Group, frame: Frame, remote: Remote): void {
    const context = this.#context;
    if (context.trace !== null) {
      context.addStep('esp', `there is no association with ${remote.address} yet; the frame waits for it`);
      return;
    }
    this.want(group, remote);
    const way = group.wayTo(remote);
    if (frame.packets > 1 || way.held.length >= MAX_HELD || this.#held >= MAX_HELD_IN_ALL)
      return context.drop(segment, frame, DROP['esp-no-association']);
    const bytes = new Uint8Array(HEADROOM + frame.end - frame.start);
    bytes.set(frame.bytes.subarray(frame.start, frame.end), HEADROOM);
    way.held.push({ vni: segment.vni, bytes, time: context.now });
    this.#held++;
    this.#waiting.add(way);
  }

  /** Drops the frames that have waited too long. Call it about once a second. */
  expire(): void {
    const context = this.#context;
    for (const way of this.#waiting) {
      const late = way.held.filter(({ time }) => context.now - time >= PATIENCE);
      way.held = way.held.filter(({ time }) => context.now - time < PATIENCE);
      this.#held -= late.length;
      if (way.held.length === 0) this.#waiting.delete(way);
      for (const { vni } of late) context.segments.get(vni)?.countDrop(DROP['esp-no-association']);
    }
  }

  /** A remote is forgotten, and its id may be used again. */
  forget(id: number): void {
    for (const { ways } of this.#groups.values()) {
      const way = ways[id];
      if (way === undefined) continue;
      way.outbound?.free();
      for (const { vni } of way.held) this.#context.segments.get(vni)?.countDrop(DROP['esp-no-association']);
      this.#forgetHeld(way);
      ways[id] = undefined;
    }
  }

  #forgetHeld(way: Way): void {
    this.#held -= way.held.length;
    way.held = [];
    this.#waiting.delete(way);
  }
}

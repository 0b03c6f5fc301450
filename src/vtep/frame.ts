import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import type { Run, SuperFrame } from '../offload/index.js';
import { NO_PLACE } from './destination.js';

const NO_BYTES = new Uint8Array(0);

/**
 * A frame on its way through a VTEP: its bytes, the packets that they stand for, and what the machine has found out about
 * it. An engine reuses one for all frames that it receives, so that a frame allocates nothing.
 *
 *     const frame = new Frame();
 *     vtep.receiveFrame(port, frame.set(buffer, HEADROOM, HEADROOM + length), now, sink);
 */
export class Frame {
  /** The frame is `bytes[start, end)`; of a VXLAN datagram, the UDP payload is. `start` moves on the way. */
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Number of packets on the wire that it represents. */
  packets = 1;
  /** Their total bytes, minus those of the frame in the buffer. */
  moreBytes = 0;
  /** How many bytes the frame in the buffer is longer than the largest of them. */
  excess = 0;
  /** Received frames that were merged: `bytes` has their common headers only. The machine passes it on. */
  run: Run | null = null;
  /** How a super-frame becomes packets. The machine passes it on. */
  superFrame: SuperFrame | null = null;

  /** Whether the fields that `setMany` sets may have other values than those of one packet: `set` writes what it must. */
  #many = false;

  // ---- What the machine has found out ----

  /** @internal The destination behind which its sender is. */
  from = NO_PLACE;
  /** @internal The underlay address of its sender, if `from` is `NEW_REMOTE` or `UNLEARNED_REMOTE`. */
  sender = '';
  /** @internal Type after the last VLAN tag. */
  type = 0;
  /** @internal Start of the payload of that type. */
  payload = 0;
  /** @internal Whether the fields behind this one may have other values than those of an untagged frame. */
  tagged = false;
  /** @internal Whether the payload is encapsulated in LLC and SNAP. */
  snap = false;
  /** @internal Priority and drop-eligible bits for the tag that a trunk adds: of the first removed tag that sets one of them. */
  priority = 0;
  /** @internal Whether it starts with a tag of VLAN 0, which a trunk's tag replaces. */
  priorityTagged = false;
  /** @internal Whether it has a tag with a VLAN id other than 0. */
  vlanTagged = false;

  constructor(bytes: Uint8Array = NO_BYTES, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  /** Makes it one packet, `bytes[start, end)`. Returns itself. */
  set(bytes: Uint8Array, start: number, end: number): this {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    if (this.#many) this.#makeOne();
    return this;
  }

  /**
   * Makes it represent several packets. Returns itself. Set `run` or `superFrame` afterwards, if the sink needs it.
   * @param packets Their number.
   * @param wire Their total bytes.
   * @param largest Bytes of the largest of them.
   */
  setMany(bytes: Uint8Array, start: number, end: number, packets: number, wire: number, largest = end - start): this {
    this.set(bytes, start, end);
    this.#many = true;
    this.packets = packets;
    this.moreBytes = wire - (end - start);
    this.excess = end - start - largest;
    return this;
  }

  #makeOne(): void {
    this.#many = false;
    this.packets = 1;
    this.moreBytes = 0;
    this.excess = 0;
    this.run = null;
    this.superFrame = null;
  }

  /** @internal It has no VLAN tags. */
  setUntagged(type: number): void {
    this.type = type;
    this.payload = this.start + ethernet.HEADER_LENGTH;
    if (this.tagged) this.#forgetTags();
  }

  #forgetTags(): void {
    this.tagged = false;
    this.snap = false;
    this.priority = 0;
    this.priorityTagged = false;
    this.vlanTagged = false;
  }

  /** @internal It is an answer to a frame, and has the VLAN tags of that one. */
  setTagsOf(question: Frame): void {
    this.type = question.type;
    this.payload = this.start + question.payload - question.start;
    this.tagged = question.tagged;
    this.snap = question.snap;
    this.priority = question.priority;
    this.priorityTagged = question.priorityTagged;
    this.vlanTagged = question.vlanTagged;
  }

  /** @internal Whether it has a complete IP header. */
  get isIp(): boolean {
    const { type } = this;
    const length = this.end - this.payload;
    if (type === ethernet.TYPE_IPV4) return length >= ipv4.MIN_HEADER_LENGTH && !this.snap;
    return type === ethernet.TYPE_IPV6 && length >= ipv6.HEADER_LENGTH && !this.snap;
  }
}

/** An untagged frame of the machine's own, with `HEADROOM` free bytes in front. */
export function ownFrame(bytes: Uint8Array, start: number, end: number): Frame {
  const frame = new Frame(bytes, start, end);
  frame.setUntagged(ethernet.getEtherType(bytes, start));
  return frame;
}

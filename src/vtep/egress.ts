/** The last part of the data path: sends a frame to a local port, or in a VXLAN datagram to a remote. */
import * as ethernet from '../ethernet/index.js';
import * as vxlan from '../vxlan/index.js';
import { getU16, setU16 } from '../wire/index.js';
import type { Context } from './context.js';
import { NO_PLACE, portOf } from './destination.js';
import { DROP } from './drops.js';
import { clampMss } from './clamp-mss.js';
import { ecnOf } from './ecn.js';
import { flowPort } from './flow.js';
import { Frame } from './frame.js';
import { fragmentFrames, isIncompressible } from './oversize.js';
import { narrowestOf, SOURCE_TEXTS, UNLIMITED } from './path-limits.js';
import type { Remote } from './remote.js';
import { COUNT, UNTAGGED, type Segment } from './segment.js';
import { HEADROOM, sealedRoom } from './tunnel.js';
import { moveAddresses } from './tags.js';
import { IPV6_MIN_MTU, tooBigAnswer } from './too-big.js';

const { HEADER_LENGTH: TAG, writeHeader: writeTag } = ethernet.vlan; // see tags.ts

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * Sends a frame through a local port.
 * @param id Its VLAN id on a trunk, or `UNTAGGED`.
 */
export function deliver(context: Context, segment: Segment, frame: Frame, port: number, id: number): void {
  // On the untagged side of a trunk, other bridges would read the frame's own tag as the trunk's.
  if (id === UNTAGGED && frame.vlanTagged && context.ports.get(port).vlans !== null)
    return context.drop(segment, frame, DROP['vlan-native']);
  const { counters, row } = segment;
  counters[row + COUNT['frames-out']]! += frame.packets;
  counters[row + COUNT['frame-bytes-out']]! += frame.end - frame.start + frame.moreBytes;
  if (id === UNTAGGED) return context.sink.deliver(port, frame);
  if (context.trace !== null)
    context.addStep('vlan', `the tag of VLAN ${id} is added for trunk ${context.ports.get(port).name}`);
  const { bytes, start: offset } = frame;
  if (frame.priorityTagged) {
    const control = getU16(bytes, offset + ETHERNET);
    const type = ethernet.getEtherType(bytes, offset);
    ethernet.setEtherType(bytes, offset, ethernet.TYPE_VLAN);
    setU16(bytes, offset + ETHERNET, id | frame.priority);
    context.sink.deliver(port, frame);
    ethernet.setEtherType(bytes, offset, type); // restored, because the sink may get the frame for others
    setU16(bytes, offset + ETHERNET, control);
    return;
  }
  frame.start = offset - TAG;
  moveAddresses(bytes, frame.start, offset);
  ethernet.setEtherType(bytes, frame.start, ethernet.TYPE_VLAN);
  writeTag(bytes, frame.start + ETHERNET, id | frame.priority, ethernet.getEtherType(bytes, offset));
  context.sink.deliver(port, frame);
  moveAddresses(bytes, offset, offset - TAG); // restored, as above
  frame.start = offset;
}

/** The largest inner IP packet of a segment that the path to a remote carries, in bytes. */
export function roomTo({ group }: Segment, remote: Remote): number {
  return group === null ? remote.outerMtu - remote.overhead : sealedRoom(remote.outerMtu, remote);
}

/** Sends a frame to a remote. If the path to there is too narrow, it is sent in fragments, or dropped, and its sender gets an error. */
export function encapsulate(context: Context, segment: Segment, frame: Frame, remote: Remote): void {
  const { bytes, start, end, packets } = frame;
  const path = roomTo(segment, remote);
  const limit = path < segment.mtu ? path : segment.mtu;
  if (segment.clampMss) clamp(context, segment, frame, limit);
  if (end - start - frame.excess - ETHERNET > limit && tooBig(context, segment, frame, remote, path)) return;
  const { group } = segment;
  const association = group === null ? null : group.to(remote);
  if (group !== null && association === null) return context.associations.hold(segment, group, frame, remote);
  const header = start - vxlan.HEADER_LENGTH;
  vxlan.writeHeader(bytes, header, segment.vni);
  const { counters, row } = segment;
  counters[row + COUNT['datagrams-out']]! += packets;
  counters[row + COUNT['datagram-bytes-out']]! += end - header + frame.moreBytes + vxlan.HEADER_LENGTH * (packets - 1);
  const flow = flowPort(bytes, start, end);
  frame.start = header;
  if (association === null) context.sink.transmit(remote, frame, flow, ecnOf(frame));
  else context.sink.transmitSealed?.(remote, association, frame, flow, ecnOf(frame));
  frame.start = start; // restored, because it may go to other remotes as well
}

/** Lowers the maximum segment size in a SYN, in a segment with `clampMss`, to what fits packets of `mtu` bytes. */
export function clamp(context: Context, segment: Segment, frame: Frame, mtu: number): void {
  const mss = clampMss(frame, mtu);
  if (mss === 0) return;
  segment.count(COUNT['mss-clamped'], 1);
  if (context.trace !== null) context.addStep('size', `the maximum segment size of TCP is lowered to ${mss} bytes`);
}

/** Sends an answer to the port that a frame came from. */
export function reply(context: Context, segment: Segment, answer: Frame, from: number): void {
  const port = portOf(from);
  deliver(context, segment, answer, port, context.ports.vlanOn(port, segment));
}

/**
 * Handles a frame that does not fit; returns false if it fits without its VLAN tags, which count for the path only.
 * @param path The largest inner packet that the path carries, with its tags.
 */
function tooBig(context: Context, segment: Segment, frame: Frame, remote: Remote, path: number): boolean {
  const tags = frame.snap ? 0 : frame.payload - frame.start - ETHERNET;
  const length = frame.end - frame.start - frame.excess - ETHERNET - tags;
  const limit = Math.min(path - tags, segment.mtu);
  if (length <= limit) return false;
  if (context.trace !== null) explainSize(context, length, limit, remote, path - tags <= segment.mtu);
  const fragments = fragmentFrames(frame, limit);
  if (fragments.length > 0) {
    if (context.trace !== null) context.addStep('size', `it leaves in ${fragments.length} fragments`);
    segment.count(COUNT['inner-fragments'], fragments.length);
    for (const fragment of fragments) encapsulate(context, segment, fragment, remote);
    return true;
  }
  if (length <= segment.mtu && isIncompressible(frame, length) && transmitFragmented(context, segment, frame, remote))
    return true;
  if (context.narrowest > 0) context.narrowest = Math.min(context.narrowest, limit);
  else if (frame.from !== NO_PLACE) answerTooBig(context, segment, frame, limit);
  context.drop(segment, frame, DROP['too-big']);
  return true;
}

function explainSize(context: Context, length: number, limit: number, remote: Remote, byPath: boolean): void {
  const source = byPath ? narrowestOf(remote) : null;
  const why =
    source === null ? '' : `: that is what the path to ${remote.address} carries, according to ${SOURCE_TEXTS[source]}`;
  context.addStep('size', `a packet of ${length} bytes does not fit into ${limit}${why}`);
}

/** Sends a frame in a datagram that the underlay fragments (RFC 2473, section 7.1), if the engine can do that. */
function transmitFragmented(context: Context, segment: Segment, frame: Frame, remote: Remote): boolean {
  const { sink } = context;
  // It would leave in clear text.
  if (segment.group !== null || sink.transmitFragmented === undefined) return false;
  const { bytes, start, end, packets } = frame;
  const header = start - vxlan.HEADER_LENGTH;
  vxlan.writeHeader(bytes, header, segment.vni);
  segment.count(COUNT['datagrams-out'], packets);
  segment.count(COUNT['datagram-bytes-out'], end - header + frame.moreBytes + vxlan.HEADER_LENGTH * (packets - 1));
  segment.count(COUNT['outer-fragmented'], packets);
  if (context.trace !== null)
    context.addStep('size', 'its sender cannot make it smaller, so its datagram is fragmented (RFC 2473, section 7.1)');
  const flow = flowPort(bytes, start, end);
  frame.start = header;
  sink.transmitFragmented(remote, frame, flow, ecnOf(frame));
  frame.start = start; // restored, because it may go to other remotes as well
  return true;
}

/**
 * Begins a flood: the sender of a frame that is too big for several remotes gets one answer, from `endFlood`, with the smallest
 * of their MTUs.
 */
export function beginFlood(context: Context): void {
  context.narrowest = UNLIMITED;
}

export function endFlood(context: Context, segment: Segment, frame: Frame): void {
  const limit = context.narrowest;
  context.narrowest = 0;
  if (limit < UNLIMITED && frame.from !== NO_PLACE) answerTooBig(context, segment, frame, limit);
}

/** Tells the sender of a frame that its packets are too big, at a limited rate. */
function answerTooBig(context: Context, segment: Segment, frame: Frame, limit: number): void {
  const tags = frame.snap ? 0 : frame.payload - frame.start - ETHERNET;
  const { errors } = context.ports.get(portOf(frame.from));
  if (!errors.has(context.now)) return;
  const bytes = tooBigAnswer(frame.bytes, frame.start, frame.end, tags, limit, HEADROOM);
  if (bytes === null) return;
  errors.take();
  const four = frame.type === ethernet.TYPE_IPV4;
  if (context.trace !== null)
    context.addStep(
      'size',
      four
        ? `its sender gets an ICMP error: fragmentation needed, next-hop MTU ${limit}`
        : `its sender gets an ICMPv6 error: packet too big, MTU ${Math.max(limit, IPV6_MIN_MTU)}`,
    );
  segment.count(four ? COUNT['fragmentation-needed'] : COUNT['packet-too-big'], 1);
  const answer = new Frame(bytes, HEADROOM);
  answer.setTagsOf(frame);
  reply(context, segment, answer, frame.from);
}

/** The last part of the data path: sends a frame to a local port, or in a VXLAN datagram to a remote. */
import * as ethernet from '../ethernet/index.js';
import * as vxlan from '../vxlan/index.js';
import { getU16, setU16 } from '../wire/index.js';
import type { Context } from './context.js';
import { NO_PLACE, portOf } from './destination.js';
import { DROP } from './drops.js';
import { flowHash, sourcePort } from './flow.js';
import type { Remote } from './remote.js';
import { COUNT, UNTAGGED, type Segment } from './segment.js';
import { HEADROOM } from './tunnel.js';
import type { VtepSink } from './sink.js';
import { moveAddresses } from './tags.js';
import { IPV6_MIN_MTU, tooBigAnswer } from './too-big.js';

const { HEADER_LENGTH: TAG, writeHeader: writeTag } = ethernet.vlan; // see tags.ts

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * Sends the current frame through a local port.
 * @param id Its VLAN id on a trunk, or `UNTAGGED`.
 */
export function deliver(
  context: Context,
  segment: Segment,
  port: number,
  id: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  sink: VtepSink,
): void {
  const { tags } = context;
  // On the untagged side of a trunk, other bridges would read the frame's own tag as the trunk's.
  if (id === UNTAGGED && tags.vlanTagged && context.ports.get(port).vlans !== null)
    return context.drop(segment, DROP['vlan-native']);
  const { counters, row } = segment;
  counters[row + COUNT['frames-out']]! += context.packets;
  counters[row + COUNT['frame-bytes-out']]! += end - offset + context.moreBytes;
  if (id === UNTAGGED) return sink.deliver(port, bytes, offset, end);
  if (context.trace !== null)
    context.addStep('vlan', `the tag of VLAN ${id} is added for trunk ${context.ports.get(port).name}`);
  if (tags.priorityTagged) {
    const control = getU16(bytes, offset + ETHERNET);
    const type = ethernet.getEtherType(bytes, offset);
    ethernet.setEtherType(bytes, offset, ethernet.TYPE_VLAN);
    setU16(bytes, offset + ETHERNET, id | tags.priority);
    sink.deliver(port, bytes, offset, end);
    ethernet.setEtherType(bytes, offset, type); // restored, because the sink may get the frame for others
    setU16(bytes, offset + ETHERNET, control);
    return;
  }
  const start = offset - TAG;
  moveAddresses(bytes, start, offset);
  ethernet.setEtherType(bytes, start, ethernet.TYPE_VLAN);
  writeTag(bytes, start + ETHERNET, id | tags.priority, ethernet.getEtherType(bytes, offset));
  sink.deliver(port, bytes, start, end);
  moveAddresses(bytes, offset, start); // restored, as above
}

/** Sends the current frame to a remote, or drops it if the path to there is too narrow. `from` is where it came from. */
export function encapsulate(
  context: Context,
  segment: Segment,
  from: number,
  remote: Remote,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
  sink: VtepSink,
): void {
  const path = remote.outerMtu - remote.overhead;
  const limit = path < segment.mtu ? path : segment.mtu;
  if (
    end - offset - context.excess - ETHERNET > limit &&
    tooBig(context, segment, from, limit, bytes, offset, end, now, sink)
  )
    return;
  const start = offset - vxlan.HEADER_LENGTH;
  vxlan.writeHeader(bytes, start, segment.vni);
  const { packets } = context;
  const { counters, row } = segment;
  counters[row + COUNT['datagrams-out']]! += packets;
  counters[row + COUNT['datagram-bytes-out']]! += end - start + context.moreBytes + vxlan.HEADER_LENGTH * (packets - 1);
  sink.transmit(remote, bytes, start, end, sourcePort(flowHash(bytes, offset, end)), context.getEcn(bytes, end));
}

/** Sends a frame of the machine's own, `HEADROOM` bytes into a buffer, to the port that the current frame came from. */
export function reply(
  context: Context,
  segment: Segment,
  from: number,
  bytes: Uint8Array,
  end: number,
  sink: VtepSink,
): void {
  const { packets, moreBytes } = context;
  context.packets = 1;
  context.moreBytes = 0;
  const port = portOf(from);
  deliver(context, segment, port, context.ports.vlanOn(port, segment), bytes, HEADROOM, end, sink);
  context.packets = packets;
  context.moreBytes = moreBytes;
}

/** Drops a frame that does not fit and notifies its sender; returns false if it fits without its VLAN tags. */
function tooBig(
  context: Context,
  segment: Segment,
  from: number,
  limit: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
  sink: VtepSink,
): boolean {
  const tags = context.tags.snap ? 0 : context.tags.payload - offset - ETHERNET;
  const length = end - offset - context.excess - ETHERNET - tags;
  if (length <= limit) return false;
  if (from === NO_PLACE) {
    context.drop(segment, DROP['too-big']);
    return true;
  }
  if (context.trace !== null) context.addStep('size', `a packet of ${length} bytes does not fit into ${limit}`);
  const { errors } = context.ports.get(portOf(from));
  if (errors.has(now)) {
    const answer = tooBigAnswer(bytes, offset, end, tags, limit, HEADROOM);
    if (answer !== null) {
      errors.take();
      const four = context.tags.type === ethernet.TYPE_IPV4;
      if (context.trace !== null)
        context.addStep(
          'size',
          four
            ? `its sender gets an ICMP error: fragmentation needed, next-hop MTU ${limit}`
            : `its sender gets an ICMPv6 error: packet too big, MTU ${Math.max(limit, IPV6_MIN_MTU)}`,
        );
      segment.count(four ? COUNT['fragmentation-needed'] : COUNT['packet-too-big'], 1);
      reply(context, segment, from, answer, answer.length, sink);
    }
  }
  context.drop(segment, DROP['too-big']);
  return true;
}

/**
 * The first part of the data path: finds the segment of a frame or a datagram, reads its VLAN tags, removes its VXLAN
 * header, and passes it to the bridge. It drops what no segment may carry.
 */
import { formatMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as vxlan from '../vxlan/index.js';
import { TRUNCATED } from '../wire/index.js';
import { forward } from './bridge.js';
import { fillChecksum } from './checksum-fixup.js';
import type { Context } from './context.js';
import { NEW_REMOTE, portDestination, remoteDestination, UNLEARNED_REMOTE } from './destination.js';
import { DROP } from './drops.js';
import { combine, ECN_DROP, NOT_ECT } from './ecn.js';
import type { Remote } from './remote.js';
import { COUNT, type Segment } from './segment.js';
import type { VtepSink } from './sink.js';
import { isUntagged } from './tags.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;

/** Receives a frame from a local port: see `Vtep.receiveFrame`. */
export function receiveFrame(
  context: Context,
  port: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
  sink: VtepSink,
  packets: number,
  wire: number,
  largest: number,
): void {
  const { tags } = context;
  let segment = context.ports.nativeOf(port);
  context.packets = packets;
  context.moreBytes = wire - (end - offset);
  context.excess = end - offset - largest;
  if (end - offset < ETHERNET) return context.drop(segment, DROP['frame-truncated']);
  const type = ethernet.getEtherType(bytes, offset);
  if (isUntagged(type)) tags.setUntagged(offset, type);
  else {
    const reason = tags.read(context.ports.get(port), segment, bytes, offset, end, context.trace);
    segment = tags.segment;
    if (reason >= 0) return context.drop(segment, reason);
    context.moreBytes -= (tags.start - offset) * (packets - 1);
  }
  if (segment === null) return context.drop(null, DROP['vlan-unmapped']);
  const start = tags.start;
  const { counters, row } = segment;
  counters[row + COUNT['frames-in']]! += packets;
  counters[row + COUNT['frame-bytes-in']]! += end - start + context.moreBytes;
  if (context.trace !== null)
    context.addStep(
      'port',
      `${context.ports.get(port).name}, VNI ${segment.vni}: ${end - start} bytes from ${formatMac(bytes, start + SOURCE)} to ${formatMac(bytes, start)}`,
    );
  forward(context, segment, portDestination(port), bytes, start, end, now, sink);
}

/** Receives a VXLAN datagram: see `Vtep.receiveDatagram`. */
export function receiveDatagram(
  context: Context,
  source: Remote | string,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
  ecn: number,
  sink: VtepSink,
  packets: number,
  wire: number,
): void {
  const { tags } = context;
  const { segments, remotes, members, local, peersOnly } = context;
  context.packets = packets;
  const code = vxlan.check(bytes, offset, end);
  if (code < 0) return context.drop(null, code === TRUNCATED ? DROP['datagram-truncated'] : DROP['vxlan-flag']);
  const vni = vxlan.getVni(bytes, offset);
  const segment = segments.get(vni) ?? null;
  if (context.trace !== null)
    context.addStep('vxlan', `VNI ${vni} from ${typeof source === 'string' ? source : source.address}`);
  if (segment === null) return context.drop(null, DROP['unknown-vni']);
  const known = typeof source === 'string' ? remotes.find(source) : source;
  if (source === local || (known !== undefined && known.address === local))
    return context.drop(segment, DROP['own-address']);
  if (
    peersOnly &&
    (known === undefined || !segment.names(known.id)) &&
    !(known === undefined ? members.has(source as string) : context.knows(segment, known))
  ) {
    if (context.trace === null) segment.refused.note(known?.address ?? (source as string), packets);
    return context.drop(segment, DROP['unknown-peer']);
  }
  const { counters, row } = segment;
  counters[row + COUNT['datagrams-in']]! += packets;
  counters[row + COUNT['datagram-bytes-in']]! += wire;
  context.moreBytes = wire - (end - offset) - vxlan.HEADER_LENGTH * (packets - 1);
  context.excess = 0;

  const frame = offset + vxlan.HEADER_LENGTH;
  if (end - frame < ETHERNET) return context.drop(segment, DROP['frame-truncated']);
  const type = ethernet.getEtherType(bytes, frame);
  if (isUntagged(type)) tags.setUntagged(frame, type);
  else {
    const reason = tags.read(null, segment, bytes, frame, end, context.trace);
    if (reason >= 0) return context.drop(segment, reason);
    context.moreBytes -= (tags.start - frame) * (packets - 1);
  }
  const start = tags.start;
  if (ecn !== NOT_ECT && !applyEcn(context, segment, bytes, end, ecn)) return context.drop(segment, DROP['ecn']);
  if (fillChecksum(bytes, start, end)) {
    segment.count(COUNT['checksums-filled'], packets);
    if (context.trace !== null) context.addStep('underlay', 'the sender left the checksum unfinished; it is filled in');
  }

  let from = UNLEARNED_REMOTE;
  if (segment.learn && !vxlan.getDontLearn(bytes, offset)) {
    if (known !== undefined) from = remoteDestination(known.id);
    else from = learnRemote(context, segment, source as string);
  } else context.sender = known?.address ?? (source as string);
  forward(context, segment, from, bytes, start, end, now, sink);
}

/** Adds the unknown sender of a datagram to the remotes; returns its destination, `UNLEARNED_REMOTE` if they are full. */
function learnRemote(context: Context, segment: Segment, source: string): number {
  context.sender = source;
  if (context.trace !== null) return context.remotes.hasRoom ? NEW_REMOTE : UNLEARNED_REMOTE;
  const remote = context.remotes.learn(source, context.port);
  if (remote !== null) return remoteDestination(remote.id);
  segment.count(COUNT['learn-refused'], 1);
  return UNLEARNED_REMOTE;
}

/**
 * Combines the outer ECN field into the inner header (RFC 6040, section 4.2). Returns false if the packet must be
 * dropped.
 */
function applyEcn(context: Context, segment: Segment, bytes: Uint8Array, end: number, outer: number): boolean {
  const inner = context.getEcn(bytes, end);
  const result = combine(inner, outer);
  // A frame without an IP packet has no ECN field; it passes.
  if (result === ECN_DROP) return !context.isIp(end);
  if (result === inner) return true;
  if (context.trace !== null) context.addStep('ecn', `outer ${outer} and inner ${inner} make ${result} (RFC 6040)`);
  context.setEcn(bytes, result);
  segment.count(COUNT['ecn-marked'], context.packets);
  return true;
}

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
import type { Group } from './groups.js';
import type { Context } from './context.js';
import { NEW_REMOTE, portDestination, remoteDestination, UNLEARNED_REMOTE } from './destination.js';
import { DROP } from './drops.js';
import { combine, ECN_DROP, ecnOf, NOT_ECT, setEcn } from './ecn.js';
import { clamp, roomTo } from './egress.js';
import { arrive, leave, leaveTrunk } from './fast-path.js';
import type { Frame } from './frame.js';
import type { Remote } from './remote.js';
import { COUNT, type Segment } from './segment.js';
import { isUntagged, readTags } from './tags.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;

/** Receives a frame from a local port: see `Vtep.receiveFrame`. */
export function receiveFrame(context: Context, port: number, frame: Frame): void {
  if (leave(context, context.ports.rowOf(port), port, frame, 0) || leaveTrunk(context, port, frame)) return;
  const { bytes } = frame;
  let segment = context.ports.nativeOf(port);
  if (frame.end - frame.start < ETHERNET) return context.drop(segment, frame, DROP['frame-truncated']);
  frame.from = portDestination(port);
  const type = ethernet.getEtherType(bytes, frame.start);
  if (!isUntagged(type)) {
    segment = readTags(context, context.ports.get(port), segment, frame);
    if (segment === null) return;
  } else {
    frame.setUntagged(type);
    if (segment === null) return context.drop(null, frame, DROP['vlan-unmapped']);
  }
  const { start, end } = frame;
  const { counters, row } = segment;
  counters[row + COUNT['frames-in']]! += frame.packets;
  counters[row + COUNT['frame-bytes-in']]! += end - start + frame.moreBytes;
  if (context.trace !== null)
    context.addStep(
      'port',
      `${context.ports.get(port).name}, VNI ${segment.vni}: ${end - start} bytes from ${formatMac(bytes, start + SOURCE)} to ${formatMac(bytes, start)}`,
    );
  forward(context, segment, frame);
}

/**
 * Receives a VXLAN datagram: see `Vtep.receiveDatagram`.
 * @param group That of the association by which it came; `null` for one in clear text.
 */
export function receiveDatagram(
  context: Context,
  source: Remote | string,
  frame: Frame,
  ecn: number,
  group: Group | null = null,
): void {
  const { hot, remotes, members, local, peersOnly } = context;
  const { bytes, start: header, end, packets } = frame;
  const code = vxlan.check(bytes, header, end);
  if (code < 0 && context.paths.receive(source, frame)) return;
  if (code < 0) return context.drop(null, frame, code === TRUNCATED ? DROP['datagram-truncated'] : DROP['vxlan-flag']);
  const vni = vxlan.getVni(bytes, header);
  const hotRow = context.rowOf(vni);
  const known = typeof source === 'string' ? remotes.find(source) : source;
  if (
    group === null &&
    known !== undefined &&
    ecn === NOT_ECT &&
    known.address !== local &&
    arrive(context, hotRow, known, frame)
  )
    return;
  const segment = hot.ownerOf(hotRow);
  if (context.trace !== null)
    context.addStep('vxlan', `VNI ${vni} from ${typeof source === 'string' ? source : source.address}`);
  if (segment === null) return context.drop(null, frame, DROP['unknown-vni']);
  if (segment.group !== group)
    return context.drop(segment, frame, group === null ? DROP['esp-clear'] : DROP['esp-vni']);
  if (source === local || (known !== undefined && known.address === local))
    return context.drop(segment, frame, DROP['own-address']);
  if (
    peersOnly &&
    (known === undefined || !segment.names(known.id)) &&
    !(known === undefined ? members.has(source as string) : context.knows(segment, known))
  ) {
    if (context.trace === null) segment.refused.note(known?.address ?? (source as string), packets);
    return context.drop(segment, frame, DROP['unknown-peer']);
  }
  const { counters, row } = segment;
  counters[row + COUNT['datagrams-in']]! += packets;
  counters[row + COUNT['datagram-bytes-in']]! += end - header + frame.moreBytes;

  frame.start = header + vxlan.HEADER_LENGTH;
  frame.moreBytes -= vxlan.HEADER_LENGTH * (packets - 1);
  if (end - frame.start < ETHERNET) return context.drop(segment, frame, DROP['frame-truncated']);
  const type = ethernet.getEtherType(bytes, frame.start);
  if (isUntagged(type)) frame.setUntagged(type);
  else if (readTags(context, null, segment, frame) === null) return;
  if (ecn !== NOT_ECT && !applyEcn(context, segment, frame, ecn)) return context.drop(segment, frame, DROP['ecn']);
  if (fillChecksum(bytes, frame.start, end)) {
    segment.count(COUNT['checksums-filled'], packets);
    if (context.trace !== null) context.addStep('underlay', 'the sender left the checksum unfinished; it is filled in');
  }
  if (segment.clampMss && known !== undefined)
    clamp(context, segment, frame, Math.min(segment.mtu, roomTo(segment, known)));

  frame.from = UNLEARNED_REMOTE;
  if (segment.learn && !vxlan.getDontLearn(bytes, header)) {
    if (known !== undefined) frame.from = remoteDestination(known.id);
    else frame.from = learnRemote(context, segment, frame, source as string);
  } else frame.sender = known?.address ?? (source as string);
  forward(context, segment, frame);
}

/** Adds the unknown sender of a datagram to the remotes; returns its destination, `UNLEARNED_REMOTE` if they are full. */
function learnRemote(context: Context, segment: Segment, frame: Frame, source: string): number {
  frame.sender = source;
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
function applyEcn(context: Context, segment: Segment, frame: Frame, outer: number): boolean {
  const inner = ecnOf(frame);
  const result = combine(inner, outer);
  // A frame without an IP packet has no ECN field; it passes.
  if (result === ECN_DROP) return !frame.isIp;
  if (result === inner) return true;
  if (context.trace !== null) context.addStep('ecn', `outer ${outer} and inner ${inner} make ${result} (RFC 6040)`);
  setEcn(frame, result);
  segment.count(COUNT['ecn-marked'], frame.packets);
  return true;
}

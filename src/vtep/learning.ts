/**
 * Learning: where the source address of a frame is, and who may say so.
 *
 * From the strongest to the weakest, a MAC address is bound to a place
 *
 * 1. by the control plane: an endpoint of another VTEP, or the station of a local port (`PortOptions.mac`);
 * 2. by the control plane without a port: an endpoint of this host. No tunnel moves it. The first local port that sends
 *    from it keeps it until the entry expires or the port is removed;
 * 3. by a frame from a local port. A known remote moves it by announcing the address, as a host does after a station has
 *    moved there; no other frame from a tunnel does. Another local port moves it by any frame, as in a bridge;
 * 4. by a datagram of a known remote. Other known remotes and local ports move it;
 * 5. by a datagram of an unknown remote, where these are accepted. Every frame moves it (RFC 7348, section 4.1).
 *
 * A remote is known if the control plane has a reference to it in the segment, or if it is a cluster member. A learned
 * binding holds until its entry expires.
 *
 * A frame from a place to which its source address may not move is dropped, with one exception: against a binding that a
 * local port has made by a frame (3), the frame of a known remote passes, and the binding stays. Several hosts may send
 * from one address: the routers of a VRRP group do (RFC 5798, section 7.3), and so do gateways with an anycast address.
 */
import { formatMac } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import { FULL, LEARNED, MOVED, NONE, QUOTA } from '../fdb/index.js';
import { findDiscovery, isAdvertisement } from '../neighbor/index.js';
import { getU16 } from '../wire/index.js';
import type { Context } from './context.js';
import { isRemote, NEW_REMOTE, remoteIdOf, UNLEARNED_REMOTE } from './destination.js';
import type { Frame } from './frame.js';
import { COUNT, type Segment } from './segment.js';
import type { Learned } from './sink.js';

const SOURCE = ethernet.SOURCE_OFFSET;

/** `judge`: the source may be behind the place that the frame came from. */
const FREE = 0;
/** `judge`: another frame bound it elsewhere, and the sender is unknown. */
const HELD = 1;
/** `judge`: the control plane bound it elsewhere. */
const FIXED = 2;
/** `judge`: a frame bound it to a local port, and the sender is a known remote: the frame passes, the binding stays. */
const SHARED = 3;

/**
 * Learns the source address of a frame, unless it is bound elsewhere; nothing is learned behind `UNLEARNED_REMOTE`. While
 * `trace` is set, explains what it would learn instead. Otherwise call it only if `Fdb.touch` has not found the address
 * there.
 * @returns whether the frame may pass.
 */
export function admit(context: Context, segment: Segment, frame: Frame): boolean {
  if (isFromGateway(segment, frame)) return admitGateway(context, frame);
  if (context.trace !== null) return explainLearning(context, segment, frame);
  const verdict = judge(context, segment, frame);
  if (verdict === FREE) {
    if (frame.from !== UNLEARNED_REMOTE) learn(context, segment, frame);
    return true;
  }
  if (verdict === FIXED) segment.count(COUNT['contradicted'], frame.packets);
  if (verdict === SHARED) segment.count(COUNT['shared-source'], frame.packets);
  return verdict === SHARED;
}

/** Whether the source of a frame is the gateway of its segment. */
export function isFromGateway({ router }: Segment, frame: Frame): boolean {
  return router !== null && router.isFromGateway(frame);
}

/** Every host sends what it routes from the gateway's address, which is learned nowhere. No station may have it. */
function admitGateway(context: Context, { from }: Frame): boolean {
  if (context.trace !== null)
    context.addStep(
      'fdb',
      `the source is the gateway, ${isRemote(from) ? 'as on every host' : 'which no port may be'}`,
    );
  return isRemote(from);
}

/** Learns the source address of a frame, which may be there. */
export function learn(context: Context, segment: Segment, frame: Frame): void {
  const { bytes, start, from } = frame;
  const outcome = segment.fdb.learn(bytes, start + SOURCE, from, context.now);
  if (outcome === LEARNED) {
    segment.count(COUNT['learned'], 1);
    segment.watch.learned(from);
  } else if (outcome === MOVED) {
    segment.count(COUNT['moved'], 1);
    segment.watch.moved(ethernet.getSource(bytes, start), segment.fdb.movedFrom, from);
  } else if (outcome === FULL || outcome === QUOTA) {
    segment.count(COUNT['learn-refused'], 1);
    segment.watch.refused(from);
  }
  const { sink } = context;
  if ((outcome === LEARNED || outcome === MOVED) && sink.learned !== undefined)
    sink.learned({
      vni: segment.vni,
      mac: ethernet.getSource(bytes, start),
      location: context.locationOf(from),
      age: 0,
      ...(isRemote(from) && isAnnouncement(frame) ? { announced: true } : {}),
    });
}

/** Whether what another machine learned may replace what this one knows; see `Vtep.adopt`. */
export function mayAdopt(
  context: Context,
  segment: Segment,
  { mac, announced }: Learned,
  to: number,
  now: number,
): boolean {
  const known = segment.fdb.locate(mac, now);
  const station = segment.stationAt(mac);
  if (station !== NONE && station !== to) return false;
  if (!isRemote(to)) return known === NONE || known === to || isRemote(known) || !segment.isLocal(mac);
  if (segment.isLocal(mac)) return false;
  if (known === NONE || known === to) return true;
  const isKnown = context.knows(segment, context.remotes.get(remoteIdOf(to)));
  return isRemote(known)
    ? isKnown || !context.knows(segment, context.remotes.get(remoteIdOf(known)))
    : isKnown && announced === true;
}

/** Whether the source address of a frame may be behind where it came from: `FREE`, `HELD`, `FIXED` or `SHARED`. */
function judge(context: Context, segment: Segment, frame: Frame): number {
  const { bytes, start, from } = frame;
  const { fdb } = segment;
  const known = fdb.lookup(bytes, start + SOURCE, context.now);
  if (known === from) return FREE;
  const mac = ethernet.getSource(bytes, start);
  const isHere = segment.isLocal(mac);
  if (!isRemote(from)) {
    const station = segment.stationAt(mac);
    if (station !== NONE && station !== from) return FIXED;
    if (known === NONE) return FREE;
    return (isHere && !isRemote(known)) || fdb.isStatic(bytes, start + SOURCE) ? FIXED : FREE;
  }
  if (isHere) return FIXED;
  if (known === NONE) return FREE;
  // A sender behind which nothing is learned moves nothing, so only local stations matter.
  if (from === UNLEARNED_REMOTE && isRemote(known)) return FREE;
  if (fdb.isStatic(bytes, start + SOURCE)) return FIXED;
  const isKnown = isKnownSender(context, segment, frame);
  if (!isRemote(known)) {
    if (!isKnown) return HELD;
    return from !== UNLEARNED_REMOTE && isAnnouncement(frame) ? FREE : SHARED;
  }
  return isKnown || !context.knows(segment, context.remotes.get(remoteIdOf(known))) ? FREE : HELD;
}

/** Whether the control plane knows the remote that a frame came from. */
function isKnownSender(context: Context, segment: Segment, { from, sender }: Frame): boolean {
  if (from !== UNLEARNED_REMOTE && from !== NEW_REMOTE)
    return context.knows(segment, context.remotes.get(remoteIdOf(from)));
  const remote = context.remotes.find(sender);
  return remote === undefined ? context.members.has(sender) : context.knows(segment, remote);
}

function explainLearning(context: Context, segment: Segment, frame: Frame): boolean {
  const { bytes, start, from, sender } = frame;
  const verdict = judge(context, segment, frame);
  if (from === UNLEARNED_REMOTE && verdict === FREE) return true;
  const known = segment.fdb.lookup(bytes, start + SOURCE, context.now);
  const source = `source ${formatMac(bytes, start + SOURCE)}`;
  const fixed = segment.fdb.isStatic(bytes, start + SOURCE) ? ' according to the control plane' : '';
  if (verdict === FIXED && fixed === '' && isRemote(from))
    context.addStep('fdb', `${source} is an endpoint of this host according to the control plane; that stays`);
  else if (known === from) context.addStep('fdb', `${source} is known behind ${context.nameOf(from, sender)}${fixed}`);
  else {
    const station = segment.stationAt(ethernet.getSource(bytes, start));
    const place = known === NONE ? station : known;
    const before = place === NONE ? 'is new' : `was behind ${context.nameOf(place)}${fixed}`;
    const after = AFTER[verdict] ?? `it would be learned behind ${context.nameOf(from, sender)}`;
    context.addStep('fdb', `${source} ${before}; ${after}`);
  }
  return verdict === FREE || verdict === SHARED;
}

/** What happens to a binding, as `explainLearning` says it, by the verdict about a frame that does not move it. */
const AFTER: Readonly<Record<number, string>> = {
  [HELD]: 'that stays',
  [FIXED]: 'that stays',
  [SHARED]: 'that stays, and the frame passes, because its sender is a peer or a member',
};

/**
 * Whether a frame announces its source address to all: a broadcast ARP packet for the sender's own address (RFC 5227,
 * section 3), an unsolicited neighbor advertisement (RFC 4861, section 7.2.6), or RARP, which virtual machines send
 * after a migration because they know only their MAC address.
 */
function isAnnouncement({ bytes, start, end, type, payload, snap }: Frame): boolean {
  if (!ethernet.isToGroup(bytes, start) || snap) return false;
  if (type === ethernet.TYPE_IPV6) {
    const at = findDiscovery(bytes, payload, end);
    return at >= 0 && isAdvertisement(bytes, at);
  }
  if (type === TYPE_RARP) return end - payload >= arp.ETHERNET_IPV4_LENGTH && getU16(bytes, payload) === 1;
  return (
    type === ethernet.TYPE_ARP &&
    arp.check(bytes, payload, end) >= 0 &&
    arp.isEthernetIpv4(bytes, payload) &&
    arp.getSenderIp(bytes, payload) === arp.getTargetIp(bytes, payload) &&
    arp.getSenderMac(bytes, payload) === ethernet.getSource(bytes, start)
  );
}

/** EtherType of RARP (RFC 903). */
const TYPE_RARP = 0x8035;

/** VLAN tags: which ones a frame may have, which ones are removed, and what follows them. */
import * as ethernet from '../ethernet/index.js';
import { getI32, getU16, setU16, setU32 } from '../wire/index.js';
import type { Context } from './context.js';
import { DROP } from './drops.js';
import type { Frame } from './frame.js';
import { NO_ROW } from './hot-rows.js';
import type { Port } from './port.js';
import type { Segment } from './segment.js';

// Of a bundle's object of a namespace, each property is a call: with these, a frame with a tag takes 30 to 50 ns less.
const { HEADER_LENGTH: TAG, ID_NONE, getEtherType: getTagType, getId } = ethernet.vlan;

const ETHERNET = ethernet.HEADER_LENGTH;
/** Priority and drop-eligible bits of a tag. */
const PRIORITY = 0xf000;
/**
 * A type is 1536 or more. A smaller number is a length, or other implementations may read it as one (IEEE 802.3,
 * 3.2.6).
 */
const MIN_TYPE = 0x0600;
/** LLC header aa aa 03 and the first octet of SNAP's OUI. */
const SNAP = 0xaaaa_0300 | 0;
const SNAP_OUI = 4;
const SNAP_TYPE = 6;
const SNAP_LENGTH = 8;

/** Whether this is one of the types of nearly all frames, none of which is a tag. */
export function isUntagged(type: number): boolean {
  return type === ethernet.TYPE_IPV4 || type === ethernet.TYPE_IPV6 || type === ethernet.TYPE_ARP;
}

/**
 * Reads all VLAN tags of a frame, and removes those that do not name a VLAN inside the segment: tags of VLAN 0, and
 * on a trunk the tag that selects the segment. A tag behind a removed one is checked as if it were the first, because
 * the next bridge reads it that way (CVE-2021-27853).
 *
 * A segment that carries tags keeps the first tag that names a VLAN, all tags behind it, and the first tag of VLAN 0
 * in front of it that has a priority. Tags are those of `ethernet.isVlanType`. 0x9200 and 0x9300 are not tags, as in
 * the data paths of Linux and in Wireshark.
 *
 * @param port The port on which the frame arrived; `null` for a tunnel.
 * @param segment The segment of untagged frames from there, or `null`.
 * @returns the frame's segment; `null` if the frame was dropped.
 */
export function readTags(context: Context, port: Port | null, segment: Segment | null, frame: Frame): Segment | null {
  const { bytes, start: offset, end } = frame;
  const { trace } = context;
  let type = ethernet.getEtherType(bytes, offset);
  frame.setUntagged(type);
  frame.tagged = true;
  let trunk = port === null ? null : port.vlans;
  let at = offset + ETHERNET;
  let removed = at; // end of the last removed tag
  // The first tag of VLAN 0 inside the segment that has a priority.
  let inside = 0;
  let insideType = 0;
  while (ethernet.isVlanType(type)) {
    // Not `vlan.check`: a bridge does not check an IEEE 802.3 length, with a tag or without.
    if (end - at < TAG) return dropped(context, segment, frame, DROP['frame-truncated']);
    const id = getId(bytes, at);
    const priority = getU16(bytes, at) & PRIORITY;
    const tagType = type;
    type = getTagType(bytes, at);
    at += TAG;
    if (frame.vlanTagged) continue;
    if (id === ID_NONE) {
      if (inside === 0) {
        inside = priority;
        insideType = tagType;
      }
      if (trace !== null) context.addStep('vlan', 'VLAN 0 names no VLAN; the tag is removed');
    } else if (trunk !== null) {
      segment = context.hot.ownerOf(trunk.get(id) ?? NO_ROW);
      if (segment === null) return dropped(context, null, frame, DROP['vlan-unmapped']);
      trunk = null; // the remaining tags are inside the segment
      inside = 0;
      if (trace !== null)
        context.addStep('vlan', `VLAN ${id} on trunk ${port!.name} is VNI ${segment.vni}; the tag is removed`);
    } else if (segment !== null && segment.tagged) {
      frame.vlanTagged = true;
      if (trace !== null) context.addStep('vlan', `the segment carries the tag of VLAN ${id}`);
      continue;
    } else {
      if (trace !== null) context.addStep('vlan', `VLAN ${id} is not allowed here`);
      return dropped(context, segment, frame, segment === null ? DROP['vlan-unmapped'] : DROP['vlan-unexpected']);
    }
    frame.priority ||= priority;
    removed = at;
  }
  // No station sends a tag behind LLC and SNAP (RFC 1042, IEEE 802.1H), but a bridge might decapsulate it.
  if (type < MIN_TYPE && end - at >= SNAP_LENGTH && isSnap(bytes, at)) {
    type = getU16(bytes, at + SNAP_TYPE);
    at += SNAP_LENGTH;
    frame.snap = true;
    if (ethernet.isVlanType(type)) {
      if (trace !== null) context.addStep('vlan', 'a VLAN tag is hidden behind an LLC and SNAP header');
      return dropped(context, segment, frame, DROP['vlan-unexpected']);
    }
  }
  if (segment === null) return dropped(context, null, frame, DROP['vlan-unmapped']);
  frame.type = type;
  frame.payload = at;
  frame.priorityTagged = inside !== 0 && segment.tagged;
  if (frame.priorityTagged && trace !== null)
    context.addStep('vlan', `the segment carries tags: priority ${inside >>> 13} stays, in a tag of VLAN 0`);
  const start = removed - ETHERNET - (frame.priorityTagged ? TAG : 0);
  if (start === offset) return segment;
  moveAddresses(bytes, start, offset);
  if (frame.priorityTagged) {
    ethernet.setEtherType(bytes, start, insideType);
    setU16(bytes, start + ETHERNET, inside);
  }
  frame.start = start;
  frame.moreBytes -= (start - offset) * (frame.packets - 1);
  return segment;
}

function dropped(context: Context, segment: Segment | null, frame: Frame, reason: number): null {
  context.drop(segment, frame, reason);
  return null;
}

/**
 * Where the Ethernet header of the frame at `offset` would start without its VLAN tags. From there, the type and the
 * payload have their usual offsets; the addresses do not.
 */
export function behindTags(bytes: Uint8Array, offset: number, end: number): number {
  let start = offset;
  while (ethernet.isVlanType(ethernet.getEtherType(bytes, start)) && end - start >= ethernet.HEADER_LENGTH + TAG)
    start += TAG;
  return start;
}

/** Copies destination and source of a frame; the two places may overlap. A call of `copyWithin` takes longer. */
export function moveAddresses(bytes: Uint8Array, to: number, from: number): void {
  const first = getI32(bytes, from);
  const second = getI32(bytes, from + 4);
  const third = getI32(bytes, from + 8);
  setU32(bytes, to, first);
  setU32(bytes, to + 4, second);
  setU32(bytes, to + 8, third);
}

/** Whether the bytes at `offset` are LLC and SNAP headers with an OUI that is followed by an EtherType. */
function isSnap(bytes: Uint8Array, offset: number): boolean {
  const oui = getU16(bytes, offset + SNAP_OUI);
  return getI32(bytes, offset) === SNAP && (oui === 0 || oui === 0xf8);
}

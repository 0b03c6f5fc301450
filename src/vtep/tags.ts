/** VLAN tags: which of them a frame may have, which are removed, and what is behind them. */
import * as ethernet from '../ethernet/index.js';
import { getI32, getU16, setU16 } from '../wire/index.js';
import { DROP } from './drops.js';
import type { Step } from './explain.js';
import type { Port } from './port.js';
import type { Segment } from './segment.js';

const { vlan } = ethernet;

const ETHERNET = ethernet.HEADER_LENGTH;
/** Bytes of destination and source. */
const ADDRESSES = ETHERNET - 2;
/** Priority and drop-eligible bits of a tag. */
const PRIORITY = 0xf000;
/** A type is 1536 or more; a smaller number is a length, or somebody may take it for one (IEEE 802.3, 3.2.6). */
const MIN_TYPE = 0x0600;
/** LLC header aa aa 03 and the first octet of SNAP's OUI. */
const SNAP = 0xaaaa_0300 | 0;
const SNAP_OUI = 4;
const SNAP_TYPE = 6;
const SNAP_LENGTH = 8;

/** The types of nearly all frames, behind which there is no tag. */
export function isUntagged(type: number): boolean {
  return type === ethernet.TYPE_IPV4 || type === ethernet.TYPE_IPV6 || type === ethernet.TYPE_ARP;
}

/** What the tags of a frame say. One instance serves frame after frame. */
export class FrameTags {
  /** The frame's segment; `null` for none. Set by `read` alone. */
  segment: Segment | null = null;
  /** Start of the frame without the tags that were removed. */
  start = 0;
  /** Type behind the last tag. */
  type = 0;
  /** Start of the payload of that type. */
  payload = 0;
  /** Whether the payload is encapsulated in LLC and SNAP. */
  snap = false;
  /** Priority and drop-eligible bits for the tag that a trunk adds: the first of the removed tags that has any. */
  priority = 0;
  /** Whether the frame starts with a tag of VLAN 0, which a trunk's tag replaces. */
  priorityTagged = false;
  /** Whether the frame has a tag that names a VLAN. */
  vlanTagged = false;

  setUntagged(offset: number, type: number): void {
    this.start = offset;
    this.type = type;
    this.payload = offset + ETHERNET;
    this.snap = false;
    this.priority = 0;
    this.priorityTagged = false;
    this.vlanTagged = false;
  }

  /**
   * Reads the VLAN tags of a frame until none is left, and removes those that name no VLAN inside the segment: tags of
   * VLAN 0, and on a trunk the tag that names the segment. A tag behind a removed one is checked as if it stood there from
   * the start, since that is how the next bridge reads it (CVE-2021-27853).
   *
   * A segment that carries tags keeps the first tag that names a VLAN and all that follow, and of the tags of VLAN 0 in
   * front of it the first that has a priority. Tags are those of `ethernet.isVlanType`. 0x9200 and 0x9300 are no tags to
   * the data paths of Linux and to Wireshark, and not here.
   *
   * @param port Where the frame came in; `null` for a tunnel.
   * @param segment Segment of untagged frames from there.
   * @param trace Steps of an explanation to add to.
   * @returns -1, or the reason for which the frame must be dropped.
   */
  read(
    port: Port | null,
    segment: Segment | null,
    bytes: Uint8Array,
    offset: number,
    end: number,
    trace: Step[] | null,
  ): number {
    let type = ethernet.getEtherType(bytes, offset);
    this.setUntagged(offset, type);
    this.segment = segment;
    let trunk = port === null ? null : port.vlans;
    let at = offset + ETHERNET;
    let removed = at; // end of the last tag that is removed
    // The first tag of VLAN 0 inside the segment that has a priority.
    let inside = 0;
    let insideType = 0;
    while (ethernet.isVlanType(type)) {
      // Not `vlan.check`: an IEEE 802.3 length is the stations' business, with a tag as without.
      if (end - at < vlan.HEADER_LENGTH) return DROP['frame-truncated'];
      const id = vlan.getId(bytes, at);
      const priority = getU16(bytes, at) & PRIORITY;
      const tagType = type;
      type = vlan.getEtherType(bytes, at);
      at += vlan.HEADER_LENGTH;
      if (this.vlanTagged) continue;
      if (id === vlan.ID_NONE) {
        if (inside === 0) {
          inside = priority;
          insideType = tagType;
        }
        if (trace !== null) say(trace, 'VLAN 0 names no VLAN; the tag is removed');
      } else if (trunk !== null) {
        segment = trunk.get(id) ?? null;
        this.segment = segment;
        if (segment === null) return DROP['vlan-unmapped'];
        trunk = null; // what follows is inside the segment
        inside = 0;
        if (trace !== null) say(trace, `VLAN ${id} on trunk ${port!.name} is VNI ${segment.vni}; the tag is removed`);
      } else if (segment !== null && segment.tagged) {
        this.vlanTagged = true;
        if (trace !== null) say(trace, `the segment carries the tag of VLAN ${id}`);
        continue;
      } else {
        if (trace !== null) say(trace, `VLAN ${id} is not allowed here`);
        return segment === null ? DROP['vlan-unmapped'] : DROP['vlan-unexpected'];
      }
      this.priority ||= priority;
      removed = at;
    }
    // No station sends a tag behind LLC and SNAP (RFC 1042, IEEE 802.1H), and some bridge might unpack it.
    if (type < MIN_TYPE && end - at >= SNAP_LENGTH && isSnap(bytes, at)) {
      type = getU16(bytes, at + SNAP_TYPE);
      at += SNAP_LENGTH;
      this.snap = true;
      if (ethernet.isVlanType(type)) {
        if (trace !== null) say(trace, 'a VLAN tag is hidden behind an LLC and SNAP header');
        return DROP['vlan-unexpected'];
      }
    }
    this.type = type;
    this.payload = at;
    this.priorityTagged = inside !== 0 && segment !== null && segment.tagged;
    if (this.priorityTagged && trace !== null)
      say(trace, `the segment carries tags: priority ${inside >>> 13} stays, in a tag of VLAN 0`);
    this.start = removed - ETHERNET - (this.priorityTagged ? vlan.HEADER_LENGTH : 0);
    if (this.start === offset) return -1;
    bytes.copyWithin(this.start, offset, offset + ADDRESSES);
    if (this.priorityTagged) {
      ethernet.setEtherType(bytes, this.start, insideType);
      setU16(bytes, this.start + ETHERNET, inside);
    }
    return -1;
  }
}

/**
 * Where the Ethernet header of the frame at `offset` would start if its VLAN tags were not there: the type of the payload,
 * and the payload, have their offsets from there. The addresses do not.
 */
export function behindTags(bytes: Uint8Array, offset: number, end: number): number {
  let start = offset;
  while (
    ethernet.isVlanType(ethernet.getEtherType(bytes, start)) &&
    end - start >= ethernet.HEADER_LENGTH + vlan.HEADER_LENGTH
  )
    start += vlan.HEADER_LENGTH;
  return start;
}

function say(trace: Step[], text: string): void {
  trace.push({ stage: 'vlan', text });
}

/** Whether an LLC and a SNAP header stand at `offset` whose OUI says that an EtherType follows. */
function isSnap(bytes: Uint8Array, offset: number): boolean {
  const oui = getU16(bytes, offset + SNAP_OUI);
  return getI32(bytes, offset) === SNAP && (oui === 0 || oui === 0xf8);
}

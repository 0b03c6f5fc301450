/**
 * The path of nearly all frames: a unicast of IPv4, or of TCP or UDP over IPv6, between a local port and a tunnel, whose two
 * addresses the forwarding database has where they should be. It does what ingress.ts, bridge.ts and egress.ts do for such a
 * frame, and reads one cache line of its segment: see hot-rows.ts. It changes nothing before it is sure; what it refuses goes
 * through the bridge. A property test holds the two equal.
 */
import * as ethernet from '../ethernet/index.js';
import { SLOT_DESTINATION, SLOT_HIGH, SLOT_SEEN, SLOT_STATIC, slotOf, ticks } from '../fdb/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as vxlan from '../vxlan/index.js';
import { getI32, getU16 } from '../wire/index.js';
import { fillChecksum } from './checksum-fixup.js';
import type { Context } from './context.js';
import { isRemote, portDestination, portOf, remoteDestination, remoteIdOf } from './destination.js';
import { flowPort } from './flow.js';
import type { Frame } from './frame.js';
import {
  AGE,
  BASE,
  GATEWAY_HIGH,
  GATEWAY_LOW,
  IN_BYTES,
  IN_PACKETS,
  MASK,
  MTU,
  OUT_BYTES,
  OUT_PACKETS,
  TABLE,
  VNI,
} from './hot-rows.js';
import type { Remote } from './remote.js';
import { COUNT } from './segment.js';
import { moveAddresses } from './tags.js';

const { HEADER_LENGTH: TAG, getId } = ethernet.vlan; // see tags.ts

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;
/** Bytes of a frame with the longer of the two IP headers: a shorter one goes through the bridge, which knows what it lacks. */
const SHORTEST = ETHERNET + ipv6.HEADER_LENGTH;
/** The bit of the first 16 bits of an address that marks a group. */
const GROUP = 0x0100;

/** Like `leave`, for a frame with a tag of a trunk's VLAN, which is removed. */
export function leaveTrunk(context: Context, port: number, frame: Frame): boolean {
  const { bytes, start, end } = frame;
  if (end - start < SHORTEST || ethernet.getEtherType(bytes, start) !== ethernet.TYPE_VLAN) return false;
  return leave(context, context.ports.rowOnTrunk(port, getId(bytes, start + ETHERNET)), port, frame, TAG);
}

/**
 * Sends an untagged frame from a local port through a tunnel.
 * @param row The port's segment in `Context.hot`, or `NO_ROW`.
 * @param tag Bytes of the tag that it has nevertheless, which is removed.
 * @returns whether it did.
 */
export function leave(context: Context, row: number, port: number, frame: Frame, tag: number): boolean {
  const { hot, common } = context;
  const { words: rows } = hot;
  const mask = rows[row + MASK]!;
  const { bytes, start: addresses, end } = frame;
  const start = addresses + tag;
  if (mask < 0 || context.trace !== null || end - start < SHORTEST) return false;
  const type = ethernet.getEtherType(bytes, start);
  if (!isPlain(bytes, start, type)) return false;
  const low = getI32(bytes, addresses + 2);
  const high = getU16(bytes, addresses);
  const sourceLow = getI32(bytes, addresses + SOURCE + 2);
  const sourceHigh = getU16(bytes, addresses + SOURCE);
  if (((high | sourceHigh) & GROUP) !== 0) return false;
  if (low === rows[row + GATEWAY_LOW] && high === rows[row + GATEWAY_HIGH]) return false;
  const table = hot.tables[rows[row + TABLE]!]!;
  const base = rows[row + BASE]!;
  const { seed } = common;
  const destination = slotOf(table, base, mask, seed, low, high);
  const source = slotOf(table, base, mask, seed, sourceLow, sourceHigh);
  const word = table[destination + SLOT_HIGH]!;
  const to = table[destination + SLOT_DESTINATION]!;
  const from = portDestination(port);
  if (word === 0 || !isRemote(to) || table[source + SLOT_DESTINATION] !== from || table[source + SLOT_HIGH] === 0)
    return false;
  const now = ticks(context.now);
  if ((word & SLOT_STATIC) === 0 && ((now - table[destination + SLOT_SEEN]!) | 0) > rows[row + AGE]!) return false;
  const remote = context.remotes.get(remoteIdOf(to));
  const path = remote.outerMtu - remote.overhead;
  const mtu = rows[row + MTU]!;
  if (end - start - frame.excess - ETHERNET > (path < mtu ? path : mtu)) return false;

  table[source + SLOT_SEEN] = now;
  if (tag !== 0) removeTag(frame, tag);
  const flow = flowPort(bytes, start, end);
  const { counts } = hot;
  counts[(row >> 1) + OUT_PACKETS]! += frame.packets;
  counts[(row >> 1) + OUT_BYTES]! += end - start + frame.moreBytes;
  const header = start - vxlan.HEADER_LENGTH;
  vxlan.writeHeader(bytes, header, rows[row + VNI]!);
  frame.from = from;
  frame.setUntagged(type);
  frame.start = header;
  const ip = start + ETHERNET;
  const ecn = type === ethernet.TYPE_IPV4 ? ipv4.getEcn(bytes, ip) : ipv6.getEcn(bytes, ip);
  context.sink.transmit(remote, frame, flow, ecn);
  return true;
}

/**
 * Sends the frame of a datagram to a local port.
 * @param row The segment of its VNI in `Context.hot`, or `NO_ROW`.
 * @param source The sender, which is not this VTEP.
 * @returns whether it did.
 */
export function arrive(context: Context, row: number, source: Remote, frame: Frame): boolean {
  const { hot, common } = context;
  const { words: rows } = hot;
  const mask = rows[row + MASK]!;
  const { bytes, start: header, end } = frame;
  const start = header + vxlan.HEADER_LENGTH;
  if (mask < 0 || context.trace !== null || end - start < ETHERNET || vxlan.getDontLearn(bytes, header)) return false;
  const type = ethernet.getEtherType(bytes, start);
  if (!isPlain(bytes, start, type)) return false;
  const low = getI32(bytes, start + 2);
  const high = getU16(bytes, start);
  const sourceLow = getI32(bytes, start + SOURCE + 2);
  const sourceHigh = getU16(bytes, start + SOURCE);
  if (((high | sourceHigh) & GROUP) !== 0) return false;
  if (low === rows[row + GATEWAY_LOW] && high === rows[row + GATEWAY_HIGH]) return false;
  const table = hot.tables[rows[row + TABLE]!]!;
  const base = rows[row + BASE]!;
  const { seed } = common;
  const at = slotOf(table, base, mask, seed, low, high);
  const known = slotOf(table, base, mask, seed, sourceLow, sourceHigh);
  const to = table[at + SLOT_DESTINATION]!;
  const word = table[known + SLOT_HIGH]!;
  const from = remoteDestination(source.id);
  if (word === 0 || table[at + SLOT_HIGH] === 0 || isRemote(to) || table[known + SLOT_DESTINATION] !== from)
    return false;
  // The control plane refers to the remote of each of its endpoints. Whether it refers to others, only the segment knows.
  if (context.peersOnly && (word & SLOT_STATIC) === 0) return false;
  const now = ticks(context.now);
  if (((now - table[at + SLOT_SEEN]!) | 0) > rows[row + AGE]!) return false;
  const port = portOf(to);
  if (context.ports.rowOf(port) !== row) return false; // it leaves through a trunk, with a tag

  table[known + SLOT_SEEN] = now; // has no meaning for a static entry
  const { counts } = hot;
  const { packets } = frame;
  counts[(row >> 1) + IN_PACKETS]! += packets;
  counts[(row >> 1) + IN_BYTES]! += end - header + frame.moreBytes;
  frame.start = start;
  frame.moreBytes -= vxlan.HEADER_LENGTH * (packets - 1);
  frame.from = from;
  frame.setUntagged(type);
  if (fillChecksum(bytes, start, end)) hot.ownerOf(row)!.count(COUNT['checksums-filled'], packets);
  context.sink.deliver(port, frame);
  return true;
}

function removeTag(frame: Frame, tag: number): void {
  moveAddresses(frame.bytes, frame.start + tag, frame.start);
  frame.start += tag;
  frame.moreBytes -= tag * (frame.packets - 1);
}

/** Whether nothing but the bridge has to see a frame: it is neither ARP nor neighbor discovery, and has no tags. */
function isPlain(bytes: Uint8Array, start: number, type: number): boolean {
  if (type === ethernet.TYPE_IPV4) return true;
  if (type !== ethernet.TYPE_IPV6) return false;
  const next = ipv6.getNextHeader(bytes, start + ETHERNET);
  return next === ipv4.PROTOCOL_TCP || next === ipv4.PROTOCOL_UDP;
}

/** Recognizes the datagrams that ICMP errors quote. */
import * as ethernet from '../ethernet/index.js';
import { NONE } from '../fdb/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as vxlan from '../vxlan/index.js';
import { getU16, getU32 } from '../wire/index.js';
import type { Context } from './context.js';
import { isRemote, remoteDestination } from './destination.js';
import type { Remote } from './remote.js';
import { behindTags } from './tags.js';

/** `lengthOfQuote`: this VTEP has not sent such a datagram to the remote. */
export const NOT_OURS = -1;
/** `lengthOfQuote`: the quote ends too early to say whether it has, or how long the datagram was. */
export const UNKNOWN_LENGTH = 0;

const VXLAN_LENGTH = vxlan.HEADER_LENGTH;
/** The first word of the header that this VTEP writes: only flag I. */
const FIRST_WORD = 0x0800_0000;
/** Bytes of the IP header from which its length is read. */
const IP_LENGTH_READ = 6;

/**
 * The length of the datagram to `remote` that begins with `bytes[offset, end)`, according to its inner IP header and from
 * the VXLAN header on; or `NOT_OURS`, `UNKNOWN_LENGTH`. A datagram of this VTEP has the VNI of one of its segments, a
 * source address that is behind one of its ports, and a destination address that is behind the remote or that is
 * flooded to it.
 */
export function lengthOfQuote(
  context: Context,
  remote: Remote,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
): number {
  if (end - offset < VXLAN_LENGTH) return UNKNOWN_LENGTH;
  if (getU32(bytes, offset) !== FIRST_WORD || bytes[offset + VXLAN_LENGTH - 1] !== 0) return NOT_OURS;
  const segment = context.segments.get(vxlan.getVni(bytes, offset));
  if (segment === undefined) return NOT_OURS;
  const isPeer = segment.peers.has(remote);
  const to = remoteDestination(remote.id);
  if (!isPeer && !segment.names(remote.id) && segment.fdb.behind(to) === 0) return NOT_OURS;
  const frame = offset + VXLAN_LENGTH;
  if (end - frame < ethernet.HEADER_LENGTH) return UNKNOWN_LENGTH;
  const from = segment.fdb.lookup(bytes, frame + ethernet.SOURCE_OFFSET, now);
  if (from === NONE ? !segment.isLocal(ethernet.getSource(bytes, frame)) : isRemote(from)) return NOT_OURS;
  const place = ethernet.isToGroup(bytes, frame) ? NONE : segment.fdb.lookup(bytes, frame, now);
  if (place === NONE ? !isPeer : place !== to) return NOT_OURS;
  const start = behindTags(bytes, frame, end);
  const ip = start + ethernet.HEADER_LENGTH;
  if (end - ip < IP_LENGTH_READ) return UNKNOWN_LENGTH;
  const type = ethernet.getEtherType(bytes, start);
  if (type === ethernet.TYPE_IPV4) return ip - offset + ipv4.getTotalLength(bytes, ip);
  if (type === ethernet.TYPE_IPV6) return ip - offset + ipv6.HEADER_LENGTH + getU16(bytes, ip + 4);
  return UNKNOWN_LENGTH;
}

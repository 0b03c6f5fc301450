/** Packets that are too big for the path to a remote, and that nevertheless reach it: in fragments. */
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { Frame } from './frame.js';
import { HEADROOM } from './tunnel.js';
import { IPV6_MIN_MTU } from './too-big.js';

/** Room that a fragment needs: the longest header of IPv4 and 8 bytes of payload (RFC 791). */
const LEAST = 68;

/**
 * The frames with the fragments of an IPv4 packet that may be fragmented, each with the tags of the frame; none for what is no
 * such packet, and for a super-frame.
 *
 * A router fragments such packets, and VTEPs must not fragment the outer ones (RFC 7348, section 4.3). So the receiving station
 * reassembles, and not its VTEP.
 * @param mtu The largest inner packet that fits, in bytes.
 */
export function fragmentFrames(frame: Frame, mtu: number): Frame[] {
  const { bytes, start, end, payload, packets, type, snap } = frame;
  if (packets > 1 || snap || type !== ethernet.TYPE_IPV4 || mtu < LEAST) return [];
  if (ipv4.check(bytes, payload, end) < 0 || ipv4.getDontFragment(bytes, payload)) return [];
  const header = payload - start;
  return ipv4.fragmentsOf(bytes, payload, end, mtu).map((packet) => {
    const cut = new Uint8Array(HEADROOM + header + packet.length);
    cut.set(bytes.subarray(start, payload), HEADROOM);
    cut.set(packet, HEADROOM + header);
    const one = new Frame(cut, HEADROOM);
    one.from = frame.from;
    one.setTagsOf(frame);
    return one;
  });
}

/**
 * Whether the outer packet of a frame must be fragmented: it has an IPv6 packet that its sender cannot make smaller (RFC 2473,
 * section 7.1).
 * @param length That of the inner packet, or of the largest one of a super-frame.
 */
export function isIncompressible({ bytes, type, payload, end, snap }: Frame, length: number): boolean {
  return length <= IPV6_MIN_MTU && type === ethernet.TYPE_IPV6 && !snap && ipv6.check(bytes, payload, end) >= 0;
}

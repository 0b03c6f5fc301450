import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import { FRAGMENTED, type Context } from './context.js';
import { COUNT, DROP } from './drops.js';
import { DESTINATION4 } from './errors.js';
import { pass } from './options.js';
import { send } from './resolve.js';
import type { Route } from './routes.js';

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * Sends an IPv4 packet that is too big for its route, and that may be fragmented, in fragments (RFC 791, section 3.2).
 * Drops a super-frame, whose segments would have to be made first.
 */
export function fragment(
  context: Context,
  route: Route,
  length: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
): number {
  if (context.packets > 1) return context.drop(DROP['too-big']);
  pass(route, bytes, offset + ETHERNET, length);
  const { headroom, sink } = context;
  return cut(context, route.out.mtu, bytes, offset, end, (frame) => {
    const vni = send(context, route, frame, headroom, frame.length, headroom + ETHERNET + DESTINATION4);
    if (vni >= 0) sink.send(vni, frame, headroom, frame.length);
  });
}

/** The same for the frame of a packet that has passed the router already, and is too big for the path to its next hop. */
export function fragmentRouted(context: Context, mtu: number, bytes: Uint8Array, offset: number, end: number): number {
  if (context.packets > 1) return context.drop(DROP['too-big']);
  const { headroom, sink } = context;
  const { vni } = context.out!;
  return cut(context, mtu, bytes, offset, end, (frame) => {
    context.count(COUNT['routed']);
    sink.send(vni, frame, headroom, frame.length);
  });
}

/** Cuts a frame into fragments of `mtu` bytes at most, each behind the headroom. */
function cut(
  context: Context,
  mtu: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  each: (frame: Uint8Array) => void,
): number {
  const { source, destination } = ethernet.decode(bytes, offset, end);
  for (const part of ipv4.fragmentsOf(bytes, offset + ETHERNET, end, mtu)) {
    const frame = context.allocate(ETHERNET + part.length);
    ethernet.encodeInto({ source, destination, etherType: ethernet.TYPE_IPV4, payload: part }, frame, context.headroom);
    context.count(COUNT['fragments']);
    each(frame);
  }
  return FRAGMENTED;
}

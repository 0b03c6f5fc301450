/** Flooding: head-end replication to the peers, and copies to the local ports. */
import type { Context } from './context.js';
import { isRemote, NO_PLACE, portDestination } from './destination.js';
import { DROP } from './drops.js';
import { deliver, encapsulate } from './egress.js';
import { MAX_REPLICAS } from './flood-list.js';
import { COUNT, type Segment } from './segment.js';
import type { VtepSink } from './sink.js';

/**
 * Floods a frame to every other local port, and to the flood list unless it came from a tunnel (split horizon).
 * @param here Whether it is for a silent endpoint of this host, whose port is unknown; it is then not sent to peers.
 */
export function flood(
  context: Context,
  segment: Segment,
  from: number,
  bytes: Uint8Array,
  offset: number,
  end: number,
  now: number,
  sink: VtepSink,
  here = false,
): void {
  const { members } = segment;
  const peers = segment.peers.all();
  const tunnels = here || isRemote(from) ? 0 : peers.length;
  const others = members.length - (isRemote(from) || from === NO_PLACE ? 0 : 1);
  if (context.trace !== null)
    context.addStep(
      'flood',
      `to ${others} other local port(s) and ${tunnels} peer(s)${isRemote(from) ? ', since it came from a tunnel (split horizon)' : ''}`,
    );
  if (others + tunnels === 0) return context.drop(segment, DROP['no-receiver']);
  segment.count(COUNT['flooded'], context.packets);
  for (let i = 0; i < members.length; i++) {
    const { port, vlan } = members[i]!;
    if (portDestination(port) !== from) deliver(context, segment, port, vlan, bytes, offset, end, sink);
  }
  if (tunnels * context.packets > MAX_REPLICAS) return context.drop(segment, DROP['flood-limit']);
  for (let i = 0; i < tunnels; i++) encapsulate(context, segment, from, peers[i]!, bytes, offset, end, now, sink);
}

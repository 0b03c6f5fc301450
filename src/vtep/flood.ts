/** Flooding: head-end replication to the peers, and copies to the local ports. */
import type { Context } from './context.js';
import { isRemote, NO_PLACE, portDestination } from './destination.js';
import { DROP } from './drops.js';
import { beginFlood, deliver, encapsulate, endFlood } from './egress.js';
import { MAX_REPLICAS } from './flood-list.js';
import type { Frame } from './frame.js';
import { COUNT, type Segment } from './segment.js';

/**
 * Floods a frame to every other local port, and to the flood list unless it came from a tunnel (split horizon).
 * @param here Whether it is for a silent endpoint of this host, whose port is unknown; it is then not sent to peers.
 */
export function flood(context: Context, segment: Segment, frame: Frame, here = false): void {
  const { from, packets } = frame;
  const { members } = segment;
  const peers = segment.peers.all();
  const tunnels = here || isRemote(from) ? 0 : peers.length;
  const others = members.length - (isRemote(from) || from === NO_PLACE ? 0 : 1);
  if (context.trace !== null)
    context.addStep(
      'flood',
      `to ${others} other local port(s) and ${tunnels} peer(s)${isRemote(from) ? ', since it came from a tunnel (split horizon)' : ''}`,
    );
  if (others + tunnels === 0) return context.drop(segment, frame, DROP['no-receiver']);
  segment.count(COUNT['flooded'], packets);
  for (let i = 0; i < members.length; i++) {
    const { port, vlan } = members[i]!;
    if (portDestination(port) !== from) deliver(context, segment, frame, port, vlan);
  }
  if (tunnels * packets > MAX_REPLICAS) return context.drop(segment, frame, DROP['flood-limit']);
  beginFlood(context);
  for (let i = 0; i < tunnels; i++) encapsulate(context, segment, frame, peers[i]!);
  endFlood(context, segment, frame);
}

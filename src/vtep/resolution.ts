/** What ARP and neighbor discovery have in common on the data path: false claims, and questions to keep. */
import { ipToText } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { NONE } from '../fdb/index.js';
import { LOCAL, type Binding } from '../neighbor/index.js';
import type { Context } from './context.js';
import { isRemote } from './destination.js';
import type { Frame } from './frame.js';
import { COUNT, type Segment } from './segment.js';

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * Counts and reports a packet that claims the IP address of an endpoint for another MAC address.
 * @param mac The MAC address that claims it.
 * @returns whether the packet must go no further: neighbors would believe it, although the control plane says otherwise
 *   (RFC 9161, section 3.6). Behind the port of the endpoint itself, or while that is unknown, it is the control plane
 *   that may be mistaken.
 */
export function isFalseClaim(context: Context, segment: Segment, frame: Frame, binding: Binding, mac: number): boolean {
  const { from } = frame;
  segment.count(COUNT['duplicate-address'], 1);
  if (context.trace === null) segment.watch.duplicate(ipToText(binding.ip), binding.mac, mac, from, true);
  if (isRemote(from) || binding.location !== LOCAL) return true;
  const place = segment.fdb.locate(binding.mac, context.now);
  return place !== NONE && place !== from;
}

/** Keeps an ARP request or a neighbor solicitation for a second: see `Questions`. */
export function keepQuestion(context: Context, segment: Segment, frame: Frame): void {
  const { type } = frame;
  if (type !== ethernet.TYPE_ARP && type !== ethernet.TYPE_IPV6) return;
  if (context.trace === null && frame.payload - frame.start === ETHERNET) segment.questions.keep(frame, context.now);
}

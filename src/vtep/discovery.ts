/**
 * Neighbor discovery on the data path (RFC 4861): watches who claims which address, and answers solicitations for remote
 * endpoints, as bridge.ts does for ARP.
 */
import { formatIpv6, macToText } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import {
  ANSWER,
  claimedMac,
  claimedOffset,
  contradictsDiscovery,
  findDiscovery,
  judgeDiscovery,
  ON_THIS_HOST,
  UNKNOWN,
} from '../neighbor/index.js';
import { hash128 } from '../wire/index.js';
import type { Context } from './context.js';
import { isRemote } from './destination.js';
import { DROP } from './drops.js';
import { reply } from './egress.js';
import { VERDICTS } from './explain.js';
import type { Frame } from './frame.js';
import { MAX_REPLY_TAGS, writeAdvertisement } from './proxy.js';
import { isFalseClaim, keepQuestion } from './resolution.js';
import { COUNT, type Segment } from './segment.js';

const ETHERNET = ethernet.HEADER_LENGTH;

/**
 * Takes an IPv6 packet if it is a neighbor solicitation or advertisement, or for the gateway.
 * @returns whether it goes no further: it is dropped, or the gateway or the proxy answers it, or it is routed.
 */
export function takeDiscovery(context: Context, segment: Segment, frame: Frame): boolean {
  const { bytes, payload: ip } = frame;
  const at = findDiscovery(bytes, ip, frame.end);
  const { router } = segment;
  if (at < 0) return router !== null && router.take(segment, frame);
  const source = ethernet.getSource(bytes, frame.start);
  const mac = claimedMac(bytes, ip, at, source);
  if (mac === 0) {
    context.drop(segment, frame, DROP['arp-sender']);
    return true;
  }
  const claimed = claimedOffset(bytes, ip, at);
  const binding = segment.neighbors.byIpv6(bytes, claimed);
  if (binding === undefined) watchClaim(context, segment, frame, claimed, mac);
  else if (
    contradictsDiscovery(segment.neighbors, bytes, ip, at, source) &&
    isFalseClaim(context, segment, frame, binding, mac)
  ) {
    context.drop(segment, frame, DROP['arp-claim']);
    return true;
  }
  if (router !== null && router.take(segment, frame)) return true;
  return !isRemote(frame.from) && segment.proxy !== 'off' && proxy(context, segment, frame, at);
}

/** Watches for a second MAC address of an IPv6 address that the control plane does not know. */
function watchClaim(context: Context, segment: Segment, { bytes, from }: Frame, claimed: number, mac: number): void {
  if (context.trace !== null) return;
  const other = segment.watch.claims(hash128(0, bytes, claimed), mac, context.now);
  if (other !== 0) segment.watch.duplicate(formatIpv6(bytes, claimed), other, mac, from, false);
}

/** Lets the proxy answer or drop the message at `at`, from a local port, and returns whether it did. */
function proxy(context: Context, segment: Segment, frame: Frame, at: number): boolean {
  const { bytes, start, payload: ip } = frame;
  // An answer has the tags of the solicitation. If they do not fit, the solicitation is forwarded like any frame.
  if (frame.snap || ip - start - ETHERNET > MAX_REPLY_TAGS) return false;
  const verdict = judgeDiscovery(segment.neighbors, bytes, ip, at, ethernet.getSource(bytes, start));
  if (context.trace !== null && verdict !== ANSWER) context.addStep('nd', VERDICTS[verdict]!);
  if (verdict === UNKNOWN && !segment.flood && ethernet.isToGroup(bytes, start)) {
    keepQuestion(context, segment, frame);
    context.drop(segment, frame, DROP['arp-unknown']);
    return true;
  }
  // As for ARP, a host may still know the VTEP's address for an endpoint that is local now.
  const isMoved =
    verdict === ON_THIS_HOST && segment.proxy === 'vtep' && ethernet.getDestination(bytes, start) === segment.mac;
  if (verdict !== ANSWER && !isMoved) return false;
  const target = at + icmpv6.TARGET_OFFSET;
  const binding = segment.neighbors.byIpv6(bytes, target)!;
  const mac = verdict === ANSWER && segment.proxy === 'vtep' ? segment.mac : binding.mac;
  if (context.trace !== null)
    context.addStep('nd', `the proxy answers: ${formatIpv6(bytes, target)} is at ${macToText(mac)}`);
  writeAdvertisement(context.answer, frame, at, mac);
  segment.count(COUNT['nd-answered'], 1);
  reply(context, segment, context.answer, frame.from);
  return true;
}

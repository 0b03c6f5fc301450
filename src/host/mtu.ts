/** The MTU of each segment by the paths to its peers (RFC 7348, section 4.3: VTEPs must not fragment). */
import { MAX_MTU, MIN_MTU, type Plan, type SegmentPlan, type TapPlan } from '../schema/index.js';
import { HostError } from './error.js';
import { type Logger } from './log.js';
import { sealedRoom, tunnelTo } from '../vtep/index.js';
import { NoRouteError, pathAt, pathTo, type Path } from './underlay.js';

/** A segment's MTU and the reason for it. */
export interface SegmentMtu {
  vni: number;
  mtu: number;
  /** The reason as text: `eth0 towards 192.168.1.25 has 1500, less 50`. */
  why: string;
  /** Present if packets of this MTU do not fit the underlay. */
  warning?: string;
}

/**
 * Computes the MTU of every segment: the smallest of the paths to its peers, less the encapsulation. If the plan names an
 * MTU, checks it against the paths.
 * @throws HostError if the plan names no MTU for a segment and there is no route to one of its peers.
 */
export async function segmentMtus(plan: Pick<Plan, 'local' | 'segments'>): Promise<SegmentMtu[]> {
  const paths = new Map<string, Promise<Path>>();
  const path = (peer: string): Promise<Path> => {
    let known = paths.get(peer);
    if (known === undefined) {
      known = peer === plan.local ? pathAt(peer) : pathTo(peer, plan.local);
      paths.set(peer, known);
    }
    return known;
  };
  const sizes: SegmentMtu[] = [];
  for (const [index, segment] of plan.segments.entries())
    sizes.push(await segmentMtu(segment, index, plan.local, path));
  return sizes;
}

/** Returns the MTU of a TAP that has none in the plan: the smallest of its segments. */
export function tapMtu(plan: Pick<Plan, 'segments' | 'taps'>, index: number): number {
  const { vni, vlans, native } = plan.taps[index]!;
  const vnis = new Set([vni, native, ...Object.values(vlans ?? {})]);
  return Math.min(...plan.segments.filter((segment) => vnis.has(segment.vni)).map((segment) => segment.mtu ?? MAX_MTU));
}

/** Sets the MTUs that the plan leaves open, and logs a warning for those that do not fit the underlay. */
export async function applyMtus(plan: Plan, log: Logger): Promise<SegmentMtu[]> {
  const mtus = await segmentMtus(plan);
  for (const [i, { mtu, warning }] of mtus.entries()) {
    plan.segments[i]!.mtu = mtu;
    if (warning !== undefined) log.warning('mtu', warning, { vni: plan.segments[i]!.vni, mtu });
  }
  for (const tap of plan.taps) warnOfMtu(plan, tap, log);
  return mtus;
}

/** Logs a warning if the MTU of a TAP is larger than its segments carry. */
export function warnOfMtu(plan: Pick<Plan, 'segments'>, tap: TapPlan, log: Logger): void {
  const { name, mtu } = tap;
  const room = tapMtu({ segments: plan.segments, taps: [tap] }, 0);
  if (mtu === undefined || mtu <= room) return;
  const text = `TAP ${name}: MTU ${mtu} is larger than its segment carries (${room})`;
  log.warning('mtu', text, { tap: name, mtu, room });
}

async function segmentMtu(
  segment: SegmentPlan,
  index: number,
  local: string,
  path: (peer: string) => Promise<Path>,
): Promise<SegmentMtu> {
  const { vni, mtu } = segment;
  const remotes = new Set([...segment.peers, ...segment.endpoints.flatMap(({ vtep }) => vtep ?? [])]);
  let narrowest: Path;
  try {
    const paths = await Promise.all((remotes.size === 0 ? [local] : [...remotes]).map(path));
    narrowest = paths.reduce((least, one) => (one.mtu < least.mtu ? one : least));
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    const { message } = error;
    if (mtu !== undefined) return { vni, mtu, why: 'as configured', warning: `segment ${vni}: ${message}` };
    if (!(error instanceof NoRouteError)) throw error;
    throw new HostError(`${message}; add a route, or set the segment's MTU`, {
      cause: error,
      path: pathOf(error.peer, segment, index),
    });
  }
  const { device, peer } = narrowest;
  const tunnel = tunnelTo(local);
  const inner = segment.group === undefined ? narrowest.mtu - tunnel.overhead : sealedRoom(narrowest.mtu, tunnel);
  const room = Math.min(inner, MAX_MTU);
  const place = peer === local ? device : `${device} towards ${peer}`;
  const how = segment.group === undefined ? '' : ' for encryption';
  const why = `${place} has ${narrowest.mtu}, less ${narrowest.mtu - inner}${how}`;
  if (mtu === undefined) {
    if (room < MIN_MTU) throw new HostError(`segment ${vni}: no packet fits: ${why}`);
    return { vni, mtu: room, why };
  }
  if (mtu <= room) return { vni, mtu, why: 'as configured' };
  const warning = `segment ${vni}: MTU ${mtu} does not fit the underlay, which carries at most ${room} (${why}): larger packets will be fragmented or lost`;
  return { vni, mtu, why: 'as configured', warning };
}

/** The part of the configuration that names a remote. */
function pathOf(remote: string, { peers, endpoints }: SegmentPlan, index: number): string {
  const peer = peers.indexOf(remote);
  if (peer !== -1) return `segments[${index}].peers[${peer}]`;
  return `segments[${index}].endpoints[${endpoints.findIndex(({ vtep }) => vtep === remote)}].vtep`;
}

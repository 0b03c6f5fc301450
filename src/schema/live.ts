/** Checks TAPs and segments that are added to a running VTEP, by the same rules as a configuration. */
import { CONFIG } from './config.js';
import { prefixAddress } from './addresses.js';
import { addressesOf } from './tap-addresses.js';
import { inUse } from './findings.js';
import { portsOf } from './key-files.js';
import { canonicalMac } from './mac.js';
import { networkFields, type AnyNetwork } from './networks.js';
import { segmentPlan, tapPlan, type Plan, type SegmentPlan, type TapPlan } from './plan.js';
import { findProblems, SchemaError, type Problem } from './problem.js';
import { contradictions } from './rules.js';
import { type Config, type Segment, type Tap } from './types.js';

/**
 * Checks a TAP that is added to the TAPs of a plan, and fills in the defaults.
 * @throws SchemaError with every problem; paths begin at the TAP: `address`.
 */
export function planTap(value: unknown, plan: Plan): TapPlan {
  requireForm({ local: plan.local, segments: [], taps: [value] }, 'taps[0]');
  const tap = value as Tap;
  const seen = new Set<string>();
  const config: Config = {
    local: plan.local,
    workers: plan.workers,
    networks: plan.networks,
    gossip: { networks: plan.gossip?.networks ?? [] },
    segments: plan.segments.map((segment) => relevantTo(tap, segment, seen)),
    taps: [...plan.taps.map((other) => besides(tap, other)), tap],
  };
  requireConsistent(config, `taps[${plan.taps.length}]`, plan);
  return tapPlan(tap, config);
}

/**
 * Checks a segment that is added to the segments of a plan, and fills in the defaults.
 * @throws SchemaError with every problem; paths begin at the segment: `peers[0]`.
 */
export function planSegment(value: unknown, plan: Plan): SegmentPlan {
  requireForm({ local: plan.local, segments: [value], taps: [] }, 'segments[0]');
  const segment = value as Segment;
  const config: Config = {
    local: plan.local,
    ...portsOf(plan),
    networks: plan.networks,
    gossip: { networks: plan.gossip?.networks ?? [] },
    segments: [...plan.segments.map(({ vni }) => ({ vni })), segment],
    // Its remotes must not be in the subnet of a TAP of this process's namespace. The VLANs of trunks do not matter.
    taps: plan.taps.map(({ vlans: _vlans, native: _native, ...tap }) => tap),
  };
  requireConsistent(config, `segments[${plan.segments.length}]`, plan);
  return segmentPlan(segment, plan.local);
}

/** What a running VTEP has besides its configuration. */
export interface Beside {
  segments: readonly SegmentPlan[];
  taps: readonly TapPlan[];
  networks: readonly AnyNetwork[];
}

/**
 * Checks that the segments and TAPs of a new configuration go with what a running VTEP has besides it.
 * @param beside What the configuration does not have.
 * @throws SchemaError with every problem; paths begin at the configuration.
 */
export function requireBeside(next: Plan, beside: Beside): void {
  const fields = beside.networks.map(networkFields);
  const { gossip } = next;
  const gossiped = fields.flatMap((one) => ('gossip' in one ? one.gossip : []));
  const all: Plan = {
    ...next,
    segments: [...next.segments, ...beside.segments],
    taps: [...next.taps, ...beside.taps],
    networks: fields.flatMap((one) => ('network' in one ? one.network : [])),
    ...(gossip === undefined ? {} : { gossip: { ...gossip, networks: [...gossip.networks, ...gossiped] } }),
  };
  const config: Config = {
    local: next.local,
    workers: next.workers,
    networks: all.networks,
    gossip: { networks: all.gossip?.networks ?? [] },
    // Endpoints of several owners are no contradiction: one of them holds the address.
    segments: all.segments.map(({ vni, mtu }) => ({ vni, ...(mtu === undefined ? {} : { mtu }) })),
    taps: all.taps,
  };
  const counts = {
    ...{ segments: next.segments.length, taps: next.taps.length },
    ...{ networks: 0, 'gossip.networks': gossip?.networks.length ?? 0 },
  };
  const isOther = (path: string): boolean => {
    const [, list, index] = /^(taps|segments|networks|gossip\.networks)\[(\d+)\]/.exec(path) ?? [];
    return list !== undefined && Number(index) >= counts[list as keyof typeof counts];
  };
  const place = (path: string): string => (isOther(path) ? placeOf(path, all) : path);
  const problems = contradictions(config).map((problem) => {
    const { path, related = [], given } = problem;
    if (!isOther(path)) {
      const reason = problem.reason === undefined || !related.some(isOther) ? {} : { reason: inUse(problem.reason) };
      return { ...problem, ...reason, related: related.map(place) };
    }
    const mine = related.find((one) => !isOther(one)) ?? '';
    return { path: mine, reason: 'does not go with {0}', related: [place(path)], given };
  });
  if (problems.length > 0) throw new SchemaError(problems);
}

function requireForm(config: unknown, at: string): void {
  const problems = findProblems(CONFIG, config);
  if (problems.length > 0) throw new SchemaError(problems.map((one) => ({ ...one, path: within(one.path, at) })));
}

/** Throws the contradictions that the value at `at` is part of: the others were there before. */
function requireConsistent(config: Config, at: string, plan: Plan): void {
  const problems = contradictions(config).flatMap((problem) => problemsOf(problem, at, plan));
  if (problems.length > 0) throw new SchemaError(problems);
}

/**
 * A problem as one of the value at `at`, whose paths begin there; none if it is not about that value.
 * @internal
 */
export function problemsOf(problem: Problem, at: string, plan: Plan): Problem[] {
  const { path, related = [] } = problem;
  const places = related.map((one) => (isWithin(one, at) ? within(one, at) : placeOf(one, plan)));
  if (isWithin(path, at)) {
    const isOwn = related.some((one) => isWithin(one, at));
    const reason = problem.reason === undefined || isOwn ? {} : { reason: inUse(problem.reason) };
    return [{ ...problem, ...reason, path: within(path, at), ...(related.length > 0 ? { related: places } : {}) }];
  }
  const mine = related.find((one) => isWithin(one, at));
  if (mine === undefined) return [];
  // It was found at the other value, which was there before.
  return [
    { path: within(mine, at), reason: 'does not go with {0}', related: [placeOf(path, plan)], given: problem.given },
  ];
}

function isWithin(path: string, at: string): boolean {
  return path === at || path.startsWith(`${at}.`);
}

/** A path from the value at `at` on. */
function within(path: string, at: string): string {
  return path.slice(at.length).replace(/^\./, '');
}

/**
 * Describes another value of the running VTEP: a client does not know its place in a list.
 * @internal
 */
export function placeOf(path: string, { taps, segments, networks, gossip }: Plan): string {
  const [, kind, at] = /^(gossip\.)?networks\[(\d+)\]/.exec(path) ?? [];
  if (at !== undefined)
    return `network ${kind === undefined ? networks[Number(at)]?.name : gossip?.networks[Number(at)]?.id}`;
  const [, list, index, field] = /^(taps|segments)\[(\d+)\]\.?(.*)$/.exec(path) ?? [];
  if (list === undefined) return path;
  const tap = taps[Number(index)];
  const where = tap?.netns === undefined ? '' : ` in namespace ${tap.netns}`;
  const owner = list === 'taps' ? `TAP ${tap?.name}${where}` : `segment ${segments[Number(index)]?.vni}`;
  const name = field!.replace(/^(peer|endpoint)s\[\d+\]\.?/, '$1 ').trim();
  return name === '' ? owner : `${name} of ${owner}`;
}

/** The part of another TAP that may contradict a TAP: of the VLANs of a trunk, those of the same segments, for the MACs. */
function besides(tap: Tap, other: TapPlan): Tap {
  if (other.vlans === undefined) return other;
  const vnis = new Set([...Object.values(tap.vlans ?? {}), tap.vni, tap.native]);
  const isShared = ([, vni]: [string, number]): boolean => vnis.has(vni);
  const shared = tap.mac === undefined || other.mac === undefined ? [] : Object.entries(other.vlans).filter(isShared);
  return { ...other, vlans: Object.fromEntries(shared) };
}

/**
 * The part of a segment that may contradict a TAP: a segment may have tens of thousands of endpoints.
 * @param seen The remotes of the segments before, of which each counts once: thousands of segments may share them.
 */
function relevantTo(tap: Tap, { vni, mtu, peers, endpoints }: SegmentPlan, seen: Set<string>): Segment {
  const ips = addressesOf(tap).map(prefixAddress);
  const mac = tap.mac === undefined ? undefined : canonicalMac(tap.mac);
  const isMine = vni === (tap.vni ?? tap.native);
  const remotes: string[] = [];
  const add = (remote: string | undefined): void => {
    if (remote === undefined || seen.has(remote)) return;
    seen.add(remote);
    remotes.push(remote);
  };
  // A TAP in this process's namespace must not have a remote in its subnet.
  if (tap.netns === undefined && ips.length > 0) {
    peers.forEach(add);
    for (const { vtep } of endpoints) add(vtep);
  }
  return {
    vni,
    ...(mtu === undefined ? {} : { mtu }),
    peers: remotes,
    endpoints: isMine ? endpoints.filter((one) => ips.includes(one.ip) || one.mac === mac) : [],
  };
}

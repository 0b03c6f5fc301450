/** Checks networks that are added to a running VTEP, by the same rules as those of a configuration. */
import { NewNetwork as NEW_NETWORK } from './config.js';
import { type Location } from '../model/index.js';
import { findings } from './findings.js';
import { portsOf } from './key-files.js';
import { placeOf, problemsOf } from './live.js';
import { checkStation } from './network-rules.js';
import { isOfGossip, narrowed, networkFields, networksOf, vnisOfNetwork, type AnyNetwork } from './networks.js';
import { given, segmentPlan, type Plan, type SegmentPlan } from './plan.js';
import { findProblems, SchemaError, type Problem } from './problem.js';
import { contradictions } from './rules.js';
import { type Config, type JsonSchema, type NewNetwork, type SegmentSettings } from './types.js';

/**
 * Checks the form of a network that is added to those of a plan, and fills in the defaults.
 * @throws SchemaError with every problem; paths begin at the network: `subnets[0].prefix`.
 */
export function newNetwork(value: unknown, plan: Pick<Plan, 'gossip'>): AnyNetwork {
  const problems = findProblems(NEW_NETWORK as unknown as JsonSchema, value);
  if (problems.length > 0) throw new SchemaError(problems);
  const { name, mac, subnets, gossip = plan.gossip !== undefined } = value as NewNetwork;
  const macs = mac === undefined ? {} : { mac };
  if (!gossip) return networksOf({ networks: [{ name, ...macs, subnets }] })[0]!;
  const [{ prefix, gateway, vni }] = subnets as [NewNetwork['subnets'][number]];
  const isPlain = subnets.length === 1 && gateway === undefined && mac === undefined;
  return networksOf({
    gossip: { networks: [isPlain ? { id: name, vni, subnet: prefix } : { id: name, ...macs, subnets }] },
  })[0]!;
}

/**
 * Checks a network against a plan, and returns the segments that it needs and the plan lacks.
 * @param settings Those of the segments.
 * @param group The key group of the segments, if they are encrypted.
 * @throws SchemaError with every problem; paths begin at the network.
 */
export function planNetwork(
  network: AnyNetwork,
  settings: SegmentSettings,
  plan: Plan,
  group = settings.keyFile === undefined ? undefined : network.id,
): SegmentPlan[] {
  const vnis = vnisOfNetwork(network);
  const taken = plan.segments.filter(({ vni }) => vnis.includes(vni));
  requireNoSettings(
    settings,
    taken.map(({ vni }) => vni),
  );
  const added = vnis.flatMap((vni) => (taken.some((one) => one.vni === vni) ? [] : [{ ...settings, vni }]));
  // What else is there contradicts it at most by its name or a VNI.
  const near = {
    ...narrowed(plan, (id, others) => id === network.id || others.some((vni) => vnis.includes(vni!))),
    segments: taken,
  };
  const lists = { networks: [...near.networks], gossip: { networks: [...(near.gossip?.networks ?? [])] } };
  const isGossiped = isOfGossip(network);
  const at = isGossiped ? `gossip.networks[${lists.gossip.networks.length}]` : `networks[${lists.networks.length}]`;
  const fields = networkFields(network);
  if ('gossip' in fields) lists.gossip.networks.push(fields.gossip);
  else lists.networks.push(fields.network);
  const config: Config = {
    ...{ local: plan.local, workers: plan.workers, ...portsOf(plan), ...lists },
    segments: [...taken, ...added],
    // The remotes of a segment must not be in the subnet of a TAP of this process's namespace.
    taps: plan.taps.map(({ vlans: _vlans, native: _native, ...tap }) => tap),
  };
  const problems = contradictions(config).flatMap((problem): Problem[] => {
    const mine = problemsOf(problem, at, near);
    if (mine.length > 0) return mine.map((one) => renamed(one, network));
    for (const k of added.keys()) {
      const ofSegment = problemsOf(problem, `segments[${taken.length + k}]`, near);
      if (ofSegment.length > 0) return ofSegment;
    }
    if (!problem.path.startsWith('segments[')) return [];
    // The proxy of a segment that was there before has the address of the gateways.
    return [
      {
        path: '',
        reason: 'the network does not go with {0}',
        related: [placeOf(problem.path, near)],
        given: undefined,
      },
    ];
  });
  if (problems.length > 0) throw new SchemaError(problems);
  return added.map((segment) => segmentPlan(segment, plan.local, group));
}

/** @throws SchemaError if settings are given for segments that are there already. */
export function requireNoSettings(settings: SegmentSettings, vnis: readonly number[]): void {
  if (vnis.length === 0) return;
  const reason = `is for segments that come with the network, and segment ${vnis[0]} is there already; leave it out`;
  const problems = Object.entries(settings).flatMap(([path, given]): Problem[] =>
    given === undefined ? [] : [{ path, reason, given: path === 'keyFile' ? undefined : given }],
  );
  if (problems.length > 0) throw new SchemaError(problems);
}

/** The settings of the segments of a network. */
export function settingsOfSegments(network: NewNetwork): SegmentSettings {
  const { name: _name, mac: _mac, subnets: _subnets, gossip: _gossip, ...settings } = network;
  return given(settings);
}

/**
 * Checks an endpoint that is added to a segment against the subnet of its network.
 * @param endpoint In canonical text.
 * @throws SchemaError with every problem; paths begin at the endpoint: `ip`.
 */
export function requireInSubnet(vni: number, { ip, mac, vtep }: Location, plan: Plan): void {
  const near = narrowed(plan, (_, vnis) => vnis.includes(vni));
  const found = findings();
  const station = { ip, path: 'ip', mac, macPath: 'mac', here: vtep === undefined };
  checkStation(networksOf(near), vni, station, found);
  const problems = found.problems.map(({ related = [], ...problem }): Problem => {
    const places = related.map((path) => placeOf(path, near));
    return { ...problem, ...(places.length === 0 ? {} : { related: places }) };
  });
  if (problems.length > 0) throw new SchemaError(problems);
}

/** A problem with the names of the fields that a request has. */
function renamed(problem: Problem, { mac }: AnyNetwork): Problem {
  const name = (path: string): string => {
    if (path === 'id') return 'name';
    if (mac === undefined && path === 'vni') return 'subnets[0].vni';
    return mac === undefined && path === 'subnet' ? 'subnets[0].prefix' : path;
  };
  return { ...problem, path: name(problem.path), related: (problem.related ?? []).map(name) };
}

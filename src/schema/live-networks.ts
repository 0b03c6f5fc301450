/** Checks networks that are added to a running VTEP, by the same rules as those of a configuration. */
import { NewNetwork as NEW_NETWORK } from './config.js';
import { type Location } from '../model/index.js';
import { findings } from './findings.js';
import { placeOf, planSegment, problemsOf } from './live.js';
import { checkStation } from './network-rules.js';
import { familyOf, isOfGossip, networkFields, networksOf, vnisOfNetwork, type AnyNetwork } from './networks.js';
import { type Plan, type SegmentPlan } from './plan.js';
import { findProblems, SchemaError, type Problem } from './problem.js';
import { contradictions } from './rules.js';
import { type Config, type GossipNetwork, type JsonSchema, type NewNetwork, type SegmentSettings } from './types.js';

/**
 * Checks the form of a network that is added to those of a plan, and fills in the defaults.
 * @throws SchemaError with every problem; paths begin at the network: `subnets[0].prefix`.
 */
export function newNetwork(value: unknown, plan: Pick<Plan, 'gossip'>): AnyNetwork {
  const problems = findProblems(NEW_NETWORK as unknown as JsonSchema, value);
  if (problems.length > 0) throw new SchemaError(problems);
  const { name, mac, subnets, gossip = plan.gossip !== undefined } = value as NewNetwork;
  if (subnets.length === 0) throw wrong({ path: 'subnets', expected: 'a list of one subnet or more', given: [] });
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
 * @throws SchemaError with every problem; paths begin at the network.
 */
export function planNetwork(network: AnyNetwork, settings: SegmentSettings, plan: Plan): SegmentPlan[] {
  const known = new Set(plan.segments.map(({ vni }) => vni));
  const vnis = vnisOfNetwork(network);
  const taken = vnis.filter((vni) => known.has(vni));
  requireNoSettings(settings, taken);
  const gossiped = isOfGossip(network);
  const beside = { networks: [...plan.networks], gossip: { networks: [...(plan.gossip?.networks ?? [])] } };
  const at = gossiped ? `gossip.networks[${beside.gossip.networks.length}]` : `networks[${beside.networks.length}]`;
  const fields = networkFields(network);
  if ('gossip' in fields) beside.gossip.networks.push(fields.gossip);
  else beside.networks.push(fields.network);
  const config: Config = {
    ...{ local: plan.local, workers: plan.workers, ...beside, taps: [] },
    // The others do not matter.
    segments: plan.segments.filter(({ vni }) => taken.includes(vni)),
  };
  const indexes = taken.map((vni) => plan.segments.findIndex((segment) => segment.vni === vni));
  const problems = contradictions(config).flatMap((problem) => {
    // A gateway may contradict an endpoint, or the address of a proxy, that was there before.
    const real = (path: string): string =>
      path.replace(/^segments\[(\d+)\]/, (_, index: string) => `segments[${indexes[Number(index)]}]`);
    const placed = { ...problem, path: real(problem.path), related: (problem.related ?? []).map(real) };
    const mine = problemsOf(placed, at, plan);
    if (mine.length > 0 || !problem.path.startsWith('segments[')) return mine.map((one) => renamed(one, network));
    const related = [placeOf(placed.path, plan)];
    return [{ path: '', reason: 'the network does not go with {0}', related, given: undefined }];
  });
  // The rules find this only in a list of subnets.
  if (gossiped && network.mac === undefined && familyOf(network.subnets[0]!.prefix) === 6)
    problems.push({
      path: 'subnets[0].prefix',
      expected: 'an IPv4 subnet, because the gossip announces no others',
      given: network.subnets[0]!.prefix,
    });
  if (problems.length > 0) throw new SchemaError(problems);
  return vnis
    .filter((vni) => !known.has(vni))
    .map((vni) => planSegment({ ...settings, vni }, { ...plan, networks: beside.networks }));
}

/** @throws SchemaError if settings are given for segments that are there already. */
export function requireNoSettings(settings: SegmentSettings, vnis: readonly number[]): void {
  if (vnis.length === 0) return;
  const reason = `is for segments that come with the network, and segment ${vnis[0]} is there already; leave it out`;
  const problems = Object.entries(settings).flatMap(([path, given]): Problem[] =>
    given === undefined ? [] : [{ path, reason, given }],
  );
  if (problems.length > 0) throw new SchemaError(problems);
}

/** The settings of the segments of a network. */
export function settingsOfSegments({
  mtu,
  proxy,
  learn,
  flood,
  tagged,
  ageing,
  capacity,
  peers,
}: NewNetwork): SegmentSettings {
  const all = { mtu, proxy, learn, flood, tagged, ageing, capacity, peers };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as SegmentSettings;
}

/**
 * Checks an endpoint that is added to a segment against the subnet of its network.
 * @param endpoint In canonical text.
 * @throws SchemaError with every problem; paths begin at the endpoint: `ip`.
 */
export function requireInSubnet(vni: number, { ip, mac, vtep }: Location, plan: Plan): void {
  // There may be thousands of networks.
  const near: Plan = {
    ...plan,
    networks: plan.networks.filter(({ subnets }) => subnets.some((one) => one.vni === vni)),
  };
  if (plan.gossip !== undefined) {
    const hasVni = (one: GossipNetwork): boolean => (one.subnets ?? [one]).some((part) => part.vni === vni);
    near.gossip = { ...plan.gossip, networks: plan.gossip.networks.filter(hasVni) };
  }
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

function wrong(problem: Problem): SchemaError {
  return new SchemaError([problem]);
}

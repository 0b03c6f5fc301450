/** The networks of a configuration that was read again, against those that a running VTEP has. */
import {
  isOfGossip,
  isSameNetwork,
  networkFields,
  networksOf,
  SchemaError,
  vnisOfNetwork,
  type AnyNetwork,
  type Plan,
  type Problem,
} from '../schema/index.js';
import { vnisOf } from './machine.js';
import { segmentsOf } from './plan-changes.js';

/** A running VTEP, as far as its networks depend on it. */
export type RunningNetworks = Pick<Plan, 'taps' | 'networks' | 'gossip'>;

/** What changes between the networks of a running VTEP and those of its next configuration. */
export interface ComparedNetworks {
  /** Those that the configuration did not have; the API may have added them. */
  newNetworks: AnyNetwork[];
  /** Those that the configuration has no more. */
  oldNetworks: AnyNetwork[];
  /** Those that stay as they are until a restart. */
  kept: AnyNetwork[];
  /** Those of the API, which the configuration does not have. */
  beside: AnyNetwork[];
  restart: string[];
}

/**
 * Compares the networks.
 * @param configured The last configuration.
 * @throws SchemaError if the configuration contradicts those that were added over the API.
 */
export function compareNetworks(configured: Plan, running: RunningNetworks, next: Plan): ComparedNetworks {
  const all = comparable(next, configured, next);
  const before = new Map(comparable(configured, configured, next).map((network) => [network.id, network]));
  const live = new Map(networksOf(running).map((network) => [network.id, network]));
  const configuredIds = new Set(networksOf(configured).map(({ id }) => id));
  const ofApi = [...live.values()].filter(({ id }) => !configuredIds.has(id));
  const problems = all.flatMap((network) => ofApi.flatMap((other) => contradiction(network, other)));
  if (problems.length > 0) throw new SchemaError(problems);
  const gone = [...before.values()].filter(({ id }) => live.has(id) && !all.some((network) => network.id === id));
  // TAPs have the routes of the network that they were attached to.
  const taken = new Set([...running.taps.flatMap((tap) => vnisOf(segmentsOf(tap))), ...gone.flatMap(vnisOfNetwork)]);
  const isFree = (network: AnyNetwork): boolean => !vnisOfNetwork(network).some((vni) => taken.has(vni));
  const newNetworks: AnyNetwork[] = [];
  const waiting: AnyNetwork[] = [];
  for (const network of all) {
    const now = live.get(network.id);
    const isConfigured = before.has(network.id);
    if (now !== undefined && isConfigured) {
      if (!isSameNetwork(now, network)) waiting.push(network);
    } else (now !== undefined || isFree(network) ? newNetworks : waiting).push(network);
  }
  const needed = neededBy(next, all);
  const staying = gone.filter(needed);
  const fixed = networksOf(configured).filter(({ id }) => !before.has(id));
  return {
    newNetworks,
    oldNetworks: gone.filter((network) => !needed(network)),
    kept: [...fixed, ...staying, ...waiting.flatMap(({ id }) => live.get(id) ?? [])],
    beside: ofApi.filter(({ id }) => !all.some((network) => network.id === id)),
    restart: [...waiting, ...staying].map(({ id, path }) => path.replace(/\[\d+\]$/, `[${id}]`)),
  };
}

/** The networks of the configuration that is in effect after a reload: what waits for a restart stays as it was. */
export function networksAfter(
  configured: Plan,
  running: RunningNetworks,
  next: Plan,
): Pick<Plan, 'networks' | 'gossip'> {
  const all = comparable(next, configured, next);
  const before = networksOf(configured);
  const live = new Map(networksOf(running).map((network) => [network.id, network]));
  const needed = neededBy(next, all);
  const after = [
    ...all.flatMap(({ id }) => live.get(id) ?? []),
    ...before.filter((network) => {
      if (all.some(({ id }) => id === network.id)) return false;
      return !isComparable(network, configured, next) || (live.has(network.id) && needed(network));
    }),
  ].map(networkFields);
  const networks = after.flatMap((one) => ('network' in one ? one.network : []));
  const gossiped = after.flatMap((one) => ('gossip' in one ? one.gossip : []));
  const { gossip } = configured;
  return { networks, ...(gossip === undefined ? {} : { gossip: { ...gossip, networks: gossiped } }) };
}

/** A configuration without one of its networks. */
export function withoutNetwork(plan: Plan, id: string): Plan {
  const { gossip } = plan;
  return {
    ...plan,
    networks: plan.networks.filter(({ name }) => name !== id),
    ...(gossip === undefined
      ? {}
      : { gossip: { ...gossip, networks: gossip.networks.filter((one) => one.id !== id) } }),
  };
}

/** Whether a configuration has a VNI of a network that it does not have: as a segment, or as a part of other networks. */
function neededBy({ segments }: Plan, others: readonly AnyNetwork[]): (network: AnyNetwork) => boolean {
  const vnis = new Set([...segments.map(({ vni }) => vni), ...others.flatMap(vnisOfNetwork)]);
  return (network) => vnisOfNetwork(network).some((vni) => vnis.has(vni));
}

/** The networks of one of two configurations that a reload can add and remove. */
function comparable(plan: Plan, configured: Plan, next: Plan): AnyNetwork[] {
  return networksOf(plan).filter((network) => isComparable(network, configured, next));
}

/** Whether there is gossip changes with a restart only. */
function isComparable(network: AnyNetwork, configured: Plan, next: Plan): boolean {
  return !isOfGossip(network) || (configured.gossip !== undefined && next.gossip !== undefined);
}

/** What contradicts a network that was added over the API. */
function contradiction(network: AnyNetwork, other: AnyNetwork): Problem[] {
  const { id, path, subnets } = network;
  if (id === other.id) {
    const reason = `${id} exists already with other settings (wanted by: api); remove it first`;
    const name = `${path}.${isOfGossip(network) ? 'id' : 'name'}`;
    return isSameNetwork(network, other) ? [] : [{ path: name, reason, given: id }];
  }
  const vnis = vnisOfNetwork(other);
  return subnets.flatMap(({ vni, paths }): Problem[] => {
    const reason = `${vni} belongs to network ${other.id} (wanted by: api); remove it first`;
    return vnis.includes(vni) ? [{ path: paths.vni, reason, given: vni }] : [];
  });
}

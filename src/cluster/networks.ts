/** Commands about networks. */
import { choosePool, parsePrefix, planSubnets, prefixToText, uniqueLocalPool, type SubnetPlan } from '../ipam/index.js';
import { newId } from './check.js';
import { type CreateNetwork, type NewSubnet, type RemoveNetwork } from './commands.js';
import { KEY } from './keys.js';
import { ESP_PORT } from './limits.js';
import { newNetworkKey } from './network-keys.js';
import { findNetwork, nodeName, type Planning } from './planning.js';
import { type NetworkRecord, type SubnetRecord, type VniRecord } from './records.js';
import { Refused, refusing, some } from './refusal.js';

/** A subnet with the field that it came from; those that were chosen have none. */
interface Wanted extends NewSubnet {
  readonly at: string;
}

export function createNetwork(command: CreateNetwork, planning: Planning): NetworkRecord {
  const { state, draft, now, random } = planning;
  const other = state.networkNamed(command.name);
  if (other !== undefined)
    throw new Refused('conflict', `name: there is a network ${other.name} already; choose another name`, 'name');
  if (command.encrypted !== undefined && (state.cluster!.espPort ?? ESP_PORT) === state.cluster!.dataPathPort)
    throw new Refused(
      'conflict',
      `encrypted: the cluster has UDP port ${ESP_PORT} for VXLAN, and encrypted networks need it; create a cluster with another port for one of the two`,
      'encrypted',
    );
  const given = command.subnets ?? [];
  const id = newId(random);
  const four = given.map((subnet, i): Wanted => ({ ...subnet, at: `subnets[${i}]` })).filter((one) => !isIpv6(one));
  const six = given.map((subnet, i): Wanted => ({ ...subnet, at: `subnets[${i}]` })).filter(isIpv6);
  const { ipv6 = false } = command;
  if (six.length > 0 && !ipv6)
    throw new Refused(
      'invalid',
      `${six[0]!.at}.subnet: ${six[0]!.subnet} is IPv6; set ipv6 as well`,
      `${six[0]!.at}.subnet`,
      'ipv6',
    );
  const wanted = withRoutes(planning, () => {
    if (four.length === 0) four.push({ subnet: chooseSubnet(planning), at: 'subnets' });
    if (six.length > four.length)
      throw new Refused(
        'invalid',
        `subnets: each IPv6 subnet shares the segment of an IPv4 subnet, and there are ${six.length} and ${four.length} of them`,
        'subnets',
      );
    if (ipv6) {
      const pool = uniqueLocalPool(Math.floor(random() * 0x1_0000_0000) * 256 + Math.floor(random() * 256));
      const { first } = parsePrefix(pool, 'subnet');
      for (let i = six.length; i < four.length; i++)
        six.push({ subnet: prefixToText({ family: 6, first: first + (BigInt(i) << 64n), length: 64 }), at: 'subnets' });
    }
    const all = [...four, ...six];
    const plans = all.map((one) => planOne(one));
    refusing({ subnet: 'subnets' }, () => planSubnets(plans));
    if (command.overlapping !== true)
      plans.forEach(({ subnet }, i) =>
        refusing({ subnet: fieldOf(all[i]!, 'subnet') }, () => state.prefixes.requireFree(subnet, 'subnet')),
      );
    return all.map((one, i) => ({ one, plan: plans[i]! }));
  });
  const vnis = chooseVnis(four, six, id, planning);
  const subnets = wanted.map(({ plan }, i): SubnetRecord => recordOf(plan, vnis[i % four.length]!));
  const network: NetworkRecord = {
    id,
    name: command.name,
    subnets,
    ipv6,
    internal: command.internal ?? false,
    ...(command.mtu === undefined ? {} : { mtu: command.mtu }),
    ...(command.encrypted === undefined ? {} : { encrypted: command.encrypted }),
    labels: command.labels ?? {},
    created: now,
  };
  draft.put(KEY.subnets, { network: id });
  draft.put(KEY.networkName(command.name), id);
  draft.put(KEY.network(id), network);
  if (command.encrypted !== undefined) draft.put(KEY.networkKeys(id), [newNetworkKey(command.encrypted, 1, planning)]);
  return network;
}

const isIpv6 = ({ subnet }: NewSubnet): boolean => subnet.includes(':');

function fieldOf({ at }: Wanted, field: string): string {
  return at === 'subnets' ? at : `${at}.${field}`;
}

function planOne(one: Wanted): SubnetPlan {
  const fields = { subnet: 'subnet', gateway: 'gateway', ipRange: 'range', aux: 'auxiliary' };
  const named = Object.fromEntries(Object.entries(fields).map(([theirs, ours]) => [theirs, fieldOf(one, ours)]));
  const { subnet, gateway, range, auxiliary } = one;
  return refusing(named, () => planSubnets([{ subnet, gateway, ipRange: range, aux: auxiliary }])[0]!);
}

function chooseSubnet({ state }: Planning): string {
  return refusing({ subnet: 'subnets' }, () => choosePool(state.cluster!.pools, state.prefixes));
}

/** Runs a step while the routes of the host count as used. */
function withRoutes<T>({ state, routes = [] }: Planning, step: () => T): T {
  for (const { prefix, owner } of routes) state.prefixes.add(prefix, owner);
  try {
    return step();
  } finally {
    for (const { prefix, owner } of routes) state.prefixes.remove(prefix, owner);
  }
}

function recordOf(plan: SubnetPlan, vni: number): SubnetRecord {
  const { subnet: prefix, gateway, ipRange: range, aux: auxiliary } = plan;
  return { prefix, gateway, vni, ...(range === undefined ? {} : { range }), auxiliary };
}

/** The VNI of each segment: that which its subnets ask for, or the next free one. */
function chooseVnis(
  four: readonly Wanted[],
  six: readonly Wanted[],
  id: string,
  { state, draft, now }: Planning,
): number[] {
  let after: number | undefined;
  const asked = new Set([...four, ...six].flatMap(({ vni }) => vni ?? []));
  return four.map((one, i) => {
    const other = six[i];
    if (one.vni !== undefined && other?.vni !== undefined && one.vni !== other.vni)
      throw new Refused(
        'invalid',
        `${other.at}.vni: its segment has VNI ${one.vni}, by ${one.at}.vni`,
        `${other.at}.vni`,
        `${one.at}.vni`,
      );
    const vni = one.vni ?? other?.vni;
    if (vni === undefined) {
      do after = refusing({ vni: 'subnets' }, () => state.vnis.next(now, { after }));
      while (asked.has(after));
      draft.put(KEY.vni(after), { network: id, automatic: true } satisfies VniRecord);
      return after;
    }
    const field = `${one.vni === undefined ? other!.at : one.at}.vni`;
    const owner = state.networks.get(state.vnis.ownerOf(vni) ?? '');
    if (owner !== undefined)
      throw new Refused('conflict', `${field}: network ${owner.name} has VNI ${vni}; choose another, or none`, field);
    if (draft.writes(KEY.vni(vni)))
      throw new Refused('invalid', `${field}: each segment needs a VNI of its own, and ${vni} is there twice`, field);
    refusing({ vni: field }, () => state.vnis.request(vni));
    draft.put(KEY.vni(vni), { network: id, automatic: false } satisfies VniRecord);
    return vni;
  });
}

export function removeNetwork({ network: reference }: RemoveNetwork, { state, draft, now }: Planning): NetworkRecord {
  const network = findNetwork(state, reference);
  const services = [...state.services.values()].filter(({ networks }) => networks.includes(network.id));
  if (services.length > 0) {
    const names = some(services.map(({ name }) => name));
    throw new Refused('in-use', `network: services use ${network.name}: ${names}; remove them first`, 'network');
  }
  const endpoints = [...state.endpointsIn(network.id).values()];
  if (endpoints.length > 0) {
    const names = some(endpoints.map(({ name, node }) => `${name} on ${nodeName(state, node)}`));
    throw new Refused('in-use', `network: ${network.name} has endpoints: ${names}; remove them first`, 'network');
  }
  draft.expect(KEY.uses(network.id));
  draft.delete(KEY.network(network.id));
  draft.delete(KEY.networkName(network.name));
  if (state.modified(KEY.networkKeys(network.id)) > 0) draft.delete(KEY.networkKeys(network.id));
  if (state.modified(KEY.uses(network.id)) > 0) draft.delete(KEY.uses(network.id));
  for (const vni of new Set(network.subnets.map((subnet) => subnet.vni)))
    draft.put(KEY.vni(vni), { released: now } satisfies VniRecord);
  return network;
}

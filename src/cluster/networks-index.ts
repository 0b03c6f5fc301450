/** What of a network is in use: indices beside the records, so that an address is found without looking at all others. */
import { NetworkAddresses, type SubnetPlan } from '../ipam/index.js';
import { TIMES } from './limits.js';
import { type AddressRecord, type NetworkRecord, type NodeRecord, type SubnetRecord } from './records.js';

/** The subnets of a network that are one broadcast domain: one of each family at most. */
export interface Domain {
  readonly vni: number;
  readonly subnets: readonly SubnetRecord[];
  readonly addresses: NetworkAddresses;
}

/** A subnet as the room `ipam` has it. */
export function planOf({ prefix, gateway, range, auxiliary }: SubnetRecord): SubnetPlan {
  return { subnet: prefix, gateway, ...(range === undefined ? {} : { ipRange: range }), aux: auxiliary };
}

export function domainsOf(network: NetworkRecord): Domain[] {
  const vnis = [...new Set(network.subnets.map(({ vni }) => vni))];
  return vnis.map((vni) => {
    const subnets = network.subnets.filter((subnet) => subnet.vni === vni);
    return { vni, subnets, addresses: new NetworkAddresses(subnets.map(planOf)) };
  });
}

/** The nodes that are, and the times at which others were removed. */
export interface Holders {
  readonly nodes: ReadonlyMap<string, NodeRecord>;
  readonly gone: ReadonlyMap<string, number>;
  /** Since when this manager hears which nodes have failed. */
  readonly watching: number;
}

/**
 * Until when a released address is held: its node has stopped to use it some time after it was told, which may be as late as when
 * it returned, left or was removed. A node that has failed is not told. A manager that has just started does not know which nodes
 * have failed meanwhile, so it holds every address for that time.
 */
export function heldUntil(mark: { released: number; node: string }, { nodes, gone, watching }: Holders): number {
  const told = nodes.get(mark.node)?.since ?? gone.get(mark.node) ?? 0;
  return Math.max(mark.released, told, watching) + TIMES.hold;
}

/** Tells the addresses of a domain what an item says about one of them. */
export function noteAddress(
  domains: readonly Domain[],
  ip: string,
  record: AddressRecord | undefined,
  modified: number,
  holders: Holders,
): void {
  const domain = domains.find(({ addresses }) => addresses.subnetOf(ip) !== undefined);
  if (domain === undefined) return;
  if (record === undefined) domain.addresses.forget(ip);
  else if ('endpoint' in record) domain.addresses.take(ip, record.endpoint, record.automatic ? modified : undefined);
  else {
    const node = holders.nodes.get(record.node);
    // It may run and not hear of it: it has the address until it returns, or is removed.
    if (node?.state === 'failed') domain.addresses.take(ip, `the failed node ${node.name}`);
    else domain.addresses.release(ip, heldUntil(record, holders));
  }
}

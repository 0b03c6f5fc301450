import { type NetworkListing } from '../host/index.js';
import { rowsOf, tableLines } from './table.js';

/** Formats the networks of an agent, and the conflicts in them, as lines. */
export function* networksTables(list: readonly NetworkListing[]): Generator<string> {
  yield* tableLines(
    ['NETWORK', 'VNI', 'SUBNET', 'GATEWAY', 'STATE', 'ENDPOINTS HERE', 'REFUSED', 'ELSEWHERE', 'CONFLICTS', 'MEMBERS'],
    rowsOf(list, ({ network, vni, subnet, gateway, attached, inSync, local, refused, remote, conflicts, members }) => [
      network,
      vni,
      subnet,
      gateway ?? '-',
      attached ? (inSync ? 'in sync' : 'joining') : 'no endpoint here',
      local,
      refused,
      remote,
      conflicts.length,
      members.length === 0 ? '-' : members.join(' '),
    ]),
  );
  const conflicts = list.flatMap((network) => network.conflicts);
  if (conflicts.length === 0) return;
  const time = (since: number): string => (since === 0 ? '-' : new Date(since).toISOString());
  yield '';
  yield* tableLines(
    ['CONFLICT IN', 'REFUSED', 'AT', 'HELD BY', 'WITH', 'SINCE'],
    rowsOf(conflicts, ({ network, value, holds, holder, refused }) => [
      network,
      value,
      refused.node,
      holder.node,
      holds,
      time(holder.since),
    ]),
  );
}

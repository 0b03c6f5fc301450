import { type NetworkListing } from '../host/index.js';
import { rowsOf, tableLines } from './table.js';

/** Formats networks, and the conflicts in those of an agent, as lines. */
export function* networksTables(list: readonly NetworkListing[]): Generator<string> {
  yield* tableLines(
    ['NETWORK', 'VNI', 'SUBNET', 'GATEWAY', 'STATE', 'ENDPOINTS HERE', 'REFUSED', 'ELSEWHERE', 'CONFLICTS', 'MEMBERS'],
    rowsOf(list, ({ network, vni, subnet, gateway, local, refused, remote, conflicts, members, ...state }) => [
      network,
      vni,
      subnet,
      gateway ?? '-',
      stateOf(state),
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

/** An older VTEP has networks of the gossip only, and does not say so. */
function stateOf({
  gossip,
  attached,
  inSync,
}: Pick<NetworkListing, 'attached' | 'inSync'> & { gossip?: boolean }): string {
  if (gossip === false) return 'no gossip';
  return attached ? (inSync ? 'in sync' : 'joining') : 'no endpoint here';
}

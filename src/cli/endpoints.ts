/** Endpoints of a cluster, for people. */
import { type EndpointEntry } from '../schema/index.js';
import { age, shortId } from './age.js';
import { rowsOf, tableLines } from './table.js';

/** What became of an endpoint: `running`, `exited (1)`, `failed: no such program`; `-` on another node. */
export function stateText({ state, code, reason }: Pick<EndpointEntry, 'state' | 'code' | 'reason'>): string {
  if (state === null) return '-';
  const status = state === 'exited' && code !== null ? `exited (${code})` : state;
  return reason === null ? status : `${status}: ${reason}`;
}

export function endpointsTable(list: readonly EndpointEntry[], now: number): Iterable<string> {
  return tableLines(
    ['ID', 'NAME', 'NETWORK', 'ADDRESS', 'MAC', 'NODE', 'KIND', 'CREATED', 'STATE'],
    rowsOf(list, (one) => [
      shortId(one.id),
      ...[one.name, one.network, one.addresses.join(' ') || '-', one.mac, one.node, one.kind],
      `${age(one.created, now)} ago`,
      stateText(one),
    ]),
  );
}

/** One endpoint as the part of a line: `p1 (10.1.1.10, 02:42:…)`. */
export function endpointText({ name, network, addresses, mac }: EndpointEntry): string {
  return `${name} in network ${network} (${[...addresses, mac].join(', ')})`;
}

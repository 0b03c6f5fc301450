/** The peers and endpoints of a configuration that was read again. */
import { type Reloaded } from '../schema/index.js';
import { type Intent } from './intent.js';
import { type TableEntry, type TableRequest } from './requests.js';

/**
 * Makes the configuration want these peers and endpoints, and no others.
 * @param announced For an agent: adds or removes an endpoint of this host, which the gossip announces.
 * @returns how many came and went, and why entries were refused.
 */
export async function configure(
  entries: readonly TableEntry[],
  intent: Intent,
  announced?: (request: TableRequest) => Promise<unknown>,
): Promise<Pick<Reloaded, 'peers' | 'endpoints' | 'refused'>> {
  const { missing, surplus } = await intent.compare(entries);
  const isOwn = (entry: TableEntry): boolean =>
    announced !== undefined && entry.kind === 'endpoint' && entry.endpoint.vtep === undefined;
  const others = (list: readonly TableEntry[]): TableEntry[] => list.filter((entry) => !isOwn(entry));
  const refused = await intent.configure(others(missing), others(surplus));
  const count = (kind: TableEntry['kind'], list: readonly TableEntry[]): number =>
    list.filter((entry) => entry.kind === kind).length;
  const counts = (kind: TableEntry['kind']): { added: number; removed: number } => ({
    added: count(kind, missing) - refused.filter((one) => one.kind === kind).length,
    removed: count(kind, surplus),
  });
  const [peers, endpoints] = [counts('peer'), counts('endpoint')];
  const reasons = refused.map(({ reason }) => reason);
  for (const [list, command] of [
    [missing, 'add-endpoint'],
    [surplus, 'remove-endpoint'],
  ] as const)
    for (const entry of list) {
      if (entry.kind !== 'endpoint' || !isOwn(entry)) continue;
      try {
        await announced!({ command, vni: entry.vni, ...entry.endpoint });
      } catch (error) {
        endpoints[command === 'add-endpoint' ? 'added' : 'removed']--;
        reasons.push((error as Error).message);
      }
    }
  return { peers, endpoints, refused: reasons };
}

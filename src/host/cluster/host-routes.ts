/** The routes of this host, which a command about a network tells the managers. */
import { LIMITS, type HostRoute, type NetworkRecord } from '../../cluster/index.js';
import { comparePrefixes, parsePrefix, prefixIncludes, prefixToText, type Prefix } from '../../ipam/index.js';
import { isLinkLocal, shareAddresses } from '../../schema/index.js';
import { ipJson } from '../ip.js';

interface Listed {
  readonly dst: string;
  readonly dev?: string;
}

/**
 * The routes by devices, without default routes, link-local ones, and those within another one: what overlaps one of these
 * overlaps the larger one. At most as many as a command has, the largest ones.
 */
export async function hostRoutes(): Promise<HostRoute[]> {
  const all = await Promise.all(
    ['-4', '-6'].map((family) => ipJson<Listed>([family, 'route', 'show', 'table', 'main']).catch(() => [])),
  );
  const found = all.flat().flatMap(({ dst, dev }): { prefix: Prefix; device: string }[] => {
    if (dst === 'default' || dev === undefined || dev === 'lo') return [];
    const [address, length] = dst.split('/');
    if (isLinkLocal(address!)) return [];
    const prefix = parsePrefix(`${address}/${length ?? (address!.includes(':') ? 128 : 32)}`, 'subnet');
    return prefix.length === 0 ? [] : [{ prefix, device: dev }];
  });
  const kept: typeof found = [];
  for (const one of found.sort((a, b) => a.prefix.length - b.prefix.length || comparePrefixes(a.prefix, b.prefix)))
    if (kept.length < LIMITS.routes && !kept.some(({ prefix }) => prefixIncludes(prefix, one.prefix))) kept.push(one);
  return kept.map(({ prefix, device }) => ({ prefix: prefixToText(prefix), device }));
}

/** Says which subnet of networks overlaps with a route of this host; `undefined` if none does. */
export function overlapWith(routes: readonly HostRoute[], networks: readonly NetworkRecord[]): string | undefined {
  for (const { name, subnets } of networks)
    for (const { prefix } of subnets) {
      const route = routes.find((one) => shareAddresses(one.prefix, prefix));
      if (route !== undefined)
        return (
          `subnet ${prefix} of network ${name} overlaps with ${route.prefix}, the route by ${route.device} on this host; ` +
          'remove that route, or create the network with another subnet'
        );
    }
  return undefined;
}

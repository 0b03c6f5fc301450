/** The routes of a container to the other subnets of its network, through its TAP. */
import { shareAddresses, type SubnetRoute } from '../schema/index.js';
import { ip, ipJson } from './ip.js';

/** The words of `ip` that add or replace a route through a device with addresses. */
export function routeWords(
  verb: 'add' | 'replace',
  route: SubnetRoute,
  device: string,
  addresses: readonly string[],
): string[] {
  const { to, via } = route;
  // The kernel looks for the gateway in a subnet of the device, which is not there for an address with all bits.
  const onlink = addresses.some((address) => shareAddresses(via, address)) ? [] : ['onlink'];
  return ['route', verb, to, 'via', via, 'dev', device, ...onlink];
}

/**
 * Adds the routes that an existing device lacks, and corrects those that have another gateway. Leaves all others as they
 * are.
 * @throws IpError also if another device has a route to one of the subnets.
 */
export async function completeRoutes(
  device: string,
  netns: string | undefined,
  addresses: readonly string[],
  routes: readonly SubnetRoute[],
): Promise<void> {
  for (const route of routes) {
    const { to, via } = route;
    const known = await ipJson<{ dst: string; gateway?: string; dev?: string }>(
      [to.includes(':') ? '-6' : '-4', 'route', 'show', 'exact', to],
      netns,
    );
    const own = known.filter(({ dev }) => dev === device);
    if (own.some(({ gateway }) => gateway === via)) continue;
    await ip(routeWords(own.length > 0 ? 'replace' : 'add', route, device, addresses), netns);
  }
}

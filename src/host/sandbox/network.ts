/** The device of a sandbox: completes what its attachment has configured, and takes back what its plan no longer has. */
import { canonicalIp, type SubnetRoute } from '../../schema/index.js';
import { canonicalPrefix, inPlace, listDevices, type Device } from '../device.js';
import { completeRoutes, routeWords } from '../device-routes.js';
import { HostError } from '../error.js';
import { ip, ipBatch, IpError, ipReason } from '../ip.js';
import { addressWords, removeAddress } from '../kept.js';
import { type SandboxPlan } from './plan.js';
import { type Added } from './record.js';

/** What a plan adds to its device, in the kernel's notation. */
export function addedBy({ addresses, gateways = [], routes = [] }: SandboxPlan): Added {
  const defaults = gateways.map((via) => ({ to: via.includes(':') ? '::/0' : '0.0.0.0/0', via }));
  return {
    addresses: addresses.map(canonicalPrefix),
    // Last: a gateway is reached through the routes of the device's addresses.
    routes: [...routes, ...defaults].map(({ to, via }) => ({ to: canonicalPrefix(to), via: canonicalIp(via) })),
  };
}

/** What `before` has and `now` has not. */
export function staleOf(before: Added, now: Added): Added {
  const same = (a: SubnetRoute, b: SubnetRoute): boolean => a.to === b.to && a.via === b.via;
  return {
    addresses: before.addresses.filter((address) => !now.addresses.includes(address)),
    routes: before.routes.filter((route) => !now.routes.some((other) => same(route, other))),
  };
}

/**
 * Configures the device of a sandbox. Leaves addresses and routes that others have added.
 * @param stale What to remove.
 * @throws HostError that says what the kernel did not accept.
 */
export async function configureDevice(netns: string, plan: SandboxPlan, stale: Added): Promise<void> {
  const { device: name = 'eth0', mtu } = plan;
  const place = `device ${inPlace(name, netns)}`;
  const run = async (failed: string, step: () => Promise<unknown>): Promise<void> => {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof IpError)) throw error;
      throw new HostError(`${place} ${failed}: ${ipReason(error)}`, { cause: error });
    }
  };
  const find = async (): Promise<Device> => {
    const found = (await listDevices(netns)).find((device) => device.name === name);
    if (found === undefined) throw new HostError(`there is no ${place}; attach it to a network first`);
    return found;
  };
  const wanted = addedBy(plan);
  const complete = async ({ addresses }: Device): Promise<void> => {
    for (const address of wanted.addresses)
      if (!addresses.includes(address))
        await run(`does not accept the address ${address}`, () => ip(addressWords(address, name), netns));
  };
  // Most often nothing is there but the device and its addresses: one process then does everything.
  const isPlain = mtu === undefined && stale.routes.length + stale.addresses.length === 0;
  if (isPlain && (await ipBatch(plainWords(name, wanted), netns).then(() => true, isIpError))) return;
  const found = await find();
  if (mtu !== undefined && found.mtu !== mtu)
    await run(`does not accept an MTU of ${mtu}`, () => ip(['link', 'set', 'dev', name, 'mtu', String(mtu)], netns));
  await complete(found);
  if (!found.up) await run('cannot be brought up', () => ip(['link', 'set', 'dev', name, 'up'], netns));
  for (const { to, via } of stale.routes) await forget(to, via, name, netns);
  for (const address of stale.addresses.filter((one) => found.addresses.includes(one)))
    await run(`cannot lose the address ${address}`, () => removeAddress(name, netns, address, wanted.addresses));
  for (const route of wanted.routes)
    await run(`cannot get a route to ${route.to}`, () => completeRoutes(name, netns, wanted.addresses, [route]));
}

/** Commands of `ip` that leave what is there already, and fail for a route that is. */
function plainWords(name: string, { addresses, routes }: Added): string[][] {
  return [
    ...addresses.map((address) => addressWords(address, name).map((word) => (word === 'add' ? 'replace' : word))),
    ['link', 'set', 'dev', name, 'up'],
    ...routes.map((route) => routeWords('add', route, name, addresses)),
  ];
}

/** @returns false for an error of `ip`: each step is then taken by itself. */
function isIpError(error: unknown): false {
  if (error instanceof IpError) return false;
  throw error;
}

/** Removes a route that may be there. */
async function forget(to: string, via: string, device: string, netns: string): Promise<void> {
  await ip(['route', 'del', to, 'via', via, 'dev', device], netns).catch((error: unknown) => {
    if (!(error instanceof IpError)) throw error;
  });
}

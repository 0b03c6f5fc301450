/** The underlay between this VTEP and its peers: local addresses, routes, path MTUs. */
import { networkInterfaces } from 'node:os';
import { canonicalIp } from '../schema/index.js';
import { codeOf, HostError, isResourceError } from './error.js';
import { ip, IpError, ipJson, ipReason } from './ip.js';

/** First port of the range that RFC 7348 recommends for sources (section 5). */
export const FIRST_SOURCE_PORT = 49_152;

/** The path to one peer. */
export interface Path {
  peer: string;
  device: string;
  /** Largest underlay packet in bytes. */
  mtu: number;
}

/**
 * Checks that `local` is an address of this machine (of this namespace).
 * @throws HostError that lists this machine's addresses.
 */
export async function requireLocal(local: string): Promise<void> {
  if (!(await isLocal(local))) throw notLocal(local, addresses());
}

/** Whether an address, in canonical text, belongs to this machine. */
export async function isLocal(local: string): Promise<boolean> {
  if (local.startsWith('127.')) return true; // all of 127.0.0.0/8 is local, though only one address is listed
  if (addresses().some((address) => !address.includes('%') && canonicalIp(address) === local)) return true;
  // Node omits devices without a carrier. For a moment after it is set up, each device is one of them.
  interface Device {
    addr_info?: { local?: string }[];
  }
  const devices = await ipJson<Device>(['addr']).catch(() => []);
  return devices.some(({ addr_info: list = [] }) => list.some((entry) => entry.local === local));
}

/** Whether a device of this host has an address; not one without a carrier. */
export function isOwnAddress(address: string): boolean {
  return addresses().includes(address);
}

function addresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map((entry) => entry.address);
}

/** Returns the error for a `local` that no device has. */
export function notLocal(local: string, addresses: readonly string[] = [], path = 'local'): HostError {
  const own = addresses.length === 0 ? '' : ` (here are: ${addresses.slice(0, 12).join(', ')})`;
  return new HostError(
    `${local} is not an address of this machine; choose one that is, or add it with "ip addr add"${own}`,
    { path },
  );
}

/** This host has no route from the VTEP's address to a peer. */
export class NoRouteError extends HostError {
  readonly peer: string;

  constructor(local: string, peer: string, options: { type?: string; cause?: unknown } = {}) {
    const { type, cause } = options;
    const why = type === undefined ? '' : ` (a route of type "${type}" covers it, see "ip route")`;
    super(`no route from ${local} to ${peer}${why}`, { cause });
    this.peer = peer;
  }
}

/** Route types that drop, by the error code that the kernel returns for them. */
const DROPPING: Readonly<Record<string, string>> = {
  EHOSTUNREACH: 'unreachable',
  EACCES: 'prohibit',
  EINVAL: 'blackhole',
};

interface Route {
  dev: string;
  metrics?: { mtu?: number }[];
  /** Seconds for which the kernel keeps what ICMP errors have told about the path. */
  expires?: number;
}

/** The route to a peer as it was configured, without what ICMP errors have changed; `undefined` if `ip` cannot tell. */
async function configuredRoute(peer: string, local: string): Promise<Route | undefined> {
  const [route] = await ipJson<Route>(['route', 'get', 'fibmatch', peer, 'from', local]).catch(() => []);
  return route;
}

/**
 * Looks up the route to a peer.
 * @throws NoRouteError if there is no route; HostError if that is not known, because `ip` is missing or cannot be started.
 */
export async function pathTo(peer: string, local: string): Promise<Path> {
  let route: Route | undefined;
  try {
    [route] = await ipJson<Route>(['route', 'get', peer, 'from', local]);
  } catch (error) {
    if (!(error instanceof IpError)) throw error;
    if (isResourceError(error))
      throw new HostError(`the route from ${local} to ${peer} cannot be looked up: ${ipReason(error)}`, {
        cause: error,
      });
    throw new NoRouteError(local, peer, { type: DROPPING[error.code], cause: error });
  }
  if (route === undefined) throw new NoRouteError(local, peer);
  // An ICMP error set it, and anyone can send such an error; the route has the MTU that the administrator set, if any.
  if (route.expires !== undefined) route.metrics = (await configuredRoute(peer, local))?.metrics ?? [];
  const device = await deviceMtu(route.dev);
  const limits = (route.metrics ?? []).flatMap((metric) => (metric.mtu === undefined ? [] : [metric.mtu]));
  return { peer, device: route.dev, mtu: Math.min(device, ...limits) };
}

/** Returns the device that has `local`, for a VTEP without peers. */
export async function pathAt(local: string): Promise<Path> {
  const [found] = await ipJson<{ ifname: string; mtu: number }>(['addr', 'show', 'to', local]);
  if (found?.ifname === undefined) return { peer: local, device: 'lo', mtu: await deviceMtu('lo') };
  return { peer: local, device: found.ifname, mtu: found.mtu };
}

async function deviceMtu(device: string): Promise<number> {
  const [link] = JSON.parse(await ip(['-j', 'link', 'show', 'dev', device])) as { mtu: number }[];
  return link!.mtu;
}

/** The same for the port of ESP. */
export function espBindError(error: Error, { local, espPort }: { local: string; espPort: number }): Error {
  const code = codeOf(error);
  if (code !== 'EADDRINUSE' && code !== 'EACCES') return bindError(error, local, espPort);
  const place = `UDP ${local.includes(':') ? `[${local}]` : local}:${espPort}, for encrypted segments,`;
  const why =
    code === 'EACCES'
      ? 'permission denied; choose a port above 1023, or run as root'
      : 'it is already in use: by another vtep, or by an IKE daemon such as strongSwan ("ss -ulnp"); stop that one, or choose another espPort for all hosts';
  return new HostError(`${place} cannot be bound: ${why}`, { cause: error, path: 'espPort' });
}

/** Returns the error for a UDP port that could not be bound, by the code of `error`. */
export function bindError(error: Error, local: string, port: number): Error {
  const place = `UDP ${local.includes(':') ? `[${local}]` : local}:${port}`;
  const code = codeOf(error);
  if (code === 'EADDRNOTAVAIL') return notLocal(local);
  if (code === 'EADDRINUSE')
    return new HostError(
      `${place} is already in use: by another vtep, or by a vxlan device of the kernel ("ip -d link show type vxlan", "ss -ulnp"); stop it, or choose another port`,
      { cause: error, path: 'port' },
    );
  if (code === 'EACCES')
    return new HostError(`${place}: permission denied; choose a port above 1023, or run as root`, {
      cause: error,
      path: 'port',
    });
  return new HostError(`${place} cannot be bound: ${error.message}`, { cause: error });
}

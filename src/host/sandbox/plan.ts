/** What a sandbox is to be: a plain record, checked before anything is made of it. */
import { family, isDeviceName, isUnicast, type SubnetRoute } from '../../schema/index.js';
import { HostError } from '../error.js';

/** What the resolver of a sandbox asks (resolv.conf(5)). */
export interface Resolver {
  /** Addresses of name servers, three at most. */
  readonly servers: readonly string[];
  /** Domains that complete a short name. */
  readonly search?: readonly string[];
  /** Such as `ndots:0`. */
  readonly options?: readonly string[];
}

/** A line of the hosts file. */
export interface HostsEntry {
  readonly address: string;
  readonly names: readonly string[];
}

/** A sandbox: a network namespace with a device, and what its processes see of names. */
export interface SandboxPlan {
  /** Letters, digits, `_`, `.` and `-`; the namespace is `weft-NAME`. Choose names that no other VTEP of this machine has. */
  readonly name: string;
  /** The device's name; `eth0` by default. */
  readonly device?: string;
  /** The device's addresses with prefix length, one or more. */
  readonly addresses: readonly string[];
  /** The device's MTU; absent: as it is. */
  readonly mtu?: number;
  /** Gateways of the default routes, one for each family; none for a network without a way out. */
  readonly gateways?: readonly string[];
  /** Routes to the other subnets of the network. */
  readonly routes?: readonly SubnetRoute[];
  /** Absent: the host's resolv.conf. */
  readonly resolver?: Resolver;
  /** Lines of the hosts file, after those of localhost. Absent: the host's hosts file. */
  readonly hosts?: readonly HostsEntry[];
}

/** Most name servers that the C library asks. */
const MAX_SERVERS = 3;
const PREFIX = 'weft-';

/** The name of a sandbox's namespace, as `ip netns` lists it. */
export function netnsOf(name: string): string {
  return PREFIX + name;
}

/** Whether a text may name a sandbox. */
export function isSandboxName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,127}$/.test(name);
}

/**
 * Checks a plan.
 * @throws HostError with the path of the field.
 */
export function requirePlan(plan: SandboxPlan): void {
  const refuse = (path: string, message: string): never => {
    throw new HostError(message, { path });
  };
  const { name, device = 'eth0', addresses, mtu, gateways = [], routes = [], resolver, hosts = [] } = plan;
  if (!isSandboxName(name))
    refuse('name', `"${name}" cannot name a sandbox; use letters, digits, "_", "." and "-", 128 at most`);
  if (!isDeviceName(device)) refuse('device', `"${device}" cannot name a device; use 1 to 15 characters, such as eth0`);
  if (addresses.length === 0)
    refuse('addresses', 'a sandbox needs an address with its prefix length, such as 10.0.0.3/24');
  addresses.forEach((address, i) => requirePrefix(address, `addresses[${i}]`));
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= 68 && mtu <= 65_535))
    refuse('mtu', `${mtu} is not an MTU; use 68 to 65535 bytes`);
  gateways.forEach((gateway, i) => {
    const kind = family(gateway);
    if (kind === 0 || !isUnicast(gateway)) refuse(`gateways[${i}]`, `"${gateway}" is not the address of a gateway`);
    if (gateways.findIndex((other) => family(other) === kind) < i)
      refuse(`gateways[${i}]`, `${gateway} is a second gateway for IPv${kind}; give one`);
    requireFamily(plan, gateway, `gateways[${i}]`);
  });
  routes.forEach(({ to, via }, i) => {
    requirePrefix(to, `routes[${i}].to`);
    if (family(via) === 0 || to.includes(':') !== via.includes(':'))
      refuse(`routes[${i}].via`, `"${via}" is not the address of a gateway to ${to}`);
    requireFamily(plan, via, `routes[${i}].via`);
  });
  if (resolver !== undefined) requireResolver(resolver);
  hosts.forEach(({ address, names }, i) => {
    if (family(address) === 0) refuse(`hosts[${i}].address`, `"${address}" is not an IP address`);
    if (names.length === 0) refuse(`hosts[${i}].names`, `${address} needs a name in the hosts file`);
    for (const one of names) requireWord(one, `hosts[${i}].names`);
  });
}

function requireFamily({ addresses }: SandboxPlan, gateway: string, path: string): void {
  if (addresses.some((address) => address.includes(':') === gateway.includes(':'))) return;
  throw new HostError(`the sandbox has no IPv${family(gateway)} address, so it cannot reach the gateway ${gateway}`, {
    path,
  });
}

function requirePrefix(text: string, path: string): void {
  const match = /^(.*)\/(\d{1,3})$/.exec(text);
  const kind = match === null ? 0 : family(match[1]!);
  if (kind !== 0 && Number(match![2]) <= (kind === 4 ? 32 : 128)) return;
  throw new HostError(`"${text}" is not an address with a prefix length, such as 10.0.0.3/24`, { path });
}

function requireResolver({ servers, search = [], options = [] }: Resolver): void {
  if (servers.length > MAX_SERVERS)
    throw new HostError(`resolvers ask ${MAX_SERVERS} name servers at most, not ${servers.length}`, {
      path: 'resolver.servers',
    });
  servers.forEach((server, i) => {
    if (family(server) !== 0) return;
    throw new HostError(`"${server}" is not the address of a name server`, { path: `resolver.servers[${i}]` });
  });
  for (const domain of search) requireWord(domain, 'resolver.search');
  for (const option of options) requireWord(option, 'resolver.options');
}

/** Checks a word of a file: it must not begin another word or line. */
function requireWord(word: string, path: string): void {
  if (/^[\x21-\x7e]{1,253}$/.test(word) && !word.includes('#')) return;
  throw new HostError(`"${word}" cannot be written to the file; use printable ASCII characters without spaces or "#"`, {
    path,
  });
}

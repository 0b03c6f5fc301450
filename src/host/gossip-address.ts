/** The underlay address of an agent's VTEP, and the addresses of the hosts that it joins. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { canonicalIp, family, isUnicast, parseHostPort, type Gossip, type HostPort } from '../schema/index.js';
import { codeOf, HostError } from './error.js';
import { isLocal } from './underlay.js';

/** The VTEP's own address, and the address that other hosts send to if there is a NAT in between. */
export interface Underlay {
  local: string;
  tunnel?: string;
}

/**
 * Chooses the address of an agent's VTEP without --local: the advertised address if this host has it; else the one it
 * listens on; else the source address towards the first host to join; else the only address of this host. An advertised
 * address that this host does not have belongs to a NAT: the agent announces it.
 * @throws HostError if the choice is ambiguous.
 */
export async function underlayOf({ bind, advertise, join = [] }: Gossip): Promise<Underlay> {
  const advertised = advertise === undefined ? undefined : parseHostPort(advertise)!.host;
  if (advertised !== undefined && (await isLocal(advertised))) return { local: advertised };
  const tunnel = advertised === undefined ? {} : { tunnel: advertised };
  const own = bind === undefined ? undefined : parseHostPort(bind)!.host;
  if (own !== undefined && isUnicast(own)) return { local: own, ...tunnel };
  const kind = family(advertised ?? own ?? '');
  for (const host of join) {
    const [target] = await resolveHost(parseHostPort(host)!, kind).catch(() => []);
    const local = target === undefined ? undefined : await sourceTowards(target);
    if (local !== undefined) return { local, ...tunnel };
  }
  const candidates = ownAddresses().filter((address) => kind === 0 || family(address) === kind);
  if (candidates.length === 1) return { local: candidates[0]!, ...tunnel };
  throw new HostError(
    candidates.length === 0
      ? 'this host has no address that other hosts can reach; give one as `local`'
      : `this host has several addresses (${candidates.slice(0, 12).join(', ')}); give the one that other hosts can reach as \`local\``,
  );
}

/**
 * Resolves a host to its addresses, of one family if `kind` is not 0.
 * @throws HostError if the name does not resolve.
 */
export async function resolveHost(
  { host, port }: HostPort,
  kind: 0 | 4 | 6,
): Promise<{ address: string; port: number }[]> {
  if (family(host) !== 0) {
    if (kind === 0 || family(host) === kind) return [{ address: host, port }];
    throw new HostError(
      `${host} is not an IPv${kind} address; it must be of the same family as this agent's own address`,
    );
  }
  try {
    const found = await lookup(host, { all: true, family: kind });
    return found.map(({ address }) => ({ address: canonicalIp(address.replace(/%.*/, '')), port }));
  } catch (error) {
    const code = codeOf(error);
    const why = code === 'ENOTFOUND' ? 'no such host' : code === 'EAI_AGAIN' ? 'no name server responds' : code;
    throw new HostError(`"${host}" does not resolve: ${why}`, { cause: error });
  }
}

/** The source address that the kernel's routes choose for datagrams to another host; `undefined` without a route. */
export async function sourceTowards({ address, port }: { address: string; port: number }): Promise<string | undefined> {
  const socket = createSocket(family(address) === 6 ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((done, failed) => {
      socket.once('error', failed);
      socket.connect(port, address, done); // sends nothing
    });
    return canonicalIp(socket.address().address);
  } catch {
    return undefined; // no route
  } finally {
    socket.close();
  }
}

/** Addresses of this host that other hosts may reach: neither loopback nor link-local. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, scopeid, address }) => !internal && !scopeid && !address.includes('%'))
    .map(({ address }) => canonicalIp(address));
}

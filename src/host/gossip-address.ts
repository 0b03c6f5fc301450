/** Where an agent is: the address of its VTEP, and those of the hosts that it joins. */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { canonicalIp, family, isUnicast, parseHostPort, type Gossip, type HostPort } from '../schema/index.js';
import { codeOf, HostError } from './error.js';
import { isLocal } from './underlay.js';

/** The VTEP's own address, and the one that others send to, where a translator is between. */
export interface Underlay {
  local: string;
  tunnel?: string;
}

/**
 * Works out the address of an agent's VTEP where it was given none: the advertised address, if this host has it; else the
 * one it listens at; else the one from which it reaches the first host to join; else its only one. An advertised address
 * that this host does not have is a translator's: others are told that one.
 * @throws HostError where the choice is not clear.
 */
export async function underlayOf({ bind, advertise, join = [] }: Gossip): Promise<Underlay> {
  const told = advertise === undefined ? undefined : parseHostPort(advertise)!.host;
  if (told !== undefined && (await isLocal(told))) return { local: told };
  const tunnel = told === undefined ? {} : { tunnel: told };
  const own = bind === undefined ? undefined : parseHostPort(bind)!.host;
  if (own !== undefined && isUnicast(own)) return { local: own, ...tunnel };
  const kind = family(told ?? own ?? '');
  for (const host of join) {
    const [target] = await resolveHost(parseHostPort(host)!, kind).catch(() => []);
    const local = target === undefined ? undefined : await sourceTowards(target);
    if (local !== undefined) return { local, ...tunnel };
  }
  const candidates = ownAddresses().filter((address) => kind === 0 || family(address) === kind);
  if (candidates.length === 1) return { local: candidates[0]!, ...tunnel };
  throw new HostError(
    candidates.length === 0
      ? 'this host has no address that others could reach; give one with --local'
      : `this host has several addresses (${candidates.slice(0, 12).join(', ')}); say with --local which one others reach it at`,
  );
}

/**
 * The addresses of a host; of one family where `kind` is not 0.
 * @throws HostError where the name does not resolve.
 */
export async function resolveHost(
  { host, port }: HostPort,
  kind: 0 | 4 | 6,
): Promise<{ address: string; port: number }[]> {
  if (family(host) !== 0) {
    if (kind === 0 || family(host) === kind) return [{ address: host, port }];
    throw new HostError(`${host} is no IPv${kind} address, as this agent's own is`);
  }
  try {
    const found = await lookup(host, { all: true, family: kind });
    return found.map(({ address }) => ({ address: canonicalIp(address.replace(/%.*/, '')), port }));
  } catch (error) {
    const code = codeOf(error);
    const why = code === 'ENOTFOUND' ? 'no such host' : code === 'EAI_AGAIN' ? 'no name server answers' : code;
    throw new HostError(`"${host}" does not resolve: ${why}`, { cause: error });
  }
}

/** The address of this host from which datagrams to another one leave, as the kernel routes them now. */
export async function sourceTowards({ address, port }: { address: string; port: number }): Promise<string | undefined> {
  const socket = createSocket(family(address) === 6 ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((done, failed) => {
      socket.once('error', failed);
      socket.connect(port, address, done); // sends nothing
    });
    return canonicalIp(socket.address().address);
  } catch {
    return undefined; // no way there
  } finally {
    socket.close();
  }
}

/** Addresses of this host that other hosts may reach. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, scopeid, address }) => !internal && !scopeid && !address.includes('%'))
    .map(({ address }) => canonicalIp(address));
}

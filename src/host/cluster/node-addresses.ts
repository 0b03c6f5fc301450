/** The addresses and the name of a node that joins a cluster, or creates one. */
import { hostname } from 'node:os';
import { canonicalIp, family, isUnicast } from '../../schema/index.js';
import { RequestError } from '../error.js';
import { ownAddresses, resolveHost, sourceTowards } from '../gossip-address.js';
import { isLocal } from '../underlay.js';
import { managerPlace } from './manager-connection.js';
import { type NodePlace } from './node-plan.js';

/** What a request says of the place of a node. */
interface Given {
  readonly address?: string;
  readonly dataPath?: string;
  readonly name?: string;
}

/** Most addresses that an error lists. */
const LISTED = 12;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;

/**
 * Completes the place of a node: by default its only address, or the one from which it reaches the first manager.
 * @throws RequestError with the field, if this host does not have an address, or if there are several to choose from.
 */
export async function placeOf(
  { address, dataPath, name = hostname() }: Given,
  managers: readonly string[] = [],
): Promise<NodePlace & { name: string }> {
  if (!NAME.test(name))
    throw wrong(
      'name',
      `the name of this host, ${JSON.stringify(name)}, is none of a node; give one of 1 to 63 letters, digits, "_", "." and "-"`,
    );
  const own = address === undefined ? await chosen(managers) : await local('address', address);
  if (dataPath === undefined) return { address: own, name };
  return { address: own, dataPath: await local('dataPath', dataPath), name };
}

async function local(path: string, text: string): Promise<string> {
  const address = canonicalIp(text);
  if (await isLocal(address)) return address;
  throw wrong(
    path,
    `${address} is not an address of this host; choose one of ${candidates().join(', ') || 'its own, of which it has none'}`,
  );
}

async function chosen(managers: readonly string[]): Promise<string> {
  for (const manager of managers) {
    const [target] = await resolveHost(managerPlace(manager), 0).catch(() => []);
    const address = target === undefined ? undefined : await sourceTowards(target);
    if (address !== undefined) return address;
  }
  const all = candidates();
  if (all.length === 1) return all[0]!;
  throw wrong(
    'address',
    all.length === 0
      ? 'this host has no address that other hosts can reach; set one up, or give one'
      : `this host has several addresses; give the one that other hosts reach: ${all.slice(0, LISTED).join(', ')}`,
  );
}

function candidates(): string[] {
  return ownAddresses().filter((address) => family(address) !== 0 && isUnicast(address));
}

function wrong(path: string, message: string): RequestError {
  return new RequestError('invalid-request', `${path}: ${message}`, { fields: [{ path, message }] });
}

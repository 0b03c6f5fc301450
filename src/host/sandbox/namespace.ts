/** Makes and removes named network namespaces, and tells those of a sandbox from others with the same name. */
import { statfsSync, statSync } from 'node:fs';
import { codeOf, HostError } from '../error.js';
import { ip, IpError, ipInMounts, ipReason } from '../ip.js';
import { NEIGHBOR_SETTINGS } from '../kept.js';
import { netnsPath, NSFS_MAGIC } from '../netns.js';
import { mountsOutside } from './mounts.js';
import { bootId } from './processes.js';
import { requirePrograms } from './programs.js';
import { Turns } from '../turns.js';

/** What is at the place of a namespace. */
export type Found =
  | { readonly kind: 'nothing' }
  /** A file, but no namespace is bound to it: `ip netns add` was killed, or the system has started again. */
  | { readonly kind: 'file' }
  | { readonly kind: 'namespace'; readonly inode: number; readonly identity: string };

/** Looks for a namespace. */
export function findNamespace(netns: string): Found {
  const path = netnsPath(netns);
  try {
    if (statfsSync(path).type !== NSFS_MAGIC) return { kind: 'file' };
    const { dev, ino, ctimeNs } = statSync(path, { bigint: true });
    // The kernel uses an inode again, with another time.
    return { kind: 'namespace', inode: Number(ino), identity: `${bootId()} ${dev}:${ino} ${ctimeNs}` };
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return { kind: 'nothing' };
    throw error;
  }
}

/** The first `ip netns add` of a system mounts the directory of names; two at a time would mount it twice, in old versions. */
const adding = new Turns();

/**
 * Makes a namespace.
 * @throws HostError that says why it cannot be made.
 */
export async function addNamespace(netns: string): Promise<void> {
  try {
    await adding.run(() => inHostMounts(['netns', 'add', netns]));
  } catch (error) {
    if (!(error instanceof IpError)) throw error;
    const reason = error.code === 'EACCES' ? 'no permission; run as root' : ipReason(error);
    throw new HostError(`the network namespace ${netns} cannot be made: ${reason}`, { cause: error });
  }
  if (findNamespace(netns).kind === 'namespace') return;
  await removeNamespace(netns);
  throw new HostError(
    `the network namespace ${netns} does not become visible to this process; start it with the mounts of the host`,
  );
}

/** Removes a namespace, or the file that one was bound to. */
export async function removeNamespace(netns: string): Promise<void> {
  await inHostMounts(['netns', 'del', netns]).catch((error: unknown) => {
    if (!(error instanceof IpError) || error.code !== 'ENOENT') throw error;
  });
}

/**
 * What every device gets that comes to a sandbox. It ignores router advertisements: the plan has the routes, and any endpoint
 * could send some. It keeps its neighbors without a carrier, as `keepNeighbors` says.
 */
const SETTINGS = [
  'ipv6/conf/default/accept_ra',
  ...NEIGHBOR_SETTINGS.map((setting) => setting.replace('%', 'default')),
];

/** Sets up the loopback, and the settings of devices. */
export async function prepareNamespace(netns: string): Promise<void> {
  const script = SETTINGS.map((setting) => `/proc/sys/net/${setting}`)
    .map((file) => `[ ! -w ${file} ] || echo 0 >${file}; `)
    .join('');
  await ip(['netns', 'exec', netns, 'sh', '-c', `${script}exec ip link set dev lo up`]);
}

/** Runs `ip` where all see the namespaces that it makes. */
async function inHostMounts(args: readonly string[]): Promise<void> {
  const mounts = await mountsOutside();
  if (mounts === null) await ip(args);
  else {
    requirePrograms(['nsenter']);
    await ipInMounts(args, mounts);
  }
}

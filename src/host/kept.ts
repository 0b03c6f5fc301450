/**
 * TAPs that outlive a process. A kept device stays in its namespace when its process crashes or is killed, with its
 * address and routes and with every TCP connection of the container. The next process attaches to it and continues.
 */
import { canonicalPrefix, inPlace, listDevices, markOf, readMark, type Device } from './device.js';
import { HostError } from './error.js';
import { ip, IpError, ipReason } from './ip.js';
import { requireNetns, writeInNetns } from './netns.js';
import { attachTap, closeTap, persistTap, tapHolders, type OpenTap, type TapFiles } from './tun.js';

/** Milliseconds that a killed process may take to release its TAPs. */
const LETTING_GO = 1000;
const POLL = 20;

/** A TAP that an earlier process kept. */
export interface AdoptedTap extends OpenTap {
  /** Frames that the kernel dropped at it until now. */
  dropped: number;
}

/**
 * Attaches to a TAP that passed `requireOrphan`.
 * @param files From `openTunFiles`; closed on error.
 * @throws HostError if another process attached first.
 */
export async function adoptTap(
  files: readonly number[],
  found: Device,
  netns: string | undefined,
  flags: number,
): Promise<AdoptedTap> {
  let open: OpenTap;
  try {
    open = await attachTap(files, found.name, { flags, multiQueue: found.tun!.multiQueue, exclusive: false });
  } catch (error) {
    if ((error as { cause?: { code?: string } }).cause?.code !== 'EBUSY') throw error;
    throw held(found.name, netns);
  }
  // Two processes may have found it free at the same time; both can attach to a device with several queues.
  const now = await findDevice(found.name, netns);
  if (now?.tun !== undefined && now.tun.files <= files.length) return { ...open, dropped: now.dropped };
  await closeTap(open);
  throw held(found.name, netns);
}

/**
 * Waits until no process holds an existing device. Refuses a device that this process must not continue with, or remove.
 * @throws HostError that says what the device is instead, or which process holds it, and what to do.
 */
export async function requireOrphan(
  { name, kind, alias, tun }: Device,
  netns: string | undefined,
  { queues, keep, remove = false }: { queues: number; keep: boolean; remove?: boolean },
): Promise<void> {
  const place = inPlace(name, netns);
  if (tun?.tap !== true) {
    const what = kind === undefined || kind === 'tun' ? 'not a TAP' : `a ${kind} and not a TAP`;
    throw new HostError(
      remove
        ? `the device ${place} is ${what}`
        : `a device ${place} exists already, and is ${what}; choose another name`,
    );
  }
  const isOurs = readMark(alias) !== undefined;
  if (!isOurs || !tun.persistent) {
    // The kernel counts no files of a TAP with a single queue; but a vtep has one of its own that does not persist.
    if (isOurs || tun.files > 0) throw held(name, netns, remove);
    throw new HostError(
      remove
        ? `vtep did not make the TAP ${place}; "ip link del" removes it`
        : `a TAP ${place} exists already, and vtep did not make it; choose another name, remove it, or open it and pass it as \`fd\``,
    );
  }
  const limit = performance.now() + LETTING_GO;
  let { files } = tun;
  while (files > 0 && keep && performance.now() < limit) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    files = (await findDevice(name, netns))?.tun?.files ?? 0;
  }
  if (files > 0) throw held(name, netns, remove);
  if (!keep)
    throw new HostError(
      `TAP ${place} was kept when an earlier vtep ended; continue with it (\`keepTaps\`), or remove it first`,
    );
  if (queues > 1 && !tun.multiQueue)
    throw new HostError(`TAP ${place} has one queue; use one worker, or remove it first`);
}

function held(name: string, netns: string | undefined, remove = false): HostError {
  // Those of all namespaces: this process may have another TAP of that name.
  const all = tapHolders(name);
  const pids = all.filter((pid) => pid !== process.pid);
  const some = pids.length > 1 ? `one of the processes ${pids.slice(0, 8).join(', ')}` : `process ${pids[0]}`;
  if (pids.length < all.length)
    return new HostError(
      `a TAP ${inPlace(name, netns)} exists already: this VTEP has it, perhaps by another name of the namespace${pids.length === 0 ? '' : `, or ${some} has`}; choose another name`,
    );
  const who = pids.length === 0 ? 'another process' : some;
  const advice = remove
    ? 'detach it over the control socket of its VTEP, or stop that process'
    : 'stop that process, or choose another name';
  return new HostError(`TAP ${inPlace(name, netns)} is in use by ${who}; ${advice}`);
}

async function findDevice(name: string, netns: string | undefined): Promise<Device | undefined> {
  return (await listDevices(netns)).find((device) => device.name === name);
}

/** What identifies the device of a port: its place, and its addresses. */
export interface DeviceIdentity {
  name: string;
  netns?: string;
  mac?: string;
  /** With prefix lengths. */
  addresses: readonly string[];
}

/**
 * Configures an existing device as planned. Keeps what the container's owner added: other addresses, routes.
 * @param mtu In bytes.
 * @throws IpError
 */
export async function reconcile(found: Device, tap: DeviceIdentity, mtu: number): Promise<void> {
  const { name, netns, mac } = tap;
  const set = (...words: string[]) => ip(['link', 'set', 'dev', name, ...words], netns);
  if (found.mtu !== mtu) await set('mtu', String(mtu));
  if (mac !== undefined && found.mac !== mac) await set('address', mac);
  const wanted = tap.addresses.map(canonicalPrefix);
  const old = readMark(found.alias)?.addresses ?? [];
  const stale = old.filter((address) => !wanted.includes(address) && found.addresses.includes(address));
  // Before the old ones go: the device always has an address of each family that it keeps, and so its routes.
  for (const address of wanted) if (!found.addresses.includes(address)) await addAddress(name, netns, address);
  for (const address of stale) await removeAddress(name, netns, address, wanted);
  if (!found.up) await set('up');
  // Do this last: after a crash in between, the next process still knows which addresses weft configured.
  if (found.alias !== markOf(wanted)) await set('alias', markOf(wanted));
}

/**
 * The arguments of `ip` that add an address to a device. An IPv6 address is usable at once: with duplicate address
 * detection (RFC 4862, section 5.4) the kernel would not answer for it until 1 to 2 s after the VTEP is ready. The VTEPs
 * report duplicate addresses themselves.
 */
export function addressWords(address: string, name: string): string[] {
  return ['addr', 'add', address, 'dev', name, ...(address.includes(':') ? ['nodad'] : [])];
}

async function addAddress(name: string, netns: string | undefined, address: string): Promise<void> {
  await ip(addressWords(address, name), netns).catch((error: unknown) => {
    if (!(error instanceof IpError) || error.code !== 'EEXIST') throw error;
  });
}

/** Removes an address, and restores the routes that the kernel removes with it. @param wanted Addresses that stay. */
export async function removeAddress(
  name: string,
  netns: string | undefined,
  old: string,
  wanted: readonly string[],
): Promise<void> {
  const family = old.includes(':') ? '-6' : '-4';
  const before = await routes(name, netns, family);
  await ip(['addr', 'del', old, 'dev', name], netns);
  // With the primary address of a subnet, the kernel may have removed the others.
  for (const address of wanted) if (address.includes(':') === (family === '-6')) await addAddress(name, netns, address);
  const after = new Set((await routes(name, netns, family)).map((route) => route.join(' ')));
  const source = old.split('/')[0]!;
  // Restore networks before the gateways reached through them. The kernel refuses routes that no longer fit.
  const lost = before
    .map((route) => withoutSource(route, source))
    .filter((route) => !after.has(route.join(' ')))
    .sort((a, b) => Number(a.includes('via')) - Number(b.includes('via')));
  for (const route of lost) await ip([family, 'route', 'replace', ...route, 'dev', name], netns).catch(() => undefined);
}

/** The routes through a device that were added by hand, as arguments of `ip route`. */
async function routes(name: string, netns: string | undefined, family: string): Promise<string[][]> {
  const text = await ip([family, 'route', 'show', 'table', 'all', 'dev', name], netns);
  return text
    .split('\n')
    .map((line) => line.split(/\s+/).filter((word) => word !== '' && word !== 'linkdown' && word !== 'dead'))
    .filter(
      (words) =>
        words.length > 0 && !words.includes('kernel') && !/^(local|broadcast|multicast|anycast)$/.test(words[0]!),
    );
}

function withoutSource(route: string[], source: string): string[] {
  const at = route.indexOf('src');
  return at < 0 || route[at + 1] !== source ? route : [...route.slice(0, at), ...route.slice(at + 2)];
}

/**
 * Makes TAPs outlive the process, or not.
 * @param taps TAPs that this process created or adopted.
 */
export async function keepTaps(taps: readonly TapFiles[], keep: boolean): Promise<void> {
  for (const tap of taps) await persistTap(tap, keep); // fails silently for a TAP whose namespace has been removed
}

/** Settings of a device, `%`, which are 1 if the kernel discards its neighbors when it has no carrier (Linux 5.16). */
export const NEIGHBOR_SETTINGS = ['ipv4/conf/%/arp_evict_nocarrier', 'ipv6/conf/%/ndisc_evict_nocarrier'] as const;

/**
 * Makes the kernel keep the neighbors of a device that has no carrier, as a kept TAP has none until the next process
 * attaches to it. Otherwise the kernel discards them, loses its first request because no process reads the TAP, and sends
 * the next one a second later. Linux 5.16 and later support this.
 */
export function keepNeighbors(taps: readonly { device: string; netns?: string | undefined }[]): Promise<void> {
  return writeInNetns(
    taps.flatMap(({ device, netns }) =>
      NEIGHBOR_SETTINGS.map((setting) => ({
        file: `/proc/sys/net/${setting.replace('%', device)}`,
        text: '0',
        ...(netns === undefined ? {} : { netns }),
      })),
    ),
  );
}

/**
 * Removes the neighbors whose addresses the kernel did not resolve while no process read the TAP, so that it asks for
 * them with the next packet and not a second after its last request.
 */
export async function forgetUnresolved(device: string, netns: string | undefined): Promise<void> {
  await ip(['neigh', 'flush', 'dev', device, 'nud', 'incomplete'], netns);
}

/** A TAP that `detachTap` removed. */
export interface Detached {
  device: string;
  netns: string | null;
  mac: string;
  addresses: string[];
}

/**
 * Removes a TAP that an earlier process of vtep has kept, if it is there. Leaves a device of another program that has its name.
 * @throws HostError as `detachTap` does.
 */
export async function removeKept(name: string, netns: string): Promise<void> {
  try {
    requireNetns(netns);
  } catch {
    return; // the TAP went with its namespace
  }
  const found = await findDevice(name, netns);
  if (found?.tun?.tap === true && readMark(found.alias) !== undefined) await detachTap(name, netns);
}

/**
 * Removes a TAP that a VTEP kept and that no process holds.
 * @throws HostError that says what the device is instead, or which process holds it.
 */
export async function detachTap(name: string, netns: string | undefined): Promise<Detached> {
  if (netns !== undefined) requireNetns(netns, 'netns');
  const place = inPlace(name, netns);
  const refuse = (error: unknown): HostError =>
    error instanceof IpError
      ? new HostError(`TAP ${place} cannot be removed: ${ipReason(error)}`, { cause: error })
      : (error as HostError);
  try {
    const devices = await listDevices(netns);
    const found = devices.find((device) => device.name === name);
    if (found === undefined) {
      const ours = devices.filter(({ alias, tun }) => tun !== undefined && readMark(alias) !== undefined);
      const there =
        ours.length === 0 ? 'no TAP of vtep is there' : `there are ${ours.map((one) => one.name).join(', ')}`;
      throw new HostError(`there is no device ${place}; ${there}`);
    }
    await requireOrphan(found, netns, { queues: 1, keep: true, remove: true });
    await ip(['link', 'del', 'dev', name], netns);
    return { device: name, netns: netns ?? null, mac: found.mac, addresses: found.addresses };
  } catch (error) {
    throw refuse(error);
  }
}

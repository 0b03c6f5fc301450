/**
 * Where the names of namespaces are mounted. A program in `ip netns exec`, or in a service with mounts of its own, gets the
 * mounts that are made outside, but those that it makes are its own: others do not see them, and they end with it. So it
 * makes them outside (mount_namespaces(7), "slave").
 */
import { openSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { HostError } from '../error.js';
import { NETNS_DIRECTORY } from '../netns.js';

/** The peer groups of a mount: the one that it belongs to, and the one from which it gets mounts. */
export interface Propagation {
  readonly shared: number | undefined;
  readonly master: number | undefined;
}

/**
 * Finds the mount that a path is on.
 * @param mountinfo The text of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
 */
export function propagationOf(mountinfo: string, path: string): Propagation | undefined {
  let found: { point: string; fields: string[] } | undefined;
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ');
    const point = fields[4];
    if (point === undefined || !(path === point || path.startsWith(point === '/' ? '/' : `${point}/`))) continue;
    // Of several mounts at one point, the last one covers the others.
    if (found === undefined || point.length >= found.point.length) found = { point, fields: optionalFields(fields) };
  }
  if (found === undefined) return undefined;
  const group = (name: string): number | undefined => {
    const field = found.fields.find((one) => one.startsWith(`${name}:`));
    return field === undefined ? undefined : Number(field.slice(name.length + 1));
  };
  return { shared: group('shared'), master: group('master') };
}

function optionalFields(fields: string[]): string[] {
  const end = fields.indexOf('-', 6);
  return fields.slice(6, end < 0 ? 6 : end);
}

/** The mounts outside, held open; `null` if those of this process are visible to all. */
let outside: Promise<string | null> | undefined;

/**
 * Returns the file of the mount namespace in which names of namespaces are visible to all; `null` if it is that of this
 * process.
 * @throws HostError if this process may not enter it.
 */
export function mountsOutside(): Promise<string | null> {
  outside ??= findOutside().catch((error: unknown) => {
    outside = undefined; // such a process may be there later
    throw error;
  });
  return outside;
}

async function findOutside(): Promise<string | null> {
  const path = realDirectory();
  let at = propagationOf(readFileSync('/proc/self/mountinfo', 'utf8'), path);
  let holder: string | null = null;
  while (at?.master !== undefined) {
    const { master } = at;
    const found = await findMember(path, master);
    if (found === undefined)
      throw new HostError(
        `this process has mounts of its own, and no process is visible that has those from which ${path} comes, ` +
          'so network namespaces that it makes would end with it; start it with the mounts of the host',
      );
    [holder, at] = [found.file, found.at];
  }
  if (holder === null) return null;
  // The process may end; an open file of its namespace remains.
  return `/proc/${process.pid}/fd/${openSync(holder, 'r')}`;
}

function realDirectory(): string {
  try {
    return realpathSync(NETNS_DIRECTORY);
  } catch {
    return '/run/netns'; // `ip netns add` makes it
  }
}

/** Finds a process whose mount at `path` is in a peer group. */
async function findMember(path: string, group: number): Promise<{ file: string; at: Propagation } | undefined> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '');
    const at = propagationOf(text, path);
    if (at?.shared === group && isAccessible(`/proc/${pid}/ns/mnt`)) return { file: `/proc/${pid}/ns/mnt`, at };
  }
  return undefined;
}

function isAccessible(file: string): boolean {
  try {
    return readlinkSync(file) !== '';
  } catch {
    return false;
  }
}

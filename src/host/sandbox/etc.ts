/**
 * The files of /etc that processes in a sandbox see instead of the host's. They are in /etc/netns/NAME, and `ip netns
 * exec` binds them (ip-netns(8)).
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, HostError } from '../error.js';
import { type HostsEntry, type Resolver, type SandboxPlan } from './plan.js';

/** Where `ip netns exec` looks for files. */
const ETC_NETNS = '/etc/netns';
const LOCALHOST = ['127.0.0.1 localhost', '::1 localhost ip6-localhost ip6-loopback'];

/** The directory with a namespace's files. */
export function etcOf(netns: string): string {
  return join(ETC_NETNS, netns);
}

/** The text of resolv.conf(5). */
export function resolverText({ servers, search = [], options = [] }: Resolver): string {
  const lines = servers.map((server) => `nameserver ${server}`);
  if (search.length > 0) lines.push(`search ${search.join(' ')}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return lines.map((line) => `${line}\n`).join('');
}

/** The text of hosts(5). */
export function hostsText(hosts: readonly HostsEntry[]): string {
  const lines = [...LOCALHOST, ...hosts.map(({ address, names }) => [address, ...names].join(' '))];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Changes a nsswitch.conf(5) whose resolver would ask a service of the host, which knows nothing of the sandbox's
 * resolv.conf: `resolve` of systemd, for example.
 * @returns `undefined` if nothing has to change.
 */
export function nsswitchText(text: string): string | undefined {
  const line = /^[ \t]*hosts:([^\n#]*)/m;
  const sources = (line.exec(text)?.[1] ?? '')
    .replace(/\[[^\]]*\]/g, ' ')
    .split(/\s+/)
    .filter(Boolean);
  if (sources.every((source) => ['files', 'dns', 'myhostname'].includes(source))) return undefined;
  return text.replace(line, 'hosts: files dns');
}

/** The files of a sandbox: name and text. */
function filesOf({ resolver, hosts }: SandboxPlan): Map<string, string> {
  const files = new Map<string, string>();
  if (hosts !== undefined) files.set('hosts', hostsText(hosts));
  if (resolver === undefined) return files;
  files.set('resolv.conf', resolverText(resolver));
  const nsswitch = nsswitchText(readText('/etc/nsswitch.conf'));
  if (nsswitch !== undefined) files.set('nsswitch.conf', nsswitch);
  return files;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * Writes the files of a sandbox, and removes those that it has no longer.
 * @throws HostError that says what prevents it.
 */
export async function writeEtc(netns: string, plan: SandboxPlan): Promise<void> {
  const directory = etcOf(netns);
  const files = filesOf(plan);
  try {
    for (const name of files.keys())
      if (!existsSync(join('/etc', name)))
        throw new HostError(
          `the host has no file /etc/${name}, over which a sandbox's own is bound; run: touch /etc/${name}`,
        );
    await mkdir(directory, { recursive: true, mode: 0o755 });
    for (const [name, text] of files) await writeInPlace(join(directory, name), text);
    for (const name of await readdir(directory))
      if (!files.has(name)) await rm(join(directory, name), { recursive: true });
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw new HostError(`the files of the sandbox in ${directory} cannot be written: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Changes the content of a file, and not the file: running processes have it bound, and see the change. They never see
 * it empty.
 */
async function writeInPlace(path: string, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  if (readText(path) === text && existsSync(path)) return;
  const file = await open(path, 'a+', 0o644).then((handle) => handle.close().then(() => open(path, 'r+')));
  try {
    await file.chmod(0o644); // whatever the umask is
    await file.write(bytes, 0, bytes.length, 0);
    await file.truncate(bytes.length);
  } finally {
    await file.close();
  }
}

/** Removes the files of a sandbox, and /etc/netns if nothing else is there. */
export async function removeEtc(netns: string): Promise<void> {
  await rm(etcOf(netns), { recursive: true, force: true });
  await rmdir(ETC_NETNS).catch((error: unknown) => {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY'].includes(codeOf(error))) throw error;
  });
}

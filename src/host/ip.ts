/** The `ip` program of iproute2, and the namespaces it works in. No shell is involved. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, HostError } from './error.js';

/** Where `ip netns` keeps its names. */
const NETNS_DIRECTORY = '/var/run/netns';

/**
 * Runs `ip` with `args`, in a namespace where one is given, and returns what it printed.
 * @throws HostError with the command and what it complained about.
 */
export function ip(args: readonly string[], netns?: string): Promise<string> {
  const [program, ...rest] = command(args, netns);
  return new Promise((resolve, reject) => {
    execFile(program!, rest, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (codeOf(error) === 'ENOENT') reject(new HostError(notFound(program!), { cause: error }));
      else
        reject(
          new HostError(`"${program} ${rest.join(' ')}" failed: ${stderr.trim() || error.message}`, { cause: error }),
        );
    });
  });
}

/** As `ip`, for commands that answer in JSON (`-j`). */
export async function ipJson<T>(args: readonly string[], netns?: string): Promise<T[]> {
  const text = (await ip(['-j', ...args], netns)).trim();
  return text === '' ? [] : (JSON.parse(text) as T[]);
}

/**
 * Checks that a namespace is there.
 * @throws HostError that says how to make one, and which there are.
 */
export async function requireNetns(netns: string): Promise<void> {
  const path = netns.startsWith('/') ? netns : join(NETNS_DIRECTORY, netns);
  try {
    await stat(path);
  } catch (error) {
    if (netns.startsWith('/'))
      throw new HostError(`network namespace ${netns} cannot be reached: ${codeOf(error)}`, { cause: error });
    const others = netnsNames();
    throw new HostError(
      `network namespace "${netns}" does not exist; make it with "ip netns add ${netns}"` +
        (others.length === 0 ? '' : ` (there are: ${others.slice(0, 12).join(', ')})`),
      { cause: error },
    );
  }
}

function netnsNames(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY).sort();
  } catch {
    return [];
  }
}

// `ip -n` knows names only; a path, as a container engine gives it, takes nsenter.
function command(args: readonly string[], netns: string | undefined): string[] {
  if (netns === undefined) return ['ip', ...args];
  return netns.startsWith('/') ? ['nsenter', `--net=${netns}`, 'ip', ...args] : ['ip', '-n', netns, ...args];
}

function notFound(program: string): string {
  return program === 'ip'
    ? 'the program "ip" is not there; install iproute2 (apt-get install iproute2), or pass open TAPs with --tap-fd'
    : `the program "${program}" is not there; install util-linux, or name the namespace with "ip netns attach"`;
}

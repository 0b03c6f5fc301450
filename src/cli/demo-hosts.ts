/**
 * The hosts of the demo: namespaces behind a router, and the commands that run in them.
 *
 *     host1 172.31.1.5 ---- router ---- host2 192.168.1.25
 *
 * All names follow from the number of the demo's process. So `--down` finds everything, wherever a demo was killed:
 *
 *     /run/weft-demo/NUMBER/host1          state of the agent, with the records of its sandboxes
 *     /run/weft-demo/NUMBER/host1.sock     its socket
 *     /run/netns/weftNUMBER-host1          the host
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import {
  codeOf,
  endProcesses,
  ensureAgent,
  findNamespace,
  HostError,
  ip,
  netnsOf,
  processesIn,
} from '../host/index.js';
import { removeNamespace, Sandboxes } from '../host/index.js';
import { commandText } from './facts.js';
import { print } from './streams.js';

/** Where demos keep what they make, each in a directory named by the number of its process. */
const ROOT = '/run/weft-demo';
const HOSTS = [
  { name: 'host1', address: '172.31.1.5', gateway: '172.31.1.1' },
  { name: 'host2', address: '192.168.1.25', gateway: '192.168.1.1' },
] as const;
const [ROUTER, EXISTING] = ['router', 'existing'] as const;
const PARTS = [...HOSTS.map(({ name }) => name), ROUTER, EXISTING];

/** Milliseconds that an agent has to end after SIGTERM, and that a step of the story may take. */
const GRACE = 5000;
const PATIENCE = 60_000;
const POLL = 50;
/** Attempts to remove everything: a second Ctrl-C also ends the programs that remove it. */
const ATTEMPTS = 3;

const partOf = (number: string, part: string): string => `weft${number}-${part}`;

/** The command line of this program. */
const PROGRAM: readonly string[] = [process.execPath, ...process.execArgv, resolve(process.argv[1] ?? 'vtep')];

/** A signal has ended the demo. */
class Interrupted extends Error {}

/** A host: a namespace with an agent. */
export class DemoHost {
  readonly name: string;
  readonly netns: string;
  readonly address: string;
  readonly state: string;
  readonly socket: string;
  readonly #demo: DemoHosts;

  constructor(demo: DemoHosts, directory: string, name: string, netns: string, address: string) {
    this.#demo = demo;
    this.name = name;
    this.netns = netns;
    this.address = address;
    this.state = join(directory, name);
    this.socket = join(directory, `${name}.sock`);
  }

  /** Starts a command line of `vtep` on this host. */
  spawn(words: readonly string[]): ChildProcess {
    return this.#demo.spawn(['netns', 'exec', this.netns, ...PROGRAM, ...words], { VTEP_SOCKET: this.socket });
  }

  /**
   * Runs a command line of `vtep` as a person does: prints it and its output.
   * @param hidden Further words, which only a host that is a namespace needs.
   * @returns its output.
   * @throws HostError if it fails.
   */
  async vtep(words: readonly string[], hidden: readonly string[] = []): Promise<string> {
    this.typed(`vtep ${commandText(words)}`);
    const child = this.spawn([...words, ...hidden]);
    const output: string[] = [];
    for (const stream of [child.stdout!, child.stderr!])
      createInterface(stream).on('line', (line) => {
        output.push(line);
        print(withoutToken(line === '' ? '' : `   ${line}`));
      });
    const code = await this.#demo.ended(child);
    if (code !== 0) throw new HostError(`"vtep ${words[0]}" on ${this.name} has failed: exit status ${code}`);
    return output.join('\n');
  }

  /** Prints a command line as a person types it. */
  typed(line: string): void {
    print(withoutToken(`   ${this.name}$ ${line}`));
  }

  /** Starts the agent with an engine; otherwise "init" and "join" start it. */
  async startAgent(engine: string): Promise<void> {
    const flags = ['--engine', engine];
    this.typed(`vtep agent ${flags.join(' ')} &`);
    const program = ['ip', 'netns', 'exec', this.netns, ...PROGRAM];
    const { state, socket } = this;
    // Systemd would start it outside of the namespace.
    const place = { booted: join(state, 'no-systemd'), network: '', patience: PATIENCE };
    await this.#demo.or(ensureAgent({ state, socket, program, flags }, place));
  }

  /** The namespaces of the sandboxes that its agent has recorded. */
  sandboxes(): string[] {
    return namesIn(join(this.state, 'sandboxes')).map(netnsOf);
  }
}

/** Shortens the token in a line: its reader could join the cluster. */
function withoutToken(line: string): string {
  return line.replace(/WEFT-1-\w+-\w+/g, 'WEFT-1-...');
}

/** The namespaces and programs of one demo. */
export class DemoHosts {
  readonly number = String(process.pid);
  readonly directory = join(ROOT, this.number);
  readonly router = partOf(this.number, ROUTER);
  /** A namespace that some other program could have made. */
  readonly existing = partOf(this.number, EXISTING);
  readonly hosts: readonly [DemoHost, DemoHost];
  readonly #children = new Set<ChildProcess>();
  readonly #interrupted: Promise<never>;
  #interrupt: () => void = () => undefined;
  isInterrupted = false;

  constructor() {
    this.hosts = HOSTS.map(
      ({ name, address }) => new DemoHost(this, this.directory, name, partOf(this.number, name), address),
    ) as [DemoHost, DemoHost] & DemoHost[];
    this.#interrupted = new Promise((_, reject) => (this.#interrupt = () => reject(new Interrupted())));
    this.#interrupted.catch(() => undefined);
  }

  /** Makes the namespaces, and the links between them. */
  async make(): Promise<void> {
    requireOwnRoot();
    mkdirSync(ROOT, { recursive: true, mode: 0o700 });
    try {
      mkdirSync(this.directory, { mode: 0o700 });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      throw new HostError(`${this.directory} is left of another demo; remove it with "vtep demo --down"`);
    }
    for (const part of PARTS) {
      const netns = partOf(this.number, part);
      await this.#ip(['netns', 'add', netns]);
      // The system's own IPv6 traffic would only clutter the picture.
      await this.#shell(netns, 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 || true');
      await this.#ip(['link', 'set', 'dev', 'lo', 'up'], netns);
    }
    const { router } = this;
    await this.#shell(router, 'echo 1 >/proc/sys/net/ipv4/ip_forward');
    for (const [i, { name, address, gateway }] of HOSTS.entries()) {
      const [netns, device] = [partOf(this.number, name), `v${i + 1}`];
      const peer = ['type', 'veth', 'peer', 'name', device, 'netns', router];
      await this.#ip(['link', 'add', 'name', 'eth0', 'netns', netns, ...peer]);
      await this.#ip(['addr', 'add', `${address}/24`, 'dev', 'eth0'], netns);
      await this.#ip(['addr', 'add', `${gateway}/24`, 'dev', device], router);
      await this.#ip(['link', 'set', 'dev', 'eth0', 'up'], netns);
      await this.#ip(['link', 'set', 'dev', device, 'up'], router);
      await this.#ip(['route', 'add', 'default', 'via', gateway], netns);
    }
  }

  /** Runs `ip` to its end, also if a signal arrives: what it makes must be there when the removal begins. */
  async #ip(args: readonly string[], netns?: string): Promise<void> {
    if (this.isInterrupted) throw new Interrupted();
    await ip(args, netns);
  }

  #shell(netns: string, script: string): Promise<void> {
    return this.#ip(['netns', 'exec', netns, 'sh', '-c', script]);
  }

  /** Starts `ip`. */
  spawn(args: readonly string[], environment: Record<string, string>): ChildProcess {
    if (this.isInterrupted) throw new Interrupted();
    const child = spawn('ip', args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
    this.#children.add(child);
    child.on('close', () => this.#children.delete(child));
    return child;
  }

  /** Resolves with the exit status of a program when its output has been read. */
  ended(child: ChildProcess): Promise<number | null> {
    return this.or(
      new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('close', resolve);
      }),
    );
  }

  /** Waits for something, or for a signal. */
  or<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#interrupted]);
  }

  /** Asks again and again until there is an answer. @throws HostError if there is none after a time. */
  async waitFor<T>(what: string, ask: () => Promise<T | undefined | false>): Promise<T> {
    const limit = performance.now() + PATIENCE;
    for (;;) {
      const found = await this.or(ask());
      if (found !== undefined && found !== false) return found;
      if (performance.now() > limit) throw new HostError(`after ${PATIENCE / 1000} s, ${what}`);
      await this.or(new Promise((resolve) => setTimeout(resolve, POLL)));
    }
  }

  /** Ends the story as soon as possible. */
  interrupt(): void {
    this.isInterrupted = true;
    for (const child of this.#children) child.kill();
    this.#interrupt();
  }

  /** Removes everything. @throws HostError with what cannot be removed. */
  remove(): Promise<void> {
    return removeDemo(this.number);
  }
}

/**
 * Removes every demo.
 * @returns the names of the namespaces of each.
 * @throws HostError with what cannot be removed.
 */
export async function removeDemos(): Promise<string[][]> {
  requireOwnRoot();
  const removed: string[][] = [];
  for (const number of namesIn(ROOT)) {
    if (!/^[1-9]\d{0,6}$/.test(number))
      throw new HostError(`${join(ROOT, number)} is not of a demo, whose directory is a number; remove it`);
    const names = namespacesOf(number);
    await removeDemo(number);
    removed.push(names);
  }
  rmSync(ROOT, { recursive: true, force: true });
  return removed;
}

/**
 * Refuses names of another user: what they name would be removed.
 * @throws HostError
 */
function requireOwnRoot(): void {
  const found = lstatSync(ROOT, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
    throw new HostError(`${ROOT} is not a directory that only this user may write; remove it`);
}

/** The namespaces of a demo that exist. */
function namespacesOf(number: string): string[] {
  return PARTS.map((part) => partOf(number, part)).filter((name) => findNamespace(name).kind !== 'nothing');
}

async function removeDemo(number: string): Promise<void> {
  const directory = join(ROOT, number);
  for (let attempt = 1; ; attempt++)
    try {
      await removeParts(number, directory);
      break;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  rmSync(directory, { recursive: true, force: true });
  if (namesIn(ROOT).length === 0) rmSync(ROOT, { recursive: true, force: true });
}

async function removeParts(number: string, directory: string): Promise<void> {
  // First the programs, so that nothing new is made: the agents, and commands that a killed demo has left.
  for (const name of namespacesOf(number)) {
    const found = findNamespace(name);
    if (found.kind === 'namespace') await endProcesses(() => processesIn(found.inode), GRACE);
  }
  const problems: string[] = [];
  for (const { name } of HOSTS) {
    const problem = ({ lines }: HostError): void => void problems.push(...lines);
    await new Sandboxes({ directory: join(directory, name, 'sandboxes'), problem }).retain([], 0);
  }
  if (problems.length > 0) throw new HostError(problems);
  for (const name of namespacesOf(number)) await removeNamespace(name);
}

/** The names in a directory; none if it is not there. */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

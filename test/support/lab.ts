/**
 * A laboratory of network namespaces for system tests, and the `vtep` programs that run in it. Needs root and iproute2.
 *
 *     container C1                                                    container C2
 *         | TAP                                                           | TAP
 *     node1 172.31.1.5/24 ---- 172.31.1.1 router 192.168.1.1 ---- node2 192.168.1.25/24
 *           fd00:1::5/64       fd00:1::1         fd00:2::1              fd00:2::25/64
 *
 * Names consist of a prefix and the test's process id. `teardown`, to be called in the suite's `after`, removes
 * everything; so does the end of the process and, after a kill, the next lab with the same prefix.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The repository: working directory of the programs under test, so that their coverage is collected. */
export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
/**
 * The command that starts `vtep`; WEFT_VTEP overrides it, as in `WEFT_VTEP="node dist/cli/main.js" npm test -- system`.
 */
export const VTEP: readonly string[] = (process.env['WEFT_VTEP'] ?? 'node --import tsx src/cli/main.ts')
  .split(' ')
  .map((word, i) => (i === 0 && word === 'node' ? process.execPath : word));
/** The engine of every `vtep up` whose arguments name none, from WEFT_ENGINE; `npm test` runs with each engine. */
export const ENGINE = process.env['WEFT_ENGINE'] ?? 'auto';
/** Whether this run of a file also runs the tests that do not depend on the engine. */
export const FIRST = ENGINE !== 'dgram';
/** Most milliseconds until a program is ready or has ended, on a loaded machine. */
const PATIENCE = 60_000;
const NETNS = '/var/run/netns';

/** Exit status and output of a program. */
export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A namespace with an address on the underlay. */
export interface Host {
  ns: string;
  address: string;
  address6: string;
}

export interface VtepOptions {
  /** The namespace of the VTEP's socket; absent: the test's own. */
  ns?: string;
  /** Arguments of `vtep`: `['up', '--vni', …]`. */
  args: readonly string[];
  /** Replaces `VTEP`. */
  command?: readonly string[];
  /** Added to the test's environment. */
  env?: Readonly<Record<string, string>>;
  /** File descriptors of the test that the program inherits as 3, 4, …. */
  fds?: readonly number[];
  /** Runs it without privileges, as user and group 65534. */
  unprivileged?: boolean;
}

/** A running program. */
export class Running {
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  stdout = '';
  stderr = '';
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? -1;
    child.stdout?.on('data', (data: Buffer) => (this.stdout += data.toString()));
    child.stderr?.on('data', (data: Buffer) => (this.stderr += data.toString()));
    this.ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }));
    });
    this.ended.catch(() => undefined); // rejects in those that await it
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  /** Ends it; fails if it does not end in time. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> {
    this.signal(signal);
    try {
      return await within(this.ended, `${signal} to end process ${this.pid}`);
    } catch (error) {
      this.signal('SIGKILL');
      throw error;
    }
  }
}

/** The namespaces and programs of a test file. */
export class Lab {
  readonly #name: string;
  readonly #namespaces = new Set<string>();
  readonly #programs = new Set<Running>();
  readonly #vteps = new Set<Running>();
  readonly #onExit = (): void => this.#abandon();
  readonly #onSignal = (): void => process.exit(1);

  /** @param prefix A few letters, unique to the test file. */
  constructor(prefix: string) {
    sweep(prefix);
    this.#name = `${prefix}${process.pid}`;
    process.on('exit', this.#onExit);
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  /** Makes a namespace with `lo` up, and returns its full name. */
  async namespace(name: string): Promise<string> {
    const full = `${this.#name}-${name}`;
    this.#namespaces.add(full);
    await must(['ip', 'netns', 'add', full]);
    await must(['ip', '-n', full, 'link', 'set', 'dev', 'lo', 'up']);
    return full;
  }

  /** Removes a namespace and the devices in it. */
  async removeNamespace(ns: string): Promise<void> {
    await must(['ip', 'netns', 'del', ns]);
    this.#namespaces.delete(ns);
  }

  /** Connects two namespaces with a veth pair, sets its ends up and adds their addresses. */
  async join(a: End, b: End, mtu = 1500): Promise<void> {
    const ends = (end: End): string[] => ['name', end.device, 'netns', end.ns, 'mtu', String(mtu)];
    await must(['ip', 'link', 'add', ...ends(a), 'type', 'veth', 'peer', ...ends(b)]);
    for (const { ns, device, addresses } of [a, b]) {
      for (const address of addresses)
        await must([
          'ip',
          '-n',
          ns,
          'addr',
          'add',
          address,
          'dev',
          device,
          ...(address.includes(':') ? ['nodad'] : []),
        ]);
      await must(['ip', '-n', ns, 'link', 'set', 'dev', device, 'up']);
    }
  }

  /** Starts a program that ends with the lab. Its pid is that of the program itself, also in a namespace. */
  spawn(command: readonly string[], options: Omit<VtepOptions, 'args' | 'command'> = {}): Running {
    const { ns, env, fds, unprivileged } = options;
    const [program, ...args] = [
      ...(ns === undefined ? [] : ['ip', 'netns', 'exec', ns]),
      ...(unprivileged ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all'] : []),
      ...command,
    ];
    const running = new Running(
      spawn(program!, args, {
        cwd: REPOSITORY,
        // An unprivileged program cannot write coverage, and would print a warning.
        env: { ...process.env, ...env, ...(unprivileged ? { NODE_V8_COVERAGE: undefined } : {}) },
        stdio: ['ignore', 'pipe', 'pipe', ...(fds ?? [])],
      }),
    );
    this.#programs.add(running);
    const forget = (): void => void this.#programs.delete(running);
    running.ended.then(forget, forget);
    return running;
  }

  /** Runs `vtep` and waits for its end. */
  runVtep(options: VtepOptions): Promise<Outcome> {
    const running = this.spawn(vtep(options), options);
    return within(running.ended, `vtep ${options.args.join(' ')} to end`).finally(() => running.signal('SIGKILL'));
  }

  /** Starts `vtep` and waits until it says that it is ready. */
  async startVtep(options: VtepOptions): Promise<Running> {
    const running = this.spawn(vtep(options), options);
    const isReady = (): boolean => /^ready$|^\{"event":"ready"/m.test(running.stdout);
    this.#vteps.add(running);
    await waitFor('vtep to be ready', () => isReady() || !running.running);
    if (!isReady()) {
      const { code, stderr } = await running.ended;
      throw new Error(`vtep ${options.args.join(' ')} ended with ${code}: ${stderr}`);
    }
    return running;
  }

  /** Ends every running program: for `after.each`, so that a failure does not affect the next test. */
  async killAll(): Promise<void> {
    for (const running of this.#programs) await running.stop('SIGKILL').catch(() => undefined);
  }

  /** Like `killAll`, for VTEPs only. */
  async killVteps(): Promise<void> {
    for (const running of this.#vteps) await running.stop('SIGKILL').catch(() => undefined);
    this.#vteps.clear();
  }

  /** Ends every program and removes every namespace. */
  async teardown(): Promise<void> {
    await this.killAll();
    this.#abandon();
    process.off('exit', this.#onExit);
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }

  #abandon(): void {
    for (const running of this.#programs) running.signal('SIGKILL');
    for (const ns of this.#namespaces) spawnSync('ip', ['netns', 'del', ns]);
    this.#namespaces.clear();
  }
}

/** The command line of a `vtep`, with the engine of this run. */
function vtep({ command = VTEP, args }: VtepOptions): string[] {
  const open = args[0] === 'up' && !args.includes('--engine');
  return [...command, ...args, ...(open ? ['--engine', ENGINE] : [])];
}

/** One end of a veth pair. */
export interface End {
  ns: string;
  device: string;
  /** With prefix length. */
  addresses: readonly string[];
}

export interface Underlay {
  lab: Lab;
  node1: Host;
  node2: Host;
  router: string;
}

/** Builds the underlay drawn above. */
export async function createUnderlay(options: { prefix: string; mtu?: number }): Promise<Underlay> {
  const lab = new Lab(options.prefix);
  try {
    const node1 = { ns: await lab.namespace('node1'), address: '172.31.1.5', address6: 'fd00:1::5' };
    const node2 = { ns: await lab.namespace('node2'), address: '192.168.1.25', address6: 'fd00:2::25' };
    const router = await lab.namespace('router');
    await lab.join(
      { ns: node1.ns, device: 'eth0', addresses: ['172.31.1.5/24', 'fd00:1::5/64'] },
      { ns: router, device: 'eth1', addresses: ['172.31.1.1/24', 'fd00:1::1/64'] },
      options.mtu,
    );
    await lab.join(
      { ns: node2.ns, device: 'eth0', addresses: ['192.168.1.25/24', 'fd00:2::25/64'] },
      { ns: router, device: 'eth2', addresses: ['192.168.1.1/24', 'fd00:2::1/64'] },
      options.mtu,
    );
    await must(['ip', '-n', node1.ns, 'route', 'add', 'default', 'via', '172.31.1.1']);
    await must(['ip', '-n', node2.ns, 'route', 'add', 'default', 'via', '192.168.1.1']);
    await must(['ip', '-n', node1.ns, 'route', 'add', 'default', 'via', 'fd00:1::1']);
    await must(['ip', '-n', node2.ns, 'route', 'add', 'default', 'via', 'fd00:2::1']);
    await exec(router, ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']);
    return { lab, node1, node2, router };
  } catch (error) {
    await lab.teardown();
    throw error;
  }
}

/** Runs a program and waits for its end, whatever its exit status. */
export function run(command: readonly string[]): Promise<Outcome> {
  const [program, ...args] = command;
  return new Promise((resolve, reject) => {
    const child = execFile(program!, args, { cwd: REPOSITORY, maxBuffer: 64 << 20 }, (_error, stdout, stderr) => {
      if (child.pid === undefined) reject(new Error(`program ${program} not found`));
      else resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
    });
  });
}

/** Runs a program and returns its standard output. @throws Error if it fails. */
export async function must(command: readonly string[]): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`"${command.join(' ')}" ended with ${code ?? signal}: ${stderr || stdout}`);
  return stdout;
}

/** `must` in a namespace. */
export function exec(ns: string, command: readonly string[]): Promise<string> {
  return must(['ip', 'netns', 'exec', ns, ...command]);
}

/**
 * Sends echo requests and returns the number of replies. After the last one, ping waits for twice the round trip or one
 * interval (seconds), whichever is longer: with a short interval, a loaded machine looks lossy.
 */
export async function ping(
  ns: string,
  target: string,
  options: { count?: number; size?: number; dontFragment?: boolean; interval?: number; wait?: number } = {},
): Promise<number> {
  const { count = 3, size = 56, dontFragment = false, interval = 0.3, wait = 2 } = options;
  const flags = [
    `-c${count}`,
    `-i${interval}`,
    `-s${size}`,
    `-W${wait}`,
    '-n',
    '-q',
    ...(dontFragment ? ['-Mdo'] : []),
  ];
  const { stdout } = await run(['ip', 'netns', 'exec', ns, 'ping', ...flags, target]);
  return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
}

/** The network devices of a namespace, by name. */
export async function devices(ns: string): Promise<string[]> {
  const links = JSON.parse(await must(['ip', '-n', ns, '-j', 'link', 'show'])) as { ifname: string }[];
  return links.map(({ ifname }) => ifname);
}

/** The UDP sockets that are bound in a namespace, as `172.31.1.5:4789`. */
export async function udpSockets(ns: string): Promise<string[]> {
  const text = (await exec(ns, ['cat', '/proc/net/udp'])) + (await exec(ns, ['cat', '/proc/net/udp6']));
  return [...text.matchAll(/^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) /gm)].map(([, address, port]) => {
    const bytes = Buffer.from(address!, 'hex');
    const readable = bytes.length === 4 ? [...bytes.reverse()].join('.') : address!;
    return `${readable}:${parseInt(port!, 16)}`;
  });
}

/** Waits until `check` returns a truthy value, and returns it. */
export async function waitFor<T>(
  what: string,
  check: () => T | Promise<T>,
  milliseconds = PATIENCE,
): Promise<NonNullable<T>> {
  const limit = performance.now() + milliseconds;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > limit) throw new Error(`waited ${milliseconds} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${PATIENCE} ms for ${what}`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Removes the namespaces of labs with this prefix whose process has ended. */
function sweep(prefix: string): void {
  if (!existsSync(NETNS)) return;
  for (const name of readdirSync(NETNS)) {
    const pid = name.startsWith(prefix) ? /^(\d+)-/.exec(name.slice(prefix.length))?.[1] : undefined;
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) spawnSync('ip', ['netns', 'del', name]);
  }
}

/** The command that `hopsIn` understands, without its target. */
export const TRACEROUTE = ['traceroute', '-n', '-q1', '-m4', '-w2'] as const;

/** The hops in the output of `TRACEROUTE`: an address, or `*`, for each. */
export function hopsIn(output: string): string[] {
  return [...output.matchAll(/^ *\d+ +(\S+)/gm)].map(([, by]) => by!);
}

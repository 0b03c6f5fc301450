/** The demo on real devices: network namespaces, TAPs, two `vtep` programs and the system's own ping. */
import { spawn, type ChildProcess } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { codeOf, HostError, ip, query, UNDERLAY, type Captured } from '../host/index.js';
import { countersTable } from './counters.js';
import { echoCommand, serveEcho } from './demo-echo.js';
import { lineOf, toShown } from './captured.js';
import { C1, C2, encapsulation, heading, indent, picture, VNI } from './demo-story.js';
import { print } from './streams.js';
import { VIEWS } from './show.js';

/** Where a demo records what it created, so that `--down` finds it even after a crash. */
const STATE = '/run/weft-demo';
const ROUTER = ['172.31.1.1', '192.168.1.1'] as const;
/** Milliseconds that a VTEP may take to start or to stop. */
const PATIENCE = 15_000;

/** What a demo created. */
interface Made {
  namespaces: string[];
  /** Each with its start time, so that another process with a reused PID is left alone; '' if it had already ended. */
  processes: { pid: number; started?: string }[];
}

/**
 * Runs the demo and returns the exit code.
 * @param hasPing Whether the system has a `ping`; without one the containers exchange UDP instead of ICMP.
 */
export async function namespaces(count: number, engine: string, keep: boolean, hasPing: boolean): Promise<number> {
  const scene = new Scene(hasPing);
  const interrupt = (): void => {
    void scene.remove().then(() => process.exit(130));
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  let kept = false;
  try {
    picture();
    heading('Namespaces: two hosts on different subnets, a router, and a container on each host');
    await scene.underlay();
    print(
      `   ${scene.host(1)} --- ${scene.router} --- ${scene.host(2)}; containers ${scene.container(1)}, ${scene.container(2)}`,
    );

    heading('A VTEP on each host, configured with the endpoint on the other host');
    for (const index of [1, 2] as const) {
      const args = scene.arguments(index, engine);
      print(`   ${scene.host(index)}# vtep ${args.join(' ')}`);
      await scene.start(index, args);
    }

    heading('C1 asks who has 10.0.0.4: the proxy on its own host answers, and nothing is flooded');
    if (!hasPing) await scene.serveEcho();
    const packets = await scene.first();
    print(indent(packets.map((packet) => lineOf(toShown(packet)))));

    heading('What host 1 knows');
    print(indent([...VIEWS.fdb(await query(scene.control(1), { command: 'fdb' }))]));

    const echo = packets.findIndex(({ place, direction }, i) => place === UNDERLAY && direction === 'out' && i > 0);
    if (echo > 0) {
      heading('One packet, layer by layer');
      encapsulation(toShown(packets[echo - 1]!).data, toShown(packets[echo]!).data);
    }

    heading(
      hasPing
        ? `${scene.container(1)}# ping -c ${count} ${C2.ip}`
        : `${scene.container(1)} asks the echo server in ${scene.container(2)}, UDP port 7 (there is no "ping" here)`,
    );
    const received = await scene.ping(count);

    heading('Counters of host 1');
    print(indent(countersTable(await query(scene.control(1), { command: 'counters' }))));
    if (received !== count) print(['', `${count - received} of ${count} pings did not come back.`]);
    else if (keep) {
      kept = true;
      scene.release();
      manual(scene, hasPing);
    }
    return received === count ? 0 : 1;
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
    if (!kept) {
      await scene.remove();
      print(['', 'Everything has been removed.']);
    }
  }
}

/** Removes what earlier demos left running and returns the exit code. */
export async function takeDown(): Promise<number> {
  requireOwnNotes();
  const files = readdirSafe(STATE);
  if (files.length === 0) print('No demo is running.');
  for (const file of files) {
    const made = notesOf(readFileSync(join(STATE, file, 'made.json'), 'utf8'));
    await removeAll(made, join(STATE, file));
    print(`Removed: ${made.namespaces.join(', ')}.`);
  }
  return 0;
}

function manual(scene: Scene, hasPing: boolean): void {
  print([
    '',
    'Everything is still running. Some things to try:',
    '',
    ...(hasPing ? [`   ip netns exec ${scene.container(1)} ping ${C2.ip}`] : []),
    `   ip netns exec ${scene.container(2)} ip neigh`,
    `   ip netns exec ${scene.router} tcpdump -ni v1 udp port 4789`,
    `   npx vtep show fdb --control ${scene.control(1)}`,
    `   npx vtep show counters --control ${scene.control(2)}`,
    `   npx vtep capture --control ${scene.control(1)} --count 6`,
    '',
    'To remove it: npm start -- --down',
  ]);
}

/** The namespaces and programs of one demo. */
class Scene {
  readonly #name = `weft${process.pid}`;
  readonly #directory = join(STATE, String(process.pid));
  readonly #made: Made = { namespaces: [], processes: [] };
  readonly #children: ChildProcess[] = [];
  #removing: Promise<void> | undefined;

  readonly router = `${this.#name}-router`;
  readonly #hasPing: boolean;

  constructor(hasPing: boolean) {
    this.#hasPing = hasPing;
  }

  host(index: 1 | 2): string {
    return `${this.#name}-host${index}`;
  }

  container(index: 1 | 2): string {
    return `${this.#name}-c${index}`;
  }

  control(index: 1 | 2): string {
    return join(this.#directory, `host${index}.sock`);
  }

  async underlay(): Promise<void> {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    requireOwnNotes();
    for (const name of [this.host(1), this.host(2), this.router, this.container(1), this.container(2)]) {
      this.#made.namespaces.push(name);
      this.#note();
      await ip(['netns', 'add', name]);
      // The system's own IPv6 traffic would only clutter the picture.
      await inside(name, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 || true']);
      await ip(['link', 'set', 'dev', 'lo', 'up'], name);
    }
    await inside(this.router, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
    for (const index of [1, 2] as const) {
      const host = this.host(index);
      const gateway = ROUTER[index - 1]!;
      await ip([
        'link',
        'add',
        'name',
        'eth0',
        'netns',
        host,
        'type',
        'veth',
        'peer',
        'name',
        `v${index}`,
        'netns',
        this.router,
      ]);
      await ip(['addr', 'add', `${(index === 1 ? C1 : C2).host}/24`, 'dev', 'eth0'], host);
      await ip(['addr', 'add', `${gateway}/24`, 'dev', `v${index}`], this.router);
      await ip(['link', 'set', 'dev', 'eth0', 'up'], host);
      await ip(['link', 'set', 'dev', `v${index}`, 'up'], this.router);
      await ip(['route', 'add', 'default', 'via', gateway], host);
    }
  }

  /** The arguments for `vtep` on a host. */
  arguments(index: 1 | 2, engine: string): string[] {
    const [own, other] = index === 1 ? [C1, C2] : [C2, C1];
    return [
      ...['up', '--vni', String(VNI), '--local', own.host],
      ...['--tap', 'eth0', '--netns', this.container(index), '--address', `${own.ip}/24`, '--mac', own.mac],
      ...['--endpoint', `${other.ip},${other.mac},${other.host}`, '--control', this.control(index)],
      ...(engine === 'auto' ? [] : ['--engine', engine]),
    ];
  }

  /** Starts a VTEP in its host's namespace and waits until it reports that it is ready. */
  start(index: 1 | 2, args: readonly string[]): Promise<void> {
    const program = [process.execPath, ...process.execArgv, process.argv[1]!];
    const child = spawn('ip', ['netns', 'exec', this.host(index), ...program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a Ctrl-C at the terminal goes to the demo only, which stops its VTEPs itself
    });
    this.#children.push(child);
    return new Promise((resolve, reject) => {
      let output = '';
      let ready = false;
      const fail = (reason: string): void =>
        reject(
          new HostError([
            `the VTEP of host ${index} ${reason}${output === '' ? '' : ':'}`,
            ...output.trim().split('\n').filter(Boolean),
          ]),
        );
      const timer = setTimeout(() => fail(`was not ready after ${PATIENCE / 1000} s`), PATIENCE);
      const listen = (data: Buffer): void => {
        output += data.toString();
        if (ready || !/^ready$/m.test(output)) return;
        ready = true; // later output is not of interest
        clearTimeout(timer);
        this.#made.processes.push({ pid: child.pid!, started: startOf(child.pid!) ?? '' });
        this.#note();
        resolve();
      };
      child.stdout.on('data', listen);
      child.stderr.on('data', listen);
      child.on('error', (error) => fail(`cannot be started: ${error.message}`));
      child.on('exit', (code) => {
        clearTimeout(timer);
        fail(`ended with ${code}`);
      });
    });
  }

  /**
   * The packets of the first ping as host 1 sees them: two of ARP, two of the ping, and the two that carry the ping.
   */
  async first(): Promise<Captured[]> {
    const captured = query(this.control(1), { command: 'capture', count: 6, seconds: 5 });
    await query(this.control(1), { command: 'counters' }); // once it has answered, it has also processed the request before
    await ip(this.#echo(1, ['-W', '4'])).catch(() => undefined);
    return captured;
  }

  /** Starts an echo server in the second container if the system has no ping. */
  async serveEcho(): Promise<void> {
    const child = await serveEcho(this.container(2), C2.ip);
    this.#children.push(child);
    this.#made.processes.push({ pid: child.pid!, started: startOf(child.pid!) ?? '' });
    this.#note();
  }

  /** The `ip` arguments that send requests from the first container to the second. */
  #echo(count: number, flags: readonly string[]): string[] {
    if (!this.#hasPing) return echoCommand(this.container(1), C2.ip, count);
    return ['netns', 'exec', this.container(1), 'ping', '-c', String(count), ...flags, C2.ip];
  }

  /** Sends requests, prints their output, and returns the number of replies. */
  ping(count: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const args = this.#echo(count, ['-i', '0.2']);
      const child = spawn('ip', args, { stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      createInterface(child.stdout).on('line', (line) => {
        output += `${line}\n`;
        print(line);
      });
      child.on('error', reject);
      child.on('close', () => resolve(Number(/(\d+) (?:packets )?received/.exec(output)?.[1] ?? 0)));
    });
  }

  /** Detaches from the VTEPs, which keep running after this process ends. */
  release(): void {
    for (const child of this.#children) {
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
    }
  }

  remove(): Promise<void> {
    // A child that never became ready is not recorded yet.
    for (const { pid, exitCode } of this.#children)
      if (pid !== undefined && exitCode === null && !this.#made.processes.some((one) => one.pid === pid))
        this.#made.processes.push({ pid, started: startOf(pid) ?? '' });
    this.#removing ??= removeAll(this.#made, this.#directory);
    return this.#removing;
  }

  #note(): void {
    writeFileSync(join(this.#directory, 'made.json'), JSON.stringify(this.#made));
  }
}

/**
 * Ends processes and removes namespaces by notes of this user only.
 * @throws HostError if another user may have written them.
 */
function requireOwnNotes(): void {
  const found = lstatSync(STATE, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
    throw new HostError(`${STATE} is not a directory that only this user may write; remove it`);
}

/** @throws HostError if a note does not have the form that `Scene` writes. */
function notesOf(text: string): Made {
  const { namespaces: names, processes } = JSON.parse(text) as Partial<Made>;
  const isValid =
    Array.isArray(names) &&
    names.every((name) => typeof name === 'string' && /^weft\d+-[a-z0-9]+$/.test(name)) &&
    Array.isArray(processes) &&
    processes.every((one) => Number.isInteger(one.pid) && one.pid > 1);
  if (!isValid) throw new HostError(`the notes of a demo in ${STATE} are damaged; remove them`);
  return { namespaces: names, processes };
}

async function removeAll({ processes, namespaces }: Made, directory: string): Promise<void> {
  const alive = ({ pid, started }: Made['processes'][number]): boolean => startOf(pid) === (started ?? '');
  const signalAll = (signal: NodeJS.Signals): void => {
    for (const one of processes.filter(alive))
      try {
        process.kill(one.pid, signal);
      } catch (error) {
        if (codeOf(error) !== 'ESRCH') throw error; // it has just ended
      }
  };
  signalAll('SIGTERM');
  const deadline = Date.now() + PATIENCE;
  while (processes.some(alive) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  signalAll('SIGKILL');
  for (const name of namespaces) await ip(['netns', 'del', name]).catch(() => undefined);
  rmSync(directory, { recursive: true, force: true });
  if (readdirSafe(STATE).length === 0) rmSync(STATE, { recursive: true, force: true });
}

/** Start time of a process, in kernel ticks; `undefined` if there is none, or only a zombie. */
function startOf(pid: number): string | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Runs a program in a namespace and returns its output. */
function inside(netns: string, command: readonly string[]): Promise<string> {
  return ip(['netns', 'exec', netns, ...command]);
}

function readdirSafe(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

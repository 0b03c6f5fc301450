/** A host of a cluster in a namespace, whose agent `vtep init` or `vtep join` starts. What is asked for goes through the program. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { type EndpointEntry, type NodeStatus } from '../../src/schema/index.js';
import { waitFor, type Lab, type Outcome } from './lab.js';
import { type Program } from './program.js';

/** What the hosts of a test have in common. */
export interface ClusterPlace {
  readonly lab: Lab;
  readonly program: Program;
  /** Each host has its state directory and its socket in it. */
  readonly folder: string;
}

const hosts: ClusterHost[] = [];
// The agents are no children of this process, and would outlive it if it is ended early.
process.on('exit', () => {
  for (const { agent } of hosts) if (agent !== undefined) process.kill(agent, 'SIGKILL');
});

export class ClusterHost {
  readonly name: string;
  readonly ns: string;
  readonly address: string;
  readonly state: string;
  readonly socket: string;
  readonly #place: ClusterPlace;

  constructor(place: ClusterPlace, name: string, { ns, address }: { ns: string; address: string }) {
    this.#place = place;
    this.name = name;
    this.ns = ns;
    this.address = address;
    this.state = join(place.folder, name);
    hosts.push(this);
    this.socket = join(place.folder, `run-${name}`, 'agent.sock');
  }

  /** Runs a command line of `vtep`, as a shell would. */
  run(...args: readonly string[]): Promise<Outcome> {
    const starts = args[0] === 'init' || args[0] === 'join';
    const own = starts ? [...args, '--state', this.state, '--name', this.name] : args;
    const { lab, program } = this.#place;
    return lab.runVtep({ ns: this.ns, args: own, command: program.command, env: { VTEP_SOCKET: this.socket } });
  }

  /** The standard output of a command line that succeeds. */
  async vtep(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    assert.is(code, 0, `${this.name}$ vtep ${args.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  }

  /** What a command line prints as JSON. */
  async json<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.vtep(...args, '--json')) as T;
  }

  /** Makes a cluster, which other hosts then join. */
  async init(...others: readonly ClusterHost[]): Promise<void> {
    await this.vtep('init', '--advertise-addr', this.address);
    const token = (await this.vtep('token', 'worker', '--quiet')).trim();
    for (const other of others) await other.vtep('join', '--token', token, this.address);
  }

  /** Runs `sleep infinity` in a sandbox. */
  async sleeper(network: string, name: string, ...flags: readonly string[]): Promise<Sleeper> {
    await this.vtep('run', '--network', network, '--name', name, '-d', ...flags, '--', 'sleep', 'infinity');
    const all = await this.json<EndpointEntry[]>('ps', '--network', network);
    const { netns, mac, addresses } = all.find((one) => one.name === name)!;
    return { name, netns: netns!, mac, addresses, host: this };
  }

  /** The process of its agent. */
  get agent(): number | undefined {
    return processes().find(({ words }) => words.includes('agent') && words.includes(this.state))?.pid;
  }

  /** Ends its agent with SIGKILL, if there is one. */
  async kill(): Promise<void> {
    const pid = this.agent;
    if (pid === undefined) return;
    process.kill(pid, 'SIGKILL');
    await waitFor(`the agent of ${this.name} to end`, () => this.agent !== pid);
  }

  /** Starts its agent again, and waits until it answers and, unless told otherwise, has a manager. */
  async start({ alone = false } = {}): Promise<void> {
    const { lab, program } = this.#place;
    lab.spawn([...program.command, 'agent', '--state', this.state, '--socket', this.socket], { ns: this.ns });
    await waitFor(`the agent of ${this.name} to be back`, async () => {
      const status = (await ask(this.socket, { command: 'node' }).catch(() => undefined)) as NodeStatus | undefined;
      return status !== undefined && (alone || status.state === 'none' || status.connected);
    });
  }

  /** Leaves its cluster and ends its agent, whatever state it is in. */
  async end(): Promise<void> {
    if (this.agent !== undefined) await this.run('leave', '--force');
    await this.kill();
  }
}

/** A sandbox that does nothing. */
export interface Sleeper {
  readonly name: string;
  readonly netns: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly host: ClusterHost;
}

/** All processes, with their words. */
export function processes(): { pid: number; words: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [{ pid: Number(name), words: readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0') }];
      } catch {
        return []; // it has ended
      }
    });
}

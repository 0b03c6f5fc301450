/**
 * `npm run bench -- cluster`: two hosts of a cluster in network namespaces of one machine, each with its agent. Measures the time
 * until two new endpoints reach each other, the time until a service has all of its tasks and every host knows their addresses,
 * and what an agent costs that knows many endpoints. Both hosts share the processors of the machine.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from '../src/host/index.js';
import { type EndpointEntry, type NetworkDetails, type NodeRequest, type TaskEntry } from '../src/schema/index.js';
import { ClusterHost } from '../test/support/cluster-host.js';
import { createUnderlay, REPOSITORY, VTEP, waitFor, type Underlay } from '../test/support/lab.js';
import { missing } from '../test/support/needs.js';
import { dockerReplies, type Steps } from './cluster-docker.js';

export interface FirstReply extends Steps {
  /** How the steps were asked for. */
  by: 'local API' | 'commands' | 'Docker';
}

/** A service whose tasks are on both hosts. */
export interface ManyEndpoints {
  endpoints: number;
  /** Seconds until all run, and until both VTEPs know the addresses of all. */
  running: number;
  known: number;
  /** Seconds from the removal of the service until nothing of it is left. */
  removed: number;
  /** Seconds of processor time until all hosts knew all: of the agents, and of the programs that they have started and that have ended. */
  agents: number;
  programs: number;
}

/** An agent that knows many endpoints. */
export interface ManyKnown {
  networks: number;
  endpoints: number;
  /** Seconds until it knew all. */
  told: number;
  /** Mebibytes of resident memory: without endpoints, with all of them, and in the process that followed it. */
  empty: number;
  full: number;
  restarted: number;
  /** Seconds from the start of that process until its API answered, and until its VTEP knew all endpoints. */
  answers: number;
  back: number;
}

export interface Cluster {
  replies: FirstReply[];
  /** Why Docker is not among them. */
  left: string | null;
  many: ManyEndpoints;
  memory: ManyKnown;
}

const PATIENCE = 1_200_000;
const ROUNDS = 7;
/** Milliseconds after which memory is read, in which an agent does nothing else. */
const SETTLED = 5000;
const FILLER = 'test/support/cluster-filler.ts';
/** Endpoints in each network of the measurement of memory. */
const PER_NETWORK = 100;

export async function cluster(quick: boolean): Promise<Cluster> {
  const unmet = missing(['root', 'tun', 'ip', 'ping', 'setsid', 'nsenter']);
  if (unmet.length > 0) throw new Error(`the suite "cluster" needs ${unmet.join(', ')}`);
  const rounds = quick ? 1 : ROUNDS;
  const docker = await dockerReplies(rounds);
  const isThere = typeof docker !== 'string';
  return {
    replies: [
      ...(await withHosts((one, two, { lab }) => firstReplies(one, two, lab, rounds))),
      ...(isThere ? docker.map((steps) => ({ by: 'Docker' as const, ...steps })) : []),
    ],
    left: isThere ? null : docker,
    many: await withHosts((one, two) => manyEndpoints(one, two, quick ? 100 : 1000)),
    memory: await withHosts((one, two, underlay) => manyKnown(one, two, underlay, quick ? 10 : 100), false),
  };
}

/** Runs a measurement with two hosts, of which the second one joins the first one's cluster if `joins`. */
async function withHosts<T>(
  measure: (one: ClusterHost, two: ClusterHost, underlay: Underlay) => Promise<T>,
  joins = true,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const underlay = await createUnderlay({ prefix: 'bcl' });
  const place = { lab: underlay.lab, program: { command: [...VTEP], remove: () => undefined }, folder };
  const one = new ClusterHost(place, 'host1', underlay.node1);
  const two = new ClusterHost(place, 'host2', underlay.node2);
  // The lab ends the process at a signal. The agents then still run, and remove what is in namespaces of their own.
  const abandoned = (): void => {
    for (const { ns, socket } of [two, one])
      spawnSync('ip', ['netns', 'exec', ns, ...VTEP, 'leave', '--force', '--socket', socket], {
        cwd: REPOSITORY,
        timeout: PATIENCE,
      });
    rmSync(folder, { recursive: true, force: true });
  };
  process.prependListener('exit', abandoned); // before that of ClusterHost, which kills the agents
  try {
    await one.init(...(joins ? [two] : []));
    return await measure(one, two, underlay);
  } finally {
    for (const host of [two, one]) {
      // With many endpoints, this takes longer than a command of a test may.
      await ask(host.socket, { command: 'leave', force: true }, { timeout: PATIENCE }).catch(() => undefined);
      await host.end();
    }
    process.off('exit', abandoned);
    await underlay.lab.teardown();
    rmSync(folder, { recursive: true, force: true });
  }
}

// ---- The first reply ----

async function firstReplies(
  one: ClusterHost,
  two: ClusterHost,
  lab: Underlay['lab'],
  rounds: number,
): Promise<FirstReply[]> {
  const found: FirstReply[] = [];
  const command = ['sleep', 'infinity'];
  /** What differs: how a network is created, and how a command is started. */
  const ways = {
    'local API': {
      create: () => ask(one.socket, { command: 'create-network', name: 'net' }),
      run: (host: ClusterHost) =>
        ask(host.socket, { command: 'run', network: 'net', name: `on-${host.name}`, run: command }),
    },
    commands: {
      create: () => one.vtep('network', 'create', 'net'),
      run: (host: ClusterHost) =>
        host.vtep('run', '--network', 'net', '--name', `on-${host.name}`, '-d', '--', ...command),
    },
  };
  for (let round = 0; round < rounds; round++)
    for (const by of ['local API', 'commands'] as const) {
      const began = performance.now();
      await ways[by].create();
      const created = performance.now();
      for (const host of [one, two]) await ways[by].run(host);
      const ran = performance.now();
      const [a, b] = (await Promise.all(
        [one, two].map(async ({ name, socket }) =>
          ((await ask(socket, { command: 'endpoints' })) as EndpointEntry[]).find((each) => each.name === `on-${name}`),
        ),
      )) as [EndpointEntry, EndpointEntry];
      const asked = performance.now();
      const ping = lab.spawn(['ip', 'netns', 'exec', a.netns!, 'ping', '-n', '-i', '0.01', b.addresses[0]!]);
      await waitFor('the first reply', () => /bytes from/.test(ping.stdout));
      found.push({ by, create: created - began, run: ran - created, reply: performance.now() - asked });
      await ping.stop('SIGKILL');
      for (const host of [one, two])
        await ask(host.socket, { command: 'detach-endpoint', endpoint: `on-${host.name}`, network: 'net' });
      await ask(one.socket, { command: 'delete-network', network: 'net' });
    }
  return found;
}

// ---- Many endpoints ----

async function manyEndpoints(one: ClusterHost, two: ClusterHost, endpoints: number): Promise<ManyEndpoints> {
  await one.vtep('network', 'create', 'many', '--subnet', '10.20.0.0/20');
  const [network] = await one.json<NetworkDetails[]>('network', 'inspect', 'many');
  const { vni } = network!.subnets[0]!;
  const hosts = [one, two];
  const before = hosts.map((host) => processorTime(host.agent!));
  const service: NodeRequest = {
    ...{ command: 'create-service', name: 'many', run: ['sleep', 'infinity'], networks: ['many'] },
    replicas: endpoints,
  } as NodeRequest;
  const began = performance.now();
  await ask(one.socket, service);
  const seconds = (): number => (performance.now() - began) / 1000;
  const until = async (what: string, check: () => Promise<boolean>): Promise<number> => {
    await waitFor(what, async () => (await check()) || sleep(200, false), PATIENCE);
    return seconds();
  };
  const running = await until('all tasks to run', async () => {
    const { tasks } = (await ask(one.socket, { command: 'service', service: 'many' })) as { tasks: TaskEntry[] };
    return tasks.length === endpoints && tasks.every(({ state }) => state === 'running');
  });
  const known = await until('all hosts to know all', async () => {
    const counts = await Promise.all(hosts.map(({ socket }) => knownTo(socket, vni)));
    return counts.every((count) => count === endpoints);
  });
  const spent = hosts.map((host, i) => {
    const [agent, programs] = processorTime(host.agent!);
    return [agent - before[i]![0], programs - before[i]![1]] as const;
  });
  const [agents, programs] = [0, 1].map((i) => spent.reduce((sum, each) => sum + each[i as 0 | 1], 0)) as [
    number,
    number,
  ];
  const removing = performance.now();
  await ask(one.socket, { command: 'remove-service', service: 'many' });
  await waitFor(
    'all to be removed',
    async () => {
      const counts = await Promise.all(hosts.map(({ socket }) => taps(socket)));
      return counts.every((count) => count === 0) || sleep(200, false);
    },
    PATIENCE,
  );
  const removed = (performance.now() - removing) / 1000;
  return { endpoints, running, known, removed, agents, programs };
}

/** How many endpoints are on a host. */
async function taps(socket: string): Promise<number> {
  return ((await ask(socket, { command: 'taps' })) as unknown[]).length;
}

/** How many endpoints a VTEP knows. */
async function knownTo(socket: string, vni?: number): Promise<number> {
  const all = await ask(socket, { command: 'neighbors', ...(vni === undefined ? {} : { vni }) }).catch(() => []);
  return (all as unknown[]).length;
}

/** Clock ticks per second in /proc (sysconf(3), _SC_CLK_TCK), which is 100 on every architecture that Node runs on. */
const TICKS = 100;

/** Seconds of processor time of a process, and of its children that have ended. */
function processorTime(pid: number): readonly [own: number, children: number] {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
    .map(Number);
  // proc(5) counts from 1, and the first two fields are gone: utime is field 14.
  const [utime, stime, cutime, cstime] = fields.slice(11, 15) as [number, number, number, number];
  return [(utime + stime) / TICKS, (cutime + cstime) / TICKS];
}

// ---- An agent that knows many ----

async function manyKnown(one: ClusterHost, two: ClusterHost, { lab }: Underlay, networks: number): Promise<ManyKnown> {
  const endpoints = networks * PER_NETWORK;
  const ns = await lab.namespace('many');
  await sleep(SETTLED);
  const empty = resident(one.agent!);
  const began = performance.now();
  for (let i = 0; i < networks; i++) {
    await ask(one.socket, { command: 'create-network', name: `many-${i}` });
    const place = { netns: ns, device: `net${i}`, name: `near-${i}` };
    await ask(one.socket, { command: 'attach-endpoint', network: `many-${i}`, ...place });
  }
  const token = (await one.vtep('token', 'worker', '--quiet')).trim();
  const how = JSON.stringify({ token, managers: [one.address], name: two.name, address: two.address });
  const words = [process.execPath, '--import', 'tsx', FILLER, two.state, how, String(networks), String(PER_NETWORK)];
  const filler = spawn('ip', ['netns', 'exec', two.ns, ...words], {
    cwd: REPOSITORY,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const end = (): void => void filler.kill('SIGKILL');
  process.prependListener('exit', end);
  try {
    const all = networks + endpoints;
    const knowsAll = (): Promise<void> =>
      waitFor(
        'the agent to know all endpoints',
        async () => {
          if (filler.exitCode !== null) throw new Error(`${FILLER} has ended with ${filler.exitCode}`);
          return (await knownTo(one.socket)) >= all || sleep(500, false);
        },
        PATIENCE,
      ).then(() => undefined);
    await knowsAll();
    const told = (performance.now() - began) / 1000;
    await sleep(SETTLED);
    const full = resident(one.agent!);
    await one.kill();
    const started = performance.now();
    await one.start({ alone: true });
    const answers = (performance.now() - started) / 1000;
    await knowsAll();
    const back = (performance.now() - started) / 1000;
    await sleep(SETTLED);
    return { networks, endpoints, told, empty, full, restarted: resident(one.agent!), answers, back };
  } finally {
    end();
    process.off('exit', end);
  }
}

/** Mebibytes. */
function resident(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

// ---- The output ----

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

export function printCluster({ replies, left, many, memory }: Cluster): void {
  if (left !== null) console.log(`left out: Docker: ${left}`);
  const table = [['', 'create', 'run', 'reply', 'in all', 'rounds']];
  for (const by of ['local API', 'commands', 'Docker'] as const) {
    const own = replies.filter((one) => one.by === by);
    if (own.length === 0) continue;
    const steps = [
      own.map(({ create }) => create),
      own.map(({ run }) => run),
      own.map(({ reply }) => reply),
      own.map(({ create, run, reply }) => create + run + reply),
    ];
    table.push([by, ...steps.map((values) => median(values).toFixed(0)), String(own.length)]);
  }
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  console.log('From "network create" over a command on each of two hosts to the first reply, medians in ms');
  for (const row of table)
    console.log(
      `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  ')}`,
    );
  const { endpoints, running, known, removed, agents, programs } = many;
  console.log(`\nOne service with ${endpoints} tasks on two hosts`);
  console.log(`  all run after                 ${running.toFixed(1)} s, ${(endpoints / running).toFixed(1)} a second`);
  console.log(`  both hosts know all after     ${known.toFixed(1)} s`);
  console.log(`  nothing is left of it after   ${removed.toFixed(1)} s`);
  console.log(
    `  processor time of the agents  ${agents.toFixed(1)} s, of the programs that they start ${programs.toFixed(1)} s`,
  );
  console.log(`\nThe agent of a manager that knows ${memory.endpoints} endpoints in ${memory.networks} networks`);
  console.log('  (records of the store and announcements of a second host, which has no devices for them)');
  console.log(
    `  resident memory               ${memory.full.toFixed(0)} MiB, ${memory.empty.toFixed(0)} MiB without endpoints, ${memory.restarted.toFixed(0)} MiB after a restart`,
  );
  console.log(
    `  a new process answers after   ${memory.answers.toFixed(2)} s, and knows all endpoints after ${memory.back.toFixed(2)} s`,
  );
}

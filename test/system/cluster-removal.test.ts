/** What a cluster has made on its hosts is gone once it is removed, however the agents have ended in between. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { Random } from '../../src/sim/index.js';
import { ask } from '../../src/host/index.js';
import { type EndpointEntry, type NodeStatus, type TaskEntry } from '../../src/schema/index.js';
import { ClusterHost, processes } from '../support/cluster-host.js';
import { createUnderlay, exec, waitFor, type Underlay } from '../support/lab.js';
import { missing, suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const test = suiteWith('the removal of a cluster', ['root', 'tun', 'ip', 'ss', 'nsenter', 'setsid']);

/** The command of every sandbox, which no other process of this machine has. */
const COMMAND = ['sleep', String(8_000_000 + process.pid)];
/** The rules of a firewall are compared if the machine has one. */
const FIREWALLS = [['iptables-save'], ['ip6tables-save'], ['nft', 'list', 'ruleset']].filter(
  ([name]) => missing([name!]).length === 0,
);

let program: Program;
let underlay: Underlay;
let folder = '';
let one: ClusterHost;
let two: ClusterHost;
/** The namespace of somebody else that is attached. */
let existing = '';

test.before(async () => {
  program = await bundledProgram();
  underlay = await createUnderlay({ prefix: 'rem' });
  existing = await underlay.lab.namespace('existing');
  // Duplicate address detection adds routes when it ends.
  for (const ns of [underlay.node1.ns, underlay.node2.ns])
    await waitFor('the addresses', async () => !(await exec(ns, ['ip', 'addr'])).includes('tentative'));
});
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-removal-'));
  const place = { lab: underlay.lab, program, folder };
  one = new ClusterHost(place, 'host1', underlay.node1);
  two = new ClusterHost(place, 'host2', underlay.node2);
});
test.after.each(async () => {
  for (const host of [two, one]) await host.end();
  rmSync(folder, { recursive: true, force: true });
});
test.after(async () => {
  await underlay.lab.teardown();
  program.remove();
});

// ---- What there is ----

type Snapshot = Readonly<Record<string, readonly string[]>>;

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .sort();

/** The entries of a directory that belong to sandboxes of this file. */
const ownIn = (directory: string): string[] =>
  existsSync(directory) ? readdirSync(directory).filter((name) => /^weft-rem-/.test(name)) : [];

/** Everything in the host namespaces, and what belongs to sandboxes of this file elsewhere. */
async function look(): Promise<Snapshot> {
  const found: Record<string, string[]> = {
    namespaces: ownIn('/run/netns'),
    mounts: linesOf(readFileSync('/proc/self/mounts', 'utf8')).filter((line) => line.includes('/weft-rem-')),
    'files of /etc/netns': ownIn('/etc/netns'),
    'processes of sandboxes': processes()
      .filter(({ words }) => COMMAND.every((word) => words.includes(word)))
      .map(({ pid, words }) => `${pid} ${words.join(' ')}`),
  };
  for (const ns of [underlay.node1.ns, underlay.node2.ns, existing]) {
    const read = async (...words: string[]): Promise<string[]> => linesOf(await exec(ns, words));
    found[`${ns} devices`] = (await read('ip', '-o', 'link')).map((line) => line.replace(/ qlen \d+/, ''));
    found[`${ns} addresses`] = await read('ip', '-o', 'addr');
    found[`${ns} routes`] = [...(await read('ip', 'route', 'show', 'table', 'all')), ...(await read('ip', 'rule'))].map(
      (line) => line.replace(/ expires \w+/, ''),
    );
    found[`${ns} sockets`] = await sockets(ns);
    for (const words of FIREWALLS)
      found[`${ns} ${words[0]}`] = (await read(...words)).filter((line) => line[0] !== '#');
  }
  return found;
}

/** The sockets that are bound in a namespace: protocol, and address with port. A VTEP has some ports by chance. */
async function sockets(ns: string): Promise<string[]> {
  const all = linesOf(await exec(ns, ['ss', '-Hltun'])).map((line) => line.split(/ +/));
  return [...new Set(all.map(([protocol, , , , at]) => `${protocol} ${at!.replace(/:(49|5\d|6\d)\d{3}$/, ':…')}`))];
}

/** Waits until both hosts have their VTEPs. */
async function vteps(): Promise<void> {
  for (const { ns, address } of [underlay.node1, underlay.node2])
    await waitFor(`the VTEP of ${ns}`, async () => (await sockets(ns)).includes(`udp ${address}:4789`));
}

/** The processes that name a path of this test, and the files of the hosts besides their logs. */
function own(): Snapshot {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('agent.log'))
    .map((entry) => join(entry.parentPath, entry.name));
  const named = processes().filter(({ words }) => words.some((word) => word.includes(folder)));
  return { files, processes: named.map(({ pid, words }) => `${pid} ${words.join(' ')}`) };
}

/** Compares what there is with what there was; what ends by itself has some time for it. */
async function sameAs(before: Snapshot): Promise<void> {
  let now = await look();
  for (let i = 0; i < 50 && JSON.stringify(now) !== JSON.stringify(before); i++) {
    await sleep(100);
    now = await look();
  }
  for (const [what, lines] of Object.entries(before)) assert.equal(now[what], lines, what);
}

/** Ends the agents, as a service manager does, and expects that they have left nothing. */
async function nothingLeft(before: Snapshot): Promise<void> {
  for (const { name, agent } of [one, two]) {
    if (agent === undefined) continue;
    process.kill(agent, 'SIGTERM');
    await waitFor(`the agent of ${name} to end`, () => processes().every(({ pid }) => pid !== agent));
  }
  await sameAs(before);
  assert.equal(own(), { files: [], processes: [] });
}

// ---- What is made ----

/** A network with commands on both hosts, a service, and an attached namespace. */
async function populate(): Promise<void> {
  await one.vtep('network', 'create', 'rem-net', '--ipv6');
  await one.vtep('service', 'create', '--name', 'rem-web', '--network', 'rem-net', '--replicas', '2', '--', ...COMMAND);
  for (const host of [one, two])
    await host.vtep('run', '--network', 'rem-net', '--name', `rem-${host.name}`, '-d', '--', ...COMMAND);
  await two.vtep('attach', 'rem-net', '--netns', existing, '--name', 'rem-box');
  await waitFor('the tasks to run', async () => {
    const tasks = await one.json<TaskEntry[]>('service', 'ps', 'rem-web');
    return tasks.length === 2 && tasks.every(({ state }) => state === 'running');
  });
  const there = await look();
  assert.is(there['namespaces']!.length, 4, 'the look finds sandboxes');
  assert.ok(there['processes of sandboxes']!.length >= 4, 'and processes');
  assert.ok(there[`${existing} devices`]!.length > 1, 'and devices');
}

async function removeNetwork(): Promise<void> {
  const { code, stderr } = await one.run('service', 'rm', 'rem-web');
  assert.ok(code === 0 || /no service/.test(stderr), stderr);
  for (const { name, node } of await one.json<EndpointEntry[]>('ps', '--all'))
    if (!name.startsWith('rem-web.')) {
      const host = node === one.name ? one : two;
      await host.vtep('detach', name);
    }
  await waitFor('the network to be free', async () => {
    const { code, stderr } = await one.run('network', 'rm', 'rem-net');
    assert.ok(code === 0 || /endpoint|service|task|no network/.test(stderr), stderr);
    return code === 0 || /no network/.test(stderr);
  });
}

// ---- The tests ----

test('after network rm, the hosts are as they were after they joined; after leave, as before the cluster', async () => {
  const before = await look();
  assert.equal(own(), { files: [], processes: [] });
  await one.init(two);
  await vteps();
  const joined = await look();
  await populate();
  await removeNetwork();
  await sameAs(joined);
  await populate();
  await two.vtep('leave');
  // Its agent still runs, with a lock and nothing else.
  const kept = readdirSync(two.state).filter((name) => !/^(agent\.log|lock\.)/.test(name));
  assert.equal(kept, []);
  await one.vtep('leave', '--force');
  await sameAs(before);
  await nothingLeft(before);
});

test('a host that leaves with force, without a manager, takes everything with it', async () => {
  const before = await look();
  await one.init(two);
  await populate();
  await one.kill();
  const refused = await two.run('leave');
  assert.is(refused.code, 1, 'without force, it stays');
  assert.is(await two.vtep('leave', '--force'), 'left the cluster\n');
  const there = await look();
  assert.is(there['namespaces']!.length, 2, 'those of the other host stay');
  assert.equal(there[`${existing} devices`], before[`${existing} devices`]);
  assert.equal(there[`${two.ns} sockets`], before[`${two.ns} sockets`]);
  await one.start();
  await one.vtep('leave', '--force');
  await nothingLeft(before);
});

test('a host that the managers remove with force ends everything that it runs, by itself', async () => {
  const before = await look();
  await one.init(two);
  await populate();
  const refused = await one.run('node', 'rm', 'host2');
  assert.is(refused.code, 1);
  assert.match(await one.vtep('node', 'rm', 'host2', '--force'), /^removed node host2 /);
  assert.equal(
    (await one.json<EndpointEntry[]>('ps', '--all')).filter(({ node }) => node === 'host2'),
    [],
  );
  await waitFor('host2 to be in no cluster', async () => {
    const { state } = (await ask(two.socket, { command: 'node' })) as NodeStatus;
    return state === 'none';
  });
  await waitFor('its VTEP to end', async () => (await sockets(two.ns)).length === before[`${two.ns} sockets`]!.length);
  assert.equal((await look())[`${existing} devices`], before[`${existing} devices`]);
  await removeNetwork();
  await one.vtep('leave', '--force');
  await nothingLeft(before);
});

/** Rounds, in each of which both agents are killed once. */
const ROUNDS = 2;

test('after agents were killed at any moment, what they were making is removed', async () => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  const before = await look();
  await one.init(two);
  await vteps();
  const joined = await look();
  for (let round = 0; round < ROUNDS; round++) {
    const working = populate().catch(() => undefined); // its agents are killed
    await sleep(random.float() * 4000);
    for (const host of [one, two]) {
      await host.kill();
      await sleep(random.float() * 500);
    }
    await working;
    for (const host of [one, two]) await host.start();
    if (round % 2 === 0) {
      await removeNetwork();
      await sameAs(joined);
    } else {
      const removing = removeNetwork().catch(() => undefined);
      await sleep(random.float() * 2000);
      for (const host of [two, one]) await host.kill();
      await removing;
      for (const host of [one, two]) await host.start();
      await removeNetwork();
      await sameAs(joined);
    }
  }
  await two.vtep('leave');
  await one.vtep('leave', '--force');
  await nothingLeft(before);
});

test.run();

/**
 * Names in a cluster: what commands in sandboxes hear from their resolver, with a manager and without.
 *
 *     worker on node1 ---- router, with the manager and a DNS server ---- worker on node2
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type View } from '../../src/cluster/index.js';
import type { DnsMessage } from '../support/dns.js';
import { createUnderlay, exec, must, run, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundled, endPrograms, NodeProgram } from '../support/node-program.js';

const test = suiteWith('names', ['root', 'tun', 'ip', 'nsenter', 'setsid', 'getent']);

/** The manager, and the name server of all hosts. */
const MANAGER = '172.31.1.1';
const COMMAND = ['sh', '-c', 'while :; do sleep 1; done'];

let underlay: Underlay;
let server: Running;
let folder = '';
const files: string[] = [];
/** The program that asks. */
let asker: readonly string[] = [];

test.before(async () => {
  await NodeProgram.prepare();
  underlay = await createUnderlay({ prefix: 'nm' });
  const { lab, node1, node2, router } = underlay;
  // What a host's resolver is told: the programs that `ip netns exec` starts see it as /etc/resolv.conf.
  for (const ns of [node1.ns, node2.ns, router]) {
    const path = join('/etc/netns', ns);
    files.push(path);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'resolv.conf'), `nameserver ${MANAGER}\nsearch corp.example\n`);
  }
  const program = [...(await bundled('test/support/name-server-program.ts')), MANAGER];
  asker = await bundled('test/support/dns-ask.ts');
  server = lab.spawn(['ip', 'netns', 'exec', router, ...program]);
  await waitFor('the name server', () => server.stdout.includes('ready'));
});
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-names-'));
});
test.after.each(async () => {
  await endPrograms();
  rmSync(folder, { recursive: true, force: true });
});
test.after(async () => {
  await underlay.lab.teardown();
  for (const path of files) rmSync(path, { recursive: true });
  if (readdirSync('/etc/netns').length === 0) rmSync('/etc/netns', { recursive: true });
});

interface Cluster {
  manager: NodeProgram;
  workers: [NodeProgram, NodeProgram];
}

async function cluster(): Promise<Cluster> {
  const { node1, node2, router } = underlay;
  const manager = new NodeProgram(router, join(folder, 'manager'));
  const workers: [NodeProgram, NodeProgram] = [
    new NodeProgram(node1.ns, join(folder, 'one')),
    new NodeProgram(node2.ns, join(folder, 'two')),
  ];
  await Promise.all([manager, ...workers].map(({ ready }) => ready));
  await manager.ask({ init: { name: 'manager', address: MANAGER } });
  const token = await manager.ask<string>({ token: 'worker' });
  for (const [i, { address }] of [node1, node2].entries())
    await workers[i]!.ask({ join: { token, managers: [MANAGER], name: `host${i + 1}`, address } });
  return { manager, workers };
}

/** The namespace of the sandbox whose endpoint has a name. */
function sandboxOf(name: string): string {
  const found = readdirSync('/run/netns').find((one) => one.startsWith(`weft-${name}-`));
  assert.ok(found, `a sandbox of ${name}`);
  return found!;
}

/** What getent(1) finds in a database, from a sandbox: a word of each line; `undefined` if it finds nothing. */
async function getent(from: string, database: string, key: string, word = 0): Promise<string[] | undefined> {
  const { code, stdout } = await run(['ip', 'netns', 'exec', sandboxOf(from), 'getent', database, key]);
  return code === 0
    ? stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/)[word]!)
    : undefined;
}

/** The different addresses of a name. */
async function addresses(from: string, name: string, database = 'ahostsv4'): Promise<string[]> {
  return [...new Set(await getent(from, database, name))].sort();
}

async function known(from: string, name: string, expected: readonly string[], database = 'ahostsv4'): Promise<void> {
  let last: string[] = [];
  const isKnown = async (): Promise<boolean> =>
    String((last = await addresses(from, name, database))) === String([...expected].sort());
  await waitFor(`${name} to be known to ${from}`, isKnown).catch(() => assert.equal(last, [...expected].sort()));
}

/** Asks the gateway as a resolver does. */
async function ask(from: string, gateway: string, name: string, type: string): Promise<DnsMessage> {
  return JSON.parse(await exec(sandboxOf(from), [...asker, gateway, name, type])) as DnsMessage;
}

test('replicas, services, aliases and addresses have names; the host’s name server knows the others; no manager is needed', async () => {
  const { manager, workers } = await cluster();
  await manager.command({ do: 'create-network', name: 'uber-net' });
  await manager.command({ do: 'create-service', name: 'test', networks: ['uber-net'], replicas: 3, command: COMMAND });
  const view = await waitFor('all replicas to run', async () => {
    const found = await manager.command<View>({ do: 'view' });
    return found.tasks.length === 3 && found.tasks.every(({ state }) => state === 'running') ? found : undefined;
  });
  const p1 = await workers[0].command<View['endpoints'][number]>({
    ...{ do: 'create-endpoint', kind: 'run', network: 'uber-net', name: 'p1', aliases: ['web', 'www'] },
  });
  const hostOf = new Map(view.nodes.map(({ id, name }) => [id, name]));
  const on = (host: string): { name: string; address: string } => {
    const { name, addresses: own } = view.endpoints.find(({ node }) => hostOf.get(node) === host)!;
    return { name, address: own[0]! };
  };
  const [a, b, c] = [on('host1'), on('host2'), on('manager')];
  const all = [a, b, c].map(({ address }) => address);
  // Each from the other host.
  await known(b.name, a.name, [a.address]);
  await known(a.name, b.name, [b.address]);
  await known(b.name, 'test', all);
  await known(a.name, 'test', all);
  await known(b.name, 'web', p1.addresses);
  assert.equal(await addresses(b.name, `${a.name}.uber-net`), [a.address]);
  assert.equal(await addresses(b.name, a.name.toUpperCase()), [a.address]);
  assert.equal(await getent(b.name, 'hosts', a.address, 1), [`${a.name}.uber-net`]);
  assert.equal(await getent(b.name, 'hosts', p1.addresses[0]!, 1), ['p1.uber-net']);
  // Its own name stands in its hosts file.
  assert.match(await exec(sandboxOf(b.name), ['cat', '/etc/hosts']), new RegExp(`^${b.address} ${b.name}$`, 'm'));
  assert.is(
    await exec(sandboxOf(b.name), ['cat', '/etc/resolv.conf']),
    'nameserver 10.0.0.1\nsearch corp.example\noptions ndots:0\n',
  );
  // Passed on, also with the host's search domain; a name that nobody knows.
  assert.equal(await addresses(b.name, 'www.example.org'), ['192.0.2.80']);
  assert.equal(await addresses(a.name, 'short'), ['192.0.2.81']);
  assert.is(await getent(b.name, 'ahostsv4', 'nobody.example.org'), undefined);
  assert.is(await getent(b.name, 'ahostsv4', 'test.9'), undefined);
  assert.not.match(server.stdout, /asked (short|test|web|test\.9)\n/, 'no name of a host is passed on as it is');

  const answer = await ask(b.name, '10.0.0.1', 'TEST', 'A');
  assert.equal([answer.rcode, answer.question[0]!.name, answer.answers.length], [0, 'TEST', 3]);
  assert.equal(answer.answers.map(({ data }) => data).sort(), [...all].sort());
  const none = await ask(b.name, '10.0.0.1', a.name, 'AAAA');
  assert.equal([none.rcode, none.answers], [0, []]);

  // A replica that ends is not found by the service's name; the gossip tells, not the manager.
  await manager.end(true);
  await workers[1].end(true);
  const again = new NodeProgram(underlay.node2.ns, join(folder, 'two'));
  await again.ready;
  await known(b.name, a.name, [a.address]);
  await known(a.name, b.name, [b.address]);
  await known(b.name, 'web', p1.addresses);
  // The members find out that the manager's host has failed.
  await known(b.name, 'test', [a.address, b.address]);
  const pids = (await must(['ip', 'netns', 'pids', sandboxOf(a.name)])).trim().split('\n');
  for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
  await known(b.name, 'test', [b.address]);
  assert.equal(await addresses(b.name, 'www.example.org'), ['192.0.2.80']);
});

test('IPv6 addresses, internal networks, and names of other networks', async () => {
  const { manager, workers } = await cluster();
  const [one, two] = workers;
  await manager.command({ do: 'create-network', name: 'six-net', ipv6: true });
  await manager.command({ do: 'create-network', name: 'inner-net', internal: true });
  const run6 = { do: 'create-endpoint', kind: 'run', network: 'six-net' };
  const inner = { do: 'create-endpoint', kind: 'run', network: 'inner-net' };
  await one.command({ ...run6, name: 's1' });
  const s2 = await two.command<View['endpoints'][number]>({ ...run6, name: 's2' });
  await one.command({ ...inner, name: 'i1' });
  const i2 = await two.command<View['endpoints'][number]>({ ...inner, name: 'i2' });
  const six = s2.addresses.find((address) => address.includes(':'))!;
  const four = s2.addresses.find((address) => !address.includes(':'))!;
  await waitFor('the sandboxes', async () =>
    ['s1', 's2', 'i1', 'i2'].every((name) => readdirSync('/run/netns').some((ns) => ns.startsWith(`weft-${name}-`))),
  );
  await known('s1', 's2', [six], 'ahostsv6');
  await known('s1', 's2', [four]);
  assert.equal(await getent('s1', 'hosts', six, 1), ['s2.six-net']);
  await known('i1', 'i2', i2.addresses);
  // A network's names are for its endpoints.
  assert.is(await getent('s1', 'ahostsv4', 'i2'), undefined);
  assert.is(await getent('i1', 'ahostsv4', 's2'), undefined);
  // From an internal network nothing leaves.
  const before = server.stdout.length;
  assert.is(await getent('i1', 'ahostsv4', 'www.example.org'), undefined);
  assert.is(server.stdout.length, before);
  assert.equal(await addresses('s1', 'www.example.org'), ['192.0.2.80']);
});

test('a sandbox in two networks asks at the first, and hears the names of both', async () => {
  const { manager, workers } = await cluster();
  for (const name of ['front', 'back']) await manager.command({ do: 'create-network', name });
  await manager.command({
    do: 'create-service',
    name: 'proxy',
    networks: ['front', 'back'],
    replicas: 1,
    command: COMMAND,
  });
  const create = { do: 'create-endpoint', kind: 'run' };
  const [f1, b1] = [
    await workers[0].command<View['endpoints'][number]>({ ...create, network: 'front', name: 'f1' }),
    await workers[1].command<View['endpoints'][number]>({ ...create, network: 'back', name: 'b1' }),
  ];
  await waitFor('the sandboxes', () =>
    ['proxy.1', 'f1', 'b1'].every((name) => readdirSync('/run/netns').some((ns) => ns.startsWith(`weft-${name}-`))),
  );
  await known('proxy.1', 'f1', f1.addresses);
  await known('proxy.1', 'b1', b1.addresses);
  assert.equal(await getent('proxy.1', 'hosts', b1.addresses[0]!, 1), ['b1.back']);
  const { endpoints } = await manager.command<View>({ do: 'view' });
  for (const [from, other] of [
    ['f1', 'front'],
    ['b1', 'back'],
  ] as const) {
    const network = (await manager.command<View>({ do: 'view' })).networks.find(({ name }) => name === other)!;
    const own = endpoints.find(({ name, network: id }) => name === 'proxy.1' && id === network.id)!;
    await known(from, 'proxy', own.addresses);
  }
  assert.is(await getent('f1', 'ahostsv4', 'b1'), undefined);
  assert.is(readFileSync(join('/etc/netns', sandboxOf('f1'), 'resolv.conf'), 'utf8').includes('nameserver'), true);
});

test.run();

/** The local API of a node: real daemons on two hosts, each asked at its socket. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { processIdentity, query, queryLogs, RequestError, type Question, type Results } from '../../src/host/index.js';
import { type ControlRequest, type OutputEvent } from '../../src/schema/index.js';
import {
  createUnderlay,
  devices,
  ENGINE,
  exec,
  ping,
  run,
  waitFor,
  type Host,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { shellBlocks } from '../support/readme.js';

const test = suiteWith('the API of a node', ['root', 'tun', 'ip', 'ping', 'nsenter', 'setsid', 'curl']);

let underlay: Underlay;
let folder = '';
let nodes: Node[] = [];

/** The daemon of a node, and the namespace that it is in. */
class Node {
  readonly host: Host;
  readonly state: string;
  readonly socket: string;
  program: Running | undefined;

  constructor(host: Host, name: string) {
    this.host = host;
    this.state = join(folder, name);
    this.socket = join(folder, `${name}-run`, 'agent.sock');
    nodes.push(this);
  }

  async start(): Promise<this> {
    const args = ['agent', '--state', this.state, '--socket', this.socket, '--engine', ENGINE];
    this.program = await underlay.lab.startVtep({ ns: this.host.ns, args });
    return this;
  }

  ask<Q extends Question>(request: ControlRequest & { command: Q }): Promise<Results[Q]> {
    return query<Q>(this.socket, request, { timeout: 60_000 });
  }

  /** The error that a request is refused with. */
  async refusal(request: ControlRequest): Promise<RequestError> {
    const answer: unknown = await this.ask(request as ControlRequest & { command: 'node' }).catch(
      (error: unknown) => error,
    );
    assert.ok(answer instanceof RequestError, `${request.command} was not refused: ${JSON.stringify(answer)}`);
    return answer;
  }

  async logs(request: Omit<ControlRequest & { command: 'logs' }, 'command'>): Promise<OutputEvent[]> {
    const events: OutputEvent[] = [];
    for await (const { result } of queryLogs(this.socket, { command: 'logs', ...request })) events.push(...result);
    return events;
  }

  async kill(): Promise<void> {
    await this.program!.stop('SIGKILL');
  }
}

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'na' });
});
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-node-api-'));
  nodes = [];
});
test.after.each(async () => {
  for (const node of nodes) {
    if (node.program?.running === true) await node.ask({ command: 'leave', force: true }).catch(() => undefined);
    await node.program?.stop('SIGKILL');
  }
  rmSync(folder, { recursive: true, force: true });
});
test.after(() => underlay.lab.teardown());

/**
 * Two nodes, of which the first is the manager.
 * @param before What happens before the second one joins.
 */
async function cluster(before: (one: Node) => Promise<unknown> = () => Promise.resolve()): Promise<[Node, Node]> {
  const { node1, node2 } = underlay;
  const [one, two] = [new Node(node1, 'one'), new Node(node2, 'two')];
  await Promise.all([one.start(), two.start()]);
  const { token, managers } = await one.ask({ command: 'init', address: node1.address, name: 'host1' });
  await before(one);
  await two.ask({ command: 'join', token, managers, name: 'host2' });
  return [one, two];
}

/** The namespaces of this file's sandboxes. */
const sandboxes = (): string[] => readdirSync('/run/netns').filter((name) => /^weft-(na|run|routed)-?/.test(name));
/** Milliseconds after the start of a daemon in which traffic has to resume. */
const RESUMED = 1000;
const reaches = async (ns: string, address: string): Promise<boolean> =>
  (await ping(ns, address, { count: 1, wait: 0.5 })) === 1;
/** Whether a reply comes within a fifth of a second. */
const repliesSoon = async (ns: string, address: string): Promise<boolean> =>
  (await run(['ip', 'netns', 'exec', ns, 'ping', '-c1', '-W0.2', '-n', '-q', address])).code === 0;

test('a node creates a cluster, another one joins, and both tell what they are', async () => {
  const [one, two] = await cluster();
  const { node1, node2 } = underlay;
  const first = await one.ask({ command: 'node' });
  assert.equal([first.state, first.name, first.role, first.address], ['member', 'host1', 'manager', node1.address]);
  const second = await waitFor('the connection', async () => {
    const status = await two.ask({ command: 'node' });
    return status.connected && status.revision !== null ? status : undefined;
  });
  assert.equal([second.role, second.cluster, second.address], ['worker', first.cluster, node2.address]);
  const list = await one.ask({ command: 'nodes' });
  assert.equal(list.map(({ name, role, state, self }) => [name, role, state, self]).sort(), [
    ['host1', 'manager', 'alive', true],
    ['host2', 'worker', 'alive', false],
  ]);
  const before = await one.ask({ command: 'token', role: 'worker' });
  assert.equal(before.managers, [`${node1.address}:2377`]);
  const after = await one.ask({ command: 'rotate-token', role: 'worker' });
  assert.not.equal(after.token, before.token);
  assert.equal(await one.ask({ command: 'token', role: 'worker' }), after);
  assert.is((await two.refusal({ command: 'token', role: 'worker' })).code, 'forbidden');
  assert.is((await two.refusal({ command: 'create-network', name: 'na-net' })).code, 'forbidden');
  // What reads the VTEP reaches it; what would change it is refused with what to use.
  await waitFor('the VTEP', async () => (await one.ask({ command: 'members' }).catch(() => [])).length === 2);
  assert.equal(await one.ask({ command: 'taps' }), []);
  const refused = await one.refusal({ command: 'attach', name: 'tap0', vni: 1 });
  assert.is(refused.code, 'conflict');
  assert.match(refused.message, /attach-endpoint/);
});

test('a sandbox runs a command in the background, another one belongs to a process and goes with it', async () => {
  const [one, two] = await cluster();
  const network = await one.ask({ command: 'create-network', name: 'na-net' });
  assert.is(network.subnets[0]!.prefix, '10.0.0.0/24');
  const command = ['sh', '-c', 'echo "$A in $PWD"; exec sleep infinity'];
  const first = await one.ask({
    ...{ command: 'run', name: 'na-1', network: 'na-net', run: command, environment: { A: 'here' }, cwd: '/tmp' },
    addresses: ['10.0.0.10'],
  });
  assert.equal([first.name, first.network, first.addresses, first.state], ['na-1', 'na-net', ['10.0.0.10'], 'running']);
  await waitFor('its output', async () => (await one.logs({ name: 'na-1' })).length === 1);
  assert.equal(await one.logs({ name: 'na-1' }), [
    { event: 'output', name: 'na-1', node: 'host1', line: 'here in /tmp' },
  ]);
  const holder = spawn('sleep', ['infinity'], { stdio: 'ignore' });
  await once(holder, 'spawn');
  const { pid, start } = processIdentity(holder.pid!)!;
  const second = await two.ask({ command: 'run', network: 'na-net', owner: { pid, start } });
  assert.equal([second.state, second.node, second.kind], ['ready', 'host2', 'run']);
  assert.ok(await waitFor('a reply', () => reaches(second.netns!, '10.0.0.10')));
  assert.equal(await two.ask({ command: 'sandbox', name: second.id.slice(0, 8) }), second);
  const wrongNode = await two.refusal({ command: 'sandbox', name: 'na-1' });
  assert.equal([wrongNode.code, wrongNode.message], ['elsewhere', 'name: na-1 is on host1; run this there']);
  const details = await one.ask({ command: 'cluster-network', network: 'na-net' });
  assert.equal(
    details.endpoints.map(({ name, state }) => [name, state]).sort(),
    [
      ['na-1', 'running'],
      [second.name, null],
    ].sort(),
  );
  assert.equal(details.peers.map(({ name }) => name).sort(), ['host1', 'host2']);
  assert.is((await one.refusal({ command: 'delete-network', network: 'na-net' })).code, 'in-use');

  // The daemon is killed first: the next one looks for the process.
  await two.kill();
  holder.kill('SIGKILL');
  await once(holder, 'close');
  assert.ok(existsSync(`/run/netns/${second.netns}`));
  await two.start();
  await waitFor('the sandbox to go', () => !existsSync(`/run/netns/${second.netns}`));
  await waitFor('the endpoint to go', async () => (await one.ask({ command: 'endpoints' })).length === 1);

  await one.ask({ command: 'detach-endpoint', endpoint: 'na-1' });
  assert.equal(sandboxes(), []);
  assert.is((await one.refusal({ command: 'logs', name: 'na-1' })).code, 'not-found');
  assert.equal(await one.ask({ command: 'delete-network', network: 'na-net' }), { id: network.id, name: 'na-net' });
  assert.equal(await one.ask({ command: 'cluster-networks' }), []);
});

test('what cannot be started leaves nothing', async () => {
  const [one] = await cluster();
  await one.ask({ command: 'create-network', name: 'na-net' });
  const missing = await one.refusal({ command: 'run', network: 'na-net', run: ['no-such-program'] });
  assert.is(missing.code, 'not-started');
  assert.match(missing.message, /there is no program "no-such-program" in PATH/);
  const nowhere = await one.refusal({ command: 'run', network: 'na-net', run: ['true'], cwd: '/nowhere' });
  assert.match(nowhere.message, /nowhere/);
  const gone = await one.refusal({ command: 'run', network: 'na-net', owner: { pid: process.pid, start: 1 } });
  assert.equal([gone.code, gone.fields[0]!.path], ['invalid-request', 'owner']);
  assert.is((await one.refusal({ command: 'run', network: 'nothing' })).code, 'not-found');
  const outside = await one.refusal({ command: 'run', network: 'na-net', addresses: ['192.0.2.1'] });
  assert.equal([outside.code, outside.fields[0]!.path], ['invalid-request', 'addresses[0]']);
  // Something else has the name of the device in the namespace.
  const ns = await underlay.lab.namespace('taken');
  await exec(ns, ['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth9']);
  const taken = await one.refusal({ command: 'attach-endpoint', network: 'na-net', netns: ns });
  assert.is(taken.code, 'not-started');
  assert.match(taken.message, /eth0/);
  assert.equal(await one.ask({ command: 'endpoints' }), []);
  assert.equal([sandboxes(), (await devices(ns)).sort()], [[], ['eth0', 'eth9', 'lo']]);
  await underlay.lab.removeNamespace(ns);
});

test('a namespace is attached and detached, and its traffic resumes within a second after a kill of the daemon', async () => {
  const [one, two] = await cluster();
  await one.ask({ command: 'create-network', name: 'na-net' });
  await one.ask({ command: 'create-network', name: 'na-other', subnets: [{ subnet: '10.7.0.0/24' }] });
  const ns = await underlay.lab.namespace('box');
  const box = await two.ask({ command: 'attach-endpoint', network: 'na-net', netns: ns, addresses: ['10.0.0.20'] });
  assert.equal([box.name, box.state, box.netns], [ns, 'ready', ns]);
  assert.ok((await devices(ns)).includes('eth0'));
  await two.ask({ command: 'attach-endpoint', network: 'na-other', netns: ns, device: 'eth1' });
  await one.ask({
    command: 'run',
    network: 'na-net',
    name: 'na-1',
    run: ['sleep', 'infinity'],
    addresses: ['10.0.0.10'],
  });
  await waitFor('a reply', () => reaches(ns, '10.0.0.10'));
  const [sandbox] = sandboxes();
  const pid = (await exec(sandbox!, ['ip', 'netns', 'pids', sandbox!])).split('\n')[0];
  for (const node of [one, two]) {
    // A machine that does something else may take longer once.
    const times: number[] = [];
    while (times.length < 5 && !times.some((time) => time < RESUMED)) {
      await node.kill();
      await node.start();
      const began = performance.now();
      await waitFor('a reply', () => repliesSoon(ns, '10.0.0.10'));
      times.push(performance.now() - began);
    }
    assert.ok(Math.min(...times) < RESUMED, `traffic has resumed after ${times.map(Math.round).join(', ')} ms`);
  }
  assert.is((await exec(sandbox!, ['ip', 'netns', 'pids', sandbox!])).split('\n')[0], pid, 'the command is the same');
  assert.is((await one.ask({ command: 'sandbox', name: 'na-1' })).state, 'running');

  const ambiguous = await two.refusal({ command: 'detach-endpoint', endpoint: ns });
  assert.is(ambiguous.code, 'invalid-request');
  for (const name of ['na-net', 'na-other']) assert.match(ambiguous.message, `${ns} in ${name} (`);
  await two.ask({ command: 'detach-endpoint', endpoint: ns, network: 'na-other' });
  assert.equal((await devices(ns)).sort(), ['eth0', 'lo']);
  await two.ask({ command: 'detach-endpoint', endpoint: ns });
  assert.equal(await devices(ns), ['lo']);
  assert.is((await two.refusal({ command: 'detach-endpoint', endpoint: ns })).code, 'not-found');
  await underlay.lab.removeNamespace(ns);
});

test('a service whose command fails tells why, with its last lines, on every node', async () => {
  const [one, two] = await cluster();
  await one.ask({ command: 'create-network', name: 'na-net' });
  const command = ['sh', '-c', 'echo reading; echo "no such file: a.conf" >&2; exit 3'];
  const made = await one.ask({
    command: 'create-service',
    name: 'na',
    networks: ['na-net'],
    run: command,
    replicas: 2,
  });
  assert.equal([made.name, made.replicas, made.networks], ['na', 2, ['na-net']]);
  const { tasks } = await waitFor('both to fail', async () => {
    const found = await one.ask({ command: 'service', service: 'na' });
    return found.tasks.length === 2 && found.tasks.every(({ endings }) => endings.length > 0) ? found : undefined;
  });
  assert.equal(tasks.map(({ name, nodeName }) => [name, nodeName]).sort()[0]![0], 'na.1');
  assert.equal(new Set(tasks.map(({ nodeName }) => nodeName)), new Set(['host1', 'host2']));
  for (const { endings } of tasks)
    assert.equal([endings[0]!.code, endings[0]!.output], [3, ['reading', 'no such file: a.conf']]);
  const last = tasks.map(({ name, nodeName }) => [name, nodeName, 'no such file: a.conf']).sort();
  for (const node of [one, two])
    await waitFor('the last line of both', async () => {
      // For a moment, an attempt has written nothing.
      const events = await node.logs({ name: 'na', tail: 1 });
      assert.equal(
        events.filter(({ reason }) => reason !== undefined),
        [],
      );
      return JSON.stringify(events.map(({ name, node: on, line }) => [name, on, line]).sort()) === JSON.stringify(last);
    });

  assert.is((await one.ask({ command: 'scale-service', service: 'na', replicas: 1 })).replicas, 1);
  const inUse = await one.refusal({ command: 'detach-endpoint', endpoint: 'na.1' });
  assert.equal([inUse.code, inUse.fields[0]!.path], ['in-use', 'endpoint']);
  const twice = await one.refusal({ command: 'create-service', name: 'na', networks: ['na-net'], run: ['true'] });
  assert.equal([twice.code, twice.fields[0]!.path], ['conflict', 'name']);
  await one.ask({ command: 'remove-service', service: 'na' });
  await waitFor('the sandboxes to go', () => sandboxes().length === 0);
});

test('output is read on every node that may, from all nodes, also while it is written; a node that is down is named', async () => {
  const script = 'i=0; while :; do printf "line %s \\033[2J\\n" $i; i=$((i+1)); sleep 0.2; done';
  const wanted = { command: 'create-service', run: ['sh', '-c', script] } as const;
  let secret: Results['service']['tasks'][number];
  const [one, two] = await cluster(async (first) => {
    await first.ask({ command: 'create-network', name: 'na-net' });
    await first.ask({ command: 'create-network', name: 'na-other', subnets: [{ subnet: '10.7.0.0/24' }] });
    await first.ask({ ...wanted, name: 'na-secret', networks: ['na-other'] });
    secret = await waitFor('its node', async () => {
      const [found] = (await first.ask({ command: 'service', service: 'na-secret' })).tasks;
      return found?.state === 'running' ? found : undefined;
    });
  });
  await one.ask({ ...wanted, name: 'na', networks: ['na-net'], replicas: 2 });
  const hosts = (events: OutputEvent[]): string =>
    [...new Set(events.filter(({ line }) => line !== null).map(({ name, node }) => `${name}@${node}`))].sort().join();
  const tasks = await waitFor('both tasks', async () => {
    const found = (await one.ask({ command: 'service', service: 'na' })).tasks;
    const areThere = found.length === 2 && found.every(({ state }) => state === 'running');
    return areThere ? found : undefined;
  });
  const everything = tasks
    .map(({ name, nodeName }) => `${name}@${nodeName}`)
    .sort()
    .join();
  for (const node of [one, two])
    await waitFor('output of both', async () => hosts(await node.logs({ name: 'na' })) === everything);
  const remote = tasks.find(({ nodeName }) => nodeName === 'host2')!.name;
  assert.is(hosts(await one.logs({ name: remote })), `${remote}@host2`);

  /** Follows until enough was read. */
  const follow = async (node: Node, enough: (events: OutputEvent[]) => boolean, more: object = {}) => {
    const end = new AbortController();
    const events: OutputEvent[] = [];
    const request = { command: 'logs', name: 'na', tail: 1, follow: true, ...more } as const;
    for await (const { result } of queryLogs(node.socket, request, { signal: end.signal })) {
      events.push(...result);
      if (enough(events)) end.abort();
    }
    return events;
  };
  const countOf = (events: OutputEvent[], name: string): number => events.filter((event) => event.name === name).length;
  for (const node of [one, two]) {
    const events = await follow(node, (all) => tasks.every(({ name }) => countOf(all, name) >= 4));
    for (const { name } of tasks) {
      const lines = events.filter((event) => event.name === name).map(({ line }) => line!);
      const numbers = lines.map((line) => Number(/^line (\d+) \x1b\[2J$/.exec(line)?.[1]));
      assert.equal(
        numbers,
        numbers.map((_, i) => numbers[0]! + i),
        'each line once, in order',
      );
    }
  }
  // What is printed escapes what a terminal would obey, wherever it comes from.
  const args = ['service', 'logs', 'na', '--tail', '1', '--socket', two.socket];
  const { stdout } = await underlay.lab.runVtep({ ns: two.host.ns, args });
  assert.equal(stdout.trim().split('\n').length, 2, stdout);
  for (const line of stdout.trim().split('\n')) assert.match(line, /^na\.\d@host\d \| line \d+ \\u001b\[2J$/);

  // The worker has no endpoint in another network, so that services there are not there for it.
  for (const name of ['na-secret', 'na-secret.1', secret!.endpoints[0]!.id, secret!.service]) {
    const refused = await two.refusal({ command: 'logs', name });
    assert.equal([refused.code, refused.fields[0]?.path], ['not-found', 'name']);
    assert.match(refused.message, /a worker reads that of services on the networks in which it has an endpoint/);
  }
  const ns = await underlay.lab.namespace('reader');
  await two.ask({ command: 'attach-endpoint', network: 'na-other', netns: ns });
  await waitFor('the right', async () => hosts(await two.logs({ name: 'na-secret' })) === 'na-secret.1@host1');
  await two.ask({ command: 'detach-endpoint', endpoint: ns });
  assert.is((await two.refusal({ command: 'logs', name: 'na-secret' })).code, 'not-found');
  await underlay.lab.removeNamespace(ns);

  // Output that is followed goes on when the agent of the other node is back.
  let isKilled = false;
  const events = await follow(
    one,
    (all) => {
      if (!isKilled && countOf(all, remote) >= 2) {
        isKilled = true;
        void two.kill().then(() => two.start());
      }
      const gap = all.findIndex(({ name, line, reason }) => name === remote && line === null && reason !== undefined);
      return gap >= 0 && countOf(all.slice(gap), remote) >= 3;
    },
    { name: remote },
  );
  assert.match(events.find(({ line }) => line === null)!.reason!, /lines may be missing|is missing here/);

  await two.kill();
  await waitFor('the node to be named', async () => {
    const began = performance.now();
    const all = await one.logs({ name: 'na' });
    assert.ok(performance.now() - began < 20_000, 'nothing hangs');
    const gone = all.find(({ line }) => line === null);
    return (
      gone?.name === remote && /^node host2: unreachable: .*; last lines known of na\.\d: none$/.test(gone.reason!)
    );
  });
  assert.ok(hosts(await one.logs({ name: 'na' })).endsWith('@host1'));
  await two.start();
});

test('the commands of docs/api.md about nodes answer as it says', async () => {
  const node = await new Node(underlay.node1, 'one').start();
  const [curls] = shellBlocks('docs/api.md', 'Nodes of a cluster');
  for (const line of curls!.split('\n')) {
    const words = line.replace('curl ', 'curl --silent --show-error --fail-with-body --max-time 60 ');
    const { code, stdout, stderr } = await run(['sh', '-c', words.replace('agent.sock', node.socket)]);
    assert.equal([code, stderr], [0, ''], `${line}: ${stdout}`);
    if (line.includes('/logs')) assert.match(stdout, /^\{"event":"end"\}$/m);
    else assert.ok(JSON.parse(stdout));
  }
  assert.is((await node.program!.ended).code, 0);
});

test('wrong requests are refused with their fields, and secrets are in no error', async () => {
  const [one, two] = await cluster();
  const third = await new Node(underlay.node2, 'three').start();
  const none = await third.refusal({ command: 'endpoints' });
  assert.is(none.code, 'no-cluster');
  assert.match(none.message, /vtep init.*vtep join/);
  assert.is((await third.refusal({ command: 'fdb' })).code, 'no-cluster');
  assert.is((await third.ask({ command: 'node' })).state, 'none');
  const foreign = await third.refusal({ command: 'init', address: '203.0.113.9' });
  assert.equal([foreign.code, foreign.fields[0]!.path], ['invalid-request', 'address']);
  assert.match(foreign.message, /192\.168\.1\.25/);
  const several = await third.refusal({ command: 'init' });
  assert.match(several.message, /several addresses.*192\.168\.1\.25.*fd00:2::25/);
  const { token, managers } = await one.ask({ command: 'token', role: 'worker' });
  const wrong = token.slice(0, -1) + (token.endsWith('a') ? 'b' : 'a');
  const refusals: [Partial<ControlRequest & { command: 'join' }>, string, string?][] = [
    [{ token: wrong }, 'not-admitted'],
    [{ token: 'WEFT-1-abc' }, 'invalid-request', 'token'],
    [{ managers: ['172.31.1.5:1'] }, 'no-manager'],
    [{ managers: ['a b'] }, 'invalid-request', 'managers[0]'],
    [{ address: '172.31.1.5' }, 'invalid-request', 'address'],
    [{ token: (await one.ask({ command: 'token', role: 'manager' })).token }, 'conflict', 'token'],
  ];
  for (const [fields, code, path] of refusals) {
    const refused = await third.refusal({ command: 'join', token, managers, ...fields });
    assert.equal([refused.code, refused.fields[0]?.path], [code, path], refused.message);
    const secret = (fields.token ?? token).split('-').at(-1)!;
    assert.not.ok(`${refused.message}${JSON.stringify(refused.fields)}${third.program!.stderr}`.includes(secret));
  }
  assert.equal((await one.ask({ command: 'nodes' })).length, 2, 'nobody was stored');
  assert.is((await two.refusal({ command: 'init', address: underlay.node2.address })).code, 'conflict');
  for (const [request, code, path] of [
    [
      { command: 'create-network', name: 'na-net', subnets: [{ subnet: '10.0.0.0/33' }] },
      'invalid-request',
      'subnets[0].subnet',
    ],
    [
      { command: 'create-network', name: 'na-net', subnets: [{ subnet: '10.0.0.0/24', gateway: '10.0.1.1' }] },
      'invalid-request',
      'subnets[0].gateway',
    ],
    [
      { command: 'create-network', name: 'na-net', subnets: [{ subnet: '172.31.0.0/16' }] },
      'conflict',
      'subnets[0].subnet',
    ],
    [{ command: 'cluster-network', network: 'na-net' }, 'not-found', 'network'],
    [{ command: 'delete-network', network: 'na-net' }, 'not-found', 'network'],
    [{ command: 'service', service: 'na' }, 'not-found', 'service'],
    [{ command: 'scale-service', service: 'na', replicas: 1 }, 'not-found', 'service'],
    [{ command: 'remove-service', service: 'na' }, 'not-found', 'service'],
    [{ command: 'create-service', name: 'na', run: [''], networks: ['na-net'] }, 'invalid-request', 'run[0]'],
    [{ command: 'remove-node', node: 'host9' }, 'not-found', 'node'],
    [{ command: 'remove-node', node: 'host2' }, 'in-use', 'node'],
    [{ command: 'sandbox', name: 'na-9' }, 'not-found', 'name'],
    [{ command: 'logs', name: 'na-9' }, 'not-found', 'name'],
    [{ command: 'endpoints', network: 'na-9' }, 'not-found', 'network'],
    [{ command: 'attach-endpoint', network: 'na-net', netns: 'nowhere' }, 'not-found', 'netns'],
  ] as [ControlRequest, string, string | undefined][]) {
    const refused = await one.refusal(request);
    assert.equal(
      [refused.code, refused.fields[0]?.path],
      [code, path],
      `${JSON.stringify(request)}: ${refused.message}`,
    );
  }
});

test('routes of a host that overlap a network keep its first endpoint away', async () => {
  const [one, two] = await cluster();
  await one.ask({ command: 'create-network', name: 'na-net', subnets: [{ subnet: '10.9.0.0/24' }] });
  await exec(underlay.node2.ns, ['ip', 'route', 'add', '10.9.0.0/16', 'via', '192.168.1.1']);
  const refused = await two.refusal({ command: 'run', network: 'na-net' });
  assert.equal([refused.code, refused.fields[0]!.path], ['conflict', 'network']);
  assert.match(refused.message, /10\.9\.0\.0\/24 .*10\.9\.0\.0\/16, the route by eth0, on host2/);
  // The managers do not know the routes of other hosts: a task fails there, and its service says why.
  const service = { name: 'routed', networks: ['na-net'], replicas: 2, run: ['sleep', 'infinity'] };
  await one.ask({ command: 'create-service', ...service } as never);
  const tasks = async (): Promise<{ [node: string]: string }> => {
    const { tasks: all } = await one.ask({ command: 'service', service: 'routed' });
    return Object.fromEntries(
      all.map(({ nodeName, state, endings }) => [
        nodeName ?? '',
        state === 'running' ? state : (endings[0]?.reason ?? state),
      ]),
    );
  };
  await waitFor('the task to fail', async () => /overlaps/.test((await tasks())['host2'] ?? ''));
  assert.match(
    (await tasks())['host2']!,
    /subnet 10\.9\.0\.0\/24 of network na-net overlaps with 10\.9\.0\.0\/16, the route by eth0/,
  );
  await waitFor('the other task to run', async () => (await tasks())['host1'] === 'running');
  assert.equal(sandboxes().filter((name) => /routed/.test(name)).length, 1, 'nothing was made on the other host');
  await exec(underlay.node2.ns, ['ip', 'route', 'del', '10.9.0.0/16']);
  assert.is((await two.ask({ command: 'run', network: 'na-net' })).state, 'ready');
  await waitFor('the task to run without the route', async () => (await tasks())['host2'] === 'running');
  // One that is there stays when such a route comes.
  await exec(underlay.node2.ns, ['ip', 'route', 'add', '10.9.0.0/16', 'via', '192.168.1.1']);
  await two.kill();
  await two.start();
  await waitFor('the node to go on', async () =>
    (await two.ask({ command: 'endpoints' })).every(({ state }) => state !== 'starting'),
  );
  assert.is((await tasks())['host2'], 'running');
  await exec(underlay.node2.ns, ['ip', 'route', 'del', '10.9.0.0/16']);
});

test('one process uses a state directory; after SIGTERM everything stays, and after leaving nothing', async () => {
  const [one, two] = await cluster();
  await one.ask({ command: 'create-network', name: 'na-net' });
  const made = await two.ask({ command: 'run', network: 'na-net', name: 'na-1', run: ['sleep', 'infinity'] });
  const args = ['agent', '--state', two.state, '--socket', join(folder, 'other.sock')];
  const second = await underlay.lab.runVtep({ ns: two.host.ns, args });
  assert.is(second.code, 1);
  assert.match(second.stderr, /another process, \d+, uses the state directory/);
  assert.is((await two.program!.stop('SIGTERM')).code, 0);
  assert.ok((await devices(made.netns!)).includes('eth0'));
  // A place that is damaged keeps the daemon from starting. The error has the command that repairs it.
  const place = join(two.state, 'place.json');
  const before = JSON.parse(readFileSync(place, 'utf8')) as object;
  writeFileSync(place, '{"address":"somewhere"}');
  const refused = await underlay.lab.runVtep({ ns: two.host.ns, args });
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /place\.json is damaged: address: expected .*, got "somewhere"; write the address/);
  const advice = /(echo .*)$/m.exec(refused.stderr)![1]!.replace('192.0.2.5', two.host.address);
  assert.is((await run(['sh', '-c', advice])).code, 0);
  assert.equal(JSON.parse(readFileSync(place, 'utf8')), { address: (before as { address: string }).address });
  // A damaged record is about one endpoint, and what runs in the others goes on.
  writeFileSync(join(two.state, 'attached.json'), '{"lost":{"netns":7,"device":"eth0"}}');
  writeFileSync(join(two.state, 'runs.json'), '{');
  // What runs here is known without a manager.
  await one.kill();
  await two.start();
  assert.match(two.program!.stdout + two.program!.stderr, /attached\.json is damaged.*record "lost": netns: expected/);
  assert.match(two.program!.stdout + two.program!.stderr, /runs\.json is damaged.*it is not JSON/);
  const found = await two.ask({ command: 'sandbox', name: 'na-1' });
  assert.equal([found.id, found.state], [made.id, 'running']);
  assert.equal(
    (await two.ask({ command: 'endpoints' })).map(({ name }) => name),
    ['na-1'],
  );
  assert.is((await two.refusal({ command: 'nodes' })).code, 'no-manager');
  assert.is((await two.refusal({ command: 'leave' })).code, 'no-manager');
  await one.start();
  await waitFor('the manager', async () => (await two.ask({ command: 'node' })).connected);
  await two.ask({ command: 'leave' });
  assert.equal(sandboxes(), []);
  assert.equal(
    readdirSync(two.state).filter((name) => !name.startsWith('lock.')),
    [],
  );
  assert.is((await two.ask({ command: 'node' })).state, 'none');
  assert.is((await one.refusal({ command: 'leave' })).code, 'in-use');
  await one.ask({ command: 'leave', force: true });
  await two.ask({ command: 'stop' });
  assert.is((await two.program!.ended).code, 0);
  assert.not.ok(existsSync(two.socket));
  assert.match((await run(['ip', 'netns', 'list'])).stdout, /^((?!weft-na).)*$/s);
});

test.run();

/** Output of tasks on its way from their nodes, through a manager, to the node that asks: over TLS on the loopback. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { outputCalled, outputTasks, type EndpointRecord, type OutputTask } from '../src/cluster/index.js';
import { type ClusterError, type Identity, type NodeClient } from '../src/host/index.js';
import { RELAY_LIMITS, type RelayLimits } from '../src/host/cluster/log-relay.js';
import { OutputSender } from '../src/host/cluster/output-sender.js';
import { type LogsBody, type OutputBatch, type OutputRequest } from '../src/host/cluster/protocol.js';
import { RemoteOutput } from '../src/host/cluster/remote-output.js';
import { OutputReader } from '../src/host/sandbox/output-reader.js';
import { type Workload } from '../src/host/sandbox/workload.js';
import { type OutputEvent } from '../src/schema/index.js';
import { httpText, received, startLab, type Lab } from './support/cluster-lab.js';
import { idOf, TestCluster } from './support/cluster.js';
import { waitFor } from './support/lab.js';

const SERVICE = idOf(900);
const labs: Lab[] = [];
const folder = mkdtempSync(join(tmpdir(), 'weft-relay-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
test.after.each(async () => {
  for (const one of labs.splice(0)) await one.close();
});

async function lab(output: Partial<RelayLimits> = {}): Promise<Lab> {
  const started = await startLab({ limits: { output: { ...RELAY_LIMITS, look: 20, ...output } } });
  labs.push(started);
  return started;
}

interface Member {
  readonly identity: Identity;
  readonly client: NodeClient;
  /** What the manager has requested of it. */
  readonly requests: OutputRequest[];
}

async function member(started: Lab): Promise<Member> {
  const { identity, files } = await started.join();
  const requests: OutputRequest[] = [];
  let isThere = false;
  const events = { assignment: () => (isThere = true), output: (request: OutputRequest) => requests.push(request) };
  const client = started.client(files, identity, events);
  await waitFor('the stream', () => isThere);
  return { identity, client, requests };
}

const task = (slot: number, { identity }: Pick<Member, 'identity'>, more: Partial<OutputTask> = {}): OutputTask => ({
  ...{ id: idOf(slot), name: `test.${slot}`, node: identity.node, nodeName: `host-${slot}`, nodeState: 'alive' },
  ...{ reason: undefined, reported: [] },
  ...more,
});

/** Reads to the end, or until enough was read. */
async function readAll(output: RemoteOutput, enough: (events: OutputEvent[]) => boolean = () => false) {
  const events: OutputEvent[] = [];
  const limit = performance.now() + 30_000;
  while (!output.isOver && !enough(events)) {
    assert.ok(performance.now() < limit, `no end: ${JSON.stringify(events.slice(-3))}`);
    events.push(...(await output.take(256, 100)));
  }
  output.close();
  return events;
}

const open = async ({ client }: Member, body: Partial<LogsBody> = {}): Promise<RemoteOutput> =>
  new RemoteOutput(await client.logs({ name: SERVICE, ...body }), 'test');

const linesOf = (events: OutputEvent[]): string[] =>
  events.map(({ name, node, line, reason }) => `${name}@${node} ${line ?? `(${reason})`}`);

async function failure(promise: Promise<unknown>): Promise<ClusterError> {
  return promise.then(
    () => assert.unreachable('nothing was refused') as never,
    (error: ClusterError) => error,
  );
}

test('a node writes for its own tasks of what was asked for, once, and under names that the manager gives', async () => {
  const started = await lab();
  const [asks, one, two] = [await member(started), await member(started), await member(started)];
  started.backend.outputs.set(SERVICE, [task(1, one), task(2, two), task(3, asks)]);
  const output = await open(asks, { tail: 7 });
  const [request, other] = await waitFor('the requests', () => {
    const all = [...one.requests, ...two.requests];
    return all.length === 2 ? all : undefined;
  });
  assert.equal({ ...request, id: '' }, { id: '', service: SERVICE, sequence: 0, follow: false, tail: 7 });
  assert.equal(asks.requests, [], 'it has its own output');
  const batch: OutputBatch = { id: request!.id, sequence: 0, lines: [{ task: idOf(1), line: 'a\u001b[31m' }] };
  assert.equal(await one.client.output(batch), { taken: true, more: true });
  assert.equal(await one.client.output(batch), { taken: true, more: true }, 'its answer was lost');
  const forged = {
    ...batch,
    sequence: 1,
    lines: [
      { task: idOf(2), line: 'x' },
      { task: idOf(3), line: 'x' },
    ],
  };
  assert.equal(await one.client.output(forged), { taken: true, more: true });
  // Neither another node's request, nor one that is not there.
  for (const id of [other!.id, idOf(77)])
    assert.equal(await one.client.output({ ...batch, id }), { taken: true, more: false });
  assert.equal(await one.client.output({ ...batch, sequence: 2, lines: [], last: true }), { taken: true, more: false });
  await two.client.output({ id: other!.id, sequence: 0, lines: [{ task: idOf(2), line: 'b' }], last: true });
  assert.equal(linesOf(await readAll(output)), ['test.1@host-1 a\u001b[31m', 'test.2@host-2 b']);
  assert.equal(await one.client.output({ ...batch, sequence: 3 }), { taken: true, more: false }, 'it is over');
});

test('a node that is down, one that does not answer, and one that has failed are named with what is known of them', async () => {
  const started = await lab({ first: 300 });
  const [asks, silent] = [await member(started), await member(started)];
  const reported = ['starting', 'no such file'];
  const away = { identity: { ...asks.identity, node: idOf(50) } };
  const failed = { identity: { ...asks.identity, node: idOf(51) } };
  started.backend.outputs.set(SERVICE, [
    task(1, silent),
    task(2, away, { reported }),
    task(3, failed, { reported, nodeState: 'failed' }),
    task(4, { identity: { ...asks.identity, node: '' } }, { reason: 'no node is alive', nodeName: '' }),
  ]);
  assert.equal(linesOf(await readAll(await open(asks, { tail: 1 }))), [
    'test.4@ (test.4: no node is alive)',
    'test.2@host-2 no such file',
    'test.2@host-2 (node host-2: unreachable: host-2 has no connection to the manager; last lines known of test.2: the 1 above, of an attempt that has ended)',
    'test.3@host-3 no such file',
    'test.3@host-3 (node host-3: unreachable: the cluster counts it as failed; last lines known of test.3: the 1 above, of an attempt that has ended)',
    'test.1@host-1 (node host-1: unreachable: host-1 has sent nothing for 0 s; last lines known of test.1: none)',
  ]);
});

test('a reader that does not read makes the node wait, and gets every line later', async () => {
  const started = await lab({ waiting: 65_536 });
  const [asks, one] = [await member(started), await member(started)];
  started.backend.outputs.set(SERVICE, [task(1, one)]);
  const stream = await asks.client.logs({ name: SERVICE });
  const { id } = await waitFor('the request', () => one.requests[0]);
  const line = 'x'.repeat(8000);
  let sent = 0;
  const next = (): OutputBatch => ({
    id,
    sequence: sent,
    lines: Array(8).fill({ task: idOf(1), line: `${sent} ${line}` }),
  });
  // The sockets take some megabytes.
  while ((await one.client.output(next())).taken) assert.ok(++sent < 1000, 'it has taken 64 MB');
  assert.equal(await one.client.output(next()), { taken: false, more: true });
  const output = new RemoteOutput(stream, 'test');
  const reading = readAll(output);
  await waitFor('room', async () => (await one.client.output(next())).taken);
  await one.client.output({ id, sequence: sent + 1, lines: [], last: true });
  const numbers = (await reading).map(({ line: text }) => Number(text!.split(' ')[0]));
  assert.equal(
    numbers,
    Array.from({ length: 8 * (sent + 1) }, (_, i) => i >> 3),
  );
});

test('while it is followed, a node that was lost is asked again, tasks on new nodes are added, and a lost right ends it', async () => {
  const started = await lab({ first: 200, next: 200 });
  const [asks, one, two] = [await member(started), await member(started), await member(started)];
  started.backend.outputs.set(SERVICE, [task(1, one)]);
  const output = await open(asks, { follow: true, tail: 3 });
  const reading = readAll(output);
  const { id } = await waitFor('the request', () => one.requests[0]);
  await one.client.output({ id, sequence: 0, lines: [{ task: idOf(1), line: 'a' }] });
  const again = await waitFor('another request', () => one.requests.find((request) => request.id !== id));
  assert.equal([again.tail, again.follow], [0, true]);
  const newest = one.requests.at(-1)!;
  await one.client.output({ id: newest.id, sequence: 0, lines: [{ task: idOf(1), line: 'c' }] });
  started.backend.outputs.set(SERVICE, [task(1, one), task(2, two)]);
  const added = await waitFor('a request of the other node', () => two.requests[0]);
  assert.is(added.tail, undefined, 'everything of it is new');
  await two.client.output({ id: added.id, sequence: 0, lines: [{ task: idOf(2), line: 'd' }], missed: [idOf(2)] });
  started.backend.outputs.delete(SERVICE);
  assert.equal(await waitFor('the end', () => reading.then(linesOf)), [
    'test.1@host-1 a',
    'test.1@host-1 (node host-1: unreachable: host-1 has sent nothing for 0 s; last lines known of test.1: the lines above)',
    'test.1@host-1 (test.1: node host-1 answers again; what was written meanwhile is missing here)',
    'test.1@host-1 c',
    'test.2@host-2 (test.2: lines may be missing here, since it writes faster than they are read)',
    'test.2@host-2 d',
  ]);
});

test('what may not be read is not there, the number of readers is limited, and wrong requests are refused', async () => {
  const started = await lab({ readersPerNode: 2 });
  const [asks, one] = [await member(started), await member(started)];
  started.backend.outputs.set(SERVICE, [task(1, one)]);
  assert.equal([(await failure(open(asks, { name: 'secret' }))).code], ['not-found']);
  const streams = [await open(asks), await open(asks)];
  assert.is((await failure(open(asks))).code, 'unavailable');
  assert.ok(await open(one).then((output) => output.close() ?? true), 'the limit is one of each node');
  for (const stream of streams) stream.close();
  await waitFor('a place', async () => (await open(asks).catch(() => undefined))?.close() === undefined);
  for (const [path, body] of [
    ['/v1/logs', { name: 'a b' }],
    ['/v1/logs', { name: 'a', tail: -1 }],
    ['/v1/output', { id: 'a', sequence: 0, lines: [] }],
    ['/v1/output', { id: idOf(1), sequence: 0, lines: [{ task: idOf(1), line: 'x'.repeat(16_385) }] }],
    ['/v1/output', { id: idOf(1), sequence: 0, lines: [{ task: idOf(1), line: 'x', name: 'test.9' }] }],
  ] as const) {
    const { key, certificate } = asks.identity;
    const socket = await started.connect({ key, cert: certificate });
    const answer = received(socket);
    socket.write(httpText('POST', path, JSON.stringify(body)));
    assert.match(await answer, /^HTTP\/1\.1 400 .*"code":"invalid"/s);
  }
  const stranger = await started.connect();
  const answer = received(stranger);
  stranger.write(httpText('POST', '/v1/logs', JSON.stringify({ name: SERVICE })));
  assert.match(await answer, /^HTTP\/1\.1 401 /);
});

test('a node that was removed reads no further line', async () => {
  const started = await lab();
  const [asks, one] = [await member(started), await member(started)];
  started.backend.outputs.set(SERVICE, [task(1, one)]);
  const output = await open(asks, { follow: true });
  const { id } = await waitFor('the request', () => one.requests[0]);
  started.backend.remove(asks.identity.node);
  const events = await readAll(output);
  assert.match(
    linesOf(events).join(),
    /^test@ \(127\.0\.0\.1:\d+: .*; what other nodes write is missing from here on\)$/,
  );
  await waitFor('no reader', async () => !(await one.client.output({ id, sequence: 0, lines: [] })).more);
});

test('a worker reads the output of services that have a network in which it has an endpoint', () => {
  const cluster = TestCluster.with(3);
  for (const name of ['red', 'blue']) cluster.must({ do: 'create-network', name });
  const service = cluster.must({ do: 'create-service', name: 'web', command: ['x'], networks: ['red'], replicas: 2 });
  const roleOf = (number: number) => (number === 1 ? 'manager' : 'worker');
  const sees = (number: number, name = 'web') => outputCalled(cluster.state, idOf(number), roleOf(number), name);
  assert.equal(sees(1), { service: service.id });
  assert.is(sees(2), undefined);
  cluster.must({ do: 'create-endpoint', name: 'p2', network: 'blue', kind: 'run' }, 2);
  assert.is(sees(2), undefined);
  const { id } = cluster.must({ do: 'create-endpoint', name: 'p2', network: 'red', kind: 'run' }, 2);
  assert.equal(
    [sees(2), sees(2, 'WEB'), sees(2, service.id), sees(3)],
    [...Array<object>(3).fill({ service: service.id }), undefined],
  );
  assert.equal(
    [sees(2, 'web.1'), sees(2, 'nothing'), sees(2, 'web.'), sees(2, '.1'), sees(2, id)],
    Array(5).fill(undefined),
  );
  assert.equal(outputTasks(cluster.state, idOf(2), 'worker', { service: service.id }), [], 'none has started yet');
  // A manager that was demoted keeps its certificate for a while.
  assert.is(outputCalled(cluster.state, idOf(1), 'worker', 'web'), undefined);
  cluster.must({ do: 'remove-endpoint', network: 'red', endpoint: 'p2' }, 2);
  assert.is(outputTasks(cluster.state, idOf(2), 'worker', { service: service.id }), undefined);
});

/** A command on a node, whose output is a file. */
function workload(name: string, output: string): { endpoint: EndpointRecord; workload: Workload } {
  const directory = mkdtempSync(join(folder, name));
  writeFileSync(join(directory, 'output'), output);
  const state = { state: 'running' as const };
  const fake = { directory, state, follow: () => new OutputReader(directory) } as unknown as Workload;
  const slot = Number(name.split('.')[1]);
  const of = { service: SERVICE, slot, task: idOf(slot) };
  return { endpoint: { id: idOf(100 + slot), kind: 'task', name, of } as EndpointRecord, workload: fake };
}

test('a node sends everything in batches that fit a request, again if an answer is lost, and waits while there is no room', async () => {
  const nasty = `${'\u0001'.repeat(16_000)}\n`.repeat(40);
  const all = [workload('test.1', nasty), workload('test.2', 'one\ntwo\nthree'), workload('other.3', '')];
  const [, , other] = all;
  Object.assign(other!.endpoint, { of: { service: idOf(1), slot: 3, task: idOf(3) } });
  const batches: OutputBatch[] = [];
  let calls = 0;
  const failures: unknown[] = [];
  const sender = new OutputSender({
    endpoints: () => all.map(({ endpoint }) => endpoint),
    workloadOf: (endpoint) => Promise.resolve(all.find((one) => one.endpoint === endpoint)?.workload),
    send: (batch) => {
      calls++;
      if (calls === 2) return Promise.resolve({ taken: false, more: true });
      assert.ok(Buffer.byteLength(JSON.stringify(batch)) <= 262_144);
      batches.push(batch);
      return Promise.resolve({ taken: true, more: true });
    },
    failed: (error) => failures.push(error),
  });
  const request = { id: idOf(5), service: SERVICE, tail: 35, follow: false, sequence: 0 };
  sender.begin(request);
  sender.begin(request); // the node has connected again
  await waitFor('the end', () => batches.at(-1)?.last === true);
  assert.equal(
    batches.map(({ sequence }) => sequence),
    batches.map((_, i) => i),
  );
  const lines = batches.flatMap(({ lines: own }) => own);
  assert.equal(lines.filter(({ task: own }) => own === idOf(1)).length, 35);
  assert.equal(
    lines.filter(({ task: own }) => own !== idOf(1)),
    ['one', 'two', 'three'].map((line) => ({ task: idOf(2), line })),
  );
  assert.equal(failures, []);
});

test.run();

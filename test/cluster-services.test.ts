/** Services: the scheduler, and what nodes report about their tasks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  assignmentsOf,
  LIMITS,
  plan,
  reconcile,
  TIMES,
  type Answer,
  type Command,
  type CreateService,
  type TaskRecord,
} from '../src/cluster/index.js';
import { idOf, newNode, TestCluster } from './support/cluster.js';

function withService(nodes: number, more: Partial<CreateService> = {}): TestCluster {
  const cluster = TestCluster.with(nodes);
  cluster.must({ do: 'create-network', name: 'net' });
  const command: CreateService = {
    do: 'create-service',
    name: 'test',
    networks: ['net'],
    command: ['sleep', 'infinity'],
  };
  cluster.must({ ...command, ...more });
  settle(cluster);
  return cluster;
}

/** Runs the scheduler until it has nothing more to do. @returns when it may have. */
function settle(cluster: TestCluster): number | undefined {
  for (let round = 0; round < 50; round++) {
    const { transactions, next } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
    if (transactions.length === 0) return next;
    transactions.forEach((one) => cluster.commit(one));
  }
  assert.unreachable('the scheduler does not come to an end');
  return undefined;
}

const tasks = ({ state }: TestCluster, name = 'test'): TaskRecord[] =>
  [...state.tasksOf(state.serviceNamed(name)!.id).values()].sort((a, b) => a.slot - b.slot);

/** The tasks by node: `{ host1: [1, 3] }`. */
const places = (cluster: TestCluster, name = 'test'): Record<string, number[]> => {
  const found: Record<string, number[]> = {};
  for (const { slot, node } of tasks(cluster, name))
    (found[cluster.state.nodes.get(node)?.name ?? '-'] ??= []).push(slot);
  return found;
};

const numberOf = (cluster: TestCluster, node: string): number => Number(cluster.state.nodes.get(node)!.name.slice(4));

/** Reports a state of a task as its node. */
function report(
  cluster: TestCluster,
  task: TaskRecord,
  what: { state: 'running' | 'exited' | 'failed'; code?: number; reason?: string; output?: string[] },
): Answer<'report-task'> {
  const { service, slot, id, attempt, node } = task;
  return cluster.must({ do: 'report-task', service, slot, task: id, attempt, ...what }, numberOf(cluster, node));
}

test('replicas spread over living nodes, each with an endpoint in every network', () => {
  const cluster = TestCluster.with(3);
  for (const name of ['net', 'back']) cluster.must({ do: 'create-network', name });
  cluster.must({ do: 'set-node-state', node: 'host3', state: 'failed' });
  cluster.must({
    ...{ do: 'create-service', name: 'test', networks: ['net', 'back'], command: ['sleep', 'infinity'], replicas: 4 },
    environment: { A: '1' },
  } as Command);
  settle(cluster);
  assert.equal(places(cluster), { host1: [1, 3], host2: [2, 4] });
  const { state } = cluster;
  for (const task of tasks(cluster)) {
    const endpoints = task.endpoints.map(({ id }) => state.endpoints.get(id)!);
    assert.equal(
      endpoints.map(({ name, network, node, kind, of }) => [
        name,
        state.networks.get(network)!.name,
        node,
        kind,
        of!.task,
      ]),
      ['net', 'back'].map((network) => [`test.${task.slot}`, network, task.node, 'task', task.id]),
    );
  }
  const assigned = assignmentsOf(state, idOf(2))!;
  assert.equal(
    assigned.tasks
      .map(({ name, command, environment, attempt, state: now }) => [name, command, environment, attempt, now])
      .sort(),
    ['test.2', 'test.4'].map((name) => [name, ['sleep', 'infinity'], { A: '1' }, 1, 'assigned']),
  );
  assert.is(assigned.networks.length, 2);
});

test('of nodes with as few tasks, the one that joined first gets the next, whatever their ids are', () => {
  const cluster = TestCluster.with(1);
  const secret = cluster.state.tokens.get('worker')!;
  for (const number of [9, 3]) {
    cluster.now += 1000;
    cluster.must({ do: 'join', node: newNode(number), secret });
  }
  cluster.must({ do: 'create-network', name: 'net' });
  cluster.must({ do: 'create-service', name: 'test', networks: ['net'], command: ['true'], replicas: 4 });
  settle(cluster);
  assert.equal(places(cluster), { host1: [1, 4], host9: [2], host3: [3] });
});

test('the fewest tasks of the service count first, then the fewest of all', () => {
  const cluster = withService(3, { replicas: 2 });
  const used = Object.keys(places(cluster));
  cluster.must({ do: 'create-service', name: 'more', networks: ['net'], command: ['true'], replicas: 1 });
  settle(cluster);
  assert.not.ok(used.includes(Object.keys(places(cluster, 'more'))[0]!));
});

test('scaling adds the lowest slots that are absent, and removes the highest', () => {
  const cluster = withService(2, { replicas: 4 });
  const before = tasks(cluster);
  cluster.must({ do: 'scale-service', service: 'test', replicas: 2 });
  settle(cluster);
  assert.equal(tasks(cluster), before.slice(0, 2));
  assert.is(cluster.state.endpoints.size, 2);
  cluster.must({ do: 'scale-service', service: 'test', replicas: 3 });
  settle(cluster);
  const third = tasks(cluster)[2]!;
  assert.is.not(third.id, before[2]!.id);
  assert.equal(cluster.state.endpoints.get(third.endpoints[0]!.id)!.addresses, ['10.0.0.6'], 'not one just released');
  assert.is(cluster.refused({ do: 'scale-service', service: 'test', replicas: -1 }).code, 'invalid');
  assert.is(cluster.refused({ do: 'scale-service', service: 'x', replicas: 1 }).code, 'not-found');
});

test('a removed service takes its tasks and endpoints with it', () => {
  const cluster = withService(2, { replicas: 3 });
  cluster.must({ do: 'remove-service', service: 'test' });
  assert.equal(assignmentsOf(cluster.state, idOf(2))!.tasks, [], 'its nodes stop it at once');
  settle(cluster);
  assert.is(cluster.state.endpoints.size, 0);
  assert.equal([...cluster.state.servicesWithTasks()], []);
  cluster.must({ do: 'remove-network', network: 'net' });
  cluster.must({ do: 'create-network', name: 'net' });
  cluster.must({ do: 'create-service', name: 'test', networks: ['net'], command: ['true'] });
});

test('a task that ends is started again, each time later, at the same place with the same address', () => {
  const cluster = withService(1);
  const waits: number[] = [];
  const [{ endpoints }] = tasks(cluster) as [TaskRecord];
  for (let attempt = 1; attempt <= 12; attempt++) {
    const [task] = tasks(cluster) as [TaskRecord];
    assert.equal([task.attempt, task.state, task.endpoints], [attempt, 'assigned', endpoints]);
    report(cluster, task, { state: 'running' });
    cluster.now += 100;
    report(cluster, task, { state: 'exited', code: attempt, output: [`line ${attempt}`] });
    const ended = cluster.now;
    assert.is(tasks(cluster)[0]!.state, 'exited');
    const next = settle(cluster)!;
    cluster.now = next - 1;
    settle(cluster);
    assert.is(tasks(cluster)[0]!.state, 'exited');
    cluster.now = next;
    settle(cluster);
    waits.push((next - ended) / 1000);
  }
  assert.equal(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
  const { endings } = tasks(cluster)[0]!;
  assert.equal(
    endings.map(({ code, output, state }) => [code, output, state]),
    [12, 11, 10, 9].map((code) => [code, [`line ${code}`], 'exited']),
  );
});

test('a task that ran for a time has not failed in a row', () => {
  const cluster = withService(1);
  const end = (runs: number): number => {
    const [task] = tasks(cluster) as [TaskRecord];
    report(cluster, task, { state: 'running' });
    cluster.now += runs;
    report(cluster, task, { state: 'exited', code: 0 });
    const wait = settle(cluster)! - cluster.now;
    cluster.now += wait;
    settle(cluster);
    return wait;
  };
  assert.equal([end(1), end(1), end(1)], [1000, 2000, 4000]);
  assert.equal([end(TIMES.healthy), end(TIMES.healthy - 1)], [1000, 2000]);
});

test('a report about an attempt that is over, a repeated or a late one changes nothing', () => {
  const cluster = withService(2);
  const [first] = tasks(cluster) as [TaskRecord];
  const stale = { stale: true };
  report(cluster, first, { state: 'running' });
  assert.equal(report(cluster, first, { state: 'running' }), stale);
  report(cluster, first, { state: 'failed', reason: 'no such program' });
  const { revision } = cluster.store;
  assert.equal(report(cluster, first, { state: 'failed', reason: 'no such program' }), stale);
  assert.equal(report(cluster, first, { state: 'running' }), stale, 'the messages came in another order');
  assert.is(cluster.store.revision, revision);
  cluster.now += TIMES.firstRetry;
  settle(cluster);
  assert.equal(report(cluster, first, { state: 'exited', code: 1 }), stale, 'of the attempt before');
  cluster.must({ do: 'set-node-state', node: cluster.state.nodes.get(first.node)!.name, state: 'failed' });
  settle(cluster);
  assert.equal(report(cluster, first, { state: 'running' }), stale, 'of the node that had it before');
  const [moved] = tasks(cluster) as [TaskRecord];
  assert.is.not(moved.node, first.node);
  assert.is(
    cluster.refused(
      { do: 'report-task', service: moved.service, slot: 1, task: moved.id, attempt: 1, state: 'running' },
      numberOf(cluster, first.node),
    ).code,
    'forbidden',
  );
});

test('reports are checked, and long output is cut', () => {
  const cluster = withService(1);
  const [task] = tasks(cluster) as [TaskRecord];
  const about = { do: 'report-task', service: task.service, slot: 1, task: task.id, attempt: 1 };
  for (const [change, field] of [
    [{ state: 'exited' }, 'code'],
    [{ state: 'exited', code: 256 }, 'code'],
    [{ state: 'failed' }, 'reason'],
    [{ state: 'pending' }, 'state'],
    [{ state: 'running', task: 'x' }, 'task'],
    [{ state: 'running', output: 'x' }, 'output'],
    [{ state: 'running', output: Array.from({ length: LIMITS.outputLines + 1 }, () => '') }, 'output'],
  ] as const)
    assert.equal(cluster.refused({ ...about, ...change }).fields, [field]);
  report(cluster, task, { state: 'failed', reason: 'r'.repeat(5000), output: ['\u001b[31mred', 'x'.repeat(5000)] });
  const [ending] = tasks(cluster)[0]!.endings;
  assert.equal(
    [ending!.reason!.length, ending!.output![0], ending!.output![1]!.length],
    [LIMITS.reason, '\u001b[31mred', LIMITS.outputLine],
  );
});

test('the tasks of a failed node move in one transaction each, with new addresses', () => {
  const cluster = withService(3, { replicas: 3 });
  const before = tasks(cluster);
  const lost = before.find(({ node }) => node === idOf(2))!;
  const old = cluster.state.endpoints.get(lost.endpoints[0]!.id)!;
  cluster.must({ do: 'set-node-state', node: 'host2', state: 'failed' });
  const { transactions } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
  assert.is(transactions.length, 1);
  // Two managers that do the same at the same time: one of them conflicts.
  const twin = reconcile(cluster.state, cluster.context(cluster.actor(1))).transactions[0]!;
  cluster.commit(transactions[0]!);
  assert.ok('conflict' in cluster.store.commit(twin));
  const moved = tasks(cluster)[lost.slot - 1]!;
  const endpoint = cluster.state.endpoints.get(moved.endpoints[0]!.id)!;
  assert.is.not(moved.node, lost.node);
  assert.is.not(moved.id, lost.id);
  assert.is(endpoint.name, old.name);
  assert.is.not(endpoint.addresses[0], old.addresses[0]);
  assert.is(cluster.state.endpoints.has(old.id), false);
  assert.equal(
    moved.endings.map(({ state, reason }) => [state, reason]),
    [['failed', 'its node host2 has failed']],
  );
  // The node returns: it does not have the task any more, and nothing moves back.
  cluster.must({ do: 'set-node-state', node: 'host2', state: 'alive' });
  settle(cluster);
  assert.equal(assignmentsOf(cluster.state, idOf(2))!.tasks, []);
  assert.equal(tasks(cluster)[lost.slot - 1], moved);
});

test('without a living node, tasks stay on failed nodes, and wait if theirs is gone', () => {
  const cluster = withService(2, { replicas: 2 });
  for (const node of ['host1', 'host2']) cluster.must({ do: 'set-node-state', node, state: 'failed' });
  const before = tasks(cluster);
  settle(cluster);
  assert.equal(tasks(cluster), before);
  cluster.must({ do: 'remove-node', node: 'host2' });
  settle(cluster);
  const waiting = tasks(cluster).find(({ node }) => node === '')!;
  assert.equal([waiting.state, waiting.reason, waiting.endpoints], ['pending', 'no node is alive', []]);
  assert.is(waiting.endings[0]!.reason, `its node ${idOf(2)} was removed`);
  cluster.must({ do: 'set-node-state', node: 'host1', state: 'alive' });
  settle(cluster);
  assert.equal(places(cluster), { host1: [1, 2] });
  assert.equal(
    tasks(cluster).map(({ reason }) => reason),
    [undefined, undefined],
  );
});

test('a task for which there is no address waits, and says why; it starts when there is one', () => {
  const cluster = TestCluster.with(2);
  cluster.must({ do: 'create-network', name: 'net', subnets: [{ subnet: '10.0.0.0/29' }] });
  cluster.must({ do: 'create-endpoint', name: 'a', network: 'net', kind: 'run' });
  cluster.must({ do: 'create-service', name: 'test', networks: ['net'], command: ['true'], replicas: 5 });
  settle(cluster);
  const last = tasks(cluster)[4]!;
  assert.is(last.state, 'pending');
  assert.match(last.reason!, /no address is free in 10\.0\.0\.0\/29/);
  assert.is(cluster.state.endpoints.size, 5);
  const { revision } = cluster.store;
  settle(cluster);
  assert.is(cluster.store.revision, revision, 'nothing changes while nothing can be done');
  cluster.must({ do: 'remove-endpoint', network: 'net', endpoint: 'a' });
  cluster.now = settle(cluster)!;
  settle(cluster);
  assert.is(tasks(cluster)[4]!.state, 'assigned');
  // An endpoint in the way: the service waits for its name too.
  cluster.must({ do: 'scale-service', service: 'test', replicas: 4 });
  settle(cluster);
  cluster.now += TIMES.hold;
  cluster.must({ do: 'create-endpoint', name: 'test.5', network: 'net', kind: 'run' });
  cluster.must({ do: 'scale-service', service: 'test', replicas: 5 });
  settle(cluster);
  assert.match(tasks(cluster)[4]!.reason!, /an endpoint test\.5 on host1/);
});

test('the endpoint of a task ends with its task only', () => {
  const cluster = withService(1);
  const refusal = cluster.refused({ do: 'remove-endpoint', network: 'net', endpoint: 'test.1' });
  assert.is(refusal.code, 'in-use');
  assert.match(refusal.message, /service test/);
});

test('what a service cannot be is refused, with the field', () => {
  const cluster = withService(1);
  cluster.must({ do: 'create-endpoint', name: 'taken', network: 'net', kind: 'run' });
  for (const [change, code, field] of [
    [{ name: 'TEST' }, 'conflict', 'name'],
    [{ name: 'taken' }, 'conflict', 'name'],
    [{ name: 'a'.repeat(58) }, 'invalid', 'name'],
    [{ networks: [] }, 'invalid', 'networks'],
    [{ networks: ['no'] }, 'not-found', 'networks[0]'],
    [{ networks: ['net', 'net'] }, 'invalid', 'networks'],
    [{ networks: ['net', cluster.state.networkNamed('net')!.id] }, 'invalid', 'networks'],
    [{ command: [] }, 'invalid', 'command'],
    [{ command: [''] }, 'invalid', 'command[0]'],
    [{ command: ['a\0b'] }, 'invalid', 'command[0]'],
    [{ command: ['a', 'x'.repeat(LIMITS.commandLength)] }, 'invalid', 'command'],
    [{ environment: { 'A=B': '' } }, 'invalid', 'environment'],
    [{ environment: { A: 'x'.repeat(LIMITS.environmentLength) } }, 'invalid', 'environment'],
    [{ replicas: 10_001 }, 'invalid', 'replicas'],
    [{ replicas: 1.5 }, 'invalid', 'replicas'],
  ] as const) {
    const command = { ...{ do: 'create-service', name: 'other', networks: ['net'], command: ['true'] }, ...change };
    const refusal = cluster.refused(command);
    assert.equal([refusal.code, ...refusal.fields], [code, field], refusal.message);
  }
});

test('a large service is made in parts, each of which stands', () => {
  const cluster = TestCluster.with(3);
  cluster.must({ do: 'create-network', name: 'net', subnets: [{ subnet: '10.0.0.0/16' }] });
  cluster.must({ do: 'create-service', name: 'test', networks: ['net'], command: ['true'], replicas: 1000 });
  const { transactions } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
  assert.is(transactions.length, LIMITS.batch);
  settle(cluster);
  const count = Object.values(places(cluster)).map(({ length }) => length);
  assert.equal(count.sort(), [333, 333, 334]);
  assert.is(new Set([...cluster.state.endpoints.values()].map(({ addresses }) => addresses[0])).size, 1000);
});

test('a service whose network was removed at the same time is not created', () => {
  const cluster = TestCluster.with(1);
  cluster.must({ do: 'create-network', name: 'net' });
  const service: Command = { do: 'create-service', name: 's', networks: ['net'], command: ['true'] };
  const planned = plan(cluster.state, service, cluster.context(cluster.actor(1)));
  cluster.must({ do: 'remove-network', network: 'net' });
  assert.ok('transaction' in planned && 'conflict' in cluster.store.commit(planned.transaction));
});

test('after a node is removed, the keys that it had are replaced: at once the first time, then with a pause of ten seconds', () => {
  const cluster = TestCluster.with(2);
  const { state } = cluster;
  cluster.now += 60_000;
  const known = new Set(state.gossipKeys.map(({ key }) => key));
  const removed = cluster.now;
  cluster.must({ do: 'remove-node', node: 'host2', force: true });
  const rotations: number[] = [];
  for (let round = 0; state.gossipKeys.some(({ key }) => known.has(key)); round++) {
    assert.ok(round < 20, 'no end');
    const [before] = state.gossipKeys;
    const next = settle(cluster);
    const [{ tag, key }] = state.gossipKeys as [(typeof state.gossipKeys)[number]];
    if (key !== before!.key) {
      rotations.push(cluster.now - removed);
      cluster.must({ do: 'report-keys', tag });
      // Nor may a person be faster.
      const { code, message } = cluster.refused({ do: 'rotate-gossip-keys' });
      assert.equal([code, /a short time ago/.test(message)], ['in-use', true]);
    } else cluster.now = next!;
  }
  assert.equal(rotations, [1, 10_001, 20_001]);
});

test.run();

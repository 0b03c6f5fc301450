/** The keys of encrypted networks: which nodes get them, and when they rotate. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assignmentsOf, KEY, reconcile, State, TIMES, viewFor } from '../src/cluster/index.js';
import { CA, idOf, newNode, TestCluster } from './support/cluster.js';

const HOUR = 3_600_000;

function encrypted(nodes = 3, bits: 128 | 256 = 256): { cluster: TestCluster; id: string } {
  const cluster = TestCluster.with(nodes);
  const { id } = cluster.must({ do: 'create-network', name: 'red', encrypted: bits });
  return { cluster, id };
}

const endpoint = (name: string, network = 'red') => ({ do: 'create-endpoint', name, network, kind: 'run' }) as const;

/** What the managers do by themselves. Returns when they have something to do again. */
function settle(cluster: TestCluster): number | undefined {
  const { transactions, next } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
  for (const transaction of transactions) cluster.commit(transaction);
  return next;
}

const numbers = ({ state }: TestCluster, id: string): number[] =>
  (state.networkKeys.get(id) ?? []).map(({ number }) => number);

test('an encrypted network has a key of the length that it is created with, until it is removed', () => {
  for (const bits of [128, 256] as const) {
    const { cluster, id } = encrypted(1, bits);
    assert.is(cluster.state.networks.get(id)!.encrypted, bits);
    const [one, ...more] = cluster.state.networkKeys.get(id)!;
    assert.equal([one!.number, one!.created, more], [1, cluster.now, []]);
    const octets = Buffer.from(one!.key, 'base64');
    assert.is(octets.length * 8, bits);
    assert.is(octets.toString('base64'), one!.key, 'in canonical form');
    cluster.must({ do: 'remove-network', network: 'red' });
    assert.not.ok(cluster.store.items.has(KEY.networkKeys(id)));
    assert.is(cluster.state.networkKeys.size, 0);
  }
  const clear = TestCluster.with(1);
  const { id } = clear.must({ do: 'create-network', name: 'clear' });
  assert.not.ok(clear.store.items.has(KEY.networkKeys(id)));
  assert.equal(clear.refused({ do: 'create-network', name: 'x', encrypted: 192 as never }).fields, ['encrypted']);
});

test('keys of many networks differ, and their digits are spread', () => {
  const cluster = TestCluster.with(1);
  const seen = new Set<string>();
  for (let i = 0; i < 64; i++) {
    const { id } = cluster.must({ do: 'create-network', name: `n${i}`, encrypted: i % 2 === 0 ? 128 : 256 });
    seen.add(cluster.state.networkKeys.get(id)![0]!.key);
  }
  assert.is(seen.size, 64);
  const bits = [...seen].flatMap((key) => [...Buffer.from(key, 'base64')]);
  const ones = bits.reduce((sum, octet) => sum + octet.toString(2).replace(/0/g, '').length, 0);
  assert.ok(Math.abs(ones / (8 * bits.length) - 0.5) < 0.05, `${ones} of ${8 * bits.length}`);
});

test('a node hears the keys of the networks in which it has an endpoint, and of no other', () => {
  const { cluster, id } = encrypted();
  const { state } = cluster;
  const secret = state.networkKeys.get(id)![0]!.key;
  const everything = (node: number): string =>
    JSON.stringify([
      assignmentsOf(state, idOf(node)),
      viewFor(state, idOf(node)),
      viewFor(state, idOf(node), 'worker'),
    ]);
  // Node 2 has joined with a token of a worker, node 1 is a manager. Neither has an endpoint.
  for (const node of [1, 2, 3]) {
    assert.is(assignmentsOf(state, idOf(node))!.networkKeys, undefined);
    assert.not.ok(everything(node).includes(secret), `host${node}`);
  }
  const { id: own } = cluster.must(endpoint('a'), 2);
  assert.equal(assignmentsOf(state, idOf(2))!.networkKeys, [{ network: id, keys: state.networkKeys.get(id) }]);
  for (const node of [1, 3]) assert.not.ok(everything(node).includes(secret), `host${node}`);
  // Nor does one that is in another encrypted network.
  const other = cluster.must({ do: 'create-network', name: 'blue', encrypted: 128 });
  cluster.must(endpoint('b', 'blue'), 3);
  assert.equal(
    assignmentsOf(state, idOf(3))!.networkKeys!.map(({ network }) => network),
    [other.id],
  );
  assert.not.ok(everything(3).includes(secret));
  // A task makes its node take part, too.
  cluster.must({ do: 'create-service', name: 's', networks: ['red'], command: ['x'], replicas: 1 });
  settle(cluster);
  const [task] = [...state.tasksOf(state.serviceNamed('s')!.id).values()];
  assert.ok(assignmentsOf(state, task!.node)!.networkKeys!.some(({ network }) => network === id));
  cluster.must({ do: 'remove-service', service: 's' });
  settle(cluster);
  cluster.must({ do: 'remove-endpoint', network: 'red', endpoint: own }, 2);
  assert.is(assignmentsOf(state, idOf(2))!.networkKeys, undefined);
});

test('a view says which key is the newest, and has no key', () => {
  const { cluster, id } = encrypted();
  cluster.now += 5;
  cluster.must({ do: 'rotate-network-key', network: 'red' });
  const { state } = cluster;
  const view = viewFor(state, idOf(1))!;
  assert.equal(view.networkKeys, [{ network: id, number: 2, created: cluster.now }]);
  for (const { key } of state.networkKeys.get(id)!) assert.not.ok(JSON.stringify(view).includes(key));
  assert.is(viewFor(state, idOf(2))!.networkKeys, undefined);
});

test('keys rotate on demand, with a pause, and three are kept', () => {
  const { cluster, id } = encrypted();
  const rotate = { do: 'rotate-network-key', network: 'red' } as const;
  const { number, created, name } = cluster.must(rotate);
  assert.equal([number, created, name], [2, cluster.now, 'red']);
  cluster.now += 4000;
  const early = cluster.refused(rotate);
  assert.equal([early.code, ...early.fields], ['in-use', 'network']);
  assert.match(early.message, /try again in 6 s/);
  for (const expected of [
    [3, 2, 1],
    [4, 3, 2],
    [5, 4, 3],
  ]) {
    cluster.now += 10_000;
    cluster.must(rotate);
    assert.equal(numbers(cluster, id), expected);
  }
  assert.is(new Set(cluster.state.networkKeys.get(id)!.map(({ key }) => key)).size, 3);
  cluster.must({ do: 'create-network', name: 'clear' });
  assert.match(cluster.refused({ ...rotate, network: 'clear' }).message, /clear is not encrypted/);
  assert.is(cluster.refused({ ...rotate, network: 'none' }).code, 'not-found');
  assert.is(cluster.refused(rotate, 2).code, 'forbidden');
});

test('keys rotate every 12 hours', () => {
  const { cluster, id } = encrypted();
  cluster.now += 11 * HOUR;
  settle(cluster);
  assert.equal(numbers(cluster, id), [1]);
  cluster.now += HOUR;
  settle(cluster);
  assert.equal(numbers(cluster, id), [2, 1]);
  // A newer network, whose time has not come.
  const { id: other } = cluster.must({ do: 'create-network', name: 'blue', encrypted: 256 });
  cluster.now += 12 * HOUR - 1;
  settle(cluster);
  assert.equal([numbers(cluster, id), numbers(cluster, other)], [[2, 1], [1]]);
});

for (const [how, end] of [
  ['is removed', { do: 'remove-node', node: 'host3', force: true }],
  ['has left', { do: 'leave' }],
] as const)
  test(`after a node ${how}, keys rotate until it has none of them`, () => {
    const { cluster, id } = encrypted();
    cluster.must(endpoint('a'), 3);
    cluster.now += HOUR;
    const known = assignmentsOf(cluster.state, idOf(3))!.networkKeys![0]!.keys.map(({ key }) => key);
    cluster.must(end, end.do === 'leave' ? 3 : 1);
    const rotations: number[] = [];
    const { now } = cluster;
    while (cluster.now < now + 60_000) {
      const [before] = numbers(cluster, id);
      settle(cluster);
      if (numbers(cluster, id)[0] !== before) rotations.push(cluster.now - now);
      cluster.now += cluster.now === now ? 1 : 1000;
    }
    // The first one at once; then each time after the pause.
    assert.equal(rotations, [1, 10_001, 20_001]);
    assert.not.ok(cluster.state.networkKeys.get(id)!.some(({ key }) => known.includes(key)));
    // A network that is created later is not exposed.
    const { id: later } = cluster.must({ do: 'create-network', name: 'later', encrypted: 256 });
    cluster.now += 1000;
    settle(cluster);
    assert.equal(numbers(cluster, later), [1]);
  });

test('many nodes that go one after the other do not shorten the pause', () => {
  const { cluster, id } = encrypted(6);
  cluster.now += HOUR;
  const times: number[] = [];
  const { now } = cluster;
  for (let node = 6; node > 1; node--)
    for (let i = 0; i < 15; i++) {
      if (i === 0) cluster.must({ do: 'leave' }, node);
      cluster.now += 200;
      const [before] = numbers(cluster, id);
      settle(cluster);
      if (numbers(cluster, id)[0] !== before) times.push(cluster.now - now);
    }
  assert.equal(times, [200, 10_200]);
});

test('a renewed certificate rotates no keys', () => {
  const { cluster, id } = encrypted();
  for (const letter of ['a', 'b', 'c'])
    cluster.must({ do: 'renew-certificate', node: idOf(2), fingerprint: letter.repeat(64) });
  cluster.now += HOUR;
  settle(cluster);
  assert.equal(numbers(cluster, id), [1]);
});

test('two managers do not both rotate', () => {
  const { cluster, id } = encrypted();
  cluster.now += TIMES.rotation;
  const plans = [1, 2].map(() => reconcile(cluster.state, cluster.context(cluster.actor(1))).transactions);
  const isOfNetwork = (write: object): boolean => 'put' in write && write.put === KEY.networkKeys(id);
  const ofNetwork = plans.flat().filter(({ writes }) => writes.some(isOfNetwork));
  const outcomes = ofNetwork.map((transaction) => 'revision' in cluster.store.commit(transaction));
  assert.equal(outcomes, [true, false]);
  assert.is((JSON.parse(cluster.store.items.get(KEY.networkKeys(id))!.value) as unknown[]).length, 2);
});

test('a port of encrypted networks, which old stores do not have', () => {
  const init = { do: 'init-cluster', node: newNode(1), ca: CA } as const;
  const of = (ports: object): TestCluster => {
    const cluster = new TestCluster();
    cluster.must({ ...init, ...ports });
    return cluster;
  };
  assert.equal(assignmentsOf(of({}).state, idOf(1))!.cluster.espPort, undefined);
  assert.not.ok(of({}).store.items.get(KEY.cluster)!.value.includes('espPort'));
  assert.is(assignmentsOf(of({ espPort: 5000 }).state, idOf(1))!.cluster.espPort, 5000);
  for (const [espPort, text] of [
    [4789, /expected another port than dataPathPort/],
    [80, /1024 to 49151/],
  ] as const)
    assert.match(new TestCluster().refused({ ...init, espPort }).message, text);
  // A cluster whose VXLAN has the default port.
  const old = of({ dataPathPort: 4500 });
  old.must({ do: 'create-network', name: 'clear' });
  const refusal = old.refused({ do: 'create-network', name: 'red', encrypted: 256 });
  assert.equal([refusal.code, ...refusal.fields], ['conflict', 'encrypted']);
  assert.match(refusal.message, /UDP port 4500/);
  of({ dataPathPort: 4500, espPort: 5000 }).must({ do: 'create-network', name: 'red', encrypted: 256 });
});

test('a mirror that was just filled has the keys of one that has followed', () => {
  const { cluster, id } = encrypted();
  cluster.must({ do: 'rotate-network-key', network: 'red' });
  const fresh = State.of({ revision: cluster.store.revision, items: [...cluster.store.items.values()] });
  assert.equal(fresh.networkKeys.get(id), cluster.state.networkKeys.get(id));
});

test.run();

/** Commands about the cluster, its nodes, tokens, gossip keys and networks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  encryptingKey,
  isRefusal,
  KEY,
  LIMITS,
  plan,
  reconcile,
  State,
  TIMES,
  type Command,
} from '../src/cluster/index.js';
import { CA, fingerprintOf, idOf, MemoryStore, newNode, PEM, TestCluster } from './support/cluster.js';

const HOUR = 3_600_000;

test('the first command makes a manager, tokens, a gossip key and the default pool', () => {
  const cluster = new TestCluster();
  const { tokens } = cluster.must({ do: 'init-cluster', node: newNode(1), ca: CA });
  assert.match(tokens.worker, /^[0-9a-z]{25}$/);
  assert.match(tokens.manager, /^[0-9a-z]{25}$/);
  assert.is.not(tokens.worker, tokens.manager);
  const { state } = cluster;
  assert.equal(state.cluster!.pools, { pools: ['10.0.0.0/8'], maskLength: 24 });
  assert.is(state.cluster!.dataPathPort, 4789);
  const node = state.nodes.get(idOf(1))!;
  assert.equal([node.role, node.state, node.port, node.keyTag], ['manager', 'alive', 2377, state.gossipKeys[0]!.tag]);
  assert.is(Buffer.from(state.gossipKeys[0]!.key, 'base64').length, 16);
  assert.is(Buffer.from(state.gossipKeys[0]!.key, 'base64').toString('base64'), state.gossipKeys[0]!.key);
  const again = cluster.refused({ do: 'init-cluster', node: newNode(2), ca: CA });
  assert.is(again.code, 'conflict');
});

test('init refuses what cannot be', () => {
  const cluster = new TestCluster();
  const init = { do: 'init-cluster', node: newNode(1), ca: CA } as const;
  for (const [change, field, message] of [
    [{ maskLength: 30 }, 'maskLength', /from 1 to 29/],
    [{ pools: ['10.0.0.0/8', '10.1.0.0/16'] }, 'pools', /overlap/],
    [{ dataPathPort: 80 }, 'dataPathPort', /1024 to 49151/],
    [{ ca: { certificate: 'x', key: PEM('PRIVATE KEY') } }, 'ca.certificate', /PEM/],
    [{ node: { ...newNode(1), name: '-x' } }, 'node.name', /begins with a letter or a digit/],
    [{ node: { ...newNode(1), address: '1.2.3' } }, 'node.address', /an IP address/],
    [{ nod: 1 }, 'nod', /unknown field/],
  ] as const) {
    const refusal = cluster.refused({ ...init, ...change });
    assert.equal([refusal.code, ...refusal.fields], [field === 'pools' ? 'conflict' : 'invalid', field]);
    assert.match(refusal.message, message);
  }
  // The key of the authority is not repeated in a message.
  const secret = cluster.refused({ ...init, ca: { certificate: PEM('CERTIFICATE'), key: 'secret' } });
  assert.not.match(secret.message, /secret/);
});

test('a token decides the role; a wrong or rotated one is refused; a repeated join answers the same', () => {
  const cluster = TestCluster.with(1);
  const { tokens } = cluster.state;
  const join = (number: number, secret: string) => ({ do: 'join', node: newNode(number), secret }) as const;
  assert.is(cluster.must(join(2, tokens.get('worker')!)).role, 'worker');
  assert.is(cluster.must(join(3, tokens.get('manager')!)).role, 'manager');
  const old = tokens.get('worker')!;
  const { secret } = cluster.must({ do: 'rotate-token', role: 'worker' });
  assert.is(tokens.get('worker'), secret);
  for (const wrong of [old, secret.slice(1), `${secret}0`, 'x'])
    assert.equal(
      [cluster.refused(join(4, wrong)).code, cluster.refused(join(4, wrong)).fields],
      ['forbidden', ['secret']],
    );
  const first = cluster.must(join(4, secret));
  const { revision } = cluster.store;
  cluster.now += 5000;
  assert.equal(cluster.must(join(4, secret)), first);
  assert.is(cluster.store.revision, revision);
  cluster.must({ do: 'set-node-state', node: idOf(4), state: 'failed' });
  assert.is(cluster.must(join(4, secret)).id, first.id, 'it asks again after a long time');
  const other = cluster.refused({ do: 'join', secret, node: { ...newNode(4), fingerprint: fingerprintOf(99) } });
  assert.equal([other.code, other.fields], ['conflict', ['node.id']]);
});

test('a plan with an old token conflicts in the store', () => {
  const cluster = TestCluster.with(1);
  const planned = plan(
    cluster.state,
    { do: 'join', node: newNode(2), secret: cluster.state.tokens.get('worker')! },
    cluster.context(cluster.actor(1)),
  );
  assert.not.ok(isRefusal(planned));
  cluster.must({ do: 'rotate-token', role: 'worker' });
  if (isRefusal(planned)) return;
  assert.equal(cluster.store.commit(planned.transaction), { conflict: KEY.token('worker') });
});

test('a node that is alive is removed by force only; its certificates are revoked, and it may do nothing more', () => {
  const cluster = TestCluster.with(3);
  const refusal = cluster.refused({ do: 'remove-node', node: 'host2' });
  assert.equal([refusal.code, ...refusal.fields], ['in-use', 'node', 'force']);
  cluster.must({ do: 'renew-certificate', node: idOf(2), fingerprint: fingerprintOf(202) });
  cluster.must({ do: 'remove-node', node: 'host2', force: true });
  assert.equal([...cluster.state.revoked].sort(), [fingerprintOf(2), fingerprintOf(202)].sort());
  assert.is(cluster.refused({ do: 'leave' }, 2).code, 'forbidden');
  cluster.must({ do: 'set-node-state', node: 'host3', state: 'failed' });
  cluster.must({ do: 'remove-node', node: idOf(3) });
  const secret = cluster.state.tokens.get('worker')!;
  assert.is(cluster.refused({ do: 'join', node: newNode(3), secret }).code, 'forbidden', 'a revoked certificate');
});

test('of a node’s certificates two are valid; older ones are revoked', () => {
  const cluster = TestCluster.with(2);
  for (const number of [201, 202, 203])
    cluster.must({ do: 'renew-certificate', node: idOf(2), fingerprint: fingerprintOf(number) });
  assert.equal(cluster.state.nodes.get(idOf(2))!.fingerprints, [fingerprintOf(203), fingerprintOf(202)]);
  assert.equal([...cluster.state.revoked].sort(), [fingerprintOf(2), fingerprintOf(201)].sort());
});

test('the last manager neither leaves nor becomes a worker', () => {
  const cluster = TestCluster.with(3);
  assert.is(cluster.refused({ do: 'leave' }).code, 'in-use');
  assert.is(cluster.refused({ do: 'set-node-role', node: 'host1', role: 'worker' }).code, 'in-use');
  cluster.must({ do: 'set-node-role', node: 'host2', role: 'manager' });
  // Two managers that leave at the same time: the second one conflicts.
  const plans = [1, 2].map((number) => plan(cluster.state, { do: 'leave' }, cluster.context(cluster.actor(number))));
  const [first, second] = plans.map((planned) => (isRefusal(planned) ? undefined : planned.transaction));
  cluster.commit(first!);
  assert.ok('conflict' in cluster.store.commit(second!));
  assert.is(cluster.refused({ do: 'leave' }, 2).code, 'in-use');
  assert.is(cluster.state.nodes.get(idOf(1))!.state, 'left');
  cluster.must({ do: 'leave', force: true }, 2);
});

test('a role is what both the record and the certificate say', () => {
  const cluster = TestCluster.with(2, 2);
  cluster.must({ do: 'set-node-role', node: 'host2', role: 'worker' });
  const command: Command = { do: 'create-network', name: 'net' };
  for (const [number, role] of [
    [2, 'manager'],
    [1, 'worker'],
  ] as const) {
    const refusal = plan(cluster.state, command, cluster.context({ node: idOf(number), role }));
    assert.ok(isRefusal(refusal) && refusal.code === 'forbidden', `${number} ${role}`);
  }
  // What a manager with a worker’s certificate does for itself does not change its role.
  const planned = plan(cluster.state, { do: 'leave', force: true }, cluster.context({ node: idOf(1), role: 'worker' }));
  assert.not.ok(isRefusal(planned));
  if (!isRefusal(planned)) assert.is(planned.answer.role, 'manager');
});

test('gossip keys: the second newest encrypts, and a rotation waits for all living nodes', () => {
  const cluster = TestCluster.with(3);
  const tags = () => cluster.state.gossipKeys.map(({ tag }) => tag);
  const [first] = tags() as [number];
  assert.is(encryptingKey(cluster.state.gossipKeys)!.tag, first);
  cluster.must({ do: 'rotate-gossip-keys' });
  assert.equal(tags(), [first + 1, first]);
  assert.is(encryptingKey(cluster.state.gossipKeys)!.tag, first);
  const early = cluster.refused({ do: 'rotate-gossip-keys' });
  assert.is(early.code, 'in-use');
  assert.match(early.message, /host1, host2, host3/);
  for (const number of [1, 2]) cluster.must({ do: 'report-keys', tag: first + 1 }, number);
  assert.match(cluster.refused({ do: 'rotate-gossip-keys' }).message, /: host3;/);
  cluster.must({ do: 'set-node-state', node: 'host3', state: 'failed' });
  cluster.now += 4000;
  const soon = cluster.refused({ do: 'rotate-gossip-keys' });
  assert.equal([soon.code, ...soon.fields], ['in-use', 'force']);
  assert.match(soon.message, /try again in 6 s/);
  cluster.now += 6000;
  cluster.must({ do: 'rotate-gossip-keys' });
  assert.equal(tags(), [first + 2, first + 1, first]);
  assert.is(encryptingKey(cluster.state.gossipKeys)!.tag, first + 1);
  for (const number of [1, 2]) cluster.must({ do: 'report-keys', tag: first + 2 }, number);
  cluster.now += 10_000;
  cluster.must({ do: 'rotate-gossip-keys' });
  assert.equal(tags(), [first + 3, first + 2, first + 1], 'three keys');
  cluster.must({ do: 'rotate-gossip-keys', force: true });
  assert.is(cluster.refused({ do: 'report-keys', tag: first }, 2).code, 'invalid');
  cluster.must({ do: 'report-keys', tag: first + 3 }, 2);
  assert.equal(
    cluster.must({ do: 'report-keys', tag: first + 2 }, 2),
    { tag: first + 3 },
    'a late report changes nothing',
  );
});

test('no message is lost by a rotation: each node reads what all others send, one rotation behind or not', () => {
  const cluster = TestCluster.with(2);
  const rings = [cluster.state.gossipKeys];
  for (let i = 0; i < 5; i++) {
    for (const number of [1, 2]) cluster.must({ do: 'report-keys', tag: cluster.state.gossipKeys[0]!.tag }, number);
    cluster.now += 10_000;
    cluster.must({ do: 'rotate-gossip-keys' });
    rings.push(cluster.state.gossipKeys);
  }
  for (const [i, ring] of rings.entries())
    for (const other of rings.slice(Math.max(0, i - 1), i + 2))
      assert.ok(
        other.some(({ key }) => key === encryptingKey(ring)!.key),
        `${i}`,
      );
});

test('keys rotate every 12 hours', () => {
  const cluster = TestCluster.with(1);
  assert.equal(reconcile(cluster.state, cluster.context(cluster.actor(1))), {
    transactions: [],
    next: cluster.now + 12 * HOUR,
  });
  const rotate = (): number => {
    cluster.now += 12 * HOUR;
    const { transactions, next } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
    transactions.forEach((one) => cluster.commit(one));
    assert.ok(next === undefined || next > cluster.now);
    return cluster.state.gossipKeys.length;
  };
  assert.is(rotate(), 2);
  assert.is(rotate(), 2, 'host1 does not have the newest key yet');
  cluster.must({ do: 'report-keys', tag: cluster.state.gossipKeys[0]!.tag });
  assert.is(rotate(), 3);
});

for (const [how, end] of [
  ['is removed', { do: 'remove-node', node: 'host3', force: true }],
  ['has left', { do: 'leave' }],
] as const)
  test(`after a node ${how}, keys rotate until it has none of them`, () => {
    const cluster = TestCluster.with(3);
    const settle = (): void => {
      const { transactions } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
      transactions.forEach((one) => cluster.commit(one));
    };
    cluster.now += HOUR;
    const known = cluster.state.gossipKeys.map(({ key }) => key);
    cluster.must(end, end.do === 'leave' ? 3 : 1);
    const { now } = cluster;
    assert.is(reconcile(cluster.state, cluster.context(cluster.actor(1))).next, now + 1);
    for (let i = 1; i <= 3; i++) {
      cluster.now += i === 1 ? 1 : 10_000;
      settle();
      const [newest] = cluster.state.gossipKeys;
      assert.is(newest!.created, cluster.now);
      cluster.must({ do: 'report-keys', tag: newest!.tag }, 1);
      settle();
      assert.is(cluster.state.gossipKeys[0]!.tag, newest!.tag, 'host2 does not have it yet');
      cluster.must({ do: 'report-keys', tag: newest!.tag }, 2);
    }
    const keys = cluster.state.gossipKeys.map(({ key }) => key);
    assert.is(keys.length, 3);
    assert.not.ok(keys.some((key) => known.includes(key)));
    settle();
    assert.equal(
      cluster.state.gossipKeys.map(({ key }) => key),
      keys,
      'no further rotation',
    );
    assert.is(
      reconcile(cluster.state, cluster.context(cluster.actor(1))).next,
      cluster.state.gossipKeys[0]!.created + 12 * HOUR,
    );
  });

test('a renewed certificate rotates no keys', () => {
  const cluster = TestCluster.with(2);
  for (const number of [201, 202, 203])
    cluster.must({ do: 'renew-certificate', node: idOf(2), fingerprint: fingerprintOf(number) });
  cluster.now += HOUR;
  assert.equal(reconcile(cluster.state, cluster.context(cluster.actor(1))).transactions, []);
});

test('a network gets a subnet from the pool, a gateway and a VNI; several subnets get a VNI each', () => {
  const cluster = TestCluster.with(1);
  const one = cluster.must({ do: 'create-network', name: 'uber-net' });
  assert.equal(one.subnets, [{ prefix: '10.0.0.0/24', gateway: '10.0.0.1', vni: 4096, auxiliary: {} }]);
  assert.equal([one.ipv6, one.internal, one.labels, one.mtu], [false, false, {}, undefined]);
  const two = cluster.must({
    do: 'create-network',
    name: 'prod-net',
    subnets: [
      { subnet: '10.1.1.0/24', gateway: '10.1.1.254', range: '10.1.1.128/25', auxiliary: { printer: '10.1.1.7' } },
      { subnet: '11.1.1.0/24', vni: 77 },
    ],
    internal: true,
    labels: { tier: 'db', empty: '' },
    mtu: 1400,
  });
  assert.equal(two.subnets, [
    {
      prefix: '10.1.1.0/24',
      gateway: '10.1.1.254',
      vni: 4097,
      range: '10.1.1.128/25',
      auxiliary: { printer: '10.1.1.7' },
    },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.1', vni: 77, auxiliary: {} },
  ]);
  assert.equal([two.internal, two.labels, two.mtu], [true, { tier: 'db', empty: '' }, 1400]);
  assert.is(cluster.must({ do: 'create-network', name: 'third' }).subnets[0]!.prefix, '10.0.1.0/24');
});

test('with IPv6, a subnet of each family shares a segment', () => {
  const cluster = TestCluster.with(1);
  const { subnets } = cluster.must({
    do: 'create-network',
    name: 'six',
    ipv6: true,
    subnets: [{ subnet: '10.1.0.0/24' }, { subnet: '10.2.0.0/24' }, { subnet: 'fd00:1::/64', vni: 9 }],
  });
  assert.equal(subnets.map(({ vni, gateway }) => [vni, gateway]).slice(0, 3), [
    [9, '10.1.0.1'],
    [4096, '10.2.0.1'],
    [9, 'fd00:1::1'],
  ]);
  assert.match(subnets[3]!.prefix, /^fd[0-9a-f:]+::\/64$/);
  assert.is(subnets[3]!.vni, 4096);
  const refusal = cluster.refused({ do: 'create-network', name: 'x', subnets: [{ subnet: 'fd00:2::/64' }] });
  assert.equal([refusal.code, ...refusal.fields], ['invalid', 'subnets[0].subnet', 'ipv6']);
});

test('an overlap is refused, and names both sides', () => {
  const cluster = TestCluster.with(1);
  cluster.must({ do: 'create-network', name: 'one', subnets: [{ subnet: '10.1.0.0/16' }] });
  const refusal = cluster.refused({
    do: 'create-network',
    name: 'two',
    subnets: [{ subnet: '192.168.0.0/24' }, { subnet: '10.1.7.0/24' }],
  });
  assert.equal([refusal.code, ...refusal.fields], ['conflict', 'subnets[1].subnet']);
  assert.match(refusal.message, /10\.1\.7\.0\/24/);
  assert.match(refusal.message, /10\.1\.0\.0\/16.*network one/);
  const routes = [{ prefix: '172.20.0.0/14', owner: 'route of host1 by eth0' }];
  const route = cluster.refused({ do: 'create-network', name: 'two', subnets: [{ subnet: '172.21.0.0/24' }] }, 1, {
    routes,
  });
  assert.match(route.message, /172\.21\.0\.0\/24.*172\.20\.0\.0\/14.*route of host1 by eth0/);
  const chosen = cluster.must({ do: 'create-network', name: 'free' }, 1, {
    routes: [{ prefix: '10.0.0.0/16', owner: 'x' }],
  });
  assert.is(chosen.subnets[0]!.prefix, '10.2.0.0/24');
  // The routes of one command do not count for the next one.
  assert.is(cluster.must({ do: 'create-network', name: 'next' }).subnets[0]!.prefix, '10.0.0.0/24');
  cluster.must({ do: 'create-network', name: 'same', subnets: [{ subnet: '10.1.0.0/16' }], overlapping: true });
});

test('what a network cannot be is refused, with the field', () => {
  const cluster = TestCluster.with(1);
  cluster.must({ do: 'create-network', name: 'Net', subnets: [{ subnet: '10.1.0.0/24', vni: 5000 }] });
  const subnet = '10.9.0.0/24';
  for (const [change, code, field] of [
    [{ name: 'net' }, 'conflict', 'name'], // as in DNS
    [{ name: '' }, 'invalid', 'name'],
    [{ name: 'a'.repeat(64) }, 'invalid', 'name'],
    [{ name: 'a/b' }, 'invalid', 'name'],
    [{ name: '_a' }, 'invalid', 'name'],
    [{ name: '10.0.0.1' }, 'invalid', 'name'],
    [{ name: 7 }, 'invalid', 'name'],
    [{ subnets: [{ subnet: '10.9.0.0' }] }, 'invalid', 'subnets[0].subnet'],
    [{ subnets: [{ subnet, gateway: '10.8.0.1' }] }, 'invalid', 'subnets[0].gateway'],
    [{ subnets: [{ subnet, range: '10.8.0.0/25' }] }, 'invalid', 'subnets[0].range'],
    [{ subnets: [{ subnet, auxiliary: { a: '10.8.0.1' } }] }, 'invalid', 'subnets[0].auxiliary'],
    [{ subnets: [{ subnet, auxiliary: { a: 'x' } }] }, 'invalid', 'subnets[0].auxiliary.a'],
    [{ subnets: [{ subnet, vni: 2 ** 24 }] }, 'invalid', 'subnets[0].vni'],
    [{ subnets: [{ subnet, vni: 5000 }] }, 'conflict', 'subnets[0].vni'],
    [
      {
        subnets: [
          { subnet, vni: 1 },
          { subnet: '10.8.0.0/24', vni: 1 },
        ],
      },
      'invalid',
      'subnets[1].vni',
    ],
    [{ subnets: [{ subnet }, { subnet: '10.9.0.0/25' }] }, 'conflict', 'subnets'],
    [{ mtu: 100 }, 'invalid', 'mtu'],
    [{ internal: 'yes' }, 'invalid', 'internal'],
    [{ labels: { a: 'x'.repeat(LIMITS.labelValue + 1) } }, 'invalid', 'labels.a'],
    [{ labels: { 'a b': 'x' } }, 'invalid', 'labels'],
    [{ labels: { a: '\u001b[31m' } }, 'invalid', 'labels.a'],
    [{ labels: ['a'] }, 'invalid', 'labels'],
    [{ subnet }, 'invalid', 'subnet'],
  ] as const) {
    const refusal = cluster.refused({ do: 'create-network', ...{ name: 'other', ...(change as object) } });
    assert.equal([refusal.code, ...refusal.fields], [code, field], refusal.message);
    assert.ok(refusal.message.includes(field), refusal.message);
  }
  for (const command of [null, 7, 'create-network', {}, { do: 'x' }, { do: ['create-network'] }, []])
    assert.is(cluster.refused(command).code, 'invalid');
});

test('two managers that are behind cannot both create a network with one name, subnet or VNI', () => {
  const cluster = TestCluster.with(2, 2);
  const planned = (['a', 'A', 'b'] as const).map((name, i) =>
    plan(
      cluster.state,
      { do: 'create-network', name, subnets: [{ subnet: `10.${i}.0.0/16` }] },
      cluster.context(cluster.actor(1)),
    ),
  );
  const [first, ...others] = planned.map((one) => (isRefusal(one) ? undefined : one.transaction));
  cluster.commit(first!);
  for (const other of others) assert.ok('conflict' in cluster.store.commit(other!));
});

test('a network with endpoints or services is not removed; its VNI and name are free afterwards', () => {
  const cluster = TestCluster.with(2);
  cluster.must({ do: 'create-network', name: 'net' });
  for (let i = 0; i < 7; i++)
    cluster.must({ do: 'create-endpoint', name: `e${i}`, network: 'net', kind: 'run', node: 'host2' });
  const refusal = cluster.refused({ do: 'remove-network', network: 'net' });
  assert.is(refusal.code, 'in-use');
  assert.match(refusal.message, /e0 on host2.* and 2 more/);
  for (let i = 0; i < 7; i++) cluster.must({ do: 'remove-endpoint', network: 'net', endpoint: `e${i}` });
  cluster.must({ do: 'create-service', name: 's', networks: ['net'], command: ['true'], replicas: 0 });
  assert.match(cluster.refused({ do: 'remove-network', network: 'net' }).message, /services use net: s/);
  cluster.must({ do: 'remove-service', service: 's' });
  cluster.must({ do: 'remove-network', network: 'net' });
  const again = cluster.must({ do: 'create-network', name: 'net' });
  assert.equal([again.subnets[0]!.prefix, again.subnets[0]!.vni], ['10.0.0.0/24', 4097], 'the VNI is held for a time');
  assert.is(cluster.refused({ do: 'remove-network', network: 'nothing' }).code, 'not-found');
});

test('a network is not removed while another manager adds an endpoint, and endpoints do not disturb each other', () => {
  const cluster = TestCluster.with(2, 2);
  cluster.must({ do: 'create-network', name: 'net' });
  const make = (command: Command) => {
    const planned = plan(cluster.state, command, cluster.context(cluster.actor(1)));
    return isRefusal(planned) ? assert.unreachable(planned.message) : planned.transaction;
  };
  const remove = make({ do: 'remove-network', network: 'net' })!;
  const a = make({ do: 'create-endpoint', name: 'a', network: 'net', kind: 'run', addresses: ['10.0.0.5'] })!;
  const b = make({ do: 'create-endpoint', name: 'b', network: 'net', kind: 'run', addresses: ['10.0.0.6'] })!;
  const service = make({ do: 'create-service', name: 's', networks: ['net'], command: ['true'] })!;
  assert.ok('revision' in cluster.store.commit(a));
  assert.ok('conflict' in cluster.store.commit(remove));
  assert.ok('revision' in cluster.store.commit(b));
  assert.ok('revision' in cluster.store.commit(service));
  const other = TestCluster.with(2, 2);
  other.must({ do: 'create-network', name: 'net' });
  const late = plan(
    other.state,
    { do: 'create-endpoint', name: 'a', network: 'net', kind: 'run' },
    other.context(other.actor(1)),
  );
  other.must({ do: 'remove-network', network: 'net' });
  if (!isRefusal(late)) assert.ok('conflict' in other.store.commit(late.transaction));
});

test('released VNIs are forgotten after their hold', () => {
  const cluster = TestCluster.with(1);
  cluster.must({ do: 'create-network', name: 'net' });
  cluster.must({ do: 'remove-network', network: 'net' });
  const step = () => {
    const { transactions, next } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
    transactions.forEach((one) => cluster.commit(one));
    return next;
  };
  assert.is(step(), cluster.now + TIMES.hold);
  assert.ok(cluster.store.items.has(KEY.vni(4096)));
  cluster.now += TIMES.hold;
  step();
  assert.not.ok(cluster.store.items.has(KEY.vni(4096)));
});

test('a mirror refuses what is not JSON, and names the key', () => {
  const store = new MemoryStore();
  const key = KEY.node(newNode(1).id);
  store.commit({ conditions: [], writes: [{ put: key, value: '{' }] });
  assert.throws(() => State.of({ revision: 1, items: [...store.items.values()] }), new RegExp(`${key}.*not JSON`));
});

test('commands before init are refused', () => {
  const cluster = new TestCluster();
  assert.is(cluster.refused({ do: 'create-network', name: 'x' }).code, 'not-found');
  assert.is(cluster.refused({ do: 'join', node: newNode(1), secret: 'x' }).code, 'not-found');
});

test.run();

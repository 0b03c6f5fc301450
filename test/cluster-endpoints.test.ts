/** Commands about endpoints, and what a node may see of them. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  assignmentsOf,
  isRefusal,
  KEY,
  plan,
  reconcile,
  State,
  TIMES,
  viewFor,
  type Answer,
  type CreateEndpoint,
  type EndpointRecord,
  type Refusal,
} from '../src/cluster/index.js';
import { idOf, TestCluster } from './support/cluster.js';

/** A cluster with a network `net`, 10.0.0.0/24. */
function withNetwork(nodes = 3): TestCluster {
  const cluster = TestCluster.with(nodes);
  cluster.must({ do: 'create-network', name: 'net' });
  return cluster;
}

const endpoint = (name: string, more: Partial<CreateEndpoint> = {}): CreateEndpoint => ({
  ...{ do: 'create-endpoint', name, network: 'net', kind: 'run' },
  ...more,
});

const remove = (cluster: TestCluster, name: string, by = 1): EndpointRecord =>
  cluster.must({ do: 'remove-endpoint', network: 'net', endpoint: name }, by);

/** Runs the scheduler until it has nothing more to do. */
function settle(cluster: TestCluster): number | undefined {
  for (let round = 0; round < 20; round++) {
    const { transactions, next } = reconcile(cluster.state, cluster.context(cluster.actor(1)));
    if (transactions.length === 0) return next;
    transactions.forEach((one) => cluster.commit(one));
  }
  assert.unreachable('the scheduler does not come to an end');
  return undefined;
}

test('an endpoint gets the next address and the MAC address that follows from it', () => {
  const cluster = withNetwork();
  const a = cluster.must(endpoint('a'), 2);
  assert.equal([a.addresses, a.node, a.kind, a.aliases], [['10.0.0.2'], idOf(2), 'run', []]);
  // Locally administered, with the VNI 4096 = 0x1000 and the address in it.
  assert.match(a.mac, /:0a:00:00:02$/);
  assert.is(Number.parseInt(a.mac.slice(0, 2), 16) & 3, 2);
  const b = cluster.must(endpoint('b', { aliases: ['db', 'primary'], kind: 'attach' }), 3);
  assert.equal([b.addresses, b.aliases], [['10.0.0.3'], ['db', 'primary']]);
});

test('a requested address and MAC address are given, in canonical text', () => {
  const cluster = TestCluster.with(1);
  cluster.must({
    do: 'create-network',
    name: 'net',
    ipv6: true,
    subnets: [
      { subnet: '10.1.1.0/24' },
      { subnet: '11.1.1.0/24' },
      { subnet: 'fd00:1::/64' },
      { subnet: 'fd00:2::/64' },
    ],
  });
  const a = cluster.must(endpoint('a', { addresses: ['11.1.1.20'], mac: '02-42-AA-00-00-01' }));
  assert.equal([a.addresses, a.mac], [['11.1.1.20', 'fd00:2::2'], '02:42:aa:00:00:01']);
  const b = cluster.must(endpoint('b', { addresses: ['FD00:1:0::0010'] }));
  assert.equal(b.addresses, ['10.1.1.2', 'fd00:1::10']);
  const c = cluster.must(endpoint('c'));
  assert.equal(c.addresses, ['10.1.1.3', 'fd00:1::2']);
  const refusal = cluster.refused(endpoint('d', { addresses: ['10.1.1.9', 'fd00:2::9'] }));
  assert.match(refusal.message, /different segments/);
});

test('an address that cannot be given is refused, and the message names its owner', () => {
  const cluster = withNetwork();
  cluster.must(endpoint('first', { addresses: ['10.0.0.9'], mac: '02:00:00:00:00:09', node: 'host2' }));
  cluster.must({ do: 'create-service', name: 'web', networks: ['net'], command: ['true'], replicas: 0 });
  for (const [change, code, field, message] of [
    [{ name: 'FIRST' }, 'conflict', 'name', /endpoint first on host2/],
    [{ name: 'web' }, 'conflict', 'name', /a service/],
    [{ addresses: ['10.0.0.9'] }, 'conflict', 'addresses[0]', /first on host2 has 10\.0\.0\.9/],
    [{ addresses: ['10.0.0.1'] }, 'invalid', 'addresses[0]', /the gateway/],
    [{ addresses: ['10.0.0.255'] }, 'invalid', 'addresses[0]', /broadcast/],
    [{ addresses: ['10.0.1.9'] }, 'invalid', 'addresses[0]', /10\.0\.0\.0\/24/],
    [{ addresses: ['10.0.0.10', '10.0.0.11'] }, 'invalid', 'addresses', /one IPv4/],
    [{ addresses: ['x'] }, 'invalid', 'addresses[0]', /an IP address/],
    [{ mac: '02:00:00:00:00:09' }, 'conflict', 'mac', /endpoint first/],
    [{ mac: '01:00:5e:00:00:09' }, 'invalid', 'mac', /group/],
    [{ mac: 'x' }, 'invalid', 'mac', /x/],
    [{ network: 'no' }, 'not-found', 'network', /there is no network no/],
    [{ node: 'no' }, 'not-found', 'node', /there is no node no/],
    [{ name: 'a b' }, 'invalid', 'name', /a name/],
    [{ aliases: ['a', 'A'] }, 'invalid', 'aliases', /twice/],
    [{ aliases: Array.from({ length: 17 }, (_, i) => `a${i}`) }, 'invalid', 'aliases', /0 to 16/],
    [{ kind: 'task' }, 'invalid', 'kind', /run, attach/],
  ] as const) {
    const refusal = cluster.refused({ ...endpoint('second'), ...change });
    assert.equal([refusal.code, ...refusal.fields], [code, field], refusal.message);
    assert.match(refusal.message, message);
  }
});

test('a subnet that is full refuses, a network with a second one goes on there', () => {
  const cluster = TestCluster.with(1);
  cluster.must({ do: 'create-network', name: 'net', subnets: [{ subnet: '10.0.0.0/29' }, { subnet: '10.0.1.0/30' }] });
  const given = Array.from({ length: 6 }, (_, i) => cluster.must(endpoint(`e${i}`)).addresses[0]);
  assert.equal(given, ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.1.2']);
  const refusal = cluster.refused(endpoint('more'));
  assert.is(refusal.code, 'exhausted');
  remove(cluster, 'e2');
  assert.is(cluster.refused(endpoint('more')).code, 'exhausted', 'a released address is held');
  cluster.now += TIMES.hold;
  settle(cluster);
  assert.equal(cluster.must(endpoint('more')).addresses, ['10.0.0.4']);
});

test('a repeated command answers with the same endpoint; another one with its id is refused', () => {
  const cluster = withNetwork();
  const id = idOf(500);
  const made = cluster.must(endpoint('a', { id }), 2);
  const { revision } = cluster.store;
  assert.equal(cluster.must(endpoint('a', { id }), 2), made);
  assert.is(cluster.store.revision, revision);
  assert.equal(cluster.refused(endpoint('b', { id }), 2).fields, ['id']);
  assert.equal(cluster.refused(endpoint('a', { id }), 3).fields, ['id']);
});

test('an address that another node had is held; the node itself may take it again at once', () => {
  const cluster = withNetwork();
  const addresses = ['10.0.0.50'];
  cluster.must(endpoint('a', { addresses }), 2);
  remove(cluster, 'a', 2);
  cluster.must(endpoint('a', { addresses }), 2);
  remove(cluster, 'a', 2);
  const refusal = cluster.refused(endpoint('a', { addresses }), 3);
  assert.equal([refusal.code, ...refusal.fields], ['conflict', 'addresses[0]']);
  assert.match(refusal.message, /10\.0\.0\.50 was released by host2 .* try again in 60 s/);
  cluster.now += TIMES.hold;
  cluster.must(endpoint('a', { addresses }), 3);
});

test('a manager that has just started holds released addresses, because it does not know yet which nodes have failed', () => {
  const cluster = withNetwork();
  const addresses = ['10.0.0.50'];
  cluster.must(endpoint('a', { addresses }), 2);
  remove(cluster, 'a', 2);
  cluster.now += TIMES.hold;
  const { revision, items } = cluster.store;
  const mirror = State.of({ revision, items: [...items.values()] }, cluster.now);
  const answer = (): unknown => plan(mirror, endpoint('a', { addresses }), cluster.context(cluster.actor(3)));
  assert.match((answer() as Refusal).message, /was released by host2 .* try again in 60 s/);
  assert.equal(reconcile(mirror, cluster.context(cluster.actor(1))).transactions, [], 'nor is it forgotten');
  cluster.now += TIMES.hold;
  assert.ok('transaction' in (answer() as object));
});

test('the addresses of a failed node are held until it returns or is removed', () => {
  const cluster = TestCluster.with(3);
  cluster.must({ do: 'create-network', name: 'net', subnets: [{ subnet: '10.0.0.0/30' }] });
  const addresses = ['10.0.0.2'];
  cluster.must(endpoint('a'), 2);
  cluster.must({ do: 'set-node-state', node: 'host2', state: 'failed' });
  remove(cluster, 'a');
  cluster.now += 100 * TIMES.hold;
  settle(cluster);
  assert.match(cluster.refused(endpoint('b', { addresses }), 3).message, /host2 had 10\.0\.0\.2 and has failed/);
  assert.is(cluster.refused(endpoint('b'), 3).code, 'exhausted');
  cluster.must({ do: 'set-node-state', node: 'host2', state: 'alive' });
  assert.is(cluster.refused(endpoint('b'), 3).code, 'exhausted', 'it has to hear of it');
  assert.is(settle(cluster), cluster.now + TIMES.hold);
  cluster.now += TIMES.hold;
  settle(cluster);
  assert.equal(cluster.must(endpoint('b'), 3).addresses, addresses);
});

test('the addresses of a failed node that is removed, or returns and leaves, are held from then on', () => {
  for (const ways of [
    [{ do: 'remove-node', node: 'host2' }],
    [
      { do: 'set-node-state', node: 'host2', state: 'alive' },
      { do: 'remove-node', node: 'host2', force: true },
    ],
  ] as const) {
    const cluster = withNetwork();
    const addresses = ['10.0.0.2'];
    cluster.must(endpoint('a', { addresses }), 2);
    cluster.must({ do: 'set-node-state', node: 'host2', state: 'failed' });
    remove(cluster, 'a');
    cluster.now += 100 * TIMES.hold;
    for (const way of ways) cluster.must(way);
    settle(cluster);
    assert.match(cluster.refused(endpoint('b', { addresses }), 3).message, /try again in 60 s/);
    cluster.now += TIMES.hold;
    settle(cluster);
    cluster.must(endpoint('b', { addresses }), 3);
  }
});

test('the endpoints of a node that left or was removed end, but not those of one that failed', () => {
  const cluster = withNetwork(4);
  for (const number of [2, 3, 4]) cluster.must(endpoint(`e${number}`), number);
  cluster.must({ do: 'leave' }, 2);
  cluster.must({ do: 'remove-node', node: 'host3', force: true });
  cluster.must({ do: 'set-node-state', node: 'host4', state: 'failed' });
  settle(cluster);
  assert.equal(
    [...cluster.state.endpoints.values()].map(({ name }) => name),
    ['e4'],
  );
  for (const key of [KEY.endpointName, KEY.mac] as const)
    assert.is([...cluster.store.items.keys()].filter((one) => one.startsWith(key('', '').split('/')[0]!)).length, 1);
});

test('two managers that are behind cannot give one address, name or MAC address to two endpoints', () => {
  const cluster = withNetwork();
  const plans = [
    endpoint('a'),
    endpoint('b', { mac: '02:00:00:00:00:02' }),
    endpoint('A', { addresses: ['10.0.0.9'] }),
    endpoint('c', { addresses: ['10.0.0.8'], mac: '02:00:00:00:00:01' }),
    endpoint('d', { addresses: ['10.0.0.7'], mac: '02:00:00:00:00:01' }),
  ].map((command) => plan(cluster.state, command, cluster.context(cluster.actor(1))));
  const outcomes = plans.map((one) =>
    isRefusal(one) ? 'refused' : Object.values(cluster.store.commit(one.transaction))[0],
  );
  const { id } = cluster.state.networkNamed('net')!;
  const { revision } = cluster.state;
  assert.equal(outcomes, [
    revision + 1,
    KEY.address(id, '10.0.0.2'),
    KEY.endpointName(id, 'A'),
    revision + 2,
    KEY.mac(id, '02:00:00:00:00:01'),
  ]);
});

test('a derived MAC address that somebody asked for is not given twice', () => {
  const cluster = withNetwork();
  const { mac } = cluster.must(endpoint('a'));
  remove(cluster, 'a');
  cluster.must(endpoint('thief', { addresses: ['10.0.0.77'], mac: mac.replace(/02$/, '03') }));
  const next = cluster.must(endpoint('b'));
  assert.is(next.addresses[0], '10.0.0.2'.replace('2', '3'));
  assert.is.not(next.mac, mac.replace(/02$/, '03'));
});

test('a host with a route that overlaps does not get the network', () => {
  const cluster = withNetwork();
  const routes = [{ prefix: '10.0.0.128/25', owner: 'the subnet of eth1' }];
  const refusal = cluster.refused(endpoint('a'), 2, { routes });
  assert.is(refusal.code, 'conflict');
  assert.match(
    refusal.message,
    /10\.0\.0\.0\/24 of network net overlaps with 10\.0\.0\.128\/25, the subnet of eth1, on host2/,
  );
  cluster.must(endpoint('a'), 2);
  cluster.must(endpoint('b'), 2, { routes }); // the route is that of the network
});

test('a command brings the routes of its own node, and those of no other one', () => {
  const cluster = withNetwork();
  const routes = [{ prefix: '10.0.0.0/16', device: 'eth1' }];
  const refusal = cluster.refused(endpoint('a', { routes }), 2);
  assert.equal([refusal.code, refusal.fields], ['conflict', ['network']]);
  assert.match(refusal.message, /overlaps with 10\.0\.0\.0\/16, the route by eth1, on host2/);
  cluster.must(endpoint('a', { routes, node: 'host3' }), 1);
  for (const prefix of ['10.0.0.0/33', '10.0.0.1', 'x', 'f'.repeat(51)])
    assert.equal(
      cluster.refused(endpoint('b', { routes: [{ prefix, device: 'eth1' }] }), 2).fields,
      ['routes[0].prefix'],
      prefix,
    );
  assert.equal(
    cluster.refused({
      do: 'create-network',
      name: 'other',
      subnets: [{ subnet: '10.5.0.0/24' }],
      routes: [{ prefix: '10.5.0.0/16', device: 'eth1' }],
    }).fields,
    ['subnets[0].subnet'],
  );
  // An automatic subnet is beside the routes.
  const all = [{ prefix: '10.0.0.0/9', device: 'eth1' }];
  const made = cluster.must({ do: 'create-network', name: 'other', routes: all });
  assert.is(made.subnets[0]!.prefix, '10.128.0.0/24');
});

test('a worker changes nothing but its own endpoints', () => {
  const cluster = withNetwork();
  cluster.must(endpoint('mine'), 2);
  cluster.must(endpoint('other'), 3);
  const manager = { do: 'create-endpoint', name: 'x', network: 'net', kind: 'run', node: 'host2' } as const;
  for (const command of [
    { do: 'create-network', name: 'x' },
    { do: 'remove-network', network: 'net' },
    { ...manager, node: 'host3' },
    { do: 'remove-endpoint', network: 'net', endpoint: 'other' },
    { do: 'create-service', name: 's', networks: ['net'], command: ['true'] },
    { do: 'scale-service', service: 's', replicas: 1 },
    { do: 'remove-service', service: 's' },
    { do: 'remove-node', node: 'host3' },
    { do: 'set-node-state', node: 'host3', state: 'failed' },
    { do: 'set-node-role', node: 'host2', role: 'manager' },
    { do: 'renew-certificate', node: idOf(2), fingerprint: 'a'.repeat(64) },
    { do: 'rotate-token', role: 'worker' },
    { do: 'rotate-gossip-keys' },
    { do: 'rotate-network-key', network: 'net' },
  ])
    assert.is(cluster.refused(command, 2).code, 'forbidden', command.do);
  cluster.must(manager, 2);
  remove(cluster, 'mine', 2);
  cluster.must({ ...manager, name: 'y' }); // a manager may
  remove(cluster, 'other');
});

test('a reference is a name, an id, or the beginning of an id', () => {
  const cluster = withNetwork();
  const { id } = cluster.state.networkNamed('NET')!;
  for (const network of ['net', 'Net', id, id.slice(0, 12)])
    remove(cluster, cluster.must(endpoint('a', { network })).id.slice(0, 8));
  // All ids of the test's nodes begin alike.
  const refusal = cluster.refused(endpoint('a', { node: 'nnnnnn' }));
  assert.equal([refusal.code, ...refusal.fields], ['invalid', 'node']);
  assert.match(refusal.message, /several nodes/);
  const { id: other } = cluster.must(endpoint('b'));
  assert.is(
    cluster.refused({ do: 'remove-endpoint', network: 'net', endpoint: other.slice(0, 5) }).code,
    'not-found',
    'a short name is not the beginning of an id',
  );
});

test('an assignment has the networks of its node and nothing of others', () => {
  const cluster = withNetwork();
  const { state } = cluster;
  cluster.must({ do: 'create-network', name: 'other' });
  assert.equal(assignmentsOf(state, idOf(2))!.networks, []);
  const a = cluster.must(endpoint('a'), 2);
  cluster.must(endpoint('b', { network: 'other' }), 3);
  const { networks, endpoints, tasks, managers, gossipKeys, role, cluster: about } = assignmentsOf(state, idOf(2))!;
  assert.equal(
    networks.map(({ name }) => name),
    ['net'],
  );
  assert.equal(endpoints, [a]);
  assert.equal([tasks, role, gossipKeys.length, about.dataPathPort], [[], 'worker', 1, 4789]);
  assert.equal(managers, [{ id: idOf(1), address: '172.31.0.1', port: 2377 }]);
  assert.not.match(JSON.stringify(assignmentsOf(state, idOf(2))), /other/);
  remove(cluster, 'a', 2);
  assert.equal(assignmentsOf(state, idOf(2))!.networks, []);
  cluster.must({ do: 'leave' }, 2);
  assert.is(assignmentsOf(state, idOf(2)), undefined);
  assert.is(assignmentsOf(state, idOf(99)), undefined);
});

test('a worker sees its networks, their endpoints, and the nodes of these', () => {
  const cluster = withNetwork(4);
  const { state } = cluster;
  cluster.must({ do: 'create-network', name: 'other' });
  cluster.must(endpoint('a'), 2);
  cluster.must(endpoint('b'), 3);
  cluster.must(endpoint('c', { network: 'other' }), 4);
  const names = (list: readonly { name: string }[]): string =>
    list
      .map(({ name }) => name)
      .sort()
      .join(' ');
  const view = viewFor(state, idOf(2))!;
  assert.equal([names(view.networks), names(view.endpoints), names(view.nodes)], ['net', 'a b', 'host2 host3']);
  const all = viewFor(state, idOf(1))!;
  assert.equal(
    [names(all.networks), names(all.endpoints), names(all.nodes)],
    ['net other', 'a b c', 'host1 host2 host3 host4'],
  );
  assert.is(names(viewFor(state, idOf(1), 'worker')!.networks), '', 'with a worker’s certificate');
  assert.not.match(JSON.stringify(all), new RegExp(`fingerprint|${state.tokens.get('worker')}|PRIVATE`));
  assert.is(viewFor(state, idOf(99)), undefined);
});

test('the answer has the type of its command', () => {
  const cluster = withNetwork();
  const answer: Answer<'create-endpoint'> = cluster.must(endpoint('a'));
  assert.is(cluster.state.endpoints.get(answer.id)!.name, 'a');
});

test.run();

/** What an assignment means on a host. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { AssignedTask, Assignment, EndpointRecord, NetworkRecord } from '../src/cluster/index.js';
import { networksOfEndpoint, ownNames } from '../src/host/cluster/node-names.js';
import { GroupKeyring } from '../src/host/group-keys.js';
import {
  groupOf,
  keysInOrder,
  setKeys,
  vtepNetwork,
  vtepPlan,
  wantedAttachments,
  wantedSandboxes,
} from '../src/host/cluster/node-plan.js';

const network: NetworkRecord = {
  id: 'net1',
  name: 'prod-net',
  subnets: [
    { prefix: '10.1.1.0/24', gateway: '10.1.1.1', vni: 4096, auxiliary: {} },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 4097, auxiliary: {} },
    { prefix: 'fd00:1::/64', gateway: 'fd00:1::1', vni: 4096, auxiliary: {} },
  ],
  ...{ ipv6: true, internal: false, labels: {}, created: 1 },
};
const second: NetworkRecord = {
  ...network,
  ...{ id: 'net2', name: 'other', internal: true, mtu: 1400 },
  subnets: [{ prefix: '10.9.0.0/16', gateway: '10.9.0.1', vni: 5000, auxiliary: {} }],
};
const endpoint = (id: string, more: Partial<EndpointRecord> = {}): EndpointRecord => ({
  ...{ id, name: 'p1', network: 'net1', addresses: ['10.1.1.10', 'fd00:1::10'], mac: '02:42:0a:01:01:0a' },
  ...{ node: 'node1', kind: 'run', aliases: [], created: 1 },
  ...more,
});
const task = (more: Partial<AssignedTask> = {}): AssignedTask => ({
  ...{
    id: 'task1abcdefgh',
    service: 's1',
    slot: 1,
    attempt: 2,
    state: 'assigned',
    name: 'test.1',
    serviceName: 'test',
  },
  ...{ command: ['true'], environment: {}, endpoints: [{ network: 'net1', id: 'e1' }] },
  ...more,
});
const assignment = (more: Partial<Assignment>): Assignment => ({
  ...{ revision: 1, node: 'node1', role: 'worker', cluster: { id: 'c1', dataPathPort: 4790 }, managers: [] },
  ...{ gossipKeys: [], networks: [network, second], endpoints: [], tasks: [] },
  ...more,
});

test('a sandbox has the addresses, gateways and routes of its network', () => {
  const [wanted] = wantedSandboxes(assignment({ endpoints: [endpoint('abcdefghijkl', { aliases: ['web'] })] }), [
    'corp.example',
  ]).values();
  assert.equal(wanted!.sandbox, {
    name: 'p1-abcdefgh',
    addresses: ['10.1.1.10/24', 'fd00:1::10/64'],
    gateways: ['10.1.1.1', 'fd00:1::1'],
    routes: [{ to: '11.1.1.0/24', via: '10.1.1.1' }],
    resolver: { servers: ['10.1.1.1'], search: ['corp.example'], options: ['ndots:0'] },
    hosts: [
      { address: '10.1.1.10', names: ['p1', 'web'] },
      { address: 'fd00:1::10', names: ['p1', 'web'] },
    ],
  });
  assert.equal(wanted!.taps, [
    { name: 'eth0', address: ['10.1.1.10/24', 'fd00:1::10/64'], mac: '02:42:0a:01:01:0a', vni: 4096 },
  ]);
});

test('a task has one sandbox with a device in each of its networks, once all endpoints are there', () => {
  const other = endpoint('e2', { network: 'net2', addresses: ['10.9.0.2'] });
  const both = [
    { network: 'net1', id: 'e1' },
    { network: 'net2', id: 'e2' },
  ];
  const tasks = [task({ endpoints: both })];
  const of = { kind: 'task' as const };
  const [wanted] = wantedSandboxes(
    assignment({ endpoints: [endpoint('e1', of), { ...other, ...of }], tasks }),
  ).values();
  assert.equal(
    wanted!.taps.map(({ name, vni }) => [name, vni]),
    [
      ['eth0', 4096],
      ['eth1', 5000],
    ],
  );
  assert.is(wanted!.task!.attempt, 2);
  assert.is(wantedSandboxes(assignment({ endpoints: [endpoint('e1', of)], tasks })).size, 0);
});

test('a network without a way out has no default route', () => {
  const one = endpoint('e1', { network: 'net2', addresses: ['10.9.0.2'] });
  const [wanted] = wantedSandboxes(assignment({ endpoints: [one] })).values();
  assert.equal(wanted!.sandbox.gateways, []);
});

test('an endpoint in a namespace of somebody else has a TAP there, and no sandbox', () => {
  const given = assignment({ endpoints: [endpoint('e1', { kind: 'attach', addresses: ['11.1.1.20'] })] });
  assert.is(wantedSandboxes(given).size, 0);
  const places = new Map([['e1', { netns: 'c1', device: 'weft0' }]]);
  assert.equal(
    [...wantedAttachments(given, places)],
    [['e1', { name: 'weft0', netns: 'c1', address: ['11.1.1.20/24'], mac: '02:42:0a:01:01:0a', vni: 4097 }]],
  );
  assert.is(wantedAttachments(given, new Map()).size, 0, 'nobody here knows where it is');
});

test('names are announced of endpoints, and of tasks whose command runs, with their service', () => {
  const of = { kind: 'task' as const };
  const endpoints = [
    endpoint('e1', { ...of, name: 'test.1', addresses: ['10.1.1.11', 'fd00:1::11'] }),
    endpoint('e2', { ...of, name: 'test.2', addresses: ['10.1.1.12'] }),
    endpoint('e3', { name: 'p1', aliases: ['web'], network: 'net2', addresses: ['10.9.0.2'] }),
  ];
  const tasks = [task(), task({ id: 't2', endpoints: [{ network: 'net1', id: 'e2' }] })];
  const mac = '02:42:0a:01:01:0a';
  const first = { mac, name: 'test.1', aliases: [], service: { id: 's1', name: 'test' } };
  assert.equal(
    [...ownNames(assignment({ endpoints, tasks }), ({ id }) => id !== 't2')],
    [
      [
        'net1',
        [
          { ip: '10.1.1.11', ...first },
          { ip: 'fd00:1::11', ...first },
        ],
      ],
      ['net2', [{ ip: '10.9.0.2', mac, name: 'p1', aliases: ['web'], service: undefined }]],
    ],
  );
});

test('an endpoint sees the names of all networks of its sandbox, first those of its own', () => {
  const of = { kind: 'task' as const };
  const e1 = endpoint('e1', of);
  const e2 = endpoint('e2', { ...of, network: 'net2' });
  const e3 = endpoint('e3');
  const both = [
    { network: 'net1', id: 'e1' },
    { network: 'net2', id: 'e2' },
  ];
  const given = assignment({ endpoints: [e1, e2, e3], tasks: [task({ endpoints: both })] });
  const seen = (one: EndpointRecord): string[] => networksOfEndpoint(given, one).map(({ id }) => id);
  assert.equal([seen(e1), seen(e2), seen(e3)], [['net1', 'net2'], ['net2', 'net1'], ['net1']]);
});

test('the VTEP encrypts with the second key, and joins other nodes only', () => {
  const keys = ['AAAAAAAAAAAAAAAAAAAAAA==', 'AQEBAQEBAQEBAQEBAQEBAQ==', 'AgICAgICAgICAgICAgICAg=='];
  const gossipKeys = keys.map((key, i) => ({ key, tag: 3 - i, created: 1 }));
  assert.equal(
    keysInOrder(gossipKeys).map(({ tag }) => tag),
    [2, 3, 1],
  );
  assert.equal(
    keysInOrder(gossipKeys.slice(0, 1)).map(({ tag }) => tag),
    [3],
  );
  const place = { address: '172.31.1.5', dataPath: '172.31.2.5' };
  const plan = vtepPlan(assignment({ gossipKeys }), place, ['172.31.1.5', '172.31.1.6']);
  assert.equal([plan.local, plan.port, plan.keepTaps], ['172.31.2.5', 4790, true]);
  assert.equal([plan.gossip!.name, plan.gossip!.bind.host], ['node1', '172.31.1.5']);
  assert.equal(
    [plan.gossip!.join, plan.gossip!.keys],
    [[{ host: '172.31.1.6', port: 7946 }], [keys[1], keys[0], keys[2]]],
  );
});

test('a network of the VTEP has the id, which the tables of the gossip have', () => {
  assert.equal(vtepNetwork(second), {
    ...{ name: 'net2', gossip: true, mtu: 1400 },
    subnets: [{ prefix: '10.9.0.0/16', gateway: '10.9.0.1', vni: 5000 }],
  });
});

test('an encrypted network has its id as its key group, and the VTEP gets its keys', () => {
  const secret = { ...second, encrypted: 128 as const };
  assert.equal([groupOf(secret), groupOf(second)], ['net2', undefined]);
  const keys = [2, 1].map((number) => ({ number, key: `${'A'.repeat(21)}A==`, created: number }));
  const groupKeys = new GroupKeyring();
  const given = assignment({ networks: [secret], networkKeys: [{ network: 'net2', keys }] });
  setKeys({ gossip: undefined, groupKeys }, given);
  assert.equal(
    groupKeys.get('net2'),
    keys.map(({ number, key }) => ({ number, key })),
  );
  // Managers of a version without encrypted networks send no keys.
  setKeys({ gossip: undefined, groupKeys }, assignment({}));
  assert.is(groupKeys.get('net2').length, 2);
});

test('the port of encrypted networks is that of the cluster; in an old cluster, the default one', () => {
  const port = (ports: object): number =>
    vtepPlan(assignment({ cluster: { id: 'c1', dataPathPort: 4790, ...ports } }), { address: '172.31.1.5' }, [])
      .espPort;
  assert.equal([port({}), port({ espPort: 5000 }), port({ dataPathPort: 4500 })], [4500, 5000, 4500]);
});

test.run();

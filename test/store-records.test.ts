/** Records of the store that are damaged, or of a later version: each is named, with the field at fault, and nothing is half applied. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KEY, readRecord, RecordError, State } from '../src/cluster/index.js';
import { CA, fingerprintOf, idOf, TestCluster } from './support/cluster.js';

/** A cluster that has a record of every kind. */
function everything(): TestCluster {
  const cluster = TestCluster.with(2);
  const subnets = [{ subnet: '10.1.0.0/24', range: '10.1.0.128/25', auxiliary: { printer: '10.1.0.9' }, vni: 5000 }];
  cluster.must({
    ...{ do: 'create-network', name: 'Net', ipv6: true, mtu: 1400, encrypted: 256, labels: { stage: 'test' }, subnets },
  });
  cluster.must({ do: 'create-endpoint', name: 'P1', network: 'Net', kind: 'run', aliases: ['www'] });
  const old = cluster.must({ do: 'create-endpoint', name: 'old', network: 'Net', kind: 'attach' });
  cluster.must({ do: 'remove-endpoint', network: 'Net', endpoint: old.id });
  cluster.must({
    do: 'create-service',
    name: 'Web',
    command: ['x'],
    environment: { A: '' },
    networks: ['Net'],
    replicas: 0,
  });
  cluster.must({ do: 'leave' }, 2);
  const slot = { service: idOf(7), slot: 1 };
  const ending = { at: 1, node: idOf(1), state: 'exited', code: 3, output: ['\u001b[31m'] };
  const task = {
    ...{
      id: idOf(8),
      ...slot,
      node: '',
      endpoints: [],
      attempt: 1,
      state: 'pending',
      since: 1,
      reason: 'no node is alive',
    },
    ...{ failures: 1, retry: 5, endings: [ending] },
  };
  cluster.commit({ conditions: [], writes: [{ put: KEY.task(idOf(7), 1), value: JSON.stringify(task) }] });
  return cluster;
}

const { store } = everything();
const valueOf = (prefix: string): [key: string, value: unknown] => {
  const item = [...store.items.values()].find(({ key }) => key.startsWith(prefix));
  assert.ok(item, prefix);
  return [item.key, JSON.parse(item.value)];
};

const networkKey = (number: number): object => ({ number, key: `${'A'.repeat(22)}==`, created: 1 });

function refusal(key: string, value: string | null): RecordError {
  try {
    readRecord(key, value);
  } catch (error) {
    assert.instance(error, RecordError);
    return error as RecordError;
  }
  throw new Error(`${key} ${value} was read`);
}

test('every record that managers write is read as it was written', () => {
  for (const { key, value } of store.items.values()) assert.equal(readRecord(key, value), JSON.parse(value), key);
  const kinds = new Set([...store.items.keys()].map((key) => key.split('/')[0]!));
  assert.equal([...kinds].sort(), [
    ...[
      'addresses',
      'ca',
      'cluster',
      'endpoint-names',
      'endpoints',
      'gossip-keys',
      'macs',
      'network-keys',
      'network-names',
      'networks',
    ],
    ...['nodes', 'revoked', 'service-names', 'services', 'subnets', 'tasks', 'tokens', 'uses', 'vnis'],
  ]);
});

test('without a field, with one more, and with one of another type, a record is refused with the name of the field', () => {
  for (const { key, value } of store.items.values()) {
    const record: unknown = JSON.parse(value);
    if (typeof record !== 'object' || record === null || Array.isArray(record)) {
      for (const wrong of ['null', '{}', '[]', '5', '"\\u001b"', value.slice(0, -1)])
        assert.is(refusal(key, wrong).key, key, `${key} ${wrong}`);
      continue;
    }
    for (const field of Object.keys(record)) {
      const changed = refusal(key, JSON.stringify({ ...record, [field]: { 'a b': null } }));
      assert.ok(changed.field === field || changed.field.startsWith(`${field}.`), `${key} ${field}: ${changed.field}`);
      assert.ok(changed.message.includes(`"${key}"`) && changed.message.includes(changed.field), changed.message);
    }
    const more = refusal(key, JSON.stringify({ ...record, later: 1 }));
    assert.is(more.field, 'later');
    assert.match(
      more.message,
      /later: unknown field; .*a later version of weft has written it: use one version on all managers/,
    );
  }
});

test('what does not fit its key, or could not be applied, is refused with the field', () => {
  const [network, net] = valueOf('networks/') as [string, { subnets: object[] }];
  const [node, first] = valueOf(`nodes/${idOf(1)}`) as [string, object];
  const [task, one] = valueOf('tasks/') as [string, { endings: object[] }];
  const [address, taken] = valueOf('addresses/');
  const subnet = (change: object): object => ({
    ...net,
    subnets: [{ ...net.subnets[0], ...change }, ...net.subnets.slice(1)],
  });
  for (const [key, value, field, text] of [
    [node.replace(/.$/, 'x'), first, 'id', 'as in the key'],
    [task.replace(/1$/, '2'), one, 'slot', '2, as in the key'],
    [`${task}/1`, one, '', '2 parts behind its kind'],
    [task.replace(/1$/, '01'), one, 'part 2 of its key', 'a number'],
    [address.replace(/[^/]+$/, '10.1.0.300'), taken, 'part 2 of its key', 'an IP address'],
    [address.replace(/[^/]+$/, 'FD00::1'), taken, 'part 2 of its key', 'in its canonical text'],
    ['network-names/Net', idOf(1), 'part 1 of its key', 'a name in lower case'],
    ['volumes/a', {}, '', 'no records of this kind'],
    ['__proto__', {}, '', 'no records of this kind'],
    [network, subnet({ prefix: '10.1.0.1/24' }), 'subnets[0].prefix', 'a prefix such as 10.0.0.0/24'],
    [network, subnet({ gateway: '10.2.0.1' }), 'subnets', '10.2.0.1'],
    [network, subnet({ range: '10.2.0.0/25' }), 'subnets', 'is not within the subnet'],
    [network, { ...net, encrypted: 192 }, 'encrypted', '128 or 256'],
    [`network-keys/${idOf(3)}`, [], '', 'a list of 1 to 3'],
    [`network-keys/${idOf(3)}`, [networkKey(1), networkKey(2)], '[1].number', 'a number below 1'],
    [network, { ...net, subnets: [net.subnets[0], net.subnets[0]] }, 'subnets', 'overlap'],
    [network, subnet({ vni: 2 ** 24 }), 'subnets[0].vni', 'an integer from 0 to 16777215'],
    [node, { ...first, since: -1 }, 'since', 'an integer'],
    [task, { ...one, endings: [{ ...one.endings[0], state: 'lost' }] }, 'endings[0].state', 'one of exited, failed'],
  ] as const) {
    const error = refusal(key, JSON.stringify(value));
    assert.is(error.field, field, error.message);
    assert.ok(error.message.includes(text), error.message);
  }
  assert.is(refusal('addresses/x/y', null).field, 'part 1 of its key', 'also if it was deleted');
});

test('no error repeats a secret', () => {
  const key = 'A'.repeat(22);
  for (const [of, value, hidden] of [
    ['tokens/worker', 'secret0secret', 'secret0secret'],
    ['gossip-keys', [{ key, tag: 1, created: 1 }], key],
    ['ca', { ...CA, key: 'PRIVATE!' }, 'PRIVATE!'],
    [`network-keys/${idOf(3)}`, [{ number: 1, key: `${key}AA`, created: 1 }], key],
    [
      `network-keys/${idOf(3)}`,
      [
        { number: 2, key: `${key}==`, created: 1 },
        { number: 1, key: `${key.repeat(2).slice(1)}=`, created: 1 },
      ],
      key,
    ],
    ['tokens/worker', `${'s'.repeat(25)} `, 's'.repeat(25)],
  ] as const)
    assert.not.ok(refusal(of, JSON.stringify(value)).message.includes(hidden), of);
});

test('a revision with a record that cannot be read is not applied at all', () => {
  const { state, store: own } = everything();
  const before = own.revision;
  const [key, value] = valueOf('networks/') as [string, object];
  const item = (at: string, text: string) => ({ key: at, item: { key: at, value: text, created: 9, modified: 9 } });
  const changes = [
    { key, item: null },
    item(`revoked/${fingerprintOf(9)}`, JSON.stringify({ node: idOf(1), at: 1 })),
    item(`networks/${idOf(9)}`, JSON.stringify({ ...value, id: idOf(9), ipv6: 'yes' })),
  ];
  assert.throws(
    () => state.apply(before + 1, changes),
    (error: RecordError) =>
      error instanceof RecordError && error.key === `networks/${idOf(9)}` && error.field === 'ipv6',
  );
  assert.equal(
    [state.revision, [...state.networks.keys()], state.revoked.size],
    [before, [key.slice('networks/'.length)], 1],
  );
  assert.throws(() => State.of({ revision: 1, items: [item('ca', '{').item] }), /the record "ca" .*: it is not JSON/);
});

test.run();

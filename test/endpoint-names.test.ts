/** Names of endpoints: their records, the table of a network, and what nodes announce and receive. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';
import { decodeNames, encodeNames, isEndpointName, MAX_NAMES } from '../src/gossip/networkdb/endpoint-records.js';
import { NAME_LIMITS, NameTable, type NamedEndpoint } from '../src/gossip/networkdb/name-table.js';
import { WireError } from '../src/wire/index.js';
import { fromHex, hex } from './support/hex.js';

const { ENDPOINT_TABLE, ENDPOINT_TABLE6 } = db;

test('the record of a Docker task, as 28.5.2 sent it: its own names, and those of its service', () => {
  const bytes =
    '0a1f7376632e312e767439396b7577623978673866386d61636d6c736f736e6b33' +
    '12037376631a1935636a306173326f336873706c76337461617a66346739626322' +
    '0931302e302e312e32322a0931302e302e312e32333a057765626279420c393837646630343234313964';
  assert.equal(decodeNames(ENDPOINT_TABLE, fromHex(bytes)), {
    ip: '10.0.1.23',
    name: 'svc.1.vt99kuwb9xg8f8macmlsosnk3',
    names: ['svc.1.vt99kuwb9xg8f8macmlsosnk3', '987df042419d', 'svc', 'tasks.svc', 'webby'],
  });
});

test('a record of this library, octet by octet, as protobuf writes it', () => {
  // Made with the fields of agent.proto: name, service_name, service_id, virtual_ip, endpoint_ip, task_aliases.
  const expected =
    `0a06${Buffer.from('test.1').toString('hex')}` +
    `1204${Buffer.from('test').toString('hex')}` +
    `1a02${Buffer.from('s1').toString('hex')}` +
    `2205${Buffer.from('<nil>').toString('hex')}` +
    `2a08${Buffer.from('10.0.0.3').toString('hex')}` +
    `4203${Buffer.from('web').toString('hex')}`;
  const own = { ip: '10.0.0.3', name: 'test.1', aliases: ['web'], service: { id: 's1', name: 'test' } };
  assert.is(hex(encodeNames(own)), expected);
  assert.equal(decodeNames(ENDPOINT_TABLE, encodeNames(own)).names, ['test.1', 'web', 'test', 'tasks.test']);
});

test('a service that is disabled at an endpoint does not stand for it', () => {
  const record = { name: 'a', endpointIp: '10.0.0.3', serviceName: 'test', aliases: ['web'], taskAliases: ['b'] };
  const names = (serviceDisabled: boolean): readonly string[] =>
    decodeNames(ENDPOINT_TABLE, db.endpointRecord.encode({ ...record, serviceDisabled })).names;
  assert.equal(names(true), ['a', 'b']);
  assert.equal(names(false), ['a', 'b', 'test', 'tasks.test', 'web']);
});

test('records that name no host, or have a name that nobody can ask for, are refused', () => {
  const good = { name: 'a', endpointIp: '10.0.0.3' };
  const refused = (record: Partial<db.EndpointRecord>, table = ENDPOINT_TABLE): void => {
    const value = db.endpointRecord.encode({ ...good, ...record });
    assert.throws(
      () => decodeNames(table, value),
      (error: unknown) => error instanceof RangeError,
      JSON.stringify(record).slice(0, 80),
    );
  };
  for (const name of [
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'a b',
    'a\u001b[31m',
    'ä',
    'a\udc80',
    '-a',
    'a-',
    'a/b',
    'x'.repeat(64),
  ])
    refused({ name });
  refused({ name: Array.from({ length: 128 }, () => 'a').join('.') });
  for (const endpointIp of ['', '<nil>', '10.0.0.3/24', '0.0.0.0', '255.255.255.255', '224.0.0.1', '10.0.0.03', 'a'])
    refused({ endpointIp });
  for (const endpointIp of ['::', 'ff02::1', 'fd00::3%eth0', 'fd00:::3']) refused({ endpointIp }, ENDPOINT_TABLE6);
  refused({}, ENDPOINT_TABLE6);
  refused({ endpointIp: 'fd00::3' });
  refused({ taskAliases: Array.from({ length: MAX_NAMES }, (_, i) => `a${i}`) });
  // An alias that nobody can ask for is left out; names are the same in any case; an IPv6 address becomes canonical.
  const value = db.endpointRecord.encode({ name: 'A', endpointIp: 'FD00:0::3', taskAliases: ['a', 'b c', 'D'] });
  assert.equal(decodeNames(ENDPOINT_TABLE6, value), { ip: 'fd00::3', name: 'A', names: ['a', 'd'] });
});

test('any bytes: a record with names that can be asked for, or an error', () => {
  const damaged = fc
    .tuple(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.uint8Array({ maxLength: 20 }))
    .map(([flips, more]) => {
      const service = { id: 's1', name: 'test' };
      const value = encodeNames({ ip: '10.0.0.3', name: 'test.1', aliases: ['web', 'www'], service });
      for (const [at, octet] of flips) value[at % value.length] = octet;
      return Uint8Array.from([...value, ...more]);
    });
  let accepted = 0;
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 60 })), (bytes) => {
      try {
        const { ip, name, names } = decodeNames(ENDPOINT_TABLE, bytes);
        accepted++;
        assert.match(ip, /^\d+\.\d+\.\d+\.\d+$/);
        assert.ok([name, ...names].every(isEndpointName));
        assert.ok(names.length > 0 && names.length <= MAX_NAMES && names.every((one) => one === one.toLowerCase()));
      } catch (error) {
        assert.ok(error instanceof WireError || error instanceof RangeError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(accepted > 30, `${accepted} accepted`);
});

// ---- The table ----

const NAMES = ['a', 'b', 'web', 'test'];
const KEYS = ['k1', 'k2', 'k3', 'k4'];
const LIMITS = { endpoints: 3, characters: 40 };
const endpoint = fc.record({
  owner: fc.constantFrom('n1', 'n2'),
  ip: fc.constantFrom('10.0.0.1', '10.0.0.2'),
  name: fc.constantFrom(...NAMES),
  names: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1 }),
});

test('the table of names equals a list that is searched', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom(...KEYS), fc.option(endpoint, { nil: null })), { maxLength: 30 });
  fc.assert(
    fc.property(steps, (all) => {
      const table = new NameTable(LIMITS);
      let list: [key: string, endpoint: NamedEndpoint][] = [];
      const size = (): number =>
        list.reduce((sum, [, { ip, name, names }]) => sum + ip.length + name.length + names.join('').length, 0);
      for (const [key, one] of all) {
        list = list.filter(([other]) => other !== key);
        let fits = true;
        if (one !== null) {
          list.push([key, one]);
          fits = list.length <= LIMITS.endpoints && size() <= LIMITS.characters;
          if (!fits) list.pop();
        }
        assert.is(table.set(key, one), fits);
        assert.equal([table.size, table.characters], [list.length, size()]);
        for (const name of NAMES) {
          const expected = list.flatMap(([, other]) => (other.names.includes(name) ? [other] : []));
          assert.equal(new Set(table.named(name.toUpperCase())), new Set(expected));
        }
        for (const ip of ['10.0.0.1', '10.0.0.2'])
          assert.equal(new Set(table.at(ip)), new Set(list.flatMap(([, other]) => (other.ip === ip ? [other] : []))));
      }
    }),
  );
});

test('the names of a network are bounded', () => {
  const table = new NameTable();
  const long = Array.from({ length: 200 }, (_, i) => `${'x'.repeat(240)}${i}`);
  let count = 0;
  while (table.set(`k${count}`, { owner: 'n', ip: '10.0.0.1', name: 'a', names: long })) count++;
  assert.ok(table.characters <= NAME_LIMITS.characters && count < 100, `${count} with ${table.characters} characters`);
});

// ---- What nodes announce and receive ----

const NET = 'net1';

/** A node and its names in a network. `placed` has the addresses at nodes: `10.0.0.3 b`. */
function node(): {
  machine: db.NetworkDb;
  names: db.OverlayNames;
  placed: Set<string>;
  /** What it has sent of the endpoint tables. */
  sent: () => string[];
  receive: (type: number, key: string, record: Partial<db.EndpointRecord>, table?: string) => void;
  later: (milliseconds: number) => number;
} {
  const packets: Uint8Array[] = [];
  const machine = new db.NetworkDb(
    { name: 'a', random: () => 0.5 },
    { sendPacket: (_, message) => packets.push(message), sendReliable: () => undefined, contact: () => undefined },
  );
  let now = 0;
  let time = 10;
  machine.start(now);
  machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, now);
  const placed = new Set<string>();
  const names = new db.OverlayNames({ network: NET, isPlaced: (ip, owner) => placed.has(`${ip} ${owner}`) }, machine);
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'b', network: NET }), now);
  return {
    ...{ machine, names, placed },
    receive: (type, key, record, table = ENDPOINT_TABLE) => {
      const value = db.endpointRecord.encode(record);
      const event = { type, time: (time += 100), node: 'b', network: NET, table, key, value, residual: 0 };
      machine.receive(db.wrap(db.TABLE_EVENT, db.tableEvent, event), now);
    },
    later: (milliseconds) => {
      for (const end = now + milliseconds; now < end;) machine.tick((now = Math.min(end, now + 50)));
      return now;
    },
    sent: () =>
      packets.splice(0).flatMap((packet) => {
        const { messages } = db.compoundMessage.decode(db.gossipMessage.decode(packet).data);
        return messages.flatMap(({ payload }) => {
          const { type, data } = db.gossipMessage.decode(payload);
          if (type !== db.TABLE_EVENT) return [];
          const event = db.tableEvent.decode(data);
          return [`${event.type} ${event.table} ${event.key} ${db.endpointRecord.decode(event.value).name}`];
        });
      }),
  };
}

test('names of other nodes come and go with their records and their nodes', () => {
  const { names, placed, receive, machine, later } = node();
  machine.joinNetwork(NET, 0);
  placed.add('10.0.0.3 b').add('fd00::3 b').add('10.0.0.4 b');
  const task = { name: 'test.1', endpointIp: '10.0.0.3', serviceName: 'test', taskAliases: ['web'] };
  receive(db.CREATE, 'k1', task);
  receive(db.CREATE, 'k1', { ...task, endpointIp: 'fd00::3' }, ENDPOINT_TABLE6);
  receive(db.CREATE, 'k2', { ...task, name: 'test.2', endpointIp: '10.0.0.4' });
  assert.equal(names.addressesOf('TEST.1'), ['10.0.0.3', 'fd00::3']);
  assert.equal(names.addressesOf('test'), ['10.0.0.3', '10.0.0.4', 'fd00::3']);
  assert.equal(names.addressesOf('web'), ['10.0.0.3', '10.0.0.4', 'fd00::3']);
  assert.equal(
    [names.namesOf('10.0.0.3'), names.namesOf('fd00::3'), names.namesOf('10.0.0.5')],
    [['test.1'], ['test.1'], []],
  );
  receive(db.DELETE, 'k1', task, ENDPOINT_TABLE6);
  assert.equal(names.addressesOf('test.1'), ['10.0.0.3']);
  machine.nodeLeft('b', 100);
  later(1000);
  assert.equal([names.addressesOf('test'), names.size], [[], 0]);
  machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, 2000);
  later(1000);
  assert.equal(names.addressesOf('test'), ['10.0.0.3', '10.0.0.4']);
  assert.is(names.rejected, 0);
  receive(db.CREATE, 'k3', { name: 'a b', endpointIp: '10.0.0.4' });
  assert.is(names.rejected, 1);
  // A record that becomes a wrong one has no name any more.
  receive(db.UPDATE, 'k2', { name: 'test.2', endpointIp: 'nowhere' });
  assert.equal([names.addressesOf('test.2'), names.rejected], [[], 2]);
});

test('a node gives no name to an address that is placed elsewhere', () => {
  const { names, placed, receive, machine } = node();
  machine.joinNetwork(NET, 0);
  placed.add('10.0.0.3 a');
  receive(db.CREATE, 'k1', { name: 'bank', endpointIp: '10.0.0.3' });
  assert.equal([names.addressesOf('bank'), names.namesOf('10.0.0.3')], [[], []]);
  placed.add('10.0.0.3 b');
  assert.equal(names.addressesOf('bank'), ['10.0.0.3']);
});

test('names are announced once the node is attached, changed as a deletion and a creation, and withdrawn', () => {
  const { names, placed, machine, later, sent } = node();
  placed.add('10.0.0.9 a').add('fd00::9 a');
  const own = { ip: '10.0.0.9', name: 'p1', aliases: [] };
  names.announce(new Map([['id1', own]]), 0);
  assert.equal(names.addressesOf('p1'), []);
  machine.joinNetwork(NET, 0);
  names.attached(0);
  assert.equal(names.addressesOf('p1'), ['10.0.0.9']);
  later(1000);
  assert.ok(sent().includes(`${db.CREATE} ${ENDPOINT_TABLE} id1 p1`));
  later(5000);
  sent();
  names.announce(new Map([['id1', own]]), later(0));
  later(1000);
  assert.equal(sent(), [], 'nothing has changed');
  names.announce(new Map([['id1', { ...own, name: 'p2' }]]), later(0));
  assert.equal([names.addressesOf('p1'), names.addressesOf('p2')], [[], ['10.0.0.9']]);
  later(1000);
  const events = new Set(sent());
  assert.ok(events.has(`${db.DELETE} ${ENDPOINT_TABLE} id1 p1`) && events.has(`${db.CREATE} ${ENDPOINT_TABLE} id1 p2`));
  names.announce(new Map([['id1', { ...own, ip: 'fd00::9' }]]), later(0));
  assert.equal([names.addressesOf('p1'), names.addressesOf('p2')], [['fd00::9'], []]);
  assert.equal(
    machine.entries(NET).map(({ table }) => table),
    [ENDPOINT_TABLE6],
  );
  names.announce(new Map(), later(0));
  assert.equal([names.addressesOf('p1'), machine.entries(NET)], [[], []]);
});

test('names that another node overwrites or deletes are written again, a second later', () => {
  const { names, placed, machine, receive, later } = node();
  machine.joinNetwork(NET, 0);
  placed.add('10.0.0.9 a');
  names.announce(new Map([['id1', { ip: '10.0.0.9', name: 'p1', aliases: [] }]]), 0);
  for (const type of [db.CREATE, db.DELETE]) {
    receive(type, 'id1', { name: 'p1', endpointIp: '10.0.0.8' });
    assert.equal(names.addressesOf('p1'), []);
    later(900);
    assert.equal(names.addressesOf('p1'), []);
    later(200);
    assert.equal(names.addressesOf('p1'), ['10.0.0.9']);
    assert.is(machine.entry(NET, ENDPOINT_TABLE, 'id1')?.owner, 'a');
  }
});

test('a node that leaves a network and returns announces its names again', () => {
  const { names, placed, machine, later } = node();
  placed.add('10.0.0.9 a');
  machine.joinNetwork(NET, 0);
  names.announce(new Map([['id1', { ip: '10.0.0.9', name: 'p1', aliases: [] }]]), 0);
  machine.leaveNetwork(NET, later(100));
  assert.equal(names.addressesOf('p1'), []);
  machine.joinNetwork(NET, later(3000));
  names.attached(later(0));
  assert.equal(names.addressesOf('p1'), ['10.0.0.9']);
  names.close(later(0));
  assert.equal(machine.entries(NET), []);
});

test.run();

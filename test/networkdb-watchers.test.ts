/** Watchers of the NetworkDB machine that call the machine from within their callback. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';

const NET = 'net1';
const TABLE = 'table';
const octets = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** A machine that is attached to a network with node `b` and owns the entry `old`, and the packets that it gossips. */
function start(): { machine: db.NetworkDb; sent: Uint8Array[] } {
  const sent: Uint8Array[] = [];
  const machine = new db.NetworkDb(
    { name: 'a', random: () => 0.5 },
    { sendPacket: (_, message) => sent.push(message), sendReliable: () => undefined, contact: () => undefined },
  );
  machine.start(0);
  machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, 0);
  machine.joinNetwork(NET, 0);
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 1, node: 'b', network: NET }), 0);
  const answer = { time: 1, unsolicited: false, node: 'b', networks: [NET], payload: db.compound([]) };
  machine.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, answer), 0);
  machine.createEntry(NET, TABLE, 'old', octets(1), 0);
  return { machine, sent };
}

function received(type: number, key: string, value: Uint8Array): Uint8Array {
  const event = { type, time: 50, node: 'b', network: NET, table: TABLE, key, value, residual: 0 };
  return db.wrap(db.TABLE_EVENT, db.tableEvent, event);
}

const CHANGES: [what: string, change: (machine: db.NetworkDb) => void][] = [
  ['an entry is created', (machine) => machine.createEntry(NET, TABLE, 'new', octets(2), 1)],
  ['an entry is updated', (machine) => machine.updateEntry(NET, TABLE, 'old', octets(2), 1)],
  ['an entry is replaced', (machine) => machine.replaceEntry(NET, TABLE, 'old', octets(2), 1)],
  ['an entry is deleted', (machine) => machine.deleteEntry(NET, TABLE, 'old', 1)],
  ['another node creates one', (machine) => machine.receive(received(db.CREATE, 'new', octets(2)), 1)],
  ['another node updates one', (machine) => machine.receive(received(db.UPDATE, 'old', octets(2)), 1)],
  ['another node deletes one', (machine) => machine.receive(received(db.DELETE, 'old', octets(1)), 1)],
];

for (const [what, change] of CHANGES)
  test(`${what}, and a watcher leaves the network in its callback: no entry remains`, () => {
    const { machine } = start();
    let calls = 0;
    machine.watch({ network: NET }, () => {
      if (++calls === 2) machine.leaveNetwork(NET, 1); // the first call reports `old`
    });
    change(machine);
    assert.ok(calls >= 2);
    assert.equal(machine.networks(), []);
    assert.equal(machine.entries(NET), []);
    for (let now = 1; now < 1000; now += 50) machine.tick(now);
  });

for (const [what, change] of CHANGES)
  test(`${what}, and a watcher leaves and rejoins the network in its callback: only entries created later exist`, () => {
    const { machine } = start();
    let calls = 0;
    machine.watch({ network: NET }, () => {
      if (++calls !== 2) return;
      machine.leaveNetwork(NET, 1);
      machine.joinNetwork(NET, 1);
      machine.createEntry(NET, TABLE, 'after', octets(9), 1);
    });
    change(machine);
    assert.equal(
      machine.entries(NET).map(({ key, owner }) => `${key} ${owner}`),
      ['after a'],
    );
    for (let now = 1; now < 1000; now += 50) machine.tick(now);
  });

test('a watcher updates a new entry in its callback: the machine keeps and gossips the updated value', () => {
  const { machine, sent } = start();
  let calls = 0;
  machine.watch({ network: NET }, ({ key }) => {
    if (key === 'new' && ++calls === 1) machine.updateEntry(NET, TABLE, 'new', octets(3), 1);
  });
  machine.createEntry(NET, TABLE, 'new', octets(2), 1);
  assert.equal(machine.entry(NET, TABLE, 'new')?.value, octets(3));
  for (let now = 1; now < 1000; now += 50) machine.tick(now);
  const values = sent.flatMap((packet) =>
    db.compoundMessage
      .decode(db.gossipMessage.decode(packet).data)
      .messages.map(({ payload }) => db.tableEvent.decode(db.gossipMessage.decode(payload).data))
      .flatMap(({ key, value }) => (key === 'new' ? [...value] : [])),
  );
  assert.equal([...new Set(values)], [3]);
});

test.run();

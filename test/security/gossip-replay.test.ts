/** Repeated datagrams of a cluster with a key: they decrypt, but what they say is old, and changes nothing. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeMessage, encodePacket, Keyring, type Security } from '../../src/gossip/memberlist/index.js';
import * as db from '../../src/gossip/networkdb/index.js';
import { PORT, SimCluster } from '../support/gossip.js';
import { alive, Besieged, ping } from '../support/hostile-gossip.js';
import { cheapAead, nonces } from '../support/keys.js';

const KEY: Security = { keyring: new Keyring([new Uint8Array(16)]), aead: cheapAead, nonce: nonces() };

/** A cluster with a key, and every datagram that its members receive. */
function recorded(count: number): { cluster: SimCluster; tape: Uint8Array[]; replay(): void } {
  const cluster = new SimCluster(3, {}, { deadNodeReclaimTime: 5000 }, { security: () => KEY });
  const tape: Uint8Array[] = [];
  cluster.received = ({ payload }) => tape.push(payload.slice());
  cluster.grow(count);
  cluster.clock.advance(10_000);
  /** Sends everything so far to every member, in reverse and then in order, while time passes. */
  const replay = (): void => {
    const old = [...tape];
    for (const bytes of [...old].reverse().concat(old))
      for (const member of cluster.members)
        if (member.running) member.act((machine, now) => machine.receivePacket('203.0.113.9', 4444, bytes, now));
    cluster.clock.advance(3000);
  };
  return { cluster, tape, replay };
}

test('repetitions of all datagrams of a cluster leave every member alive, with its incarnation', () => {
  const { cluster, replay } = recorded(4);
  const before = cluster.members.map(({ machine }) => machine.self.incarnation);
  replay();
  cluster.clock.advance(10_000);
  assert.equal(cluster.disagreements(), []);
  assert.equal(
    cluster.members.map(({ machine }) => machine.self.incarnation),
    before,
  );
  for (const { reported } of cluster.members) assert.not(reported.some(({ what }) => /^(dead|left)/.test(what)));
});

test('a member that has left, and is forgotten, does not come back through its old announcements', () => {
  const { cluster, replay } = recorded(4);
  const gone = cluster.members[3]!;
  gone.leave();
  cluster.clock.advance(120_000);
  assert.equal(cluster.members[0]!.sees(), ['a', 'b', 'c']);
  const since = cluster.clock.now;
  replay();
  for (const member of cluster.members.slice(0, 3)) {
    assert.is(member.when('joined d', since), undefined, `${member.name} believes it`);
    assert.equal(member.sees(), ['a', 'b', 'c']);
  }
});

test('an old farewell does not remove a process that began with a later incarnation', () => {
  const { cluster, replay } = recorded(4);
  const again = cluster.members[3]!;
  again.leave();
  cluster.clock.advance(120_000);
  cluster.options.incarnation = 1000; // as the host does, with the time in seconds
  again.restart();
  again.join(cluster.members[0]!);
  cluster.clock.advance(10_000);
  assert.equal(cluster.disagreements(), []);
  const since = cluster.clock.now;
  replay();
  cluster.clock.advance(10_000);
  assert.equal(cluster.disagreements(), []);
  assert.is(again.machine.self.incarnation, 1000);
  for (const member of cluster.members.slice(0, 3)) {
    assert.is(member.when('left d', since), undefined);
    assert.is(member.when('dead d', since), undefined);
  }
});

test('a repeated ping gets a bounded number of answers, and a repeated announcement one ping in a second', () => {
  const member = new Besieged({ security: KEY }, true);
  const asked = encodePacket(encodeMessage(ping({ sourceAddr: '198.51.100.7', sourcePort: PORT })), KEY);
  for (let i = 0; i < 10_000; i++) member.attack(asked, `203.0.113.${i & 255}`, i);
  assert.ok(member.datagrams <= 64, `${member.datagrams} answers`);
  const before = member.datagrams;
  const announced = encodePacket(encodeMessage(alive('d', '198.51.100.8')), KEY);
  for (let i = 0; i < 10_000; i++) member.attack(announced);
  assert.is(member.datagrams - before, 1);
  assert.equal(member.joined, []);
});

const network = 'net1';

/** A NetworkDb that knows node `b`, attached since Lamport time 5. */
function tables(): { machine: db.NetworkDb; pass(milliseconds: number): void; now(): number } {
  let now = 1000;
  const machine = new db.NetworkDb(
    { name: 'me', random: () => 0.5 },
    { sendPacket: () => undefined, sendReliable: () => undefined, contact: () => undefined },
  );
  machine.start(now);
  machine.joinNetwork(network, now);
  machine.nodeJoined({ name: 'b', address: '10.0.0.2', port: PORT }, now);
  machine.receivePacket(
    db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 50, node: 'b', network }),
    now,
  );
  return {
    machine,
    now: () => now,
    pass(milliseconds) {
      for (const end = now + milliseconds; machine.next <= end; machine.tick(now)) now = Math.max(now, machine.next);
      now += milliseconds;
    },
  };
}

test('a deleted entry does not come back through its old event, also after its tombstone has gone', () => {
  const { machine, now, pass } = tables();
  const event = (type: number, time: number): Uint8Array =>
    db.wrap(db.TABLE_EVENT, db.tableEvent, {
      ...{ type, time, node: 'b', network, table: 't', key: 'k', value: Uint8Array.of(1), residual: 1800 },
    });
  machine.receivePacket(event(db.CREATE, 60), now());
  assert.is(machine.entries(network).length, 1);
  machine.receivePacket(event(db.DELETE, 61), now());
  machine.receivePacket(event(db.CREATE, 60), now());
  assert.is(machine.entries(network).length, 0);
  pass(1_900_000);
  assert.is(machine.counters().entries, 0, 'the tombstone has gone');
  for (let i = 0; i < 10; i++) machine.receivePacket(event(db.CREATE, 60), now());
  assert.is(machine.entries(network).length, 0);
  assert.is(machine.counters().entries, 0);
  machine.receivePacket(event(db.CREATE, 62), now());
  assert.is(machine.entries(network).length, 1, 'a later event counts');
});

test('an old farewell of a node does not hide its entries, even if this node has just started', () => {
  const { machine, now } = tables();
  const left = (time: number): Uint8Array => db.wrap(db.NODE_EVENT, db.nodeEvent, { type: db.LEAVE, time, node: 'b' });
  machine.receivePacket(left(49), now());
  assert.is(machine.nodes()[0]!.state, 'active');
  machine.receivePacket(left(51), now());
  assert.is(machine.nodes()[0]!.state, 'left', 'a later one counts');
});

test('a node that hears an old farewell of its own announces itself again, at most once a second', () => {
  const { machine, now, pass } = tables();
  const announced = (): number => {
    let count = 0;
    for (const message of machine.broadcasts(3, 60_000)) {
      const { type, data } = db.gossipMessage.decode(message);
      if (type === db.NODE_EVENT && db.nodeEvent.decode(data).node === 'me') count++;
    }
    return count;
  };
  while (announced() > 0) pass(1000);
  const before = machine.counters().counts.stale;
  for (let i = 0; i < 1000; i++)
    machine.receivePacket(db.wrap(db.NODE_EVENT, db.nodeEvent, { type: db.LEAVE, time: 0, node: 'me' }), now());
  assert.is(machine.counters().counts.stale - before, 1000);
  assert.is(announced(), 1);
});

test.run();

/** What datagrams of a stranger make a member without a gossip key send: at most three times their octets. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addCrc, encodeCompound, encodeMessage, type Message } from '../../src/gossip/memberlist/index.js';
import * as db from '../../src/gossip/networkdb/index.js';
import { alive, ask, Besieged, HONEST, packed, ping, PORT } from '../support/hostile-gossip.js';

const FACTOR = 3;

/** What a member sends within a minute if nobody attacks. */
const quiet = (alone: boolean): number => {
  const member = new Besieged({}, alone);
  member.pass(60_000);
  return member.out();
};

/**
 * Runs an attack, and checks after each datagram, and for a minute afterwards, that all others get at most three times
 * what the attacker sent; and that the members get no more beyond what they get anyway.
 */
function bounded(
  attack: (send: (bytes: Uint8Array, from?: string, port?: number) => void) => void,
  alone = false,
): Besieged {
  const member = new Besieged({}, alone);
  const victims = (): number => member.out((to) => !member.isHonest(to));
  attack((bytes, from, port) => {
    member.attack(bytes, from, port);
    assert.ok(victims() <= FACTOR * member.received, `${victims()} octets for ${member.received}`);
  });
  member.pass(60_000);
  assert.ok(victims() <= FACTOR * member.received, `${victims()} octets for ${member.received} after a minute`);
  const extra = member.out() - quiet(alone);
  assert.ok(extra <= FACTOR * member.received, `${extra} octets more than usual for ${member.received}`);
  return member;
}

const many = (count: number, one: (i: number) => Message): Message[] => Array.from({ length: count }, (_, i) => one(i));

test('a thousand pings in one compressed datagram get one answer', () => {
  for (const alone of [false, true]) {
    const member = bounded((send) => send(packed(many(1018, () => ping()))), alone);
    assert.is(member.sent.get('203.0.113.9:4444')! > 0, true);
    assert.ok(member.out((to) => to === '203.0.113.9:4444') < 400);
  }
});

test('pings of two octets, with checksums, in nested compounds, and with another address to answer to', () => {
  bounded((send) => {
    for (let i = 0; i < 500; i++) send(Uint8Array.of(0, 0x80), `203.0.113.${i % 200}`, i);
    for (let i = 0; i < 500; i++) send(addCrc(encodeMessage(ping({ seqNo: i }))));
    for (let i = 0; i < 100; i++) send(encodeCompound([packed(many(200, (j) => ping({ seqNo: j })))]));
    for (let i = 0; i < 500; i++) send(encodeMessage(ping({ sourceAddr: '198.51.100.7', sourcePort: 53 })));
  });
});

test('an address gets a bounded number of answers that it did not ask for', () => {
  const member = new Besieged();
  for (let i = 0; i < 10_000; i++) member.attack(encodeMessage(ping({ seqNo: i })), '198.51.100.7', i);
  const burst = member.datagrams;
  assert.ok(burst >= 16 && burst <= 64, `${burst} answers to one address`);
  for (let i = 0; i < 10_000; i++) member.attack(encodeMessage(ping({ seqNo: i })), `198.51.${i >> 8}.${i & 255}`, 7);
  assert.ok(member.datagrams - burst <= 1100, `${member.datagrams - burst} answers to all`);
  assert.ok(member.machine.counters()['over-budget'] > 10_000);
});

test('indirect pings of strangers are not relayed, neither to members nor to other addresses', () => {
  const member = bounded((send) => {
    for (const target of ['198.51.100.7', HONEST[0]![1]])
      for (const more of [{}, { sourceAddr: '198.51.100.8', sourcePort: 99 }, { node: 'a' }])
        send(packed(many(1000, (i) => ask(target, PORT, { seqNo: i, ...more }))));
  });
  assert.is(member.machine.sizes().relays, 0);
  assert.is(
    member.out((to) => !member.isHonest(to)),
    0,
  );
});

test('indirect pings that seem to come from a member reach only members at their own address, a few of each', () => {
  const member = new Besieged();
  const [from, target] = [HONEST[0]![1], HONEST[1]![1]];
  for (let i = 0; i < 1000; i++) {
    member.attack(packed(many(100, () => ask('198.51.100.7', PORT, { node: 'b' }))), from, PORT);
    member.attack(packed(many(100, () => ask(target, 53, { node: 'b' }))), from, PORT);
    member.attack(packed(many(100, () => ask(target, PORT, { node: 'b' }))), from, PORT);
  }
  assert.is(
    member.out((to) => !member.isHonest(to)),
    0,
  );
  assert.ok(member.datagrams <= 100, `${member.datagrams} datagrams`);
});

test('16,000 announced members that do not exist: no more octets, no entries, no streams', () => {
  const member = bounded((send) => {
    for (let i = 0; i < 16_000; i += 500)
      send(packed(many(500, (j) => alive(`ghost ${i + j}`, `198.51.${(i + j) >> 8}.${(i + j) & 255}`))));
    for (let i = 0; i < 10; i++) send(packed(many(1018, () => ping())));
  });
  assert.is(member.machine.sizes().members, 3);
  assert.equal(member.joined, ['a', 'b']);
  assert.ok(member.machine.unproven().checks <= 1024);
  assert.ok(member.streams.every(({ to }) => member.isHonest(to)));
});

test('the same from the address of a member: what is sent to the announced addresses is bounded as well', () => {
  const member = new Besieged();
  const [, from] = HONEST[0]!;
  for (let i = 0; i < 16_000; i += 500)
    member.attack(
      packed(many(500, (j) => alive(`ghost ${i + j}`, `198.51.${(i + j) >> 8}.${(i + j) & 255}`))),
      from,
      PORT,
    );
  member.pass(60_000);
  assert.ok(member.out((to) => !member.isHonest(to)) <= FACTOR * member.received);
  assert.is(member.machine.sizes().members, 3);
});

test('accusations, refutations and announcements of a stranger change nothing and are not passed on', () => {
  const member = bounded((send) => {
    for (const node of ['me', 'a', 'b'])
      for (const type of ['suspect', 'dead'] as const)
        for (const from of ['x', 'a', 'me', node])
          send(packed(many(200, (i) => ({ type, node, from, incarnation: 1 + i * 1000 }))));
    send(packed(many(200, (i) => alive('me', '10.0.0.1', { incarnation: 2 + i }))));
    send(packed(many(200, (i) => alive('a', HONEST[0]![1], { incarnation: 0xffff_ffff - i }))));
    send(packed(many(200, (i) => alive('a', '198.51.100.7', { incarnation: i }))));
  });
  assert.is(member.machine.self.incarnation, 1);
  for (const name of ['a', 'b']) {
    const { incarnation, state } = member.machine.member(name)!;
    assert.equal([incarnation, state], [1, 'alive']);
  }
  assert.ok(member.machine.counters().strangers > 1000);
});

test('NetworkDB messages of a stranger are not heard; a request for tables in a packet is not answered', () => {
  const event = (i: number): Uint8Array =>
    Uint8Array.of(
      8,
      ...db.wrap(db.TABLE_EVENT, db.tableEvent, {
        ...{ type: db.CREATE, time: 10 + i, node: 'a', network: 'net1', table: 't', key: `k${i}`, residual: 0 },
        value: new Uint8Array(20),
      }),
    );
  const sync = Uint8Array.of(
    8,
    ...db.wrap(db.BULK_SYNC, db.bulkSyncMessage, { time: 9, unsolicited: true, node: 'a', networks: ['net1'] }),
  );
  const member = bounded((send) => {
    for (let i = 0; i < 200; i++) send(encodeCompound([event(i), sync]));
    for (let i = 0; i < 200; i++) send(sync, HONEST[0]![1], PORT);
  });
  assert.is(member.db.entries('net1').length, 0);
  assert.is(member.db.counters().counts['bulk-syncs'], 0);
});

test('a member without others opens no stream to the address in a ping until that address has answered', () => {
  const lone = bounded((send) => {
    for (let i = 0; i < 100; i++)
      send(encodeMessage(ping({ sourceAddr: '198.51.100.7', sourcePort: 80, sourceNode: 'x' })), '198.51.100.7', 80);
  }, true);
  assert.equal(lone.streams, []);
  lone.pass(1000);
  for (let i = 0; i < 60; i++) {
    lone.attack(encodeMessage(ping({ sourceAddr: '198.51.100.7', sourcePort: 80, sourceNode: 'x' })));
    for (let seqNo = 0; seqNo < 500; seqNo++)
      lone.attack(encodeMessage({ type: 'ack', seqNo, payload: new Uint8Array(0) }), '198.51.100.7', 80);
    lone.pass(1000);
  }
  assert.equal(lone.streams, [], 'guessed numbers prove nothing');
});

test.run();

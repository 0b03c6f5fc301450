/** False announcements of strangers: what they say about versions and about members does not count for others. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeStream, encodeMessage, encodeUser, STATE, type Message } from '../../src/gossip/memberlist/index.js';
import { alive, Besieged, HONEST, node, NOTHING, packed, PORT, state } from '../support/hostile-gossip.js';

const ABSURD = Uint8Array.of(200, 255, 201, 9, 9, 9);
const names = (member: Besieged): string[] =>
  member.machine
    .members()
    .map(({ name, state: what }) => `${name} ${what}`)
    .sort();

/** An exchange of states with a member that joins: whether its entry is taken, and whether it gets an answer. */
function joins(member: Besieged, name: string, address: string): boolean {
  member.written.length = 0;
  member.stream(state([node(name, address)]), address);
  member.pass(100);
  return member.machine.member(name)?.state === 'alive' && decodeStream(member.written[0]!).type === 'pushPull';
}

test('absurd versions in a stranger’s announcement make no honest exchange incompatible', () => {
  const member = new Besieged();
  member.attack(encodeMessage(alive('absurd', '203.0.113.9', { vsn: ABSURD, port: 4444 })));
  for (const vsn of [ABSURD, NOTHING, Uint8Array.of(1, 255, 255, 0, 255, 255), Uint8Array.of(3, 3, 3, 0, 0, 0)])
    member.stream(state([node('absurd', '203.0.113.9', { vsn }), node('x', '203.0.113.8', { vsn })]), '203.0.113.9');
  member.pass(3000);
  assert.ok(joins(member, 'c', '10.0.0.4'));
  member.machine.join([{ address: HONEST[0]![1], port: PORT }], member.now, ({ reached }) => assert.is(reached, 1));
  member.answer([node('a', HONEST[0]![1]), node('d', '10.0.0.5'), node('absurd', '203.0.113.9', { vsn: ABSURD })]);
  assert.equal(names(member), ['a alive', 'b alive', 'c alive', 'd alive', 'me alive']);
  assert.ok(member.machine.counters().incompatible >= 5);
});

test('a member that answers with other versions is refused alone, and a join through it fails with the reason', () => {
  const member = new Besieged();
  const failures: string[] = [];
  member.machine.join([{ address: '10.0.0.9', port: PORT }], member.now, (joined) => failures.push(...joined.failures));
  member.answer([node('serf', '10.0.0.9', { vsn: Uint8Array.of(1, 5, 2, 2, 5, 4) }), node('c', '10.0.0.4')]);
  assert.match(failures[0]!, /serf uses version 4 of the application, but the live members have no version in common/);
  assert.equal(names(member), ['a alive', 'b alive', 'me alive']);
});

test('a known member’s versions, metadata, address and incarnation do not change through a stranger', () => {
  const member = new Besieged();
  const [[name, address]] = HONEST as [[string, string]];
  const lies: Message[] = [
    alive(name, address, { incarnation: 0xffff_ffff }),
    alive(name, address, { incarnation: 9, vsn: ABSURD }),
    alive(name, address, { incarnation: 9, meta: new Uint8Array(512) }),
    alive(name, '203.0.113.9', { incarnation: 0xffff_ffff, port: 4444 }),
    alive('me', '203.0.113.9', { incarnation: 0xffff_ffff }),
    alive('me', '10.0.0.1', { incarnation: 0xffff_ffff }),
    { type: 'dead', node: name, from: name, incarnation: 1 },
    { type: 'dead', node: 'me', from: 'me', incarnation: 0xffff_ffff },
  ];
  for (const lie of lies) {
    member.attack(encodeMessage(lie));
    member.attack(packed([lie, lie]));
  }
  // The same over a stream, which has the address of the stranger.
  for (const what of [STATE.left, STATE.dead, STATE.suspect, STATE.alive])
    member.stream(state([node(name, address, { state: what, incarnation: 5, meta: new Uint8Array(5) })]));
  member.pass(100);
  const { incarnation, meta, address: at, state: what, vsn } = member.machine.member(name)!;
  assert.equal([incarnation, meta.length, at, what, vsn[1]], [1, 0, address, 'alive', 5]);
  assert.is(member.machine.self.incarnation, 1);
  assert.is(member.machine.counters().refuted, 0);
});

test('a name is not reserved by a member that never answered at its address', () => {
  const member = new Besieged();
  member.stream(state([node('c', '198.51.100.7')]));
  assert.is(member.machine.member('c')!.address, '198.51.100.7');
  assert.not(member.machine.member('c')!.verified);
  // The real one is announced by a member, and answers.
  const ask = (member.sent.clear(), encodeMessage(alive('c', HONEST[1]![1], { port: 7947 })));
  member.attack(ask, HONEST[0]![1], PORT);
  assert.ok(member.sent.has(`${HONEST[1]![1]}:7947`), 'it is asked');
});

test('messages of 64 KiB names and metadata are refused', () => {
  const member = new Besieged();
  const long = 'x'.repeat(60_000);
  for (const from of ['203.0.113.9', HONEST[0]![1]])
    for (const message of [
      alive(long, '198.51.100.1'),
      alive('m', '198.51.100.1', { meta: new Uint8Array(60_000) }),
      { type: 'suspect', node: 'a', from: long, incarnation: 1 } as Message,
      { type: 'dead', node: 'a', from: long, incarnation: 1 } as Message,
    ])
      member.attack(packed([message]), from, PORT);
  assert.ok(member.machine.counters().invalid >= 6);
  assert.equal(names(member), ['a alive', 'b alive', 'me alive']);
  assert.is(member.out(), 0);
});

test('members that never answered are not called again once they are gone', () => {
  const member = new Besieged({ reconnectInterval: 1000 });
  member.stream(state(Array.from({ length: 50 }, (_, i) => node(`ghost-${i}`, `198.51.100.${i}`))));
  for (let i = 0; i < 10; i++) {
    member.pass(60_000);
    member.stream(encodeUser(NOTHING));
  }
  const called = member.streams.length;
  member.pass(120_000);
  const after = member.streams.slice(called).filter(({ to }) => !member.isHonest(to));
  assert.equal(after, []);
  assert.equal(names(member), ['a alive', 'b alive', 'me alive']);
});

test.run();

/** The NetworkDB machine, message by message: what it sends, accepts, rejects and refutes. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';
import { peerExtension } from '../src/gossip/networkdb/records.js';
import { Vtep } from '../src/vtep/index.js';
import { fromHex, hex } from './support/hex.js';

const { NetworkDb, OverlayPeers } = db;
const NET = 'net1';
const TABLE = 'table';
const MINUTE = 60_000;

/** A machine, and the messages that it passes to the membership layer. */
class Bench {
  readonly packets: [node: string, message: Uint8Array][] = [];
  readonly streams: [node: string, message: Uint8Array][] = [];
  readonly contacts: string[] = [];
  readonly changes: string[] = [];
  readonly machine: db.NetworkDb;
  now = 1000;

  constructor(options: Partial<db.NetworkDbOptions> = {}, others: readonly string[] = ['b']) {
    let state = 1;
    const random = (): number => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
    this.machine = new NetworkDb(
      { name: 'a', random, ...options },
      {
        sendPacket: (node, message) => this.packets.push([node, message]),
        sendReliable: (node, message) => this.streams.push([node, message]),
        contact: (address, port) => this.contacts.push(`${address}:${port}`),
      },
    );
    this.machine.watch({}, ({ kind, key, value }) => this.changes.push(`${kind} ${key} ${text(value)}`));
    others.forEach((name, i) => this.machine.nodeJoined({ name, address: `192.0.2.${i + 2}`, port: 7946 }, this.now));
    this.machine.start(this.now);
    this.machine.broadcasts(0, 10_000);
  }

  /** A machine in the network, with other nodes that have answered. */
  static joined(options: Partial<db.NetworkDbOptions> = {}, others: readonly string[] = ['b']): Bench {
    const bench = new Bench(options, others);
    others.forEach((name) => bench.network(db.JOIN, 10, name));
    bench.machine.joinNetwork(NET, bench.now);
    for (const name of others) bench.sync(name, [], false);
    for (let i = 0; i < 20; i++) bench.machine.broadcasts(0, 10_000);
    bench.streams.length = 0;
    return bench;
  }

  receive(message: Uint8Array): void {
    const framed = new Uint8Array(message.length + 9).fill(0xff);
    framed.set(message, 4);
    this.machine.receive(framed, this.now, 4, 4 + message.length);
    framed.fill(0xee); // the caller reuses its buffer
  }

  network(type: number, time: number, node: string, network = NET): void {
    this.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type, time, node, network }));
  }

  node(type: number, time: number, node: string): void {
    this.receive(db.wrap(db.NODE_EVENT, db.nodeEvent, { type, time, node }));
  }

  table(type: number, time: number, node: string, key: string, value = 'v', more: Partial<db.TableEvent> = {}): void {
    this.receive(event(type, time, node, key, value, more));
  }

  sync(node: string, members: Uint8Array[], unsolicited: boolean, networks = [NET], time = 5): void {
    const payload = db.compound(members);
    this.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, { time, unsolicited, node, networks, payload }));
  }

  tick(after: number): void {
    this.now += after;
    this.machine.tick(this.now);
  }

  /** Advances the time, and runs everything that is due. */
  pass(after: number): void {
    const end = this.now + after;
    while (this.machine.next <= end) {
      this.now = Math.max(this.now, this.machine.next);
      this.machine.tick(this.now);
    }
    this.now = end;
  }

  shown(): string {
    return this.machine
      .entries(NET)
      .map(({ key, value, owner }) => `${key}=${text(value)} of ${owner}`)
      .sort()
      .join(', ');
  }

  counted(name: db.CountName): number {
    return this.machine.counters().counts[name];
  }

  /** Gossiped messages, with compounds split. */
  gossiped(): string[] {
    return this.packets.splice(0).flatMap(([node, packet]) => tableEvents(packet).map((one) => `${node}: ${one}`));
  }

  /** Node and network events that it sent. */
  reported(): string[] {
    return this.machine.broadcasts(0, 10_000).map((message) => {
      const { type, data } = db.gossipMessage.decode(message);
      const {
        type: kind,
        time,
        node,
        network = '',
      } = type === db.NODE_EVENT ? { ...db.nodeEvent.decode(data), network: undefined } : db.networkEvent.decode(data);
      return `${kind === db.JOIN ? 'join' : 'leave'} ${time} ${node} ${network}`.trim();
    });
  }
}

const bytes = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
const text = (value: Uint8Array): string => Buffer.from(value).toString();

function event(type: number, time: number, node: string, key: string, value = 'v', more: Partial<db.TableEvent> = {}) {
  return db.wrap(db.TABLE_EVENT, db.tableEvent, {
    type,
    time,
    node,
    network: NET,
    table: TABLE,
    key,
    value: bytes(value),
    ...more,
  });
}

function tableEvents(packet: Uint8Array): string[] {
  const { type, data } = db.gossipMessage.decode(packet);
  assert.is(type, db.COMPOUND);
  return db.compoundMessage.decode(data).messages.map(({ payload }) => {
    const one = db.tableEvent.decode(db.gossipMessage.decode(payload).data);
    const kind = ['', 'create', 'update', 'delete'][one.type]!;
    return `${kind} ${one.time} ${one.node} ${one.key}=${text(one.value)}${one.residual > 0 ? ` for ${one.residual}` : ''}`;
  });
}

test('on the wire: events of one node, byte for byte as a real peer sends them', () => {
  const bench = new Bench({ name: 'gonode000001' });
  bench.machine.joinNetwork('net0', 0); // 2
  for (let i = 0; i < 20; i++) bench.machine.broadcasts(0, 1000);
  bench.machine.joinNetwork('net3', 0); // 3
  bench.machine.broadcasts(0, 1000);
  bench.machine.joinNetwork('net1', 0);
  const [message] = bench.machine.broadcasts(0, 50).filter((one) => hex(one).endsWith(hex(bytes('net1'))));
  assert.is(hex(message!), '08011218080110041a0c676f6e6f646530303030303122046e657431');
  const fresh = new NetworkDb(
    { name: 'gonode000001', random: () => 0 },
    { sendPacket() {}, sendReliable() {}, contact() {} },
  );
  assert.is(hex(fresh.localState(true, 0)), '0803121008011a0c676f6e6f6465303030303031', 'push/pull without networks');
});

test('joins a network: announces it, requests the tables from its nodes, and merges them', () => {
  const bench = new Bench({}, ['b', 'c', 'd']);
  bench.network(db.JOIN, 7, 'b');
  bench.network(db.JOIN, 8, 'c');
  bench.network(db.JOIN, 9, 'd', 'net2');
  bench.reported();
  bench.machine.joinNetwork(NET, bench.now);
  assert.ok(bench.reported().includes('join 11 a net1'), 'its clock is ahead of all that it heard');
  assert.is(bench.machine.next, bench.now);
  bench.tick(0);
  assert.equal(bench.streams.map(([node]) => node).sort(), ['b', 'c']);
  const request = db.bulkSyncMessage.decode(db.gossipMessage.decode(bench.streams[0]![1]).data);
  assert.is(request.unsolicited, true);
  assert.equal(request.networks, [NET]);
  assert.is(hex(request.payload), '0805');
  assert.equal(bench.machine.networks(), [{ network: NET, inSync: false }]);
  bench.sync('b', [event(db.CREATE, 3, 'c', 'k')], false);
  bench.sync('c', [], false);
  assert.equal(bench.machine.networks(), [{ network: NET, inSync: true }]);
  assert.is(bench.shown(), 'k=v of c');
  assert.equal(bench.machine.peers(NET).sort(), ['a', 'b', 'c']);
});

test('starts with the attachments of an earlier run, and does not announce them', () => {
  const before = Bench.joined({}, ['b', 'c']);
  const state = before.machine.localState(false, before.now);
  const bench = new Bench({}, ['b', 'c']);
  for (let i = 0; i < 20; i++) bench.machine.broadcasts(0, 10_000);
  bench.machine.restore(state, bench.now);
  assert.equal(bench.machine.peers(NET), ['b', 'c']);
  const reported = (): string[] =>
    bench.machine
      .broadcasts(0, 10_000)
      .map((message) => db.networkEvent.decode(db.gossipMessage.decode(message).data))
      .map(({ type, node }) => `${node} ${type === db.LEAVE ? 'leaves' : 'joins'}`);
  assert.equal(reported(), ['a leaves']); // it is in no network now
  bench.machine.mergeState(state, bench.now);
  assert.equal(reported(), ['a leaves']);
});

test('an unanswered bulk sync times out, and another node gets the request', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  bench.pass(31_000);
  const first = bench.streams[0]![0];
  bench.pass(30_000);
  assert.ok(
    bench.streams.some(([node]) => node !== first),
    'the second one',
  );
  assert.ok(bench.counted('bulk-timeouts') >= 1);
});

test('a node that does not answer the first bulk sync gets another, also for new networks', () => {
  const bench = new Bench({ bulkSyncInterval: 1e9 });
  bench.network(db.JOIN, 10, 'b');
  bench.machine.joinNetwork(NET, bench.now);
  bench.tick(0);
  const asked = (): string[] =>
    bench.streams.splice(0).map(([node, message]) => {
      const { unsolicited, payload } = db.bulkSyncMessage.decode(db.gossipMessage.decode(message).data);
      return `${node} ${unsolicited} ${tableEvents(payload).join()}`;
    });
  assert.equal(asked(), ['b true ']);
  bench.machine.createEntry(NET, TABLE, 'k', bytes('v'), bench.now);
  bench.pass(1900);
  assert.equal(asked(), []);
  bench.pass(200);
  assert.equal(asked(), ['b true create 2 a k=v']);
  bench.pass(5800);
  assert.equal(asked(), []);
  bench.pass(200);
  assert.is(asked().length, 1);
  bench.sync('b', [], false);
  bench.pass(20_000);
  assert.equal(asked(), []);
  assert.is(bench.counted('bulk-timeouts'), 0);
});

test('answers a bulk sync with all entries: a later time, tombstones with their remaining time', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  bench.table(db.CREATE, 50, 'b', 'theirs');
  bench.table(db.CREATE, 51, 'b', 'gone');
  bench.table(db.DELETE, 52, 'b', 'gone', 'v', { residual: 100 });
  bench.now += 30_500;
  bench.sync('b', [], true, [NET, 'elsewhere'], 900);
  const [node, message] = bench.streams.pop()!;
  assert.is(node, 'b');
  const answer = db.bulkSyncMessage.decode(db.gossipMessage.decode(message).data);
  assert.is(answer.unsolicited, false);
  assert.ok(answer.time > 900, 'newer peers take no other');
  assert.equal(answer.networks, [NET, 'elsewhere']);
  assert.equal(tableEvents(answer.payload).sort(), [
    'create 50 b theirs=v',
    'create 7 a mine=1',
    'delete 52 b gone=v for 69',
  ]);
  bench.now += 69_000;
  bench.sync('b', [], true);
  const later = db.bulkSyncMessage.decode(db.gossipMessage.decode(bench.streams.pop()![1]).data);
  assert.ok(
    !tableEvents(later.payload).some((one) => one.includes('gone')),
    'less than a second, which would be sent as 0 and stand for half an hour',
  );
  bench.sync('stranger', [], true);
  assert.is(bench.counted('unknown-node'), 1);
});

test('a request from an unknown node is answered once the node is known', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  bench.sync('c', [], true);
  for (let i = 0; i < 63; i++) bench.sync(`stranger-${i}`, [], true);
  assert.is(bench.streams.length, 0);
  bench.machine.nodeJoined({ name: 'c', address: '192.0.2.3', port: 7946 }, bench.now);
  bench.machine.nodeLeft('c', bench.now);
  bench.machine.nodeJoined({ name: 'c', address: '192.0.2.3', port: 7946 }, bench.now);
  assert.equal(
    bench.streams.map(([node]) => node),
    ['c'],
  );
  const answer = db.bulkSyncMessage.decode(db.gossipMessage.decode(bench.streams[0]![1]).data);
  assert.is(tableEvents(answer.payload).length, 1);
});

test('answers to bulk syncs are rate-limited', () => {
  const bench = Bench.joined();
  for (let i = 0; i < 1000; i++) bench.sync('b', [], true);
  bench.pass(100);
  assert.is(bench.streams.length, 400);
  bench.now += 900;
  for (let i = 0; i < 1000; i++) bench.sync('b', [], true);
  bench.pass(100);
  assert.is(bench.streams.length, 440);
});

test('large tables are sent in several messages: the first is a request, and all are numbered', () => {
  const bench = Bench.joined();
  for (let i = 0; i < 100; i++) bench.machine.createEntry(NET, TABLE, `k${i}`, new Uint8Array(20_000), bench.now);
  assert.is(bench.counted('oversized'), 100);
  bench.pass(31_000);
  const syncs = bench.streams.map(([, message]) => db.bulkSyncMessage.decode(db.gossipMessage.decode(message).data));
  assert.is(syncs.length, 26, 'four in one, and the end');
  assert.equal(
    syncs.flatMap(({ unsolicited }, i) => (unsolicited ? [i] : [])),
    [0],
  );
  const parts = syncs.map(({ unknown }) => db.bulkSyncPart.decode(unknown!));
  assert.equal(
    parts.map(({ sync, part, last }) => [sync, part, last]),
    syncs.map((_, i) => [syncs[0]!.time, i + 1, i === 25]),
  );
  assert.is(
    syncs.reduce((sum, { payload }) => sum + tableEvents(payload).length, 0),
    100,
  );
});

test('many entries written at once are sent by stream, and do not count as an answer', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  for (let i = 0; i < 30; i++) bench.machine.createEntry(NET, TABLE, `k${i}`, bytes('x'.repeat(60)), bench.now);
  bench.table(db.CREATE, 500, 'b', 'theirs');
  bench.tick(250);
  const pushed = bench.streams.map(([node, message]) => ({
    to: node,
    ...db.bulkSyncMessage.decode(db.gossipMessage.decode(message).data),
  }));
  assert.equal(pushed.map(({ to, unsolicited, networks }) => [to, unsolicited, networks]).sort(), [
    ['b', false, [NET]],
    ['c', false, [NET]],
  ]);
  for (const { payload, unknown } of pushed) {
    assert.is(tableEvents(payload).length, 30);
    assert.is(db.bulkSyncPart.decode(unknown!).partial, true);
  }
  bench.streams.length = 0;
  bench.pass(1000);
  assert.is(bench.streams.length, 0, 'once');

  const asking = new Bench();
  asking.network(db.JOIN, 10, 'b');
  asking.machine.joinNetwork(NET, asking.now);
  asking.tick(0);
  asking.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, { ...pushed[0]!, node: 'b' }));
  assert.equal(asking.machine.networks(), [{ network: NET, inSync: false }]);
  asking.sync('b', [], false);
  assert.equal(asking.machine.networks(), [{ network: NET, inSync: true }]);
});

test('tables in several messages: in sync after the last of them, in any order', () => {
  const bench = new Bench();
  bench.network(db.JOIN, 10, 'b');
  bench.machine.joinNetwork(NET, bench.now);
  bench.tick(0);
  const part = (part: number, last: boolean): void => {
    const payload = db.compound([event(db.CREATE, 20 + part, 'b', `k${part}`)]);
    const unknown = db.bulkSyncPart.encode({ sync: 77, part, last });
    const sync = { time: 80 + part, unsolicited: false, node: 'b', networks: [NET], payload, unknown };
    bench.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, sync));
  };
  const synced = (): boolean => bench.machine.networks()[0]!.inSync;
  part(1, false);
  part(3, true);
  assert.not(synced());
  bench.pass(1900);
  assert.is(bench.streams.length, 1, 'it is on its way, and not asked for again');
  part(2, false);
  assert.ok(synced());
  assert.is(bench.machine.entries(NET).length, 3);
});

test('a long table is merged in slices, and in sync at the end', () => {
  const bench = new Bench();
  bench.network(db.JOIN, 10, 'b');
  bench.machine.joinNetwork(NET, bench.now);
  bench.tick(0);
  const many = Array.from({ length: 10_000 }, (_, i) => event(db.CREATE, 20 + i, 'b', `k${i}`));
  bench.sync('b', many, false);
  let known = bench.machine.entries(NET).length;
  let turns = 0;
  for (; known < 10_000 && turns < 1000; turns++) {
    assert.is(bench.machine.networks()[0]!.inSync, false);
    assert.ok(bench.machine.next <= bench.now + 5);
    bench.tick(5);
    const now = bench.machine.entries(NET).length;
    assert.ok(now - known <= 320, `${now - known} in one turn`);
    known = now;
  }
  bench.tick(5);
  assert.is(known, 10_000);
  assert.is(bench.machine.networks()[0]!.inSync, true);
  // The same when the node fails and returns.
  bench.machine.nodeLeft('b', bench.now);
  assert.ok(bench.machine.entries(NET).length > 9000);
  bench.pass(1000);
  assert.is(bench.machine.entries(NET).length, 0);
  bench.machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, bench.now);
  bench.pass(1000);
  assert.is(bench.machine.entries(NET).length, 10_000);
});

test('one bulk sync request for all networks joined at once; packets of many networks are spread over time', () => {
  const bench = new Bench();
  const networks = Array.from({ length: 300 }, (_, i) => `net-${i}`);
  for (const network of networks) bench.network(db.JOIN, 10, 'b', network);
  for (const network of networks) bench.machine.joinNetwork(network, bench.now);
  bench.pass(20);
  assert.is(bench.streams.length, 1);
  bench.sync('b', [], false, networks);
  assert.ok(bench.machine.networks().every(({ inSync }) => inSync));
  for (const network of networks) bench.machine.createEntry(network, TABLE, 'k', bytes('1'), bench.now);
  const firsts: string[] = [];
  for (let round = 0; round < 3; round++) {
    const begun = bench.now;
    let most = 0;
    while (bench.packets.length < 300 && bench.now < begun + 400) {
      const before = bench.packets.length;
      bench.pass(10);
      most = Math.max(most, bench.packets.length - before);
    }
    const order = bench.packets.splice(0).map(([, packet]) => {
      const { data } = db.gossipMessage.decode(packet);
      const [first] = db.compoundMessage.decode(data).messages;
      return db.tableEvent.decode(db.gossipMessage.decode(first!.payload).data).network;
    });
    assert.is(new Set(order).size, 300);
    assert.ok(most <= 60, `${most} packets in 10 ms`);
    firsts.push(order[0]!);
  }
  assert.is(new Set(firsts).size, 3, 'another network goes first in each round');
});

test('gossips its own events before those of others, each a limited number of times, to three nodes', () => {
  const bench = Bench.joined({}, ['b', 'c', 'd', 'e', 'f']);
  for (let i = 0; i < 40; i++) bench.table(db.CREATE, 100 + i, 'b', `relayed-${i}`, 'x'.repeat(60));
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  bench.tick(250);
  assert.is(bench.packets.length, 3);
  assert.is(new Set(bench.packets.map(([node]) => node)).size, 3);
  for (const [, packet] of bench.packets) assert.ok(packet.length <= 1400 && packet.length > 1200, `${packet.length}`);
  assert.is(tableEvents(bench.packets[0]![1])[0], 'create 141 a mine=1');
  let [mine, relayed] = [1, 0];
  bench.packets.length = 0;
  for (let i = 0; i < 60; i++) {
    bench.tick(200);
    const all = bench.gossiped();
    mine += all.filter((one) => one.includes('mine')).length / 3;
    relayed += all.filter((one) => one.includes('relayed-39')).length / 3;
  }
  assert.is(mine, 4, '4 times the order of 6 nodes');
  assert.is(relayed, 4);
  assert.is(bench.machine.counters().queued, 0);
});

test('accepts and forwards a later event; an older or equal one is stale', () => {
  const bench = Bench.joined();
  bench.table(db.CREATE, 20, 'b', 'k', 'old');
  bench.table(db.UPDATE, 22, 'b', 'k', 'new');
  bench.table(db.UPDATE, 21, 'b', 'k', 'late');
  bench.table(db.UPDATE, 22, 'b', 'k', 'again');
  bench.table(db.DELETE, 23, 'b', 'k', 'new', { residual: 1800 });
  bench.table(db.CREATE, 22, 'b', 'k', 'back');
  assert.equal(bench.changes, ['create k old', 'update k new', 'delete k new']);
  assert.is(bench.counted('stale'), 3);
  bench.tick(250);
  assert.equal(bench.gossiped(), ['b: delete 23 b k=new for 1800']);
});

test('of two writes with the same time, the same one wins everywhere', () => {
  for (const order of [
    ['b', 'c'],
    ['c', 'b'],
  ]) {
    const bench = Bench.joined({}, ['b', 'c']);
    for (const node of order) bench.table(db.CREATE, 20, node, 'k', `of ${node}`);
    assert.is(bench.shown(), 'k=of c of c');
  }
});

test('an entry of an owner that is not attached yet is held until it is', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  bench.network(db.LEAVE, 20, 'c');
  bench.table(db.CREATE, 20, 'd', 'k');
  assert.is(bench.shown(), '');
  bench.machine.nodeJoined({ name: 'd', address: '192.0.2.9', port: 7946 }, bench.now);
  assert.is(bench.shown(), '');
  bench.network(db.JOIN, 21, 'd');
  assert.is(bench.shown(), 'k=v of d');
  bench.table(db.CREATE, 30, 'c', 'z');
  assert.is(bench.counted('owner-left'), 1, 'who left is not held');
});

test('a node that sends a bulk sync request for a network counts as attached to it', () => {
  const bench = new Bench();
  bench.machine.joinNetwork(NET, bench.now);
  bench.sync('b', [event(db.CREATE, 20, 'b', 'k')], true);
  assert.is(bench.shown(), 'k=v of b');
  bench.pass(100_000);
  bench.sync('b', [], true);
  bench.pass(100_000);
  assert.is(bench.shown(), 'k=v of b');
  bench.pass(30_000);
  assert.is(bench.shown(), '', 'for two minutes, if it does not show or say it');
  bench.sync('b', [], true);
  assert.is(bench.shown(), 'k=v of b');
  bench.network(db.LEAVE, 3, 'b');
  assert.is(bench.shown(), '');
});

test('a node that only answers does not: the request to a dead process may reach its successor at the address', () => {
  const bench = new Bench({}, ['b', 'new']);
  bench.machine.joinNetwork(NET, bench.now);
  bench.sync('new', [], false);
  assert.equal(bench.machine.peers(NET), ['a']);
  // Nor does an answer extend an attachment that was inferred from an earlier request.
  bench.sync('b', [], true);
  assert.equal(bench.machine.peers(NET), ['a', 'b']);
  for (let i = 0; i < 5; i++) {
    bench.pass(30_000);
    bench.sync('b', [], false);
  }
  assert.equal(bench.machine.peers(NET), ['a']);
});

test('an older entry of an attached node wins over a later one of a node that is not', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  bench.table(db.CREATE, 30, 'c', 'k', 'of c');
  bench.machine.nodeLeft('c', bench.now);
  bench.table(db.CREATE, 20, 'b', 'k', 'of b');
  assert.is(bench.shown(), 'k=of b of b');
  bench.table(db.UPDATE, 40, 'c', 'k', 'of c');
  assert.is(bench.shown(), 'k=of b of b');
  bench.machine.nodeJoined({ name: 'c', address: '192.0.2.3', port: 7946 }, bench.now);
  bench.table(db.UPDATE, 40, 'c', 'k', 'of c');
  assert.is(bench.shown(), 'k=of c of c');
});

test('entries of a failed node are hidden, return with it, and expire after half an hour', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  bench.table(db.CREATE, 20, 'b', 'k');
  bench.machine.nodeLeft('b', bench.now);
  assert.is(bench.shown(), '');
  assert.equal(bench.machine.peers(NET), ['a', 'c']);
  bench.pass(5 * MINUTE);
  assert.ok(bench.contacts.length > 250 && bench.contacts.every((one) => one === '192.0.2.2:7946'), 'it is called');
  bench.machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, bench.now);
  assert.is(bench.shown(), 'k=v of b');
  bench.machine.nodeLeft('b', bench.now);
  bench.pass(31 * MINUTE);
  bench.machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, bench.now);
  assert.is(bench.shown(), '');
  assert.is(bench.machine.counters().entries, 0);
  assert.equal(bench.changes, ['create k v', 'delete k v', 'create k v', 'delete k v']);
});

test('entries are removed at once if their node leaves the cluster or the network, or is replaced', () => {
  for (const leave of [
    (bench: Bench) => bench.node(db.LEAVE, 30, 'b'),
    (bench: Bench) => bench.network(db.LEAVE, 30, 'b'),
    (bench: Bench) => bench.machine.nodeJoined({ name: 'b2', address: '192.0.2.2', port: 7946 }, bench.now),
  ]) {
    const bench = Bench.joined();
    bench.table(db.CREATE, 20, 'b', 'k');
    leave(bench);
    assert.is(bench.shown(), '');
    assert.is(bench.machine.counters().entries, 0);
    bench.table(db.CREATE, 20, 'b', 'k');
    assert.is(bench.shown(), '', 'nor do they come back');
  }
});

test('tombstones are removed after half an hour', () => {
  const bench = Bench.joined();
  bench.table(db.CREATE, 20, 'b', 'k');
  bench.table(db.DELETE, 21, 'b', 'k', 'v', { residual: 2 ** 31 - 1 });
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  bench.machine.deleteEntry(NET, TABLE, 'mine', bench.now);
  bench.tick(250);
  assert.ok(bench.gossiped().includes('b: delete 24 a mine=1 for 1800'));
  bench.pass(29 * MINUTE);
  bench.table(db.CREATE, 20, 'b', 'k');
  assert.is(bench.shown(), '');
  assert.is(bench.machine.counters().entries, 2);
  bench.pass(2 * MINUTE);
  assert.is(bench.machine.counters().entries, 0);
});

test('a deletion of an unknown entry is kept; it is forwarded only from a bulk sync, while it has long to live', () => {
  const bench = Bench.joined();
  bench.table(db.DELETE, 20, 'b', 'gossip', 'v', { residual: 1800 });
  const of = (key: string, residual: number): Uint8Array => event(db.DELETE, 20, 'b', key, 'v', { residual });
  bench.sync('b', [of('long', 301), of('short', 300)], false);
  assert.is(bench.machine.counters().entries, 3);
  bench.tick(250);
  assert.equal(bench.gossiped(), ['b: delete 20 b long=v for 301']);
});

test('an event is relayed octet for octet as it arrived', () => {
  const all = [
    event(db.CREATE, 20, 'b', 'plain', 'x'.repeat(200)),
    event(db.UPDATE, 21, 'b', 'update'),
    event(db.CREATE, 22, 'b', 'schlüssel-ключ', 'ü'),
    event(db.CREATE, 23, 'b', 'more', 'v', { unknown: fromHex('f801017a03616263') }),
    event(db.CREATE, 24, 'b', 'residual', 'v', { residual: 7 }),
    event(db.DELETE, 25, 'b', 'plain-too', 'v', { residual: 1800 }),
    event(db.CREATE, 26, 'b', 'empty', ''),
  ];
  const bench = Bench.joined();
  bench.table(db.CREATE, 10, 'b', 'plain-too');
  bench.pass(2000);
  bench.packets.length = 0;
  for (const one of all) bench.receive(one);
  bench.tick(250);
  const [[, packet]] = bench.packets as [[string, Uint8Array]];
  const { messages } = db.compoundMessage.decode(db.gossipMessage.decode(packet).data);
  assert.equal(
    messages.map(({ payload }) => hex(payload)),
    all.map((one) => hex(one)),
  );
});

test('an entry of a bulk sync is relayed if another node than its author is in the network', () => {
  for (const others of [['b'], ['b', 'c'], ['c']]) {
    const bench = Bench.joined({}, others);
    bench.sync(others.at(-1)!, [event(db.CREATE, 20, 'b', 'k')], false);
    bench.tick(250);
    const relayed = new Set(bench.gossiped().map((one) => one.slice(3)));
    assert.equal([...relayed], others.includes('c') ? ['create 20 b k=v'] : []);
  }
});

test('refutes false messages about its entries, its attachments and itself', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  bench.table(db.DELETE, 500, 'a', 'mine', '1', { residual: 1800 });
  bench.table(db.UPDATE, 600, 'a', 'mine', 'false');
  bench.table(db.CREATE, 700, 'a', 'never', 'false');
  assert.is(bench.shown(), 'mine=1 of a');
  bench.tick(250);
  // As creations after a deletion of the old entry: Docker up to 28 treats an updated endpoint as deleted.
  assert.equal(bench.gossiped(), [
    'b: delete 602 a mine=false for 1800',
    'b: create 604 a mine=1',
    'b: delete 702 a never=false for 1800',
  ]);
  assert.equal(bench.changes, ['create mine 1']);

  bench.network(db.LEAVE, 800, 'a');
  bench.network(db.JOIN, 900, 'a', 'net9');
  bench.node(db.LEAVE, 1000, 'a');
  const reported = bench.reported();
  for (const one of ['leave 902 a net9', 'join 1002 a', 'join 1003 a net1'])
    assert.ok(reported.includes(one), `${one}: ${reported.join()}`);
  bench.tick(200);
  assert.ok(bench.gossiped().includes('b: create 703 a mine=1'));
});

test('entries of an earlier process: an equal one stays, a deletion is answered by a creation', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'k', bytes('1'), bench.now);
  bench.pass(5000);
  bench.gossiped();
  bench.sync('b', [event(db.CREATE, 40, 'a', 'k', '1')], false);
  assert.is(bench.machine.entry(NET, TABLE, 'k')!.time, 40);
  assert.is(bench.counted('refuted'), 0);
  bench.sync('b', [event(db.DELETE, 60, 'a', 'k', '1', { residual: 1700 })], false);
  bench.tick(250);
  assert.equal(bench.gossiped(), ['b: create 62 a k=1']);
  assert.equal(bench.changes, ['create k 1']);
});

test('a late leave message of an earlier process: entries are announced again but keep their time', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'k', bytes('1'), bench.now);
  bench.pass(2000);
  assert.ok(bench.gossiped().includes('b: create 7 a k=1'));
  assert.equal(bench.gossiped(), [], 'said often enough');
  const { time } = bench.machine.entry(NET, TABLE, 'k')!;

  bench.node(db.LEAVE, 50, 'a');
  assert.equal(bench.reported(), ['join 52 a', 'join 53 a net1']);
  bench.tick(250);
  // If Docker has the entry, it treats one with a later time as a second endpoint, and logs an error.
  assert.equal(bench.gossiped(), [`b: create ${time} a k=1`]);
  assert.equal(bench.changes, ['create k 1']);
});

test('a replaced entry is deleted, with the value that others have, and created again', () => {
  const bench = Bench.joined();
  bench.table(db.CREATE, 20, 'b', 'k', 'of b');
  bench.machine.replaceEntry(NET, TABLE, 'k', bytes('mine'), bench.now);
  bench.tick(250);
  const packet = bench.packets.find(([node]) => node === 'b')![1];
  assert.equal(tableEvents(packet).slice(0, 2), ['delete 22 a k=of b for 1800', 'create 24 a k=mine']);
  assert.is(bench.shown(), 'k=mine of a');
});

test('its own messages, received back, change nothing', () => {
  const bench = Bench.joined();
  bench.machine.createEntry(NET, TABLE, 'k', bytes('1'), bench.now);
  bench.machine.updateEntry(NET, TABLE, 'k', bytes('2'), bench.now);
  bench.tick(250);
  const before = JSON.stringify(bench.machine.entries(NET));
  for (const [, packet] of bench.packets.splice(0)) bench.receive(packet);
  bench.table(db.CREATE, 6, 'a', 'k', '1');
  assert.is(JSON.stringify(bench.machine.entries(NET)), before);
  assert.is(bench.counted('refuted'), 0);
});

test('one absurd time does not advance the clock', () => {
  const bench = Bench.joined();
  bench.table(db.CREATE, 2 ** 53 - 1, 'b', 'k');
  assert.is(bench.counted('time-beyond-reason'), 1);
  bench.table(db.CREATE, 2 ** 52, 'b', 'k');
  bench.machine.createEntry(NET, TABLE, 'mine', bytes('1'), bench.now);
  assert.is(bench.machine.entry(NET, TABLE, 'mine')!.time, 2 ** 52 + 2);
  bench.receive(fromHex('0802120b10ffffffffffffffffff01'));
  assert.is(bench.counted('malformed'), 1);
});

test('entries of others are bounded, and one owner cannot use all the space', () => {
  const bench = Bench.joined({ limits: { entries: 100, bytes: 1 << 20, held: 10 } }, ['b', 'c']);
  for (let i = 0; i < 200; i++) bench.table(db.CREATE, 20 + i, 'b', `b${i}`);
  assert.is(bench.machine.counters().entries, 50);
  for (let i = 0; i < 200; i++) bench.table(db.CREATE, 20 + i, `stranger-${i}`, `s${i}`);
  assert.is(bench.machine.counters().entries, 60);
  for (let i = 0; i < 200; i++) bench.table(db.CREATE, 20 + i, 'c', `c${i}`);
  assert.is(bench.machine.counters().entries, 100);
  for (let i = 0; i < 50; i++) bench.machine.createEntry(NET, TABLE, `a${i}`, bytes('1'), bench.now);
  assert.is(bench.machine.counters().entries, 150, 'its own go beyond');
  for (let i = 0; i < 50; i++) bench.table(db.UPDATE, 5000 + i, 'b', `b${i}`, 'changed');
  assert.is(bench.machine.entry(NET, TABLE, 'b49')!.value.length, 7, 'and what is there may change');

  const heavy = Bench.joined({ limits: { entries: 100, bytes: 10_000, held: 10 } });
  heavy.table(db.CREATE, 20, 'b', 'k', 'x'.repeat(4000));
  heavy.table(db.CREATE, 21, 'b', 'l', 'x'.repeat(4000));
  assert.is(heavy.counted('no-room'), 1);
  heavy.table(db.CREATE, 21, 'b', 'k'.repeat(257));
  assert.is(heavy.counted('name-too-long'), 1);
  heavy.table(db.CREATE, 21, 'b', 'm', 'x'.repeat(65_537));
  assert.is(heavy.counted('value-too-long'), 1);

  const many = new Bench({ maxAttachments: 10 });
  for (let i = 0; i < 100; i++) many.network(db.JOIN, 20, 'b', `net-${i}`);
  assert.is(many.machine.counters().attachments, 10);
  many.machine.joinNetwork(NET, 0);
  assert.is(many.machine.counters().attachments, 11);
});

test('compounds nest twice; a bulk sync contains only table events', () => {
  const bench = Bench.joined();
  let message = event(db.CREATE, 20, 'b', 'k');
  message = db.compound([db.compound([message])]);
  bench.receive(message);
  assert.is(bench.shown(), 'k=v of b');
  bench.receive(db.compound([message]));
  assert.is(bench.counted('nested'), 1);
  bench.sync('b', [db.wrap(db.NODE_EVENT, db.nodeEvent, { type: db.LEAVE, time: 99, node: 'b' })], false);
  assert.is(bench.counted('unknown-type'), 1);
  assert.is(bench.shown(), 'k=v of b');
});

test('own entries: invalid operations throw', () => {
  const bench = Bench.joined();
  const { machine } = bench;
  assert.throws(() => machine.createEntry('other', TABLE, 'k', bytes('1'), 0), /not attached to network other/);
  assert.throws(() => machine.createEntry(NET, 'a/b', 'k', bytes('1'), 0), /no slash/);
  assert.throws(() => machine.createEntry(NET, TABLE, '', bytes('1'), 0), RangeError);
  assert.throws(() => machine.createEntry(NET, TABLE, 'k', new Uint8Array(65_537), 0), /65536 octets/);
  assert.throws(() => machine.joinNetwork('x/y', 0), RangeError);
  assert.throws(() => machine.updateEntry(NET, TABLE, 'k', bytes('1'), 0), /has no entry k/);
  machine.createEntry(NET, TABLE, 'k', bytes('1'), 0);
  assert.throws(() => machine.createEntry(NET, TABLE, 'k', bytes('1'), 0), /already/);
  machine.deleteEntry(NET, TABLE, 'k', 0);
  assert.throws(() => machine.deleteEntry(NET, TABLE, 'k', 0), RangeError);
  machine.createEntry(NET, TABLE, 'k', bytes('2'), 0);
  assert.is(bench.shown(), 'k=2 of a', 'over its own tombstone');
  machine.leaveNetwork(NET, 0);
  assert.equal(bench.changes.slice(-1), ['delete k 2']);
  assert.equal(machine.networks(), []);
});

test('a network in parts: each takes the records of its subnet, and the last one with an endpoint leaves', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  const { machine } = bench;
  machine.leaveNetwork(NET, bench.now);
  const vtep = new Vtep({ local: '192.0.2.1' });
  const attachment = new db.Attachment(machine, NET);
  const foreign: string[] = [];
  const part = (vni: number, net: string): InstanceType<typeof OverlayPeers> => {
    vtep.addSegment({ vni });
    const accepts = ({ ip }: { ip: string }): boolean => {
      if (!ip.startsWith('10.')) foreign.push(ip);
      return ip.startsWith(net) && !ip.endsWith('.1');
    };
    const options = {
      network: NET,
      vni,
      local: '192.0.2.1',
      time: () => 7,
      part: { subnet: `${net}0/24`, attachment, accepts },
    };
    return new OverlayPeers(options, machine, vtep);
  };
  const [near, far] = [part(4097, '10.0.0.'), part(4098, '10.0.1.')];
  const record = (key: string, time: number, ip: string): void => {
    const endpointMac = `02:42:0a:00:00:${time}`;
    const value = db.peerRecord.encode({ endpointIp: `${ip}/24`, endpointMac, tunnelIp: '192.0.2.2' });
    bench.table(db.CREATE, time, 'b', key, '', { table: db.OVERLAY_PEER_TABLE, value });
  };
  const mine = (): string[] =>
    machine.entries(NET, db.OVERLAY_PEER_TABLE).flatMap(({ key, owner }) => (owner === 'a' ? [key] : []));
  near.addLocal({ id: 'n', ip: '10.0.0.9/24', mac: '02:42:0a:00:00:09' }, bench.now);
  bench.pass(1000);
  record('e1', 21, '10.0.0.4');
  record('e2', 22, '10.0.1.4');
  record('gateway', 23, '10.0.1.1');
  record('other', 24, '172.16.0.4');
  const known = (vni: number): string[] => vtep.neighbors(vni).map(({ ip }) => ip);
  assert.equal([known(4097), known(4098)], [['10.0.0.4'], ['10.0.1.4']], 'also where this host has no endpoint');
  assert.equal(
    [...vtep.peers(4098)].map(({ address }) => address),
    ['192.0.2.2'],
  );
  assert.ok(foreign.includes('172.16.0.4'));
  far.addLocal({ id: 'f', ip: '10.0.1.9/24', mac: '02:42:0a:00:01:09' }, bench.now);
  bench.pass(1000);
  assert.equal(mine(), ['n', 'f']);
  near.removeLocal('n', bench.now);
  assert.equal(mine(), ['f']);
  assert.equal(known(4097), ['10.0.0.4'], 'the router of this host needs it');
  assert.equal(machine.networks().length, 1);
  // The record of an endpoint that moves to the other subnet.
  bench.table(db.UPDATE, 30, 'b', 'e1', '', {
    table: db.OVERLAY_PEER_TABLE,
    value: db.peerRecord.encode({ endpointIp: '10.0.1.5/24', endpointMac: '02:42:0a:00:00:21', tunnelIp: '192.0.2.2' }),
  });
  assert.equal([known(4097), known(4098)], [[], ['10.0.1.4', '10.0.1.5']]);
  far.removeLocal('f', bench.now);
  assert.equal(machine.networks(), []);
  assert.equal([known(4097), known(4098)], [[], []]);
});

test('records become endpoints and peers of a VTEP, and endpoints of this host records', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  const { machine } = bench;
  machine.leaveNetwork(NET, bench.now);
  const vtep = new Vtep({ local: '192.0.2.1' });
  vtep.addSegment({ vni: 4097 });
  const overlay = new OverlayPeers({ network: NET, vni: 4097, local: '192.0.2.1' }, machine, vtep);
  const record = (key: string, time: number, endpointIp: string, endpointMac: string, tunnelIp: string, node = 'b') =>
    bench.table(db.CREATE, time, node, key, '', {
      table: db.OVERLAY_PEER_TABLE,
      value: db.peerRecord.encode({ endpointIp, endpointMac, tunnelIp }),
    });
  record('e1', 20, '10.0.0.4/24', '02:42:0a:00:00:04', '192.0.2.2');
  assert.is(overlay.size, 0, 'not attached while there is no endpoint');
  overlay.addLocal({ id: 'mine', ip: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }, bench.now);
  assert.equal(
    machine.networks().map(({ network }) => network),
    [NET],
  );
  bench.pass(1000); // the others do not answer
  record('e1', 20, '10.0.0.4/24', '02:42:0a:00:00:04', '192.0.2.2');
  record('e2', 21, '10.0.0.5/24', '02:42:0A:00:00:05', '192.0.2.2');
  record('e3', 22, '10.0.0.6/24', '02:42:0a:00:00:06', '192.0.2.3', 'c');
  record('own', 23, '10.0.0.7/24', '02:42:0a:00:00:07', '192.0.2.1');
  for (const [i, bad] of ['10.0.0.9', '224.0.0.1/24', 'fd00::1/64', ''].entries())
    record(`bad${i}`, 24, bad, '02:42:0a:00:00:09', '192.0.2.2');
  record('bad-mac', 25, '10.0.0.9/24', 'ff:ff:ff:ff:ff:ff', '192.0.2.2');
  record('bad-vtep', 26, '10.0.0.9/24', '02:42:0a:00:00:09', '0.0.0.0');
  assert.is(overlay.rejected, 6);
  assert.equal(overlay.peers(), ['192.0.2.2', '192.0.2.3']);
  assert.equal(
    vtep
      .neighbors(4097)
      .map(({ ip, mac, vtep: at }) => `${ip} ${mac} ${at}`)
      .sort(),
    [
      '10.0.0.4 02:42:0a:00:00:04 192.0.2.2',
      '10.0.0.5 02:42:0a:00:00:05 192.0.2.2',
      '10.0.0.6 02:42:0a:00:00:06 192.0.2.3',
    ],
  );
  record('e1', 30, '10.0.0.4/24', '02:42:0a:00:00:04', '192.0.2.3', 'c');
  assert.ok(
    vtep.neighbors(4097).some(({ ip, vtep: at }) => ip === '10.0.0.4' && at === '192.0.2.3'),
    'it moved',
  );
  machine.nodeLeft('c', bench.now);
  assert.equal(overlay.peers(), ['192.0.2.2']);
  bench.table(db.DELETE, 99, 'b', 'mine', '', { table: db.OVERLAY_PEER_TABLE, residual: 1800 });
  assert.is(
    machine.entry(NET, db.OVERLAY_PEER_TABLE, 'mine')!.time,
    101,
    'withdrawn by another, and here: written again',
  );
  overlay.removeLocal('mine', bench.now);
  assert.equal(machine.networks(), []);
  assert.equal(overlay.peers(), []);
  assert.equal(vtep.neighbors(4097), []);
  overlay.addLocal({ id: 'mine', ip: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }, bench.now);
  overlay.close(bench.now);
  assert.equal(machine.networks(), []);
});

test('endpoints with an IPv6 address have a table of their own, which Docker relays without reading it', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  const { machine } = bench;
  machine.leaveNetwork(NET, bench.now);
  const vtep = new Vtep({ local: '192.0.2.1' });
  vtep.addSegment({ vni: 4097 });
  const time = (): number => 5000;
  const overlay = new OverlayPeers({ network: NET, vni: 4097, local: '192.0.2.1', time }, machine, vtep);
  const mine = { id: 'mine', ip: 'fd00::3/128', mac: '02:42:0a:00:00:03', subnet: '10.0.0.0/24' };
  overlay.addLocal({ id: 'four', ip: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }, bench.now);
  overlay.addLocal(mine, bench.now);
  assert.throws(() => overlay.addLocal(mine, bench.now), /endpoint mine already exists/);
  for (const ip of ['fd00::4', 'fd00::4/64', 'ff02::1/128', '::/128', 'fd00::4/128/128'])
    assert.throws(() => overlay.addLocal({ ...mine, id: 'wrong', ip }, bench.now), RangeError, ip);
  bench.pass(1000); // the others do not answer
  assert.equal(
    [db.OVERLAY_PEER_TABLE, db.PEER_TABLE6].map((table) => machine.entries(NET, table).map(({ key }) => key)),
    [['four'], ['mine']],
  );
  // Field 1 fd00::3/128, 2 the MAC address, 3 the tunnel, 12 and 13 the times, 14 the VNI, 15 the subnet: proto3.
  const ascii = (text: string): string => hex(bytes(text));
  assert.is(
    hex(machine.entry(NET, db.PEER_TABLE6, 'mine')!.value),
    `0a0b${ascii('fd00::3/128')}1211${ascii('02:42:0a:00:00:03')}1a09${ascii('192.0.2.1')}` +
      `6088276888277081207a0b${ascii('10.0.0.0/24')}`,
  );
  const record = (table: string, key: string, lamport: number, endpointIp: string, more: object = {}): void =>
    bench.table(db.CREATE, lamport, 'b', key, '', {
      table,
      value: db.peerRecord.encode({
        endpointIp,
        endpointMac: '02:42:0a:00:00:04',
        tunnelIp: '192.0.2.2',
        unknown: peerExtension.encode({ since: 6000, attached: 6000, vni: 4097, subnet: '10.0.0.0/24', ...more }),
      }),
    });
  const listed = (): string[] =>
    vtep
      .neighbors(4097)
      .map(({ ip, mac, vtep: at }) => `${ip} ${mac} ${at}`)
      .sort();
  // The same key in both tables names two endpoints.
  record(db.PEER_TABLE6, 'theirs', 50, 'FD00:0::4/128');
  record(db.OVERLAY_PEER_TABLE, 'theirs', 51, '10.0.0.4/24', { subnet: '' });
  const both = ['10.0.0.4 02:42:0a:00:00:04 192.0.2.2', 'fd00::4 02:42:0a:00:00:04 192.0.2.2'];
  assert.equal([listed(), overlay.peers(), overlay.conflicts()], [both, ['192.0.2.2'], []]);
  for (const [i, [table, ip]] of (
    [
      [db.PEER_TABLE6, '10.0.0.9/24'],
      [db.OVERLAY_PEER_TABLE, 'fd00::9/128'],
      [db.PEER_TABLE6, 'fd00::9/64'],
      [db.PEER_TABLE6, 'ff02::1/128'],
      [db.PEER_TABLE6, 'fd00::9'],
    ] as const
  ).entries())
    record(table, `bad${i}`, 52, ip);
  assert.equal([overlay.rejected, listed()], [5, both]);
  // An address on two hosts, and another VNI or subnet: the older attachment holds.
  const conflicts = (): string[] => overlay.conflicts().map(({ kind, value, holds }) => `${kind} ${value} ${holds}`);
  record(db.PEER_TABLE6, 'same', 60, 'fd00::3/128');
  assert.equal(conflicts(), ['ip fd00::3 fd00::3']);
  bench.table(db.DELETE, 61, 'b', 'same', '', { table: db.PEER_TABLE6, residual: 1800 });
  record(db.PEER_TABLE6, 'other', 62, 'fd00::7/128', { subnet: '10.9.0.0/24' });
  record(db.PEER_TABLE6, 'vni', 63, 'fd00::8/128', { vni: 5 });
  assert.equal(conflicts().sort(), [
    'parameters VNI 4097, subnet 10.9.0.0/24 VNI 4097, subnet 10.0.0.0/24',
    'parameters VNI 5, subnet 10.0.0.0/24 VNI 4097, subnet 10.0.0.0/24',
  ]);
  record(db.PEER_TABLE6, 'other', 64, 'fd00::7/128', { subnet: 'nonsense' });
  assert.is(listed().length, 2, 'a subnet that is none');
  // Withdrawn by another, and here: written again, in its own table.
  bench.table(db.DELETE, 99, 'b', 'mine', '', { table: db.PEER_TABLE6, residual: 1800 });
  bench.table(db.DELETE, 99, 'b', 'mine', '', { table: db.OVERLAY_PEER_TABLE, residual: 1800 });
  assert.ok(machine.entry(NET, db.PEER_TABLE6, 'mine')!.time > 99);
  assert.is(machine.entry(NET, db.OVERLAY_PEER_TABLE, 'mine'), undefined);
  assert.ok(overlay.removeLocal('mine', bench.now));
  assert.equal(
    machine.entries(NET, db.PEER_TABLE6).filter(({ owner }) => owner === 'a'),
    [],
  );
  overlay.close(bench.now);
  assert.equal(vtep.neighbors(4097), []);
});

test('a sink learns since when endpoints of others are attached, and the host since when its own are announced', () => {
  const bench = Bench.joined({}, ['b', 'c']);
  bench.machine.leaveNetwork(NET, bench.now);
  const heard: string[] = [];
  const own: string[] = [];
  const sink: db.OverlaySink = {
    addEndpoint: (_, { ip, vtep }, since) => void heard.push(`${ip} at ${vtep} since ${since}`),
    removeEndpoint: (_, { ip, vtep }) => void heard.push(`no ${ip} at ${vtep}`),
    addPeer: () => undefined,
    removePeer: () => undefined,
  };
  const time = (): number => 5000;
  const announced = ({ ip, mac }: { ip: string; mac: string }, since: number | null): void =>
    void own.push(`${ip} ${mac} ${since}`);
  const overlay = new OverlayPeers(
    { network: NET, vni: 4097, local: '192.0.2.1', time, announced },
    bench.machine,
    sink,
  );
  const record = (key: string, lamport: number, ip: string, last: string, node: string, since?: number): void =>
    bench.table(db.CREATE, lamport, node, key, '', {
      table: db.OVERLAY_PEER_TABLE,
      value: db.peerRecord.encode({
        endpointIp: `${ip}/24`,
        endpointMac: `02:42:0a:00:00:${last}`,
        tunnelIp: node === 'b' ? '192.0.2.2' : '192.0.2.3',
        ...(since === undefined ? {} : { unknown: peerExtension.encode({ since, attached: since, vni: 4097 }) }),
      }),
    });
  overlay.addLocal({ id: 'mine', ip: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }, bench.now);
  assert.equal(own, [], 'it waits for the tables of others');
  bench.pass(1000);
  assert.equal(own, ['10.0.0.3/24 02:42:0a:00:00:03 5000']);
  record('theirs', 20, '10.0.0.4', '04', 'b', 4000);
  record('docker', 21, '10.0.0.5', '05', 'c');
  assert.equal(heard.splice(0), ['10.0.0.4 at 192.0.2.2 since 4000', '10.0.0.5 at 192.0.2.3 since 0']);
  // Another host has attached our address before us.
  record('older', 22, '10.0.0.3', '06', 'b', 4500);
  assert.equal(own.splice(1), ['10.0.0.3/24 02:42:0a:00:00:03 null']);
  assert.equal(heard.splice(0), ['10.0.0.3 at 192.0.2.2 since 4500']);
  bench.machine.nodeLeft('b', bench.now);
  bench.pass(1000);
  assert.equal(own.splice(1), ['10.0.0.3/24 02:42:0a:00:00:03 5000'], 'it counts from its new announcement');
  overlay.close(bench.now);
});

test('contacts the bootstrap addresses while their nodes are absent', () => {
  const bench = new Bench({
    bootstrap: [
      { address: '192.0.2.2', port: 7946 },
      { address: '192.0.2.7', port: 7946 },
    ],
  });
  bench.pass(61_500);
  assert.equal(bench.contacts, ['192.0.2.7:7946'], 'once, while another one is there');
  bench.machine.nodeJoined({ name: 'b2', address: '192.0.2.2', port: 7946 }, bench.now);
  bench.machine.nodeLeft('b', bench.now);
  bench.machine.nodeLeft('b2', bench.now);
  bench.node(db.LEAVE, 50, 'b2');
  bench.contacts.length = 0;
  bench.pass(59_000 + 10_000);
  assert.ok(bench.contacts.filter((one) => one === '192.0.2.7:7946').length >= 9, 'each second for a while');
});

test('a closed machine announces that it leaves, and sends nothing more', () => {
  const bench = Bench.joined();
  bench.machine.close(bench.now);
  assert.match(bench.reported().join(), /^leave \d+ a$/);
  bench.table(db.CREATE, 20, 'b', 'k');
  bench.pass(5 * MINUTE);
  assert.is(bench.shown(), '');
  assert.equal(bench.packets, []);
  assert.is(bench.machine.next, Infinity);
});

test('recognizes a NetworkDB state: an empty one and one of serf are not', () => {
  const bench = new Bench();
  assert.is(bench.machine.mergeState(new Bench().machine.localState(true, 0), bench.now), true);
  assert.is(bench.machine.mergeState(new Uint8Array(0), bench.now), false);
  const serf = fromHex('0285a54c54696d6501ad537461747573'); // its push/pull: 2, and a map of msgpack
  assert.is(bench.machine.mergeState(serf, bench.now), false);
});

test.run();

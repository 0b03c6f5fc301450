/** How much work a member, or a stranger, makes at once: long messages are handled in slices, and floods in linear time. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  decodeStream,
  deflate,
  encodeCompound,
  encodePushPull,
  encodeUser,
  Memberlist,
  STATE,
  STREAM_LIMITS,
  StreamReader,
  type NodeState,
} from '../../src/gossip/memberlist/index.js';
import * as db from '../../src/gossip/networkdb/index.js';
import { Random } from '../../src/sim/index.js';
import { Besieged, node, PORT, state } from '../support/hostile-gossip.js';
import { processorTime as took } from '../support/processor-time.js';

const network = 'net1';

const nodes = (
  count: number,
  addr = (i: number): string => `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
): NodeState[] => Array.from({ length: count }, (_, i) => node(`member-${i}`, addr(i)));

/** A NetworkDb on virtual time. */
function tables(): { machine: db.NetworkDb; now: () => number; pass: (milliseconds: number) => number } {
  let now = 1000;
  const random = new Random(1);
  const machine = new db.NetworkDb(
    { name: 'me', random: () => random.float() },
    { sendPacket: () => undefined, sendReliable: () => undefined, contact: () => undefined },
  );
  machine.start(now);
  machine.joinNetwork(network, now);
  /** Returns the longest call in milliseconds. */
  const pass = (milliseconds: number): number => {
    let longest = 0;
    for (const end = now + milliseconds; machine.next <= end;) {
      now = Math.max(now, machine.next);
      longest = Math.max(
        longest,
        took(() => machine.tick(now)),
      );
    }
    return longest;
  };
  return { machine, now: () => now, pass };
}

const entry = (owner: string, i: number): Uint8Array =>
  db.wrap(db.TABLE_EVENT, db.tableEvent, {
    ...{ type: db.CREATE, time: 10 + i, node: owner, network, table: 't', key: `k${i}`, residual: 0 },
    value: new Uint8Array(8),
  });

test('a state of 16,000 members is merged 150 at a time, and each turn takes milliseconds', () => {
  let now = 0;
  let joined = 0;
  const random = new Random(1);
  let stream = 0;
  const machine = new Memberlist(
    { name: 'me', address: '10.0.0.1', random: () => random.float() },
    {
      sendPacket: () => undefined,
      openStream: (id) => void (stream = id),
      writeStream: () => undefined,
      closeStream: () => undefined,
    },
    { nodeJoined: () => void joined++ },
    now,
  );
  let done = 0;
  machine.join([{ address: '10.1.0.0', port: PORT }], now, () => void done++);
  const bytes = state(nodes(16_000));
  let longest = 0;
  for (let at = 0; at < bytes.length; at += 65_536)
    longest = Math.max(
      longest,
      took(() => machine.streamData(stream, bytes.subarray(at, at + 65_536), now)),
    );
  let most = joined;
  let slowest = 0;
  while (joined < 16_000) {
    const before = joined;
    assert.is(done, 0, 'the join ends with the merge');
    now = Math.max(now, machine.due);
    slowest = Math.max(
      slowest,
      took(() => machine.wake(now)),
    );
    most = Math.max(most, joined - before);
  }
  assert.is(done, 1);
  assert.ok(most <= 160, `${most} members at once`);
  assert.ok(now < 2000, `merged after ${now} ms`);
  assert.ok(slowest < 400, `a turn of ${slowest} ms`);
  assert.ok(longest < 1500, `a turn of ${longest} ms to read 64 KiB`);
});

test('a long message is decompressed and parsed in steps, and counts as memory until then', () => {
  const zeros = new Uint8Array(STREAM_LIMITS.inflated - 64);
  const long = encodePushPull({ type: 'pushPull', join: false, nodes: nodes(16_000), userState: new Uint8Array(0) });
  for (const [bytes, leastSteps] of [
    [deflate(encodeUser(zeros)), 150],
    [long, 60],
    [deflate(long), 60],
  ] as const) {
    const reader = new StreamReader({}, false);
    let message = reader.push(bytes);
    let steps = 1;
    let most = 0;
    for (; reader.paused; steps++) {
      most = Math.max(most, reader.kept);
      message = reader.resume();
    }
    assert.ok(message !== null && steps >= leastSteps, `${steps} steps`);
    assert.ok(most >= 16_000 * 256, `${most} octets`);
    assert.is(reader.kept, 0);
    assert.equal(message, decodeStream(bytes));
  }
});

test('a peer that closes the stream after a long state has sent it all the same; a cut one is refused', () => {
  for (const missing of [0, 1]) {
    const member = new Besieged();
    const bytes = state(nodes(5000));
    const id = member.machine.acceptStream(member.now, '198.51.100.1');
    member.machine.streamData(id, bytes.subarray(0, bytes.length - missing), member.now);
    member.machine.streamClosed(id, member.now);
    member.pass(1000);
    assert.is(member.machine.sizes().streams, 0);
    assert.is(member.machine.unproven().members > 1000, missing === 0, `${missing} octets less`);
  }
});

test('strangers fill the member list with at most 1024 members that never answer, and those are forgotten', () => {
  for (const wire of [state, (all: readonly NodeState[]) => deflate(state(all))]) {
    const member = new Besieged();
    for (let i = 0; i < 5; i++) {
      member.stream(wire(nodes(16_000).map((one) => ({ ...one, name: `${one.name}-${i}` }))), `198.51.100.${i}`);
      member.pass(1500);
    }
    const { members } = member.machine.sizes();
    assert.ok(members <= 1024 + 3, `${members} members`);
    assert.is(member.machine.unproven().members, members - 3);
    assert.ok(member.machine.sizes().broadcasts <= 3, 'members that did not answer are not passed on');
    // At most six pings to each, 40 a second; no gossip, no probes, and no streams.
    member.sent.clear();
    member.pass(600_000);
    assert.is(member.machine.unproven().members, 0);
    assert.ok(member.out((to) => !member.isHonest(to)) < 6 * 1024 * 160, `${member.out()}`);
  }
});

test('members that answer at one address without a key are at most 256', () => {
  const member = new Besieged();
  const all = nodes(1000, () => '198.51.100.1').map((one, i) => ({ ...one, port: 1024 + i }));
  for (let round = 0; round < 5; round++) {
    member.stream(state(all), '198.51.100.1');
    member.pass(2000);
  }
  const { length } = member.machine.members().filter(({ verified }) => verified);
  assert.ok(length <= 256 + 3, `${length}`);
});

test('long names, metadata and versions in a state are refused one by one', () => {
  const member = new Besieged();
  const long = 'x'.repeat(4000);
  member.stream(
    state([
      node(long, '198.51.100.1'),
      node('meta', '198.51.100.2', { meta: new Uint8Array(3000) }),
      node('version', '198.51.100.3', { vsn: Uint8Array.of(200, 255, 201, 9, 9, 9) }),
      node('fine', '198.51.100.4'),
    ]),
  );
  const names = (all: readonly { name: string }[]): string[] => all.map(({ name }) => name).sort();
  assert.equal(names(member.machine.state()), ['a', 'b', 'fine', 'me']);
  assert.equal(names(member.machine.members()), ['a', 'b', 'me'], 'without what only a stranger says');
});

test('what a stranger says in streams reaches nobody else: no dials, no report, no messages, no attachments', () => {
  const member = new Besieged();
  for (let i = 0; i < 500; i++) member.db.createEntry(network, 't', `own-${i}`, new Uint8Array(500), member.now);
  member.pass(10_000);
  member.sent.clear();
  const events = encodeUser(entry('a', 1));
  const attached = db.wrap(db.PUSH_PULL, db.networkPushPull, {
    time: 5,
    networks: Array.from({ length: 2000 }, (_, i) => ({ time: 5, network: `n${i}`, node: 'ghost', leaving: false })),
    node: 'ghost',
  });
  const stranger = '198.51.100.1';
  const tables = encodeUser(
    db.wrap(db.BULK_SYNC, db.bulkSyncMessage, {
      ...{ time: 9, unsolicited: true, node: 'ghost', networks: [network], payload: new Uint8Array(0) },
    }),
  );
  member.stream(state([node('ghost', '127.0.0.1', { port: 6379 })], attached), stranger);
  for (let i = 0; i < 20; i++) for (const message of [events, tables]) member.stream(message, stranger);
  member.pass(120_000);
  assert.not(member.joined.includes('ghost'));
  assert.is(member.db.counters().attachments, 1, 'its own');
  assert.is(member.db.entry(network, 't', 'k1'), undefined);
  const pings = 6 * 200;
  assert.ok(member.out((to) => to === '127.0.0.1:6379') <= pings, [...member.sent].join());
});

test('a member that joins from its own address by stream is one at once, with its messages', () => {
  const member = new Besieged();
  const join = encodeUser(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'new', network }));
  member.stream(state([node('new', '198.51.100.7')]), '198.51.100.7');
  member.stream(join, '198.51.100.7');
  assert.ok(member.joined.includes('new'));
  assert.ok(member.db.peers(network).includes('new'));
});

test('attachments of invented nodes leave room for those of nodes that are known', () => {
  const { machine, now, pass } = tables();
  const attach = (name: string, id: string): void =>
    machine.receive(
      db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: name, network: id }),
      now(),
    );
  for (let i = 0; i < 70_000; i++) attach(`invented-${i % 5}`, `n${i}`);
  assert.ok(machine.counters().attachments <= 4096 + 1, `${machine.counters().attachments}`);
  pass(10_000);
  machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  attach('a', network);
  assert.ok(machine.peers(network).includes('a'));
});

test('nodes that are gone make room for others', () => {
  const { machine, now } = tables();
  for (let i = 0; i < 40_000; i++) {
    machine.nodeJoined({ name: `n${i}`, address: '10.0.0.2', port: 1 + i }, now());
    machine.nodeLeft(`n${i}`, now());
  }
  assert.is(machine.nodes().length, 32_768);
});

test('a name in a state counts once, however often it is there', () => {
  const member = new Besieged();
  const flapping = Array.from({ length: 2000 }, (_, i) =>
    node('flap', '198.51.100.7', { incarnation: i + 1, state: i % 2 === 0 ? STATE.alive : STATE.left }),
  );
  member.stream(state(flapping), '198.51.100.7');
  member.pass(2000);
  assert.is(member.joined.filter((name) => name === 'flap').length, 1);
});

test('messages that wait for verification take the memory that is counted, also empty ones of many places', () => {
  const member = new Besieged();
  const empty = encodeCompound(Array.from({ length: 16 }, () => Uint8Array.of(8)));
  const small = encodeCompound(Array.from({ length: 16 }, () => Uint8Array.of(8, 1)));
  for (let i = 0; i < 20_000; i++)
    member.machine.receivePacket(`198.51.${i >> 8}.${i & 255}`, 1000 + (i % 60_000), i % 2 ? empty : small, member.now);
  const { octets } = member.machine.unproven();
  assert.ok(octets > 100_000 && octets <= 256 * 1024, `${octets}`);
});

test('a compound of 50,000 events is merged in slices', () => {
  const { machine, now, pass } = tables();
  machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'a', network }), now());
  const bytes = db.compound(Array.from({ length: 50_000 }, (_, i) => entry('a', i)));
  machine.receive(bytes, now());
  assert.ok(machine.entries(network).length <= 320, `${machine.entries(network).length} at once`);
  const longest = pass(5000);
  assert.is(machine.entries(network).length, 50_000);
  assert.ok(longest < 400, `a turn of ${longest} ms`);
});

test('20,000 nodes at one address, and as many that leave, take linear time', () => {
  const { machine, now } = tables();
  machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  for (let i = 0; i < 16_000; i++)
    machine.receive(
      db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5 + i, node: 'a', network: `net${i}` }),
      now(),
    );
  assert.ok(machine.counters().attachments <= 16_385);
  const time = took(() => {
    for (let i = 0; i < 20_000; i++)
      machine.nodeJoined({ name: `n${i}`, address: '10.9.9.9', port: i % 40_000 }, now());
    for (let i = 0; i < 20_000; i++)
      machine.nodeJoined({ name: `m${i}`, address: '10.9.9.9', port: i % 40_000 }, now());
  });
  assert.is(machine.nodes().length, 40_001);
  assert.ok(time < 2000, `${time} ms`);
});

test('a flood of events about a node with many entries queues one pass through them', () => {
  const { machine, now, pass } = tables();
  machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'a', network }), now());
  machine.receive(db.compound(Array.from({ length: 30_000 }, (_, i) => entry('a', i))), now());
  pass(5000);
  assert.is(machine.entries(network).length, 30_000);
  const before = process.memoryUsage().heapUsed;
  const time = took(() => {
    for (let i = 0; i < 2000; i++)
      if (i % 2 === 0) machine.nodeLeft('a', now());
      else machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  });
  const grown = process.memoryUsage().heapUsed - before;
  const longest = pass(20_000);
  assert.is(machine.entries(network).length, 30_000);
  assert.ok(grown < 64 << 20, `${grown >> 20} MiB`);
  assert.ok(time < 4000, `${time} ms for the events`);
  assert.ok(longest < 400, `a turn of ${longest} ms`);
});

test('a member without a key cannot fill the tables of attachments alone', () => {
  const { machine, now, pass } = tables();
  machine.nodeJoined({ name: 'a', address: '10.0.0.2', port: PORT }, now());
  const networks = Array.from({ length: 100_000 }, (_, i) => ({
    network: `net-${i}`,
    time: 5 + i,
    node: 'a',
    leaving: false,
  }));
  machine.mergeState(db.wrap(db.PUSH_PULL, db.networkPushPull, { time: 9, networks, node: 'a' }), now());
  pass(10_000);
  const { attachments, counts } = machine.counters();
  assert.ok(attachments <= 16_385, `${attachments}`);
  assert.ok(counts['no-room'] > 80_000);
});

/** The table, the address, the MAC address and the VTEP of the records of a flood against an overlay network. */
const FLOODS: Record<string, (i: number) => [table: string, ip: string, mac: string, vtep: string]> = {
  'waiting endpoints with different addresses': (i) => [db.WAITING_TABLE, host(i), mac(i), '10.0.0.2'],
  'waiting endpoints with one address, behind as many VTEPs': (i) => [db.WAITING_TABLE, host(0), mac(i), vtep(i)],
  'endpoints with one address, behind as many VTEPs': (i) => [db.OVERLAY_PEER_TABLE, host(0), mac(i), vtep(i)],
  'endpoints that contradict each other in a chain': (i) => [
    ...([db.OVERLAY_PEER_TABLE, host(i >> 1), mac((i + 1) >> 1), vtep(i)] as const),
  ],
};
const host = (i: number): string => `10.9.${i >> 8}.${i & 255}/8`;
const mac = (i: number): string => `06:00:00:00:${hex(i >> 8)}:${hex(i & 255)}`;
const vtep = (i: number): string => `172.16.${i >> 8}.${i & 255}`;
const hex = (octet: number): string => octet.toString(16).padStart(2, '0');

for (const [what, recordOf] of Object.entries(FLOODS))
  test(`8000 ${what} take linear time`, () => {
    const member = new Besieged();
    const reached = new Set<string>();
    const peers = new db.OverlayPeers(
      { network, vni: 4097, local: '10.0.0.1', time: () => 1_000_000 + member.now },
      member.db,
      {
        addEndpoint: (_, { ip }) => void reached.add(ip),
        removeEndpoint: (_, { ip }) => void reached.delete(ip),
        addPeer: () => undefined,
        removePeer: () => undefined,
      },
    );
    peers.addLocal({ id: 'mine', ip: '10.8.0.1/8', mac: '02:00:00:00:00:01' }, member.now);
    member.pass(12_000);
    let time = 5000;
    const events = (all: readonly Uint8Array[]): void => member.stream(encodeUser(db.compound([...all])), '10.0.0.2');
    const record = (key: string, table: string, ip: string, mac: string, vtep: string, since: number): Uint8Array =>
      db.wrap(db.TABLE_EVENT, db.tableEvent, {
        ...{ type: db.CREATE, time: ++time, node: 'a', network, table, key, residual: 0 },
        value: db.peerRecord.encode({
          ...{ endpointIp: ip, endpointMac: mac, tunnelIp: vtep },
          unknown: db.peerExtension.encode({ since, attached: 2_000_000, vni: 4097 }),
        }),
      });
    events([db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: ++time, node: 'a', network })]);
    member.pass(100);
    let slowest = 0;
    const total = took(() => {
      for (let i = 0; i < 8000; i += 100) {
        events(Array.from({ length: 100 }, (_, k) => record(`r${i + k}`, ...recordOf(i + k), 9_000_000 - i - k)));
        member.pass(20);
        slowest = Math.max(
          slowest,
          took(() => events([record('last', ...recordOf(0), 9_000_000)])),
        );
      }
    });
    assert.ok(total < 5000, `${total} ms`);
    assert.ok(slowest < 200, `${slowest} ms for one event`);
    // Pauses end: an endpoint of another host arrives, and the host of the flood takes its records back.
    events([record('honest', db.OVERLAY_PEER_TABLE, '10.8.0.2/8', '02:00:00:00:00:02', '10.0.0.3', 9_000_000)]);
    member.pass(3000);
    assert.ok(reached.has('10.8.0.2'));
    assert.is(peers.conflictCount, peers.conflicts().length);
    events([db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.LEAVE, time: ++time, node: 'a', network })]);
    const end = took(() => member.pass(5000));
    assert.ok(end < 4000, `${end} ms to remove them`);
    assert.equal([peers.conflicts(), [...reached]], [[], []]);
    assert.ok(took(() => peers.close(member.now)) < 500);
  });

test.run();

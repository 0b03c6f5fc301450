/**
 * The memberlist machine alone: its answers to packets and streams made by hand, and its limits against hostile ones.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  decodeMessage,
  decodeStream,
  deflate,
  encodeCompound,
  encodeMessage,
  encodePacket,
  encodePushPull,
  encodeStream,
  encodeUser,
  Keyring,
  Memberlist,
  openPacket,
  STATE,
  STREAM_LIMITS,
  TYPE,
  walk,
  type Alive,
  type Delegate,
  type MemberlistOptions,
  type Message,
  type NodeState,
  type Security,
} from '../src/gossip/memberlist/index.js';
import { aesGcm } from '../src/host/index.js';
import { Random } from '../src/sim/index.js';
import { cheapAead } from './support/keys.js';

const NONE = new Uint8Array(0);
const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
const ME = '10.0.0.1';
const PORT = 7946;

/** Tells datagrams of members that have the key from others; everything else is not encrypted. */
const KEYED: Security = {
  keyring: new Keyring([new Uint8Array(16)]),
  aead: cheapAead,
  nonce: () => new Uint8Array(12),
  verifyIncoming: false,
  verifyOutgoing: false,
};

interface Sent {
  to: string;
  bytes: Uint8Array;
  messages: Message[];
}

/** A machine named `me`, which records everything that it sends. */
class Bench {
  readonly sent: Sent[] = [];
  readonly streams: { id: number; to: string; bytes: Uint8Array; answered: boolean }[] = [];
  readonly written: { id: number; bytes: Uint8Array }[] = [];
  readonly closed: number[] = [];
  readonly machine: Memberlist;
  now = 0;
  /** Whether `receive` answers the pings that verify new members. */
  answers = true;

  constructor(options: Partial<MemberlistOptions> = {}, delegate: Delegate = {}) {
    const random = new Random(7);
    this.machine = new Memberlist(
      { name: 'me', address: ME, compressed: false, random: () => random.float(), security: KEYED, ...options },
      {
        sendPacket: (address, port, bytes) => {
          const messages: Message[] = [];
          walk(openPacket(bytes, {}), {
            message: (one) => messages.push(one),
            user: () => undefined,
            refused: assert.unreachable,
          });
          this.sent.push({ to: `${address}:${port}`, bytes, messages });
        },
        openStream: (id, address, port, bytes, answered) =>
          void this.streams.push({ id, to: `${address}:${port}`, bytes, answered }),
        writeStream: (id, bytes) => void this.written.push({ id, bytes }),
        closeStream: (id) => void this.closed.push(id),
      },
      delegate,
      0,
    );
  }

  /** Messages of a member that has the key. */
  receive(...messages: Message[]): void {
    const parts = messages.map(encodeMessage);
    this.packet(parts.length === 1 ? parts[0]! : encodeCompound(parts));
    for (let i = 0; this.answers && i < this.sent.length; i++) {
      const [ping, alive] = this.sent[i]!.messages;
      if (ping?.type !== 'ping' || alive?.type !== 'alive') continue;
      this.sent.splice(i--, 1);
      this.packet(encodeMessage({ type: 'ack', seqNo: ping.seqNo, payload: NONE }));
    }
  }

  packet(bytes: Uint8Array): void {
    this.machine.receivePacket('10.0.0.9', 999, encodePacket(bytes, { ...KEYED, verifyOutgoing: true }), this.now);
  }

  /** Advances the time. */
  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    while (this.machine.due <= end) {
      this.now = Math.max(this.now, this.machine.due);
      this.machine.wake(this.now);
    }
    this.now = end;
  }

  /** Messages of one type sent since the last call, with their destinations. */
  sentOf<T extends Message['type']>(type: T): (Extract<Message, { type: T }> & { to: string })[] {
    const found = this.sent.flatMap(({ to, messages }) => messages.map((message) => ({ ...message, to })));
    this.sent.length = 0;
    return found.filter((one): one is Extract<Message, { type: T }> & { to: string } => one.type === type);
  }
}

const alive = (node: string, more: Partial<Alive> = {}): Alive => ({
  type: 'alive',
  node,
  incarnation: 1,
  addr: `10.0.1.${node === '' ? 0 : node.charCodeAt(0)}`,
  port: PORT,
  meta: NONE,
  vsn: VSN,
  ...more,
});
const suspect = (node: string, from: string, incarnation = 1): Message => ({
  type: 'suspect',
  node,
  from,
  incarnation,
});
const dead = (node: string, from: string, incarnation = 1): Message => ({ type: 'dead', node, from, incarnation });
const ping = (node: string, more: object = {}): Message =>
  ({ type: 'ping', node, seqNo: 5, sourceAddr: '', sourcePort: 0, sourceNode: '', ...more }) as Message;

test('a ping is answered to the address in it or to its source, one per datagram, and ignored if it names another node', () => {
  const bench = new Bench({}, { ackPayload: () => Uint8Array.of(1, 2) });
  bench.receive(ping('me'));
  bench.receive(ping('you', { seqNo: 7 }), ping('', { seqNo: 6, sourceAddr: '10.0.0.7', sourcePort: 77 }));
  bench.receive(ping('me', { seqNo: 8, sourceAddr: '10.0.0.7' }), ping('me', { seqNo: 9 }));
  assert.equal(
    bench.sentOf('ack').map(({ to, seqNo, payload }) => [to, seqNo, [...payload]]),
    [
      ['10.0.0.9:999', 5, [1, 2]],
      ['10.0.0.7:77', 6, [1, 2]],
      ['10.0.0.9:999', 8, [1, 2]],
    ],
  );
});

test('a machine without other members joins a prober, at most once a second; one with members does not', () => {
  const bench = new Bench();
  const joined = (): string[] => bench.streams.splice(0).map(({ to }) => to);
  bench.receive(ping('you'));
  assert.equal(joined(), []);
  bench.receive(ping('me'), ping('me', { sourceAddr: '10.0.0.7', sourcePort: 77 }));
  assert.equal(joined(), ['10.0.0.9:999']);
  bench.pass(1000);
  bench.receive(ping('me', { sourceAddr: '10.0.0.7', sourcePort: 77 }));
  assert.equal(joined(), ['10.0.0.7:77']);
  bench.pass(1000);
  bench.receive(alive('b'));
  joined();
  bench.receive(ping('me'));
  assert.equal(joined(), []);

  const leaving = new Bench();
  leaving.machine.leave(leaving.now);
  leaving.receive(ping('me'));
  assert.equal(leaving.streams, []);
});

test('an indirect ping has its own sequence number; the ack has the requester’s, and a nack is sent if requested', () => {
  const bench = new Bench();
  const ask = { type: 'indirectPing', target: '10.0.0.5', port: 55, node: 'five', sourceNode: '' } as const;
  bench.receive(alive('five', { addr: '10.0.0.5', port: 55 }), alive('seven', { addr: '10.0.0.7', port: 77 }));
  bench.receive(alive('nine', { addr: '10.0.0.9', port: 999 }));
  bench.answers = false;
  bench.sent.length = 0;
  bench.receive({ ...ask, seqNo: 100, nack: true, sourceAddr: '10.0.0.7', sourcePort: 77 });
  bench.receive({ ...ask, seqNo: 101, nack: true, sourceAddr: '', sourcePort: 0 });
  bench.receive({ ...ask, seqNo: 102, nack: false, sourceAddr: '', sourcePort: 0 });
  const pings = bench.sentOf('ping');
  assert.equal(
    pings.map(({ to, node, sourceAddr, sourcePort }) => [to, node, sourceAddr, sourcePort]),
    [
      ['10.0.0.5:55', 'five', ME, PORT],
      ['10.0.0.5:55', 'five', ME, PORT],
      ['10.0.0.5:55', 'five', ME, PORT],
    ],
  );
  assert.is(bench.machine.sizes().relays, 3);
  bench.receive({ type: 'ack', seqNo: pings[0]!.seqNo, payload: Uint8Array.of(9) });
  assert.equal(bench.sentOf('ack'), [{ type: 'ack', seqNo: 100, payload: NONE, to: '10.0.0.7:77' }]);
  bench.pass(501);
  assert.equal(bench.sentOf('nack'), [{ type: 'nack', seqNo: 101, to: '10.0.0.9:999' }]);
  assert.is(bench.machine.sizes().relays, 0);
});

test('a silent member is probed indirectly and by stream after 0.5 s, and suspected after 1 s', () => {
  const bench = new Bench();
  bench.receive(alive('a'), alive('b'), alive('c', { vsn: Uint8Array.of(1, 3, 2, 0, 0, 0) }));
  bench.machine.receivePacket('x', 1, encodeMessage(alive('me')), 0);
  while (bench.sent.every(({ messages }) => messages.every(({ type }) => type !== 'ping'))) bench.pass(1);
  const [first] = bench.sentOf('ping');
  const target = first!.node;
  bench.pass(499);
  assert.is(bench.sentOf('indirectPing').length, 0);
  bench.pass(2);
  const asked = bench.sentOf('indirectPing');
  assert.is(asked.length, 2);
  for (const one of asked) {
    assert.is(one.seqNo, first!.seqNo);
    assert.is(one.node, target);
    assert.is(one.nack, one.to !== '10.0.1.99:7946', 'c speaks version 3, which has no nack');
  }
  const tried = bench.streams.filter((one) => decodeStream(one.bytes).type === 'ping');
  assert.is(tried.length, 1);
  bench.pass(498);
  assert.is(bench.machine.member(target)!.state, 'alive');
  bench.pass(2);
  assert.is(bench.machine.member(target)!.state, 'suspect');
  assert.is(bench.machine.awareness, asked.filter(({ nack }) => nack).length);
});

test('nacks keep the health score; an answer by stream or through others counts as an answer', () => {
  for (const way of ['nacks', 'relayed', 'stream'] as const) {
    const bench = new Bench();
    bench.receive(alive('a'), alive('b'), alive('c'));
    while (bench.machine.sizes().streams === 0) bench.pass(1);
    const asked = bench.sentOf('indirectPing');
    assert.is(asked.length, 2);
    const { seqNo, node } = asked[0]!;
    if (way === 'nacks') bench.receive({ type: 'nack', seqNo }, { type: 'nack', seqNo });
    if (way === 'relayed') bench.receive({ type: 'ack', seqNo, payload: NONE });
    const stream = bench.streams.find((one) => decodeStream(one.bytes).type === 'ping')!;
    if (way === 'stream')
      bench.machine.streamData(stream.id, encodeMessage({ type: 'ack', seqNo, payload: NONE }), bench.now);
    bench.pass(600);
    assert.is(bench.machine.member(node)!.state, way === 'nacks' ? 'suspect' : 'alive', way);
    assert.is(bench.machine.awareness, 0, way);
  }
});

test('suspicions: of unknown members, outdated, duplicate; each new accuser counts, up to two', () => {
  const bench = new Bench();
  for (const name of ['a', 'b', 'c', 'd', 'e']) bench.receive(alive(name, { incarnation: 5 }));
  bench.receive(suspect('z', 'a', 9), dead('z', 'a', 9), suspect('a', 'b', 4), dead('a', 'b', 4));
  assert.is(bench.machine.counters().unknown, 2);
  assert.is(bench.machine.counters().old, 2);
  bench.receive(...['b', 'b', 'c', 'd', 'e'].map((from) => suspect('a', from, 5)));
  assert.is(bench.machine.counters().old, 4); // b again, and e after two confirmations
  const times = (accusers: string[]): number => {
    const one = new Bench();
    for (const name of ['a', 'b', 'c', 'd', 'e']) one.receive(alive(name, { incarnation: 5 }));
    for (const from of accusers) one.receive(suspect('a', from, 5));
    const answering = setAnswers(one);
    const from = one.now;
    while (one.machine.member('a')!.state === 'suspect') answering(50);
    return one.now - from;
  };
  // All others answer probes, so that only the messages of this test accuse `a`.
  const alone = times(['b']);
  assert.ok(alone > 11_000, `${alone}`);
  const two = times(['b', 'b', 'c']);
  assert.ok(two <= 11_400, `${two}`);
  const all = times(['b', 'c', 'd', 'e']);
  assert.ok(all >= 4000 && all <= 4050, `${all}`);
});

/** Advances the time and answers every ping. */
function setAnswers(bench: Bench): (milliseconds: number) => void {
  return (milliseconds) => {
    bench.pass(milliseconds);
    for (const { seqNo } of bench.sentOf('ping')) bench.receive({ type: 'ack', seqNo, payload: NONE });
  };
}

test('refuting: suspect 1 makes 2, a foreign alive of 40 makes 41, dead of 60 makes 61', () => {
  const bench = new Bench();
  const own = (): number => bench.machine.self.incarnation;
  bench.receive(suspect('me', 'x', 1));
  assert.is(own(), 2);
  bench.receive(alive('me', { addr: ME, incarnation: 40, meta: Uint8Array.of(1) }));
  assert.is(own(), 41);
  bench.receive(dead('me', 'x', 60));
  assert.is(own(), 61);
  bench.receive(alive('me', { addr: ME, incarnation: 61 }), suspect('me', 'x', 60), dead('me', 'me', 60));
  assert.is(own(), 61); // nothing new in these
  bench.receive(dead('me', 'x', 0xffff_ffff));
  assert.is(own(), 0xffff_ffff); // and no further
  bench.receive(dead('me', 'x', 0xffff_ffff));
  assert.is(own(), 0xffff_ffff);
  assert.is(bench.machine.awareness, 5);
});

test('a name keeps its address until its member has left or has been dead long enough', () => {
  const bench = new Bench({ deadNodeReclaimTime: 5000 });
  bench.receive(alive('a'));
  bench.receive(alive('a', { addr: '10.9.9.9', incarnation: 7 }));
  assert.is(bench.machine.member('a')!.address, '10.0.1.97');
  assert.is(bench.machine.counters().conflict, 1);
  bench.receive(dead('a', 'b'));
  bench.receive(alive('a', { addr: '10.9.9.9', incarnation: 7 }));
  assert.is(bench.machine.member('a')!.state, 'dead');
  bench.pass(5001);
  bench.receive(alive('a', { addr: '10.9.9.9', incarnation: 0 }));
  assert.equal([bench.machine.member('a')!.state, bench.machine.member('a')!.address], ['alive', '10.9.9.9']);
  bench.receive(dead('a', 'a', 3));
  assert.is(bench.machine.member('a')!.state, 'left');
  bench.receive(alive('a', { addr: '10.9.9.8', incarnation: 0 }));
  assert.equal([bench.machine.member('a')!.state, bench.machine.member('a')!.address], ['alive', '10.9.9.8']);
});

test('invalid members are rejected', () => {
  const bench = new Bench({ maxMembers: 3 });
  for (const vsn of [Uint8Array.of(0, 5, 2, 0, 0, 0), Uint8Array.of(1, 0, 2, 0, 0, 0), Uint8Array.of(5, 1, 2, 0, 0, 0)])
    bench.receive(alive('a', { vsn }));
  bench.receive(
    alive('', {}),
    alive('x'.repeat(256)),
    alive('a', { addr: '' }),
    alive('a', { meta: new Uint8Array(513) }),
  );
  assert.is(bench.machine.counters().invalid, 7);
  bench.receive(alive('a', { port: 0 }), alive('b'), alive('c'));
  assert.is(bench.machine.member('a')!.port, PORT);
  assert.is(bench.machine.counters().full, 1);
  bench.receive(suspect('a', 'x'.repeat(256)), dead('a', 'x'.repeat(256)));
  assert.is(bench.machine.counters().invalid, 9);
  for (const options of [
    { name: '' },
    { address: 'here' },
    { port: 65_536 },
    { meta: new Uint8Array(513) },
    { vsn: NONE },
  ])
    assert.throws(() => new Bench(options), RangeError);
});

test('a push/pull is answered with the state before it, and echoes join', () => {
  const merged: string[] = [];
  const bench = new Bench(
    {},
    { localState: (join) => Uint8Array.of(join ? 1 : 0), mergeState: (state) => void merged.push(state.join()) },
  );
  const node = (name: string, state: number, incarnation = 1): NodeState => ({
    ...alive(name),
    name,
    state,
    incarnation,
  });
  bench.receive(alive('d'), alive('l'), alive('s'));
  const id = bench.machine.acceptStream(0, bench.machine.member('d')!.address);
  const nodes = [
    node('a', STATE.alive),
    node('d', STATE.dead),
    node('l', STATE.left),
    node('s', STATE.suspect),
    node('n', STATE.dead),
  ];
  const bytes = encodePushPull({ type: 'pushPull', join: true, nodes, userState: Uint8Array.of(8) });
  bench.machine.streamData(id, bytes.subarray(0, 40), 0);
  assert.is(bench.written.length, 0);
  bench.machine.streamData(id, bytes.subarray(40), 0);
  const reply = decodeStream(bench.written[0]!.bytes);
  assert.is(reply.type, 'pushPull');
  if (reply.type !== 'pushPull') return;
  assert.equal(
    [
      reply.join,
      reply.nodes
        .map(({ name }) => name)
        .sort()
        .join(''),
      [...reply.userState],
    ],
    [true, 'dlmes', [1]],
  );
  assert.equal(bench.closed, [id]);
  assert.equal(merged, ['8']);
  const states = bench.machine.members().map(({ name, state }) => `${name} ${state}`);
  assert.equal(states.sort(), ['a alive', 'd suspect', 'l left', 'me alive', 's suspect']);
});

test('a node that joins under the name of one that left needs a second exchange to be alive', () => {
  const bench = new Bench();
  const joined: object[] = [];
  bench.machine.join([{ address: '10.0.1.98', port: PORT }], 0, (what) => joined.push(what));
  const self = (bytes: Uint8Array): (number | undefined)[] => {
    const message = decodeStream(bytes);
    if (message.type !== 'pushPull') return [];
    const { incarnation, state } = message.nodes.find(({ name }) => name === 'me')!;
    return [incarnation, state];
  };
  const answer = (id: number, state: number, incarnation: number): void => {
    const me: NodeState = { ...alive('me', { addr: ME }), name: 'me', state, incarnation };
    const b: NodeState = { ...alive('b'), name: 'b', state: STATE.alive };
    const nodes = [me, b];
    bench.machine.streamData(id, encodePushPull({ type: 'pushPull', join: true, nodes, userState: NONE }), 0);
  };
  assert.equal(self(bench.streams[0]!.bytes), [1, STATE.alive]);
  answer(bench.streams[0]!.id, STATE.left, 4);
  assert.equal(
    bench.streams.map(({ to }) => to),
    ['10.0.1.98:7946', '10.0.1.98:7946'],
  );
  assert.equal(self(bench.streams[1]!.bytes), [5, STATE.alive]);
  assert.equal(joined, []);
  answer(bench.streams[1]!.id, STATE.left, 4); // what was known before
  assert.equal(joined, [{ reached: 1, failures: [] }]);
  assert.is(bench.streams.length, 2);
});

test('a state with a member of an incompatible version is rejected as a whole', () => {
  const bench = new Bench();
  const nodes = [{ ...alive('a'), name: 'a', state: STATE.alive, vsn: Uint8Array.of(1, 5, 2, 2, 5, 4) }];
  const id = bench.machine.acceptStream(0);
  bench.machine.streamData(id, encodePushPull({ type: 'pushPull', join: true, nodes, userState: NONE }), 0);
  assert.is(bench.machine.member('a'), undefined);
  assert.is(bench.machine.counters().incompatible, 1);
});

test('streams: a ping for another node is closed, unreadable data gets an error, an idle stream is closed', () => {
  const received: string[] = [];
  const bench = new Bench({}, { receive: (message) => void received.push(message.join()) });
  const ask = (bytes: Uint8Array): Uint8Array[] => {
    const id = bench.machine.acceptStream(bench.now);
    bench.written.length = 0;
    bench.machine.streamData(id, bytes, bench.now);
    assert.is(bench.closed.at(-1), id);
    return bench.written.map((one) => one.bytes);
  };
  assert.equal(decodeStream(ask(encodeMessage(ping('me')))[0]!), { type: 'ack', seqNo: 5, payload: NONE });
  assert.equal(ask(encodeMessage(ping('you'))), []);
  assert.equal(ask(encodeUser(Uint8Array.of(1, 2))), []);
  assert.equal(received, [], 'a message of one that is not at the address of a member');
  bench.receive(alive('a'));
  const id = bench.machine.acceptStream(bench.now, '10.0.1.97');
  bench.machine.streamData(id, encodeUser(Uint8Array.of(1, 2)), bench.now);
  assert.equal(received, ['1,2']);
  assert.is(decodeStream(ask(Uint8Array.of(0xff))[0]!).type, 'err');
  assert.is(decodeStream(ask(encodeStream(Uint8Array.of(5), {}, { compressed: true }))[0]!).type, 'err');
  const idle = bench.machine.acceptStream(bench.now);
  bench.machine.streamData(idle, Uint8Array.of(6), bench.now);
  bench.pass(10_001);
  assert.ok(bench.closed.includes(idle));
  assert.is(bench.machine.sizes().streams, 0);
});

test('buffers of streams are bounded, each and in total', () => {
  const bench = new Bench({ maxKept: 100_000 });
  const ids: number[] = [];
  for (let id = bench.machine.acceptStream(0); id !== 0; id = bench.machine.acceptStream(0)) ids.push(id);
  assert.is(ids.length, 128);
  const start = encodeUser(new Uint8Array(50_000)).subarray(0, 30_000);
  for (const id of ids) bench.machine.streamData(id, start, 0);
  assert.is(bench.machine.sizes().streams, 3);
  assert.ok(bench.machine.sizes().streamOctets <= 100_000);
  assert.is(bench.closed.length, 125);
  for (const id of ids) bench.machine.streamClosed(id, 0);
  assert.equal([bench.machine.sizes().streams, bench.machine.sizes().streamOctets], [0, 0]);
});

test('leaving: announces it, and then answers neither suspicions nor state with alive', () => {
  const bench = new Bench();
  bench.receive(alive('a'));
  bench.pass(3000);
  setAnswers(bench)(1);
  let done = 0;
  bench.machine.leave(bench.now, 1000, () => done++);
  bench.pass(1);
  bench.receive(suspect('me', 'a', 5), dead('me', 'a', 5), alive('me', { addr: ME, incarnation: 9 }));
  bench.pass(1100);
  assert.is(done, 1);
  assert.is(bench.machine.self.incarnation, 1);
  assert.is(bench.machine.self.state, 'left');
  const sentOf = bench.sentOf('dead');
  assert.ok(sentOf.length >= 4);
  assert.equal({ ...sentOf[0]!, to: '' }, { type: 'dead', node: 'me', from: 'me', incarnation: 1, to: '' });
  bench.machine.stop();
  assert.is(bench.machine.due, Infinity);
});

test('leaving: the application’s last messages go before the dead message, in packets of their own', () => {
  let words = [Uint8Array.of(1, 2, 3)];
  const bench = new Bench({}, { broadcasts: () => words.splice(0) });
  bench.receive(alive('a'));
  bench.pass(3000);
  setAnswers(bench)(1);
  const types = (): string[][] =>
    bench.sent.splice(0).map(({ bytes }) => {
      const found: string[] = [];
      walk(openPacket(bytes, {}), {
        message: ({ type }) => found.push(type),
        user: (word) => found.push(`word ${word}`),
        refused: assert.unreachable,
      });
      return found;
    });
  types();
  words = [Uint8Array.of(7, 8)];
  let done = 0;
  bench.machine.leave(bench.now, 1000, () => done++);
  bench.machine.leave(bench.now, 1000, assert.unreachable);
  assert.is(bench.machine.self.state, 'left');
  assert.equal(types(), [['word 7,8']]);
  bench.pass(150);
  assert.not.ok(types().flat().includes('dead'));
  bench.pass(1050);
  assert.ok(types().flat().includes('dead'));
  assert.is(done, 1);
});

test('packets to members that support checksums have one, packets to plain addresses do not', () => {
  const bench = new Bench();
  bench.receive(alive('a'));
  bench.pass(900);
  assert.ok(bench.sent.length > 3);
  // A ping to a suspected member goes together with the suspicion, to a member.
  for (const { bytes, messages } of bench.sent)
    assert.is(bytes[0] === 12, messages[0]!.type !== 'ping' || messages[1]?.type === 'suspect');
  const old = new Bench();
  old.receive(alive('a', { vsn: Uint8Array.of(1, 4, 2, 0, 0, 0) }));
  old.pass(900);
  for (const { bytes } of old.sent) assert.is.not(bytes[0], 12);
});

test('packets never exceed their size limit, and carry as many messages as fit', () => {
  const bench = new Bench({ packetSize: 600 });
  bench.receive(...Array.from({ length: 30 }, (_, i) => alive(`member-${i}`, { meta: new Uint8Array(i) })));
  bench.pass(1500);
  for (const { bytes } of bench.sent) assert.ok(bytes.length <= 600 + 5, `${bytes.length}`); // 5 of the checksum
  assert.ok(bench.sent.some(({ bytes }) => bytes.length > 480));
});

test('at the limit, the address with the most streams loses one; addresses with few keep theirs', () => {
  const bench = new Bench();
  const honest = bench.machine.acceptStream(0, '10.0.0.2');
  const taken = Array.from({ length: 127 }, () => bench.machine.acceptStream(0, '10.6.6.6'));
  assert.is(bench.machine.acceptStream(0, '10.6.6.6'), 0);
  assert.is(bench.machine.counters().busy, 1);
  const late = bench.machine.acceptStream(0, '10.0.0.3');
  assert.is.not(late, 0);
  assert.equal(bench.closed, taken.slice(0, 1));
  for (const id of [honest, late]) {
    bench.machine.streamData(id, encodeMessage(ping('me')), 0);
    assert.equal(bench.written.at(-1)!.id, id);
  }
  assert.is(bench.machine.sizes().streams, 126);
});

test('joins use a budget: once it is spent, streams are rejected until it refills', () => {
  const states = (name: string): NodeState[] =>
    Array.from({ length: 100 }, (_, i) => ({
      ...alive('a'),
      name: `${name}-${i}`,
      state: STATE.alive,
      incarnation: 1,
    }));
  const bench = new Bench({ work: 10_000_000, workPerSecond: 1_000_000, maxMembers: 1000 });
  let answered = 0;
  const flood = (): void => {
    for (let i = 0; i < 300; i++) {
      const id = bench.machine.acceptStream(bench.now, '10.6.6.6');
      const nodes = states(`flood-${i}`);
      bench.machine.streamData(id, encodePushPull({ type: 'pushPull', join: true, nodes, userState: NONE }), bench.now);
    }
    answered = bench.written.splice(0).length;
  };
  flood();
  bench.pass(100); // merged a slice at a time
  assert.is(bench.machine.sizes().members, 1000);
  assert.is(bench.machine.sizes().streams, 0);
  // 409,600 for the members of each, and 16 for each octet of the answers, which have the 150 members of a slice.
  assert.ok(answered >= 10 && answered <= 20, `${answered}`);
  assert.is(bench.machine.counters().busy, 300 - answered);
  flood();
  assert.is(answered, 0);
  bench.now += 3000; // refills 3,000,000, minus the overdraft
  flood();
  assert.ok(answered >= 1 && answered <= 4, `${answered}`);
});

test('decompression bombs in streams: all decompressed octets count, also those of a rejected one', () => {
  const limits = { ...STREAM_LIMITS, inflated: 1_000_000 };
  const bench = new Bench({ limits, work: 5_000_000, workPerSecond: 1000 });
  const bombs = [encodeUser(new Uint8Array(900_000)), encodeUser(new Uint8Array(1_100_000))];
  for (const bomb of bombs) {
    const stream = deflate(bomb);
    assert.ok(stream.length < 5000, `${stream.length}`);
    for (let i = 0; i < 20; i++) {
      bench.machine.streamData(bench.machine.acceptStream(bench.now, '10.6.6.6'), stream, bench.now);
      bench.pass(20); // it decompresses in steps
    }
  }
  // Six of 900,000 octets, and no more.
  assert.is(bench.machine.counters().busy, 34);
  assert.is(bench.machine.counters().malformed, 0);
  bench.now = 1_000_000;
  const one = bench.machine.acceptStream(bench.now, '10.6.6.6');
  bench.machine.streamData(one, deflate(bombs[1]!), bench.now);
  bench.pass(20);
  assert.is(bench.machine.counters().malformed, 1);
  assert.is(bench.machine.acceptStream(bench.now, '10.6.6.6'), 0, 'a million came out before it was too much');
});

test('a node without the key gets no packet, and by stream only an encrypted answer', () => {
  const secret = new Uint8Array(16).fill(1);
  const security = { keyring: new Keyring([secret]), aead: aesGcm, nonce: () => new Uint8Array(12) };
  const received: string[] = [];
  const bench = new Bench({ security }, { receive: () => void received.push('a message') });
  const other = { ...security, keyring: new Keyring([new Uint8Array(16).fill(2)]) };
  const random = new Random(5);
  for (let i = 0; i < 500; i++) {
    const plain = encodeMessage(i % 2 === 0 ? ping('me', { seqNo: i }) : alive(`stranger ${i}`));
    const noise = Uint8Array.from({ length: random.integer(1400) }, () => random.integer(256));
    for (const bytes of [plain, encodePacket(plain, other), noise, Uint8Array.of(8, 1)])
      bench.machine.receivePacket('10.6.6.6', 6, bytes, 0);
  }
  assert.is(bench.machine.counters().malformed, 2000);
  assert.equal([bench.sent, received], [[], []]);
  assert.equal(
    bench.machine.members().map(({ name }) => name),
    ['me'],
  );
  const push = encodePushPull({ type: 'pushPull', join: true, nodes: [], userState: NONE });
  for (const stream of [push, encodeStream(push, other, {}), encodeMessage(ping('me')), encodeUser(NONE)]) {
    const id = bench.machine.acceptStream(0, '10.6.6.6');
    bench.machine.streamData(id, stream, 0);
    assert.is(bench.closed.at(-1), id);
    const { bytes } = bench.written.pop()!;
    assert.is(bytes[0], TYPE.encrypt);
    assert.ok(bytes.length < 200, `${bytes.length}`);
  }
});

test('the highest incarnation: only the member itself is believed, and it can come back', () => {
  const TOP = 0xffff_ffff;
  const bench = new Bench();
  const answering = setAnswers(bench);
  bench.receive(alive('a'), alive('b'), alive('c'));
  bench.receive(suspect('a', 'liar', TOP), dead('a', 'liar', TOP), dead('a', 'a', TOP), suspect('a', 'me', TOP));
  assert.is(bench.machine.member('a')!.state, 'alive');
  assert.is(bench.machine.member('a')!.incarnation, 1);
  assert.is(bench.machine.counters().unbelievable, 4);
  // It is probed early, but at most every other time, however often it is accused.
  const probed: string[] = [];
  for (let i = 0; i < 60; i++) {
    bench.receive(dead('a', 'liar', TOP));
    bench.pass(250);
    for (const { node, seqNo } of bench.sentOf('ping')) {
      probed.push(node);
      bench.receive({ type: 'ack', seqNo, payload: NONE });
    }
  }
  assert.ok(probed.filter((node) => node === 'a').length >= 8, probed.join());
  assert.ok(probed.filter((node) => node !== 'a').length >= 4, probed.join());
  // An accusation one below the highest is accepted; the member's refutation is final.
  bench.receive(suspect('a', 'liar', TOP - 1));
  assert.is(bench.machine.member('a')!.state, 'suspect');
  bench.receive(alive('a', { incarnation: TOP }), suspect('a', 'liar', TOP), dead('a', 'liar', TOP));
  assert.is(bench.machine.member('a')!.state, 'alive');
  answering(5000);
  // It falls silent: this node still detects that, and then accepts the accusations of others.
  while (bench.machine.member('a')!.state === 'alive') {
    bench.pass(50);
    for (const { node, seqNo } of bench.sentOf('ping'))
      if (node !== 'a') bench.receive({ type: 'ack', seqNo, payload: NONE });
  }
  bench.receive(dead('a', 'b', TOP));
  assert.is(bench.machine.member('a')!.state, 'dead');
  bench.receive(alive('a', { incarnation: TOP }));
  assert.is(bench.machine.member('a')!.state, 'alive');
});

test('a flood of names takes bounded memory, and is forgotten', () => {
  const bench = new Bench({ maxMembers: 500 });
  for (let i = 0; i < 2000; i++) bench.receive(alive(`flood-${i}`, { addr: `10.1.${i >> 8}.${i & 255}` }));
  assert.is(bench.machine.sizes().members, 500);
  assert.is(bench.machine.counters().full, 1501);
  assert.ok(bench.machine.sizes().broadcasts <= 500);
  bench.answers = false;
  const { address: target, port, name: node } = bench.machine.members().find(({ name }) => name !== 'me')!;
  for (let i = 0; i < 5000; i++)
    bench.receive({
      type: 'indirectPing',
      ...{ target, port, node, nack: true, seqNo: i, sourceAddr: target, sourcePort: port, sourceNode: node },
    });
  assert.is(bench.machine.sizes().relays, 32, 'the burst of one member');
});

test('replayed packets change nothing, in any order', () => {
  const random = new Random(3);
  const messages = [
    alive('a'),
    alive('a', { incarnation: 3 }),
    suspect('a', 'b', 1),
    alive('b'),
    dead('b', 'b', 1),
    suspect('me', 'a', 2),
  ];
  const bench = new Bench();
  for (const message of messages) bench.receive(message);
  const state = (): string =>
    JSON.stringify(bench.machine.members().map(({ name, state, incarnation }) => [name, state, incarnation]));
  const before = state();
  for (let i = 0; i < 200; i++) bench.receive(...random.shuffle([...messages]));
  assert.is(state(), before);
});

test('without a key, what comes with the answer that verifies a member, or shortly before it, is that member’s', () => {
  const events: string[] = [];
  const bench = new Bench(
    { security: {} },
    {
      nodeJoined: ({ name }) => void events.push(`joined ${name}`),
      receivePacket: (message) => void events.push(`message ${message.join()}`),
    },
  );
  const user = (octet: number): Uint8Array => Uint8Array.of(TYPE.user, octet);
  const packet = (...parts: Uint8Array[]): void =>
    bench.machine.receivePacket('10.0.1.97', PORT, encodePacket(encodeCompound(parts), {}), bench.now);
  packet(user(1), encodeMessage(alive('a')));
  assert.equal(events, []);
  const [ping] = bench.sentOf('ping');
  packet(encodeMessage({ type: 'ack', seqNo: ping!.seqNo, payload: NONE }), user(2));
  packet(user(3), user(4));
  assert.equal(events, ['joined a', 'message 1', 'message 2', 'message 3', 'message 4']);
});

test('packets for other machines are dropped and counted', () => {
  const bench = new Bench();
  bench.machine.receivePacket('x', 1, NONE, 0);
  bench.machine.receivePacket('x', 1, Uint8Array.of(255, 1), 0);
  bench.machine.receivePacket('x', 1, encodePacket(Uint8Array.of(0), { label: 'other' }), 0);
  assert.is(bench.machine.counters().malformed, 3);
  bench.receive({ type: 'err', error: 'no' });
  assert.is(bench.machine.counters().unexpected, 1);
  assert.is(decodeMessage(encodeMessage(ping('me'))).type, 'ping');
});

test('lists a failed member with the time until it is reaped or comes back; the protocol forgets it earlier', () => {
  const bench = new Bench({ failedMemberLife: 600_000 });
  const failed = (): unknown[] =>
    bench.machine.members().flatMap(({ name, state, since }) => (state === 'dead' ? [[name, since]] : []));
  for (const name of ['a', 'b', 'c', 'd']) bench.receive(alive(name));
  bench.now = 1000;
  bench.receive(dead('a', 'b'), dead('b', 'c'), dead('c', 'c'));
  for (let i = 0; i < 1300; i++) {
    bench.pass(100);
    for (const { seqNo } of bench.sentOf('ping')) bench.receive({ type: 'ack', seqNo, payload: NONE });
  }
  assert.equal(failed().sort(), [
    ['a', 1000],
    ['b', 1000],
  ]);
  assert.is(bench.machine.sizes().members, 2, 'the protocol knows this member and d');
  assert.is(bench.machine.state().length, 2);
  assert.not(
    bench.machine.members().some(({ name }) => name === 'c'),
    'it left',
  );
  bench.receive(alive('b'));
  assert.equal(failed(), [['a', 1000]]);
  assert.is(bench.machine.members().filter(({ name }) => name === 'b').length, 1);
  bench.now += 600_000;
  bench.pass(0);
  assert.equal(failed(), []);
});

test('reports why it rejects traffic: label, keys, versions', () => {
  const kinds: string[] = [];
  const refused: Delegate['refused'] = (_error, address, _now, kind) => void kinds.push(`${kind} from ${address}`);
  const key = new Uint8Array(16);
  const bytes = encodeMessage(ping('me'));
  const label = { label: 'other' };
  const sealed = { keyring: new Keyring([key.map(() => 1)]), aead: aesGcm, nonce: () => new Uint8Array(12) };
  const bare = new Bench({ security: {} }, { refused });
  bare.machine.receivePacket('10.0.0.9', 1, encodePacket(bytes, label), 0);
  bare.machine.streamData(bare.machine.acceptStream(0, '10.0.0.8'), encodeStream(bytes, label, { dialler: true }), 0);
  bare.machine.streamData(bare.machine.acceptStream(0, '10.0.0.7'), encodeStream(bytes, sealed), 0);
  const serf: NodeState = {
    ...{ name: 'serf', addr: '10.0.0.6', port: PORT, meta: NONE, incarnation: 1, state: STATE.alive },
    vsn: Uint8Array.of(1, 5, 2, 2, 5, 4),
  };
  const state = encodePushPull({ type: 'pushPull', join: true, nodes: [serf], userState: NONE });
  bare.machine.streamData(bare.machine.acceptStream(0, '10.0.0.6'), encodeStream(state, {}), 0);
  const labelled = new Bench({ security: label }, { refused });
  labelled.machine.receivePacket('10.0.0.5', 1, bytes, 0);
  const keyed = new Bench({ security: { ...sealed, keyring: new Keyring([key]) } }, { refused });
  keyed.machine.receivePacket('10.0.0.4', 1, encodePacket(bytes, sealed), 0);
  keyed.machine.streamData(keyed.machine.acceptStream(0, '10.0.0.3'), encodeStream(bytes, {}), 0);
  assert.equal(kinds, [
    'label from 10.0.0.9',
    'label from 10.0.0.8',
    'encrypted from 10.0.0.7',
    'version from 10.0.0.6',
    'label from 10.0.0.5',
    'key from 10.0.0.4',
    'plain from 10.0.0.3',
  ]);
});

test('passes each member’s push/pull state to the application, also an empty one, with its address', () => {
  const states: string[] = [];
  const bench = new Bench(
    {},
    { mergeState: (state, _now, _join, address) => void states.push(`${state.length} from ${address}`) },
  );
  const member: NodeState = {
    ...{ name: 'a', addr: '10.0.0.6', port: PORT, meta: NONE, incarnation: 1, state: STATE.alive, vsn: VSN },
  };
  for (const [nodes, userState] of [
    [[member], NONE],
    [[member], Uint8Array.of(1, 2)],
    [[], NONE], // a question, not a member
  ] as const) {
    const state = encodePushPull({ type: 'pushPull', join: true, nodes: [...nodes], userState });
    bench.machine.streamData(bench.machine.acceptStream(0, '10.0.0.6'), encodeStream(state, {}), 0);
  }
  assert.equal(states, ['0 from 10.0.0.6', '2 from 10.0.0.6']);
});

test.run();

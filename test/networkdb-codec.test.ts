/** NetworkDB messages: vectors recorded from Docker's networkdb 20.10.24, and properties for any bytes. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { holds } from '../fuzz/networkdb.js';
import { CompoundWriter } from '../src/gossip/networkdb/compound-writer.js';
import * as db from '../src/gossip/networkdb/index.js';
import { pack } from '../src/gossip/networkdb/packed.js';
import { WireError } from '../src/wire/index.js';
import { fromHex, hex } from './support/hex.js';

const NODE = 'gonode000001';
const PEER: db.PeerRecord = { endpointIp: '10.0.0.2/24', endpointMac: '02:42:0a:00:00:02', tunnelIp: '127.0.0.2' };
const EVENT = { node: NODE, network: 'net1', table: db.OVERLAY_PEER_TABLE, key: 'ep-go-1' };

/** Checks encoding and decoding. */
function golden<V extends object>(type: number, codec: db.MessageCodec<V>, value: V, bytes: string): void {
  assert.is(hex(db.wrap(type, codec, value)), bytes);
  const message = db.gossipMessage.decode(fromHex(bytes));
  assert.is(message.type, type);
  assert.equal(codec.decode(message.data), value);
}

test('events of nodes, networks and attachments, byte for byte', () => {
  golden(
    db.PUSH_PULL,
    db.networkPushPull,
    { time: 1, networks: [], node: NODE },
    '0803121008011a0c676f6e6f6465303030303031',
  );
  golden(
    db.NODE_EVENT,
    db.nodeEvent,
    { type: db.JOIN, time: 3, node: NODE },
    '08061212080110031a0c676f6e6f6465303030303031',
  );
  golden(
    db.NETWORK_EVENT,
    db.networkEvent,
    { type: db.JOIN, time: 4, node: NODE, network: 'net1' },
    '08011218080110041a0c676f6e6f646530303030303122046e657431',
  );
  golden(
    db.NETWORK_EVENT,
    db.networkEvent,
    { type: db.LEAVE, time: 6, node: NODE, network: 'net2' },
    '08011218080210061a0c676f6e6f646530303030303122046e657432',
  );
});

test('events of tables in a compound, with a peer record, byte for byte', () => {
  const value = db.peerRecord.encode(PEER);
  const create = { type: db.CREATE, time: 7, ...EVENT, value, residual: 0 };
  const bytes =
    '0805126a0a680a6608021262080110071a0c676f6e6f646530303030303122046e6574312a126f7665726c61795f706565725f7461626c65320765702d676f2d313a2b0a0b31302e302e302e322f3234121130323a34323a30613a30303a30303a30321a093132372e302e302e32';
  assert.is(hex(db.compound([db.wrap(db.TABLE_EVENT, db.tableEvent, create)])), bytes);
  const gone = { type: db.DELETE, time: 8, ...EVENT, value, residual: 1800 };
  const deleted =
    '0805126d0a6b0a6908021265080310081a0c676f6e6f646530303030303122046e6574312a126f7665726c61795f706565725f7461626c65320765702d676f2d313a2b0a0b31302e302e302e322f3234121130323a34323a30613a30303a30303a30321a093132372e302e302e3240880e';
  assert.is(hex(db.compound([db.wrap(db.TABLE_EVENT, db.tableEvent, gone)])), deleted);

  for (const [text, expected] of [
    [bytes, create],
    [deleted, gone],
  ] as const) {
    const outer = db.gossipMessage.decode(fromHex(text));
    assert.is(outer.type, db.COMPOUND);
    const { messages } = db.compoundMessage.decode(outer.data);
    assert.is(messages.length, 1);
    const inner = db.gossipMessage.decode(messages[0]!.payload);
    assert.is(inner.type, db.TABLE_EVENT);
    const event = db.tableEvent.decode(inner.data);
    assert.equal({ ...event, value: hex(event.value) }, { ...expected, value: hex(value) });
    assert.equal(db.peerRecord.decode(event.value), PEER);
  }
});

test('endpoint records as Docker 20.10.24 and 28.5.2 sent them, byte for byte', () => {
  const none = {
    serviceName: '',
    serviceId: '',
    ingressPorts: [],
    aliases: [],
    taskAliases: [],
    serviceDisabled: false,
  };
  const task = {
    ...none,
    serviceName: 'svc',
    serviceId: '5cj0as2o3hsplv3taazf4g9bc',
    name: 'svc.1.vt99kuwb9xg8f8macmlsosnk3',
    taskAliases: ['987df042419d'],
  };
  const name = '0a1f7376632e312e767439396b7577623978673866386d61636d6c736f736e6b33';
  const service = '12037376631a1935636a306173326f336873706c76337461617a66346739626322';
  const records: [db.EndpointRecord, string][] = [
    [
      { ...none, name: 'ingress-endpoint', virtualIp: '<nil>', endpointIp: '10.0.0.2' },
      '0a10696e67726573732d656e64706f696e7422053c6e696c3e2a0831302e302e302e32',
    ],
    [
      { ...task, virtualIp: '10.0.1.22', endpointIp: '10.0.1.23', aliases: ['webby'] },
      `${name}${service}0931302e302e312e32322a0931302e302e312e32333a057765626279420c393837646630343234313964`,
    ],
    [
      // docker service create --publish 8080:80
      {
        ...task,
        virtualIp: '10.0.0.11',
        endpointIp: '10.0.0.12',
        ingressPorts: [{ name: '', protocol: db.PROTOCOL_TCP, targetPort: 80, publishedPort: 8080 }],
      },
      `${name}${service}0931302e302e302e31312a0931302e302e302e31323205185020903f420c393837646630343234313964`,
    ],
  ];
  for (const [value, bytes] of records) {
    assert.equal(db.endpointRecord.decode(fromHex(bytes)), value);
    assert.is(hex(db.endpointRecord.encode(value)), bytes);
  }
});

test('a bulk sync request, byte for byte: no time, an empty compound', () => {
  const request = db.wrap(db.BULK_SYNC, db.bulkSyncMessage, {
    time: 0,
    unsolicited: true,
    node: NODE,
    networks: ['net1'],
    payload: db.compound([]),
  });
  assert.is(hex(request), '0804121a10011a0c676f6e6f646530303030303122046e6574312a020805');
  assert.is(hex(db.compound([])), '0805');
  const { data } = db.gossipMessage.decode(request);
  const back = db.bulkSyncMessage.decode(data);
  assert.equal(
    { ...back, payload: hex(back.payload) },
    { time: 0, unsolicited: true, node: NODE, networks: ['net1'], payload: '0805' },
  );
});

test('a compound stays within COMPOUND_OVERHEAD and MEMBER_OVERHEAD', () => {
  for (const sizes of [[], [0], [1, 127, 128], [1380], [16_383, 16_384, 100_000], Array<number>(300).fill(90)]) {
    const members = sizes.map((size) => new Uint8Array(size));
    const total = sizes.reduce((sum, size) => sum + size + db.MEMBER_OVERHEAD, db.COMPOUND_OVERHEAD);
    assert.ok(db.compound(members).length <= total, `${sizes.length} messages`);
  }
});

test('a compound that is written at once has the bytes of one whose messages are encoded by their codecs', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom('', 'x'.repeat(127), 'x'.repeat(128), 'é'.repeat(100), '\udcff'),
  );
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const octets = fc.uint8Array({ maxLength: 300 });
  const event = fc.record({
    type: fc.oneof(fc.nat(3), int32),
    time: fc.oneof(fc.nat(300), fc.maxSafeNat()),
    node: text,
    network: text,
    table: text,
    key: text,
    value: fc.oneof(octets, octets, fc.constant(new Uint8Array(20_000).fill(200))),
    residual: fc.oneof(fc.constant(0), int32),
  });
  const writer = new CompoundWriter();
  fc.assert(
    fc.property(fc.array(fc.oneof(event, octets), { maxLength: 20 }), (members) => {
      for (const one of members)
        if (one instanceof Uint8Array) writer.add(pack(one));
        else writer.addEvent({ ...one, value: pack(one.value) });
      const messages = members.map((one) =>
        one instanceof Uint8Array ? one : db.wrap(db.TABLE_EVENT, db.tableEvent, one),
      );
      const length = messages.reduce((sum, { length }) => sum + length, 0);
      assert.ok(writer.length >= length && writer.length <= length + members.length * db.MEMBER_OVERHEAD);
      assert.is(hex(writer.take()), hex(db.compound(messages)));
    }),
  );
});

test('numbers: zero is omitted, 2^53 - 1 is the highest time, residuals may be negative', () => {
  assert.is(hex(db.tableEvent.encode({ time: 0, residual: 0, key: '', value: new Uint8Array(0) })), '');
  assert.is(hex(db.tableEvent.encode({ time: 127 })), '107f');
  assert.is(hex(db.tableEvent.encode({ time: 128 })), '108001');
  assert.is(hex(db.tableEvent.encode({ time: 2 ** 53 - 1 })), '10ffffffffffffff0f');
  assert.is(db.tableEvent.decode(fromHex('10ffffffffffffff0f')).time, 2 ** 53 - 1);
  assert.is(hex(db.tableEvent.encode({ residual: -1 })), '40ffffffffffffffffff01');
  assert.is(db.tableEvent.decode(fromHex('40ffffffffffffffffff01')).residual, -1);
  assert.is(hex(db.tableEvent.encode({ residual: -(2 ** 31) })), '4080808080f8ffffffff01');
  assert.is(hex(db.portConfig.encode({ publishedPort: 2 ** 32 - 1 })), '20ffffffff0f');
  assert.throws(() => db.tableEvent.encode({ time: 2 ** 53 }), /tableEvent\.time must be an integer/);
  assert.throws(() => db.tableEvent.encode({ residual: 2 ** 31 }), RangeError);
  assert.throws(() => db.portConfig.encode({ targetPort: -1 }), RangeError);
  assert.throws(() => db.tableEvent.encodeInto({ time: 1 }, new Uint8Array(1), 0), RangeError);
});

test('unknown fields are kept, and the last of repeated fields counts', () => {
  const value = db.nodeEvent.decode(fromHex('0801 1003 f80101 1004 7a03616263'));
  assert.equal({ ...value, unknown: hex(value.unknown!) }, { type: 1, time: 4, node: '', unknown: 'f801017a03616263' });
  assert.is(hex(db.nodeEvent.encode(value)), '08011004f801017a03616263');
});

test('errors give reason and offset', () => {
  const fails = (codec: db.MessageCodec<object>, bytes: string): string => {
    try {
      codec.decode(fromHex(bytes));
    } catch (error) {
      assert.instance(error, WireError);
      return (error as WireError).message;
    }
    throw new Error(`${bytes} was accepted`);
  };
  assert.is(
    fails(db.tableEvent as db.MessageCodec<object>, '10071affffffff7f'),
    'tableEvent: truncated at offset 3: needs 34359738372 bytes, has 5 (limited by buffer)',
  );
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, '1080'), /truncated at offset 1: needs 2 bytes, has 1/);
  assert.match(
    fails(db.tableEvent as db.MessageCodec<object>, '1201'),
    /malformed at offset 0: time has wire type 2, not 0/,
  );
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, '10ffffffffffffffffff02'), /more than 64 bits/);
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, '1080808080808080 10'), /time is above 2\^53 - 1/);
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, '0001'), /field number/);
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, 'fb01'), /a group/);
  assert.match(fails(db.tableEvent as db.MessageCodec<object>, 'fe01'), /wire type 6/);
  assert.match(
    fails(db.networkPushPull as db.MessageCodec<object>, '12021001 12031002ff'),
    /networkEntry: .* offset 8/,
  );
});

test('a list is bounded', () => {
  const many = new Uint8Array(2 * (db.MAX_NETWORKS + 1));
  for (let i = 0; i < many.length; i += 2) many[i] = 0x22;
  assert.is(db.bulkSyncMessage.decode(many, 0, 2 * db.MAX_NETWORKS).networks.length, db.MAX_NETWORKS);
  assert.throws(
    () => db.bulkSyncMessage.decode(many),
    /unsupported at offset 32768: networks has more than 16384 members/,
  );
});

// ---- properties ----

const text = fc.oneof(fc.string({ maxLength: 70 }), fc.string({ unit: 'binary', maxLength: 20 }));
const bytes = fc.uint8Array({ maxLength: 200 });
const time = fc.oneof(fc.nat(300), fc.maxSafeNat());
const int32 = fc.oneof(fc.nat(5), fc.integer());
const uint32 = fc.nat(0xffff_ffff >>> 1);
const unknown = fc.constantFrom(...['f80101', '7a03616263', 'e50101020304', 'e1010102030405060708'].map(fromHex));
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<object> =>
  fc
    .tuple(fc.record(model), fc.option(unknown, { freq: 4 }))
    .map(([value, more]) => structuredClone(more === null ? value : { ...value, unknown: more }) as object);

const networkEntry = record({ network: text, time, node: text, leaving: fc.boolean() });
const simple = record({ payload: bytes });
const port = record({ name: text, protocol: int32, targetPort: uint32, publishedPort: uint32 });
const texts = fc.array(text, { maxLength: 4 });
const VALUES: [name: string, codec: unknown, values: fc.Arbitrary<object>][] = [
  ['gossipMessage', db.gossipMessage, record({ type: int32, data: bytes })],
  ['nodeEvent', db.nodeEvent, record({ type: int32, time, node: text })],
  ['networkEvent', db.networkEvent, record({ type: int32, time, node: text, network: text })],
  ['networkEntry', db.networkEntry, networkEntry],
  [
    'networkPushPull',
    db.networkPushPull,
    record({ time, networks: fc.array(networkEntry, { maxLength: 4 }), node: text }),
  ],
  [
    'tableEvent',
    db.tableEvent,
    record({ type: int32, time, node: text, network: text, table: text, key: text, value: bytes, residual: int32 }),
  ],
  [
    'bulkSyncMessage',
    db.bulkSyncMessage,
    record({ time, unsolicited: fc.boolean(), node: text, networks: texts, payload: bytes }),
  ],
  ['compoundMessage', db.compoundMessage, record({ messages: fc.array(simple, { maxLength: 4 }) })],
  ['peerRecord', db.peerRecord, record({ endpointIp: text, endpointMac: text, tunnelIp: text })],
  ['portConfig', db.portConfig, port],
  [
    'endpointRecord',
    db.endpointRecord,
    record({
      name: text,
      serviceName: text,
      serviceId: text,
      virtualIp: text,
      endpointIp: text,
      ingressPorts: fc.array(port, { maxLength: 3 }),
      aliases: texts,
      taskAliases: texts,
      serviceDisabled: fc.boolean(),
    }),
  ],
];

for (const [name, codec, values] of VALUES) {
  const messages = codec as db.MessageCodec<object>;
  test(`${name}: decode(encode(v)) equals v`, () => {
    fc.assert(fc.property(values, (value) => assert.equal(messages.decode(messages.encode(value)), value)));
  });
  test(`${name}: properties for any bytes`, () => {
    const damaged = fc
      .tuple(values, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat())
      .map(([value, flips, cut]) => {
        const whole = messages.encode(value);
        const copy = whole.slice(0, cut % 4 === 0 ? cut % (whole.length + 1) : whole.length);
        for (const [at, octet] of flips) if (copy.length > 0) copy[at % copy.length] = octet;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 60 })), (input) => holds(messages, input)),
      { numRuns: 500 },
    );
  });
}

test.run();

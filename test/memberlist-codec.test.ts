/**
 * memberlist's wire format, compared with messages of other implementations in both directions; and properties of the
 * decoders for any bytes.
 */
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { crc32 as zlibCrc } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  addCrc,
  addLabel,
  compress,
  crc32,
  decodeCompound,
  decodeMessage,
  decodeStream,
  decompress,
  deflate,
  encodeCompound,
  encodeMessage,
  encodePacket,
  encodePushPull,
  encodeStream,
  encodeUser,
  Keyring,
  MAX_INFLATED,
  MAX_MESSAGES,
  open,
  openPacket,
  packetOverhead,
  seal,
  sealedLength,
  StreamReader,
  STREAM_LIMITS,
  takeCrc,
  takeLabel,
  walk,
  type Alive,
  type Message,
  type PushPull,
  type Security,
  type StreamMessage,
} from '../src/gossip/memberlist/index.js';
import { aesGcm } from '../src/host/index.js';
import { WireError } from '../src/wire/index.js';
import { fromHex, hex } from './support/hex.js';

const GO1 = { sourceAddr: '127.0.0.2', sourceNode: 'go1', sourcePort: 17946 };
const VSN = fromHex('010502000000');
const HELLO = fromHex('68656c6c6f');
const NONE = new Uint8Array(0);

// Recorded from other implementations: go1 is 127.0.0.2, port 17946.
const MESSAGES: [octets: string, message: Message][] = [
  [
    '0085a44e6f6465a27079a55365714e6f01aa536f7572636541646472a47f000002aa536f757263654e6f6465a3676f31aa536f75726365506f7274cd461a',
    { type: 'ping', node: 'py', seqNo: 1, ...GO1 },
  ],
  [
    '0188a44e61636bc3a44e6f6465a3707931a4506f7274cd461aa55365714e6f04aa536f7572636541646472a47f000002aa536f757263654e6f6465a3676f31aa536f75726365506f7274cd461aa6546172676574a47f000003',
    { type: 'indirectPing', nack: true, node: 'py1', port: 17946, seqNo: 4, ...GO1, target: '127.0.0.3' },
  ],
  ['0282a75061796c6f6164c0a55365714e6f4d', { type: 'ack', payload: NONE, seqNo: 77 }],
  ['0b81a55365714e6f4f', { type: 'nack', seqNo: 79 }],
  [
    '0383a446726f6da3676f31ab496e6361726e6174696f6e01a44e6f6465a3707931',
    { type: 'suspect', from: 'go1', incarnation: 1, node: 'py1' },
  ],
  [
    '0583a446726f6da3676f31ab496e6361726e6174696f6e01a44e6f6465a3707931',
    { type: 'dead', from: 'go1', incarnation: 1, node: 'py1' },
  ],
  [
    '0486a441646472a47f000002ab496e6361726e6174696f6e01a44d657461a568656c6c6fa44e6f6465a3676f31a4506f7274cd461aa356736ea6010502000000',
    { type: 'alive', addr: '127.0.0.2', incarnation: 1, meta: HELLO, node: 'go1', port: 17946, vsn: VSN },
  ],
];
for (const [octets, message] of MESSAGES)
  test(`${message.type}, as peers send it`, () => {
    assert.equal(decodeMessage(fromHex(octets)), message);
    assert.is(hex(encodeMessage(message)), octets);
  });

test('a ping without a source has two fields', () => {
  const ping: Message = { type: 'ping', node: 'b', seqNo: 200, sourceAddr: '', sourcePort: 0, sourceNode: '' };
  assert.is(hex(encodeMessage(ping)), '0082a44e6f6465a162a55365714e6fccc8');
  assert.equal(decodeMessage(encodeMessage(ping)), ping);
});

const PUSH_PULL =
  '0683a44a6f696ec3a54e6f64657301ac5573657253746174654c656e0b87a441646472a47f000002ab496e6361726e6174696f6e01a44d657461a568656c6c6fa44e616d65a3676f31a4506f7274cd461aa5537461746500a356736ea601050200000053544154452d4f462d474f';
const PUSHED: PushPull = {
  type: 'pushPull',
  join: true,
  nodes: [{ addr: '127.0.0.2', incarnation: 1, meta: HELLO, name: 'go1', port: 17946, state: 0, vsn: VSN }],
  userState: new Uint8Array(Buffer.from('STATE-OF-GO')),
};

test('a push/pull, as a peer sends it', () => {
  assert.equal(decodeStream(fromHex(PUSH_PULL)), PUSHED);
  assert.is(hex(encodePushPull(PUSHED)), PUSH_PULL);
});

test('streams of peers, compressed', () => {
  const join =
    '0982a4416c676f00a3427566da0067000d0c22a5e44d1a37c34a397943a6cc9c00acaacc2923670a9d3074ca3029e306c0215241c8909143ea0f00000256257133268c1c3718d3bc7113805493321741917212a64d995167dec42005e58d1c3acd8c68286511631900a3accc71632a40010127010404';
  const message = decodeStream(fromHex(join)) as PushPull;
  assert.equal(message.nodes, [{ ...PUSHED.nodes[0]!, meta: NONE }]);
  assert.is(message.userState.length, 0);
  assert.is(hex(encodeStream(encodePushPull(message), {}, { compressed: true })), join);

  const ping =
    '0982a4416c676f00a3427566da003e00011422e5e40d9932a3e0e489516a4a99380509a89af2a68e9c31658290212387d41f0000044cac78b14cc183a3cebc8931d22246286fe4d06966444340';
  const inner = decodeStream(fromHex(ping));
  assert.equal({ ...inner, node: '', seqNo: 0 }, { type: 'ping', node: '', seqNo: 0, ...GO1 });
  assert.is(hex(encodeStream(encodeMessage(inner as Message), {}, { compressed: true })), ping);
});

test('a Docker bulk sync in a user message', () => {
  const stream = '0881aa557365724d73674c656e1e0804121a10011a0c676f6e6f646530303030303122046e6574312a020805';
  const message = decodeStream(fromHex(stream));
  assert.is(message.type, 'user');
  const payload = fromHex(stream.slice(28));
  assert.equal(message, { type: 'user', payload });
  assert.is(hex(encodeUser(payload)), stream);
});

test('a packet with a checksum, as a peer sends it', () => {
  const packet = fromHex('0cd1822c960583a446726f6da3676f31ab496e6361726e6174696f6e01a44e6f6465a3707931');
  assert.is(hex(takeCrc(packet)), MESSAGES[5]![0]);
  assert.is(hex(addCrc(fromHex(MESSAGES[5]![0]))), hex(packet));
  packet[2]! ^= 1;
  assert.throws(() => takeCrc(packet), /the checksum is wrong/);
  assert.is(hex(addCrc(fromHex(MESSAGES[2]![0]))), '0c3ec285610282a75061796c6f6164c0a55365714e6f4d');
});

test('CRC-32 equals zlib’s for every length up to 300', () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * 7 + (i >> 3)) & 255);
  assert.is(crc32(new Uint8Array(Buffer.from('123456789'))), 0xcbf43926); // the check value of the catalogue of CRCs
  if (zlibCrc as unknown)
    for (let end = 0; end <= 300; end++) assert.is(crc32(bytes, 0, end), zlibCrc(bytes.subarray(0, end)));
});

// LZW: expected values from Go.
for (const [text, octets] of [
  ['', '000302'],
  ['A', '00830404'],
  ['AAAAAAAA', '0083081c283020'],
  ['hello hello hello', '00d19461c3e60d0881040d222c1810'],
] as const)
  test(`LZW of ${JSON.stringify(text)}`, () => {
    const bytes = new Uint8Array(Buffer.from(text));
    assert.is(hex(compress(bytes)), octets);
    assert.is(hex(decompress(fromHex(octets), 100)), hex(bytes));
  });

test('LZW keeps no state between texts', () => {
  const texts = ['hello hello hello', 'AAAAAAAA', 'hello hello hallo'].map((text) =>
    Uint8Array.from(Buffer.from(text)),
  );
  const first = texts.map((text) => hex(compress(text)));
  for (let i = 0; i < 5000; i++) assert.is(hex(compress(texts[i % 3]!)), first[i % 3]);
});

test('LZW of 200 kB, table resets included', () => {
  let x = 1;
  const bytes = Uint8Array.from({ length: 200_000 }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x >>> 28;
  });
  const packed = compress(bytes);
  assert.is(packed.length, 125267);
  const digest = createHash('sha256').update(packed).digest('hex');
  assert.is(digest, '95357a43130c392500f59a54089fc24f2db6bad093c4cdeb340f3c84ba2ec1ca');
  assert.equal(decompress(packed, 200_000), bytes);
  assert.throws(() => decompress(packed, 199_999), /limit of 199999 octets/);
});

test('LZW reads on with a full table that is not cleared', () => {
  // One code per octet, by hand: GIF's deferred clear code, which other implementations read too.
  const octets: number[] = [];
  let bits = 0;
  let held = 0;
  const put = (code: number, width: number): void => {
    bits |= code << held;
    for (held += width; held >= 8; held -= 8, bits >>>= 8) octets.push(bits & 255);
  };
  put(256, 9);
  let next = 257;
  let width = 9;
  const plain: number[] = [];
  for (let i = 0; i < 5000; i++) {
    const octet = (i * 31) & 255;
    plain.push(octet);
    put(octet, width);
    if (++next === 1 << width && width < 12) width++;
    if (next > 4095) next = 4095;
  }
  put(257, width);
  octets.push(bits & 255);
  assert.equal(decompress(Uint8Array.from(octets), 5000), Uint8Array.from(plain));
});

const KEY = fromHex('000102030405060708090a0b0c0d0e0f');
const NONCE = KEY.subarray(0, 12);
const ACK = fromHex('0282a75061796c6f6164c0a55365714e6f4d');
const secured = (more: Partial<Security> = {}): Security => ({
  keyring: new Keyring([KEY]),
  aead: aesGcm,
  nonce: () => NONCE,
  ...more,
});

for (const [what, security, octets] of [
  ['version 1', {}, '01000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc6bc6c1cd85570a0ab639d47e48240bc3f2'],
  [
    'version 0',
    { version: 0 },
    '00000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc6b14e85de3f3f8e82fff231a4aac62dfcae3af4354bc7364ffcbc0049fb0eb',
  ],
  [
    'version 1 with a label',
    { label: 'foo' },
    'f403666f6f01000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc6b32687c96258101dedda123fdca737d8d',
  ],
] as const)
  test(`an encrypted packet of ${what}`, () => {
    const own = secured(security);
    assert.is(hex(encodePacket(ACK, own)), octets);
    assert.is(hex(openPacket(fromHex(octets), own)), hex(ACK));
    assert.ok(octets.length / 2 - ACK.length <= packetOverhead(own));
    const other = fromHex(octets);
    other[other.length - 20]! ^= 1;
    assert.throws(() => openPacket(other, own), /no key/);
  });

test('an encrypted stream', () => {
  const octets =
    '0a0000002f01000102030405060708090a0b91ee009e07629b3b2ab6a12f65c60146dc6b7fa1d916908601aeb26389e523274fc8';
  assert.is(hex(encodeStream(ACK, secured(), { dialler: true })), octets);
  const reader = new StreamReader(secured(), false);
  assert.equal(reader.push(fromHex(octets)), { type: 'ack', seqNo: 77, payload: NONE });
});

test('a keyring decrypts with any of its keys and encrypts with the first', () => {
  const other = KEY.map((octet) => octet ^ 0xff);
  const ring = new Keyring([KEY]);
  const sealed = encodePacket(ACK, secured({ keyring: ring }));
  ring.add(other);
  ring.add(KEY);
  ring.use(other);
  assert.equal(ring.keys, [other, KEY]);
  assert.is(hex(openPacket(sealed, secured({ keyring: ring }))), hex(ACK));
  assert.throws(() => ring.remove(other), /use another key first/);
  ring.remove(KEY);
  assert.throws(
    () => openPacket(sealed, secured({ keyring: ring })),
    (error: unknown) => error instanceof WireError,
  );
  assert.throws(() => ring.use(KEY), /add it first/);
  assert.throws(() => new Keyring([]), RangeError);
  assert.throws(() => new Keyring([KEY.subarray(1)]), /16, 24 or 32/);
});

test('keys of 24 and 32 octets, and every length of version 0', () => {
  for (const size of [16, 24, 32]) {
    const key = new Uint8Array(size).fill(size);
    for (let length = 0; length < 50; length++) {
      const plain = new Uint8Array(length).fill(7);
      for (const version of [0, 1] as const) {
        const sealed = seal(aesGcm, key, version, NONCE, plain, NONE);
        assert.is(sealed.length, sealedLength(version, length));
        assert.equal(open(aesGcm, new Keyring([key]), sealed, NONE), plain);
      }
    }
  }
});

test('with keys, plain text is rejected unless it is allowed', () => {
  assert.throws(
    () => openPacket(ACK, secured()),
    (error: unknown) => error instanceof WireError,
  );
  assert.is(hex(openPacket(ACK, secured({ verifyIncoming: false }))), hex(ACK));
  assert.is(hex(encodePacket(ACK, secured({ verifyOutgoing: false }))), hex(ACK));
  assert.throws(() => new StreamReader(secured(), false).push(ACK), /not encrypted/);
  assert.throws(() => new StreamReader({}, false).push(fromHex('0a00')), /is encrypted/);
  assert.throws(() => encodePacket(ACK, { keyring: new Keyring([KEY]) }), /aead/);
});

test('labels separate clusters', () => {
  assert.is(hex(addLabel('foo', ACK)), `f403666f6f${hex(ACK)}`);
  assert.equal(takeLabel(addLabel('foo', ACK)), { label: 'foo', rest: ACK });
  assert.throws(() => openPacket(addLabel('foo', ACK), {}), /another cluster/);
  assert.throws(() => openPacket(ACK, { label: 'foo' }), /another cluster/);
  assert.throws(() => takeLabel(fromHex('f40000')), /label is empty/);
  assert.throws(() => addLabel('x'.repeat(256), ACK), RangeError);
  const reader = new StreamReader({ label: 'foo' }, false);
  const stream = encodeStream(ACK, { label: 'foo' }, { dialler: true });
  for (const octet of stream.subarray(0, -1)) assert.is(reader.push(Uint8Array.of(octet)), null);
  assert.is(reader.push(stream.subarray(-1))!.type, 'ack');
  assert.throws(() => new StreamReader({}, false).push(stream), /another cluster/);
  assert.is(new StreamReader({ label: 'foo' }, true).push(ACK)!.type, 'ack'); // answers have none
});

test('compounds: complete parts are read, truncated ones counted', () => {
  const bytes = encodeCompound([ACK, NONE, Uint8Array.of(8, 1)]);
  assert.is(hex(bytes), `0703001200000002${hex(ACK)}0801`);
  assert.equal(decodeCompound(bytes), { parts: [ACK, NONE, Uint8Array.of(8, 1)], truncated: 0 });
  assert.equal(decodeCompound(bytes.subarray(0, -1)), { parts: [ACK, NONE], truncated: 1 });
  assert.throws(() => decodeCompound(bytes.subarray(0, 7)), /truncated/);
  assert.throws(() => encodeCompound(Array.from({ length: 256 }, () => ACK)), RangeError);
});

interface Seen {
  messages: Message[];
  users: Uint8Array[];
  refused: string[];
}
function walked(bytes: Uint8Array): Seen {
  const seen: Seen = { messages: [], users: [], refused: [] };
  walk(bytes, {
    message: (one) => seen.messages.push(one),
    user: (one) => seen.users.push(one),
    refused: (error) => seen.refused.push(String(error)),
  });
  return seen;
}

test('nested messages', () => {
  const user = Uint8Array.of(8, 1, 2, 3);
  const { messages, users, refused } = walked(deflate(encodeCompound([ACK, deflate(user), fromHex('ff'), NONE])));
  assert.equal(messages, [{ type: 'ack', seqNo: 77, payload: NONE }]);
  assert.equal(users, [Uint8Array.of(1, 2, 3)]);
  assert.is(refused.length, 2);
  let deep: Uint8Array = ACK;
  for (let i = 0; i < 4; i++) deep = encodeCompound([deep]);
  assert.is(walked(deep).messages.length, 1);
  assert.match(walked(encodeCompound([deep])).refused[0]!, /nesting: 4/);
});

test('decompression bombs: a datagram’s content is bounded in octets and messages', () => {
  const bomb = deflate(new Uint8Array(MAX_INFLATED + 1));
  assert.ok(bomb.length < 1000, `${bomb.length}`);
  assert.match(walked(bomb).refused[0]!, /limit of 65536 octets/);
  // The first one uses the whole budget; no octet of the others is decompressed.
  const many = walked(encodeCompound([...Array.from({ length: 59 }, () => bomb), deflate(ACK)]));
  assert.is(many.refused.filter((reason) => /limit of 65536 octets/.test(reason)).length, 1);
  assert.is(many.refused.filter((reason) => /limit of 0 octets/.test(reason)).length, 59);
  assert.is(many.messages.length, 0);
  // Rejected messages count like accepted ones.
  const full = (part: Uint8Array): Uint8Array => encodeCompound(Array.from({ length: 255 }, () => part));
  const nested = (part: Uint8Array): Seen => walked(encodeCompound(Array.from({ length: 12 }, () => full(part))));
  for (const length of [nested(NONE).refused.length, nested(ACK).messages.length])
    assert.ok(length > MAX_MESSAGES / 2 && length < MAX_MESSAGES, `${length}`);
});

test('msgpack forms that are read but never sent: longer forms, nil, unknown fields, str8 and bin', () => {
  const same = (octets: string): void => assert.equal(decodeMessage(fromHex(octets)), { type: 'nack', seqNo: 79 });
  same('0bde0001a55365714e6f4f'); // map16
  same('0bdf00000001a55365714e6f4f'); // map32
  same('0b81d9055365714e6f4f'); // str8
  same('0b81da00055365714e6f4f');
  same('0b81db000000055365714e6f4f');
  for (const number of [
    'cc4f',
    'cd004f',
    'ce0000004f',
    'cf000000000000004f',
    'd04f',
    'd1004f',
    'd20000004f',
    'd3000000000000004f',
  ])
    same(`0b81a55365714e6f${number}`);
  assert.equal(decodeMessage(fromHex('0bc0')), { type: 'nack', seqNo: 0 });
  assert.equal(decodeMessage(fromHex('0b81a55365714e6fc0')), { type: 'nack', seqNo: 0 });
  // Every type of value in an unknown field X.
  for (const value of [
    ...['05', 'e5', '8101a161', '9201a161', 'a3616263', 'c0', 'c2', 'c3', 'c4020102', 'c500020102', 'c6000000020102'],
    ...['c702050102', 'c80002050102', 'c900000002050102', 'ca00000000', 'cb0000000000000000', 'cc01', 'cd0101'],
    ...['ce01010101', 'cf0101010101010101', 'd001', 'd10101', 'd201010101', 'd30101010101010101', 'd40501', 'd5050101'],
    ...['d60501010101', 'd7050101010101010101', `d805${'01'.repeat(16)}`, 'd90161', 'da000161', 'db0000000161'],
    ...['dc000101', 'dd0000000101', 'de00010101', 'df000000010101'],
  ])
    same(`0b82a158${value}a55365714e6f4f`);
  assert.equal(
    (decodeMessage(fromHex('0281a75061796c6f6164c403010203')) as { payload: Uint8Array }).payload,
    Uint8Array.of(1, 2, 3),
  );
  for (const [octets, reason] of [
    ['0b81c4055365714e6f4f', /expected a string, found 0xc4/], // as peers do
    ['0b81a55365714e6fff', /expected a number from 0 to 4294967295, found 0xff/],
    ['0b81a55365714e6fcf00000001000000ff', /expected a number/],
    ['0b81a55365714e6fd0ff', /expected a number/],
    ['0b81a158c1', /expected a value, found 0xc1/],
    ['0b93', /expected a map, found 0x93/],
    ['0b81a1589' + '1919'.repeat(10) + '0', /nested more than 16 levels deep/],
    ['0bdf7fffffff', /fields of a map: 2147483647/],
    [`0b81a158dc0200${'01'.repeat(512)}`, /too many values/],
    ['0b81a55365714e6f', /truncated/],
    ['0b81a158dbffffffff', /truncated/],
    ['0483a4506f7274ce00010000', /from 0 to 65535/],
  ] as const)
    assert.throws(() => decodeMessage(fromHex(octets)), reason, octets);
});

test('addresses are normalized: IPv4-mapped IPv6 is IPv4; other lengths are rejected', () => {
  const at = (octets: string): string => (decodeMessage(fromHex(`0481a441646472${octets}`)) as Alive).addr;
  assert.is(at('b000000000000000000000ffff0a000001'), '10.0.0.1');
  assert.is(at('b0fd000000000000000000000000000004'), 'fd00::4');
  assert.is(at('a3010203'), '');
  assert.is(at('a0'), '');
});

test('names that are not UTF-8 round-trip', () => {
  const suspect = fromHex('0383a446726f6da2ff80ab496e6361726e6174696f6e01a44e6f6465a4c3a9c328');
  const message = decodeMessage(suspect);
  assert.equal(message, { type: 'suspect', from: '\udcff\udc80', incarnation: 1, node: 'é\udcc3(' });
  assert.is(hex(encodeMessage(message)), hex(suspect));
});

const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const wellFormed = fc.string({ unit: 'binary', maxLength: 40 }); // any code points but surrogates
const address = fc.oneof(fc.ipV4(), fc.constantFrom('', 'fd00::1', '::1', '2001:db8::a:0:0:1'));
const source = { sourceAddr: address, sourceNode: wellFormed, sourcePort: u16 };
const record = <T extends object>(type: string, fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(fields as never, { noNullPrototype: true }).map((value) => ({ type, ...(value as T) }));
const nodeState = fc.record(
  {
    addr: address,
    incarnation: u32,
    meta: bytes(512),
    name: wellFormed,
    port: u16,
    state: fc.integer({ min: 0, max: 3 }),
    vsn: bytes(6),
  },
  { noNullPrototype: true },
);
const messages = fc.oneof(
  record('ping', { node: wellFormed, seqNo: u32, ...source }),
  record('indirectPing', { nack: fc.boolean(), node: wellFormed, port: u16, seqNo: u32, ...source, target: address }),
  record('ack', { payload: bytes(300), seqNo: u32 }),
  record('nack', { seqNo: u32 }),
  record('err', { error: wellFormed }),
  record('suspect', { from: wellFormed, incarnation: u32, node: wellFormed }),
  record('dead', { from: wellFormed, incarnation: u32, node: wellFormed }),
  record('alive', { addr: address, incarnation: u32, meta: bytes(512), node: wellFormed, port: u16, vsn: bytes(6) }),
  record('compress', { algo: fc.integer({ min: 0, max: 255 }), buf: bytes(70_000) }),
) as unknown as fc.Arbitrary<Message>;

test('decode(encode(m)) equals m', () => {
  fc.assert(fc.property(messages, (message) => assert.equal(decodeMessage(encodeMessage(message)), message)));
});

test('compression round-trips, and truncated data is rejected', () => {
  const repetitive = fc.array(fc.constantFrom(0, 1, 97), { maxLength: 9000 }).map((list) => Uint8Array.from(list));
  fc.assert(
    fc.property(fc.oneof(bytes(6000), repetitive), (plain) => {
      const packed = compress(plain);
      assert.equal(decompress(packed, plain.length), plain);
      assert.throws(
        () => decompress(packed.subarray(0, -1), plain.length),
        (error: unknown) => error instanceof WireError,
      );
    }),
    { numRuns: 60 },
  );
});

test('decompressing any bytes ends with a WireError or within its limit', () => {
  fc.assert(
    fc.property(bytes(2000), (input) => {
      try {
        assert.ok(decompress(input, 5000).length <= 5000);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }),
  );
});

test('a stream gives the same message whatever its pieces, compressed and encrypted or not', () => {
  const streams = fc.oneof(
    record('pushPull', { join: fc.boolean(), nodes: fc.array(nodeState, { maxLength: 4 }), userState: bytes(500) }),
    record('user', { payload: bytes(3000) }),
  ) as unknown as fc.Arbitrary<PushPull | Extract<StreamMessage, { type: 'user' }>>;
  const cuts = fc.infiniteStream(fc.integer({ min: 1, max: 97 }));
  fc.assert(
    fc.property(
      streams,
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom('', 'a label'),
      cuts,
      (message, small, secret, label, cut) => {
        const security = secret ? secured({ label }) : { label };
        const plain = message.type === 'user' ? encodeUser(message.payload) : encodePushPull(message);
        const stream = encodeStream(plain, security, { compressed: small, dialler: true });
        const reader = new StreamReader(security, false);
        let at = 0;
        let read: StreamMessage | null = null;
        for (const length of cut) {
          read = reader.push(stream.subarray(at, at + length));
          at += length;
          if (at >= stream.length) break;
          assert.is(read, null);
        }
        assert.equal(read, message);
        assert.is(reader.kept, 0);
      },
    ),
    { numRuns: 60 },
  );
});

test('excessive lengths are rejected before any allocation', () => {
  const refused = (octets: string, reason: RegExp): void =>
    assert.throws(() => new StreamReader({}, false).push(fromHex(octets)), reason, octets);
  refused('0683a44a6f696ec3a54e6f646573ceffffffffac5573657253746174654c656e00', /members: 4294967295/);
  refused('0683a44a6f696ec3a54e6f64657301ac5573657253746174654c656eceffffffff', /octets of state: 4294967295/);
  refused('0881aa557365724d73674c656eceffffffff', /octets of a user message/);
  refused('0982a4416c676f00a3427566dbffffffff', /octets of a stream/);
  refused('0581a158dbffffffff', /unexpected message type 5 in a stream/);
  refused('0081a158dbffffffff', /octets of a map/);
  assert.throws(() => new StreamReader(secured(), false).push(fromHex('0affffffff')), /encrypted octets: 4294967295/);
  assert.throws(() => new StreamReader(secured(), false).push(fromHex('0a00000001')), /length 1 is below 29/);
  const small = { ...STREAM_LIMITS, octets: 100 };
  assert.throws(() => new StreamReader({}, false, small).push(new Uint8Array(101)), /octets of a stream: 101/);
  const twice = deflate(deflate(ACK));
  assert.throws(() => new StreamReader({}, false).push(twice), /contains a compressed message/);
  const cut = deflate(ACK.subarray(0, -1));
  assert.throws(() => new StreamReader({}, false).push(cut), /cut short/);
});

test('a stream that arrives octet by octet costs little, also if it never completes', () => {
  // Each octet may complete the map, so it is parsed again each time; maps are short.
  const reader = new StreamReader({}, false);
  const dribble = fromHex(`0082a158dc0100${'01'.repeat(200)}`);
  for (let i = 0; i < dribble.length; i++) assert.is(reader.push(dribble.subarray(i, i + 1)), null);
  assert.ok(reader.looks > 1 && reader.looks <= dribble.length, `${reader.looks}`);
  // After a length, nothing is parsed until that many octets have arrived.
  const one = new StreamReader({}, false);
  const header = fromHex('0982a4416c676f00a3427566db00100000');
  for (const octet of header) one.push(Uint8Array.of(octet));
  const { looks } = one;
  for (let i = 0; i < 100_000; i++) assert.is(one.push(Uint8Array.of(i)), null);
  assert.is(one.looks, looks);
  assert.is(one.kept, 131_072, 'the buffer, which doubles');
});

test.run();

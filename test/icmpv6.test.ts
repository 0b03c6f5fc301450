import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatIpv6, macToText } from '../src/address/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

const NOTHING = new Uint8Array(0);
/** The start of a UDP datagram of 1000 bytes from fd00::2 port 5000 to fd00::9 port 5001, quoted in an error. */
const QUOTE = '6000000003e81140 fd000000000000000000000000000002 fd000000000000000000000000000009 1388138903e81234';
const ENDS = { source: 'fd00::1', destination: 'fd00::2' };
const NODE = { source: 'fd00::1', destination: 'ff02::1:ff00:2' };
const address = (type: number, mac: string): icmpv6.Option => ({ type, data: fromHex(mac) });

interface Message {
  name: string;
  bytes: string;
  addresses: { source: string; destination: string };
  value: Omit<icmpv6.Icmpv6, 'payload'>;
  payload?: string;
}

// scapy 2.5 wrote these messages, checksums included.
const MESSAGES: Message[] = [
  {
    name: 'echo request',
    bytes: '80000b12123400076869',
    addresses: ENDS,
    value: { type: 128, code: 0, checksum: 0x0b12, identifier: 0x1234, sequence: 7 },
    payload: '6869',
  },
  {
    name: 'echo reply',
    bytes: '81000a12123400076869',
    addresses: ENDS,
    value: { type: 129, code: 0, checksum: 0x0a12, identifier: 0x1234, sequence: 7 },
    payload: '6869',
  },
  {
    name: 'destination unreachable',
    bytes: `0103582300000000 ${QUOTE}`,
    addresses: ENDS,
    value: { type: 1, code: 3, checksum: 0x5823, length: 0, unused: 0 },
    payload: QUOTE,
  },
  {
    name: 'packet too big',
    bytes: `020051ae00000578 ${QUOTE}`,
    addresses: ENDS,
    value: { type: 2, code: 0, checksum: 0x51ae, mtu: 1400 },
    payload: QUOTE,
  },
  {
    name: 'time exceeded',
    bytes: `0300562600000000 ${QUOTE}`,
    addresses: ENDS,
    value: { type: 3, code: 0, checksum: 0x5626, length: 0, unused: 0 },
    payload: QUOTE,
  },
  {
    name: 'parameter problem',
    bytes: `0401551f00000006 ${QUOTE}`,
    addresses: ENDS,
    value: { type: 4, code: 1, checksum: 0x551f, pointer: 6 },
    payload: QUOTE,
  },
  {
    name: 'router solicitation',
    bytes: '85006fe700000000 010102420a000003',
    addresses: { source: 'fe80::2', destination: 'ff02::2' },
    value: { type: 133, code: 0, checksum: 0x6fe7, reserved: 0, options: [address(1, '02420a000003')] },
  },
  {
    name: 'router advertisement',
    bytes:
      '8600d8e74080070800007530000003e8 010102420a000001 05010000000005aa' +
      '030440c0000151800000384000000000fd000001000000000000000000000000',
    addresses: { source: 'fe80::1', destination: 'ff02::1' },
    value: {
      type: 134,
      code: 0,
      checksum: 0xd8e7,
      hopLimit: 64,
      managed: true,
      otherConfiguration: false,
      reserved: 0,
      lifetime: 1800,
      reachableTime: 30000,
      retransmitTimer: 1000,
      options: [
        address(1, '02420a000001'),
        { type: 5, data: fromHex('0000000005aa') },
        { type: 3, data: fromHex('40c0000151800000384000000000fd000001000000000000000000000000') },
      ],
    },
  },
  {
    name: 'neighbor solicitation',
    bytes: '8700735500000000 fd000000000000000000000000000002 010102420a000001',
    addresses: NODE,
    value: {
      type: 135,
      code: 0,
      checksum: 0x7355,
      reserved: 0,
      target: 'fd00::2',
      options: [address(1, '02420a000001')],
    },
  },
  {
    name: 'solicitation of duplicate address detection',
    bytes: '87007da300000000 fd000000000000000000000000000002',
    addresses: { ...NODE, source: '::' },
    value: { type: 135, code: 0, checksum: 0x7da3, reserved: 0, target: 'fd00::2', options: [] },
  },
  {
    name: 'neighbor advertisement',
    bytes: '88009257e0000000 fd000000000000000000000000000002 020102420a000002',
    addresses: { source: 'fd00::2', destination: 'fd00::1' },
    value: {
      type: 136,
      code: 0,
      checksum: 0x9257,
      router: true,
      solicited: true,
      override: true,
      reserved: 0,
      target: 'fd00::2',
      options: [address(2, '02420a000002')],
    },
  },
  {
    name: 'unsolicited neighbor advertisement',
    bytes: '8800505620000000 fd000000000000000000000000000002 020102420a000002',
    addresses: { source: 'fd00::2', destination: 'ff02::1' },
    value: {
      type: 136,
      code: 0,
      checksum: 0x5056,
      router: false,
      solicited: false,
      override: true,
      reserved: 0,
      target: 'fd00::2',
      options: [address(2, '02420a000002')],
    },
  },
  {
    name: 'redirect',
    bytes:
      '8900c09200000000 fe800000000000000000000000000007 fd000000000000000000000000000009' +
      `020102420a000007 0407000000000000 ${QUOTE}`,
    addresses: { source: 'fe80::1', destination: 'fd00::2' },
    value: {
      type: 137,
      code: 0,
      checksum: 0xc092,
      reserved: 0,
      target: 'fe80::7',
      destination: 'fd00::9',
      options: [address(2, '02420a000007'), { type: 4, data: fromHex(`000000000000${QUOTE}`) }],
    },
  },
];

for (const { name, bytes: text, addresses, value, payload = '' } of MESSAGES) {
  test(`reads and writes ${name}`, () => {
    const bytes = fromHex(text);
    assert.equal(icmpv6.decode(bytes), { ...value, payload: fromHex(payload) });
    const { checksum: _, ...computed } = value;
    assert.is(hex(icmpv6.encode({ ...computed, payload: fromHex(payload) }, addresses)), hex(bytes));
    assert.ok(icmpv6.verifyChecksum(bytes, 0, bytes.length, addresses));
    bytes[1]! ^= 1;
    assert.not(icmpv6.verifyChecksum(bytes, 0, bytes.length, addresses));
  });
}

test('the fields of options, as scapy wrote them', () => {
  const options = MESSAGES.flatMap(({ value }) => value.options ?? []);
  const fields = options.map(icmpv6.decodeOption);
  const [source, ...advertised] = fields;
  assert.equal(source, { type: 1, address: '02:42:0a:00:00:03' });
  assert.equal(advertised.slice(0, 3), [
    { type: 1, address: '02:42:0a:00:00:01' },
    { type: 5, reserved: 0, mtu: 1450 },
    {
      type: 3,
      prefixLength: 64,
      onLink: true,
      autonomous: true,
      reserved1: 0,
      validLifetime: 86400,
      preferredLifetime: 14400,
      reserved2: 0,
      prefix: 'fd00:1::',
    },
  ]);
  assert.equal(fields.at(-2), { type: 2, address: '02:42:0a:00:00:07' });
  assert.equal(fields.at(-1), { type: 4, reserved: 0, packet: fromHex(QUOTE) });
  fields.forEach((value, i) => assert.equal(icmpv6.encodeOption(value!), options[i]));
});

test('keeps options that it does not know, and malformed ones', () => {
  const head = '8700000000000000fd000000000000000000000000000002';
  const read = (options: string): icmpv6.Option[] => {
    const bytes = fromHex(head + options);
    const value = icmpv6.decode(bytes);
    assert.is(hex(icmpv6.encode(value)), hex(bytes));
    return value.options!;
  };
  const unknown = { type: 0x1f, data: fromHex('001122334455') };
  assert.equal(read('1f01001122334455'), [unknown]);
  assert.equal(read('1f010011223344550e020102030405060708090a0b0c0d0e'), [
    unknown,
    { type: 14, data: fromHex('0102030405060708090a0b0c0d0e') },
  ]);
  assert.equal(read('0100a1a2a3a4a5a6'), [{ type: 1, data: fromHex('00a1a2a3a4a5a6'), malformed: true }]);
  assert.equal(read('0102a1a2a3a4a5a6'), [{ type: 1, data: fromHex('02a1a2a3a4a5a6'), malformed: true }]);
  assert.equal(read('01'), [{ type: 1, data: NOTHING, malformed: true }]);
  for (const option of [
    { type: 1, data: fromHex('00a1a2a3a4a5a6'), malformed: true as const },
    { type: 1, data: new Uint8Array(14) },
    { type: 3, data: new Uint8Array(6) },
    { type: 5, data: new Uint8Array(14) },
    unknown,
  ])
    assert.is(icmpv6.decodeOption(option), null);
  const padded = icmpv6.encode({ type: 133, code: 0, options: [{ type: 31, data: fromHex('01') }], payload: NOTHING });
  assert.is(hex(padded.subarray(8)), '1f01010000000000');
});

test('finds an option, and tells whether all are whole', () => {
  const options = fromHex('1f01001122334455 010102420a000001 010102420a000002');
  const end = options.length;
  assert.equal(
    [31, 1, 2].map((type) => icmpv6.findOption(options, 0, end, type)),
    [0, 8, -1],
  );
  assert.is(icmpv6.findOption(options, 0, 12, 1), -1, 'cut');
  assert.ok(icmpv6.checkOptions(options, 0, end));
  assert.ok(icmpv6.checkOptions(options, end, end));
  assert.not(icmpv6.checkOptions(options, 0, end - 1));
  options[9] = 0;
  assert.not(icmpv6.checkOptions(options, 0, end));
  assert.is(icmpv6.findOption(options, 0, end, 2), -1);
  assert.is(icmpv6.findOption(options, 0, end, 31), 0);
});

test('reads the packet that an error quotes, as far as it goes', () => {
  const error = (payload: Uint8Array, type = icmpv6.UNREACHABLE, length = 0): icmpv6.Quoted | null =>
    icmpv6.quoted({ type, code: 0, length, payload });
  const quote = fromHex(QUOTE);
  const whole = error(quote);
  assert.is(whole?.header.destination, 'fd00::9');
  assert.is(whole?.header.payloadLength, 1000);
  assert.equal([whole?.protocol, whole?.sourcePort, whole?.destinationPort], [17, 5000, 5001]);
  assert.equal(Object.keys(error(quote.subarray(0, 43))!), ['header', 'protocol']);
  assert.is(error(quote.subarray(0, 39)), null);
  assert.is(error(quote, icmpv6.ECHO_REQUEST), null);
  // RFC 4884, section 4.4: the length of the quote in units of 64 bits; extensions follow.
  const value = { type: 3, code: 0, length: 6, payload: fromHex(`${QUOTE}2000dfff00040000`) };
  assert.is(hex(icmpv6.extensions(value)), '2000dfff00040000');
  assert.is(icmpv6.extensions({ ...value, length: 0 }).length, 0);
  assert.is(icmpv6.extensions({ ...value, length: 255 }).length, 0);
  const behind = ipv6.encode({ nextHeader: 0, ...ENDS, payload: fromHex('1100010400000000 1388138903e81234') });
  assert.equal([error(behind)?.protocol, error(behind)?.destinationPort], [17, 5001]);
  const later = ipv6.encode({ nextHeader: 44, ...ENDS, payload: fromHex('1100000900000001 1388138903e81234') });
  assert.equal([error(later)?.protocol, error(later)?.destinationPort], [44, undefined]);
});

test('keeps every bit of octets 4 to 39', () => {
  for (let type = 0; type < 256; type++) {
    const bytes = fromHex(`0000dead 81c3a5f1 ${'42'.repeat(32)}`);
    bytes[0] = type;
    assert.is(hex(icmpv6.encode(icmpv6.decode(bytes))), hex(bytes), `type ${type}`);
  }
});

test('rejects truncated messages, and decodeLax reads them', () => {
  const solicitation = fromHex(MESSAGES[8]!.bytes);
  const { length } = solicitation;
  assert.is(icmpv6.check(solicitation, 0, length), 24);
  assert.throws(() => icmpv6.decode(solicitation, 0, 23), /icmpv6: truncated at offset 0: needs 24 bytes, has 23/);
  assert.throws(() => icmpv6.decode(solicitation, 0, 7), /needs 8 bytes, has 7/);
  const head = { type: 135, code: 0, checksum: 0x7355 };
  assert.equal(icmpv6.decodeLax(solicitation, 0, 10), { ...head, reserved: 0, payload: fromHex('fd00') });
  assert.equal(icmpv6.decodeLax(solicitation, 0, 5), { ...head, payload: fromHex('00') });
  assert.is(icmpv6.decodeLax(solicitation, 0, 3), null);
  const lengths = [133, 134, 135, 136, 137, 128, 1].map((type) => {
    const bytes = Uint8Array.of(type, ...new Uint8Array(60));
    return icmpv6.check(bytes, 0, bytes.length);
  });
  assert.equal(lengths, [8, 16, 24, 24, 40, 8, 8]);
});

test('getters and setters work in place', () => {
  const bytes = fromHex(`a5${MESSAGES[3]!.bytes}`);
  assert.equal([icmpv6.getType(bytes, 1), icmpv6.getCode(bytes, 1), icmpv6.getChecksum(bytes, 1)], [2, 0, 0x51ae]);
  assert.is(icmpv6.getMtu(bytes, 1), 1400);
  icmpv6.setMtu(bytes, 1, 0xffff_fffe);
  assert.is(icmpv6.getMtu(bytes, 1), 0xffff_fffe);
  icmpv6.fillChecksum(bytes, 1, bytes.length, ENDS);
  assert.ok(icmpv6.verifyChecksum(bytes, 1, bytes.length, ENDS));
  icmpv6.setType(bytes, 1, 128);
  icmpv6.setCode(bytes, 1, 9);
  icmpv6.setChecksum(bytes, 1, 0xabcd);
  icmpv6.setIdentifier(bytes, 1, 0x1234);
  icmpv6.setSequence(bytes, 1, 0x5678);
  assert.is(hex(bytes.subarray(0, 9)), 'a58009abcd12345678');
  assert.equal([icmpv6.getIdentifier(bytes, 1), icmpv6.getSequence(bytes, 1)], [0x1234, 0x5678]);
  const advertisement = fromHex(MESSAGES[10]!.bytes);
  const flags = [icmpv6.isRouter, icmpv6.isSolicited, icmpv6.isOverride];
  for (const [octet, expected] of [
    [0x80, [true, false, false]],
    [0x40, [false, true, false]],
    [0x20, [false, false, true]],
  ] as const) {
    advertisement[4] = octet;
    assert.equal(
      flags.map((flag) => flag(advertisement, 0)),
      [...expected],
    );
  }
  assert.equal(
    [0, 1, 2, 3].map((i) => icmpv6.getTargetWord(advertisement, 0, i)),
    [0xfd000000 | 0, 0, 0, 2],
  );
});

test('the kinds of types (RFC 4443, sections 2.1 and 2.4 (e); RFC 4861, section 4)', () => {
  const those = (is: (type: number) => boolean): number[] => [...Array(256).keys()].filter(is);
  assert.equal(those(icmpv6.isError), [...Array(128).keys()]);
  assert.equal(those(icmpv6.isDiscovery), [133, 134, 135, 136, 137]);
  assert.equal(
    those((type) => !icmpv6.mayCauseError(type)),
    [...Array(128).keys(), 137],
  );
});

/** An IPv6 packet with a message of scapy's, or a changed one, whose checksum is right. */
function packet(at: number, change: Partial<icmpv6.Icmpv6> = {}, header: Partial<ipv6.Ipv6> = {}): Uint8Array {
  const { value, addresses } = MESSAGES[at]!;
  const ends = { ...addresses, ...header };
  const { checksum: _, ...rest } = value;
  const payload = icmpv6.encode({ ...rest, payload: NOTHING, ...change }, ends);
  return ipv6.encode({ nextHeader: 58, hopLimit: 255, ...addresses, ...header, payload });
}

const verify = (bytes: Uint8Array): boolean => icmpv6.verifyDiscovery(bytes, 0, 40, bytes.length);

test('verifyDiscovery accepts the messages of scapy, and what RFC 4861 allows', () => {
  for (let at = 6; at < MESSAGES.length; at++) {
    assert.ok(verify(packet(at)), MESSAGES[at]!.name);
    assert.not(verify(packet(at, {}, { hopLimit: 254 })), `${MESSAGES[at]!.name} from another link`);
    assert.not(verify(packet(at, { code: 1 })), `${MESSAGES[at]!.name} with a code`);
    assert.not(verify(packet(at, { checksum: 0x1234 })), `${MESSAGES[at]!.name} with a wrong checksum`);
    const malformed: icmpv6.Option = { type: 99, data: new Uint8Array(7), malformed: true };
    assert.not(verify(packet(at, { options: [malformed] })), `${MESSAGES[at]!.name} with an option of length 0`);
    const truncated = packet(at);
    assert.not(icmpv6.verifyDiscovery(truncated, 0, 40, 47));
    assert.ok(verify(packet(at, { reserved: 1, options: [{ type: 99, data: new Uint8Array(6) }] })), 'unknown bits');
  }
  assert.not(verify(packet(0)), 'echo is no neighbor discovery');
});

test('verifyDiscovery rejects addresses that RFC 4861 forbids', () => {
  const [RS, RA, NS, DAD, NA, UNSOLICITED, REDIRECT] = [6, 7, 8, 9, 10, 11, 12] as const;
  const none = { options: [] };
  const source = { options: [address(1, '02420a000003')] };
  assert.not(verify(packet(RS, source, { source: '::' })), 'RS from nobody with an address: 6.1.1');
  assert.ok(verify(packet(RS, none, { source: '::' })));
  assert.not(verify(packet(RA, {}, { source: 'fd00::1' })), 'RA from a global address: 6.1.2');
  assert.ok(verify(packet(RA, {}, { source: 'febf::1' })));
  assert.not(verify(packet(NS, { target: 'ff02::1' })), 'NS for a group: 7.1.1');
  assert.not(verify(packet(DAD, source)), 'DAD with an address: 7.1.1');
  assert.not(verify(packet(DAD, {}, { destination: 'fd00::2' })), 'DAD to a host: 7.1.1');
  assert.not(verify(packet(DAD, {}, { destination: 'ff02::1' })));
  assert.not(verify(packet(DAD, {}, { destination: 'ff02::1:fe00:2' })));
  assert.ok(verify(packet(NS, {}, { destination: 'fd00::2' })), 'a probe of reachability is unicast: 7.3.3');
  assert.not(verify(packet(NA, { target: 'ff02::1' })), 'NA for a group: 7.1.2');
  assert.not(verify(packet(UNSOLICITED, { solicited: true })), 'solicited, but to a group: 7.1.2');
  assert.not(verify(packet(REDIRECT, {}, { source: 'fd00::1' })), 'redirect from a global address: 8.1');
  assert.not(verify(packet(REDIRECT, { destination: 'ff05::1' })), 'redirect of a group: 8.1');
  assert.not(verify(packet(REDIRECT, { target: 'fd00::7' })), 'redirect to a global address: 8.1');
  assert.ok(verify(packet(REDIRECT, { target: 'fd00::9' })), 'unless it is the destination');
});

test('rejects values that do not fit', () => {
  const payload = NOTHING;
  assert.throws(() => icmpv6.encode({ type: 256, code: 0, payload }), /icmpv6\.type .* 255, not 256/);
  assert.throws(() => icmpv6.encode({ type: 128, code: 0, sequence: -1, payload }), /icmpv6\.sequence/);
  assert.throws(() => icmpv6.encode({ type: 1, code: 0, unused: 2 ** 24, payload }), /icmpv6\.unused/);
  assert.throws(
    () => icmpv6.encode({ type: 136, code: 0, reserved: 2 ** 29, payload }),
    /icmpv6\.reserved .* 536870911/,
  );
  assert.throws(() => icmpv6.encode({ type: 135, code: 0, target: 'x', payload }), /"x" is not an IPv6/);
  const options = [{ type: 1, data: new Uint8Array(2039) }];
  assert.throws(
    () => icmpv6.encode({ type: 135, code: 0, options, payload }),
    /icmpv6\.options length .* 255, not 256/,
  );
  assert.throws(() => icmpv6.encodeOption({ type: 5, mtu: 2 ** 32 }), /icmpv6 mtu/);
});

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const ip = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatIpv6(bytes));
const common = { code: u8, checksum: u16, payload: fc.uint8Array({ maxLength: 40 }) };
const option = fc
  .tuple(u8, fc.nat(3), fc.uint8Array({ minLength: 30, maxLength: 30 }))
  .map(([type, units, data]): icmpv6.Option => ({ type, data: data.slice(0, 6 + 8 * units) }));
const bad = fc.tuple(u8, fc.uint8Array({ maxLength: 20 })).map(([type, data]): icmpv6.Option => ({
  type,
  data: data.length > 0 ? Uint8Array.of(0, ...data) : data,
  malformed: true,
}));
const options = fc
  .tuple(fc.array(option, { maxLength: 3 }), fc.array(bad, { maxLength: 1 }))
  .map(([whole, last]) => [...whole, ...last]);
const discovery = { code: u8, checksum: u16, payload: fc.constant(NOTHING), options };
const known = [1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137];
const values: fc.Arbitrary<icmpv6.DecodedIcmpv6> = fc.oneof(
  fc.record({ type: fc.constantFrom(128, 129), ...common, identifier: u16, sequence: u16 }),
  fc.record({ type: fc.constantFrom(1, 3), ...common, length: u8, unused: fc.nat(0xffffff) }),
  fc.record({ type: fc.constant(2), ...common, mtu: u32 }),
  fc.record({ type: fc.constant(4), ...common, pointer: u32 }),
  fc.record({ type: fc.constant(133), ...discovery, reserved: u32 }),
  fc.record({
    type: fc.constant(134),
    ...discovery,
    hopLimit: u8,
    managed: fc.boolean(),
    otherConfiguration: fc.boolean(),
    reserved: fc.nat(63),
    lifetime: u16,
    reachableTime: u32,
    retransmitTimer: u32,
  }),
  fc.record({ type: fc.constant(135), ...discovery, reserved: u32, target: ip }),
  fc.record({
    type: fc.constant(136),
    ...discovery,
    router: fc.boolean(),
    solicited: fc.boolean(),
    override: fc.boolean(),
    reserved: fc.nat(2 ** 29 - 1),
    target: ip,
  }),
  fc.record({ type: fc.constant(137), ...discovery, reserved: u32, target: ip, destination: ip }),
  fc.record({ type: u8.filter((type) => !known.includes(type)), ...common, rest: u32 }),
);

codecProperties<icmpv6.Icmpv6, icmpv6.DecodedIcmpv6>({
  name: 'icmpv6',
  codec: icmpv6,
  values,
  bytes: fc.tuple(fc.constantFrom(...known), fc.uint8Array({ minLength: 4, maxLength: 60 })).map(([type, bytes]) => {
    bytes[0] = type;
    return bytes;
  }),
});

test('decodeOption(encodeOption(fields)) equals the fields', () => {
  const fields: fc.Arbitrary<icmpv6.OptionFields> = fc.oneof(
    fc.record({ type: fc.constantFrom(1 as const, 2 as const), address: fc.nat(2 ** 48 - 1).map(macToText) }),
    fc.record({
      type: fc.constant(3 as const),
      prefixLength: u8,
      onLink: fc.boolean(),
      autonomous: fc.boolean(),
      reserved1: fc.nat(63),
      validLifetime: u32,
      preferredLifetime: u32,
      reserved2: u32,
      prefix: ip,
    }),
    fc.record({
      type: fc.constant(4 as const),
      reserved: fc.nat(2 ** 48 - 1),
      packet: fc.nat(6).chain((units) => fc.uint8Array({ minLength: units * 8, maxLength: units * 8 })),
    }),
    fc.record({ type: fc.constant(5 as const), reserved: u16, mtu: u32 }),
  );
  fc.assert(
    fc.property(fields, (drawn) => {
      const value = structuredClone(drawn);
      assert.equal(icmpv6.decodeOption(icmpv6.encodeOption(value)), value);
    }),
  );
});

test.run();

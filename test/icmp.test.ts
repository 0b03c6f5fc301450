import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText } from '../src/address/index.js';
import * as icmp from '../src/icmp/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// The start of a TCP segment from 10.0.0.3 port 50000 to 10.0.0.4 port 80, quoted in an error.
const QUOTE = '450005dc00004000400621160a0000030a000004 c35000500badcafe';
const NOTHING = new Uint8Array(0);

// tshark 4 shows these values for each, and "Checksum: … [correct]".
const MESSAGES: [name: string, bytes: string, value: Omit<icmp.Icmp, 'payload'>, payload: string][] = [
  ['echo request', '08007d5b 1234 0007', { type: 8, code: 0, checksum: 0x7d5b, identifier: 4660, sequence: 7 }, '6869'],
  [
    'timestamp reply',
    '0e005a8c 0001 0002 000003e8 000007d0 80000bb8',
    {
      type: 14,
      code: 0,
      checksum: 0x5a8c,
      identifier: 1,
      sequence: 2,
      originate: 1000,
      receive: 2000,
      transmit: 2147486648,
    },
    '',
  ],
  [
    'address mask reply',
    '1200eefb 0001 0002 ffffff00',
    { type: 18, code: 0, checksum: 0xeefb, identifier: 1, sequence: 2, mask: '255.255.255.0' },
    '',
  ],
  [
    'fragmentation needed',
    '03045d05 0000 05aa',
    { type: 3, code: 4, checksum: 0x5d05, length: 0, nextHopMtu: 1450, unused: 0 },
    QUOTE,
  ],
  ['time exceeded', '0b005ab3 00000000', { type: 11, code: 0, checksum: 0x5ab3, length: 0, unused: 0 }, QUOTE],
  [
    'parameter problem',
    '0c0045b3 14000000',
    { type: 12, code: 0, checksum: 0x45b3, pointer: 20, length: 0, unused: 0 },
    QUOTE,
  ],
  ['redirect', '050156b1 0a000001', { type: 5, code: 1, checksum: 0x56b1, gateway: '10.0.0.1' }, QUOTE],
];

for (const [name, head, value, payload] of MESSAGES) {
  test(`reads and writes ${name}`, () => {
    const bytes = fromHex(head + payload);
    assert.equal(icmp.decode(bytes), { ...value, payload: fromHex(payload) });
    const { checksum: _, ...computed } = value;
    assert.is(hex(icmp.encode({ ...computed, payload: fromHex(payload) })), hex(bytes));
    assert.ok(icmp.verifyChecksum(bytes, 0, bytes.length));
    bytes[0]! ^= 1;
    assert.not(icmp.verifyChecksum(bytes, 0, bytes.length));
  });
}

test('keeps every bit of octets 4 to 7', () => {
  for (let type = 0; type < 256; type++) {
    for (const code of [0, 4]) {
      const bytes = fromHex(`0000dead 81c3a5f1 ${'42'.repeat(12)}`);
      bytes.set([type, code]);
      assert.is(hex(icmp.encode(icmp.decode(bytes))), hex(bytes), `type ${type}`);
    }
  }
  const error = (type: number, code = 0): icmp.Icmp => icmp.decode(Uint8Array.from([type, code, 0, 0, 1, 2, 3, 4]));
  assert.equal(error(3), { type: 3, code: 0, checksum: 0, length: 2, unused: 0x010304, payload: NOTHING });
  assert.equal(error(3, 4), {
    type: 3,
    code: 4,
    checksum: 0,
    length: 2,
    nextHopMtu: 0x0304,
    unused: 1,
    payload: NOTHING,
  });
  assert.equal(error(4), { type: 4, code: 0, checksum: 0, unused: 0x01020304, payload: NOTHING });
  assert.equal(error(12), { type: 12, code: 0, checksum: 0, pointer: 1, length: 2, unused: 0x0304, payload: NOTHING });
  assert.equal(error(200), { type: 200, code: 0, checksum: 0, rest: 0x01020304, payload: NOTHING });
});

test('reads the packet that an error quotes, as far as it goes', () => {
  const error = (payload: Uint8Array, type = icmp.UNREACHABLE): icmp.Quoted | null =>
    icmp.quoted({ type, code: 3, payload });
  const quote = fromHex(QUOTE);
  const whole = error(quote);
  assert.is(whole?.header.source, '10.0.0.3');
  assert.is(whole?.header.totalLength, 1500);
  assert.is(whole?.header.payload.length, 8);
  assert.is(whole?.sourcePort, 50000);
  assert.is(whole?.destinationPort, 80);
  assert.is(error(quote.subarray(0, 24))?.destinationPort, 80);
  assert.equal(Object.keys(error(quote.subarray(0, 23))!), ['header']);
  assert.is(error(quote.subarray(0, 19)), null);
  assert.is(error(quote, icmp.ECHO_REQUEST), null);
  quote[7] = 1;
  assert.equal(Object.keys(error(quote)!), ['header'], 'a later fragment has no ports');
  quote[7] = 0;
  quote[9] = 1;
  assert.equal(Object.keys(error(quote)!), ['header'], 'ICMP has no ports');
});

test('finds the extensions of RFC 4884 behind the quoted packet', () => {
  const payload = new Uint8Array(136).fill(0, 0, 128);
  payload.set(fromHex(QUOTE));
  payload.set(fromHex('2000dfff00040000'), 128);
  const value = { type: 11, code: 0, length: 32, payload };
  assert.is(hex(icmp.extensions(value)), '2000dfff00040000');
  assert.is(icmp.quoted(value)?.header.payload.length, 108);
  assert.is(icmp.extensions({ ...value, length: 0 }).length, 0);
  assert.is(icmp.extensions({ ...value, length: 255 }).length, 0);
});

test('rejects truncated packets, and decodeLax reads them', () => {
  const timestamp = fromHex(MESSAGES[1]![1]);
  assert.is(icmp.check(timestamp, 0, 20), 20);
  assert.throws(() => icmp.decode(timestamp, 0, 19), /icmp: truncated at offset 0: needs 20 bytes, has 19/);
  assert.throws(() => icmp.decode(timestamp, 0, 7), /needs 8 bytes, has 7/);
  assert.equal(icmp.decodeLax(timestamp, 0, 10), {
    type: 14,
    code: 0,
    checksum: 0x5a8c,
    identifier: 1,
    sequence: 2,
    payload: fromHex('0000'),
  });
  assert.equal(icmp.decodeLax(timestamp, 0, 5), { type: 14, code: 0, checksum: 0x5a8c, payload: fromHex('00') });
  assert.is(icmp.decodeLax(timestamp, 0, 3), null);
  assert.is(icmp.check(fromHex(MESSAGES[2]![1]), 0, 11), -1);
});

test('getters and setters work in place', () => {
  const bytes = fromHex(`a5${MESSAGES[3]![1]}${QUOTE}`);
  assert.is(icmp.getType(bytes, 1), 3);
  assert.is(icmp.getCode(bytes, 1), 4);
  assert.is(icmp.getChecksum(bytes, 1), 0x5d05);
  assert.is(icmp.getNextHopMtu(bytes, 1), 1450);
  icmp.setNextHopMtu(bytes, 1, 1400);
  icmp.fillChecksum(bytes, 1, bytes.length);
  assert.ok(icmp.verifyChecksum(bytes, 1, bytes.length));
  icmp.setType(bytes, 1, 8);
  icmp.setCode(bytes, 1, 0);
  icmp.setChecksum(bytes, 1, 0xabcd);
  icmp.setIdentifier(bytes, 1, 0x1234);
  icmp.setSequence(bytes, 1, 0x5678);
  assert.is(hex(bytes.subarray(0, 9)), 'a50800abcd12345678');
  assert.is(icmp.getIdentifier(bytes, 1), 0x1234);
  assert.is(icmp.getSequence(bytes, 1), 0x5678);
  const errors = Array.from({ length: 256 }, (_, type) => type).filter((type) => icmp.isError(type));
  assert.equal(errors, [3, 4, 5, 11, 12]);
});

test('rejects values that do not fit', () => {
  const payload = NOTHING;
  assert.throws(() => icmp.encode({ type: 256, code: 0, payload }), /icmp\.type .* 255, not 256/);
  assert.throws(() => icmp.encode({ type: 8, code: 0, sequence: -1, payload }), /icmp\.sequence/);
  assert.throws(() => icmp.encode({ type: 3, code: 4, unused: 256, payload }), /icmp\.unused .* 255/);
  assert.throws(() => icmp.encode({ type: 5, code: 0, gateway: 'x', payload }), /"x" is not an IPv4/);
});

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const ip = u32.map(ipv4ToText);
const common = { code: u8, checksum: u16, payload: fc.uint8Array({ maxLength: 40 }) };
const id = { ...common, identifier: u16, sequence: u16 };
const known = [0, 3, 4, 5, 8, 11, 12, 13, 14, 15, 16, 17, 18];
const values: fc.Arbitrary<icmp.DecodedIcmp> = fc.oneof(
  fc.record({ type: fc.constantFrom(0, 8, 15, 16), ...id }),
  fc.record({ type: fc.constantFrom(13, 14), ...id, originate: u32, receive: u32, transmit: u32 }),
  fc.record({ type: fc.constantFrom(17, 18), ...id, mask: ip }),
  fc.record({ type: fc.constant(3), ...common, code: fc.constant(4), length: u8, nextHopMtu: u16, unused: u8 }),
  fc.record({ type: fc.constantFrom(3, 11), ...common, code: fc.nat(3), length: u8, unused: fc.nat(0xffffff) }),
  fc.record({ type: fc.constant(12), ...common, pointer: u8, length: u8, unused: u16 }),
  fc.record({ type: fc.constant(4), ...common, unused: u32 }),
  fc.record({ type: fc.constant(5), ...common, gateway: ip }),
  fc.record({ type: u8.filter((type) => !known.includes(type)), ...common, rest: u32 }),
);

codecProperties<icmp.Icmp, icmp.DecodedIcmp>({
  name: 'icmp',
  codec: icmp,
  values,
  bytes: fc.uint8Array({ minLength: 4, maxLength: 40 }).map((bytes) => {
    bytes[0] = bytes[0]! % 20;
    return bytes;
  }),
});

test.run();

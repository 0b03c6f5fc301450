import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tcp from '../src/tcp/index.js';
import { optionLists } from './support/arbitrary.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

const V4 = { source: '10.0.0.3', destination: '10.0.0.4' };
const V6 = { source: 'fd00::3', destination: 'fd00::4' };
// tshark 4, between those addresses: 50000 to 80, header length 40, flags 0x1c2 (SYN, ECE, CWR, AE), window 64240,
// checksum 0x5cc7 correct; options MSS 1460, SACK permitted, timestamps 1 and 0, NOP, window scale 7.
const SYN = fromHex('c3500050 fedcba98 80000001 a1c2faf0 5cc70000 020405b4 0402 080a0000000100000000 01 030307 776566');
// tshark 4, over IPv6: 50000 to 80, flags 0x018 (PSH, ACK), checksum 0x14b9 correct.
const OVER_V6 = fromHex('c3500050 00000001 00000000 50180001 14b90000 776566');

const VALUE: tcp.Tcp = {
  sourcePort: 50000,
  destinationPort: 80,
  sequence: 0xfedcba98,
  acknowledgment: 0x80000001,
  reserved: 0,
  flags: tcp.FLAG_SYN | tcp.FLAG_ECE | tcp.FLAG_CWR | tcp.FLAG_AE,
  window: 64240,
  urgentPointer: 0,
  options: [
    { kind: tcp.OPTION_MSS, data: fromHex('05b4') },
    { kind: tcp.OPTION_SACK_PERMITTED, data: new Uint8Array(0) },
    { kind: tcp.OPTION_TIMESTAMPS, data: fromHex('0000000100000000') },
    { kind: 1, data: new Uint8Array(0) },
    { kind: tcp.OPTION_WINDOW_SCALE, data: fromHex('07') },
  ],
  payload: fromHex('776566'),
};

test('reads a segment with options', () => {
  assert.is(tcp.check(SYN, 0, SYN.length), 40);
  assert.is(tcp.getHeaderLength(SYN, 0), 40);
  assert.is(tcp.getSourcePort(SYN, 0), 50000);
  assert.is(tcp.getDestinationPort(SYN, 0), 80);
  assert.is(tcp.getSequence(SYN, 0), 4275878552);
  assert.is(tcp.getAcknowledgment(SYN, 0), 2147483649);
  assert.is(tcp.getFlags(SYN, 0), 0x1c2);
  assert.is(tcp.getWindow(SYN, 0), 64240);
  assert.is(tcp.getChecksum(SYN, 0), 0x5cc7);
  assert.is(tcp.getUrgentPointer(SYN, 0), 0);
  assert.equal(tcp.decode(SYN), { ...VALUE, checksum: 0x5cc7 });
});

test('computes the checksum over IPv4 and IPv6', () => {
  assert.is(hex(tcp.encode(VALUE, V4)), hex(SYN));
  const into = new Uint8Array(SYN.length + 2).fill(0xa5);
  assert.is(tcp.encodeInto(VALUE, into, 1, V4), SYN.length + 1);
  assert.is(hex(into), `a5${hex(SYN)}a5`);
  const value = { sourcePort: 50000, destinationPort: 80, sequence: 1, flags: 0x18, window: 1, payload: VALUE.payload };
  assert.is(hex(tcp.encode(value, V6)), hex(OVER_V6));
  assert.is(tcp.getChecksum(tcp.encode({ ...VALUE, checksum: 7 }, V4), 0), 7);
  assert.throws(() => tcp.encode(VALUE), /tcp requires a checksum, or the addresses/);
});

test('verifies the checksum with addresses or with a partial sum', () => {
  assert.ok(tcp.verifyChecksum(SYN, 0, SYN.length, V4));
  assert.ok(tcp.verifyChecksum(OVER_V6, 0, OVER_V6.length, V6));
  assert.not(tcp.verifyChecksum(SYN, 0, SYN.length, V6));
  assert.ok(tcp.verifyChecksum(SYN, 0, SYN.length, 0x0a00 + 3 + 0x0a00 + 4 + 6 + SYN.length));
  assert.not(tcp.verifyChecksum(SYN, 0, SYN.length, 0));
});

test('keeps the reserved bits next to the flags', () => {
  const bytes = SYN.slice();
  bytes[12] = 0xaf;
  const value = tcp.decode(bytes);
  assert.is(value.reserved, 7);
  assert.is(value.flags, 0x1c2);
  tcp.setFlags(bytes, 0, tcp.FLAG_ACK | tcp.FLAG_FIN);
  assert.is(hex(bytes.subarray(12, 14)), 'ae11');
});

test('rejects malformed headers with reason and offset', () => {
  assert.throws(() => tcp.decode(SYN, 0, 19), /tcp: truncated at offset 0: needs 20 bytes, has 19/);
  assert.throws(() => tcp.decode(SYN, 0, 39), /tcp: truncated at offset 0: needs 40 bytes, has 39/);
  const short = SYN.slice();
  short[12] = 0x4f;
  assert.throws(() => tcp.decode(short), /tcp: malformed at offset 12: header length is 16, less than 20/);
  assert.is(tcp.decodeLax(short, 0, short.length), null);
  assert.is(tcp.decodeLax(SYN, 0, 19), null);
  const cut = tcp.decodeLax(SYN, 0, 23);
  assert.equal(cut?.options, [{ kind: 2, data: fromHex('0405'), malformed: true }]);
  assert.is(cut?.payload.length, 0);
});

test('sets fields in place', () => {
  const bytes = new Uint8Array(22).fill(0xa5);
  tcp.setSourcePort(bytes, 1, 0x0102);
  tcp.setDestinationPort(bytes, 1, 0x0304);
  tcp.setSequence(bytes, 1, 0xf1f2f3f4);
  tcp.setAcknowledgment(bytes, 1, 0x05060708);
  tcp.setFlags(bytes, 1, 0x1ff);
  tcp.setWindow(bytes, 1, 0x090a);
  tcp.setChecksum(bytes, 1, 0x0b0c);
  tcp.setUrgentPointer(bytes, 1, 0x0d0e);
  assert.is(hex(bytes), 'a501020304f1f2f3f405060708a5ff090a0b0c0d0ea5');
});

test('rejects values that do not fit', () => {
  assert.throws(() => tcp.encode({ ...VALUE, flags: 512 }, V4), /tcp\.flags .* 511, not 512/);
  assert.throws(() => tcp.encode({ ...VALUE, sequence: 2 ** 32 }, V4), /tcp\.sequence/);
  const options = [{ kind: 5, data: new Uint8Array(39) }];
  assert.throws(() => tcp.encode({ ...VALUE, options }, V4), /tcp\.options length .* 40, not 44/);
  assert.throws(() => tcp.encode({ ...VALUE, options: [{ kind: 256, data: new Uint8Array(2) }] }, V4), /kind/);
});

codecProperties({
  name: 'tcp',
  codec: tcp,
  values: fc.record({
    sourcePort: fc.nat(0xffff),
    destinationPort: fc.nat(0xffff),
    sequence: fc.nat(0xffff_ffff),
    acknowledgment: fc.nat(0xffff_ffff),
    reserved: fc.nat(7),
    flags: fc.nat(0x1ff),
    window: fc.nat(0xffff),
    checksum: fc.nat(0xffff),
    urgentPointer: fc.nat(0xffff),
    options: optionLists,
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
  bytes: fc.uint8Array({ minLength: 20, maxLength: 80 }),
});

test.run();

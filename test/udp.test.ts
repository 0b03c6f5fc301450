import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as udp from '../src/udp/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

const V4 = { source: '10.0.0.3', destination: '10.0.0.4' };
const V6 = { source: 'fd00::3', destination: 'fd00::4' };
// tshark 4, between those addresses: 40000 to 9, length 13, checksum 0x50aa correct over IPv4, 0x6aa8 over IPv6.
const OVER_V4 = fromHex('9c40 0009 000d 50aa 7765667421');
const OVER_V6 = fromHex('9c40 0009 000d 6aa8 7765667421');
const PAYLOAD = fromHex('7765667421');
const VALUE = { sourcePort: 40000, destinationPort: 9, payload: PAYLOAD };

test('reads a datagram, and ignores bytes behind its length', () => {
  const bytes = fromHex(`${hex(OVER_V4)}0000`);
  assert.is(udp.check(bytes, 0, bytes.length), 8);
  assert.is(udp.getSourcePort(bytes, 0), 40000);
  assert.is(udp.getDestinationPort(bytes, 0), 9);
  assert.is(udp.getLength(bytes, 0), 13);
  assert.is(udp.getChecksum(bytes, 0), 0x50aa);
  assert.equal(udp.decode(bytes), { ...VALUE, length: 13, checksum: 0x50aa });
});

test('computes the checksum over IPv4 and IPv6, and writes 0 without addresses', () => {
  assert.is(hex(udp.encode(VALUE, V4)), hex(OVER_V4));
  assert.is(hex(udp.encode(VALUE, V6)), hex(OVER_V6));
  const into = new Uint8Array(OVER_V4.length + 2).fill(0xa5);
  assert.is(udp.encodeInto(VALUE, into, 1, V4), OVER_V4.length + 1);
  assert.is(hex(into), `a5${hex(OVER_V4)}a5`);
  assert.is(udp.getChecksum(udp.encode(VALUE), 0), 0);
  assert.is(udp.getChecksum(udp.encode({ ...VALUE, checksum: 7 }, V4), 0), 7);
  assert.throws(() => udp.encode(VALUE, { source: '10.0.0.3', destination: 'fd00::4' }), /different address families/);
});

test('verifies the checksum with addresses or with a partial sum', () => {
  assert.ok(udp.verifyChecksum(OVER_V4, 0, V4));
  assert.ok(udp.verifyChecksum(OVER_V6, 0, V6));
  assert.not(udp.verifyChecksum(OVER_V4, 0, V6));
  assert.not(udp.verifyChecksum(OVER_V4, 0, { ...V4, source: '10.0.0.5' }));
  assert.ok(udp.verifyChecksum(OVER_V4, 0, 0x0a00 + 3 + 0x0a00 + 4 + 17 + 13));
  assert.not(udp.verifyChecksum(OVER_V4, 0, 0));
});

test('a checksum of 0 means none: valid over IPv4, and over IPv6 only in tunnels', () => {
  const bytes = udp.encode(VALUE);
  assert.ok(udp.verifyChecksum(bytes, 0, V4));
  assert.ok(udp.verifyChecksum(bytes, 0, 0));
  assert.not(udp.verifyChecksum(bytes, 0, V6));
  assert.ok(udp.verifyChecksum(bytes, 0, V6, true));
  assert.not(udp.verifyChecksum(bytes, 0, V4, false));
});

test('writes a computed checksum of 0 as 0xffff', () => {
  // The words of pseudo-header, header and these two octets add up to 0xffff, worked out by hand: 0x0a00 + 0x0003 +
  // 0x0a00 + 0x0004 + 0x0011 + 0x000a + 0x9c40 + 0x0009 + 0x000a = 0xb075, and 0xffff - 0xb075 = 0x4f8a.
  const bytes = udp.encode({ ...VALUE, payload: fromHex('4f8a') }, V4);
  assert.is(udp.getChecksum(bytes, 0), 0xffff);
  assert.ok(udp.verifyChecksum(bytes, 0, V4));
});

test('rejects malformed headers with reason and offset', () => {
  assert.throws(() => udp.decode(OVER_V4, 0, 7), /udp: truncated at offset 0: needs 8 bytes, has 7/);
  assert.throws(() => udp.decode(OVER_V4, 0, 12), /udp: truncated at offset 0: needs 13 bytes, has 12/);
  const short = OVER_V4.slice();
  udp.setLength(short, 0, 7);
  assert.throws(() => udp.decode(short), /udp: malformed at offset 4: length is 7, less than the header's 8/);
});

test('decodeLax reads as much as there is', () => {
  const bytes = OVER_V4.slice();
  const payload = (end = 13): number | undefined => udp.decodeLax(bytes, 0, end)?.payload.length;
  assert.is(payload(12), 4);
  udp.setLength(bytes, 0, 0);
  assert.is(payload(), 5);
  udp.setLength(bytes, 0, 7);
  assert.is(payload(), 0);
  assert.is(udp.decodeLax(bytes, 0, 7), null);
});

test('setters write in place', () => {
  const bytes = new Uint8Array(10).fill(0xa5);
  udp.writeHeader(bytes, 1, 0xc001, 4789, 58);
  assert.is(hex(bytes), 'a5c00112b5003a0000a5');
  udp.setSourcePort(bytes, 1, 0x0102);
  udp.setDestinationPort(bytes, 1, 0x0304);
  udp.setLength(bytes, 1, 0x0506);
  udp.setChecksum(bytes, 1, 0x0708);
  assert.is(hex(bytes), 'a50102030405060708a5');
});

test('rejects values that do not fit', () => {
  assert.throws(() => udp.encode({ ...VALUE, sourcePort: 65536 }), /udp\.sourcePort .* 65535, not 65536/);
  assert.throws(() => udp.encode({ ...VALUE, payload: new Uint8Array(65528) }), /udp\.length .* not 65536/);
});

codecProperties({
  name: 'udp',
  codec: udp,
  values: fc
    .record({
      sourcePort: fc.nat(0xffff),
      destinationPort: fc.nat(0xffff),
      checksum: fc.nat(0xffff),
      payload: fc.uint8Array({ maxLength: 40 }),
    })
    .map((value) => ({ ...value, length: 8 + value.payload.length })),
  bytes: fc.uint8Array({ minLength: 8, maxLength: 80 }).map((bytes) => {
    bytes[4] = 0;
    return bytes;
  }),
});

test.run();

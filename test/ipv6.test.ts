import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatIpv6, parseIpv6 } from '../src/address/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { finish, sum } from '../src/wire/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// tshark 4: traffic class 0xbb (DSCP EF, ECN CE), flow label 0xabcde, payload length 61, hop limit 63, fd00::3 to
// fd00::4; hop-by-hop, destination options, fragment (offset 0, no more), authentication (24 bytes), then UDP 40000 to
// 9, checksum 0x6aa8 correct.
const HEADER = '6bbabcde003d003f fd000000000000000000000000000003 fd000000000000000000000000000004';
const EXTENSIONS =
  '3c00010400000000 2c00010400000000 3300000012345678 110400000000000100000001000102030405060708090a0b';
const UDP = '9c400009000d6aa87765667421';
const PACKET = fromHex(HEADER + EXTENSIONS + UDP);

test('reads the fixed header, and ignores bytes behind the payload length', () => {
  const bytes = fromHex(`${hex(PACKET)}a5a5`);
  assert.is(ipv6.check(bytes, 0, bytes.length), 40);
  assert.is(ipv6.getTrafficClass(bytes, 0), 0xbb);
  assert.is(ipv6.getDscp(bytes, 0), 46);
  assert.is(ipv6.getEcn(bytes, 0), 3);
  assert.is(ipv6.getFlowLabel(bytes, 0), 0xabcde);
  assert.is(ipv6.getPayloadLength(bytes, 0), 61);
  assert.is(ipv6.getNextHeader(bytes, 0), 0);
  assert.is(ipv6.getHopLimit(bytes, 0), 63);
  assert.equal(
    [0, 1, 2, 3].map((index) => ipv6.getSourceWord(bytes, 0, index)),
    [0xfd000000 | 0, 0, 0, 3],
  );
  assert.equal(
    [0, 1, 2, 3].map((index) => ipv6.getDestinationWord(bytes, 0, index)),
    [0xfd000000 | 0, 0, 0, 4],
  );
  assert.equal(ipv6.decode(bytes), {
    dscp: 46,
    ecn: 3,
    flowLabel: 0xabcde,
    payloadLength: 61,
    nextHeader: 0,
    hopLimit: 63,
    source: 'fd00::3',
    destination: 'fd00::4',
    payload: fromHex(EXTENSIONS + UDP),
  });
});

test('computes the payload length', () => {
  const { payloadLength: _, ...value } = ipv6.decode(PACKET);
  assert.is(hex(ipv6.encode(value)), hex(PACKET));
});

test('finds the upper-layer protocol behind extension headers', () => {
  const found = ipv6.findUpper(PACKET, 0, PACKET.length);
  assert.is(ipv6.upperProtocol(found), 17);
  assert.is(ipv6.upperOffset(found), 88);
  const at = ipv6.upperOffset(found);
  const pseudo = ipv6.pseudoHeaderSum(PACKET, 0, 17, 13);
  assert.is(finish(sum(PACKET, at, PACKET.length, pseudo)), 0, "UDP's checksum, which tshark calls correct");
});

/** A packet with the given payload. */
function packet(nextHeader: number, payload: string): Uint8Array {
  return ipv6.encode({ nextHeader, source: '::1', destination: '::2', payload: fromHex(payload) });
}

function walk(bytes: Uint8Array, end = bytes.length): string {
  const found = ipv6.findUpper(bytes, 0, end);
  return found < 0 ? String(found) : `${ipv6.upperProtocol(found)} at ${ipv6.upperOffset(found)}`;
}

test('stops where no upper-layer header follows', () => {
  assert.is(walk(packet(6, '')), '6 at 40');
  assert.is(walk(packet(ipv6.NEXT_NONE, '')), '59 at 40');
  assert.is(walk(packet(ipv6.NEXT_ESP, '0011')), '50 at 40');
  assert.is(walk(packet(ipv6.NEXT_FRAGMENT, '1100000100000001')), '17 at 48', 'the first fragment');
  assert.is(walk(packet(ipv6.NEXT_FRAGMENT, '1100000900000001')), '44 at 40', 'a later fragment');
  for (const next of [43, 135, 139, 140])
    assert.is(walk(packet(next, '0601000000000000 0000000000000000')), '6 at 56', `next header ${next}`);
});

test('findUpper never reads beyond the end, and always returns', () => {
  for (let end = 40; end < 88; end++) assert.is(walk(PACKET, end), '-1', `cut at ${end}`);
  assert.is(walk(packet(0, '06ff000000000000')), '-1');
  assert.is(walk(packet(0, '0000000000000000'.repeat(15) + '0600000000000000')), '6 at 168');
  assert.is(walk(packet(0, '0000000000000000'.repeat(16) + '0600000000000000')), '-3');
  fc.assert(
    fc.property(
      fc.constantFrom(0, 43, 44, 51, 60, 135),
      fc.array(fc.oneof(fc.constantFrom(0, 43, 44, 51, 60), fc.nat(255)), { maxLength: 60 }),
      fc.nat(9),
      (next, payload, before) => {
        const whole = packet(next, hex(Uint8Array.from(payload)));
        const walked = [0x00, 0xff].map((fill) => {
          const framed = new Uint8Array(before + whole.length + 64).fill(fill);
          framed.set(whole, before);
          return ipv6.findUpper(framed, before, before + whole.length);
        });
        assert.is(walked[0], walked[1], 'reads nothing behind the end');
        assert.ok(walked[0]! < 0 || ipv6.upperOffset(walked[0]!) <= whole.length);
      },
    ),
    { numRuns: 1000 },
  );
});

test('rejects malformed headers with reason and offset', () => {
  assert.throws(() => ipv6.decode(PACKET, 0, 39), /ipv6: truncated at offset 0: needs 40 bytes, has 39/);
  assert.throws(() => ipv6.decode(PACKET, 0, 100), /ipv6: truncated at offset 0: needs 101 bytes, has 100/);
  const other = PACKET.slice();
  other[0] = 0x4b;
  assert.throws(() => ipv6.decode(other), /ipv6: malformed at offset 0: version is 4, not 6/);
  assert.is(ipv6.decodeLax(other, 0, other.length), null);
  assert.is(ipv6.decodeLax(PACKET, 0, 39), null);
  assert.is(ipv6.decodeLax(PACKET, 0, 100)?.payload.length, 60);
});

test('only decodeLax reads a jumbogram; both decoders read a packet without payload', () => {
  const jumbo = PACKET.slice();
  ipv6.setPayloadLength(jumbo, 0, 0);
  assert.is(ipv6.check(jumbo, 0, jumbo.length), -3);
  assert.throws(() => ipv6.decode(jumbo), /ipv6: unsupported at offset 4: it is a jumbogram/);
  assert.is(ipv6.decodeLax(jumbo, 0, jumbo.length)?.payload.length, 61);
  assert.is(walk(jumbo), '17 at 88');
  ipv6.setNextHeader(jumbo, 0, ipv6.NEXT_NONE);
  assert.is(ipv6.decode(jumbo).payload.length, 0);
});

test('sets each field in place without changing the others', () => {
  const bytes = PACKET.slice(0, 40);
  ipv6.setEcn(bytes, 0, ipv6.getEcn(bytes, 0) & 2);
  assert.is(hex(bytes.subarray(0, 4)), '6baabcde');
  ipv6.setTrafficClass(bytes, 0, 0x15);
  assert.is(hex(bytes.subarray(0, 4)), '615abcde');
  ipv6.setFlowLabel(bytes, 0, 0xfffff);
  assert.is(hex(bytes.subarray(0, 4)), '615fffff');
  ipv6.setPayloadLength(bytes, 0, 0x0102);
  ipv6.setNextHeader(bytes, 0, 0x03);
  ipv6.setHopLimit(bytes, 0, 0x04);
  ipv6.setSource(bytes, 0, parseIpv6('2001:db8::1'));
  ipv6.setDestination(bytes, 0, parseIpv6('2001:db8::2'));
  assert.is(hex(bytes), '615fffff0102030420010db800000000000000000000000120010db8000000000000000000000002');
});

test('rejects values that do not fit', () => {
  const value = { nextHeader: 17, source: '::1', destination: '::2', payload: new Uint8Array(0) };
  assert.throws(() => ipv6.encode({ ...value, flowLabel: 1 << 20 }), /ipv6\.flowLabel .* 1048575, not 1048576/);
  assert.throws(() => ipv6.encode({ ...value, payload: new Uint8Array(65536) }), /ipv6\.payloadLength .* not 65536/);
  assert.throws(() => ipv6.encode({ ...value, source: '10.0.0.3' }), /"10\.0\.0\.3" is not an IPv6/);
});

const address = fc
  .array(fc.oneof(fc.constant(0), fc.nat(255)), { minLength: 16, maxLength: 16 })
  .map((octets) => formatIpv6(Uint8Array.from(octets)));

codecProperties({
  name: 'ipv6',
  codec: ipv6,
  values: fc
    .record({
      dscp: fc.nat(63),
      ecn: fc.nat(3),
      flowLabel: fc.nat(0xfffff),
      nextHeader: fc.nat(255),
      hopLimit: fc.nat(255),
      source: address,
      destination: address,
      payload: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    })
    .map((value) => ({ ...value, payloadLength: value.payload.length })),
  bytes: fc.uint8Array({ minLength: 40, maxLength: 100 }).map((bytes) => {
    bytes[0] = 0x60 | (bytes[0]! & 15);
    bytes[4] = 0;
    bytes[5]! &= 63;
    return bytes;
  }),
});

test.run();

import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText } from '../src/address/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import { optionLists } from './support/arbitrary.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// tshark 4: header length 28, DSCP EF (46), ECN ECT(1), total length 41, identification 0x1234, don't fragment, TTL 63,
// UDP, header checksum 0x7dcc correct, 10.0.0.3 to 10.0.0.4, options Router Alert, NOP, EOL.
const PACKET = fromHex(
  '47b90029 12344000 3f117dcc 0a000003 0a000004 94040000 01000000 9c400009000d50aa7765667421 a5a5a5',
);
// The example of Wikipedia, "Internet checksum": checksum b861.
const TEXTBOOK = fromHex('45000073 00004000 4011b861 c0a80001 c0a800c7');

const ADDRESSES = { source: '10.0.0.3', destination: '10.0.0.4' };
const NOTHING = new Uint8Array(0);

/** RFC 1071 literally: word by word, with the carry added back at once. */
function naive(header: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < header.length; i += 2) {
    total += header[i]! * 256 + header[i + 1]!;
    if (total > 0xffff) total -= 0xffff;
  }
  return 0xffff - total;
}

test('reads a packet with options, and ignores bytes behind the total length', () => {
  assert.is(ipv4.check(PACKET, 0, PACKET.length), 28);
  assert.is(ipv4.getHeaderLength(PACKET, 0), 28);
  assert.is(ipv4.getTos(PACKET, 0), 0xb9);
  assert.is(ipv4.getDscp(PACKET, 0), 46);
  assert.is(ipv4.getEcn(PACKET, 0), ipv4.ECN_ECT1);
  assert.is(ipv4.getTotalLength(PACKET, 0), 41);
  assert.is(ipv4.getIdentification(PACKET, 0), 0x1234);
  assert.is(ipv4.getDontFragment(PACKET, 0), true);
  assert.is(ipv4.getMoreFragments(PACKET, 0), false);
  assert.is(ipv4.getFragmentOffset(PACKET, 0), 0);
  assert.is(ipv4.isFragment(PACKET, 0), false);
  assert.is(ipv4.getTtl(PACKET, 0), 63);
  assert.is(ipv4.getProtocol(PACKET, 0), ipv4.PROTOCOL_UDP);
  assert.is(ipv4.getChecksum(PACKET, 0), 0x7dcc);
  assert.is(ipv4.getSource(PACKET, 0), 0x0a00_0003);
  assert.is(ipv4.getDestination(PACKET, 0), 0x0a00_0004);
  assert.ok(ipv4.verifyChecksum(PACKET, 0));
  assert.equal(ipv4.decode(PACKET), {
    dscp: 46,
    ecn: 1,
    totalLength: 41,
    identification: 0x1234,
    reservedFlag: false,
    dontFragment: true,
    moreFragments: false,
    fragmentOffset: 0,
    ttl: 63,
    protocol: 17,
    checksum: 0x7dcc,
    ...ADDRESSES,
    options: [
      { kind: 148, data: fromHex('0000') },
      { kind: 1, data: NOTHING },
      { kind: 0, data: fromHex('0000') },
    ],
    payload: fromHex('9c400009000d50aa7765667421'),
  });
});

test('computes lengths and the checksum if the value omits them', () => {
  const bytes = ipv4.encode({
    dontFragment: true,
    protocol: 17,
    source: '192.168.0.1',
    destination: '192.168.0.199',
    payload: new Uint8Array(0x73 - 20),
  });
  assert.is(hex(bytes.subarray(0, 20)), hex(TEXTBOOK));
});

test('writes lengths and the checksum if the value has them', () => {
  const bytes = ipv4.encode({ protocol: 1, ...ADDRESSES, totalLength: 7, checksum: 0xbeef, payload: NOTHING });
  assert.is(ipv4.getTotalLength(bytes, 0), 7);
  assert.is(ipv4.getChecksum(bytes, 0), 0xbeef);
  assert.not(ipv4.verifyChecksum(bytes, 0));
});

test('pads options to whole words', () => {
  const options = [
    { kind: 148, data: new Uint8Array(2) },
    { kind: 1, data: NOTHING },
  ];
  const bytes = ipv4.encode({ protocol: 1, ...ADDRESSES, options, payload: NOTHING });
  assert.is(hex(bytes.subarray(20)), '9404000001000000');
  assert.equal(ipv4.decode(bytes).options, [...options, { kind: 0, data: new Uint8Array(2) }]);
});

test('keeps malformed options', () => {
  for (const area of ['07ff0102', '0701aaaa', '01010107', '00ffffff', '07040102 07030402']) {
    const bytes = fromHex(
      `4${(5 + Math.ceil(area.replace(' ', '').length / 8)).toString(16)}000000${'00'.repeat(16)}${area}`,
    );
    ipv4.setTotalLength(bytes, 0, bytes.length);
    assert.is(hex(ipv4.encode(ipv4.decode(bytes))), hex(bytes), area);
  }
  const bytes = fromHex(`46000018${'00'.repeat(16)}07ff0102`);
  assert.equal(ipv4.decode(bytes).options, [{ kind: 7, data: fromHex('ff0102'), malformed: true }]);
});

test('reads the flags of fragments, and the offset in bytes', () => {
  const bytes = TEXTBOOK.slice();
  bytes.set(fromHex('e001'), 6);
  ipv4.setTotalLength(bytes, 0, 20);
  const value = ipv4.decode(bytes);
  assert.is(`${value.reservedFlag} ${value.dontFragment} ${value.moreFragments}`, 'true true true');
  assert.is(value.fragmentOffset, 8);
  assert.is(ipv4.getFragmentOffset(bytes, 0), 8);
  assert.ok(ipv4.isFragment(bytes, 0));
  bytes.set(fromHex('2000'), 6);
  assert.ok(ipv4.isFragment(bytes, 0), 'the first fragment');
  bytes.set(fromHex('1fff'), 6);
  assert.ok(ipv4.isFragment(bytes, 0), 'the last fragment');
  assert.is(ipv4.getFragmentOffset(bytes, 0), 65528);
  bytes.set(fromHex('c000'), 6);
  assert.not(ipv4.isFragment(bytes, 0));
});

test('rejects malformed headers with reason and offset', () => {
  const refusal = (change: (bytes: Uint8Array) => void, end = 41): string => {
    const bytes = PACKET.slice();
    change(bytes);
    try {
      ipv4.decode(bytes, 0, end);
    } catch (error) {
      return (error as Error).message;
    }
    return 'accepted';
  };
  assert.is(
    refusal(() => undefined),
    'accepted',
  );
  assert.is(
    refusal(() => undefined, 19),
    'ipv4: truncated at offset 0: needs 20 bytes, has 19 (limited by buffer)',
  );
  assert.is(
    refusal(() => undefined, 27),
    'ipv4: truncated at offset 0: needs 28 bytes, has 27 (limited by buffer)',
  );
  assert.is(
    refusal(() => undefined, 40),
    'ipv4: truncated at offset 0: needs 41 bytes, has 40 (limited by buffer)',
  );
  assert.is(
    refusal((bytes) => (bytes[0] = 0x65)),
    'ipv4: malformed at offset 0: version is 6, not 4',
  );
  assert.is(
    refusal((bytes) => (bytes[0] = 0x44)),
    'ipv4: malformed at offset 0: header length is 16, less than 20',
  );
  assert.is(
    refusal((bytes) => (bytes[3] = 27)),
    'ipv4: malformed at offset 2: total length 27 < header 28',
  );
});

test('decodeLax reads as much as there is', () => {
  const bytes = PACKET.slice();
  const payload = (end: number): number | undefined => ipv4.decodeLax(bytes, 0, end)?.payload.length;
  assert.is(payload(44), 13);
  assert.is(payload(38), 10, 'total length behind the end');
  ipv4.setTotalLength(bytes, 0, 0);
  assert.is(payload(44), 16, 'total length 0');
  assert.is(ipv4.check(bytes, 0, 44), -2, 'check rejects total length 0');
  ipv4.setTotalLength(bytes, 0, 27);
  assert.is(payload(44), 0, 'total length within the header');
  assert.is(payload(26), 0, 'options cut');
  assert.equal(ipv4.decodeLax(bytes, 0, 22)?.options, [{ kind: 148, data: fromHex('04'), malformed: true }]);
  assert.is(ipv4.decodeLax(bytes, 0, 19), null);
  bytes[0] = 0x44;
  assert.is(ipv4.decodeLax(bytes, 0, 44), null);
  bytes[0] = 0x55;
  assert.is(ipv4.decodeLax(bytes, 0, 44), null);
});

test('sets fields in place', () => {
  const bytes = TEXTBOOK.slice();
  ipv4.setTos(bytes, 0, 0xb9);
  ipv4.setTotalLength(bytes, 0, 0xfedc);
  ipv4.setIdentification(bytes, 0, 0xba98);
  ipv4.setDontFragment(bytes, 0, false);
  ipv4.setTtl(bytes, 0, 200);
  ipv4.setProtocol(bytes, 0, 6);
  ipv4.setSource(bytes, 0, 0xf0e0_d0c0);
  ipv4.setDestination(bytes, 0, 0x0102_0304);
  ipv4.setChecksum(bytes, 0, 0xabcd);
  assert.is(hex(bytes), '45b9fedcba980000c806abcdf0e0d0c001020304');
  ipv4.setDontFragment(bytes, 0, true);
  assert.ok(ipv4.getDontFragment(bytes, 0));
  ipv4.fillChecksum(bytes, 0);
  assert.is(naive(bytes), 0);
});

test('decrementTtl and setEcn keep a correct checksum correct and a wrong one wrong', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 18, maxLength: 18 }), fc.nat(3), fc.boolean(), (rest, ecn, damaged) => {
      const bytes = Uint8Array.from([0x45, ...rest, 7]);
      if (bytes[8] === 0) bytes[8] = 1;
      const tos = bytes[1]!;
      const ttl = bytes[8]!;
      bytes.set([0, 0], 10);
      const right = naive(bytes);
      ipv4.setChecksum(bytes, 0, damaged ? (right + 1) & 0xffff : right);
      assert.is(ipv4.decrementTtl(bytes, 0), ttl - 1);
      ipv4.setEcn(bytes, 0, ecn);
      assert.is(bytes[8], ttl - 1);
      assert.is(bytes[1], (tos & 0xfc) | ecn);
      assert.is(ipv4.verifyChecksum(bytes, 0), naive(bytes) === 0);
      assert.is(ipv4.verifyChecksum(bytes, 0), !damaged);
    }),
  );
});

test('sums the pseudo-header of RFC 768', () => {
  const pseudo = fromHex('0a000003 0a000004 0011 000d');
  assert.is(~ipv4.pseudoHeaderSum(PACKET, 0, 17, 13) & 0xffff, naive(pseudo));
});

test('rejects values that do not fit', () => {
  const value = { protocol: 17, ...ADDRESSES, payload: NOTHING };
  assert.throws(() => ipv4.encode({ ...value, payload: new Uint8Array(65516) }), /ipv4\.totalLength .* not 65536/);
  assert.throws(() => ipv4.encode({ ...value, fragmentOffset: 7 }), /multiple of 8, not 7/);
  assert.throws(() => ipv4.encode({ ...value, fragmentOffset: 65536 }), /ipv4\.fragmentOffset .* 65528/);
  assert.throws(() => ipv4.encode({ ...value, ttl: 256 }), /ipv4\.ttl/);
  assert.throws(() => ipv4.encode({ ...value, ecn: 4 }), /ipv4\.ecn/);
  assert.throws(() => ipv4.encode({ ...value, source: '10.0.0.256' }), /"10\.0\.0\.256" is not an IPv4/);
  const long = { kind: 7, data: new Uint8Array(39) };
  assert.throws(() => ipv4.encode({ ...value, options: [long] }), /ipv4\.options length .* 40, not 44/);
});

const ip = fc.nat(0xffff_ffff).map(ipv4ToText);
codecProperties({
  name: 'ipv4',
  codec: ipv4,
  values: fc
    .record({
      dscp: fc.nat(63),
      ecn: fc.nat(3),
      totalLength: fc.constant(0),
      identification: fc.nat(0xffff),
      reservedFlag: fc.boolean(),
      dontFragment: fc.boolean(),
      moreFragments: fc.boolean(),
      fragmentOffset: fc.nat(0x1fff).map((units) => units * 8),
      ttl: fc.nat(255),
      protocol: fc.nat(255),
      checksum: fc.nat(0xffff),
      source: ip,
      destination: ip,
      options: optionLists,
      payload: fc.uint8Array({ maxLength: 40 }),
    })
    .map((value) => {
      const { totalLength: _, ...computed } = value;
      return { ...value, totalLength: ipv4.encode(computed).length };
    }),
  bytes: fc.uint8Array({ minLength: 20, maxLength: 80 }).map((bytes) => {
    bytes[0] = 0x40 | (5 + (bytes[0]! % 11));
    bytes[2] = 0;
    return bytes;
  }),
});

test.run();

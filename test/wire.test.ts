import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as wire from '../src/wire/index.js';
import { optionLists } from './support/arbitrary.js';
import { fromHex, hex } from './support/hex.js';

/** RFC 1071 literally: big-endian words in exact arithmetic, carries added back at the end. */
function naive(bytes: Uint8Array, start = 0n): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) total += BigInt(bytes[i]! * 256 + (bytes[i + 1] ?? 0));
  while (total > 0xffffn) total = (total & 0xffffn) + (total >> 16n);
  return Number(total) ^ 0xffff;
}

/** Reproducible pseudo-random bytes: a linear congruential generator (Numerical Recipes). */
function noise(length: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
}

test('numbers of 16, 24 and 32 bits agree with DataView', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 12 }), fc.nat(8), (bytes, offset) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      assert.is(wire.getU16(bytes, offset), view.getUint16(offset));
      assert.is(wire.getU24(bytes, offset), view.getUint32(offset) >>> 8);
      assert.is(wire.getU32(bytes, offset), view.getUint32(offset));
      assert.is(wire.getI32(bytes, offset), view.getInt32(offset));
      const written = new Uint8Array(12);
      const expected = new Uint8Array(12);
      const into = new DataView(expected.buffer);
      wire.setU32(written, offset, view.getUint32(offset));
      into.setUint32(offset, view.getUint32(offset));
      assert.is(hex(written), hex(expected));
      wire.setU32(written, offset, view.getInt32(offset));
      assert.is(hex(written), hex(expected));
      wire.setU24(written, offset, 0xabcdef);
      into.setUint16(offset, 0xabcd);
      into.setUint8(offset + 2, 0xef);
      wire.setU16(written, offset + 2, 0x1234);
      into.setUint16(offset + 2, 0x1234);
      assert.is(hex(written), hex(expected));
    }),
  );
});

test('the example of RFC 1071', () => {
  const bytes = fromHex('0001 f203 f4f5 f6f7');
  assert.is(wire.sum(bytes, 0, 8), 0x2ddf0);
  assert.is(wire.fold(0x2ddf0), 0xddf2);
  assert.is(wire.checksum(bytes), 0x220d);
});

test('agrees with a naive checksum for every length from 0 to 9001, at even and odd offsets', () => {
  const bytes = noise(9003);
  // The naive sum is extended by two octets at a time, and finished for each length.
  for (const offset of [0, 1]) {
    let words = 0n;
    for (let length = 0; length <= 9001; length++) {
      const end = offset + length;
      if (length % 2 === 0 && length > 0) words += BigInt(bytes[end - 2]! * 256 + bytes[end - 1]!);
      const expected = naive(length % 2 === 0 ? new Uint8Array(0) : bytes.subarray(end - 1, end), words);
      if (wire.checksum(bytes, offset, end) !== expected) assert.unreachable(`length ${length} at offset ${offset}`);
    }
  }
});

test('sums of parts of even length add up to the sum of the whole', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(100), (bytes, half) => {
      const cut = Math.min(half * 2, bytes.length & ~1);
      assert.is(wire.finish(wire.sum(bytes, cut, bytes.length, wire.sum(bytes, 0, cut))), naive(bytes));
    }),
  );
});

test('the sum of the longest packet of ones does not overflow', () => {
  const bytes = new Uint8Array(0x20000).fill(0xff);
  assert.is(wire.sum(bytes, 0, bytes.length, 0xffff), 0xffff * 0x10001);
  assert.is(wire.checksum(bytes), 0);
});

test('updates the checksum as in the example of RFC 1624, where RFC 1141 is wrong', () => {
  assert.is(wire.update(0xdd2f, 0x5555, 0x3285), 0x0000);
});

test('an updated checksum equals a recomputed one', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 20, maxLength: 20 }).filter((bytes) => bytes.some((octet) => octet !== 0)),
      fc.nat(9),
      fc.integer({ min: 1, max: 0xffff }),
      (bytes, word, after) => {
        const before = wire.getU16(bytes, word * 2);
        const checksum = naive(bytes);
        wire.setU16(bytes, word * 2, after);
        assert.is(wire.update(checksum, before, after), naive(bytes));
      },
    ),
  );
});

test('options round-trip, and malformed ones are kept byte for byte', () => {
  fc.assert(
    fc.property(optionLists, (options) => {
      const bytes = new Uint8Array(wire.optionsLength(options)).fill(0xa5);
      assert.is(wire.writeOptions('options', options, bytes, 0), bytes.length);
      assert.equal(wire.readOptions(bytes, 0, bytes.length), options);
    }),
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(8), fc.nat(255)), { maxLength: 10 }), (octets) => {
      const area = new Uint8Array((octets.length + 3) & ~3);
      area.set(octets);
      const options = wire.readOptions(area, 0, area.length);
      const bytes = new Uint8Array(wire.optionsLength(options));
      wire.writeOptions('options', options, bytes, 0);
      assert.is(hex(bytes), hex(area));
    }),
    { numRuns: 1000 },
  );
});

test('options are padded with zeros in a dirty buffer', () => {
  const bytes = new Uint8Array(6).fill(0xa5);
  assert.is(wire.writeOptions('options', [{ kind: 1, data: new Uint8Array(0) }], bytes, 1), 5);
  assert.is(hex(bytes), 'a501000000a5');
});

test('errors give the length needed and the limit', () => {
  const error = wire.truncated('udp', 34, 100, 64, 'ipv4.totalLength');
  assert.is(error.message, 'udp: truncated at offset 34: needs 100 bytes, has 30 (limited by ipv4.totalLength)');
  assert.is(error.name, 'WireError');
  assert.is(wire.truncated('udp', 34, 8, 30).available, 0);
  assert.is(wire.malformed('ipv4', 3, 'why').reason, 'malformed');
  assert.is(wire.unsupported('ipv4', 3, 'why').message, 'ipv4: unsupported at offset 3: why');
});

test('uint and room reject values that do not fit', () => {
  assert.is(wire.uint('f', 255, 255), 255);
  for (const value of [-1, 256, 1.5, NaN, Infinity, '1' as unknown as number])
    assert.throws(() => wire.uint('f', value, 255), /^f must be an integer from 0 to 255, not /);
  assert.is(wire.room('p', new Uint8Array(9), 1, 8), 9);
  assert.throws(() => wire.room('p', new Uint8Array(9), 2, 8), /p needs 8 bytes at offset 2 of a buffer of 9/);
  assert.throws(() => wire.room('p', new Uint8Array(9), -1, 8), RangeError);
  assert.throws(() => wire.room('p', new Uint8Array(9), NaN, 8), RangeError);
});

test.run();

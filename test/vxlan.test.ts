import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as vxlan from '../src/vxlan/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// RFC 7348, section 5, by hand: flags 08, 24 reserved bits, VNI 4097, 8 reserved bits.
const HEADER = fromHex('08 000000 001001 00');

test('reads the header of RFC 7348', () => {
  const bytes = fromHex('08000000 00100100 aabb');
  assert.is(vxlan.check(bytes, 0, bytes.length), 8);
  assert.is(vxlan.getVni(bytes, 0), 4097);
  assert.equal(vxlan.decode(bytes), {
    flags: 8,
    vni: 4097,
    reserved1: 0,
    reserved2: 0,
    payload: fromHex('aabb'),
  });
});

test('writes the same header with encode, encodeInto and writeHeader', () => {
  assert.is(hex(vxlan.encode({ vni: 4097, payload: new Uint8Array(0) })), hex(HEADER));
  const written = new Uint8Array(8).fill(0xa5);
  vxlan.writeHeader(written, 0, 4097);
  assert.is(hex(written), hex(HEADER));
  const into = new Uint8Array(10).fill(0xa5);
  assert.is(vxlan.encodeInto({ vni: 4097, payload: new Uint8Array(0) }, into, 1), 9);
  assert.is(hex(into), `a5${hex(HEADER)}a5`);
});

test('rejects a header without flag I, with the offset', () => {
  const bytes = fromHex('ffff 00000000 00100100');
  assert.is(vxlan.check(bytes, 2, 10), -2);
  assert.throws(
    () => vxlan.decode(bytes, 2),
    (error: Error) => error.message === 'vxlan: malformed at offset 2: flag I is not set, so there is no VNI',
  );
  assert.is(vxlan.decodeLax(bytes, 2, 10)?.vni, 4097);
});

test('rejects seven octets, with the number needed', () => {
  assert.throws(
    () => vxlan.decode(HEADER, 0, 7),
    (error: { needed: number; available: number; reason: string }) =>
      error.reason === 'truncated' && error.needed === 8 && error.available === 7,
  );
});

test('rejects values that do not fit', () => {
  const payload = new Uint8Array(0);
  assert.throws(
    () => vxlan.encode({ vni: 1 << 24, payload }),
    /vxlan\.vni must be an integer from 0 to 16777215, not 16777216/,
  );
  assert.throws(() => vxlan.encode({ vni: 1.5, payload }), RangeError);
  assert.throws(
    () => vxlan.encodeInto({ vni: 1, payload }, new Uint8Array(9), 2),
    /vxlan needs 8 bytes at offset 2 of a buffer of 9/,
  );
});

test('reads and writes Group Policy and GPE', () => {
  const grouped = fromHex('88 48 1234 001001 00');
  assert.equal(vxlan.groupPolicy(vxlan.decode(grouped)), { group: 0x1234, dontLearn: true, applied: true });
  assert.is(vxlan.getGroup(grouped, 0), 0x1234);
  assert.ok(vxlan.getDontLearn(grouped, 0));
  assert.not(vxlan.getDontLearn(HEADER, 0));
  assert.is(vxlan.groupPolicy(vxlan.decode(HEADER)), undefined);
  const gpe = HEADER.slice();
  vxlan.setNextProtocol(gpe, 0, 4);
  assert.is(vxlan.nextProtocol(vxlan.decode(gpe)), 4);
  assert.is(vxlan.getNextProtocol(gpe, 0), 4);
  assert.is(vxlan.nextProtocol(vxlan.decode(HEADER)), undefined);
  const set = HEADER.slice();
  vxlan.setGroup(set, 0, 0x1234);
  vxlan.setFlags(set, 0, vxlan.getFlags(set, 0) | vxlan.FLAG_NEXT_PROTOCOL);
  vxlan.setVni(set, 0, vxlan.MAX_VNI);
  assert.is(hex(set), '8c001234ffffff00');
});

codecProperties({
  name: 'vxlan',
  codec: vxlan,
  values: fc.record({
    flags: fc.nat(255).map((flags) => flags | vxlan.FLAG_VNI),
    vni: fc.nat(vxlan.MAX_VNI),
    reserved1: fc.nat(0xffffff),
    reserved2: fc.nat(255),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
});

test.run();

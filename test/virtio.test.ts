import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as virtio from '../src/virtio/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// struct virtio_net_hdr of <linux/virtio_net.h> on x86-64, by hand: NEEDS_CSUM, TCPv4, hdr_len 66, gso_size 1398,
// csum_start 34, csum_offset 16.
const HEADER = fromHex('01 01 4200 7605 2200 1000');

test('reads the header of a super-frame', () => {
  assert.is(virtio.check(HEADER, 0, 10), 10);
  assert.equal(virtio.decode(fromHex(`${hex(HEADER)}aabb`)), {
    flags: virtio.FLAG_NEEDS_CSUM,
    gsoType: virtio.GSO_TCPV4,
    headerLength: 66,
    gsoSize: 1398,
    checksumStart: 34,
    checksumOffset: 16,
    payload: fromHex('aabb'),
  });
});

test('writes the same header', () => {
  const bytes = new Uint8Array(12).fill(0xa5);
  virtio.writeHeader(bytes, 1, virtio.GSO_TCPV4, 66, 1398, 34, 16);
  assert.is(hex(bytes), `a5${hex(HEADER)}a5`);
  virtio.writePlain(bytes, 1);
  assert.is(hex(bytes), `a5${'00'.repeat(10)}a5`);
  assert.is(hex(virtio.encode({ payload: fromHex('aa') })), `${'00'.repeat(10)}aa`);
});

test('every field has the offset of the kernel’s struct', () => {
  const bytes = new Uint8Array(10);
  virtio.setFlags(bytes, 0, 0x01);
  virtio.setGsoType(bytes, 0, 0x02);
  virtio.setHeaderLength(bytes, 0, 0x0403);
  virtio.setGsoSize(bytes, 0, 0x0605);
  virtio.setChecksumStart(bytes, 0, 0x0807);
  virtio.setChecksumOffset(bytes, 0, 0x0a09);
  assert.is(hex(bytes), '0102030405060708090a');
});

test('rejects nine octets, and values that do not fit', () => {
  assert.is(virtio.check(HEADER, 0, 9), -1);
  assert.throws(
    () => virtio.decode(HEADER, 0, 9),
    (error: { needed: number; available: number }) => error.needed === 10 && error.available === 9,
  );
  assert.throws(
    () => virtio.encode({ gsoSize: 65536, payload: new Uint8Array(0) }),
    /virtio\.gsoSize must be an integer from 0 to 65535, not 65536/,
  );
});

codecProperties({
  name: 'virtio',
  codec: virtio,
  values: fc.record({
    flags: fc.nat(255),
    gsoType: fc.nat(255),
    headerLength: fc.nat(65535),
    gsoSize: fc.nat(65535),
    checksumStart: fc.nat(65535),
    checksumOffset: fc.nat(65535),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
});

test.run();

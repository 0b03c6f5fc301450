import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { macToText } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

const { vlan } = ethernet;

// tshark 4: Dst 02:42:0a:00:00:02, Src 02:42:0a:00:00:03, Type 802.1Q (0x8100); PRI 5, DEI 1, ID 100, Type IPv4
// (0x0800).
const TAGGED = fromHex('02420a000002 02420a000003 8100 b064 0800 4500');
// tshark 4: IEEE 802.3 Ethernet, Dst 01:80:c2:00:00:00, Length 8; here with two octets of padding.
const LENGTH_FRAME = fromHex('0180c2000000 02420a000003 0008 4242030000000000 0000');

test('reads an Ethernet II frame', () => {
  assert.is(ethernet.check(TAGGED, 0, TAGGED.length), 14);
  assert.is(ethernet.getDestination(TAGGED, 0), 0x0242_0a00_0002);
  assert.is(ethernet.getSource(TAGGED, 0), 0x0242_0a00_0003);
  assert.is(ethernet.getEtherType(TAGGED, 0), ethernet.TYPE_VLAN);
  assert.ok(ethernet.isVlanType(ethernet.getEtherType(TAGGED, 0)));
  assert.equal(ethernet.decode(TAGGED), {
    destination: '02:42:0a:00:00:02',
    source: '02:42:0a:00:00:03',
    etherType: 0x8100,
    payload: fromHex('b06408004500'),
  });
});

test('limits the payload of an IEEE 802.3 frame to its length', () => {
  const value = ethernet.decode(LENGTH_FRAME);
  assert.equal(value, {
    destination: '01:80:c2:00:00:00',
    source: '02:42:0a:00:00:03',
    length: 8,
    payload: fromHex('4242030000000000'),
  });
  assert.is(hex(ethernet.encode(value)), hex(LENGTH_FRAME.subarray(0, 22)));
  const { length: _, ...computed } = value;
  assert.is(hex(ethernet.encode(computed)), hex(LENGTH_FRAME.subarray(0, 22)));
});

test('rejects less payload than the length field, except with decodeLax', () => {
  assert.is(ethernet.check(LENGTH_FRAME, 0, 21), -1);
  assert.throws(
    () => ethernet.decode(LENGTH_FRAME, 0, 21),
    (error: { needed: number; available: number }) => error.needed === 22 && error.available === 21,
  );
  assert.is(ethernet.decodeLax(LENGTH_FRAME, 0, 21)?.payload?.length, 7);
  assert.is(ethernet.decodeLax(LENGTH_FRAME, 0, 13), null);
});

test('reads values up to 1500 as a length, and 1536 and more as a type', () => {
  const frame = new Uint8Array(14 + 1500);
  ethernet.setEtherType(frame, 0, 1500);
  assert.is(ethernet.decode(frame).length, 1500);
  ethernet.setEtherType(frame, 0, 1501); // undefined by IEEE 802.3: neither
  assert.is(ethernet.decode(frame).etherType, 1501);
  assert.is(ethernet.decode(frame).length, undefined);
  ethernet.setEtherType(frame, 0, 0);
  assert.equal(ethernet.decode(frame).etherType, 0);
  assert.is(ethernet.decode(frame).payload.length, 1500);
  ethernet.setEtherType(frame, 0, 1);
  assert.is(ethernet.decode(frame).payload.length, 1);
});

test('setters write in place', () => {
  const frame = new Uint8Array(16).fill(0xa5);
  ethernet.writeHeader(frame, 1, 0xffff_ffff_ffff, 0x0242_0a00_0003, ethernet.TYPE_ARP);
  assert.is(hex(frame), 'a5ffffffffffff02420a0000030806a5');
  ethernet.setDestination(frame, 1, 0x0242_0a00_0002);
  ethernet.setSource(frame, 1, 0x8000_0000_0001);
  ethernet.setEtherType(frame, 1, ethernet.TYPE_IPV6);
  assert.is(hex(frame), 'a502420a00000280000000000186dda5');
});

test('rejects values that do not fit', () => {
  const frame = { destination: '02:42:0a:00:00:02', source: '02:42:0a:00:00:03' };
  const payload = new Uint8Array(1501);
  assert.throws(() => ethernet.encode({ ...frame, payload }), /ethernet\.length .* 1500, not 1501/);
  assert.throws(() => ethernet.encode({ ...frame, etherType: 1500, payload }), /ethernet\.etherType .* above 1500/);
  assert.throws(() => ethernet.encode({ ...frame, length: 0, payload }), /ethernet\.length .* 1500, not 0/);
  assert.throws(() => ethernet.encode({ ...frame, etherType: 65536, payload }), /ethernet\.etherType .* 65535/);
  assert.throws(() => ethernet.encode({ ...frame, etherType: 2048, length: 9, payload }), /not both/);
  assert.throws(() => ethernet.encode({ ...frame, source: 'here', etherType: 2048, payload }), /"here" is not a MAC/);
  assert.throws(() => vlan.encode({ id: 4096, etherType: 2048, payload }), /vlan\.id .* 4095, not 4096/);
  assert.throws(() => vlan.encode({ priority: 8, id: 1, etherType: 2048, payload }), /vlan\.priority/);
});

test('reads and writes a VLAN tag', () => {
  const at = ethernet.HEADER_LENGTH;
  assert.is(vlan.check(TAGGED, at, TAGGED.length), 4);
  assert.is(vlan.getPriority(TAGGED, at), 5);
  assert.is(vlan.getDropEligible(TAGGED, at), true);
  assert.is(vlan.getId(TAGGED, at), 100);
  assert.is(vlan.getEtherType(TAGGED, at), ethernet.TYPE_IPV4);
  assert.equal(vlan.decode(TAGGED, at), {
    priority: 5,
    dropEligible: true,
    id: 100,
    etherType: 0x0800,
    payload: fromHex('4500'),
  });
  const tag = new Uint8Array(6).fill(0xa5);
  vlan.writeHeader(tag, 1, 100, 0x0800);
  assert.is(hex(tag), 'a500640800a5');
  vlan.setPriority(tag, 1, 5);
  vlan.setDropEligible(tag, 1, true);
  assert.is(hex(tag), 'a5b0640800a5');
  vlan.setId(tag, 1, 0xfff);
  vlan.setDropEligible(tag, 1, false);
  vlan.setPriority(tag, 1, 7);
  vlan.setEtherType(tag, 1, 0x86dd);
  assert.is(hex(tag), 'a5efff86dda5');
  assert.is(hex(vlan.encode({ id: 7, payload: fromHex('4242') })), '000700024242');
  assert.equal(vlan.decode(fromHex('000700024242a5a5')).payload, fromHex('4242'), 'padding is not payload');
});

const mac = fc.nat(2 ** 48 - 1).map(macToText);
const type = fc.oneof(fc.integer({ min: 1501, max: 0xffff }), fc.constantFrom(0, 0x0800, 0x8100, 1501, 1536));
const payload = fc.uint8Array({ maxLength: 40 });
const some = fc.uint8Array({ minLength: 1, maxLength: 40 });
const withLength = <T extends { payload: Uint8Array }>(value: T): T & { length: number } => ({
  ...value,
  length: value.payload.length,
});

test('recognizes group addresses, addresses that bridges do not forward, and frames to their own source', () => {
  const frame = (destination: string, source = '02:00:00:00:00:01'): Uint8Array =>
    ethernet.encode({ destination, source, etherType: 0x0800, payload: new Uint8Array(1) });
  const all = (destination: string, source?: string): boolean[] => {
    const bytes = frame(destination, source);
    return [
      ethernet.isToGroup(bytes, 0),
      ethernet.isFromGroup(bytes, 0),
      ethernet.isToReservedGroup(bytes, 0),
      ethernet.isToItself(bytes, 0),
    ];
  };
  assert.equal(all('02:00:00:00:00:02'), [false, false, false, false]);
  assert.equal(all('ff:ff:ff:ff:ff:ff'), [true, false, false, false]);
  assert.equal(all('02:00:00:00:00:02', '03:00:00:00:00:01'), [false, true, false, false]);
  assert.equal(all('02:00:00:00:00:01'), [false, false, false, true]);
  assert.equal(all('06:00:00:00:00:01'), [false, false, false, false]);
  // IEEE 802.1Q, table 8-1: 01-80-C2-00-00-00 to 0F.
  assert.equal(all('01:80:c2:00:00:00'), [true, false, true, false]);
  assert.equal(all('01:80:c2:00:00:0f'), [true, false, true, false]);
  for (const near of ['01:80:c2:00:00:10', '01:80:c2:00:01:00', '01:80:c3:00:00:00'])
    assert.equal(all(near), [true, false, false, false], near);
});

codecProperties({
  name: 'ethernet',
  codec: ethernet,
  values: fc.oneof(
    fc.record({ destination: mac, source: mac, etherType: type, payload }),
    fc.record({ destination: mac, source: mac, payload: some }).map(withLength),
  ),
});

const tag = { priority: fc.nat(7), dropEligible: fc.boolean(), id: fc.nat(4095) };
codecProperties({
  name: 'vlan',
  codec: vlan,
  values: fc.oneof(
    fc.record({ ...tag, etherType: type, payload }),
    fc.record({ ...tag, payload: some }).map(withLength),
  ),
});

test.run();

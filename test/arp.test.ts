import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText, macToText } from '../src/address/index.js';
import * as arp from '../src/arp/index.js';
import { codecProperties } from './support/codec.js';
import { fromHex, hex } from './support/hex.js';

// tshark 4: reply, Ethernet, IPv4, sender 02:42:0a:00:00:03 10.0.0.3, target 02:42:0a:00:00:02 10.0.0.2.
const REPLY = fromHex('0001 0800 06 04 0002 02420a000003 0a000003 02420a000002 0a000002');
// RFC 826 with the lengths of Chaosnet: addresses of two octets each.
const CHAOS = fromHex('0005 0804 02 02 0001 0101 c0a8 0000 c0a9');

test('reads a reply', () => {
  assert.is(arp.check(REPLY, 0, 28), 28);
  assert.ok(arp.isEthernetIpv4(REPLY, 0));
  assert.is(arp.getOperation(REPLY, 0), arp.REPLY);
  assert.is(arp.getSenderMac(REPLY, 0), 0x0242_0a00_0003);
  assert.is(arp.getSenderIp(REPLY, 0), 0x0a00_0003);
  assert.is(arp.getTargetMac(REPLY, 0), 0x0242_0a00_0002);
  assert.is(arp.getTargetIp(REPLY, 0), 0x0a00_0002);
  assert.equal(arp.decode(REPLY), {
    hardwareType: 1,
    protocolType: 0x0800,
    hardwareLength: 6,
    protocolLength: 4,
    operation: 2,
    senderMac: '02:42:0a:00:00:03',
    senderIp: '10.0.0.3',
    targetMac: '02:42:0a:00:00:02',
    targetIp: '10.0.0.2',
  });
});

test('writes the same reply with encode, encodeInto and the setters', () => {
  const written = new Uint8Array(30).fill(0xa5);
  arp.writeEthernetIpv4(written, 1, arp.REPLY, 0x0242_0a00_0003, 0x0a00_0003, 0x0242_0a00_0002, 0x0a00_0002);
  assert.is(hex(written), `a5${hex(REPLY)}a5`);
  const addresses = {
    senderMac: '02:42:0a:00:00:03',
    senderIp: '10.0.0.3',
    targetMac: '02:42:0a:00:00:02',
    targetIp: '10.0.0.2',
  };
  assert.is(hex(arp.encode({ operation: 2, ...addresses })), hex(REPLY));
  const set = REPLY.slice().fill(0xff, 6);
  arp.setOperation(set, 0, 2);
  arp.setSenderMac(set, 0, 0x0242_0a00_0003);
  arp.setSenderIp(set, 0, 0x0a00_0003);
  arp.setTargetMac(set, 0, 0x0242_0a00_0002);
  arp.setTargetIp(set, 0, 0x0a00_0002);
  assert.is(hex(set), hex(REPLY));
});

test('reads addresses of other lengths as bytes', () => {
  const value = arp.decode(CHAOS);
  assert.equal(value, {
    hardwareType: 5,
    protocolType: 0x0804,
    hardwareLength: 2,
    protocolLength: 2,
    operation: 1,
    senderHardware: fromHex('0101'),
    senderProtocol: fromHex('c0a8'),
    targetHardware: fromHex('0000'),
    targetProtocol: fromHex('c0a9'),
  });
  assert.is(hex(arp.encode(value)), hex(CHAOS));
  assert.not(arp.isEthernetIpv4(CHAOS, 0));
});

test('isEthernetIpv4 requires both types and both lengths', () => {
  for (const at of [0, 1, 2, 3, 4, 5]) {
    const other = REPLY.slice();
    other[at]! ^= 1;
    assert.not(arp.isEthernetIpv4(other, 0), `octet ${at}`);
  }
});

test('recognizes probes and announcements of RFC 5227', () => {
  const packet = REPLY.slice();
  const set = (operation: number, sender: number, target: number): void => {
    arp.setOperation(packet, 0, operation);
    arp.setSenderIp(packet, 0, sender);
    arp.setTargetIp(packet, 0, target);
  };
  const kind = (): string => `${arp.isProbe(packet, 0)} ${arp.isAnnouncement(packet, 0)}`;
  set(arp.REQUEST, 0, 0x0a00_0003);
  assert.is(kind(), 'true false');
  set(arp.REQUEST, 0x0a00_0003, 0x0a00_0003);
  assert.is(kind(), 'false true');
  set(arp.REQUEST, 0x0a00_0003, 0x0a00_0004);
  assert.is(kind(), 'false false');
  set(arp.REPLY, 0x0a00_0003, 0x0a00_0003);
  assert.is(kind(), 'false false');
  set(arp.REPLY, 0, 0x0a00_0003);
  assert.is(kind(), 'false false');
  set(arp.REQUEST, 0, 0);
  assert.is(kind(), 'true false');
});

test('rejects truncated packets, and decodeLax reads them', () => {
  assert.is(arp.check(REPLY, 0, 7), -1);
  assert.is(arp.check(REPLY, 0, 27), -1);
  assert.throws(
    () => arp.decode(REPLY, 0, 27),
    (error: { needed: number; available: number }) => error.needed === 28 && error.available === 27,
  );
  assert.is(arp.decodeLax(REPLY, 0, 7), null);
  assert.equal(arp.decodeLax(REPLY, 0, 19), {
    hardwareType: 1,
    protocolType: 0x0800,
    hardwareLength: 6,
    protocolLength: 4,
    operation: 2,
    senderHardware: fromHex('02420a000003'),
    senderProtocol: fromHex('0a000003'),
    targetHardware: fromHex('02'),
    targetProtocol: new Uint8Array(0),
  });
});

test('rejects values that do not fit', () => {
  const addresses = { senderMac: '0:0:0:0:0:1', senderIp: '10.0.0.3', targetMac: '0:0:0:0:0:2', targetIp: '10.0.0.2' };
  assert.throws(() => arp.encode({ operation: 65536, ...addresses }), /arp\.operation .* 65535, not 65536/);
  assert.throws(() => arp.encode({ operation: 1, ...addresses, targetIp: '10.0.0' }), /"10\.0\.0" is not an IPv4/);
  const [one, two] = [new Uint8Array(1), new Uint8Array(2)];
  const uneven = { senderHardware: one, senderProtocol: one, targetHardware: two, targetProtocol: one };
  assert.throws(() => arp.encode({ operation: 1, ...uneven }), /the same lengths/);
});

const mac = fc.nat(2 ** 48 - 1).map(macToText);
const ip = fc.nat(0xffff_ffff).map(ipv4ToText);
const u16 = fc.nat(0xffff);
const raw = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

codecProperties<arp.Arp, arp.DecodedArp>({
  name: 'arp',
  codec: arp,
  values: fc.oneof(
    fc.record({
      hardwareType: u16,
      protocolType: u16,
      hardwareLength: fc.constant(6),
      protocolLength: fc.constant(4),
      operation: u16,
      senderMac: mac,
      senderIp: ip,
      targetMac: mac,
      targetIp: ip,
    }),
    fc
      .tuple(fc.nat(20), fc.nat(20))
      .filter(([hardware, protocol]) => hardware !== 6 || protocol !== 4)
      .chain(([hardwareLength, protocolLength]) =>
        fc.record({
          hardwareType: u16,
          protocolType: u16,
          hardwareLength: fc.constant(hardwareLength),
          protocolLength: fc.constant(protocolLength),
          operation: u16,
          senderHardware: raw(hardwareLength),
          senderProtocol: raw(protocolLength),
          targetHardware: raw(hardwareLength),
          targetProtocol: raw(protocolLength),
        }),
      ),
  ),
});

test.run();

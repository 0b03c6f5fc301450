import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as address from '../src/address/index.js';
import { fromHex, hex } from './support/hex.js';

test('MAC addresses: text, bytes and numbers', () => {
  const bytes = fromHex('a5 0242ff00017f a5');
  assert.is(address.formatMac(bytes, 1), '02:42:ff:00:01:7f');
  assert.is(address.getMac(bytes, 1), 0x0242_ff00_017f);
  assert.is(address.macToText(0x0242_ff00_017f), '02:42:ff:00:01:7f');
  assert.is(address.parseMac('02:42:FF:0:1:7f'), 0x0242_ff00_017f);
  assert.is(address.parseMac('02-42-ff-00-01-7f'), 0x0242_ff00_017f);
  address.setMac(bytes, 1, address.MAC_BROADCAST);
  assert.is(hex(bytes), 'a5ffffffffffffa5');
  fc.assert(
    fc.property(fc.nat(2 ** 48 - 1), (mac) => {
      assert.is(address.parseMac(address.macToText(mac)), mac);
      assert.is(address.macToText(mac).replaceAll(':', ''), mac.toString(16).padStart(12, '0'));
      const written = new Uint8Array(6);
      address.setMac(written, 0, mac);
      assert.is(address.getMac(written, 0), mac);
    }),
  );
});

test('MAC and IPv4 addresses in text are those that a regular expression finds', () => {
  const group = fc.constantFrom(
    '0',
    '00',
    '7',
    '0a',
    'aF',
    'F9',
    '9f',
    '256',
    '255',
    '249',
    '260',
    '10',
    '01',
    '199',
    'g',
    '',
  );
  const text = fc.array(fc.tuple(group, fc.constantFrom('.', '.', '.', ':', '-', '')), { maxLength: 8, size: 'max' });
  const few = fc
    .constantFrom('.', ':', '-')
    .chain((mark) => fc.array(group, { minLength: 3, maxLength: 7, size: 'max' }).map((groups) => groups.join(mark)));
  const any = fc.oneof(
    text.map((parts) => parts.flat().join('')),
    few,
    fc.string(),
  );
  const result = (parse: () => number): number | null => {
    try {
      return parse();
    } catch (error) {
      assert.instance(error, RangeError);
      return null;
    }
  };
  const join = (groups: readonly string[], radix: number): number =>
    groups.reduce((sum, one) => sum * 256 + parseInt(one, radix), 0);
  fc.assert(
    fc.property(any, (one) => {
      const ip = isIPv4(one) ? join(one.split('.'), 10) : null;
      assert.is(
        result(() => address.parseIpv4(one)),
        ip,
        one,
      );
      const isMac = /^[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}$|^[0-9a-f]{1,2}(-[0-9a-f]{1,2}){5}$/i.test(one);
      assert.is(
        result(() => address.parseMac(one)),
        isMac ? join(one.split(/[:-]/), 16) : null,
        one,
      );
    }),
    { numRuns: 20_000 },
  );
  assert.is(
    result(() => address.parseIpv4('x1.2.3.4.5')),
    null,
  );
});

test('the low bit of the first octet marks group addresses', () => {
  assert.ok(address.isGroupMac(address.MAC_BROADCAST));
  assert.ok(address.isGroupMac(0x0100_5e00_0001));
  assert.not(address.isGroupMac(0x0242_ffff_ffff));
  assert.not(address.isGroupMac(0xfe00_0000_0000));
});

test('an invalid MAC address is rejected with its text', () => {
  for (const text of [
    '',
    '02:42:0a:00:00',
    '02:42:0a:00:00:02:03',
    '02:42-0a:00:00:02',
    '02:42:0a:00:00:g2',
    '02420a000002',
  ])
    assert.throws(
      () => address.parseMac(text),
      (error: Error) => error instanceof RangeError && error.message.startsWith(`"${text}" is not a MAC address`),
      text,
    );
  assert.throws(() => address.parseMac('02:42:0a:00:00:002'), RangeError);
  assert.throws(() => address.parseMac(' 02:42:0a:00:00:02'), RangeError);
});

test('IPv4 addresses: text, bytes and numbers', () => {
  assert.is(address.formatIpv4(fromHex('a5 0a0000ff'), 1), '10.0.0.255');
  assert.is(address.parseIpv4('192.168.0.1'), 0xc0a8_0001);
  assert.is(address.ipv4ToText(0xc0a8_0001), '192.168.0.1');
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      const number = address.parseIpv4(text);
      assert.is(address.ipv4ToText(number), text);
      const octets = ipaddr.IPv4.parse(text).toByteArray();
      assert.is(address.formatIpv4(Uint8Array.from(octets)), text);
      assert.is(
        number,
        octets.reduce((total, octet) => total * 256 + octet, 0),
      );
    }),
  );
  assert.ok(address.isMulticastIpv4(0xe000_0001));
  assert.ok(address.isMulticastIpv4(0xefff_ffff));
  assert.not(address.isMulticastIpv4(0xf000_0000));
  assert.not(address.isMulticastIpv4(0xdfff_ffff));
});

test('accepts exactly the IPv4 addresses that node:net accepts', () => {
  const part = fc.oneof(fc.nat(300).map(String), fc.constantFrom('', '00', '01', '1e1', '0x1', ' 1', '-1', '+1'));
  fc.assert(
    fc.property(fc.array(part, { minLength: 3, maxLength: 5 }), (parts) => {
      const text = parts.join('.');
      if (isIPv4(text)) assert.type(address.parseIpv4(text), 'number');
      else
        assert.throws(
          () => address.parseIpv4(text),
          (error: Error) => error instanceof RangeError && error.message.startsWith(`"${text}" is not an IPv4`),
        );
    }),
    { numRuns: 2000 },
  );
});

// RFC 5952, sections 1 to 5: input texts and their canonical form.
const RFC_5952: [written: string, printed: string][] = [
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:0db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8::1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8::0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:0db8::1:0:0:1', '2001:db8::1:0:0:1'],
  ['2001:db8:0:0:1::1', '2001:db8::1:0:0:1'],
  ['2001:DB8:0:0:1::1', '2001:db8::1:0:0:1'],
  ['2001:db8:aaaa:bbbb:cccc:dddd::1', '2001:db8:aaaa:bbbb:cccc:dddd:0:1'],
  ['2001:db8:aaaa:bbbb:cccc:dddd:0:1', '2001:db8:aaaa:bbbb:cccc:dddd:0:1'],
  ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:aaaa:bbbb:cccc:dddd:eeee:AAAA', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaaa'],
  ['0:0:0:0:0:ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ['::ffff:c000:0201', '::ffff:192.0.2.1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['1:0:0:0:0:0:0:0', '1::'],
  ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
];

test('IPv6 addresses print in the form of RFC 5952', () => {
  for (const [written, printed] of RFC_5952)
    assert.is(address.formatIpv6(address.parseIpv6(written)), printed, written);
});

/** The address as URL writes it: RFC 5952 without dotted tails. */
function canonical(text: string): string {
  return new URL(`http://[${text}]/`).hostname;
}

const octets = fc.array(fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, fc.nat(255)), {
  minLength: 16,
  maxLength: 16,
});

test('IPv6 addresses read and print as with URL and ipaddr.js', () => {
  fc.assert(
    fc.property(octets, fc.nat(4), (drawn, offset) => {
      const bytes = new Uint8Array(offset + 16);
      bytes.set(drawn, offset);
      const text = address.formatIpv6(bytes, offset);
      assert.is(hex(address.parseIpv6(text)), hex(Uint8Array.from(drawn)));
      const other = new ipaddr.IPv6(drawn).toNormalizedString();
      assert.is(hex(address.parseIpv6(other)), hex(Uint8Array.from(drawn)));
      if (!text.includes('.')) assert.is(`[${text}]`, canonical(text));
    }),
    { numRuns: 1000 },
  );
});

test('accepts exactly the IPv6 addresses that node:net accepts', () => {
  const part = fc.oneof(
    { weight: 4, arbitrary: fc.nat(0xffff).map((group) => group.toString(16)) },
    { weight: 2, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.constantFrom('10000', '0001', 'g', '1.2.3.4', '1.2.3.256', '01.2.3.4', '1.2.3') },
  );
  const tried = fc.oneof(
    fc.ipV6(),
    fc.array(part, { minLength: 1, maxLength: 9 }).map((parts) => parts.join(':')),
    fc.array(fc.constantFrom(':', '::', '1', 'ab', '1.2.3.4'), { maxLength: 10 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(tried, (text) => {
      if (isIPv6(text)) {
        // Without ipaddr.js, which reads ::1.2.3.4 as ::ffff:1.2.3.4.
        assert.is(canonical(address.formatIpv6(address.parseIpv6(text))), canonical(text));
        return;
      }
      assert.throws(
        () => address.parseIpv6(text),
        (error: Error) => error instanceof RangeError && error.message.startsWith(`"${text}" is not an IPv6`),
        text,
      );
    }),
    { numRuns: 5000 },
  );
  for (const text of [
    '',
    ':',
    ':::',
    '1:::2',
    '::1::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8::',
    'fe80::1%eth0',
    '1.2.3.4',
  ])
    assert.throws(() => address.parseIpv6(text), RangeError, text);
});

test('prefixes keep the host bits; contains() tests addresses', () => {
  const prefix = address.parseIpv4Prefix('10.0.0.3/24');
  assert.equal(prefix, { address: 0x0a00_0003, length: 24 });
  assert.is(address.ipv4PrefixToText(prefix), '10.0.0.3/24');
  fc.assert(
    fc.property(fc.ipV4(), fc.nat(32), fc.ipV4(), (network, length, one) => {
      const parsed = address.parseIpv4Prefix(`${network}/${length}`);
      const expected = ipaddr.IPv4.parse(one).match(ipaddr.IPv4.parse(network), length);
      assert.is(address.ipv4PrefixContains(parsed, address.parseIpv4(one)), expected);
      assert.is(
        address.ipv4ToText(address.ipv4Mask(length)),
        ipaddr.IPv4.subnetMaskFromPrefixLength(length).toString(),
      );
    }),
  );
  for (const text of ['10.0.0.3', '10.0.0.3/33', '10.0.0.3/', '10.0.0.3/24/1', '10.0.0/24', '10.0.0.3/-1'])
    assert.throws(() => address.parseIpv4Prefix(text), RangeError, text);
});

test('sums of the pseudo-headers of RFC 768 and RFC 8200', () => {
  const words = (text: string): number =>
    fromHex(text).reduce((total, octet, i) => total + (i % 2 === 0 ? octet * 256 : octet), 0);
  assert.is(
    address.pseudoHeaderSum({ source: '10.0.0.3', destination: '192.168.255.4' }, 17, 1000),
    words('0a000003 c0a8ff04 0011 03e8'),
  );
  assert.is(
    address.pseudoHeaderSum({ source: 'fd00::3', destination: '2001:db8::ffff' }, 6, 0x12345),
    words('fd000000000000000000000000000003 20010db800000000000000000000ffff 00012345 00000006'),
  );
  assert.throws(
    () => address.pseudoHeaderSum({ source: '10.0.0.3', destination: '::1' }, 6, 0),
    /different address families/,
  );
  assert.throws(() => address.pseudoHeaderSum({ source: 'x', destination: '10.0.0.3' }, 6, 0), /"x" is not an IPv4/);
});

test('a derived MAC address is unicast, locally administered, and the same on every host', () => {
  // Worked out by hand: VNI 4097 is 0x1001, whose upper six bits stand above the flags 10.
  assert.is(address.macToText(address.deriveMac(4097, '10.0.0.3')), '42:01:0a:00:00:03');
  assert.is(address.macToText(address.deriveMac(66, '10.0.0.3')), '02:42:0a:00:00:03'); // as Docker's
  assert.is(address.macToText(address.deriveMac(0x3fff, '255.255.255.254')), 'fe:ff:ff:ff:ff:fe');
  const flags = (mac: number): number => Math.floor(mac / 2 ** 40) & 3;
  const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((octets) => address.formatIpv6(octets));
  const vni = fc.nat(2 ** 24 - 1);
  fc.assert(
    fc.property(vni, fc.oneof(fc.ipV4(), ipv6), (network, ip) => {
      const mac = address.deriveMac(network, ip);
      assert.ok(Number.isInteger(mac) && mac < 2 ** 48);
      assert.is(flags(mac), 2);
      assert.is(address.deriveMac(network, ip), mac);
    }),
  );
  assert.is(flags(address.deriveMacFromText('172.31.1.5 c1 eth0')), 2);
  assert.is.not(address.deriveMacFromText('172.31.1.5 c1 eth0'), address.deriveMacFromText('172.31.1.6 c1 eth0'));
  assert.throws(() => address.deriveMac(1, '10.0.0'), RangeError);
});

test('derived MAC addresses differ within a network and between networks', () => {
  const all = new Set<number>();
  const add = (mac: number): void => {
    assert.not(all.has(mac));
    all.add(mac);
  };
  for (let network = 0; network < 16_384; network++) add(address.deriveMac(network, '10.0.0.3'));
  for (let host = 4; host < 20_000; host++) {
    add(address.deriveMac(4097, address.ipv4ToText(0x0a00_0000 + host)));
    const word = host.toString(16);
    add(address.deriveMac(4097, `fd00::${word}`));
    add(address.deriveMac(4097, `fd00:0:0:${word}::1`));
    add(address.deriveMac(4097, `fd00::${word}:0:0:1`));
  }
});

test.run();

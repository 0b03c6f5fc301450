import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  addressToText,
  choosePool,
  comparePrefixes,
  DEFAULT_POOLS,
  IpamError,
  macOf,
  parseAddress,
  parsePrefix,
  planPools,
  planSubnet,
  planSubnets,
  PrefixSet,
  prefixesOverlap,
  prefixToText,
  requestMac,
  sortIntoSubnets,
  uniqueLocalPool,
  Vnis,
  type IpamCode,
  type IpamField,
  type SubnetRequest,
} from '../src/ipam/index.js';

/** Whether an operation is refused, for which reason, and with which words. */
function refused(operation: () => unknown, code: IpamCode, field: IpamField, ...words: (string | RegExp)[]): void {
  let found: unknown;
  assert.throws(operation, (error: unknown) => (found = error) instanceof IpamError);
  const { code: foundCode, field: foundField, message } = found as IpamError;
  assert.equal([foundCode, foundField], [code, field], message);
  for (const word of words)
    if (typeof word === 'string') assert.ok(message.includes(word), `${message}: without ${word}`);
    else assert.match(message, word);
}

const family4 = fc.ipV4();
// ipaddr.js reads the deprecated ::10.0.0.4 (RFC 4291, section 2.5.5.1) as ::ffff:10.0.0.4.
const family6 = fc.ipV6().filter((text) => !/^::\d+\./.test(text));

test('addresses and prefixes have the values and texts that ipaddr.js gives them', () => {
  fc.assert(
    fc.property(fc.oneof(family4, family6), fc.nat(128), (text, bits) => {
      const reference = ipaddr.parse(text);
      const plain = reference.toString();
      const bytes = reference.toByteArray();
      const address = parseAddress(text, 'ip');
      assert.is(
        address.value,
        bytes.reduce((value, octet) => value * 256n + BigInt(octet), 0n),
      );
      assert.is(address.family, bytes.length === 4 ? 4 : 6);
      const canonical = addressToText(address);
      assert.equal(ipaddr.parse(canonical).toByteArray(), bytes);
      assert.equal(parseAddress(canonical, 'ip'), address);

      const length = bits % (bytes.length * 8 + 1);
      const network = (bytes.length === 4 ? ipaddr.IPv4 : ipaddr.IPv6)
        .networkAddressFromCIDR(`${plain}/${length}`)
        .toString();
      assert.is(
        ipaddr.parse(prefixToText(parsePrefix(`${network}/${length}`, 'subnet')).split('/')[0]!).toString(),
        network,
      );
      if (
        !ipaddr
          .parse(network)
          .toByteArray()
          .every((octet, i) => octet === bytes[i])
      )
        refused(() => parsePrefix(`${plain}/${length}`, 'subnet'), 'invalid', 'subnet', 'write the network itself');
    }),
  );
  assert.is(parseAddress('::10.0.0.4', 'ip').value, 0x0a00_0004n);
});

test('what is not a prefix is refused with an example of its family', () => {
  for (const text of ['', '10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/024', '10.0.0.0/8/8', '10.0.0.0/-1'])
    refused(() => parsePrefix(text, 'subnet'), 'invalid', 'subnet', `"${text}"`, '10.0.0.0/24');
  refused(() => parsePrefix('fd00::/129', 'pools'), 'invalid', 'pools', '0 to 128', 'fd00::/64');
  refused(() => parsePrefix('10.0.0/24', 'subnet'), 'invalid', 'subnet', '"10.0.0" is not an IPv4 address');
  refused(() => parsePrefix('10.1.1.5/24', 'subnet'), 'invalid', 'subnet', '10.1.1.5/24', '10.1.1.0/24');
});

// ---- prefixes in use, against a list ----

/** Prefixes of 10.0.0.0/24 and around it. */
const prefix = fc.tuple(fc.nat(255), fc.integer({ min: 21, max: 32 })).map(([last, length]) => {
  const value = (0x0a00_0000 + last) & (-1 << (32 - length));
  return `10.0.${(value >>> 8) & 255}.${value & 255}/${length}`;
});
const used = fc.record(
  { prefix, owner: fc.constantFrom('network a', 'network b', 'a route of host2') },
  { noNullPrototype: true },
);

function bounds(text: string): [first: number, last: number] {
  const [address, length] = text.split('/');
  const first = ipaddr.IPv4.parse(address!)
    .toByteArray()
    .reduce((value, octet) => value * 256 + octet, 0);
  return [first, first + 2 ** (32 - Number(length)) - 1];
}
function overlap(a: string, b: string): boolean {
  const [[aFirst, aLast], [bFirst, bLast]] = [bounds(a), bounds(b)];
  return aFirst <= bLast && bFirst <= aLast;
}
const byText = (a: object, b: object): number => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);

test('prefixes in use overlap, and leave networks free, as in a list of them', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ one: used, removes: fc.boolean() }), { maxLength: 40 }),
      prefix,
      fc.integer({ min: 25, max: 29 }),
      (steps, asked, length) => {
        const set = new PrefixSet();
        const list: { prefix: string; owner: string }[] = [];
        for (const { one, removes } of steps) {
          if (removes) {
            set.remove(one.prefix, one.owner);
            const at = list.findIndex((other) => JSON.stringify(other) === JSON.stringify(one));
            if (at >= 0) list.splice(at, 1);
          } else {
            set.add(one.prefix, one.owner);
            list.push(one);
          }
        }
        const expected = list.filter((one) => overlap(one.prefix, asked));
        assert.equal(set.overlaps(asked, 1000).sort(byText), expected.sort(byText));
        assert.is(set.overlaps(asked, 3).length, Math.min(3, expected.length));

        const within = '10.0.0.0/24';
        const candidates = Array.from(
          { length: 2 ** (length - 24) },
          (_, i) => `10.0.0.${i * 2 ** (32 - length)}/${length}`,
        );
        const free = candidates.find((candidate) => !list.some((one) => overlap(one.prefix, candidate)));
        const found = set.lowestFree(parsePrefix(within, 'pools'), length);
        assert.is(found && prefixToText(found), free);
      },
    ),
    { numRuns: 500 },
  );
});

test('prefixes overlap and sort as their first and last addresses do', () => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      const [one, other] = [parsePrefix(a, 'subnet'), parsePrefix(b, 'subnet')];
      assert.is(prefixesOverlap(one, other), overlap(a, b));
      const [[aFirst, aLast], [bFirst, bLast]] = [bounds(a), bounds(b)];
      assert.is(Math.sign(comparePrefixes(one, other)), Math.sign(aFirst - bFirst) || Math.sign(bLast - aLast));
    }),
  );
  assert.ok(comparePrefixes(parsePrefix('240.0.0.0/4', 'subnet'), parsePrefix('::/0', 'subnet')) < 0);
  assert.not(prefixesOverlap(parsePrefix('0.0.0.0/0', 'subnet'), parsePrefix('::/0', 'subnet')));
});

test('an overlap names both sides, and how many more there are', () => {
  const set = new PrefixSet();
  set.add('0.0.0.0/0', 'the default route of host1');
  set.requireFree('10.0.0.0/24', 'subnet');
  set.add('10.0.0.0/16', 'a route of host2');
  const fail = () => set.requireFree('10.0.0.0/24', 'subnet');
  refused(fail, 'conflict', 'subnet', /^subnet 10\.0\.0\.0\/24 overlaps with 10\.0\.0\.0\/16 of a route of host2;/);
  for (let i = 0; i < 3; i++) set.add(`10.0.0.${i}/32`, `network n${i}`);
  refused(fail, 'conflict', 'subnet', 'and with 3 others');
  for (let i = 3; i < 20; i++) set.add(`10.0.0.${i}/32`, `network n${i}`);
  refused(fail, 'conflict', 'subnet', 'and with more than 6 others');
  set.add('fd00::/48', 'network six');
  refused(() => set.requireFree('fd00:0:0:7::/64', 'subnet'), 'conflict', 'subnet', 'fd00::/48 of network six');
  set.requireFree('fd00:0:1::/64', 'subnet');
});

// ---- pools ----

test('subnets come out of the default pool one after the other, around what is in use', () => {
  const set = new PrefixSet();
  const chosen: string[] = [];
  const create = () => {
    const subnet = choosePool(DEFAULT_POOLS, set);
    set.add(subnet, `network n${chosen.length}`);
    chosen.push(subnet);
  };
  create();
  create();
  set.add('10.0.2.128/25', 'network small');
  set.add('10.0.4.0/22', 'a route of host1');
  create();
  create();
  assert.equal(chosen, ['10.0.0.0/24', '10.0.1.0/24', '10.0.3.0/24', '10.0.8.0/24']);
  set.remove('10.0.1.0/24', 'network n1');
  create();
  assert.is(chosen.at(-1), '10.0.1.0/24');
});

test('a pool that is used up is followed by the next, and the last one by a refusal with the reason', () => {
  const pools = planPools({ pools: ['10.20.0.0/23', '172.16.0.0/24'], maskLength: 24 });
  const set = new PrefixSet();
  const all = ['10.20.0.0/24', '10.20.1.0/24', '172.16.0.0/24'];
  for (const expected of all) {
    assert.is(choosePool(pools, set), expected);
    set.add(expected, 'network n');
  }
  refused(
    () => choosePool(pools, set),
    'exhausted',
    'subnet',
    'no /24 is free in 10.20.0.0/23, 172.16.0.0/24;',
    'remove a network',
  );
  const covered = new PrefixSet();
  covered.add('10.0.0.0/8', 'a route of host3');
  refused(
    () => choosePool(DEFAULT_POOLS, covered),
    'exhausted',
    'subnet',
    '10.0.0.0/8 of a route of host3 covers all of 10.0.0.0/8',
  );
});

test('masks have up to 29 bits; pools are networks of usable addresses that do not overlap', () => {
  assert.equal(planPools({}), DEFAULT_POOLS);
  const small = planPools({ pools: ['192.168.0.0/28'], maskLength: 29 });
  const set = new PrefixSet();
  assert.is(choosePool(small, set), '192.168.0.0/29');
  set.add('192.168.0.3/32', 'a route of host1');
  assert.is(choosePool(small, set), '192.168.0.8/29');
  for (const maskLength of [0, 30, 24.5, NaN, -1])
    refused(() => planPools({ maskLength }), 'invalid', 'maskLength', String(maskLength), '1 to 29');
  refused(() => planPools({ pools: [] }), 'invalid', 'pools', '10.0.0.0/8');
  refused(() => planPools({ pools: ['10.0.0.0/25'] }), 'invalid', 'pools', '/24', 'from 25 to 29');
  refused(() => planPools({ pools: ['0.0.0.0/0'] }), 'invalid', 'pools', 'whole address space');
  refused(() => planPools({ pools: ['224.0.0.0/8'] }), 'invalid', 'pools', 'multicast');
  refused(() => planPools({ pools: ['127.0.0.0/8'] }), 'invalid', 'pools', 'loopback');
  refused(
    () => planPools({ pools: ['10.64.0.0/10', 'fd00::/48', '10.0.0.0/8'] }),
    'conflict',
    'pools',
    '10.0.0.0/8 and 10.64.0.0/10',
  );
  refused(() => planPools({ pools: ['fd00::/65'] }), 'invalid', 'pools', 'fd00::/65', '/64');
});

test('IPv6 subnets are /64 whatever the mask length is', () => {
  const pools = planPools({ pools: ['10.0.0.0/8', 'fd00:1::/48'] });
  const set = new PrefixSet();
  assert.is(choosePool(pools, set, 6), 'fd00:1::/64');
  set.add('fd00:1::/64', 'network a');
  assert.is(choosePool(pools, set, 6), 'fd00:1:0:1::/64');
  refused(() => choosePool(DEFAULT_POOLS, set, 6), 'invalid', 'subnet', 'no IPv6 pool');
  // RFC 4193, section 3.1: fc00::/7 with L = 1, then 40 bits of the global id.
  assert.is(uniqueLocalPool(0x12_3456_789a), 'fd12:3456:789a::/48');
  assert.is(uniqueLocalPool(2 ** 40 - 1), 'fdff:ffff:ffff::/48');
});

// ---- subnets ----

test('the gateway is the first address unless another is given', () => {
  assert.equal(planSubnet({ subnet: '10.0.0.0/24' }), { subnet: '10.0.0.0/24', gateway: '10.0.0.1', aux: {} });
  assert.is(planSubnet({ subnet: '10.0.0.0/24', gateway: '10.0.0.254' }).gateway, '10.0.0.254');
  assert.is(planSubnet({ subnet: 'FD00:0:0::/64' }).gateway, 'fd00::1');
  assert.is(planSubnet({ subnet: '10.0.0.0/30' }).gateway, '10.0.0.1');
  assert.equal(
    planSubnet({ subnet: '10.0.0.0/16', ipRange: '10.0.5.0/24', aux: { router: '10.0.0.9', __proto__: undefined! } }),
    { subnet: '10.0.0.0/16', gateway: '10.0.0.1', ipRange: '10.0.5.0/24', aux: { router: '10.0.0.9' } },
  );
});

test('a subnet that cannot be is refused', () => {
  const cases: [SubnetRequest, IpamCode, IpamField, ...string[]][] = [
    [{ subnet: '10.0.0.5/24' }, 'invalid', 'subnet', '10.0.0.0/24'],
    [{ subnet: '10.0.0.0/31' }, 'invalid', 'subnet', '30 or less'],
    [{ subnet: 'fd00::/127' }, 'invalid', 'subnet', '126 or less'],
    [{ subnet: '0.0.0.0/0' }, 'invalid', 'subnet', 'whole address space'],
    [{ subnet: '::/0' }, 'invalid', 'subnet', 'whole address space'],
    [{ subnet: '239.1.0.0/16' }, 'invalid', 'subnet', 'multicast'],
    [{ subnet: 'ff02::/64' }, 'invalid', 'subnet', 'multicast'],
    [{ subnet: '::ffff:10.0.0.0/120' }, 'invalid', 'subnet', 'IPv4-mapped'],
    [{ subnet: '10.0.0.0/24', gateway: '10.0.1.1' }, 'invalid', 'gateway', '10.0.1.1', '10.0.0.0/24'],
    [{ subnet: '10.0.0.0/24', gateway: '10.0.0.0' }, 'invalid', 'gateway', 'the network address of 10.0.0.0/24'],
    [{ subnet: '10.0.0.0/24', gateway: '10.0.0.255' }, 'invalid', 'gateway', 'the broadcast address'],
    [{ subnet: 'fd00::/64', gateway: 'fd00::' }, 'invalid', 'gateway', 'anycast'],
    [{ subnet: '10.0.0.0/24', gateway: 'fd00::1' }, 'invalid', 'gateway', 'fd00::1', 'not in the subnet'],
    [{ subnet: '10.0.0.0/24', gateway: 'router' }, 'invalid', 'gateway', '"router"'],
    [{ subnet: '10.0.0.0/24', ipRange: '10.0.1.0/25' }, 'invalid', 'ipRange', '10.0.1.0/25', '10.0.0.0/24'],
    [{ subnet: '10.0.0.0/24', ipRange: '10.0.0.0/16' }, 'invalid', 'ipRange', '10.0.0.0/16'],
    [{ subnet: '10.0.0.0/24', ipRange: '10.0.0.0/31' }, 'invalid', 'ipRange', 'no address for an endpoint'],
    [{ subnet: '10.0.0.0/24', ipRange: '10.0.0.255/32' }, 'invalid', 'ipRange', 'no address for an endpoint'],
    [{ subnet: '10.0.0.0/24', aux: { a: '10.1.0.1' } }, 'invalid', 'aux', 'auxiliary address a'],
    [{ subnet: '10.0.0.0/24', aux: { a: '10.0.0.1' } }, 'conflict', 'aux', 'the gateway'],
    [
      { subnet: '10.0.0.0/24', aux: { a: '10.0.0.7', b: '10.0.0.7' } },
      'conflict',
      'aux',
      'auxiliary address b',
      'address a;',
    ],
    [{ subnet: '10.0.0.0/24', aux: { '': '10.0.0.7' } }, 'invalid', 'aux', 'no name'],
    [{ subnet: '10.0.0.0/30', aux: { a: '10.0.0.2' } }, 'invalid', 'aux', 'no address for an endpoint'],
  ];
  for (const [request, ...expected] of cases) refused(() => planSubnet(request), ...expected);
  planSubnet({ subnet: 'fd00::/64', gateway: 'fd00::ffff:ffff:ffff:ffff' }); // IPv6 has no broadcast address
  planSubnet({ subnet: '10.0.0.0/24', ipRange: '10.0.0.254/32' });
  refused(
    () => planSubnets([{ subnet: '10.0.0.0/24' }, { subnet: '11.0.0.0/24' }, { subnet: '10.0.0.128/25' }]),
    'conflict',
    'subnet',
    '10.0.0.0/24 and 10.0.0.128/25',
  );
  assert.is(planSubnets([{ subnet: '10.1.1.0/24' }, { subnet: '11.1.1.0/24' }])[1]!.gateway, '11.1.1.1');
});

test('gateways, ranges and auxiliary addresses find their subnet', () => {
  const subnets = ['10.1.1.0/24', 'fd00::/64'];
  assert.equal(
    JSON.parse(
      JSON.stringify(
        sortIntoSubnets({
          subnets,
          gateways: ['fd00::2', '10.1.1.9'],
          ipRanges: ['10.1.1.128/25'],
          aux: { a: '10.1.1.4', b: 'fd00::9' },
        }),
      ),
    ),
    [
      { subnet: '10.1.1.0/24', gateway: '10.1.1.9', ipRange: '10.1.1.128/25', aux: { a: '10.1.1.4' } },
      { subnet: 'fd00::/64', gateway: 'fd00::2', aux: { b: 'fd00::9' } },
    ],
  );
  refused(
    () => sortIntoSubnets({ subnets, gateways: ['10.1.2.1'] }),
    'invalid',
    'gateway',
    '10.1.2.1',
    '10.1.1.0/24, fd00::/64',
  );
  refused(() => sortIntoSubnets({ subnets: [], gateways: ['10.1.2.1'] }), 'invalid', 'gateway', 'goes with a subnet');
  refused(
    () => sortIntoSubnets({ subnets, gateways: ['10.1.1.1', '10.1.1.2'] }),
    'invalid',
    'gateway',
    'two gateways, 10.1.1.1 and 10.1.1.2',
  );
  refused(() => sortIntoSubnets({ subnets, ipRanges: ['10.1.0.0/16'] }), 'invalid', 'ipRange', '10.1.0.0/16');
  refused(
    () => sortIntoSubnets({ subnets, ipRanges: ['10.1.1.0/25', '10.1.1.128/25'] }),
    'invalid',
    'ipRange',
    'two ranges',
  );
  refused(
    () => sortIntoSubnets({ subnets, aux: { a: '12.0.0.1' } }),
    'invalid',
    'aux',
    'the auxiliary address a 12.0.0.1',
  );
});

// ---- VNIs and MAC addresses ----

test('VNIs go round from 4096, and those below can be requested', () => {
  const vnis = new Vnis();
  assert.is(vnis.next(0), 4096);
  assert.is(vnis.next(0, { after: 4096 }), 4097);
  vnis.take(4096, 'network a', 1);
  vnis.take(4097, 'network b', 2);
  vnis.release(4097, 0);
  vnis.forget(4097);
  assert.is(vnis.next(0), 4098, 'not the one that was given last');
  vnis.take(16_777_215, 'network c', 3);
  assert.is(vnis.next(0), 4097, 'after the highest comes the lowest');
  vnis.release(4096, 5000);
  assert.is(vnis.request(4096), 4096, 'a person may ask for a released one');
  assert.is(vnis.request(0), 0);
  vnis.take(100, 'network d');
  refused(() => vnis.request(100), 'in-use', 'vni', 'VNI 100 is in use by network d');
  for (const vni of [-1, 16_777_216, 1.5, NaN]) refused(() => vnis.request(vni), 'invalid', 'vni', String(vni));
  assert.is(vnis.ownerOf(100), 'network d');
  vnis.forget(100);
  assert.is(vnis.ownerOf(100), undefined);
});

test('when all VNIs are in use, none is given', () => {
  const vnis = new Vnis(5000, 5099);
  for (let vni = 4990; vni < 5110; vni++) if (vni !== 5042) vnis.take(vni, 'a network');
  assert.is(vnis.next(0), 5042);
  vnis.take(5042, 'the last network', 1);
  refused(() => vnis.next(0), 'exhausted', 'vni', '5000 to 5099');
  vnis.release(5017, 10);
  refused(() => vnis.next(9), 'exhausted', 'vni');
  assert.is(vnis.next(10), 5017);
});

test('MAC addresses are derived, or checked', () => {
  assert.is(macOf(4096, '10.0.0.2').slice(6), '0a:00:00:02', 'its end is the IPv4 address, as in Docker');
  assert.is(requestMac('2-42-A-0-0-2'), '02:42:0a:00:00:02');
  refused(() => requestMac('01:00:5e:00:00:01'), 'invalid', 'mac', 'group address');
  refused(() => requestMac('00:00:00:00:00:00'), 'invalid', 'mac', 'all zeros');
  refused(() => requestMac('02:42'), 'invalid', 'mac', '"02:42"');
});

test.run();

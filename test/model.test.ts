import { BlockList } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { prefixContains, subnetOf, type Network } from '../src/model/index.js';

test('prefixContains agrees with the block list of Node', () => {
  const addresses4 = [
    '0.0.0.0',
    '10.0.0.1',
    '10.0.0.255',
    '10.0.1.0',
    '10.128.0.0',
    '127.255.255.255',
    '255.255.255.255',
  ];
  const addresses6 = [
    '::',
    '::1',
    'fd00::1',
    'fd00::1:0',
    'fd00:0:0:1::',
    'fe80::1',
    'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ];
  for (const [addresses, family, most] of [
    [addresses4, 'ipv4', 32],
    [addresses6, 'ipv6', 128],
  ] as const)
    for (const network of addresses)
      for (let length = 0; length <= most; length++) {
        const list = new BlockList();
        list.addSubnet(network, length, family);
        for (const address of addresses)
          assert.is(
            prefixContains(`${network}/${length}`, address),
            list.check(address, family),
            `${network}/${length} ${address}`,
          );
        assert.not(prefixContains(`${network}/${length}`, family === 'ipv4' ? '::' : '0.0.0.0'), 'the other family');
      }
});

test('a malformed prefix or address throws', () => {
  for (const [prefix, address] of [
    ['10.0.0.0', '10.0.0.1'],
    ['10.0.0.0/33', '10.0.0.1'],
    ['10.0.0.0/24', '10.0.0'],
    ['fd00::', 'fd00::1'],
    ['fd00::/129', 'fd00::1'],
    ['fd00::/x', 'fd00::1'],
    ['fd00::/', 'fd00::1'],
    ['fd00::/64', 'fd00::g'],
  ] as const)
    assert.throws(
      () => prefixContains(prefix, address),
      (error: Error) => error instanceof RangeError,
    );
});

test('the subnet of an address is the one with the longest prefix', () => {
  const network: Network = {
    id: 'n',
    name: 'n',
    subnets: [
      { prefix: '10.0.0.0/16', vni: 1 },
      { prefix: '10.0.1.0/24', vni: 2 },
      { prefix: '0.0.0.0/0', vni: 3 },
      { prefix: 'fd00::/64', vni: 4 },
    ],
  };
  for (const [address, vni] of [
    ['10.0.0.1', 1],
    ['10.0.1.1', 2],
    ['192.0.2.1', 3],
    ['fd00::1', 4],
    ['fd01::1', undefined],
  ] as const)
    assert.is(subnetOf(network, address)?.vni, vni, address);
});

test.run();

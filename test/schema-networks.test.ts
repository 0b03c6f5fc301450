/** Networks of several subnets in a configuration: defaults, rules, and the routes of hosts. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { configOf, findWarnings, plan, planTap, problemText, routersOf, routesOf } from '../src/schema/index.js';
import { firstShared, shareAddresses } from '../src/schema/ranges.js';
import { complaints } from './support/complaints.js';

const MAC = '02:42:0a:01:01:02';
const two = [
  { prefix: '10.1.1.0/24', vni: 4097 },
  { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 4098 },
];
const prod = { name: 'prod-net', subnets: two };
const tap = { name: 'eth0', netns: 'c1', vni: 4097, address: '10.1.1.2/24' };
const base = { local: '172.31.1.5', segments: [], networks: [prod], taps: [tap] };

/** The complaints about one network. */
function ofNetwork(network: object): string[] {
  return complaints({ ...base, segments: [{ vni: 9 }], networks: [network], taps: [{ name: 'eth0', vni: 9 }] });
}

test('the gateway of a subnet is its first address, and the MAC address depends on the name alone', () => {
  const { networks, segments } = plan(base);
  const [{ name, mac, subnets }] = networks as [(typeof networks)[0]];
  assert.is(name, 'prod-net');
  assert.match(mac, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  assert.equal(subnets, [
    { prefix: '10.1.1.0/24', gateway: '10.1.1.1', vni: 4097 },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 4098 },
  ]);
  assert.equal(
    segments.map(({ vni, learn }) => [vni, learn]),
    [
      [4097, true],
      [4098, true],
    ],
  );
  const elsewhere = plan({ ...base, local: '192.168.1.25', networks: [{ ...prod, subnets: [two[1]!, two[0]!] }] });
  assert.is(elsewhere.networks[0]!.mac, mac);
  const other = plan({ ...base, networks: [{ ...prod, name: 'test-net' }] });
  assert.is.not(other.networks[0]!.mac, mac);
});

test('the first addresses of small and of IPv6 subnets', () => {
  const gateways = (...prefixes: string[]): string[] =>
    plan({
      ...base,
      networks: [{ name: 'n', subnets: prefixes.map((prefix, i) => ({ prefix, vni: 4097 + i })) }],
      taps: [{ name: 'eth0', vni: 4097 }],
    }).networks[0]!.subnets.map(({ gateway }) => gateway);
  // RFC 3021: both addresses of a /31 are those of hosts. RFC 4291, section 2.6.1: the first one of a /64 is anycast.
  assert.equal(gateways('10.0.0.0/31', '10.0.1.4/30', 'fd00::/64', 'fd00:1::2/127', '10.255.255.0/24'), [
    '10.0.0.0',
    '10.0.1.5',
    'fd00::1',
    'fd00:1::2',
    '10.255.255.1',
  ]);
});

test('a plan is a configuration with the same plan', () => {
  const made = plan({ ...base, networks: [{ ...prod, mac: '2-42-0-0-0-1' }] });
  assert.is(made.networks[0]!.mac, '02:42:00:00:00:01');
  assert.equal(plan(JSON.parse(JSON.stringify(configOf(made)))), made);
});

test('segments that are listed keep their options, and the others get the defaults', () => {
  const { segments } = plan({ ...base, segments: [{ vni: 4098, learn: false, mtu: 1400 }] });
  assert.equal(
    segments.map(({ vni, learn, mtu }) => [vni, learn, mtu]),
    [
      [4098, false, 1400],
      [4097, true, undefined],
    ],
  );
});

test('an IPv4 and an IPv6 subnet may share a VNI', () => {
  const subnets = [
    { prefix: '10.1.1.0/24', vni: 4097 },
    { prefix: 'fd00:1::/64', vni: 4097 },
    { prefix: '10.1.2.0/24', vni: 4098 },
    { prefix: 'fd00:2::/64', vni: 4098 },
  ];
  const config = { ...base, networks: [{ name: 'dual', subnets }] };
  const made = plan(config);
  assert.equal(
    made.segments.map(({ vni }) => vni),
    [4097, 4098],
  );
  assert.equal(routesOf(made, 4097, ['10.1.1.2']), [{ to: '10.1.2.0/24', via: '10.1.1.1' }]);
  assert.equal(routesOf(made, 4098, ['fd00:2::5']), [{ to: 'fd00:1::/64', via: 'fd00:2::1' }]);
  assert.equal(routesOf(made, 4098, ['10.1.2.5', 'fd00:2::5', 'fd00:2::6']), [
    { to: '10.1.1.0/24', via: '10.1.2.1' },
    { to: 'fd00:1::/64', via: 'fd00:2::1' },
  ]);
  const split = [...subnets.slice(0, 1), { prefix: 'fd00:1::/64', vni: 4098 }];
  const parts = { ...base, networks: [{ name: 'parts', subnets: split }] };
  assert.equal(complaints({ ...parts, taps: [{ ...tap, address: ['10.1.1.5/24', 'fd00:1::5/64'] }] }), [
    'taps[0].address[1]: fd00:1::5 is in fd00:1::/64, a subnet of network parts with another VNI, 4098 (networks[0].subnets[1].vni)',
  ]);
  assert.equal(complaints({ ...config, taps: [{ ...tap, address: ['10.1.1.5/24', 'fd00:2::5/64'] }] }), [
    'taps[0].address[1]: expected an address of fd00:1::/64, the subnet of network dual, got "fd00:2::5"',
  ]);
  assert.equal(complaints({ ...config, taps: [{ ...tap, address: 'fd00:2::5/64' }] }), [
    'taps[0].address: expected an address of fd00:1::/64, the subnet of network dual, got "fd00:2::5"',
  ]);
});

test('the routes of a host lead to the other subnets of its own network', () => {
  const other = { name: 'other', subnets: [{ prefix: '12.0.0.0/8', vni: 5 }] };
  const made = plan({ ...base, networks: [prod, other] });
  assert.equal(routesOf(made, 4098, ['11.1.1.7']), [{ to: '10.1.1.0/24', via: '11.1.1.254' }]);
  assert.equal(routesOf(made, 5, ['12.0.0.7']), []);
  assert.equal(routesOf(made, 4099, ['11.1.1.7']), [], 'a segment of no network');
  assert.equal(routesOf(made, 4098, ['10.9.9.9']), [], 'an address that is not in the subnet');
  const [first, second] = routersOf(made);
  assert.equal(first, { id: 'prod-net', mac: made.networks[0]!.mac, subnets: made.networks[0]!.subnets });
  assert.is(second!.id, 'other');
});

test('a network of the gossip with one subnet has no router', () => {
  const config = {
    ...base,
    networks: [],
    taps: [],
    gossip: { networks: [{ id: 'a', vni: 7, subnet: '10.0.0.0/24' }] },
  };
  assert.equal(routersOf(plan(config)), []);
});

test('a network of the gossip without an IPv4 subnet takes IPv6 endpoints of this host only', () => {
  const gossip = { networks: [{ id: 'six', vni: 7, subnet: 'FD00:0::/64' }] };
  const { taps: _taps, networks: _networks, ...rest } = base;
  const of = (config: object): string[] => complaints({ ...rest, gossip, taps: [], ...config });
  const why =
    'because network six of the gossip announces IPv4 addresses with the length of their subnet, and has no IPv4 subnet with VNI 7';
  const tapAt = (address: unknown): object => ({ taps: [{ name: 'eth0', netns: 'c', vni: 7, address }] });
  assert.equal(of(tapAt('fd00::3/64')), []);
  assert.equal(of(tapAt(['fd00::3/64', '10.0.0.3/24'])), [
    `taps[0].address[1]: expected an IPv6 address, ${why}, got "10.0.0.3"`,
  ]);
  assert.equal(of(tapAt('fd01::3/64')), [
    'taps[0].address: expected an address of fd00::/64, the subnet of network six, got "fd01::3"',
  ]);
  const endpoints = (vtep: object): object => ({
    segments: [{ vni: 7, endpoints: [{ ip: '10.0.0.3', mac: '02:42:0a:00:00:03', ...vtep }] }],
  });
  assert.equal(of(endpoints({})), [`segments[0].endpoints[0].ip: expected an IPv6 address, ${why}, got "10.0.0.3"`]);
  assert.equal(of(endpoints({ vtep: '172.31.1.6' })), []);
  assert.equal(plan({ ...rest, gossip, taps: [] }).gossip!.networks, [{ id: 'six', vni: 7, subnet: 'fd00::/64' }]);
});

test('a network of the gossip with several subnets has a router, with the same defaults', () => {
  const gossip = { networks: [{ id: 'prod-net', subnets: two }] };
  const made = plan({ ...base, networks: [], gossip });
  assert.equal(made.gossip!.networks[0]!.mac, plan(base).networks[0]!.mac);
  assert.equal(made.gossip!.networks[0]!.subnets, plan(base).networks[0]!.subnets);
  assert.equal(routesOf(made, 4097, ['10.1.1.2']), [{ to: '11.1.1.0/24', via: '10.1.1.1' }]);
  const of = (network: object): string[] =>
    complaints({ ...base, networks: [], taps: [], gossip: { networks: [{ id: 'n', ...network }] } });
  assert.equal(of({ vni: 7, subnet: '10.0.0.0/24', subnets: two }), [
    'gossip.networks[0].vni: does not go with gossip.networks[0].subnets',
    'gossip.networks[0].subnet: does not go with gossip.networks[0].subnets',
  ]);
  assert.equal(of({}), [
    'gossip.networks[0].vni: expected a VNI, or a list of subnets, got nothing',
    'gossip.networks[0].subnet: expected a subnet such as 10.0.0.0/24 or fd00::/64, or a list of subnets, got nothing',
  ]);
  assert.equal(of({ subnets: [{ prefix: 'fd00::/64', vni: 7 }, ...two] }), []);
  assert.equal(of({ vni: 7, subnet: 'fd00::/64' }), []);
  assert.equal(of({ vni: 7, subnet: '10.0.0.0/24', mac: MAC }), [
    'gossip.networks[0].mac: is the address of gateways, which networks with subnets have',
  ]);
});

const cases: [what: string, network: object, messages: string[]][] = [
  ['no subnet', { name: 'n', subnets: [] }, ['networks[0].subnets: expected a list of one subnet or more, got []']],
  [
    'no name',
    { subnets: two },
    ['networks[0].name: expected an id of 1 to 255 characters without "/" and white space, got nothing'],
  ],
  [
    'a prefix with bits of a host',
    { name: 'n', subnets: [{ prefix: '10.1.1.1/24', vni: 4097 }] },
    [
      'networks[0].subnets[0].prefix: expected a subnet such as 10.0.0.0/24 or fd00::/64, got "10.1.1.1/24", whose subnet is 10.1.1.0/24',
    ],
  ],
  [
    'link-local addresses',
    { name: 'n', subnets: [{ prefix: 'fe80::/64', vni: 4097 }] },
    [
      'networks[0].subnets[0].prefix: expected a subnet such as 10.0.0.0/24 or fd00::/64, got "fe80::/64", which holds link-local addresses, which routers do not forward',
    ],
  ],
  [
    'a subnet in a subnet',
    { name: 'n', subnets: [two[0], { prefix: '10.1.0.0/16', vni: 4098 }] },
    ['networks[0].subnets[1].prefix: 10.1.0.0/16 shares addresses with 10.1.1.0/24 (networks[0].subnets[0].prefix)'],
  ],
  [
    'a gateway elsewhere',
    { name: 'n', subnets: [{ prefix: '10.1.1.0/24', gateway: '10.1.2.1', vni: 4097 }] },
    ['networks[0].subnets[0].gateway: expected an address of 10.1.1.0/24, got "10.1.2.1"'],
  ],
  [
    'a gateway of the other family',
    { name: 'n', subnets: [{ prefix: '10.1.1.0/24', gateway: 'fd00::1', vni: 4097 }] },
    ['networks[0].subnets[0].gateway: expected an address of 10.1.1.0/24, got "fd00::1"'],
  ],
  [
    'a gateway with the address of the network',
    { name: 'n', subnets: [{ prefix: '10.1.1.0/24', gateway: '10.1.1.0', vni: 4097 }] },
    [
      'networks[0].subnets[0].gateway: expected the address of a host in 10.1.1.0/24, not the network address of 10.1.1.0/24, got "10.1.1.0"',
    ],
  ],
  [
    'a gateway with the broadcast address',
    { name: 'n', subnets: [{ prefix: '10.1.1.0/24', gateway: '10.1.1.255', vni: 4097 }] },
    [
      'networks[0].subnets[0].gateway: expected the address of a host in 10.1.1.0/24, not the broadcast address of 10.1.1.0/24, got "10.1.1.255"',
    ],
  ],
  [
    'a multicast gateway',
    { name: 'n', subnets: [{ prefix: '10.1.1.0/24', gateway: '224.0.0.1', vni: 4097 }] },
    [
      'networks[0].subnets[0].gateway: expected the IP address of a gateway such as 10.0.0.1 or fd00::1, got "224.0.0.1", a multicast address',
    ],
  ],
  [
    'a subnet of one address',
    { name: 'n', subnets: [{ prefix: '10.1.1.1/32', vni: 4097 }] },
    ['networks[0].subnets[0].prefix: 10.1.1.1/32 has no room for a gateway and a host'],
  ],
  [
    'one VNI for two IPv4 subnets',
    { name: 'n', subnets: [two[0], { ...two[1], vni: 4097 }] },
    ['networks[0].subnets[1].vni: 4097 is given twice (before as networks[0].subnets[0].vni)'],
  ],
  [
    'a group address',
    { name: 'n', mac: '01:00:5e:00:00:01', subnets: two },
    [
      'networks[0].mac: expected the MAC address of one station, such as 02:42:0a:00:00:04, got "01:00:5e:00:00:01", a group address: the lowest bit of its first octet is set',
    ],
  ],
];
for (const [what, network, messages] of cases)
  test(`rejects ${what}`, () => void assert.equal(ofNetwork(network), messages));

test('rejects a VNI or a name of two networks, also if one of them is of the gossip', () => {
  const again = { name: 'prod-net', subnets: [{ prefix: '12.0.0.0/8', vni: 4098 }] };
  assert.equal(complaints({ ...base, networks: [prod, again] }), [
    'networks[1].name: prod-net is given twice (before as networks[0].name)',
    'networks[1].subnets[0].vni: 4098 is given twice (before as networks[0].subnets[1].vni)',
  ]);
  const gossip = { networks: [{ id: 'prod-net', vni: 4097, subnet: '10.0.0.0/24' }] };
  assert.equal(complaints({ ...base, taps: [], gossip }), [
    'gossip.networks[0].id: prod-net is given twice (before as networks[0].name)',
    'gossip.networks[0].vni: 4097 is given twice (before as networks[0].subnets[0].vni)',
  ]);
  // Two networks may have the same addresses: their routers are apart.
  const same = { name: 'test-net', subnets: [{ prefix: '10.1.1.0/24', vni: 5 }] };
  assert.equal(complaints({ ...base, networks: [prod, same] }), []);
});

test('rejects an address of a host that its subnet does not have, or that the gateway has', () => {
  const of = (address: string, more: object = {}): string[] =>
    complaints({ ...base, taps: [{ ...tap, address, ...more }] });
  assert.equal(of('11.1.1.2/24'), [
    'taps[0].address: expected an address of 10.1.1.0/24, the subnet of network prod-net, got "11.1.1.2"',
  ]);
  assert.equal(of('10.1.1.1/24'), [
    'taps[0].address: 10.1.1.1 is the gateway of 10.1.1.0/24, the subnet of network prod-net; choose another address, or another gateway (networks[0].subnets[0].gateway)',
  ]);
  assert.equal(of('10.1.1.255/16'), [
    'taps[0].address: expected the address of a host in 10.1.1.0/24, the subnet of network prod-net, not the broadcast address of 10.1.1.0/24, got "10.1.1.255"',
  ]);
  const mac = '02:42:00:00:00:01';
  const networks = [{ ...prod, mac }];
  const theirs = `${mac} is the MAC address of the gateways of network prod-net`;
  assert.equal(complaints({ ...base, networks, taps: [{ ...tap, mac }] }), [
    `taps[0].mac: ${theirs}; choose another address, or set theirs (networks[0].mac)`,
  ]);
  assert.equal(complaints({ ...base, networks, segments: [{ vni: 4098, mac }] }), [`segments[0].mac: ${theirs}`]);
});

test('rejects an endpoint with the address of the gateway, wherever it is', () => {
  const of = (endpoint: object): string[] =>
    complaints({ ...base, segments: [{ vni: 4098, endpoints: [{ ip: '11.1.1.2', mac: MAC, ...endpoint }] }] });
  assert.equal(of({ vtep: '192.168.1.25' }), []);
  assert.match(
    of({ ip: '11.1.1.254', vtep: '192.168.1.25' })[0]!,
    /^segments\[0\]\.endpoints\[0\]\.ip: 11\.1\.1\.254 is/,
  );
  assert.match(of({ ip: '11.1.1.254' })[0]!, 'is the gateway of 11.1.1.0/24, the subnet of network prod-net');
  assert.match(of({ ip: '11.1.2.2' })[0]!, 'expected an address of 11.1.1.0/24, the subnet of network prod-net');
});

test('warns of a TAP with another prefix length than its subnet', () => {
  const made = plan({ ...base, taps: [{ ...tap, address: '10.1.1.2/16' }] });
  assert.equal(
    findWarnings(made).map((problem) => problemText(problem)),
    ['taps[0].address: 10.1.1.2/16 has another prefix length than its network, 10.1.1.0/24'],
  );
});

test('a TAP that is attached later follows the same rules', () => {
  const made = plan(base);
  const of = (address: string): string => {
    try {
      planTap({ name: 'eth1', netns: 'c2', vni: 4098, address }, made);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.is(of('11.1.1.2/24'), '');
  assert.match(of('10.1.1.9/24'), /^address: expected an address of 11\.1\.1\.0\/24/);
  assert.match(
    of('11.1.1.254/24'),
    /^address: 11\.1\.1\.254 is the gateway of 11\.1\.1\.0\/24, .* another gateway \(network prod-net\)$/,
  );
});

test('the first subnet that shares addresses is that of a look at every pair', () => {
  // Few bits, so that many prefixes contain each other or are the same.
  const four = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 4, max: 12 }));
  const prefix = fc.oneof(
    four.map(([net, length]) => `10.${net * 16}.${net}.0/${length}`),
    four.map(([net, length]) => `10.${net}.0.0/${length + 8}`),
    four.map(([net, length]) => `fd00:${net.toString(16)}00::/${16 + length}`),
    fc.constantFrom('0.0.0.0/0', '::/0', '10.1.0.7/32', 'fd00:100::7/128'),
  );
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 24 }), (list) => {
      const naive = list.map((one, k) => list.slice(0, k).findIndex((other) => shareAddresses(other, one)));
      assert.equal(firstShared(list), naive);
    }),
    { numRuns: 2000 },
  );
});

test('a TAP of a plain segment whose address is in a subnet of a network is probably a wrong VNI', () => {
  const warnings = (more: object): string[] => findWarnings(plan({ ...base, ...more })).map((one) => problemText(one));
  const stray = { ...tap, vni: 4099 };
  const segments = [{ vni: 4099 }];
  assert.equal(warnings({ segments }), []);
  assert.equal(warnings({ segments, taps: [stray] }), [
    'taps[0].vni: segment 4099 is in no network, and 10.1.1.2/24 is in the subnet 10.1.1.0/24 of network prod-net, which has VNI 4097',
  ]);
  assert.equal(warnings({ segments, taps: [{ ...stray, address: '10.9.1.2/24' }] }), []);
  const trunk = { name: 'eth0', vlans: { 10: 4097 }, native: 4099, address: '10.1.1.2/24' };
  assert.match(warnings({ segments, taps: [trunk] }).join(), /^taps\[0\]\.native: segment 4099 is in no network/);
});

test.run();

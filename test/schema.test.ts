import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closest,
  configOf,
  isDeviceName,
  findWarnings,
  parseRequest,
  plan,
  planSegment,
  planTap,
  problemText,
  SchemaError,
} from '../src/schema/index.js';
import { complaints } from './support/complaints.js';

const tap = { name: 'eth0', vni: 4097 };
const segment = { vni: 4097 };
const base = { local: '172.31.1.5', segments: [segment], taps: [tap] };

test('fills in every default', () => {
  const made = plan(base);
  assert.match(made.taps[0]!.mac!, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
  assert.equal(made, {
    local: '172.31.1.5',
    port: 4789,
    espPort: 4500,
    sourcePorts: 8,
    engine: 'auto',
    workers: 1,
    busyPoll: 0,
    udpChecksum: true,
    zeroChecksum: false,
    peersOnly: true,
    keepTaps: false,
    networks: [],
    segments: [
      {
        vni: 4097,
        proxy: 'endpoint',
        learn: true,
        flood: true,
        tagged: false,
        ageing: 300,
        capacity: 65_536,
        peers: [],
        endpoints: [],
      },
    ],
    keyFiles: [],
    taps: [{ name: 'eth0', vni: 4097, mac: made.taps[0]!.mac }],
  });
});

test('with a control socket, there may be no segments and no TAPs', () => {
  assert.equal(complaints({ local: '172.31.1.5', control: '/run/vtep.sock', segments: [], taps: [] }), []);
  const later = 'or a control socket (control) over which they are added later, got []';
  assert.equal(complaints({ ...base, segments: [], taps: [] }), [
    `segments: expected a list of one segment or more, ${later}`,
    `taps: expected a list of one TAP or more, ${later}`,
  ]);
});

test('a TAP has one address, or a list of up to four', () => {
  const of = (address: unknown, more: object = {}): string[] =>
    complaints({ ...base, taps: [{ ...tap, netns: 'c', address, ...more }] });
  const dual = ['10.0.0.3/24', 'fd00::3/64'];
  assert.equal(of(dual), []);
  assert.equal(of([...dual, 'fd00::4/64', '10.0.0.4/24']), []);
  const wanted = 'expected a list of 1 to 4 addresses with their prefix lengths';
  assert.match(of([])[0]!, new RegExp(`^taps\\[0\\]\\.address: ${wanted}, got \\[\\]$`));
  assert.match(of(['1', '2', '3', '4', '5'].map((last) => `10.0.0.${last}/24`))[0]!, new RegExp(wanted));
  assert.equal(of(['10.0.0.3/24', '10.0.0.0/24']), [
    'taps[0].address[1]: expected the address of a host with its prefix length, such as 10.0.0.3/24, got "10.0.0.0/24", the network address of 10.0.0.0/24',
  ]);
  assert.equal(of('10.0.0.0/24'), [
    'taps[0].address: expected the address of a host with its prefix length, such as 10.0.0.3/24, got "10.0.0.0/24", the network address of 10.0.0.0/24',
  ]);
  assert.equal(of(7), [
    'taps[0].address: expected the address of a host with its prefix length, such as 10.0.0.3/24, or a list of 1 to 4, got 7',
  ]);
  assert.equal(of(['fd00::3/64', 'FD00:0::3/64']), [
    'taps[0].address[1]: FD00:0::3/64 is given twice (before as taps[0].address[0])',
  ]);
  assert.equal(of(dual, { mtu: 1279 }), [
    'taps[0].mtu: expected 1280 bytes or more, which the IPv6 address fd00::3/64 needs, got 1279',
  ]);
  assert.equal(
    complaints({ ...base, taps: [{ ...tap, address: ['10.0.0.3/24', '172.31.1.9/24'] }] })[0]!.slice(0, 60),
    'taps[0].address[1]: 172.31.1.9/24 routes 172.31.1.0/24 to th',
  );
  const other = { name: 'eth1', vni: 4097, netns: 'd', address: 'fd00::3/64' };
  assert.equal(complaints({ ...base, taps: [{ ...tap, netns: 'c', address: dual }, other] }), [
    'taps[1].address: fd00::3/64 is given twice (before as taps[0].address[1])',
  ]);
  const endpoint = { ip: 'fd00::3', mac: '02:42:0a:00:00:04', vtep: '172.31.1.6' };
  const config = { ...base, segments: [{ ...segment, endpoints: [endpoint] }] };
  assert.equal(complaints({ ...config, taps: [{ ...tap, netns: 'c', address: dual }] }), [
    'segments[0].endpoints[0].ip: fd00::3 is the address of a TAP of this host (taps[0].address[1])',
  ]);
});

test('the MAC address of a TAP does not depend on its IPv6 addresses, and is that of its endpoint', () => {
  const macOf = (address: string | string[], endpoints: object[] = []): string =>
    plan({ ...base, segments: [{ ...segment, endpoints }], taps: [{ ...tap, netns: 'c', address }] }).taps[0]!.mac!;
  assert.is(macOf(['fd00::3/64', '10.0.0.3/24']), macOf('10.0.0.3/24'));
  assert.is(macOf(['fd00::3/64', 'fd00::4/64']), macOf('fd00::3/64'));
  assert.is(macOf(['10.0.0.3/24', 'fd00::3/64'], [{ ip: 'fd00::3', mac: '2:0:0:0:0:9' }]), '02:00:00:00:00:09');
});

test('a list of one address is that address', () => {
  const of = (address: unknown) => plan({ ...base, taps: [{ ...tap, netns: 'c', address }] });
  assert.equal(of(['10.0.0.3/24']), of('10.0.0.3/24'));
  const dual = of(['10.0.0.3/24', 'fd00::3/64']);
  assert.equal(plan(JSON.parse(JSON.stringify(configOf(dual)))), dual);
});

test('an IPv6 address needs an MTU of 1280 bytes', () => {
  const six = { ...tap, address: 'fd00::3/64' };
  assert.equal(complaints({ ...base, taps: [{ ...six, mtu: 1280 }] }), []);
  assert.equal(complaints({ ...base, taps: [{ ...six, mtu: 1279 }] }), [
    'taps[0].mtu: expected 1280 bytes or more, which the IPv6 address fd00::3/64 needs, got 1279',
  ]);
  assert.equal(complaints({ ...base, segments: [{ ...segment, mtu: 68 }], taps: [six] }), [
    'segments[0].mtu: expected 1280 bytes or more, which the IPv6 address fd00::3/64 needs, got 68',
  ]);
  assert.equal(complaints({ ...base, segments: [{ ...segment, mtu: 68 }], taps: [{ ...six, mtu: 1400 }] }), []);
});

test('derives the MAC address of a TAP from its network and its address, unless it is given', () => {
  const macOf = (tap: object, config: object = {}): string | undefined => {
    const all = { ...base, segments: [segment, { vni: 5 }], ...config };
    return plan({ ...all, taps: [{ name: 'eth0', vni: 4097, ...tap }] }).taps[0]!.mac;
  };
  const address = '10.0.0.3/24';
  assert.is(macOf({ address }), '42:01:0a:00:00:03');
  // The same on another host, under another name, in another namespace: an address keeps its MAC address when it moves.
  assert.is(macOf({ address, name: 'tap7', netns: 'c1' }, { local: '172.31.1.6' }), '42:01:0a:00:00:03');
  assert.is(macOf({ address: '10.0.0.3/16' }), '42:01:0a:00:00:03');
  assert.is.not(macOf({ address, vni: 5 }), macOf({ address }));
  assert.is(macOf({ address, vni: undefined, vlans: { 10: 5 }, native: 4097 }), macOf({ address }));
  assert.is(macOf({ address: 'fd00::3/64' }), macOf({ address: 'fd00:0::3/64', netns: 'c2' }));
  assert.is(macOf({ address, mac: '02:42:0a:00:00:03' }), '02:42:0a:00:00:03');
  const endpoints = [{ ip: '10.0.0.3', mac: '02-42-A-0-0-9', vtep: '172.31.1.5' }];
  assert.is(macOf({ address }, { segments: [{ vni: 4097, endpoints }] }), '02:42:0a:00:00:09');
  // Without an address it depends on the host, namespace and name.
  assert.is(macOf({}), macOf({}));
  for (const other of [{ name: 'eth1' }, { netns: 'c1' }]) assert.is.not(macOf(other), macOf({}));
  assert.is.not(macOf({}), macOf({}, { local: '172.31.1.6' }));
  assert.is(macOf({ name: undefined, fd: 3 }), undefined);
});

test('without a named engine, selects one that supports the options', () => {
  assert.is(plan({ ...base, udpChecksum: true, zeroChecksum: false, busyPoll: 0 }).engine, 'auto');
  for (const options of [
    { workers: 2 },
    { busyPoll: 50 },
    { udpChecksum: false },
    { zeroChecksum: true },
    { engine: 'auto', udpChecksum: false },
  ])
    assert.is(plan({ ...base, ...options }).engine, 'linux');
});

test('normalizes addresses', () => {
  const made = plan({
    local: 'FD00:0:0:0::5',
    segments: [
      {
        vni: 1,
        mac: '2-42-A-0-0-1',
        peers: ['fd00:0000::0019'],
        endpoints: [
          { ip: '10.0.0.4', mac: '02-42-0A-00-00-04', vtep: 'fd00::0:19' },
          { ip: '10.0.0.5', mac: '02:42:0a:00:00:05', vtep: 'fd00:0::5' },
          { ip: 'FD00:0:0:7::4', mac: '02:42:0a:00:00:04', vtep: 'fd00::19' },
        ],
      },
    ],
    taps: [{ fd: 3, vni: 1 }],
  });
  assert.is(made.local, 'fd00::5');
  assert.equal(made.segments[0]!.peers, ['fd00::19']);
  assert.is(made.segments[0]!.mac, '02:42:0a:00:00:01');
  assert.equal(made.segments[0]!.endpoints, [
    { ip: '10.0.0.4', mac: '02:42:0a:00:00:04', vtep: 'fd00::19' },
    { ip: '10.0.0.5', mac: '02:42:0a:00:00:05' }, // behind local itself
    { ip: 'fd00:0:0:7::4', mac: '02:42:0a:00:00:04', vtep: 'fd00::19' },
  ]);
  assert.is(made.taps[0]!.name, 'fd3');
});

const MAC = 'the MAC address of one station, such as 02:42:0a:00:00:04';
const IP = 'a unicast IP address such as 192.168.1.25';
const VNI = 'a VNI: an integer from 0 to 16777215';
const remote = { ip: '10.0.0.4', mac: '02:42:0a:00:00:04', vtep: '192.168.1.25' };

const cases: [what: string, config: unknown, messages: string[]][] = [
  ['no object', 7, ['expected an object, got 7']],
  [
    'nothing at all',
    {},
    [
      `local: expected ${IP}, got nothing`,
      'segments: expected a list of one segment or more, got nothing',
      'taps: expected a list of one TAP or more, got nothing',
    ],
  ],
  [
    'no segment',
    { ...base, segments: [] },
    [
      'segments: expected a list of one segment or more, or a control socket (control) over which they are added later, got []',
    ],
  ],
  [
    'what the portable engine cannot do',
    { ...base, engine: 'dgram', workers: 2, busyPoll: 50, udpChecksum: false, zeroChecksum: true },
    [
      'workers: expected 1 with engine dgram, or engine linux, got 2',
      'busyPoll: expected 0 with engine dgram, or engine linux, got 50',
      'udpChecksum: expected true with engine dgram, or engine linux, got false',
      'zeroChecksum: expected false with engine dgram, or engine linux, got true',
    ],
  ],
  ['no worker', { ...base, workers: 0 }, ['workers: expected an integer from 1 to 16, got 0']],
  [
    'a poll without end',
    { ...base, busyPoll: 1e6 },
    ['busyPoll: expected microseconds, from 0 to 100000, got 1000000'],
  ],
  ['too many workers', { ...base, workers: 17 }, ['workers: expected an integer from 1 to 16, got 17']],
  [
    'a TAP of one queue for several workers',
    { ...base, workers: 2, taps: [{ fd: 3, vni: 4097 }] },
    ['taps[0].fd: does not go with workers above 1: each worker takes a queue of the TAP'],
  ],
  ['a mistyped field', { ...base, prot: 4789 }, ['prot: unknown field; did you mean "port"?']],
  [
    'a field from nowhere',
    { ...base, taps: [{ ...tap, colour: 'red' }] },
    ['taps[0].colour: unknown field; the fields are name, fd, netns, address, mac, mtu, vni, vlans, native'],
  ],
  [
    'a group as local',
    { ...base, local: '239.1.1.1' },
    [`local: expected ${IP}, got "239.1.1.1", a multicast address`],
  ],
  [
    'the unspecified address',
    { ...base, local: '0.0.0.0' },
    [`local: expected ${IP}, got "0.0.0.0", the unspecified address`],
  ],
  ['octal digits', { ...base, local: '172.31.1.05' }, [`local: expected ${IP}, got "172.31.1.05"`]],
  ['a short form', { ...base, local: '172.31.261' }, [`local: expected ${IP}, got "172.31.261"`]],
  ['a zone', { ...base, local: 'fe80::1%eth0' }, [`local: expected ${IP}, got "fe80::1%eth0"`]],
  [
    'a port out of range',
    { ...base, port: 65_536 },
    ['port: expected a UDP port: an integer from 1 to 65535, got 65536'],
  ],
  ['a VNI of 2^24', { ...base, segments: [{ vni: 2 ** 24 }] }, [`segments[0].vni: expected ${VNI}, got 16777216`]],
  ['a VNI that is text', { ...base, taps: [{ name: 'a', vni: '1' }] }, [`taps[0].vni: expected ${VNI}, got "1"`]],
  [
    'an engine that is none',
    { ...base, engine: 'fast' },
    ['engine: expected one of "auto", "dgram", "linux", got "fast"'],
  ],
  [
    'a deep field',
    { ...base, segments: [{ ...segment, endpoints: [remote, { ...remote, mac: '33:33:00:00:00:01' }] }] },
    [
      `segments[0].endpoints[1].mac: expected ${MAC}, got "33:33:00:00:00:01", a group address: the lowest bit of its first octet is set`,
    ],
  ],
  [
    'learn that is not a boolean',
    { ...base, segments: [{ ...segment, learn: 'no' }] },
    ['segments[0].learn: expected true or false, got "no"'],
  ],
  [
    'a VLAN id out of range',
    { ...base, taps: [{ name: 'a', vlans: { 4095: 4097 } }] },
    ['taps[0].vlans["4095"]: expected a VLAN id from 1 to 4094, got "4095"'],
  ],
  [
    'a segment twice',
    { ...base, segments: [segment, segment] },
    ['segments[1].vni: 4097 is given twice (before as segments[0].vni)'],
  ],
  [
    'a TAP in no segment',
    { ...base, taps: [{ name: 'a', vni: 5 }] },
    ['taps[0].vni: expected the VNI of a segment (4097), got 5'],
  ],
  [
    'a trunk to nowhere',
    { ...base, taps: [{ name: 'a', vlans: { 10: 4097, 20: 6 }, native: 7 }] },
    [
      'taps[0].vlans["20"]: expected the VNI of a segment (4097), got 6',
      'taps[0].native: expected the VNI of a segment (4097), got 7',
    ],
  ],
  [
    'one segment by two VLANs',
    { ...base, taps: [{ name: 'a', vlans: { 10: 4097, 20: 4097 } }] },
    ['taps[0].vlans["20"]: 4097 is given twice (before as taps[0].vlans["10"])'],
  ],
  [
    'access port and trunk at once',
    { ...base, taps: [{ ...tap, vlans: { 10: 4097 } }] },
    [
      'taps[0]: expected either vni (an access port) or vlans (a trunk), got {"vni":4097,"vlans":{"10":4097}}',
      'taps[0].vni: 4097 is given twice (before as taps[0].vlans["10"])',
    ],
  ],
  [
    'a TAP without a name',
    { ...base, taps: [{ vni: 4097 }] },
    ['taps[0].name: expected a device name, or fd, got nothing'],
  ],
  [
    'a long name',
    { ...base, taps: [{ name: 'abcdefghijklmnop', vni: 4097 }] },
    [
      'taps[0].name: expected a device name: 1 to 15 bytes without "/", ":", "%" and white space, got "abcdefghijklmnop"',
    ],
  ],
  [
    'a name twice in one place',
    { ...base, taps: [tap, tap] },
    ['taps[1].name: eth0 is given twice (before as taps[0].name)'],
  ],
  [
    'a namespace for a passed TAP',
    { ...base, taps: [{ fd: 3, netns: 'c1', vni: 4097 }] },
    ['taps[0].netns: does not go with taps[0].fd: the process that opened the TAP has placed it'],
  ],
  [
    'a peer of the other family',
    { ...base, segments: [{ ...segment, peers: ['192.168.1.25', 'fd00::1'] }] },
    ['segments[0].peers[1]: expected an IPv4 address, like local, got "fd00::1"'],
  ],
  [
    'itself as a peer, and a peer twice',
    { ...base, segments: [{ ...segment, peers: ['172.31.1.5', '10.1.1.1', '10.1.1.1'] }] },
    [
      'segments[0].peers[0]: expected the address of another VTEP, not local itself, got "172.31.1.5"',
      'segments[0].peers[2]: 10.1.1.1 is given twice (before as segments[0].peers[1])',
    ],
  ],
  [
    'an endpoint twice',
    { ...base, segments: [{ ...segment, endpoints: [remote, remote] }] },
    ['segments[0].endpoints[1].ip: 10.0.0.4 is given twice (before as segments[0].endpoints[0].ip)'],
  ],
  [
    'a remote endpoint with the address of a TAP',
    {
      ...base,
      segments: [{ ...segment, endpoints: [remote] }],
      taps: [{ ...tap, address: '10.0.0.4/24' }],
    },
    ['segments[0].endpoints[0].ip: 10.0.0.4 is the address of a TAP of this host (taps[0].address)'],
  ],
];
for (const [what, config, messages] of cases) test(`rejects ${what}`, () => assert.equal(complaints(config), messages));

// Address ranges by RFC 6890; prefixes of 31 and 127 bits by RFC 3021 and RFC 6164.
for (const [address, why] of [
  ['10.0.0.0/24', 'the network address of 10.0.0.0/24'],
  ['10.0.0.255/24', 'the broadcast address of 10.0.0.0/24'],
  ['10.0.3.255/22', 'the broadcast address of 10.0.0.0/22'],
  ['10.0.0.3/30', 'the broadcast address of 10.0.0.0/30'],
  ['0.0.0.0/0', 'the unspecified address'],
  ['10.0.0.3/0', 'an address with prefix length 0, whose subnet is the whole address space'],
  ['0.1.2.3/8', 'an address of 0.0.0.0/8, which no host can have'],
  ['127.0.0.1/8', 'a loopback address'],
  ['127.255.0.1/32', 'a loopback address'],
  ['224.0.0.1/24', 'a multicast address'],
  ['239.255.255.255/32', 'a multicast address'],
  ['240.0.0.1/24', 'an address of the reserved range 240.0.0.0/4'],
  ['255.255.255.255/32', 'the broadcast address'],
  ['::/64', 'the unspecified address'],
  ['::1/128', 'the loopback address'],
  ['ff02::1/64', 'a multicast address'],
  ['fd00::/64', 'the subnet-router anycast address of fd00::/64'],
  ['::ffff:10.0.0.1/120', 'an IPv4-mapped address'],
] as const)
  test(`rejects ${address} for a TAP`, () => {
    const [text, ...more] = complaints({ ...base, taps: [{ ...tap, netns: 'c', address }] });
    assert.equal(more, []);
    assert.match(text!, `got "${address}", ${why}`);
  });
for (const address of [
  '10.0.0.0/31',
  '10.0.0.1/31',
  '10.0.0.255/32',
  '10.0.1.0/22',
  '169.254.0.1/16',
  'fd00::/127',
  'fd00::/128',
  'fe80::1/64',
])
  test(`accepts ${address} for a TAP`, () =>
    assert.equal(complaints({ ...base, taps: [{ ...tap, netns: 'c', address }] }), []));

test('rejects a TAP of the host whose subnet contains an underlay address', () => {
  const of = (address: string, more: object = {}, peers: string[] = []): string[] =>
    complaints({ ...base, segments: [{ vni: 4097, peers }], taps: [{ ...tap, address, ...more }] });
  assert.match(of('172.31.1.9/24')[0]!, /^taps\[0\]\.address: 172\.31\.1\.9\/24 routes 172\.31\.1\.0\/24 to the TAP/);
  assert.match(
    of('192.168.1.9/24', {}, ['10.1.1.1', '192.168.1.25'])[0]!,
    /the VTEP 192\.168\.1\.25 \(segments\[0\]\.peers\[1\]\)/,
  );
  assert.equal(of('172.31.1.9/24', { netns: 'c1' }), []);
  assert.equal(of('172.31.1.9/32'), []);
  const six = { ...base, local: 'fd00:1::5', taps: [{ ...tap, address: 'fd00:1::9/64' }] };
  assert.match(complaints(six)[0]!, /routes fd00:1::\/64 to the TAP/);
});

test('rejects endpoints with an impossible location', () => {
  const of = (...endpoints: object[]): string[] =>
    complaints({
      ...base,
      segments: [{ vni: 4097, endpoints }],
      taps: [{ ...tap, netns: 'c', address: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }],
    });
  const at = (ip: string, more: object = {}): object => ({ ...remote, ip, ...more });
  assert.equal(of(at('10.0.0.4')), []);
  assert.match(of(at('10.0.0.0'))[0]!, /10\.0\.0\.0 is the network address of 10\.0\.0\.0\/24/);
  assert.match(of(at('10.0.0.255'))[0]!, /10\.0\.0\.255 is the broadcast address/);
  assert.match(of(at('127.0.0.1'))[0]!, /a loopback address/);
  assert.match(of(at('10.0.0.4', { vtep: '224.0.0.1' }))[0]!, /vtep: expected .*, a multicast address$/);
  assert.equal(of(at('10.0.0.4'), at('fd00::4'), at('fe80::4')), []);
  assert.match(of(at('ff02::1'))[0]!, /ip: expected the IP address of one host, .*, a multicast address$/);
  assert.match(of(at('::'))[0]!, /the unspecified address$/);
  assert.match(of(at('::ffff:10.0.0.4'))[0]!, /an IPv4-mapped address; write it as IPv4$/);
  assert.match(of(at('fe80::4%eth0'))[0]!, /ip: expected the IP address of one host, such as 10.0.0.4 or fd00::4, got/);
  assert.match(of(at('fd00::4'), at('FD00:0::4'))[0]!, /FD00:0::4 is given twice/);
  assert.match(of(at('10.0.0.4', { mac: '02:42:0a:00:00:03' }))[0]!, /is the MAC address of a TAP of this host/);
  assert.match(
    of(at('10.0.0.4'), at('10.0.0.5', { vtep: '10.1.1.1' }))[0]!,
    /a MAC address can be behind only one VTEP$/,
  );
});

test('warns of unusual settings', () => {
  const of = (config: object): string[] => findWarnings(plan({ ...base, ...config })).map((one) => problemText(one));
  assert.equal(of({}), []);
  assert.match(of({ local: '169.254.1.1' })[0]!, /^local: 169\.254\.1\.1 is a link-local address/);
  const address = '10.0.0.3/24';
  const far = { segments: [{ vni: 4097, endpoints: [{ ...remote, ip: '10.9.0.4' }] }] };
  assert.match(of({ ...far, taps: [{ ...tap, netns: 'c', address }] })[0]!, /10\.9\.0\.4 is outside 10\.0\.0\.0\/24/);
  const six = (ip: string): string[] =>
    of({
      segments: [{ vni: 4097, endpoints: [{ ...remote, ip }] }],
      taps: [{ ...tap, netns: 'c', address: 'fd00::3/64' }],
    });
  assert.equal([six('fd00::4'), six('fe80::4'), six('10.0.0.4')], [[], [], []]);
  assert.match(six('fd00:1::4')[0]!, /fd00:1::4 is outside fd00::\/64/);
  const two = {
    segments: [segment, { vni: 5 }],
    taps: [
      { ...tap, address },
      { name: 'b', vni: 5, address: '10.0.0.9/25' },
    ],
  };
  assert.match(
    of(two)[0]!,
    /^taps\[1\]\.address: 10\.0\.0\.9\/25 shares addresses with the subnet of taps\[0\]\.address/,
  );
  const trunk = { name: 'a', vlans: { 10: 4097 } };
  assert.equal(complaints({ ...base, taps: [{ ...trunk, address }] }), [
    'taps[0].address: 10.0.0.3/24 is the address of untagged frames, which are in no segment; name it (taps[0].native), or leave out the address',
  ]);
  assert.equal(complaints({ ...base, taps: [trunk] }), []);
});

test('rejects invalid subnets', () => {
  const of = (subnet: string): string[] =>
    complaints({ ...base, taps: [], gossip: { networks: [{ id: 'a', vni: 4097, subnet }] } });
  assert.equal(of('10.0.0.0/24'), []);
  assert.match(of('10.0.0.5/24')[0]!, /got "10\.0\.0\.5\/24", whose subnet is 10\.0\.0\.0\/24$/);
  for (const [subnet, kind] of [
    ['127.0.0.0/8', 'loopback'],
    ['224.0.0.0/4', 'multicast'],
    ['248.0.0.0/8', 'reserved'],
  ])
    assert.match(of(subnet!)[0]!, `which holds ${kind} addresses`);
  assert.match(of('0.0.0.0/0')[0]!, 'the whole address space');
});

test('accepts the same name in two namespaces', () => {
  const taps = [
    { ...tap, netns: 'c1' },
    { ...tap, netns: '/proc/1/ns/net' },
  ];
  assert.equal(complaints({ ...base, taps }), []);
});

test('for any input, returns a plan or throws a SchemaError that names a problem', () => {
  const leaf = fc.oneof(
    fc.constantFrom('172.31.1.5', 'fd00::1', '02:42:0a:00:00:04', 'eth0', '10.0.0.3/24', 4097, true, null, 'vtep'),
    fc.string(),
    fc.integer(),
    fc.double(),
  );
  const object = (...names: string[]): fc.Arbitrary<unknown> =>
    fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), leaf);
  const config = fc.record({
    local: leaf,
    segments: fc.oneof(leaf, fc.array(object('vni', 'mtu', 'peers', 'endpoints', 'proxy'), { maxLength: 3 })),
    taps: fc.oneof(leaf, fc.array(object('name', 'fd', 'vni', 'vlans', 'address', 'mac'), { maxLength: 3 })),
  });
  fc.assert(
    fc.property(fc.oneof(config, fc.anything()), (value) => {
      try {
        plan(value);
      } catch (error) {
        assert.instance(error, SchemaError);
        assert.ok((error as SchemaError).problems.length > 0);
      }
    }),
    { numRuns: 500 },
  );
});

test('names of devices', () => {
  for (const name of ['eth0', 'a', 'abcdefghijklmno', 'c1.100', 'été']) assert.ok(isDeviceName(name), name);
  for (const name of ['', '.', '..', 'a b', 'a/b', 'a:b', 'tap%d', 'éééééééé', 'a\0b'])
    assert.not(isDeviceName(name), name);
});

test('suggests the nearest word', () => {
  assert.is(closest('segmnets', ['segments', 'taps']), 'segments');
  assert.is(closest('PEER', ['peers', 'port']), 'peers');
  assert.is(closest('xyz', ['segments', 'taps']), undefined);
  assert.is(closest('', ['up']), undefined);
});

test('control requests', () => {
  const refused = (value: unknown): string => {
    try {
      parseRequest(value);
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  assert.is(refused({ command: 'fdb' }), '');
  assert.is(refused({ command: 'add-endpoint', vni: 1, ...remote }), '');
  assert.is(refused({ command: 'explain', port: 'eth0', frame: '00ff' }), '');
  assert.match(refused(null), /^command: expected one of fdb, .*, got nothing$/);
  assert.match(refused({ command: 'toString' }), /^command: expected one of .*, got "toString"$/);
  assert.is(refused({ command: 'add-peer', vni: 1 }), `address: expected ${IP}, got nothing`);
  assert.match(refused({ command: 'explain', port: 'eth0' }), /^expected either port and frame, or from and datagram/);
  assert.match(refused({ command: 'explain', port: 'eth0', frame: 'abc' }), /^frame: expected bytes in hexadecimal/);
});

test('what a running VTEP has already is said to be in use, and where', () => {
  const tap = { name: 'eth0', netns: 'c1', vni: 7, address: '10.0.0.3/24' };
  const now = plan({ local: '192.0.2.1', segments: [{ vni: 7 }], taps: [tap] });
  const refused = (add: () => unknown): string => {
    try {
      add();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const owner = 'TAP eth0 in namespace c1';
  assert.is(
    refused(() => planTap(tap, now)),
    `name: eth0 is in use already (name of ${owner})\naddress: 10.0.0.3/24 is in use already (address of ${owner})`,
  );
  assert.is(
    refused(() => planSegment({ vni: 7 }, now)),
    'vni: 7 is in use already (vni of segment 7)',
  );
  const peers = ['192.0.2.2', '192.0.2.2'];
  assert.is(
    refused(() => planSegment({ vni: 8, peers }, now)),
    'peers[1]: 192.0.2.2 is given twice (before as peers[0])',
  );
});

test.run();

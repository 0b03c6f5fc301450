/** The router, compared with what scapy writes, and the rules of when it is silent. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as icmp from '../src/icmp/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { dissect } from '../src/packet/index.js';
import {
  ANSWERED,
  DROPPED,
  FRAGMENTED,
  NOT_OURS,
  PENDING,
  Router,
  TUNNEL,
  type RouterDrop,
} from '../src/router/index.js';
import { fromHex, hex } from './support/hex.js';
import {
  C1,
  C2,
  FAR,
  frameOf,
  FRAMES,
  GATEWAY_MAC,
  NEAR,
  packetTo,
  packetTo6,
  PORT,
  routerHost,
  type Ipv4Fields,
} from './support/router-host.js';

const NOTHING = new Uint8Array(0);
const unknown = { lookup: (): number => 0 };

// ---- What scapy writes ----

for (const name of ['routed', 'recorded', 'routed6', 'extensions6'])
  test(`scapy: ${name}`, () => {
    const host = routerHost();
    const [before, after] = FRAMES[name]!;
    assert.equal(host.receive(before), { result: FAR, frame: after });
    assert.equal([host.answers, host.sent, host.drops()], [[], [], {}]);
    assert.equal(host.counts(), { routed: 1 });
  });

const REFUSED: [name: string, reason: RouterDrop][] = [
  ['expired', 'ttl'],
  ['expired6', 'ttl'],
  ['no route', 'no-route'],
  ['no route6', 'no-route'],
  ['too big', 'too-big'],
  ['too big6', 'too-big'],
  ['scope6', 'scope'],
  ['port', 'gateway-closed'],
  ['port6', 'gateway-closed'],
  ['protocol', 'gateway-closed'],
  ['protocol6', 'gateway-closed'],
  ['syn', 'gateway-closed'],
  ['ack', 'gateway-closed'],
  ['fin6', 'gateway-closed'],
];
for (const [name, reason] of REFUSED)
  test(`scapy: ${name}`, () => {
    const host = routerHost();
    const [before, after] = FRAMES[name]!;
    assert.is(host.receive(before).result, ANSWERED);
    assert.equal(host.answers, [{ vni: NEAR, from: PORT, frame: after }]);
    assert.is(host.router.reason, reason);
    assert.equal([host.sent, host.drops(), host.counts()], [[], { [reason]: 1 }, { errors: 1 }]);
  });

const REPLIED: [name: string, count: string][] = [
  ['echo', 'echo-answered'],
  ['echo far', 'echo-answered'],
  ['echo6', 'echo-answered'],
  ['echo far6', 'echo-answered'],
  ['echo local6', 'echo-answered'],
  ['arp', 'arp-answered'],
  ['arp unicast', 'arp-answered'],
  ['arp probe', 'arp-answered'],
  ['solicitation', 'neighbor-answered'],
  ['solicitation unicast', 'neighbor-answered'],
  ['solicitation local', 'neighbor-answered'],
  ['dad', 'neighbor-answered'],
];
for (const [name, count] of REPLIED)
  test(`scapy: ${name}`, () => {
    const host = routerHost();
    const [before, after] = FRAMES[name]!;
    assert.is(host.receive(before).result, ANSWERED);
    assert.equal(host.answers, [{ vni: NEAR, from: PORT, frame: after }]);
    assert.equal([host.sent, host.drops(), host.counts()], [[], {}, { [count]: 1 }]);
  });

test('scapy: fragments', () => {
  const host = routerHost();
  const [before, ...after] = FRAMES['fragments']!;
  assert.is(host.receive(before).result, FRAGMENTED);
  assert.equal(
    host.sent,
    after.map((frame) => ({ vni: FAR, frame })),
  );
  assert.equal([host.answers, host.drops(), host.counts()['fragments']], [[], {}, 2]);
});

// ---- Who may ask, and what is not answered ----

test('out of a tunnel, the router answers nothing and routes nothing', () => {
  const host = routerHost();
  const drops: Record<string, RouterDrop> = {
    arp: 'gateway-remote',
    'arp unicast': 'gateway-remote',
    solicitation: 'gateway-remote',
    dad: 'gateway-remote',
    echo: 'from-tunnel',
    echo6: 'from-tunnel',
    routed: 'from-tunnel',
    routed6: 'from-tunnel',
    expired: 'from-tunnel',
  };
  for (const [name, reason] of Object.entries(drops)) {
    assert.is(host.receive(FRAMES[name]![0], { from: TUNNEL }).result, DROPPED, name);
    assert.is(host.router.reason, reason, name);
  }
  assert.equal([host.answers, host.sent], [[], []]);
});

test('the questions of other hosts pass, those of strangers with a gateway address do not', () => {
  const host = routerHost();
  for (const name of ['ask', 'ask6']) {
    const [question] = FRAMES[name]!;
    assert.is(host.receive(question, { vni: FAR, from: TUNNEL }).result, NOT_OURS, 'from another host');
    assert.is(host.receive(question, { vni: FAR }).result, DROPPED, 'from a port');
    assert.is(host.router.reason, 'source-own');
    // The sender's address in the frame, the ARP packet and the option.
    const forged = question.replaceAll('02420a000001', '02420a000009');
    for (const from of [PORT, TUNNEL]) {
      const claim = name === 'ask' ? forged : fixChecksum(forged);
      assert.is(host.receive(claim, { vni: FAR, from }).result, DROPPED, 'from another MAC address');
      assert.is(host.router.reason, 'gateway-claim');
    }
  }
  const claimed = frameOf([
    { protocol: 'ethernet', destination: 'ff:ff:ff:ff:ff:ff', source: C1.mac },
    {
      ...{ protocol: 'arp', operation: 1, senderMac: C1.mac, senderIp: '10.0.0.1' },
      ...{ targetMac: '00:00:00:00:00:00', targetIp: '10.0.0.1' },
    },
  ]);
  assert.is(host.receive(claimed).result, DROPPED, 'an announcement');
  assert.is(host.receive(claimed, { vni: FAR }).result, NOT_OURS, 'in another segment, the address is nobody’s');
});

/** Computes the checksum of the ICMPv6 message of a frame. */
function fixChecksum(frame: string): string {
  const bytes = fromHex(frame);
  icmpv6.fillChecksum(bytes, 54, bytes.length, ipv6.pseudoHeaderSum(bytes, 14, 58, bytes.length - 54));
  return hex(bytes);
}

test('frames of others are not the router’s', () => {
  const host = routerHost();
  const [packet] = FRAMES['routed']!;
  const others = {
    'another destination': packet.replace(/^02420a000001/, '02420a000002'),
    broadcast: packet.replace(/^02420a000001/, 'ffffffffffff'),
    'an ARP request for another address': FRAMES['ask']![0].replaceAll('02420a000001', '02420a000009').replaceAll(
      '0a000101',
      '0a000105',
    ),
    'IPv6 multicast': FRAMES['routed6']![0].replace(/^02420a000001/, '333300000001'),
    'a cut frame': packet.slice(0, 26),
  };
  for (const [what, frame] of Object.entries(others)) assert.is(host.receive(frame).result, NOT_OURS, what);
  assert.is(host.receive(packet, { vni: 99 }).result, NOT_OURS, 'a segment without a gateway');
  assert.equal(host.drops(), {});
});

const message = (type: number): Ipv4Fields => ({
  protocol: 1,
  payload: icmp.encode({ type, code: 0, payload: new Uint8Array(28) }),
});
const message6 = (type: number): Partial<ipv6.Ipv6> => ({
  nextHeader: 58,
  payload: Uint8Array.of(type, ...NOTHING, 0, 0, 0, 0, 0, 0, 0),
});
const expired = { ttl: 1 };
const expired6 = { hopLimit: 1 };

// RFC 1812, sections 4.3.2.7 and 5.3.7; RFC 4443, section 2.4 (e); RFC 2644; RFC 3927, section 7.
const SILENT: [what: string, frame: string, reason: RouterDrop][] = [
  ['an ICMP error', packetTo(C2.ip, { ...expired, ...message(3) }), 'ttl'],
  ['an ICMP redirect', packetTo(C2.ip, { ...expired, ...message(5) }), 'ttl'],
  ['ICMP that is cut', packetTo(C2.ip, { ...expired, protocol: 1, payload: NOTHING }), 'ttl'],
  ['a later fragment', packetTo(C2.ip, { ...expired, fragmentOffset: 8 }), 'ttl'],
  ['an ICMPv6 error', packetTo6(C2.ip6, { ...expired6, ...message6(1) }), 'ttl'],
  ['an ICMPv6 redirect', packetTo6(C2.ip6, { ...expired6, ...message6(137) }), 'ttl'],
  ['ICMPv6 that is cut', packetTo6(C2.ip6, { ...expired6, nextHeader: 58, payload: NOTHING }), 'ttl'],
  [
    'a later IPv6 fragment',
    packetTo6(C2.ip6, { ...expired6, nextHeader: 44, payload: Uint8Array.of(17, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0) }),
    'ttl',
  ],
  ['from the unspecified address', packetTo(C2.ip, { source: '0.0.0.0' }), 'martian'],
  ['from this network', packetTo(C2.ip, { source: '0.1.2.3' }), 'martian'],
  ['from a loopback address', packetTo(C2.ip, { source: '127.0.0.1' }), 'martian'],
  ['from a group', packetTo(C2.ip, { source: '224.0.0.1' }), 'martian'],
  ['from the broadcast address', packetTo(C2.ip, { source: '255.255.255.255' }), 'martian'],
  ['from the broadcast address of its subnet', packetTo(C2.ip, { source: '10.0.0.255' }), 'martian'],
  ['from its gateway', packetTo(C2.ip, { source: '10.0.0.1' }), 'martian'],
  ['from another gateway', packetTo(C2.ip, { source: '10.0.1.1' }), 'martian'],
  ['from the unspecified IPv6 address', packetTo6(C2.ip6, { source: '::' }), 'martian'],
  ['from the IPv6 loopback address', packetTo6(C2.ip6, { source: '::1' }), 'martian'],
  ['from an IPv6 group', packetTo6(C2.ip6, { source: 'ff02::1' }), 'martian'],
  ['from the gateway’s link-local address', packetTo6(C2.ip6, { source: 'fe80::42:aff:fe00:1' }), 'martian'],
  ['from an IPv6 gateway', packetTo6(C2.ip6, { source: 'fd00:1::1' }), 'martian'],
  ['to the broadcast address', packetTo('255.255.255.255', expired), 'not-routable'],
  ['to a directed broadcast', packetTo('10.0.1.255', expired), 'not-routable'],
  ['to the broadcast address of its subnet', packetTo('10.0.0.255', expired), 'not-routable'],
  ['to a group', packetTo('239.1.1.1', expired), 'not-routable'],
  ['to a loopback address', packetTo('127.0.0.1', expired), 'not-routable'],
  ['to a link-local address', packetTo('169.254.1.1', expired), 'not-routable'],
  ['to an IPv6 group', packetTo6('ff05::1', expired6), 'not-routable'],
  ['to the IPv6 loopback address', packetTo6('::1', expired6), 'not-routable'],
  ['to a link-local IPv6 address', packetTo6('fe80::9', expired6), 'not-routable'],
  ['a reset to the gateway', packetTo('10.0.0.1', { protocol: 6, payload: Uint8Array.from({ length: 20 }, (_, i) => [0x50, 4][i - 12] ?? 0) }), 'gateway-closed'],
  ['an ICMP error to the gateway', packetTo('10.0.0.1', message(3)), 'gateway-closed'],
  ['a fragment to the gateway', packetTo('10.0.0.1', { ...message(8), moreFragments: true }), 'gateway-fragment'],
  ['a later fragment to the gateway', packetTo('10.0.0.1', { ...message(8), fragmentOffset: 8 }), 'gateway-fragment'],
  ['an echo request with a wrong checksum', packetTo('10.0.0.1', { protocol: 1, payload: Uint8Array.of(8, 0, 1, 2, 0, 0, 0, 0) }), 'malformed'],
  ['an ICMPv6 echo request with a wrong checksum', packetTo6('fd00::1', message6(128)), 'malformed'],
  ['no next header', packetTo6('fd00::1', { nextHeader: 59 }), 'gateway-closed'],
  ['a loose source route', packetTo(C2.ip, { options: [{ kind: 131, data: Uint8Array.of(4, 10, 0, 1, 9) }] }), 'source-route'],
  ['a strict source route', packetTo(C2.ip, { options: [{ kind: 1, data: NOTHING }, { kind: 137, data: Uint8Array.of(4, 10, 0, 1, 9) }] }), 'source-route'],
  ['a wrong header checksum', packetTo(C2.ip, { checksum: 1 }), 'checksum'],
  ['a total length beyond the frame', packetTo(C2.ip, { totalLength: 45 }), 'malformed'],
  ['a payload length beyond the frame', packetTo6(C2.ip6, { payloadLength: 25 }), 'malformed'],
  ['LLDP to the gateway', `02420a00000102420a00000388cc${'00'.repeat(46)}`, 'not-ip'],
  ['an ARP packet that is cut', `02420a00000102420a0000030806${'00'.repeat(7)}`, 'malformed'],
]; // prettier-ignore
for (const [what, frame, reason] of SILENT)
  test(`dropped without an answer: ${what}`, () => {
    const host = routerHost();
    assert.is(host.receive(frame).result, DROPPED);
    assert.equal([host.router.reason, host.drops(), host.answers, host.sent], [reason, { [reason]: 1 }, [], []]);
  });

test('a malformed option gets a parameter problem that points to it', () => {
  const host = routerHost();
  const option = { kind: 7, data: Uint8Array.of(0, 0), malformed: true as const };
  assert.is(host.receive(packetTo(C2.ip, { options: [{ kind: 1, data: NOTHING }, option] })).result, ANSWERED);
  const { layers } = dissect(fromHex(host.answers[0]!.frame));
  const error = layers.find(({ protocol }) => protocol === 'icmp') as unknown as icmp.Icmp;
  assert.equal([error.type, error.code, error.pointer], [12, 0, 21]);
  assert.equal(host.drops(), { options: 1 });
});

test('errors are limited in rate, for each port', () => {
  const host = routerHost({ errorsPerSecond: 10 });
  const [packet] = FRAMES['expired']!;
  for (let i = 0; i < 25; i++) host.receive(packet);
  assert.is(host.answers.length, 10);
  assert.is(host.receive(packet, { from: 6 }).result, ANSWERED, 'another port has its own');
  assert.equal([host.counts()['errors'], host.counts()['errors-limited'], host.drops()], [11, 15, { ttl: 26 }]);
  host.wait(500);
  host.clear();
  for (let i = 0; i < 25; i++) host.receive(packet);
  assert.is(host.answers.length, 5);
  for (let i = 0; i < 25; i++) host.receive(FRAMES['echo']![0]);
  assert.is(host.answers.length, 30, 'ping is not limited');
});

// ---- Super-frames ----

test('a super-frame is one decision: TTL and checksum change once, and the size of a segment decides', () => {
  const [segment, size] = [1348, 5];
  const super4 = packetTo(C2.ip, { protocol: 6, dontFragment: true, payload: new Uint8Array(20 + segment * size) });
  const super6 = packetTo6(C2.ip6, { nextHeader: 6, payload: new Uint8Array(20 + segment * size) });
  for (const [frame, header] of [
    [super4, 20],
    [super6, 40],
  ] as const) {
    const host = routerHost();
    const largest = 14 + header + 20 + segment;
    assert.is(host.receive(frame, { packets: size, largest }).result, header === 20 ? FAR : ANSWERED);
    assert.is(host.receive(frame, { packets: size, largest: largest - 20 }).result, FAR);
    const { routed } = host.counts();
    assert.is(routed, header === 20 ? 2 * size : size, 'each packet counts');
    if (header === 40) assert.is(host.drops()['too-big'], size);
    const [before, after] = [frame, host.receive(frame, { packets: size, largest: largest - 20 }).frame];
    const differing = [...after].filter((digit, i) => digit !== before[i]).length;
    assert.ok(differing > 0 && differing < 24 + 8, 'addresses, TTL and checksum');
    const bytes = fromHex(after);
    if (header === 20) assert.ok(ipv4.getTtl(bytes, 14) === 63 && ipv4.verifyChecksum(bytes, 14));
    else assert.is(ipv6.getHopLimit(bytes, 14), 63);
  }
});

test('a super-frame does not wait for an answer, and is not fragmented', () => {
  const host = routerHost(unknown);
  const frame = packetTo(C2.ip, { protocol: 6, payload: new Uint8Array(3000) });
  assert.is(host.receive(frame, { packets: 3, largest: 1034 }).result, DROPPED);
  assert.is(host.router.reason, 'held-super-frame');
  assert.is(host.receive(frame, { packets: 2, largest: 1534 }).result, DROPPED);
  assert.equal(host.drops(), { 'held-super-frame': 3, 'too-big': 2 });
});

test('padding behind a packet does not count as its size', () => {
  const host = routerHost();
  const frame = packetTo(C2.ip, { dontFragment: true, payload: new Uint8Array(1380) });
  assert.is(host.receive(frame + '00'.repeat(30)).result, FAR);
});

// ---- Configuration ----

test('rejects options that do not fit, and names them', () => {
  const { router } = routerHost();
  const bad: [() => unknown, RegExp][] = [
    [() => new Router({ mac: 'x' }), /"x" is not a MAC/],
    [() => new Router({ mac: '01:00:00:00:00:01' }), /router\.mac must be the address of one station/],
    [() => new Router({ mac: '00:00:00:00:00:00' }), /router\.mac/],
    [() => new Router({ mac: GATEWAY_MAC, neighbors: 0 }), /router\.neighbors must be a positive integer, not 0/],
    [() => router.addInterface({ vni: -1, gateway: '10.5.0.1/24' }), /interface\.vni .* 16777215, not -1/],
    [() => router.addInterface({ vni: 1, gateway: '10.5.0.1' }), /"10\.5\.0\.1" is not a prefix/],
    [() => router.addInterface({ vni: 1, gateway: '10.5.0.1/33' }), /is not a prefix/],
    [() => router.addInterface({ vni: 1, gateway: 'fd00::1/129' }), /is not a prefix/],
    [
      () => router.addInterface({ vni: 1, gateway: '224.0.0.1/24' }),
      /interface\.gateway must be the address of one host/,
    ],
    [() => router.addInterface({ vni: 1, gateway: 'ff02::1/64' }), /interface\.gateway must be/],
    [() => router.addInterface({ vni: 1, gateway: '10.5.0.1/24', mtu: 67 }), /interface\.mtu .* 68 to 65535, not 67/],
    [() => router.addInterface({ vni: 1, gateway: '10.0.0.1/16' }), /already the address of a gateway/],
    [() => router.addInterface({ vni: 1, gateway: '10.0.0.2/24' }), /in a subnet that the router already has/],
    [() => router.addRoute({ prefix: '10.9.0.0/16', via: '10.7.0.1' }), /route\.via must be in the subnet/],
    [() => router.addRoute({ prefix: '10.9.0.0/16', via: 'fd00::9' }), /route\.via must be of the address family/],
    [() => router.addRoute({ prefix: '10.0.1.128/24', via: '10.0.0.9' }), /already has a route/],
  ];
  for (const [run, error] of bad) assert.throws(run, error);
});

test('routes through another router, and lists routes', () => {
  const host = routerHost(unknown);
  host.router.addRoute({ prefix: '0.0.0.0/0', via: '10.0.1.4' });
  host.router.addRoute({ prefix: '::/0', via: 'fd00:1::4' });
  host.router.addRoute({ prefix: '10.9.3.7/16', via: '10.0.0.9' });
  assert.equal(host.router.routes(), [
    { prefix: '10.0.0.0/24', vni: NEAR, via: null },
    { prefix: '10.0.1.0/24', vni: FAR, via: null },
    { prefix: '10.9.0.0/16', vni: NEAR, via: '10.0.0.9' },
    { prefix: '0.0.0.0/0', vni: FAR, via: '10.0.1.4' },
    { prefix: 'fd00::/64', vni: NEAR, via: null },
    { prefix: 'fd00:1::/64', vni: FAR, via: null },
    { prefix: '::/0', vni: FAR, via: 'fd00:1::4' },
  ]);
  assert.is(host.receive(packetTo('8.8.8.8')).result, PENDING);
  assert.equal(host.sent, [{ vni: FAR, frame: FRAMES['ask']![0] }], 'it asks for the next router');
  host.receive(FRAMES['ask']![1], { vni: FAR, from: 9 });
  assert.is(host.receive(packetTo('9.9.9.9')).result, FAR);
  assert.is(host.receive(packetTo6('2001:db8::1')).result, PENDING);
  assert.equal(host.sent.at(-1), { vni: FAR, frame: FRAMES['ask6']![0] });
  assert.ok(host.router.removeRoute('10.9.0.0/16'));
  assert.not(host.router.removeRoute('10.9.0.0/16'));
  assert.not(host.router.removeRoute('10.0.0.0/24'), 'the subnet of an interface');
  assert.ok(host.router.removeRoute('0.0.0.0/0'));
  assert.is(host.receive(packetTo('8.8.8.8')).result, ANSWERED);
});

test('an interface can be removed with its routes, neighbors and packets that wait', () => {
  const host = routerHost(unknown);
  host.router.addRoute({ prefix: '0.0.0.0/0', via: '10.0.1.4' });
  host.receive(FRAMES['routed']![0]);
  assert.ok(host.router.removeInterface('10.0.1.1'));
  assert.not(host.router.removeInterface('10.0.1.1'));
  assert.equal([host.router.neighbors(), host.drops()], [[], { 'no-neighbor': 1 }]);
  assert.is(host.receive(FRAMES['routed']![0]).result, ANSWERED);
  assert.is(host.router.reason, 'no-route');
  assert.is(host.receive(FRAMES['echo far']![0]).result, ANSWERED);
  assert.is(host.router.reason, 'no-route', 'its address is no gateway any more');
  assert.is(host.receive(FRAMES['routed6']![0]).result, PENDING, 'the other family stays');
  for (const gateway of ['10.0.0.1', 'fd00::1', 'fd00:1::1']) assert.ok(host.router.removeInterface(gateway));
  assert.is(host.receive(FRAMES['routed']![0]).result, NOT_OURS);
  assert.equal(host.router.routes(), []);
});

test.run();

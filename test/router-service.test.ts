/** Services at the gateways: which datagrams reach them, compared with what scapy writes, and the answers that leave. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect } from '../src/packet/index.js';
import * as udp from '../src/udp/index.js';
import {
  ANSWERED,
  DROPPED,
  TAKEN,
  TUNNEL,
  type RouterDrop,
  type ServiceRequest,
  type Services,
} from '../src/router/index.js';
import { fromHex, hex } from './support/hex.js';
import { C1, C2, FAR, FRAMES, NEAR, packetTo, packetTo6, PORT, routerHost } from './support/router-host.js';

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (one) => one.charCodeAt(0));
const C1_MAC = 0x0242_0a00_0003;

/** A router with services at port 53, of which `most` requests are admitted, and what they get. */
function serving(most = Infinity) {
  const taken: ServiceRequest[] = [];
  const services: Services = {
    ports: new Set([53]),
    admits: () => taken.length < most,
    take: (request) => void taken.push(request),
  };
  const host = routerHost({ services });
  const respond = (request: ServiceRequest, payload: Uint8Array) =>
    host.router.respond(request, payload, 0, {
      answer: (vni, from, bytes, offset, end) =>
        void host.answers.push({ vni, from, frame: hex(bytes.subarray(offset, end)) }),
      send: () => assert.unreachable('an answer is no frame of the router'),
    });
  return { ...host, taken, services, respond };
}

const GATEWAYS: [name: string, source: string, gateway: string][] = [
  ['service', C1.ip, '10.0.0.1'],
  ['service far', C1.ip, '10.0.1.1'],
  ['service6', C1.ip6, 'fd00::1'],
  ['service far6', C1.ip6, 'fd00:1::1'],
  ['service local6', 'fe80::3', 'fe80::42:aff:fe00:1'],
];
for (const [name, source, gateway] of GATEWAYS)
  test(`scapy: ${name}`, () => {
    const { receive, taken, respond, answers, sent, counts, drops } = serving();
    const [request, answer] = FRAMES[name]!;
    assert.equal(receive(request), { result: TAKEN, frame: request });
    assert.equal(
      taken.map(({ payload, ...rest }) => ({ ...rest, payload: hex(payload) })),
      [
        {
          ...{ vni: NEAR, from: PORT, mac: C1_MAC, source, sourcePort: 40_000, gateway, gatewayPort: 53 },
          room: 1450 - (source.includes(':') ? 40 : 20) - 8, // that of the station's segment
          payload: hex(ascii('question')),
        },
      ],
    );
    assert.equal([answers, counts(), drops()], [[], { requests: 1 }, {}]);
    assert.is(respond(taken[0]!, ascii('an answer')), 'sent');
    assert.equal(answers, [{ vni: NEAR, from: PORT, frame: answer }]);
    assert.equal([sent, counts(), drops()], [[], { requests: 1, answers: 1 }, {}]);
  });

test('ports that are not served, and other routers, refuse as before', () => {
  const { receive, taken, services, router, answers } = serving();
  (services.ports as Set<number>).clear();
  for (const [name, , gateway] of GATEWAYS) {
    assert.is(receive(FRAMES[name]![0]).result, ANSWERED, name);
    assert.is(router.reason, 'gateway-closed');
    const [, ip] = dissect(fromHex(answers.at(-1)!.frame)).layers;
    assert.is((ip as { source: string }).source, gateway, 'the error comes from the address that was asked');
  }
  assert.is(routerHost().receive(FRAMES['service']![0]).result, ANSWERED);
  assert.equal(taken, []);
});

const addresses = { source: C1.ip, destination: '10.0.0.1' };
const addresses6 = { source: C1.ip6, destination: 'fd00::1' };
const question = { sourcePort: 40_000, destinationPort: 53, payload: ascii('question') };
/** A frame of {@link C1} to port 53 of the gateway, whose datagram may have any fields. */
const ask = (fields: Partial<udp.Udp> = {}, source = C1.ip, more: object = {}): string =>
  packetTo('10.0.0.1', { source, payload: udp.encode({ ...question, ...fields }, { ...addresses, source }), ...more });
const ask6 = (fields: Partial<udp.Udp> = {}, source = C1.ip6): string =>
  packetTo6('fd00::1', { source, payload: udp.encode({ ...question, ...fields }, { ...addresses6, source }) });

const REFUSED: [name: string, frame: string, reason: RouterDrop][] = [
  ['a wrong checksum', ask({ checksum: 0x1234 }), 'gateway-datagram'],
  ['a wrong checksum, IPv6', ask6({ checksum: 0x1234 }), 'gateway-datagram'],
  ['no checksum over IPv6', ask6({ checksum: 0 }), 'gateway-datagram'],
  ['a length beyond the packet', ask({ length: 17 }), 'gateway-datagram'],
  ['a length less than the header', ask6({ length: 7 }), 'gateway-datagram'],
  ['no port to answer to', ask({ sourcePort: 0 }), 'gateway-datagram'],
  ['a first fragment', ask({}, C1.ip, { moreFragments: true }), 'gateway-fragment'],
  ['another fragment', ask({}, C1.ip, { fragmentOffset: 8 }), 'gateway-fragment'],
  ['a station of the other subnet', ask({}, C2.ip), 'gateway-source'],
  ['a station of the other subnet, IPv6', ask6({}, C2.ip6), 'gateway-source'],
  ['a stranger', ask({}, '8.8.8.8'), 'gateway-source'],
  ['the address of the subnet', ask({}, '10.0.0.0'), 'gateway-source'],
  ['the anycast address of routers', ask6({}, 'fd00::'), 'gateway-source'],
  ['the broadcast address', ask({}, '10.0.0.255'), 'martian'],
  ['nobody', ask6({}, '::'), 'martian'],
  ['a gateway', ask({}, '10.0.1.1'), 'martian'],
];
for (const [name, frame, reason] of REFUSED)
  test(`a datagram is no request: ${name}`, () => {
    const { receive, taken, answers, drops } = serving();
    assert.is(receive(frame).result, DROPPED);
    assert.equal([taken, answers, drops()], [[], [], { [reason]: 1 }]);
  });

test('a datagram is a request without a checksum over IPv4, with bytes behind it, and without data', () => {
  const { receive, taken, drops } = serving();
  const surplus = fromHex(ask()).slice(34);
  for (const frame of [
    ask({ checksum: 0 }),
    packetTo('10.0.0.1', { payload: Uint8Array.of(...surplus, 1, 2, 3) }), // RFC 9868
    ask() + '0000', // padding of Ethernet
    ask6({ payload: new Uint8Array(0) }),
  ])
    assert.is(receive(frame).result, TAKEN);
  assert.equal(
    taken.map(({ payload }) => payload.length),
    [8, 8, 8, 0],
  );
  assert.equal(drops(), {});
});

test('out of a tunnel, no datagram is a request: the gateway of its own host answers a station', () => {
  const { receive, taken, answers, drops } = serving();
  for (const [name] of GATEWAYS) assert.is(receive(FRAMES[name]![0], { from: TUNNEL }).result, DROPPED, name);
  assert.equal([taken, answers, drops()], [[], [], { 'from-tunnel': GATEWAYS.length }]);
});

test('the datagrams of a super-frame are requests, as many as are admitted', () => {
  const payload = ascii('question'.repeat(3) + 'last');
  // A super-frame has no valid UDP checksum: the sender of its segments computes theirs.
  for (const frame of [ask({ payload, checksum: 0x1234 }), ask6({ payload, checksum: 0x1234 })]) {
    const { receive, taken, counts, drops } = serving(3);
    const largest = frame.length / 2 - payload.length + 8;
    assert.is(receive(frame, { packets: 4, largest }).result, TAKEN);
    assert.equal(
      taken.map((one) => hex(one.payload)),
      Array.from({ length: 3 }, () => hex(ascii('question'))),
    );
    assert.equal([counts(), drops()], [{ requests: 3 }, { 'gateway-busy': 1 }]);
    assert.is(receive(frame, { packets: 4, largest }).result, DROPPED);
    assert.equal(drops(), { 'gateway-busy': 5 });
  }
  const { receive, taken } = serving();
  const frame = ask({ payload, checksum: 0 });
  receive(frame, { packets: 4, largest: frame.length / 2 - payload.length + 8 });
  assert.is(hex(taken[3]!.payload), hex(ascii('last')));
});

test('the owner gets a copy of the payload', () => {
  const { receive, taken, router } = serving();
  const bytes = fromHex(FRAMES['service']![0]);
  const sink = { answer: () => assert.unreachable(), send: () => assert.unreachable() };
  assert.is(router.receive(NEAR, PORT, bytes, 0, bytes.length, 0, sink), TAKEN);
  bytes.fill(0);
  assert.equal(taken[0]!.payload, ascii('question'));
  receive(FRAMES['service6']![0]);
  assert.is(taken[1]!.payload.buffer.byteLength, 8, 'and nothing of other buffers');
});

test('an answer has to fit into a packet: a longer one is refused and counted', () => {
  for (const [name, header] of [
    ['service', 28],
    ['service6', 48],
  ] as const) {
    const { receive, taken, respond, answers, counts, drops } = serving();
    receive(FRAMES[name]![0]);
    const [request] = taken as [ServiceRequest];
    assert.is(respond(request, new Uint8Array(request.room + 1)), 'too-big');
    assert.equal([answers, drops(), counts()], [[], { 'gateway-answer': 1 }, { requests: 1 }]);
    assert.is(respond(request, new Uint8Array(request.room)), 'sent');
    assert.is(answers[0]!.frame.length / 2, 14 + 1450);
    assert.is(request.room, 1450 - header);
  }
});

test('no answer leaves for a gateway or a segment that has gone', () => {
  const { receive, taken, respond, router, answers, drops } = serving();
  for (const [name] of GATEWAYS) receive(FRAMES[name]![0]);
  assert.is(taken.length, GATEWAYS.length);
  router.removeInterface('10.0.1.1');
  router.removeInterface('fd00::1');
  assert.equal(
    taken.map((request) => respond(request, ascii('an answer'))),
    ['sent', 'late', 'late', 'late', 'late'],
  );
  router.removeInterface('10.0.0.1');
  assert.is(respond(taken[0]!, ascii('an answer')), 'late');
  assert.equal([answers.length, drops()], [1, { 'gateway-late': 5 }]);
});

test('a datagram that is explained reaches no service', () => {
  const { receive, taken, router, counts } = serving();
  router.dry = true;
  assert.is(receive(FRAMES['service']![0]).result, TAKEN);
  assert.equal([taken, counts(), router.service, router.reason], [[], {}, 53, null]);
  router.dry = false;
  assert.is(receive(FRAMES['service']![0]).result, TAKEN);
  assert.is(taken.length, 1);
});

test('the port of a station tells segments apart: an answer goes where the request came from', () => {
  const { receive, taken, respond, answers } = serving();
  const frame = packetTo('10.0.1.1', {
    source: C2.ip,
    payload: udp.encode(question, { source: C2.ip, destination: '10.0.1.1' }),
  });
  assert.is(receive(frame, { vni: FAR, from: 9 }).result, TAKEN);
  assert.is(taken[0]!.room, 1400 - 28);
  respond(taken[0]!, ascii('x'));
  assert.equal([answers[0]!.vni, answers[0]!.from], [FAR, 9]);
});

test.run();

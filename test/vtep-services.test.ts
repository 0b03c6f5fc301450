/** Services at the gateways of a VTEP: their requests wait within bounds. Expected frames are scapy's. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect, type Layer } from '../src/packet/index.js';
import { Frame, HEADROOM, MAX_REQUESTS } from '../src/vtep/index.js';
import { exitCode, readable } from '../src/cli/explain.js';
import { fromHex, hex } from './support/hex.js';
import { C1, C2, FAR, FRAMES, frameOf, GATEWAY_MAC, NEAR, NETWORK } from './support/router-host.js';
import { host, tag, wrap } from './support/vtep-host.js';

const H2 = '192.168.1.25';
const [ASK, ANSWER] = FRAMES['service']!.map(fromHex) as [Uint8Array, Uint8Array];
const [ASK6, ANSWER6] = FRAMES['service6']!.map(fromHex) as [Uint8Array, Uint8Array];

/** A VTEP with the router of two segments and a service at port 53 of its gateways, and ports in the first one. */
function serving(ports = 1, options: Parameters<typeof host>[1] = {}) {
  const one = host({ vni: NEAR }, options);
  one.vtep.addSegment({ vni: FAR, mtu: 1400 });
  one.vtep.addRouter(NETWORK);
  one.vtep.services.serve(53);
  const numbers = Array.from({ length: ports }, (_, i) => one.vtep.addPort({ name: `tap${i}`, vni: NEAR }));
  return { ...one, ports: numbers, port: numbers[0]! };
}

/** A request of a station to the gateway of its subnet. */
const requestOf = ({ ip: source, mac }: { ip: string; mac: string }): Uint8Array =>
  fromHex(
    frameOf([
      { protocol: 'ethernet', destination: GATEWAY_MAC, source: mac },
      { protocol: 'ipv4', source, destination: source.replace(/\d+$/, '1') },
      { protocol: 'udp', sourcePort: 5000, destinationPort: 53 },
      { protocol: 'payload', bytes: fromHex('2a') },
    ]),
  );

test('a request goes up with its segment, and its answer to the port that it came from', () => {
  const { vtep, port, ports, frame, requests, answer, delivered, sent, count, drops } = serving(2);
  vtep.addPeer(NEAR, H2);
  frame(port, ASK);
  assert.equal([delivered, sent], [[], []]);
  assert.equal(
    requests.map(({ payload, ...rest }) => ({ ...rest, payload: String.fromCharCode(...payload) })),
    [
      {
        ...{ id: 0, vni: NEAR, port, mac: C1.mac, source: C1.ip, sourcePort: 40_000 },
        ...{ gateway: '10.0.0.1', gatewayPort: 53, payload: 'question', room: 1422 },
      },
    ],
  );
  assert.is(vtep.services.waiting, 1);
  assert.is(answer(0, 'an answer'), 'sent');
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[port, hex(ANSWER)]],
  );
  frame(ports[1]!, ASK6);
  assert.is(answer(1, 'an answer'), 'sent');
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[ports[1], hex(ANSWER6)]],
  );
  assert.equal([sent, drops(), vtep.services.waiting], [[], {}, 0]);
  assert.equal([count('gateway-requests'), count('gateway-answers'), count('frames-out')], [2, 2, 2]);
  const near = vtep.counters().segments.find(({ vni }) => vni === NEAR)!.counts;
  assert.equal([near['gateway-requests'], near['gateway-answers']], [2, 2]);
});

test('on a trunk, an answer has the tag of its request', () => {
  const { vtep, frame, requests, answer, delivered } = serving();
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: NEAR, 20: FAR } });
  frame(trunk, tag(ASK, 10));
  assert.is(requests[0]!.vni, NEAR);
  answer(0, 'an answer');
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[trunk, hex(tag(ANSWER, 10))]],
  );
});

test('datagrams of other hosts are no requests', () => {
  const { vtep, datagram, requests, delivered, drops } = serving();
  vtep.addPeer(NEAR, H2);
  for (const one of [ASK, ASK6]) datagram(H2, wrap(one, '0800000000100100'));
  assert.equal([requests, delivered, drops()], [[], [], { 'router-from-tunnel': 2 }]);
});

test('without a service, and after its end, the gateway refuses; answers to requests before that leave', () => {
  const { vtep, port, frame, requests, answer, delivered, drops } = serving();
  vtep.services.serve(54);
  frame(port, ASK);
  assert.ok(vtep.services.unserve(53));
  assert.not(vtep.services.unserve(53));
  frame(port, ASK);
  assert.equal([requests.length, delivered.length, drops()], [1, 1, { 'router-gateway-closed': 1 }]);
  const [error] = dissect(delivered[0]!.frame).layers.filter(
    (layer): layer is Extract<Layer, { protocol: 'icmp' }> => layer.protocol === 'icmp',
  );
  assert.equal([error!.type, error!.code], [3, 3]); // port unreachable, RFC 792
  assert.is(answer(0, 'an answer'), 'sent');
  assert.is(delivered.length, 1);
  for (const bad of [0, -1, 1.5, 65_536, NaN]) assert.throws(() => vtep.services.serve(bad), /port must be/);
});

test('a network that is added later has the services too', () => {
  const { vtep, port, frame, requests } = serving();
  vtep.removeRouter(NETWORK.id);
  vtep.addRouter(NETWORK);
  frame(port, ASK);
  assert.is(requests.length, 1);
});

test('nothing waits for an answer that is never given, after ten seconds; no answer is one too', () => {
  const { vtep, port, frame, answer, delivered, wait, tick, drops } = serving();
  frame(port, ASK);
  wait(9_000);
  frame(port, ASK);
  frame(port, ASK);
  assert.is(answer(2, null), null);
  assert.equal([vtep.services.waiting, delivered], [2, []]);
  tick();
  assert.is(vtep.services.waiting, 2);
  wait(1_000);
  tick();
  assert.is(vtep.services.waiting, 1, 'the first one is given up');
  assert.is(answer(0, 'an answer'), 'late');
  assert.is(answer(2, 'an answer'), 'late', 'answered before');
  assert.is(answer(99, 'an answer'), 'late', 'never asked');
  assert.is(answer(0, null), null);
  assert.equal([delivered, drops()], [[], { 'router-gateway-late': 3 }]);
  assert.is(answer(1, 'an answer'), 'sent');
});

test('an answer for a port, a segment or a gateway that has gone is not sent', () => {
  const { vtep, ports, frame, answer, delivered, drops } = serving(3);
  for (const port of ports) frame(port, ASK);
  vtep.removePort(ports[0]!);
  vtep.forgetPort(ports[1]!);
  assert.is(vtep.services.waiting, 1);
  assert.equal([answer(0, 'x'), answer(1, 'x')], ['late', 'late']);
  vtep.removeRouter(NETWORK.id);
  assert.is(answer(2, 'x'), 'late');
  assert.equal([delivered, drops()], [[], { 'router-gateway-late': 3 }]);
});

test('an answer beyond the MTU is refused, and counted in its segment', () => {
  const { vtep, port, frame, requests, answer, delivered, drops } = serving();
  frame(port, ASK);
  assert.is(answer(0, 'x'.repeat(requests[0]!.room + 1)), 'too-big');
  assert.equal([delivered, drops(), vtep.services.waiting], [[], { 'router-gateway-answer': 1 }, 0]);
});

test('a station that sends too many leaves places for others, and no station gets all of them', () => {
  const { vtep, ports, frame, requests, drops } = serving(200);
  const flood = (port: number): number => {
    const before = requests.length;
    for (let i = 0; i < 300; i++) frame(port, requestOf(C1));
    return requests.length - before;
  };
  const first = flood(ports[0]!);
  assert.ok(first <= MAX_REQUESTS / 4 && first >= MAX_REQUESTS / 8, `${first}`);
  assert.equal(drops(), { 'router-gateway-busy': 300 - first });
  // Many others flood as well; still, everyone's next request has a place.
  for (let i = 1; i < 20; i++) assert.ok(flood(ports[i]!) > 0);
  frame(ports[50]!, requestOf(C1));
  assert.is(requests.at(-1)!.port, ports[50]);
  for (const port of ports) flood(port);
  assert.ok(vtep.services.waiting <= MAX_REQUESTS, `${vtep.services.waiting}`);
  assert.is(requests.length, vtep.services.waiting);
});

test('the rate of one port is limited, whatever the service manages', () => {
  const { ports, frame, requests, answer, wait } = serving(2);
  const asked = (port: number, times: number): number => {
    const before = requests.length;
    for (let i = 0; i < times; i++) {
      frame(port, requestOf(C1));
      if (requests.length > before) answer(requests.length - 1, 'x');
    }
    return requests.length - before;
  };
  assert.is(asked(ports[0]!, 3000), 2000);
  assert.is(asked(ports[1]!, 100), 100, 'another port');
  wait(500);
  assert.is(asked(ports[0]!, 3000), 1000);
});

test('nobody takes requests: they are dropped, and nothing waits', () => {
  const { vtep, port } = serving();
  const bytes = new Uint8Array(HEADROOM + ASK.length);
  bytes.set(ASK, HEADROOM);
  const sink = { deliver: () => assert.unreachable(), transmit: () => assert.unreachable() };
  vtep.receiveFrame(port, new Frame(bytes, HEADROOM), 0, sink);
  assert.is(vtep.services.waiting, 0);
  assert.is(vtep.counters().drops['router-gateway-busy'], 1);
});

test('a request is explained: the service gets it, and nothing happens', () => {
  const { vtep, port, requests, now } = serving();
  const explanation = vtep.explain({ port, frame: ASK }, now());
  assert.equal(explanation.steps.at(-1), {
    stage: 'router',
    text: 'the service of this host at UDP port 53 of the gateway gets it',
  });
  assert.equal([explanation.dropped, explanation.delivered, explanation.service], [null, [], 53]);
  assert.is(exitCode(explanation, 'tap0'), 0);
  assert.is(readable(explanation).at(-1), "=> goes to UDP port 53 of this host's gateway");
  assert.equal([requests, vtep.services.waiting, vtep.counters().counts['gateway-requests']], [[], 0, 0]);
  const stranger = ASK.slice();
  stranger[29] = 99; // its source address, without the sum of the header
  assert.is(vtep.explain({ port, frame: stranger }, now()).dropped, 'router-checksum');
  const wrong = ASK.slice();
  wrong[40]! ^= 1;
  const refused = vtep.explain({ port, frame: wrong }, now());
  assert.equal([refused.dropped, refused.service], ['router-gateway-datagram', undefined]);
  assert.is(exitCode(refused, 'tap0'), 3);
  vtep.services.unserve(53);
  assert.is(vtep.explain({ port, frame: ASK }, now()).dropped, 'router-gateway-closed');
});

test('a super-frame of a TAP becomes requests, one for each datagram', () => {
  const { vtep, port, requests } = serving();
  const datagrams = 3;
  const extra = 8 * (datagrams - 1);
  const bytes = new Uint8Array(HEADROOM + ASK.length + extra);
  bytes.set(ASK, HEADROOM);
  bytes.set(fromHex('0102030405060708'.repeat(2)), HEADROOM + ASK.length);
  const view = new DataView(bytes.buffer);
  const ip = HEADROOM + 14;
  const total = view.getUint16(ip + 2) + extra;
  view.setUint16(ip + 2, total);
  view.setUint16(ip + 24, total - 20);
  const sum = view.getUint16(ip + 10) - extra;
  view.setUint16(ip + 10, sum);
  const frame = new Frame().setMany(bytes, HEADROOM, bytes.length, datagrams, bytes.length, ASK.length);
  const sink = {
    deliver: () => assert.unreachable(),
    transmit: () => assert.unreachable(),
    request: (what: (typeof requests)[number]) => void requests.push(what),
  };
  vtep.receiveFrame(port, frame, 0, sink);
  assert.equal(
    requests.map(({ payload }) => hex(payload)),
    [Buffer.from('question').toString('hex'), '0102030405060708', '0102030405060708'],
  );
  assert.is(vtep.counters().counts['gateway-requests'], 3);
});

test('a station of the other subnet asks the gateway of its own segment', () => {
  const { vtep, frame, requests, answer, delivered } = serving();
  const far = vtep.addPort({ name: 'far', vni: FAR });
  frame(far, requestOf(C2));
  assert.equal([requests[0]!.vni, requests[0]!.gateway, requests[0]!.source], [FAR, '10.0.1.1', C2.ip]);
  answer(0, 'x');
  assert.is(delivered[0]!.port, far);
});

test.run();

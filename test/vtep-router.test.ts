/** The router of a network within a VTEP: which frames it takes, and where its packets go. Expected frames are scapy's. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import type { NetworkRouter } from '../src/model/index.js';
import { dissect, type Layer } from '../src/packet/index.js';
import { Frame, type Learned } from '../src/vtep/index.js';
import { arpRequest, BROADCAST, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { C1, C2, FAR, FRAMES, GATEWAY_MAC, NEAR, NETWORK } from './support/router-host.js';
import { host, tag, wrap } from './support/vtep-host.js';

const H2 = '192.168.1.25';
const H3 = '192.168.1.26';
const HEADER_OF: Readonly<Record<number, string>> = { [NEAR]: '0800000000100100', [FAR]: '0800000000100200' };
const GATEWAY = { ip: '10.0.0.1', mac: GATEWAY_MAC };

/** A VTEP with the router of two segments, of which `FAR` has an MTU of 1400 bytes, and a port in `NEAR`. */
function routed(near: Parameters<typeof host>[0] = {}, options: Parameters<typeof host>[1] = {}) {
  const one = host({ vni: NEAR, ...near }, options);
  one.vtep.addSegment({ vni: FAR, mtu: 1400 });
  one.vtep.addRouter(NETWORK);
  return { ...one, port: one.vtep.addPort({ name: 'tap0', vni: NEAR }) };
}

const find = <P extends Layer['protocol']>(frame: Uint8Array, protocol: P) =>
  dissect(frame).layers.find((layer) => layer.protocol === protocol) as Extract<Layer, { protocol: P }>;
/** RFC 826: a broadcast request from 10.0.1.1 for 10.0.1.4. */
const QUESTION = 'ffffffffffff02420a000001080600010800060400010242' + '0a0000010a0001010000000000000a000104';
const [BEFORE, AFTER] = FRAMES['routed']!.map(fromHex) as [Uint8Array, Uint8Array];

test('a packet to the other subnet leaves in the segment of its destination, through the tunnel or a port', () => {
  const { vtep, port, frame, sent, delivered, count, now } = routed();
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  frame(port, BEFORE);
  assert.equal(delivered, []);
  assert.equal(
    sent.map(({ address, datagram }) => [address, hex(datagram)]),
    [[H2, HEADER_OF[FAR]! + hex(AFTER)]],
  );
  vtep.removeEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac });
  const far = vtep.addPort({ name: 'tap1', vni: FAR });
  frame(far, udpFrame(C2, { ip: '10.0.1.9', mac: BROADCAST }));
  frame(port, BEFORE);
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[far, hex(AFTER)]],
  );
  assert.is(count('routed'), 2);
  const counts = (vni: number) => vtep.counters().segments.find((one) => one.vni === vni)!.counts;
  assert.equal([counts(NEAR)['frames-in'], counts(NEAR).routed, counts(FAR).routed], [2, 2, 0]);
  assert.equal([counts(FAR)['datagrams-out'], counts(FAR)['frames-out']], [1, 1]);
  assert.equal(
    vtep.fdb(FAR, now()).map(({ mac }) => mac),
    [C2.mac],
  );
});

test('a packet to a silent endpoint is routed between two VLANs of one trunk', () => {
  const { vtep, frame, delivered, drops } = routed();
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: NEAR, 20: FAR } });
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac });
  frame(trunk, tag(BEFORE, 10));
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[trunk, hex(tag(AFTER, 20))]],
  );
  assert.equal(drops(), {});
});

test('gateways answer ARP, whatever the proxy and the flooding are, and ping', () => {
  for (const proxy of ['endpoint', 'vtep', 'off'] as const)
    for (const flood of [true, false]) {
      const { vtep, port, frame, sent, delivered, count } = routed({ proxy, flood });
      const other = vtep.addPort({ name: 'tap1', vni: NEAR });
      vtep.addPeer(NEAR, H2);
      frame(port, arpRequest(C1, '10.0.0.1'));
      assert.equal(
        delivered.map((one) => [one.port, hex(one.frame)]),
        [[port, FRAMES['arp']![1]]],
      );
      frame(port, fromHex(FRAMES['echo']![0]));
      assert.equal(
        delivered.map((one) => [one.port, hex(one.frame)]),
        [[port, FRAMES['echo']![1]]],
      );
      assert.equal([count('gateway-arp'), count('gateway-echo'), sent.length, other > port], [1, 1, 0, true]);
      // A frame to a neighbor is none of the router's.
      frame(port, udpFrame(C1, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09' }));
      assert.is(sent.length, flood ? 1 : 0);
    }
});

test('every host routes from the same MAC address: it is learned nowhere, and no port may have it', () => {
  const { vtep, port, frame, datagram, delivered, count, drops, now } = routed();
  const elsewhere = { ip: '10.0.1.9', mac: GATEWAY_MAC };
  for (const from of [H2, H3, H2]) {
    datagram(from, wrap(udpFrame(elsewhere, C1), HEADER_OF[NEAR]));
    assert.is(delivered.length, 1);
  }
  assert.equal([count('moved'), count('learned')], [0, 0]);
  assert.equal(vtep.fdb(NEAR, now()), []);
  frame(port, udpFrame(elsewhere, C1));
  assert.equal(drops(), { 'source-own': 1 });
  assert.equal(delivered, []);
  assert.equal(vtep.findings(now()), []);
});

test('what the gateway does not accept out of a tunnel, and claims of its address', () => {
  const { port, frame, datagram, delivered, sent, drops } = routed();
  datagram(H2, wrap(BEFORE, HEADER_OF[NEAR]));
  assert.equal([delivered, sent, drops()], [[], [], { 'router-from-tunnel': 1 }]);
  datagram(H2, wrap(arpRequest(C1, '10.0.0.1'), HEADER_OF[NEAR]));
  assert.equal([delivered, drops()], [[], { 'router-from-tunnel': 1, 'router-gateway-remote': 1 }]);
  frame(port, arpRequest({ ...C1, ip: '10.0.0.1' }, C1.ip));
  assert.is(drops()['router-gateway-claim'], 1);
});

test('with peersOnly, a host that the control plane knows in one subnet may send into the others', () => {
  const { vtep, datagram, delivered, drops } = routed({}, { peersOnly: true });
  const packet = wrap(udpFrame({ ip: C2.ip, mac: GATEWAY_MAC }, C1), HEADER_OF[NEAR]);
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  datagram(H2, packet);
  assert.is(delivered.length, 1);
  datagram(H3, packet);
  assert.equal(drops(), { 'unknown-peer': 1 });
  vtep.removeRouter('prod-net');
  datagram(H2, packet);
  assert.equal(drops(), { 'unknown-peer': 2 });
});

test('a path narrower than the segment: an error from the near gateway, or fragments', () => {
  const { vtep, port, frame, sent, delivered, count, drops } = routed();
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  vtep.remote(H2)!.outerMtu = 1050;
  const size = 1300;
  const packet = (dontFragment: boolean): Uint8Array =>
    udpFrame({ ...C1 }, { ip: C2.ip, mac: GATEWAY_MAC }, { size, ip: { dontFragment } });
  frame(port, packet(true));
  assert.equal([delivered.length, sent.length], [1, 0]);
  const { frame: error, port: to } = delivered[0]!;
  assert.is(to, port);
  assert.equal([find(error, 'ethernet').source, find(error, 'ethernet').destination], [GATEWAY_MAC, C1.mac]);
  assert.equal([find(error, 'ipv4').source, find(error, 'ipv4').destination], ['10.0.0.1', C1.ip]);
  const { type, code, nextHopMtu } = find(error, 'icmp');
  assert.equal([type, code, nextHopMtu], [3, 4, 1000]);
  assert.equal(drops(), { 'router-too-big': 1 });
  assert.is(count('routed'), 0);

  frame(port, packet(false));
  const parts = sent.map(({ datagram }) => find(datagram.subarray(8), 'ipv4'));
  assert.equal(
    parts.map(({ fragmentOffset, moreFragments, ttl }) => [fragmentOffset, moreFragments, ttl]),
    [
      [0, true, 63],
      [976, false, 63],
    ],
  );
  assert.is(
    parts.reduce((sum, { totalLength }) => sum + totalLength - 20, 0),
    size + 8,
  );
  assert.equal([count('gateway-fragments'), count('routed')], [2, 2]);
  for (const { datagram } of sent) assert.is(hex(datagram.subarray(0, 8)), HEADER_OF[FAR]);
});

test('an unknown next hop: the gateway asks its ports and peers, and the packet leaves with the answer', () => {
  const { vtep, port, frame, datagram, sent, delivered, tick, wait } = routed();
  vtep.addPeer(FAR, H2);
  const far = vtep.addPort({ name: 'tap1', vni: FAR });
  frame(port, BEFORE);
  assert.equal([delivered.map((one) => one.port), sent.map(({ address }) => address)], [[far], [H2]]);
  assert.is(hex(delivered[0]!.frame), QUESTION);
  assert.equal(hex(sent[0]!.datagram.subarray(8)), hex(delivered[0]!.frame));
  const answer = arpReply();
  datagram(H2, wrap(answer, HEADER_OF[FAR]));
  assert.equal([delivered.length, sent.map((one) => hex(one.datagram))], [0, [HEADER_OF[FAR]! + hex(AFTER)]]);
  assert.is(sent[0]!.address, H2);
  // An answer from a port goes to the hosts of all subnets: one of them may have asked.
  vtep.addPeer(NEAR, H3);
  frame(far, answer);
  assert.equal(sent.map(({ address }) => address).sort(), [H2, H3]);
  for (const { datagram: one } of sent) assert.is(hex(one), HEADER_OF[FAR]! + hex(answer));
  assert.equal(delivered, []);
  // Without an answer, its sender is told.
  frame(port, packetOf('10.0.1.99'));
  for (let i = 0; i < 3; i++) {
    wait(1000);
    tick();
  }
  assert.equal([find(delivered[0]!.frame, 'icmp').type, find(delivered[0]!.frame, 'icmp').code], [3, 1]);
  assert.is(delivered[0]!.port, port);
});

const packetOf = (ip: string): Uint8Array => udpFrame({ ...C1 }, { ip, mac: GATEWAY_MAC });

test('an answer from a port releases what waits for it, and goes to the peers as itself', () => {
  const { vtep, port, frame, sent, delivered } = routed();
  vtep.addPeer(FAR, H2);
  const far = vtep.addPort({ name: 'tap1', vni: FAR });
  frame(port, BEFORE);
  frame(far, arpReply());
  assert.equal(
    delivered.map((one) => [one.port, hex(one.frame)]),
    [[far, hex(AFTER)]],
  );
  // ECN 0: the octet at the place of an IPv4 header's is part of the ARP packet.
  assert.equal(
    sent.map(({ address, datagram, tos }) => [address, hex(datagram), tos]),
    [[H2, HEADER_OF[FAR]! + hex(arpReply()), 0]],
  );
});

test('a packet that waited is too big for the path that its answer shows: it is dropped', () => {
  const { vtep, port, frame, datagram, sent, delivered, drops } = routed();
  vtep.addPeer(FAR, H2);
  frame(port, udpFrame(C1, { ip: C2.ip, mac: GATEWAY_MAC }, { size: 1300, ip: { dontFragment: true } }));
  vtep.remote(H2)!.outerMtu = 1050;
  datagram(H2, wrap(arpReply(), HEADER_OF[FAR]));
  assert.equal([sent, delivered, drops()], [[], [], { 'too-big': 1 }]);
});

test('a router takes its MAC address from where it was learned before', () => {
  const { vtep, datagram, now } = routed();
  vtep.removeRouter('prod-net');
  datagram(H2, wrap(udpFrame({ ip: C2.ip, mac: GATEWAY_MAC }, C1), HEADER_OF[NEAR]));
  assert.is(vtep.fdb(NEAR, now()).length, 1);
  vtep.addRouter(NETWORK);
  assert.equal(vtep.fdb(NEAR, now()), []);
});

test('packets that wait are lost with the router, and counted', () => {
  const { vtep, port, frame, drops, tick, wait, delivered } = routed();
  vtep.addPeer(FAR, H2);
  for (let i = 0; i < 3; i++) frame(port, BEFORE);
  vtep.removeRouter('prod-net');
  assert.equal(drops(), { 'router-no-neighbor': 3 });
  wait(10_000);
  tick();
  assert.equal(delivered, []);
});

test('one of several machines asks, and another one gets the answer', () => {
  const asking = routed();
  asking.vtep.addPeer(FAR, H2);
  asking.frame(asking.port, BEFORE);
  const answering = routed();
  const heard: { ip: string }[] = [];
  const answer = arpReply();
  answering.vtep.receiveDatagram(H2, new Frame(wrap(answer, HEADER_OF[FAR])), 0, 0, {
    deliver: () => undefined,
    transmit: () => undefined,
    learned: (_: Learned) => undefined,
    answered: (what) => void heard.push(what),
  });
  assert.equal(heard, [{ vni: FAR, ip: C2.ip, mac: 0x0242_0a00_0104 }]);
  const sent: string[] = [];
  asking.vtep.adoptAnswer({ vni: FAR, ip: C2.ip, mac: 0x0242_0a00_0104 }, 1, {
    deliver: () => undefined,
    transmit: (_, { bytes: all, start, end }) => void sent.push(hex(all.subarray(start, end))),
  });
  assert.equal(sent, [HEADER_OF[FAR]! + hex(AFTER)]);
});

function arpReply(): Uint8Array {
  return ethernet.encode({
    destination: GATEWAY_MAC,
    source: C2.mac,
    etherType: ethernet.TYPE_ARP,
    payload: arp.encode({
      operation: arp.REPLY,
      senderMac: C2.mac,
      senderIp: C2.ip,
      targetMac: GATEWAY_MAC,
      targetIp: '10.0.1.1',
    }),
  });
}

test('a trunk in both segments: a routed packet returns through it with the other tag', () => {
  const { vtep, frame, delivered, sent } = routed();
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: NEAR, 20: FAR } });
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac });
  frame(trunk, tag(udpFrame(C2, { ip: '10.0.1.9', mac: BROADCAST }), 20));
  frame(trunk, tag(BEFORE, 10));
  assert.equal([delivered.map((one) => [one.port, hex(one.frame)]), sent], [[[trunk, hex(tag(AFTER, 20))]], []]);
  frame(trunk, tag(arpRequest(C1, '10.0.0.1'), 10));
  assert.is(hex(delivered[0]!.frame.subarray(12, 16)), '8100000a');
});

test('a frame with a tag within the segment is not routed', () => {
  const { vtep, port, frame, sent, count } = routed({ tagged: true });
  vtep.addPeer(NEAR, H2);
  frame(port, tag(BEFORE, 10));
  assert.equal(
    [sent.map(({ datagram }) => hex(datagram)), count('routed')],
    [[HEADER_OF[NEAR]! + hex(tag(BEFORE, 10))], 0],
  );
});

test('a super-frame is routed with one decision, and counted as its packets', () => {
  const { vtep, port, count } = routed();
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  const big = udpFrame(C1, { ip: C2.ip, mac: GATEWAY_MAC }, { size: 8000 });
  const bytes = new Uint8Array(16 + big.length);
  bytes.set(big, 16);
  const out: [number, number, number][] = [];
  const sink = {
    deliver: () => assert.unreachable(),
    transmit: (_: unknown, { bytes: all, start, end }: Frame) => void out.push([all === bytes ? 1 : 0, start, end]),
  };
  vtep.receiveFrame(port, new Frame().setMany(bytes, 16, bytes.length, 6, big.length + 5 * 54, 1414), 0, sink);
  assert.equal(out, [[1, 8, bytes.length]], 'in place');
  assert.equal([count('routed'), count('datagrams-out'), count('frames-in')], [6, 6, 6]);
  const packet = find(bytes.subarray(16), 'ipv4');
  assert.equal([packet.ttl, packet.destination], [63, C2.ip]);
});

test('explain says what the router does, and leaves no trace', () => {
  const { vtep, port, frame, sent } = routed();
  vtep.addPeer(FAR, H2);
  const before = JSON.stringify(vtep.counters());
  const steps = (data: Uint8Array): string[] => {
    const { steps, dropped } = vtep.explain({ port, frame: data }, 0);
    return [
      ...steps.filter(({ stage }) => stage === 'router').map(({ text }) => text),
      ...(dropped === null ? [] : [dropped]),
    ];
  };
  assert.equal(steps(BEFORE), [
    'the packet waits until the gateway knows the MAC address of its next hop, for which it asks',
  ]);
  assert.equal(steps(fromHex(FRAMES['expired']![0])), ['the gateway answers', 'router-ttl']);
  assert.equal(steps(arpRequest(C1, '10.0.0.1')), ['the gateway answers']);
  assert.is(JSON.stringify(vtep.counters()), before);
  assert.equal(vtep.routerNeighbors('prod-net'), []);
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  assert.equal(steps(BEFORE), [`routed into VNI ${FAR}, to ${C2.mac}, which is behind VTEP ${H2}`]);
  frame(port, BEFORE);
  assert.is(hex(sent[0]!.datagram), HEADER_OF[FAR]! + hex(AFTER));
});

test('routers are added and removed; what is wrong with one is said', () => {
  const { vtep, port, frame, sent } = routed();
  vtep.addPeer(NEAR, H2);
  assert.is(vtep.addRouter({ ...NETWORK }), false);
  const wrong = (network: Partial<NetworkRouter>, message: RegExp): void =>
    void assert.throws(() => vtep.addRouter({ ...NETWORK, id: 'other', ...network }), message);
  wrong({ id: 'prod-net', mac: '02:42:0a:00:00:02' }, /network prod-net already has a router with other addresses/);
  wrong({}, /vni 4097 already has a gateway of network prod-net/);
  wrong({ subnets: [{ vni: 9, prefix: '10.9.0.0/24', gateway: '10.9.0.1' }] }, /no segment with vni 9/);
  vtep.addSegment({ vni: 9 });
  wrong(
    { subnets: [{ vni: 9, prefix: '10.9.0.0/24', gateway: '10.8.0.1' }] },
    /gateway 10\.8\.0\.1 is not in its subnet/,
  );
  wrong({ subnets: [{ vni: 9, prefix: '10.9.0.0/24', gateway: '10.9.0.1' }], mac: BROADCAST }, /router\.mac/);
  assert.throws(() => vtep.removeSegment(NEAR), /vni 4097 has a gateway of network prod-net; remove that router first/);
  assert.equal([vtep.removeRouter('prod-net'), vtep.removeRouter('prod-net')], [true, false]);
  frame(port, arpRequest(C1, GATEWAY.ip));
  assert.is(sent.length, 1, 'the bridge floods it');
  vtep.removeSegment(NEAR);
});

test.run();

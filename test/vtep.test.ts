import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatMac } from '../src/address/index.js';
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import * as tcp from '../src/tcp/index.js';
import * as udp from '../src/udp/index.js';
import {
  combine,
  DROPS,
  ECN_DROP,
  flowPort,
  Frame,
  HEADROOM,
  Vtep,
  type DropReason,
  type Learned,
} from '../src/vtep/index.js';
import { arpRequest, BROADCAST, C1, C2, udpFrame, type Station } from './support/frames.js';
import { HEADER, host, tag, wrap, type Sent } from './support/vtep-host.js';
import { fromHex, hex } from './support/hex.js';

const C3: Station = { ip: '10.0.0.5', mac: '02:42:0a:00:00:05' };
const H3 = '203.0.113.7';
const NONE = new Uint8Array(0);

test('encapsulates a frame for a known endpoint and sends it to its host', () => {
  const { vtep, frame, sent, delivered, count } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const packet = udpFrame(C1, C2);
  frame(port, packet);
  assert.is(delivered.length, 0);
  assert.is(sent.length, 1);
  const [{ address, port: to, datagram, sourcePort: from, tos }] = sent as [Sent];
  assert.is(hex(datagram), HEADER + hex(packet));
  assert.equal([address, to, tos], [C2.host, 4789, 0]);
  assert.ok(from >= 49152 && from <= 65535);
  assert.is(count('datagrams-out'), 1);
  assert.is(count('datagram-bytes-out'), packet.length + 8);
  assert.is(count('frames-in'), 1);
  assert.is(count('frame-bytes-in'), packet.length);
});

test('decapsulates a datagram, delivers the frame and learns its source', () => {
  const { vtep, frame, datagram, sent, delivered, count, now } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const packet = udpFrame(C2, C1);
  datagram(C2.host, wrap(packet));
  assert.equal(delivered, [{ port, frame: packet }]);
  assert.equal(vtep.fdb(4097, now()), [{ mac: C2.mac, static: false, age: 0, port: null, vtep: C2.host }]);
  frame(port, udpFrame(C1, C2));
  assert.is(sent[0]?.address, C2.host);
  assert.is(count('learned'), 2);
});

test('spreads flows over source ports; packets and fragments of one flow have the same port', () => {
  const hash = (frame: Uint8Array): number => flowPort(frame, 0, frame.length);
  const ports = new Set<number>();
  for (let i = 0; i < 1000; i++) ports.add(hash(udpFrame(C1, C2, { ports: [10_000 + i, 53] })));
  assert.ok(ports.size > 950, `${ports.size} ports for 1000 flows`);
  assert.ok(Math.min(...ports) >= 49152);
  assert.is(hash(udpFrame(C1, C2, { size: 10 })), hash(udpFrame(C1, C2, { size: 700 })));
  const first = udpFrame(C1, C2, { ports: [1, 2], ip: { moreFragments: true } });
  const last = udpFrame(C1, C2, { ports: [3, 4], ip: { fragmentOffset: 1480 } });
  assert.is(hash(first), hash(last));
  const six = (source: number): Uint8Array =>
    ethernet.encode({
      destination: C2.mac,
      source: C1.mac,
      etherType: ethernet.TYPE_IPV6,
      payload: ipv6.encode({
        nextHeader: 17,
        source: 'fd00::3',
        destination: 'fd00::4',
        payload: udp.encode({ sourcePort: source, destinationPort: 53, payload: NONE }),
      }),
    });
  assert.is.not(hash(six(1000)), hash(six(1001)));
});

test('floods BUM frames once to each other port and to each peer, and from a tunnel only to ports', () => {
  const { vtep, frame, datagram, sent, delivered, count } = host();
  const one = vtep.addPort({ name: 'tap0', vni: 4097 });
  const two = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addPeer(4097, H3, 8472);
  vtep.addPeer(4097, H3);
  const packet = udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST });
  frame(one, packet);
  assert.equal(delivered, [{ port: two, frame: packet }]);
  assert.equal(
    sent.map(({ address, port, datagram }) => [address, port, hex(datagram)]),
    [
      [C2.host, 4789, HEADER + hex(packet)],
      [H3, 8472, HEADER + hex(packet)],
    ],
  );
  datagram(C2.host, wrap(udpFrame(C2, { ip: '10.0.0.255', mac: BROADCAST })));
  assert.equal(
    delivered.map(({ port }) => port),
    [one, two],
  );
  assert.is(sent.length, 0);
  frame(one, udpFrame(C1, C3));
  assert.is(sent.length, 2, 'unknown unicast likewise');
  assert.is(count('flooded'), 3);
  vtep.removePeer(4097, H3);
  frame(one, packet);
  assert.is(sent.length, 1);
  assert.equal(vtep.peers(4097), [{ address: C2.host, port: 4789 }]);
});

test('does not forward from one tunnel to another', () => {
  const { vtep, datagram, sent, delivered, drops } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  datagram(H3, wrap(udpFrame(C3, C2)));
  assert.equal([sent.length, delivered.length], [0, 0]);
  assert.equal(drops(), { 'split-horizon': 1 });
});

test('the proxy answers for a remote endpoint with its own MAC address, or with the VTEP’s', () => {
  for (const [proxy, mac] of [
    ['endpoint', C2.mac],
    ['vtep', '02:76:00:00:10:01'],
  ] as const) {
    const { vtep, frame, sent, delivered, count } = host({ proxy });
    const port = vtep.addPort({ name: 'tap0', vni: 4097 });
    vtep.addPort({ name: 'tap1', vni: 4097 });
    vtep.addPeer(4097, C2.host);
    vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
    frame(port, arpRequest(C1, C2.ip));
    assert.is(sent.length, 0);
    assert.equal(
      delivered.map(({ port }) => port),
      [port],
    );
    const reply = ethernet.decode(delivered[0]!.frame);
    assert.equal([reply.destination, reply.source], [C1.mac, mac]);
    const { operation, ...rest } = arp.decode(reply.payload) as arp.EthernetArp;
    assert.is(operation, arp.REPLY);
    assert.equal([rest.senderMac, rest.senderIp, rest.targetMac, rest.targetIp], [mac, C2.ip, C1.mac, C1.ip]);
    frame(port, arpRequest(C1, C2.ip, C2.mac)); // a unicast request, as hosts verify an old entry
    assert.is(delivered.length, 1);
    assert.is(count('arp-answered'), 2);
  }
});

test('the proxy does not answer for unknown and local endpoints and the sender’s own address', () => {
  const { vtep, frame, sent, delivered, count, drops } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac });
  const flooded = (asked: Uint8Array): void => {
    frame(port, asked);
    assert.equal([delivered.map(({ port }) => port), sent.length], [[other], 1]);
  };
  flooded(arpRequest(C1, '10.0.0.99')); // unknown
  flooded(arpRequest(C1, C3.ip)); // local: it answers itself
  flooded(arpRequest(C1, C1.ip)); // an announcement
  flooded(arpRequest({ ip: '0.0.0.0', mac: C3.mac }, C3.ip)); // a probe for the asker's own address
  assert.is(count('arp-answered'), 0);
  // RFC 5227, 2.1.1: a probe asks whether the address is in use, and it is.
  frame(port, arpRequest({ ip: '0.0.0.0', mac: C1.mac }, C2.ip));
  assert.is(count('arp-answered'), 1);
  assert.is((arp.decode(delivered[0]!.frame, 14) as arp.EthernetArp).targetIp, '0.0.0.0');
  // A claim to C2's address with another MAC; and C2's MAC, which is behind its own VTEP.
  frame(port, arpRequest({ ip: C2.ip, mac: C1.mac }, '10.0.0.99'));
  frame(port, arpRequest({ ip: '0.0.0.0', mac: C2.mac }, C2.ip));
  assert.equal([delivered.length, sent.length], [0, 0]);
  assert.equal(drops(), { 'arp-claim': 1, 'source-bound': 1 });
  assert.equal([count('duplicate-address'), count('contradicted')], [1, 1]);
});

test('ARP is flooded with the proxy off, and dropped with flooding off', () => {
  const open = host({ proxy: 'off' });
  const port = open.vtep.addPort({ name: 'tap0', vni: 4097 });
  open.vtep.addPeer(4097, C2.host);
  open.vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  open.frame(port, arpRequest(C1, C2.ip));
  assert.is(open.sent.length, 1);
  const closed = host({ flood: false });
  closed.vtep.addPort({ name: 'tap0', vni: 4097 });
  closed.vtep.addPeer(4097, C2.host);
  closed.frame(0, arpRequest(C1, C2.ip));
  assert.equal([closed.sent.length, closed.delivered.length], [0, 0]);
  assert.equal(closed.drops(), { 'arp-unknown': 1 });
  closed.frame(0, udpFrame(C1, C3));
  assert.equal(closed.drops(), { 'arp-unknown': 1, 'unknown-destination': 1 });
});

test('in vtep mode forwards a packet to the VTEP’s address by its IP address', () => {
  const { vtep, frame, sent, delivered, drops } = host({ proxy: 'vtep', mac: '02:00:00:00:00:01' });
  const gate = { ip: '', mac: '02:00:00:00:00:01' };
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac });
  frame(port, udpFrame(C1, { ...gate, ip: C2.ip }));
  assert.is(hex(sent[0]!.datagram), HEADER + hex(udpFrame(C1, C2)));
  frame(other, udpFrame(C3, C1)); // C3 is learned
  frame(port, udpFrame(C1, { ...gate, ip: C3.ip }));
  assert.equal(delivered, [{ port: other, frame: udpFrame(C1, C3) }]);
  frame(port, udpFrame(C1, { ...gate, ip: '10.0.0.99' }));
  assert.equal(drops()['no-neighbor'], 1);
});

test('floods a frame for a silent endpoint of this host to local ports and no peer', () => {
  const { vtep, frame, datagram, sent, delivered } = host({ flood: false });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac });
  datagram(C2.host, wrap(udpFrame(C2, C3)));
  assert.equal(
    delivered.map(({ port }) => port),
    [port, other],
  );
  frame(port, udpFrame(C1, C3));
  assert.equal([delivered.map(({ port }) => port), sent.length], [[other], 0]);
});

test('in vtep mode, also for an endpoint that moved here after its neighbor’s last ARP request', () => {
  const { vtep, frame, sent, delivered, drops } = host({ proxy: 'vtep', mac: '02:00:00:00:00:01' });
  const gate = '02:00:00:00:00:01';
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac });
  frame(port, udpFrame(C1, { ip: C3.ip, mac: gate }));
  assert.equal([delivered, sent.length], [[{ port: other, frame: udpFrame(C1, C3) }], 0]);
  frame(port, arpRequest(C1, C3.ip, gate)); // a new request gets the endpoint's own address
  assert.is((arp.decode(delivered[0]!.frame, 14) as arp.EthernetArp).senderMac, C3.mac);
  assert.equal(drops(), {});
});

test('learned addresses age, move, and yield to the control plane', () => {
  const { vtep, frame, datagram, sent, delivered, wait, count } = host({ ageing: 300 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addPeer(4097, H3);
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  wait(299_000);
  frame(port, udpFrame(C1, C2));
  assert.equal(
    sent.map(({ address }) => address),
    [C2.host],
  );
  wait(2000);
  frame(port, udpFrame(C1, C2));
  assert.is(sent.length, 2, 'forgotten, so flooded');
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  datagram(H3, wrap(udpFrame(C2, C1)));
  assert.is(count('moved'), 1);
  frame(port, udpFrame(C1, C2));
  assert.equal(
    sent.map(({ address }) => address),
    [H3],
  );
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  datagram(H3, wrap(udpFrame(C2, C1)));
  assert.is(delivered.length, 0, 'what contradicts the control plane is counted and dropped');
  assert.is(count('contradicted'), 1);
  frame(port, udpFrame(C1, C2));
  assert.equal(
    sent.map(({ address }) => address),
    [C2.host],
  );
});

test('learns nothing from the underlay with learning off', () => {
  const { vtep, frame, datagram, sent, now } = host({ learn: false });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.equal(vtep.fdb(4097, now()), []);
  frame(port, udpFrame(C1, C2));
  assert.is(sent.length, 0);
  const policy = host();
  policy.vtep.addPort({ name: 'tap0', vni: 4097 });
  policy.datagram(C2.host, wrap(udpFrame(C2, C1), '8840000000100100')); // Group Policy: G, and D
  assert.equal(policy.vtep.fdb(4097, 0), []);
  assert.is(policy.delivered.length, 1);
});

test('an endpoint replaces the one with its IP address, whose removal changes nothing then', () => {
  const { vtep, tick, frame, sent, delivered } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const location = (): string | undefined => {
    frame(port, udpFrame(C1, C2));
    return sent[0]?.address ?? (delivered.length > 0 ? 'here' : undefined);
  };
  const old = { ip: C2.ip, mac: C2.mac, vtep: C2.host };
  const moved = { ...old, vtep: H3 };
  vtep.addEndpoint(4097, old);
  vtep.addEndpoint(4097, moved);
  assert.is(location(), H3);
  assert.not(vtep.removeEndpoint(4097, old));
  assert.is(location(), H3);
  assert.equal(vtep.neighbors(4097), [{ ip: C2.ip, mac: C2.mac, vtep: H3 }]);
  tick();
  assert.is(vtep.remote(C2.host), undefined, 'no reference to it is left');
  vtep.addEndpoint(4097, old);
  assert.not(vtep.removeEndpoint(4097, moved));
  assert.is(location(), C2.host);
  vtep.addEndpoint(4097, old); // repeated
  assert.ok(vtep.removeEndpoint(4097, old));
  assert.not(vtep.removeEndpoint(4097, old));
  assert.is(location(), undefined);
  assert.equal(vtep.neighbors(4097), []);
  tick();
  assert.is(vtep.remote(H3), undefined, 'no reference to it is left');
  // A new MAC for the address, and one MAC with two addresses.
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C3.mac, vtep: H3 });
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac, vtep: H3 });
  vtep.removeEndpoint(4097, { ip: C2.ip, mac: C3.mac, vtep: H3 });
  frame(port, udpFrame(C1, C3));
  assert.is(sent[0]?.address, H3);
  // It moves to this host.
  vtep.addEndpoint(4097, { ip: C3.ip, mac: C3.mac });
  frame(port, udpFrame(C1, C3));
  assert.is(sent.length, 0);
});

test('a trunk maps VLANs to VNIs and back, with the tag and its priority', () => {
  const { vtep, frame, datagram, sent, delivered, drops } = host();
  vtep.addSegment({ vni: 200 });
  const trunk = vtep.addPort({ name: 'trunk0', vlans: { 10: 4097, 20: 200 } });
  const access = vtep.addPort({ name: 'tap0', vni: 4097 });
  const second = vtep.addPort({ name: 'trunk1', vlans: new Map([[30, 4097]]), native: 200 });
  vtep.addPeer(4097, C2.host);
  vtep.addPeer(200, C2.host);
  const all = udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST });
  frame(trunk, tag(all, 10, 5));
  assert.equal(delivered, [
    { port: access, frame: all },
    { port: second, frame: tag(all, 30, 5) },
  ]);
  assert.is(hex(sent[0]!.datagram), HEADER + hex(all));
  frame(trunk, tag(all, 20));
  assert.equal(delivered, [{ port: second, frame: all }]);
  assert.is(hex(sent[0]!.datagram), '080000000000c800' + hex(all));
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.equal(delivered, [{ port: trunk, frame: tag(udpFrame(C2, C1), 10) }]);
  frame(trunk, tag(all, 11));
  frame(trunk, all);
  assert.equal(drops(), { 'vlan-unmapped': 2 });
});

test('the proxy answers a trunk on the VLAN that asked', () => {
  const { vtep, frame, delivered } = host();
  const trunk = vtep.addPort({ name: 'trunk0', vlans: { 10: 4097 } });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  frame(trunk, tag(arpRequest(C1, C2.ip), 10));
  const reply = ethernet.decode(delivered[0]!.frame);
  assert.is(reply.etherType, ethernet.TYPE_VLAN);
  const tagged = ethernet.vlan.decode(reply.payload);
  assert.equal([tagged.id, tagged.etherType], [10, ethernet.TYPE_ARP]);
  assert.is((arp.decode(tagged.payload) as arp.EthernetArp).senderMac, C2.mac);
});

test('tags on an access port and in a tunnel are dropped, unless the segment carries them (RFC 7348, section 6.1)', () => {
  const packet = tag(udpFrame(C1, C2), 7);
  const closed = host();
  closed.vtep.addPort({ name: 'tap0', vni: 4097 });
  closed.vtep.addPeer(4097, C2.host);
  closed.frame(0, packet);
  closed.datagram(C2.host, wrap(packet));
  assert.equal(closed.drops(), { 'vlan-unexpected': 2 });
  closed.frame(0, tag(udpFrame(C1, C2), 0, 3)); // a priority tag: VLAN 0 means no VLAN
  assert.is(hex(closed.sent[0]!.datagram), HEADER + hex(udpFrame(C1, C2)));
  const open = host({ tagged: true });
  open.vtep.addPort({ name: 'tap0', vni: 4097 });
  open.vtep.addPeer(4097, C2.host);
  open.frame(0, packet);
  assert.is(hex(open.sent[0]!.datagram), HEADER + hex(packet));
  open.datagram(C2.host, wrap(tag(udpFrame(C2, C1), 7)));
  assert.is(hex(open.delivered[0]!.frame), hex(tag(udpFrame(C2, C1), 7)));
});

test('every reason for a drop is counted under its name, and nothing gets through', () => {
  const { vtep, frame, datagram, sent, delivered, drops } = host({}, { peersOnly: true });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const good = udpFrame(C2, C1);
  const noSender = arpRequest(C1, C2.ip);
  noSender.fill(0, 14 + 8, 14 + 14);
  const noSenderThere = arpRequest(C2, C1.ip);
  noSenderThere.fill(0, 14 + 8, 14 + 14);
  const cases: [DropReason, () => void][] = [
    ['datagram-truncated', () => datagram(C2.host, fromHex('08000000001001'))],
    ['datagram-truncated', () => datagram(C2.host, NONE)],
    ['vxlan-flag', () => datagram(C2.host, wrap(good, '0000000000100100'))],
    ['unknown-vni', () => datagram(C2.host, wrap(good, '0800000000100200'))],
    ['unknown-peer', () => datagram(H3, wrap(good))],
    ['own-address', () => datagram(C1.host, wrap(good))],
    ['frame-truncated', () => datagram(C2.host, wrap(good.subarray(0, 13)))],
    ['frame-truncated', () => frame(port, good.subarray(0, 13))],
    ['frame-truncated', () => frame(port, tag(good, 0).subarray(0, 16))],
    ['source-group', () => frame(port, udpFrame({ ip: C1.ip, mac: '03:00:00:00:00:01' }, C2))],
    ['source-group', () => datagram(C2.host, wrap(udpFrame({ ip: C1.ip, mac: BROADCAST }, C1)))],
    ['source-group', () => frame(port, fromHex(`ffffffffffff00000000000088b5${'00'.repeat(46)}`))],
    ['source-group', () => datagram(C2.host, fromHex(`${HEADER}ffffffffffff00000000000088b5${'00'.repeat(46)}`))],
    ['arp-sender', () => frame(port, noSender)],
    ['arp-sender', () => datagram(C2.host, wrap(noSenderThere))],
    ['source-bound', () => frame(port, udpFrame(C2, C1))],
    ['arp-claim', () => frame(port, arpRequest({ ip: C2.ip, mac: C1.mac }, C1.ip))],
    ['reserved-group', () => frame(port, udpFrame(C1, { ip: C2.ip, mac: '01:80:c2:00:00:00' }))],
    ['no-receiver', () => frame(port, udpFrame(C1, C3))],
    ['same-port', () => frame(port, udpFrame(C3, C1))],
    ['same-port', () => frame(port, udpFrame(C1, C1))],
    ['ecn', () => datagram(C2.host, wrap(good), 3)],
    ['too-big', () => frame(port, fromHex(`${C2.mac}${C1.mac}88b5`.replaceAll(':', '') + '00'.repeat(1460)))],
  ];
  const expected: Record<string, number> = {};
  for (const [reason, drop] of cases) {
    drop();
    assert.equal([sent.length, delivered.length], [0, 0], reason);
    expected[reason] = (expected[reason] ?? 0) + 1;
    assert.equal(drops(), expected, reason);
  }
  assert.is(new Set(DROPS.map(([name]) => name)).size, DROPS.length);
});

test('neither learns nor forwards the zero source address and a VTEP’s own', () => {
  const zero = fromHex(`ffffffffffff00000000000088b5${'00'.repeat(46)}`);
  const { vtep, frame, datagram, delivered, sent, drops, now } = host({ proxy: 'vtep', mac: '02:00:00:00:00:01' });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  for (const wrong of [zero, udpFrame({ ip: C1.ip, mac: '02:00:00:00:00:01' }, C2)]) {
    frame(0, wrong);
    assert.equal([delivered.length, sent.length], [0, 0]);
    datagram(C2.host, wrap(wrong));
    assert.equal([delivered.length, sent.length], [0, 0]);
  }
  assert.equal(vtep.fdb(4097, now()), []);
  assert.equal(drops(), { 'source-group': 2, 'source-own': 2 });
  // This does not apply if the proxy answers with the endpoints' addresses.
  const other = host({ mac: '02:00:00:00:00:01' });
  other.vtep.addPort({ name: 'tap0', vni: 4097 });
  other.vtep.addPeer(4097, C2.host);
  other.frame(0, udpFrame({ ip: C1.ip, mac: '02:00:00:00:00:01' }, C2));
  assert.is(other.sent.length, 1);
});

test('a destination of all zeros is unknown like any other: flooded where unknown addresses are', () => {
  const frame = fromHex(`0000000000000200000000c188b5${'00'.repeat(46)}`);
  for (const flood of [true, false]) {
    const one = host({ flood });
    one.vtep.addPort({ name: 'tap0', vni: 4097 });
    one.vtep.addPeer(4097, C2.host);
    one.frame(0, frame);
    assert.is(one.sent.length, flood ? 1 : 0);
  }
});

test('the groups 01:80:c2:00:00:00 to 0f are not forwarded (IEEE 802.1Q, table 8-1), from ports and tunnels alike', () => {
  for (let last = 0; last < 0x22; last++) {
    const { vtep, frame, datagram, delivered, sent } = host();
    vtep.addPort({ name: 'tap0', vni: 4097 });
    vtep.addPort({ name: 'tap1', vni: 4097 });
    vtep.addPeer(4097, C2.host);
    const group = { ip: C2.ip, mac: `01:80:c2:00:00:${last.toString(16).padStart(2, '0')}` };
    const copies = last < 0x10 ? 0 : 1;
    frame(0, udpFrame(C1, group));
    assert.equal([delivered.length, sent.length], [copies, copies], group.mac);
    frame(0, tag(udpFrame(C1, group), 0));
    assert.equal([delivered.length, sent.length], [copies, copies], `${group.mac} behind VLAN 0`);
    datagram(C2.host, wrap(udpFrame(C2, group)));
    assert.is(delivered.length, 2 * copies);
  }
});

test('a datagram does not move an endpoint of this host to its sender', () => {
  const { vtep, frame, datagram, delivered, sent, count, now, wait } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, H3);
  vtep.addEndpoint(4097, C1);
  const claim = wrap(udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST }));
  datagram(H3, claim);
  assert.equal(vtep.fdb(4097, now()), [], 'not learned before it is heard of here');
  assert.is(delivered.length, 0, 'and not delivered');
  frame(port, udpFrame(C1, C3));
  datagram(H3, claim);
  frame(other, udpFrame(C3, C1));
  assert.equal([delivered.map((one) => one.port), sent.length], [[port], 0]);
  assert.is(count('contradicted'), 2);
  assert.is(count('moved'), 0);
  wait(301_000);
  datagram(H3, claim);
  frame(other, udpFrame(C3, C1));
  assert.is(sent.length, 0, 'nor after its entry has aged');
  const [step] = vtep.explain({ from: H3, datagram: claim }, now()).steps.filter(({ stage }) => stage === 'fdb');
  assert.is(step!.text, `source ${C1.mac} is an endpoint of this host according to the control plane; that stays`);
  // After the endpoint has left this host, it is learned like any other.
  vtep.removeEndpoint(4097, C1);
  datagram(H3, claim);
  assert.is(vtep.fdb(4097, now()).find(({ mac }) => mac === C1.mac)?.vtep, H3);
});

test('combines the ECN fields by the table of RFC 6040, figure 4', () => {
  const [not, ect1, ect0, ce, drop] = [0, 1, 2, 3, ECN_DROP];
  const figure: [number, number[]][] = [
    // inner, then what becomes of it under an outer Not-ECT, ECT(0), ECT(1), CE
    [not, [not, not, not, drop]],
    [ect0, [ect0, ect0, ect1, ce]],
    [ect1, [ect1, ect1, ect1, ce]],
    [ce, [ce, ce, ce, ce]],
  ];
  for (const [inner, row] of figure)
    [not, ect0, ect1, ce].forEach((outer, i) =>
      assert.is(combine(inner, outer), row[i], `inner ${inner}, outer ${outer}`),
    );
});

test('marks congestion in the inner header with a correct checksum, and copies ECN to the outer header', () => {
  const { vtep, frame, datagram, sent, delivered, count } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  datagram(C2.host, wrap(udpFrame(C2, C1, { ip: { ecn: 2, dscp: 10 } })), 3);
  const header = ipv4.decode(delivered[0]!.frame, 14);
  assert.equal([header.ecn, header.dscp], [3, 10]);
  assert.ok(ipv4.verifyChecksum(delivered[0]!.frame, 14));
  assert.is(count('ecn-marked'), 1);
  frame(port, udpFrame(C1, C2, { ip: { ecn: 1, dscp: 10 } }));
  assert.is(sent[0]?.tos, 1, 'ECN and no DSCP');
  const six = (ecn: number): Uint8Array =>
    ethernet.encode({
      destination: C1.mac,
      source: C2.mac,
      etherType: ethernet.TYPE_IPV6,
      payload: ipv6.encode({ dscp: 10, ecn, nextHeader: 59, source: 'fd00::4', destination: 'fd00::3', payload: NONE }),
    });
  datagram(C2.host, wrap(six(1)), 3);
  assert.is(ipv6.decode(delivered[0]!.frame, 14).ecn, 3);
  datagram(C2.host, wrap(six(0)), 3);
  assert.is(delivered.length, 0);
  datagram(C2.host, wrap(arpRequest(C2, C1.ip)), 3);
  assert.is(delivered.length, 1, 'ARP has no such field');
});

test('peersOnly accepts a member of the cluster before a peer or an endpoint names it', () => {
  const { vtep, datagram, delivered, drops } = host({}, { peersOnly: true });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  const frame = wrap(arpRequest(C2, C1.ip));
  datagram(H3, frame);
  assert.is(delivered.length, 0);
  vtep.addMember(H3);
  datagram(H3, frame);
  assert.is(delivered.length, 1);
  vtep.removeMember(H3);
  datagram(H3, frame);
  assert.is(delivered.length, 0);
  assert.equal(drops(), { 'unknown-peer': 2 });
});

test('peersOnly applies per segment, and lists the rejected senders', () => {
  const { vtep, datagram, delivered, drops } = host({}, { peersOnly: true });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addSegment({ vni: 5000 });
  vtep.addPort({ name: 'tap1', vni: 5000 });
  const frame = wrap(arpRequest(C2, C1.ip));
  vtep.takeRefusedSenders(4097);
  vtep.addPeer(5000, H3);
  datagram(H3, frame);
  datagram(H3, frame);
  datagram('192.0.2.99', frame);
  assert.is(delivered.length, 0);
  assert.equal(drops(), { 'unknown-peer': 3 });
  assert.equal(vtep.takeRefusedSenders(5000), []);
  assert.equal(vtep.takeRefusedSenders(4097), [
    { address: H3, packets: 2 },
    { address: '192.0.2.99', packets: 1 },
  ]);
  assert.equal(vtep.takeRefusedSenders(4097), []);
  const explained = vtep.explain({ from: '192.0.2.98', datagram: frame }, 0);
  assert.match(
    explained.steps.at(-1)!.text,
    /whose sender is not a peer of the segment \(--no-peers-only accepts every sender\)/,
  );
  assert.equal(vtep.takeRefusedSenders(4097), [], 'nothing is remembered of what is explained');
  // A sender that becomes a peer shortly after is not listed, and its datagrams are accepted.
  const endpoint = { ip: '10.0.0.9', mac: '02:42:0a:00:00:09', vtep: H3 };
  datagram(H3, frame);
  vtep.addEndpoint(4097, endpoint);
  assert.equal(vtep.takeRefusedSenders(4097), []);
  datagram(H3, frame);
  assert.is(delivered.length, 1);
  vtep.removeEndpoint(4097, endpoint);
  datagram(H3, frame);
  assert.is(delivered.length, 0);
  for (let i = 0; i < 100; i++) datagram(`198.51.100.${i}`, frame);
  assert.is(vtep.takeRefusedSenders(4097).length, 16);
});

test('completes a checksum that the sender left to offloading', () => {
  const { vtep, datagram, delivered, count, now } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  const four = { source: C2.ip, destination: C1.ip };
  const six = { source: 'fd00::4', destination: 'fd00::3' };
  const data = fc.sample(fc.uint8Array({ minLength: 101, maxLength: 101 }), { numRuns: 1, seed: 1 })[0]!;
  const segment = {
    sourcePort: 1,
    destinationPort: 2,
    sequence: 3,
    acknowledgment: 4,
    flags: 0x10,
    window: 5,
    payload: data,
  };
  const packet = { sourcePort: 1, destinationPort: 2, payload: data };
  const ip = (upper: Uint8Array, protocol: number): Uint8Array =>
    ipv4.encode({ ...four, protocol, payload: upper, options: [] });
  const cases: [what: string, type: number, at: number, packet: () => Uint8Array][] = [
    ['TCP', ethernet.TYPE_IPV4, 34 + 16, () => ip(tcp.encode(segment, four), 6)],
    ['UDP', ethernet.TYPE_IPV4, 34 + 6, () => ip(udp.encode(packet, four), 17)],
    [
      'TCP over IPv6',
      ethernet.TYPE_IPV6,
      54 + 16,
      () => ipv6.encode({ ...six, nextHeader: 6, payload: tcp.encode(segment, six) }),
    ],
    [
      'UDP over IPv6',
      ethernet.TYPE_IPV6,
      54 + 6,
      () => ipv6.encode({ ...six, nextHeader: 17, payload: udp.encode(packet, six) }),
    ],
  ];
  let filled = 0;
  for (const [what, etherType, at, payload] of cases) {
    const whole = ethernet.encode({ destination: C1.mac, source: C2.mac, etherType, payload: payload() });
    // The kernel leaves the folded sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1), computed word by word.
    const protocol = what.startsWith('TCP') ? 6 : 17;
    const start = etherType === ethernet.TYPE_IPV4 ? 34 : 54;
    const addresses = etherType === ethernet.TYPE_IPV4 ? whole.subarray(26, 34) : whole.subarray(22, 54);
    let sum = protocol + (whole.length - start);
    for (let i = 0; i < addresses.length; i += 2) sum += (addresses[i]! << 8) | addresses[i + 1]!;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    const unfinished = whole.slice();
    unfinished.set([sum >> 8, sum & 255], at);
    assert.is.not(hex(unfinished), hex(whole), what);
    assert.ok(
      vtep
        .explain({ from: C2.host, datagram: wrap(unfinished) }, now())
        .steps.some(({ text }) => /unfinished/.test(text)),
    );
    datagram(C2.host, wrap(unfinished));
    assert.is(hex(delivered[0]!.frame), hex(whole), what);
    assert.is(count('checksums-filled'), ++filled);
    datagram(C2.host, wrap(whole));
    assert.is(hex(delivered[0]!.frame), hex(whole), `${what}, finished`);
    const wrong = whole.slice();
    wrong[at]! ^= 0x55;
    datagram(C2.host, wrap(wrong));
    assert.is(hex(delivered[0]!.frame), hex(wrong), `${what}, wrong: the endpoint's to judge`);
    const part = unfinished.slice(0, unfinished.length - 1);
    datagram(C2.host, wrap(part));
    assert.is(hex(delivered[0]!.frame), hex(part), `${what}, cut short`);
    assert.is(count('checksums-filled'), filled);
  }
});

test('reports the MTU to the sender of a packet that must not be fragmented', () => {
  const { vtep, frame, sent, delivered, count, drops } = host({ mtu: 1400 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const packet = udpFrame(C1, C2, { size: 1373, ip: { dontFragment: true } });
  assert.is(packet.length - 14, 1401);
  frame(port, packet);
  assert.is(sent.length, 0);
  const answer = ethernet.decode(delivered[0]!.frame);
  assert.equal([answer.destination, answer.source], [C1.mac, C2.mac]);
  const header = ipv4.decode(answer.payload);
  assert.equal([header.source, header.destination, header.protocol], [C2.ip, C1.ip, 1]);
  assert.ok(ipv4.verifyChecksum(answer.payload, 0));
  assert.ok(header.totalLength <= 576);
  assert.ok(icmp.verifyChecksum(header.payload, 0, header.payload.length));
  // RFC 1191, section 4: type 3, code 4, and the next-hop MTU in the second half of the second word.
  assert.is(hex(header.payload.subarray(0, 2)), '0304');
  assert.is(hex(header.payload.subarray(4, 8)), '00000578');
  assert.is(hex(header.payload.subarray(8)), hex(packet.subarray(14, 14 + header.payload.length - 8)));
  assert.equal([count('fragmentation-needed'), drops()['too-big']], [1, 1]);
  frame(port, udpFrame(C1, C2, { size: 1372, ip: { dontFragment: true } }));
  assert.is(sent.length, 1, '1400 bytes fit');

  const silent = (what: string, bytes: Uint8Array): void => {
    frame(port, bytes);
    assert.equal([sent.length, delivered.length], [0, 0], what);
  };
  const size = 1500;
  silent('a later fragment', udpFrame(C1, C2, { size, ip: { dontFragment: true, fragmentOffset: 8 } }));
  silent('from the unspecified address', udpFrame({ ...C1, ip: '0.0.0.0' }, C2, { size, ip: { dontFragment: true } }));
  silent('from a group', udpFrame({ ...C1, ip: '224.0.0.1' }, C2, { size, ip: { dontFragment: true } }));
  const error = icmp.encode({ type: 3, code: 1, payload: new Uint8Array(size) });
  silent('about an ICMP error', udpFrame(C1, C2, { ip: { dontFragment: true, protocol: 1, payload: error } }));
  const echo = icmp.encode({ type: 8, code: 0, identifier: 1, sequence: 1, payload: new Uint8Array(size) });
  frame(port, udpFrame(C1, C2, { ip: { dontFragment: true, protocol: 1, payload: echo } }));
  assert.is(delivered.length, 1, 'about an ICMP question');
});

test('reports the MTU to the sender of an IPv6 packet', () => {
  const { vtep, frame, sent, delivered, count, drops } = host({ mtu: 1400 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const ends = { source: 'fd10::1', destination: 'fd10::2' };
  const packet = (length: number, more: Partial<ipv6.Ipv6> = {}, to = C2.mac): Uint8Array => {
    const payload = Uint8Array.from({ length: length - 40 }, (_, i) => (i * 7) & 0xff);
    return ethernet.encode({
      destination: to,
      source: C1.mac,
      etherType: ethernet.TYPE_IPV6,
      payload: ipv6.encode({ ...ends, nextHeader: 17, payload, ...more }),
    });
  };
  frame(port, packet(1401));
  assert.is(sent.length, 0);
  const answer = ethernet.decode(delivered[0]!.frame);
  assert.equal([answer.destination, answer.source], [C1.mac, C2.mac]);
  const header = ipv6.decode(answer.payload);
  assert.equal(
    [header.source, header.destination, header.nextHeader, header.hopLimit],
    [ends.destination, ends.source, 58, 64],
  );
  assert.is(answer.payload.length, 1280, 'as much as fits the smallest MTU');
  // RFC 4443, section 3.2: type 2, code 0, and the MTU in the second word.
  assert.is(hex(header.payload.subarray(0, 2)), '0200');
  assert.is(hex(header.payload.subarray(4, 8)), '00000578');
  assert.is(hex(header.payload.subarray(8)), hex(packet(1401).subarray(14, 14 + 1232)));
  const pseudo = [...answer.payload.subarray(8, 40), 0, 0, header.payload.length >> 8, header.payload.length & 255];
  const words = [...pseudo, 0, 0, 0, 58, ...header.payload];
  let sum = 0;
  for (let i = 0; i < words.length; i += 2) sum += (words[i]! << 8) | words[i + 1]!;
  assert.is(sum % 0xffff, 0, 'the checksum');
  assert.equal([count('packet-too-big'), count('fragmentation-needed'), drops()['too-big']], [1, 0, 1]);
  frame(port, packet(1400));
  assert.is(sent.length, 1, '1400 bytes fit');

  const silent = (what: string, bytes: Uint8Array): void => {
    frame(port, bytes);
    assert.equal([sent.length, delivered.length], [0, 0], what);
  };
  silent('from the unspecified address', packet(1500, { source: '::' }));
  silent('from this host', packet(1500, { source: '::1' }));
  silent('from a group', packet(1500, { source: 'ff02::1' }));
  silent('to a group', packet(1500, { destination: 'ff02::1' }));
  const message = (type: number): Partial<ipv6.Ipv6> => ({
    nextHeader: 58,
    payload: Uint8Array.of(type, ...new Uint8Array(1500)),
  });
  silent('about an ICMPv6 error', packet(1500, message(1)));
  silent('about a redirect', packet(1500, message(137)));
  frame(port, packet(1500, message(128)));
  assert.is(delivered.length, 1, 'about an ICMPv6 question');

  // RFC 2473, section 7.1: senders do not go below 1280 bytes because of it.
  vtep.remote(C2.host)!.outerMtu = 1050;
  silent('of 1280 bytes', packet(1280));
  frame(port, packet(1281));
  assert.is(hex(ipv6.decode(delivered[0]!.frame, 14).payload.subarray(4, 8)), '00000500');
  assert.match(
    vtep.explain({ port, frame: packet(1281) }, 0).steps.find(({ stage }) => stage === 'size')!.text,
    'does not fit into 1000',
  );
});

test('lists the engine’s path MTUs of remotes', () => {
  const { vtep } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  const path = { from: null, age: null, probes: null };
  const fresh = { address: C2.host, port: 4789, mtu: null, ...path, undelivered: 0, reason: '' };
  assert.equal(vtep.remoteListing(), [fresh]);
  Object.assign(vtep.remote(C2.host)!, { outerMtu: 1400, undelivered: 3, reason: 'ECONNREFUSED' });
  assert.equal(vtep.remoteListing(), [{ ...fresh, mtu: 1350, undelivered: 3, reason: 'ECONNREFUSED' }]);
  const { steps } = vtep.explain({ port, frame: udpFrame(C1, C2) }, 0);
  assert.is(
    steps.at(-1)!.text,
    `3 datagram(s) to ${C2.host} were reported undelivered so far, the last with ECONNREFUSED`,
  );
});

test('machines that share learned addresses have equal tables, and count each address once', () => {
  const machines = [host(), host()];
  const [one, two] = machines as [ReturnType<typeof host>, ReturnType<typeof host>];
  const ports = machines.map(({ vtep }) => vtep.addPort({ name: 'tap0', vni: 4097 }));
  const news: Learned[] = [];
  const sink = {
    deliver: () => undefined,
    transmit: () => undefined,
    learned: (what: Learned) => void news.push(what),
  };
  const data = wrap(udpFrame(C2, C1));
  for (let i = 0; i < 3; i++) one.vtep.receiveDatagram(C2.host, new Frame(data.slice()), 0, 0, sink);
  const frame = new Uint8Array(HEADROOM + 100);
  frame.set(udpFrame(C1, C2, { size: 10 }), HEADROOM);
  one.vtep.receiveFrame(ports[0]!, new Frame(frame, HEADROOM, 100), 0, sink);
  const mac = (station: Station): number => Number.parseInt(station.mac.replace(/:/g, ''), 16);
  assert.equal(news, [
    { vni: 4097, mac: mac(C2), location: C2.host, age: 0 },
    { vni: 4097, mac: mac(C1), location: ports[0], age: 0 },
  ]);
  for (const what of news) two.vtep.adopt(what, 0);
  const known = (vtep: Vtep) => vtep.fdb(4097, 0).sort((a, b) => (a.mac < b.mac ? -1 : 1));
  assert.equal(known(two.vtep), known(one.vtep));
  assert.equal([one.count('learned'), two.count('learned')], [2, 0]);
  // Addresses that are no longer seen are no longer shared.
  assert.equal(
    one.vtep
      .fresh(1000, 500)
      .map(({ mac, location }) => ({ mac, location }))
      .sort((a, b) => a.mac - b.mac),
    news.map(({ mac, location }) => ({ mac, location })).sort((a, b) => a.mac - b.mac),
  );
  assert.equal(one.vtep.fresh(1000, 2000), []);
  // Unknown segments are skipped.
  two.vtep.adopt({ vni: 5, mac: 2, location: C2.host, age: 0 }, 0);
  two.vtep.adopt({ vni: 4097, mac: 2, location: 77, age: 0 }, 0);
  assert.is(known(two.vtep).length, 2);
});

test('ICMP errors are limited in rate', () => {
  const { vtep, frame, wait, count } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const packet = udpFrame(C1, C2, { size: 1500, ip: { dontFragment: true } });
  for (let i = 0; i < 1500; i++) frame(port, packet);
  assert.is(count('fragmentation-needed'), 1000);
  wait(100);
  for (let i = 0; i < 1500; i++) frame(port, packet);
  assert.is(count('fragmentation-needed'), 1100);
});

test('a path MTU below the segment’s counts too', () => {
  const { vtep, frame, delivered } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  vtep.remote(C2.host)!.outerMtu = 1050;
  frame(port, udpFrame(C1, C2, { size: 1000, ip: { dontFragment: true } }));
  assert.is((icmp.decode(ipv4.decode(delivered[0]!.frame, 14).payload) as { nextHopMtu?: number }).nextHopMtu, 1000);
});

test('explain describes the result without side effects', () => {
  const { vtep, frame, sent, now } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const before = JSON.stringify([vtep.counters(), vtep.fdb(4097, 0)]);
  const packet = udpFrame(C1, C2, { ip: { ecn: 1 } });
  const copy = packet.slice();
  const said = vtep.explain({ port, frame: packet }, now());
  assert.equal(said.transmitted, [C2.host]);
  assert.equal([said.delivered, said.dropped], [[], null]);
  assert.equal(
    said.steps.map(({ stage }) => stage),
    ['port', 'fdb', 'fdb', 'transmit'],
  );
  assert.match(said.steps[2]!.text, `${C2.mac} is behind VTEP ${C2.host}`);
  assert.equal(packet, copy);
  const asked = vtep.explain({ port, frame: arpRequest(C1, C2.ip) }, now());
  assert.equal(asked.delivered, ['tap0']);
  const lost = vtep.explain({ from: H3, datagram: wrap(udpFrame(C3, C2)) }, now());
  assert.is(lost.dropped, 'split-horizon');
  assert.match(lost.steps.at(-1)!.text, 'another tunnel');
  assert.is(vtep.explain({ from: H3, datagram: wrap(packet, '0800000000100200') }, now()).dropped, 'unknown-vni');
  const big = vtep.explain({ port, frame: udpFrame(C1, C2, { size: 1500, ip: { dontFragment: true } }) }, now());
  assert.equal([big.dropped, big.delivered], ['too-big', ['tap0']]);
  assert.is(JSON.stringify([vtep.counters(), vtep.fdb(4097, 0)]), before);
  assert.is(vtep.remote(H3), undefined);
  frame(port, packet);
  assert.is(sent.length, 1);
});

test('for any input, never throws, and explain predicts the result', () => {
  const stations = [C1, C2, C3, { ip: '10.0.0.9', mac: BROADCAST }, { ip: '10.0.0.8', mac: '02:76:00:00:10:01' }];
  const station = fc.constantFrom<Station>(...stations);
  const arbitraryFrame = fc
    .tuple(
      fc.oneof(
        fc
          .tuple(station, station, fc.nat(1600), fc.nat(3))
          .map(([from, to, size, ecn]) => udpFrame(from, to, { size, ip: { ecn, dontFragment: true } })),
        fc.tuple(station, station).map(([from, to]) => arpRequest(from, to.ip)),
        fc.uint8Array({ maxLength: 80 }),
      ),
      fc.option(fc.nat(40), { nil: undefined }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
      fc.nat(200),
    )
    .map(([frame, id, flips, cut]) => {
      const bytes = id === undefined || frame.length < 14 ? frame.slice() : tag(frame, id);
      for (const [at, octet] of flips) if (bytes.length > 0) bytes[at % bytes.length] = octet;
      return cut < 20 ? bytes.subarray(0, cut) : bytes;
    });
  const event = fc.oneof(
    fc.record({ port: fc.nat(2), frame: arbitraryFrame }),
    fc.record({
      from: fc.constantFrom(C1.host, C2.host, H3, 'fd00::1'),
      ecn: fc.nat(3),
      datagram: fc.oneof(
        arbitraryFrame,
        arbitraryFrame.map((frame) => wrap(frame)),
      ),
    }),
  );
  const settings = fc.record({
    proxy: fc.constantFrom('endpoint' as const, 'vtep' as const, 'off' as const),
    flood: fc.boolean(),
    learn: fc.boolean(),
    tagged: fc.boolean(),
  });
  fc.assert(
    fc.property(settings, fc.boolean(), fc.array(event, { maxLength: 30 }), (segment, peersOnly, events) => {
      const { vtep, frame, datagram, sent, delivered, now } = host({ ...segment, mtu: 1450 }, { peersOnly });
      vtep.addPort({ name: 'tap0', vni: 4097 });
      vtep.addPort({ name: 'tap1', vni: 4097 });
      vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
      vtep.addPeer(4097, C2.host);
      vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
      const names = ['tap0', 'tap1', 'trunk'];
      for (const one of events) {
        const said = vtep.explain(one, now());
        const dropped = JSON.stringify(vtep.counters().drops);
        if ('frame' in one) frame(one.port, one.frame);
        else datagram(one.from, one.datagram, one.ecn);
        assert.equal(
          said.delivered,
          delivered.map(({ port }) => names[port]),
        );
        assert.equal(
          said.transmitted,
          sent.map(({ address }) => address),
        );
        assert.is(said.dropped === null, JSON.stringify(vtep.counters().drops) === dropped);
        assert.ok(said.dropped !== null || said.delivered.length + said.transmitted.length > 0, 'nothing vanishes');
        for (const { datagram } of sent) assert.is(hex(datagram.subarray(0, 8)), HEADER);
      }
    }),
    { numRuns: 600 },
  );
});

test('limits the number of remembered senders, and forgets silent ones', () => {
  const { vtep, tick, datagram, delivered, wait, now, count } = host({}, { learnedRemotes: 10 });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  for (let i = 0; i < 50; i++)
    datagram(`198.51.100.${i}`, wrap(udpFrame({ ip: C2.ip, mac: `02:00:00:00:00:${i + 10}` }, C1)));
  assert.is([...vtep.remotes()].length, 10);
  assert.is(count('learn-refused'), 40);
  assert.is(delivered.length, 1, 'a frame is delivered all the same');
  tick();
  assert.is([...vtep.remotes()].length, 10);
  wait(301_000);
  tick();
  assert.is([...vtep.remotes()].length, 0);
  datagram('198.51.100.60', wrap(udpFrame(C2, C1)));
  assert.equal(
    vtep.fdb(4097, now()).map(({ vtep }) => vtep),
    ['198.51.100.60'],
  );
  datagram('not even hashed', wrap(udpFrame(C2, C1), '0800000000100200'));
  assert.is([...vtep.remotes()].length, 1, 'a datagram that is dropped leaves no trace');
});

test('ports and segments come and go', () => {
  const { vtep, tick, frame, datagram, delivered, sent, drops, now } = host();
  vtep.addSegment({ vni: 200 });
  const tap = vtep.addPort({ name: 'tap0', vni: 4097 });
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097, 20: 200 } });
  vtep.addPeer(4097, C2.host);
  vtep.addPeer(200, C2.host);
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  frame(tap, udpFrame(C1, C2));
  assert.is(vtep.fdb(4097, now()).length, 2);
  vtep.removePort(tap);
  assert.equal(
    vtep.fdb(4097, now()).map(({ mac }) => mac),
    [C2.mac],
  );
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.equal(
    delivered.map(({ port }) => port),
    [trunk],
  );
  assert.throws(
    () => vtep.receiveFrame(tap, new Frame(), 0, { deliver: () => {}, transmit: () => {} }),
    /there is no port 0/,
  );
  vtep.removeSegment(4097);
  assert.equal(vtep.vnis(), [200]);
  frame(trunk, tag(udpFrame(C1, C2), 10));
  assert.equal(drops(), { 'vlan-unmapped': 1 });
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.equal(drops(), { 'vlan-unmapped': 1, 'unknown-vni': 1 });
  frame(trunk, tag(udpFrame(C1, C2), 20));
  assert.is(sent.length, 1);
  vtep.removePeer(200, C2.host);
  tick();
  assert.equal([...vtep.remotes()], []);
  assert.not(vtep.removePeer(200, C2.host));
});

test('rejects invalid arguments by name', () => {
  const { vtep } = host();
  assert.throws(() => vtep.addSegment({ vni: 4097 }), /vni 4097 already has a segment/);
  assert.throws(() => vtep.addSegment({ vni: 1 << 24 }), /vni must be an integer from 0 to 16777215/);
  assert.throws(() => vtep.addSegment({ vni: 1, mtu: 20 }), /mtu must be at least 68/);
  assert.throws(() => vtep.addSegment({ vni: 1, mac: BROADCAST }), /group address/);
  assert.throws(() => vtep.addPort({ name: 'x', vni: 5 }), /vni 5 has no segment/);
  assert.throws(
    () => vtep.addPort({ name: 'x', vlans: { 4095: 4097 } }),
    /VLAN id must be an integer from 1 to 4094, not 4095/,
  );
  assert.throws(() => vtep.addPort({ name: 'x', vlans: { 1: 4097, 2: 4097 } }), /vni 4097 is mapped twice on port x/);
  assert.throws(
    () => vtep.addEndpoint(4097, { ip: '10.0.0', mac: C2.mac, vtep: H3 }),
    /"10\.0\.0" is not an IPv4 address/,
  );
  assert.throws(() => vtep.addEndpoint(4097, { ip: C2.ip, mac: BROADCAST, vtep: H3 }), /group address/);
  assert.throws(() => vtep.addEndpoint(4097, { ip: C2.ip, mac: 'nonsense' }), /is not a MAC address/);
  assert.is(vtep.remote(H3), undefined);
  assert.throws(() => new Vtep({ port: 70_000 }), /port must be an integer/);
});

test('two spellings of an IPv6 underlay address are one remote', () => {
  const { vtep } = host();
  vtep.addPeer(4097, 'fd00:0:0::1');
  vtep.addPeer(4097, 'FD00::1');
  assert.equal(vtep.peers(4097), [{ address: 'fd00::1', port: 4789 }]);
  assert.is(formatMac(fromHex('0242 0a00 0003')), C1.mac);
  assert.ok(vtep.removePeer(4097, 'fd00:0::1'));
});

test.run();

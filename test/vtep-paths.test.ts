/** Packets that are too big for the path to one remote, and the maximum segment size of TCP. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect, type Layer } from '../src/packet/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import * as tcp from '../src/tcp/index.js';
import { Frame, HEADROOM, limitPath, Vtep, type VtepSink } from '../src/vtep/index.js';
import { BROADCAST, C1, C2, udpFrame } from './support/frames.js';
import { hex } from './support/hex.js';
import { host, tag, wrap } from './support/vtep-host.js';

const H3 = '198.51.100.3';
const C3 = { ip: '10.0.0.5', mac: '02:42:0a:00:00:05' };

/** A host with an endpoint behind a narrow path. */
function narrowHost(outer: number, segment: object = {}) {
  const one = host({ mtu: 1450, ...segment });
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  limitPath(one.vtep.remote(C2.host)!, 'probe', outer, 0);
  return { ...one, port, send: (frame: Uint8Array) => one.frame(port, frame) };
}

/** Puts fragments together as RFC 791 says, whatever their order. */
function reassembled(fragments: readonly Uint8Array[]): Uint8Array {
  const parts = fragments.map((fragment) => ipv4.decode(fragment, 14));
  const length = Math.max(...parts.map(({ fragmentOffset, payload }) => fragmentOffset + payload.length));
  const whole = new Uint8Array(length);
  for (const { fragmentOffset, payload } of parts) whole.set(payload, fragmentOffset);
  assert.is(parts.filter(({ moreFragments }) => !moreFragments).length, 1);
  for (const { identification } of parts) assert.is(identification, parts[0]!.identification);
  return whole;
}

test('an IPv4 packet without DF leaves in fragments that fit the path', () => {
  for (const outer of [1400, 1000, 600, 118]) {
    const { send, sent, delivered, count, drops } = narrowHost(outer);
    const packet = udpFrame(C1, C2, {
      data: Uint8Array.from({ length: 1400 }, (_, i) => i & 255),
      ip: { identification: 7 },
    });
    send(packet);
    const frames = sent.map(({ datagram }) => datagram.subarray(8));
    assert.ok(frames.length >= 2);
    for (const frame of frames) {
      assert.ok(frame.length - 14 <= outer - 50, `${frame.length} bytes`);
      assert.ok(ipv4.verifyChecksum(frame, 14));
      assert.is(hex(frame.subarray(0, 14)), hex(packet.subarray(0, 14)));
    }
    assert.is(hex(reassembled(frames)), hex(packet.subarray(34)));
    assert.equal([delivered.length, drops()], [0, {}]);
    assert.is(count('inner-fragments'), frames.length);
  }
});

test('VLAN tags count for the path, and fragments keep them', () => {
  const { send, sent, delivered } = narrowHost(1400, { tagged: true });
  send(tag(udpFrame(C1, C2, { size: 1346 - 28, ip: { dontFragment: true } }), 5));
  assert.is(sent.length, 1, '1346 bytes and 4 of a tag fit 1350');
  send(tag(udpFrame(C1, C2, { size: 1347 - 28, ip: { dontFragment: true } }), 5));
  assert.is(sent.length, 0);
  assert.match(hex(delivered[0]!.frame), /^.{24}81000005080045/);
  assert.match(hex(delivered[0]!.frame), /03040*.{4}0000.{0}/); // fragmentation needed
  assert.is(delivered[0]!.frame[18 + 20 + 6]! * 256 + delivered[0]!.frame[18 + 20 + 7]!, 1346);
  send(tag(udpFrame(C1, C2, { size: 1400 - 28 }), 5));
  assert.is(sent.length, 2);
  for (const { datagram } of sent) {
    assert.is(hex(datagram.subarray(20, 24)), '81000005');
    assert.ok(datagram.length + 28 <= 1400);
  }
});

test('a flood goes to the wide paths, and its sender gets one error, with the smallest MTU', () => {
  const { vtep, frame, sent, delivered, drops, count } = host({ mtu: 1450 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const mtus = [1500, 1400, 1300, 1350];
  for (const [i, mtu] of mtus.entries()) {
    vtep.addPeer(4097, `198.51.100.${i}`);
    limitPath(vtep.remote(`198.51.100.${i}`)!, 'probe', mtu, 0);
  }
  frame(port, udpFrame(C1, C3, { size: 1440 - 28, ip: { dontFragment: true } }));
  assert.equal(
    sent.map(({ address }) => address),
    ['198.51.100.0'],
  );
  assert.is(delivered.length, 1);
  assert.is(delivered[0]!.frame[14 + 20 + 6]! * 256 + delivered[0]!.frame[14 + 20 + 7]!, 1250);
  assert.equal([drops()['too-big'], count('fragmentation-needed')], [3, 1]);
  // Without DF, each remote gets what it can.
  frame(port, udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST }, { size: 1440 - 28 }));
  for (const [i, mtu] of mtus.entries()) {
    const to = sent.filter(({ address }) => address === `198.51.100.${i}`);
    assert.is(to.length, mtu === 1500 ? 1 : 2);
    for (const { datagram } of to) assert.ok(datagram.length + 28 <= mtu);
  }
  frame(port, udpFrame(C1, C3, { size: 100 }));
  assert.is(sent.length, 4);
});

/** An IPv6 packet of a length. */
function packet6(length: number): Uint8Array {
  return ethernet.encode({
    destination: C2.mac,
    source: C1.mac,
    etherType: ethernet.TYPE_IPV6,
    payload: ipv6.encode({
      nextHeader: 17,
      source: 'fd10::1',
      destination: 'fd10::2',
      payload: new Uint8Array(length - 40),
    }),
  });
}

test('an IPv6 packet that its sender cannot make smaller leaves in a fragmented datagram, a larger one gets an error', () => {
  const vtep = new Vtep({ local: C1.host });
  vtep.addSegment({ vni: 4097, mtu: 1450 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  limitPath(vtep.remote(C2.host)!, 'icmp', 1300, 0);
  const out: [what: string, length: number][] = [];
  const sink: VtepSink = {
    deliver: (_, { start, end }) => void out.push(['deliver', end - start]),
    transmit: (_, { start, end }) => void out.push(['whole', end - start]),
    transmitFragmented: (_, { start, end }) => void out.push(['fragmented', end - start]),
  };
  const send = (bytes: Uint8Array): void => {
    const room = new Uint8Array(HEADROOM + bytes.length);
    room.set(bytes, HEADROOM);
    vtep.receiveFrame(port, new Frame(room, HEADROOM, room.length), 0, sink);
  };
  for (const length of [1250, 1251, 1280]) send(packet6(length));
  assert.equal(out.splice(0), [
    ['whole', 1250 + 22],
    ['fragmented', 1251 + 22],
    ['fragmented', 1280 + 22],
  ]);
  send(packet6(1281));
  assert.equal(out, [['deliver', 14 + 1280]]);
  const { counts, drops } = vtep.counters();
  assert.equal([counts['outer-fragmented'], counts['datagrams-out'], drops['too-big']], [2, 3, 1]);
  const { steps, transmitted } = vtep.explain({ port, frame: packet6(1280) }, 0);
  assert.equal(transmitted, [C2.host]);
  assert.match(
    steps.map(({ text }) => text).join('\n'),
    /does not fit into 1250: that is what the path to \S+ carries, according to an ICMP error.*\n.*RFC 2473/,
  );
});

// ---- The maximum segment size ----

function syn(options: { mss?: number; flags?: number; v6?: boolean; before?: boolean } = {}): Uint8Array {
  const { mss = 1460, flags = tcp.FLAG_SYN, v6 = false, before = false } = options;
  const [source, destination] = v6 ? ['fd10::1', 'fd10::2'] : [C1.ip, C2.ip];
  const data = Uint8Array.of(mss >> 8, mss & 255);
  const payload = tcp.encode(
    {
      ...{ sourcePort: 40_000, destinationPort: 80, sequence: 1, acknowledgment: 0, flags, window: 65_535 },
      options: [...(before ? [{ kind: 3, data: Uint8Array.of(7) }] : []), { kind: 2, data }],
      payload: new Uint8Array(0),
    },
    { source, destination },
  );
  const header = { source, destination, payload };
  return ethernet.encode({
    ...{ destination: C2.mac, source: C1.mac, etherType: v6 ? ethernet.TYPE_IPV6 : ethernet.TYPE_IPV4 },
    payload: v6 ? ipv6.encode({ ...header, nextHeader: 6 }) : ipv4.encode({ ...header, protocol: 6 }),
  });
}

/** The MSS of a frame, by the dissector. Its checksum must be right. */
function mssOf(frame: Uint8Array): number {
  const { layers } = dissect(frame);
  const layer = layers.find(({ protocol }: Layer) => protocol === 'tcp') as Extract<Layer, { protocol: 'tcp' }>;
  const v6 = frame[12] === 0x86;
  const at = 14 + (v6 ? 40 : 20);
  const addresses = v6 ? ipv6.decode(frame, 14) : ipv4.decode(frame, 14);
  assert.ok(tcp.verifyChecksum(frame, at, frame.length, addresses), 'the checksum');
  const { data } = layer.options.find(({ kind }) => kind === 2)!;
  return data[0]! * 256 + data[1]!;
}

test('the MSS of a SYN is lowered to what fits the path, in both directions, only if the segment wants it', () => {
  for (const before of [false, true])
    for (const [v6, header] of [
      [false, 40],
      [true, 60],
    ] as const) {
      const clamping = narrowHost(1400, { clampMss: true });
      const { send, sent, delivered, datagram, count } = clamping;
      send(syn({ v6, before }));
      assert.is(mssOf(sent[0]!.datagram.slice(8)), 1350 - header);
      send(syn({ v6, before, flags: tcp.FLAG_SYN | tcp.FLAG_ACK }));
      assert.is(mssOf(sent[0]!.datagram.slice(8)), 1350 - header);
      send(syn({ v6, before, mss: 1000 }));
      assert.is(mssOf(sent[0]!.datagram.slice(8)), 1000);
      send(syn({ v6, before, flags: tcp.FLAG_ACK }));
      assert.is(mssOf(sent[0]!.datagram.slice(8)), 1460);
      assert.is(count('mss-clamped'), 2);
      const back = syn({ v6, before });
      back.set([...back.subarray(6, 12), ...back.subarray(0, 6)]);
      datagram(C2.host, wrap(back));
      assert.is(mssOf(delivered[0]!.frame), 1350 - header);
      const plain = narrowHost(1400);
      plain.send(syn({ v6, before }));
      assert.is(mssOf(plain.sent[0]!.datagram.slice(8)), 1460);
    }
});

test('damaged TCP options and fragments are left as they are', () => {
  const { send, sent } = narrowHost(1400, { clampMss: true });
  const good = syn();
  const at = 14 + 20 + 20;
  for (const octets of [
    [2, 3],
    [2, 0],
    [2, 40],
    [9, 1],
    [0, 4],
    [1, 1, 1, 2],
  ]) {
    const bad = good.slice();
    bad.set(octets, at);
    send(bad);
    assert.is(hex(sent[0]!.datagram.slice(8)), hex(bad), `${octets}`);
  }
  const fragment = good.slice();
  fragment.set([0x20, 0x08], 20);
  send(fragment);
  assert.is(hex(sent[0]!.datagram.slice(8)), hex(fragment));
});

test('lists where the MTU of a path is known from', () => {
  const { vtep } = host();
  vtep.addPeer(4097, H3);
  const remote = vtep.remote(H3)!;
  const listed = (now: number) => vtep.remoteListing(now).map(({ mtu, from, age }) => [mtu, from, age])[0];
  limitPath(remote, 'probe', 1400, 1000);
  limitPath(remote, 'icmp', 1450, 2000);
  assert.equal(listed(5000), [1350, 'probe', 4000]);
  limitPath(remote, 'icmp', 1300, 6000);
  assert.equal(listed(6500), [1250, 'icmp', 500]);
  limitPath(remote, 'route', 1280, 7000);
  assert.equal(listed(7000), [1230, 'route', 0]);
  for (const source of ['route', 'icmp', 'probe'] as const) limitPath(remote, source, 65_535, 8000);
  assert.equal(listed(9000), [null, null, null]);
});

test.run();

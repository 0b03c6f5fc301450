/** A VTEP treats super-frames and merged datagrams like their single packets. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as tcp from '../src/tcp/index.js';
import { GSO_TCPV4 } from '../src/virtio/index.js';
import type { NewSegment } from '../src/model/index.js';
import { Frame, HEADROOM, Vtep, type Counters } from '../src/vtep/index.js';
import { arpRequest, BROADCAST, C1, C2 } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { segmentAll } from './support/offload.js';

const SIZE = 1000;
/** Ethernet, IPv4, TCP. */
const HEADERS = 14 + 20 + 20;

function superFrame(to: string, options: { data?: number; ip?: Partial<ipv4.Ipv4>; from?: string } = {}): Uint8Array {
  const segment = tcp.encode(
    {
      sourcePort: 40_000,
      destinationPort: 80,
      sequence: 1,
      flags: tcp.FLAG_ACK,
      window: 500,
      payload: new Uint8Array(options.data ?? 9500).fill(7),
    },
    { source: C1.ip, destination: C2.ip },
  );
  return ethernet.encode({
    destination: to,
    source: options.from ?? C1.mac,
    etherType: ethernet.TYPE_IPV4,
    payload: ipv4.encode({ protocol: 6, source: C1.ip, destination: C2.ip, payload: segment, ...options.ip }),
  });
}

function tagged(frame: Uint8Array, id: number): Uint8Array {
  return fromHex(`${hex(frame.subarray(0, 12))}8100${id.toString(16).padStart(4, '0')}${hex(frame.subarray(12))}`);
}

function host(segment: Partial<NewSegment> = {}) {
  const vtep = new Vtep({ local: C1.host });
  vtep.addSegment({ vni: 4097, ...segment });
  const a = vtep.addPort({ name: 'a', vni: 4097 });
  vtep.addPort({ name: 'b', vni: 4097 });
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
  vtep.addPeer(4097, '198.51.100.2');
  vtep.addPeer(4097, '198.51.100.3');
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  const out: { bytes: Uint8Array; offset: number; end: number; octets: Uint8Array }[] = [];
  const keep = ({ bytes, start, end }: Frame): void =>
    void out.push({ bytes, offset: start, end, octets: bytes.slice(start, end) });
  const sink = {
    deliver: (_port: number, frame: Frame) => keep(frame),
    transmit: (_remote: unknown, frame: Frame) => keep(frame),
  };
  return { vtep, a, trunk, out, sink };
}

function framed(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADROOM + frame.length).fill(0xa5);
  bytes.set(frame, HEADROOM);
  return bytes;
}

/** The counters of a VTEP that receives the super-frame, and of one that receives its segments. */
function both(frame: Uint8Array, from: 'a' | 'trunk', segment: Partial<NewSegment> = {}): [Counters, Counters] {
  const segments = segmentAll(frame, GSO_TCPV4, SIZE);
  if (typeof segments === 'number') throw new Error(`not segmented: ${segments}`);
  assert.ok(segments.length > 1);
  const once = host(segment);
  const bytes = framed(frame);
  const wire = segments.reduce((sum, one) => sum + one.length, 0);
  const [largest] = segments.map((one) => one.length);
  const { vtep, sink } = once;
  vtep.receiveFrame(
    once[from],
    new Frame().setMany(bytes, HEADROOM, bytes.length, segments.length, wire, largest),
    0,
    sink,
  );
  const each = host(segment);
  for (const one of segments) {
    const single = framed(one);
    each.vtep.receiveFrame(each[from], new Frame(single, HEADROOM), 0, each.sink);
  }
  assert.is(each.out.length, once.out.length * segments.length);
  return [once.vtep.counters(), each.vtep.counters()];
}

const CASES: [what: string, frame: Uint8Array, from: 'a' | 'trunk', segment?: Partial<NewSegment>][] = [
  ['to a known endpoint', superFrame(C2.mac), 'a'],
  ['to all', superFrame(BROADCAST), 'a'],
  ['to an unknown address', superFrame('02:00:00:00:00:09'), 'a'],
  ['to an unknown address, where nothing is flooded', superFrame('02:00:00:00:00:09'), 'a', { flood: false }],
  ['from a trunk', tagged(superFrame(C2.mac), 10), 'trunk'],
  ['from a trunk to all', tagged(superFrame(BROADCAST), 10), 'trunk'],
  ['from a trunk with a VLAN that is not mapped', tagged(superFrame(C2.mac), 11), 'trunk'],
  ['from a group', superFrame(C2.mac, { from: '03:00:00:00:00:01' }), 'a'],
  ['from where the control plane has it not', superFrame(BROADCAST, { from: C2.mac }), 'a'],
  ['to a reserved group', superFrame('01:80:c2:00:00:00'), 'a'],
  ['as large as the segment carries', superFrame(C2.mac), 'a', { mtu: SIZE + HEADERS - 14 }],
  ['with a tag that the segment carries', tagged(superFrame(C2.mac), 7), 'a', { mtu: SIZE + 40, tagged: true }],
  ['with a priority tag', tagged(superFrame(BROADCAST), 0xa000), 'a'],
  ['with a priority tag that the segment carries', tagged(superFrame(BROADCAST), 0xa000), 'a', { tagged: true }],
  ['with a tag that is not allowed', tagged(superFrame(BROADCAST), 7), 'a'],
  ['from a trunk with a priority tag inside', tagged(tagged(superFrame(BROADCAST), 0xa000), 10), 'trunk'],
  ['from a trunk with another tag inside', tagged(tagged(superFrame(C2.mac), 7), 10), 'trunk', { tagged: true }],
  ['with nothing but whole segments', superFrame(C2.mac, { data: 4 * SIZE }), 'a'],
];
for (const [what, frame, from, segment] of CASES)
  test(`a super-frame ${what} is counted as its segments`, () => {
    const [once, each] = both(frame, from, segment);
    assert.equal(once, each);
  });

test('a super-frame with segments beyond the MTU gets one ICMP error, and its segments are counted', () => {
  const { vtep, a, out, sink } = host({ mtu: SIZE + HEADERS - 15 });
  const bytes = framed(superFrame(C2.mac, { ip: { dontFragment: true } }));
  const wire = 9500 + 10 * HEADERS;
  vtep.receiveFrame(a, new Frame().setMany(bytes, HEADROOM, bytes.length, 10, wire, SIZE + HEADERS), 0, sink);
  assert.is(out.length, 1);
  assert.is.not(out[0]!.bytes, bytes, 'it is not a super-frame, and can be distinguished');
  const error = icmp.decode(ipv4.decode(out[0]!.octets, 14).payload) as { nextHopMtu?: number };
  assert.is(error.nextHopMtu, SIZE + HEADERS - 15);
  const { counts, drops } = vtep.counters();
  assert.equal([counts['frames-in'], counts['frame-bytes-in'], drops['too-big']], [10, wire, 10]);
  assert.equal([counts['frames-out'], counts['frame-bytes-out']], [1, out[0]!.octets.length]);
  assert.is(counts['datagrams-out'], 0);
  // Flooded to a path with a small MTU and one with a large MTU: both counters are correct.
  vtep.removeEndpoint(4097, { ...C2, vtep: C2.host });
  const wide = host();
  wide.vtep.remote('198.51.100.2')!.outerMtu = SIZE + 50;
  const copy = framed(superFrame('02:00:00:00:00:09', { ip: { dontFragment: true } }));
  wide.vtep.receiveFrame(
    wide.a,
    new Frame().setMany(copy, HEADROOM, copy.length, 10, wire, SIZE + HEADERS),
    0,
    wide.sink,
  );
  const after = wide.vtep.counters();
  assert.is(after.counts['fragmentation-needed'], 1);
  assert.equal(
    [after.counts['datagrams-out'], after.counts['datagram-bytes-out'], after.drops['too-big']],
    [10, wire + 80, 10],
  );
});

test('a reply counts as one frame, also to a super-frame', () => {
  const { vtep, a, sink } = host();
  const bytes = framed(arpRequest(C1, C2.ip));
  vtep.receiveFrame(a, new Frame().setMany(bytes, HEADROOM, bytes.length, 3, 126, 42), 0, sink);
  const { counts } = vtep.counters();
  assert.equal([counts['frames-in'], counts['frames-out'], counts['frame-bytes-out']], [3, 1, 42]);
});

test('merged datagrams are counted as single ones', () => {
  const segments = segmentAll(superFrame(C1.mac, { ip: { ecn: 2 } }), GSO_TCPV4, SIZE) as Uint8Array[];
  for (const to of [C1.mac, BROADCAST, '02:00:00:00:00:09']) {
    for (const outer of [0, 3]) {
      const each = host();
      const once = host();
      const local = framed(superFrame(BROADCAST, { from: C1.mac, data: 1 }));
      for (const { vtep, trunk, sink } of [each, once]) {
        const here = framed(tagged(local.subarray(HEADROOM), 10));
        vtep.receiveFrame(trunk, new Frame(here, HEADROOM), 0, sink);
      }
      each.out.length = 0;
      once.out.length = 0;
      const datagrams = segments.map((one) => {
        const datagram = fromHex(`0800000000100100${hex(one)}`);
        ethernet.setDestination(datagram, 8, Number.parseInt(to.replaceAll(':', ''), 16));
        ethernet.setSource(datagram, 8, Number.parseInt(C2.mac.replaceAll(':', ''), 16));
        return datagram;
      });
      const wire = datagrams.reduce((sum, one) => sum + one.length, 0);
      const heads = framed(datagrams[0]!.subarray(0, 8 + HEADERS));
      for (const datagram of datagrams) each.vtep.receiveDatagram(C2.host, new Frame(datagram), 0, outer, each.sink);
      once.vtep.receiveDatagram(
        C2.host,
        new Frame().setMany(heads, HEADROOM, heads.length, segments.length, wire),
        0,
        outer,
        once.sink,
      );
      assert.equal(once.vtep.counts(), each.vtep.counts(), `to ${to}, outer ECN ${outer}`);
      assert.is(each.out.length, once.out.length * segments.length);
      for (const [i, { octets }] of once.out.entries())
        assert.is(hex(octets), hex(each.out[i]!.octets.subarray(0, octets.length)));
      // The next one is single again.
      const next = fromHex(`0800000000100100${hex(segments[0]!)}`);
      const before = once.vtep.counters().counts;
      once.vtep.receiveDatagram(C2.host, new Frame(next), 0, 0, once.sink);
      const { counts } = once.vtep.counters();
      assert.is(counts['datagrams-in'] - before['datagrams-in'], 1);
      assert.is(counts['datagram-bytes-in'] - before['datagram-bytes-in'], next.length);
    }
  }
});

test.run();

/**
 * Hostile virtio headers from a container, and hostile datagrams from the underlay: 37,600 and 152,400, from a seed. The
 * data path of the fast engine and the machine alone, as the portable engine uses it, must neither throw nor hang; what
 * comes out is bounded.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../../src/arp/index.js';
import * as ethernet from '../../src/ethernet/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import { readCounts } from '../../src/host/linux/counts.js';
import { VIRTIO_LENGTH } from '../../src/host/linux/tap-queue.js';
import * as tcp from '../../src/tcp/index.js';
import * as udp from '../../src/udp/index.js';
import * as vxlan from '../../src/vxlan/index.js';
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4 } from '../../src/virtio/index.js';
import { Frame, HEADROOM, Vtep, type VtepSink } from '../../src/vtep/index.js';
import { FakePath, PEER, VNI } from '../support/fake-path.js';
import { processorTime } from '../support/processor-time.js';

const HEADERS = 37_600;
const DATAGRAMS = 152_400;
const PEERS = ['192.0.2.3', '192.0.2.4'];
const TAPS = 3;
/** Most segments of one super-frame. */
const SEGMENTS = 1366;
/** Milliseconds of processor time for one input; many times what it takes, because it includes the compiler and garbage. */
const PATIENCE = 250;

/** Random numbers below 2^32 from a seed: mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Next = ReturnType<typeof random>;
const pick = <T>(next: Next, all: readonly T[]): T => all[next(all.length)]!;

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03', 'ff:ff:ff:ff:ff:ff', '01:80:c2:00:00:00'];
const IPS = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '0.0.0.0', '224.0.0.1'];

/** A TCP segment with a correct checksum. */
function segment(
  source: string,
  destination: string,
  sequence: number,
  flags: number,
  payload: Uint8Array,
): Uint8Array {
  const fields = { sourcePort: 1, destinationPort: 2, sequence, acknowledgment: 4, flags, window: 5, payload };
  return tcp.encode(fields, { source, destination });
}

/** A frame as stations send it: TCP, UDP, ARP, IPv6, tags. */
function frameOf(next: Next): Uint8Array {
  const six = next(4) === 0;
  const [source, destination] = six ? ['fd00::1', 'fd00::2'] : [pick(next, IPS), pick(next, IPS)];
  const payload = new Uint8Array(pick(next, [0, 1, 40, 1400, 9000, next(60_000)])).fill(next(256));
  const isTcp = next(2) === 0;
  const upper = isTcp
    ? segment(source, destination, next(9), pick(next, [tcp.FLAG_ACK, tcp.FLAG_ACK, next(512)]), payload)
    : udp.encode({ sourcePort: next(3), destinationPort: next(3), payload }, { source, destination });
  const ends = { destination: pick(next, MACS), source: pick(next, MACS.slice(0, 4)) };
  const protocol = pick(next, [isTcp ? 6 : 17, isTcp ? 6 : 17, next(256)]);
  let etherType = six ? 0x86dd : 0x0800;
  let body = six
    ? ipv6.encode({ nextHeader: protocol, source, destination, payload: upper })
    : ipv4.encode({ protocol, source, destination, payload: upper, dontFragment: next(2) === 0 });
  if (next(5) === 0) {
    etherType = 0x0806;
    body = arp.encode({
      operation: 1 + next(2),
      senderMac: pick(next, MACS.slice(0, 3)),
      senderIp: pick(next, IPS),
      targetMac: pick(next, MACS),
      targetIp: pick(next, IPS),
    });
  }
  const frame = ethernet.encode({ ...ends, etherType, payload: body });
  const tags = pick(next, [0, 0, 0, 1, 2, 9]);
  const tagged = new Uint8Array(frame.length + tags * 4);
  tagged.set(frame.subarray(0, 12));
  for (let at = 12; at < 12 + tags * 4; at += 4)
    tagged.set([0x81, pick(next, [0x00, 0xa8]), next(16) << 4, next(3)], at);
  tagged.set(frame.subarray(12), 12 + tags * 4);
  return tagged;
}

/** Changes some octets, mostly in the headers, and maybe the length. */
function damage(next: Next, bytes: Uint8Array): Uint8Array {
  for (let turns = next(4); turns > 0 && bytes.length > 0; turns--)
    bytes[next(Math.min(bytes.length, 80))] = pick(next, [0, 1, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xff, next(256)]);
  return next(4) === 0 ? bytes.subarray(0, next(bytes.length + 1)) : bytes;
}

function total(counts: FakePath['counts']): number {
  const { datagramsSent, framesWritten } = readCounts(counts);
  return datagramsSent + framesWritten;
}

test(`${HEADERS} hostile virtio headers`, () => {
  const next = random(0x76697274);
  const fake = new FakePath({ taps: TAPS, peers: PEERS, keep: false });
  const types = [GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN, GSO_UDP_L4 | GSO_ECN];
  const sizes = (): number => pick(next, [0, 1, 2, 8, 47, 48, 536, 1400, 32_768, 65_535, next(65_536)]);
  let before = 0;
  let slowest = 0;
  for (let i = 0; i < HEADERS; i++) {
    const frame = damage(next, frameOf(next));
    const input = new Uint8Array(VIRTIO_LENGTH + frame.length);
    const view = new DataView(input.buffer);
    input[0] = pick(next, [0, 1, 1, 2, 3, next(256)]);
    input[1] = pick(next, [...types, next(256)]);
    for (const at of [2, 4, 6, 8]) view.setUint16(at, sizes(), true);
    input.set(frame, VIRTIO_LENGTH);
    fake.toRead.push(input);
    const tap = next(TAPS);
    slowest = Math.max(
      slowest,
      processorTime(() => fake.path.fromTap(tap, i)),
    );
    const after = total(fake.counts);
    assert.ok(after - before <= (PEERS.length + 1) * SEGMENTS + TAPS, `input ${i} became ${after - before}`);
    before = after;
  }
  assert.equal(fake.outside, [], 'memory outside the buffers');
  assert.ok(
    before > HEADERS / 10,
    `only ${before} frames and datagrams came out: the inputs are not the intended ones`,
  );
  assert.ok(slowest < PATIENCE, `${slowest} ms`);
});

/** A datagram of a VTEP, with damage. */
function datagramOf(next: Next): Uint8Array {
  const frame = frameOf(next).subarray(0, 2000);
  return damage(next, vxlan.encode({ vni: pick(next, [VNI, VNI, VNI, 8]), payload: frame }));
}

/** A datagram of a flow. */
function flowOf(sequence: number, payload: Uint8Array): Uint8Array {
  const [source, destination] = ['10.0.0.1', '10.0.0.2'];
  const upper = segment(source, destination, sequence, tcp.FLAG_ACK, payload);
  const ip = ipv4.encode({ protocol: 6, source, destination, payload: upper, dontFragment: true });
  const frame = ethernet.encode({ destination: MACS[1]!, source: MACS[0]!, etherType: 0x0800, payload: ip });
  return vxlan.encode({ vni: VNI, payload: frame });
}

test(`${DATAGRAMS} hostile datagrams, alone and many at once, to the fast engine`, () => {
  const next = random(0x76786c61);
  let fake = new FakePath({ taps: TAPS, keep: false });
  let before = 0;
  let all = 0;
  let slowest = 0;
  for (let done = 0; done < DATAGRAMS;) {
    // As UDP_GRO delivers them: of one size, the last one may be shorter. Half of them are a flow that may be merged.
    const isFlow = next(2) === 0;
    const payload = new Uint8Array(pick(next, [1, 20, 100, 1400]));
    const one = isFlow ? flowOf(0, payload) : datagramOf(next);
    const count = one.length === 0 ? 1 : 1 + next(Math.min(60, Math.floor(60_000 / one.length)));
    const data = new Uint8Array(one.length * count);
    for (let i = 0; i < count; i++) {
      const own = isFlow ? flowOf(i * payload.length, payload) : one.slice();
      data.set(next(8) === 0 ? damage(next, own) : own, i * one.length);
    }
    const received = data.subarray(0, data.length - next(2));
    slowest = Math.max(
      slowest,
      processorTime(() => fake.receiveMany(received, one.length)),
    );
    done += count;
    const after = total(fake.counts);
    assert.ok(after - before <= count * TAPS, `${count} datagrams became ${after - before}`);
    all += after - before;
    before = after;
    if (next(1000) === 0) {
      assert.equal(fake.outside, [], 'memory outside the buffers');
      fake = new FakePath({ taps: TAPS, keep: false, vnet: next(2) === 0 });
      before = 0;
    }
  }
  assert.ok(all > DATAGRAMS / 10, `only ${all} frames came out: the inputs are not the intended ones`);
  assert.ok(slowest < PATIENCE, `${slowest} ms`);
});

test(`${DATAGRAMS} hostile datagrams from peers and strangers to the machine alone`, () => {
  const next = random(0x6d616368);
  const vtep = new Vtep({ local: '192.0.2.1', learnedRemotes: 64 });
  vtep.addSegment({ vni: VNI, capacity: 1000 });
  vtep.addSegment({ vni: 8, proxy: 'vtep', tagged: true, capacity: 1000 });
  for (let i = 0; i < TAPS; i++) vtep.addPort({ name: `a${i}`, vni: VNI });
  vtep.addPort({ name: 'trunk', vlans: { 1: VNI, 2: 8 } });
  for (const peer of [PEER, ...PEERS]) vtep.addPeer(VNI, peer);
  vtep.addEndpoint(VNI, { ip: '10.0.0.1', mac: MACS[0]! });
  vtep.addEndpoint(VNI, { ip: '10.0.0.2', mac: MACS[1]!, vtep: PEER });
  let output = 0;
  const sink: VtepSink = {
    deliver: () => void output++,
    transmit: () => assert.unreachable('a datagram from a tunnel goes into a tunnel'),
  };
  const bytes = new Uint8Array(HEADROOM + 4096);
  let slowest = 0;
  let all = 0;
  for (let i = 0; i < DATAGRAMS; i++) {
    const datagram = datagramOf(next).subarray(0, 4096);
    bytes.set(datagram, HEADROOM);
    const from = pick(next, [PEER, PEERS[0]!, '192.0.2.1', `203.0.${next(256)}.${next(256)}`]);
    output = 0;
    const ecn = next(4);
    const frame = new Frame(bytes, HEADROOM, HEADROOM + datagram.length);
    slowest = Math.max(
      slowest,
      processorTime(() => vtep.receiveDatagram(from, frame, i, ecn, sink)),
    );
    assert.ok(output <= TAPS + 1, `datagram ${i} became ${output} frames`);
    all += output;
    if (i % 1000 === 0) vtep.tick(i, { deliver: () => undefined, transmit: () => undefined });
  }
  for (const vni of vtep.vnis()) assert.ok(vtep.fdb(vni, DATAGRAMS).length <= 1002);
  assert.ok([...vtep.remotes()].length <= 64 + 3, 'learned remotes');
  assert.is(vtep.fdbEntry(VNI, MACS[1]!, DATAGRAMS)?.vtep, PEER);
  assert.is(vtep.fdbEntry(VNI, MACS[0]!, DATAGRAMS), null, 'an endpoint of this host that has not sent');
  assert.ok(all > DATAGRAMS / 20, `only ${all} frames came out: the inputs are not the intended ones`);
  assert.ok(slowest < PATIENCE, `${slowest} ms`);
});

test.run();

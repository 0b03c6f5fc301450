/**
 * Segmentation and coalescing. The codecs build the expected packets one by one, with their checksums; the harness in
 * support/offload.ts checks for reads and writes out of bounds.
 */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as ethernet from '../src/ethernet/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import {
  Coalescer,
  coalesceScratch,
  finishChecksum,
  joinScratch,
  jsSum,
  MAX_HEADER,
  Segmenter,
  segmentScratch,
  SuperFrame,
  type CoalescerOptions,
  type Run,
} from '../src/offload/index.js';
import * as tcp from '../src/tcp/index.js';
import * as udp from '../src/udp/index.js';
import * as virtio from '../src/virtio/index.js';
import { fromHex, hex } from './support/hex.js';
import { coalesceAll, segmentAll, shared, twins } from './support/offload.js';

const { FLAG_ACK, FLAG_CWR, FLAG_ECE, FLAG_FIN, FLAG_PSH, FLAG_RST, FLAG_SYN, FLAG_URG } = tcp;
const TRUNCATED = -1;
const MALFORMED = -2;
const UNSUPPORTED = -3;

const MACS = { destination: '02:42:0a:00:00:04', source: '02:42:0a:00:00:03' };
const V4 = { source: '10.0.0.3', destination: '10.0.0.4' };
const V6 = { source: 'fd00::3', destination: 'fd00::4' };
const NOP = { kind: 1, data: new Uint8Array(0) };
const STAMPS = [NOP, NOP, { kind: 8, data: fromHex('0000000100000002') }];

function octets(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + seed, 2_654_435_761) >>> 24);
}

/** Options of a TCP or UDP packet. */
interface Packet {
  version: 4 | 6;
  protocol: 'tcp' | 'udp';
  data: Uint8Array;
  /** Ids of VLAN tags, outermost first. */
  vlans?: number[];
  ipv4?: Partial<ipv4.Ipv4>;
  ipv6?: Partial<ipv6.Ipv6>;
  /** A destination options header before TCP or UDP, in IPv6. */
  extension?: boolean;
  tcp?: Partial<tcp.Tcp>;
  ports?: [number, number];
}

/** Builds a frame; with `pseudo` the checksum field has the sum of the pseudo-header, as in a super-frame. */
function build(packet: Packet, pseudo = false): Uint8Array {
  const addresses = packet.version === 4 ? V4 : V6;
  const [sourcePort, destinationPort] = packet.ports ?? [40_000, 80];
  const upper =
    packet.protocol === 'tcp'
      ? tcp.encode(
          {
            sourcePort,
            destinationPort,
            sequence: 1000,
            acknowledgment: 77,
            flags: FLAG_ACK,
            window: 500,
            payload: packet.data,
            ...packet.tcp,
          },
          addresses,
        )
      : udp.encode({ sourcePort, destinationPort, payload: packet.data }, addresses);
  const protocol = packet.protocol === 'tcp' ? 6 : 17;
  if (pseudo) {
    const at = packet.protocol === 'tcp' ? 16 : 6;
    // RFC 768 and RFC 8200, section 8.1, over the text of the addresses: independent of the code under test.
    const words = packet.version === 4 ? [0x0a00, 0x0003, 0x0a00, 0x0004] : [0xfd00, 0x0003, 0xfd00, 0x0004];
    let total = words.reduce((sum, word) => sum + word, protocol + upper.length);
    while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
    upper[at] = total >>> 8;
    upper[at + 1] = total;
  }
  let type: number;
  let bytes: Uint8Array;
  if (packet.version === 4) {
    type = ethernet.TYPE_IPV4;
    bytes = ipv4.encode({ ...V4, protocol, identification: 7, dontFragment: true, payload: upper, ...packet.ipv4 });
  } else {
    type = ethernet.TYPE_IPV6;
    const extension = packet.extension === true ? Uint8Array.of(protocol, 0, 1, 4, 0, 0, 0, 0) : octets(0);
    bytes = ipv6.encode({
      ...V6,
      nextHeader: packet.extension === true ? ipv6.NEXT_DESTINATION_OPTIONS : protocol,
      payload: Uint8Array.of(...extension, ...upper),
      ...packet.ipv6,
    });
  }
  for (const id of [...(packet.vlans ?? [])].reverse()) {
    bytes = ethernet.vlan.encode({ id, etherType: type, payload: bytes });
    type = ethernet.TYPE_VLAN;
  }
  return ethernet.encode({ ...MACS, etherType: type, payload: bytes });
}

/** The segments of a super-frame as the kernel makes them, each built separately. */
function expectedSegments(packet: Packet, size: number): Uint8Array[] {
  const count = Math.max(1, Math.ceil(packet.data.length / size));
  const { flags = FLAG_ACK, sequence = 1000 } = packet.tcp ?? {};
  return Array.from({ length: count }, (_, i) => {
    let own = flags;
    if (i > 0) own &= ~FLAG_CWR;
    if (i < count - 1) own &= ~(FLAG_FIN | FLAG_PSH);
    return build({
      ...packet,
      data: packet.data.subarray(i * size, (i + 1) * size),
      ipv4: { ...packet.ipv4, identification: ((packet.ipv4?.identification ?? 7) + i) % 65_536 },
      tcp: { ...packet.tcp, flags: own, sequence: (sequence + i * size) % 2 ** 32 },
    });
  });
}

function gsoType(packet: Packet): number {
  if (packet.protocol === 'udp') return virtio.GSO_UDP_L4;
  const ecn = ((packet.tcp?.flags ?? 0) & FLAG_CWR) === 0 ? 0 : virtio.GSO_ECN;
  return (packet.version === 4 ? virtio.GSO_TCPV4 : virtio.GSO_TCPV6) | ecn;
}

const texts = (frames: readonly Uint8Array[]): string[] => frames.map(hex);

function segments(packet: Packet, size: number, options = {}): Uint8Array[] {
  const frames = segmentAll(build(packet, true), gsoType(packet), size, options);
  if (typeof frames === 'number') throw new Error(`refused: ${frames}`);
  return frames;
}

const KINDS: [name: string, packet: Omit<Packet, 'data'>][] = [
  ['TCP over IPv4', { version: 4, protocol: 'tcp' }],
  ['TCP over IPv6', { version: 6, protocol: 'tcp' }],
  ['UDP over IPv4', { version: 4, protocol: 'udp' }],
  ['UDP over IPv6', { version: 6, protocol: 'udp' }],
  ['TCP with timestamps', { version: 4, protocol: 'tcp', tcp: { options: STAMPS } }],
  ['IPv4 with options', { version: 4, protocol: 'tcp', ipv4: { options: [{ kind: 148, data: fromHex('0000') }] } }],
  ['TCP behind IPv6 options', { version: 6, protocol: 'tcp', extension: true }],
  ['a VLAN', { version: 4, protocol: 'tcp', vlans: [100] }],
  ['two VLANs', { version: 6, protocol: 'udp', vlans: [100, 200] }],
  [
    'identification and sequence that wrap',
    { version: 4, protocol: 'tcp', ipv4: { identification: 0xfffe }, tcp: { sequence: 0xffff_fff0 } },
  ],
  [
    'every flag that may be',
    { version: 4, protocol: 'tcp', tcp: { flags: FLAG_ACK | FLAG_PSH | FLAG_FIN | FLAG_CWR | FLAG_ECE } },
  ],
  ['ECN and DSCP', { version: 6, protocol: 'tcp', ipv6: { dscp: 46, ecn: 3, flowLabel: 0xabcde, hopLimit: 3 } }],
];
for (const [name, kind] of KINDS) {
  const packet: Packet = { ...kind, data: octets(1000) };
  for (const size of [100, 333, 999])
    test(`${name}: segments of ${size} equal packets sent one by one, and merge to the same super-frame`, () => {
      const frames = segments(packet, size);
      assert.equal(texts(frames), texts(expectedSegments(packet, size)));
      const { out, coalescer } = coalesceAll(frames, { udp: true });
      assert.is(out.length, 1);
      const [{ bytes, count, header }] = out as [(typeof out)[0]];
      assert.is(hex(bytes), hex(build(packet, true)));
      const length = bytes.length - packet.data.length;
      const isTcp = packet.protocol === 'tcp';
      assert.equal(header, {
        flags: virtio.FLAG_NEEDS_CSUM,
        gsoType: gsoType(packet),
        headerLength: length,
        gsoSize: size,
        checksumStart: length - (isTcp ? tcp.getHeaderLength(bytes, length - (packet.tcp?.options ? 32 : 20)) : 8),
        checksumOffset: isTcp ? 16 : 6,
      });
      assert.equal([count, coalescer.mergedFrames, coalescer.mergedRuns], [frames.length, frames.length, 1]);
    });
}

test('a super-frame with one segment’s data, or none, gives one segment', () => {
  for (const length of [0, 1, 99, 100]) {
    const packet: Packet = { version: 4, protocol: 'tcp', data: octets(length), tcp: { flags: FLAG_ACK | FLAG_PSH } };
    assert.equal(texts(segments(packet, 100)), [hex(build(packet))]);
  }
});

test('each segment gets the VXLAN header of the super-frame', () => {
  const packet: Packet = { version: 4, protocol: 'tcp', data: octets(250) };
  const header = '0800000000100100';
  const frames = segmentAll(fromHex(header + hex(build(packet, true))), virtio.GSO_TCPV4, 100, { prefix: 8 });
  assert.equal(
    texts(frames as Uint8Array[]),
    expectedSegments(packet, 100).map((frame) => header + hex(frame)),
  );
  const { out } = coalesceAll(frames as Uint8Array[], { prefix: 8 });
  assert.equal(
    out.map(({ bytes }) => hex(bytes)),
    [header + hex(build(packet, true))],
  );
  // Frames of another segment or sender are not merged.
  const other = (frames as Uint8Array[]).map((frame, i) => {
    const copy = frame.slice();
    copy[6] = i;
    return copy;
  });
  assert.is(coalesceAll(other, { prefix: 8 }).out.length, 3);
  assert.is(coalesceAll(frames as Uint8Array[], { prefix: 8 }, [1, 2, 2]).out.length, 2);
});

test('64 KiB are segmented in any number of calls', () => {
  const packet: Packet = { version: 4, protocol: 'tcp', data: octets(65_000) };
  const expected = texts(expectedSegments(packet, 1398));
  assert.is(expected.length, 47);
  for (const limit of [1, 7, 46, 47, 64]) assert.equal(texts(segments(packet, 1398, { limit })), expected);
  assert.is(segments(packet, 1).length, 65_000);
});

test('frames that cannot be segmented are rejected', () => {
  const data = octets(300);
  const frame = build({ version: 4, protocol: 'tcp', data }, true);
  const refused = (expected: number, bytes: Uint8Array, type: number = virtio.GSO_TCPV4, size = 100): void =>
    assert.is(segmentAll(bytes, type, size), expected);
  refused(MALFORMED, frame, virtio.GSO_TCPV4, 0);
  refused(UNSUPPORTED, frame, virtio.GSO_NONE);
  refused(UNSUPPORTED, frame, virtio.GSO_UDP);
  refused(UNSUPPORTED, frame, 0x7f);
  refused(MALFORMED, frame, virtio.GSO_TCPV6);
  refused(MALFORMED, frame, virtio.GSO_UDP_L4);
  refused(MALFORMED, build({ version: 6, protocol: 'tcp', data }));
  refused(MALFORMED, build({ version: 4, protocol: 'udp', data }));
  refused(TRUNCATED, frame.subarray(0, 13));
  refused(TRUNCATED, frame.subarray(0, 33));
  refused(TRUNCATED, frame.subarray(0, 53));
  refused(TRUNCATED, frame.subarray(0, 200));
  refused(MALFORMED, Uint8Array.of(...frame, 0));
  refused(UNSUPPORTED, build({ version: 4, protocol: 'tcp', data, ipv4: { moreFragments: true } }));
  refused(UNSUPPORTED, build({ version: 4, protocol: 'tcp', data, ipv4: { fragmentOffset: 8 } }));
  refused(MALFORMED, build({ version: 4, protocol: 'tcp', data, ipv4: { protocol: 1 } }));
  refused(UNSUPPORTED, build({ version: 4, protocol: 'tcp', data, vlans: [1, 2, 3] }));
  const ipv6Frame = (nextHeader: number): Uint8Array =>
    build({ version: 6, protocol: 'tcp', data, extension: true, ipv6: { nextHeader } });
  refused(UNSUPPORTED, ipv6Frame(ipv6.NEXT_ROUTING), virtio.GSO_TCPV6);
  refused(UNSUPPORTED, ipv6Frame(ipv6.NEXT_FRAGMENT), virtio.GSO_TCPV6);
  refused(UNSUPPORTED, ipv6Frame(ipv6.NEXT_AUTHENTICATION), virtio.GSO_TCPV6);
  // More headers than fit.
  const long = Uint8Array.of(6, MAX_HEADER / 8, ...octets(MAX_HEADER + 6), ...new Uint8Array(12), 0x50, ...octets(20));
  const packet = ipv6.encode({ ...V6, nextHeader: ipv6.NEXT_HOP_BY_HOP, payload: long });
  refused(UNSUPPORTED, ethernet.encode({ ...MACS, etherType: 0x86dd, payload: packet }), virtio.GSO_TCPV6);
});

test('invalid arguments throw', () => {
  const bytes = new Uint8Array(1000);
  const frame = build({ version: 4, protocol: 'tcp', data: octets(300) }, true);
  bytes.set(frame, 600);
  const segmenter = new Segmenter(bytes, jsSum(bytes), 4);
  assert.is(segmenter.open(600, 600 + frame.length, virtio.GSO_TCPV4, 100), 3);
  assert.throws(() => segmenter.next(4, 500), /scratch at 500 has no room for 3 segments in 1000 bytes/);
  assert.is(segmenter.open(4, 100, virtio.GSO_TCPV4, 100, 8), TRUNCATED);
  assert.is(segmenter.open(600, 1001, virtio.GSO_TCPV4, 100), TRUNCATED);
  assert.is(segmenter.next(4, 0), 0);
  assert.ok(segmentScratch(1) >= MAX_HEADER);
  const refused = (options: CoalescerOptions, scratch: number, message: RegExp): void =>
    assert.throws(() => new Coalescer(bytes, scratch, jsSum(bytes), options), message);
  refused({ flows: 4 }, 0, /scratch at 0 has no room for 4 flows in 1000 bytes/);
  refused({ flows: 0 }, 0, /flows must be at least 1, not 0/);
  refused({ flows: 1, segments: 0 }, 0, /segments must be at least 1, not 0/);
  refused({ flows: 1, prefix: 60 }, 0, /prefix must be from 0 to 56, not 60/);
  assert.ok(coalesceScratch(1) <= 1000);
});

// ---- Coalescing ----

/** Three segments of a flow, the middle one changed by `change`. */
function three(base: Omit<Packet, 'data'>, change: (middle: Packet) => Packet = (same) => same): Uint8Array[] {
  return [0, 1, 2].map((i) => {
    const packet: Packet = {
      ...base,
      data: octets(100, i),
      ipv4: { identification: 7 + i, ...base.ipv4 },
      tcp: { sequence: 1000 + 100 * i, ...base.tcp },
    };
    return build(i === 1 ? change(packet) : packet);
  });
}
const counts = (frames: readonly Uint8Array[], options: CoalescerOptions = {}): number[] =>
  coalesceAll(frames, { udp: true, ...options }).out.map(({ count }) => count);

const TCP4 = { version: 4, protocol: 'tcp' } as const;
const TCP6 = { version: 6, protocol: 'tcp' } as const;
const withTcp = (more: Partial<tcp.Tcp>) => (packet: Packet) => ({ ...packet, tcp: { ...packet.tcp, ...more } });
const withIp = (more: Partial<ipv4.Ipv4>) => (packet: Packet) => ({ ...packet, ipv4: { ...packet.ipv4, ...more } });
const withIp6 = (more: Partial<ipv6.Ipv6>) => (packet: Packet) => ({ ...packet, ipv6: { ...packet.ipv6, ...more } });

test('frames with a gap between them are joined in one call, by both implementations', () => {
  const bytes = shared;
  for (const { sum, join } of twins) {
    bytes.fill(0xa5, 0, 1 << 18);
    const scratch = coalesceScratch(1);
    const first = scratch + joinScratch(1);
    let at = first;
    for (let i = 0; i < 12; i++) {
      const frame = build({
        ...TCP4,
        data: octets(100, i),
        ipv4: { identification: 7 + i },
        tcp: { sequence: 1000 + 100 * i },
      });
      bytes.set(frame, at);
      at += frame.length + GAP;
    }
    const size = (at - first) / 12 - GAP;
    const coalescer = new Coalescer(bytes, 0, sum, { flows: 1 }, { join, scratch });
    const runs: number[][] = [];
    const sink = { single: () => assert.unreachable(), merged: (run: Run) => void runs.push([run.count, run.pieces]) };
    coalescer.addMany(first, at - GAP, size, 0, sink, GAP);
    coalescer.flush(sink);
    assert.equal(runs, [[12, 2]], 'frames, and pieces of data');
  }
});
const GAP = 37;

const RULES: [what: string, base: Omit<Packet, 'data'>, change: (packet: Packet) => Packet, expected: number[]][] = [
  ['nothing', TCP4, (same) => same, [3]],
  ['nothing, over IPv6', TCP6, (same) => same, [3]],
  ['nothing, of UDP', { version: 4, protocol: 'udp' }, (same) => same, [3]],
  ['TTL', TCP4, withIp({ ttl: 9 }), [1, 1, 1]],
  ['DSCP', TCP4, withIp({ dscp: 1 }), [1, 1, 1]],
  ['ECN', TCP4, withIp({ ecn: 3 }), [1, 1, 1]],
  ['DF', TCP4, withIp({ dontFragment: false }), [1, 1, 1]],
  ['the reserved flag', TCP4, withIp({ reservedFlag: true }), [1, 1, 1]],
  ['an identification out of turn', TCP4, withIp({ identification: 6 }), [1, 1, 1]],
  ['the identification, which is that of the first', TCP4, withIp({ identification: 7 }), [2, 1]],
  ['the same without DF', { ...TCP4, ipv4: { dontFragment: false } }, withIp({ identification: 7 }), [1, 1, 1]],
  ['IPv4 options', TCP4, withIp({ options: [NOP, NOP, NOP, NOP] }), [1, 1, 1]],
  ['a fragment', TCP4, withIp({ moreFragments: true }), [1, 1, 1]],
  ['the IPv4 checksum', TCP4, withIp({ checksum: 1 }), [1, 1, 1]],
  ['the other way to write an IPv4 checksum of 0', TCP4, withIp({ checksum: 0xffff }), [1, 1, 1]],
  ['the VLAN', { ...TCP4, vlans: [5] }, (packet) => ({ ...packet, vlans: [6] }), [1, 1, 1]],
  ['a VLAN', TCP4, (packet) => ({ ...packet, vlans: [6] }), [1, 1, 1]],
  ['hop limit', TCP6, withIp6({ hopLimit: 9 }), [1, 1, 1]],
  ['traffic class', TCP6, withIp6({ ecn: 3 }), [1, 1, 1]],
  ['flow label', TCP6, withIp6({ flowLabel: 1 }), [1, 1, 1]],
  ['IPv6 options', TCP6, (packet) => ({ ...packet, extension: true }), [1, 1, 1]],
  ['acknowledgment', TCP4, withTcp({ acknowledgment: 78 }), [1, 1, 1]],
  ['window', TCP4, withTcp({ window: 501 }), [1, 1, 1]],
  ['urgent pointer', TCP4, withTcp({ urgentPointer: 1 }), [1, 1, 1]],
  ['reserved bits', TCP4, withTcp({ reserved: 1 }), [1, 1, 1]],
  ['TCP options', TCP4, withTcp({ options: STAMPS }), [1, 1, 1]],
  [
    'a timestamp',
    { ...TCP4, tcp: { options: STAMPS } },
    withTcp({ options: [NOP, NOP, { kind: 8, data: fromHex('0000000200000002') }] }),
    [1, 1, 1],
  ],
  ['a gap', TCP4, withTcp({ sequence: 1101 }), [1, 1, 1]],
  ['a repetition', TCP4, withTcp({ sequence: 1000 }), [1, 1, 1]],
  ['the TCP checksum', TCP4, withTcp({ checksum: 1 }), [1, 1, 1]],
  ['PSH', TCP4, withTcp({ flags: FLAG_ACK | FLAG_PSH }), [2, 1]],
  ['FIN', TCP4, withTcp({ flags: FLAG_ACK | FLAG_FIN }), [2, 1]],
  ['SYN', TCP4, withTcp({ flags: FLAG_ACK | FLAG_SYN }), [1, 1, 1]],
  ['RST', TCP4, withTcp({ flags: FLAG_ACK | FLAG_RST }), [1, 1, 1]],
  ['URG', TCP4, withTcp({ flags: FLAG_ACK | FLAG_URG }), [1, 1, 1]],
  ['ECE', TCP4, withTcp({ flags: FLAG_ACK | FLAG_ECE }), [1, 1, 1]],
  ['CWR', TCP4, withTcp({ flags: FLAG_ACK | FLAG_CWR }), [1, 2]],
  ['nothing, CWR in each', { ...TCP4, tcp: { flags: FLAG_ACK | FLAG_CWR } }, (same) => same, [1, 1, 1]],
  [
    'CWR, which the others have',
    { ...TCP4, tcp: { flags: FLAG_ACK | FLAG_CWR } },
    withTcp({ flags: FLAG_ACK }),
    [2, 1],
  ],
  ['no ACK', TCP4, withTcp({ flags: 0 }), [1, 1, 1]],
  ['no data', TCP4, (packet) => ({ ...packet, data: octets(0) }), [1, 1, 1]],
  ['less data', TCP4, (packet) => ({ ...packet, data: octets(99) }), [2, 1]],
  ['more data', TCP4, (packet) => ({ ...packet, data: octets(101) }), [1, 1, 1]],
  ['another flow', TCP4, (packet) => ({ ...packet, ports: [40_001, 80] }), [1, 1, 1]],
];
for (const [what, base, change, expected] of RULES)
  test(`three of a flow, the second of which differs in ${what}, become ${expected.join(' and ')}`, () => {
    const frames = three(base, change);
    const { out } = coalesceAll(frames, { udp: true });
    assert.equal(
      out.map(({ count }) => count),
      expected,
    );
    // And unchanged.
    const again = out.flatMap(({ bytes, header, fixedId }) =>
      header === null ? [bytes] : (segmentAll(bytes, header.gsoType, header.gsoSize, { fixedId }) as Uint8Array[]),
    );
    assert.equal(texts(again).sort(), texts(frames).sort());
  });

test('segments of one flow merge across another flow', () => {
  const frames = three(TCP4);
  const others = three({ ...TCP6, ports: [40_001, 80] });
  const mixed = frames.flatMap((frame, i) => [frame, others[i]!]);
  assert.equal(counts(mixed), [3, 3]);
  assert.equal(counts(mixed, { flows: 1 }), [1, 1, 1, 1, 1, 1]);
  // Packets outside TCP and UDP flows overtake held segments, unchanged.
  const arp = ethernet.encode({ ...MACS, etherType: ethernet.TYPE_ARP, payload: octets(28) });
  const icmp = build({ ...TCP4, data: octets(20), ipv4: { protocol: 1 } });
  const { out } = coalesceAll([frames[0]!, arp, icmp, frames[1]!, frames[2]!]);
  assert.equal(
    out.map(({ count }) => count),
    [1, 1, 3],
  );
  assert.equal(texts([out[0]!.bytes, out[1]!.bytes]), texts([arp, icmp]));
});

test('beyond the number of flows, the one that has waited longest is flushed', () => {
  const flow = (port: number): Uint8Array[] => three({ ...TCP4, ports: [port, 80] });
  const [a, b, c] = [flow(1), flow(2), flow(3)];
  const { out } = coalesceAll([a[0]!, b[0]!, c[0]!, b[1]!, a[1]!, c[1]!], { flows: 2 });
  // C takes the place of A, and A that of B.
  assert.equal(
    out.map(({ bytes, count }) => [bytes[35], count]),
    [
      [1, 1],
      [2, 2],
      [3, 2],
      [1, 1],
    ],
  );
});

test('a checksum of ffff instead of 0 is valid, but segmentation would not restore it', () => {
  let identification = 0;
  const frames = (): Uint8Array[] =>
    three({ ...TCP4, ipv4: {} }).map((frame, i) => {
      ipv4.setIdentification(frame, 14, identification + i);
      ipv4.fillChecksum(frame, 14);
      return frame;
    });
  while (ipv4.getChecksum(frames()[1]!, 14) !== 0) identification++;
  assert.equal(counts(frames()), [3]);
  const other = frames();
  ipv4.setChecksum(other[1]!, 14, 0xffff);
  assert.ok(ipv4.verifyChecksum(other[1]!, 14));
  assert.equal(counts(other), [1, 1, 1]);
});

test('packets with DF may share one identification, such as 0', () => {
  for (const protocol of ['tcp', 'udp'] as const) {
    const numbered = (ids: readonly number[], dontFragment = true): Uint8Array[] =>
      ids.map((identification, i) =>
        build({
          version: 4,
          protocol,
          data: octets(100, i),
          ipv4: { identification, dontFragment },
          tcp: { sequence: 1000 + 100 * i },
        }),
      );
    const { out } = coalesceAll(numbered([0, 0, 0, 0]), { udp: true });
    assert.equal(
      out.map(({ count, fixedId }) => [count, fixedId]),
      [[4, true]],
    );
    const header = out[0]!.header!;
    const again = segmentAll(out[0]!.bytes, header.gsoType, header.gsoSize, { fixedId: true }) as Uint8Array[];
    assert.equal(texts(again), texts(numbered([0, 0, 0, 0])));
    assert.equal(counts(numbered([0, 0, 0, 0], false)), [1, 1, 1, 1]);
    // Fixed and counting identifications stay as they are.
    assert.equal(counts(numbered([7, 7, 8, 9])), [2, 2]);
    assert.equal(counts(numbered([7, 8, 8, 8])), [2, 2]);
    assert.equal(counts(numbered([0xffff, 0, 0, 0])), [2, 2]);
  }
});

test('IPv6 options cut short at the very end of the buffer', () => {
  const packet = ipv6.encode({ ...V6, nextHeader: ipv6.NEXT_HOP_BY_HOP, payload: Uint8Array.of(0) });
  const bytes = ethernet.encode({ ...MACS, etherType: ethernet.TYPE_IPV6, payload: packet });
  const segmenter = new Segmenter(bytes, jsSum(bytes));
  assert.is(segmenter.open(0, bytes.length, virtio.GSO_TCPV6, 100), TRUNCATED);
});

test('UDP is merged only on request, and never without its checksum', () => {
  const frames = three({ version: 4, protocol: 'udp' });
  assert.equal(counts(frames, { udp: false }), [1, 1, 1]);
  for (const frame of frames) udp.setChecksum(frame, 34, 0);
  assert.equal(counts(frames), [1, 1, 1]);
});

test('packets with wrong checksums are counted, and pass unchanged and in order', () => {
  const frames = three(TCP4);
  frames[1]![60]! ^= 1;
  const { out, coalescer } = coalesceAll(frames);
  assert.equal(texts(out.map(({ bytes }) => bytes)), texts(frames));
  assert.equal([coalescer.badChecksums, coalescer.mergedFrames], [1, 0]);
  const padded = three(TCP4);
  padded[1] = Uint8Array.of(...padded[1]!, 0);
  assert.equal(texts(coalesceAll(padded).out.map(({ bytes }) => bytes)), texts(padded));
});

test('a run ends at its limits: of segments, and of an IP packet’s length', () => {
  const many = (count: number, size: number): Uint8Array[] =>
    segments({ version: 4, protocol: 'tcp', data: octets(count * size) }, size);
  assert.equal(counts(many(10, 100), { segments: 4 }), [4, 4, 2]);
  assert.equal(counts(many(5, 100), { segments: 1 }), [1, 1, 1, 1, 1]);
  assert.equal(counts(many(65, 100)), [64, 1]);
  const long = (version: 4 | 6): Uint8Array[] =>
    Array.from({ length: 9 }, (_, i) =>
      build({
        version,
        protocol: 'tcp',
        data: octets(8190, i),
        ipv4: { identification: i },
        tcp: { sequence: i * 8190 },
      }),
    );
  // 8 times 8190 are 65520, to which 40 bytes of headers no longer fit; but over IPv6 the first 40 do not count.
  assert.equal(counts(long(4)), [7, 2]);
  assert.equal(counts(long(6)), [7, 2]);
  const fits = long(6).map((frame, i) =>
    i === 7 ? build({ ...TCP6, data: octets(8185), tcp: { sequence: 7 * 8190 } }) : frame,
  );
  assert.equal(counts(fits.slice(0, 8)), [8]);
  const exceeds = long(6).map((frame, i) =>
    i === 7 ? build({ ...TCP6, data: octets(8186), tcp: { sequence: 7 * 8190 } }) : frame,
  );
  assert.equal(counts(exceeds.slice(0, 8)), [7, 1]);
});

test('adding a VLAN tag adjusts the offsets in the virtio header', () => {
  const bytes = new Uint8Array(4000);
  const frames = three(TCP4);
  let at = coalesceScratch(1);
  const coalescer = new Coalescer(bytes, 0, jsSum(bytes), { flows: 1 });
  const headers: virtio.Virtio[] = [];
  const sink = {
    single: () => assert.unreachable(),
    merged: (run: { writeVirtio(bytes: Uint8Array, offset: number, shift?: number): void }) => {
      run.writeVirtio(bytes, 3900, 4);
      headers.push(virtio.decode(bytes, 3900, 3910));
    },
  };
  for (const frame of frames) {
    bytes.set(frame, at);
    coalescer.add(at, at + frame.length, 0, sink);
    at += frame.length;
  }
  coalescer.flush(sink);
  assert.equal(
    headers.map(({ headerLength, checksumStart }) => [headerLength, checksumStart]),
    [[58, 38]],
  );
});

// ---- Checksum of a single frame ----

test('completes the checksum of a frame', () => {
  for (const [, kind] of KINDS) {
    const packet: Packet = { ...kind, data: octets(101) };
    const bytes = Uint8Array.of(9, 9, 9, ...build(packet, true), 9);
    const isTcp = packet.protocol === 'tcp';
    const whole = build(packet);
    const start = whole.length - 101 - (isTcp ? (packet.tcp?.options ? 32 : 20) : 8);
    const end = bytes.length - 1;
    assert.is(finishChecksum(bytes, jsSum(bytes), 3, end, start, isTcp ? 16 : 6), 0);
    assert.is(hex(bytes), `090909${hex(whole)}09`);
    assert.is(finishChecksum(bytes, jsSum(bytes), 3, end, start, whole.length - start - 1), MALFORMED);
    assert.is(finishChecksum(bytes, jsSum(bytes), 3, end, 65_535, 0), MALFORMED);
    assert.is(hex(bytes), `090909${hex(whole)}09`);
  }
});

test('a computed checksum of 0 is written as ffff for UDP, and as 0 for TCP', () => {
  // Data chosen so that all adds up to 0xffff.
  for (const [protocol, expected] of [
    ['udp', 0xffff],
    ['tcp', 0],
  ] as const) {
    const at = 34 + (protocol === 'udp' ? 6 : 16);
    const first = build({ version: 4, protocol, data: Uint8Array.of(0, 0) });
    const checksum = Uint8Array.of(first[at]!, first[at + 1]!);
    const packet: Packet = { version: 4, protocol, data: checksum };
    const bytes = build(packet, true);
    finishChecksum(bytes, jsSum(bytes), 0, bytes.length, 34, at - 34);
    assert.is((bytes[at]! << 8) | bytes[at + 1]!, expected);
    const [frame] = segments({ ...packet, data: Uint8Array.of(...checksum, ...checksum) }, 2);
    assert.is((frame![at]! << 8) | frame![at + 1]!, expected);
    // And so they are merged.
    if (protocol === 'udp') assert.is(udp.verifyChecksum(frame!, 34, V4), true);
  }
});

// ---- Properties ----

const packets: fc.Arbitrary<Packet> = fc
  .record({
    version: fc.constantFrom<4 | 6>(4, 6),
    protocol: fc.constantFrom<'tcp' | 'udp'>('tcp', 'udp'),
    data: fc.uint8Array({ minLength: 1, maxLength: 400 }),
    vlans: fc.array(fc.nat(4094), { maxLength: 2 }),
    extension: fc.boolean(),
    ports: fc.tuple(fc.nat(65_535), fc.nat(65_535)),
    identification: fc.nat(65_535),
    ecn: fc.nat(3),
    ttl: fc.nat(255),
    dontFragment: fc.boolean(),
    sequence: fc.nat(0xffff_ffff),
    acknowledgment: fc.nat(0xffff_ffff),
    window: fc.nat(65_535),
    flags: fc.constantFrom(0, FLAG_PSH, FLAG_FIN, FLAG_ECE, FLAG_CWR, FLAG_CWR | FLAG_PSH, tcp.FLAG_AE),
    options: fc.constantFrom([], STAMPS),
  })
  .map(({ version, protocol, data, vlans, extension, ports, ...fields }) => ({
    version,
    protocol,
    data,
    vlans,
    extension,
    ports,
    ipv4: {
      identification: fields.identification,
      ecn: fields.ecn,
      ttl: fields.ttl,
      dontFragment: fields.dontFragment,
    },
    ipv6: { ecn: fields.ecn, hopLimit: fields.ttl },
    tcp: {
      sequence: fields.sequence,
      acknowledgment: fields.acknowledgment,
      window: fields.window,
      flags: FLAG_ACK | fields.flags,
      options: fields.options,
    },
  }));

test('segments equal packets of the codecs, and coalescing restores the super-frame', () => {
  fc.assert(
    fc.property(packets, fc.integer({ min: 8, max: 450 }), fc.integer({ min: 1, max: 9 }), (packet, size, limit) => {
      const frames = segments(packet, size, { limit });
      assert.equal(texts(frames), texts(expectedSegments(packet, size)));
      const { out } = coalesceAll(frames, { udp: true });
      assert.is(out.length, 1);
      assert.is(hex(out[0]!.bytes), hex(build(packet, frames.length > 1)));
      if (frames.length === 1) return;
      assert.equal([out[0]!.header!.gsoType, out[0]!.header!.gsoSize], [gsoType(packet), size]);
    }),
    { numRuns: 500 },
  );
});

test('coalescing and segmenting any frames gives the same frames, in order within a flow', () => {
  // Flows that differ in a port; each frame continues its flow, or breaks a rule.
  const rarely = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
    fc.oneof({ weight: 20, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
  const step = fc.record({
    flow: fc.nat(4),
    length: rarely(100, 0, 50, 101),
    flags: rarely(0, FLAG_PSH, FLAG_FIN, FLAG_SYN, FLAG_CWR, FLAG_ECE),
    gap: rarely(0, 1),
    skip: rarely(0, 1, -1),
    damage: rarely(false, true),
    fragment: rarely(false, true),
  });
  const options = fc.record({
    flows: fc.integer({ min: 1, max: 6 }),
    segments: fc.integer({ min: 1, max: 6 }),
    udp: fc.boolean(),
  });
  let merged = 0;
  let fixed = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), options, (steps, how) => {
      const state = [0, 1, 2, 3, 4].map((flow) => ({ sequence: flow * 1e9, identification: flow * 16_000 }));
      const frames = steps.map(({ flow, length, flags, gap, skip, damage, fragment }, i) => {
        const own = state[flow]!;
        own.sequence = (own.sequence + gap) % 2 ** 32;
        own.identification = (own.identification + (flow === 2 ? Math.abs(skip) : skip) + 65_536) % 65_536;
        const frame = build({
          version: flow % 2 === 0 ? 4 : 6,
          protocol: flow === 4 ? 'udp' : 'tcp',
          ports: [40_000 + flow, 80],
          data: octets(length, i),
          ipv4: { identification: own.identification, moreFragments: fragment },
          tcp: { sequence: own.sequence, flags: FLAG_ACK | flags },
        });
        own.sequence = (own.sequence + length) % 2 ** 32;
        if (flow !== 2) own.identification += 1; // this flow has a fixed identification
        if (damage) frame[frame.length - 1]! ^= 0x10;
        return { flow, text: hex(frame), frame };
      });
      const { out } = coalesceAll(
        frames.map(({ frame }) => frame),
        how,
      );
      const again = out.flatMap(({ bytes, header, count, fixedId }) => {
        if (header === null) return [hex(bytes)];
        merged += count;
        if (fixedId) fixed += count;
        assert.ok(count <= how.segments);
        return texts(segmentAll(bytes, header.gsoType, header.gsoSize, { fixedId }) as Uint8Array[]);
      });
      assert.is(again.length, frames.length);
      // Both ports follow 14 and 20 or 40 bytes.
      const flowOf = (text: string): number =>
        Number.parseInt(text.slice(24, 28) === '0800' ? text.slice(68, 72) : text.slice(108, 112), 16) - 40_000;
      for (const flow of [0, 1, 2, 3, 4])
        assert.equal(
          again.filter((text) => flowOf(text) === flow),
          frames.filter((one) => one.flow === flow).map(({ text }) => text),
        );
    }),
    { numRuns: 400 },
  );
  // About 590 and 135; far fewer would mean that the frames break a rule.
  assert.ok(merged > 300 && fixed > 50, `${merged} frames were merged at all, ${fixed} with one identification`);
});

test('no input causes an exception or an access out of bounds', () => {
  const damaged = fc
    .tuple(packets, fc.boolean(), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }), fc.nat(1000))
    .map(([packet, pseudo, flips, cut]) => {
      const frame = build(packet, pseudo);
      const copy = frame.slice(0, cut < 200 ? cut : frame.length);
      // Mostly in the headers.
      for (const [at, octet] of flips) if (copy.length > 0) copy[at % Math.min(copy.length, 90)] = octet;
      return copy;
    });
  const inputs = fc.oneof(damaged, fc.uint8Array({ maxLength: 120 }));
  const type = fc.oneof(fc.constantFrom(1, 4, 5, 0x81, 0x84, 3, 0), fc.nat(255));
  fc.assert(
    fc.property(inputs, type, fc.nat(65_535), fc.nat(32), (bytes, gso, size, prefix) => {
      const frames = segmentAll(bytes, gso, 1 + (size % 500), { prefix });
      assert.ok(typeof frames !== 'number' || (frames < 0 && frames >= -3));
      coalesceAll([bytes, bytes, bytes.subarray(1)], { prefix, udp: true });
    }),
    { numRuns: 2000 },
  );
});

test('the virtio header of a super-frame follows the frame when a VLAN tag is added or removed', () => {
  const bytes = new Uint8Array(64);
  const header = {
    flags: 1,
    gsoType: virtio.GSO_TCPV6 | virtio.GSO_ECN,
    headerLength: 78,
    gsoSize: 1380,
    checksumStart: 54,
    checksumOffset: 16,
  };
  bytes.set(virtio.encode({ ...header, payload: new Uint8Array(0) }), 10);
  const one = new SuperFrame();
  one.read(bytes, 10, 20);
  for (const moved of [0, 4, -4]) {
    one.writeVirtio(bytes, 40, 20 + moved);
    const { payload: _, ...written } = virtio.decode(bytes, 40, 50);
    const shift = -moved; // a tag in front of the other headers makes them longer
    assert.equal(written, { ...header, headerLength: 78 + shift, checksumStart: 54 + shift });
  }
});

test.run();

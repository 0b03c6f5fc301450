import fc from 'fast-check';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import {
  build,
  dissect,
  hexdump,
  MAX_LAYERS,
  problemText,
  summarize,
  tree,
  type Layer,
  type LayerToBuild,
} from '../src/packet/index.js';
import { LINKTYPE_IPV6, LINKTYPE_RAW, readCapture } from '../src/pcap/index.js';
import * as tcp from '../src/tcp/index.js';
import * as udp from '../src/udp/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { TRUNCATED, WireError } from '../src/wire/index.js';
import { fromHex, hex } from './support/hex.js';
import { frames } from './support/packets.js';

/** A packet sent by a kernel: VXLAN, VNI 4097, with a ping inside. */
const KERNEL = readCapture(readFileSync(new URL('captures/vxlan-kernel.pcap', import.meta.url))).packets[2]!.data;

const captured: { file: string; data: Uint8Array }[] = readdirSync(new URL('captures', import.meta.url))
  .filter((file) => /\.pcap/.test(file) && !/^(sll|null|loop|raw|sections)/.test(file))
  .flatMap((file) =>
    readCapture(readFileSync(new URL(`captures/${file}`, import.meta.url))).packets.map(({ data }) => ({
      file,
      data: Uint8Array.from(data),
    })),
  );

interface Reader<V> {
  check(bytes: Uint8Array, offset: number, end: number): number;
  decode(bytes: Uint8Array, offset?: number, end?: number): V;
  decodeLax(bytes: Uint8Array, offset: number, end: number): V | null;
}

/** Whether a chain of IPv6 extension headers has a fragment header (RFC 8200, section 4.5) that says more follow. */
function firstFragment(chain: Uint8Array, first: number): boolean {
  let kind = first;
  for (let at = 0; at < chain.length;) {
    if (kind === 44 && (chain[at + 3]! & 1) !== 0) return true;
    const length = kind === 44 ? 8 : kind === 51 ? (chain[at + 1]! + 2) * 4 : (chain[at + 1]! + 1) * 8;
    kind = chain[at]!;
    at += length;
  }
  return false;
}

/**
 * Reads a frame with the strict codecs, one by one: the reference for `dissect`. Without offsets and trailers; throws
 * the codecs' errors.
 */
function strictly(bytes: Uint8Array): unknown[] {
  const layers: unknown[] = [];
  const add = <V extends { payload: Uint8Array }>(protocol: string, { payload, ...fields }: V): [number, number] => {
    layers.push({ ...fields, ...('protocol' in fields && { protocolNumber: fields.protocol }), protocol });
    return [payload.byteOffset - bytes.byteOffset, payload.byteOffset - bytes.byteOffset + payload.length];
  };
  /** Whether what is read is in a first fragment: there a length may point behind the end, a header may not. */
  let partial = false;
  const within = <V>(header: number, codec: Reader<V>, at: number, end: number): V => {
    const cut = end - at < header;
    if (!cut && partial && codec.check(bytes, at, end) === TRUNCATED) return codec.decodeLax(bytes, at, end)!;
    partial = false;
    return codec.decode(bytes, at, end);
  };
  const rest = (at: number, end: number): void => {
    if (at < end) layers.push({ protocol: 'payload', bytes: bytes.subarray(at, end) });
  };
  const frame = (at: number, end: number): void => {
    const before = partial;
    const value = within(14, ethernet, at, end);
    if (value.length === undefined) partial = before;
    behindType(value.etherType, ...add('ethernet', value));
  };
  const behindType = (type: number | undefined, at: number, end: number): void => {
    if (type === 0x0800) four(at, end);
    else if (type === 0x86dd) six(at, end);
    else if (type === 0x0806 || type === 0x8035) layers.push({ protocol: 'arp', ...arp.decode(bytes, at, end) });
    else if (type === 0x8100 || type === 0x88a8 || type === 0x9100) {
      const before = partial;
      const value = within(4, ethernet.vlan, at, end);
      if (value.length === undefined) partial = before;
      behindType(value.etherType, ...add('vlan', value));
    } else if (type === 0x6558) frame(at, end);
    else rest(at, end);
  };
  const four = (at: number, end: number): void => {
    const value = within(Math.max(20, at < end ? (bytes[at]! & 15) * 4 : 0), ipv4, at, end);
    partial ||= value.moreFragments;
    const inner = add('ipv4', value);
    if (value.fragmentOffset > 0) rest(...inner);
    else upper(value.protocol, ...inner);
  };
  const six = (at: number, end: number): void => {
    const value = within(40, ipv6, at, end);
    const [start, stop] = add('ipv6', value);
    const found = ipv6.findUpper(bytes, at, stop);
    if (found < 0)
      throw new WireError({
        protocol: 'ipv6',
        reason: 'truncated',
        offset: start,
        needed: stop - start + 1,
        available: stop - start,
        limitedBy: '',
        detail: '',
      });
    const begin = at + ipv6.upperOffset(found);
    if (begin > start)
      Object.assign(layers.at(-1)!, {
        extensions: bytes.subarray(start, begin),
        upperProtocol: ipv6.upperProtocol(found),
      });
    partial ||= firstFragment(bytes.subarray(start, begin), value.nextHeader);
    upper(ipv6.upperProtocol(found), begin, stop);
  };
  const upper = (protocol: number, at: number, end: number): void => {
    if (protocol === 1) rest(...add('icmp', icmp.decode(bytes, at, end)));
    else if (protocol === 58) rest(...add('icmpv6', icmpv6.decode(bytes, at, end)));
    else if (protocol === 6) rest(...add('tcp', tcp.decode(bytes, at, end)));
    else if (protocol === 4) four(at, end);
    else if (protocol === 41) six(at, end);
    else if (protocol === 143) frame(at, end);
    else if (protocol === 17) {
      const value = within(8, udp, at, end);
      const inner = add('udp', value);
      const to = value.destinationPort;
      if (value.payload.length === 0) return;
      if (to === 4789 || (to === 8472 && value.length >= 16 && (value.payload[0]! & 8) !== 0))
        frame(...add('vxlan', vxlan.decode(bytes, ...inner)));
      else if (to === 4790) {
        const gpe = vxlan.decode(bytes, ...inner);
        const carried = add('vxlan', gpe);
        const next = vxlan.nextProtocol(gpe) ?? 3;
        if (next === 1) four(...carried);
        else if (next === 2) six(...carried);
        else if (next === 3) frame(...carried);
        else rest(...carried);
      } else rest(...inner);
    } else rest(at, end);
  };
  frame(0, bytes.length);
  return layers;
}

/** Compares `dissect` with the strict codecs, and the layers with the packet. */
function check(bytes: Uint8Array): void {
  const { layers, stopped } = dissect(bytes);
  let at = 0;
  for (const layer of layers) {
    assert.is(layer.offset, at);
    at += layer.size;
  }
  assert.is(at, bytes.length);
  let strict: unknown[];
  try {
    strict = strictly(bytes);
  } catch (error) {
    assert.instance(error, WireError);
    const { protocol, reason, offset, needed, available } = error as WireError;
    assert.ok(stopped !== null, `the strict stop: ${(error as Error).message}`);
    assert.equal(
      [stopped.protocol, stopped.reason, stopped.offset, stopped.needed, stopped.available],
      [protocol, reason, offset, needed, available],
    );
    return;
  }
  assert.is(stopped, null);
  const ours = layers
    .filter((layer) => layer.protocol !== 'trailer')
    .map(({ offset: _, size: __, ...fields }) => fields);
  assert.equal(ours, strict);
}

test('dissect: all layers of a packet sent by a kernel', () => {
  const { layers, stopped } = dissect(Uint8Array.from(KERNEL));
  assert.is(stopped, null);
  assert.equal(
    layers.map(({ protocol, offset, size }) => [protocol, offset, size]),
    [
      ['ethernet', 0, 14],
      ['ipv4', 14, 20],
      ['udp', 34, 8],
      ['vxlan', 42, 8],
      ['ethernet', 50, 14],
      ['ipv4', 64, 20],
      ['icmp', 84, 8],
      ['payload', 92, 24],
    ],
  );
  // As tshark shows it.
  assert.equal(layers[3], { protocol: 'vxlan', offset: 42, size: 8, flags: 8, vni: 4097, reserved1: 0, reserved2: 0 });
  const inner = layers[5] as Layer & { protocol: 'ipv4' };
  assert.equal(
    [inner.source, inner.destination, inner.ttl, inner.protocolNumber, inner.totalLength, inner.dontFragment],
    ['10.30.0.1', '10.30.0.2', 64, 1, 52, true],
  );
});

test('dissect agrees with the strict codecs: captures, whole and cut at every length', () => {
  assert.ok(captured.length > 100);
  for (const { data } of captured)
    for (let length = 0; length <= Math.min(data.length, 200); length++) check(data.slice(0, length));
});

test('dissect agrees with the strict codecs: captures with octets changed', () => {
  const flips = fc.array(fc.tuple(fc.nat(130), fc.oneof(fc.nat(255), fc.constantFrom(0, 4, 6, 17, 41, 0x45, 0x60))), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.constantFrom(...captured), flips, ({ data }, changes) => {
      const bytes = data.slice();
      for (const [at, octet] of changes) if (bytes.length > 0) bytes[at % bytes.length] = octet;
      check(bytes);
    }),
    { numRuns: 5000 },
  );
});

test('dissect never throws, whatever the link type, and its result can be printed', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 147),
      fc.nat(300),
      (bytes, linkType, originalLength) => {
        const { layers } = dissect(bytes, { linkType, originalLength });
        assert.is(
          layers.reduce((sum, { size }) => sum + size, 0),
          bytes.length,
        );
        assert.not.match(summarize(layers), /undefined|NaN|\n/);
        assert.not.match(tree(layers), /undefined|NaN|\[object/);
      },
    ),
    { numRuns: 3000 },
  );
});

test('build and dissect are inverse', () => {
  fc.assert(
    fc.property(frames, (wanted) => {
      const bytes = build(wanted);
      const { layers, stopped } = dissect(bytes);
      assert.is(stopped, null);
      assert.is(hex(build(layers)), hex(bytes));
      assert.equal(
        layers.map(({ protocol }) => protocol),
        wanted.map(({ protocol }) => protocol),
      );
      wanted.forEach((layer, i) => {
        for (const [name, value] of Object.entries(layer))
          assert.equal((layers[i] as unknown as Record<string, unknown>)[name], value, `${layer.protocol}.${name}`);
      });
    }),
  );
});

test('build restores every well-formed captured packet', () => {
  let count = 0;
  for (const { data } of captured) {
    const { layers, stopped } = dissect(data);
    if (stopped !== null) continue;
    assert.is(hex(build(layers)), hex(data));
    count++;
  }
  assert.ok(count > 80);
});

const outer: LayerToBuild[] = [
  { protocol: 'ethernet', destination: '02:00:00:00:01:02', source: '02:00:00:00:01:01' },
  { protocol: 'ipv4', source: '172.31.1.5', destination: '192.168.1.25' },
];
const data: LayerToBuild = { protocol: 'payload', bytes: fromHex('77656674') };

test('stopped: names the field that limits the packet', () => {
  const problem = (layers: LayerToBuild[], options = {}, cut = 0) => {
    const bytes = build(layers);
    const { stopped } = dissect(bytes.subarray(0, bytes.length - cut), options);
    return stopped && { ...stopped, detail: problemText(stopped) };
  };
  const udpLayer: LayerToBuild = { protocol: 'udp', sourcePort: 1, destinationPort: 2 };
  assert.equal(problem([outer[0]!, { ...outer[1]!, totalLength: 100 } as LayerToBuild, udpLayer, data]), {
    protocol: 'ipv4',
    reason: 'truncated',
    offset: 14,
    needed: 100,
    available: 32,
    limitedBy: 'buffer',
    detail: 'needs 100 bytes, has 32 (limited by buffer)',
  });
  assert.is(problem([...outer, udpLayer, data], { originalLength: 46 }, 3)?.limitedBy, 'capture');
  assert.equal(problem([...outer, { ...udpLayer, length: 20 } as LayerToBuild, data]), {
    protocol: 'udp',
    reason: 'truncated',
    offset: 34,
    needed: 20,
    available: 12,
    limitedBy: 'ipv4.totalLength',
    detail: 'needs 20 bytes, has 12 (limited by ipv4.totalLength)',
  });
  const inVxlan = [...outer, { protocol: 'udp', sourcePort: 1, destinationPort: 4789 }, { protocol: 'vxlan', vni: 1 }];
  assert.is(problem([...(inVxlan as LayerToBuild[]), data])?.limitedBy, 'udp.length');
  const six: LayerToBuild = { protocol: 'ipv6', source: '::1', destination: '::2', nextHeader: 0 };
  assert.is(problem([outer[0]!, { ...six, nextHeader: 17 } as LayerToBuild, data])?.limitedBy, 'ipv6.payloadLength');
  assert.is(
    problem([outer[0]!, six, data])?.detail,
    'extension headers need more than 4 bytes (limited by ipv6.payloadLength)',
  );
});

test('stopped: a VXLAN header without flag I is reported, and reading continues', () => {
  const { layers, stopped } = dissect(
    build([
      ...outer,
      { protocol: 'udp', sourcePort: 50000, destinationPort: 4789 },
      { protocol: 'vxlan', vni: 7, flags: 0 },
      ...outer.slice(0, 1),
      {
        protocol: 'arp',
        operation: 1,
        senderMac: '02:00:00:00:00:01',
        senderIp: '1.1.1.1',
        targetMac: '00:00:00:00:00:00',
        targetIp: '1.1.1.2',
      },
    ]),
  );
  assert.equal([stopped?.protocol, stopped?.reason, stopped?.offset], ['vxlan', 'malformed', 42]);
  assert.is(layers.at(-1)!.protocol, 'arp');
});

test('options: ports of VXLAN, link types', () => {
  const packet = build([
    ...outer,
    { protocol: 'udp', sourcePort: 1, destinationPort: 5000 },
    { protocol: 'vxlan', vni: 7 },
    outer[0]!,
  ]);
  const names = (bytes: Uint8Array, options = {}) => dissect(bytes, options).layers.map(({ protocol }) => protocol);
  assert.equal(names(packet).slice(2), ['udp', 'payload']);
  assert.equal(names(packet, { vxlanPorts: [5000] }).slice(2), ['udp', 'vxlan', 'ethernet']);
  assert.equal(names(packet.subarray(14), { linkType: LINKTYPE_RAW }).slice(0, 2), ['ipv4', 'udp']);
  assert.is(dissect(packet.subarray(14), { linkType: LINKTYPE_IPV6 }).stopped?.detail, 'version is 4, not 6');
  const unknown = dissect(packet, { linkType: 147 });
  assert.is(unknown.stopped?.detail, 'link type 147 is not supported');
  assert.is(unknown.layers[0]!.size, packet.length);
});

test('an empty datagram to the VXLAN port is not malformed VXLAN', () => {
  const { layers, stopped } = dissect(build([...outer, { protocol: 'udp', sourcePort: 1, destinationPort: 4789 }]));
  assert.is(stopped, null);
  assert.is(layers.length, 3);
});

test('depth is bounded', () => {
  const bytes = new Uint8Array(14 + 4 * 20_000);
  for (let at = 12; at < bytes.length; at += 4) bytes[at] = 0x81; // nested tags
  const { layers, stopped } = dissect(bytes);
  assert.is(layers.length, MAX_LAYERS + 1);
  assert.is(stopped?.detail, `more than ${MAX_LAYERS} layers`);
});

test('build: fills in types, numbers, lengths and checksums', () => {
  const bytes = build([
    ...outer,
    { protocol: 'udp', sourcePort: 49152, destinationPort: 4789 },
    { protocol: 'vxlan', vni: 4097 },
    ...outer.slice(0, 1),
    { protocol: 'payload', bytes: fromHex('aabb') },
  ]);
  assert.is(hex(bytes.subarray(12, 14)), '0800');
  assert.is(hex(bytes.subarray(16, 18)), '0034'); // 20 + 8 + 8 + 14 + 2
  assert.is(bytes[23], 17);
  assert.ok(ipv4.verifyChecksum(bytes, 14));
  assert.is(hex(bytes.subarray(38, 42)), '00200000'); // length, and no checksum before VXLAN
  assert.is(hex(bytes.subarray(62, 66)), '0002aabb'); // IEEE 802.3
});

test('build: errors', () => {
  assert.throws(() => build([...outer, data]), /ipv4\.protocolNumber is required before payload/);
  assert.throws(() => build([outer[1]!]), /ipv4\.protocolNumber is required without a payload/);
  assert.throws(
    () => build([{ protocol: 'tcp', sourcePort: 1, destinationPort: 2, sequence: 1, flags: 0, window: 0 }]),
    /tcp requires a checksum/,
  );
  assert.throws(
    () => build([{ protocol: 'null', offset: 0, size: 4, family: 2 }]),
    /null is a header of capture files/,
  );
  assert.throws(() => build([{ protocol: 'trailer', bytes: fromHex('00') }, data]), /a trailer must come after/);
  assert.throws(
    () => build([{ protocol: 'ipv6', source: '::', destination: '::', extensions: fromHex('3b00010400000000') }]),
    /ipv6\.nextHeader is required/,
  );
});

// The expected lines are tcpdump 4.99's for the same packets (tcpdump -nn -t -S).
const LINES: [string, string[]][] = [
  [
    'arp-ping.pcap',
    [
      'ARP, Request who-has 10.9.0.2 tell 10.9.0.1, length 28',
      'ARP, Reply 10.9.0.2 is-at 02:00:00:00:01:02, length 28',
      'IP 10.9.0.1 > 10.9.0.2: ICMP echo request, id 9867, seq 1, length 24',
    ],
  ],
  [
    'tcp.pcap',
    [
      'IP 10.9.0.1.34658 > 10.9.0.2.8000: Flags [S], seq 1485727546, win 64240, options [mss 1460,sackOK,TS val 3931110817 ecr 0,nop,wscale 10], length 0',
    ],
  ],
  [
    'icmp-errors.pcap',
    [
      'IP 10.9.0.1.55000 > 10.9.0.2.9: UDP, length 3',
      'IP 10.9.0.2 > 10.9.0.1: ICMP 10.9.0.2 udp port 9 unreachable, length 39',
    ],
  ],
];
for (const [file, lines] of LINES) {
  test(`summarize: ${file}`, () => {
    const all = captured.filter((one) => one.file === file).map((one) => summarize(dissect(one.data).layers));
    assert.equal(all.slice(0, lines.length), lines);
  });
}

test('summarize: ICMPv6', () => {
  // tcpdump 4.99's lines, but for `unreachable prohibited`, before which it prints two spaces.
  const about = build([
    { protocol: 'ipv6', source: 'fd00::2', destination: 'fd00::9' },
    { protocol: 'udp', sourcePort: 5000, destinationPort: 5001 },
  ]);
  const lines: [Omit<icmpv6.Icmpv6, 'payload'>, string][] = [
    [{ type: 128, code: 0, identifier: 119, sequence: 3 }, 'echo request, id 119, seq 3, length 56'],
    [{ type: 129, code: 0, identifier: 119, sequence: 3 }, 'echo reply, id 119, seq 3, length 56'],
    [{ type: 1, code: 0 }, 'destination unreachable, unreachable route fd00::9, length 56'],
    [{ type: 1, code: 1 }, 'destination unreachable, unreachable prohibited fd00::9, length 56'],
    [{ type: 1, code: 2 }, 'destination unreachable, beyond scope fd00::9, source address fd00::2, length 56'],
    [{ type: 1, code: 3 }, 'destination unreachable, unreachable address fd00::9, length 56'],
    [{ type: 1, code: 4 }, 'destination unreachable, unreachable port, fd00::9 udp port 5001, length 56'],
    [{ type: 2, code: 0, mtu: 1400 }, 'packet too big, mtu 1400, length 56'],
    [{ type: 3, code: 0 }, 'time exceeded in-transit for fd00::9, length 56'],
    [{ type: 3, code: 1 }, 'time exceeded in-transit (reassembly), length 56'],
    [{ type: 3, code: 2 }, 'time exceeded in-transit, unknown code (2), length 56'],
    [{ type: 4, code: 0, pointer: 6 }, 'parameter problem, erroneous - octet 6, length 56'],
    [{ type: 4, code: 1, pointer: 6 }, 'parameter problem, next header - octet 6, length 56'],
    [{ type: 4, code: 2, pointer: 6 }, 'parameter problem, option - octet 6, length 56'],
    [{ type: 4, code: 3, pointer: 6 }, 'parameter problem, incomplete header chain - octet 6, length 56'],
    [{ type: 4, code: 4 }, 'parameter problem, code-#4, length 56'],
    [{ type: 133, code: 0 }, 'router solicitation, length 8'],
    [{ type: 134, code: 0 }, 'router advertisement, length 16'],
    [{ type: 135, code: 0, target: 'fd00::1' }, 'neighbor solicitation, who has fd00::1, length 24'],
    [{ type: 136, code: 0, target: 'fd00::1' }, 'neighbor advertisement, tgt is fd00::1, length 24'],
    [{ type: 137, code: 0, target: 'fe80::7', destination: 'fd00::9' }, 'redirect, fd00::9 to fe80::7, length 40'],
  ];
  const ends = { source: 'fd00::1', destination: 'fd00::3' };
  for (const [message, line] of lines) {
    const layers: LayerToBuild[] = [outer[0]!, { protocol: 'ipv6', ...ends }, { protocol: 'icmpv6', ...message }];
    if (!icmpv6.isDiscovery(message.type)) layers.push({ protocol: 'payload', bytes: about });
    assert.is(summarize(dissect(build(layers)).layers), `IP6 fd00::1 > fd00::3: ICMP6, ${line}`);
  }
});

test('summarize: the packet inside VXLAN follows', () => {
  assert.match(
    summarize(dissect(KERNEL).layers),
    /^IP 10\.9\.0\.1\.\d+ > 10\.9\.0\.2\.4789: VXLAN, flags \[I\] \(0x08\), vni 4097 \/ IP 10\.30\.0\.1 > 10\.30\.0\.2: ICMP echo request, id \d+, seq 1, length 32$/,
  );
});

test('tree and hexdump', () => {
  const bytes = build([outer[0]!, data]);
  assert.is(
    tree(dissect(bytes).layers),
    [
      'ethernet, 14 bytes at 0',
      '    destination: 02:00:00:00:01:02',
      '    source: 02:00:00:00:01:01',
      '    length: 4',
      'payload, 4 bytes at 14',
      '    bytes: 77656674',
    ].join('\n'),
  );
  assert.is(
    hexdump(bytes),
    '0x0000:  0200 0000 0102 0200 0000 0101 0004 7765  ..............we\n0x0010:  6674                                     ft',
  );
});

test.run();

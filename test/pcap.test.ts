import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as pcap from '../src/pcap/index.js';
import { fromHex, hex } from './support/hex.js';

const NO_BYTES = new Uint8Array(0);

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

/** The parts of a packet that do not depend on chunk sizes. */
function plain(packets: pcap.CapturedPacket[]): unknown[] {
  return packets.map(({ data, ...rest }) => ({ ...rest, data: hex(data) }));
}

function readInPieces(file: Uint8Array, size: number, options?: pcap.CaptureReaderOptions) {
  const reader = new pcap.CaptureReader(options);
  const packets: pcap.CapturedPacket[] = [];
  for (let at = 0; at < file.length; at += size) packets.push(...reader.push(file.slice(at, at + size)));
  return { packets, problem: reader.finish() };
}

// The files below are written by hand from the two drafts.
const PCAP_MICRO_LITTLE =
  'd4c3b2a1 0200 0400 00000000 00000000 00000400 01000000' + // 2.4, snaplen 262144, Ethernet
  '15cd5b07 40e20100 03000000 40000000 aabbcc'; // 123456789 s, 123456 us, 3 of 64 bytes
const PCAP_NANO_BIG =
  'a1b23c4d 0002 0004 00000000 00000000 00040000 00000065' + // linktype 101
  'ffffffff 3b9ac9ff 00000002 00000002 4500'; // 2106, 999999999 ns
const PCAP_MODIFIED =
  '34cdb2a1 0200 0400 00000000 00000000 00000400 01000000' +
  '01000000 02000000 02000000 02000000 03000000 0800 00 00 aabb' +
  '03000000 04000000 01000000 01000000 03000000 0800 00 00 cc';

test('reads pcap: little-endian, microseconds, a truncated packet', () => {
  const { packets, problem } = pcap.readCapture(fromHex(PCAP_MICRO_LITTLE));
  assert.is(problem, null);
  assert.equal(plain(packets), [
    {
      number: 1,
      timestamp: 123456789_123456000n,
      length: 64,
      captured: 3,
      linkType: 1,
      interface: { id: 0, linkType: 1, snapLength: 262144, unitsPerSecond: 1_000_000n, offsetSeconds: 0n },
      data: 'aabbcc',
    },
  ]);
});

test('reads pcap: big-endian, nanoseconds, the last possible second', () => {
  const { packets, problem } = pcap.readCapture(fromHex(PCAP_NANO_BIG));
  assert.is(problem, null);
  assert.is(packets[0]!.timestamp, 4294967295_999999999n);
  assert.is(packets[0]!.linkType, pcap.LINKTYPE_RAW);
});

test('reads the modified pcap, whose records have 8 octets more', () => {
  const { packets, problem } = pcap.readCapture(fromHex(PCAP_MODIFIED));
  assert.is(problem, null);
  assert.equal(
    packets.map((packet) => [packet.timestamp, hex(packet.data)]),
    [
      [1_000002000n, 'aabb'],
      [3_000004000n, 'cc'],
    ],
  );
});

test('reads pcap before 2.3 with swapped lengths, detects them in 2.3, and reads the FCS length', () => {
  const record = '00000001 00000002';
  const read = (minor: string, lengths: string) => {
    const header = `a1b2c3d4 0002 ${minor} 00000000 00000000 0000ffff 24000001`;
    return pcap.readCapture(fromHex(`${header} ${record} ${lengths} aabb`)).packets[0]!;
  };
  assert.equal([read('0002', '00000009 00000002').captured, read('0002', '00000009 00000002').length], [2, 9]);
  assert.equal([read('0003', '00000009 00000002').captured, read('0003', '00000002 00000009').captured], [2, 2]);
  assert.is(read('0004', '00000002 00000009').interface.fcsLength, 4);
});

test('a packet keeps captured bytes beyond its original length, as in tshark', () => {
  const file = fromHex(PCAP_MICRO_LITTLE.replace('40000000 aabbcc', '02000000 aabbcc'));
  const [packet] = pcap.readCapture(file).packets;
  assert.equal([packet!.length, packet!.captured, hex(packet!.data)], [2, 3, 'aabbcc']);
});

const SHB_BIG = '0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c';
const SHB_LITTLE = '0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000';
// Interface: linktype 1, snaplen 3, name "e0", resolution 2^-10 s, offset -1 s.
const IDB_BIG =
  '00000001 0000003c 0001 0000 00000003 0002 0002 65300000 0009 0001 8a000000 000e 0008 ffffffffffffffff 000d 0001 04000000 0000 0000 0000003c';
const IDB_LITTLE = '01000000 14000000 6500 0000 00000000 14000000';
const EPB_BIG =
  '00000006 00000034 00000000 00000000 00000c00 00000003 00000010 aabbcc00 0001 0002 68690000 0002 0004 00000001 00000034';
const SPB_BIG = '00000003 00000014 00000009 aabbcc00 00000014';
const PB_BIG = '00000002 00000024 0000 ffff 00000000 00000400 00000001 00000001 dd000000 00000024';
const UNKNOWN_BIG = '00000bad 00000010 01020304 00000010';
const EPB_LITTLE = '06000000 20000000 00000000 00000000 01000000 00000000 00000000 20000000';

test('reads pcapng: sections of both byte orders, all packet blocks, options, unknown blocks', () => {
  const file = fromHex(
    SHB_BIG + IDB_BIG + EPB_BIG + UNKNOWN_BIG + SPB_BIG + PB_BIG + SHB_LITTLE + IDB_LITTLE + EPB_LITTLE,
  );
  const { packets, problem } = pcap.readCapture(file);
  assert.is(problem, null);
  const first = {
    id: 0,
    linkType: 1,
    snapLength: 3,
    name: 'e0',
    unitsPerSecond: 1024n,
    offsetSeconds: -1n,
    fcsLength: 4,
  };
  const second = { id: 0, linkType: 101, snapLength: 0, unitsPerSecond: 1_000_000n, offsetSeconds: 0n };
  const common = { linkType: 1, interface: first };
  assert.equal(plain(packets), [
    {
      ...{ number: 1, timestamp: 2_000000000n, length: 16, captured: 3, ...common },
      ...{ comment: 'hi', direction: 'inbound', data: 'aabbcc' },
    },
    { number: 2, timestamp: null, length: 9, captured: 3, ...common, data: 'aabbcc' },
    { number: 3, timestamp: 0n, length: 1, captured: 1, ...common, data: 'dd' },
    { number: 4, timestamp: 1000n, length: 0, captured: 0, linkType: 101, interface: second, data: '' },
  ]);
});

test('resolutions of any power of ten and two', () => {
  const at = (resolution: string, units: string) =>
    pcap.readCapture(
      fromHex(
        SHB_BIG +
          `00000001 00000020 0001 0000 00000000 0009 0001 ${resolution}000000 0000 0000 00000020` +
          `00000006 00000020 00000000 ${units} 00000000 00000000 00000020`,
      ),
    ).packets[0]!.timestamp;
  assert.is(at('00', '00000000 00000007'), 7_000000000n);
  assert.is(at('03', '00000000 000004d2'), 1_234000000n);
  assert.is(at('0c', '00000000 499602d2'), 1234567n); // 1234567890 ps
  assert.is(at('a0', '00000001 80000000'), 1_500000000n); // 2^-32 s
});

const FILES = [PCAP_MICRO_LITTLE, PCAP_NANO_BIG, PCAP_MODIFIED, SHB_BIG + IDB_BIG + EPB_BIG + UNKNOWN_BIG + SPB_BIG];

test('chunks of any size give the same packets', () => {
  for (const file of FILES.map(fromHex)) {
    const whole = pcap.readCapture(file);
    assert.ok(whole.packets.length > 0);
    for (let size = 1; size <= file.length; size++)
      assert.equal(plain(readInPieces(file, size).packets), plain(whole.packets), `chunks of ${size}`);
  }
});

test('a truncated file gives the packets before the cut, and reports the truncation', () => {
  for (const file of FILES.map(fromHex)) {
    const all = plain(pcap.readCapture(file).packets);
    let complete = 0;
    for (let length = 0; length < file.length; length++) {
      const { packets, problem } = pcap.readCapture(file.subarray(0, length));
      assert.equal(plain(packets), all.slice(0, packets.length));
      assert.equal(plain(readInPieces(file.subarray(0, length), 5).packets), plain(packets));
      if (problem === null) {
        complete++;
        continue;
      }
      assert.is(problem.reason, 'truncated');
      assert.is(problem.limitedBy, 'end of file');
      assert.is(problem.offset + problem.available, length);
      assert.ok(problem.needed > problem.available);
    }
    assert.ok(complete < 5);
  }
});

const BAD: [string, string, string][] = [
  [
    'text',
    '68656c6c6f20776f726c64',
    'pcap: unsupported at offset 0: neither a pcap nor a pcapng file: it begins with 68656c6c',
  ],
  ['gzip', '1f8b080000000000', 'pcap: unsupported at offset 0: this is a gzip file; unpack it first'],
  [
    'pcap of version 3',
    PCAP_MICRO_LITTLE.replace('0200 0400', '0300 0000'),
    'pcap: unsupported at offset 4: version is 3.0, not 2.4',
  ],
  [
    'a packet of 4 GiB',
    PCAP_MICRO_LITTLE.replace('03000000', 'ffffffff'),
    'pcap: unsupported at offset 32: captured length 4294967295 is above the limit of 262144',
  ],
  [
    'byte-order magic',
    SHB_BIG.replace('1a2b3c4d', '1a2b3c4e'),
    'pcapng: malformed at offset 8: byte-order magic is 1a2b3c4e, not 1a2b3c4d in either byte order',
  ],
  [
    'pcapng of version 2',
    SHB_BIG.replace('0001 0000', '0002 0000'),
    'pcapng: unsupported at offset 12: version is 2.0, not 1.0',
  ],
  [
    'two different block lengths',
    SHB_BIG + IDB_BIG.slice(0, -8) + '00000040',
    'pcapng: malformed at offset 84: block length is 60 at its beginning and 64 at its end',
  ],
  [
    'two different lengths of an unknown block',
    SHB_BIG + '00000bad 00000010 01020304 00000014',
    'pcapng: malformed at offset 40: block length is 16 at its beginning and 20 at its end',
  ],
  [
    'a block length below its fields',
    SHB_BIG + '00000006 0000001c',
    'pcapng: malformed at offset 32: block length 28 of block type 6 is below 32',
  ],
  [
    'a block length that is not a multiple of 4',
    SHB_BIG + '00000bad 0000000d',
    'pcapng: malformed at offset 32: block length 13 of block type 2989 is not a multiple of 4',
  ],
  [
    'an undeclared interface',
    SHB_BIG + EPB_BIG,
    'pcapng: malformed at offset 36: the packet is of interface 0, which the section does not describe',
  ],
  [
    'a packet longer than its block',
    SHB_BIG + IDB_BIG + EPB_BIG.replace('00000003 00000010', '00000015 00000015'),
    'pcapng: malformed at offset 108: captured length is 21, but the block has room for 20',
  ],
  [
    'a packet block of 4 GiB',
    SHB_BIG + IDB_BIG + '00000006 fffffff0 00000000 00000000 00000000 ffffff00 ffffff00 00000000',
    'pcapng: unsupported at offset 108: captured length 4294967040 is above the limit of 262144',
  ],
  [
    'an interface block of 4 GiB',
    SHB_BIG + '00000001 fffffff0 0001 0000 00000000 00000000',
    'pcapng: unsupported at offset 32: block length 4294967280 of block type 1 is above the limit of 524288',
  ],
];
for (const [what, digits, message] of BAD) {
  test(`reports problem and offset: ${what}`, () => {
    const file = fromHex(digits);
    for (const size of [1, 3, 8, file.length]) {
      const { problem } = readInPieces(file, size);
      assert.is(problem?.message, message, `chunks of ${size}`);
    }
  });
}

test('an unknown block of 4 GiB is skipped without buffering it', () => {
  const reader = new pcap.CaptureReader();
  reader.push(fromHex(SHB_BIG + '00000bad fffffff0'));
  const chunk = new Uint8Array(1 << 20);
  for (let i = 0; i < 200; i++) assert.is(reader.push(chunk).length, 0);
  const problem = reader.finish();
  assert.is(problem?.reason, 'truncated');
  assert.is(problem?.needed, 0xfffffff0);
  assert.is(problem?.available, 200 * (1 << 20) + 8);
});

test('never throws for any bytes, and stops at the first problem', () => {
  const seeds = FILES.map(fromHex);
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 200 }),
      (seed, flips, size) => {
        const file = seed.slice();
        for (const [at, octet] of flips) file[at % file.length] = octet;
        const { packets, problem } = readInPieces(file, size);
        const whole = pcap.readCapture(file);
        assert.equal(plain(packets), plain(whole.packets));
        assert.is(problem?.message, whole.problem?.message);
        for (const packet of packets) assert.is(packet.captured, packet.data.length);
        const reader = new pcap.CaptureReader();
        reader.push(file);
        if (reader.problem !== null) assert.is(reader.push(seed).length, 0);
      },
    ),
    { numRuns: 2000 },
  );
});

test('a file header alone is a file without packets; an empty file is an error', () => {
  for (const header of [new pcap.PcapWriter().header(), new pcap.PcapngWriter().header()])
    assert.equal(pcap.readCapture(header), { packets: [], problem: null });
  assert.is(pcap.readCapture(NO_BYTES).problem?.reason, 'truncated');
});

const toWrite = fc.record(
  {
    timestamp: fc.bigInt({ min: 0n, max: 4294967295_999999999n }),
    data: fc.uint8Array({ maxLength: 40 }),
    more: fc.nat(1000),
    direction: fc.constantFrom<pcap.Direction>('inbound', 'outbound'),
    comment: fc.string({ unit: 'binary' }),
  },
  { requiredKeys: ['timestamp', 'data', 'more'] },
);

test('CaptureReader reads the output of PcapWriter', () => {
  const options = fc.record<pcap.PcapWriterOptions>(
    {
      linkType: fc.nat(0xffff),
      snapLength: fc.nat(50),
      resolution: fc.constantFrom('nanoseconds', 'microseconds'),
      bigEndian: fc.boolean(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(options, fc.array(toWrite), (chosen, wanted) => {
      const writer = new pcap.PcapWriter(chosen);
      const records = wanted.map(({ timestamp, data, more }) =>
        writer.packet({ timestamp, data, length: data.length + more }),
      );
      const { packets, problem } = pcap.readCapture(join(writer.header(), ...records));
      assert.is(problem, null);
      const unit = chosen.resolution === 'microseconds' ? 1000n : 1n;
      assert.equal(
        packets.map((packet) => [packet.timestamp, packet.length, packet.linkType, hex(packet.data)]),
        wanted.map(({ timestamp, data, more }) => [
          timestamp - (timestamp % unit),
          data.length + more,
          chosen.linkType ?? 1,
          hex(data.subarray(0, chosen.snapLength ?? 262144)),
        ]),
      );
    }),
  );
});

test('CaptureReader reads the output of PcapngWriter', () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(toWrite),
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      (bigEndian, wanted, name) => {
        const writer = new pcap.PcapngWriter({ bigEndian, application: 'weft', comment: name });
        const file = join(
          writer.header(),
          writer.addInterface({ name, description: 'd', comment: 'c' }),
          writer.addInterface({ linkType: 101, snapLength: 10 }),
          ...wanted.map(({ more, ...packet }, i) =>
            writer.packet({ ...packet, interface: i % 2, length: packet.data.length + more }),
          ),
        );
        const { packets, problem } = pcap.readCapture(file);
        assert.is(problem, null);
        assert.is(file.length % 4, 0);
        const expected = wanted.map(({ timestamp, data, more, direction, comment }, i) => ({
          number: i + 1,
          timestamp,
          length: data.length + more,
          linkType: i % 2 === 0 ? 1 : 101,
          name: i % 2 === 0 ? name : undefined,
          direction,
          comment: comment && Buffer.from(comment).toString(),
          data: hex(i % 2 === 0 ? data : data.subarray(0, 10)),
        }));
        assert.equal(
          packets.map(({ number, timestamp, length, linkType, interface: on, direction, comment, data }) => ({
            ...{ number, timestamp, length, linkType, name: on.name, direction, comment, data: hex(data) },
          })),
          expected,
        );
      },
    ),
  );
});

test('writers reject values that do not fit', () => {
  const data = new Uint8Array(4);
  const writer = new pcap.PcapWriter();
  assert.throws(
    () => writer.packet({ timestamp: -1n, data }),
    /pcap\.timestamp must be from 0 to 4294967295999999999, not -1/,
  );
  assert.throws(() => writer.packet({ timestamp: 1n << 64n, data }), RangeError);
  assert.throws(() => writer.packet({ timestamp: 0n, data, length: 3 }), /pcap\.length 3 is below the 4 bytes given/);
  assert.throws(() => new pcap.PcapWriter({ linkType: 65536 }), /pcap\.linkType/);
  const next = new pcap.PcapngWriter();
  assert.throws(() => next.packet({ timestamp: 0n, data }), /pcapng\.interface 0 does not exist/);
  assert.throws(() => next.addInterface({ name: 'x'.repeat(65536) }), /option length must be .* 65535, not 65536/);
});

test.run();

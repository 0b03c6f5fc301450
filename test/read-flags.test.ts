/** `vtep read`: short flags, the protocols of the summary, and the captures that it writes. */
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { build, dissect, protocolsOf, type LayerToBuild } from '../src/packet/index.js';
import { PcapngWriter, PcapWriter, readCapture } from '../src/pcap/index.js';
import { fromHex, hex } from './support/hex.js';
import { REPOSITORY, VTEP } from './support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-read-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const capture = (name: string): string => fileURLToPath(new URL(`captures/${name}`, import.meta.url));
const [program, ...before] = VTEP as [string, ...string[]];

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function read(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(program, [...before, 'read', ...args], { cwd: REPOSITORY }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

const PING = capture('arp-ping.pcap');

test('short flags have the effect of the long ones', async () => {
  const pairs: [string[], string[]][] = [
    [['-nr', PING], [PING]],
    [
      ['-c', '2', PING],
      [PING, '--count', '2'],
    ],
    [
      ['-nvxc1', '-r', PING],
      ['--read', PING, '--tree', '--hex', '--count', '1'],
    ],
    [
      [PING, '-qc3'],
      ['--quiet', '--count=3', PING],
    ],
  ];
  await Promise.all(
    pairs.map(async ([short, long]) => {
      const [one, other] = await Promise.all([read(...short), read(...long)]);
      assert.equal(one, other);
      assert.equal([one.code, one.stderr], [0, '']);
      assert.ok(one.stdout.length > 50);
    }),
  );
});

test('short flags: errors name them', async () => {
  const [count, two, unknown] = await Promise.all([read('-cx', PING), read('-r', PING, 'other'), read('-nZ', PING)]);
  assert.equal([count.code, two.code, unknown.code], [2, 2, 2]);
  assert.match(count.stderr, /^vtep read: -c: /);
  assert.match(two.stderr, /expected one FILE, got ".*arp-ping\.pcap" and "other"/);
  assert.match(unknown.stderr, /unknown flag -Z/);
});

const ethernet: LayerToBuild = {
  protocol: 'ethernet',
  destination: '02:00:00:00:01:02',
  source: '02:00:00:00:01:01',
};
const four = (protocolNumber: number, rest = {}): LayerToBuild[] => [
  ethernet,
  { protocol: 'ipv4', source: '10.0.0.1', destination: '10.0.0.2', protocolNumber, ...rest },
  { protocol: 'payload', bytes: fromHex('1100f6f900000000') },
];
const six = (nextHeader: number, rest = {}): LayerToBuild[] => [
  ethernet,
  { protocol: 'ipv6', source: 'fd00::1', destination: 'fd00::2', nextHeader, ...rest },
  { protocol: 'payload', bytes: fromHex('8000000000000000') },
];
const type = (etherType: number): LayerToBuild[] => [
  { ...ethernet, etherType } as LayerToBuild,
  { protocol: 'payload', bytes: new Uint8Array(46) },
];

// The names are tshark's (frame.protocols), except for the fragment, which it calls `data`.
const NAMED: [LayerToBuild[], string][] = [
  [four(2), 'ethernet ipv4 igmp'],
  [four(47), 'ethernet ipv4 gre'],
  [four(50), 'ethernet ipv4 esp'],
  [four(51), 'ethernet ipv4 ah'],
  [four(88), 'ethernet ipv4 eigrp'],
  [four(89), 'ethernet ipv4 ospf'],
  [four(103), 'ethernet ipv4 pim'],
  [four(112), 'ethernet ipv4 vrrp'],
  [four(132), 'ethernet ipv4 sctp'],
  [four(136), 'ethernet ipv4 udplite'],
  [four(253), 'ethernet ipv4 payload'],
  [four(61), 'ethernet ipv4 payload'],
  [four(17, { fragmentOffset: 8 }), 'ethernet ipv4 fragment'],
  [six(58), 'ethernet ipv6 icmpv6'],
  [six(132), 'ethernet ipv6 sctp'],
  [six(0, { extensions: fromHex('3a00010400000000') }), 'ethernet ipv6 icmpv6'],
  [six(44, { extensions: new Uint8Array(0) }).slice(0, 2), 'ethernet ipv6'],
  [type(0x88cc), 'ethernet lldp'],
  [type(0x1234), 'ethernet payload'],
];

test('protocols that weft does not read have their names from IP and Ethernet', () => {
  for (const [layers, names] of NAMED) assert.is(protocolsOf(dissect(build(layers)).layers).join(' '), names);
});

test('protocols: the numbers equal those of /etc/protocols', () => {
  if (!existsSync('/etc/protocols')) return;
  // Numbers for which the list, tcpdump and tshark have different names.
  const other: Record<string, string> = {
    hopopt: 'hopopt', ipencap: 'ipip', 'ipv6-icmp': 'icmpv6', 'ipv6-crypt': 'esp', 'ipv6-auth': 'ah', ospfigp: 'ospf', 'rspf': 'rspf',
  }; // prettier-ignore
  let compared = 0;
  for (const line of readFileSync('/etc/protocols', 'utf8').split('\n')) {
    const [name, digits] = line.replace(/#.*/, '').trim().split(/\s+/);
    const number = Number(digits);
    if (
      name === undefined ||
      digits === undefined ||
      number > 255 ||
      [0, 1, 4, 6, 17, 41, 43, 44, 60, 73, 135, 143].includes(number)
    )
      continue;
    const last = protocolsOf(dissect(build(four(number))).layers).at(-1);
    assert.is(last, other[name] ?? name, `${number}`);
    compared++;
  }
  assert.ok(compared > 30, `${compared}`);
});

test('--summary names protocols, and -q prints only the summary', async () => {
  const writer = new PcapWriter();
  const file = join(directory, 'protocols.pcap');
  const packets = [four(2), four(47), four(132), six(58)].map((layers) =>
    writer.packet({ timestamp: 0n, data: build(layers) }),
  );
  writeFileSync(file, Buffer.concat([writer.header(), ...packets]));
  const [lines, alone, json] = await Promise.all([
    read('--summary', file),
    read('-q', file),
    read('--quiet', '--json', file),
  ]);
  const protocols = 'protocols  ethernet 4, ipv4 3, gre 1, icmpv6 1, igmp 1, ipv6 1, sctp 1\n';
  assert.ok(lines.stdout.endsWith(protocols));
  assert.match(alone.stdout, /^packets {4}4\n/);
  assert.ok(lines.stdout.endsWith(`\n${alone.stdout}`));
  assert.equal(JSON.parse(json.stdout), {
    packets: 4,
    bytes: 4 * 14 + 3 * 28 + 48,
    first: '0.000000000',
    last: '0.000000000',
    protocols: { ethernet: 4, ipv4: 3, gre: 1, icmpv6: 1, igmp: 1, ipv6: 1, sctp: 1 },
    vnis: {},
    stopped: {},
  });
});

const contents = (path: string): unknown[] =>
  readCapture(readFileSync(path)).packets.map(({ data, interface: on, number: _, ...rest }) => [
    { ...rest, data: hex(data) },
    on.name,
  ]);

test('-w writes the packets, and prints none', async () => {
  for (const [input, name] of [
    [PING, 'a.pcap'],
    [PING, 'b.pcapng'],
    [capture('snaplen.pcap'), 'c.pcap'],
    [capture('nanoseconds.pcap'), 'd.cap'],
    [capture('sections.pcapng'), 'e.pcapng'],
    [capture('sll2.pcap'), 'f'],
  ] as const) {
    const output = join(directory, name);
    const { code, stdout, stderr } = await read('-nvx', '-r', input, '-w', output);
    const expected = contents(input);
    assert.equal([code, stdout, stderr], [0, '', `${expected.length} packets written to ${output}\n`]);
    assert.equal(contents(output), expected);
    assert.is(readCapture(readFileSync(output)).problem, null);
  }
});

test('-w: a packet count, standard output, an empty file, and files that other programs read', async () => {
  const two = join(directory, 'two.pcap');
  assert.is((await read('-c2', PING, '-w', two)).stderr, `2 packets written to ${two}\n`);
  assert.equal(contents(two), contents(PING).slice(0, 2));
  const out = execFileSync(program, [...before, 'read', PING, '-w', '-'], { cwd: REPOSITORY });
  assert.is(readCapture(out).packets.length, 6);
  const none = join(directory, 'none.pcap');
  assert.is((await read('-c0', PING, '-w', none)).code, 0);
  assert.is(readCapture(readFileSync(none)).problem, null);
});

test('-w: write errors are reported, and the input is never overwritten', async () => {
  const own = join(directory, 'own.pcap');
  copyFileSync(PING, own);
  const [same, nowhere, folder, full, absent, mixed] = await Promise.all([
    read(own, '-w', own),
    read(PING, '-w', '/nonexistent/x.pcap'),
    read(PING, '-w', directory),
    read(PING, '-w', '/dev/full'),
    read(join(directory, 'absent.pcap'), '-w', join(directory, 'empty.pcap')),
    read(capture('sections.pcapng'), '-w', join(directory, 'mixed.pcap')),
  ]);
  assert.equal(
    [same, nowhere, folder, full, absent, mixed].map(({ code }) => code),
    [1, 1, 1, 1, 1, 1],
  );
  assert.match(same.stderr, /is the capture that is read; write to another file/);
  assert.is(hex(readFileSync(own)), hex(readFileSync(PING)));
  assert.match(nowhere.stderr, /^vtep read: \/nonexistent\/x\.pcap cannot be written: its directory does not exist\n$/);
  assert.match(folder.stderr, /it is a directory; name a file in it/);
  assert.match(full.stderr, /\/dev\/full cannot be written: no space is left on the device/);
  assert.match(absent.stderr, /no such file/);
  assert.not.ok(existsSync(join(directory, 'empty.pcap')));
  assert.match(mixed.stderr, /packet 2 cannot be written: its link type is 101.*write to a \.pcapng file/);
  assert.is((await read(PING, '-q', '-w', '-')).code, 2);
});

test('-w keeps interfaces, directions and comments in pcapng', async () => {
  const writer = new PcapngWriter();
  const input = join(directory, 'rich.pcapng');
  const output = join(directory, 'copy.pcapng');
  const data = build(four(2));
  writeFileSync(
    input,
    Buffer.concat([
      writer.header(),
      writer.addInterface({ name: 'eth0' }),
      writer.addInterface({ name: 'tun0', linkType: 101 }),
      writer.packet({ timestamp: 5n, data, direction: 'inbound', comment: 'one' }),
      writer.packet({ timestamp: 6n, data: data.subarray(14), interface: 1, direction: 'outbound', length: 99 }),
    ]),
  );
  assert.is((await read(input, '-w', output)).code, 0);
  assert.equal(contents(output), contents(input));
});

test.run();

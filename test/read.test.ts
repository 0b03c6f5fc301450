import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect } from '../src/packet/index.js';
import { PcapWriter, readCapture } from '../src/pcap/index.js';
import { hex } from './support/hex.js';
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

function read(args: string[], input?: Uint8Array): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd: REPOSITORY, maxBuffer: 1 << 28 };
    const child = execFile(program, [...before, 'read', ...args], options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
    child.stdin!.on('error', () => undefined);
    child.stdin!.end(input);
  });
}

test('one line per packet, as in tcpdump', async () => {
  const { code, stdout, stderr } = await read([capture('arp-ping.pcap')]);
  assert.equal([code, stderr], [0, '']);
  const lines = stdout.split('\n');
  assert.is(lines.length, 7);
  // tcpdump -nn -r test/captures/arp-ping.pcap, TZ=UTC
  assert.is(lines[0], '03:09:40.923258 ARP, Request who-has 10.9.0.2 tell 10.9.0.1, length 28');
  assert.is(lines[5], '03:09:41.124832 IP 10.9.0.2 > 10.9.0.1: ICMP echo reply, id 9867, seq 2, length 24');
});

test('--json: one object per line, with everything that dissect returns', async () => {
  const file = capture('vxlan-kernel.pcap');
  const { code, stdout } = await read([file, '--json']);
  assert.is(code, 0);
  const objects = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const { packets } = readCapture(Uint8Array.from(readFileSync(file)));
  assert.is(objects.length, packets.length);
  objects.forEach((object, i) => {
    const packet = packets[i]!;
    assert.equal(Object.keys(object), ['number', 'timestamp', 'length', 'captured', 'layers', 'stopped']);
    assert.is(BigInt((object['timestamp'] as string).replace('.', '')), packet.timestamp);
    assert.match(object['timestamp'] as string, /^\d+\.\d{9}$/);
    const asJson = JSON.parse(
      JSON.stringify(dissect(packet.data).layers, (_key, value: unknown) =>
        value instanceof Uint8Array ? hex(value) : value,
      ),
    ) as unknown;
    assert.equal(object['layers'], asJson);
  });
  const ping = objects[2]!['layers'] as Record<string, unknown>[];
  assert.equal(
    ping.map(({ protocol }) => protocol),
    ['ethernet', 'ipv4', 'udp', 'vxlan', 'ethernet', 'ipv4', 'icmp', 'payload'],
  );
  assert.is(ping[1]!['protocolNumber'], 17);
  assert.match(ping[7]!['bytes'] as string, /^([0-9a-f]{2})+$/);
});

test('--json: link types, stopped, truncated packets', async () => {
  const [cooked] = (await read([capture('sll.pcap'), '--json', '--count', '1'])).stdout.split('\n');
  assert.is((JSON.parse(cooked!) as { linkType: number }).linkType, 113);
  const [cut] = (await read([capture('snaplen.pcap'), '--json'])).stdout.split('\n');
  const object = JSON.parse(cut!) as { length: number; captured: number; stopped: unknown };
  assert.equal([object.length, object.captured], [242, 70]);
  assert.equal(object.stopped, {
    protocol: 'ipv4',
    reason: 'truncated',
    offset: 14,
    needed: 228,
    available: 56,
    limitedBy: 'capture',
    detail: 'needs 228 bytes, has 56 (limited by capture)',
  });
});

test('--tree, --hex and --summary', async () => {
  const { stdout } = await read([capture('vxlan-kernel.pcap'), '--tree', '--hex', '--summary', '--count', '1']);
  assert.match(stdout, /\n {4}vxlan, 8 bytes at 42\n {8}flags: 0x08\n {8}vni: 4097\n/);
  assert.match(stdout, /\n {4}0x0000: {2}0200 0000 0102 0200 0000 0101 0800 4500 {2}\.{14}E\.\n/);
  assert.match(
    stdout,
    /\npackets {4}1\nbytes {6}92\ntime {7}\S+Z to \S+Z, 0\.000000000 s\nprotocols {2}arp 1, ethernet 1, ipv4 1, udp 1, vxlan 1\nVNIs {7}4097 1\n$/,
  );
  const json = await read([capture('damaged.pcap'), '--json', '--summary']);
  assert.not.match(json.stdout, /packets /);
  assert.match(json.stderr, /stopped {4}.*ipv4 malformed \d/);
});

test('standard input, pcapng, times in nanoseconds and without', async () => {
  const { code, stdout } = await read(['-'], readFileSync(capture('sections.pcapng')));
  assert.is(code, 0);
  assert.equal(
    stdout.split('\n').map((line) => line.slice(0, 34)),
    [
      '22:13:20.123456 IP 10.9.0.1 > 10.9',
      '22:13:20.123456 IP 10.9.0.1 > 10.9',
      '22:13:20.123456 IP 10.9.0.1 > 10.9',
      '',
    ],
  );
});

test('times keep trailing zeros', async () => {
  const writer = new PcapWriter();
  const packet = writer.packet({ timestamp: 3_661_000_012_000n, data: new Uint8Array(14) });
  const file = Buffer.concat([writer.header(), packet]);
  assert.match((await read(['-'], file)).stdout, /^01:01:01\.000012 /);
  assert.match((await read(['-', '--json'], file)).stdout, /"timestamp":"3661\.000012000"/);
});

test('a damaged file: the packets before the damage, and an error with the offset', async () => {
  const whole = readFileSync(capture('arp-ping.pcap'));
  const cut = await read(['-'], whole.subarray(0, whole.length - 1));
  assert.is(cut.code, 1);
  assert.is(cut.stdout.split('\n').length, 6);
  assert.match(cut.stderr, /^vtep read: standard input: pcap: truncated at offset 362: needs 74 bytes, has 73 /);
  assert.match(cut.stderr, /5 packets are before that; the file was cut, or is still being written/);
  const path = join(directory, 'damaged.pcap');
  whole.writeUInt32LE(0x7fff_ffff, 24 + 16 + 42 + 8);
  writeFileSync(path, whole);
  const damaged = await read([path, '--json']);
  assert.is(damaged.code, 1);
  assert.is(damaged.stdout.split('\n').length, 2);
  assert.match(damaged.stderr, /at offset 90: captured length 2147483647 is above the limit of 262144\n/);
  assert.is((await read([path, '--count', '1'])).code, 0);
  const text = await read(['-'], Buffer.from('no capture at all'));
  assert.is(text.code, 1);
  assert.match(text.stderr, /neither a pcap nor a pcapng file/);
});

const WRONG: [string[], RegExp][] = [
  [[], /missing: FILE, the capture to read, or - for standard input/],
  [['a', 'b'], /expected one FILE, got "a" and "b"/],
  [['--jsn', 'a'], /unknown flag --jsn; did you mean --json\?\n.*vtep read --help/s],
  [['a', '--count', 'x'], /--count: expected an integer of 0 or more, got "x"/],
  [['a', '--json', '--tree'], /--tree and --json do not go together/],
];
for (const [args, message] of WRONG) {
  test(`wrong: vtep read ${args.join(' ')}`, async () => {
    const { code, stdout, stderr } = await read(args);
    assert.equal([code, stdout], [2, '']);
    assert.match(stderr, message);
  });
}

test('a missing file, and a directory', async () => {
  const none = await read(['/nonexistent.pcap']);
  assert.is(none.code, 1);
  assert.match(none.stderr, /\/nonexistent\.pcap: no such file/);
  assert.match((await read([directory])).stderr, /is a directory; name a file in it/);
});

/** A capture of `count` packets of 1000 bytes, in chunks. */
function* long(count: number): Generator<Uint8Array> {
  const writer = new PcapWriter();
  const record = writer.packet({ timestamp: 1n, data: new Uint8Array(1000) });
  yield writer.header();
  for (let i = 0; i < count; i += 1000) yield Buffer.concat(Array.from({ length: 1000 }, () => record));
}

test('ends without an error when its output is closed', async () => {
  const child = spawn(program, [...before, 'read', '-'], { cwd: REPOSITORY, stdio: ['pipe', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  child.stdin.on('error', () => undefined);
  const feed = (async () => {
    for (const chunk of long(100_000)) {
      if (child.exitCode !== null || child.stdin.destroyed) return;
      if (!child.stdin.write(chunk))
        await new Promise((resolve) => child.stdin.once('drain', resolve).once('close', resolve));
    }
  })();
  child.stdout.once('data', () => child.stdout.destroy());
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal([code, stderr], [0, '']);
  await feed;
});

test('memory stays small for 200 MB, and output waits for a slow reader', async () => {
  const child = spawn(program, [...before, 'read', '-', '--json'], {
    cwd: REPOSITORY,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let peak = 0;
  const watch = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peak = Math.max(peak, Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0));
    } catch {
      // it has ended
    }
  }, 20);
  let lines = 0;
  child.stdout.on('data', (data: Buffer) => {
    for (const octet of data) if (octet === 10) lines++;
    child.stdout.pause();
    setTimeout(() => child.stdout.resume(), 1);
  });
  for (const chunk of long(200_000))
    if (!child.stdin.write(chunk)) await new Promise((resolve) => child.stdin.once('drain', resolve));
  child.stdin.end();
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(watch);
  assert.equal([code, lines], [0, 200_000]);
  if (process.platform === 'linux') assert.ok(peak > 0 && peak < 250_000, `${peak} KiB`);
  console.log(`# at most ${Math.round(peak / 1024)} MiB`);
});

test.run();

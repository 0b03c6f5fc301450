/**
 * Names with a meaning for JavaScript or for other programs, and sizes that files claim or have. Most of this was sound
 * when it was first looked at, and stays tested.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseJson } from '../../src/cli/json.js';
import * as db from '../../src/gossip/networkdb/index.js';
import { GossipHost, lossesOf } from '../../src/host/index.js';
import { CaptureReader, PcapWriter } from '../../src/pcap/index.js';
import { closest, parseRequest, plan, SchemaError, valueProblem } from '../../src/schema/index.js';
import { Liar } from '../support/liar.js';
import { must, REPOSITORY } from '../support/lab.js';
import { processorTime } from '../support/processor-time.js';
import { bundledProgram, type Program } from '../support/program.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-names-'));
let program: Program;

/** Names of properties that every object has. */
const WORDS = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'prototype', '__defineGetter__'];

interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
  /** Milliseconds of processor time. */
  spent: number;
  /** Highest resident memory in KiB. */
  peak: number;
}

/** Runs the program and watches its memory. */
async function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const [command, ...rest] = program.command;
  const child = spawn(command!, [...rest, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    cwd: directory,
  });
  let [stdout, stderr, peak, spent] = ['', '', 0, 0];
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const watch = setInterval(() => {
    // Behind the name in parentheses: user and system time, in hundredths of a second.
    const times = readSafe(`/proc/${child.pid}/stat`).split(') ')[1]?.split(' ').slice(11, 13) ?? [];
    spent = times.reduce((sum, time) => sum + 10 * Number(time), 0) || spent;
    peak = Math.max(peak, Number(/^VmHWM:\s+(\d+)/m.exec(readSafe(`/proc/${child.pid}/status`))?.[1] ?? 0));
    // A failure must not take the machine along.
    if (peak > 2_000_000) child.kill('SIGKILL');
  }, 20);
  const late = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearInterval(watch);
  clearTimeout(late);
  return { code, signal, stdout, stderr, peak, spent };
}

function readSafe(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const isSchemaError = (error: Error): boolean => error instanceof SchemaError;

/** Nothing has been added to all objects. */
function assertUnpolluted(): void {
  const plain = {} as Record<string, unknown>;
  const extra: string[] = [];
  for (const key in plain) extra.push(key);
  assert.equal(extra, []);
  assert.is(plain['polluted'], undefined);
}

// ---- Names with a meaning for JavaScript ----

const words = suite('words');

words('in a configuration they are unknown fields, on every level', () => {
  const base = '"local":"127.0.0.1","segments":[{"vni":7}],"taps":[{"name":"e","vni":7}]';
  for (const word of WORDS) {
    const field = `${JSON.stringify(word)}:{"polluted":1}`;
    for (const text of [
      `{${base},${field}}`,
      `{"local":"127.0.0.1","segments":[{"vni":7,${field}}],"taps":[{"name":"e","vni":7}]}`,
      `{${base},"gossip":{${field}}}`,
      `{"local":"127.0.0.1","segments":[{"vni":7}],"taps":[{"name":"e","vlans":{${field}}}]}`,
    ])
      assert.throws(
        () => plan(parseJson(text)),
        (error: Error) => error instanceof SchemaError && error.message.includes(word),
      );
    for (const value of [word, { [word]: 1 }, [word]])
      for (const key of ['local', 'control', 'gossip', 'engine', 'segments']) {
        if (key === 'control' && typeof value === 'string') continue; // a path may have any name
        assert.throws(
          () => plan({ local: '127.0.0.1', segments: [{ vni: 7 }], taps: [], [key]: value }),
          isSchemaError,
        );
      }
  }
  assertUnpolluted();
});

words('as names of members, networks and namespaces they are names like any other', () => {
  for (const word of WORDS) {
    assert.is(valueProblem('member', word), undefined);
    assert.is(valueProblem('network', word), undefined);
    const networks = [{ id: word, vni: 7, subnet: '10.0.0.0/24' }];
    const made = plan({ local: '127.0.0.1', gossip: { name: word, networks }, segments: [], taps: [] });
    assert.is(made.gossip!.networks[0]!.id, word);
    assert.is(made.gossip!.name, word);
  }
  const names = plan({
    local: '127.0.0.1',
    segments: [{ vni: 7 }],
    taps: WORDS.slice(0, 3).map((name) => ({ name, vni: 7 })),
  }).taps.map(({ name }) => name);
  assert.equal(names, WORDS.slice(0, 3));
});

words('over the wire, members and networks have these names', async () => {
  const liar = await Liar.start({ members: WORDS, networks: WORDS });
  const database = new db.NetworkDb(
    { name: 'honest', random: Math.random },
    { sendPacket: () => undefined, sendReliable: () => undefined, contact: () => undefined },
  );
  database.start(0);
  const host = await GossipHost.open(
    { name: 'honest', address: '127.0.0.1', port: 0 },
    {
      nodeJoined: (member, now) => database.nodeJoined(member, now),
      mergeState: (state, now) => void database.mergeState(state, now),
    },
  );
  try {
    await host.join([{ address: '127.0.0.1', port: liar.port }]);
    for (const word of WORDS) assert.is(host.machine.member(word)?.name, word);
    database.tick(performance.now());
    assert.equal(database.known().sort(), [...WORDS].sort());
    for (const word of WORDS) {
      const now = performance.now();
      database.joinNetwork(word, now);
      for (const table of WORDS)
        for (const key of WORDS) {
          database.createEntry(word, table, key, Uint8Array.of(1), now);
          assert.is(database.entry(word, table, key)?.key, key);
        }
      assert.is(database.entries(word).length, WORDS.length ** 2);
      assert.equal(database.peers(word), ['honest', 'liar']);
    }
  } finally {
    host.close();
    liar.close();
  }
  assertUnpolluted();
});

words('in requests and counters they are keys like any other', () => {
  for (const word of WORDS) {
    assert.throws(() => parseRequest({ command: word }), /command: expected one of fdb/);
    assert.throws(
      () => parseRequest(JSON.parse(`{"command":"fdb",${JSON.stringify(word)}:{"polluted":1}}`)),
      isSchemaError,
    );
    const errors = JSON.parse(`{${JSON.stringify(word)}:2}`) as Record<string, number>;
    const losses = lossesOf({ sendErrors: errors, receiveErrors: errors, writeErrors: errors } as never);
    assert.is(losses['send-failed'], 2);
    assert.is(losses['tap-failed'], 2);
    assert.ok(Object.values(losses).every(Number.isInteger));
  }
  for (const request of [null, [], 7, 'fdb', { command: ['fdb'] }, { command: { toString: () => 'fdb' } }])
    assert.throws(() => parseRequest(request), isSchemaError);
  assertUnpolluted();
});

// ---- Names that another program could read as options ----

const dashes = suite('dashes');

dashes('no name that reaches a program may begin with one', () => {
  for (const name of ['-', '-x', '--all', '-n', '-batch', '-force']) {
    assert.match(valueProblem('device', name) ?? 'taken', /which "ip" would read as an option/);
    assert.match(valueProblem('netns', name) ?? 'taken', /expected the name of a network namespace/);
    const tap = { name, vni: 7 };
    assert.throws(() => plan({ local: '127.0.0.1', segments: [{ vni: 7 }], taps: [tap] }), isSchemaError);
    assert.throws(
      () => plan({ local: '127.0.0.1', segments: [{ vni: 7 }], taps: [{ name: 'e', netns: name, vni: 7 }] }),
      isSchemaError,
    );
    for (const kind of ['ip', 'host', 'bind'] as const) assert.ok(valueProblem(kind, name), `${kind} ${name}`);
  }
});

dashes('the program refuses them before it starts another one', async () => {
  const log = join(directory, 'started');
  const fake = join(directory, 'bin');
  mkdirSync(fake);
  for (const name of ['ip', 'nsenter', 'ping', 'systemd-notify']) {
    writeFileSync(join(fake, name), `#!/bin/sh\necho "$0 $*" >>${log}\nexit 1\n`);
    chmodSync(join(fake, name), 0o755);
  }
  const PATH = `${fake}:${process.env['PATH']}`;
  for (const args of [
    ['detach', '--', '-x'],
    ['detach', 'eth0', '--netns=-x'],
    ['up', '--vni', '7', '--local', '127.0.0.1', '--tap=-x'],
    ['up', '--vni', '7', '--local', '127.0.0.1', '--tap', 'e', '--netns=-all'],
    ['agent', '--local', '127.0.0.1', '--network', 'n:7:10.0.0.0/24', '--tap=-x'],
    ['agent', '--local=-4', '--network', 'n:7:10.0.0.0/24'],
    ['agent', '--join=-4', '--network', 'n:7:10.0.0.0/24'],
    ['gossip', 'watch', '--join=-4'],
  ]) {
    const { code, stderr } = await run(args, { PATH });
    assert.is(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.not.ok(existsSync(log), `${args.join(' ')} started ${readSafe(log)}`);
  }
});

dashes('the programs that start others are these', () => {
  const starters = readdirSync(join(REPOSITORY, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .filter((name) => /from 'node:child_process'/.test(readFileSync(join(REPOSITORY, 'src', name), 'utf8')))
    .sort();
  // Before you add one: check every argument that comes from outside, or put it behind "--".
  assert.equal(starters, [
    ...['cli/demo-hosts.ts', 'host/cluster/start-agent.ts', 'host/ip.ts', 'host/notify.ts'],
    ...['host/sandbox/run.ts', 'host/sandbox/workload.ts'],
  ]);
});

// ---- Sizes in captures ----

const captures = suite('captures');

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const u16 = (value: number): Buffer => Buffer.from([value & 255, value >> 8]);
const PCAP = Buffer.from(new PcapWriter({ linkType: 1 }).header());
const SECTION = Buffer.concat([u32(0x0a0d0d0a), u32(28), u32(0x1a2b3c4d), u16(1), u16(0), u32(-1), u32(-1), u32(28)]);
const INTERFACE = Buffer.concat([u32(1), u32(20), u16(1), u16(0), u32(0), u32(20)]);
const HUGE = [0, 1, 8, 11, 12, 13, 0x7fff_fffc, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_fffc, 0xffff_ffff];

/** Bytes of a stream after each hostile header. */
const STREAM = 32 << 20;
/** Most bytes that a reader may keep: one packet or the options of one block, doubled while it grows, and a chunk. */
const KEPT = 4 << 20;

function* hostile(): Generator<[what: string, bytes: Buffer]> {
  for (const size of HUGE) {
    yield [`pcap caplen ${size}`, Buffer.concat([PCAP, u32(0), u32(0), u32(size), u32(60)])];
    yield [`pcap len ${size}`, Buffer.concat([PCAP, u32(0), u32(0), u32(60), u32(size)])];
    yield [`section length ${size}`, Buffer.concat([SECTION.subarray(0, 4), u32(size), SECTION.subarray(8)])];
    for (const type of [1, 2, 3, 4, 5, 6, 0x0bad, 0x4000_0bad])
      yield [`block ${type} of length ${size}`, Buffer.concat([SECTION, INTERFACE, u32(type), u32(size)])];
    const packet = [u32(6), u32(0xffff_fffc), u32(0), u32(0), u32(0), u32(size), u32(size)];
    yield [`enhanced caplen ${size} in a huge block`, Buffer.concat([SECTION, INTERFACE, ...packet])];
    yield [
      `interface number ${size}`,
      Buffer.concat([SECTION, INTERFACE, u32(6), u32(92), u32(size), u32(0), u32(0), u32(60), u32(60)]),
    ];
    const options = [u32(1), u32(Math.max(24, size & ~3)), u16(1), u16(0), u32(0)];
    yield [`option beyond a block of ${size}`, Buffer.concat([SECTION, ...options, u16(2), u16(0xffff)])];
  }
  yield ['half a million interfaces', Buffer.concat([SECTION, ...Array.from({ length: 500_000 }, () => INTERFACE)])];
}

captures('whatever lengths a file claims, a reader keeps little, and ends or goes on', () => {
  const chunk = new Uint8Array(1 << 20);
  let count = 0;
  for (const fill of [0x00, 0xff])
    for (const [what, bytes] of hostile()) {
      if (fill === 0xff && what.startsWith('half')) continue;
      chunk.fill(fill);
      const reader = new CaptureReader();
      const before = process.memoryUsage().arrayBuffers;
      let most = 0;
      const spent = processorTime(() => {
        for (let at = 0; at < bytes.length; at += 65_536) reader.push(new Uint8Array(bytes.subarray(at, at + 65_536)));
        for (let sent = 0; sent < STREAM && reader.problem === null; sent += chunk.length) {
          reader.push(chunk);
          most = Math.max(most, process.memoryUsage().arrayBuffers - before);
          if (fill === 0x00 && sent > 8 << 20 && reader.count > 1000) break; // records of length 0 are packets
        }
        reader.finish();
      });
      assert.ok(most < KEPT + STREAM / 4, `${what}: ${most} bytes`);
      assert.ok(reader.interfaces.length <= 4096, `${what}: ${reader.interfaces.length} interfaces`);
      assert.ok(spent < 10_000, `${what}: ${spent} ms`);
      count++;
    }
  assert.ok(count > 150, `${count} files`);
});

captures('the program reads them in bounded memory, and says what is wrong', async () => {
  const path = join(directory, 'hostile.pcap');
  const files = [...hostile()].filter(([what]) => /4294967295|half/.test(what));
  for (const [what, bytes] of files) {
    writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(1 << 20)]));
    const { code, signal, stderr, peak, spent } = await run(['read', path, '--json', '-q']);
    assert.is(signal, null, what);
    assert.ok(code === 0 || code === 1, `${what}: ${code} ${stderr}`);
    assert.not.match(stderr, /internal error/);
    assert.ok(peak < 300_000, `${what}: ${peak} KiB`);
    assert.ok(spent < 15_000, `${what}: ${spent} ms`);
  }
});

// ---- Sizes of configurations, and files that are no files ----

const files = suite('files');
/** Milliseconds of processor time, and KiB, that a wrong configuration may take. */
const PATIENCE = 30_000;
const MEMORY = 800_000;

async function refused(path: string, expected: RegExp, commands: readonly string[] = ['up', 'agent']): Promise<void> {
  for (const command of commands) {
    const flags = ['--config', path, '--local', '127.0.0.1', '--dry-run'];
    // Coverage would multiply the work.
    const { code, signal, stderr, spent, peak } = await run([command, ...flags], { NODE_V8_COVERAGE: '' });
    assert.is(signal, null, `${path}: ${stderr}`);
    assert.is(code, 2, stderr);
    assert.match(stderr, expected);
    assert.not.match(stderr, /internal error/);
    assert.ok(stderr.length < 20_000, `${stderr.length} characters of error text`);
    assert.ok(spent < PATIENCE, `${path}: ${spent} ms`);
    assert.ok(peak < MEMORY, `${path}: ${peak} KiB`);
  }
}

files('a device without an end', () => refused('/dev/zero', /cannot be read: it has more than 16 MiB/));
files('a directory', () => refused(directory, /cannot be read: it is a directory/));
files('an empty file', () => refused('/dev/null', /expected a value, found the end of the file/));

files('a FIFO that nobody writes', async () => {
  const path = join(directory, 'fifo');
  await must(['mkfifo', path]);
  const { code, stderr } = await run(['up', '--config', path, '--dry-run']);
  assert.is(code, 2, stderr);
  assert.match(stderr, /cannot be read: nothing has been written to it yet/);
});

files('a FIFO with a writer, which is a shell’s <(command)', async () => {
  const config = JSON.stringify({ local: '127.0.0.1', segments: [{ vni: 7 }], taps: [{ name: 'e', vni: 7 }] });
  const [command, ...rest] = program.command;
  const child = spawn('bash', [
    '-c',
    `"${command}" ${rest.join(' ')} up --dry-run --config <(sleep 0.5; echo '${config}')`,
  ]);
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  await once(child, 'close');
  assert.is((JSON.parse(text) as { local: string }).local, '127.0.0.1');
});

files('more bytes, fields, items and depth than anybody configures', async () => {
  const path = join(directory, 'large.json');
  const size = (16 << 20) - 64;
  const depth = Math.floor(size / 2);
  let i = 0; // both commands read a file alike
  for (const [text, expected] of [
    ['x'.repeat(size + 100), /it has more than 16 MiB/],
    ['['.repeat(size), /nested too deeply/],
    ['{"a":'.repeat(Math.floor(size / 5)), /nested too deeply/],
    [`${'['.repeat(depth)}${']'.repeat(depth)}`, /nested too deeply/],
    [`{"control":"${'x'.repeat(size - 30)}"}`, /control: expected the path of a Unix socket/],
    [`{"control":"${'\\n'.repeat(size / 2 - 30)}"}`, /control: expected the path of a Unix socket/],
    [`{"${'x'.repeat(size - 30)}":1}`, /unknown field/],
    [`{"segments":[${'0,'.repeat(size / 2 - 30)}0]}`, /expected an object|expected a list/],
    [`{"segments":[${'{},'.repeat(size / 3 - 30)}{}]}`, /expected a VNI|expected a list/],
    [`{${Array.from({ length: 1_000_000 }, (_, i) => `"k${i}":0`).join(',')}}`, /unknown field/],
    [`{"port":${'9'.repeat(size - 30)}}`, /expected|"}"/],
    [`{"port":1e999}`, /port: expected a UDP port/],
    [`{"port":-1e999}`, /port: expected a UDP port/],
    [`{"port":0.${'0'.repeat(300)}1}`, /port: expected a UDP port/],
  ] as const) {
    writeFileSync(path, text);
    await refused(path, expected, [i++ % 2 === 0 ? 'up' : 'agent']);
  }
});

files('arguments as long as the system passes them', async () => {
  const long = 'x'.repeat(120_000);
  for (const args of [
    [long],
    [`--${long}`],
    ['up', `--${long}`],
    ['up', '--vni', '7', '--local', '127.0.0.1', '--tap', long],
    ['up', '--config', long],
    ['agent', '--local', '127.0.0.1', '--network', `${long}:7:10.0.0.0/24`, '--dry-run'],
    ['agent', '--local', '127.0.0.1', '--network', 'n:7:10.0.0.0/24', '--name', long, '--dry-run'],
    ['gossip', long],
    ['gossip', 'members', '--join', long],
    ['show', long],
    ['show', 'fdb', '--control', long],
    ['detach', long],
  ]) {
    const { code, signal, stderr, spent } = await run(args);
    assert.is(signal, null);
    assert.is(code, 2, `${args.join(' ').slice(0, 40)}: ${stderr.slice(0, 200)}`);
    assert.not.match(stderr, /internal error/);
    assert.ok(stderr.length < 3 * long.length, `${stderr.length} characters`);
    assert.ok(spent < 10_000, `${args.join(' ').slice(0, 40)}: ${spent} ms`);
  }
});

files('a long word has no similar one, and to find that out takes no time', () => {
  const words = ['local', 'port', 'segments'];
  const took = processorTime(() => assert.is(closest('x'.repeat(10_000_000), words), undefined));
  assert.is(closest('segmnets', words), 'segments');
  assert.ok(took < 1000, `${took} ms`);
});

files('a request with as many wrong fields as fit has a short answer', () => {
  const fields = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`f${i}`, 0]));
  let error = '';
  const took = processorTime(() => {
    try {
      parseRequest({ command: 'fdb', ...fields });
    } catch (thrown) {
      error = (thrown as Error).message;
    }
  });
  assert.ok(error.length < 10_000, `${error.length} characters`);
  assert.ok(took < 1000, `${took} ms`);
});

words.before(async () => void (program = await bundledProgram()));
words.run();
dashes.run();
captures.run();
files.after(() => {
  program.remove();
  rmSync(directory, { recursive: true });
});
files.run();

/**
 * Names and texts of other hosts, of a process that pretends to be a VTEP, of captures and of configurations: whatever
 * characters they have, no byte of any output makes a terminal act, and no line of any output begins with them.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { table } from '../../src/cli/table.js';
import { ENDPOINT_TABLE, endpointRecord, OVERLAY_PEER_TABLE, peerRecord } from '../../src/gossip/networkdb/index.js';
import { Memberlist } from '../../src/gossip/memberlist/index.js';
import { GossipHost, jsonLine, Logger, ServiceManager, textLine } from '../../src/host/index.js';
import { plan, SchemaError, valueProblem } from '../../src/schema/index.js';
import { isPrintable, printable } from '../../src/wire/index.js';
import { BAD, dirt, evilTexts, FORGED, GOOD } from '../support/control-characters.js';
import { runProgram } from '../support/fake-node.js';
import { Liar, type Lies } from '../support/liar.js';
import { bundledProgram, type Program } from '../support/program.js';
import { REPOSITORY } from '../support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-text-'));
const EVIL = evilTexts();
/** An escape sequence, most control characters, and a forged line: for sources with many commands, each a process. */
const WORST = `\u001b[2J\u001b[H${EVIL[0]!}`;
const NET = 'net1:4097:10.0.0.0/24';
let program: Program;

interface Ended {
  code: number | null;
  stdout: Buffer;
  stderr: Buffer;
}

interface Started {
  child: ChildProcess;
  stdout(): Buffer;
  stderr(): Buffer;
  ended: Promise<Ended>;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
  const [command, ...rest] = program.command;
  const child = spawn(command!, [...rest, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    cwd: directory,
  });
  const chunks: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (data: Buffer) => chunks[0].push(data));
  child.stderr.on('data', (data: Buffer) => chunks[1].push(data));
  const [stdout, stderr] = chunks.map((list) => (): Buffer => Buffer.concat(list)) as [() => Buffer, () => Buffer];
  const late = setTimeout(() => child.kill('SIGKILL'), 120_000);
  const ended = once(child, 'close').then(([code]) => {
    clearTimeout(late);
    return { code: code as number | null, stdout: stdout(), stderr: stderr() };
  });
  return { child, stdout, stderr, ended };
}

/** Commands that ran as processes. */
const ran = new Set<string>();

/**
 * Runs a command: the first one of its kind as a process, and others within this one, on the same code. A process takes a hundred
 * times as long to start as to print.
 */
async function run(...args: string[]): Promise<Ended> {
  if (!ran.has(args[0]!)) {
    ran.add(args[0]!);
    return start(args).ended;
  }
  const { code, stdout, stderr } = await runProgram(args);
  return { code, stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) };
}

function assertClean({ stdout, stderr }: Ended, what: string): void {
  assert.is(dirt(stdout), undefined, `standard output of ${what}`);
  assert.is(dirt(stderr), undefined, `standard error of ${what}`);
  assert.not.match(stderr.toString(), /internal error/, what);
}

async function until(check: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !check(); await new Promise((resolve) => setTimeout(resolve, 20)))
    if (Date.now() > end) throw new Error(`not within 60 s: ${what}`);
}

/** A port of 127.0.0.1 that is free for a moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

// ---- The function, and what is made of it ----

const text = suite('text');

text('every character is escaped in the form of JSON, and printable text stays', () => {
  for (const character of BAD) {
    const escaped = printable(`a${character}b`);
    assert.match(escaped, /^a(\\u[0-9a-f]{4}){1,2}b$/);
    assert.is(JSON.parse(`"${escaped}"`), `a${character}b`);
    assert.not.ok(isPrintable(character));
  }
  for (const good of GOOD) assert.is(printable(good), good);
});

text('the columns of a table are aligned after cells were escaped', () => {
  const [head, first, second] = table(
    ['NAME', 'STATE'],
    [
      ['a\nFORGED', 'alive'],
      ['b', 'dead\u001b[0m'],
    ],
  );
  assert.equal(
    [head, first, second],
    ['NAME           STATE', 'a\\u000aFORGED  alive', 'b              dead\\u001b[0m'],
  );
});

text('log lines of both formats are clean, and one line each', () => {
  for (const evil of EVIL) {
    const lines: string[] = [];
    const log = new Logger((record) => void lines.push(textLine(record), jsonLine(record)));
    log.warning('test', `member ${evil} is gone`, { name: evil, [evil]: 1 });
    for (const line of lines) assert.is(dirt(Buffer.from(line)), undefined);
    assert.ok(lines.every((line) => !line.includes('\n')));
    assert.is((JSON.parse(lines[1]!) as { name: string }).name, evil);
  }
});

text('a status for systemd is one assignment', async () => {
  const sent = join(directory, 'sent');
  const notify = join(directory, 'systemd-notify');
  writeFileSync(notify, `#!/bin/sh\nfor word in "$@"; do printf '%s\\n' "$word" >>${sent}; done\n`);
  chmodSync(notify, 0o755);
  const env = { NOTIFY_SOCKET: '/nowhere', PATH: `${directory}:${process.env['PATH']}` };
  const manager = (await ServiceManager.find(env, false))!;
  manager.ready(`a\nMAINPID=1\0\u0085READY=0\u2028x`);
  await until(() => readSafe(sent).includes('STATUS'), 'a notification');
  const lines = readSafe(sent).trimEnd().split('\n');
  assert.equal(lines, ['READY=1', 'STATUS=a MAINPID=1\\u0000\\u0085READY=0 x']);
});

function readSafe(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

text('an error that nobody caught is printed clean, with its stack', async () => {
  const module = join(REPOSITORY, 'src/cli/last-resort.ts');
  for (const evil of EVIL) {
    const source = `import { fail } from ${JSON.stringify(module)}; fail(new Error(${JSON.stringify(`${evil}\n${FORGED}`)}));`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
      cwd: REPOSITORY,
      env: { ...process.env, WEFT_DEBUG: '1' },
    });
    let output = '';
    child.stderr.on('data', (data: Buffer) => (output += data.toString('latin1')));
    await once(child, 'close');
    // A stack has lines of its own, which WEFT_DEBUG asks for.
    assert.is(dirt(Buffer.from(output.replaceAll(FORGED, ''), 'latin1')), undefined);
  }
});

// ---- Names that are refused ----

const names = suite('names');

names('the configuration refuses names with such a character, and says which and where', () => {
  for (const character of BAD.filter((one) => !/[\ud800-\udfff]/.test(one) || one.length > 1)) {
    const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
    for (const kind of ['member', 'network', 'device', 'netns'] as const) {
      const problem = valueProblem(kind, `ab${character}c`) ?? 'taken';
      assert.match(
        problem,
        new RegExp(`which has the (control|invisible) character U\\+${code} at position 3; a name`),
      );
      assert.is(dirt(Buffer.from(printable(problem))), undefined);
    }
  }
  for (const good of ['grün', '日本', 'a.b-c_d', '🦊'])
    for (const kind of ['member', 'network', 'device', 'netns'] as const)
      assert.is(valueProblem(kind, good), undefined, `${kind} ${good}`);
  for (const kind of ['member', 'network', 'device', 'netns'] as const)
    for (const bad of ['', 'a/b', 'a b']) assert.ok(valueProblem(kind, bad), `${kind} ${bad}`);
  assert.ok(valueProblem('member', 'x'.repeat(256)));
  assert.ok(valueProblem('network', 'x'.repeat(256)));
});

/** Names that could pass for a column, for the rest of a sentence, or for an address. */
const LOOKALIKES = ['10.1.1.1 (10.1.1.1): failed; see http://x', 'a  10.9.9.9  7946  alive', 'a b', 'a\u00a0b', 'a/b'];
const NAMES = GOOD.filter((good) => !/\s/.test(good));

names('a member cannot be created with such a name', async () => {
  const sink = {
    sendPacket: () => undefined,
    openStream: () => undefined,
    writeStream: () => undefined,
    closeStream: () => undefined,
  };
  for (const character of BAD)
    assert.throws(
      () => new Memberlist({ name: `a${character}`, address: '127.0.0.1', random: () => 0 }, sink, {}, 0),
      /must be printable, .* and this one has the (control|invisible) character U\+/,
    );
  for (const name of LOOKALIKES)
    assert.throws(
      () => new Memberlist({ name, address: '127.0.0.1', random: () => 0 }, sink, {}, 0),
      /and this one has (white space at position \d+|a slash)$/,
    );
});

names('members with such a name are refused and counted, others are taken, over the wire', async () => {
  // Lone surrogates stand for octets that are not UTF-8; two of these here stand for none, and become U+FFFD.
  const bad = BAD.filter((character) => !['\ud800', '\udfff'].includes(character));
  const sent = [...bad.map((character) => `m${character}m`), ...LOOKALIKES];
  const liar = await Liar.start({ members: [...sent, ...NAMES] });
  const refused: string[] = [];
  const host = await GossipHost.open(
    { name: 'honest', address: '127.0.0.1', port: 0, timing: { pushPullInterval: 0 } },
    { misnamed: (name) => void refused.push(name) },
  );
  try {
    await host.join([{ address: '127.0.0.1', port: liar.port }]);
    const known = host.machine.members().map(({ name }) => name);
    assert.equal(known.sort(), ['honest', 'liar', ...NAMES].sort());
    assert.is(host.machine.counters().misnamed, sent.length);
    assert.is(refused.length, sent.length);
    const before = host.machine.counters().misnamed;
    liar.alive(host.machine.self.port, 'evil\u001b[2J');
    await until(() => host.machine.counters().misnamed > before, 'a refused alive message');
    assert.is(host.machine.members().length, known.length);
  } finally {
    host.close();
    liar.close();
  }
});

// ---- Every command, fed by each source ----

const gossip = suite('gossip');

/** Everything that a lying member can say in networks that it is attached to. */
function lieTo(port: number, liar: Liar): void {
  for (const evil of EVIL) {
    liar.alive(port, evil);
    liar.attach(port, evil);
    liar.attach(port, 'net1', evil);
    for (const table of [OVERLAY_PEER_TABLE, ENDPOINT_TABLE, evil])
      liar.write(port, { network: 'net1', table, key: evil, value: new TextEncoder().encode(evil) });
  }
  for (const [i, evil] of EVIL.entries()) {
    const field = evil.slice(0, 200);
    const record = {
      name: field,
      serviceName: field,
      serviceId: field,
      virtualIp: field,
      endpointIp: field,
      aliases: [field],
    };
    liar.write(port, {
      network: 'net1',
      table: ENDPOINT_TABLE,
      key: `service${i}`,
      value: endpointRecord.encode(record),
    });
    const peer = { endpointIp: field, endpointMac: field, tunnelIp: field };
    liar.write(port, { network: 'net1', table: OVERLAY_PEER_TABLE, key: `peer${i}`, value: peerRecord.encode(peer) });
  }
  const last = { name: 'last', serviceName: '', serviceId: '', virtualIp: '', endpointIp: '10.0.0.7' };
  liar.write(port, { network: 'net1', table: ENDPOINT_TABLE, key: 'last', value: endpointRecord.encode(last) });
}

const LIES: Lies = { members: [...EVIL, 'good'], networks: [...EVIL, '', 'a/b', 'net1'] };

for (const json of [[], ['--json']])
  gossip(`watch ${json.join(' ')}`, async () => {
    const liar = await Liar.start(LIES);
    const watch = start(['gossip', 'watch', '--join', `127.0.0.1:${liar.port}`, '--bind', '127.0.0.1', ...json]);
    try {
      await until(() => liar.known.size > 0 && watch.stdout().includes('net1'), 'an observer in the network');
      const [port] = [...liar.known];
      for (let i = 0; i < 3; i++) lieTo(port!, liar);
      await until(() => watch.stdout().includes('10.0.0.7'), `the last entry: ${watch.stdout()} ${watch.stderr()}`);
      watch.child.kill('SIGTERM');
      const ended = await watch.ended;
      assertClean(ended, 'gossip watch');
      assert.match(ended.stdout.toString(), /good/);
      assert.match(ended.stdout.toString(), /\\u001b/, 'a field of a record is shown, escaped');
      if (json.length > 0) for (const line of ended.stdout.toString().trim().split('\n')) JSON.parse(line);
      assert.match(
        ended.stderr.toString(),
        /a member at 127\.0\.0\.1 is refused: it has the name .* which has the control/,
      );
      assert.is(ended.stderr.toString().trim().split('\n').length, 1, `one line a minute: ${ended.stderr.toString()}`);
    } finally {
      watch.child.kill('SIGKILL');
      liar.close();
    }
  });

for (const json of [[], ['--json']])
  gossip(`agent, show and members ${json.join(' ')}`, async () => {
    const liar = await Liar.start(LIES);
    const port = await freePort();
    const control = join(directory, 'agent.sock');
    const own = ['--endpoint', '10.0.0.9,02:42:0a:00:00:09,127.0.0.1', '--local', '127.0.0.1', '--port', '0'];
    own.splice(-1, 1, String(await freePort()));
    const join1 = ['--join', `127.0.0.1:${liar.port}`, '--bind', `127.0.0.1:${port}`];
    const flags = ['--network', NET, '--engine', 'dgram', '--control', control, '--log-level', 'debug'];
    const agent = start(['agent', ...own, ...join1, ...flags, ...json]);
    try {
      await until(() => /joined/.test(agent.stdout().toString()), 'joined');
      for (let i = 0; i < 3; i++) lieTo(port, liar);
      await new Promise((resolve) => setTimeout(resolve, 500));
      for (const view of ['members', 'networks', 'counters', 'fdb', 'neighbors', 'peers', 'remotes'])
        assertClean(await run('show', view, '--control', control, ...json), `show ${view}`);
      assertClean(await run('show', 'counters', '--control', control, '--prometheus'), 'show counters --prometheus');
      const members = await run('gossip', 'members', '--control', control, ...json);
      assertClean(members, 'gossip members --control');
      assert.match(members.stdout.toString(), /good/);
      const asked = await run('gossip', 'members', '--join', `127.0.0.1:${liar.port}`, ...json);
      assertClean(asked, 'gossip members --join');
      assert.match(asked.stdout.toString(), /\\u001b/, 'the answer of another member is shown as it is, escaped');
      const frame = 'ff'.repeat(6) + '02420a000009' + '0806' + '00'.repeat(28);
      const explained = await run('explain', '--control', control, '--port', 'x', '--frame', frame, ...json);
      assertClean(explained, 'explain');
      agent.child.kill('SIGTERM');
      const ended = await agent.ended;
      assert.is(ended.code, 0, ended.stderr.toString());
      assertClean(ended, 'agent');
    } finally {
      agent.child.kill('SIGKILL');
      liar.close();
    }
  });

gossip('error texts of another member', async () => {
  for (const error of [WORST, 'x'.repeat(100_000)]) {
    const liar = await Liar.start({ error });
    const asked = await run('gossip', 'members', '--join', `127.0.0.1:${liar.port}`);
    const watch = start(['gossip', 'watch', '--join', `127.0.0.1:${liar.port}`, '--bind', '127.0.0.1']);
    await until(() => watch.stderr().includes('no member answers'), 'a warning');
    watch.child.kill('SIGTERM');
    const watched = await watch.ended;
    liar.close();
    assertClean(asked, 'gossip members');
    assert.is(asked.code, 1);
    assert.ok(asked.stderr.length < 2000, `${asked.stderr.length} bytes`);
    assertClean(watched, 'gossip watch');
    assert.ok(watched.stderr.length < 5000, `${watched.stderr.length} bytes`);
  }
});

const control = suite('control socket');

/** Every string of a value replaced by an evil one, and every key of maps. */
function poisoned(value: unknown, evil: string): unknown {
  if (typeof value === 'string') return evil;
  if (Array.isArray(value)) return value.map((one) => poisoned(one, evil));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [key === 'EIO' ? evil : key, poisoned(one, evil)]),
  );
}

const COUNTERS = {
  vtep: { counts: {}, drops: {}, segments: [{ vni: 7, counts: {}, drops: {} }] },
  engine: {
    framesRead: 1,
    framesWritten: 2,
    datagramsReceived: 3,
    datagramsSent: 4,
    sendQueue: 5,
    writeErrors: { EIO: 1 },
    sendErrors: { EIO: 1 },
    receiveErrors: { EIO: 1 },
  },
  gossip: {
    members: { alive: 1, EIO: 2 },
    awareness: 0,
    entries: 0,
    queued: 0,
    conflicts: 0,
    conflictsSeen: 0,
    memberlist: { EIO: 1 },
    networkdb: { EIO: 1 },
  },
};

const party = { node: 'n', vtep: '1.2.3.4', since: 1 };
const SHAPES: Readonly<Record<string, unknown>> = {
  fdb: [
    { vni: 7, mac: 'm', port: 'p', vtep: null, static: false, age: 1 },
    { vni: 7, mac: 'm', port: null, vtep: 'v', static: true, age: 1 },
  ],
  neighbors: [
    { vni: 7, ip: 'i', mac: 'm', vtep: 'v', hidden: false, sources: ['s'] },
    {
      ...{ vni: 7, ip: 'i', mac: 'm', vtep: null, hidden: true, sources: ['s'] },
      by: { kind: 'ip', ip: 'i', mac: 'm', vtep: 'v' },
    },
  ],
  peers: [{ vni: 7, address: 'a', port: 4789, sources: ['s'] }],
  remotes: [{ address: 'a', port: 4789, mtu: null, undelivered: 1, reason: 'r' }],
  counters: COUNTERS,
  members: [{ name: 'n', address: 'a', port: 1, state: 'dead', incarnation: 1, since: 's', self: false }],
  networks: [
    {
      network: 'n',
      vni: 7,
      subnet: 's',
      attached: true,
      inSync: true,
      local: 1,
      remote: 1,
      members: ['m'],
      refused: 0,
      conflicts: [{ network: 'n', kind: 'ip', value: 'v', holds: 'h', holder: party, refused: party }],
    },
  ],
  keys: [{ fingerprint: 'f', bits: 256, primary: true }],
  explain: {
    steps: [{ stage: 's', text: 't' }],
    delivered: ['d'],
    transmitted: ['t'],
    dropped: 'd',
  },
  capture: [
    { time: '1700000000000000000', place: 'p', direction: 'in', length: 60, data: 'ff'.repeat(60) },
    {
      time: '1700000000000000000',
      place: 'underlay',
      direction: 'out',
      length: 20,
      data: '08'.repeat(20),
      source: { address: '10.0.0.1', port: 1 },
      destination: { address: '10.0.0.2', port: 4789 },
    },
  ],
};

const OK = 'HTTP/1.1 200 OK\r\n\r\n';
const refusal = (error: unknown): string => `HTTP/1.1 409 Conflict\r\n\r\n${JSON.stringify({ error })}\n`;

/** A process that answers like a VTEP, with texts of the test's choice. */
async function serve(path: string, answer: (command: string) => string): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (data) => {
      const [, word] = /^\w+ \/v1\/(\w+)/.exec(data.toString())!;
      socket.end(answer(word!));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

const frame = 'ffffffffffff02420a0000090806' + '00'.repeat(28);
const REQUESTS: readonly (readonly string[])[] = [
  ...['fdb', 'neighbors', 'peers', 'remotes', 'counters', 'members', 'networks'].flatMap((view) => [
    ['show', view],
    ['show', view, '--json'],
  ]),
  ['show', 'counters', '--prometheus'],
  ['explain', '--port', 'x', '--frame', frame],
  ['explain', '--port', 'x', '--frame', frame, '--json'],
  ['capture', '--count', '2'],
  ['capture', '--count', '2', '--json'],
  ['capture', '--count', '2', '--tree'],
  ['gossip', 'members'],
  ['gossip', 'members', '--json'],
  ['gossip', 'keys'],
  ['gossip', 'keys', '--json'],
];

/** Answers that no client can use, or that refuse: a client of each kind of result prints them, whatever it asked for. */
const REFUSALS: readonly ((evil: string) => string)[] = [
  (evil) => refusal({ code: 'conflict', message: `${evil}\n${FORGED}` }),
  (evil) => refusal({ code: 'conflict', message: 'x', fields: [{ path: evil, message: `${evil}\n${FORGED}` }] }),
  (evil) => refusal(evil),
  (evil) => `${OK}${evil}\n`,
  (evil) => `HTTP/1.1 200 ${evil}\r\n\r\n[]`,
  (evil) => `${evil}\n`,
];
/** A list, a value, a stream, and the other commands that print one. */
const REFUSED = ['show fdb', 'show counters', 'capture --count 2', 'explain --port x', 'gossip keys --json'];

for (const request of REQUESTS)
  control(request.slice(0, 5).join(' ').slice(0, 40), async () => {
    const path = join(directory, 'lies.sock');
    const shapes = (command: string): string => {
      const value = SHAPES[command];
      if (command !== 'capture') return `${OK}${JSON.stringify(poisoned(value, WORST))}\n`;
      // The numbers, addresses and bytes of a capture must be valid for it to be printed at all.
      const packets = (value as object[]).map((one) => ({ event: 'packet', ...one, place: WORST }));
      return `${OK}${[...packets, { event: 'end' }].map((one) => `${JSON.stringify(one)}\n`).join('')}`;
    };
    const isRefused = REFUSED.some((words) => request.slice(0, words.split(' ').length).join(' ') === words);
    const refusals = REFUSALS.map((answer) => () => answer(WORST));
    for (const answer of [shapes, ...(isRefused ? refusals : [])]) {
      const server = await serve(path, answer);
      const ended = await run(...request, '--control', path);
      server.close();
      await once(server, 'close');
      assertClean(ended, request.join(' '));
    }
  });

const captures = suite('captures');

/** A pcapng block. */
function block(type: number, body: Buffer): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
  const [head, tail] = [Buffer.alloc(8), Buffer.alloc(4)];
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(padded.length + 12, 4);
  tail.writeUInt32LE(padded.length + 12, 0);
  return Buffer.concat([head, padded, tail]);
}

function option(code: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

/** A file whose every text is evil: of the section, of the interface, the comments, and the payload. */
function evilCapture(evil: string): Buffer {
  const bytes = Buffer.from(evil);
  const header = Buffer.alloc(16, 0xff);
  header.writeUInt32LE(0x1a2b3c4d, 0);
  header.writeUInt16LE(1, 4);
  header.writeUInt16LE(0, 6);
  const section = block(
    0x0a0d0d0a,
    Buffer.concat([header, ...[1, 2, 3, 4].map((code) => option(code, bytes)), option(0, Buffer.alloc(0))]),
  );
  const link = Buffer.alloc(8);
  link.writeUInt16LE(1, 0);
  const device = block(
    1,
    Buffer.concat([link, ...[1, 2, 3].map((code) => option(code, bytes)), option(0, Buffer.alloc(0))]),
  );
  const packet = (data: Buffer): Buffer => {
    const head = Buffer.alloc(20);
    head.writeUInt32LE(data.length, 12);
    head.writeUInt32LE(data.length, 16);
    const padding = Buffer.alloc((4 - (data.length % 4)) % 4);
    return block(6, Buffer.concat([head, data, padding, option(1, bytes), option(0, Buffer.alloc(0))]));
  };
  const ethernet = (type: number, payload: Buffer): Buffer =>
    Buffer.concat([Buffer.from('02420a00000402420a000003', 'hex'), Buffer.from([type >> 8, type & 255]), payload]);
  const udp = (port: number, payload: Buffer): Buffer => {
    const ip = Buffer.from('450000000000000040110000c0a80101c0a80102', 'hex');
    ip.writeUInt16BE(28 + payload.length, 2);
    const head = Buffer.alloc(8);
    head.writeUInt16BE(port, 0);
    head.writeUInt16BE(port, 2);
    head.writeUInt16BE(8 + payload.length, 4);
    return Buffer.concat([ip, head, payload]);
  };
  return Buffer.concat([
    section,
    device,
    packet(bytes),
    packet(ethernet(0x9999, bytes)),
    packet(ethernet(0x0800, bytes)),
    packet(ethernet(0x0800, udp(53, bytes))),
    packet(
      ethernet(0x0800, udp(4789, Buffer.concat([Buffer.from('0800000000100100', 'hex'), ethernet(0x88cc, bytes)]))),
    ),
  ]);
}

for (const flags of [
  [],
  ['-v'],
  ['-x'],
  ['-vx'],
  ['--json'],
  ['--summary'],
  ['--json', '--summary'],
  ['-q'],
  ['-q', '--json'],
])
  captures(`read ${flags.join(' ')}`, async () => {
    const whole = Buffer.concat(EVIL.map(evilCapture)); // sections of one file
    const path = join(directory, 'evil.pcapng');
    for (const bytes of [whole, whole.subarray(0, whole.length - 5), Buffer.concat([whole, Buffer.from(EVIL[0]!)])]) {
      writeFileSync(path, bytes);
      assertClean(await run('read', path, ...flags), `read ${flags.join(' ')}`);
    }
  });

captures('file names', async () => {
  const evil = WORST.replaceAll('\0', '');
  assertClean(await run('read', evil), 'read of no file');
  writeFileSync(join(directory, 'a.pcap'), evil);
  const whole = join(directory, `${evil.slice(0, 40)}\n${FORGED}`);
  writeFileSync(whole, evilCapture(evil));
  assertClean(await run('read', whole, '-q'), 'read');
  assertClean(await run('read', whole, '--write', `${whole}.copy.pcapng`), 'read --write');
  writeFileSync(whole, evil);
  const damaged = await run('read', whole);
  assertClean(damaged, 'read of a damaged file');
  assert.is(damaged.code, 1);
});

const configuration = suite('configuration');

configuration('flags', async () => {
  const base = ['up', '--vni', '7', '--local', '127.0.0.1', '--tap', 'eth0', '--dry-run'];
  const agent = ['agent', '--local', '127.0.0.1', '--network', NET, '--dry-run'];
  const evil = WORST.replaceAll('\0', '');
  for (const flag of [
    'vni',
    'vlan',
    'peer',
    'endpoint',
    'proxy',
    'ageing',
    'tap-fd',
    'netns',
    'address',
    'mac',
    'mtu',
    'port',
    'engine',
    'workers',
    'control',
    'config',
    'log-level',
  ])
    assertClean(await run(...base, `--${flag}=${evil}`), `up --${flag}`);
  for (const flag of ['bind', 'advertise', 'join', 'key', 'name', 'network'])
    assertClean(await run(...agent, `--${flag}=${evil}`), `agent --${flag}`);
  const words = [...agent.slice(0, -1), '--port', '1', '--control', join(directory, 'k.sock'), `--key=${evil}`];
  const key = await start(words).ended;
  assertClean(key, 'agent --key');
  for (const args of [
    [evil],
    [`--${evil}`],
    ['help', evil],
    ['up', evil],
    ['up', `--${evil}`],
    ['show', evil],
    ['show', 'fdb', '--control', `/nowhere/${evil}`.slice(0, 60)],
    ['gossip', evil],
    ['gossip', 'install', evil, '--control', 'x'],
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--network', evil],
    ['gossip', 'members', '--join', evil],
    ['gossip', 'keygen', '-o', `/nowhere/${evil}`],
    ['completion', evil],
    ['detach', evil],
    ['detach', 'eth0', '--netns', evil],
    ['explain', '--control', 'x', '--port', 'x', '--frame', evil],
    ['capture', '--control', 'x', '--count', evil],
    ['capture', '--control', 'x', '--write', `/nowhere/${evil}`],
    ['read', '--count', evil, 'x'],
    ['demo', '--count', evil],
  ])
    assertClean(await run(...args), args.join(' ').slice(0, 40));
});

/** A valid configuration, whose every text is replaced by an evil one, and every name of a field, one at a time. */
const CONFIG = {
  local: '127.0.0.1',
  engine: 'dgram',
  control: '/tmp/vtep.sock',
  gossip: {
    name: 'n',
    bind: '127.0.0.1',
    advertise: '127.0.0.1',
    tunnel: '127.0.0.1',
    join: ['127.0.0.1'],
    keys: ['k'],
    networks: [{ id: 'net1', vni: 7, subnet: '10.0.0.0/24' }],
  },
  segments: [
    {
      vni: 7,
      proxy: 'off',
      mac: '02:00:00:00:00:01',
      peers: ['127.0.0.2'],
      endpoints: [{ ip: '10.0.0.1', mac: '02:00:00:00:00:02', vtep: '127.0.0.2' }],
    },
  ],
  taps: [{ name: 'eth0', netns: 'c1', address: '10.0.0.3/24', mac: '02:00:00:00:00:03', vlans: { 10: 7 } }],
};

/** Each value that has one text, or one name of a field, replaced. */
function* variants(value: unknown, evil: string): Generator<unknown> {
  if (typeof value === 'string') yield evil;
  else if (Array.isArray(value))
    for (const [i, one] of value.entries())
      for (const other of variants(one, evil)) yield Object.assign([...value], { [i]: other });
  else if (typeof value === 'object' && value !== null)
    for (const [key, one] of Object.entries(value)) {
      for (const other of variants(one, evil)) yield { ...value, [key]: other };
      yield { ...value, [evil]: one };
    }
}

configuration('every text and every field name of a file', async () => {
  const path = join(directory, 'evil.json');
  let count = 0;
  for (const evil of EVIL)
    for (const config of variants(CONFIG, evil)) {
      count++;
      try {
        plan(config);
      } catch (error) {
        if (!(error instanceof SchemaError)) throw error;
        for (const line of error.lines) assert.is(dirt(Buffer.from(printable(line))), undefined);
      }
    }
  assert.ok(count > 200, `${count} configurations`);
  for (const [i, config] of [...variants(CONFIG, WORST)].entries()) {
    writeFileSync(path, JSON.stringify(config));
    const command = i % 2 === 0 ? 'agent' : 'up'; // which read a file alike
    assertClean(await run(command, '--config', path, '--dry-run'), JSON.stringify(config).slice(0, 80));
  }
  writeFileSync(path, `{"local": ${WORST}`);
  assertClean(await run('up', '--config', path, '--dry-run'), 'a file that is not JSON');
  writeFileSync(path, `"${WORST}" "${WORST}"`);
  assertClean(await run('up', '--config', path, '--dry-run', '--json'), 'a file that is not JSON');
});

configuration('names of fields that JavaScript gives a meaning are unknown fields', () => {
  for (const word of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'prototype']) {
    const named = JSON.parse(
      `{"local":"127.0.0.1","segments":[],"taps":[],${JSON.stringify(word)}:{"port":1}}`,
    ) as object;
    assert.throws(() => plan(named), new RegExp(`${word}: unknown field`));
  }
  assert.is(({} as { port?: number }).port, undefined);
});

text.run();
names.run();
gossip.before(async () => void (program ??= await bundledProgram()));
gossip.run();
control.run();
captures.run();
configuration.after(() => {
  program.remove();
  rmSync(directory, { recursive: true });
});
configuration.run();

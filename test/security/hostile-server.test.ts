/** Hostile programs behind a control socket or at a gossip port: what the clients `vtep show` and others make of them. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encodePushPull, STATE } from '../../src/gossip/memberlist/index.js';
import { networkEntry, pushPullOf } from '../../src/gossip/networkdb/index.js';
import { serveControl } from '../../src/host/control.js';
import { VTEP, waitFor } from '../support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-hostile-'));
const path = join(directory, 'control.sock');
const cleanups: (() => unknown)[] = [];
test.after.each(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});
test.after(() => rmSync(directory, { recursive: true }));

/** Listens, and answers each request with `answer`. */
async function hostile(answer: (socket: Socket) => void, where: string | { port: number } = path): Promise<Server> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket.on('error', () => undefined));
    socket.once('data', () => answer(socket));
  });
  await new Promise<void>((done) =>
    typeof where === 'string' ? server.listen(where, done) : server.listen(where.port, '127.0.0.1', done),
  );
  cleanups.push(() => {
    sockets.forEach((socket) => socket.destroy());
    return new Promise((done) => server.close(done));
  });
  return server;
}

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
  milliseconds: number;
  /** The most memory that it took, in MiB. */
  memory: number;
}

/** Runs `vtep` to its end. */
function vtep(...args: string[]): Promise<Ended> {
  const began = performance.now();
  const child = spawn(VTEP[0]!, [...VTEP.slice(1), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = { stdout: '', stderr: '', memory: 0 };
  child.stdout.on('data', (data: Buffer) => (ended.stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (ended.stderr += data.toString()));
  const watch = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      ended.memory = Math.max(ended.memory, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) >> 10);
    } catch {
      // it has ended
    }
  }, 20);
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  return new Promise((resolve) =>
    child.on('close', (code) => {
      clearInterval(watch);
      clearTimeout(timer);
      resolve({ ...ended, code, milliseconds: performance.now() - began });
    }),
  );
}

const show = (...args: string[]): Promise<Ended> => vtep('show', ...args, '--control', path, '--timeout', '1');

/** Exit code 1, and one line. */
function failed(ended: Ended, command: string, expected: RegExp): void {
  assert.is(ended.code, 1, `${ended.stderr} ${ended.stdout.slice(0, 200)}`);
  assert.is(ended.stdout, '');
  const lines = ended.stderr.trimEnd().split('\n');
  assert.is(lines.length, 1, ended.stderr);
  assert.match(lines[0]!, new RegExp(`^vtep ${command}: `));
  assert.match(lines[0]!, expected);
  assert.ok(lines[0]!.length < 1200, `${lines[0]!.length} characters`);
}

const line = (result: unknown, more: object = {}): string => `${JSON.stringify({ ok: true, ...more, result })}\n`;
const member = { name: 'a', address: '10.0.0.1', port: 1, state: 'alive', incarnation: 1, since: 'x', self: true };
const captured = { time: '1', place: 'eth0', direction: 'in', length: 14, data: 'ff' };
const network = { network: 'n', vni: 1, subnet: 's', attached: true, inSync: true, local: 0, remote: 0, refused: 0 };
const conflict = { network: 'n', kind: 'ip', value: 'v', holds: 'h', refused: { node: 'a', since: 0 } };

for (const [name, command, answer, expected] of [
  ['no JSON', ['show', 'fdb'], 'hello\n', /not a VTEP: it answered "hello"$/],
  ['a number', ['show', 'fdb'], '5\n', /not a VTEP: it answered "5"$/],
  ['null', ['show', 'fdb'], 'null\n', /not a VTEP: it answered "null"$/],
  [
    'an error of several lines',
    ['show', 'fdb'],
    '{"ok":false,"error":"a\\nvtep show: b\\n\\nc"}\n',
    /a; vtep show: b; c$/,
  ],
  ['an error that is no text', ['show', 'fdb'], '{"ok":false,"error":{}}\n', /not a VTEP/],
  ['a long error', ['show', 'fdb'], `{"ok":false,"error":"${'x'.repeat(1 << 20)}"}\n`, /x{1000}\.\.\.$/],
  ['nothing', ['show', 'fdb'], '{"ok":true}\n', /answer to "fdb" is wrong: expected a list$/],
  ['an object for a list', ['show', 'fdb'], line({ length: 1e9 }), /wrong: expected a list$/],
  ['parts that are no list', ['show', 'fdb'], line('x', { more: true }), /not a VTEP/],
  ['null in a list', ['show', 'members'], line([member, null]), /wrong: \[1\]: expected an object, got null$/],
  ['a missing field', ['show', 'members'], line([{ ...member, state: undefined }]), /\[0\]\.state: /],
  ['a wrong type', ['gossip', 'members'], line([{ ...member, name: { toString: 1 } }]), /\[0\]\.name: expected a text/],
  ['a cell of a megabyte', ['show', 'members'], line([{ ...member, name: 'x'.repeat(1 << 20) }]), /\[0\]\.name: /],
  ['no counters', ['show', 'counters'], line({}), /wrong: vtep: /],
  ['a key __proto__', ['show', 'counters'], '{"ok":true,"result":{"__proto__":{"vtep":1}}}\n', /wrong: vtep: /],
  ['a key __proto__ in a reply', ['show', 'fdb'], '{"__proto__":{"ok":true,"result":[]}}\n', /not a VTEP/],
  [
    'conflicts',
    ['show', 'networks'],
    line([{ ...network, members: [], conflicts: [conflict] }]),
    /conflicts\[0\]\.holder/,
  ],
  [
    'a date that is none',
    ['show', 'networks'],
    line([{ ...network, members: [], conflicts: [{ ...conflict, holder: { node: 'a', since: 1e300 } }] }]),
    /holder\.since: /,
  ],
  ['keys', ['gossip', 'keys'], line([5]), /\[0\]: /],
  [
    'steps',
    ['explain', '--port', 'x', '--frame', 'ff'],
    line({ steps: 5, delivered: [], transmitted: [], dropped: null }),
    /wrong: steps: /,
  ],
  ['a packet without a time', ['capture'], line([{ ...captured, time: 'x' }]), /\[0\]\.time: /],
  ['a packet with odd data', ['capture', '--tree'], line([{ ...captured, data: 'f' }]), /\[0\]\.data: /],
  [
    'a packet with a wrong address',
    ['capture'],
    line([{ ...captured, source: { address: '1.2.3', port: 1 }, destination: { address: '::1', port: 1 } }]),
    /\[0\]\.source\.address: /,
  ],
  ['more packets than asked for', ['capture', '--count', '1'], line([captured, captured]), /more than the 1 packets/],
  [
    '100,000 levels',
    ['show', 'fdb', '--json'],
    `{"ok":true,"result":${'['.repeat(1e5)}${']'.repeat(1e5)}}\n`,
    /not a VTEP/,
  ],
  [
    'levels in an unknown field',
    ['show', 'members', '--json'],
    `{"ok":true,"result":[${JSON.stringify(member).slice(0, -1)},"x":${'{"a":'.repeat(5e4)}1${'}'.repeat(5e4)}}]}\n`,
    /not a VTEP/,
  ],
] as const)
  test(`an answer with ${name} is one line of error`, async () => {
    await hostile((socket) => void socket.end(answer));
    const timeout = command[0] === 'gossip' ? [] : ['--timeout', '2'];
    failed(await vtep(...command, '--control', path, ...timeout), command[0], expected);
  });

/** Writes a text again and again, as fast as the client reads. */
function repeat(socket: Socket, text: string): void {
  while (socket.writable && socket.write(text));
  socket.once('drain', () => repeat(socket, text));
}

test('a line without an end is not read beyond 16 MiB', async () => {
  const chunk = 'x'.repeat(1 << 20);
  await hostile((socket) => repeat(socket, chunk));
  const ended = await vtep('show', 'fdb', '--control', path);
  failed(ended, 'show', /a line of its reply is longer than 16 MiB$/);
  assert.ok(ended.memory < 400, `${ended.memory} MiB`);
});

test('a list without an end is not collected beyond 128 MiB', async () => {
  const entry = { vni: 1, mac: 'x'.repeat(900), static: true, age: 0, port: null, vtep: null };
  const page = line(
    Array.from({ length: 1000 }, () => entry),
    { more: true },
  );
  await hostile((socket) => repeat(socket, page));
  const ended = await vtep('show', 'fdb', '--control', path);
  failed(ended, 'show', /a result of its reply is longer than 128 MiB$/);
  assert.ok(ended.memory < 900, `${ended.memory} MiB`);
});

/** A page of the shortest entries, and one entry with cells of the greatest length. */
const remote = { address: 'a', port: 0, mtu: null, undelivered: 0, reason: '' };
const wide = line([{ ...remote, address: 'x'.repeat(1024), reason: 'y'.repeat(1024) }]);
const short = (count: number): string =>
  `{"ok":true,"more":true,"result":[${Array(count).fill(JSON.stringify(remote)).join(',')}]}\n`;
const PER_PAGE = 240_000;

/** Sends a page some times, no faster than it is read, and then the end. */
function sendPages(page: string, times: number, end: string): (socket: Socket) => void {
  return (socket) => {
    const next = (left: number): void => {
      if (left === 0) socket.end(end);
      else if (socket.write(page)) next(left - 1);
      else socket.once('drain', () => next(left - 1));
    };
    next(times);
  };
}

test('a list of more than a million entries is refused', async () => {
  await hostile(sendPages(short(PER_PAGE), 5, wide));
  const ended = await vtep('show', 'remotes', '--control', path);
  failed(ended, 'show', /a result of its reply is longer than 1048576 entries$/);
  assert.ok(ended.memory < 900, `${ended.memory} MiB`);
});

for (const [flags, most] of [
  [[], 120e6],
  [['--json'], 150e6],
] as const)
  test(`one wide cell does not widen ${2 * PER_PAGE} lines${flags.join()}`, async () => {
    await hostile(sendPages(short(PER_PAGE), 2, wide));
    const ended = await vtep('show', 'remotes', ...flags, '--control', path);
    assert.is(ended.code, 0, ended.stderr);
    assert.ok(ended.stdout.length < most, `${ended.stdout.length} characters`);
    if (flags.length === 0) assert.is(ended.stdout.indexOf('\n', 100) - ended.stdout.indexOf('\n') - 1, 91);
    else assert.is((JSON.parse(ended.stdout) as unknown[]).length, 2 * PER_PAGE + 1);
    assert.ok(ended.memory < 900, `${ended.memory} MiB`);
  });

const entryWith = (count: number, value: string): string =>
  `{"ok":true,"more":true,"result":[${JSON.stringify(member).slice(0, -1)},"x":${'['.repeat(10)}${Array(count).fill(value).join(',')}${']'.repeat(10)}}]}\n`;

test('small values in unknown fields are bounded', async () => {
  await hostile(sendPages(entryWith(1_300_000, '{}'), 8, line([])));
  const ended = await vtep('show', 'members', '--control', path);
  failed(ended, 'show', /a result of its reply is longer than 8388608 values$/);
  assert.ok(ended.memory < 1200, `${ended.memory} MiB`);
});

test('an entry that indentation would make 17 times as long is printed without it', async () => {
  await hostile(sendPages(entryWith(7_000_000, '0'), 1, line([])));
  const ended = await vtep('show', 'members', '--json', '--control', path);
  assert.is(ended.code, 0, ended.stderr);
  assert.ok(ended.stdout.length < 16e6, `${ended.stdout.length} characters`);
  assert.ok(ended.memory < 900, `${ended.memory} MiB`);
});

test('counters of more names than there can be are refused', async () => {
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`E${i}`, 1]));
  await hostile((socket) => void socket.end(line({ vtep: { counts: {}, drops: many, segments: [] }, engine: {} })));
  failed(await show('counters'), 'show', /its answer to "counters" is wrong: vtep/);
});

for (const [name, text, every, limit] of [
  ['an octet at a time', 'x', 100, 1000],
  ['empty parts', line([], { more: true }), 300, 6000],
] as const)
  test(`a server that sends ${name} does not hold a client`, async () => {
    await hostile((socket) => {
      const timer = setInterval(() => socket.write(text), every);
      cleanups.push(() => clearInterval(timer));
    });
    const ended = await show('fdb');
    failed(ended, 'show', /did not answer within/);
    assert.ok(ended.milliseconds < limit + 4000, `${ended.milliseconds} ms`);
  });

test('a capture ends in time, although the server goes on', async () => {
  await hostile((socket) => {
    const timer = setInterval(() => socket.write(line([], { more: true, dropped: 0 })), 200);
    cleanups.push(() => clearInterval(timer));
  });
  const ended = await vtep('capture', '--seconds', '1', '--control', path, '--timeout', '1');
  failed(ended, 'capture', /did not answer within/);
  assert.ok(ended.milliseconds < 7000 + 4000, `${ended.milliseconds} ms`);
});

test('a member that answers an octet at a time does not hold a query', async () => {
  const server = await hostile(
    (socket) => {
      const timer = setInterval(() => socket.write(Uint8Array.of(6)), 200);
      cleanups.push(() => clearInterval(timer));
    },
    { port: 0 },
  );
  const { port } = server.address() as { port: number };
  const ended = await vtep('gossip', 'members', '--join', `127.0.0.1:${port}`);
  assert.is(ended.code, 1);
  assert.ok(ended.milliseconds < 5000 + 4000, `${ended.milliseconds} ms`);
});

test('a member with the most members and networks that an answer may have does not hold a query', async () => {
  const vsn = Uint8Array.of(1, 5, 2, 0, 0, 0);
  const nodes = Array.from({ length: 16_384 }, (_, i) => ({
    name: `m${i}`,
    addr: '10.0.0.1',
    port: 1,
    meta: new Uint8Array(0),
    incarnation: 1,
    state: STATE.alive,
    vsn,
  }));
  const entries = Array.from({ length: 200_000 }, (_, i) =>
    networkEntry.encode({ network: `n${i}`, time: 1, node: `m${i % 16_384}`, leaving: false }),
  );
  const answer = encodePushPull({ type: 'pushPull', join: false, nodes, userState: pushPullOf(1, entries, 'm0') });
  const server = await hostile((socket) => void socket.end(answer), { port: 0 });
  const { port } = server.address() as { port: number };
  const ended = await vtep('gossip', 'members', '--join', `127.0.0.1:${port}`);
  assert.is(ended.code, 0, ended.stderr);
  assert.is(ended.stdout.split('\n').length, 16_384 + 2);
  assert.ok(ended.milliseconds < 10_000, `${ended.milliseconds} ms`);
});

test('honest answers with fields and counters of another version are shown', async () => {
  await hostile((socket) => void socket.end(line([{ ...member, later: [1] }])));
  const ended = await show('members');
  assert.is(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, /^a +10\.0\.0\.1 +1 +alive, this one +1$/m);
});

test('a client that reads nothing does not hold a connection of the control socket', async () => {
  const control = await serveControl(path, async () => 'x'.repeat(100_000), { stall: 500 });
  cleanups.push(() => control.close());
  const socket = connect({ path, allowHalfOpen: true }).pause();
  cleanups.push(() => socket.destroy());
  let open = true;
  socket.on('close', () => (open = false)).on('error', () => undefined);
  // Its end comes while the last reply is in the buffer.
  for (let i = 0; i < 3; i++) socket.write('{"command":"counters"}\n');
  socket.end();
  await sleep(1500);
  socket.resume();
  await waitFor('the end of the connection', () => !open, 2000);
});

test.run();

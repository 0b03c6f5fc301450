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
import { get } from '../support/unix-http.js';

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

/** Milliseconds that a busy machine may add to a limit. A client that is held does not end in them. */
const SLACK = 30_000;

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
  const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
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

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';
/** A response with a body, which the end of the connection ends. */
const raw = (body: string, status = '200 OK'): string => `HTTP/1.1 ${status}\r\n\r\n${body}`;
const json = (result: unknown): string => raw(JSON.stringify(result));
const failure = (error: unknown, status = '409 Conflict'): string => raw(JSON.stringify({ error }), status);
/** A stream of events with its end. */
const events = (...list: object[]): string =>
  raw([...list, { event: 'end' }].map((event) => `${JSON.stringify(event)}\n`).join(''));
const member = { name: 'a', address: '10.0.0.1', port: 1, state: 'alive', incarnation: 1, since: 'x', self: true };
const captured = { event: 'packet', time: '1', place: 'eth0', direction: 'in', length: 14, data: 'ff' };
const network = { network: 'n', vni: 1, subnet: 's', attached: true, inSync: true, local: 0, remote: 0, refused: 0 };
const conflict = { network: 'n', kind: 'ip', value: 'v', holds: 'h', refused: { node: 'a', since: 0 } };

for (const [name, command, answer, expected] of [
  ['no HTTP', ['show', 'fdb'], 'hello\n', /not a VTEP of this version: it answered "hello"$/],
  ['the old protocol', ['show', 'fdb'], '{"ok":true,"result":[]}\n', /not a VTEP of this version: it answered "\{"ok/],
  ['no JSON', ['show', 'fdb'], raw('hello'), /not a VTEP of this version: it answered "hello"$/],
  ['a number', ['show', 'fdb'], raw('5'), /not a VTEP of this version: it answered "5"$/],
  ['null', ['show', 'fdb'], raw('null'), /not a VTEP of this version: it answered "null"$/],
  ['nothing', ['show', 'fdb'], raw(''), /not a VTEP of this version: it answered ""$/],
  ['no value', ['show', 'counters'], raw(''), /not a VTEP of this version: it answered ""$/],
  ['two lists', ['show', 'fdb'], raw('[] []'), /not a VTEP/],
  ['a list with two commas', ['show', 'members'], raw(`[${JSON.stringify(member)},,]`), /not a VTEP/],
  ['a list of a comma', ['show', 'fdb'], raw('[,]'), /not a VTEP/],
  ['a list that a brace ends', ['show', 'fdb'], raw('[}'), /not a VTEP/],
  ['a list without its end', ['show', 'members'], raw(`[${JSON.stringify(member)}`), /not a VTEP/],
  [
    'another page',
    ['show', 'fdb'],
    raw('<html>', '404 Not Found'),
    /not a VTEP of this version: it answered "<html>"$/,
  ],
  ['a redirection', ['show', 'fdb'], raw('', '302 Found\r\nLocation: http://evil.example/'), /not a VTEP/],
  ['another protocol', ['show', 'fdb'], 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', /VTEP/],
  ['two lengths', ['show', 'fdb'], `${HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]`, /not a VTEP/],
  [
    'a length and chunks',
    ['show', 'fdb'],
    `${HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]`,
    /not a VTEP/,
  ],
  ['a wrong chunk', ['show', 'fdb'], `${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n[]`, /not a VTEP/],
  ['a long header', ['show', 'fdb'], `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(1 << 20)}\r\n\r\n[]`, /not a VTEP/],
  ['a million headers', ['show', 'fdb'], `HTTP/1.1 200 OK\r\n${'a: bcd\r\n'.repeat(1e6)}\r\n[]`, /not a VTEP/],
  ['a long status', ['show', 'fdb'], `HTTP/1.1 200 ${'x'.repeat(1 << 20)}\r\n\r\n[]`, /not a VTEP/],
  [
    'an error of several lines',
    ['show', 'fdb'],
    failure({ code: 'conflict', message: 'a\nvtep show: b\n\nc' }),
    /a; vtep show: b; c$/,
  ],
  ['an error that is no text', ['show', 'fdb'], failure({ code: 'conflict', message: {} }), /not a VTEP/],
  ['an error without a code', ['show', 'fdb'], failure({ message: 'no' }), /not a VTEP/],
  ['an error of another code', ['show', 'fdb'], failure({ code: 'of-later', message: 'no' }, '418 I'), /show: no$/],
  ['a code that is a method', ['show', 'fdb'], failure({ code: 'constructor', message: 'no' }), /show: no$/],
  ['a long error', ['show', 'fdb'], failure({ code: 'conflict', message: 'x'.repeat(1 << 20) }), /x{1000}\.\.\.$/],
  [
    'a long field',
    ['show', 'fdb'],
    failure({
      code: 'invalid-request',
      message: 'x',
      fields: [{ path: 'p\n'.repeat(1e5), message: 'y\n'.repeat(1e5) }],
    }),
    /: p; p.*\.\.\.: y; y.*\.\.\.$/,
  ],
  ['fields that are none', ['show', 'fdb'], failure({ code: 'conflict', message: 'x', fields: [5] }), /not a VTEP/],
  ['an object for a list', ['show', 'fdb'], json({ length: 1e9 }), /not a VTEP of this version: it answered/],
  ['null in a list', ['show', 'members'], json([member, null]), /wrong: \[1\]: expected an object, got null$/],
  ['a missing field', ['show', 'members'], json([{ ...member, state: undefined }]), /\[0\]\.state: /],
  ['a wrong type', ['gossip', 'members'], json([{ ...member, name: { toString: 1 } }]), /\[0\]\.name: expected a text/],
  ['a cell of a megabyte', ['show', 'members'], json([{ ...member, name: 'x'.repeat(1 << 20) }]), /\[0\]\.name: /],
  ['no counters', ['show', 'counters'], json({}), /wrong: vtep: /],
  ['a list for a value', ['show', 'counters'], json([]), /wrong: expected an object/],
  ['a key __proto__', ['show', 'counters'], raw('{"__proto__":{"vtep":1}}'), /wrong: vtep: /],
  ['a key __proto__ in an error', ['show', 'fdb'], raw('{"__proto__":{"error":{}}}', '400 Bad'), /not a VTEP/],
  [
    'conflicts',
    ['show', 'networks'],
    json([{ ...network, members: [], conflicts: [conflict] }]),
    /conflicts\[0\]\.holder/,
  ],
  [
    'a date that is none',
    ['show', 'networks'],
    json([{ ...network, members: [], conflicts: [{ ...conflict, holder: { node: 'a', since: 1e300 } }] }]),
    /holder\.since: /,
  ],
  ['keys', ['gossip', 'keys'], json([5]), /\[0\]: /],
  [
    'steps',
    ['explain', '--port', 'x', '--frame', 'ff'],
    json({ steps: 5, delivered: [], transmitted: [], dropped: null }),
    /wrong: steps: /,
  ],
  ['a packet without a time', ['capture'], events({ ...captured, time: 'x' }), /\[0\]\.time: /],
  ['a packet with odd data', ['capture', '--tree'], events({ ...captured, data: 'f' }), /\[0\]\.data: /],
  ['a packet with a line feed', ['capture'], events(captured).replace('eth0', 'eth\n0'), /not a VTEP/],
  [
    'a packet with a wrong address',
    ['capture'],
    events({ ...captured, source: { address: '1.2.3', port: 1 }, destination: { address: '::1', port: 1 } }),
    /\[0\]\.source\.address: /,
  ],
  ['an event that is none', ['capture'], events([5]), /not a VTEP|\[0\]/],
  ['events without an end', ['capture'], raw('{"event":"status"}\n'), /closed the connection before the end/],
  ['events behind the end', ['capture'], events({ event: 'end' }), /not a VTEP/],
  [
    'an error in a stream',
    ['capture'],
    events({ event: 'error', error: { code: 'internal', message: 'a\nb' } }),
    /capture: a; b$/,
  ],
  ['more packets than asked for', ['capture', '--count', '1'], events(captured, captured), /more than the 1 packets/],
  ['100,000 levels', ['show', 'fdb', '--json'], raw(`${'['.repeat(1e5)}${']'.repeat(1e5)}`), /not a VTEP/],
  [
    'levels in an unknown field',
    ['show', 'members', '--json'],
    raw(`[${JSON.stringify(member).slice(0, -1)},"x":${'{"a":'.repeat(5e4)}1${'}'.repeat(5e4)}}]`),
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

test('an entry without an end is not read beyond 16 MiB', async () => {
  const chunk = `"${'x'.repeat(1 << 20)}`.slice(0, 1 << 20);
  for (const [command, begin] of [
    [['show', 'fdb'], raw('[')],
    [['show', 'counters'], raw('')],
    [['capture'], raw('')],
  ] as const) {
    await hostile((socket) => {
      socket.write(`${begin}"`);
      repeat(socket, chunk.slice(1));
    });
    const ended = await vtep(...command, '--control', path);
    failed(ended, command[0], /an entry of its reply is longer than 16 MiB$/);
    assert.ok(ended.memory < 400, `${ended.memory} MiB`);
    for (const cleanup of cleanups.splice(0)) await cleanup();
  }
});

test('a list without an end is not collected beyond 128 MiB', async () => {
  const entry = { vni: 1, mac: 'x'.repeat(900), static: true, age: 0, port: null, vtep: null };
  const page = `${JSON.stringify(entry)},`.repeat(1000);
  await hostile((socket) => {
    socket.write(raw('['));
    repeat(socket, page);
  });
  const ended = await vtep('show', 'fdb', '--control', path);
  failed(ended, 'show', /a result of its reply is longer than 128 MiB$/);
  assert.ok(ended.memory < 900, `${ended.memory} MiB`);
});

/** A page of the shortest entries, and one entry with cells of the greatest length. */
const remote = { address: 'a', port: 0, mtu: null, undelivered: 0, reason: '' };
const wide = `${JSON.stringify({ ...remote, address: 'x'.repeat(1024), reason: 'y'.repeat(1024) })}]`;
const short = (count: number): string => `${JSON.stringify(remote)},`.repeat(count);
const PER_PAGE = 240_000;

/** Sends a part of a list some times, no faster than it is read, and then the end. */
function sendPages(page: string, times: number, end: string): (socket: Socket) => void {
  return (socket) => {
    const next = (left: number): void => {
      if (left === 0) socket.end(end);
      else if (socket.write(page)) next(left - 1);
      else socket.once('drain', () => next(left - 1));
    };
    socket.write(raw('['));
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
    if (flags.length === 0) assert.is(ended.stdout.slice(0, 1000).split('\n')[1]!.length, 178);
    else assert.is((JSON.parse(ended.stdout) as unknown[]).length, 2 * PER_PAGE + 1);
    assert.ok(ended.memory < 900, `${ended.memory} MiB`);
  });

const entryWith = (count: number, value: string): string =>
  `${JSON.stringify(member).slice(0, -1)},"x":${'['.repeat(10)}${Array(count).fill(value).join(',')}${']'.repeat(10)}},`;
const LAST = `${JSON.stringify(member)}]`;

test('small values in unknown fields are bounded', async () => {
  await hostile(sendPages(entryWith(1_300_000, '{}'), 8, LAST));
  const ended = await vtep('show', 'members', '--control', path);
  failed(ended, 'show', /a result of its reply is longer than 8388608 values$/);
  assert.ok(ended.memory < 1200, `${ended.memory} MiB`);
});

test('an entry that indentation would make 17 times as long is printed without it', async () => {
  await hostile(sendPages(entryWith(7_000_000, '0'), 1, LAST));
  const ended = await vtep('show', 'members', '--json', '--control', path);
  assert.is(ended.code, 0, ended.stderr);
  assert.ok(ended.stdout.length < 16e6, `${ended.stdout.length} characters`);
  assert.ok(ended.memory < 900, `${ended.memory} MiB`);
});

test('counters of more names than there can be are refused', async () => {
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`E${i}`, 1]));
  await hostile((socket) => void socket.end(json({ vtep: { counts: {}, drops: many, segments: [] }, engine: {} })));
  failed(await show('counters'), 'show', /its answer to "counters" is wrong: vtep/);
});

const fdb = { vni: 1, mac: 'x', static: true, age: 0, port: null, vtep: null };
for (const [name, begin, text, every, limit] of [
  ['an octet of the status at a time', '', 'H', 100, 1000],
  ['an octet of a header at a time', HEAD, 'x', 100, 1000],
  ['an octet of an entry at a time', raw('["'), 'x', 100, 1000],
  ['white space', raw('['), ' ', 100, 1000],
  ['informational responses', '', 'HTTP/1.1 102 Processing\r\n\r\n', 100, 1000],
  ['an entry at a time', raw('['), `${JSON.stringify(fdb)},`, 300, 6000],
] as const)
  test(`a server that sends ${name} does not hold a client`, async () => {
    await hostile((socket) => {
      socket.write(begin);
      const timer = setInterval(() => socket.write(text), every);
      cleanups.push(() => clearInterval(timer));
    });
    const ended = await show('fdb');
    failed(ended, 'show', name.includes('status') ? /not a VTEP/ : /did not answer within/);
    assert.ok(ended.milliseconds < limit + SLACK, `${ended.milliseconds} ms`);
  });

test('a server that never answers informs the client no faster than it can discard', async () => {
  await hostile((socket) => repeat(socket, 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000)));
  const ended = await show('fdb');
  failed(ended, 'show', /did not answer within/);
  assert.ok(ended.memory < 400, `${ended.memory} MiB`);
});

test('a capture ends in time, although the server goes on', async () => {
  await hostile((socket) => {
    socket.write(raw(''));
    const timer = setInterval(() => socket.write('{"event":"status","dropped":0}\n'), 200);
    cleanups.push(() => clearInterval(timer));
  });
  const ended = await vtep('capture', '--seconds', '1', '--control', path, '--timeout', '1');
  failed(ended, 'capture', /did not answer within/);
  assert.ok(ended.milliseconds < 7000 + SLACK, `${ended.milliseconds} ms`);
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
  assert.ok(ended.milliseconds < 5000 + SLACK, `${ended.milliseconds} ms`);
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
  assert.ok(ended.milliseconds < 10_000 + SLACK, `${ended.milliseconds} ms`);
});

test('honest answers with fields and counters of another version are shown', async () => {
  await hostile((socket) => void socket.end(json([{ ...member, later: [1] }])));
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
  for (let i = 0; i < 3; i++) socket.write(get('/v1/counters'));
  socket.end();
  await sleep(1500);
  socket.resume();
  await waitFor('the end of the connection', () => !open);
});

test.run();

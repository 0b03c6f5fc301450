/** Streams of strangers: how many sockets, how long, and how much memory they can take, and that members still get in. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  encodeMessage,
  encodePushPull,
  encodeUser,
  Keyring,
  Places,
  sourceOf,
  TYPE,
  type Delegate,
} from '../../src/gossip/memberlist/index.js';
import { SharedAllowance } from '../../src/gossip/memberlist/allowance.js';
import { descriptorShare, openFilesLimit } from '../../src/host/open-files.js';
import { GossipHost, type GossipOptions } from '../../src/host/gossip.js';
import { run, VTEP, waitFor } from '../support/lab.js';
import { descriptors, StrangerProcess, type Strangers } from '../support/strangers.js';

/** Milliseconds that a stream may live in these tests, and what a busy machine may add: less than the default, 10 s. */
const LIFE = 1500;
const SLACK = 6000;
/** How often a member tries to get in: on a busy machine, its stream may take longer than it may live. */
const ATTEMPTS = 5;
const NONE = new Uint8Array(0);
/** Descriptors of a process of strangers in this process. */
const PIPES = 2;

const directory = mkdtempSync(join(tmpdir(), 'weft-streams-'));
const cleanups: (() => unknown)[] = [() => rmSync(directory, { recursive: true })];
test.after.each(async () => {
  for (const cleanup of cleanups.splice(1)) await cleanup();
});
test.after(() => void cleanups[0]!());

async function member(options: Partial<GossipOptions> = {}, delegate: Delegate = {}): Promise<GossipHost> {
  const address = options.address ?? '127.0.0.1';
  const timing = { streamTimeout: LIFE, ...options.timing };
  const host = await GossipHost.open({ name: address, port: 0, ...options, address, timing }, delegate);
  cleanups.push(() => host.close());
  return host;
}

function strangers(options: Strangers): StrangerProcess {
  const made = new StrangerProcess(options);
  cleanups.push(() => made.end());
  return made;
}

const stateOf = (host: GossipHost): { address: string; port: number } => host.machine.self;

/** A connection that sends bytes, and what it received until its end. */
function exchange(port: number, bytes: Uint8Array, from: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from });
    const got: Buffer[] = [];
    socket.on('data', (data) => got.push(data)).on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(got)));
    socket.write(bytes);
  });
}

/** Joins `host` from another address. */
async function getsIn(host: GossipHost, from: string): Promise<void> {
  const other = await member({ address: from });
  const all: string[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { reached, failures } = await other.join([stateOf(host)]);
    if (reached === 1) return;
    all.push(...failures);
  }
  assert.unreachable(all.join());
}

test('two thousand trickling connections: 32 sockets at most, none beyond its time, and a member gets in', async () => {
  const host = await member();
  const before = descriptors();
  const flood = strangers({ port: host.machine.self.port, from: '127.0.0.66', count: 2000, trickle: 100 });
  await waitFor('two thousand connections', () => flood.tally.tried === 2000);
  await getsIn(host, '127.0.0.2');
  let most = 0;
  await waitFor('the end of the connections', () => {
    most = Math.max(most, descriptors() - before);
    return flood.tally.open === 0;
  });
  // 32 of the strangers, and three of the other member: its sockets and its stream.
  assert.ok(most <= 32 + 3 + 2 + PIPES, `${most} descriptors`);
  assert.ok(flood.tally.longest < LIFE + SLACK, `${flood.tally.longest} ms`);
  const none = { accepted: 0, dialled: 0, queued: 0 };
  await waitFor('the sockets to be closed', () => isDeepStrictEqual(host.sockets, none));
});

test('connections from many addresses: 128 sockets at most, and a member gets in after a second', async () => {
  const host = await member({ timing: { streamTimeout: 10_000 } });
  const port = host.machine.self.port;
  const flood = strangers({ port, from: '127.0.0.20', addresses: 200, count: 2000, trickle: 100 });
  await waitFor('two thousand connections', () => flood.tally.tried === 2000);
  await sleep(1100);
  assert.ok(host.sockets.accepted <= 128, `${host.sockets.accepted}`);
  await getsIn(host, '127.0.0.2');
});

test('a slow reader: what it does not read is discarded at the end of its time', async () => {
  const state = new Uint8Array(8 << 20).map((_, i) => (i * 7) ^ (i >> 8));
  const host = await member({}, { localState: () => state });
  const before = descriptors();
  const request = encodePushPull({ type: 'pushPull', join: false, nodes: [], userState: NONE });
  const port = host.machine.self.port;
  const mutes = strangers({ port, from: '127.0.0.66', count: 3, first: request, reads: false });
  await waitFor('connections', () => mutes.tally.tried === 3);
  await waitFor('the streams to be taken', () => host.sockets.accepted === 3);
  await waitFor('the end of their time', () => host.sockets.accepted === 0, LIFE + SLACK);
  await waitFor('the files to be closed', () => descriptors() === before + PIPES);
  // The system holds no connection for it either: in /proc/net/tcp, none of the port is in another state than LISTEN.
  const own = await run(['sh', '-c', `grep -i ' 0100007F:${port.toString(16).padStart(4, '0')} ' /proc/net/tcp`]);
  assert.equal(
    own.stdout
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/)[3]),
    ['0A'],
  );
});

test('a stream that sends after our end is closed at once', async () => {
  const host = await member({ timing: { streamTimeout: 10_000 } });
  const before = descriptors();
  const port = host.machine.self.port;
  const first = Uint8Array.of(0xff); // no message begins with it: the answer is an error
  const flood = strangers({ port, from: '127.0.0.66', count: 20, first, trickle: 20 });
  await waitFor('the end of the connections', () => flood.tally.tried === 20 && flood.tally.open === 0);
  assert.ok(flood.tally.longest < SLACK, `${flood.tally.longest} ms`);
  await waitFor('the files to be closed', () => descriptors() === before + PIPES);
});

test('a stream that sends nothing, and one that sends an octet at a time, end with their time', async () => {
  const host = await member();
  const port = host.machine.self.port;
  const first = encodeUser(new Uint8Array(1000)).subarray(0, 100); // its header, and a part of its body
  for (const trickle of [0, 50]) {
    const flood = strangers({ port, from: '127.0.0.66', count: 5, first, trickle });
    await waitFor('the end of the connections', () => flood.tally.tried === 5 && flood.tally.open === 0);
    assert.ok(flood.tally.longest > LIFE / 2 && flood.tally.longest < LIFE + SLACK, `${flood.tally.longest} ms`);
  }
});

test('a member at the same address as the strangers gets in once their streams are a second old', async () => {
  const host = await member({ timing: { streamTimeout: 10_000 } });
  const flood = strangers({ port: host.machine.self.port, from: '127.0.0.1', count: 200, trickle: 100 });
  await waitFor('connections', () => flood.tally.tried === 200);
  await sleep(1100);
  const answer = await exchange(host.machine.self.port, ping(host), '127.0.0.1');
  assert.ok(answer.length > 0);
  assert.is(host.sockets.accepted <= 32, true, `${host.sockets.accepted}`);
});

const ping = (host: GossipHost): Uint8Array =>
  encodeMessage({
    type: 'ping',
    seqNo: 1,
    node: host.machine.self.name,
    sourceAddr: '',
    sourcePort: 0,
    sourceNode: '',
  });

test('keyless streams of one address hold 32 MiB at most, and of several 64 MiB; small exchanges are not closed', async () => {
  const key = new Uint8Array(32).fill(7);
  const host = await member({ timing: { streamTimeout: 10_000 }, security: { keyring: new Keyring([key]) } });
  const port = host.machine.self.port;
  // The frame of an encrypted message of 20 MiB, all but its end.
  const claim = Uint8Array.of(TYPE.encrypt, 1, 0x3f, 0xff, 0x00, ...new Uint8Array(11));
  const open: Socket[] = [];
  cleanups.push(() => open.forEach((socket) => socket.destroy()));
  let most = 0;
  const hold = async (from: string, count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const socket = connect({ port, host: '127.0.0.1', localAddress: from }).on('error', () => undefined);
      open.push(socket);
      socket.write(claim);
      for (let sent = 0; sent < 19; sent++) {
        if (!socket.write(new Uint8Array(1 << 20))) await Promise.race([sleep(200), once(socket)]);
        most = Math.max(most, host.machine.sizes().streamOctets);
      }
    }
    await sleep(200);
  };
  await hold('127.0.0.66', 5);
  assert.ok(most <= 32 << 20, `${most}`);
  assert.ok(most >= 16 << 20, `${most}`);
  for (const from of ['127.0.0.67', '127.0.0.68', '127.0.0.69', '127.0.0.70']) await hold(from, 1);
  assert.ok(most <= 64 << 20 && most > 48 << 20, `${most}`);
  // An exchange of a member with the key, of 3 kB.
  const other = await member({ address: '127.0.0.2', security: { keyring: new Keyring([key]) } }, { localState });
  const { reached, failures } = await other.join([stateOf(host)]);
  assert.is(reached, 1, failures.join());
});

const localState = (): Uint8Array => new Uint8Array(3000).map((_, i) => i * i);
const once = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once('drain', resolve));

test('a member that reads nothing takes 16 dialled sockets; messages to another one still arrive', async () => {
  const received: number[] = [];
  const host = await member({ timing: { streamTimeout: 10_000 } });
  const mute = createServer({ pauseOnConnect: true, allowHalfOpen: true }).listen(0, '127.0.0.66');
  const held: Socket[] = [];
  mute.on('connection', (socket) => void held.push(socket.on('error', () => undefined)));
  cleanups.push(() => mute.close() && held.forEach((socket) => socket.destroy()));
  await new Promise((resolve) => mute.once('listening', resolve));
  const { port } = mute.address() as { port: number };
  const honest = await member({ address: '127.0.0.2' }, { receive: (message) => void received.push(message.length) });
  await honest.join([stateOf(host)]);
  const vsn = Uint8Array.of(1, 5, 2, 0, 0, 0);
  const node = { type: 'alive' as const, node: 'mute', incarnation: 1, addr: '127.0.0.66', port, meta: NONE, vsn };
  host.act((machine, now) => machine.receivePacket('127.0.0.66', port, encodeMessage(node), now));
  const big = new Uint8Array(1 << 20).map((_, i) => (i * 31) ^ (i >> 8));
  for (let i = 0; i < 100; i++) host.act((machine) => machine.sendReliable('mute', big));
  for (let i = 0; i < 50; i++) host.act((machine) => machine.sendReliable('127.0.0.2', big.subarray(0, 1000 + i)));
  await waitFor('fifty messages', () => received.length === 50);
  assert.ok(held.length <= 16, `${held.length} connections`);
  assert.ok(host.sockets.dialled <= 16, `${host.sockets.dialled}`);
  assert.ok(host.sockets.queued <= 32 << 20, `${host.sockets.queued}`);
});

test('one source cannot spend the work for all: a reserve of a quarter remains for those that spent little', () => {
  const allowance = new SharedAllowance(1600, 100);
  allowance.spend('a', 1700, 0);
  assert.ok(allowance.left('a', 0) <= 0);
  assert.is(allowance.left('b', 0), 400);
  allowance.spend('b', 150, 0);
  assert.ok(allowance.left('b', 0) <= 0, 'more than a sixteenth is not little');
  assert.is(allowance.left('c', 0), 250);
  for (let i = 0; i < 2000; i++) allowance.spend(`source ${i}`, 1, 1);
  assert.ok(allowance.left('c', 1) <= 0, 'the reserve is bounded too');
});

test('a source is an IPv4 address, or a network of 64 bits', () => {
  const places = new Places<number>({ most: 4, mostPerSource: 2 });
  places.add(1, sourceOf('2001:db8::1'), 0);
  places.add(2, sourceOf('2001:db8::2:3'), 0);
  assert.equal(places.admit(sourceOf('2001:db8:0:0:ffff::9'), 999), { admitted: false });
  assert.equal(places.admit(sourceOf('2001:db8::4'), 1000), { admitted: true, leaves: 1 });
  assert.equal(places.admit(sourceOf('2001:db8:0:1::4'), 0), { admitted: true });
  const sources = ['10.0.0.1', '10.0.0.2', 'fe80::1%eth0', 'fe80::2%eth0', '::ffff:10.0.0.1', '::ffff:10.0.0.2', 'x:y'];
  assert.is(new Set(sources.map(sourceOf)).size, sources.length);
});

test('with few open files there are fewer places, and at least eight', () => {
  const share = (files: number): number => descriptorShare(2, 8, 128, files);
  assert.equal([64, 128, 200, 300, 384, 1024].map(share), [8, 8, 36, 86, 128, 128]);
  const text = 'Limit   Soft Limit  Hard Limit  Units\nMax open files            300                  4096     files\n';
  assert.is(openFilesLimit(text), 300);
  assert.is(openFilesLimit(text.replace('300', 'unlimited')), undefined);
});

test('a large message over a stream arrives, and so do many at once from one address', async () => {
  const received: number[] = [];
  const host = await member(
    { timing: { streamTimeout: 10_000 } },
    { receive: (one) => void received.push(one.length) },
  );
  const other = await member({ address: '127.0.0.2', timing: { streamTimeout: 10_000 } });
  await other.join([stateOf(host)]);
  const big = new Uint8Array(15 << 20).map((_, i) => (i * 31) ^ (i >> 8));
  other.act((machine) => machine.sendReliable('127.0.0.1', big));
  for (let i = 0; i < 300; i++) other.act((machine) => machine.sendReliable('127.0.0.1', big.subarray(0, 60_000 + i)));
  await waitFor('three hundred messages', () => received.length === 301);
  assert.is(Math.max(...received), big.length);
  assert.is(new Set(received).size, 301);
});

test('with 300 open files, "vtep show" and a join work while two thousand connections are open', async () => {
  const control = join(directory, 'agent.sock');
  const words = ['agent', '--local', '127.0.0.1', '--port', '47893', '--bind', '127.0.0.1:47894', '--engine', 'dgram'];
  const agent = spawn(
    'sh',
    ['-c', 'ulimit -n 300; exec "$@"', 'sh', ...VTEP, ...words, '--network', 'a:1:10.0.0.0/24', '--control', control],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = new Promise((resolve) => agent.on('exit', resolve));
  cleanups.push(() => (agent.kill('SIGTERM'), ended));
  let output = '';
  agent.stdout.on('data', (data: Buffer) => (output += data.toString()));
  await waitFor('the agent', () => output.includes('ready'));
  const before = descriptors(agent.pid!);
  const flood = strangers({ port: 47894, from: '127.0.0.20', addresses: 100, count: 2000, trickle: 500 });
  await waitFor('two thousand connections', () => flood.tally.tried === 2000);
  await sleep(1100);
  const taken = descriptors(agent.pid!) - before;
  assert.ok(taken <= 86, `${taken} descriptors`);
  const shown = await run([...VTEP, 'show', 'members', '--control', control, '--timeout', '30']);
  assert.is(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /127\.0\.0\.1 .* alive/);
  const asked = await run([...VTEP, 'gossip', 'members', '--join', '127.0.0.1:47894']);
  assert.is(asked.code, 0, asked.stderr);
});

test.run();

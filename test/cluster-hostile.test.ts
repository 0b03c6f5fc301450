/** A manager among strangers: wrong tokens, slow and endless requests, garbage, too many connections, slow readers. */
import { connect as connectTcp, type Socket } from 'node:net';
import { type TLSSocket } from 'node:tls';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Connections } from '../src/host/cluster/connections.js';
import { WrongTokens } from '../src/host/cluster/wrong-tokens.js';
import { certificateRequest, ClusterError, newKey, newSecret, type ManagerLimits } from '../src/host/index.js';
import { httpText, LOOPBACK, received, refused, startLab, type Lab } from './support/cluster-lab.js';
import { waitFor } from './support/lab.js';

const labs: Lab[] = [];

async function lab(limits: Partial<ManagerLimits>): Promise<Lab> {
  const started = await startLab({ limits });
  labs.push(started);
  return started;
}

test.after.each(async () => {
  for (const one of labs.splice(0)) await one.close();
});

/** What a connection receives until its end, for what it sends. */
async function sent({ connect }: Lab, text: string | Buffer): Promise<string> {
  const socket = await connect();
  const all = received(socket);
  socket.on('error', () => undefined).write(text);
  return all;
}

function tcp({ server }: Lab): Socket {
  return connectTcp(server.port, LOOPBACK).on('error', () => undefined);
}

const ended = (socket: Socket): Promise<void> => new Promise((resolve) => void socket.resume().on('close', resolve));

test('neither the answer to a wrong token nor its time differs from those of another refused request to join', async () => {
  const refusal = 300;
  const started = await lab({ refusal, wrongTokens: 3 });
  const csr = await certificateRequest(await newKey());
  const { worker } = started.backend.tokens;
  const ask = async (body: object): Promise<[answer: string, milliseconds: number]> => {
    const socket = await started.connect();
    const text = received(socket);
    const begun = performance.now();
    socket.write(httpText('POST', '/v1/join', JSON.stringify(body)));
    const answer = (await text).replace(/Date: .*\r\n/, '');
    return [answer, performance.now() - begun];
  };
  const answers: string[] = [];
  // Nothing of it right, the first half right, all but the last digit right, a request that is none; then too many.
  for (const secret of [
    newSecret(),
    worker.slice(0, 12) + newSecret().slice(12),
    worker.slice(0, -1) + (worker.endsWith('0') ? '1' : '0'),
    'x',
    worker,
    started.backend.tokens.manager,
  ]) {
    const [answer, time] = await ask({ secret, csr: secret === 'x' ? 'none' : csr, name: 'host2' });
    assert.ok(time >= refusal - 2, `${time} ms`); // timers may be early by one
    assert.not.ok(answer.includes(secret === 'x' ? '"x"' : secret));
    answers.push(answer);
  }
  assert.is(new Set(answers).size, 1, answers.join('\n'));
  assert.equal([refused(answers[0]!).status, refused(answers[0]!).code], [403, 'not-admitted']);
  assert.is(started.server.counts.tokens, 6);
  assert.is(started.backend.nodes.size, 1);
  // Those that say nothing of a token take as long.
  for (const body of [{}, { secret: worker, csr, name: '-' }]) {
    const [answer, time] = await ask(body);
    assert.is(refused(answer).status, 400);
    assert.ok(time >= refusal - 2, `${time} ms`);
  }
});

test('after several wrong tokens of an address, the right one is refused for a minute, and no longer', async () => {
  let offset = 0;
  const started = await startLab({ limits: { refusal: 1, wrongTokens: 3 }, now: () => Date.now() + offset });
  labs.push(started);
  const right = started.backend.tokens.worker;
  const wrong = started.token();
  started.backend.tokens.worker = newSecret();
  const codes: string[] = [];
  const attempt = (): Promise<unknown> =>
    started.join({ token: wrong }).then(
      () => codes.push('joined'),
      ({ code }: ClusterError) => codes.push(code),
    );
  for (let i = 0; i < 2; i++) await attempt();
  started.backend.tokens.worker = right;
  await attempt();
  started.backend.tokens.worker = newSecret();
  await attempt();
  started.backend.tokens.worker = right;
  await attempt();
  offset = 61_000;
  await attempt();
  assert.equal(codes, ['not-admitted', 'not-admitted', 'joined', 'not-admitted', 'not-admitted', 'joined']);
});

test('the wrong tokens of many addresses take bounded memory', () => {
  const wrong = new WrongTokens(3, 1000);
  for (let i = 0; i < 100_000; i++) wrong.wrong(`address ${i}`, i / 1000);
  assert.ok(wrong.size <= 4096, `${wrong.size}`);
});

test('a connection that sends its TLS handshake octet by octet is closed in time', async () => {
  const started = await lab({ handshake: 200, strangerTime: 60_000 });
  const socket = tcp(started);
  socket.write(Buffer.from('1603010200', 'hex'));
  const timer = setInterval(() => socket.write(Buffer.of(1)), 20);
  await ended(socket);
  clearInterval(timer);
  await waitFor('no connection', () => started.server.counts.connections === 0);
  assert.is(started.server.counts.handshakes, 1);
});

for (const [what, head] of [
  ['says nothing', ''],
  ['sends its headers octet by octet', 'POST /v1/commands HTTP/1.1\r\nX: '],
  ['sends its body octet by octet', 'POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n'],
] as const) {
  test(`a stranger that ${what} is closed in time`, async () => {
    const started = await lab({ strangerTime: 300 });
    const socket = await started.connect();
    socket.on('error', () => undefined).write(head);
    const timer = setInterval(() => head !== '' && socket.write('x'), 20);
    await ended(socket);
    clearInterval(timer);
    await waitFor('no connection', () => started.server.counts.connections === 0);
  });

  test(`a node that ${what} is closed in time, too`, async () => {
    const started = await lab({ headers: 200, request: 400 });
    const { identity } = await started.join();
    const socket = await started.connect({ key: identity.key, cert: identity.certificate });
    socket.on('error', () => undefined).write(head);
    const timer = setInterval(() => head !== '' && socket.write('x'), 20);
    await ended(socket);
    clearInterval(timer);
    await waitFor('no connection', () => started.server.counts.connections === 0);
  });
}

test('a body that is too large is refused, whether it says so or not', async () => {
  const started = await lab({ joinSize: 1000, bodySize: 2000, refusal: 1, grace: 200 });
  const large = 'x'.repeat(100_000);
  const head = 'POST /v1/join HTTP/1.1\r\nHost: x\r\n';
  for (const text of [
    `${head}Content-Length: ${large.length}\r\n\r\n${large}`,
    `${head}Content-Length: ${large.length}\r\n\r\n`,
    `${head}Transfer-Encoding: chunked\r\n\r\n186a0\r\n${large}`,
    `${head}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(2000)}`,
  ]) {
    const answer = await sent(started, text);
    assert.equal([refused(answer).status, refused(answer).code], [413, 'too-large'], answer);
    assert.match(refused(answer).message!, /at most 1000 octets/);
  }
  const { identity, files } = await started.join().catch(async () => {
    throw new Error('a request to join has less than 1000 octets');
  });
  const node = started.client(files, identity);
  try {
    await node.command({ do: 'x', value: large });
    throw new Error('it was accepted');
  } catch (error) {
    assert.is((error as ClusterError).code, 'too-large', (error as Error).message);
  }
  assert.equal(started.backend.commands, []);
});

test('garbage ends its connection, and the manager goes on', async () => {
  const started = await lab({ headerSize: 4096, grace: 50, refusal: 1 });
  let seed = 1;
  const noise = (length: number): Buffer =>
    Buffer.from(Array.from({ length }, () => (seed = (seed * 48_271) % 2_147_483_647) & 255));
  for (const octets of [
    noise(1000),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('160303ffff', 'hex'),
    Buffer.from('1503010002020a', 'hex'),
  ]) {
    const socket = tcp(started);
    socket.write(octets);
    socket.end();
    await ended(socket);
  }
  for (const text of [
    noise(1000),
    'GET\r\n\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    `GET / HTTP/1.1\r\nX: ${'x'.repeat(10_000)}\r\n\r\n`,
    'POST /v1/join HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx',
    'POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
  ]) {
    const answer = await sent(started, text);
    assert.not.match(answer, /HTTP\/1\.1 200/);
  }
  assert.is((await started.join()).identity.role, 'worker');
  await waitFor('no connection', () => started.server.counts.connections === 0);
});

test('requests that are sent ahead end their connection', async () => {
  const started = await lab({});
  const { identity } = await started.join();
  const socket = await started.connect({ key: identity.key, cert: identity.certificate });
  const text = received(socket);
  socket.on('error', () => undefined).write(httpText('POST', '/v1/commands', '{"do":"x"}', true).repeat(500));
  await text;
  assert.ok(started.backend.commands.length <= 1, `${started.backend.commands.length}`);
});

test('a defect of the manager tells the node nothing, and is reported', async () => {
  const failures: unknown[] = [];
  const started = await startLab({ failed: (error) => void failures.push(error) });
  labs.push(started);
  const { identity, files } = await started.join();
  try {
    await started.client(files, identity).command({ do: 'break' });
    throw new Error('it was accepted');
  } catch (error) {
    assert.equal((error as ClusterError).code, 'internal');
    assert.not.match((error as Error).message, /secret/);
  }
  assert.match((failures[0] as Error).message, /a secret of the manager/);
});

test('strangers of one address take no room from nodes, nor from each other', async () => {
  const started = await lab({ strangers: 8, strangersPerAddress: 4, strangerTime: 60_000 });
  const { identity, files } = await started.join();
  let seen = 0;
  started.client(files, identity, { assignment: () => seen++ });
  await waitFor('an assignment', () => seen === 1);
  const strangers = Array.from({ length: 50 }, () => tcp(started));
  const open = (): number => strangers.filter((socket) => !socket.destroyed).length;
  for (const socket of strangers) socket.resume();
  await waitFor('few strangers', () => open() <= 4);
  assert.ok(started.server.counts.connections <= 5, `${started.server.counts.connections}`);
  assert.ok(started.server.counts.closed >= 46);
  started.backend.assign(identity.node, {});
  await waitFor('the next assignment', () => seen === 2);
  // A node that joins is a stranger as well, the newest one.
  assert.is((await started.join()).identity.role, 'worker');
  for (const socket of strangers) socket.destroy();
});

test('a node has a bounded number of connections, and a new one replaces its oldest', async () => {
  const started = await lab({ perNode: 3 });
  const { identity } = await started.join();
  const sockets: TLSSocket[] = [];
  for (let i = 0; i < 6; i++) {
    const socket = await started.connect({ key: identity.key, cert: identity.certificate });
    socket.on('error', () => undefined).resume();
    sockets.push(socket);
    await waitFor('a place', () => sockets.filter((one) => !one.destroyed).length === Math.min(i + 1, 3));
  }
  assert.equal(
    sockets.map((socket) => socket.destroyed),
    [true, true, true, false, false, false],
  );
});

test('an address that connects again and again is slowed down, and others are not', async () => {
  const started = await lab({
    ...{ arrivals: 40, arrivalsPerSecond: 1, strangersPerAddress: 1000 },
    ...{ handshake: 60_000, strangerTime: 60_000 },
  });
  const other = (): Socket =>
    connectTcp({ port: started.server.port, host: LOOPBACK, localAddress: '127.0.0.2' }).on('error', () => undefined);
  const sockets = Array.from({ length: 100 }, () => tcp(started).resume());
  await waitFor('refusals', () => started.server.counts.closed >= 40);
  const one = other().resume();
  await waitFor('another address', () => started.server.counts.connections + started.server.counts.closed >= 101);
  assert.is(one.destroyed, false);
  for (const socket of [...sockets, one]) socket.destroy();
});

test('all addresses of one /64 count as one', () => {
  const limits = {
    ...{ connections: 100, strangers: 100, strangersPerAddress: 2, perNode: 9, strangerTime: 1000 },
    ...{ arrivals: 100, arrivalsPerSecond: 100 },
  };
  const connections = new Connections(limits);
  const open = new Set<string>();
  for (const remoteAddress of ['2001:db8::1', '2001:db8::2', '2001:db8:0:1::1', '2001:db8::3', '::ffff:192.0.2.1']) {
    open.add(remoteAddress);
    const listeners: (() => void)[] = [];
    connections.add({
      remoteAddress,
      remotePort: 1,
      on: (_event: string, listener: () => void) => listeners.push(listener),
      destroy: () => {
        open.delete(remoteAddress);
        for (const listener of listeners) listener();
      },
    } as unknown as Socket);
  }
  assert.equal([...open], ['2001:db8::2', '2001:db8:0:1::1', '2001:db8::3', '::ffff:192.0.2.1']);
  assert.equal(
    [...connections].map(({ address }) => address),
    ['2001:db8::2', '2001:db8:0:1::1', '2001:db8::3', '192.0.2.1'],
  );
  for (const { raw } of connections) raw.destroy();
});

test('a slow reader gets the newest assignment, and nothing waits for it in memory', async () => {
  const started = await lab({ heartbeat: 20 });
  const { identity } = await started.join();
  const socket = await started.connect({ key: identity.key, cert: identity.certificate });
  socket.pause();
  socket.write(httpText('GET', '/v1/assignments'));
  await waitFor('a stream', () => started.backend.watchers.size === 1);
  const SIZE = 200_000;
  const filling = 'x'.repeat(SIZE);
  const NEWEST = 500;
  for (let version = 1; version <= NEWEST; version++) {
    started.backend.assign(identity.node, { version, filling });
    if (version % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const versions: number[] = [];
  let text = '';
  socket.setEncoding('latin1');
  socket.on('data', (data: string) => {
    text += data;
    for (const [, version] of text.matchAll(/"version":(\d+),"filling":"x+"/g)) versions.push(Number(version));
    text = text.slice(text.lastIndexOf('\n') + 1);
  });
  socket.resume();
  await waitFor('the newest assignment', () => versions.includes(NEWEST));
  assert.equal(
    [...versions].sort((a, b) => a - b),
    versions,
  );
  // What the system buffers of both sockets, and one line: far from 100 MB.
  assert.ok(versions.length * SIZE < 20_000_000, `${versions.length} assignments of ${SIZE} octets`);
  socket.destroy();
});

test('a reader that reads nothing is closed in time', async () => {
  const started = await lab({ heartbeat: 20, stall: 300 });
  const { identity } = await started.join();
  const socket = await started.connect({ key: identity.key, cert: identity.certificate });
  socket.on('error', () => undefined).pause();
  socket.write(httpText('GET', '/v1/assignments'));
  await waitFor('a stream', () => started.backend.watchers.size === 1);
  started.backend.assign(identity.node, 'x'.repeat(30_000_000));
  await waitFor('the end of the stream', () => started.backend.watchers.size === 0);
  await waitFor('no connection', () => started.server.counts.connections === 0);
  socket.destroy();
});

test.run();

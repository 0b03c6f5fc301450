/** What another user of this host, and a client that misbehaves, can do at the control socket and at files of weft. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ask, serveControl, type Control } from '../../src/host/index.js';
import { requireSocketDirectory } from '../../src/host/socket-path.js';
import { must, REPOSITORY, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { get } from '../support/unix-http.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-control-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const refused = async (path: string): Promise<string> => {
  let control: Control;
  try {
    control = await serveControl(path, () => Promise.resolve({}));
  } catch (error) {
    return (error as Error).message;
  }
  await control.close();
  return 'listens';
};

/** Runs a server in a process of its own, whose files and memory can be counted. */
async function serverProcess(path: string): Promise<{ pid: number; end(): Promise<void> }> {
  const source = `
    import { serveControl } from ${JSON.stringify(join(REPOSITORY, 'src/host/index.ts'))};
    async function* capture(gone) {
      while (!gone.aborted) yield await new Promise((resolve) => setTimeout(() => resolve({ result: [] }), 100));
    }
    await serveControl(${JSON.stringify(path)}, async (request, gone) =>
      request.command === 'capture' ? capture(gone) : { asked: request.command });
    console.log('ready');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // After a test that fails, nothing else ends it: it must not keep this process alive, nor standard error open.
  const kill = (): boolean => child.kill('SIGKILL');
  process.on('exit', kill);
  await once(child.stdout, 'data');
  child.stdout.destroy();
  child.unref();
  return {
    pid: child.pid!,
    end: async () => {
      process.off('exit', kill);
      child.ref();
      child.kill('SIGKILL');
      await once(child, 'close');
    },
  };
}

const filesOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const memoryOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

/** The sockets of the current test, which would keep the process alive after one that fails. */
const opened: Socket[] = [];

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  opened.push(socket);
  socket.on('error', () => undefined);
  await Promise.race([once(socket, 'connect'), once(socket, 'close')]);
  return socket;
}

// ---- The path ----

const paths = suite('paths');

paths('only the owner may connect, and never anybody else, not even for a moment', async () => {
  for (const mask of [0, 0o022, 0o777]) {
    const path = join(directory, `mode${mask}.sock`);
    const before = process.umask(mask);
    const control = await serveControl(path, () => Promise.resolve({}));
    process.umask(before);
    assert.is(statSync(path).mode & 0o777, 0o600);
    await control.close();
    assert.not.ok(existsSync(path));
  }
});

paths('links, files and FIFOs at the path are refused and stay', async () => {
  const victim = join(directory, 'victim');
  writeFileSync(victim, 'precious');
  const link = join(directory, 'link.sock');
  symlinkSync(victim, link);
  const dangling = join(directory, 'dangling.sock');
  symlinkSync(join(directory, 'not-there'), dangling);
  const fifo = join(directory, 'fifo.sock');
  await must(['mkfifo', fifo]);
  const folder = join(directory, 'folder.sock');
  mkdirSync(folder);
  const stale = join(directory, 'stale.sock');
  const server = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`,
  ]);
  await once(server, 'close');
  assert.ok(lstatSync(stale).isSocket());
  const linked = join(directory, 'linked.sock');
  symlinkSync(stale, linked);
  for (const path of [victim, link, dangling, fifo, folder, linked]) {
    const kind = lstatSync(path).mode;
    assert.match(await refused(path), /exists and is not a socket; choose another path/, path);
    assert.is(lstatSync(path).mode, kind, path);
  }
  assert.is(readFileSync(victim, 'utf8'), 'precious');
  assert.not.ok(existsSync(join(directory, 'not-there')));
  assert.is(await refused(stale), 'listens', 'a socket without a listener is replaced');
});

paths('a link that appears after the check is not followed', async () => {
  // The same call that the server makes, with the link already there: bind(2) does not follow it.
  const target = join(directory, 'bound');
  const link = join(directory, 'raced.sock');
  symlinkSync(target, link);
  const server = createServer();
  const [error] = (await once(server.listen(link), 'error').catch((thrown: Error) => [thrown])) as [
    NodeJS.ErrnoException,
  ];
  assert.is(error.code, 'EADDRINUSE');
  assert.not.ok(existsSync(target));
});

paths('a socket of somebody who listens is not replaced', async () => {
  const path = join(directory, 'theirs.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  assert.match(await refused(path), /another vtep listens on/);
  server.close();
});

paths('a directory in which everybody may replace files is refused, a sticky one is not', () => {
  const folder = join(directory, 'shared');
  mkdirSync(folder);
  const verdict = (mode: number): string => {
    chmodSync(folder, mode);
    try {
      requireSocketDirectory(join(folder, 'vtep.sock'));
    } catch (error) {
      return (error as Error).message;
    }
    return 'fine';
  };
  assert.match(verdict(0o777), /every user may replace files in .*shared.*chmod o-w/);
  assert.match(verdict(0o772), /every user may replace files/);
  for (const mode of [0o700, 0o755, 0o775, 0o1777]) assert.is(verdict(mode), 'fine', mode.toString(8));
});

// ---- Clients ----

const clients = suite('clients');
/** Options of an honest client: it is patient, as the machine may be busy. */
const PATIENT = { timeout: 20_000 };

clients.after.each(() => opened.splice(0).forEach((socket) => socket.destroy()));

clients('a request of 1 GB: 64 MiB of memory at most, and the connection ends', async () => {
  const path = join(directory, 'large.sock');
  const server = await serverProcess(path);
  const before = memoryOf(server.pid);
  for (const [piece, what] of [
    ['x'.repeat(1 << 20), 'without an end'],
    [`POST /v1/peers HTTP/1.1\r\nContent-Length: ${1 << 30}\r\n\r\n${'x'.repeat(1 << 20)}`, 'with a body'],
    [`GET /v1/fdb HTTP/1.1\r\nX: ${'x'.repeat(1 << 20)}`, 'with a header'],
    [`POST /v1/peers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(1 << 18)}`, 'in chunks'],
    [`POST /v1/peers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(1 << 20)}`, 'with an extension'],
    [`GET /v1/counters HTTP/1.1\r\n\r\n`.repeat(1 << 15), 'of many requests'],
  ] as const) {
    const socket = (await open(path)).setMaxListeners(0); // `once` below
    socket.resume();
    let closed = false;
    socket.on('close', () => (closed = true));
    let [sent, most] = [0, 0];
    while (sent < 1 << 30 && !closed) {
      sent += piece.length;
      if (!socket.write(piece))
        await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined);
      most = Math.max(most, memoryOf(server.pid) - before);
    }
    assert.ok(closed, `a request ${what} is not accepted to its end`);
    assert.ok(sent < 1 << 30, `${sent} bytes of a request ${what}`);
    assert.ok(most < 64 << 10, `${most} KiB for a request ${what}`);
  }
  assert.equal(await ask(path, { command: 'counters' }), { asked: 'counters' });
  await server.end();
});

clients('10,000 connections: 64 are served, 192 wait, and an honest client is answered', async () => {
  const path = join(directory, 'many.sock');
  const server = await serverProcess(path);
  const files = filesOf(server.pid);
  const before = memoryOf(server.pid);
  let most = 0;
  const sockets = new Set<Socket>();
  for (let i = 0; i < 10_000; i += 200) {
    await Promise.all(
      Array.from({ length: 200 }, async (_, k) => {
        const socket = await open(path);
        socket.resume();
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
        if (k % 2 === 0) socket.write('GET /v1/counters HTTP/1.1\r\n');
      }),
    );
    most = Math.max(most, filesOf(server.pid) - files);
    assert.equal(await ask(path, { command: 'counters' }, PATIENT), { asked: 'counters' });
  }
  assert.ok(most <= 64 + 192 + 512 + 8, `${most} connections are open in the server`);
  assert.ok(memoryOf(server.pid) - before < 96 << 10, `${memoryOf(server.pid) - before} KiB`);
  for (const socket of sockets) socket.destroy();
  await server.end();
});

clients('64 requests that never end: a further client is told so, and room returns', async () => {
  const path = join(directory, 'endless.sock');
  const server = await serverProcess(path);
  const sockets = await Promise.all(Array.from({ length: 64 }, () => open(path)));
  const asked = (): Promise<string> =>
    ask(path, { command: 'counters' }, { timeout: 4000 }).then(
      () => 'answered',
      (error: Error) => error.message,
    );
  await Promise.all(
    sockets.map((socket) => {
      socket.write(get('/v1/capture?count=1&seconds=1000'));
      return once(socket, 'data'); // the answer has begun
    }),
  );
  assert.match(await asked(), /64 clients are connected, which is the limit/);
  sockets[0]!.destroy();
  await waitFor('room', async () => (await asked()) === 'answered');
  for (const socket of sockets) socket.destroy();
  await server.end();
});

clients('64 requests that arrive byte by byte give way to an honest client', async () => {
  const path = join(directory, 'slow.sock');
  const server = await serverProcess(path);
  const sockets = await Promise.all(Array.from({ length: 64 }, () => open(path)));
  // Half of them have sent their headers.
  for (const socket of sockets.slice(32)) socket.write('POST /v1/peers HTTP/1.1\r\nContent-Length: 100000\r\n\r\n');
  const trickle = setInterval(() => sockets.forEach((socket) => socket.destroyed || socket.write('x')), 20);
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (let i = 0; i < 5; i++) assert.equal(await ask(path, { command: 'counters' }, PATIENT), { asked: 'counters' });
  clearInterval(trickle);
  for (const socket of sockets) socket.destroy();
  await server.end();
});

/** Parts of requests, whole ones, and what is none. */
const PARTS = [
  ...['fdb', 'counters', 'capture?count=1&seconds=1', 'version'].map((target) => get(`/v1/${target}`)),
  ...['HEAD /v1/counters', 'OPTIONS *', 'TRACE /', 'CONNECT a:1', 'FLY /'].map((line) => `${line} HTTP/1.1\r\n\r\n`),
  ...[
    'Connection: close',
    'Upgrade: x\r\nConnection: upgrade',
    'Expect: x',
    'Content-Length: 4\r\nContent-Length: 5',
  ].map((header) => `GET /v1/counters HTTP/1.1\r\n${header}\r\n\r\n`),
  ...['Content-Length: 30', 'Content-Length: 9999999', 'Transfer-Encoding: chunked', 'Expect: 100-continue'].map(
    (header) => `POST /v1/peers HTTP/1.1\r\n${header}\r\n\r\n`,
  ),
  ...[
    '{"vni":7,"address":"10.0.0.1"}',
    '5\r\nhello\r\n',
    '0\r\n\r\n',
    'zz\r\n',
    '\r\n',
    '\0',
    'GET ',
    'x'.repeat(10_000),
  ],
  get('/v1/openapi.json').repeat(20),
];

clients('4000 connections with parts of requests in any order: the VTEP lives, and answers', async () => {
  const path = join(directory, 'parts.sock');
  const server = await serverProcess(path);
  const files = filesOf(server.pid);
  const before = memoryOf(server.pid);
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, random(8)));
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let i = 0; i < 200; i++) {
        const socket = connect({ path, allowHalfOpen: random(2) === 0 }).on('error', () => undefined);
        if (random(5) > 0) socket.resume();
        for (let parts = 1 + random(7); parts > 0; parts--) {
          socket.write(PARTS[random(PARTS.length)]!);
          if (random(2) === 0) await pause();
        }
        if (random(2) === 0) socket.end();
        await pause();
        socket.destroy();
      }
    }),
  );
  assert.equal(await ask(path, { command: 'counters' }), { asked: 'counters' });
  // A client that left without reading its response holds its connection until the stall limit, 10 s.
  await waitFor('the connections to end', () => filesOf(server.pid) <= files);
  assert.ok(memoryOf(server.pid) - before < 128 << 10, `${memoryOf(server.pid) - before} KiB`);
  await server.end();
});

// ---- Other users ----

const users = suiteWith('other users', ['root']);

users('another user can neither connect nor replace the socket in a sticky directory', async () => {
  const folder = join(directory, 'sticky');
  mkdirSync(folder);
  chmodSync(directory, 0o755);
  chmodSync(folder, 0o1777);
  const path = join(folder, 'vtep.sock');
  const control = await serveControl(path, () => Promise.resolve({}));
  const attempt = `
    const fs = require('fs'); const path = ${JSON.stringify(path)};
    const tried = (run) => { try { run(); return 'done'; } catch (error) { return error.code; } };
    const found = [tried(() => fs.unlinkSync(path)), tried(() => fs.renameSync(path, path + '2')), tried(() => fs.chmodSync(path, 0o777))];
    require('net').connect(path).on('connect', () => done('connected')).on('error', (error) => done(error.code));
    function done(result) { console.log([...found, result].join(' ')); process.exit(); }`;
  const child = spawn(process.execPath, ['-e', attempt], { uid: 65_534, gid: 65_534, cwd: '/' });
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  await once(child, 'close');
  await control.close();
  assert.is(output.trim(), 'EPERM EPERM EPERM EACCES');
});

users('directories of demos that another user may have made are not followed', async () => {
  const script = `
    mount -t tmpfs none /run && cd ${REPOSITORY} || exit 9
    down() { node --import tsx src/cli/main.ts demo --down 2>&1; }
    mkdir -p /tmp/weft-notes-$$/1 /run/netns; touch /run/netns/weft1-host1
    ln -s /tmp/weft-notes-$$ /run/weft-demo; down; rm /run/weft-demo
    mkdir -m 777 /run/weft-demo; down; chmod 700 /run/weft-demo; chown 65534 /run/weft-demo; down
    chown 0 /run/weft-demo; mkdir /run/weft-demo/..x; down; rmdir /run/weft-demo/..x
    mkdir /run/weft-demo/-all; down; ls /run/netns
    rm -r /tmp/weft-notes-$$`;
  const child = spawn('unshare', ['--mount', 'sh', '-c', script], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
  });
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  child.stderr.on('data', (data: Buffer) => (output += data.toString()));
  await once(child, 'close');
  const unsafe = 'vtep demo: /run/weft-demo is not a directory that only this user may write; remove it';
  const foreign = (name: string): string =>
    `vtep demo: /run/weft-demo/${name} is not of a demo, whose directory is a number; remove it`;
  assert.equal(output.trim().split('\n'), [
    ...[unsafe, unsafe, unsafe, foreign('..x'), foreign('-all')],
    'weft1-host1',
  ]);
});

paths.run();
clients.run();
users.run();

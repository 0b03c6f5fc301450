/** The control socket and its client: the protocol, and limits that protect the process from clients. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ask, follow } from '../src/host/ask.js';
import { serveControl, type Control, type ControlLimits, type Handler } from '../src/host/control.js';
import { pagesOf, type Page } from '../src/host/pages.js';
import { waitFor } from './support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-control-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const path = join(directory, 'control');

let server: Control | undefined;

async function serve(handle: Handler, limits: Partial<ControlLimits> = {}): Promise<Control> {
  return (server = await serveControl(path, handle, limits));
}

test.after.each(async () => {
  await server?.close();
  server = undefined;
});

/** Sends text, and returns the lines received until the VTEP closes the connection. */
function talk(text: string, end = true): Promise<string[]> {
  return new Promise((resolve, reject) => {
    let got = '';
    const socket = connect({ path, allowHalfOpen: true });
    socket.write(text);
    if (end) socket.end();
    socket.on('data', (data) => (got += data.toString()));
    socket.on('error', reject);
    socket.on('end', () => {
      socket.destroy();
      resolve(got.split('\n').slice(0, -1));
    });
  });
}

/** A client that sends a request and does not read. */
async function mute(request: object | string): Promise<Socket> {
  const socket = connect(path);
  socket.pause();
  socket.on('error', () => undefined);
  socket.write(typeof request === 'string' ? request : `${JSON.stringify(request)}\n`);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

function* numbered(count: number): Generator<object> {
  for (let i = 0; i < count; i++) yield { mac: `02:00:00:00:00:${i}`, static: false, age: i, port: null, vtep: 'x' };
}

const message = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => '',
    (error: Error) => error.message,
  );

test('requests are answered in order, wrong ones with an error', async () => {
  await serve(async (request) => ({ asked: request.command }));
  assert.equal(await ask(path, { command: 'fdb' }), { asked: 'fdb' });
  const lines = await talk('nonsense\n\n{"command":"fly"}\n{"command":"peers"}\n{"command":"counters"}');
  assert.match(lines[0]!, /^\{"ok":false,"error":"a request must be a JSON object on one line: /);
  assert.not.match(lines[0]!, /nonsense/); // it may be a key
  assert.match(lines[1]!, /^\{"ok":false,"error":"command: expected one of /);
  assert.equal(lines.slice(2), [
    '{"ok":true,"result":{"asked":"peers"}}',
    '{"ok":true,"result":{"asked":"counters"}}', // without a final newline, as printf and nc may send it
  ]);
});

test('a short list is one line, a long one several, all but the last with "more"', async () => {
  await serve(async (request) => pagesOf(numbered(request.command === 'peers' ? 2 : 1000)));
  assert.equal(await talk('{"command":"peers"}\n'), [JSON.stringify({ ok: true, result: [...numbered(2)] })]);
  const lines = (await talk('{"command":"fdb"}\n')).map(
    (line) => JSON.parse(line) as { more?: true; result: object[] },
  );
  assert.ok(lines.length > 3, `${lines.length} lines`);
  assert.equal(
    lines.map(({ more }) => more),
    lines.map((_, i) => (i === lines.length - 1 ? undefined : true)),
  );
  assert.equal(
    lines.flatMap(({ result }) => result),
    [...numbered(1000)],
  );
  assert.equal(await ask(path, { command: 'fdb' }), [...numbered(1000)]);
});

test('an error in the middle of a list ends it', async () => {
  await serve(async () =>
    (async function* (): AsyncGenerator<Page> {
      yield { result: [1] };
      throw new Error('the engine has ended');
    })(),
  );
  assert.is(await message(ask(path, { command: 'fdb' })), 'the engine has ended');
});

test('a request that is too long is rejected, and the connection closed', async () => {
  await serve(async () => ({}));
  const lines = await talk('x'.repeat(1 << 20), false);
  assert.equal(lines, ['{"ok":false,"error":"a request must be one line of at most 262144 characters"}']);
});

test('requests of a client that does not read are not read', async () => {
  let asked = 0;
  await serve(async () => {
    asked++;
    return 'x'.repeat(100_000);
  });
  const client = await mute('{"command":"fdb"}\n'.repeat(10_000));
  await sleep(300);
  assert.ok(asked < 10, `${asked} requests were answered`);
  client.destroy();
});

test('a client that does not read is disconnected, and its list is not produced', async () => {
  let made = 0;
  let ended = false;
  function* endless(): Generator<object> {
    try {
      for (;;) yield { entry: made++, text: 'x'.repeat(100) };
    } finally {
      ended = true;
    }
  }
  await serve(
    async () =>
      (async function* (): AsyncGenerator<Page> {
        const entries = endless();
        try {
          for (;;) yield { result: Array.from({ length: 100 }, () => entries.next().value as object) };
        } finally {
          entries.return(undefined);
        }
      })(),
    { stall: 300 },
  );
  const client = await mute({ command: 'fdb' });
  await waitFor('the list to end', () => ended, 5000);
  assert.ok(made * 100 < 2 << 20, `${made} entries were produced`);
  const closed = new Promise((resolve) => client.once('close', resolve));
  client.resume();
  await closed;
});

test('many clients at once: one page in each round of the event loop', async () => {
  let made = 0;
  await serve(async () =>
    (async function* (): AsyncGenerator<Page> {
      for await (const page of pagesOf(numbered(5000))) {
        made++;
        yield page;
      }
    })(),
  );
  let most = 0;
  let on = true;
  const round = (): void => {
    most = Math.max(most, made);
    made = 0;
    if (on) setImmediate(round);
  };
  setImmediate(round);
  const lists = await Promise.all(Array.from({ length: 20 }, () => ask(path, { command: 'fdb' }, { timeout: 60_000 })));
  on = false;
  assert.ok(lists.every((list) => (list as object[]).length === 5000));
  assert.ok(most <= 2, `${most} pages in one round`);
});

test('the number of clients is limited; a new one replaces an idle one', async () => {
  await serve(async (_, gone) => new Promise((resolve) => gone.addEventListener('abort', () => resolve({}))), {
    clients: 2,
  });
  const idle = connect(path);
  const closed = new Promise((resolve) => idle.once('close', resolve));
  await new Promise((resolve) => idle.once('connect', resolve));
  const busy = [await mute({ command: 'counters' })];
  await sleep(50);
  busy.push(await mute({ command: 'counters' }));
  await closed;
  await sleep(50);
  assert.is(
    await message(ask(path, { command: 'counters' })),
    '2 clients are connected, which is the limit; close one of them',
  );
  for (const client of busy) client.destroy();
});

test('an idle connection is closed', async () => {
  await serve(async () => ({}), { idle: 100 });
  assert.equal(await talk('{"command":"counters"}\n', false), ['{"ok":true,"result":{}}']);
});

test('when the VTEP stops, requests in progress end', async () => {
  const one = await serve(async (_, gone) =>
    (async function* (): AsyncGenerator<Page> {
      yield { result: [1] };
      if (!gone.aborted) await new Promise((resolve) => gone.addEventListener('abort', resolve));
      yield { result: [2], last: true };
    })(),
  );
  const pages: Page[] = [];
  for await (const page of follow(path, { command: 'fdb' })) {
    pages.push(page);
    if (pages.length === 1) void one.close();
  }
  assert.equal(
    pages.map(({ result }) => result),
    [[1], [2]],
  );
});

test('only its owner can use the socket, and close() removes it', async () => {
  const one = await serve(async () => ({}));
  assert.is(statSync(path).mode & 0o777, 0o600);
  await one.close();
  assert.not(existsSync(path));
});

test('a stale socket is replaced; a live one or another file is not', async () => {
  // A listener whose process is killed leaves its socket behind.
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await new Promise((resolve) => execFile(process.execPath, ['-e', script], resolve));
  const one = await serve(async () => ({ here: true }));
  assert.equal(await ask(path, { command: 'fdb' }), { here: true });
  assert.match(
    await message(serveControl(path, async () => ({}))),
    /^another vtep listens on \/\S+; stop it, or choose another path$/,
  );
  await one.close();
  writeFileSync(path, 'precious');
  assert.match(await message(serveControl(path, async () => ({}))), /exists and is not a socket; choose another path$/);
  rmSync(path);
});

test('an impossible path is rejected with the reason', async () => {
  const tried = (at: string): Promise<string> => message(serveControl(at, async () => ({})));
  assert.match(await tried('/nonexistent/dir/x.sock'), /there is no directory \/nonexistent\/dir; create it/);
  assert.match(await tried(join(directory, 'x'.repeat(200))), /the path is longer than 107 bytes/);
});

test('a client reports why it got no answer', async () => {
  const refused = (at = path): Promise<string> => message(ask(at, { command: 'fdb' }, { timeout: 200 }));
  assert.match(await refused(), /^there is no control socket at .*; start the VTEP with --control /);
  writeFileSync(path, '');
  assert.match(await refused(), /is not a socket|ECONNREFUSED|no process listens/);
  rmSync(path);
  const answers: [(socket: Socket) => void, RegExp][] = [
    [(socket) => void socket.destroy(), /closed the connection before the end of its reply/],
    [() => undefined, /^the VTEP at .* did not answer within 0.2 s; check whether its process is stopped/],
    [(socket) => void socket.write('{"ok":true,"more":true,"result":[1]}\n'), /did not answer within 0.2 s/],
    [(socket) => void socket.write('{"ok":true,"mo'), /did not answer within 0.2 s/],
    [(socket) => void socket.end('{"ok":true,"more":true,"result":[1]}\n'), /closed the connection before the end/],
    [(socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), /is not a VTEP: it answered "HTTP\/1.1 400/],
  ];
  for (const [answer, expected] of answers) {
    const other = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.resume();
      answer(socket);
    }).listen(path);
    assert.match(await refused(), expected);
    await new Promise((resolve) => other.close(resolve));
  }
});

test('a client that stops reading a reply early gets no more of it', async () => {
  let gone = false;
  await serve(async () =>
    (async function* (): AsyncGenerator<Page> {
      try {
        for (let i = 0; ; i++) {
          yield { result: [i] };
          await sleep(10);
        }
      } finally {
        gone = true;
      }
    })(),
  );
  for await (const { result } of follow(path, { command: 'fdb' })) if (result[0] === 3) break;
  await waitFor('the list to end', () => gone, 5000);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  const pages: Page[] = [];
  for await (const page of follow(path, { command: 'fdb' }, { signal: controller.signal })) pages.push(page);
  assert.ok(pages.length > 0);
});

test.run();

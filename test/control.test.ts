/**
 * The control socket and its client: how results are sent, and limits that protect the process from clients.
 * control-http.test.ts has the cases of HTTP itself.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ask, follow } from '../src/host/ask.js';
import { type ControlLimits, type Handler } from '../src/host/control-client.js';
import { serveControl, type Control } from '../src/host/control.js';
import { pagesOf, type Page } from '../src/host/pages.js';
import { waitFor } from './support/lab.js';
import { call, get, mute, statuses, talk } from './support/unix-http.js';

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

function* numbered(count: number): Generator<object> {
  for (let i = 0; i < count; i++) yield { mac: `02:00:00:00:00:${i}`, static: false, age: i, port: null, vtep: 'x' };
}

const message = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => '',
    (error: Error) => error.message,
  );

test('requests of a connection are answered in order, wrong ones with an error', async () => {
  await serve(async (request) => ({ asked: request.command }));
  assert.equal(await ask(path, { command: 'counters' }), { asked: 'counters' });
  const got = await talk(path, get('/v1/counters') + get('/v1/fly') + get('/v1/remotes?vni=1') + get('/v1/counters'));
  assert.equal(statuses(got), [200, 404, 400, 200]);
  const bodies = [...got.matchAll(/^\{.*\}$/gm)].map(([line]) => JSON.parse(line) as { error?: { code: string } });
  assert.equal(
    bodies.map((body) => body.error?.code ?? body),
    [{ asked: 'counters' }, 'not-found', 'invalid-request', { asked: 'counters' }],
  );
});

test('a list is one JSON array, a long one in chunks with an entry on each line', async () => {
  await serve(async (request) => pagesOf(numbered('vni' in request ? Number(request.vni) : 0)));
  for (const count of [0, 1, 2, 256, 257, 1000]) {
    const { headers, text, complete } = await call(path, 'GET', `/v1/fdb?vni=${count}`);
    assert.ok(complete);
    assert.equal(JSON.parse(text), [...numbered(count)]);
    assert.is(text.split('\n').length, count === 0 ? 2 : count + 3);
    if (count < 3 || count === 1000) assert.is(headers['transfer-encoding'], count < 3 ? undefined : 'chunked');
    assert.equal(await ask(path, { command: 'fdb', vni: count }), [...numbered(count)]);
  }
});

test('a value with a long list in it is the JSON of the whole, formatted in parts between which other work runs', async () => {
  const texts = ['', '"', ']', ',', '\u009b31m', '}'];
  let turn = 0;
  const formatted = new Map<number, number>();
  const entry = (i: number): object => ({
    toJSON: () => {
      formatted.set(turn, (formatted.get(turn) ?? 0) + 1);
      return { vni: i, name: texts[i % texts.length], counts: { a: i, b: [1, [2]] } };
    },
  });
  const valueOf = (count: number): object => ({
    vtep: { total: 1, segments: Array.from({ length: count }, (_, i) => entry(i)), after: 2 },
    ...{ none: undefined, nothing: null, empty: {}, list: [1, 2], when: new Date(0) },
  });
  await serve(async () => valueOf(SIZES[asked++]!));
  const SIZES = [0, 1, 16, 17, 48, 5000];
  let asked = 0;
  for (const count of SIZES) {
    formatted.clear();
    let running = true;
    const next = (): void => {
      turn++;
      if (running) setImmediate(next);
    };
    setImmediate(next);
    const { headers, text, complete } = await call(path, 'GET', '/v1/counters');
    running = false;
    const most = Math.max(0, ...formatted.values());
    assert.ok(complete);
    assert.equal(JSON.parse(text), JSON.parse(JSON.stringify(valueOf(count))));
    assert.is(text.trimEnd().split('\n').length, 1);
    assert.not.match(text, /\u009b/);
    assert.is(headers['transfer-encoding'], count === 5000 ? 'chunked' : undefined);
    assert.ok(most <= 500, `${most} entries in one turn`); // parts of 16,384 characters
  }
});

test('texts that look like the end of an entry stay whole', async () => {
  const odd = ['},{', '"},{"', '},{"a', '\\', '\\"},{"a":1', '],[', ',\n', '\u2028', '\u001b[2J', '\ud800'];
  const entries = odd.flatMap((text) => [{ text }, { [`k${text}`]: text, more: [{ text }, { text }] }, { last: text }]);
  await serve(async () => pagesOf(entries));
  const { text } = await call(path, 'GET', '/v1/fdb');
  assert.equal(JSON.parse(text), entries);
  assert.match(text, /^[\n -~]*$/); // nothing that a terminal obeys
  assert.equal(await ask(path, { command: 'fdb' }), entries);
});

test('a list that fails in the middle has no end; one that fails at its beginning is an error', async () => {
  await serve(async (request) =>
    (async function* (): AsyncGenerator<Page> {
      if (request.command === 'fdb') yield { result: [1] };
      throw new Error('the engine has ended');
    })(),
  );
  const { status, text, complete } = await call(path, 'GET', '/v1/fdb');
  assert.equal([status, text, complete], [200, '[\n1', false]);
  assert.match(await message(ask(path, { command: 'fdb' })), /closed the connection before the end of its reply/);
  assert.is((await call(path, 'GET', '/v1/peers')).status, 500);
  assert.is(await message(ask(path, { command: 'peers' })), 'the engine has ended');
});

/** A stream of events that ends, or fails. */
async function* events(fails: boolean): AsyncGenerator<Page> {
  yield { result: [], dropped: 0 };
  yield {
    result: [
      { event: 'packet', n: 1 },
      { event: 'packet', n: 2 },
    ],
    dropped: 0,
  };
  yield { result: [{ event: 'packet', n: 3 }], dropped: 4 };
  if (fails) throw new Error('the engine has ended');
  yield { result: [], dropped: 5, last: true };
}

test('events are lines of JSON, and the last line says whether they are complete', async () => {
  await serve(async (request) => events(request.command === 'capture' && request.count === 1));
  const target = '/v1/capture?count=3&seconds=1';
  const { headers, text, complete } = await call(path, 'GET', target);
  assert.is(headers['content-type'], 'application/x-ndjson');
  assert.ok(complete);
  const lines = (answer: string): object[] =>
    answer
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
  const packets = [1, 2, 3].map((n) => ({ event: 'packet', n }));
  assert.equal(lines(text), [
    { event: 'status', dropped: 0 },
    ...packets.slice(0, 2),
    { event: 'status', dropped: 4 },
    packets[2],
    { event: 'status', dropped: 5 },
    { event: 'end', dropped: 5 },
  ]);
  const request = { command: 'capture', count: 3, seconds: 1 } as const;
  assert.equal(await ask(path, request), [{ n: 1 }, { n: 2 }, { n: 3 }]);

  const failed = await call(path, 'GET', target.replace('3', '1'));
  assert.not(failed.complete);
  assert.equal(lines(failed.text).at(-1), {
    event: 'error',
    error: { code: 'internal', message: 'the engine has ended' },
  });
  assert.is(await message(ask(path, { ...request, count: 1 })), 'the engine has ended');
});

test('requests of a client that does not read are not read', async () => {
  let asked = 0;
  await serve(async () => {
    asked++;
    return 'x'.repeat(100_000);
  });
  const client = await mute(path, get('/v1/counters').repeat(30));
  await waitFor('a first request', () => asked > 0);
  await sleep(300);
  assert.ok(asked > 0 && asked < 10, `${asked} requests were answered`);
  client.destroy();
});

test('a client that sends more than 32 requests ahead is disconnected', async () => {
  let asked = 0;
  await serve(async () => {
    asked++;
    return {};
  });
  assert.is(statuses(await talk(path, get('/v1/counters').repeat(32))).length, 32);
  asked = 0;
  await talk(path, get('/v1/counters').repeat(3000), false);
  assert.ok(asked < 40, `${asked} requests were answered`);
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
  const client = await mute(path, get('/v1/fdb'));
  await waitFor('the list to end', () => ended);
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
  let asked = 0;
  const release: (() => void)[] = [];
  await serve(
    async () => {
      asked++;
      return new Promise((resolve) => release.push(() => resolve({})));
    },
    { clients: 2, wait: 300 },
  );
  let told = '';
  const idle = connect(path).on('data', (data) => (told += data.toString()));
  const closed = new Promise((resolve) => idle.once('close', resolve));
  await new Promise((resolve) => idle.once('connect', resolve));
  const busy = [await mute(path, get('/v1/counters'))];
  await waitFor('the first request', () => asked === 1);
  busy.push(await mute(path, get('/v1/counters')));
  await closed;
  assert.match(
    told,
    /^HTTP\/1\.1 503 unavailable\r\n(.+\r\n)*Retry-After: 1\r\n(.+\r\n)*\r\n\{"error":\{"code":"unavailable",/,
  );
  await waitFor('the second request', () => asked === 2);
  assert.is(
    await message(ask(path, { command: 'counters' }, { timeout: 500 })),
    '2 clients are connected, which is the limit; close one of them',
  );
  // With more time, it comes again.
  const patient = ask(path, { command: 'counters' }, { timeout: 60_000 });
  await sleep(500);
  for (const client of busy) client.destroy();
  for (const one of release) one();
  await waitFor('the request', () => asked === 3);
  release[2]!();
  assert.equal(await patient, {});
});

test('400 clients at once: each is answered, or told to come again, and none is reset', async () => {
  await serve(
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { here: true };
    },
    { clients: 16, waiting: 64, leaving: 1000 },
  );
  const answers = await Promise.all(
    Array.from({ length: 400 }, (_, i) => {
      const peer = { vni: 7, address: '192.0.2.1' };
      return i % 2 === 0 ? call(path, 'GET', '/v1/counters') : call(path, 'POST', '/v1/peers', { body: peer });
    }),
  );
  const done = answers.filter(({ status }) => status === 200);
  for (const { text } of done) assert.equal(JSON.parse(text), { here: true });
  const others = answers.filter(({ status }) => status !== 200);
  for (const { status, headers, text } of others) {
    assert.equal([status, headers['retry-after'], headers['content-type']], [503, '1', 'application/json']);
    assert.is((JSON.parse(text) as { error: { code: string } }).error.code, 'unavailable');
  }
  console.log(`# ${done.length} of 400 clients were answered`);
  assert.ok(done.length >= 16 + 64, `${done.length}`);
  assert.ok(others.length > 0);
});

test('a client waits for a place, and gets it when one ends', async () => {
  const release: (() => void)[] = [];
  await serve(() => new Promise((resolve) => release.push(() => resolve({}))), { clients: 2, wait: 60_000 });
  const first = Array.from({ length: 2 }, () => call(path, 'GET', '/v1/counters'));
  await waitFor('both', () => release.length === 2);
  const third = call(path, 'GET', '/v1/counters');
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.is(release.length, 2, 'it waits');
  release[0]!();
  await waitFor('the third', () => release.length === 3);
  for (const one of release) one();
  assert.equal(
    (await Promise.all([...first, third])).map(({ status }) => status),
    [200, 200, 200],
  );
});

test('an idle connection is closed', async () => {
  await serve(async () => ({}), { idle: 100 });
  assert.equal(statuses(await talk(path, get('/v1/counters'), false)), [200]);
  const began = performance.now();
  const trickle = connect(path).on('error', () => undefined);
  const timer = setInterval(() => trickle.write('x'), 10); // the parts of a request do not extend the time
  await new Promise((resolve) => trickle.on('close', resolve));
  clearInterval(timer);
  assert.ok(performance.now() - began < 20_000);
});

test('when the VTEP stops, requests in progress end', async () => {
  const one = await serve(async (_, gone) =>
    (async function* (): AsyncGenerator<Page> {
      yield { result: [{ event: 'packet', n: 1 }] };
      if (!gone.aborted) await new Promise((resolve) => gone.addEventListener('abort', resolve));
      yield { result: [{ event: 'packet', n: 2 }], last: true };
    })(),
  );
  const pages: Page[] = [];
  for await (const page of follow(path, { command: 'capture', count: 9, seconds: 9 })) {
    pages.push(page);
    if (pages.length === 1) void one.close();
  }
  assert.equal(
    pages.flatMap(({ result }) => result),
    [{ n: 1 }, { n: 2 }],
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
  assert.equal(await ask(path, { command: 'counters' }), { here: true });
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
  const refused = (timeout = 30_000): Promise<string> => message(ask(path, { command: 'fdb' }, { timeout }));
  assert.match(await refused(), /^there is no control socket at \S+$/);
  writeFileSync(path, '');
  assert.match(await refused(), /is not a socket|ECONNREFUSED|no process listens/);
  rmSync(path);
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
  const late = /^the VTEP at \S+ did not answer within 0.2 s; check whether its process is stopped or overloaded$/;
  const answers: [(socket: Socket) => void, RegExp][] = [
    [(socket) => void socket.destroy(), /closed the connection before the end of its reply/],
    [() => undefined, late],
    [(socket) => void socket.write('HTTP/1.1 200'), late],
    [(socket) => void socket.write(`${chunked}5\r\n[1,2,\r\n`), late],
    [(socket) => void socket.write(`${head}Content-Length: 20\r\n\r\n[1,2]`), late],
    [(socket) => void socket.end(`${chunked}5\r\n[1,2]\r\n`), /closed the connection before the end/],
    [
      (socket) => void socket.end(`${chunked}4\r\n[1,2\r\n0\r\n\r\n`),
      /is not a VTEP of this version: it answered "\[1,2"/,
    ],
    [
      (socket) => void socket.end('{"ok":true,"result":[]}\n'),
      /is not a VTEP of this version: it answered "\{"ok":true/,
    ],
    [
      (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\nno'),
      /is not a VTEP of this version: it answered "no"/,
    ],
  ];
  for (const [answer, expected] of answers) {
    const other = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.resume();
      answer(socket);
    }).listen(path);
    assert.match(await refused(expected === late ? 200 : undefined), expected);
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
  await waitFor('the list to end', () => gone);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  const pages: Page[] = [];
  for await (const page of follow(path, { command: 'fdb' }, { signal: controller.signal })) pages.push(page);
  assert.ok(pages.length > 0);
});

test.run();

/** The control socket as an HTTP server (RFC 9110, RFC 9112): methods, bodies, headers, and what clients get wrong. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pagesOf, type Page } from '../src/host/pages.js';
import { type ControlLimits } from '../src/host/control-client.js';
import { serveControl, type Control } from '../src/host/control.js';
import { type ControlRequest } from '../src/schema/index.js';
import { call, get, statuses, talk, type Answer } from './support/unix-http.js';
import { waitFor } from './support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-http-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const path = join(directory, 'control');
const limits: Partial<ControlLimits> = { request: 1000, headers: 4096, grace: 200 };

let server: Control;
let asked: ControlRequest[];
let captures = 0;

/** A stream that ends when the client has gone. */
async function* endless(gone: AbortSignal): AsyncGenerator<Page> {
  captures++;
  try {
    while (!gone.aborted) yield await new Promise((resolve) => setTimeout(() => resolve({ result: [] }), 20));
  } finally {
    captures--;
  }
}

test.before.each(async () => {
  asked = [];
  server = await serveControl(
    path,
    async (request, gone) => {
      asked.push(request);
      if (request.command === 'fdb') return pagesOf([{ here: 1 }]);
      if (request.command === 'remotes') {
        await new Promise((resolve) => setTimeout(resolve, 100));
        return [];
      }
      return request.command === 'capture' ? endless(gone) : { done: true };
    },
    limits,
  );
});
test.after.each(() => server.close());

const errorOf = ({ text }: Answer): { code: string; message: string; fields?: { path: string }[] } =>
  (JSON.parse(text) as { error: { code: string; message: string } }).error;

const PEER = { vni: 7, address: '192.0.2.1' };
/** A request in full, with the length of its body. */
const post = (body: string, headers = ''): string =>
  `POST /v1/peers HTTP/1.1\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;

test('a path without a command is 404, a method without one 405 with those that the path has', async () => {
  for (const target of [
    '/',
    '/v1',
    '/v1/',
    '/v2/fdb',
    '/v1/fdb/',
    '/V1/fdb',
    '/v1/../v1/fdb',
    '/v1//fdb',
    '/v1/fd%62',
  ]) {
    const answer = await call(path, 'GET', target);
    assert.is(answer.status, 404, target);
    assert.is(errorOf(answer).code, 'not-found');
  }
  for (const [method, target, allow] of [
    ['POST', '/v1/fdb', 'GET, HEAD, OPTIONS'],
    ['GET', '/v1/explain', 'POST, OPTIONS'],
    ['HEAD', '/v1/explain', 'POST, OPTIONS'],
    ['PUT', '/v1/peers', 'GET, POST, DELETE, HEAD, OPTIONS'],
    ['PATCH', '/v1/peers', 'GET, POST, DELETE, HEAD, OPTIONS'],
    ['TRACE', '/v1/fdb', 'GET, HEAD, OPTIONS'],
    ['PROPFIND', '/v1/fdb', 'GET, HEAD, OPTIONS'],
  ] as const) {
    const answer = await call(path, method, target);
    assert.is(answer.status, 405, `${method} ${target}`);
    assert.is(answer.headers['allow'], allow);
    if (method !== 'HEAD') assert.is(errorOf(answer).code, 'method-not-allowed');
  }
  assert.equal(asked, []);
});

test('HEAD has the headers of GET and runs nothing, OPTIONS the methods', async () => {
  for (const [target, type] of [
    ['/v1/fdb', 'application/json'],
    ['/v1/counters', 'application/json'],
    ['/v1/capture?count=1&seconds=1', 'application/x-ndjson'],
  ] as const) {
    const { status, headers, text } = await call(path, 'HEAD', target);
    assert.equal([status, headers['content-type'], text], [200, type, '']);
  }
  assert.is((await call(path, 'HEAD', '/v1/fdb?vni=x')).status, 400);
  assert.equal(asked, []);
  const peers = await call(path, 'OPTIONS', '/v1/peers');
  assert.equal([peers.status, peers.headers['allow']], [204, 'GET, POST, DELETE, HEAD, OPTIONS']);
  assert.is((await call(path, 'OPTIONS', '*')).status, 204);
});

test('the fields of a GET and a DELETE are in the query, those of a POST in the body', async () => {
  assert.is((await call(path, 'GET', '/v1/fdb?vni=4097')).status, 200);
  assert.is((await call(path, 'DELETE', '/v1/peers?vni=7&address=192.0.2.1')).status, 200);
  assert.is((await call(path, 'POST', '/v1/peers', { body: PEER })).status, 200);
  assert.is((await call(path, 'DELETE', '/v1/endpoints?vni=7&ip=10.0.0.1&mac=02%3A00:00:00:00:01')).status, 200);
  assert.is((await call(path, 'POST', '/v1/stop')).status, 200);
  assert.equal(asked, [
    { command: 'fdb', vni: 4097 },
    { command: 'remove-peer', ...PEER },
    { command: 'add-peer', ...PEER },
    { command: 'remove-endpoint', vni: 7, ip: '10.0.0.1', mac: '02:00:00:00:00:01' },
    { command: 'stop' },
  ]);
});

test('a wrong field is 400, and the error names every one', async () => {
  const paths = async (method: string, target: string, body?: unknown): Promise<string[]> => {
    const answer = await call(path, method, target, { body });
    assert.is(answer.status, 400, `${method} ${target}: ${answer.text}`);
    const { code, message, fields = [] } = errorOf(answer);
    assert.is(code, 'invalid-request');
    assert.not.match(message, /--/); // a flag
    return fields.map((field) => field.path).sort();
  };
  assert.equal(await paths('GET', '/v1/fdb?vni=x'), ['vni']);
  assert.equal(await paths('GET', '/v1/fdb?vni='), ['vni']);
  for (const vni of ['-1', '16777216', '1e3', '0x10', '01', '1.5', ' 1', '1\0', '9'.repeat(30)])
    assert.equal(await paths('GET', `/v1/fdb?vni=${encodeURIComponent(vni)}`), ['vni'], vni);
  assert.equal(await paths('GET', '/v1/fdb?vni=1&vni=2'), ['vni']);
  assert.equal(await paths('GET', '/v1/fdb?vin=1'), ['vin']);
  assert.equal(await paths('GET', '/v1/fdb?__proto__=1'), ['__proto__']);
  assert.equal(await paths('GET', '/v1/fdb?constructor=1'), ['constructor']);
  assert.equal(await paths('GET', '/v1/counters?vni=1'), ['vni']);
  assert.equal(await paths('GET', '/v1/capture'), ['count', 'seconds']);
  assert.equal(await paths('POST', '/v1/peers', {}), ['address', 'vni']);
  assert.equal(await paths('POST', '/v1/peers', { vni: '7', address: '192.0.2.1' }), ['vni']);
  assert.equal(await paths('POST', '/v1/peers?vni=7', { address: '192.0.2.1' }), ['vni']);
  assert.equal(await paths('POST', '/v1/peers', [PEER]), ['']);
  assert.equal(await paths('POST', '/v1/peers', 'null'), ['']);
  for (const method of ['GET', 'DELETE']) assert.equal(await paths(method, '/v1/peers', PEER), ['']);
  assert.equal(await paths('POST', '/v1/explain', { port: 'a', frame: 'ff', from: '192.0.2.1' }), ['']);
  assert.equal(await paths('POST', '/v1/peers', JSON.stringify(PEER).replace('{', '{"__proto__":{"a":1},')), [
    '__proto__',
  ]);
  assert.equal(asked, []);
});

test('a body that is no JSON is 400, another type 415, one that is too large 413; none of them is repeated', async () => {
  const secret = 'c2VjcmV0c2VjcmV0';
  for (const [body, headers, status, code] of [
    [`{"key":"${secret}`, {}, 400, 'invalid-request'],
    [`${secret}`, {}, 400, 'invalid-request'],
    [`{"key":"${secret}"}`, { 'Content-Type': 'application/x-www-form-urlencoded' }, 415, 'unsupported-media-type'],
    [`{"key":"${secret}"}`, { 'Content-Type': 'application/jsonx' }, 415, 'unsupported-media-type'],
    [`{"key":"${secret.repeat(100)}"}`, {}, 413, 'too-large'],
    [`{"key":"${secret.repeat(10)}"}`, {}, 400, 'invalid-request'],
    [`{"key":5,"kee":"${secret}"}`, {}, 400, 'invalid-request'],
  ] as const) {
    const answer = await call(path, 'POST', '/v1/keys', { body, headers });
    assert.is(answer.status, status, answer.text);
    assert.is(errorOf(answer).code, code);
    assert.not.match(answer.text, new RegExp(secret.slice(0, 6)));
  }
  for (const type of ['application/json', 'Application/JSON; charset=utf-8', 'application/json;a=b'])
    assert.is((await call(path, 'POST', '/v1/peers', { body: PEER, headers: { 'Content-Type': type } })).status, 200);
});

test('bodies: chunked ones, pieces, pauses, and a type that is not given', async () => {
  const body = JSON.stringify(PEER);
  const chunks = [...body].map((char) => `1\r\n${char}\r\n`).join('');
  const chunked = `POST /v1/peers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
  assert.equal(statuses(await talk(path, chunked + post(body) + get('/v1/counters'))), [200, 200, 200]);
  const socket = connect({ path, allowHalfOpen: true });
  let got = '';
  socket.on('data', (data) => (got += data.toString()));
  for (const octet of post(body)) {
    socket.write(octet);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await waitFor('the response', () => got.endsWith('\n'));
  assert.equal(statuses(got), [200]);
  socket.destroy();
  assert.equal(asked.filter(({ command }) => command === 'add-peer').length, 3);
});

test('a chunked body without an end and an absurd length are refused, whatever follows', async () => {
  const endless = `POST /v1/peers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(2000)}`;
  assert.equal(statuses(await talk(path, endless, false)), [413]);
  for (const length of ['1001', '99999999999', '9007199254740993', '18446744073709551615'])
    assert.equal(
      statuses(await talk(path, `POST /v1/peers HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n`, false)),
      [413],
    );
  for (const length of ['18446744073709551616', '-1', '0x10', '1 1', '1,1', ''])
    assert.equal(
      statuses(await talk(path, `POST /v1/peers HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n{}`, false)),
      [400],
    );
  assert.equal(asked, []);
});

test('a client reads the refusal of a body that it is still sending', async () => {
  const answer = await call(path, 'POST', '/v1/peers', { body: 'x'.repeat(5_000_000) });
  assert.is(answer.status, 413);
  assert.ok(answer.complete);
});

test('Expect: 100-continue is answered if the body fits, before it is sent', async () => {
  const body = JSON.stringify(PEER);
  const expects = (length: number): string =>
    `POST /v1/peers HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`;
  assert.equal(statuses(await talk(path, expects(body.length) + body)), [100, 200]);
  assert.equal(statuses(await talk(path, expects(1001), false)), [413]);
  const wrong = `GET /v1/fdb HTTP/1.1\r\nExpect: the-unexpected\r\n\r\n`;
  assert.equal(statuses(await talk(path, wrong)), [417]);
});

test('two ways to tell the length of one body are refused, and what follows is no request', async () => {
  const smuggled = get('/v1/counters');
  for (const headers of [
    'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
    'Content-Length: 5\r\nContent-Length: 6\r\n',
    'Transfer-Encoding: gzip\r\n',
    'Transfer-Encoding: chunked, identity\r\n',
    'Transfer-Encoding : chunked\r\n',
    'Content-Length: 5\r\n Content-Length: 6\r\n',
  ]) {
    const got = await talk(path, `POST /v1/peers HTTP/1.1\r\n${headers}\r\n0\r\n\r\n${smuggled}`, false);
    assert.equal(statuses(got), [400], headers);
  }
  // The body of a request without one is never read as a request either.
  assert.equal(
    statuses(await talk(path, `GET /v1/fdb HTTP/1.1\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`)),
    [400],
  );
  assert.equal(asked, []);
});

test('what is no HTTP is 400 with a hint, once; the old protocol of lines of JSON too', async () => {
  for (const text of [
    '{"command":"counters"}\n',
    '{"command":"install-key","key":"c2VjcmV0"}\n'.repeat(100),
    '\x16\x03\x01\x02\x00\x01\x00\x01',
    'GET\r\n\r\n',
    'GET /v1/counters HTTP/3.0\r\n\r\n',
    'FLY /v1/counters HTTP/1.1\r\n\r\n',
    'GET /v1/counters HTTP/1.1\r\nbad header\r\n\r\n',
    'GET /v1/counters HTTP/1.1\r\na: b\0\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ]) {
    const got = await talk(path, text, false);
    assert.equal(statuses(got), [400], JSON.stringify(text));
    assert.match(got, /use an HTTP client: for example, \\"curl --unix-socket /);
    assert.not.match(got, /c2Vj/);
  }
  assert.equal(asked, []);
});

test('headers have a size; Host, the form of the target and the version do not matter', async () => {
  const long = `GET /v1/counters HTTP/1.1\r\nX: ${'y'.repeat(5000)}\r\n\r\n`;
  assert.equal(statuses(await talk(path, long, false)), [431]);
  const many = `GET /v1/counters HTTP/1.1\r\n${'a: bcd\r\n'.repeat(2000)}\r\n`;
  assert.equal(statuses(await talk(path, many, false)), [431]);
  assert.equal(statuses(await talk(path, `GET /${'x'.repeat(5000)} HTTP/1.1\r\n\r\n`, false)), [431]);
  for (const request of [
    'GET /v1/counters HTTP/1.1\r\n\r\n',
    'GET /v1/counters HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    'GET /v1/counters HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    'GET http://evil.example/v1/counters HTTP/1.1\r\n\r\n',
    'GET /v1/counters HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'GET /v1/counters HTTP/1.0\r\n\r\n',
  ])
    assert.equal(statuses(await talk(path, request)), [200], request);
  assert.equal(statuses(await talk(path, 'CONNECT evil.example:443 HTTP/1.1\r\n\r\n', false)), [405]);
});

test('a connection is kept, unless the client says otherwise', async () => {
  const socket = connect({ path, allowHalfOpen: true });
  let got = '';
  let open = true;
  socket.on('data', (data) => (got += data.toString())).on('end', () => (open = false));
  for (let i = 1; i <= 3; i++) {
    socket.write(get(i === 2 ? '/v1/fly' : '/v1/counters')); // an error does not end it
    await waitFor('the response', () => statuses(got).length === i && got.endsWith('\n'));
  }
  assert.ok(open);
  const warnings: Error[] = [];
  const warn = (warning: Error): void => void warnings.push(warning);
  process.on('warning', warn); // of listeners that nobody removes
  for (let i = 4; i <= 24; i++) {
    socket.write(post(JSON.stringify(PEER)));
    await waitFor('the response', () => statuses(got).length === i && got.endsWith('\n'));
  }
  process.off('warning', warn);
  assert.equal(warnings, []);
  socket.write('GET /v1/counters HTTP/1.1\r\nConnection: close\r\n\r\n');
  await waitFor('the end', () => !open);
  assert.equal(
    statuses(got).filter((status) => status !== 200),
    [404],
  );
  assert.is(statuses(got).length, 25);
  socket.destroy();
});

test('a client may close its side before it reads; one that goes ends its stream', async () => {
  assert.equal(statuses(await talk(path, get('/v1/fdb') + get('/v1/counters'), true)), [200, 200]);
  const socket = connect(path).on('error', () => undefined);
  socket.write(get('/v1/capture?count=1&seconds=1000'));
  await waitFor('the capture', () => captures === 1);
  socket.destroy();
  await waitFor('the end of the capture', () => captures === 0);
});

test('nonsense behind requests is refused after their responses', async () => {
  const got = await talk(path, `${get('/v1/fdb')}${get('/v1/counters')}nonsense\r\n\r\n${get('/v1/fdb')}`, false);
  assert.equal(statuses(got), [200, 200, 400]);
  assert.equal(
    asked.map(({ command }) => command),
    ['fdb', 'counters'],
  );
});

test('a body that ends early or is malformed is refused, while another request is in progress', async () => {
  const slow = get('/v1/remotes');
  const cut = 'POST /v1/peers HTTP/1.1\r\nContent-Length: 30\r\n\r\n{';
  assert.equal(statuses(await talk(path, slow + cut, true)), [200, 400]);
  const malformed = 'POST /v1/peers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n';
  assert.equal(statuses(await talk(path, slow + malformed, false)), [200, 400]);
  assert.equal(statuses(await talk(path, slow + get('/v1/fdb') + cut, true)), [200, 200, 400]);
  assert.equal(asked.length, 4);
});

test.run();

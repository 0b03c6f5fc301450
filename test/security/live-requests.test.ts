/** Requests that change a running VTEP, as hostile as 256 KiB allow. One attack per test, with the limit that holds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serveControl, type Control } from '../../src/host/control.js';
import { Machine } from '../../src/host/machine.js';
import { tableEntry } from '../../src/host/requests.js';
import { plan, planSegment, planTap, show, type Plan, type Request } from '../../src/schema/index.js';
import { processorTime } from '../support/processor-time.js';
import { call } from '../support/unix-http.js';

const requests = suite('requests that change a running VTEP');
const directory = mkdtempSync(join(tmpdir(), 'weft-live-requests-'));
const path = join(directory, 'control');
/** Most bytes of a response to a wrong request, and most milliseconds of processor time for it. */
const ANSWER = 32_768;
const PATIENCE = 2000;
const LOCAL = '192.0.2.1';
const FIRST = 100_000;

let server: Control;
let state: Plan;

function planWith(segments: number): Plan {
  const all = Array.from({ length: segments }, (_, i) => ({ vni: FIRST + i }));
  return plan({ local: LOCAL, segments: all, taps: [{ name: 'tap0', vni: FIRST, mac: '02:00:00:00:00:01' }] });
}

requests.before(async () => {
  server = await serveControl(path, async (asked) => {
    const request = asked as Request;
    const { command, ...fields } = request;
    if (command === 'attach') return planTap(fields, state);
    if (command === 'add-segment') return planSegment(fields, state);
    if (command === 'explain') return new Machine(state).answer(request as never, 0);
    return tableEntry(state, request as never);
  });
});
requests.after(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

interface Refusal {
  status: number;
  text: string;
  code: string;
  message: string;
  fields: string[];
}

async function refusal(target: string, body: unknown): Promise<Refusal> {
  const before = process.cpuUsage();
  const { status, text } = await call(path, 'POST', target, {
    body,
    headers: { 'Content-Type': 'application/json' },
  });
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 1000 < PATIENCE, `${(user + system) / 1000} ms`);
  assert.ok(text.length < ANSWER, `${text.length} bytes: ${text.slice(0, 200)}`);
  const {
    code,
    message,
    fields = [],
  } = (JSON.parse(text) as { error: { code: string; message: string; fields?: { path: string }[] } }).error;
  return { status, text, code, message, fields: fields.map((field) => field.path) };
}

/** A trunk of every VLAN. */
const trunk = (first: number): Record<string, number> =>
  Object.fromEntries(Array.from({ length: 4094 }, (_, i) => [String(i + 1), first + i]));

requests('a trunk of 4,094 unknown networks, beside 4,094 known ones: a short answer', async () => {
  state = planWith(4094);
  const { status, code, message, fields } = await refusal('/v1/taps', { name: 't', vlans: trunk(200_000) });
  assert.equal([status, code], [400, 'invalid-request']);
  assert.is(fields[0], 'vlans["1"]');
  assert.match(message, 'vlans["1"]: expected the VNI of a segment (100000, 100001, ');
  assert.match(message, ' and 4082 more), got 200000');
});

requests('a trunk of 4,094 networks with a MAC address that is there already: it is said once', async () => {
  state = planWith(4094);
  state.taps.push(planTap({ name: 'trunk', vlans: trunk(FIRST), mac: '02:00:00:00:00:02' }, state));
  const { status, message } = await refusal('/v1/taps', { name: 't', vlans: trunk(FIRST), mac: '02:00:00:00:00:02' });
  assert.is(status, 400);
  assert.is(message, 'mac: 02:00:00:00:00:02 is in use already (mac of TAP trunk)');
});

requests('a TAP beside 20 others, and 8 peers in each of 4,094 networks: it takes no second to check', () => {
  const peers = Array.from({ length: 8 }, (_, i) => `198.51.100.${i + 1}`);
  const segments = Array.from({ length: 4094 }, (_, i) => ({ vni: FIRST + i, peers }));
  const taps = Array.from({ length: 20 }, (_, i) => ({ name: `tap${i}`, vni: FIRST + i, address: `10.0.${i}.1/24` }));
  state = plan({ local: LOCAL, segments: [{ vni: 1 }], taps: [{ name: 'first', vni: 1 }] });
  state.segments = segments.map((segment) => planSegment(segment, state));
  state.taps.push(...taps.map((tap) => planTap(tap, { ...state, segments: state.segments.slice(0, 20) })));
  const took = processorTime(() => void planTap({ name: 'next', vni: FIRST, address: '10.0.99.1/24' }, state));
  assert.ok(took < 1000, `${took} ms`);
  assert.throws(
    () => planTap({ name: 'next', vni: FIRST, address: '198.51.100.77/24' }, state),
    /the VTEP 198\.51\.100\.1 \(peer of segment 100000\) is in it/,
  );
});

requests('an unknown network beside 4,094 known ones, or none', async () => {
  const asked = [
    ['/v1/peers', { vni: 5, address: '192.0.2.9' }],
    ['/v1/endpoints', { vni: 5, ip: '10.0.0.1', mac: '02:00:00:00:00:01' }],
    ['/v1/taps', { name: 't', vni: 5 }],
  ] as const;
  state = planWith(4094);
  for (const [target, body] of asked) {
    const { message } = await refusal(target, body);
    assert.match(message, 'vni: expected the VNI of a segment (100000, 100001, ', target);
    assert.match(message, ' and 4082 more), got 5', target);
  }
  state.segments = [];
  for (const [target, body] of asked)
    assert.match((await refusal(target, body)).message, 'vni: expected the VNI of a segment (there is none), got 5');
});

requests('JSON that is nested tens of thousands of times: the error says what was expected', async () => {
  state = planWith(1);
  const deep = '['.repeat(120_000) + ']'.repeat(120_000);
  for (const [target, body, field] of [
    ['/v1/taps', deep, ''],
    ['/v1/taps', `{"name":${deep},"vni":${FIRST}}`, 'name'],
    ['/v1/taps', `{"name":"t","vlans":${deep}}`, 'vlans'],
    ['/v1/segments', `{"vni":1,"peers":${deep}}`, 'peers[0]'],
    ['/v1/segments', `{"vni":1,"endpoints":${deep}}`, 'endpoints[0]'],
    ['/v1/explain', `{"port":${deep},"frame":"00"}`, 'port'],
    ['/v1/peers', `{"vni":1,"address":${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}}`, 'address'],
  ] as const) {
    const { status, code, fields, message } = await refusal(target, body);
    assert.equal([status, code, fields[0]], [400, 'invalid-request', field], message.slice(0, 200));
    assert.match(message, 'expected ');
  }
});

requests('an error of a segment names no placeholder', async () => {
  state = planWith(1);
  const { text, fields } = await refusal('/v1/segments', { vni: 1, peers: [LOCAL, 'fd00::1'] });
  assert.equal(fields, ['peers[0]', 'peers[1]']);
  assert.match(text, '"expected":"the address of another VTEP, not local itself"');
  assert.match(text, '"expected":"an IPv4 address, like local"');
});

requests('a remote in the subnet of a TAP of this namespace: the underlay would run through the overlay', async () => {
  state = planWith(1);
  state.taps.push(planTap({ name: 'here', vni: FIRST, address: '10.77.0.1/24' }, state));
  state.taps.push(planTap({ name: 'there', netns: 'c1', vni: FIRST, address: '10.78.0.1/24' }, state));
  const endpoint = { vni: FIRST, ip: '10.0.0.4', mac: '02:00:00:00:00:04' };
  for (const [target, body, field] of [
    ['/v1/peers', { vni: FIRST, address: '10.77.0.9' }, 'address'],
    ['/v1/endpoints', { ...endpoint, vtep: '10.77.0.9' }, 'vtep'],
    ['/v1/segments', { vni: 7, peers: ['10.78.0.9', '10.77.0.9'] }, 'peers[1]'],
    [
      '/v1/segments',
      { vni: 7, endpoints: [{ ip: '10.0.0.4', mac: endpoint.mac, vtep: '10.77.0.9' }] },
      'endpoints[0].vtep',
    ],
  ] as const) {
    const { status, fields, message } = await refusal(target, body);
    assert.equal([status, fields], [400, [field]], message);
    assert.match(message, 'TAP here');
  }
  tableEntry(state, { command: 'add-peer', vni: FIRST, address: '10.78.0.9' });
  tableEntry(state, { command: 'remove-peer', vni: FIRST, address: '10.77.0.9' });
});

requests('what is shown of a value is its JSON, up to 80 characters', () => {
  for (const value of [0, -0, 1.5, 'a"b', true, null, [], {}, [1, [2, {}], null], { a: 1, 'b c': [{ d: 'e' }] }])
    assert.is(show(value), JSON.stringify(value));
  assert.is(show({ a: undefined, b: 1 }), '{"b":1}');
  assert.is(show(Infinity), 'Infinity'); // the number 1e400 of a request
  const long = show(Array.from({ length: 100_000 }, (_, i) => i));
  assert.is(long.length, 80);
  assert.ok(long.startsWith('[0,1,2,') && long.endsWith('...'));
});

requests('the name of a namespace, and the path of one, are as long as the system allows', async () => {
  state = planWith(1);
  for (const netns of ['n'.repeat(256), 'é'.repeat(128), `/${'n'.repeat(4096)}`]) {
    const { status, fields, message } = await refusal('/v1/taps', { name: 't', vni: FIRST, netns });
    assert.equal([status, fields], [400, ['netns']]);
    assert.match(message, /longer than the (255|4095) bytes/);
  }
  planTap({ name: 't', vni: FIRST, netns: 'n'.repeat(255) }, state);
  planTap({ name: 't', vni: FIRST, netns: `/${'n'.repeat(4094)}` }, state);
});

requests('a body that is no UTF-8 is refused, and becomes no other name', async () => {
  state = planWith(1);
  const body = Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xff, 0xfe]), Buffer.from(`","vni":${FIRST}}`)]);
  const got = await new Promise<string>((resolve, reject) => {
    let text = '';
    const socket = connect(path);
    socket.on('error', reject).on('data', (data) => (text += data.toString()));
    socket.on('close', () => resolve(text));
    socket.write(`POST /v1/taps HTTP/1.1\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`);
    socket.write(body);
  });
  assert.match(got, /^HTTP\/1\.1 400 /);
  assert.match(got, '"code":"invalid-request","message":"the body must be JSON in UTF-8');
});

requests.run();

/** The configuration of a live VTEP is read again: over the control socket, by `vtep reload`, and on SIGHUP. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type TapListing } from '../../src/host/index.js';
import { type ErrorBody, type Reloaded, type Segment, type Tap } from '../../src/schema/index.js';
import { devices, ENGINE, Lab, must, ping, run, waitFor, type Outcome, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { shellBlocks } from '../support/readme.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('the configuration is read again', ['root', 'tun', 'ip', 'ping', 'curl']);
const directory = mkdtempSync(join(tmpdir(), 'weft-reload-'));
const path = join(directory, 'vtep.sock');
const file = join(directory, 'vtep.json');
const [VNI, OTHER, THIRD] = [4097, 4098, 4099];
const THERE = '172.31.4.2';
let lab: Lab;
let hosts: string[];
const container: Record<1 | 2 | 3 | 4, string> = { 1: '', 2: '', 3: '', 4: '' };

test.before(async () => {
  lab = new Lab('rlo');
  hosts = [await lab.namespace('h1'), await lab.namespace('h2')];
  for (const which of [1, 2, 3, 4] as const) container[which] = await lab.namespace(`c${which}`);
  const [one, two] = hosts.map((ns, i) => ({ ns, device: 'eth0', addresses: [`172.31.4.${i + 1}/24`] }));
  await lab.join(one!, two!);
});
test.after.each(() => lab.killAll());
test.after(async () => {
  await lab.teardown();
  rmSync(directory, { recursive: true });
});

const segment = (vni: number, more: Partial<Segment> = {}): Segment => ({ vni, peers: [THERE], ...more });
const tap = (which: 1 | 2 | 3 | 4, vni: number, more: Partial<Tap> = {}): Tap => ({
  ...{ name: 'eth0', netns: container[which], address: `10.${vni - VNI}.0.${which}/24`, vni },
  ...more,
});

function write(segments: Segment[], taps: Tap[], more: object = {}): void {
  writeFileSync(file, JSON.stringify({ local: '172.31.4.1', engine: ENGINE, control: path, segments, taps, ...more }));
}

/** Starts the VTEP under test, and one on the other host with a container in each segment. */
async function start(segments: Segment[], taps: Tap[]): Promise<Running> {
  const there = join(directory, 'there.json');
  const all = [VNI, OTHER, THIRD];
  writeFileSync(
    there,
    JSON.stringify({
      local: THERE,
      segments: all.map((vni) => ({ vni, peers: ['172.31.4.1'] })),
      taps: all.map((vni, i) => tap(4, vni, { name: `eth${i}` })),
    }),
  );
  await lab.startVtep({ ns: hosts[1]!, args: ['up', '--config', there] });
  write(segments, taps);
  return lab.startVtep({ ns: hosts[0]!, args: ['up', '--config', file] });
}

async function reload(): Promise<Reloaded> {
  const answer = await call(path, 'POST', '/v1/reload');
  assert.is(answer.status, 200, answer.text);
  return JSON.parse(answer.text) as Reloaded;
}

/** A reload that must fail. @returns the code and the message, and the fields. */
async function refused(): Promise<[string, string, string[]]> {
  const answer = await call(path, 'POST', '/v1/reload');
  assert.ok([404, 409].includes(answer.status), answer.text);
  const { code, message, fields = [] } = (JSON.parse(answer.text) as ErrorBody).error;
  assert.not.match(answer.text, /--\w/, 'a message of the API names no flag');
  return [code, message, fields.map((field) => field.path)];
}

const ask = async (target: string): Promise<never> => JSON.parse((await call(path, 'GET', target)).text) as never;
const taps = async (): Promise<TapListing[]> => ask('/v1/taps');
const vnis = async (): Promise<number[]> => ((await ask('/v1/segments')) as Segment[]).map(({ vni }) => vni);
const change = async (method: string, target: string, body?: object): Promise<void> => {
  const answer = await call(path, method, target, body === undefined ? {} : { body });
  assert.is(answer.status, 200, answer.text);
};
const NOTHING = {
  segments: { added: [], removed: [], kept: [] },
  networks: { added: [], removed: [], kept: [] },
  taps: { attached: [], detached: [], replaced: [] },
  ...{ peers: { added: 0, removed: 0 }, endpoints: { added: 0, removed: 0 }, refused: [], restart: [] },
};
const named = (which: 1 | 2 | 3 | 4): object => ({ name: 'eth0', netns: container[which] });

test('segments, TAPs, peers and endpoints change, and a ping beside them loses nothing', async () => {
  const vtep = await start([segment(VNI), segment(OTHER)], [tap(1, VNI), tap(2, OTHER)]);
  assert.is(await ping(container[2], '10.1.0.4'), 3);
  assert.equal(await reload(), NOTHING);
  const pings = ping(container[1], '10.0.0.4', { count: 400, interval: 0.02 });
  const index = await must(['ip', '-n', container[1], '-o', 'link', 'show', 'eth0']);

  const endpoint = { ip: '10.0.0.77', mac: '02:00:00:00:00:77', vtep: THERE };
  const first = segment(VNI, { peers: [THERE, '172.31.4.9'], endpoints: [endpoint] });
  write([first, segment(THIRD)], [tap(1, VNI), tap(3, THIRD)]);
  assert.equal(await reload(), {
    ...NOTHING,
    segments: { added: [THIRD], removed: [OTHER], kept: [] },
    taps: { attached: [named(3)], detached: [named(2)], replaced: [] },
    ...{ peers: { added: 1, removed: 1 }, endpoints: { added: 1, removed: 1 } },
  });
  assert.equal(await vnis(), [VNI, THIRD]);
  assert.is(await ping(container[3], '10.2.0.4'), 3);
  assert.equal(await devices(container[2]), ['lo']);
  const peers = (await ask('/v1/peers?vni=4097')) as { address: string; sources: string[] }[];
  assert.equal(
    peers.map(({ address, sources }) => `${address} ${sources.join()}`),
    [`${THERE} configuration`, '172.31.4.9 configuration'],
  );
  const neighbors = (await ask('/v1/neighbors?vni=4097')) as { ip: string; sources: string[] }[];
  assert.equal(neighbors.map(({ ip, sources }) => `${ip} ${sources.join()}`).sort(), [
    '10.0.0.1 configuration',
    '10.0.0.77 configuration',
  ]);

  // A TAP with another address is replaced; its old endpoint goes.
  write([first, segment(THIRD)], [tap(1, VNI), tap(3, THIRD, { address: '10.2.0.33/24' })]);
  assert.equal(await reload(), {
    ...NOTHING,
    taps: { attached: [], detached: [], replaced: [named(3)] },
  });
  assert.is(await ping(container[3], '10.2.0.4'), 3);
  const third = (await ask(`/v1/neighbors?vni=${THIRD}`)) as { ip: string }[];
  assert.equal(
    third.map(({ ip }) => ip),
    ['10.2.0.33'],
  );

  // As on SIGHUP, which logs the same.
  write([segment(VNI, { mtu: 1300 }), segment(THIRD)], [tap(1, VNI), tap(3, THIRD)], { port: 4790 });
  const before = vtep.stderr.length;
  vtep.signal('SIGHUP');
  await waitFor('the log', () => vtep.stderr.slice(before).includes('restart'));
  assert.match(
    vtep.stderr.slice(before),
    /^\S+ info: the configuration was read again: 1 TAP replaced, 1 peer removed, 1 endpoint removed\n\S+ warning: these changes take effect only after a restart: port, segments\[4097\]\.mtu\n$/,
  );
  assert.equal((await reload()).restart, ['port', 'segments[4097].mtu'], 'it is said again');
  assert.is((await must(['ip', '-n', container[1], '-o', 'link', 'show', 'eth0'])).split(':')[0], index.split(':')[0]);
  assert.is(await pings, 400);
  assert.is((await vtep.stop()).code, 0);
});

test('what was added over the API stays, and what it removed comes back', async () => {
  await start([segment(VNI), segment(OTHER)], [tap(1, VNI)]);
  await change('POST', '/v1/segments', segment(THIRD));
  await change('POST', '/v1/taps', tap(3, THIRD));
  await change('POST', '/v1/taps', tap(2, OTHER));
  await change('POST', '/v1/peers', { vni: VNI, address: '172.31.4.8' });
  await change('DELETE', `/v1/peers?vni=${VNI}&address=${THERE}`);
  await change('DELETE', `/v1/taps?name=eth0&netns=${container[1]}`);
  write([segment(VNI)], [tap(1, VNI)]);
  assert.equal(await reload(), {
    ...NOTHING,
    segments: { added: [], removed: [], kept: [OTHER] },
    taps: { attached: [named(1)], detached: [], replaced: [] },
    peers: { added: 1, removed: 1 },
  });
  assert.equal([await vnis(), (await taps()).length], [[VNI, OTHER, THIRD], 3]);
  assert.is(await ping(container[1], '10.0.0.4'), 3);
  assert.is(await ping(container[3], '10.2.0.4'), 3);
  const peers = (await ask('/v1/peers')) as { vni: number; address: string; sources: string[] }[];
  assert.equal(
    peers.map(({ vni, address, sources }) => `${vni} ${address} ${sources.join()}`).sort(),
    [`${VNI} 172.31.4.8 api`, `${VNI} ${THERE} configuration`, `${THIRD} ${THERE} api`].sort(),
  );
  assert.equal(await reload(), NOTHING);
});

test('a configuration that is wrong changes nothing, and the error has its fields', async () => {
  const vtep = await start([segment(VNI)], [tap(1, VNI)]);
  await change('POST', '/v1/taps', tap(2, VNI));
  const before = [await taps(), await vnis(), await ask('/v1/peers'), await ask('/v1/neighbors')];
  const wrong = [
    { local: '172.31.4.1', segments: [{ vni: 'x' }], taps: [] },
    { local: '172.31.4.1', segments: [segment(VNI), segment(OTHER)], taps: [tap(3, VNI, { vni: 9 })] },
  ];
  for (const [config, fields] of [
    [wrong[0], ['segments[0].vni']],
    [wrong[1], ['taps[0].vni']],
  ] as const) {
    writeFileSync(file, JSON.stringify(config));
    const [code, message, paths] = await refused();
    assert.equal([code, paths], ['invalid-configuration', fields]);
    assert.ok(message.startsWith(`${file}: ${fields[0]}: `), message);
  }
  writeFileSync(file, '{ "local": ');
  assert.match((await refused())[1], /vtep\.json:1:\d+: /);
  rmSync(file);
  assert.match((await refused())[1], /vtep\.json cannot be read: /);
  write([segment(VNI)], [tap(1, VNI), { ...tap(2, VNI), address: '10.0.0.9/24' }]);
  assert.equal(await refused(), [
    'invalid-configuration',
    `${file}: taps[1].name: is attached with other settings; detach it first`,
    ['taps[1].name'],
  ]);
  // What the host does not allow: the segment and the TAP that came before it are taken back.
  write([segment(VNI), segment(OTHER)], [tap(1, VNI), tap(3, OTHER), tap(4, OTHER, { netns: 'no-such-namespace' })]);
  const [, elsewhere, fields] = await refused();
  assert.equal(fields, ['taps[2].netns']);
  assert.ok(elsewhere.startsWith(`${file}: taps[2].netns: `), elsewhere);
  write([segment(VNI), segment(OTHER, { peers: [THERE, '203.0.113.9'] })], [tap(1, VNI)]);
  assert.equal((await refused())[2], ['segments[1].peers[1]']);
  assert.equal([await taps(), await vnis(), await ask('/v1/peers'), await ask('/v1/neighbors')], before);
  assert.equal(await devices(container[3]), ['lo']);
  assert.is(await ping(container[1], '10.0.0.4'), 3);
  assert.is([...vtep.stderr.matchAll(/ error: the configuration stays as it was: /g)].length, 7);
});

test('vtep reload, curl, the event, and a VTEP without a file', async () => {
  const vtep = (...args: string[]): Promise<Outcome> => lab.runVtep({ args: [...args, '--control', path] });
  const running = await start([segment(VNI)], [tap(1, VNI)]);
  const events = lab.spawn(['curl', '-sN', '--unix-socket', path, 'http://vtep/v1/events?type=reloaded']);
  await waitFor('the stream', () => events.stdout.includes('status'));
  write([segment(VNI, { learn: false }), segment(OTHER)], [tap(1, VNI), tap(2, OTHER)]);
  const { code, stdout, stderr } = await vtep('reload');
  assert.equal([code, stderr], [0, '']);
  assert.is(
    stdout,
    'the configuration was read again: 1 segment added, 1 TAP attached\n' +
      'these changes take effect only after a restart: segments[4097].learn\n',
  );
  assert.is(await ping(container[2], '10.1.0.4'), 3);
  const json = await vtep('reload', '--json');
  assert.equal(JSON.parse(json.stdout), { ...NOTHING, restart: ['segments[4097].learn'] });
  const [, , [line]] = shellBlocks('docs/api.md', 'Requests').map((block) => block.split('\n')) as [
    ...[string[], string[], [string]],
  ];
  const curl = await run(['sh', '-c', `cd ${directory} && ${line}`]);
  assert.equal(JSON.parse(curl.stdout), { ...NOTHING, restart: ['segments[4097].learn'] });
  await waitFor('the events', () => [...events.stdout.matchAll(/"type":"reloaded"/g)].length === 3);
  writeFileSync(file, '[]');
  const wrong = await vtep('reload');
  assert.equal([wrong.code, wrong.stdout, wrong.stderr], [1, '', `vtep reload: ${file}: expected an object, got []\n`]);
  await running.stop();

  const flags = ['--vni', String(VNI), '--local', '172.31.4.1', '--tap', 'tap0', '--control', path];
  await lab.startVtep({ ns: hosts[0]!, args: ['up', ...flags] });
  const none = await vtep('reload');
  assert.equal(
    [none.code, none.stderr],
    [1, 'vtep reload: there is no configuration file to read again; start it with --config FILE\n'],
  );
});

test.run();

/** The events of a VTEP: which changes cause them, and how a client receives them, loses some, and filters them. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Value } from '@sinclair/typebox/value';
import { type TSchema } from '@sinclair/typebox';
import { RequestError } from '../src/host/error.js';
import { FailedMembers } from '../src/host/failed-members.js';
import { Intent, type Apply } from '../src/host/intent.js';
import { Logger } from '../src/host/log.js';
import { Notices } from '../src/host/notices.js';
import { type Page } from '../src/host/pages.js';
import { noticeSchema, plan, type Notice } from '../src/schema/index.js';
import { Plane } from './support/state.js';
import { measureTurns } from './support/processor-time.js';

const VNI = 4097;
const A = '192.168.1.1';
const B = '192.168.1.2';
const IP = '10.0.0.4';
const MAC = '02:42:0a:00:00:04';
const OTHER = '02:42:0a:00:00:05';
const never = new AbortController().signal;

/** Fails if an event does not fit its schema. @returns it without its time. */
function checked(notice: Notice): object {
  const { time, ...rest } = notice;
  const line = { event: 'notice', ...notice };
  assert.ok(Value.Check(noticeSchema(notice.type) as unknown as TSchema, line), JSON.stringify(line));
  assert.is(new Date(time).toISOString(), time);
  return rest;
}

interface Started {
  intent: Intent;
  notices: Notices;
  /** What was told since the last call. */
  told: () => object[];
}

async function started(segment: object = {}, apply?: Apply): Promise<Started> {
  const heard: Notice[] = [];
  const notices = new Notices((notice) => heard.push(notice));
  const made = plan({
    ...{ local: '192.168.1.9', segments: [{ vni: VNI, ...segment }], taps: [{ name: 'a', vni: VNI }] },
    ...{ gossip: { networks: [] } },
  });
  for (const one of made.segments) one.mtu = 1450;
  const plane = new Plane();
  const intent = new Intent(made, apply ?? (async (changes) => plane.apply(changes)), notices);
  await intent.start();
  return { intent, notices, told: () => heard.splice(0).map(checked) };
}

const at = (ip: string, mac: string, vtep: string | null, ...sources: string[]): object => ({
  ...{ vni: VNI, ip, mac, vtep },
  sources,
});

test('segments, peers and endpoints: added, held, in effect after all, and removed, with those who want them', async () => {
  const { intent, told } = await started({ peers: [A], endpoints: [{ ip: IP, mac: MAC, vtep: A }] });
  assert.equal(told(), [
    { type: 'segment-added', vni: VNI, sources: ['configuration'] },
    { type: 'peer-added', vni: VNI, address: A, sources: ['configuration'] },
    { type: 'endpoint-added', ...at(IP, MAC, A, 'configuration') },
  ]);
  await intent.change({ command: 'add-peer', vni: VNI, address: A }, 'api');
  assert.equal(told(), [], 'it is in effect already');
  await intent.change({ command: 'add-peer', vni: VNI, address: B }, 'api');
  assert.equal(told(), [{ type: 'peer-added', vni: VNI, address: B, sources: ['api'] }]);
  await intent.change({ command: 'remove-peer', vni: VNI, address: B }, 'api');
  assert.equal(told(), [{ type: 'peer-removed', vni: VNI, address: B, sources: [] }]);

  const sink = intent.gossip(() => assert.unreachable());
  const rival = { ip: IP, mac: OTHER, vtep: B };
  sink.addEndpoint(VNI, rival, 5);
  await turn();
  const by = { kind: 'ip', ip: IP, mac: MAC, vtep: A };
  assert.equal(told(), [{ type: 'endpoint-held', ...at(IP, OTHER, B, 'gossip'), by }]);
  // The holder goes.
  const holder = { vni: VNI, ip: IP, mac: MAC, vtep: A };
  await intent.change({ command: 'remove-endpoint', ...holder }, 'configuration');
  assert.equal(told(), [
    { type: 'endpoint-added', ...at(IP, OTHER, B, 'gossip') },
    { type: 'endpoint-removed', ...at(IP, MAC, A) },
  ]);
  // It comes back, and is older.
  await intent.change({ command: 'add-endpoint', ...holder }, 'configuration');
  assert.equal(told(), [
    { type: 'endpoint-added', ...at(IP, MAC, A, 'configuration') },
    { type: 'endpoint-held', ...at(IP, OTHER, B, 'gossip'), by },
  ]);
  // The one that is held goes: the data plane does not hear of it.
  sink.removeEndpoint(VNI, rival);
  await turn();
  assert.equal(told(), [{ type: 'endpoint-removed', ...at(IP, OTHER, B) }]);
  await intent.removeSegment(VNI);
  assert.equal(told(), [{ type: 'segment-removed', vni: VNI }]);
});

test('an endpoint that moves is added at its new place, and held at the old one while somebody wants it there', async () => {
  const { intent, told } = await started();
  const sink = intent.gossip(() => assert.unreachable());
  sink.addEndpoint(VNI, { ip: IP, mac: MAC, vtep: A }, 5);
  await turn();
  told();
  sink.addEndpoint(VNI, { ip: IP, mac: MAC, vtep: B }, 6);
  await turn();
  const by = { kind: 'place', ip: IP, mac: MAC, vtep: B };
  assert.equal(told(), [
    { type: 'endpoint-added', ...at(IP, MAC, B, 'gossip') },
    { type: 'endpoint-held', ...at(IP, MAC, A, 'gossip'), by },
  ]);
  // Both at once, in an order that the data plane never sees: the first one has no time to be in effect.
  sink.addEndpoint(VNI, { ip: '10.0.0.5', mac: OTHER, vtep: A }, 9);
  sink.addEndpoint(VNI, { ip: '10.0.0.5', mac: '02:42:0a:00:00:06', vtep: B }, 8);
  await turn();
  assert.equal(told(), [
    { type: 'endpoint-added', ...at('10.0.0.5', '02:42:0a:00:00:06', B, 'gossip') },
    {
      ...{ type: 'endpoint-held', ...at('10.0.0.5', OTHER, A, 'gossip') },
      by: { kind: 'ip', ip: '10.0.0.5', mac: '02:42:0a:00:00:06', vtep: B },
    },
  ]);
});

test('nothing is remembered while nobody listens', async () => {
  const notices = new Notices();
  assert.not(notices.isHeard);
  notices.tell('stopping', { failed: false });
  const gone = new AbortController();
  const pages = notices.follow({}, gone.signal);
  assert.ok(notices.isHeard);
  assert.equal((await pages.next()).value, { result: [], dropped: 0 });
  gone.abort();
  assert.equal((await pages.next()).value, { result: [], dropped: 0, last: true });
  assert.ok((await pages.next()).done);
  assert.not(notices.isHeard);
});

/** All entries of a stream, and its last page. */
async function collect(pages: AsyncIterable<Page>): Promise<{ all: Notice[]; last: Page }> {
  const all: Notice[] = [];
  let last!: Page;
  for await (const page of pages) {
    assert.ok(page.result.length <= 256);
    all.push(...(page.result as Notice[]));
    last = page;
  }
  return { all, last };
}

test('a client gets the events that it asks for, and those before the end', async () => {
  const notices = new Notices();
  const asked = [{}, { type: 'peer-added' }, { vni: 5 }, { type: 'peer-added', vni: 5 }, { vni: 7 }] as const;
  const streams = asked.map((request) => collect(notices.follow(request, never)));
  notices.tell('peer-added', { vni: 5, address: A, sources: [] });
  notices.tell('peer-added', { vni: 6, address: B, sources: [] });
  notices.tell('tap-attached', { tap: 't', netns: null, device: 't', vnis: [5, 7] });
  notices.tell('path-narrowed', { address: A, mtu: 1400 });
  notices.close();
  const types = (await Promise.all(streams)).map(({ all, last }) => [all.map(({ type }) => type).join(), last.last]);
  assert.equal(types, [
    ['peer-added,peer-added,tap-attached,path-narrowed', true],
    ['peer-added,peer-added', true],
    ['peer-added,tap-attached', true],
    ['peer-added', true],
    ['tap-attached', true],
  ]);
  assert.equal((await collect(notices.follow({}, never))).all, [], 'the VTEP has stopped');
});

test('a client that does not read loses events and learns how many, and its memory is bounded', async () => {
  const notices = new Notices();
  const slow = notices.follow({}, never);
  const quick = collect(notices.follow({}, never));
  await slow.next();
  const MANY = 100_000;
  for (let i = 0; i < MANY; i++) {
    notices.tell('path-narrowed', { address: A, mtu: i });
    if (i % 100 === 0) await turn();
  }
  notices.close();
  const { all } = await quick;
  assert.is(all.length, MANY, 'a client that reads loses nothing');
  const { all: some, last } = await collect(slow);
  assert.is(some.length, 16_384);
  assert.equal(
    some.map((notice) => (notice as { mtu: number }).mtu),
    some.map((_, i) => i),
    'the first ones, in order',
  );
  assert.is(last.dropped, MANY - some.length);
});

test('there is a page at least once a second, and a limit of clients', async () => {
  const notices = new Notices();
  const gone = new AbortController();
  const first = notices.follow({}, gone.signal);
  await first.next();
  const keepAlive = setInterval(() => undefined, 100);
  const began = performance.now();
  assert.equal((await first.next()).value, { result: [], dropped: 0, last: false });
  clearInterval(keepAlive);
  assert.ok(performance.now() - began > 900);
  const others = Array.from({ length: 15 }, () => notices.follow({}, gone.signal));
  assert.throws(
    () => notices.follow({}, never),
    (error: unknown) => error instanceof RequestError && error.code === 'too-many-requests',
  );
  gone.abort();
  for (const pages of [first, ...others]) for await (const _ of pages);
  notices.follow({}, never);
});

test('lines of the log are events with the same fields, whatever the level of the log', () => {
  const heard: Notice[] = [];
  const notices = new Notices((notice) => heard.push(notice));
  const lines: string[] = [];
  let now = 0;
  const options = { level: 'error' as const, clock: () => 0, now: () => now };
  const log = new Logger(({ event }) => lines.push(event), options).tee((record) => notices.logged(record));
  for (let i = 0; i < 2; i++) log.warning('path-narrowed', 'it is small', { address: A, mtu: 1400 }, { key: A });
  log.error('local-address-lost', 'it is gone', { address: A, fault: 'gone' });
  log.error('reload', 'no event');
  assert.equal(lines.splice(0), ['local-address-lost', 'reload']);
  assert.equal(heard.map(checked), [
    { type: 'path-narrowed', level: 'warning', message: 'it is small', address: A, mtu: 1400 },
    { type: 'local-address-lost', level: 'error', message: 'it is gone', address: A, fault: 'gone' },
  ]);
  now = 61_000;
  log.warning('path-narrowed', 'it is small', { address: A, mtu: 1300 }, { key: A });
  assert.equal(heard.splice(2).map(checked), [
    {
      ...{ type: 'path-narrowed', level: 'warning', address: A, mtu: 1300, suppressed: 1 },
      message: 'it is small (and 1 more like it since the last line)',
    },
  ]);
  // The limit on all lines together is one for the whole log, and events have none.
  for (let i = 0; i < 400; i++) log.error('conflict', String(i), { network: 'n' });
  assert.is(lines.length, 200);
  assert.is(heard.length, 402);
});

test('members that fail and come back', () => {
  const failed = new FailedMembers();
  assert.equal(
    (['alive', 'failed', 'alive', 'left', 'alive', 'failed', 'left', 'alive'] as const).map((state) =>
      failed.follow('h1', state),
    ),
    ['joined', 'failed', 'back', 'left', 'joined', 'failed', 'left', 'joined'],
  );
});

test('65,000 endpoints of the gossip are told in turns of a few milliseconds', async () => {
  // A data plane takes at least one turn for a batch.
  const { intent, notices } = await started({}, () => turn([]));
  const stream = collect(notices.follow({ vni: VNI }, never));
  const sink = intent.gossip(() => assert.unreachable());
  const COUNT = 65_000;
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const measured = measureTurns();
  for (let i = 0; i < COUNT; i++) {
    const [a, b] = [i >> 8, i & 255] as const;
    // Every second one is held by another one with the same IP address.
    const ip = `10.1.${a}.${b & 254}`;
    sink.addEndpoint(VNI, { ip, mac: `02:00:00:00:${hex(a)}:${hex(b)}`, vtep: A }, 1 + i);
    if (i % 256 === 0) await turn(); // a message of the gossip
  }
  for (let i = 0; i < 1000; i++) await turn();
  const { longest, total } = measured();
  notices.close();
  const { all, last: page } = await stream;
  const of = (type: string): number => all.filter((notice) => notice.type === type).length;
  console.log(
    `# ${COUNT} endpoints: the longest turn took ${longest.toFixed(1)} of ${total.toFixed()} ms of processor time`,
  );
  assert.equal([of('endpoint-added'), of('endpoint-held'), page.dropped], [COUNT / 2, COUNT / 2, 0]);
  assert.ok(longest < total / 5, `${longest} of ${total} ms`);
});

test.run();

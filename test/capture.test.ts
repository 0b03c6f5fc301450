/** Captures between the threads that move packets and the clients: order, limits and drop counts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Captures, type Captured } from '../src/host/capture.js';
import { type Page } from '../src/host/pages.js';
import { Recorder, type Records } from '../src/host/recorder.js';
import { plan } from '../src/schema/index.js';
import { waitFor } from './support/lab.js';

const never = new AbortController().signal;

/** The recorders of workers, connected directly to the captures. */
function rig(workers = 1): { recorders: Recorder[]; captures: Captures; hold: boolean; handed: [number, Records][] } {
  const made = plan({
    local: '172.31.1.5',
    workers,
    segments: [{ vni: 1 }],
    taps: [
      { name: 'eth0', vni: 1 },
      { name: 'eth1', vni: 1 },
    ],
  });
  const context = { local: made.local, workers, nameOf: (port: number) => made.taps[port]!.name };
  const captures = new Captures(context, (worker, message) => rig.recorders[worker]!.handle(message));
  const rig = {
    captures,
    /** Whether records are held back, as with a busy control thread. */
    hold: false,
    handed: [] as [number, Records][],
    recorders: Array.from(
      { length: workers },
      (_, worker) =>
        new Recorder((records) =>
          rig.hold ? void rig.handed.push([worker, records]) : captures.take(worker, records),
        ),
    ),
  };
  return rig;
}

async function collect(pages: AsyncIterable<Page>): Promise<{ packets: Captured[]; dropped: number }> {
  const packets: Captured[] = [];
  let dropped = 0;
  for await (const page of pages) {
    packets.push(...(page.result as Captured[]));
    dropped = page.dropped!;
  }
  return { packets, dropped };
}

/** Starts a capture: after the empty first page, packets are recorded. */
async function begin(pages: AsyncGenerator<Page>): Promise<AsyncGenerator<Page>> {
  assert.equal((await pages.next()).value, { result: [], dropped: 0 });
  return pages;
}

test('packets arrive in order, with their metadata', async () => {
  const { captures, recorders } = rig();
  const [recorder] = recorders;
  assert.not(recorder!.active);
  const pages = await begin(captures.open({ command: 'capture', count: 3, seconds: 10 }, never));
  const collected = collect(pages);
  const before = BigInt(Date.now()) * 1_000_000n;
  recorder!.frame(1, 'in', Uint8Array.of(9, 1, 2, 3, 9), 1, 4);
  const [there, here] = [
    { address: '192.168.1.25', port: 50_000 },
    { address: '172.31.1.5', port: 4789 },
  ];
  recorder!.datagram('in', there, here, Uint8Array.of(8, 0), 0, 2);
  recorder!.flush();
  recorder!.datagram('out', { ...here, port: 49_152 }, { ...there, port: 4789 }, Uint8Array.of(8, 1), 0, 2);
  assert.not(recorder!.active, 'the capture stops after three packets');
  recorder!.flush();
  const { packets, dropped } = await collected;
  assert.is(dropped, 0);
  for (const { time } of packets) assert.ok(Math.abs(Number(BigInt(time) - before)) < 10e9, time);
  assert.equal(
    packets.map(({ time: _, ...rest }) => rest),
    [
      { place: 'eth1', direction: 'in', length: 3, data: '010203' },
      { place: 'underlay', direction: 'in', length: 2, data: '0800', source: there, destination: here },
      {
        place: 'underlay',
        direction: 'out',
        length: 2,
        data: '0801',
        source: { address: '172.31.1.5', port: 49_152 },
        destination: { address: '192.168.1.25', port: 4789 },
      },
    ],
  );
});

test('two captures at once have their own counts and snap lengths', async () => {
  const { captures, recorders } = rig();
  const [recorder] = recorders;
  const short = collect(await begin(captures.open({ command: 'capture', count: 2, seconds: 10, snap: 1 }, never)));
  const long = collect(await begin(captures.open({ command: 'capture', count: 3, seconds: 10, snap: 2 }, never)));
  for (let i = 0; i < 3; i++) {
    recorder!.frame(0, 'in', Uint8Array.of(i, i, i), 0, 3);
    recorder!.flush();
  }
  const data = ({ packets }: { packets: Captured[] }): unknown => packets.map((one) => [one.data, one.length]);
  assert.equal(data(await short), [
    ['00', 3],
    ['01', 3],
  ]);
  assert.equal(data(await long), [
    ['0000', 3],
    ['0101', 3],
    ['0202', 3],
  ]);
  assert.not(recorder!.active);
});

test('packets without buffer space are counted as dropped; the recorder never waits', async () => {
  const one = rig();
  const { captures, recorders } = one;
  const [recorder] = recorders;
  const pages = await begin(captures.open({ command: 'capture', count: 1_000_000, seconds: 1 }, never));
  const frame = new Uint8Array(60_000);
  one.hold = true;
  for (let i = 0; i < 1000; i++) {
    recorder!.frame(0, 'in', frame, 0, frame.length);
    recorder!.flush();
  }
  one.hold = false;
  for (const [worker, records] of one.handed) captures.take(worker, records);
  recorder!.flush();
  const { packets, dropped } = await collect(pages);
  assert.ok(packets.length > 30 && packets.length < 80, `${packets.length} packets`);
  assert.is(packets.length + dropped, 1000);
});

test('a client that does not read takes bounded memory, and causes no drops for other clients', async () => {
  const { captures, recorders } = rig();
  const [recorder] = recorders;
  const slow = await begin(captures.open({ command: 'capture', count: 1_000_000, seconds: 20 }, never));
  const frame = new Uint8Array(60_000);
  const record = (times: number): void => {
    for (let i = 0; i < times; i++) {
      recorder!.frame(0, 'in', frame, 0, frame.length);
      recorder!.flush();
    }
  };
  record(3000);
  const before = process.memoryUsage().arrayBuffers;
  record(3000);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 << 20);
  const other = collect(await begin(captures.open({ command: 'capture', count: 20, seconds: 20 }, never)));
  record(20);
  const { packets, dropped } = await other;
  assert.equal([packets.length, dropped], [20, 0]);
  let last: Page = { result: [] };
  let got = 0;
  for (let i = 0; i < 200 && got < 60; i++) {
    last = (await slow.next()).value as Page;
    got += last.result.length;
  }
  assert.ok(last.dropped! > 5800, `${last.dropped} dropped`);
  await slow.return(undefined);
  assert.not(recorder!.active, 'no capture is active');
});

test('a capture ends after its time, when the client has gone, and when the engine stops', async () => {
  const { captures, recorders } = rig();
  const request = { command: 'capture', count: 10, seconds: 20 } as const;
  const timed = collect(await begin(captures.open({ ...request, seconds: 0.5 }, never)));
  recorders[0]!.frame(0, 'in', Uint8Array.of(1), 0, 1);
  recorders[0]!.flush();
  assert.is((await timed).packets.length, 1);
  const controller = new AbortController();
  const left = collect(await begin(captures.open(request, controller.signal)));
  controller.abort();
  assert.is((await left).packets.length, 0);
  const stopped = collect(await begin(captures.open(request, never)));
  captures.stop();
  assert.is((await stopped).packets.length, 0);
  assert.not(recorders[0]!.active);
});

test('an empty page shows the client each second that the VTEP is alive', async () => {
  const { captures } = rig();
  const pages = await begin(captures.open({ command: 'capture', count: 10, seconds: 20 }, never));
  const start = performance.now();
  assert.equal((await pages.next()).value, { result: [], dropped: 0, last: false });
  assert.ok(performance.now() - start > 900);
  await pages.return(undefined);
});

test('captures are limited in number', async () => {
  const { captures } = rig();
  const request = { command: 'capture', count: 10, seconds: 20 } as const;
  const open = await Promise.all(Array.from({ length: 8 }, () => begin(captures.open(request, never))));
  assert.throws(() => captures.open(request, never), /^8 captures are running, which is the limit; end one of them$/);
  await open[0]!.return(undefined);
  await begin(captures.open(request, never));
});

test('packets of several workers come in the order of their times', async () => {
  const { captures, recorders } = rig(3);
  const collected = collect(await begin(captures.open({ command: 'capture', count: 300, seconds: 20 }, never)));
  for (let i = 0; i < 300; i++) recorders[(i * 7) % 3]!.frame(0, 'in', Uint8Array.of(i >> 8, i & 255), 0, 2);
  recorders[2]!.flush();
  await sleep(5);
  recorders[1]!.flush();
  recorders[0]!.flush();
  const { packets } = await collected;
  const times = packets.map(({ time }) => BigInt(time));
  assert.is(packets.length, 300);
  assert.equal(
    times,
    [...times].sort((a, b) => Number(a - b)),
  );
});

test('recording continues after a pause without readers', async () => {
  const one = rig();
  const [recorder] = one.recorders;
  const pages = await begin(one.captures.open({ command: 'capture', count: 400, seconds: 20 }, never));
  const collected = collect(pages);
  const frame = new Uint8Array(30_000);
  let recorded = 0;
  const timer = setInterval(() => {
    recorder!.frame(0, 'in', frame, 0, frame.length);
    recorder!.flush();
    recorded++;
  }, 1);
  await waitFor('the packets', () => !recorder!.active);
  clearInterval(timer);
  const { packets, dropped } = await collected;
  assert.is(packets.length, 400);
  assert.ok(recorded >= 400 && dropped <= recorded - 400, `${recorded} recorded, ${dropped} dropped`);
});

test.run();

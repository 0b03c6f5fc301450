/** The pace at which datagrams and streams of the gossip are processed. */
import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GossipHost } from '../src/host/gossip.js';
import { Pacer } from '../src/host/pacer.js';

function work(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

test('runs jobs in order, a few milliseconds of them in each turn of the event loop', async () => {
  const pacer = new Pacer(100_000);
  const done: number[] = [];
  for (let i = 0; i < 10; i++)
    pacer.add(1, () => {
      work(2);
      done.push(i);
    });
  // On a busy machine a job of 2 ms takes longer.
  assert.ok(done.length === 1 || done.length === 2, `${done.length} jobs of 2 ms at once`);
  let most = 0;
  while (done.length < 10) {
    const before = done.length;
    await turn();
    most = Math.max(most, done.length - before);
  }
  assert.equal(done, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.ok(most <= 2, `${most} jobs of 2 ms in one turn`);
  await turn();
  await turn();
  pacer.add(1, () => void done.push(10));
  assert.is(done.at(-1), 10, 'with nothing to do, a job runs at once');
  pacer.stop();
});

test('its memory is bounded: too many bytes make the oldest jobs run at once', () => {
  const pacer = new Pacer(6200); // ten jobs of 100 bytes, with 512 bytes of overhead each
  const done: number[] = [];
  pacer.add(1, () => work(5));
  for (let i = 0; i < 12; i++) pacer.add(100, () => void done.push(i));
  assert.equal(done, [0, 1]);
  pacer.stop();
  pacer.add(1, () => void done.push(99));
  assert.equal(done, [0, 1], 'a stopped one runs nothing');
});

/** Joins the member at a port, and sends it messages over streams, each with its number in front. */
const SENDER = `
  import { GossipHost } from ${JSON.stringify(new URL('../src/host/gossip.ts', import.meta.url).href)};
  const [port, count] = process.argv.slice(1).map(Number);
  const host = await GossipHost.open({ name: 'one', address: '127.0.0.1', port: 0 });
  await host.join([{ address: '127.0.0.1', port }]);
  for (let i = 0; i < count; i++) {
    const message = new Uint8Array(20_000).map(() => Math.random() * 256);
    message.set(new TextEncoder().encode(String(i).padStart(8, '0')));
    host.act((machine) => machine.sendReliable('two', message));
  }
  process.stdin.on('end', () => process.exit()).resume();
`;

test('every message over a stream arrives, although the sender closes while the receiver is busy', async () => {
  const COUNT = 60;
  const received = new Set<string>();
  const two = await GossipHost.open(
    { name: 'two', address: '127.0.0.1', port: 0 },
    {
      receive: (message) => {
        work(10);
        received.add(new TextDecoder().decode(message.subarray(0, 8)));
      },
    },
  );
  const words = ['--import', 'tsx', '--input-type=module', '-e', SENDER, String(two.machine.self.port), String(COUNT)];
  const sender = spawn(process.execPath, words, { stdio: ['pipe', 'inherit', 'inherit'] });
  const ended = new Promise((resolve) => sender.on('exit', resolve));
  try {
    for (let i = 0; i < 1200 && received.size < COUNT; i++) await sleep(50);
    assert.is(received.size, COUNT);
  } finally {
    sender.stdin.end();
    await ended;
    two.close();
  }
});

test.run();

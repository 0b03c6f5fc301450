/**
 * bench/limit.c, against which the benchmark compares the engine `linux`: it transfers what it is given unchanged, to
 * itself, to VTEPs of ours and to the kernel's, and ends when it should.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { buildLimit, limitCounts, startLimit } from '../../bench/limit.js';
import { ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { Pair, VNI, type Kind, type Which } from '../support/pair.js';
import { exchange, offloads, serve } from '../support/traffic.js';

const limit = suiteWith('limit.c', ['root', 'tun', 'ip', 'ping', 'ethtool', 'cc']);

/** Echo requests after which calls are compared, and how often they are sent. */
const PINGS = 100;
const RUNS = 4;
const COUNTERS = [
  ...['framesRead', 'datagramsSent', 'datagramsReceived', 'framesWritten'],
  ...['readCalls', 'sendCalls', 'receiveCalls', 'writeCalls', 'pollCalls'],
];

const directory = mkdtempSync(join(tmpdir(), 'weft-limit-'));
let program: string;
let pair: Pair;

limit.before(async () => {
  const built = await buildLimit(directory);
  assert.ok('program' in built, JSON.stringify(built));
  program = built.program;
  pair = await Pair.create('lim');
});

limit.after.each(() => pair.down());

limit.after(async () => {
  await pair?.teardown();
  rmSync(directory, { recursive: true, force: true });
});

const other = (which: Which): Which => (which === 1 ? 2 : 1);

function start(which: Which, sums: boolean): Promise<Running> {
  return startLimit(pair.lab, program, {
    node: pair.node(which),
    container: pair.container(which),
    local: pair.underlay(which),
    remote: pair.underlay(other(which)),
    vni: String(VNI),
    tap: 'eth0',
    address: `${pair.address(which)}/24`,
    mtu: 1450,
    sums,
  });
}

/** Pings, and transfers in both directions that are compared by hash. */
async function transfer(): Promise<void> {
  await waitFor('the overlay', async () => (await ping(pair.container(1), pair.address(2), { count: 1 })) === 1);
  assert.is(await ping(pair.container(2), pair.address(1)), 3);
  for (const which of [1, 2] as const) {
    const name = `container ${which}`;
    const server = await serve(pair.lab, pair.container(which), pair.address(which), name);
    const client = { ns: pair.container(other(which)), ip: pair.address(other(which)) };
    assert.is(await exchange(client, server), name);
    await server.server.stop('SIGKILL');
  }
}

async function underlayWithoutOffloads(): Promise<void> {
  for (const which of [1, 2] as const) await offloads(pair.node(which), 'eth0', 'off');
}

for (const kind of ['linux', 'dgram', 'kernel'] satisfies Kind[])
  for (const state of ['on', 'off']) {
    // With them, the kernel sends super-frames whole, as no wire carries them.
    if (kind === 'kernel' && state === 'on') continue;
    limit(`with ${kind} on the other host, and the underlay’s offloads ${state}`, async () => {
      await pair.cable(1500);
      if (state === 'off') await underlayWithoutOffloads();
      const running = await start(1, true);
      await pair.start(2, kind, 1450);
      await transfer();
      const { superFramesRead, superFramesWritten, sendErrors, writeErrors } = await limitCounts(running);
      assert.ok(superFramesRead! > 0 && superFramesWritten! > 0);
      assert.equal([sendErrors, writeErrors], [0, 0]);
      if (kind === 'kernel') return;
      const { engine } = await pair.counters(2);
      assert.equal([engine.sendErrors, engine.writeErrors], [{}, {}]);
    });
  }

for (const state of ['on', 'off'])
  limit(`with itself and unfinished checksums, and the underlay’s offloads ${state}`, async () => {
    await pair.cable(1500);
    if (state === 'off') await underlayWithoutOffloads();
    const [one, two] = [await start(1, false), await start(2, false)];
    await transfer();
    const [first, second] = [await limitCounts(one), await limitCounts(two)];
    for (const { superFramesRead, superFramesWritten, sendErrors, writeErrors } of [first, second]) {
      assert.ok(superFramesRead! > 0 && superFramesWritten! > 0);
      assert.equal([sendErrors, writeErrors], [0, 0]);
    }
    assert.is(first['datagramsReceived'], second['datagramsSent']);
    // Far fewer calls than packets, in both directions. The datagrams of `exchange` are not merged.
    assert.ok(first['sendCalls']! < first['datagramsSent']! / 2, JSON.stringify(first));
    assert.ok(second['writeCalls']! < second['datagramsReceived']! / 2, JSON.stringify(second));
  });

/**
 * Calls and frames of the first host for each echo request from there. Of several runs, the one with most calls: a program
 * that gets the processor late handles several packets at a time.
 */
async function callsPerPing(counts: () => Promise<Record<string, unknown>>): Promise<Record<string, number>> {
  await waitFor('the overlay', async () => (await ping(pair.container(1), pair.address(2), { count: 1 })) === 1);
  const runs: Record<string, number>[] = [];
  while (runs.length < RUNS) {
    const before = await counts();
    const received = await ping(pair.container(1), pair.address(2), { count: PINGS, interval: 0.01 });
    assert.ok(received > 0.9 * PINGS, `${received} replies`);
    const after = await counts();
    const perPing = (name: string): number => (Number(after[name]) - Number(before[name])) / PINGS;
    runs.push(Object.fromEntries(COUNTERS.map((name) => [name, perPing(name)])));
  }
  return runs.reduce((best, one) => (one['pollCalls']! > best['pollCalls']! ? one : best));
}

limit('it makes as many calls per ping as the engine linux', async () => {
  await pair.cable(1500);
  await pair.up('linux', 'linux', 1450);
  const engine = await callsPerPing(async () => ({ ...(await pair.counters(1)).engine }));
  await pair.down();
  await pair.cable(1500);
  const [running] = [await start(1, false), await start(2, false)];
  const ours = await callsPerPing(() => limitCounts(running));
  for (const name of COUNTERS)
    assert.ok(
      Math.abs(ours[name]! - engine[name]!) < 0.1,
      `${name}: ${ours[name]} per ping, and ${engine[name]} by the engine`,
    );
  // Each ping is a frame out and one in, and the TAP is read until it is empty.
  assert.ok(Math.abs(ours['readCalls']! - 2) < 0.2, `${ours['readCalls']} reads`);
});

limit('SIGTERM ends it, with its counters on standard error', async () => {
  await pair.cable(1500);
  const running = await start(1, false);
  const { code, signal, stderr } = await running.stop();
  assert.equal([code, signal], [0, null]);
  const counts = JSON.parse(stderr) as Record<string, number>;
  assert.ok(counts['pollCalls']! > 0);
  assert.is(counts['superFramesRead'], 0);
});

limit('it ends with its parent', async () => {
  await pair.cable(1500);
  const command = [program, 'tap9', pair.underlay(1), pair.underlay(2), String(VNI)];
  const parent = pair.lab.spawn(['sh', '-c', '"$@" & wait', 'sh', ...command], { ns: pair.node(1) });
  await waitFor('limit to be ready', () => parent.stdout === 'ready\n');
  // Resolves when both have closed their standard output.
  const { signal, stderr } = await parent.stop('SIGKILL');
  assert.is(signal, 'SIGKILL');
  assert.match(stderr, /"pollCalls"/);
});

limit('a system call that fails ends it, with the reason', async () => {
  await pair.cable(1500);
  const command = [program, 'tap9', '192.0.2.1', pair.underlay(2), String(VNI)];
  const { code, stderr } = await pair.lab.spawn(command, { ns: pair.node(1) }).ended;
  assert.is(code, 1);
  assert.is(stderr, 'limit: bind: Cannot assign requested address\n');
});

limit.run();

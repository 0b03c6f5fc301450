/** How a VTEP ends, with each engine: by a signal during a transfer, by SIGKILL, and by an internal failure. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { devices, Lab, ping, udpSockets, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const lifecycle = suiteWith('how a VTEP ends', ['root', 'tun', 'ip', 'ping', 'iperf3']);

type Which = 1 | 2;
type EngineName = 'dgram' | 'linux';

/** Most milliseconds until a VTEP has ended, on a loaded machine. The transfer would go on for a minute. */
const SOON = 20_000;
const directory = mkdtempSync(join(tmpdir(), 'weft-lifecycle-'));
const mishap = join(directory, 'mishap');
const preloaded = join(directory, 'mishap.cjs');
/** Makes the thread of the linux engine fail once the file `mishap` exists. */
const MISHAP = `
  const { existsSync } = require('node:fs');
  const { getUint32 } = DataView.prototype; // each turn reads the time with it
  if (!require('node:worker_threads').isMainThread)
    DataView.prototype.getUint32 = function (...where) {
      if (existsSync(${JSON.stringify(mishap)})) throw new Error('a mishap');
      return getUint32.apply(this, where);
    };`;

let lab: Lab;
const node = {} as Record<Which, string>;
const container = {} as Record<Which, string>;

lifecycle.before(async () => {
  lab = new Lab('lc');
  writeFileSync(preloaded, MISHAP);
  for (const which of [1, 2] as const) {
    node[which] = await lab.namespace(`node${which}`);
    container[which] = await lab.namespace(`c${which}`);
  }
  const end = (which: Which) => ({ ns: node[which], device: 'eth0', addresses: [`172.31.1.${which}/24`] });
  await lab.join(end(1), end(2));
});

lifecycle.after.each(() => lab?.killAll());

lifecycle.after(async () => {
  await lab?.teardown();
  rmSync(directory, { recursive: true, force: true });
});

function start(which: Which, engine: EngineName, env: Record<string, string> = {}): Promise<Running> {
  return lab.startVtep({
    ns: node[which],
    env,
    args: [
      ...['up', '--engine', engine, '--vni', '4097', '--local', `172.31.1.${which}`, '--peer', `172.31.1.${3 - which}`],
      ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`],
      ...['--control', join(directory, `control${which}`)],
    ],
  });
}

/** A transfer from the first container to the second at full speed, for the duration of the test. */
async function load(): Promise<void> {
  const server = lab.spawn(['iperf3', '-s', '--forceflush'], { ns: container[2] });
  await waitFor('iperf3 to listen', () => /listening/.test(server.stdout));
  await waitFor('a ping to come back', reached);
  const client = lab.spawn(['iperf3', '-c', '10.0.0.2', '-t', '60', '--forceflush'], { ns: container[1] });
  await waitFor('the transfer to run', () => {
    assert.ok(client.running, client.stdout + client.stderr);
    return /bits\/sec/.test(client.stdout);
  });
}

async function reached(): Promise<boolean> {
  return (await ping(container[1], '10.0.0.2', { count: 1 })) === 1;
}

async function nothingLeft(which: Which): Promise<void> {
  assert.equal(await devices(container[which]), ['lo']);
  assert.equal(await devices(node[which]), ['lo', 'eth0']);
  assert.equal(await udpSockets(node[which]), []);
}

for (const engine of ['dgram', 'linux'] as const) {
  lifecycle(`${engine}: SIGTERM and SIGINT during a transfer end it soon, and nothing is left`, async () => {
    const vteps = [await start(1, engine), await start(2, engine)] as const;
    await load();
    for (const [i, signal] of (['SIGTERM', 'SIGINT'] as const).entries()) {
      const began = performance.now();
      const { code, stdout, stderr } = await vteps[i]!.stop(signal);
      assert.ok(performance.now() - began < SOON, `${signal} took ${performance.now() - began} ms`);
      assert.equal([code, stderr], [0, '']);
      assert.match(stdout, /^frames-in +[1-9]/m);
      await nothingLeft((i + 1) as Which);
    }
  });

  lifecycle(`${engine}: after SIGKILL during a transfer, a new VTEP starts without errors`, async () => {
    const one = await start(1, engine);
    const two = await start(2, engine);
    await load();
    await one.stop('SIGKILL');
    await waitFor('the device to go', async () => (await devices(container[1])).length === 1);
    await nothingLeft(1);
    const again = await start(1, engine);
    await waitFor('a ping to come back', reached);
    for (const vtep of [again, two]) assert.is((await vtep.stop()).code, 0);
  });
}

lifecycle('linux: a failed thread is reported and the program exits with 1; nothing is left', async () => {
  const one = await start(1, 'linux', { NODE_OPTIONS: `--require=${preloaded}` });
  await start(2, 'linux');
  // Not at once: what an earlier test's connection has still to send asks for the address before there is anybody to
  // answer.
  await waitFor('a ping to come back', reached);
  writeFileSync(mishap, '');
  const { code, stderr } = await one.ended;
  assert.equal([code, stderr], [1, 'vtep: the thread that moves the frames has failed: a mishap\n']);
  await nothingLeft(1);
});

lifecycle.run();

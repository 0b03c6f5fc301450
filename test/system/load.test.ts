/**
 * Correctness under load: transfers compared by hash, for every pair of engines and with the kernel, over a faulty
 * wire, with a killed VTEP, in thousands of connections, and with invalid datagrams in between.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { type DropReason } from '../../src/vtep/index.js';
import { exec, must, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { OVERHEAD, Pair, VNI, type Kind, type Which } from '../support/pair.js';
import { offloads, requireClean } from '../support/traffic.js';

const load = suiteWith('load', ['root', 'tun', 'ip', 'ping']);

const PROGRAM = fileURLToPath(new URL('../support/load.mjs', import.meta.url));
const MB = 1e6;
/** Rates in frames per hundred. */
const FAULTS = { lost: 1, doubled: 1, reordered: 1 };
const SEED = 20_407;

let pair: Pair;

load.before(async () => {
  pair = await Pair.create('wlo');
});

load.after.each(() => pair.down());

load.after(() => pair?.teardown());

/** The report of one end of a transfer. */
interface Report {
  /** The client's. */
  port: number;
  sent: string;
  received: string;
}

const reports = ({ stdout }: Running): Report[] =>
  stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Report);

async function serve(which: Which): Promise<Running> {
  const server = pair.lab.spawn([process.execPath, PROGRAM, 'serve'], { ns: pair.container(which) });
  await waitFor('the server', () => server.stdout.startsWith('ready\n') || !server.running);
  assert.ok(server.running, server.stderr);
  return server;
}

/** Bytes sent and received over one connection to a server. */
async function transfer(from: Which, server: Running, up: number, down: number): Promise<void> {
  const to = from === 1 ? 2 : 1;
  const sizes = [String(up), String(down)];
  const text = await exec(pair.container(from), [process.execPath, PROGRAM, 'transfer', pair.address(to), ...sizes]);
  const mine = JSON.parse(text) as Report;
  const theirs = await waitFor('the server’s report', () => reports(server).find(({ port }) => port === mine.port));
  assert.is(theirs.received, mine.sent, `${up} bytes from container ${from}`);
  assert.is(mine.received, theirs.sent, `${down} bytes to container ${from}`);
}

/** Transfers bytes in both directions at once, over separate connections or one. */
async function bothWays(bytes: number, connections: 1 | 2): Promise<void> {
  const [one, two] = [await serve(1), await serve(2)];
  if (connections === 1) await transfer(1, two, bytes, bytes);
  else await Promise.all([transfer(1, two, bytes, 0), transfer(2, one, bytes, 0)]);
  await Promise.all([one.stop(), two.stop()]);
}

const PAIRS: [Kind, Kind][] = [
  ['linux', 'linux'],
  ['linux', 'dgram'],
  ['linux', 'kernel'],
  ['dgram', 'kernel'],
];

/** Four thousand connections, fifty at a time, each with a request and its answer. */
async function knock(): Promise<void> {
  const server = await serve(2);
  const words = ['knock', pair.address(2), '4000', '50'];
  const text = await exec(pair.container(1), [process.execPath, PROGRAM, ...words]);
  assert.equal(JSON.parse(text), { answered: 4000 });
  await server.stop();
}

/**
 * Fails if a VTEP dropped anything or an engine counted an error, except for datagrams that found a socket full, as
 * happens on a loaded machine.
 */
async function requireNoLoss(kinds: readonly Kind[]): Promise<void> {
  for (const [i, kind] of kinds.entries()) {
    if (kind === 'kernel') continue;
    const counters = await pair.counters((i + 1) as Which);
    delete counters.engine.receiveErrors['OVERFLOW'];
    delete counters.engine.sendErrors['EAGAIN'];
    requireClean(counters);
  }
}

for (const kinds of PAIRS)
  load(`${kinds.join(' and ')}: 40 MB in both directions at once, and 4,000 short connections`, async () => {
    await pair.cable(1500);
    await pair.up(...kinds, 1500 - OVERHEAD);
    await bothWays(40 * MB, 2);
    await bothWays(10 * MB, 1);
    await knock();
    await requireNoLoss(kinds);
  });

for (const kinds of PAIRS)
  load(
    `${kinds.join(' and ')}: 40 MB in both directions at once, over a wire that drops, duplicates and reorders`,
    async () => {
      const { relayed } = await pair.relay(1500, FAULTS, SEED);
      await pair.up(...kinds, 1500 - OVERHEAD);
      await bothWays(40 * MB, 2);
      await bothWays(10 * MB, 1);
      for (const fault of ['lost', 'doubled', 'reordered'] as const)
        assert.ok(Math.abs(relayed[fault] / relayed.frames - 0.01) < 0.005, JSON.stringify(relayed));
      await requireNoLoss(kinds);
    },
  );

const SIZES: [number, [Kind, Kind]][] = [
  [1280, ['linux', 'linux']],
  [9000, ['linux', 'linux']],
  [9000 + OVERHEAD, ['linux', 'linux']],
  [1280, ['linux', 'kernel']],
  [9000, ['linux', 'kernel']],
  [9000, ['dgram', 'linux']],
];
for (const [underlay, kinds] of SIZES)
  load(`${kinds.join(' and ')} on an underlay of MTU ${underlay}: 15 MB in both directions at once`, async () => {
    await pair.cable(underlay);
    // As on a physical wire, every device segments before it sends.
    for (const which of [1, 2] as const) await offloads(pair.node(which), 'eth0', 'off');
    await pair.up(...kinds, underlay - OVERHEAD);
    await bothWays(15 * MB, 2);
    await requireNoLoss(kinds);
  });

load('transfers continue after either VTEP is killed and started again', async () => {
  await pair.cable(1500);
  const mtu = 1500 - OVERHEAD;
  const sides = await pair.up('linux', 'linux', mtu);
  let over = false;
  const under = bothWays(200 * MB, 2).finally(() => (over = true));
  under.catch(() => undefined); // waited for below
  for (const which of [1, 2] as const) {
    const received = async (): Promise<number> => (await pair.counters(which)).vtep.counts['datagram-bytes-in'];
    const before = await received();
    await waitFor('some more of it', async () => over || (await received()) > before + 20 * MB);
    assert.not(over, 'it was over before the kill');
    await sides[which - 1]!.vtep!.stop('SIGKILL');
    const links = ['ip', '-n', pair.container(which), 'link'];
    await waitFor('the device to go', async () => !(await must(links)).includes('eth0'));
    await pair.start(which, 'linux', mtu);
  }
  await under;
});

/** Kinds of garbage that the VTEP drops, with the reason. The containers drop the rest. */
const DROPPED: Record<string, DropReason> = {
  'no flag': 'vxlan-flag',
  'half a header': 'datagram-truncated',
  'another VNI': 'unknown-vni',
  'half a frame': 'frame-truncated',
  'a group address as source': 'source-group',
  'a tag': 'vlan-unexpected',
};

for (const kind of ['linux', 'dgram'] as const)
  load(
    `${kind}: garbage on the port during transfers is counted, and affects neither transfers nor memory`,
    async () => {
      await pair.cable(1500);
      const [, { vtep }] = await pair.up(kind, kind, 1500 - OVERHEAD);
      const flood = async (seconds: number): Promise<Record<string, number>> => {
        const words = ['garbage', pair.underlay(2), '4789', String(VNI), String(seconds)];
        return JSON.parse(await exec(pair.node(1), [process.execPath, PROGRAM, ...words])) as Record<string, number>;
      };
      // Warm-up: tables and compiled code keep their memory.
      const [first] = await Promise.all([flood(3), bothWays(20 * MB, 2)]);
      const memory = resident(vtep!.pid);
      const [second] = await Promise.all([flood(6), bothWays(50 * MB, 2)]);
      const growth = resident(vtep!.pid) - memory;
      const { drops } = (await pair.counters(2)).vtep;
      for (const [name, reason] of Object.entries(DROPPED)) {
        const sent = first[name]! + second[name]!;
        const text = `${name}: ${sent} sent, ${drops[reason]} counted as ${reason}`;
        assert.ok(drops[reason] <= sent && drops[reason] > sent * 0.5, text); // a full socket may lose some
      }
      assert.ok(growth < 24, `${memory.toFixed()} MiB before, ${growth.toFixed(1)} more after`);
    },
  );

/** Resident memory in MiB. */
function resident(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

load.run();

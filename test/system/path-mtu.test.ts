/**
 * Paths that become narrow and wide again behind a router, with ICMP errors and without, while TCP runs: both engines over both
 * families at once, in networks of their own.
 *
 *     a1 .. a4 -- node1 ---- router ---- node2 -- b1 .. b4
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { ask, type AllCounters } from '../../src/host/index.js';
import { type RemoteListing } from '../../src/vtep/index.js';
import { createUnderlay, must, ping, run, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { quietNamespace } from '../support/traffic.js';

const test = suiteWith('path MTUs', ['root', 'tun', 'ip', 'ping', 'sysctl']);
const directory = mkdtempSync(join(tmpdir(), 'weft-path-mtu-'));
const STREAM = fileURLToPath(new URL('../support/stream.mjs', import.meta.url));
/** Milliseconds within which a transfer must move again after its path has become narrow, without ICMP. */
const RECOVERY = 45_000;

interface Pair {
  name: string;
  vni: string;
  engine: string;
  family: 'address' | 'address6';
  port: string;
  /** What the tunnel adds. */
  overhead: number;
  a: string;
  b: string;
  stream?: Running;
}

const PAIRS: Pair[] = (['linux', 'dgram'] as const).flatMap((engine, i) =>
  (['address', 'address6'] as const).map((family, j) => ({
    ...{ name: `${engine} over ${family === 'address' ? 'IPv4' : 'IPv6'}`, engine, family },
    vni: String(100 + 2 * i + j),
    port: String(4789 + i),
    overhead: family === 'address' ? 50 : 70,
    ...{ a: '', b: '' },
  })),
);
let underlay: Underlay;

const socketOf = ({ vni }: Pair, which: 1 | 2): string => join(directory, `${vni}-${which}`);

async function start(pair: Pair, which: 1 | 2): Promise<void> {
  const { lab, node1, node2 } = underlay;
  const [here, there] = which === 1 ? [node1, node2] : [node2, node1];
  await lab.startVtep({
    ns: here.ns,
    args: [
      ...['up', '--vni', pair.vni, '--local', here[pair.family], '--peer', there[pair.family], '--port', pair.port],
      ...['--engine', pair.engine, '--control', socketOf(pair, which), '--tap', 'eth0'],
      ...[
        '--netns',
        which === 1 ? pair.a : pair.b,
        '--address',
        `10.0.0.${which}/24`,
        '--address',
        `fd0a::${which}/64`,
      ],
    ],
  });
}

/** The router sends packets of at most `mtu` bytes towards both nodes; `null`: as large as the devices take. */
async function narrow(mtu: number | null): Promise<void> {
  const { router } = underlay;
  const limit = mtu === null ? [] : ['mtu', 'lock', String(mtu)];
  for (const [prefix, device] of [
    ['172.31.1.0/24', 'eth1'],
    ['192.168.1.0/24', 'eth2'],
    ['fd00:1::/64', 'eth1'],
    ['fd00:2::/64', 'eth2'],
  ] as const) {
    const family = prefix.includes(':') ? '-6' : '-4';
    await must(['ip', '-n', router, family, 'route', 'del', prefix, 'dev', device]);
    await must(['ip', '-n', router, family, 'route', 'add', prefix, 'dev', device, ...limit]);
  }
}

/** Lets the router send ICMP errors, or none: a rule drops what it sends itself. */
async function allowErrors(on: boolean): Promise<void> {
  for (const family of ['-4', '-6'])
    await must([
      'ip',
      '-n',
      underlay.router,
      family,
      'rule',
      on ? 'del' : 'add',
      'iif',
      'lo',
      'pref',
      '10',
      'blackhole',
    ]);
}

async function remote(pair: Pair, which: 1 | 2 = 1): Promise<RemoteListing> {
  const [one] = (await ask(socketOf(pair, which), { command: 'remotes' })) as RemoteListing[];
  return one!;
}

const counts = async (pair: Pair) =>
  ((await ask(socketOf(pair, 1), { command: 'counters' })) as AllCounters).vtep.counts;

/** Bytes that have arrived at the end of a pair's stream. */
const arrived = ({ stream }: Pair): number => Number(/(\d+)\n$/.exec(stream!.stdout)?.[1] ?? 0);

/** Waits until each stream has moved a megabyte more, and returns how long that took. */
async function requireProgress(within = RECOVERY): Promise<number> {
  const before = PAIRS.map(arrived);
  const began = performance.now();
  await Promise.all(
    PAIRS.map((pair, i) =>
      waitFor(`${pair.name}: progress`, () => arrived(pair) > before[i]! + 1_000_000, within).catch(async (error) => {
        throw new Error(`${(error as Error).message}; ${JSON.stringify(await remote(pair))}`);
      }),
    ),
  );
  return performance.now() - began;
}

const began = performance.now();
const note = (what: string): void => {
  if (process.env['VERBOSE']) console.log(`${Math.round((performance.now() - began) / 1000)} s: ${what}`);
};

test.before(async () => {
  underlay = await createUnderlay({ prefix: 'pmt' });
  const { lab } = underlay;
  for (const [i, pair] of PAIRS.entries()) {
    pair.a = await lab.namespace(`a${i}`);
    pair.b = await lab.namespace(`b${i}`);
  }
  await Promise.all(PAIRS.flatMap((pair) => [start(pair, 1), start(pair, 2)]));
  for (const pair of PAIRS) {
    const server = lab.spawn([process.execPath, STREAM, 'serve'], { ns: pair.b });
    await waitFor('the server', () => server.stdout.startsWith('ready'));
    pair.stream = lab.spawn([process.execPath, STREAM, 'send', '10.0.0.2'], { ns: pair.a });
  }
});

test.after.each(() => note('end of a test'));

test.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

test('the kernel’s vxlan device discards probes: it forwards nothing, no ICMP error comes back, and nothing is limited', async () => {
  const { lab, node1, node2 } = underlay;
  const { ns } = node2;
  const station = await quietNamespace(lab, 'k1');
  const control = join(directory, 'kernel');
  await must([
    ...['ip', '-n', ns, 'link', 'add', 'vxlan0', 'type', 'vxlan', 'id', '77', 'dstport', '4791'],
    ...['local', node2.address, 'remote', node1.address],
  ]);
  await must(['ip', '-n', ns, 'addr', 'add', '10.77.0.2/24', 'dev', 'vxlan0']);
  await must(['ip', '-n', ns, 'link', 'set', 'vxlan0', 'up']);
  await lab.startVtep({
    ns: node1.ns,
    args: [
      ...['up', '--vni', '77', '--port', '4791', '--local', node1.address, '--peer', node2.address],
      ...['--engine', 'linux', '--control', control],
      ...['--tap', 'eth0', '--netns', station, '--address', '10.77.0.1/24'],
    ],
  });
  await waitFor('a ping', async () => (await ping(station, '10.77.0.2', { count: 1, wait: 1 })) === 1);
  const unreachable = async (): Promise<number> => {
    const text = await must(['ip', 'netns', 'exec', ns, 'cat', '/proc/net/snmp']);
    const [names, values] = [...text.matchAll(/^Icmp: (.*)$/gm)].map(([, line]) => line!.split(' '));
    return Number(values![names!.indexOf('OutDestUnreachs')]);
  };
  const received = async (): Promise<number> =>
    JSON.parse(await must(['ip', '-n', ns, '-s', '-j', 'link', 'show', 'vxlan0']))[0].stats64.rx.packets as number;
  const [before, packets] = [await unreachable(), await received()];
  const sent = await ping(station, '10.77.0.2', { count: 20, interval: 0.2, size: 1400 });
  assert.is(sent, 20);
  const of = async (): Promise<RemoteListing> => ((await ask(control, { command: 'remotes' })) as RemoteListing[])[0]!;
  await waitFor('the search to end', async () => (await of()).probes === 'disabled');
  assert.equal([(await of()).mtu, (await of()).undelivered], [null, 0]);
  const { vtep, engine } = (await ask(control, { command: 'counters' })) as AllCounters;
  assert.ok(vtep.counts['path-probes-sent'] >= 9);
  assert.equal([vtep.counts['path-probes-answered'], engine.receiveErrors], [0, {}]);
  // Echo requests, and ARP at most.
  const more = (await received()) - packets;
  assert.ok(more >= 20 && more <= 24, `${more} frames`);
  assert.is(await unreachable(), before, 'ICMP errors that the host sent');
});

test('on a wide path, the other VTEP answers probes, and nothing is limited', async () => {
  await requireProgress();
  await Promise.all(
    PAIRS.map((pair) => waitFor(`${pair.name}: answers`, async () => (await remote(pair)).probes === 'complete')),
  );
  for (const pair of PAIRS)
    assert.equal([(await remote(pair)).mtu, (await remote(pair)).from], [null, null], pair.name);
});

test('a path becomes narrow without ICMP errors: TCP continues, and senders learn the MTU', async () => {
  await allowErrors(false);
  await narrow(1400);
  await new Promise((resolve) => setTimeout(resolve, 300)); // what is in flight
  const took = await requireProgress();
  note(`recovered in ${Math.round(took)} ms`);
  for (const pair of PAIRS) {
    await waitFor(`${pair.name}: the exact MTU`, async () => (await remote(pair)).mtu === 1400 - pair.overhead, 60_000);
    assert.is((await remote(pair)).from, 'probe', pair.name);
    // To another address: of this one, the station has learned a smaller MTU while the search went on.
    const target = '10.0.0.12';
    await must(['ip', '-n', pair.b, 'addr', 'add', `${target}/24`, 'dev', 'eth0']);
    // Without DF, the VTEP fragments what is too big. The replies have DF, and the station there learns the MTU first.
    await waitFor(`${pair.name}: a packet without DF`, async () => {
      const many = ['-c2', '-i0.2', '-W1', '-n', '-Mdont', '-s1380', target];
      return / [12] received/.test((await run(['ip', 'netns', 'exec', pair.a, 'ping', ...many])).stdout);
    });
    assert.ok((await counts(pair))['inner-fragments'] >= 2, pair.name);
    assert.is(
      await ping(pair.a, target, { size: 1400 - pair.overhead - 28, dontFragment: true, count: 1 }),
      1,
      pair.name,
    );
    const args = ['-c1', '-W1', '-n', '-Mdo', '-s1380', target];
    const { stdout, stderr } = await run(['ip', 'netns', 'exec', pair.a, 'ping', ...args]);
    assert.match(stdout + stderr, /message too long|Frag needed/, pair.name);
  }
});

test('the path becomes wide again, which probes find out', async () => {
  await narrow(null);
  await Promise.all(
    PAIRS.map((pair) => waitFor(`${pair.name}: a wide path`, async () => (await remote(pair)).mtu === null, 60_000)),
  );
  await requireProgress();
});

test('a path becomes narrow with ICMP errors', async () => {
  await allowErrors(true);
  await narrow(1360);
  const took = await requireProgress();
  note(`recovered in ${Math.round(took)} ms`);
  for (const pair of PAIRS)
    await waitFor(`${pair.name}: the MTU`, async () => (await remote(pair)).mtu === 1360 - pair.overhead, 60_000);
});

test('inner IPv6 of 1280 bytes passes a path that is too narrow for it, in fragments of the outer packets', async () => {
  // Over IPv6, paths of 1280 bytes leave 1210.
  await narrow(1290);
  for (const pair of PAIRS) {
    await waitFor(`${pair.name}: the MTU`, async () => {
      const { mtu } = await remote(pair);
      return mtu !== null && mtu <= 1290 - pair.overhead;
    });
    // The path back becomes known to be narrow by the replies.
    const reach = (): Promise<number> => ping(pair.a, 'fd0a::2', { size: 1280 - 48, count: 2, wait: 1 });
    await waitFor(`${pair.name}: replies`, async () => (await reach()) === 2);
    assert.ok((await counts(pair))['outer-fragmented'] >= 2, pair.name);
  }
});

test('a device of this host that becomes narrow while the VTEP runs counts as the route', async () => {
  await narrow(null);
  const { ns } = underlay.node1;
  await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'mtu', '1300']);
  const is = async (pair: Pair, mtu: number, from: string): Promise<boolean> => {
    const one = await remote(pair);
    return one.mtu === mtu && one.from === from;
  };
  for (const pair of PAIRS)
    await waitFor(`${pair.name}: the device`, () => is(pair, 1300 - pair.overhead, 'route'), 60_000);
  await requireProgress();
});

test.run();

/** One suite for every engine and both together: traffic must be the same. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type AllCounters } from '../../src/host/index.js';
import { Lab, exec, must, ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { countersOf } from '../support/traffic.js';

const engines = suiteWith('engines', ['root', 'tun', 'ip', 'ping', 'iperf3']);

const directory = mkdtempSync(join(tmpdir(), 'weft-engine-'));
const control = (which: 1 | 2): string => join(directory, `control${which}`);
const VNI = '4097';
/** Bytes of a transfer. */
const BULK = 16 << 20;

let lab: Lab;
const node: Record<1 | 2, string> = { 1: '', 2: '' };
const container: Record<1 | 2, string> = { 1: '', 2: '' };
const address = (which: 1 | 2, v6: boolean): string => (v6 ? `fd00:1::${which}` : `172.31.1.${which}`);

engines.before(async () => {
  lab = new Lab('le');
  for (const which of [1, 2] as const) {
    node[which] = await lab.namespace(`node${which}`);
    container[which] = await lab.namespace(`c${which}`);
  }
  const end = (which: 1 | 2) => ({
    ns: node[which],
    device: 'eth0',
    addresses: [`172.31.1.${which}/24`, `fd00:1::${which}/64`],
  });
  await lab.join(end(1), end(2), 9100);
});

/** VTEPs of the current test. They end by SIGTERM, so that Node writes their coverage. */
const vteps: Running[] = [];

engines.after.each(async () => {
  const outcomes = await Promise.all(vteps.splice(0).map((one) => one.stop()));
  await lab?.killAll();
  for (const { code, signal, stderr } of outcomes) if (signal !== 'SIGKILL') assert.equal([code, stderr], [0, '']);
  await waitFor('the devices to go', async () => {
    const left = await Promise.all(
      ([1, 2] as const).map((which) => must(['ip', '-n', container[which], 'link', 'show', 'type', 'tun'])),
    );
    return left.every((text) => text === '');
  });
});

engines.after(async () => {
  await lab?.teardown();
  rmSync(directory, { recursive: true, force: true });
});

interface Options {
  v6?: boolean;
  mtu?: number;
}

async function start(
  which: 1 | 2,
  kind: 'linux' | 'dgram',
  { v6 = false, mtu = 1450 }: Options = {},
): Promise<Running> {
  const other = which === 1 ? 2 : 1;
  const running = await lab.startVtep({
    ns: node[which],
    args: [
      ...['up', '--vni', VNI, '--local', address(which, v6), '--peer', address(other, v6), '--engine', kind],
      ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`, '--mtu', String(mtu)],
      ...['--mac', `02:42:0a:00:00:0${which}`],
      ...['--control', control(which)],
    ],
  });
  vteps.push(running);
  await must(['ip', '-n', container[which], 'addr', 'add', `fd10::${which}/64`, 'dev', 'eth0', 'nodad']);
  return running;
}

/** The kernel's VTEP, as Docker sets it up: vxlan and a veth pair in a bridge. */
async function startKernel(which: 1 | 2, mtu = 1450): Promise<() => Promise<void>> {
  const ns = node[which];
  const other = which === 1 ? 2 : 1;
  const link = (...words: string[]): Promise<string> => must(['ip', '-n', ns, 'link', ...words]);
  await link('add', 'br0', 'type', 'bridge');
  const tunnel = ['id', VNI, 'dstport', '4789', 'local', address(which, false), 'remote', address(other, false)];
  await link('add', 'vx0', 'type', 'vxlan', ...tunnel);
  await must(['ip', '-n', ns, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', container[which]]);
  for (const device of ['vx0', 'v0']) await link('set', device, 'mtu', String(mtu), 'master', 'br0', 'up');
  await link('set', 'br0', 'up');
  const inside = ['ip', '-n', container[which]];
  await must([...inside, 'link', 'set', 'eth0', 'mtu', String(mtu), 'up']);
  await must([...inside, 'addr', 'add', `10.0.0.${which}/24`, 'dev', 'eth0']);
  await must([...inside, 'addr', 'add', `fd10::${which}/64`, 'dev', 'eth0', 'nodad']);
  return async () => {
    for (const device of ['vx0', 'v0', 'br0']) await link('del', device);
  };
}

const SEND = `
  const { createHash, randomFillSync } = require('node:crypto');
  const [, ip, port, size] = process.argv;
  const hash = createHash('sha256'), chunk = randomFillSync(Buffer.alloc(1 << 20));
  const socket = require('node:net').connect(Number(port), ip);
  let left = Number(size);
  const more = () => {
    while (left > 0) {
      const part = chunk.subarray(0, Math.min(left, chunk.length));
      part.writeUInt32LE(left & 0x7fffffff);
      hash.update(part); left -= part.length;
      if (!socket.write(Buffer.from(part))) return;
    }
    socket.end();
  };
  socket.on('drain', more).on('connect', more).on('close', () => console.log(hash.digest('hex')));
`;
const RECEIVE = `
  const hash = require('node:crypto').createHash('sha256');
  const [, port] = process.argv;
  const server = require('node:net').createServer((socket) => {
    socket.on('data', (data) => hash.update(data)).on('end', () => { console.log(hash.digest('hex')); socket.end(); server.close(); });
  }).listen(Number(port), '::', () => console.log('ready'));
`;
let nextPort = 20_000;

/** Sends bytes over TCP and compares those received. */
async function transfer(from: 1 | 2, to: 1 | 2, v6 = false, size = BULK): Promise<void> {
  const port = String(nextPort++);
  const receiver = lab.spawn([process.execPath, '-e', RECEIVE, '--', port], { ns: container[to] });
  await waitFor('the receiver', () => receiver.stdout.startsWith('ready'));
  const target = v6 ? `fd10::${to}` : `10.0.0.${to}`;
  const sent = await exec(container[from], [process.execPath, '-e', SEND, '--', target, port, String(size)]);
  const { stdout } = await receiver.ended;
  assert.is(stdout, `ready\n${sent}`);
}

/** Sends datagrams at a limited rate for a second. @returns how many arrived. */
async function udp(from: 1 | 2, to: 1 | 2, length: number): Promise<{ lost: number; packets: number }> {
  const server = lab.spawn(['iperf3', '-s', '-1', '-J'], { ns: container[to] });
  // Port 5201, in state LISTEN. It prints nothing before the end.
  await waitFor('iperf3 to listen', async () =>
    /:1451 \S+ 0A /.test(await exec(container[to], ['cat', '/proc/net/tcp6'])),
  );
  const flags = ['-u', '-b', '2M', '-l', String(length), '-t', '1', '-J'];
  const text = await exec(container[from], ['iperf3', '-c', `10.0.0.${to}`, ...flags]);
  await server.ended;
  const { end } = JSON.parse(text) as { end: { sum: { lost_packets: number; packets: number } } };
  return { lost: end.sum.lost_packets, packets: end.sum.packets };
}

/** Ping, TCP and UDP in both directions. */
async function exercise(mtu: number): Promise<void> {
  assert.is(await ping(container[1], '10.0.0.2', { interval: 0.2 }), 3);
  assert.is(await ping(container[2], 'fd10::1', { interval: 0.2 }), 3);
  assert.is(await ping(container[1], '10.0.0.2', { size: mtu - 28, dontFragment: true, interval: 0.2 }), 3);
  await transfer(1, 2);
  await transfer(2, 1);
  await Promise.all([transfer(1, 2), transfer(2, 1), transfer(1, 2, true), transfer(2, 1, true)]);
  for (const length of [64, 1200]) {
    const { packets, lost } = await udp(1, 2, length);
    assert.ok(packets > 150 && lost <= packets / 20, `UDP of ${length}: ${lost} of ${packets} lost`);
  }
}

/** Checks that the counters of both VTEPs agree, except for packets in transit. */
function requireAgreement(one: AllCounters, two: AllCounters): void {
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    const sent = from.vtep.counts['datagrams-out'];
    const got = to.vtep.counts['datagrams-in'];
    assert.ok(Math.abs(sent - got) <= sent / 100, `${sent} sent and ${got} received`);
    const bytes = from.vtep.counts['datagram-bytes-out'];
    assert.ok(Math.abs(bytes - to.vtep.counts['datagram-bytes-in']) <= bytes / 100);
    assert.equal(from.engine.writeErrors, {});
  }
}

for (const [one, two] of [
  ['linux', 'linux'],
  ['linux', 'dgram'],
  ['dgram', 'dgram'],
] as const)
  engines(`${one} and ${two}: ping, TCP and UDP in both directions, IPv4 and IPv6 inside`, async () => {
    await start(1, one);
    await start(2, two);
    await exercise(1450);
    requireAgreement(await countersOf(control(1)), await countersOf(control(2)));
  });

for (const mtu of [1280, 9000])
  engines(`linux with an MTU of ${mtu}`, async () => {
    await start(1, 'linux', { mtu });
    await start(2, 'linux', { mtu });
    await exercise(mtu);
  });

engines('linux over IPv6', async () => {
  await start(1, 'linux', { v6: true });
  await start(2, 'linux', { v6: true });
  await exercise(1450);
});

engines('linux and the kernel as Docker sets it up', async () => {
  await start(1, 'linux');
  const stop = await startKernel(2);
  try {
    await exercise(1450);
  } finally {
    await stop();
  }
});

/** Resident memory in MiB. */
function resident(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

engines('the memory of the engine linux does not grow with what it transfers', async () => {
  const one = await start(1, 'linux');
  await start(2, 'linux');
  await transfer(1, 2, false, 4 * BULK);
  const before = resident(one.pid);
  await transfer(1, 2, false, 32 * BULK);
  const after = resident(one.pid);
  assert.ok(after - before < 10, `${before.toFixed()} MiB before and ${after.toFixed()} after`);
});

engines.run();

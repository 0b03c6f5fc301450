/**
 * `npm run bench -- overlay`: two hosts with a container on each, in network namespaces, connected by the kernel's
 * vxlan (with a bridge and a veth pair, as Docker sets it up) and by each engine in turn. All share one machine, so
 * only the ratios within a run are meaningful; rounds alternate, so that other load on the machine affects all alike.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { exec, Lab, must, ping, run, waitFor, type Running } from '../test/support/lab.js';
import { missing } from '../test/support/needs.js';

const LAYOUTS = ['kernel', 'linux', 'dgram'] as const;
type Layout = (typeof LAYOUTS)[number];

const VNI = '4097';
const MTU = 1450;

/** Each figure's unit and target: a ratio to the kernel's figure or, in parentheses, an absolute value. */
const FIGURES = {
  'TCP cubic, one stream': ['Gbit/s', '>= 0.7'],
  'TCP cubic, one stream reversed': ['Gbit/s', '>= 0.7'],
  'TCP cubic, four streams': ['Gbit/s', ''],
  'TCP cubic, underlay without offloads': ['Gbit/s', '>= 0.6'],
  'TCP bbr, one stream': ['Gbit/s', '>= 0.85'],
  'TCP bbr, one stream reversed': ['Gbit/s', '>= 0.85'],
  'TCP bbr, four streams': ['Gbit/s', ''],
  'UDP flood of 64 bytes, received': ['1000/s', '>= 1'],
  'UDP flood of 1400 bytes, received': ['1000/s', ''],
  'UDP of 64 bytes without loss': ['1000/s', '(100)'],
  'ping every 2 ms, minimum': ['us', ''],
  'ping every 2 ms, median': ['us', '<= 4'],
  'ping every 2 ms, 99th percentile': ['us', ''],
  'CPU time of both VTEPs per Gbit, TCP cubic': ['ms', ''],
  'CPU time of an idle VTEP': ['% core', '(< 0.5)'],
  'resident memory of a VTEP': ['MiB', '(< 120)'],
} as const;
type Name = keyof typeof FIGURES;

/** Figures by name and layout, one per round. */
type Rounds = Record<Name, Record<Layout, number[]>>;

export interface OverlayFigure {
  name: Name;
  unit: string;
  /** A bound for the ratio of `linux` to the kernel or, in parentheses, for the figure of `linux` itself. */
  target: string;
  /** Median over the rounds. */
  medians: Partial<Record<Layout, number>>;
  rounds: Record<Layout, number[]>;
}

interface Side {
  node: string;
  container: string;
  underlay: string;
  address: string;
}

/** Both ends of a running overlay. */
interface Up {
  vteps: Running[];
  down(): Promise<void>;
}

/** Length of the measurement without traffic, in seconds. */
const IDLE = 3;
/** Rounds that include the slow engine. */
const DGRAM_ROUNDS = 2;

/** @param flags Flags of `vtep up` for the engine `linux`. */
export async function overlay(quick: boolean, count: number, flags: readonly string[]): Promise<OverlayFigure[]> {
  const unmet = missing(['root', 'tun', 'ip', 'iperf3', 'ping', 'ethtool']);
  if (unmet.length > 0) throw new Error(`the suite "overlay" needs ${unmet.join(', ')}`);
  const lab = new Lab('leb');
  const rounds = Object.fromEntries(
    Object.keys(FIGURES).map((name) => [name, Object.fromEntries(LAYOUTS.map((layout) => [layout, [] as number[]]))]),
  ) as Rounds;
  try {
    const sides = await underlay(lab);
    for (let round = 0; round < (quick ? 1 : count); round++)
      for (const layout of LAYOUTS) {
        if (layout === 'dgram' && round >= DGRAM_ROUNDS) continue;
        const up =
          layout === 'kernel' ? await kernel(sides) : await vteps(lab, sides, layout, layout === 'linux' ? flags : []);
        try {
          await waitFor(
            'the overlay',
            async () => (await ping(sides[0].container, sides[1].address, { count: 1 })) === 1,
          );
          await measure(lab, sides, up, quick, round, (name, value) => rounds[name][layout].push(value));
        } finally {
          await up.down();
        }
      }
  } finally {
    await lab.teardown();
  }
  return (Object.keys(FIGURES) as Name[]).map((name) => ({
    name,
    unit: FIGURES[name][0],
    target: FIGURES[name][1],
    medians: Object.fromEntries(
      LAYOUTS.filter((layout) => rounds[name][layout].length > 0).map((layout) => [
        layout,
        middle(rounds[name][layout]),
      ]),
    ),
    rounds: rounds[name],
  }));
}

export function printOverlay(figures: readonly OverlayFigure[]): void {
  const head = ['', 'unit', ...LAYOUTS, 'linux/kernel', 'target', 'linux/dgram'];
  const text = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(value < 100 ? 2 : 0));
  const rows = figures.map(({ name, unit, target, medians }) => [
    name,
    unit,
    ...LAYOUTS.map((layout) => text(medians[layout])),
    ratio(medians.linux, medians.kernel),
    target,
    ratio(medians.linux, medians.dgram),
  ]);
  const table = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  for (const row of table)
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  '));
}

function ratio(value: number | undefined, to: number | undefined): string {
  return value === undefined || to === undefined ? '-' : (value / to).toFixed(2);
}

async function underlay(lab: Lab): Promise<[Side, Side]> {
  const side = async (which: 1 | 2): Promise<Side> => ({
    node: await lab.namespace(`node${which}`),
    container: await lab.namespace(`c${which}`),
    underlay: `172.31.1.${which}`,
    address: `10.0.0.${which}`,
  });
  const sides: [Side, Side] = [await side(1), await side(2)];
  const [a, b] = sides.map(({ node, underlay: address }) => ({
    ns: node,
    device: 'eth0',
    addresses: [`${address}/24`],
  }));
  await lab.join(a!, b!);
  return sides;
}

async function vteps(lab: Lab, sides: readonly [Side, Side], engine: Layout, flags: readonly string[]): Promise<Up> {
  const running: Running[] = [];
  for (const [i, { node, container, underlay: local, address }] of sides.entries())
    running.push(
      await lab.startVtep({
        ns: node,
        args: [
          ...['up', '--engine', engine, '--vni', VNI, '--local', local, '--peer', sides[1 - i]!.underlay],
          ...['--tap', 'eth0', '--netns', container, '--address', `${address}/24`, '--mtu', String(MTU)],
          ...flags,
        ],
      }),
    );
  return { vteps: running, down: async () => void (await Promise.all(running.map((one) => one.stop()))) };
}

async function kernel(sides: readonly [Side, Side]): Promise<Up> {
  for (const [i, { node, container, underlay: local, address }] of sides.entries()) {
    const link = (...words: string[]): Promise<string> => must(['ip', '-n', node, 'link', ...words]);
    const tunnel = ['id', VNI, 'dstport', '4789', 'local', local, 'remote', sides[1 - i]!.underlay];
    await link('add', 'br0', 'type', 'bridge');
    await link('add', 'vx0', 'type', 'vxlan', ...tunnel);
    await link('add', 'v0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', container);
    for (const device of ['vx0', 'v0']) await link('set', device, 'mtu', String(MTU), 'master', 'br0', 'up');
    await link('set', 'br0', 'up');
    await must(['ip', '-n', container, 'link', 'set', 'eth0', 'mtu', String(MTU), 'up']);
    await must(['ip', '-n', container, 'addr', 'add', `${address}/24`, 'dev', 'eth0']);
  }
  const down = async (): Promise<void> => {
    for (const { node } of sides)
      for (const device of ['vx0', 'v0', 'br0']) await must(['ip', '-n', node, 'link', 'del', device]);
  };
  return { vteps: [], down };
}

async function measure(
  lab: Lab,
  [from, to]: readonly [Side, Side],
  { vteps: running }: Up,
  quick: boolean,
  round: number,
  note: (name: Name, value: number) => void,
): Promise<void> {
  const seconds = quick ? 2 : 3;
  const client = async (...flags: string[]): Promise<IperfEnd> => {
    const server = lab.spawn(['iperf3', '-s', '-1', '--forceflush'], { ns: to.container });
    await waitFor('iperf3 to listen', () => /listening/.test(server.stdout) || !server.running);
    const text = await exec(from.container, ['iperf3', '-J', '-t', String(seconds), '-c', to.address, ...flags]);
    await server.stop();
    return (JSON.parse(text) as { end: IperfEnd }).end;
  };
  const tcp = async (...flags: string[]): Promise<number> =>
    (await client('-O', '1', ...flags)).sum_received.bits_per_second / 1e9;
  await tcp('-C', 'cubic'); // warm-up: V8 compiles code as it is used
  const before = used(running);
  const cubic = await client('-C', 'cubic');
  if (running.length > 0) {
    const gigabits = (cubic.sum_received.bits_per_second / 1e9) * cubic.sum_received.seconds;
    note('CPU time of both VTEPs per Gbit, TCP cubic', (used(running) - before) / gigabits);
  }
  for (const algorithm of quick ? (['cubic'] as const) : (['cubic', 'bbr'] as const)) {
    note(`TCP ${algorithm}, one stream`, await tcp('-C', algorithm));
    note(`TCP ${algorithm}, one stream reversed`, await tcp('-C', algorithm, '-R'));
    note(`TCP ${algorithm}, four streams`, await tcp('-C', algorithm, '-P', '4'));
  }
  if (quick) note('TCP bbr, one stream', await tcp('-C', 'bbr'));
  await offloads([from, to], 'off');
  try {
    note('TCP cubic, underlay without offloads', await tcp('-C', 'cubic'));
  } finally {
    await offloads([from, to], 'on');
  }
  for (const length of [64, 1400] as const) {
    const { sum } = await client('-u', '-b', '0', '-l', String(length));
    note(`UDP flood of ${length} bytes, received`, (sum.packets - sum.lost_packets) / sum.seconds / 1000);
  }
  if (round === 0) {
    const attempt = async (rate: number): Promise<number | null> => {
      const before = await overflowed(to.container);
      const { sum } = await client('-u', '-b', String(rate * 1000 * 64 * 8), '-l', '64', '--pacing-timer', '100');
      // A datagram that arrived and found iperf3's socket buffer full was not lost on the overlay.
      const lost = sum.lost_packets - ((await overflowed(to.container)) - before);
      return lost > 0 ? null : sum.packets / sum.seconds / 1000;
    };
    let best = 0;
    for (const rate of [10, 25, 50, 75, 100, 125, 150, 200]) {
      // Other load on the machine may cause a loss: try three times.
      const reached = (await attempt(rate)) ?? (await attempt(rate)) ?? (await attempt(rate));
      if (reached === null) break;
      best = Math.max(best, reached);
    }
    note('UDP of 64 bytes without loss', best);
  }
  const { stdout } = await run([
    ...['ip', 'netns', 'exec', from.container, 'ping', '-n', '-i', '0.002', '-c', quick ? '500' : '1000', to.address],
  ]);
  const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time) * 1000).sort((a, b) => a - b);
  note('ping every 2 ms, minimum', times[0]!);
  note('ping every 2 ms, median', middle(times));
  note('ping every 2 ms, 99th percentile', times[Math.floor(times.length * 0.99)]!);
  if (running.length > 0) {
    const start = running.map((one) => used([one]));
    await sleep(IDLE * 1000);
    const busiest = Math.max(...running.map((one, i) => used([one]) - start[i]!));
    note('CPU time of an idle VTEP', busiest / (IDLE * 10));
    note('resident memory of a VTEP', Math.max(...running.map(({ pid }) => resident(pid))));
  }
}

/** Datagrams dropped so far in a namespace because a socket's receive buffer was full. */
async function overflowed(ns: string): Promise<number> {
  const [names, values] = (await exec(ns, ['grep', '^Udp:', '/proc/net/snmp']))
    .split('\n')
    .map((line) => line.split(' '));
  return Number(values![names!.indexOf('RcvbufErrors')]);
}

/** Switches the offloads of the underlay's devices on or off. */
async function offloads(sides: readonly Side[], state: 'on' | 'off'): Promise<void> {
  for (const { node } of sides) {
    // In this order: some depend on those before.
    const features = ['tx', 'sg', 'tso', 'gso', 'gro'].flatMap((feature) => [feature, state]);
    await must(['ip', 'netns', 'exec', node, 'ethtool', '-K', 'eth0', ...features]);
  }
}

/** The part of iperf3's JSON that is read. */
interface IperfEnd {
  sum_received: { bits_per_second: number; seconds: number };
  sum: { packets: number; lost_packets: number; seconds: number };
}

/** CPU time so far over all threads, in milliseconds. */
function used(running: readonly Running[]): number {
  return running
    .flatMap(({ pid }) => readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}/schedstat`))
    .map((path) => Number(readFileSync(path, 'utf8').split(' ')[0]) / 1e6)
    .reduce((sum, time) => sum + time, 0);
}

function resident(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

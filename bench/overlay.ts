/**
 * `npm run bench -- overlay`: two hosts with a container on each, in network namespaces, connected by the kernel's
 * vxlan, by a program that makes the engine's system calls and does nothing else (limit.c), by each engine and, with
 * `--peers`, by programs of others; or with `--encrypted`, by an encrypted network and what it is compared with. All share one machine, so only the ratios within a run are meaningful; rounds
 * alternate, so that other load on the machine affects all alike. The ratio to the kernel differs by machine; the engine
 * `linux` is held to limit.c.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exec, Lab, ping, run, waitFor, type Running } from '../test/support/lab.js';
import { missing } from '../test/support/needs.js';
import {
  encrypted,
  engine,
  KERNEL,
  limit,
  offloads,
  ROUTED,
  type Layout,
  type Side,
  type Sides,
  type Up,
} from './layouts.js';
import { buildLimit } from './limit.js';
import { findPeers, type Left } from './peers.js';

/**
 * Each figure's unit and target: a ratio of `linux` to limit.c or, in parentheses, a value. `brief`: measured for
 * programs of others too.
 */
const FIGURES = {
  'TCP cubic, one stream': { unit: 'Gbit/s', target: '>= 0.9', brief: true },
  'TCP cubic, one stream reversed': { unit: 'Gbit/s', target: '>= 0.9' },
  'TCP cubic, four streams': { unit: 'Gbit/s', target: '' },
  'TCP cubic, underlay without offloads': { unit: 'Gbit/s', target: '>= 0.9', brief: true },
  'TCP bbr, one stream': { unit: 'Gbit/s', target: '>= 1.0', brief: true },
  'TCP bbr, one stream reversed': { unit: 'Gbit/s', target: '>= 1.0' },
  'TCP bbr, four streams': { unit: 'Gbit/s', target: '' },
  'UDP flood of 64 bytes, received': { unit: '1000/s', target: '>= 1.0', brief: true },
  'UDP flood of 1400 bytes, received': { unit: '1000/s', target: '' },
  'UDP of 64 bytes without loss': { unit: '1000/s', target: '(>= 100)' },
  'ping every 2 ms, minimum': { unit: 'us', target: '' },
  'ping every 2 ms, median': { unit: 'us', target: '<= 1.25', brief: true },
  'ping every 2 ms, 99th percentile': { unit: 'us', target: '' },
  'system calls of both VTEPs per Gbit, TCP cubic': { unit: '', target: '' },
  'CPU time of both VTEPs per Gbit, TCP cubic': { unit: 'ms', target: '' },
  'CPU time of an idle VTEP': { unit: '% core', target: '(< 0.5)' },
  'resident memory of a VTEP': { unit: 'MiB', target: '(< 120)' },
} as const satisfies Record<string, { unit: string; target: string; brief?: boolean }>;
type Name = keyof typeof FIGURES;
const CLEAR = 'linux';
const ENCRYPTED = 'linux encrypted';
const NODE_CRYPTO = 'linux encrypted, node:crypto';
const WIREGUARD = 'wireguard-go';
/** Bounds for an encrypted network: for its ratio to another layout or, of a ping, for the difference. */
const ENCRYPTED_TARGETS: readonly { name: Name; to: string; target: string; difference?: boolean }[] = [
  { name: 'TCP cubic, one stream', to: WIREGUARD, target: '>= 3' },
  { name: 'TCP cubic, one stream', to: CLEAR, target: '>= 0.6' },
  { name: 'UDP flood of 64 bytes, received', to: WIREGUARD, target: '>= 1' },
  { name: 'ping every 2 ms, median', to: CLEAR, target: '<= 15', difference: true },
];
/** Bound for the ratio of a routed stream to a bridged one. */
const BRIDGED = '>= 0.95';

/** A layout's figure: its median and extremes over the rounds. */
export interface Measured {
  layout: string;
  median: number;
  least: number;
  most: number;
  rounds: number[];
}

export interface OverlayFigure {
  name: Name;
  unit: string;
  /** A bound for the ratio of `linux` to limit.c or, in parentheses, for the figure of `linux` itself. */
  target: string;
  layouts: Measured[];
}

export interface Overlay {
  figures: OverlayFigure[];
  /** Layouts and figures that are left out. */
  left: Left[];
  /** Whether an encrypted network is compared with others, and not `linux` with limit.c. */
  encrypted?: boolean;
}

export interface OverlayOptions {
  /** One short round. */
  quick: boolean;
  rounds: number;
  /** Threads of the engine `linux`. */
  workers: number;
  /** Microseconds for which that engine and limit.c poll before they sleep. */
  busyPoll: number;
  /** Whether to measure programs of others. */
  peers: boolean;
  /** Whether to measure an encrypted network, one in clear, wireguard-go and the kernel, and nothing else. */
  encrypted: boolean;
}

/** Length of the measurement without traffic, in seconds. */
const IDLE = 3;
/** Rounds that include slow layouts. */
const SLOW_ROUNDS = 2;

export async function overlay(options: OverlayOptions): Promise<Overlay> {
  const { quick, rounds, workers, busyPoll, peers } = options;
  const unmet = missing(['root', 'tun', 'ip', 'iperf3', 'ping', 'ethtool']);
  if (unmet.length > 0) throw new Error(`the suite "overlay" needs ${unmet.join(', ')}`);
  const directory = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  const lab = new Lab('leb');
  try {
    const built = options.encrypted ? undefined : await buildLimit(directory);
    const found = options.encrypted
      ? await findPeers(WIREGUARD)
      : peers
        ? await findPeers()
        : { layouts: [], left: [] };
    const left = [
      ...(built !== undefined && 'reason' in built ? [{ name: 'limit', reason: built.reason }] : []),
      ...found.left,
    ];
    const algorithms = readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').trim().split(' ');
    const bbr = !options.encrypted && algorithms.includes('bbr');
    if (!options.encrypted && !bbr) left.push({ name: 'TCP bbr', reason: 'this kernel has no tcp_bbr' });
    const flags = ['--workers', String(workers), '--busy-poll', String(busyPoll)];
    let layouts = options.encrypted
      ? [
          KERNEL,
          engine('linux', flags),
          encrypted(ENCRYPTED, flags),
          encrypted(NODE_CRYPTO, flags, 'node'),
          ...found.layouts,
        ]
      : [
          KERNEL,
          ...(built !== undefined && 'program' in built ? [limit(built.program, busyPoll)] : []),
          engine('linux', flags),
          ROUTED,
          engine('dgram'),
          ...found.layouts,
        ];
    const figures = new Map<Name, Map<string, number[]>>();
    const note = (layout: string, name: Name, value: number): void => {
      const of = figures.get(name) ?? new Map<string, number[]>();
      figures.set(name, of.set(layout, [...(of.get(layout) ?? []), value]));
    };
    const sides = await underlay(lab);
    for (let round = 0; round < (quick ? 1 : rounds); round++)
      for (const layout of layouts) {
        if (layout.slow && !options.encrypted && round >= SLOW_ROUNDS) continue;
        try {
          const up = await layout.up({ lab, sides, directory });
          try {
            await untilUp(sides);
            const plan = { quick, first: round === 0, brief: options.encrypted || (layout.brief ?? false), bbr };
            await measure(lab, sides, up, plan, (name, value) => note(layout.name, name, value));
          } finally {
            await up.down();
          }
        } catch (error) {
          if (!found.layouts.includes(layout)) throw error;
          // A program of others: the figures of the rest are as good without it.
          left.push({ name: layout.name, reason: (error as Error).message });
          layouts = layouts.filter((one) => one !== layout);
        }
      }
    return { figures: summaries(figures, layouts), left, encrypted: options.encrypted };
  } finally {
    await lab.teardown();
    rmSync(directory, { recursive: true, force: true });
  }
}

function summaries(
  figures: ReadonlyMap<Name, ReadonlyMap<string, number[]>>,
  layouts: readonly Layout[],
): OverlayFigure[] {
  return (Object.keys(FIGURES) as Name[]).map((name) => ({
    name,
    unit: FIGURES[name].unit,
    target: FIGURES[name].target,
    layouts: layouts.flatMap(({ name: layout }) => {
      const rounds = figures.get(name)?.get(layout) ?? [];
      if (rounds.length === 0) return [];
      return [{ layout, median: middle(rounds), least: Math.min(...rounds), most: Math.max(...rounds), rounds }];
    }),
  }));
}

/** Prints every figure's median, extremes and ratios, then how `linux`, or the encrypted network, compares with its targets. */
export function printOverlay({ figures, left, encrypted: isEncrypted = false }: Overlay): void {
  for (const { name, reason } of left) console.log(`left out: ${name}: ${reason}`);
  const bases = isEncrypted ? [CLEAR, WIREGUARD] : ['kernel', 'limit'];
  const table = [['', '', 'median', 'least', 'most', ...bases.map((base) => `/ ${base}`)]];
  for (const { name, unit, layouts } of figures) {
    if (layouts.length === 0) continue;
    const medianOf = (which: string): number | undefined => layouts.find(({ layout }) => layout === which)?.median;
    for (const [i, { layout, median, least, most }] of layouts.entries())
      table.push([
        i === 0 ? `${name}${unit === '' ? '' : `, ${unit}`}` : '',
        layout,
        ...[median, least, most].map(text),
        ...bases.map((base) => ratio(median, medianOf(base))),
      ]);
  }
  printTable(table, 2);
  console.log('');
  printTable(isEncrypted ? heldEncrypted(figures) : heldToLimit(figures), 1);
}

/** How `linux` compares with its targets. */
function heldToLimit(figures: readonly OverlayFigure[]): string[][] {
  const held = [['', 'linux / limit', 'target', '']];
  for (const { name, target, layouts } of figures) {
    const medianOf = (which: string): number | undefined => layouts.find(({ layout }) => layout === which)?.median;
    const linux = medianOf('linux');
    const absolute = target.startsWith('(');
    const value = absolute ? linux : quotient(linux, medianOf('limit'));
    if (target === '' || value === undefined) continue;
    held.push([
      name,
      absolute ? `(${text(value)})` : value.toFixed(2),
      target,
      isMet(value, target) ? 'met' : 'missed',
    ]);
    const routed = quotient(medianOf(ROUTED.name), linux);
    if (routed === undefined || !name.startsWith('TCP')) continue;
    held.push([`${name}, routed / bridged`, routed.toFixed(2), BRIDGED, isMet(routed, BRIDGED) ? 'met' : 'missed']);
  }
  return held;
}

/** How an encrypted network compares with its targets. */
function heldEncrypted(figures: readonly OverlayFigure[]): string[][] {
  const held = [['', ENCRYPTED, 'target', '']];
  for (const { name, to, target, difference = false } of ENCRYPTED_TARGETS) {
    const { layouts = [] } = figures.find((figure) => figure.name === name) ?? {};
    const medianOf = (which: string): number | undefined => layouts.find(({ layout }) => layout === which)?.median;
    const [own, other] = [medianOf(ENCRYPTED), medianOf(to)];
    if (own === undefined || other === undefined) continue;
    const value = difference ? own - other : own / other;
    held.push([
      `${name}, ${difference ? '-' : '/'} ${to}`,
      value.toFixed(2),
      target,
      isMet(value, target) ? 'met' : 'missed',
    ]);
  }
  return held;
}

/** @param left Number of columns that are aligned to the left. */
function printTable(table: readonly string[][], left: number): void {
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  const cellOf = (cell: string, i: number): string => (i < left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!));
  for (const row of table) console.log(row.map(cellOf).join('  ').trimEnd());
}

const text = (value: number): string => value.toFixed(value < 100 ? 2 : 0);

function quotient(value: number | undefined, to: number | undefined): number | undefined {
  return value === undefined || to === undefined ? undefined : value / to;
}

function ratio(value: number, to: number | undefined): string {
  return quotient(value, to)?.toFixed(2) ?? '-';
}

/** Whether a value meets a target: `>= 0.9`, `(< 0.5)`. */
export function isMet(value: number, target: string): boolean {
  const [, sign, bound] = /^\(?(>=|<=|<) ([\d.]+)\)?$/.exec(target) ?? [];
  if (bound === undefined) throw new RangeError(`a target is ">= 1", "<= 1" or "< 1", not "${target}"`);
  return sign === '>=' ? value >= Number(bound) : sign === '<=' ? value <= Number(bound) : value < Number(bound);
}

/** Milliseconds until the containers reach each other. */
const PATIENCE = 20_000;

async function untilUp([from, to]: Sides): Promise<void> {
  const reached = async (): Promise<boolean> => (await ping(from.container, to.address, { count: 1 })) === 1;
  await waitFor('the overlay', reached, PATIENCE);
}

async function underlay(lab: Lab): Promise<Sides> {
  const side = async (which: 1 | 2): Promise<Side> => ({
    node: await lab.namespace(`node${which}`),
    container: await lab.namespace(`c${which}`),
    underlay: `172.31.1.${which}`,
    address: `10.0.${which}.1`,
  });
  const sides: Sides = [await side(1), await side(2)];
  const [a, b] = sides.map(({ node, underlay: address }) => ({
    ns: node,
    device: 'eth0',
    addresses: [`${address}/24`],
  }));
  await lab.join(a!, b!);
  for (const { node } of sides) await offloads(node, 'eth0', 'on'); // without GRO by default
  return sides;
}

/** What to measure. */
interface Plan {
  quick: boolean;
  first: boolean;
  brief: boolean;
  bbr: boolean;
}

async function measure(
  lab: Lab,
  [from, to]: readonly [Side, Side],
  { vteps: running, bare = false, calls }: Up,
  { quick, first, brief, bbr }: Plan,
  record: (name: Name, value: number) => void,
): Promise<void> {
  const seconds = quick ? 2 : 3;
  const wanted = (name: Name): boolean => !brief || 'brief' in FIGURES[name];
  const note = (name: Name, value: number): void => {
    if (wanted(name)) record(name, value);
  };
  const client = async (...flags: string[]): Promise<IperfEnd> => {
    const server = lab.spawn(['iperf3', '-s', '-1', '--forceflush'], { ns: to.container });
    await waitFor('iperf3 to listen', () => /listening/.test(server.stdout) || !server.running);
    const text = await exec(from.container, ['iperf3', '-J', '-t', String(seconds), '-c', to.address, ...flags]);
    await server.stop();
    return (JSON.parse(text) as { end: IperfEnd }).end;
  };
  const tcp = async (...flags: string[]): Promise<number> =>
    (await client('-O', '1', ...flags)).sum_received.bits_per_second / 1e9;
  /** What a stream costs both VTEPs. */
  const costs = async (): Promise<void> => {
    const before = [used(running), (await calls?.()) ?? 0] as const;
    const { bits_per_second: rate, seconds: length } = (await client('-C', 'cubic')).sum_received;
    if (running.length > 0)
      note('CPU time of both VTEPs per Gbit, TCP cubic', (used(running) - before[0]) / ((rate / 1e9) * length));
    if (calls !== undefined)
      note('system calls of both VTEPs per Gbit, TCP cubic', ((await calls()) - before[1]) / ((rate / 1e9) * length));
  };
  await tcp('-C', 'cubic'); // warm-up: V8 compiles code as it is used
  if (!brief) await costs();
  for (const algorithm of bbr ? (['cubic', 'bbr'] as const) : (['cubic'] as const)) {
    note(`TCP ${algorithm}, one stream`, await tcp('-C', algorithm));
    if (brief || (quick && algorithm === 'bbr')) continue;
    note(`TCP ${algorithm}, one stream reversed`, await tcp('-C', algorithm, '-R'));
    note(`TCP ${algorithm}, four streams`, await tcp('-C', algorithm, '-P', '4'));
  }
  const switched = async (state: 'on' | 'off'): Promise<void> => {
    for (const { node } of bare ? [] : [from, to]) await offloads(node, 'eth0', state);
  };
  await switched('off');
  try {
    note('TCP cubic, underlay without offloads', await tcp('-C', 'cubic'));
  } finally {
    await switched('on');
  }
  for (const length of brief ? ([64] as const) : ([64, 1400] as const)) {
    const { sum } = await client('-u', '-b', '0', '-l', String(length));
    note(`UDP flood of ${length} bytes, received`, (sum.packets - sum.lost_packets) / sum.seconds / 1000);
  }
  if (first && !brief) {
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
  if (running.length > 0 && !brief) {
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

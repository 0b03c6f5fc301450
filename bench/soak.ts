/**
 * `npm run bench -- soak [--minutes N]`: one TCP stream between two VTEPs of the fast engine, in alternating
 * directions. Reports whether their memory grows, and how much the thread that moves frames allocates.
 */
import { readFileSync } from 'node:fs';
import { exec, VTEP, waitFor, type Running } from '../test/support/lab.js';
import { missing } from '../test/support/needs.js';
import { OVERHEAD, Pair, type Which } from '../test/support/pair.js';

/** Length of a turn in one direction, in seconds. */
const TURN = 10;
/** Length in seconds of the windows compared: the second and the last of the run; shorter in short runs. */
const WINDOW = 60;
/** Forces a collection at the start, so that the first heap in the trace is the main thread's. */
const MARK = 'data:text/javascript,globalThis.gc()';

/** Measurements of one VTEP. */
export interface Soaked {
  /** Resident memory in MiB, one sample per second. */
  resident: number[];
  /** Mean resident memory of the last window minus that of the second, in MiB. */
  growth: number;
  /** By thread, from the second window on. */
  threads: Record<'control' | 'data', Collections>;
}

/** Activity of a thread's garbage collector. */
export interface Collections {
  /** Collections per minute. */
  minor: number;
  major: number;
  /** Allocation rate between the first and the last collection, in KiB/s; `null` with fewer than two collections. */
  allocated: number | null;
}

export interface Soak {
  seconds: number;
  /** Gbit/s of each turn. */
  rates: number[];
  vteps: [Soaked, Soaked];
}

export async function soak(minutes: number): Promise<Soak> {
  const unmet = missing(['root', 'tun', 'ip', 'iperf3', 'ping']);
  if (unmet.length > 0) throw new Error(`the suite "soak" needs ${unmet.join(', ')}`);
  const pair = await Pair.create('wls');
  const samples: [number[], number[]] = [[], []];
  const rates: number[] = [];
  let timer: NodeJS.Timeout | undefined;
  try {
    await pair.cable(1500);
    const [node, ...program] = VTEP;
    const command = [node!, '--trace-gc', '--expose-gc', '--import', MARK, ...program];
    const sides = await pair.up('linux', 'linux', 1500 - OVERHEAD, command);
    const vteps = sides.map(({ vtep }) => vtep!) as [Running, Running];
    const end = performance.now() + minutes * 60_000;
    timer = setInterval(() => vteps.forEach(({ pid }, i) => samples[i]!.push(resident(pid))), 1000);
    while (performance.now() < end) {
      const seconds = Math.min(TURN, Math.max(1, Math.round((end - performance.now()) / 1000)));
      rates.push(await stream(pair, rates.length % 2 === 0 ? 1 : 2, seconds));
    }
    clearInterval(timer);
    const seconds = samples[0].length;
    const window = Math.min(WINDOW, Math.floor(seconds / 4));
    return { seconds, rates, vteps: vteps.map((vtep, i) => soaked(vtep, samples[i]!, window)) as [Soaked, Soaked] };
  } finally {
    clearInterval(timer);
    await pair.teardown();
  }
}

/** Runs one stream. @returns its rate in Gbit/s. */
async function stream(pair: Pair, from: Which, seconds: number): Promise<number> {
  const to = from === 1 ? 2 : 1;
  const server = pair.lab.spawn(['iperf3', '-s', '-1', '--forceflush'], { ns: pair.container(to) });
  await waitFor('iperf3 to listen', () => /listening/.test(server.stdout) || !server.running);
  const text = await exec(pair.container(from), ['iperf3', '-J', '-t', String(seconds), '-c', pair.address(to)]);
  await server.stop();
  return (
    (JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received.bits_per_second / 1e9
  );
}

function resident(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
}

function soaked({ stdout }: Running, samples: number[], window: number): Soaked {
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const all = collections(stdout);
  const main = all[0]!.heap;
  const since = (all.find(({ heap }) => heap === main)?.time ?? 0) + window * 1000;
  const of = (own: (heap: string) => boolean): Collections =>
    summary(
      all.filter(({ heap, time }) => own(heap) && time > since),
      (samples.length - window) / 60,
    );
  return {
    resident: samples,
    growth: mean(samples.slice(-window)) - mean(samples.slice(window, 2 * window)),
    threads: { control: of((heap) => heap === main), data: of((heap) => heap !== main) },
  };
}

/** One line of V8's `--trace-gc`. */
interface Collection {
  heap: string;
  /** Milliseconds since the creation of the heap. */
  time: number;
  minor: boolean;
  /** MB of the heap before and after. */
  before: number;
  after: number;
}

function collections(text: string): Collection[] {
  return [...text.matchAll(/^\[\d+:(\w+)[^\]]*\]\s+(\d+) ms: (\S+).*? ([\d.]+) \([\d.]+\) -> ([\d.]+) /gm)].map(
    ([, heap, time, kind, before, after]) => ({
      ...{ heap: heap!, time: Number(time), minor: kind === 'Scavenge' },
      ...{ before: Number(before), after: Number(after) },
    }),
  );
}

function summary(all: readonly Collection[], minutes: number): Collections {
  const minor = all.filter((one) => one.minor).length;
  let bytes = 0;
  for (const [i, { before }] of all.entries()) if (i > 0) bytes += Math.max(0, before - all[i - 1]!.after) * 1e6;
  const seconds = all.length > 1 ? (all.at(-1)!.time - all[0]!.time) / 1000 : 0;
  return {
    minor: minor / minutes,
    major: (all.length - minor) / minutes,
    allocated: seconds === 0 ? null : bytes / 1024 / seconds,
  };
}

export function printSoak({ seconds, rates, vteps }: Soak): void {
  const sorted = [...rates].sort((a, b) => a - b);
  console.log(`${seconds} s of TCP, ${sorted[0]!.toFixed(2)} to ${sorted.at(-1)!.toFixed(2)} Gbit/s per turn`);
  for (const [i, { resident, growth, threads }] of vteps.entries()) {
    const most = Math.max(...resident).toFixed(1);
    console.log(`VTEP ${i + 1}: at most ${most} MiB resident (< 120), growth ${growth.toFixed(2)} MiB (0)`);
    for (const [name, { minor, major, allocated }] of Object.entries(threads)) {
      const rate = allocated === null ? 'allocates too little to measure' : `allocates ${allocated.toFixed(1)} KiB/s`;
      console.log(
        `  ${name} thread: ${minor.toFixed(1)} minor and ${major.toFixed(1)} major collections per minute, ${rate}`,
      );
    }
  }
}

/**
 * `npm run bench -- gossip [--json] [--quick] [--nodes N…] [--minutes M] [--out DIR]`: clusters of memberlist and NetworkDB
 * on the virtual clock. How soon news are known, how soon a death, how often it is no death, and what idling takes; beside
 * what others say that gossip with these settings takes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LAN } from '../src/gossip/memberlist/index.js';
import {
  falseDeaths,
  GOSSIP,
  measureSize,
  memoryOfNode,
  planFor,
  type FalseDeaths,
  type SizeFigures,
} from './gossip/measure.js';
import { serfShare } from './gossip/model.js';
import { barChart, lineChart, type Line } from './gossip/svg.js';
import type { BenchOptions } from './main.js';

const LOSSES = [0.01, 0.05, 0.2];

export interface Goal {
  name: string;
  limit: string;
  measured: string;
  met: boolean;
}

export interface GossipFigures {
  settings: typeof LAN;
  sizes: SizeFigures[];
  falseDeaths: FalseDeaths[];
  goals: Goal[];
  /** Files that were written. */
  plots: string[];
}

export function gossip({ quick, nodes, minutes, out }: BenchOptions): Promise<GossipFigures> {
  const sizes = nodes.length > 0 ? nodes : quick ? [10, 100] : [10, 100, 1000];
  const progress = (what: string): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`);
  };
  // First, while there is no garbage of anything else.
  const memory = sizes.map(memoryOfNode);
  const measured = sizes.map((size, i) => ({
    ...measureSize(size, planFor(size, quick), progress),
    memory: memory[i]!,
  }));
  const deaths = sizes
    .filter((size) => size >= 100 || sizes.length === 1)
    .flatMap((size) => deathsOf(size, minutes ?? minutesFor(size, quick), quick, progress));
  progress('');
  const goals = goalsOf(measured, deaths);
  const plots = out === null ? [] : draw(out, measured, deaths);
  return Promise.resolve({ settings: LAN, sizes: measured, falseDeaths: deaths, goals, plots });
}

/** As many hours of members in a large cluster as in one of a hundred. */
function minutesFor(nodes: number, quick: boolean): number {
  return (quick ? 3 : 60) * Math.min(1, 100 / nodes);
}

function deathsOf(nodes: number, minutes: number, quick: boolean, progress: (what: string) => void): FalseDeaths[] {
  // Large clusters take long: only what they are held to.
  const [losses, kinds] = nodes > 200 ? [[0.05], [true]] : [quick ? [0.05] : LOSSES, [true, false]];
  return losses.flatMap((loss) =>
    kinds.map((lifeguard) => {
      const by = lifeguard ? 'with' : 'without';
      progress(`${nodes} nodes, ${minutes} minutes of ${loss * 100} % loss ${by} Lifeguard`);
      return falseDeaths(nodes, loss, lifeguard, minutes);
    }),
  );
}

function goalsOf(sizes: readonly SizeFigures[], deaths: readonly FalseDeaths[]): Goal[] {
  const goals: Goal[] = [];
  for (const { nodes, endpoint, idle } of sizes.filter((size) => size.nodes <= 1000)) {
    goals.push({
      name: `${nodes} nodes: a new endpoint known to 99 %`,
      limit: '1.50 s',
      measured: seconds(endpoint.most),
      met: endpoint.most !== null && endpoint.most <= 1500,
    });
    if (idle.total > 0)
      goals.push({
        name: `${nodes} nodes: idle, sent a second by each`,
        limit: '20.0 KiB',
        measured: `${(idle.total / 1024).toFixed(1)} KiB`,
        met: idle.total < 20 * 1024,
      });
  }
  for (const { nodes, loss, lifeguard, minutes, declared } of deaths)
    if (loss === 0.05 && lifeguard)
      goals.push({
        name: `${nodes} nodes: false deaths at 5 % loss in ${minutes} minutes`,
        limit: '0',
        measured: String(declared),
        met: declared === 0,
      });
  return goals;
}

// What people see

export function printGossip({ sizes, falseDeaths: deaths, goals, plots }: GossipFigures): void {
  heading('A new endpoint (an entry of NetworkDB’s) until so many nodes know of it, in seconds; medians');
  table([
    ['nodes', 'trials', '50 %', '99 %', '100 %', 'slowest 99 %', 'model 50 %', '99 %', '100 %', 'Serf 50 %', '99 %'],
    ...sizes.map(({ nodes, trials, endpoint, endpointWorst, model, serf }) => [
      ...[nodes, trials].map(String),
      ...[endpoint.half, endpoint.most, endpoint.all, endpointWorst].map(seconds),
      ...[model.half, model.most, model.all, serf.half, serf.most].map(seconds),
    ]),
  ]);
  note(
    'model: each node that knows tells 3 others every 200 ms, 4 ceil(log10(n + 1)) times, and nothing else happens.',
  );
  note('Serf: the formula of its convergence simulator, logistic growth where a contact counts half.');
  heading(
    'A broadcast of memberlist’s (new meta data), and a death until the others take the dead for dead, in seconds',
  );
  table([
    ['nodes', 'meta 50 %', '99 %', '100 %', 'death: first', '99 %', '100 %', 'expected'],
    ...sizes.map(({ nodes, broadcast, death, expectedDeath }) => [
      String(nodes),
      ...[broadcast.half, broadcast.most, broadcast.all, death.first, death.most, death.all, expectedDeath].map(
        seconds,
      ),
    ]),
  ]);
  note('expected: e / (e - 1) probe intervals until one is probed (SWIM, 2002), the probe, and memberlist’s shortest');
  note('suspicion, 4 log10(n) probe intervals, as three accuse one that is dead soon after each other.');
  heading('One node while nothing happens, each having one endpoint: octets that it sends a second, and its memory');
  table([
    ['nodes', 'packets', 'streams', 'total', 'Serf, at most', 'heap'],
    ...sizes.map(({ nodes, idle, memory }) => [
      String(nodes),
      ...(idle.total > 0 ? [idle.packets, idle.streams, idle.total].map((one) => one.toFixed(0)) : ['-', '-', '-']),
      String(SERF_BYTES),
      `${(memory / 1e6).toFixed(2)} MB`,
    ]),
  ]);
  note('headers of IP, UDP and TCP included; streams are push/pull and bulk syncs. As many octets come in as go out.');
  note('Serf, at most: what its simulator gives as the bound, full packets in both directions.');
  if (deaths.length > 0) {
    heading('False deaths: members that were alive and declared dead');
    table([
      ['nodes', 'loss', 'Lifeguard', 'minutes', 'declared', 'believed by', 'refuted suspicions'],
      ...deaths.map(({ nodes, loss, lifeguard, minutes, declared, believed, refuted }) => [
        String(nodes),
        `${loss * 100} %`,
        lifeguard ? 'with' : 'without',
        ...[minutes, declared, believed, refuted].map((one) => String(Math.round(one * 10) / 10)),
      ]),
    ]);
    note(
      'without: no awareness of oneself, a fixed time of suspicion, no nacks. Silent members are asked by TCP in both.',
    );
  }
  heading('Goals');
  table([
    ['', 'held to', 'measured', ''],
    ...goals.map(({ name, limit, measured, met }) => [name, limit, measured, met ? 'met' : 'missed']),
  ]);
  for (const file of plots) console.log(`\nwrote ${file}`);
}

/** Octets a second: packets of 1400 octets to 3 nodes five times a second, in and out. */
const SERF_BYTES = 1400 * LAN.gossipNodes * (1000 / LAN.gossipInterval) * 2;

function heading(words: string): void {
  console.log(`\n${words}`);
}

function note(words: string): void {
  console.log(`  ${words}`);
}

function table(rows: readonly string[][]): void {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  for (const row of rows)
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  '));
}

function seconds(milliseconds: number | null): string {
  return milliseconds === null ? '-' : (milliseconds / 1000).toFixed(2);
}

// Plots

const COLORS = ['#1b7837', '#2166ac', '#b2182b', '#7b3294', '#8c510a', '#01665e'];

export function draw(directory: string, sizes: readonly SizeFigures[], deaths: readonly FalseDeaths[]): string[] {
  mkdirSync(directory, { recursive: true });
  const files: [string, string][] = [['gossip-spread.svg', spreadChart(sizes)]];
  if (deaths.length > 0) files.push(['gossip-deaths.svg', deathsChart(deaths)]);
  return files.map(([name, text]) => {
    const file = join(directory, name);
    writeFileSync(file, text);
    return file;
  });
}

function spreadChart(sizes: readonly SizeFigures[]): string {
  const lines = sizes.flatMap(({ nodes, curve }, i): Line[] => {
    const color = COLORS[i % COLORS.length]!;
    const published = Array.from({ length: 101 }, (_, k): [number, number] => {
      const x = k * 0.02;
      return [x, serfShare({ nodes, ...GOSSIP }, x * 1000) * 100];
    });
    return [
      { name: `${nodes} nodes`, color, points: [[0, 100 / nodes], ...curve.map(([y, x]) => [x / 1000, y] as const)] },
      { name: `${nodes}, Serf’s formula`, color, dashed: true, points: published },
    ];
  });
  return lineChart({
    title: 'Nodes that know of a new endpoint, in %',
    note: 'Medians on the virtual clock; LAN settings: every 200 ms to 3 nodes. Dashed: Serf’s convergence simulator.',
    x: { label: 'seconds', max: 2, step: 0.25 },
    y: { label: '%', max: 100, step: 20 },
    lines,
  });
}

function deathsChart(deaths: readonly FalseDeaths[]): string {
  // In the same measure, however long it was.
  const rate = (one: FalseDeaths): number => one.declared / ((one.nodes * one.minutes) / 6000);
  const kinds = [...new Set(deaths.map(({ nodes, loss }) => `${nodes} ${loss}`))];
  const groups = kinds.map((kind) => {
    const of = deaths.filter(({ nodes, loss }) => `${nodes} ${loss}` === kind);
    const { nodes, loss } = of[0]!;
    return { name: `${nodes} nodes, ${loss * 100} %`, values: [...of].map(rate) };
  });
  const most = Math.max(1, ...groups.flatMap(({ values }) => values));
  const step = 10 ** Math.floor(Math.log10(most));
  return barChart({
    title: 'False deaths in 100 hours of members, by packet loss',
    note: 'Members that were alive and declared dead. Without Lifeguard: no awareness, fixed suspicion, no nacks.',
    y: { label: '', max: Math.ceil(most / step) * step, step },
    series: [
      { name: 'with Lifeguard', color: COLORS[1]! },
      { name: 'without', color: '#bbb' },
    ],
    groups,
  });
}

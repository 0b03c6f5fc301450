/**
 * `npm run bench -- gossip [--json] [--quick] [--nodes N…] [--minutes M] [--out DIR]`: clusters of memberlist and
 * NetworkDB on the virtual clock. Measures how fast updates and deaths spread, how often a living member is declared
 * dead, and what an idle node sends, beside published figures for gossip with these settings.
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
import type { BenchOptions } from './options.js';

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
  /** Files written. */
  plots: string[];
}

export function gossip({ quick, nodes, minutes, out }: BenchOptions): Promise<GossipFigures> {
  const sizes = nodes.length > 0 ? nodes : quick ? [10, 100] : [10, 100, 1000];
  const progress = (what: string): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`);
  };
  // First, before other measurements leave garbage on the heap.
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

/** Scales the duration so that clusters above 100 nodes simulate the same number of node hours as one of 100. */
function minutesFor(nodes: number, quick: boolean): number {
  return (quick ? 3 : 60) * Math.min(1, 100 / nodes);
}

function deathsOf(nodes: number, minutes: number, quick: boolean, progress: (what: string) => void): FalseDeaths[] {
  // Large clusters take long: measure only the case that has a goal.
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
      name: `${nodes} nodes: time until 99 % know a new endpoint`,
      limit: '1.50 s',
      measured: seconds(endpoint.most),
      met: endpoint.most !== null && endpoint.most <= 1500,
    });
    if (idle.total > 0)
      goals.push({
        name: `${nodes} nodes: sent per second by an idle node`,
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

// Text output

export function printGossip({ sizes, falseDeaths: deaths, goals, plots }: GossipFigures): void {
  heading('Seconds until a share of the nodes knows a new endpoint (a NetworkDB entry); medians');
  table([
    ['nodes', 'trials', '50 %', '99 %', '100 %', 'slowest 99 %', 'model 50 %', '99 %', '100 %', 'Serf 50 %', '99 %'],
    ...sizes.map(({ nodes, trials, endpoint, endpointWorst, model, serf }) => [
      ...[nodes, trials].map(String),
      ...[endpoint.half, endpoint.most, endpoint.all, endpointWorst].map(seconds),
      ...[model.half, model.most, model.all, serf.half, serf.most].map(seconds),
    ]),
  ]);
  note(
    'model: each node that knows sends to 3 others every 200 ms, 4 ceil(log10(n + 1)) times, without other traffic.',
  );
  note('Serf: the formula of its convergence simulator, logistic growth in which a contact counts half.');
  heading(
    'Seconds until a memberlist broadcast (new metadata) spreads, and until the others declare a stopped node dead',
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
  note(
    'expected: e / (e - 1) probe intervals until the first probe (SWIM, 2002), the probe, and memberlist’s shortest',
  );
  note('suspicion timeout, 4 log10(n) probe intervals, since three members suspect a dead one in quick succession.');
  heading('An idle node, in a cluster where each has one endpoint: octets that it sends per second, and its memory');
  table([
    ['nodes', 'packets', 'streams', 'total', 'Serf, at most', 'heap'],
    ...sizes.map(({ nodes, idle, memory }) => [
      String(nodes),
      ...(idle.total > 0 ? [idle.packets, idle.streams, idle.total].map((one) => one.toFixed(0)) : ['-', '-', '-']),
      String(SERF_BYTES),
      `${(memory / 1e6).toFixed(2)} MB`,
    ]),
  ]);
  note(
    'With IP, UDP and TCP headers. Streams are push/pull and bulk syncs. A node receives as many octets as it sends.',
  );
  note('Serf, at most: the bound that its simulator gives, full packets in both directions.');
  if (deaths.length > 0) {
    heading('False deaths: members that were alive and declared dead');
    table([
      ['nodes', 'loss', 'Lifeguard', 'minutes', 'declared', 'accepted by', 'refuted suspicions'],
      ...deaths.map(({ nodes, loss, lifeguard, minutes, declared, believed, refuted }) => [
        String(nodes),
        `${loss * 100} %`,
        lifeguard ? 'with' : 'without',
        ...[minutes, declared, believed, refuted].map((one) => String(Math.round(one * 10) / 10)),
      ]),
    ]);
    note(
      'without: no local health awareness, a fixed suspicion timeout, no nacks. Both probe silent members by TCP too.',
    );
  }
  heading('Goals');
  table([
    ['', 'limit', 'measured', ''],
    ...goals.map(({ name, limit, measured, met }) => [name, limit, measured, met ? 'met' : 'missed']),
  ]);
  for (const file of plots) console.log(`\nwrote ${file}`);
}

/** Octets per second: packets of 1400 octets to 3 nodes five times a second, in and out. */
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
    title: 'Nodes that know a new endpoint, in %',
    note: 'Medians on the virtual clock; LAN settings: every 200 ms to 3 nodes. Dashed: Serf’s convergence simulator.',
    x: { label: 'seconds', max: 2, step: 0.25 },
    y: { label: '%', max: 100, step: 20 },
    lines,
  });
}

function deathsChart(deaths: readonly FalseDeaths[]): string {
  // Per 100 node hours, whatever the duration of the run.
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
    title: 'False deaths per 100 node hours, by packet loss',
    note: 'Living members declared dead. Without Lifeguard: no health awareness, fixed suspicion timeout, no nacks.',
    y: { label: '', max: Math.ceil(most / step) * step, step },
    series: [
      { name: 'with Lifeguard', color: COLORS[1]! },
      { name: 'without', color: '#bbb' },
    ],
    groups,
  });
}

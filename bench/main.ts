/** `npm run bench -- [SUITE …] [FLAG …]`: the benchmarks. On noisy machines, run them several times. */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { cluster, printCluster } from './cluster.js';
import { gossip, printGossip } from './gossip.js';
import { library, type Figure } from './library.js';
import { overlay, printOverlay } from './overlay.js';
import { memory, printMemory } from './memory.js';
import { offload } from './offload.js';
import type { BenchOptions } from './options.js';
import { printScale, scale } from './scale.js';
import { printSeal, seal } from './seal.js';
import { printSoak, soak } from './soak.js';

interface Suite {
  text: string;
  /** Runs only if named. */
  named?: boolean;
  run(options: BenchOptions): Promise<unknown>;
  print(results: never): void;
}

const SUITES: Record<string, Suite> = {
  library: { text: 'codecs and machines, without I/O', run: library, print },
  offload: { text: 'checksums, segmentation and coalescing', run: offload, print },
  overlay: {
    text: 'the engines, the kernel’s vxlan and limit.c in network namespaces; needs root, iperf3, cc and 20 minutes',
    named: true,
    run: overlay,
    print: printOverlay,
  },
  soak: {
    text: 'memory and garbage of two VTEPs under TCP load; needs root, iperf3 and five minutes, or --minutes N',
    named: true,
    run: ({ quick, minutes }) => soak(quick ? 1 : (minutes ?? 5)),
    print: printSoak,
  },
  gossip: {
    text: 'clusters on the virtual clock: spread of updates and deaths, false deaths, traffic; takes ten minutes',
    named: true,
    run: gossip,
    print: printGossip,
  },
  scale: {
    text: 'a VTEP with many ports, networks and endpoints, without I/O; takes a minute',
    named: true,
    run: ({ quick }) => scale(quick),
    print: printScale,
  },
  seal: {
    text: 'AES-GCM of each implementation: a packet of 64 and of 1408 octets',
    named: true,
    run: ({ quick }) => seal(quick),
    print: printSeal,
  },
  memory: {
    text: 'an agent that hears of 50,000 endpoints; needs Linux and a minute',
    named: true,
    run: ({ quick }) => memory(quick),
    print: printMemory,
  },
  cluster: {
    text: 'two hosts of a cluster: the first reply, a service with 1,000 tasks, an agent that knows 10,000 endpoints; needs root',
    named: true,
    run: ({ quick }) => cluster(quick),
    print: printCluster,
  },
};

const KNOWN = Object.entries(SUITES)
  .map(([name, { text, named }]) => `  ${name.padEnd(10)}${text}${named ? '; runs only if named' : ''}`)
  .join('\n');
const help = `npm run bench -- [SUITE …] [FLAG …]

${KNOWN}

  --json        figures as JSON
  --quick       one short round of the overlay and of the scale, 5,000 endpoints of the memory, a tenth of the cluster, one minute of the soak, small clusters of the gossip
  --rounds N    rounds of the overlay, which reports medians (default 5)
  --workers N   of the overlay: threads of the engine "linux" (default 1)
  --busy-poll N of the overlay: microseconds for which that engine and limit.c poll before they sleep (default 0)
  --peers       of the overlay: also Open vSwitch, wireguard-go and vde, downloaded from Debian and unpacked
  --encrypted   of the overlay: instead of the other layouts, an encrypted network beside one in clear, wireguard-go and the kernel
  --minutes N   length of the soak (default 5), and of the packet loss in the gossip, in virtual time (60 at 100 nodes)
  --nodes N …   sizes of the gossip's clusters (default 10 100 1000)
  --out DIR     directory for the gossip's plots (default: no plots)
`;

const FLAGS = {
  json: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  rounds: { type: 'string', default: '5' },
  workers: { type: 'string', default: '1' },
  'busy-poll': { type: 'string', default: '0' },
  peers: { type: 'boolean', default: false },
  encrypted: { type: 'boolean', default: false },
  minutes: { type: 'string' },
  nodes: { type: 'string', multiple: true },
  out: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: FLAGS, allowPositionals: true });
  } catch (error) {
    console.error(`bench: ${(error as Error).message.split('. ')[0]}; see npm run bench -- --help`);
    return undefined;
  }
}

/** Most members of a cluster. */
const MAX_NODES = 10_000;

async function main(args: string[]): Promise<number> {
  const parsed = parse(args);
  if (parsed === undefined) return 2;
  const { values, positionals } = parsed;
  const { json, quick } = values;
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const minutes = values.minutes === undefined ? null : Number(values.minutes);
  if (minutes !== null && !(minutes > 0)) {
    console.error(`bench: --minutes must be a number above 0, not ${values.minutes}`);
    return 2;
  }
  const rounds = Number(values.rounds);
  for (const [flag, least] of [
    ['rounds', 1],
    ['workers', 1],
    ['busy-poll', 0],
  ] as const)
    if (!(Number.isInteger(Number(values[flag])) && Number(values[flag]) >= least)) {
      console.error(`bench: --${flag} must be an integer of at least ${least}, not ${values[flag]}`);
      return 2;
    }
  const { peers, encrypted } = values;
  const of = { rounds, workers: Number(values.workers), busyPoll: Number(values['busy-poll']), peers, encrypted };
  // `--nodes 10 100` works like `--nodes 10 --nodes 100`: no suite's name is a number.
  const isNumber = (word: string): boolean => /^\d+$/.test(word);
  const names = positionals.filter((word) => !isNumber(word));
  const nodes = [...(values.nodes ?? []), ...positionals.filter(isNumber)].map(Number);
  const wrong = nodes.find((one) => !Number.isInteger(one) || one < 2 || one > MAX_NODES);
  if (wrong !== undefined) {
    console.error(`bench: --nodes must be integers from 2 to ${MAX_NODES}, not ${wrong}`);
    return 2;
  }
  const unknown = names.find((name) => !Object.hasOwn(SUITES, name));
  if (unknown !== undefined) {
    console.error(`bench: unknown suite "${unknown}"; the suites are:\n${KNOWN}`);
    return 2;
  }
  const results: Record<string, unknown> = {};
  const chosen = names.length > 0 ? names : Object.keys(SUITES).filter((name) => !SUITES[name]!.named);
  for (const name of chosen)
    results[name] = await SUITES[name]!.run({ quick, ...of, minutes, nodes, out: values.out ?? null });
  if (json) console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, results }, null, 2));
  else {
    console.log(`Node ${process.version}, ${cpus()[0]?.model}, ${cpus().length} cores\n`);
    for (const [name, figures] of Object.entries(results)) SUITES[name]!.print(figures as never);
  }
  return 0;
}

function print(figures: readonly Figure[]): void {
  const rows = figures.map(({ name, nanoseconds, bytes, target }) => [
    name,
    nanoseconds.toFixed(1),
    bytes.toFixed(1),
    `< ${target}`,
    nanoseconds < target ? 'met' : 'missed',
  ]);
  const table = [['', 'ns', 'bytes', 'target (ns)', ''], ...rows];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  for (const row of table)
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  '));
}

process.exitCode = await main(process.argv.slice(2));

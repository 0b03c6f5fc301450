/** `npm run bench -- [SUITE …] [--json] [--quick]`: what weft costs. Figures on noisy machines: run it several times. */
import { cpus } from 'node:os';
import { library, type Figure } from './library.js';
import { overlay, printOverlay } from './overlay.js';
import { offload } from './offload.js';

interface Suite {
  text: string;
  /** Runs where it is named only. */
  named?: boolean;
  run(quick: boolean): Promise<unknown>;
  print(results: never): void;
}

const SUITES: Record<string, Suite> = {
  library: { text: 'codecs and machines, without I/O', run: library, print },
  offload: { text: 'checksums, segmentation and coalescing', run: offload, print },
  overlay: {
    text: 'the engines and the kernel’s vxlan side by side, in network namespaces; takes root, iperf3 and five minutes',
    named: true,
    run: overlay,
    print: printOverlay,
  },
};

async function main(args: string[]): Promise<number> {
  const json = args.includes('--json');
  const quick = args.includes('--quick');
  const names = args.filter((arg) => arg !== '--json' && arg !== '--quick');
  const unknown = names.find((name) => !Object.hasOwn(SUITES, name));
  if (unknown !== undefined) {
    const known = Object.entries(SUITES).map(([name, { text }]) => `  ${name.padEnd(10)}${text}`);
    console.error(`bench: there is no suite "${unknown}"; there are:\n${known.join('\n')}`);
    return 2;
  }
  const results: Record<string, unknown> = {};
  const chosen = names.length > 0 ? names : Object.keys(SUITES).filter((name) => !SUITES[name]!.named);
  for (const name of chosen) results[name] = await SUITES[name]!.run(quick);
  if (json) console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, results }, null, 2));
  else {
    console.log(`Node ${process.version}, ${cpus()[0]?.model}, ${cpus().length} cores\n`);
    for (const [name, figures] of Object.entries(results)) SUITES[name]!.print(figures as never);
  }
  return 0;
}

function print(figures: readonly Figure[]): void {
  const rows = figures.map(({ name, nanoseconds, bytes, bar }) => [
    name,
    nanoseconds.toFixed(1),
    bytes.toFixed(1),
    `< ${bar}`,
    nanoseconds < bar ? 'met' : 'missed',
  ]);
  const table = [['', 'ns', 'bytes', 'bar (ns)', ''], ...rows];
  const widths = table[0]!.map((_, i) => Math.max(...table.map((row) => row[i]!.length)));
  for (const row of table)
    console.log(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!))).join('  '));
}

process.exitCode = await main(process.argv.slice(2));

/** `npm run bench -- [SUITE …] [--json]`: what weft costs. Figures on noisy machines: run it several times. */
import { cpus } from 'node:os';
import { library, type Figure } from './library.js';
import { offload } from './offload.js';

const SUITES: Record<string, { text: string; run: () => Promise<Figure[]> }> = {
  library: { text: 'codecs and machines, without I/O', run: library },
  offload: { text: 'checksums, segmentation and coalescing', run: offload },
};

async function main(args: string[]): Promise<number> {
  const json = args.includes('--json');
  const names = args.filter((arg) => arg !== '--json');
  const unknown = names.find((name) => !Object.hasOwn(SUITES, name));
  if (unknown !== undefined) {
    const known = Object.entries(SUITES).map(([name, { text }]) => `  ${name.padEnd(10)}${text}`);
    console.error(`bench: there is no suite "${unknown}"; there are:\n${known.join('\n')}`);
    return 2;
  }
  const results: Record<string, Figure[]> = {};
  for (const name of names.length > 0 ? names : Object.keys(SUITES)) results[name] = await SUITES[name]!.run();
  if (json) console.log(JSON.stringify({ node: process.version, cpu: cpus()[0]?.model, results }, null, 2));
  else {
    console.log(`Node ${process.version}, ${cpus()[0]?.model}, ${cpus().length} cores\n`);
    for (const figures of Object.values(results)) print(figures);
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

// @ts-check
/**
 * `npm run bench -- [SUITE …] [--json]`: bundles the benchmarks like the package, and runs them with `--expose-gc`,
 * which they need to count allocations.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { constants } from './constants.mjs';

// Inside the repository, so that imports of external packages resolve.
const directory = join('bench', 'work');
const file = join(directory, `main-${process.pid}.mjs`);

const { outputFiles } = await build({
  entryPoints: ['bench/main.ts'],
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  external: ['koffi', 'mitata'],
  write: false,
  logLevel: 'error',
});
mkdirSync(directory, { recursive: true });
const program = join(directory, `vtep-${process.pid}`);
const env = { ...process.env };
if (process.argv.some((word) => ['overlay', 'soak', 'cluster'].includes(word))) {
  // Measures the present sources, bundled like the package.
  const { outputFiles: files } = await build({
    entryPoints: { 'cli/main': 'src/cli/main.ts', 'host/linux-worker': 'src/host/linux/worker.ts' },
    outdir: program,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    write: false,
    logLevel: 'error',
  });
  for (const { path, text } of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, constants(text).code);
  }
  env['WEFT_VTEP'] ??= `node ${join(program, 'cli', 'main.js')}`;
}
writeFileSync(file, constants(/** @type {import('esbuild').OutputFile} */ (outputFiles[0]).text).code);
// A cluster in one process is large, and so is a VTEP with a million endpoints: the heap may take half of the memory, and
// its young generation is larger.
const large = [`--max-old-space-size=${Math.floor(totalmem() / 2 ** 21)}`, '--max-semi-space-size=64'];
const flags = ['--expose-gc', ...(process.argv.some((word) => word === 'gossip' || word === 'scale') ? large : [])];
const child = spawn(process.execPath, [...flags, file, ...process.argv.slice(2)], { stdio: 'inherit', env });
// A terminal sends SIGINT to both; the benchmark removes what it has made, and this process waits for it.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => child.kill(signal));
child.on('close', (code, signal) => {
  rmSync(file, { force: true });
  rmSync(program, { recursive: true, force: true });
  process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
});

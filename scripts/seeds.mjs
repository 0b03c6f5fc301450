// @ts-check
/**
 * Runs a simulation with many seeds. Bundles it first, which makes it faster than the plain test.
 *
 *     npm run seeds -- memberlist 1-100000
 *     npm run seeds -- networkdb 1-20000
 *     npm run seeds -- gossip 17-17
 *
 * Prints each failing seed with the command that reproduces it, and at the end how many ran and passed.
 */
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SIMULATIONS = ['memberlist', 'networkdb', 'gossip', 'conflict', 'cluster'];

const [name = '', seeds = ''] = process.argv.slice(2);
if (!SIMULATIONS.includes(name) || !/^\d+(-\d+)?$/.test(seeds)) {
  console.error(`usage: npm run seeds -- NAME FIRST-LAST, where NAME is one of ${SIMULATIONS.join(', ')}`);
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'weft-seeds-'));
try {
  const outfile = join(folder, `${name}.mjs`);
  await build({
    entryPoints: [`test/${name}-sim.test.ts`],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'es2022',
    sourcemap: 'inline',
    external: ['koffi'],
    logLevel: 'error',
  });
  const env = { ...process.env, SEEDS: seeds };
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', outfile], { stdio: 'inherit', env });
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

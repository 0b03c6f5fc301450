// @ts-check
/**
 * Feeds a target of `fuzz/` with coverage-guided inputs, until the time is over or an input breaks a promise.
 *
 *     npm run fuzz -- --list                    the targets
 *     npm run fuzz -- vxlan --seconds 30        one target (or several, or all), for so long each (default 30)
 *     npm run fuzz -- vxlan fuzz/corpus/vxlan/* replays files instead
 *
 * An input that takes longer than --patience seconds (default 10) counts as a crash too.
 *
 * Starts from the seeds in `fuzz/corpus/<target>/`, and writes an input that breaks a promise there as `crash-<hash>`:
 * commit it with the fix. Other inputs that reach new code stay in `fuzz/work`, for the next run on this machine.
 *
 * The engine is Jazzer.js if it is installed and loads, else jsfuzz, whose corpus and mutations fuzz-worker.mjs drives.
 */
import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';

const WORK = resolve('fuzz/work');
const require = createRequire(import.meta.url);

/** @type {(message: string) => never} */
function refuse(message) {
  console.error(message);
  process.exit(2);
}

const targets = existsSync('fuzz')
  ? readdirSync('fuzz')
      .filter((name) => name.endsWith('.ts'))
      .map((name) => basename(name, '.ts'))
      .sort()
  : [];

/**
 * Bundles a target as CommonJS, the format that fuzzers instrument.
 * @param {string} target
 */
async function bundle(target) {
  const outfile = join(WORK, target, 'target.cjs');
  await build({
    entryPoints: [`fuzz/${target}.ts`],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'es2022',
    logLevel: 'error',
  });
  return outfile;
}

/** @typedef {{ runs: number, coverage: number, crash: Uint8Array | null, trouble: string }} Outcome */

/**
 * Fuzzes with scripts/fuzz-worker.mjs.
 * @param {string} file
 * @param {string[]} folders
 * @param {number} seconds
 * @returns {Promise<Outcome>}
 */
function withJsfuzz(file, folders, seconds) {
  const state = new Int32Array(new SharedArrayBuffer(16)); // runs, counters reached, input length, crashed
  const input = new Uint8Array(new SharedArrayBuffer(65536));
  const worker = new Worker(new URL('fuzz-worker.mjs', import.meta.url), {
    workerData: { file, folders, seconds, state, input },
    resourceLimits: { maxOldGenerationSizeMb: 2048 },
  });
  return new Promise((done) => {
    let over = false;
    /** @type {(crash: Uint8Array | null, trouble?: string) => void} */
    const finish = (crash, trouble = '') => {
      if (over) return;
      over = true;
      clearInterval(watch);
      process.off('SIGINT', interrupt);
      const [runs = 0, coverage = 0] = state;
      void worker.terminate().then(() => done({ runs, coverage, crash, trouble }));
    };
    const current = () => input.slice(0, state[2]);
    const interrupt = () => finish(null);
    let seen = -1;
    let still = 0;
    const watch = setInterval(() => {
      const runs = Atomics.load(state, 0);
      still = runs > 0 && runs === seen ? still + 1 : 0;
      seen = runs;
      if (process.stderr.isTTY) process.stderr.write(`\r${runs} runs, ${state[1]} counters reached \x1b[K`);
      if (still >= patience) finish(current(), `did not return within ${patience} s`);
    }, 1000);
    process.on('SIGINT', interrupt);
    worker.on('error', (error) => finish(seen > 0 ? current() : null, String(error.stack ?? error)));
    worker.on('exit', () => finish(state[3] === 1 ? current() : null));
  });
}

/**
 * The program of Jazzer.js, or `null` if it is absent or its native part, which needs a recent C library, does not
 * load.
 * @returns {string | null}
 */
function jazzer() {
  try {
    const program = require.resolve('@jazzer.js/core/dist/cli.js');
    const loads = spawnSync(process.execPath, ['-e', `require('@jazzer.js/core')`], { stdio: 'ignore' });
    return loads.status === 0 ? program : null;
  } catch {
    return null;
  }
}

/**
 * Fuzzes with Jazzer.js, in a process of its own.
 * @param {string} program
 * @param {string} file
 * @param {string[]} folders
 * @param {number} seconds
 * @returns {Outcome}
 */
function withJazzer(program, file, folders, seconds) {
  const folder = dirname(file);
  for (const old of readdirSync(folder)) if (old.startsWith('crash-')) rmSync(join(folder, old));
  const limits = ['--sync', `--timeout=${patience * 1000}`, '--', `-max_total_time=${seconds}`, '-artifact_prefix=./'];
  const { stdout, stderr, status } = spawnSync(process.execPath, [program, file, ...folders, ...limits], {
    cwd: folder,
    encoding: 'utf8',
    timeout: (seconds + 2 * patience) * 1000,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 28,
  });
  const [, runs, coverage] = [...stderr.matchAll(/^#(\d+)\s.*cov: (\d+)/gm)].at(-1) ?? [];
  const found = readdirSync(folder).find((name) => /^(crash|timeout|oom)-/.test(name));
  const crash = found === undefined ? null : readFileSync(join(folder, found));
  if (found !== undefined) rmSync(join(folder, found));
  const trouble = status === 0 || crash !== null ? '' : stdout + stderr;
  return { runs: Number(runs ?? 0), coverage: Number(coverage ?? 0), crash, trouble };
}

/**
 * Fuzzes one target.
 * @param {string} target
 * @param {number} seconds
 * @returns {Promise<boolean>} whether no input broke a promise
 */
async function fuzz(target, seconds) {
  const file = await bundle(target);
  const found = join(WORK, target, 'found');
  const seeds = resolve('fuzz/corpus', target);
  mkdirSync(found, { recursive: true });
  mkdirSync(seeds, { recursive: true });
  const better = jazzer();
  const engine = better === null ? 'jsfuzz' : 'Jazzer.js';
  console.log(`${target}: ${engine}, ${seconds} s, ${readdirSync(seeds).length} seeds`);
  const started = performance.now();
  const { runs, coverage, crash, trouble } = await (better === null
    ? withJsfuzz(file, [found, seeds], seconds)
    : withJazzer(better, file, [found, seeds], seconds));
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');

  const took = (performance.now() - started) / 1000;
  const speed = Math.round(runs / took).toLocaleString('en');
  const sum = `${runs.toLocaleString('en')} runs in ${took.toFixed(0)} s, ${speed} per second, ${coverage} counters reached`;
  const inputs = readdirSync(found).length;
  if (crash === null) {
    console.log(
      `${target}: ${sum}, ${inputs} inputs kept: ${trouble === '' ? 'nothing found' : `ended early: ${trouble}`}`,
    );
    return trouble === '';
  }
  const kept = join('fuzz/corpus', target, `crash-${createHash('sha256').update(crash).digest('hex').slice(0, 16)}`);
  writeFileSync(kept, crash);
  console.log(`${target}: ${sum}: an input broke a promise`);
  if (trouble === '') await replay(target, [kept]);
  else console.log(`     ${trouble}`);
  console.log(`to reproduce:  npm run fuzz -- ${target} ${kept}`);
  return false;
}

/**
 * Runs a target once with each file.
 * @param {string} target
 * @param {readonly string[]} files
 * @returns {Promise<boolean>} whether no file broke a promise
 */
async function replay(target, files) {
  const { fuzz: run } = require(await bundle(target));
  let sound = true;
  for (const file of files) {
    const bytes = readFileSync(file);
    try {
      run(bytes);
      console.log(`ok   ${file}`);
    } catch (error) {
      sound = false;
      console.log(`FAIL ${file}: ${bytes.length} bytes: ${bytes.toString('hex').slice(0, 400)}`);
      console.log(String(error instanceof Error ? error.stack : error).replace(/^/gm, '     '));
    }
  }
  return sound;
}

const { values, positionals } = parseArgs({
  options: {
    list: { type: 'boolean' },
    seconds: { type: 'string', default: '30' },
    patience: { type: 'string', default: '10' },
  },
  allowPositionals: true,
});
if (values.list) {
  console.log(targets.join('\n'));
  process.exit(0);
}
const seconds = Number(values.seconds);
const patience = Number(values.patience);
if (!(seconds > 0)) refuse(`--seconds must be a number above 0, not ${values.seconds}`);
if (!(patience > 0)) refuse(`--patience must be a number above 0, not ${values.patience}`);
const isFile = (/** @type {string} */ name) => existsSync(name) && statSync(name).isFile();
const files = positionals.filter((name) => !targets.includes(name) && isFile(name));
const names = positionals.filter((name) => !files.includes(name));
const unknown = names.filter((name) => name !== 'all' && !targets.includes(name));
if (unknown.length > 0 || names.length === 0)
  refuse(`${unknown.length > 0 ? `no target ${unknown.join(', ')}` : 'name a target'}: all, ${targets.join(', ')}`);
const chosen = names.includes('all') ? targets : names;
if (files.length > 0 && chosen.length > 1) refuse('name one target for the files to replay');

let sound = true;
for (const target of chosen) {
  const held =
    files.length > 0
      ? await replay(
          target,
          files.map((file) => relative('.', file)),
        )
      : await fuzz(target, seconds);
  sound &&= held;
}
process.exitCode = sound ? 0 : 1;

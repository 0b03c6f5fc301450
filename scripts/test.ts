/**
 * Runs every `test/**\/*.test.ts` in a process of its own, so that a hang or a crash costs one file, and prints
 * `N passed, N failed` at the end.
 *
 *     npm test                   all files, with the line coverage of `src`; with CI=true, too little coverage fails
 *     npm test -- vxlan fdb      the files whose path contains one of the words
 *     npm test -- --library      the files that need only Node: all outside test/system and test/security
 *
 * Files in `test/system` and `test/security` use devices, namespaces and ports of their own and mostly wait: three run at
 * once. Those that depend on timing or saturate the machine run alone, and files outside these two folders several at a
 * time. Those that hold for any engine run once per engine; WEFT_ENGINE=dgram, or linux, selects one.
 *
 * The tests run a bundle of the program, as users do: it starts in a fifth of the time that tsx needs. WEFT_VTEP selects
 * another command, as in `WEFT_VTEP="node dist/cli/main.js" npm test -- system`.
 *
 * Coverage is V8's own, written by every Node process of a test that exits on its own, also in a network namespace. c8
 * adds it up and maps it to the sources with the source maps of tsx and of the bundle.
 */
import { transformSync } from 'esbuild';
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { bundleProgram } from '../test/support/program.js';

/** Most seconds that a file may take. */
const LIMIT = 600;
/** Least line coverage of `src` in CI, in percent. */
const COVERED = 95;
const COVERAGE = resolve('coverage');

/** Files that run once per engine: their VTEPs use the one that WEFT_ENGINE names. */
const OVER_ENGINES = ['demo', 'kernel', 'networks', 'overlay', 'up'].map((name) =>
  join('test', 'system', `${name}.test.ts`),
);
/** Files that run alone. */
const ALONE = [
  ...['agents', 'control', 'idle', 'keep', 'lifecycle', 'load', 'restart', 'scale'].map((name) => join('system', name)),
  join('security', 'fair-taps'),
].map((path) => join('test', `${path}.test.ts`));
/** Files that take minutes. They start first, so that shorter files run beside them until the end. */
const LONG = [
  ...['live', 'trouble', 'engine', 'engine-options', 'docker', 'runtimes', 'agent'].map((name) => join('system', name)),
  ...['control-characters', 'hostile-server'].map((name) => join('security', name)),
].map((path) => join('test', `${path}.test.ts`));
const ENGINES = process.env['WEFT_ENGINE']?.split(' ') ?? ['linux', 'dgram'];

interface Outcome {
  passed: number;
  failed: number;
}

/** Whether a file needs more than Node: root, devices, namespaces, or a process of the program. */
const beyondNode = (file: string): boolean =>
  ['system', 'security'].some((folder) => dirname(file) === join('test', folder));
const words = process.argv.slice(2).filter((word) => word !== '--library');
const library = process.argv.includes('--library');
const files = (readdirSync('test', { recursive: true }) as string[])
  .map((name) => join('test', name))
  .filter(
    (name) =>
      name.endsWith('.test.ts') &&
      !(library && beyondNode(name)) &&
      (words.length === 0 || words.some((word) => name.includes(word))),
  )
  .sort();
if (files.length === 0) {
  console.error(`no path of a test file contains ${words.join(' or ')}`);
  process.exit(2);
}

const measured = words.length === 0 && !library;
const program = await bundleProgram();
process.on('exit', program.remove);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
const env: NodeJS.ProcessEnv = {
  WEFT_VTEP: program.command.join(' '),
  ...process.env,
  ...(measured ? { NODE_V8_COVERAGE: join(COVERAGE, 'tmp') } : {}),
};
if (measured) rmSync(COVERAGE, { recursive: true, force: true });

function run(file: string, engine?: string): Promise<Outcome> {
  return new Promise((done) => {
    const started = performance.now();
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...env,
        ...(engine === undefined ? {} : { WEFT_ENGINE: engine }),
        // Coverage slows down what these files time: the start of a process.
        ...(ALONE.includes(file) ? { NODE_V8_COVERAGE: '' } : {}),
      },
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGTERM');
      setTimeout(() => {
        child.kill('SIGKILL');
        // A process that the file started and left behind may hold these open.
        child.stdout.destroy();
        child.stderr.destroy();
      }, 3000).unref();
    }, LIMIT * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const plain = output.replace(/\x1b\[[0-9;]*m/g, '').replace(/^[•✘ ]+(?=# |skipped )/gm, ''); // uvu's dots
      let total = 0;
      let passed = 0;
      for (const match of plain.matchAll(/^\s*(Total|Passed):\s+(\d+)/gm)) {
        if (match[1] === 'Total') total += Number(match[2]);
        else passed += Number(match[2]);
      }
      let failed = total - passed;
      if (failed === 0 && (code !== 0 || late || total === 0))
        failed = code === 0 && !late && /^skipped /m.test(plain) ? 0 : 1;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(
        `${failed === 0 ? 'ok  ' : 'FAIL'} ${file}${engine === undefined ? '' : ` with ${engine}`}: ${passed} passed${failed ? `, ${failed} failed` : ''} (${seconds} s)`,
      );
      for (const line of plain.split('\n')) if (/^(skipped |# )/.test(line)) console.log(`     ${line}`);
      if (late) console.log(`     stopped after ${LIMIT} s`);
      else if (signal) console.log(`     ended by ${signal}`);
      if (failed !== 0) console.log(output);
      done({ passed, failed });
    });
  });
}

/** Prints the coverage of `src` by file. @returns whether it is enough. */
function coverage(): boolean {
  const report = ['report', '--temp-directory', join(COVERAGE, 'tmp'), '--reports-dir', COVERAGE];
  // Merged one after the other: the reports of two thousand processes do not fit into memory.
  const what = [
    '--all',
    '--src',
    'src',
    '--include',
    'src/**',
    '--exclude-after-remap',
    '--extension',
    '.ts',
    '--merge-async',
  ];
  const how = ['--reporter', 'text', '--reporter', 'json-summary'];
  // A file that declares only types never runs: c8 would count its lines as missed.
  const types = (readdirSync('src', { recursive: true }) as string[])
    .map((name) => join('src', name))
    .filter((name) => name.endsWith('.ts') && transformSync(readFileSync(name, 'utf8'), { loader: 'ts' }).code === '')
    .flatMap((name) => ['--exclude', name]);
  spawnSync(process.execPath, ['node_modules/c8/bin/c8.js', ...report, ...what, ...types, ...how], {
    stdio: 'inherit',
  });
  const summary = JSON.parse(readFileSync(join(COVERAGE, 'coverage-summary.json'), 'utf8')) as {
    total: { lines: { pct: number } };
  };
  const { pct } = summary.total.lines;
  if (pct >= COVERED || process.env['CI'] !== 'true') return true;
  console.log(`FAIL coverage: the tests run ${pct} % of the lines of src; at least ${COVERED} % are required`);
  return false;
}

const outcome: Outcome = { passed: 0, failed: 0 };
/** A file, with the engine for those that run once per engine. */
type Job = readonly [file: string, engine?: string];

async function drain(queue: Job[]): Promise<void> {
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
    const one = await run(...job);
    outcome.passed += one.passed;
    outcome.failed += one.failed;
  }
}

async function several(jobs: Job[], most: number): Promise<void> {
  await Promise.all(Array.from({ length: most }, () => drain(jobs)));
}

const overEngines = files.filter((file) => OVER_ENGINES.includes(file));
await several(
  files.filter((file) => !beyondNode(file)).map((file) => [file]),
  Math.min(4, availableParallelism()),
);
const beside = files.filter((file) => beyondNode(file) && !ALONE.includes(file));
beside.sort((a, b) => Number(LONG.includes(b)) - Number(LONG.includes(a))); // stable
// One engine after the other, because a file must not run beside itself.
for (const [i, engine] of ENGINES.entries())
  await several(
    [
      ...beside.filter((file) => i === 0 && !overEngines.includes(file)).map((file): Job => [file]),
      ...overEngines.map((file): Job => [file, engine]),
    ],
    Math.min(3, availableParallelism() + 1),
  );
await drain(ALONE.filter((file) => files.includes(file)).map((file) => [file]));
if (measured && !coverage()) outcome.failed += 1;
console.log(`${outcome.passed} passed, ${outcome.failed} failed`);
process.exit(outcome.failed === 0 ? 0 : 1);

/**
 * Runs every `test/**\/*.test.ts` in a process of its own, so that a hang or a crash costs one file. At the end, it prints
 * which tests failed, and `N passed, N failed`; a signal makes it do so at once.
 *
 *     npm test                   all files, with the line coverage of `src`; with CI=true, too little coverage fails
 *     npm test -- vxlan fdb      the files whose path contains one of the words
 *     npm test -- --library      what may depend on the version of Node: files that need nothing else, with fewer seeds
 *
 * As many files run at once as there are processors, and two more, because those in `test/system` and `test/security` wait
 * now and then; they use devices, namespaces and ports of their own. Files that compare
 * times with a limit run alone, after the others. Those that hold for any engine run once per engine; WEFT_ENGINE=dgram, or
 * linux, selects one.
 *
 * The tests run a bundle of the program, as users do: it starts in a fifth of the time that tsx needs. WEFT_VTEP selects
 * another command, as in `WEFT_VTEP="node dist/cli/main.js" npm test -- system`. The package is packed once.
 *
 * Coverage is V8's own, written by every Node process of a test that exits on its own, also in a network namespace. c8
 * adds it up and maps it to the sources with the source maps of tsx and of the bundle.
 */
import { transformSync } from 'esbuild';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { bundle } from '../test/support/program.js';

/** Most seconds that a file may take. */
const LIMIT = 600;
/** Least line coverage of `src` in CI, in percent. */
const COVERED = 95;
const COVERAGE = resolve('coverage');

const pathOf = (name: string): string => join('test', `${name}.test.ts`);
/** Files that run once per engine: their VTEPs use the one that WEFT_ENGINE names. */
const OVER_ENGINES = [
  ...['kernel', 'networks', 'overlay', 'up'].map((name) => `system/${name}`),
  'security/encryption',
].map(pathOf);
/** Files that run alone. */
const ALONE = [
  ...['control', 'idle', 'live-delay', 'load', 'node-api', 'scale'].map((name) => `system/${name}`),
  'security/fair-taps',
].map(pathOf);
/** Files that take longest, the longest one first. They start first, so that shorter ones run beside them until the end. */
const LONG = [
  ...[
    'system/docker',
    'system/demo',
    'system/trouble',
    'system/path-mtu',
    'system/agents',
    'security/control-characters',
    'system/change',
    'system/live',
    'system/live-networks',
    'system/story',
    'system/cluster',
    'system/cluster-removal',
    'security/cluster-isolation',
    'system/sandbox',
  ],
  ...['system/engine-options', 'security/names-and-sizes', 'security/keys', 'security/hostile-server', 'system/keep'],
  ...['system/data-plane', 'system/engine', 'system/routed', 'system/agent', 'system/runtimes', 'system/limit'],
].map(pathOf);
/**
 * Files that start many processes, or kill most of theirs, and run hardly a line of `src` that others do not run: the coverage of
 * all these processes would take minutes to write and to add up.
 */
const UNMEASURED = [
  ...['control-characters', 'hostile-server', 'names-and-sizes', 'cluster-isolation'].map((name) => `security/${name}`),
  ...['story', 'cluster-removal', 'cluster-docs', 'trouble', 'keep', 'engine-options', 'agents', 'live-networks'].map(
    (name) => `system/${name}`,
  ),
].map(pathOf);
/** Files that use the packed package. */
const PACKED = ['package', 'runtimes', 'system/runtimes'].map(pathOf);
/** Files about other programs than Node: compilers, bundlers, shells, other runtimes. */
const OTHERS = ['bench-gossip', 'bundle', 'completion', 'layers', 'package', 'runtimes'].map(pathOf);
const ENGINES = process.env['WEFT_ENGINE']?.split(' ') ?? ['linux', 'dgram'];

interface Outcome {
  passed: number;
  failed: number;
}

/** Whether a file needs more than Node: root, devices, namespaces, or a process of the program. */
const beyondNode = (file: string): boolean =>
  ['system', 'security'].some((folder) => dirname(file) === join('test', folder));
const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: { library: { type: 'boolean', default: false } },
});
const { library } = values;
const files = (readdirSync('test', { recursive: true }) as string[])
  .map((name) => join('test', name))
  .filter(
    (name) =>
      name.endsWith('.test.ts') &&
      !(library && (beyondNode(name) || OTHERS.includes(name))) &&
      (words.length === 0 || words.some((word) => name.includes(word))),
  )
  .sort();
if (files.length === 0) {
  console.error(`no path of a test file contains ${words.join(' or ')}`);
  process.exit(2);
}

const measured = words.length === 0 && !library;
const program = await bundle();
const packed = mkdtempSync(join(tmpdir(), 'weftnet-packed-'));
process.on('exit', () => {
  program.remove();
  rmSync(packed, { recursive: true, force: true });
});
const env: NodeJS.ProcessEnv = {
  WEFT_VTEP: program.command.join(' '),
  WEFT_PACKED: packed,
  ...(library ? { WEFT_FEW_SEEDS: '1' } : {}),
  ...process.env,
  ...(measured ? { NODE_V8_COVERAGE: join(COVERAGE, 'tmp') } : {}),
};
if (measured) rmSync(COVERAGE, { recursive: true, force: true });

const outcome: Outcome = { passed: 0, failed: 0 };
/** What failed, a line for each file. */
const failures: string[] = [];
/** Files that run now. */
const running = new Set<string>();

/** Prints what failed, and the numbers. */
function finish(): never {
  for (const line of failures) console.log(`FAIL ${line}`);
  console.log(`${outcome.passed} passed, ${outcome.failed} failed`);
  process.exit(outcome.failed === 0 ? 0 : 1);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    failures.push(`stopped by ${signal} during ${[...running].join(', ') || 'the coverage report'}`);
    outcome.failed += 1;
    finish();
  });

function run(file: string, engine?: string): Promise<Outcome> {
  return new Promise((done) => {
    const started = performance.now();
    const child = spawn(process.execPath, ['--import', 'tsx', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...env,
        ...(engine === undefined ? {} : { WEFT_ENGINE: engine }),
        // Coverage slows down what these files time: the start of a process.
        ...(ALONE.includes(file) || UNMEASURED.includes(file) ? { NODE_V8_COVERAGE: '' } : {}),
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
      running.delete(file);
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
      if (failed !== 0) {
        console.log(output);
        const names = [...plain.matchAll(/^ +FAIL +(.*)$/gm)].map(([, name]) => name!.trim());
        if (late) names.push(`stopped after ${LIMIT} s`);
        failures.push(
          `${file}${engine === undefined ? '' : ` with ${engine}`}: ${names.join('; ') || `exit code ${code}`}`,
        );
      }
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
  // What the processes of the bundle have not written themselves.
  program.writeMaps(join(COVERAGE, 'tmp'));
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

/** A file, with the engine for those that run once per engine. */
type Job = readonly [file: string, engine?: string];

/** Takes the first job whose file does not run: a file must not run beside itself. */
function take(queue: Job[]): Job | undefined {
  const at = queue.findIndex(([file]) => !running.has(file));
  const [job] = at < 0 ? [] : queue.splice(at, 1);
  if (job !== undefined) running.add(job[0]);
  return job;
}

let packing: Promise<unknown> | undefined;

/** Packs the package, once. If that fails, the files that use it try it themselves, and say why. */
function pack(): Promise<unknown> {
  const script = `import { packedFolder } from './test/support/tarball.ts'; packedFolder();`;
  const words = ['--import', 'tsx', '--input-type=module', '-e', script];
  packing ??= new Promise((done) => spawn(process.execPath, words, { env, stdio: 'ignore' }).on('close', done));
  return packing;
}

async function drain(queue: Job[]): Promise<void> {
  for (let job = take(queue); job !== undefined; job = take(queue)) {
    if (PACKED.includes(job[0])) await pack();
    const one = await run(...job);
    outcome.passed += one.passed;
    outcome.failed += one.failed;
  }
}

const rank = (file: string): number => (LONG.includes(file) ? LONG.indexOf(file) : LONG.length);
const queue = files
  .filter((file) => !ALONE.includes(file))
  .sort((a, b) => rank(a) - rank(b)) // stable
  .flatMap((file): Job[] => (OVER_ENGINES.includes(file) ? ENGINES.map((engine) => [file, engine]) : [[file]]));
const jobs = availableParallelism() + (library ? 0 : 2);
await Promise.all(Array.from({ length: jobs }, () => drain(queue)));
await drain(ALONE.filter((file) => files.includes(file)).map((file) => [file]));
if (measured && !coverage()) {
  failures.push('coverage');
  outcome.failed += 1;
}
finish();

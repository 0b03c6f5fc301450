// @ts-check
/**
 * Static checks of the sources and the package, one line of output each. Uses no network.
 *
 *     npm run check                  everything
 *     npm run check -- types layers  only these checks
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { existingRooms, findings, importsOf, readSources, ROOMS } from './layers.mjs';

/** Runs a program and returns its standard output; rejects with everything that it printed if it fails. */
/** @type {(command: string, ...args: string[]) => Promise<string>} */
function run(command, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', npm_config_offline: 'true' },
    });
    let output = '';
    let errors = '';
    child.stdout.on('data', (/** @type {Buffer} */ data) => (output += data.toString()));
    child.stderr.on('data', (/** @type {Buffer} */ data) => (errors += data.toString()));
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error((output + errors).trim() || `${command} ended with ${code}`)),
    );
  });
}
/** @type {(script: string, ...args: string[]) => Promise<string>} */
const tool = (script, ...args) => run(process.execPath, join('node_modules', script), ...args);

/** Throws if there are any findings. @type {(lines: readonly string[]) => void} */
function expectNone(lines) {
  if (lines.length > 0) throw new Error(lines.join('\n'));
}

/**
 * The published declarations compile for a user of the package: with Node's resolution, with libraries checked, and for
 * layers 0 to 2 without Node's types. They import only files beside them, Node's modules and koffi.
 */
async function declarations() {
  const sources = readSources('dist').filter((source) => source.path.endsWith('.d.ts'));
  const foreign = sources.flatMap((source) =>
    importsOf(source)
      .filter(({ specifier }) => !/^(\.{1,2}\/.*\.js|node:.*|koffi)$/.test(specifier ?? ''))
      .map(({ specifier }) => `${source.path}: imports ${specifier}, which users do not have: write its types out`),
  );
  expectNone([...new Set(foreign)]);
  const doors = existingRooms().filter((room) => room !== 'cli');
  const options = '--noEmit --strict --target es2022 --module nodenext --skipLibCheck false'.split(' ');
  for (const [types, from, to] of /** @type {const} */ ([
    ['--typeRoots dist/none', 0, 2],
    ['--types node', 3, 4],
  ])) {
    const rooms = doors.filter((room) => (ROOMS[room]?.layer ?? 0) >= from && (ROOMS[room]?.layer ?? 0) <= to);
    if (rooms.length === 0) continue;
    const files = rooms.map((room) => `dist/${room}/index.d.ts`);
    if (from === 0) files.push('dist/index.d.ts');
    if (from === 0) files.push('dist/index.d.ts');
    await tool('typescript/bin/tsc', ...options, '--lib', 'es2022', ...types.split(' '), ...files);
  }
}

/** The package contains every file that `exports`, `bin` and `man` name, and no others than expected. */
/** @type {(files: readonly string[]) => void} */
function contents(files) {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  const doors = Object.values(manifest.exports).flatMap((door) =>
    typeof door === 'string' ? door : Object.values(door),
  );
  const wanted = [...doors, ...Object.values(manifest.bin), ...manifest.man].map((path) => path.replace(/^\.\//, ''));
  const absent = wanted
    .filter((path) => !files.includes(path))
    .map((path) => `${path} is declared in package.json but not packed`);
  const stray = files
    .filter(
      (path) =>
        !/^(dist\/.*\.(js|js\.map|d\.ts)|dist\/man\/vtep[a-z-]*\.1|contrib\/.*|docs\/.*\.(md|svg)|package\.json|README\.md|CONTRIBUTING\.md|CHANGELOG\.md|LICENSE)$/.test(
          path,
        ),
    )
    .map((path) => `${path} is packed but does not belong in the package`);
  expectNone([...absent, ...stray]);
}

/** Packs the built package (without building again) and lints the tarball. */
async function attw() {
  const folder = mkdtempSync(join(tmpdir(), 'weft-pack-'));
  try {
    const packed = JSON.parse(await run('npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder));
    contents(packed[0].files.map((/** @type {{ path: string }} */ file) => file.path));
    const [tarball = ''] = readdirSync(folder);
    await tool('@arethetypeswrong/cli/dist/index.js', join(folder, tarball), '--profile', 'esm-only', '--no-emoji');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @type {Record<string, [text: string, run: () => unknown]>} */
const CHECKS = {
  pure: [
    'layers 0 to 2 compile with the ECMAScript library alone',
    () => tool('typescript/bin/tsc', '-p', 'tsconfig.pure.json'),
  ],
  types: ['everything compiles', () => tool('typescript/bin/tsc', '-p', 'tsconfig.json')],
  layers: ['imports follow the layers', () => expectNone(findings(readSources()))],
  format: [
    'all files are formatted with prettier',
    () => tool('prettier/bin/prettier.cjs', '--check', '--log-level', 'warn', '.'),
  ],
  build: ['the package builds', () => run(process.execPath, 'scripts/build.mjs')],
  declarations: ['the declarations compile without other packages', declarations],
  publint: ['publint reports nothing', () => tool('publint/src/cli.js', 'run', '.', '--strict', '--pack', 'npm')],
  attw: ['the tarball is complete, and its types resolve', attw],
};

const words = process.argv.slice(2);
const unknown = words.filter((word) => !(word in CHECKS));
if (unknown.length > 0) {
  console.error(`unknown check ${unknown.join(', ')}; the checks are ${Object.keys(CHECKS).join(', ')}`);
  process.exit(2);
}
let failed = 0;

/** Runs checks one after the other. @type {(names: readonly string[]) => Promise<void>} */
async function inTurn(names) {
  for (const name of names) {
    const [text, run] = /** @type {[string, () => unknown]} */ (CHECKS[name]);
    if (words.length > 0 && !words.includes(name)) continue;
    const started = performance.now();
    let trouble = '';
    try {
      await run();
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
      failed += 1;
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${trouble === '' ? 'ok  ' : 'FAIL'} ${name}: ${text} (${seconds} s)`);
    if (trouble !== '') console.log(trouble.replace(/^/gm, '     '));
  }
}

// What reads `dist` runs after the build, beside what reads the sources.
const names = Object.keys(CHECKS);
const first = names.indexOf('build');
await Promise.all([inTurn(names.slice(0, first)), inTurn(names.slice(first))]);
process.exitCode = failed === 0 ? 0 : 1;

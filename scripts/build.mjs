// @ts-check
/**
 * Builds `dist`: WebAssembly; JavaScript with tsup, one entry per room and one for the program; declarations with tsc.
 * Does not check types (`npm run check` does), so that an install takes seconds.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import remapping from '@jridgewell/remapping';
import { build } from 'tsup';
import ts from 'typescript';
import { constants } from './constants.mjs';
import { existingRooms, MAIN } from './layers.mjs';
import { writeModule } from './wasm.mjs';

const PROGRAM = 'dist/cli/main.js';

/** Writes the declarations of every exported room. @returns {Promise<void>} */
function declarations() {
  const rooms = existingRooms().filter((room) => room !== 'cli');
  const options =
    '--noEmit false --declaration --emitDeclarationOnly --noCheck --stripInternal --rootDir src --outDir dist ' +
    '--target ES2022 --module ESNext --moduleResolution Bundler --lib ES2022 --types node ' +
    '--strict --exactOptionalPropertyTypes --verbatimModuleSyntax --skipLibCheck';
  const files = [MAIN, ...rooms.map((room) => `src/${room}/index.ts`)];
  return new Promise((resolve, reject) => {
    const tsc = spawn(process.execPath, ['node_modules/typescript/bin/tsc', ...options.split(' '), ...files], {
      stdio: 'inherit',
    });
    tsc.on('error', reject);
    tsc.on('close', (code) => (code === 0 ? resolve() : reject(new Error('tsc could not write the declarations'))));
  });
}

/** Applies `constants` to a bundle, and to its source map. @param {string} path */
function rewriteConstants(path) {
  const { code, map } = constants(droppableNamespaces(readFileSync(path, 'utf8')));
  const original = JSON.parse(readFileSync(`${path}.map`, 'utf8'));
  const combined = remapping(/** @type {any} */ (map), (file) => (file === 'bundle.js' ? original : null));
  writeFileSync(path, code);
  writeFileSync(`${path}.map`, combined.toString());
}

/**
 * Lets bundlers drop an unused namespace object. esbuild fills it in a separate statement, which bundlers must keep
 * with everything it references: `decode` of `weftnet/ethernet` would include all of `vlan`. Line numbers stay the
 * same, for the source maps. @param {string} code
 */
function droppableNamespaces(code) {
  return code
    .replace(/^var (\w+) = \{\};\n__export\(\1, \{/gm, '\nvar $1 = /* @__PURE__ */ __export({}, {')
    .replace(/^(var __export = \(target, all\) => \{\n(?:  .*\n)*)\};/m, '$1  return target; };');
}

/**
 * `src/index.ts` without its types. Not bundled: its namespaces would become objects, from which users' bundlers drop
 * nothing.
 */
function mainEntry() {
  return ts.transpile(readFileSync(MAIN, 'utf8'), {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    removeComments: true,
  });
}

/**
 * Replaces the first line of the program by two lines that start Node with a young generation of 2 MiB. Its default size
 * is 16 MiB, and V8 copies all its live objects in one pause: an agent that learned hundreds of networks held its
 * event loop for up to 35 ms. `sh` runs the file and executes Node in the second line, which is a comment in JavaScript.
 * `env -S node …` would do the same in one line, but the `env` of BusyBox has no -S.
 */
function startWithFlags() {
  const [, code] = /** @type {RegExpExecArray} */ (/^#!.*\n([^]*)$/.exec(readFileSync(PROGRAM, 'utf8')));
  writeFileSync(PROGRAM, `#!/usr/bin/env sh\n':' //; exec node --max-semi-space-size=2 "$0" "$@"\n${code}`);
  chmodSync(PROGRAM, 0o755);
  const map = JSON.parse(readFileSync(`${PROGRAM}.map`, 'utf8'));
  writeFileSync(`${PROGRAM}.map`, JSON.stringify({ ...map, mappings: `;${map.mappings}` })); // one more line
}

/** Writes the manual pages, generated from the same tables as the help. */
async function manualPages() {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  const { manPages } = await import(new URL('../dist/cli/man.js', import.meta.url).href);
  const seconds = Number(process.env['SOURCE_DATE_EPOCH'] ?? Date.now() / 1000);
  mkdirSync('dist/man', { recursive: true });
  for (const [name, text] of await manPages(version, new Date(seconds * 1000).toISOString().slice(0, 10)))
    writeFileSync(join('dist/man', name), text);
}

try {
  await writeModule();
  await build({ config: 'tsup.config.ts' }); // empties dist first
  for (const name of /** @type {string[]} */ (readdirSync('dist', { recursive: true }))) {
    const path = join('dist', name);
    if (path.endsWith('.js')) rewriteConstants(path);
  }
  writeFileSync('dist/index.js', mainEntry());
  await declarations();
  rmSync('dist/host/cluster/x509.d.ts'); // types of a library that users do not have; no other declaration names it
  if (existsSync(PROGRAM)) startWithFlags();
  await manualPages();
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

// @ts-check
/**
 * Builds `dist`: WebAssembly, JavaScript with tsup, one entry a room and the program; declarations with the TypeScript compiler.
 * Types are not checked here (`npm run check` does), so that an install takes seconds.
 */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'tsup';
import { constants } from './constants.mjs';
import { existingRooms } from './layers.mjs';
import { writeModule } from './wasm.mjs';

const PROGRAM = 'dist/cli/main.js';
const SHEBANG = '#!/usr/bin/env node\n';

/** Writes the declarations of every room that is exported. @returns {Promise<void>} */
function declarations() {
  const rooms = existingRooms().filter((room) => room !== 'cli');
  const options =
    '--noEmit false --declaration --emitDeclarationOnly --noCheck --stripInternal --rootDir src --outDir dist ' +
    '--target ES2022 --module ESNext --moduleResolution Bundler --lib ES2022 --types node ' +
    '--strict --exactOptionalPropertyTypes --verbatimModuleSyntax --skipLibCheck';
  const files = rooms.map((room) => `src/${room}/index.ts`);
  return new Promise((resolve, reject) => {
    const tsc = spawn(process.execPath, ['node_modules/typescript/bin/tsc', ...options.split(' '), ...files], {
      stdio: 'inherit',
    });
    tsc.on('error', reject);
    tsc.on('close', (code) => (code === 0 ? resolve() : reject(new Error('tsc could not write the declarations'))));
  });
}

try {
  await writeModule();
  await build({ config: 'tsup.config.ts' }); // empties dist first
  for (const name of /** @type {string[]} */ (readdirSync('dist', { recursive: true }))) {
    const path = join('dist', name);
    if (path.endsWith('.js')) writeFileSync(path, constants(readFileSync(path, 'utf8')));
  }
  await declarations();
  if (existsSync(PROGRAM)) {
    const text = readFileSync(PROGRAM, 'utf8');
    if (!text.startsWith('#!')) writeFileSync(PROGRAM, SHEBANG + text);
    chmodSync(PROGRAM, 0o755);
  }
} catch (error) {
  console.error(`build: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}

import { defineConfig } from 'tsup';
import { existsSync } from 'node:fs';
import { existingRooms } from './scripts/layers.mjs';

/** One entry a room, `dist/<room>/index.js`, and the program. `scripts/build.mjs` runs this and writes the types. */
export default defineConfig({
  entry: Object.fromEntries([
    ...existingRooms()
      .filter((room) => room !== 'cli')
      .map((room) => [`${room}/index`, `src/${room}/index.ts`]),
    // Parts of schema in files of their own: a bundle that imports one function of a file contains all statements of that
    // file that may have side effects, such as TypeBox's.
    ...['addresses', 'device-name', 'mac', 'ranges', 'suggest'].map((name) => [
      `schema/${name}`,
      `src/schema/${name}.ts`,
    ]),
    // A thread's program is loaded by its file.
    ...(existsSync('src/host/linux/worker.ts') ? [['host/linux-worker', 'src/host/linux/worker.ts']] : []),
    ...(existsSync('src/cli/main.ts') ? [['cli/main', 'src/cli/main.ts']] : []),
    ...(existsSync('src/cli/man.ts') ? [['cli/man', 'src/cli/man.ts']] : []),
  ]),
  format: 'esm',
  target: 'node20',
  platform: 'node',
  removeNodeProtocol: false,
  splitting: true,
  clean: true,
  silent: true,
  sourcemap: true,
  dts: false,
  external: ['koffi', /^node:/],
  noExternal: ['ipaddr.js', '@sinclair/typebox', '@peculiar/x509', 'reflect-metadata'],
});

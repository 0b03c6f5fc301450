/** The program bundled, as users install it: it starts in a fraction of the time that tsx takes. */
import { build } from 'esbuild';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPOSITORY, VTEP } from './lab.js';

export interface Program {
  /** The command line that starts `vtep`. */
  command: string[];
  remove(): void;
}

/** A program that was bundled here. */
export interface Bundle extends Program {
  /** The source maps of its files, by URL, as Node's coverage lists them. */
  maps(): Record<string, { data: unknown }>;
}

const FILES = { main: 'src/cli/main.ts', 'linux-worker': 'src/host/linux/worker.ts' };

/**
 * Bundles the sources into the repository's node_modules, so that Node finds koffi.
 *
 * The files do not name their source maps. Otherwise Node would read the map of every process whose coverage it
 * measures, which takes as long as the start of the program, and write 4 MB of it for each.
 */
export async function bundle(): Promise<Bundle> {
  const directory = mkdtempSync(join(REPOSITORY, 'node_modules', '.weft-program-'));
  chmodSync(directory, 0o755); // tests run the program without privileges too
  await build({
    entryPoints: Object.entries(FILES).map(([out, path]) => ({ in: join(REPOSITORY, path), out })),
    outdir: directory,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    sourcemap: 'external', // for the coverage of src
    logLevel: 'error',
  });
  const url = (path: string): string => pathToFileURL(resolve(directory, path)).href;
  return {
    command: [process.execPath, join(directory, 'main.js')],
    remove: () => rmSync(directory, { recursive: true, force: true }),
    maps: () =>
      Object.fromEntries(
        Object.keys(FILES).map((name) => {
          const map = JSON.parse(readFileSync(join(directory, `${name}.js.map`), 'utf8')) as { sources: string[] };
          return [url(`${name}.js`), { data: { ...map, sources: map.sources.map(url) } }];
        }),
      ),
  };
}

/** The command that WEFT_VTEP names, which `npm test` has bundled for all files; without it, a bundle of this file's. */
export function bundledProgram(): Promise<Program> {
  if (process.env['WEFT_VTEP'] === undefined) return bundle();
  // Some files start it in another directory.
  const command = VTEP.map((word) => (existsSync(join(REPOSITORY, word)) ? join(REPOSITORY, word) : word));
  return Promise.resolve({ command, remove: () => undefined });
}

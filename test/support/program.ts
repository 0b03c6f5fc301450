/** The program bundled, as users install it: it starts in a fraction of the time that tsx takes. */
import { build } from 'esbuild';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { REPOSITORY, VTEP } from './lab.js';

export interface Program {
  /** The command line that starts `vtep`. */
  command: string[];
  remove(): void;
}

/** A program that was bundled here. */
export interface Bundle extends Program {
  /** Writes the source maps of its files into a folder of coverage, in the form of Node's, for c8. */
  writeMaps(folder: string): void;
}

/**
 * Bundles the sources into the repository's node_modules, so that Node finds koffi.
 *
 * The files do not name their source maps. Otherwise Node would read the map of every process whose coverage it
 * measures, which takes as long as the start of the program, and write 4 MB of it for each.
 * @param main The file of the program.
 */
export async function bundle(main = join(REPOSITORY, 'src/cli/main.ts')): Promise<Bundle> {
  const files = { main, 'linux-worker': join(REPOSITORY, 'src/host/linux/worker.ts') };
  const directory = mkdtempSync(join(REPOSITORY, 'node_modules', '.weft-program-'));
  chmodSync(directory, 0o755); // tests run the program without privileges too
  await build({
    entryPoints: Object.entries(files).map(([out, path]) => ({ in: path, out })),
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
  const writeMaps = (folder: string): void => {
    const cache: Record<string, object> = {};
    for (const name of Object.keys(files)) {
      const data = JSON.parse(readFileSync(join(directory, `${name}.js.map`), 'utf8')) as { sources: string[] };
      const lines = readFileSync(join(directory, `${name}.js`), 'utf8').split('\n');
      const lineLengths = lines.map(({ length }) => length);
      cache[url(`${name}.js`)] = {
        lineLengths,
        data: { ...data, sources: data.sources.map((path) => resolve(directory, path)) },
      };
    }
    const map = JSON.stringify({ result: [], 'source-map-cache': cache });
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `maps-${process.pid}-${basename(directory)}.json`), map);
  };
  return {
    command: [process.execPath, join(directory, 'main.js')],
    writeMaps,
    remove: () => {
      const { NODE_V8_COVERAGE: folder = '' } = process.env;
      if (folder !== '') writeMaps(folder);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The command that WEFT_VTEP names, which `npm test` has bundled for all files; without it, a bundle of this file's. */
export function bundledProgram(): Promise<Program> {
  if (process.env['WEFT_VTEP'] === undefined) return bundle();
  // Some files start it in another directory.
  const command = VTEP.map((word) => (existsSync(join(REPOSITORY, word)) ? join(REPOSITORY, word) : word));
  return Promise.resolve({ command, remove: () => undefined });
}

/** The program bundled, as users install it: it starts in a fraction of the time that tsx takes. */
import { build } from 'esbuild';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './lab.js';

export interface Program {
  /** The command line that starts `vtep`. */
  command: string[];
  remove(): void;
}

/** Bundles the sources into the repository's node_modules, so that Node finds koffi. */
export async function bundleProgram(): Promise<Program> {
  const directory = mkdtempSync(join(REPOSITORY, 'node_modules', '.weft-program-'));
  chmodSync(directory, 0o755); // tests run the program without privileges too
  await build({
    entryPoints: [
      { in: join(REPOSITORY, 'src/cli/main.ts'), out: 'main' },
      { in: join(REPOSITORY, 'src/host/linux/worker.ts'), out: 'linux-worker' },
    ],
    outdir: directory,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['koffi'],
    sourcemap: true, // for the coverage of src
    logLevel: 'error',
  });
  return {
    command: [process.execPath, join(directory, 'main.js')],
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

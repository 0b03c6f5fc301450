// @ts-check
/**
 * Compiles the WebAssembly of `src/offload/wasm`, as text in a module, so that it needs no file beside it wherever it is
 * bundled.
 *
 *     node scripts/wasm.mjs
 *
 * The result is committed, and the build writes it anew: types, tests, fuzz targets and bundlers then find it without a
 * step of its own, and a test holds it equal to what the source compiles to.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import wabt from 'wabt';

const SOURCE = 'src/offload/wasm/sum.wat';
export const MODULE = 'src/offload/wasm/module.generated.ts';

/** The text of {@link MODULE}. @returns {Promise<string>} */
export async function compile() {
  const tools = await wabt();
  const parsed = tools.parseWat(SOURCE, readFileSync(SOURCE, 'utf8'), { simd: true });
  const { buffer } = parsed.toBinary({});
  parsed.destroy();
  const text = Buffer.from(buffer).toString('base64');
  return `/** WebAssembly in base64: sum.wat, compiled by scripts/wasm.mjs. */\nexport const SIMD_MODULE =\n  '${text}';\n`;
}

/** Writes it where it is not so already. */
export async function writeModule() {
  const text = await compile();
  let present = '';
  try {
    present = readFileSync(MODULE, 'utf8');
  } catch {
    // Then it is written.
  }
  if (present !== text) writeFileSync(MODULE, text);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await writeModule();

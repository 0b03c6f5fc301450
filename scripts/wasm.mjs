// @ts-check
/**
 * Compiles the WebAssembly of `src/offload/wasm` into a string in a TypeScript module, so that bundles need no extra
 * file.
 *
 *     node scripts/wasm.mjs
 *
 * The result is committed, so that types, tests, fuzz targets and bundlers need no extra step. The build updates it,
 * and a test checks that it matches the source.
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

/** Updates {@link MODULE} if it has changed. */
export async function writeModule() {
  const text = await compile();
  let present = '';
  try {
    present = readFileSync(MODULE, 'utf8');
  } catch {
    // Absent: written below.
  }
  if (present !== text) writeFileSync(MODULE, text);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await writeModule();

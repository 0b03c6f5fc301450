// @ts-check
/**
 * Removes scripts and development dependencies from package.json while npm packs. With them, `npm install` of the
 * package from a folder or a git URL would try to build it.
 *
 *     node scripts/manifest.mjs strip      before packing: keeps the original as package.json.original
 *     node scripts/manifest.mjs restore    afterwards
 */
import { copyFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const MANIFEST = 'package.json';
const ORIGINAL = 'package.json.original';

/**
 * The published manifest.
 * @param {Record<string, unknown>} manifest
 */
export function published({ scripts, devDependencies, ...rest }) {
  return rest;
}

const [command] = process.argv.slice(2);
if (command === 'strip') {
  // A killed run left the original behind: start from that.
  if (existsSync(ORIGINAL)) renameSync(ORIGINAL, MANIFEST);
  const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'));
  copyFileSync(MANIFEST, ORIGINAL);
  writeFileSync(MANIFEST, `${JSON.stringify(published(manifest), null, 2)}\n`);
} else if (command === 'restore') {
  if (existsSync(ORIGINAL)) renameSync(ORIGINAL, MANIFEST);
}

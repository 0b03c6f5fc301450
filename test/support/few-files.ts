/**
 * Calls `ip` with as few free file descriptors as the arguments say, one call for each, in a process with a low limit:
 *
 *     sh -c 'ulimit -n 64 && exec node --import tsx few-files.ts 0 1 2'
 *
 * Prints a line of JSON for each call: its error, and the descriptors that it has left open.
 */
import { closeSync, openSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { pathTo } from '../../src/host/underlay.js';

export const FEW_FILES = fileURLToPath(import.meta.url);

export interface Call {
  free: number;
  error: string | null;
  left: number;
}

function count(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Opens files up to the limit. */
function fill(): number[] {
  const files: number[] = [];
  try {
    for (;;) files.push(openSync('/dev/null', 'r'));
  } catch {
    return files;
  }
}

async function callWith(free: number): Promise<Call> {
  const before = count();
  const files = fill();
  for (const file of files.splice(0, free)) closeSync(file);
  const error = await pathTo('127.0.0.2', '127.0.0.1').then(
    () => null,
    ({ message }: Error) => message,
  );
  for (const file of files) closeSync(file);
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { free, error, left: count() - before };
}

if (process.argv[1] === FEW_FILES)
  for (const free of process.argv.slice(2)) process.stdout.write(`${JSON.stringify(await callWith(Number(free)))}\n`);

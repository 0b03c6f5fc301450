#!/usr/bin/env node
/** The `vtep` program. All of it is loaded behind a guard: loading may already fail, as with too few file descriptors. */
import { fail, guard, remedyFor } from './last-resort.js';

guard();
try {
  const { program } = await import('./program.js');
  process.exitCode = await program(process.argv.slice(2), remedyFor);
} catch (error) {
  fail(error);
}

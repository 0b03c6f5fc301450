#!/usr/bin/env node
/** The `vtep` program. A guard handles errors while other modules load, for example from too few file descriptors. */
import { hideKeys } from './hide-keys.js';
import { fail, guard, remedyFor } from './last-resort.js';

guard();
hideKeys();
try {
  const { program } = await import('./program.js');
  process.exitCode = await program(process.argv.slice(2), remedyFor);
} catch (error) {
  fail(error);
}

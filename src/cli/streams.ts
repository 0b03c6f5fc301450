/** What happens when standard output or standard error of a command cannot be written. */
import { writeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { codeOf } from '../host/index.js';

/**
 * Ends the command at the first failed write to standard output: without a word where the reader has left (`| head`), as
 * other Unix programs do; else with one line and exit code 1. What standard error does not take is dropped.
 * @param command Its name, in front of the line.
 */
export function guardStreams(command: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (codeOf(error) === 'EPIPE') process.exit(process.exitCode ?? 0);
    const [, text] = getSystemErrorMap().get(error.errno ?? 0) ?? ['', error.message];
    try {
      writeSync(2, `${command}: standard output cannot be written: ${text}\n`);
    } catch {
      // there is nobody to tell
    }
    process.exit(1);
  });
  process.stderr.on('error', () => undefined);
}

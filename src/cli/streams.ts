/** Handles write errors on standard output and standard error of a command. */
import { writeSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { codeOf } from '../host/index.js';

/**
 * Ends the command at the first failed write to standard output. If the reader has gone (`| head`) it ends silently,
 * like other Unix programs; otherwise with one line and exit code 1. Failed writes to standard error are ignored.
 * @param command The command's name, for that line.
 */
export function guardStreams(command: string): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (codeOf(error) === 'EPIPE') process.exit(process.exitCode ?? 0);
    const [, text] = getSystemErrorMap().get(error.errno ?? 0) ?? ['', error.message];
    try {
      writeSync(2, `${command}: standard output cannot be written: ${text}\n`);
    } catch {
      // standard error fails too
    }
    process.exit(1);
  });
  process.stderr.on('error', () => undefined);
}

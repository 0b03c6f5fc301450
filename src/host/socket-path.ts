/** Checks where a control socket can be created. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { codeOf, HostError } from './error.js';
import { isReplaceable } from './private-file.js';

/**
 * Checks the directory of a Unix socket. The error of `bind` does not suffice: libuv reports a missing directory as
 * EACCES.
 * @throws HostError with the problem.
 */
export function requireSocketDirectory(path: string): void {
  const directory = dirname(path);
  const elsewhere = 'or choose another path';
  try {
    const status = statSync(directory);
    if (!status.isDirectory()) throw new HostError(`${directory} is not a directory; ${elsewhere.replace('or ', '')}`);
    if (isReplaceable(status))
      throw new HostError(
        `every user may replace files in ${directory}, so also the socket; make it private with "chmod o-w ${directory}", ${elsewhere}`,
      );
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    if (error instanceof HostError) throw error;
    const options = { cause: error };
    switch (codeOf(error)) {
      case 'ENOENT':
        throw new HostError(
          `the directory ${directory} does not exist; create it with "mkdir -p ${directory}", ${elsewhere}`,
          options,
        );
      case 'ENOTDIR':
        throw new HostError(`a part of ${directory} is not a directory; choose another path`, options);
      case 'EACCES':
      case 'EPERM':
        throw new HostError(
          `no permission to create a socket in ${directory}; run as its owner, ${elsewhere}`,
          options,
        );
      case 'EROFS':
        throw new HostError(`${directory} is on a read-only file system; choose another path`, options);
      default:
        throw new HostError(`${directory}: ${(error as Error).message}`, options);
    }
  }
}

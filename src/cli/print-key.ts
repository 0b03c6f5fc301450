/** Prints a new key on standard output, and warns if others can read it there. */
import { fstatSync, statSync } from 'node:fs';
import { HostError } from '../host/index.js';
import { print } from './streams.js';

/**
 * Prints a key, or the lines of a key file.
 * @throws HostError if standard output takes no key.
 */
export function printKey(text: string | readonly string[], warn: (message: string) => void): void {
  // The redirection of a shell has created the file, with the mode that the umask leaves.
  const warning = keygenWarning();
  if (warning !== undefined) warn(warning);
  print(text);
}

/**
 * What others can do to the file on standard output; `undefined` if it is none, or if they can do nothing.
 * @throws HostError if standard output takes no key: Node.js opens /dev/null in place of one that is closed.
 */
function keygenWarning(): string | undefined {
  const stats = fstatSync(1);
  if (stats.isCharacterDevice() && stats.rdev === statSync('/dev/null', { throwIfNoEntry: false })?.rdev)
    throw new HostError('standard output is closed, or /dev/null: the key would be lost; write it with -o FILE');
  if (!stats.isFile() || (stats.mode & 0o066) === 0) return undefined;
  const verbs = [...((stats.mode & 0o044) === 0 ? [] : ['read']), ...((stats.mode & 0o022) === 0 ? [] : ['change'])];
  const mode = (stats.mode & 0o777).toString(8);
  return `other users can ${verbs.join(' and ')} the file on standard output (mode ${mode}); run "chmod 600" on it, or write the key with -o FILE`;
}

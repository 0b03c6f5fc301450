/** The keys that `vtep gossip` gets in flags and arguments. */
import { HostError, keyringOf, readKeys } from '../host/index.js';
import { withFlags } from './flag-names.js';
import { UsageError, type Parsed } from './flags.js';
import { argumentWarnings } from './key-warnings.js';
import { printError } from './streams.js';

type Warn = (message: string) => void;

/** The ring of `--key`; `undefined` without keys. @throws UsageError */
export function keyring(flags: Parsed, warn: Warn): ReturnType<typeof keyringOf> {
  argumentWarnings(flags.typed('key'), flags.values('key')).forEach(warn);
  return named(flags.typed('key'), () => keyringOf(flags.values('key'), warn));
}

/**
 * Reads the key of an argument.
 * @throws UsageError if it is no key, and no file with one key.
 */
export function keyOfArgument(name: string, text: string, warn: Warn): Uint8Array {
  argumentWarnings(name, [text]).forEach(warn);
  const [key, ...more] = named(name, () => readKeys([text], warn));
  if (more.length > 0) throw new UsageError(`${name}: ${text} has ${more.length + 1} keys; give one`);
  return key!;
}

/** Runs a step, and adds the name of the flag or the argument to its error. */
function named<T>(name: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw error instanceof HostError ? new UsageError(`${name}: ${error.message}`) : error;
  }
}

/** Prints a warning on standard error. */
export function warn(message: string): void {
  printError(`vtep gossip: warning: ${withFlags(message)}`);
}

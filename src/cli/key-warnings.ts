/** Warnings about keys that other users can see, and errors about those that they can change. */
import { exposureOf, HostError, isKeyText, tamperingOf } from '../host/index.js';
import { type Plan } from '../schema/index.js';
import { UsageError, type Parsed } from './flags.js';

/**
 * What is unsafe about keys in arguments.
 * @param name Of the flag or the argument.
 */
export function argumentWarnings(name: string, texts: readonly string[]): string[] {
  if (!texts.some(isKeyText)) return [];
  return [
    `${name}: a key on the command line is visible to other users, and in the history of the shell; ` +
      'write it to a file with "vtep gossip keygen -o FILE" and give FILE, or give "-" and the key on standard input',
  ];
}

/**
 * What is unsafe about the keys of --key, and about the file of --config, which root runs even if it has no keys.
 * @throws UsageError if other users can change the configuration and its keys.
 */
export function keyWarnings({ gossip }: Plan, flags: Parsed): string[] {
  const hasKey = flags.given.has('key');
  const warnings = hasKey ? argumentWarnings(flags.typed('key'), flags.values('key')) : [];
  const path = flags.value('config');
  if (path === undefined) return warnings;
  try {
    const warning =
      !hasKey && (gossip?.keys ?? []).some(isKeyText)
        ? exposureOf('configuration file with keys', path)
        : tamperingOf('configuration file', path);
    return warning === undefined ? warnings : [...warnings, warning];
  } catch (error) {
    throw error instanceof HostError ? new UsageError(`--config: ${error.message}`) : error;
  }
}

/** @throws UsageError if both the configuration and the keys are to be read from standard input. */
export function requireOneInput(flags: Parsed): void {
  if (flags.value('config') === '-' && flags.values('key').includes('-'))
    throw new UsageError('--key - does not go with --config -: standard input is one of them');
}

/** The command lines that `vtep` itself runs: `vtep run -- COMMAND`, `vtep exec NAME -- COMMAND`. */
import { UsageError, type Flag, type Parsed } from './flags.js';

export const ENVIRONMENT: Flag = {
  name: 'env',
  value: 'K=V',
  many: true,
  text: 'a variable of the environment of the command; K alone: with the value that it has here',
};

/** The exit status of `vtep` where it is that of the command; those of 0 to 2 have a second meaning, which differs. */
export const COMMAND_EXITS = {
  126: 'the command cannot be executed',
  127: 'there is no such command',
  128: 'and the number of a signal that ended the command, such as 143; any other status is that of the command',
};

/** The flags without the words after `--`. */
export function beforeWords(flags: Parsed): Parsed {
  return { ...flags, rest: flags.rest.slice(0, flags.rest.length - (flags.words?.length ?? 0)) };
}

/**
 * The words after `--`.
 * @throws UsageError if there are none.
 */
export function requireWords({ words = [] }: Parsed): string[] {
  if (words.length === 0) throw new UsageError('missing: -- COMMAND, the program to run with its arguments');
  if (words[0] === '') throw new UsageError('COMMAND: expected the name or the path of a program, got ""');
  return words;
}

/**
 * The variables of --env.
 * @throws UsageError if one has no name.
 */
export function environmentOf(flags: Parsed): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const text of flags.values('env')) {
    const at = text.indexOf('=');
    const name = at < 0 ? text : text.slice(0, at);
    if (name === '') throw new UsageError(`--env: expected NAME=VALUE, got "${text}"`);
    const value = at < 0 ? process.env[name] : text.slice(at + 1);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

/**
 * Reads values of the form `NAME=VALUE`.
 * @throws UsageError if one has another form, or a name twice.
 */
export function pairsOf(flags: Parsed, flag: string, example: string): Record<string, string> | undefined {
  if (!flags.given.has(flag)) return undefined;
  const pairs = new Map<string, string>();
  for (const text of flags.values(flag)) {
    const at = text.indexOf('=');
    if (at <= 0) throw new UsageError(`${flags.typed(flag)}: expected ${example}, got "${text}"`);
    const name = text.slice(0, at);
    if (pairs.has(name)) throw new UsageError(`${flags.typed(flag)}: "${name}" is given twice`);
    pairs.set(name, text.slice(at + 1));
  }
  return Object.fromEntries(pairs);
}

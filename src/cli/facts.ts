/** Names with their values, one on each line: what `inspect` prints for people. */
import { printable } from '../wire/index.js';

export type Fact = readonly [name: string, value: string | number | undefined | null];

/** The lines of facts, with aligned values. Those without a value are left out. */
export function factLines(facts: readonly Fact[]): string[] {
  const known = facts.filter(([, value]) => value !== undefined && value !== null && value !== '');
  const width = Math.max(0, ...known.map(([name]) => name.length)) + 3;
  return known.map(([name, value]) => `${`${name}:`.padEnd(width)}${printable(String(value))}`);
}

/** Pairs as `a=1, b=2`. */
export function pairsText(pairs: Readonly<Record<string, string>>): string {
  return Object.entries(pairs)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ');
}

/** The words of a command, as a shell takes them. */
export function commandText(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}

/** Most characters of a command in a column. */
const COLUMN = 40;

/** The beginning of a command, for a column. */
export function shortCommand(words: readonly string[]): string {
  const text = commandText(words);
  return text.length > COLUMN ? `${text.slice(0, COLUMN - 3)}...` : text;
}

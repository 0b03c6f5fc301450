/** The manual of a command. Its help, its man page and its completions are generated from it. */
import { flagHelp, type Flag } from './flags.js';

/** A word that follows the command's name, such as `fdb` in `vtep show fdb`. */
export interface Word {
  name: string;
  text: string;
  /** The command line from this word on, if the words differ in that: `install KEY --control PATH`. */
  usage?: string;
}

export interface FlagGroup {
  /** The heading above the flags, without its colon. */
  title?: string;
  flags: readonly Flag[];
}

export interface Section {
  /** The heading, without its colon. */
  title: string;
  /** Paragraphs, separated by empty lines; lines that start with a blank are printed verbatim. */
  text: string;
}

export interface Manual {
  name: string;
  /** What the command does, in one line. */
  summary: string;
  /** Command lines, each without `vtep`. */
  usage: readonly string[];
  /** The words that may follow the name, if the command takes one of a list. */
  words?: readonly Word[];
  /** Paragraphs before the flags. */
  description?: string;
  flags: readonly FlagGroup[];
  /** Sections between the flags and the examples. */
  sections?: readonly Section[];
  /** Command lines as people type them; comments start with "#". */
  examples: string;
  /** Each exit code with its meaning. */
  exit: Readonly<Record<number, string>>;
}

export function flagsOf({ flags }: Manual): Flag[] {
  return flags.flatMap((group) => group.flags);
}

/** Returns the text of `vtep COMMAND --help`. */
export function helpText(manual: Manual): string {
  const { name, summary, usage, words = [], description, flags, sections = [], examples, exit } = manual;
  const codes = Object.entries(exit).map(([code, meaning]) => `${code} ${meaning}`);
  const last = flags.length - 1;
  return [
    `vtep ${name}: ${summary}`,
    usage.map((line, i) => `${i === 0 ? 'usage: ' : '       '}vtep ${line}`).join('\n'),
    ...(words.length === 0 ? [] : [wordList(words)]),
    ...(description === undefined ? [] : [description]),
    ...flags.map(
      ({ title, flags: list }, i) => `${title === undefined ? '' : `${title}:\n`}${flagHelp(list, i === last)}`,
    ),
    ...sections.map(({ title, text }) => `${title}:\n${indented(text)}`),
    `examples:\n${indented(examples)}`,
    `Exit code: ${codes.join('; ')}.`,
  ]
    .map((block) => `${block}\n`)
    .join('\n');
}

function wordList(words: readonly Word[]): string {
  const rows = words.map(({ name, usage = name, text }) => [usage, text] as const);
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, text]) => `  ${left.padEnd(width)}${text}`).join('\n');
}

function indented(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

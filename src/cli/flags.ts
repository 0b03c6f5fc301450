/** Flags of a command: parses them, and formats them for its help. */
import { closest, valueProblem, type ValueKind } from '../schema/index.js';

/** The command line is wrong. The program exits with 2. */
export class UsageError extends Error {
  readonly lines: readonly string[];

  /** @param message One line, or several: one for each problem. */
  constructor(message: string | readonly string[]) {
    const lines = typeof message === 'string' ? [message] : message;
    super(lines.join('\n'));
    this.name = 'UsageError';
    this.lines = lines;
  }
}

export interface Flag {
  /** The name without dashes. */
  name: string;
  /** The short form: `-c 5` or `-c5` for `--count 5`. Switches combine, also before a flag with a value: `-nvc5`. */
  letter?: string;
  /** The value as help shows it: `IP`, or `auto|dgram` for a choice. Absent: a switch. */
  value?: string;
  /** May be repeated, and takes several values in a row: `--peer A B`. */
  many?: boolean;
  /** A switch with the inverse `--no-NAME`. */
  negatable?: boolean;
  text: string;
}

export interface Parsed {
  /** The last value of a flag. */
  value(name: string): string | undefined;
  values(name: string): string[];
  /** The state of a switch; `undefined` if it was not given. */
  on(name: string): boolean | undefined;
  /** A flag as the user typed it, for error messages: `--count` or `-c`. */
  typed(name: string): string;
  given: ReadonlySet<string>;
  /** Arguments that are neither flags nor values of flags. */
  rest: string[];
  /** Those after `--`, which are in `rest` too; `undefined`: there is no `--`. */
  words?: string[] | undefined;
}

/** The flag that every command has. */
export const HELP: Flag = { name: 'help', letter: 'h', text: 'this help' };

/**
 * Parses `--name value`, `--name=value`, switches, letters and the remaining arguments.
 * @throws UsageError with the flag, and a suggestion if it is unknown.
 */
export function parseFlags(args: readonly string[], flags: readonly Flag[]): Parsed {
  const known = new Map([...flags, HELP].map((flag) => [flag.name, flag]));
  const letters = new Map([...flags, HELP].map((flag) => [flag.letter, flag]));
  const values = new Map<string, string[]>();
  const switches = new Map<string, boolean>();
  const typed = new Map<string, string>();
  const rest: string[] = [];
  let words: string[] | undefined;
  let i = 0;

  // "-1" is a number: no flag starts with a digit.
  const isValue = (arg: string | undefined): boolean =>
    arg !== undefined && (/^[^-]|^-[\d.]/.test(arg) || arg.length < 2);

  /** Adds a flag's values: the one attached to it, else the arguments that follow. */
  const add = (flag: Flag, as: string, attached: string | undefined): void => {
    const own = attached === undefined ? [] : [attached];
    const mayFollow = (): boolean => own.length === 0 || (flag.many === true && attached === undefined);
    while (mayFollow() && isValue(args[i + 1])) own.push(args[++i]!);
    if (own.length === 0) {
      const next = args[i + 1] ?? '';
      const isWord = /^-[^-]/.test(next) && !letters.has(next[1]);
      const remedy = isWord ? `; if the value is "${next}", write ${as}${as.startsWith('--') ? '=' : ''}${next}` : '';
      throw new UsageError(`${as} takes a value: ${as} ${flag.value}${remedy}`);
    }
    if (own.some((value) => value.trim() === ''))
      throw new UsageError(`${as} takes a value: ${as} ${flag.value}; the given value is empty`);
    const before = values.get(flag.name) ?? [];
    if (before.length > 0 && flag.many !== true) throw new UsageError(`${as} was given twice: ${before[0]}, ${own[0]}`);
    values.set(flag.name, [...before, ...own]);
    typed.set(flag.name, as);
  };

  const turnOn = (flag: Flag, as: string): void => {
    switches.set(flag.name, true);
    typed.set(flag.name, as);
  };

  /** Parses the letters of `-nvc5`. For a letter that takes a value, the rest of the argument is that value. */
  const addLetters = (arg: string): void => {
    const [word] = arg.slice(1).split('=', 1);
    // `-count 5` would otherwise be `-c ount`.
    if (word!.length > 1 && known.has(word!)) throw unknownFlag(`-${word}`, [...known.values()]);
    for (let at = 1; at < arg.length; at++) {
      const as = `-${arg[at]!}`;
      const flag = letters.get(arg[at]!);
      if (flag === undefined) throw unknownFlag(at === 1 && !letters.has(arg[1]) ? arg : as, [...known.values()]);
      if (flag.value !== undefined) {
        const attached = arg.slice(at + 1).replace(/^=/, '');
        return add(flag, as, at + 1 < arg.length ? attached : undefined);
      }
      turnOn(flag, as);
    }
  };

  for (; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      words = args.slice(i + 1);
      rest.push(...words);
      break;
    }
    if (isValue(arg)) {
      rest.push(arg);
      continue;
    }
    if (!arg.startsWith('--')) {
      addLetters(arg);
      continue;
    }
    const equals = arg.indexOf('=');
    const as = arg.slice(0, equals < 0 ? undefined : equals);
    const name = as.slice(2);
    const flag = known.get(name);
    const inverse = name.startsWith('no-') ? known.get(name.slice(3)) : undefined;
    if (flag !== undefined && flag.value !== undefined) add(flag, as, equals < 0 ? undefined : arg.slice(equals + 1));
    else if (flag !== undefined) {
      if (equals >= 0) throw noValue(flag, as, arg.slice(equals + 1));
      turnOn(flag, as);
    } else if (inverse?.negatable === true) {
      if (equals >= 0) throw noValue(inverse, as, arg.slice(equals + 1));
      switches.set(inverse.name, false);
      typed.set(inverse.name, as);
    } else throw unknownFlag(as, [...known.values()]);
  }
  return {
    value: (name) => values.get(name)?.at(-1),
    values: (name) => values.get(name) ?? [],
    on: (name) => switches.get(name),
    typed: (name) => typed.get(name) ?? `--${name}`,
    given: new Set([...values.keys(), ...switches.keys()]),
    rest,
    words,
  };
}

/** Rejects arguments that are neither flags nor values of flags. */
export function noRest(parsed: Parsed): void {
  const [first] = parsed.rest;
  if (first === undefined) return;
  const dash = /^[\u2010-\u2015\u2212]+/.exec(first)?.[0]; // hyphens and dashes that a word processor inserts
  throw new UsageError(
    dash === undefined
      ? `"${first}" is not expected here; flags start with --`
      : `"${first}" starts with a typographic dash; type --${first.slice(dash.length)}`,
  );
}

/** The integers that a flag accepts. */
export interface Integers {
  /** Default 0. */
  least?: number;
  /** Default: no limit. */
  most?: number;
  /** What the number is, for the error: `seconds`. */
  what?: string;
}

/**
 * Parses the integer of a flag.
 * @returns `undefined` if the flag was not given.
 * @throws UsageError with the flag as typed, the range and the value.
 */
export function integerOf(flags: Parsed, name: string, { least = 0, most, what }: Integers): number | undefined {
  const text = flags.value(name);
  if (text === undefined) return undefined;
  const number = /^[-+]?\d+$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= (most ?? Infinity)) return number;
  const range = `an integer ${most === undefined ? `of ${least} or more` : `from ${least} to ${most}`}`;
  const given = Number.isNaN(number) ? `"${text}"` : text;
  throw new UsageError(`${flags.typed(name)}: expected ${what === undefined ? '' : `${what}: `}${range}, got ${given}`);
}

/**
 * Checks the values of a flag.
 * @throws UsageError with the flag as typed, what it accepts and the value.
 */
export function requireValues(flags: Parsed, name: string, kind: ValueKind, values = flags.values(name)): void {
  for (const value of values) {
    const problem = valueProblem(kind, value);
    if (problem !== undefined) throw new UsageError(`${flags.typed(name)}: ${problem}`);
  }
}

/**
 * Rejects flags that have no effect beside another.
 * @param reason Why not, as words that follow the two flags.
 */
export function refuseBeside(flags: Parsed, name: string, others: readonly string[], reason = ''): void {
  if (!flags.given.has(name)) return;
  for (const other of others)
    if (flags.given.has(other))
      throw new UsageError(`${flags.typed(other)} does not go with ${flags.typed(name)}${reason}`);
}

/**
 * Formats the flags for a help text.
 * @param withHelp Whether to add `--help` at the end.
 */
export function flagHelp(flags: readonly Flag[], withHelp = true): string {
  const lettered = flags.some(({ letter }) => letter !== undefined);
  const rows = [...flags, ...(withHelp ? [HELP] : [])].map(({ name, letter, value, many, negatable, text }) => {
    const short = lettered ? (letter === undefined ? '    ' : `-${letter}, `) : '';
    const long = `--${negatable ? '[no-]' : ''}${name}${value === undefined ? '' : ` ${value}`}${many ? ' …' : ''}`;
    return [short + long, text] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, text]) => `  ${left.padEnd(width)}${text}`).join('\n');
}

function noValue({ name, negatable }: Flag, as: string, value: string): UsageError {
  const choice = negatable ? `; it is --${name} or --no-${name}` : '';
  return new UsageError(`${as} takes no value, got "${value}"${choice}`);
}

function unknownFlag(arg: string, flags: readonly Flag[]): UsageError {
  const words = arg.replace(/^-+/, '');
  const names = flags.flatMap(({ name, negatable }) => (negatable ? [name, `no-${name}`] : [name]));
  // A single letter is similar to every short name, so point to the help instead of suggesting a flag.
  if (words.length === 1 && !arg.startsWith('--')) return new UsageError(`unknown flag ${arg}`);
  const meant = closest(words, names);
  return new UsageError(`unknown flag ${arg}${meant === undefined ? '' : `; did you mean --${meant}?`}`);
}

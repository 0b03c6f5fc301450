/** Flags of a command: how they are read, and how its help shows them. */
import { closest } from '../schema/index.js';

/** What a person typed is not what a command takes. The program ends with 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

export interface Flag {
  /** Without the dashes. */
  name: string;
  /** What stands behind it, as help shows it: `IP`. Absent: a switch. */
  value?: string;
  /** May come more than once, and takes several values in a row: `--peer A B`. */
  many?: boolean;
  /** A switch that also comes as `--no-NAME`. */
  negatable?: boolean;
  text: string;
}

export interface Parsed {
  /** The last value of a flag. */
  value(name: string): string | undefined;
  values(name: string): string[];
  /** Of a switch; `undefined` where it was not given. */
  on(name: string): boolean | undefined;
  given: ReadonlySet<string>;
  /** What is no flag and no flag's value. */
  rest: string[];
}

/** Every command has it. */
const HELP: Flag = { name: 'help', text: 'this help' };

/**
 * Reads `--name value`, `--name=value`, switches and what is left over.
 * @throws UsageError that names the flag, and what it may have been meant to be.
 */
export function parseFlags(args: readonly string[], flags: readonly Flag[]): Parsed {
  const known = new Map([...flags, HELP].map((flag) => [flag.name, flag]));
  const values = new Map<string, string[]>();
  const switches = new Map<string, boolean>();
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '-h') switches.set('help', true);
    else if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    } else if (!arg.startsWith('-') || arg === '-') rest.push(arg);
    else {
      const equals = arg.indexOf('=');
      const name = arg.slice(2, equals < 0 ? undefined : equals);
      const flag = known.get(name);
      const inverse = name.startsWith('no-') ? known.get(name.slice(3)) : undefined;
      if (flag === undefined && inverse?.negatable === true && equals < 0) switches.set(inverse.name, false);
      else if (flag === undefined)
        throw unknownFlag(arg.slice(0, equals < 0 ? undefined : equals), [...known.values()]);
      else if (flag.value === undefined) {
        if (equals >= 0) throw new UsageError(`--${name} takes no value, got "${arg.slice(equals + 1)}"`);
        switches.set(name, true);
      } else {
        const own = equals >= 0 ? [arg.slice(equals + 1)] : [];
        const mayFollow = (): boolean => own.length === 0 || (flag.many === true && equals < 0);
        while (mayFollow() && i + 1 < args.length && (!args[i + 1]!.startsWith('-') || args[i + 1] === '-'))
          own.push(args[++i]!);
        if (own.length === 0 || own.includes(''))
          throw new UsageError(`--${name} takes a value: --${name} ${flag.value}`);
        const before = values.get(name) ?? [];
        if (before.length > 0 && flag.many !== true)
          throw new UsageError(`--${name} was given twice: ${before[0]}, ${own[0]}`);
        values.set(name, [...before, ...own]);
      }
    }
  }
  return {
    value: (name) => values.get(name)?.at(-1),
    values: (name) => values.get(name) ?? [],
    on: (name) => switches.get(name),
    given: new Set([...values.keys(), ...switches.keys()]),
    rest,
  };
}

/** Refuses what is no flag. */
export function noRest(parsed: Parsed): void {
  if (parsed.rest.length > 0) throw new UsageError(`"${parsed.rest[0]}" is not expected here; flags start with --`);
}

/**
 * A whole number out of a flag.
 * @throws UsageError that names the flag and what it was given.
 */
export function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name}: expected a whole number, got "${text}"`);
  return Number(text);
}

/** The block of a help text that lists flags. */
export function flagHelp(flags: readonly Flag[]): string {
  const rows = [...flags, HELP].map(({ name, value, many, negatable, text }) => {
    const left = `--${negatable ? '[no-]' : ''}${name}${value === undefined ? '' : ` ${value}`}${many ? ' …' : ''}`;
    return [left, text] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, text]) => `  ${left.padEnd(width)}${text}`).join('\n');
}

function unknownFlag(arg: string, flags: readonly Flag[]): UsageError {
  const names = flags.flatMap(({ name, negatable }) => (negatable ? [name, `no-${name}`] : [name]));
  const meant = closest(arg.replace(/^-+/, ''), names);
  return new UsageError(`unknown flag ${arg}${meant === undefined ? '' : `; did you mean --${meant}?`}`);
}

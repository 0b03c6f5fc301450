/** Checks of a command's fields. Commands come from other programs, so that nothing is known about them. */
import { isPrintable, unprintable } from '../wire/index.js';
import { Refused } from './refusal.js';

/** Returns a value in its type. @throws Refused that says what the field `at` must be. */
export type Check<T> = (value: unknown, at: string) => T;

/** A check for each field of an object type. */
export type Shape<T> = { readonly [K in keyof T]-?: Check<T[K]> };

/** Characters of a value in a message. */
const SHOWN = 60;

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, SHOWN + 1)) : String(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}

export function invalid(at: string, expected: string, value: unknown): Refused {
  return new Refused('invalid', `${at}: expected ${expected}, got ${show(value)}`, at);
}

/** An object with these fields and no others. Fields without a value are left out of the result. */
export function object<T extends object>(shape: Shape<T>, what = 'an object'): Check<T> {
  const known = Object.keys(shape) as (keyof T & string)[];
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(at, what, value);
    const path = at === '' ? '' : `${at}.`;
    for (const name of Object.keys(value))
      if (!known.includes(name as keyof T & string)) {
        const field = path + name.slice(0, SHOWN);
        throw new Refused('invalid', `${field}: unknown field; the fields are ${known.join(', ')}`, field);
      }
    const result: Partial<T> = {};
    for (const name of known) {
      const one = shape[name]((value as Record<string, unknown>)[name], path + name);
      if (one !== undefined) result[name] = one;
    }
    return result as T;
  };
}

export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (value, at) => (value === undefined ? undefined : check(value, at));
}

/** Characters that are shown as themselves, `least` to `most`. */
export function text(most: number, least = 1): Check<string> {
  const expected = `a text of ${least} to ${most} characters`;
  return (value, at) => {
    if (typeof value !== 'string' || value.length < least || value.length > most) throw invalid(at, expected, value);
    const trouble = unprintable(value);
    if (trouble !== undefined) throw new Refused('invalid', `${at} ${trouble}`, at);
    return value;
  };
}

/** Any characters but NUL: what a program may get as an argument. */
export function word(most: number): Check<string> {
  return (value, at) => {
    if (typeof value !== 'string' || value.length > most || value.includes('\0'))
      throw invalid(at, `a text of at most ${most} characters without NUL`, value);
    return value;
  };
}

/** Text in PEM: printable lines. */
export function pem(most: number): Check<string> {
  return (value, at) => {
    if (typeof value !== 'string' || value.length > most || !/^-----BEGIN [A-Z ]+-----\n/.test(value))
      throw new Refused('invalid', `${at}: expected PEM of at most ${most} characters`, at); // not the value, which may be a secret
    return value;
  };
}

/**
 * A name as Docker accepts it: letters, digits, `_`, `.` and `-`, the first one a letter or a digit. A name that looks like an
 * IPv4 address is none, because commands take both.
 */
export function name(most: number): Check<string> {
  const expected = `a name of 1 to ${most} letters, digits, "_", "." and "-" that begins with a letter or a digit`;
  return (value, at) => {
    if (typeof value !== 'string' || value.length > most || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value))
      throw invalid(at, expected, value);
    if (/^\d+(\.\d+){3}$/.test(value)) throw invalid(at, 'a name, not an IPv4 address', value);
    return value;
  };
}

/** What may name a record in a command: its name, its id, or the beginning of its id. */
export function reference(most: number): Check<string> {
  return (value, at) => {
    if (typeof value !== 'string' || value.length > most || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value))
      throw invalid(at, 'a name or an id', value);
    return value;
  };
}

const ID_LENGTH = 25;
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz';

export const id: Check<string> = (value, at) => {
  if (typeof value !== 'string' || !/^[0-9a-z]{25}$/.test(value))
    throw invalid(at, `an id of ${ID_LENGTH} digits and small letters`, value);
  return value;
};

/** A new id, as Docker's: 129 bits. @param random A number from 0 up to but not including 1. */
export function newId(random: () => number): string {
  let made = '';
  for (let i = 0; i < ID_LENGTH; i++) made += DIGITS[Math.floor(random() * DIGITS.length)]!;
  return made;
}

export function integer(least: number, most: number): Check<number> {
  return (value, at) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
      throw invalid(at, `an integer from ${least} to ${most}`, value);
    return value;
  };
}

export const flag: Check<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw invalid(at, 'true or false', value);
  return value;
};

export function choice<T extends string>(...choices: readonly T[]): Check<T> {
  return (value, at) => {
    if (!choices.includes(value as T)) throw invalid(at, `one of ${choices.join(', ')}`, value);
    return value as T;
  };
}

export function list<T>(check: Check<T>, most: number, least = 0): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length < least || value.length > most)
      throw invalid(at, `a list of ${least} to ${most}`, Array.isArray(value) ? value.length : value);
    return value.map((one, i) => check(one, `${at}[${i}]`));
  };
}

/** An object with texts by name. `total`: the most characters of all names and values. */
export function texts(
  names: RegExp,
  most: { count: number; name: number; value: Check<string>; total?: number },
): Check<Readonly<Record<string, string>>> {
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(at, 'an object', value);
    const entries = Object.entries(value);
    if (entries.length > most.count) throw invalid(at, `at most ${most.count} entries`, entries.length);
    let total = 0;
    const result: [string, string][] = [];
    for (const [key, one] of entries) {
      if (key.length > most.name || !names.test(key) || !isPrintable(key))
        throw invalid(at, `names of 1 to ${most.name} characters that match ${String(names)}`, key);
      result.push([key, most.value(one, `${at}.${key}`)]);
      total += key.length + result.at(-1)![1].length;
    }
    if (most.total !== undefined && total > most.total) throw invalid(at, `at most ${most.total} characters`, total);
    return Object.fromEntries(result);
  };
}

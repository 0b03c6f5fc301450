/** Formats schema errors for people: where, what was expected, what was given. */
import { type TSchema } from '@sinclair/typebox';
import { Value, ValueErrorType, type ValueError } from '@sinclair/typebox/value';
import { closest } from './suggest.js';
import { whyNot } from './formats.js';
import { type JsonSchema } from './types.js';

export interface Problem {
  /** Path of the value in JavaScript notation: `segments[0].endpoints[2].mac`; empty for the whole configuration. */
  path: string;
  /**
   * What was expected, as words that follow "expected". `{0}` and `{1}` stand for the paths in `related`.
   * Either this or `reason` is present.
   */
  expected?: string;
  /** The problem, as a clause that follows the path: `does not go with {0}`. */
  reason?: string;
  /** Paths of other values that the text mentions. */
  related?: readonly string[];
  given: unknown;
}

/** Returns the name of a path of the configuration: a flag, or a field of a file. */
export type Place = (path: string) => string;

/**
 * Formats a problem as one line.
 * @param place Returns the name of a path, such as the flag that it came from.
 * @param where How the line begins, if not with the name of the path: a file and the path in it.
 */
export function problemText(problem: Problem, place: Place = (path) => path, where = place(problem.path)): string {
  const { path, expected, reason, related = [], given } = problem;
  let text = reason ?? `expected ${expected}, got ${show(given)}`;
  // Values of one flag share its name: "--peer: … (the same as --peer)" is meaningless.
  if (related.length > 0 && place(related[0]!) === place(path)) text = text.replace(/ \([^()]*\{0\}[^()]*\)/, '');
  text = withNames(text, related, place);
  return where === '' ? text : `${where}: ${text}`;
}

/** What a problem expects, with the paths that it mentions. */
export function expectedText({ expected, related = [] }: Problem): string | undefined {
  return expected === undefined ? undefined : withNames(expected, related, (path) => path);
}

/** Fills in the names of other values, for which `{0}` and `{1}` stand. */
function withNames(text: string, related: readonly string[], place: Place): string {
  return text.replace(/\{(\d)\}/g, (all, i: string) => (related[Number(i)] === undefined ? all : place(related[+i]!)));
}

/** Most problems in an error: nobody corrects more at once, and a request or a file may have a million. */
const MAX_PROBLEMS = 50;

/** A configuration or a request does not fit its schema; `problems` has every problem, up to `MAX_PROBLEMS`. */
export class SchemaError extends Error {
  readonly problems: readonly Problem[];
  /** The message in lines: one for each problem. */
  readonly lines: readonly string[];
  constructor(problems: readonly Problem[]) {
    // A rule may find the same for several values: each problem once.
    const texts = new Map<string, Problem>();
    for (const problem of problems) {
      if (texts.size >= MAX_PROBLEMS) break;
      texts.set(problemText(problem), problem);
    }
    const lines = [...texts.keys()];
    super(lines.join('\n'));
    this.name = 'SchemaError';
    this.problems = [...texts.values()];
    this.lines = lines;
  }
}

/** Returns what in `value` does not fit `schema`, one problem per path, up to `MAX_PROBLEMS`. */
export function findProblems(schema: JsonSchema, value: unknown): Problem[] {
  const problems = new Map<string, Problem>();
  for (const error of precise(Value.Errors(schema as unknown as TSchema, value))) {
    const path = readablePath(error.path, value);
    if (!problems.has(path)) problems.set(path, { path, ...finding(error) });
    if (problems.size >= MAX_PROBLEMS) break;
  }
  return [...problems.values()];
}

/** The errors; of a schema that also takes a list, where a list is given, those of the list. */
function* precise(errors: Iterable<ValueError>): Generator<ValueError> {
  for (const error of errors) {
    const choices = error.type === ValueErrorType.Union ? (error.schema['anyOf'] as TSchema[]) : [];
    const list = choices.findIndex(({ type }) => type === 'array');
    const one = choices.findIndex(({ type }) => type === 'string');
    const at = list < 0 ? -1 : Array.isArray(error.value) ? list : typeof error.value === 'string' ? one : -1;
    if (at < 0) yield error;
    else yield* error.errors[at]!;
  }
}

/** Most characters of a value in error texts. */
const SHOWN = 80;

/** Formats a value for error texts. */
export function show(given: unknown): string {
  return given === undefined ? 'nothing' : shorten(beginning(given, SHOWN));
}

function shorten(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN - 3)}...` : text;
}

/**
 * A value in JSON. If that has more than `room` characters, at least so many of them: a value of a request may be large,
 * and nested deeper than `JSON.stringify` can follow.
 */
function beginning(value: unknown, room: number): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? String(value);
  const isList = Array.isArray(value);
  let text = isList ? '[' : '{';
  for (const [key, entry] of Object.entries(value)) {
    if (text.length > room) break;
    if (entry === undefined && !isList) continue;
    const name = isList ? '' : `${JSON.stringify(key)}:`;
    text += (text.length > 1 ? ',' : '') + name;
    text += entry === undefined ? 'null' : beginning(entry, room - text.length);
  }
  return text + (isList ? ']' : '}');
}

/** Most entries of a list in a message. */
const LISTED = 12;

/** Names the entries of a list in a message, which may have thousands: `1, 2 and 4092 more`. */
export function listed(entries: readonly unknown[]): string {
  const first = entries.slice(0, LISTED).join(', ');
  return entries.length > LISTED ? `${first} and ${entries.length - LISTED} more` : first;
}

/** What a field must have that names a segment. */
export function knownVni(vnis: readonly number[]): string {
  return `the VNI of a segment (${vnis.length === 0 ? 'there is none' : listed(vnis)})`;
}

/** Formats `/segments/0/vlans/10` as `segments[0].vlans["10"]`: an index if the parent is a list, a key elsewhere. */
function readablePath(pointer: string, root: unknown): string {
  let text = '';
  let at = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replace(/~1/g, '/').replace(/~0/g, '~');
    if (Array.isArray(at)) text += `[${key}]`;
    else if (/^[A-Za-z_]\w{0,79}$/.test(key)) text += text === '' ? key : `.${key}`;
    else text += `[${JSON.stringify(shorten(key))}]`;
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[key] : undefined;
  }
  return text;
}

function finding(error: ValueError): Omit<Problem, 'path'> {
  const { schema, value: given } = error;
  if (error.type === ValueErrorType.ObjectAdditionalProperties) {
    const key = error.path
      .slice(error.path.lastIndexOf('/') + 1)
      .replace(/~1/g, '/')
      .replace(/~0/g, '~');
    if (typeof schema['expectedKey'] === 'string') return { expected: schema['expectedKey'], given: key };
    const known = Object.keys((schema['properties'] ?? {}) as object);
    const meant = closest(key, known);
    const all = known.length === 0 ? 'there are none' : `the fields are ${known.join(', ')}`;
    return {
      reason: `unknown field; ${meant === undefined ? all : `did you mean "${meant}"?`}`,
      given,
    };
  }
  const expected = expectation(error);
  if (schema['secret'] === true) return { reason: `expected ${expected}`, given: undefined };
  const why = typeof given === 'string' ? whyNot(schema['format'], given) : undefined;
  if (why !== undefined) return { reason: `expected ${expected}, got ${show(given)}, ${why}`, given };
  const choices = choicesOf(schema);
  const meant = choices.length > 0 && typeof given === 'string' ? closest(given, choices) : undefined;
  if (meant === undefined) return { expected, given };
  return { reason: `expected ${expected}, got ${show(given)}; did you mean "${meant}"?`, given };
}

/** The texts that a schema allows, if it is a list of texts. */
function choicesOf(schema: TSchema): string[] {
  const choices = Array.isArray(schema['anyOf']) ? (schema['anyOf'] as TSchema[]) : [];
  return choices.flatMap(({ const: one }: TSchema & { const?: unknown }) => (typeof one === 'string' ? [one] : []));
}

function expectation(error: ValueError): string {
  const { schema } = error;
  if (typeof schema['expected'] === 'string') return schema['expected'];
  if (Array.isArray(schema['anyOf'])) {
    const choices = (schema['anyOf'] as TSchema[]).map((choice) =>
      'const' in choice ? JSON.stringify(choice['const']) : String(choice['expected'] ?? choice['type']),
    );
    return `one of ${choices.join(', ')}`;
  }
  if (schema['type'] === 'boolean') return 'true or false';
  if (schema['type'] === 'array') return 'a list';
  if (schema['type'] === 'object') return 'an object';
  if ('const' in schema) return JSON.stringify(schema['const']);
  return error.message.replace(/^Expected /, '');
}

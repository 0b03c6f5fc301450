/** HTTP requests as requests for commands, and the other way round, by the table of commands. */
import { type CommandEntry, type Method } from './command-entry.js';
import { COMMANDS } from './commands.js';
import { findProblems, SchemaError, type Problem } from './problem.js';
import { type Command, type ControlRequest, type JsonSchema } from './types.js';

/** A path of the table. */
export interface Route {
  /** The command of each method. */
  methods: Partial<Record<Method, Command>>;
  /** The fields in the path, decoded. */
  fields: Record<string, string>;
}

/** A table of commands; a test has one of its own. */
type Table = Readonly<Record<string, CommandEntry>>;
type Paths = ReadonlyMap<string, readonly (readonly [Command, CommandEntry])[]>;

/**
 * The commands of a table by path.
 * @internal
 */
export function pathsOf(table: Table): Paths {
  const paths = new Map<string, [Command, CommandEntry][]>();
  for (const entry of Object.entries(table) as [Command, CommandEntry][])
    paths.set(entry[1].path, [...(paths.get(entry[1].path) ?? []), entry]);
  return paths;
}

const PATHS = pathsOf(COMMANDS);

/**
 * Finds the commands of a path. A path without fields goes before one with fields.
 * @returns undefined if there are none.
 */
export function routeOf(path: string, paths: Paths = PATHS): Route | undefined {
  const exact = paths.get(path);
  if (exact !== undefined && !path.includes('{')) return { methods: methodsOf(exact), fields: {} };
  const given = path.split('/');
  for (const [pattern, entries] of paths) {
    const fields = match(pattern.split('/'), given);
    if (fields !== undefined) return { methods: methodsOf(entries), fields };
  }
  return undefined;
}

function methodsOf(entries: readonly (readonly [Command, CommandEntry])[]): Route['methods'] {
  return Object.fromEntries(entries.map(([command, { method }]) => [method, command]));
}

function match(pattern: readonly string[], given: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== given.length) return undefined;
  const fields: Record<string, string> = {};
  for (const [i, part] of pattern.entries()) {
    const name = fieldName(part);
    if (name === undefined ? part !== given[i] : given[i] === '') return undefined;
    if (name === undefined) continue;
    try {
      fields[name] = decodeURIComponent(given[i]!);
    } catch {
      return undefined; // a percent sign without two digits, or no UTF-8
    }
  }
  return fields;
}

/** The field that a segment of a path stands for. */
export function fieldName(segment: string): string | undefined {
  return /^\{(\w+)\}$/.exec(segment)?.[1];
}

/** Whether the fields that are not in the path are in the body, and not in the query. */
export function hasBody({ method }: { method: Method }): boolean {
  return method === 'POST' || method === 'PUT';
}

/**
 * Checks the fields of a request for a command.
 * @param inPath The fields in the path, as text.
 * @param query The fields in the query, as text.
 * @param body The body as JSON; `undefined` without one.
 * @throws SchemaError with every problem.
 */
export function requestOf(
  command: Command,
  inPath: Readonly<Record<string, string>>,
  query: URLSearchParams,
  body: unknown,
  table: Table = COMMANDS,
): ControlRequest {
  const entry = table[command]!;
  if (body !== undefined && !hasBody(entry))
    throw wrong({ path: '', reason: 'this request has no body; its fields are in the query', given: undefined });
  // The body may be nothing but a secret.
  if (body !== undefined && !isObject(body))
    throw wrong(
      hasSecret(entry)
        ? { path: '', reason: 'expected an object', given: undefined }
        : { path: '', expected: 'an object', given: body },
    );
  const texts = new Map(Object.entries(inPath));
  for (const [name, text] of query) {
    if (hasBody(entry))
      throw wrong({ path: name, reason: 'is a field of the body, not of the query', given: undefined });
    if (texts.has(name)) throw wrong({ path: name, reason: 'is given twice', given: undefined });
    texts.set(name, text);
  }
  for (const name of Object.keys(inPath))
    if (isObject(body) && Object.hasOwn(body, name))
      throw wrong({ path: name, reason: 'is given twice, in the path and in the body', given: undefined });
  const properties = entry.request['properties'] as Record<string, JsonSchema>;
  // Texts become values of the type that the schema names. `fromEntries` makes a field of every name, also of __proto__.
  const fields = Object.fromEntries([
    ...Object.entries(body ?? {}),
    ...[...texts].map(([name, text]) => [name, valueOf(text, Object.hasOwn(properties, name) && properties[name])]),
  ]) as Record<string, unknown>;
  return checked(command, fields, entry);
}

/** Whether a field of a request is a secret, which no error may repeat. */
function hasSecret({ request }: CommandEntry): boolean {
  return Object.values(request['properties'] as Record<string, JsonSchema>).some(({ secret }) => secret === true);
}

/** A value of the type of a schema from its text; the text itself if it is none. */
function valueOf(text: string, schema: JsonSchema | undefined | false): unknown {
  const type = schema === undefined || schema === false ? undefined : schema['type'];
  if ((type === 'integer' || type === 'number') && /^-?(0|[1-9]\d{0,15})(\.\d{1,20})?(e-\d{1,3})?$/.test(text))
    return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

/** @throws SchemaError with every problem. */
function checked(command: Command, fields: Record<string, unknown>, { request, rule }: CommandEntry): ControlRequest {
  const problems = findProblems(request, fields);
  if (problems.length > 0) throw new SchemaError(problems);
  const problem = rule?.(fields);
  if (problem !== undefined) throw wrong(problem);
  return { ...fields, command } as ControlRequest;
}

/**
 * Checks a request in the form that programs use.
 * @throws SchemaError with every problem.
 */
export function parseRequest(value: unknown): ControlRequest {
  const { command, ...fields } = isObject(value) ? value : { command: undefined };
  if (typeof command !== 'string' || !Object.hasOwn(COMMANDS, command))
    throw wrong({ path: 'command', expected: `one of ${Object.keys(COMMANDS).join(', ')}`, given: command });
  return checked(command as Command, fields, COMMANDS[command as Command]);
}

/** A request for a command over HTTP. */
export interface HttpRequest {
  method: Method;
  /** Path and query. */
  target: string;
  /** JSON. */
  body?: string;
}

/** The HTTP request for a command. Fields that are `undefined` are left out. */
export function httpRequestOf({ command, ...fields }: ControlRequest, table: Table = COMMANDS): HttpRequest {
  const entry = table[command]!;
  const left = new Map(Object.entries(fields).filter(([, value]) => value !== undefined));
  const segments = entry.path.split('/').map((segment) => {
    const name = fieldName(segment);
    if (name === undefined) return segment;
    const value = left.get(name);
    left.delete(name);
    return encodeURIComponent(String(value));
  });
  const path = segments.join('/');
  if (hasBody(entry)) return { method: entry.method, target: path, body: JSON.stringify(Object.fromEntries(left)) };
  const query = new URLSearchParams(
    Object.fromEntries([...left].map(([name, value]) => [name, String(value)])),
  ).toString();
  return { method: entry.method, target: query === '' ? path : `${path}?${query}` };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function wrong(problem: Problem): SchemaError {
  return new SchemaError([problem]);
}

/** HTTP requests as requests for commands, and the other way round, by the table of commands. */
import { COMMANDS, type CommandEntry, type Method } from './commands.js';
import { findProblems, SchemaError, type Problem } from './problem.js';
import { type Command, type ControlRequest, type JsonSchema } from './types.js';

/** A path of the table. */
export interface Route {
  /** The command of each method. */
  methods: Partial<Record<Method, Command>>;
  /** The fields in the path, decoded. */
  fields: Record<string, string>;
}

const ENTRIES = Object.entries(COMMANDS) as [Command, CommandEntry][];
/** The commands by path. */
const PATHS = new Map<string, [Command, CommandEntry][]>();
for (const entry of ENTRIES) PATHS.set(entry[1].path, [...(PATHS.get(entry[1].path) ?? []), entry]);

/**
 * Finds the commands of a path.
 * @returns undefined if there are none.
 */
export function routeOf(path: string): Route | undefined {
  const given = path.split('/');
  for (const [pattern, entries] of PATHS) {
    const fields = match(pattern.split('/'), given);
    if (fields === undefined) continue;
    return { methods: Object.fromEntries(entries.map(([command, { method }]) => [method, command])), fields };
  }
  return undefined;
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
): ControlRequest {
  const entry = COMMANDS[command];
  if (body !== undefined && !hasBody(entry))
    throw wrong({ path: '', reason: 'this request has no body; its fields are in the query', given: undefined });
  if (body !== undefined && !isObject(body)) throw wrong({ path: '', expected: 'an object', given: body });
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
  return checked(command, fields);
}

/** A value of the type of a schema from its text; the text itself if it is none. */
function valueOf(text: string, schema: JsonSchema | undefined | false): unknown {
  const type = schema === undefined || schema === false ? undefined : schema['type'];
  if ((type === 'integer' || type === 'number') && /^-?(0|[1-9]\d{0,15})(\.\d{1,15})?$/.test(text)) return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

/** @throws SchemaError with every problem. */
function checked(command: Command, fields: Record<string, unknown>): ControlRequest {
  const { request, rule } = COMMANDS[command];
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
  return checked(command as Command, fields);
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
export function httpRequestOf({ command, ...fields }: ControlRequest): HttpRequest {
  const entry = COMMANDS[command];
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

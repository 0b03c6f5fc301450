/** Findings of the schemas in words: where, what was expected, what was given. */
import { type TSchema } from '@sinclair/typebox';
import { Value, ValueErrorType, type ValueError } from '@sinclair/typebox/value';
import { closest } from './suggest.js';
import { type JsonSchema } from './types.js';

export interface Problem {
  /** As one writes it in JavaScript: `segments[0].endpoints[2].mac`; empty for the whole. */
  path: string;
  /** In words, to stand behind "expected". */
  expected: string;
  given: unknown;
}

/** One line about a problem, with the path called `place`. */
export function problemText({ path, expected, given }: Problem, place = path): string {
  return `${place === '' ? '' : `${place}: `}expected ${expected}, got ${show(given)}`;
}

/** Configuration or a request that does not fit its schema; `problems` has every finding. */
export class SchemaError extends Error {
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => problemText(problem)).join('\n'));
    this.name = 'SchemaError';
    this.problems = problems;
  }
}

/** Everything about `value` that does not fit `schema`, one problem for each path. */
export function findProblems(schema: JsonSchema, value: unknown): Problem[] {
  const problems = new Map<string, Problem>();
  for (const error of Value.Errors(schema as unknown as TSchema, value)) {
    const path = readablePath(error.path, value);
    if (!problems.has(path)) problems.set(path, { path, expected: expectation(error), given: error.value });
  }
  return [...problems.values()];
}

function show(given: unknown): string {
  if (given === undefined) return 'nothing';
  const text = typeof given === 'bigint' ? String(given) : (JSON.stringify(given) ?? String(given));
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** `/segments/0/vlans/10` as `segments[0].vlans["10"]`: an index where the parent is a list, a key elsewhere. */
function readablePath(pointer: string, root: unknown): string {
  let text = '';
  let at = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replace(/~1/g, '/').replace(/~0/g, '~');
    if (Array.isArray(at)) text += `[${key}]`;
    else if (/^[A-Za-z_]\w*$/.test(key)) text += text === '' ? key : `.${key}`;
    else text += `[${JSON.stringify(key)}]`;
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[key] : undefined;
  }
  return text;
}

function expectation(error: ValueError): string {
  const { schema } = error;
  if (error.type === ValueErrorType.ObjectAdditionalProperties) {
    if (typeof schema['expectedKey'] === 'string') return `${schema['expectedKey']} as the key`;
    const known = Object.keys((schema['properties'] ?? {}) as object);
    const meant = closest(error.path.slice(error.path.lastIndexOf('/') + 1), known);
    return `no such field (${meant === undefined ? `known are ${known.join(', ')}` : `did you mean "${meant}"?`})`;
  }
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

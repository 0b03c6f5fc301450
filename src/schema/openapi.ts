/** The OpenAPI 3.1 description of the control socket, made from the table of commands. */
import { type CommandEntry } from './command-entry.js';
import { COMMANDS } from './commands.js';
import { ERROR_BODY, ERRORS } from './errors.js';
import { fieldName, hasBody } from './routes.js';
import { type JsonSchema } from './types.js';

/** Media types of the responses. */
export const JSON_TYPE = 'application/json';
export const EVENTS_TYPE = 'application/x-ndjson';

const DESCRIPTION = `The control socket of a running VTEP: HTTP over a Unix socket that only its owner may use.

A list is one JSON array, which the VTEP writes in pieces. If it fails in the middle of one, it breaks off the response,
so that the chunked encoding has no end and the array is not closed.

A stream of events (${EVENTS_TYPE}) has one JSON object on each line, whose field "event" names its kind. Besides the
events of the command there is "status" at the start, and at least once a second while nothing else happens; "end",
the last line of a complete stream; and "error", the last line of one that failed, with the same field "error" as the
response of a failed request.`;

/**
 * Describes all commands.
 * @param version The version of the program.
 * @param table The commands; a test has others.
 */
export function openApi(version: string, table: Readonly<Record<string, CommandEntry>> = COMMANDS): JsonSchema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [command, entry] of Object.entries(table))
    (paths[entry.path] ??= {})[entry.method.toLowerCase()] = operationOf(command, entry);
  return {
    openapi: '3.1.0',
    info: { title: 'vtep', version, description: DESCRIPTION, license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: 'http://vtep/', description: 'any name of a host: the socket decides which VTEP answers' }],
    paths,
    components: {
      schemas: { Error: errorSchema(), Status: STATUS, End: END, Failure: FAILURE },
      responses: {
        Error: {
          description: 'The request failed',
          content: { [JSON_TYPE]: { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
    },
  };
}

const dropped = {
  type: 'integer',
  minimum: 0,
  description: 'packets or events so far that are not in the stream, because the client was too slow',
};
const STATUS = {
  type: 'object',
  required: ['event'],
  properties: { event: { const: 'status' }, dropped },
};
const END = { type: 'object', required: ['event'], properties: { event: { const: 'end' }, dropped } };
const FAILURE = {
  type: 'object',
  required: ['event', 'error'],
  properties: { event: { const: 'error' }, error: { $ref: '#/components/schemas/Error/properties/error' } },
};

function errorSchema(): JsonSchema {
  const schema = plain(ERROR_BODY) as { properties: { error: { properties: { code: object } } } };
  const codes = Object.entries(ERRORS).map(([code, [status, text]]) => `\`${code}\` (${status}): ${text}`);
  Object.assign(schema.properties.error.properties.code, { description: codes.join('\n\n') });
  return schema as unknown as JsonSchema;
}

function operationOf(command: string, entry: CommandEntry): JsonSchema {
  const { request, summary } = entry;
  const names = Object.keys(request['properties'] as object);
  const required = (request['required'] ?? []) as string[];
  const inPath = entry.path.split('/').flatMap((segment) => fieldName(segment) ?? []);
  const parameters = names.flatMap((name) => {
    if (!inPath.includes(name) && hasBody(entry)) return [];
    const place = inPath.includes(name) ? 'path' : 'query';
    const schema = plain((request['properties'] as Record<string, unknown>)[name]);
    return [{ name, in: place, required: place === 'path' || required.includes(name), schema }];
  });
  const inBody = hasBody(entry) && names.some((name) => !inPath.includes(name));
  return {
    operationId: command,
    summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(inBody
      ? {
          requestBody: {
            required: required.some((name) => !inPath.includes(name)),
            content: { [JSON_TYPE]: { schema: without(plain(request) as JsonSchema, inPath) } },
          },
        }
      : {}),
    responses: {
      200: { description: 'Done', content: contentOf(entry) },
      default: { $ref: '#/components/responses/Error' },
    },
  };
}

function contentOf({ kind, result }: CommandEntry): JsonSchema {
  const schema = plain(result);
  if (kind === 'list') return { [JSON_TYPE]: { schema: { type: 'array', items: schema } } };
  if (kind === 'value') return { [JSON_TYPE]: { schema } };
  const others = ['Status', 'End', 'Failure'].map((name) => ({ $ref: `#/components/schemas/${name}` }));
  return { [EVENTS_TYPE]: { schema: { description: 'each line', oneOf: [schema, ...others] } } };
}

/** A schema without the fields that are in the path. */
function without(schema: JsonSchema, names: readonly string[]): JsonSchema {
  if (names.length === 0) return schema;
  const properties = Object.entries(schema['properties'] as object).filter(([name]) => !names.includes(name));
  const required = ((schema['required'] ?? []) as string[]).filter((name) => !names.includes(name));
  return { ...schema, properties: Object.fromEntries(properties), required };
}

/** Keywords whose value has a schema for each name. */
const MAPS = new Set(['properties', 'patternProperties']);

function byName(schemas: object): JsonSchema {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, plain(schema)]));
}

/**
 * A schema with standard keywords only: what was expected becomes its description, and formats of this package, which
 * no other program knows, are left out.
 */
function plain(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(plain);
  if (typeof schema !== 'object' || schema === null) return schema;
  const { expected, expectedKey, secret, format, ...rest } = schema as Record<string, unknown>;
  const foreign = typeof format === 'string' && !format.startsWith('weft-') ? { format } : {};
  const about = expected ?? expectedKey;
  return {
    ...Object.fromEntries(
      Object.entries(rest).map(([name, value]) => [name, MAPS.has(name) ? byName(value as object) : plain(value)]),
    ),
    ...foreign,
    ...(typeof about === 'string' && rest['description'] === undefined ? { description: about } : {}),
    ...(secret === true ? { writeOnly: true } : {}),
  };
}

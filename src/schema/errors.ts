/** The errors of the control socket's API: stable codes, and the form in which they are sent. */
import { Type, type TSchema } from '@sinclair/typebox';
import { expectedText, problemText, show, type Problem } from './problem.js';
import { type JsonSchema } from './types.js';

/** Each code with its HTTP status and its meaning. Clients rely on codes: only append. */
export const ERRORS = {
  'invalid-request': [400, 'the request does not fit the description of its command'],
  'not-found': [404, 'nothing is at this path, or what the request names does not exist'],
  'method-not-allowed': [405, 'the path has other methods, which the header Allow lists'],
  conflict: [409, 'the state of the VTEP, or of its cluster, does not allow it'],
  'no-gossip': [409, 'only an agent can answer, and this VTEP is none'],
  'no-keys': [409, 'the agent does not encrypt its gossip'],
  'key-in-use': [409, 'the key encrypts outgoing messages'],
  'no-configuration': [409, 'the VTEP has no configuration file to read again'],
  'invalid-configuration': [409, 'the configuration cannot be read again, or is wrong; it stays as it was'],
  'too-large': [413, 'the body of the request is too large'],
  'unsupported-media-type': [415, 'the body is not application/json'],
  'expectation-failed': [417, 'the header Expect is something else than 100-continue'],
  'too-many-requests': [429, 'too many requests of this kind are in progress'],
  'headers-too-large': [431, 'the headers of the request are too large'],
  internal: [500, 'a defect of this program'],
  unavailable: [
    503,
    'the VTEP cannot do it now: it stops, too many clients are connected, or files or memory are short',
  ],
  'no-node': [409, 'only a node of a cluster can answer, and this VTEP is none'],
  'no-cluster': [409, 'this node is in no cluster'],
  elsewhere: [409, 'it runs on another node, which the message names'],
  'in-use': [409, 'others depend on what the request removes'],
  exhausted: [409, 'no address, subnet or VNI is free'],
  'not-started': [409, 'the sandbox, its device or its command could not be started; nothing of it remains'],
  forbidden: [403, 'this node may not do it, such as a worker what only managers do'],
  'not-admitted': [403, 'the managers do not accept the token'],
  revoked: [403, 'this node has been removed from its cluster, or its certificate is no longer valid'],
  'no-manager': [503, 'no manager can be reached, or it can do nothing now; nothing was done'],
  'wrong-manager': [502, 'what answers is no manager, or one of another cluster; nothing was done'],
  'wrong-certificate': [502, 'a certificate is not valid now: it has expired, or a clock is wrong; nothing was done'],
  lost: [504, 'the manager has not answered; the request may have been carried out'],
} as const satisfies Record<string, readonly [status: number, text: string]>;

export type ErrorCode = keyof typeof ERRORS;

/** A field of a request that is wrong. */
export interface ErrorField {
  /** The field in JavaScript notation: `vni`, `endpoints[2].mac`; empty for the whole request. */
  path: string;
  /** What is wrong, as words that follow the path. */
  message: string;
  /** What was expected, if that alone says what is wrong. */
  expected?: string;
  /** What was given, shortened. Absent if nothing was, and if it may be a key. */
  given?: string;
}

/** The body of a response with an error. */
export interface ErrorBody {
  error: { code: ErrorCode; message: string; fields?: ErrorField[] };
}

/** The schema of `ErrorBody`, by which a client checks one: a later version may have further codes. */
export const ERROR_BODY: JsonSchema = schemaOf<{
  error: { code: string; message: string; fields?: ErrorField[] };
}>(
  Type.Object({
    error: Type.Object({
      code: Type.String({ maxLength: 64, expected: 'a code' }),
      message: Type.String({ expected: 'a text' }),
      fields: Type.Optional(
        Type.Array(
          Type.Object({
            path: Type.String(),
            message: Type.String(),
            expected: Type.Optional(Type.String()),
            given: Type.Optional(Type.String()),
          }),
        ),
      ),
    }),
  }),
);

/** A problem of a request as a field of an error. It repeats no value that may be a key. */
export function errorField(problem: Problem): ErrorField {
  const { path, reason, given } = problem;
  const expected = expectedText(problem);
  const plain = reason === undefined && expected !== undefined;
  return {
    path,
    message: problemText(problem, undefined, ''),
    ...(plain ? { expected } : {}),
    ...(plain && given !== undefined ? { given: show(given) } : {}),
  };
}

/** Makes the compiler check that a schema and its hand-written type agree. */
function schemaOf<T>(schema: TSchema & { static: T }): JsonSchema {
  return schema;
}

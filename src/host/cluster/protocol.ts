/**
 * The requests of nodes to a manager: HTTP/1.1 with JSON over TLS 1.3, on port 2377.
 *
 *     POST /v1/join         a secret and a certificate request; the answer has the certificate. The only request without
 *                           a client certificate
 *     POST /v1/renew        a certificate request; the answer has a certificate for the same node and role
 *     POST /v1/commands     one command of the cluster, as the node that the client certificate names
 *     GET  /v1/assignments  a stream of JSON lines: what the node has to do, whenever that changes, requests for the output
 *                           of its tasks, and heartbeats
 *     POST /v1/logs         a service or a task; the answer is a stream of JSON lines, with what its tasks on other nodes write
 *     POST /v1/output       some lines of the output that the manager has requested
 *
 * A request that fails is answered by `{"error":{"code":…,"message":…,"fields":[…]}}`.
 */
import { Type, type TSchema } from '@sinclair/typebox';
import { MANAGER_PORT } from '../../cluster/index.js';
import { RequestError } from '../error.js';
import { jsonBody } from '../json-body.js';
import { findProblems, MAX_LINE, problemText, type JsonSchema, type OutputEvent } from '../../schema/index.js';
import { ClusterError } from './error.js';

export { MANAGER_PORT };

/** Each code of an error with its HTTP status. A machine that refuses a command may have others, which are sent as 409. */
const STATUS: Readonly<Record<string, number>> = {
  invalid: 400,
  'no-certificate': 401,
  'wrong-cluster': 401,
  expired: 401,
  'not-admitted': 403,
  revoked: 403,
  forbidden: 403,
  'not-found': 404,
  'method-not-allowed': 405,
  'too-large': 413,
  internal: 500,
  unavailable: 503,
};

export function statusOf(code: string): number {
  return Object.hasOwn(STATUS, code) ? STATUS[code]! : 409;
}

/** A command of the cluster, such as `{ do: 'create-network', … }`. */
export interface Command {
  readonly do: string;
  readonly [field: string]: unknown;
}

export interface JoinBody {
  readonly secret: string;
  /** A PKCS #10 request in PEM. Only its key counts. */
  readonly csr: string;
  /** The node's name, for people. */
  readonly name: string;
  /** The address at which other nodes reach this one; absent: that from which it connects. */
  readonly address?: string;
  /** For a manager: the port at which it serves nodes. */
  readonly port?: number;
}

/** A request for the output of tasks on other nodes than the one that asks. */
export interface LogsBody {
  /** A service by its name or id, or a task by its name or the id of an endpoint. */
  readonly name: string;
  /** At most so many of the lines that each task has written before. */
  readonly tail?: number;
  /** Go on with what is written from now on. */
  readonly follow?: boolean;
}

/** A manager's request to a node: send the output of tasks that run there, in batches. */
export interface OutputRequest {
  readonly id: string;
  /** The ids of a service; `slot`: only that task of it. */
  readonly service: string;
  readonly slot?: number;
  readonly tail?: number;
  readonly follow: boolean;
  /** The number of the first batch; above 0, the node has sent some before, perhaps as another process. */
  readonly sequence: number;
}

/** Lines of output that a manager has requested. */
export interface OutputBatch {
  /** That of the request. */
  readonly id: string;
  /** Counts the batches of a request from 0. One that is sent twice counts once. */
  readonly sequence: number;
  readonly lines: readonly {
    /** The id of a task. */
    readonly task: string;
    readonly line: string;
  }[];
  /** Ids of tasks of which lines may be missing before these: they have written faster than this was sent. */
  readonly missed?: readonly string[];
  /** This is the last one. */
  readonly last?: boolean;
  /** Why the node sends nothing. */
  readonly refused?: string;
}

/** The answer to a batch. */
export interface OutputReply {
  /** `false`: there is no room yet; send it again later. */
  readonly taken: boolean;
  /** Whether anything after it is wanted. */
  readonly more: boolean;
}

/** A line of the answer to a request for output. */
export type LogsLine =
  | { readonly event: 'output'; readonly events: readonly OutputEvent[] }
  | { readonly event: 'heartbeat' }
  /** Everything was sent. */
  | { readonly event: 'end' };

/** Most lines of a batch. With escapes, as many of the longest fit a body as a batch has octets. */
export const BATCH_LINES = 2048;
/** Octets of JSON after which a node begins another batch. A line, of control characters at worst, has 96 KiB. */
export const BATCH_SIZE = 131_072;
/** Most lines before the current ones that a request asks for, as in the local API. */
const MOST_LINES = 1_000_000;

export type ManagerRequest =
  | { readonly route: 'join'; readonly body: JoinBody }
  | { readonly route: 'renew'; readonly body: { readonly csr: string } }
  | { readonly route: 'commands'; readonly body: Command }
  | { readonly route: 'logs'; readonly body: LogsBody }
  | { readonly route: 'output'; readonly body: OutputBatch }
  | { readonly route: 'assignments' };

export type Route = ManagerRequest['route'];

export const ROUTES = {
  join: ['POST', '/v1/join'],
  renew: ['POST', '/v1/renew'],
  commands: ['POST', '/v1/commands'],
  assignments: ['GET', '/v1/assignments'],
  logs: ['POST', '/v1/logs'],
  output: ['POST', '/v1/output'],
} as const satisfies Record<Route, readonly [method: string, path: string]>;

/** A line of the stream of assignments. */
export type StreamLine =
  | {
      readonly event: 'assignment';
      readonly assignment: unknown;
      /** Where managers are: `address:port`. */
      readonly managers: readonly string[];
    }
  | { readonly event: 'logs'; readonly request: OutputRequest }
  | { readonly event: 'heartbeat' };

/** The answer to a request to join. */
export interface Joined {
  readonly certificate: string;
  readonly managers: readonly string[];
  /** What the cluster tells a node that joins, besides. */
  readonly cluster: unknown;
}

const CSR = Type.String({ minLength: 1, maxLength: 8192, expected: 'a certificate request in PEM' });

const ID = Type.String({ pattern: '^[0-9a-z]{25}$', expected: 'an id' });

const BODIES = {
  join: Type.Object(
    {
      secret: Type.String({ minLength: 1, maxLength: 128, expected: 'the secret of a token', secret: true }),
      csr: CSR,
      name: Type.String({
        pattern: '^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$',
        expected: 'a host name: 1 to 63 letters, digits, dots, underscores and hyphens',
      }),
      address: Type.Optional(Type.String({ format: 'weft-ip', expected: 'the IP address of one host' })),
      port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, expected: 'a port, 1 to 65535' })),
    },
    { additionalProperties: false, expected: 'a JSON object' },
  ),
  renew: Type.Object({ csr: CSR }, { additionalProperties: false, expected: 'a JSON object' }),
  logs: Type.Object(
    {
      name: Type.String({
        pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$',
        expected: 'the name of a service or a task, or an id',
      }),
      tail: Type.Optional(Type.Integer({ minimum: 0, maximum: MOST_LINES, expected: 'a number of lines' })),
      follow: Type.Optional(Type.Boolean({ expected: 'true or false' })),
    },
    { additionalProperties: false, expected: 'a JSON object' },
  ),
  output: Type.Object(
    {
      id: ID,
      sequence: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, expected: 'a number' }),
      lines: Type.Array(
        Type.Object(
          { task: ID, line: Type.String({ maxLength: MAX_LINE, expected: 'a line' }) },
          { additionalProperties: false, expected: 'a line of a task' },
        ),
        { maxItems: BATCH_LINES, expected: 'a list of lines' },
      ),
      missed: Type.Optional(Type.Array(ID, { maxItems: BATCH_LINES, expected: 'a list of ids' })),
      last: Type.Optional(Type.Boolean({ expected: 'true or false' })),
      refused: Type.Optional(Type.String({ maxLength: 1024, expected: 'a text' })),
    },
    { additionalProperties: false, expected: 'a JSON object' },
  ),
  commands: Type.Object(
    { do: Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$', expected: 'the name of a command' }) },
    { expected: 'a JSON object' },
  ),
} satisfies Record<Exclude<Route, 'assignments'>, TSchema>;

const OUTPUT_REQUEST = Type.Object({
  id: ID,
  service: ID,
  slot: Type.Optional(Type.Integer({ minimum: 1 })),
  tail: Type.Optional(Type.Integer({ minimum: 0 })),
  follow: Type.Boolean(),
  sequence: Type.Integer({ minimum: 0 }),
});

/** Whether a value is a request of a manager for output. */
export function isOutputRequest(value: unknown): value is OutputRequest {
  return findProblems(OUTPUT_REQUEST as unknown as JsonSchema, value).length === 0;
}

/**
 * The route of a request.
 * @throws ClusterError
 */
export function routeOf(method: string, target: string): Route {
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  for (const route of Object.keys(ROUTES) as Route[]) {
    const [known, own] = ROUTES[route];
    if (path !== own) continue;
    if (method !== known) throw new ClusterError('method-not-allowed', `the method of ${own} is ${known}`);
    return route;
  }
  throw new ClusterError('not-found', 'a manager of weft has nothing at this path; are both programs of one version?');
}

/**
 * Reads a request.
 * @throws ClusterError; its text repeats no value that may be a secret.
 */
export function readRequest(route: Route, octets: Uint8Array): ManagerRequest {
  if (route === 'assignments') {
    if (octets.length > 0) throw new ClusterError('invalid', 'the request for assignments has no body');
    return { route };
  }
  const body = parse(octets);
  const problems = findProblems(BODIES[route] as unknown as JsonSchema, body);
  if (problems.length > 0) {
    const texts = problems.map((problem) =>
      problemText({ ...problem, given: undefined }).replace(/, got nothing$/, ''),
    );
    throw new ClusterError('invalid', texts.join('; '), { fields: problems.map(({ path }) => path) });
  }
  return { route, body } as ManagerRequest;
}

function parse(octets: Uint8Array): unknown {
  let body: unknown;
  try {
    body = jsonBody(octets);
  } catch (error) {
    if (error instanceof RequestError) throw new ClusterError('invalid', error.message);
    throw error;
  }
  requirePlain(body, 0);
  return body;
}

/** Most lists and objects inside one another: who reads a command may follow them by recursion. */
const LEVELS = 32;

/** @throws ClusterError if a value is nested too deep, or has a number that JSON cannot write again: `1e999`. */
function requirePlain(value: unknown, level: number): void {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new ClusterError('invalid', 'a number is too large');
  if (typeof value !== 'object' || value === null) return;
  if (level >= LEVELS) throw new ClusterError('invalid', `the body has more than ${LEVELS} levels`);
  for (const one of Object.values(value)) requirePlain(one, level + 1);
}

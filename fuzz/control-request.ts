/**
 * A request to the control socket: the input is its method, a space, its target, a line feed, and its body. It becomes a request for
 * a command of the table, or is refused, and no refusal repeats a secret. What is read fits its schema, and a client that
 * sends it again is understood in the same way.
 */
import { RequestError } from '../src/host/error.js';
import { jsonBody } from '../src/host/json-body.js';
import {
  COMMANDS,
  errorField,
  httpRequestOf,
  parseRequest,
  requestOf,
  routeOf,
  SchemaError,
  type Command,
  type ControlRequest,
  type Method,
} from '../src/schema/index.js';
import { attempt, ensure, equal } from '../test/support/contract.js';

const FEED = 10;
const NAMES = Object.keys(COMMANDS) as Command[];

export function fuzz(data: Uint8Array): void {
  const feed = data.indexOf(FEED);
  const [method = '', target = ''] = Buffer.from(data.subarray(0, Math.max(0, feed)))
    .toString('latin1')
    .split(' ');
  const [path = '', query = ''] = target.split('?');
  const octets = data.subarray(feed + 1);
  const [body, unreadable] = attempt(() => (octets.length === 0 ? undefined : jsonBody(octets)));
  if (unreadable !== undefined) {
    ensure(unreadable instanceof RequestError, `${String(unreadable)} is no refusal`);
    return;
  }
  const route = routeOf(path);
  const command = route?.methods[method as Method];
  if (command !== undefined)
    read(() => requestOf(command, route!.fields, new URLSearchParams(query), body), secretOf(body));
  // Every command reads the body: a mutation seldom finds another target.
  for (const one of NAMES)
    read(() => parseRequest({ ...(typeof body === 'object' ? body : {}), command: one }), secretOf(body));
}

function read(step: () => ControlRequest, secret: string | undefined): void {
  const [request, error] = attempt(step);
  if (request === undefined) {
    ensure(error instanceof SchemaError, `${String(error)} is no refusal`);
    ensure(error.problems.length > 0, 'a refusal without a problem');
    for (const text of [error.message, JSON.stringify(error.problems.map(errorField))])
      ensure(secret === undefined || !text.includes(secret), `"${text}" has the secret`);
    return;
  }
  const { method, target, body } = httpRequestOf(request);
  const [path, query = ''] = target.split('?');
  const route = routeOf(path!);
  equal(route?.methods[method], request.command, 'the command of the route');
  const sent = body === undefined ? undefined : (JSON.parse(body) as unknown);
  const again = requestOf(request.command, route!.fields, new URLSearchParams(query), sent);
  equal(JSON.stringify(sorted(again)), JSON.stringify(sorted(request)), 'the request, sent and read again');
}

function sorted(request: object): [string, unknown][] {
  return Object.entries(request).sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The secret of a body, if it is long enough not to be in a text by chance. */
function secretOf(body: unknown): string | undefined {
  const { token, key } = (body ?? {}) as { token?: unknown; key?: unknown };
  return [token, key].find((one): one is string => typeof one === 'string' && one.length > 12);
}

/**
 * A request to a manager: the input is its method, a space, its target, a line feed, and its body. It is read, or refused
 * with a code, and no refusal repeats a secret. What is read fits what the manager counts on, and reads the same again.
 */
import { ClusterError } from '../src/host/cluster/error.js';
import {
  readRequest,
  routeOf,
  ROUTES,
  statusOf,
  type ManagerRequest,
  type Route,
} from '../src/host/cluster/protocol.js';
import { MAX_LINE } from '../src/schema/index.js';
import { attempt, ensure, equal } from '../test/support/contract.js';

const FEED = 10;

export function fuzz(data: Uint8Array): void {
  const feed = data.indexOf(FEED);
  const [method = '', target = ''] = Buffer.from(data.subarray(0, Math.max(0, feed)))
    .toString('latin1')
    .split(' ');
  const body = data.subarray(feed + 1);
  const [route, wrong] = attempt(() => routeOf(method, target));
  if (route === undefined) refusal(wrong);
  else ensure(ROUTES[route][0] === method && target.split('?')[0] === ROUTES[route][1], `${target} is ${route}`);
  // Every route reads the body: a mutation seldom finds another target.
  for (const one of Object.keys(ROUTES) as Route[]) {
    const [request, trouble] = attempt(() => readRequest(one, body));
    if (request === undefined) refusal(trouble, secretOf(body));
    else accepted(one, request);
  }
}

function refusal(error: unknown, secret?: string): void {
  ensure(error instanceof ClusterError, `${String(error)} is no refusal`);
  const { code, message, fields } = error;
  const status = statusOf(code);
  ensure(status >= 400 && status < 500, `${code} is ${status}`);
  for (const text of [message, ...fields])
    ensure(secret === undefined || !text.includes(secret), `"${text}" has the secret`);
}

/** The secret of a body, if it is long enough not to be in a text by chance. */
function secretOf(body: Uint8Array): string | undefined {
  try {
    const { secret } = JSON.parse(Buffer.from(body).toString('utf8')) as { secret?: unknown };
    return typeof secret === 'string' && secret.length > 12 ? secret : undefined;
  } catch {
    return undefined;
  }
}

function accepted(route: Route, request: ManagerRequest): void {
  equal(request.route, route, 'the route');
  if (request.route === 'assignments') return;
  const { body } = request;
  if (request.route === 'join') {
    const { secret, csr, name, address, port, ...more } = request.body;
    ensure(typeof secret === 'string' && secret.length <= 128, 'the secret');
    ensure(typeof csr === 'string' && csr.length <= 8192, 'the request for a certificate');
    ensure(/^[\w.-]{1,63}$/.test(name), `the name ${name}`);
    ensure(address === undefined || /^[0-9a-f.:]+$/i.test(address), `the address ${address}`);
    ensure(port === undefined || (Number.isInteger(port) && port > 0 && port < 65_536), `the port ${port}`);
    equal(Object.keys(more), [], 'further fields');
  } else if (request.route === 'renew') equal(Object.keys(body), ['csr'], 'the fields');
  else if (request.route === 'logs') ensure(/^[\w.-]{1,64}$/.test(request.body.name), `the name ${request.body.name}`);
  else if (request.route === 'output') {
    const { id, sequence, lines } = request.body;
    ensure(/^[0-9a-z]{25}$/.test(id) && Number.isInteger(sequence) && sequence >= 0, `the batch ${id} ${sequence}`);
    ensure(
      lines.every(({ line }) => typeof line === 'string' && line.length <= MAX_LINE),
      'a line',
    );
  } else ensure(/^[a-z][a-z0-9-]*$/.test(request.body.do), `the command ${request.body.do}`);
  const again = readRequest(route, Buffer.from(JSON.stringify(body)));
  equal(again, request, 'the request, written and read again');
}

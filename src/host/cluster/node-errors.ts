/** Refusals of a cluster as errors of the API, about the fields of the request and not of the command that it became. */
import { type ErrorCode, type NodeRequest } from '../../schema/index.js';
import { isRefused } from '../../cluster/index.js';
import { RequestError } from '../error.js';
import { requestError } from '../parts.js';
import { CommandError } from '../sandbox/programs.js';
import { ClusterError, type Refusal } from './error.js';

/** The code of the API for each code of a refusal, and of what is wrong with the managers. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  invalid: 'invalid-request',
  conflict: 'conflict',
  'not-found': 'not-found',
  exhausted: 'exhausted',
  'in-use': 'in-use',
  forbidden: 'forbidden',
  'no-cluster': 'no-cluster',
  'not-admitted': 'not-admitted',
  revoked: 'revoked',
  'no-certificate': 'revoked',
  expired: 'wrong-certificate',
  clock: 'wrong-certificate',
  unreachable: 'no-manager',
  timeout: 'no-manager',
  unavailable: 'unavailable',
  digest: 'wrong-manager',
  'not-a-manager': 'wrong-manager',
  'wrong-cluster': 'wrong-manager',
  'method-not-allowed': 'wrong-manager',
  lost: 'lost',
  'too-large': 'too-large',
  internal: 'internal',
};

/** Fields of commands of the cluster that have another name in requests, or none. */
const FIELDS: readonly (readonly [of: RegExp, is: string])[] = [
  [/^command(?=$|[[.])/, 'run'],
  [/^secret$/, 'token'],
  [/^node\.(name|address|dataPath)$/, '$1'],
];
/** What a request does not have: the node has added it. */
const OWN = /^(id|kind|do|ca|csr|routes|node\.(id|fingerprint|port))(?=$|[[.])/;

/**
 * An error as one of the API; any other error as it is.
 * @param request The fields of which it may name.
 */
export function requestErrorOf(error: unknown, request: NodeRequest): unknown {
  if (error instanceof RequestError) return error;
  if (error instanceof ClusterError) return translated(error, request, error);
  if (isRefused(error)) return translated(error.refusal, request, error);
  if (error instanceof CommandError)
    return new RequestError('not-started', error.message, {
      cause: error,
      fields: 'run' in request ? [{ path: 'run', message: error.message }] : [],
    });
  return requestError(error);
}

function translated({ code, message, fields = [] }: Refusal, request: NodeRequest, cause: unknown): RequestError {
  const known = Object.hasOwn(CODES, code) ? CODES[code]! : 'conflict';
  const [field] = fields;
  // A message that is about a field begins with it.
  if (field === undefined || !message.startsWith(`${field}: `)) return new RequestError(known, message, { cause });
  const text = message.slice(field.length + 2);
  const path = FIELDS.reduce((name, [of, is]) => name.replace(of, is), field);
  const first = /^\w*/.exec(path)![0];
  if (OWN.test(field) || (request.command !== 'join' && first === 'token'))
    return new RequestError(known, text, { cause });
  return new RequestError(known, `${path}: ${text}`, { cause, fields: [{ path, message: text }] });
}

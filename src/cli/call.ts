/** Calls of commands of a running VTEP. The API speaks of codes and fields; this file adds the flags of `vtep`. */
import { HostError, query, RequestError, type AskOptions, type Question, type Results } from '../host/index.js';
import { problemText, type ControlRequest, type ErrorField, type Place, type Problem } from '../schema/index.js';

/** What to do about an error, by its code. */
const HINTS = new Map<RequestError['code'], (path: string) => string>([
  ['unreachable', (path) => `start the VTEP with --control ${path}`],
  ['timeout', () => 'or wait longer with --timeout'],
  ['no-gossip', () => 'start it with "vtep agent"'],
  ['no-keys', () => 'start it with --key'],
  ['no-configuration', () => 'start it with --config FILE'],
  ['key-in-use', () => '"vtep gossip use" does that'],
]);
/** The flags of the fields that a request gets from flags of the same name. */
const FLAGS: readonly string[] = ['vni', 'port', 'frame', 'from', 'datagram', 'count', 'seconds', 'snap'];

/**
 * Sends a request to the VTEP that listens at `path`, and returns the whole result.
 * @param place Returns the flag or the argument that a field came from.
 * @throws HostError as `query` does, with the flags that help.
 */
export async function call<Q extends Question>(
  path: string,
  request: ControlRequest & { command: Q },
  options: AskOptions = {},
  place: Place = flagOf,
): Promise<Results[Q]> {
  try {
    return await query<Q>(path, request, options);
  } catch (error) {
    throw withHints(error, path, place);
  }
}

/** An error of a request with the flags that help; any other error as it is. */
export function withHints(error: unknown, path: string, place: Place = flagOf): unknown {
  if (!(error instanceof RequestError)) return error;
  const hint = isNotThere(error) ? HINTS.get(error.code)?.(path) : undefined;
  if (hint !== undefined) return new HostError(`${error.message}${error.code === 'timeout' ? ',' : ';'} ${hint}`);
  const { code, message, fields } = error;
  if (code === 'invalid-configuration' && fields.length > 0) {
    // The fields are those of the file, which the message names before the first one.
    const file = message.slice(0, Math.max(0, message.indexOf(lineOf(fields[0]!, String))));
    return new HostError(fields.map((field) => file + lineOf(field, String)));
  }
  return fields.length > 0 ? new HostError(fields.map((field) => lineOf(field, place))) : error;
}

/** Whether a hint fits: a VTEP that cannot be reached for another reason than its absence needs no start. */
function isNotThere({ code, message }: RequestError): boolean {
  return code !== 'unreachable' || /^(there is no control socket|no process listens)/.test(message);
}

function lineOf({ path, message }: ErrorField, place: Place): string {
  return path === '' ? message : `${place(path)}: ${message}`;
}

/** Problems of a request as lines, each with the flag or the argument that its field came from. */
export function withPlaces(problems: readonly Problem[], place: Place): string[] {
  return problems.map((problem) => problemText(problem, place, problem.path === '' ? '' : place(problem.path)));
}

function flagOf(path: string): string {
  return FLAGS.includes(path) ? `--${path}` : path;
}

/** Requests to the node of a cluster that listens at --socket, with the flags of `vtep` in its errors. */
import { resolve } from 'node:path';
import { DEFAULT_SOCKET, HostError, query, queryLogs, RequestError, type AskOptions } from '../host/index.js';
import { type NodeRequest, type NodeResults, type Place } from '../schema/index.js';
import { withHints } from './call.js';
import { requireFields } from './change.js';
import { requireValues, UsageError, type Flag, type Parsed } from './flags.js';
import { jsonLines, print, printAll } from './streams.js';

export const SOCKET: Flag = {
  name: 'socket',
  value: 'PATH',
  text: `socket of the agent (default: VTEP_SOCKET of the environment, else ${DEFAULT_SOCKET})`,
};

/** Milliseconds that a node may take for a change: it may wait for a manager, and for devices. */
const CHANGE = 60_000;

/** A request with a given command. */
type Asked<C extends NodeRequest['command']> = NodeRequest & { command: C };

/** The path of --socket, or its default. @throws UsageError if it is none. */
export function socketOf(flags: Parsed): string {
  requireValues(flags, 'socket', 'socket');
  const inherited = process.env['VTEP_SOCKET'];
  return flags.value('socket') ?? (inherited === undefined || inherited === '' ? DEFAULT_SOCKET : inherited);
}

/** The absolute path of --socket, for an agent that runs in another directory. */
export function absoluteSocket(flags: Parsed): string {
  return resolve(socketOf(flags));
}

/**
 * Returns the name of a field of a request for errors.
 * @param names The flag or the argument of each field, by its path without indexes, `subnets.gateway`, or the beginning of it.
 */
export function placesOf(names: Readonly<Record<string, string>>): Place {
  return (path) => {
    let plain = path.replace(/\[[^\]]*\]/g, '');
    while (plain !== '' && !Object.hasOwn(names, plain)) plain = plain.slice(0, Math.max(0, plain.lastIndexOf('.')));
    return plain === '' ? path : names[plain]!;
  };
}

/**
 * Sends a request to the node, and returns the whole result.
 * @param place Returns the flag or the argument that a field of the request came from.
 * @throws UsageError if a field does not fit; HostError if no agent listens, or if the node refuses the request.
 */
export async function askNode<C extends NodeRequest['command']>(
  flags: Parsed,
  request: Asked<C>,
  place: Place = (path) => path,
  options: AskOptions = { timeout: CHANGE },
): Promise<NodeResults[C]> {
  requireFields(request, place);
  const socket = socketOf(flags);
  try {
    return await query<C>(socket, request, options);
  } catch (error) {
    throw nodeError(error, socket, place);
  }
}

/** Asks the node, and prints the result: as JSON with --json, else the lines. */
export async function tellNode<C extends NodeRequest['command']>(
  flags: Parsed,
  request: Asked<C>,
  place: Place,
  lines: (result: NodeResults[C]) => string | readonly string[],
): Promise<number> {
  const result = await askNode(flags, request, place);
  await show(flags, result, lines);
  return 0;
}

/** Prints a result: as JSON with --json, else the lines. */
export async function show<T>(
  flags: Parsed,
  result: T,
  lines: (result: T) => string | Iterable<string>,
): Promise<void> {
  if (flags.on('json') === true) return printAll(jsonLines(result));
  const text = lines(result);
  return typeof text === 'string' ? void print(text) : printAll(text);
}

/**
 * Sends a request for the output of commands, and yields its events as they come.
 * @throws as `askNode`.
 */
export async function* followNode(
  flags: Parsed,
  request: Asked<'logs'>,
  place: Place,
  options: AskOptions = {},
): AsyncGenerator<NodeResults['logs']> {
  requireFields(request, place);
  const socket = socketOf(flags);
  try {
    for await (const { result } of queryLogs(socket, request, options)) yield result;
  } catch (error) {
    throw nodeError(error, socket, place);
  }
}

/**
 * Sends several requests, goes on after a refusal, and prints what was done.
 * @param line The line that tells people what one of them did.
 * @throws UsageError, before anything is sent, if a field does not fit; at the end, HostError with what was refused.
 */
export async function tellNodeEach<C extends NodeRequest['command']>(
  flags: Parsed,
  requests: readonly Asked<C>[],
  place: Place,
  line: (result: NodeResults[C]) => string,
): Promise<number> {
  for (const request of requests) requireFields(request, place);
  const done: NodeResults[C][] = [];
  const refused: string[] = [];
  for (const request of requests)
    try {
      const result = await askNode(flags, request, place);
      done.push(result);
      if (flags.on('json') !== true) print(line(result));
    } catch (error) {
      if (!(error instanceof RequestError) || error.code === 'unreachable') throw error;
      refused.push(...error.lines);
    }
  if (flags.on('json') === true) print([...jsonLines(done)]);
  if (refused.length > 0) throw new HostError(refused);
  return 0;
}

/** The arguments of a command that takes one or more. @throws UsageError if there is none. */
export function someArguments(flags: Parsed, name: string, what: string): string[] {
  if (flags.rest.length === 0) throw new UsageError(`missing: ${name}, ${what}`);
  return flags.rest;
}

/** An error of a node with what to do about it. */
function nodeError(error: unknown, socket: string, place: Place): unknown {
  if (!(error instanceof RequestError)) return error;
  if (error.code === 'unreachable' && /^(there is no control socket|no process listens)/.test(error.message))
    return new RequestError(
      'unreachable',
      `no agent listens on ${socket}; "vtep init" starts one with a new cluster, "vtep join" one that joins a cluster, and "vtep agent --state DIR" one that goes on where it ended; --socket or VTEP_SOCKET is its path`,
    );
  if (error.code === 'timeout') return error;
  if (error.fields.length > 0)
    return new RequestError(error.code, (withHints(error, socket, place) as HostError).lines);
  return error;
}

/** Asks a running VTEP and checks its answer, so that the caller can use it as its type says. */
import { type ControlRequest } from '../schema/index.js';
import { ask, follow, type AskOptions } from './ask.js';
import { HostError } from './error.js';
import { type Page } from './pages.js';
import { checkResult, type Question, type Results } from './replies.js';

/** A request with a given command. */
type Asked<Q extends Question> = ControlRequest & { command: Q };

/**
 * Sends a request to the VTEP that listens at `path`, and returns the whole result.
 * @throws HostError as `ask` does, and if the result is not one of a VTEP.
 */
export async function query<Q extends Question>(
  path: string,
  request: Asked<Q>,
  options: AskOptions = {},
): Promise<Results[Q]> {
  return checkResult(request.command, await ask(path, request, options), path);
}

/**
 * Sends a request for a capture to the VTEP that listens at `path`, and yields the packets as they arrive. The caller may
 * stop early.
 * @throws HostError as `query` does, and if there are more packets than the request allows.
 */
export async function* queryCapture(
  path: string,
  request: Asked<'capture'>,
  options: AskOptions = {},
): AsyncGenerator<Page & { result: Results['capture'] }> {
  let left = request.count;
  for await (const page of follow(path, request, options)) {
    const result = checkResult('capture', page.result, path);
    left -= result.length;
    if (left < 0) throw new HostError(`the VTEP at ${path} sent more than the ${request.count} packets of the capture`);
    yield { ...page, result };
  }
}

/**
 * Sends a request for events to the VTEP that listens at `path`, and yields them as they happen, until the VTEP stops. The
 * caller may stop early.
 * @throws HostError as `query` does.
 */
export async function* queryEvents(
  path: string,
  request: Asked<'events'>,
  options: AskOptions = {},
): AsyncGenerator<Page & { result: Results['events'] }> {
  for await (const page of follow(path, request, options))
    yield { ...page, result: checkResult('events', page.result, path) };
}

/**
 * Sends a request for the output of commands to the node that listens at `path`, and yields its lines as they come, until
 * all were sent, or with `follow` until the node stops. The caller may stop early.
 * @throws HostError as `query` does.
 */
export async function* queryLogs(
  path: string,
  request: Asked<'logs'>,
  options: AskOptions = {},
): AsyncGenerator<Page & { result: Results['logs'] }> {
  for await (const page of follow(path, request, options))
    yield { ...page, result: checkResult('logs', page.result, path) };
}

/** `vtep logs`: the output of the command of an endpoint. */
import { HostError } from '../host/index.js';
import { type OutputEvent } from '../schema/index.js';
import { given, JSON_FLAG, numberOf, oneArgument } from './change.js';
import { parseFlags, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { followNode, placesOf, SOCKET } from './node-call.js';
import { drained, print, printError } from './streams.js';

export const LOG_FLAGS: readonly Flag[] = [
  { name: 'tail', letter: 'n', value: 'N', text: 'at most so many of the lines that were written before' },
  { name: 'follow', letter: 'f', text: 'go on with what is written from now on, until Ctrl-C' },
  SOCKET,
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'logs',
  summary: 'print the output of a command that runs in the background',
  usage: ['logs NAME [--tail N] [--follow] [flags]'],
  description: `NAME is that of an endpoint of "vtep run --detach", or of one task of a service, such as "test.1". For all tasks of a service,
see "vtep service logs". The node of a command keeps its output. That of a task is shown on every node that may read it, that of
"vtep run" on its own node.`,
  flags: [{ flags: LOG_FLAGS }],
  examples: `vtep logs web --tail 20
vtep logs web --follow`,
  exit: {
    0: 'done',
    1: 'no agent answered, there is no such command, or nothing of its output can be read here',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, LOG_FLAGS);
  return printLogs(
    flags,
    oneArgument(flags, 'NAME', 'the endpoint whose output to print'),
    'NAME',
    ({ line }) => line!,
  );
}

/**
 * Prints the output of one command, or of those of a service.
 * @param argument The name of the argument, for errors.
 * @param text Formats a line.
 */
export async function printLogs(
  flags: Parsed,
  name: string,
  argument: string,
  text: (event: OutputEvent) => string,
): Promise<number> {
  const fields = given({ tail: numberOf(flags.value('tail')), follow: flags.on('follow') });
  const interrupt = new AbortController();
  const stop = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort());
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const place = placesOf({ name: argument, tail: '--tail', follow: '--follow' });
  let shown = 0;
  const missing: string[] = [];
  const options = { signal: interrupt.signal };
  for await (const events of followNode(flags, { command: 'logs', name, ...fields }, place, options)) {
    const lines = events.filter(({ line }) => line !== null);
    shown += lines.length;
    const printed = flags.on('json')
      ? events.map((event) => JSON.stringify(event))
      : lines.map((one) => text({ ...one, line: untabbed(one.line!) }));
    if (printed.length > 0 && !print(printed)) await drained();
    const notices = events.flatMap(({ name: task, node, line, reason }) =>
      line === null ? [reason ?? `${task}: its output is on ${node}`] : [],
    );
    if (flags.on('follow') === true) printError(notices);
    else missing.push(...notices);
  }
  if (missing.length > 0 && shown === 0) throw new HostError(missing);
  printError(missing);
  return 0;
}

/** Replaces tabs, which `print` would escape, with blanks up to the next column of eight. */
function untabbed(line: string): string {
  let text = '';
  for (const [i, part] of line.split('\t').entries()) text = i === 0 ? part : text.padEnd((text.length | 7) + 1) + part;
  return text;
}

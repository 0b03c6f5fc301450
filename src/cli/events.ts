/** `vtep events`: tells what changes in a running VTEP. */
import { HostError, queryEvents, reloadedText } from '../host/index.js';
import { NOTICE_TYPES, type ControlRequest, type Notice, type NoticeType } from '../schema/index.js';
import { withHints } from './call.js';
import { given, numberOf, requireFields } from './change.js';
import { CONTROL, requireControl, TIMEOUT, timeoutOf } from './control-flags.js';
import { noRest, parseFlags, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { drained, print, printError } from './streams.js';

const FLAGS: readonly Flag[] = [
  CONTROL,
  { name: 'type', value: 'TYPE', text: 'only events of this type' },
  { name: 'vni', value: 'N', text: 'only events of this network' },
  { name: 'json', text: 'print each event as a JSON object on one line' },
  TIMEOUT,
];

export const manual: Manual = {
  name: 'events',
  summary: 'tell what changes in a running VTEP',
  usage: ['events --control PATH [flags]'],
  description: `Prints a line for each event from now on, until Ctrl-C or the end of the VTEP: its time, its type, and what it is about.
The types are:

${wrapped(NOTICE_TYPES.join(', '))}.`,
  flags: [{ flags: FLAGS }],
  sections: [
    {
      title: 'losses',
      text: `Events never delay the VTEP. Those that happen faster than they can be printed are dropped, and counted on standard
error at the end.`,
    },
  ],
  examples: `vtep events --control /run/vtep.sock
vtep events --control /run/vtep.sock --type peer-unreachable --json`,
  exit: {
    0: 'something happened',
    1: 'nothing happened, no VTEP answered, or it ended without a stop',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const control = requireControl(flags);
  const fields = given({ type: flags.value('type') as NoticeType | undefined, vni: numberOf(flags.value('vni')) });
  const request: ControlRequest & { command: 'events' } = { command: 'events', ...fields };
  const place = (path: string): string => `--${path}`;
  requireFields(request, place);
  const timeout = timeoutOf(flags);
  const interrupt = new AbortController();
  const stop = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort());
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const show = flags.on('json') ? (notice: Notice): string => JSON.stringify(notice) : lineOf;
  let events = 0;
  let dropped = 0;
  let failure: unknown = null;
  try {
    for await (const page of queryEvents(control, request, { timeout, signal: interrupt.signal })) {
      dropped = page.dropped ?? dropped;
      if (page.result.length === 0) continue;
      events += page.result.length;
      if (!print(page.result.map(show))) await drained();
    }
  } catch (error) {
    failure = withHints(error, control, place);
  }
  if (dropped > 0) printError(`${dropped} events dropped: they happened faster than they could be printed`);
  if (failure !== null) throw failure;
  if (events > 0) return 0;
  throw new HostError('nothing happened');
}

/** Formats an event for people. */
export function lineOf(notice: Notice): string {
  const { time, type, level, message } = notice;
  const about = message === undefined ? aboutOf(notice) : `${level}: ${message}`;
  return `${time} ${type}${about === '' ? '' : ` ${about}`}`;
}

function aboutOf(notice: Notice): string {
  switch (notice.type) {
    case 'segment-added':
    case 'segment-removed':
      return `VNI ${notice.vni}${'sources' in notice ? by(notice.sources) : ''}`;
    case 'network-added': {
      const subnets = notice.subnets.map(
        ({ prefix, gateway, vni }) => `${prefix} (VNI ${vni}${gateway === null ? '' : `, gateway ${gateway}`})`,
      );
      return `${notice.network}: ${subnets.join(', ')}${by(notice.sources)}`;
    }
    case 'network-removed':
      return `${notice.network}: VNI ${notice.vnis.join(', ')}`;
    case 'tap-attached':
    case 'tap-detached':
      return `${notice.tap}${notice.netns === null ? '' : ` in namespace ${notice.netns}`}: VNI ${notice.vnis.join(', ')}`;
    case 'peer-added':
    case 'peer-removed':
      return `VNI ${notice.vni}: ${notice.address}${by(notice.sources)}`;
    case 'endpoint-added':
    case 'endpoint-removed':
      return `VNI ${notice.vni}: ${locationOf(notice)}${by(notice.sources)}`;
    case 'endpoint-held':
      return `VNI ${notice.vni}: ${locationOf(notice)}${by(notice.sources)}; in effect is ${locationOf(notice.by)}`;
    case 'member-joined':
    case 'member-left':
    case 'member-failed':
    case 'member-back':
      return `${notice.name} (${notice.address}:${notice.port})`;
    case 'reloaded': {
      const { restart } = notice;
      return `${reloadedText(notice)}${restart.length === 0 ? '' : `; only after a restart: ${restart.join(', ')}`}`;
    }
    case 'stopping':
      return notice.failed ? 'because of a failure' : '';
    default: {
      // A type of a later version.
      const { time: _time, type: _type, level: _level, message: _message, ...fields } = notice;
      return JSON.stringify(fields);
    }
  }
}

function locationOf({ ip, mac, vtep }: { ip: string; mac: string; vtep: string | null }): string {
  return `${ip} ${mac} ${vtep ?? 'here'}`;
}

function by(sources: readonly string[]): string {
  return sources.length === 0 ? '' : ` (wanted by: ${sources.join(', ')})`;
}

/** Breaks a list of words into lines. */
function wrapped(text: string): string {
  return text.replace(/(.{1,100})( |$)/g, '  $1\n').trimEnd();
}

/** `vtep gossip watch`: prints the changes in a cluster. */
import {
  GossipObserver,
  HostError,
  jsonLine,
  Logger,
  resolveHost,
  sourceTowards,
  textLine,
  type Change,
} from '../host/index.js';
import { isUnicast, parseHostPort, type HostPort } from '../schema/index.js';
import { noRest, requireValues, UsageError, type Flag, type Parsed } from './flags.js';
import { keyring } from './gossip-keyring.js';
import { requireHostPorts } from './host-ports.js';
import { onBroken, print, printError } from './streams.js';

export const WATCH: readonly Flag[] = [
  {
    name: 'bind',
    value: 'ADDR[:PORT]',
    text: 'address to listen on (default: the source address towards HOST, any free port)',
  },
  {
    name: 'network',
    value: 'ID',
    many: true,
    text: 'networks to attach to (default: all that have a member)',
  },
  { name: 'name', value: 'NODE', text: 'the observer’s name (default: "watch" and a number)' },
];

/** Runs until a signal, or until the reader of its output has gone. */
export async function watch(flags: Parsed): Promise<number> {
  noRest(flags);
  const join = requireHostPorts(flags);
  if (join.length === 0) throw new UsageError('missing: --join HOST, a member of the cluster');
  requireValues(flags, 'bind', 'bind');
  requireValues(flags, 'name', 'member');
  const networks = flags.values('network').flatMap((text) => text.split(','));
  requireValues(flags, 'network', 'network', networks);
  const json = flags.on('json') === true;
  const line = json ? jsonLine : textLine;
  const log = new Logger((record) => printError(line(record)));
  const ring = keyring(flags, (message) => log.warning('key-file', message));
  const given = flags.value('bind');
  const bind = given === undefined ? await towards(join) : parseHostPort(given)!;

  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  process.on('SIGINT', end).on('SIGTERM', end);
  onBroken(end);
  const observer = await GossipObserver.start(
    {
      name: flags.value('name') ?? `watch${process.pid}`,
      bind,
      advertise: isUnicast(bind.host) ? bind : { ...(await towards(join)), port: bind.port },
      join,
      keyring: ring,
      ...(networks.length === 0 ? {} : { networks }),
    },
    {
      changed: (change) => {
        const time = new Date();
        print(json ? JSON.stringify({ time: time.toISOString(), ...change }) : `${clock(time)}  ${words(change)}`);
      },
      warn: (message) => log.warning('gossip', message),
    },
  );
  await ended;
  process.on('SIGINT', () => process.exit(130)).on('SIGTERM', () => process.exit(143));
  await observer.stop();
  return 0;
}

/** The source address towards the first host that has a route. */
async function towards(places: readonly HostPort[]): Promise<HostPort> {
  for (const place of places)
    for (const target of await resolveHost(place, 0).catch(() => [])) {
      const host = await sourceTowards(target);
      if (host !== undefined) return { host, port: 0 };
    }
  const names = places.map(({ host }) => host).join(', ');
  throw new HostError(`no route to ${names}, or no such host; give the address to listen on with --bind`);
}

function words(change: Change): string {
  switch (change.event) {
    case 'member':
      return `member  ${change.name} (${change.address}): ${change.state}`;
    case 'network':
      return `network ${change.network}: ${change.member} is ${change.state}`;
    case 'entry': {
      const { kind, network, table, key, owner, value } = change;
      const text = typeof value === 'string' ? value : Object.values(value).join(' ');
      return `entry   ${network} ${table} ${key.slice(0, 12)} of ${owner}: ${kind} ${text}`;
    }
  }
}

/** Formats local time: `12:34:56.789`. */
function clock(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const [hours, minutes, seconds] = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two);
  return `${hours}:${minutes}:${seconds}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

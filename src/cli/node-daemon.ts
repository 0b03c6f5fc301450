/** The daemon of a node of a cluster, which `vtep agent` runs. */
import { resolve } from 'node:path';
import { DEFAULT_SOCKET, DEFAULT_STATE, NodeDaemon } from '../host/index.js';
import { integerOf, noRest, UsageError, type Flag, type Parsed } from './flags.js';
import { absoluteSocket } from './node-call.js';
import { Service } from './service.js';
import { ServiceOutput } from './service-output.js';
import { Hangup, Stopping } from './signals.js';
import { checked, defined, fromFlags } from './up-config.js';
import { logInternalErrors } from './up.js';

/** Flags of the daemon alone. */
export const NODE: readonly Flag[] = [
  { name: 'state', value: 'DIR', text: `directory in which the node keeps what it knows (default ${DEFAULT_STATE})` },
  {
    name: 'socket',
    value: 'PATH',
    text: `socket of its local API (default: VTEP_SOCKET of the environment, else ${DEFAULT_SOCKET})`,
  },
];

/** Flags that the daemon shares with a VTEP that has a configuration. */
const SHARED: readonly string[] = ['port', 'engine', 'workers', 'json', 'log-level'];
const OWN: readonly string[] = NODE.map(({ name }) => name);

/**
 * Whether flags are those of a daemon, and not of an agent with a configuration.
 * @throws UsageError if there are flags of both.
 */
export function isDaemon(flags: Parsed): boolean {
  const own = OWN.filter((name) => flags.given.has(name));
  const others = [...flags.given].filter((name) => !OWN.includes(name) && !SHARED.includes(name));
  if (own.length > 0 && others.length > 0)
    throw new UsageError(
      `${typed(flags, own)} and ${typed(flags, others)} do not go together: the daemon of a node has ${words(OWN)}, with or without ${words(SHARED)}; all other flags are of an agent with a configuration`,
    );
  return others.length === 0;
}

const typed = (flags: Parsed, names: readonly string[]): string => names.map((name) => flags.typed(name)).join(', ');
const words = (names: readonly string[]): string => names.map((name) => `--${name}`).join(', ');

/** Runs the daemon until a signal or a request to stop. */
export async function serveNode(flags: Parsed): Promise<number> {
  noRest(flags);
  const [state, socket] = [resolve(flags.value('state') ?? DEFAULT_STATE), absoluteSocket(flags)];
  const port = integerOf(flags, 'port', { least: 1, most: 65_535, what: 'a TCP port' });
  const settings = defined({
    engine: flags.value('engine'),
    workers: integerOf(flags, 'workers', { least: 1, most: 16 }),
  });
  checked({ ...settings, local: '127.0.0.1', control: socket, segments: [], taps: [] }, fromFlags(flags));
  const output = new ServiceOutput(flags);
  const { log } = output;
  const stopping = new Stopping();
  new Hangup(log, false);
  const daemon = await NodeDaemon.start({
    ...{ state, socket, settings, log },
    ...(port === undefined ? {} : { port }),
    stop: () => stopping.end(null),
  });
  output.event('ready', { pid: process.pid, state, socket, status: daemon.status }, [
    `node ${state} (pid ${process.pid}), ${daemon.status}`,
    `socket ${socket}`,
    'ready',
  ]);
  const service = await Service.start({ status: () => daemon.status, alive: () => daemon.alive() });
  logInternalErrors(log);
  await stopping.ended;
  service.stopping();
  await daemon.stop();
  output.event('stopped', {}, ['stopped']);
  return output.close(0);
}

/** `vtep ps`: the endpoints of this node, or of the cluster. */
import { given, JSON_FLAG } from './change.js';
import { endpointsTable } from './endpoints.js';
import { noRest, parseFlags, refuseBeside, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { QUIET } from './node.js';
import { askNode, placesOf, show, SOCKET } from './node-call.js';

const FLAGS: readonly Flag[] = [
  { name: 'all', letter: 'a', text: 'those of all nodes' },
  { name: 'network', value: 'NETWORK', text: 'only those of a network' },
  QUIET,
  SOCKET,
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'ps',
  summary: 'list the endpoints of this node, with what runs in them',
  usage: ['ps [--all] [--network NETWORK] [flags]'],
  description: `An endpoint is what has an address in a network: a command of "vtep run" in a sandbox of its own, a namespace of
"vtep attach", or a task of "vtep service". The state of an endpoint is known on its node only.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep ps
vtep ps --all --network uber-net`,
  exit: { 0: 'done', 1: 'no agent answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  refuseBeside(flags, 'quiet', ['json']);
  const request = { command: 'endpoints' as const, ...given({ network: flags.value('network') }) };
  const all = await askNode(flags, request, placesOf({ network: '--network' }));
  const found = flags.on('all') ? all : all.filter(({ state }) => state !== null);
  await show(flags, found, () => (flags.on('quiet') ? found.map(({ id }) => id) : endpointsTable(found, Date.now())));
  return 0;
}

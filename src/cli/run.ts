/** `vtep run`: runs a command in a sandbox of its own, with an endpoint in a network of the cluster. */
import { resolve } from 'node:path';
import { processIdentity, runForeground } from '../host/index.js';
import { ENDPOINT_NAMES, ENDPOINT_PLACES, wantedEndpoint } from './attach-endpoint.js';
import { given, JSON_FLAG } from './change.js';
import { beforeWords, COMMAND_EXITS, environmentOf, ENVIRONMENT, requireWords } from './command-words.js';
import { noRest, parseFlags, UsageError, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { askNode, placesOf, show, SOCKET } from './node-call.js';

const FLAGS: readonly Flag[] = [
  { name: 'network', value: 'NETWORK', text: 'the network' },
  ...ENDPOINT_NAMES,
  { name: 'mac', value: 'MAC', text: 'MAC address of the endpoint (default: chosen)' },
  { ...ENVIRONMENT, letter: 'e' },
  {
    name: 'workdir',
    letter: 'w',
    value: 'DIR',
    text: 'directory of this host to start the command in (default: that of vtep; with --detach: /)',
  },
  { name: 'detach', letter: 'd', text: 'run it in the background, and print the name of the endpoint' },
  SOCKET,
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'run',
  summary: 'run a command in a sandbox of its own, with an endpoint in a network',
  usage: ['run --network NETWORK [flags] -- COMMAND [ARGUMENT …]'],
  description: `The sandbox is a network namespace with a device eth0 that has an address of the network, a default route, a resolver and a
hosts file. The command shares everything else with this host; no shell is involved.

In the foreground, the command has the terminal, the directory, the environment and the signals of vtep. The sandbox is
removed when the command or vtep ends. With --detach, the agent starts the command in / or --workdir, with an environment of
PATH and --env alone. Its sandbox stays, also over a restart of the agent, until "vtep detach NAME"; see "vtep ps", "vtep logs"
and "vtep exec".`,
  flags: [{ flags: FLAGS }],
  examples: `vtep run --network prod-net --ip 10.1.1.10 --name p1 -- sh
vtep run --network uber-net -d --name web --alias www --env PORT=8080 -- /usr/local/bin/server
vtep detach web`,
  exit: {
    0: 'the command ended with 0, or it runs in the background',
    1: 'no agent answered, or it refused the request; or the command ended with 1',
    2: 'wrong flags; or the command ended with 2',
    ...COMMAND_EXITS,
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(beforeWords(flags));
  const network = flags.value('network');
  if (network === undefined) throw new UsageError('missing: --network NETWORK; "vtep network ls" lists them');
  const command = requireWords(flags);
  const isDetached = flags.on('detach') === true;
  if (!isDetached && flags.on('json')) throw new UsageError('--json goes with --detach: the command has the output');
  const variables = environmentOf(flags);
  const place = placesOf({
    network: '--network',
    run: 'COMMAND',
    environment: '--env',
    cwd: '--workdir',
    ...ENDPOINT_PLACES,
  });
  const directory = flags.value('workdir');
  const cwd = directory === undefined ? undefined : resolve(directory);
  const base = { command: 'run' as const, network, ...wantedEndpoint(flags) };
  if (isDetached) {
    const environment = Object.keys(variables).length === 0 ? undefined : variables;
    const started = await askNode(flags, { ...base, run: command, ...given({ environment, cwd }) }, place);
    await show(flags, started, ({ name }) => name);
    return 0;
  }
  const { start } = processIdentity(process.pid)!;
  const { id, netns } = await askNode(flags, { ...base, owner: { pid: process.pid, start } }, place);
  try {
    return await runForeground({
      netns: netns!,
      command,
      environment: { ...process.env, ...variables },
      ...given({ cwd }),
    });
  } finally {
    await askNode(flags, { command: 'detach-endpoint', endpoint: id });
  }
}

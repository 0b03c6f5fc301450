/** `vtep exec`: runs a command in a sandbox of this node. */
import { runForeground } from '../host/index.js';
import { oneArgument } from './change.js';
import { beforeWords, COMMAND_EXITS, environmentOf, ENVIRONMENT, requireWords } from './command-words.js';
import { parseFlags, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { askNode, placesOf, SOCKET } from './node-call.js';

const FLAGS: readonly Flag[] = [{ ...ENVIRONMENT, letter: 'e' }, SOCKET];

export const manual: Manual = {
  name: 'exec',
  summary: 'run a command in a sandbox of this node',
  usage: ['exec NAME [flags] -- COMMAND [ARGUMENT …]'],
  description: `NAME is that of an endpoint, such as "test.1" of a service, its id, or the beginning of its id. The command has the network, the
resolver and the hosts file of the sandbox, and the terminal, the directory and the environment of vtep. In a namespace
that was attached by its path or by a process, it has the files of this host. The sandbox of another node is not
reachable from here; the error names the node.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep exec test.1 -- ping -c 3 test.2
vtep exec p1 -- sh`,
  exit: {
    0: 'the command ended with 0',
    1: 'no agent answered, or there is no such sandbox; or the command ended with 1',
    2: 'wrong flags; or the command ended with 2',
    ...COMMAND_EXITS,
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const name = oneArgument(beforeWords(flags), 'NAME', 'the endpoint whose sandbox the command runs in');
  const command = requireWords(flags);
  const environment = { ...process.env, ...environmentOf(flags) };
  const { netns } = await askNode(flags, { command: 'sandbox', name }, placesOf({ name: 'NAME' }));
  return runForeground({ netns: netns!, command, environment });
}

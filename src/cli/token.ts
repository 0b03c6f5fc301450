/** `vtep token`: prints the command that joins a node, with its token. */
import { JSON_FLAG, oneArgument } from './change.js';
import { parseFlags, refuseBeside, UsageError, type Flag } from './flags.js';
import { joinLines } from './joining.js';
import { type Manual } from './manual.js';
import { placesOf, SOCKET, tellNode } from './node-call.js';
import { type Role } from '../cluster/index.js';

const FLAGS: readonly Flag[] = [
  { name: 'rotate', text: 'make a new token first; no node can join with the old one' },
  { name: 'quiet', letter: 'q', text: 'print only the token' },
  SOCKET,
  JSON_FLAG,
];

const ROLES: readonly { name: Role; text: string }[] = [
  { name: 'worker', text: 'the token of nodes that run endpoints' },
  { name: 'manager', text: 'the token of nodes that decide for the cluster, too' },
];

export const manual: Manual = {
  name: 'token',
  summary: 'print the command that joins a node, with its token',
  usage: ['token worker|manager [--rotate] [--quiet] [flags]'],
  words: ROLES,
  description: `Only a manager has the tokens. A token is a password: every host that has it can join. Use --rotate if a token may have
become known; nodes that have joined stay. The store of a cluster allows one manager so far: no node can join with the
token of managers.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep token worker
vtep token manager --rotate
vtep token worker --quiet`,
  exit: { 0: 'done', 1: 'no agent answered, or this node is no manager', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const text = oneArgument(flags, 'worker or manager', 'the role of the nodes that join with the token');
  const role = ROLES.find(({ name }) => name === text)?.name;
  if (role === undefined) throw new UsageError(`expected worker or manager, got "${text}"`);
  refuseBeside(flags, 'quiet', ['json']);
  const command = flags.on('rotate') ? 'rotate-token' : 'token';
  return tellNode(flags, { command, role }, placesOf({ role: 'worker or manager' }), (result) =>
    flags.on('quiet') ? result.token : joinLines(result),
  );
}

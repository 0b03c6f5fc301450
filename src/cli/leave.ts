/** `vtep leave`: takes this host out of its cluster. */
import { HostError, RequestError } from '../host/index.js';
import { given, JSON_FLAG } from './change.js';
import { noRest, parseFlags, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { placesOf, SOCKET, tellNode } from './node-call.js';

const FLAGS: readonly Flag[] = [
  { name: 'force', text: 'leave without an answer of a manager, or as the last manager, with which the cluster ends' },
  SOCKET,
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'leave',
  summary: 'take this host out of its cluster',
  usage: ['leave [--force] [flags]'],
  description: `Ends the sandboxes and the tasks of this node, detaches what is attached to it, gives back its addresses, and forgets the
cluster. The agent keeps running, and may create or join another one.`,
  flags: [{ flags: FLAGS }],
  examples: 'vtep leave',
  exit: { 0: 'this host is in no cluster', 1: 'no agent answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const request = { command: 'leave' as const, ...given({ force: flags.on('force') }) };
  return tellNode(flags, request, placesOf({ force: '--force' }), () => 'left the cluster').catch((error: unknown) => {
    throw error instanceof RequestError && error.code === 'in-use' ? isLast(error) : error;
  });
}

/** The API speaks of roles, which no command changes. */
function isLast(cause: RequestError): HostError {
  return new HostError(
    'this node is the last manager, and the cluster ends with it; let the other nodes leave first, or give --force',
    { cause },
  );
}

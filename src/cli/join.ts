/** `vtep join`: makes this host a node of a cluster. */
import { fileTrouble, HostError, parseToken, readBounded } from '../host/index.js';
import { given, JSON_FLAG } from './change.js';
import { parseFlags, UsageError, type Flag, type Parsed } from './flags.js';
import { ADDRESSES, NAME, startWith, STATE } from './joining.js';
import { type Manual } from './manual.js';
import { placesOf, show, SOCKET } from './node-call.js';

const FLAGS: readonly Flag[] = [
  { name: 'token', value: 'T', text: 'the token, which says what the node may be; -: read it from standard input' },
  { name: 'token-file', value: 'FILE', text: 'read the token from a file' },
  ...ADDRESSES,
  NAME,
  STATE,
  SOCKET,
  JSON_FLAG,
];

const place = placesOf({
  token: '--token',
  managers: 'MANAGER',
  address: '--advertise-addr',
  dataPath: '--data-path-addr',
  name: '--name',
});

export const manual: Manual = {
  name: 'join',
  summary: 'make this host a node of a cluster',
  usage: ['join --token T MANAGER[:PORT] … [flags]', 'join --token-file FILE MANAGER[:PORT] … [flags]'],
  description: `Starts the agent of this host if it does not run, and joins the cluster of a manager, by its address and port (default
2377). The token says whether this host becomes a worker or a manager; "vtep init" and "vtep token" print it. With
several managers, the agent asks the next one if one does not answer.

A token in the arguments is hidden from the list of processes once vtep has started. Other programs, such as sudo or a
shell with a history, may keep it: --token-file, or "--token -", avoids that.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep join --token WEFT-1-4yk9...-3xv0... 172.31.1.5:2377
ssh manager vtep token worker --quiet | vtep join --token - 172.31.1.5`,
  exit: {
    0: 'this host is a node of the cluster',
    1: 'no manager answered, it refused the token, or this host is in a cluster already',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const managers = flags.rest.flatMap((text) => text.split(','));
  if (flags.given.has('token') === flags.given.has('token-file'))
    throw new UsageError(
      flags.given.has('token')
        ? 'give either --token T or --token-file FILE'
        : 'missing: --token T, which "vtep token worker" prints on a manager, or --token-file FILE',
    );
  if (managers.length === 0)
    throw new UsageError('missing: MANAGER, the address of a manager, such as 172.31.1.5:2377');
  const fields = given({
    address: flags.value('advertise-addr'),
    dataPath: flags.value('data-path-addr'),
    name: flags.value('name'),
  });
  const token = tokenOf(flags);
  requireToken(flags, token);
  const joined = await startWith(flags, { command: 'join', token, managers, ...fields }, place);
  await show(
    flags,
    joined,
    ({ role, name, cluster, address }) =>
      `joined cluster ${cluster} as a ${role}: node ${name}${address === null ? '' : ` at ${address}`}`,
  );
  return 0;
}

/** Longest text with a token, in bytes. */
const MAX_TOKEN = 4096;

/** @throws HostError if the token cannot be read, or is empty. */
function tokenOf(flags: Parsed): string {
  const given = flags.value('token');
  if (given !== undefined && given !== '-') return given;
  const file = flags.value('token-file') ?? '-';
  const what = file === '-' ? 'standard input' : file;
  const flag = given === undefined ? '--token-file' : '--token -';
  let token: string;
  try {
    token = readBounded(file, MAX_TOKEN).trim();
  } catch (error) {
    throw new HostError(`${flag}: ${what}: it cannot be read: ${fileTrouble(error, 'it is no token')}`, {
      cause: error,
    });
  }
  if (token === '') throw new HostError(`${flag}: ${what} has no token; "vtep token worker" prints one on a manager`);
  return token;
}

/** Refuses a text that is no token, before an agent is started for it. @throws UsageError */
function requireToken(flags: Parsed, token: string): void {
  try {
    parseToken(token);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    throw new UsageError(`--${flags.given.has('token') ? 'token' : 'token-file'}: ${error.message}`);
  }
}

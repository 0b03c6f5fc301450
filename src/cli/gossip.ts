/** `vtep gossip`: members, networks and entries of a cluster, and the keys of an agent. */
import { randomBytes } from 'node:crypto';
import {
  HostError,
  queryCluster,
  resolveHost,
  writeKeyFile,
  type ClusterState,
  type KeyListing,
  type MemberListing,
} from '../host/index.js';
import { STATE } from '../gossip/memberlist/index.js';
import { runAction, wordsOf, type Actions } from './actions.js';
import { call } from './call.js';
import { noRest, refuseBeside, UsageError, type Flag, type Parsed } from './flags.js';
import { keyOfArgument, keyring, warn } from './gossip-keyring.js';
import { watch, WATCH } from './gossip-watch.js';
import { type Manual } from './manual.js';
import { printKey } from './print-key.js';
import { membersTable } from './members.js';
import { requireHostPorts } from './host-ports.js';
import { placesOf, SOCKET, tellNode } from './node-call.js';
import { requireControl } from './control-flags.js';
import { jsonLines, printAll } from './streams.js';
import { rowsOf, tableLines } from './table.js';

const CONTROL: Flag = { name: 'control', value: 'PATH', text: 'control socket of an agent on this host' };
const JOIN: Flag = { name: 'join', value: 'HOST[:PORT]', many: true, text: 'a member to ask, by name or address' };
const KEY: Flag = {
  name: 'key',
  value: 'FILE|-',
  many: true,
  text: 'file with the cluster’s key ("-": standard input)',
};
const OUTPUT: Flag = {
  name: 'output',
  letter: 'o',
  value: 'FILE',
  text: 'file to which "keygen" writes the key, with mode 600 ("-": standard output, the default)',
};
const FORCE: Flag = {
  name: 'force',
  text: 'let "keygen" overwrite FILE; let "rotate" go on although a node does not have the newest key',
};
const JSON_FLAG: Flag = { name: 'json', text: 'print JSON; "watch" prints one object per line' };

const ACTIONS: Actions = {
  members: {
    usage: 'members --control PATH | --join HOST [--key KEY]',
    text: 'list the members that an agent or any other member knows',
    flags: [CONTROL, JOIN, KEY, JSON_FLAG],
    run: members,
  },
  watch: {
    usage: 'watch --join HOST [--key KEY]',
    text: 'join as an observer, and print every change',
    flags: [JOIN, KEY, ...WATCH, JSON_FLAG],
    run: watch,
  },
  keygen: {
    usage: 'keygen [-o FILE]',
    text: 'create a key: 32 random bytes in base64',
    flags: [OUTPUT, FORCE],
    run: keygen,
  },
  keys: {
    usage: 'keys --control PATH',
    text: 'list the keys of an agent by fingerprint',
    flags: [CONTROL, JSON_FLAG],
    run: (flags) => keys('keys', flags),
  },
  install: {
    usage: 'install KEY --control PATH',
    text: 'decrypt with this key, too',
    flags: [CONTROL, JSON_FLAG],
    run: (flags) => keys('install-key', flags),
  },
  use: {
    usage: 'use KEY --control PATH',
    text: 'encrypt with this key, which must be installed',
    flags: [CONTROL, JSON_FLAG],
    run: (flags) => keys('use-key', flags),
  },
  remove: {
    usage: 'remove KEY --control PATH',
    text: 'stop decrypting with this key, which must not be the one that encrypts',
    flags: [CONTROL, JSON_FLAG],
    run: (flags) => keys('remove-key', flags),
  },
  rotate: {
    usage: 'rotate [--force] [--socket PATH]',
    text: 'let a cluster of "vtep init" make a new key',
    flags: [SOCKET, FORCE, JSON_FLAG],
    run: rotate,
  },
};

/** The flags of all actions. */
const ALL: readonly Flag[] = [CONTROL, JOIN, KEY, OUTPUT, FORCE, ...WATCH, SOCKET, JSON_FLAG];

export const manual: Manual = {
  name: 'gossip',
  summary: 'show the members, networks and entries of a cluster of agents, and manage its keys',
  usage: ['gossip ACTION [flags]'],
  words: wordsOf(ACTIONS),
  flags: [{ flags: ALL }],
  sections: [
    {
      title: 'keys',
      text: `KEY is a file that contains a key in base64, or "-" for standard input; for "use" and "remove" also a fingerprint
that "keys" shows. A key itself is accepted in place of a file, with a warning: other users can read it in the list of
processes until vtep has started, and all the time where another program, such as sudo or npx, has it as an argument.

vtep warns of a file with keys that other users can read, and refuses one that they can change, own, or replace.

To change the key of a running cluster without losing a message, finish each step on every agent before the next:

  vtep gossip install KEY --control PATH
  vtep gossip use KEY --control PATH
  vtep gossip remove OLD --control PATH

The agents hold these keys in memory only. Also write the new key to the file of --key, for their next start.

A cluster of "vtep init" changes its keys by itself, every 12 hours and when a node leaves or is removed. "rotate" does
it now. A rotation makes a new key, and encrypts with the newest one before, which every node has by then, so that no
message is lost. Three rotations replace all keys.`,
    },
  ],
  examples: `vtep gossip keygen -o /etc/vtep.key
vtep gossip members --join 172.31.1.5 --key /etc/vtep.key
vtep gossip watch --join 172.31.1.5 --key /etc/vtep.key --json`,
  exit: { 0: 'done', 1: 'no member answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function keygen(flags: Parsed): Promise<number> {
  noRest(flags);
  const path = flags.value('output') ?? '-';
  if (path === '-' && flags.on('force')) throw new UsageError('--force goes with -o FILE, which it overwrites');
  const key = randomBytes(32).toString('base64');
  if (path === '-') printKey(key, warn);
  else writeKeyFile(path, key, flags.on('force') === true);
  return 0;
}

async function members(flags: Parsed): Promise<number> {
  noRest(flags);
  if (flags.given.has('control') === flags.given.has('join'))
    throw new UsageError('give either --control PATH or --join HOST');
  refuseBeside(flags, 'control', ['key'], ': the agent has its keys');
  const list = flags.given.has('join')
    ? listed(await queryAny(flags))
    : await call(requireControl(flags), { command: 'members' });
  await printAll(flags.on('json') ? jsonLines(list) : membersTable(list));
  return 0;
}

const STATES = Object.fromEntries(Object.entries(STATE).map(([name, value]) => [value, name]));

function listed({
  members: list,
  networks,
}: ClusterState): (Omit<MemberListing, 'self' | 'since'> & { networks: string[] })[] {
  const networksOf = new Map<string, string[]>();
  for (const { node, network } of networks) {
    const known = networksOf.get(node);
    if (known === undefined) networksOf.set(node, [network]);
    else known.push(network);
  }
  return list
    .map(({ name, addr, port, state, incarnation }) => ({
      name,
      address: addr,
      port,
      state: (STATES[state] ?? `state ${state}`) as MemberListing['state'],
      incarnation,
      networks: networksOf.get(name) ?? [],
    }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** Returns the state from the first member that answers. @throws HostError if none does. */
async function queryAny(flags: Parsed): Promise<ClusterState> {
  const places = requireHostPorts(flags);
  const ring = keyring(flags, warn);
  const failures: string[] = [];
  for (const place of places)
    try {
      for (const target of await resolveHost(place, 0))
        try {
          return await queryCluster(target, ring);
        } catch (error) {
          failures.push((error as Error).message);
        }
    } catch (error) {
      failures.push((error as Error).message);
    }
  throw new HostError(failures);
}

function rotate(flags: Parsed): Promise<number> {
  noRest(flags);
  return tellNode(
    flags,
    { command: 'rotate-gossip-keys', ...(flags.on('force') === true ? { force: true } : {}) },
    placesOf({ force: '--force' }),
    ({ tag }) => `made gossip key ${tag}; the next rotation encrypts with it`,
  );
}

async function keys(command: 'keys' | 'install-key' | 'use-key' | 'remove-key', flags: Parsed): Promise<number> {
  const taken = command === 'keys' ? 0 : 1;
  const [text] = flags.rest.slice(0, taken);
  noRest({ ...flags, rest: flags.rest.slice(taken) });
  if (command !== 'keys' && (text === undefined || text === ''))
    throw new UsageError(
      `missing: KEY, in base64, or a file with a key${command === 'install-key' ? '' : ', or a fingerprint'}`,
    );
  const control = requireControl(flags);
  const request = command === 'keys' ? { command } : { command, key: keyText(text!, command) };
  const list = await call(control, request);
  await printAll(flags.on('json') ? jsonLines(list) : keysTable(list));
  return 0;
}

/** The key of an argument, in base64 or as a fingerprint. @throws UsageError */
function keyText(text: string, command: 'install-key' | 'use-key' | 'remove-key'): string {
  if (command !== 'install-key' && /^[0-9a-f]{8}$/i.test(text)) return text;
  return Buffer.from(keyOfArgument('KEY', text, warn)).toString('base64');
}

function keysTable(list: readonly KeyListing[]): Iterable<string> {
  return tableLines(
    ['KEY', 'BITS', 'USE'],
    rowsOf(list, ({ fingerprint, bits, primary }) => [
      fingerprint,
      bits,
      primary ? 'encrypts and decrypts' : 'decrypts',
    ]),
  );
}

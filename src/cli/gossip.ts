/** `vtep gossip`: members, networks and entries of a cluster, and the keys of an agent. */
import { randomBytes } from 'node:crypto';
import {
  ask,
  HostError,
  keyringOf,
  queryCluster,
  readKeys,
  resolveHost,
  writeKeyFile,
  type ClusterState,
  type KeyListing,
  type MemberListing,
} from '../host/index.js';
import { STATE } from '../gossip/memberlist/index.js';
import { closest, type Request } from '../schema/index.js';
import { noRest, parseFlags, UsageError, type Flag, type Parsed } from './flags.js';
import { watch, WATCH } from './gossip-watch.js';
import { type Manual } from './manual.js';
import { membersTable } from './members.js';
import { requireHostPorts } from './host-ports.js';
import { requireControl } from './control-flags.js';
import { table } from './table.js';

const CONTROL: Flag = { name: 'control', value: 'PATH', text: 'control socket of an agent on this host' };
const JOIN: Flag = { name: 'join', value: 'HOST[:PORT]', many: true, text: 'a member to ask, by name or address' };
const KEY: Flag = { name: 'key', value: 'BASE64|FILE', many: true, text: 'the cluster’s key' };
const OUTPUT: Flag = {
  name: 'output',
  letter: 'o',
  value: 'FILE',
  text: 'file to which "keygen" writes the key, with mode 600',
};
const FORCE: Flag = { name: 'force', text: 'let "keygen" overwrite FILE' };
const JSON_FLAG: Flag = { name: 'json', text: 'print JSON; "watch" prints one object per line' };

/** The actions, each with its own arguments. */
const ACTIONS: Record<string, { usage: string; text: string; run: (args: string[]) => Promise<number> }> = {
  members: {
    usage: 'members --control PATH | --join HOST [--key KEY]',
    text: 'list the members that an agent or any other member knows',
    run: members,
  },
  watch: {
    usage: 'watch --join HOST [--key KEY]',
    text: 'join as an observer, and print every change',
    run: (args) => watch(args, [JOIN, KEY, JSON_FLAG]),
  },
  keygen: { usage: 'keygen [-o FILE]', text: 'create a key: 32 random bytes in base64', run: keygen },
  keys: {
    usage: 'keys --control PATH',
    text: 'list the keys of an agent by fingerprint',
    run: (args) => keys('keys', args),
  },
  install: {
    usage: 'install KEY --control PATH',
    text: 'decrypt with this key, too',
    run: (args) => keys('install-key', args),
  },
  use: {
    usage: 'use KEY --control PATH',
    text: 'encrypt with this key, which must be installed',
    run: (args) => keys('use-key', args),
  },
  remove: {
    usage: 'remove KEY --control PATH',
    text: 'stop decrypting with this key, which must not be the one that encrypts',
    run: (args) => keys('remove-key', args),
  },
};

export const manual: Manual = {
  name: 'gossip',
  summary: 'show the members, networks and entries of a cluster of agents, and manage its keys',
  usage: ['gossip ACTION [flags]'],
  words: Object.entries(ACTIONS).map(([name, { usage, text }]) => ({ name, usage, text })),
  flags: [{ flags: [CONTROL, JOIN, KEY, OUTPUT, FORCE, ...WATCH, JSON_FLAG] }],
  sections: [
    {
      title: 'keys',
      text: `KEY is a key in base64 or a file that contains one; for "use" and "remove" also a fingerprint that "keys" shows.

To change the key of a running cluster without losing a message, finish each step on every agent before the next:

  vtep gossip install KEY --control PATH
  vtep gossip use KEY --control PATH
  vtep gossip remove OLD --control PATH

The agents hold these keys in memory only. Also write the new key to the file of --key, for their next start.`,
    },
  ],
  examples: `vtep gossip keygen -o /etc/vtep.key
vtep gossip members --join 172.31.1.5 --key /etc/vtep.key
vtep gossip watch --join 172.31.1.5 --key /etc/vtep.key --json`,
  exit: { 0: 'done', 1: 'no member answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  const names = Object.keys(ACTIONS);
  if (name === undefined || name.startsWith('-')) throw new UsageError(`missing: ACTION, one of ${names.join(', ')}`);
  if (!Object.hasOwn(ACTIONS, name)) {
    const meant = closest(name, names);
    throw new UsageError(
      `unknown action "${name}"; ${meant === undefined ? `the actions are ${names.join(', ')}` : `did you mean "${meant}"?`}`,
    );
  }
  return ACTIONS[name]!.run(rest);
}

async function keygen(args: string[]): Promise<number> {
  const flags = parseFlags(args, [OUTPUT, FORCE]);
  noRest(flags);
  const key = randomBytes(32).toString('base64');
  const path = flags.value('output') ?? '-';
  if (path === '-') process.stdout.write(`${key}\n`);
  else writeKeyFile(path, key, flags.on('force') === true);
  return 0;
}

async function members(args: string[]): Promise<number> {
  const flags = parseFlags(args, [CONTROL, JOIN, KEY, JSON_FLAG]);
  noRest(flags);
  const control = flags.value('control');
  if ((control === undefined) === !flags.given.has('join'))
    throw new UsageError('give either --control PATH or --join HOST');
  const list =
    control === undefined
      ? listed(await queryAny(flags))
      : ((await ask(control, { command: 'members' })) as MemberListing[]);
  process.stdout.write(`${flags.on('json') ? JSON.stringify(list, null, 2) : membersTable(list)}\n`);
  return 0;
}

const STATES = Object.fromEntries(Object.entries(STATE).map(([name, value]) => [value, name]));

function listed({
  members: list,
  networks,
}: ClusterState): (Omit<MemberListing, 'self' | 'since'> & { networks: string[] })[] {
  return list
    .map(({ name, addr, port, state, incarnation }) => ({
      name,
      address: addr,
      port,
      state: (STATES[state] ?? `state ${state}`) as MemberListing['state'],
      incarnation,
      networks: networks.filter(({ node }) => node === name).map(({ network }) => network),
    }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** Returns the state from the first member that answers. @throws HostError if none does. */
async function queryAny(flags: Parsed): Promise<ClusterState> {
  const keyring = keyringOf(flags.values('key'));
  const failures: string[] = [];
  for (const place of requireHostPorts(flags))
    try {
      for (const target of await resolveHost(place, 0))
        try {
          return await queryCluster(target, keyring);
        } catch (error) {
          failures.push((error as Error).message);
        }
    } catch (error) {
      failures.push((error as Error).message);
    }
  throw new HostError(failures.join('\n'));
}

async function keys(command: 'keys' | 'install-key' | 'use-key' | 'remove-key', args: string[]): Promise<number> {
  const flags = parseFlags(args, [CONTROL, JSON_FLAG]);
  const [text, ...more] = command === 'keys' ? [undefined, ...flags.rest] : flags.rest;
  if (more.length > 0) throw new UsageError(`"${more[0]}" is not expected here; flags start with --`);
  const control = requireControl(flags.value('control'));
  let request: Request = { command: 'keys' };
  if (command !== 'keys') {
    if (text === undefined) throw new UsageError('missing: KEY, in base64, a file with a key, or a fingerprint');
    request = { command, key: keyText(text, command !== 'install-key') };
  }
  const list = (await ask(control, request)) as KeyListing[];
  process.stdout.write(`${flags.on('json') ? JSON.stringify(list, null, 2) : keysTable(list)}\n`);
  return 0;
}

function keyText(text: string, mayBeFingerprint: boolean): string {
  if (mayBeFingerprint && /^[0-9a-f]{8}$/i.test(text)) return text;
  const [key, ...more] = readKeys([text]);
  if (more.length > 0) throw new HostError(`${text} has ${more.length + 1} keys; give one`);
  return Buffer.from(key!).toString('base64');
}

function keysTable(list: readonly KeyListing[]): string {
  return table(
    ['KEY', 'BITS', 'USE'],
    list.map(({ fingerprint, bits, primary }) => [fingerprint, bits, primary ? 'encrypts and decrypts' : 'decrypts']),
  );
}

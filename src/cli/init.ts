/** `vtep init`: creates a cluster with this host as its first manager. */
import { given, numberOf } from './change.js';
import { noRest, parseFlags, type Flag } from './flags.js';
import { ADDRESSES, joinLines, NAME, startWith, STATE } from './joining.js';
import { type Manual } from './manual.js';
import { JSON_FLAG } from './change.js';
import { placesOf, show, SOCKET } from './node-call.js';

const FLAGS: readonly Flag[] = [
  ...ADDRESSES,
  { name: 'data-path-port', value: 'N', text: 'the UDP port of VXLAN on every node (default 4789)' },
  { name: 'esp-port', value: 'N', text: 'the UDP port of encrypted networks on every node (default 4500)' },
  {
    name: 'default-addr-pool',
    value: 'PREFIX',
    many: true,
    text: 'where networks without a subnet get theirs from (default 10.0.0.0/8)',
  },
  { name: 'default-addr-pool-mask-length', value: 'N', text: 'prefix length of such a subnet (default 24)' },
  NAME,
  STATE,
  SOCKET,
  JSON_FLAG,
];

const place = placesOf({
  address: '--advertise-addr',
  dataPath: '--data-path-addr',
  dataPathPort: '--data-path-port',
  espPort: '--esp-port',
  name: '--name',
  pools: '--default-addr-pool',
  maskLength: '--default-addr-pool-mask-length',
});

export const manual: Manual = {
  name: 'init',
  summary: 'create a cluster with this host as its first manager',
  usage: ['init [--advertise-addr IP] [flags]'],
  description: `Starts the agent of this host if it does not run, and creates a cluster. Prints the command that joins another host, with
the token of a worker; "vtep token" prints it again. If the cluster cannot be created, an agent that was started for it
ends.

--advertise-addr may be absent if this host has one address besides loopback.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep init --advertise-addr 172.31.1.5
vtep init --advertise-addr 172.31.1.5 --default-addr-pool 10.64.0.0/10 192.168.0.0/16 --default-addr-pool-mask-length 26`,
  exit: {
    0: 'the cluster was created',
    1: 'the agent could not be started, or it refused the request: for example, this host is in a cluster already',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const fields = given({
    address: flags.value('advertise-addr'),
    dataPath: flags.value('data-path-addr'),
    dataPathPort: numberOf(flags.value('data-path-port')),
    espPort: numberOf(flags.value('esp-port')),
    name: flags.value('name'),
    pools: listOf(flags.values('default-addr-pool')),
    maskLength: numberOf(flags.value('default-addr-pool-mask-length')),
  });
  const created = await startWith(flags, { command: 'init', ...fields }, place);
  await show(flags, created, (result) => [
    `created cluster ${result.cluster}; this host is its manager, node ${result.node}`,
    '',
    ...joinLines(result),
  ]);
  return 0;
}

function listOf(values: readonly string[]): string[] | undefined {
  return values.length === 0 ? undefined : values.flatMap((text) => text.split(','));
}

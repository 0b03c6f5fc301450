/** `vtep network`: the networks of a cluster, and with --control those of one running VTEP. */
import { resolve } from 'node:path';
import { type Results } from '../host/index.js';
import { type Proxy } from '../model/index.js';
import { type NetworkSubnet, type SegmentSettings } from '../schema/index.js';
import { flagsOfAll, runAction, wordsOf, type Actions } from './actions.js';
import { call } from './call.js';
import { change, given, JSON_FLAG, numberOf, oneArgument } from './change.js';
import { CONTROL, requireControl } from './control-flags.js';
import { shownKey } from './hide-keys.js';
import { noRest, refuseBeside, UsageError, type Flag, type Parsed } from './flags.js';
import { flagName } from './flag-names.js';
import { type Manual } from './manual.js';
import {
  createFlags,
  createNetwork,
  deleteNetworks,
  FORMAT,
  inspectNetworks,
  listNetworks,
  rotateKeys,
} from './network-cluster.js';
import { KEYGEN, keygen } from './network-keygen.js';
import { subnetsOf, SUBNETS } from './network-subnets.js';
import { QUIET } from './node.js';
import { SOCKET } from './node-call.js';
import { jsonLines, printAll } from './streams.js';
import { rowsOf, tableLines } from './table.js';

const SETTINGS: readonly Flag[] = [
  { name: 'peer', value: 'IP', many: true, text: 'a VTEP that receives a copy of each flooded frame' },
  { name: 'mtu', value: 'N', text: 'MTU of the network (default: the largest that fits the underlay)' },
  {
    name: 'proxy',
    value: 'endpoint|vtep|off',
    text: 'MAC address with which the proxy of ARP and neighbor discovery answers (default endpoint)',
  },
  {
    name: 'mac',
    value: 'MAC',
    text: 'MAC address of proxy "vtep" (default: derived from the VNI); with --subnet, of the gateways',
  },
  { name: 'learn', negatable: true, text: 'learn MAC addresses from the underlay (default yes)' },
  { name: 'flood', negatable: true, text: 'send frames for unknown addresses to all peers (default yes)' },
  { name: 'tagged', negatable: true, text: 'carry VLAN-tagged frames with their tags (default no)' },
  {
    name: 'clamp-mss',
    negatable: true,
    text: 'lower the maximum segment size of TCP to what fits the path (default no)',
  },
  { name: 'ageing', value: 'SECONDS', text: 'how long a learned address stays (default 300; 0: forever)' },
  { name: 'capacity', value: 'N', text: 'most learned addresses (default 65536)' },
  { name: 'key-file', value: 'FILE', text: 'encrypt between hosts with the keys in FILE, which the VTEP reads' },
];

const CLUSTER = [QUIET, SOCKET];

const ACTIONS: Actions = {
  create: {
    usage: 'create NAME [flags]',
    text: 'create a network of the cluster',
    flags: createFlags([...SUBNETS, ...SETTINGS]),
    run: createNetwork,
  },
  ls: {
    usage: 'ls [--control PATH]',
    text: 'list the networks that this node knows, or those of a VTEP with their settings',
    flags: [CONTROL, ...CLUSTER, JSON_FLAG],
    run: list,
  },
  inspect: {
    usage: 'inspect NETWORK … [--format docker|json]',
    text: 'subnets, gateways, VNIs, endpoints and peers of a network of the cluster',
    flags: [FORMAT, SOCKET, JSON_FLAG],
    run: inspectNetworks,
  },
  rm: {
    usage: 'rm NETWORK … | rm VNI|NAME --control PATH',
    text: 'remove networks that nothing is attached to',
    flags: [CONTROL, SOCKET, JSON_FLAG],
    run: remove,
  },
  add: {
    usage: 'add VNI|NAME --control PATH [flags]',
    text: 'add a network to a VTEP: a VNI, or a name with subnets, each with a VNI',
    flags: [CONTROL, ...SUBNETS, ...SETTINGS, JSON_FLAG],
    run: add,
  },
  'rotate-key': {
    usage: 'rotate-key NETWORK …',
    text: 'make a new key for encrypted networks of the cluster',
    flags: [SOCKET, JSON_FLAG],
    run: rotateKeys,
  },
  keygen: {
    usage: 'keygen [-o FILE [--rotate]] [--bits 128|256]',
    text: 'make a key file for networks of "vtep up", or add a key to one',
    flags: KEYGEN,
    run: keygen,
  },
};

export const manual: Manual = {
  name: 'network',
  summary: 'create, list, inspect and remove the networks of the cluster, or those of one running VTEP',
  usage: ['network ACTION [flags]', 'network ACTION --control PATH [flags]'],
  words: wordsOf(ACTIONS),
  description: `With --control PATH, "ls", "add" and "rm" act on the VTEP of that "vtep up" or "vtep agent" alone. Without it, the agent at
--socket is asked, and all nodes of its cluster have the network. A manager knows all networks; a worker those in which
it has endpoints.`,
  flags: [{ flags: flagsOfAll(ACTIONS) }],
  sections: [
    {
      title: 'networks of the cluster',
      text: `Without --subnet, a network gets the next subnet of the pool of "vtep init". A --gateway, an --ip-range and an
--aux-address belong to the subnet that contains them; the gateway of every other subnet is its first address. With
--vni, the first one is that of the first --subnet, and so on; otherwise the cluster chooses VNIs. Subnets that overlap
those of another network, or a route of a host, are refused. A network with endpoints is not removed.

With --encrypted, what the hosts of the network send each other is encrypted. The managers make the keys, and give them to
the nodes with endpoints there alone. They rotate them every 12 hours, and when a node leaves or is removed; "rotate-key"
does it now.

"inspect --format docker" prints what "docker network inspect" does, with the endpoints of this node as containers.`,
    },
    {
      title: 'networks of one VTEP',
      text: `Such a network is a VNI with its settings, peers and endpoints (a segment of the configuration file), or a name with one
or more subnets, each of which has a VNI. A network that is added stays until it is removed, or until the VTEP ends.

The first --vni is that of the first --subnet, and so on. A --gateway belongs to the subnet that contains it; the
gateway of every other subnet is its first address. Every host of the network needs the same name, subnets, gateways and
VNIs. --peer and the other settings apply to each VNI. A VNI that exists already keeps its settings; no TAP and no
endpoint of this host may use it yet.

An agent announces the endpoints of this host in the network by gossip, and learns those of other hosts, while this host
has an endpoint there. Such a network with a single subnet has no gateway unless --gateway or --mac is given. With
--no-gossip, an agent adds the network as a VTEP without gossip does.

"rm" removes a network when no TAP and no endpoint of this host is left in it, also one of the configuration file, which
comes back with the next "vtep reload". A word of digits is a VNI, and no NAME.`,
    },
    {
      title: 'key files',
      text: `A network or a segment of "vtep up" with a key file is encrypted between hosts. Every host needs the same keys. "keygen -o
FILE" makes a key file, which its owner alone can read. "keygen -o FILE --rotate" puts a new key in front, and keeps the
three newest. Copy the file to every host, and run "vtep reload" there: all keys of the file are accepted, so that no
packet is lost meanwhile. docs/encryption.md has the steps.`,
    },
  ],
  examples: `vtep network create uber-net
vtep network create prod-net --subnet 10.1.1.0/24 --subnet 11.1.1.0/24 --gateway 11.1.1.254 --ip-range 10.1.1.128/25
vtep network ls
vtep network inspect prod-net --format docker
vtep network create secret-net --encrypted
vtep network rotate-key secret-net
vtep network rm uber-net

# one VTEP
vtep network add 4098 --peer 192.168.1.25 --control /run/vtep.sock
vtep attach eth0 --netns c2 --vni 4098 --control /run/vtep.sock
vtep network rm 4098 --control /run/vtep.sock

# two subnets; the gateways are 10.1.1.1 and 11.1.1.254
vtep network add prod --subnet 10.1.1.0/24 --vni 5001 --subnet 11.1.1.0/24 --vni 5002 --gateway 11.1.1.254 \\
                      --peer 192.168.1.25 --control /run/vtep.sock
vtep attach eth0 --netns c1 --address 10.1.1.2/24 --vni 5001 --control /run/vtep.sock
vtep network rm prod --control /run/vtep.sock

# a key file for an encrypted network of "vtep up", and later a further key in it
vtep network keygen -o /etc/weft/prod.keys
vtep network keygen -o /etc/weft/prod.keys --rotate`,
  exit: { 0: 'done', 1: 'no agent or VTEP answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

/** Whether the flags mean one VTEP, and not the agent of a cluster. */
function isOfVtep(flags: Parsed): boolean {
  refuseBeside(flags, 'control', ['socket', 'quiet'], ', which means one VTEP');
  return flags.given.has('control');
}

async function list(flags: Parsed): Promise<number> {
  noRest(flags);
  refuseBeside(flags, 'quiet', ['json']);
  if (!isOfVtep(flags)) return listNetworks(flags);
  const networks = await call(requireControl(flags), { command: 'segments' });
  await printAll(flags.on('json') ? jsonLines(networks) : networksTable(networks));
  return 0;
}

function networksTable(networks: Results['segments']): Iterable<string> {
  const word = (on: boolean): string => (on ? 'yes' : 'no');
  return tableLines(
    [
      'VNI',
      'NETWORK',
      'SUBNET',
      'GATEWAY',
      'MTU',
      'PROXY',
      'LEARN',
      'FLOOD',
      'TAGGED',
      'CLAMP MSS',
      'AGEING (s)',
      'CAPACITY',
      'KEY',
    ],
    rowsOf(
      networks,
      ({
        vni,
        network,
        subnets = [],
        mtu,
        proxy,
        learn,
        flood,
        tagged,
        clampMss = false,
        ageing,
        capacity,
        keyNumber,
      }) => [
        ...[vni, network ?? '-'],
        subnets.map(({ prefix }) => prefix).join(' ') || '-',
        subnets.map(({ gateway }) => gateway ?? '-').join(' ') || '-',
        ...[mtu, proxy],
        ...[learn, flood, tagged, clampMss].map(word),
        ...[ageing, capacity, keyNumber ?? '-'],
      ],
    ),
  );
}

async function add(flags: Parsed): Promise<number> {
  const name = oneArgument(flags, 'VNI or NAME', 'the network to add');
  if (!flags.given.has('control'))
    throw new UsageError(
      'missing: --control PATH, a running VTEP; "vtep network create" makes a network of the cluster',
    );
  const subnets = subnetsOf(flags);
  if (subnets !== undefined) return addSubnets(flags, name, subnets);
  if (!isVni(name))
    throw new UsageError(
      `missing: --subnet PREFIX --vni N, the subnets of network ${name}; a network without them is a VNI`,
    );
  const vni = numberOf(name)!;
  const fields = { ...settingsOf(flags), ...given({ mac: flags.value('mac') }) };
  const request = { command: 'add-segment' as const, vni, ...fields };
  return change(flags, request, placeOf, ({ mtu }) => `added network ${vni} (MTU ${mtu})`);
}

async function addSubnets(flags: Parsed, name: string, subnets: NetworkSubnet[]): Promise<number> {
  if (isVni(name)) throw new UsageError(`NAME: expected a name, because digits are a VNI, got "${name}"`);
  const fields = given({ mac: flags.value('mac'), gossip: flags.on('gossip') });
  const request = { command: 'add-network' as const, name, subnets, ...fields, ...settingsOf(flags) };
  return change(flags, request, placeOf, (added) => {
    const all = added.subnets.map(({ prefix, gateway, vni, mtu }) => {
      const facts = [`VNI ${vni}`, ...(gateway === null ? [] : [`gateway ${gateway}`]), `MTU ${mtu}`];
      return `${prefix} (${facts.join(', ')})`;
    });
    const others = added.sources.filter((source) => source !== 'api');
    const also = others.length === 0 ? '' : `; also wanted by: ${others.join(', ')}`;
    return `added network ${name}${added.gossip ? ' of the gossip' : ''}: ${all.join(', ')}${also}`;
  });
}

function pathOf(file: string | undefined): string | undefined {
  return file === undefined || shownKey(file) !== file ? file : resolve(file);
}

/** Whether an argument is a VNI, and not the name of a network. */
function isVni(text: string): boolean {
  return /^-?\d+$/.test(text);
}

/** The settings of the segments of a network. */
function settingsOf(flags: Parsed): SegmentSettings {
  return given({
    mtu: numberOf(flags.value('mtu')),
    proxy: flags.value('proxy') as Proxy | undefined, // the schema of the request checks it
    learn: flags.on('learn'),
    flood: flags.on('flood'),
    tagged: flags.on('tagged'),
    clampMss: flags.on('clamp-mss'),
    ageing: numberOf(flags.value('ageing')),
    capacity: numberOf(flags.value('capacity')),
    // The VTEP may have another working directory.
    keyFile: pathOf(flags.value('key-file')),
    peers: flags.given.has('peer') ? flags.values('peer').flatMap((text) => text.split(',')) : undefined,
  });
}

async function remove(flags: Parsed): Promise<number> {
  if (!isOfVtep(flags)) return deleteNetworks(flags);
  const name = oneArgument(flags, 'VNI or NAME', 'the network to remove');
  if (isVni(name))
    return change(flags, { command: 'remove-segment', vni: numberOf(name)! }, placeOf, () => `removed network ${name}`);
  return change(
    flags,
    { command: 'remove-network', name },
    placeOf,
    ({ vnis }) => `removed network ${name} (VNI ${vnis.join(', ')})`,
  );
}

/** The flag or the argument that a field came from. */
function placeOf(path: string): string {
  if (path === 'vni') return 'VNI';
  if (path === 'name') return 'NAME';
  const field = /^subnets\[\d+\]\.(\w+)$/.exec(path)?.[1];
  if (field !== undefined) return `--${field === 'prefix' ? 'subnet' : field}`;
  if (path.startsWith('peers')) return '--peer';
  const name = flagName(path);
  return [...SUBNETS, ...SETTINGS].some((flag) => flag.name === name) ? `--${name}` : path;
}

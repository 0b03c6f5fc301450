/** `vtep network`: lists, adds and removes the overlay networks of a running VTEP. */
import { type Results } from '../host/index.js';
import { type Proxy } from '../model/index.js';
import { flagsOfAll, runAction, wordsOf, type Actions } from './actions.js';
import { call } from './call.js';
import { change, given, JSON_FLAG, numberOf, oneArgument } from './change.js';
import { CONTROL, requireControl } from './control-flags.js';
import { noRest, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
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
  { name: 'mac', value: 'MAC', text: 'MAC address of proxy "vtep" (default: derived from the VNI)' },
  { name: 'learn', negatable: true, text: 'learn MAC addresses from the underlay (default yes)' },
  { name: 'flood', negatable: true, text: 'send frames for unknown addresses to all peers (default yes)' },
  { name: 'tagged', negatable: true, text: 'carry VLAN-tagged frames with their tags (default no)' },
  { name: 'ageing', value: 'SECONDS', text: 'how long a learned address stays (default 300; 0: forever)' },
  { name: 'capacity', value: 'N', text: 'most learned addresses (default 65536)' },
];

const ACTIONS: Actions = {
  ls: {
    usage: 'ls --control PATH',
    text: 'list the networks with their settings',
    flags: [CONTROL, JSON_FLAG],
    run: list,
  },
  add: {
    usage: 'add VNI --control PATH [--peer IP …] [flags]',
    text: 'add a network',
    flags: [CONTROL, ...SETTINGS, JSON_FLAG],
    run: add,
  },
  rm: {
    usage: 'rm VNI --control PATH',
    text: 'remove a network without TAPs, with its peers and endpoints',
    flags: [CONTROL, JSON_FLAG],
    run: remove,
  },
};

export const manual: Manual = {
  name: 'network',
  summary: 'list, add and remove the overlay networks of a running VTEP',
  usage: ['network ACTION --control PATH [flags]'],
  words: wordsOf(ACTIONS),
  description: `A network is a VNI with its settings, peers and endpoints (a segment of the configuration file). A network that is added
stays until it is removed, or until the VTEP ends. One that belongs to a network of the configuration file with subnets,
or to one of the gossip of an agent, cannot be removed.`,
  flags: [{ flags: flagsOfAll(ACTIONS) }],
  examples: `vtep network add 4098 --peer 192.168.1.25 --control /run/vtep.sock
vtep attach eth0 --netns c2 --vni 4098 --control /run/vtep.sock
vtep network rm 4098 --control /run/vtep.sock`,
  exit: { 0: 'done', 1: 'no VTEP answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function list(flags: Parsed): Promise<number> {
  noRest(flags);
  const networks = await call(requireControl(flags), { command: 'segments' });
  await printAll(flags.on('json') ? jsonLines(networks) : networksTable(networks));
  return 0;
}

function networksTable(networks: Results['segments']): Iterable<string> {
  const word = (on: boolean): string => (on ? 'yes' : 'no');
  return tableLines(
    ['VNI', 'NETWORK', 'SUBNET', 'GATEWAY', 'MTU', 'PROXY', 'LEARN', 'FLOOD', 'TAGGED', 'AGEING (s)', 'CAPACITY'],
    rowsOf(networks, ({ vni, network, subnets = [], mtu, proxy, learn, flood, tagged, ageing, capacity }) => [
      ...[vni, network ?? '-'],
      subnets.map(({ prefix }) => prefix).join(' ') || '-',
      subnets.map(({ gateway }) => gateway ?? '-').join(' ') || '-',
      ...[mtu, proxy],
      ...[learn, flood, tagged].map(word),
      ...[ageing, capacity],
    ]),
  );
}

async function add(flags: Parsed): Promise<number> {
  const vni = numberOf(oneArgument(flags, 'VNI', 'the network to add'))!;
  const fields = given({
    mtu: numberOf(flags.value('mtu')),
    proxy: flags.value('proxy') as Proxy | undefined, // the schema of the request checks it
    mac: flags.value('mac'),
    learn: flags.on('learn'),
    flood: flags.on('flood'),
    tagged: flags.on('tagged'),
    ageing: numberOf(flags.value('ageing')),
    capacity: numberOf(flags.value('capacity')),
    peers: flags.given.has('peer') ? flags.values('peer').flatMap((text) => text.split(',')) : undefined,
  });
  const request = { command: 'add-segment' as const, vni, ...fields };
  return change(flags, request, placeOf, ({ mtu }) => `added network ${vni} (MTU ${mtu})`);
}

async function remove(flags: Parsed): Promise<number> {
  const vni = numberOf(oneArgument(flags, 'VNI', 'the network to remove'))!;
  return change(flags, { command: 'remove-segment', vni }, placeOf, () => `removed network ${vni}`);
}

/** The flag or the argument that a field came from. */
function placeOf(path: string): string {
  if (path === 'vni') return 'VNI';
  if (path.startsWith('peers')) return '--peer';
  return SETTINGS.some(({ name }) => name === path) ? `--${path}` : path;
}

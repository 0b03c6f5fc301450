/** `vtep network` for the networks of a cluster, over the socket of an agent. */
import { type ClusterNetworkEntry, type NetworkDetails, type NodeResults, type WantedSubnet } from '../schema/index.js';
import { age, shortId, timestamp } from './age.js';
import { given, JSON_FLAG, numberOf, oneArgument } from './change.js';
import { pairsOf } from './command-words.js';
import { dockerNetwork } from './docker-network.js';
import { encryptionText } from './encryption-text.js';
import { factLines, pairsText } from './facts.js';
import { UsageError, type Flag, type Parsed } from './flags.js';
import { BITS, bitsOf } from './network-keygen.js';
import { bySubnet } from './network-subnets.js';
import { askNode, tellNodeEach, placesOf, show, SOCKET, someArguments, tellNode } from './node-call.js';
import { jsonLines, printAll } from './streams.js';
import { rowsOf, tableLines } from './table.js';

/** Flags of `vtep network create` that `vtep network add` does not have. */
const CREATE_ONLY: readonly Flag[] = [
  { name: 'ip-range', value: 'PREFIX', many: true, text: 'the part of a subnet from which addresses are chosen' },
  { name: 'aux-address', value: 'NAME=IP', many: true, text: 'an address of a subnet that no endpoint gets' },
  { name: 'ipv6', text: 'give endpoints IPv6 addresses too, from a subnet fd…::/64 unless --subnet has one' },
  { name: 'internal', text: 'endpoints reach nothing outside of the network' },
  { name: 'encrypted', text: 'encrypt between hosts; the managers make the keys, and rotate them every 12 hours' },
  BITS,
  { name: 'label', value: 'K=V', many: true, text: 'a label' },
  { name: 'overlapping', text: 'allow subnets that overlap those of other networks' },
];

/**
 * The flags of `vtep network create`.
 * @param shared Those that `vtep network add` has too, by name.
 */
export function createFlags(shared: readonly Flag[]): Flag[] {
  const named = (name: string): Flag => shared.find((flag) => flag.name === name)!;
  return [...['subnet', 'gateway', 'vni', 'mtu'].map(named), ...CREATE_ONLY, SOCKET, JSON_FLAG];
}

export const FORMAT: Flag = {
  name: 'format',
  value: 'docker|json',
  text: 'print JSON: that of "docker network inspect", or all that is known',
};

const NETWORK = placesOf({ network: 'NETWORK' });
const CREATE = placesOf({
  name: 'NAME',
  subnets: '--subnet',
  'subnets.subnet': '--subnet',
  'subnets.gateway': '--gateway',
  'subnets.range': '--ip-range',
  'subnets.auxiliary': '--aux-address',
  'subnets.vni': '--vni',
  ipv6: '--ipv6',
  internal: '--internal',
  mtu: '--mtu',
  encrypted: '--encrypted',
  labels: '--label',
  overlapping: '--overlapping',
});

export async function createNetwork(flags: Parsed): Promise<number> {
  const name = oneArgument(flags, 'NAME', 'the network to create');
  if (flags.given.has('bits') && flags.on('encrypted') !== true)
    throw new UsageError('missing: --encrypted, which --bits goes with');
  const fields = given({
    subnets: wantedSubnets(flags),
    ipv6: flags.on('ipv6'),
    internal: flags.on('internal'),
    mtu: numberOf(flags.value('mtu')),
    encrypted: flags.on('encrypted') === true ? bitsOf(flags) : undefined,
    labels: pairsOf(flags, 'label', 'a label such as stage=test'),
    overlapping: flags.on('overlapping'),
  });
  return tellNode(flags, { command: 'create-network', name, ...fields }, CREATE, createdLine);
}

function createdLine({ id, name, subnets, encrypted }: NodeResults['create-network']): string {
  const all = subnets.map(({ prefix, gateway, vni }) => `${prefix} (gateway ${gateway}, VNI ${vni})`);
  const how = encrypted === undefined ? '' : `; encrypted with ${cipher(encrypted)}`;
  return `created network ${name} (${shortId(id)}): ${all.join(', ')}${how}`;
}

/** The cipher of keys with so many bits. */
function cipher(bits: number): string {
  return `AES-${bits}-GCM`;
}

/**
 * The subnets that the flags describe; `undefined` if they describe none.
 * @throws UsageError if the flags do not fit together.
 */
function wantedSubnets(flags: Parsed): WantedSubnet[] | undefined {
  const prefixes = flags.values('subnet');
  const lonely = ['gateway', 'ip-range', 'aux-address', 'vni'].find((name) => flags.given.has(name));
  if (prefixes.length === 0) {
    if (lonely === undefined) return undefined;
    throw new UsageError(`missing: --subnet PREFIX, which ${flags.typed(lonely)} goes with`);
  }
  const vnis = flags.values('vni');
  if (vnis.length > 0 && vnis.length !== prefixes.length)
    throw new UsageError(`--vni: expected one for each --subnet, ${prefixes.length} of them, got ${vnis.join(', ')}`);
  const twice = prefixes.find((prefix, i) => prefixes.indexOf(prefix) < i);
  if (twice !== undefined) throw new UsageError(`--subnet: ${twice} is given twice`);
  const values = (name: string): string[] => flags.values(name);
  const gateways = bySubnet(prefixes, values('gateway'), {
    ...{ flag: '--gateway', what: 'an address', once: 'gateway' },
    addressOf: (text) => text,
  });
  const ranges = bySubnet(prefixes, values('ip-range'), {
    ...{ flag: '--ip-range', what: 'a part', once: 'range' },
    addressOf: (text) => text.split('/')[0]!,
  });
  // Checks their form, and that no name is given twice.
  pairsOf(flags, 'aux-address', 'a name and an address, such as printer=10.1.1.9');
  const auxiliary = bySubnet(prefixes, values('aux-address'), {
    ...{ flag: '--aux-address', what: 'an address' },
    addressOf: (text) => text.slice(text.indexOf('=') + 1),
  });
  return prefixes.map((subnet, i) => ({
    subnet,
    ...given({
      gateway: gateways.get(subnet)?.[0],
      range: ranges.get(subnet)?.[0],
      auxiliary: pairsIn(auxiliary.get(subnet)),
      vni: numberOf(vnis[i]),
    }),
  }));
}

function pairsIn(texts: readonly string[] | undefined): Record<string, string> | undefined {
  if (texts === undefined) return undefined;
  return Object.fromEntries(
    texts.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)] as const),
  );
}

export async function listNetworks(flags: Parsed): Promise<number> {
  const networks = await askNode(flags, { command: 'cluster-networks' });
  await show(flags, networks, () => (flags.on('quiet') ? networks.map(({ id }) => id) : networksTable(networks)));
  return 0;
}

function networksTable(networks: readonly ClusterNetworkEntry[]): Iterable<string> {
  const now = Date.now();
  return tableLines(
    ['NETWORK ID', 'NAME', 'SUBNET', 'GATEWAY', 'VNI', 'ENCRYPTED', 'ENDPOINTS', 'CREATED'],
    rowsOf(networks, ({ id, name, subnets, encrypted, endpoints, created }) => [
      ...[shortId(id), name],
      subnets.map(({ prefix }) => prefix).join(' '),
      subnets.map(({ gateway }) => gateway).join(' '),
      subnets.map(({ vni }) => vni).join(' '),
      encrypted === undefined ? 'no' : cipher(encrypted),
      endpoints,
      `${age(created, now)} ago`,
    ]),
  );
}

export async function inspectNetworks(flags: Parsed): Promise<number> {
  const names = someArguments(flags, 'NETWORK', 'the network to inspect');
  const format = formatOf(flags);
  const found: NetworkDetails[] = [];
  for (const network of names) found.push(await askNode(flags, { command: 'cluster-network', network }, NETWORK));
  if (format === 'docker') await printAll(jsonLines(found.map(dockerNetwork)));
  else if (format === 'json') await printAll(jsonLines(found));
  else await printAll(found.flatMap((network, i) => [...(i === 0 ? [] : ['']), ...detailLines(network)]));
  return 0;
}

function formatOf(flags: Parsed): string | undefined {
  const format = flags.value('format');
  if (format !== undefined && format !== 'docker' && format !== 'json')
    throw new UsageError(`--format: expected docker or json, got "${format}"`);
  if (flags.on('json') !== true) return format;
  if (format === 'docker') throw new UsageError('--json does not go with --format docker, which is JSON, too');
  return 'json';
}

function* detailLines(network: NetworkDetails): Generator<string> {
  const { id, name, created, internal, ipv6, mtu, encrypted, key, labels, subnets, endpoints, peers } = network;
  const newest = key === undefined ? '' : `, key ${key.number} since ${timestamp(key.created)}`;
  yield* factLines([
    ['network', name],
    ['id', id],
    ['created', timestamp(created)],
    ['internal', internal ? 'yes' : 'no'],
    ['IPv6', ipv6 ? 'yes' : 'no'],
    ['MTU', mtu ?? 'what the underlay of each host has room for'],
    ['encrypted', encrypted === undefined ? 'no' : `${cipher(encrypted)}${newest}`],
    ['labels', pairsText(labels)],
  ]);
  yield '';
  yield* tableLines(
    ['SUBNET', 'GATEWAY', 'VNI', 'RANGE', 'AUXILIARY'],
    rowsOf(subnets, ({ prefix, gateway, vni, range, auxiliary }) => [
      ...[prefix, gateway, vni, range ?? prefix],
      pairsText(auxiliary) || '-',
    ]),
  );
  yield '';
  yield* tableLines(
    ['ENDPOINT', 'ID', 'ADDRESS', 'MAC', 'NODE', 'SERVICE', 'ALIASES'],
    rowsOf(endpoints, (one) => [
      ...[one.name, shortId(one.id), one.addresses.join(' ') || '-', one.mac, one.node],
      ...[one.service ?? '-', one.aliases.join(' ') || '-'],
    ]),
  );
  yield '';
  yield* tableLines(
    ['PEER', 'ADDRESS', ...(encrypted === undefined ? [] : ['ENCRYPTED'])],
    rowsOf(peers, ({ name: peer, address, encryption }) => [
      ...[peer, address],
      ...(encrypted === undefined ? [] : [encryption === undefined ? '-' : encryptionText(encryption)]),
    ]),
  );
}

export async function rotateKeys(flags: Parsed): Promise<number> {
  const names = someArguments(flags, 'NETWORK', 'the network whose key to rotate');
  return tellNodeEach(
    flags,
    names.map((network) => ({ command: 'rotate-network-key' as const, network })),
    NETWORK,
    ({ name, number }) => `the newest key of ${name} is number ${number}`,
  );
}

export async function deleteNetworks(flags: Parsed): Promise<number> {
  const names = someArguments(flags, 'NETWORK', 'the network to remove');
  return tellNodeEach(
    flags,
    names.map((network) => ({ command: 'delete-network' as const, network })),
    NETWORK,
    ({ id, name }) => `removed network ${name} (${shortId(id)})`,
  );
}

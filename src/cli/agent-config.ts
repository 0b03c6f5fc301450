/** From the flags of `vtep agent`, or its file, to one configuration. */
import { underlayOf } from '../host/index.js';
import { parseHostPort, type Gossip, type Plan } from '../schema/index.js';
import { noRest, UsageError, type Flag, type Parsed } from './flags.js';
import {
  checked,
  commonFields,
  configFile,
  defined,
  fromFlags,
  inFile,
  isFields,
  note,
  singleFields,
  toInteger,
} from './up-config.js';

/** Flags of the gossip. With `--config` they win over the file. */
export const GOSSIP: readonly Flag[] = [
  { name: 'bind', value: 'ADDR[:PORT]', text: 'listen there, UDP and TCP (default --local, port 7946)' },
  { name: 'advertise', value: 'ADDR[:PORT]', text: 'where others reach it (default --bind)' },
  { name: 'join', value: 'HOST[:PORT]', many: true, text: 'members to join, by name or address; one is enough' },
  {
    name: 'key',
    value: 'BASE64|FILE',
    many: true,
    text: 'encrypt with the first key, read with all; see "vtep gossip keygen"',
  },
  { name: 'name', value: 'NODE', text: 'this member’s name (default: the advertised address)' },
  { name: 'network', value: 'ID:VNI:SUBNET', many: true, text: 'an overlay network, the same at every agent' },
];

/**
 * The plan that flags or a file describe; the VTEP's own address is found out where nobody said.
 * @throws UsageError with every problem; HostError where the address is not clear.
 */
export async function readAgentPlan(flags: Parsed): Promise<Plan> {
  noRest(flags);
  const path = flags.value('config');
  const file = path === undefined ? {} : configFile(flags, path);
  const gossip = gossipFields(flags);
  if (path !== undefined) {
    if (!isFields(file)) return checked(file, inFile(path, flags));
    const own = isFields(file['gossip']) ? file['gossip'] : {};
    const merged = { segments: [], taps: [], ...file, ...commonFields(flags), gossip: { ...own, ...gossip } };
    return checked(await withLocal(merged), inFile(path, flags));
  }
  const networks = (gossip['networks'] ?? []) as { vni: unknown }[];
  if (networks.length === 0)
    throw new UsageError('missing: --network ID:VNI:SUBNET such as net1:4097:10.0.0.0/24 (or --config FILE)');
  requireTap(flags, networks.length);
  return checked(
    await withLocal({ ...commonFields(flags), ...singleFields(flags, networks), gossip }),
    fromFlags(flags),
  );
}

/** @throws UsageError where flags describe a TAP that is not named, or do not say which network it is in. */
function requireTap(flags: Parsed, networks: number): void {
  const tap = flags.given.has('tap') || flags.given.has('tap-fd');
  const orphan = ['netns', 'address', 'mac', 'vlan'].find((name) => flags.given.has(name));
  if (!tap && orphan !== undefined) throw new UsageError(`missing: --tap NAME, which --${orphan} is about`);
  if (tap && networks > 1 && !flags.given.has('vni') && !flags.given.has('vlan'))
    throw new UsageError(`missing: --vni N, the network of the TAP, since there are ${networks}`);
}

function gossipFields(flags: Parsed): Record<string, unknown> {
  const list = (name: string): string[] | undefined =>
    flags.given.has(name) ? flags.values(name).flatMap((text) => text.split(',')) : undefined;
  return defined({
    name: flags.value('name'),
    bind: flags.value('bind'),
    advertise: flags.value('advertise'),
    join: list('join'),
    keys: flags.given.has('key') ? flags.values('key') : undefined,
    networks: flags.given.has('network') ? flags.values('network').map(network) : undefined,
  });
}

function network(text: string): object {
  const match = /^(.+):([^:]+):([^:]+)$/.exec(text);
  if (match === null)
    throw new UsageError(`--network: expected ID:VNI:SUBNET such as net1:4097:10.0.0.0/24, got "${text}"`);
  return note({ id: match[1]!, vni: toInteger(match[2]!), subnet: match[3]! }, `--network ${text}`);
}

/** Fills in `local`, where what it is derived from is in order; what is not is left for the schema to say so. */
async function withLocal(config: Record<string, unknown>): Promise<Record<string, unknown>> {
  if (config['local'] !== undefined) return config;
  const { bind, advertise, join } = config['gossip'] as Record<string, unknown>;
  const isPlace = (value: unknown): boolean => typeof value === 'string' && parseHostPort(value) !== null;
  const inOrder =
    [bind, advertise].every((one) => one === undefined || isPlace(one)) &&
    (join === undefined || (Array.isArray(join) && join.every(isPlace)));
  // Something that stands for it, so that only what is out of order is complained of.
  if (!inOrder) return { ...config, local: '127.0.0.1' };
  const { local, tunnel } = await underlayOf(config['gossip'] as Gossip);
  return { ...config, local, gossip: { tunnel, ...(config['gossip'] as object) } };
}

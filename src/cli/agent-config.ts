/** Reads the configuration of `vtep agent` from its flags or its file. */
import { underlayOf } from '../host/index.js';
import { family, parseHostPort, type Gossip, type Plan } from '../schema/index.js';
import { noRest, UsageError, type Flag, type Parsed } from './flags.js';
import { requireOneInput } from './key-warnings.js';
import {
  checked,
  commonFields,
  configFile,
  defined,
  fromFlags,
  inFile,
  isFields,
  note,
  requireTap,
  SINGLE,
  singleFields,
  toInteger,
} from './up-config.js';

/** Flags of the gossip. They override the file of `--config`. */
export const GOSSIP: readonly Flag[] = [
  { name: 'bind', value: 'ADDR[:PORT]', text: 'address to listen on, UDP and TCP (default --local, port 7946)' },
  { name: 'advertise', value: 'ADDR[:PORT]', text: 'address at which other members reach this one (default --bind)' },
  { name: 'join', value: 'HOST[:PORT]', many: true, text: 'members to join, by name or address; one is enough' },
  {
    name: 'key',
    value: 'FILE|-',
    many: true,
    text: 'files of keys ("-": standard input): encrypt with the first key, decrypt with any; see "vtep gossip keygen"',
  },
  { name: 'name', value: 'NODE', text: 'this member’s name (default: the advertised address)' },
  {
    name: 'network',
    value: 'ID:VNI:SUBNET[:GATEWAY]',
    many: true,
    text: 'an overlay network, or one of several subnets of one; the values must be the same on every agent',
  },
];

/**
 * Reads the plan from flags or a file, and chooses the VTEP's own address without --local.
 * @throws UsageError with every problem; HostError if the choice of the address is ambiguous.
 */
export async function readAgentPlan(flags: Parsed): Promise<Plan> {
  noRest(flags);
  requireOneInput(flags);
  const path = flags.value('config');
  const file = path === undefined ? {} : configFile(flags, path);
  const gossip = gossipFields(flags);
  if (path !== undefined) {
    if (!isFields(file)) return checked(file, inFile(path, flags));
    const own = isFields(file['gossip']) ? file['gossip'] : {};
    const merged = { segments: [], taps: [], ...file, ...commonFields(flags), gossip: { ...own, ...gossip } };
    return checked(await withLocal(merged), inFile(path, flags));
  }
  const networks = segmentsOf((gossip['networks'] ?? []) as object[]);
  // Networks may come later, over the control socket.
  const mayWait = flags.given.has('control') && !SINGLE.some(({ name }) => flags.given.has(name));
  if (networks.length === 0 && !mayWait)
    throw new UsageError(
      'missing: --network ID:VNI:SUBNET such as net1:4097:10.0.0.0/24 (or --config FILE, or --control PATH to add networks and TAPs later)',
    );
  requireTap(flags);
  requireNetwork(flags, networks.length);
  return checked(
    await withLocal({ ...commonFields(flags), ...singleFields(flags, networks), gossip }),
    fromFlags(flags),
  );
}

/** @throws UsageError if the flags describe a TAP, and do not say which network it belongs to. */
function requireNetwork(flags: Parsed, networks: number): void {
  const tap = flags.given.has('tap') || flags.given.has('tap-fd');
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
    networks: flags.given.has('network') ? networksOf(flags.values('network'), flags.value('key-file')) : undefined,
  });
}

/** A subnet of a network, as `--network` describes it. */
interface NetworkFlag {
  id: string;
  text: string;
  /** Fields of the configuration. */
  vni: unknown;
  subnet: string;
  gateway?: string;
}

/**
 * The networks of `--network`. A network that is given several times, or with a gateway, has a router between its subnets.
 */
function networksOf(texts: readonly string[], keyFile: string | undefined): object[] {
  const flags = texts.map(networkFlag);
  return [...new Set(flags.map(({ id }) => id))].map((id) => {
    const own = flags.filter((flag) => flag.id === id);
    const [{ vni, subnet, gateway, text }] = own as [NetworkFlag];
    if (own.length === 1 && gateway === undefined) return note(defined({ id, vni, subnet, keyFile }), text);
    const subnets = own.map((one) =>
      note(defined({ prefix: one.subnet, gateway: one.gateway, vni: one.vni }), one.text),
    );
    return note(defined({ id, keyFile, subnets }), text);
  });
}

function networkFlag(text: string): NetworkFlag {
  const plain = /^(.+):([^:]+):([^:]+)$/.exec(text);
  const routed = /^(.+):([^:]+):([^:/]+\/[^:/]+):([^:/]+)$/.exec(text);
  const match = ipv6NetworkFlag(text) ?? routed ?? plain;
  if (match === null)
    throw new UsageError(`--network: expected ID:VNI:SUBNET[:GATEWAY] such as net1:4097:10.0.0.0/24, got "${text}"`);
  const [, id, vni, subnet, gateway] = match;
  const fields = { id: id!, vni: toInteger(vni!), subnet: subnet!, text: `--network ${text}` };
  return gateway === undefined ? fields : { ...fields, gateway };
}

/** The parts of a flag with an IPv6 subnet. An ID may have colons, too: it is the shortest that a VNI and a subnet follow. */
function ipv6NetworkFlag(text: string): (string | undefined)[] | undefined {
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at + 1)) {
    const [, vni, address, length, gateway] = /^(\d+):([^/]+)(\/[^:/]+)(?::([^/]+))?$/.exec(text.slice(at + 1)) ?? [];
    if (at > 0 && address !== undefined && family(address) === 6)
      return [text, text.slice(0, at), vni, address + length!, gateway];
  }
  return undefined;
}

/** The parts of networks that are segments: of several with one VNI the first. */
function segmentsOf(networks: readonly object[]): { vni: unknown }[] {
  const all = networks.flatMap((one) =>
    'subnets' in one ? (one.subnets as { vni: unknown }[]) : [one as { vni: unknown }],
  );
  const seen = new Set<unknown>();
  return all.filter(({ vni }) => !seen.has(vni) && seen.add(vni));
}

/** Sets `local` if the fields that determine it are valid; the schema reports invalid fields. */
async function withLocal(config: Record<string, unknown>): Promise<Record<string, unknown>> {
  if (config['local'] !== undefined) return config;
  const { bind, advertise, join } = config['gossip'] as Record<string, unknown>;
  const isHostPort = (value: unknown): boolean => typeof value === 'string' && parseHostPort(value) !== null;
  const valid =
    [bind, advertise].every((one) => one === undefined || isHostPort(one)) &&
    (join === undefined || (Array.isArray(join) && join.every(isHostPort)));
  // A placeholder, so that only the invalid fields are reported.
  if (!valid) return { ...config, local: '127.0.0.1' };
  const { local, tunnel } = await underlayOf(config['gossip'] as Gossip);
  return { ...config, local, gossip: { tunnel, ...(config['gossip'] as object) } };
}

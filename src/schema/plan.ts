/** A configuration with all defaults filled in and all addresses in canonical text, as the program uses it. */
import { deriveMac, deriveMacFromText, macToText } from '../address/index.js';
import { SEGMENT_DEFAULTS, type Location, type Segment as ModelSegment } from '../model/index.js';
import { PORT } from '../vxlan/index.js';
import { CONFIG } from './config.js';
import { ESP_PORT, groupsOf, keyFilesOf, vniGroup, type KeyFilePlan } from './key-files.js';
import { gossipNetworkPlan, networkPlan, networkVnis, type NetworkPlan } from './networks.js';
import { findProblems, SchemaError } from './problem.js';
import { contradictions, linuxOnly } from './rules.js';
import { canonicalIp, family, isUnicast, parseHostPort, prefixAddress } from './addresses.js';
import { canonicalMac } from './mac.js';
import { addressesOf } from './tap-addresses.js';
import { type Config, type EngineName, type Gossip, type GossipNetwork, type Segment, type Tap } from './types.js';

/** The default port of the gossip, the same as Docker's and serf's. */
const GOSSIP_PORT = 7946;

/** A segment with its defaults, its peers, and its endpoints. */
export interface SegmentPlan extends Omit<ModelSegment, 'mtu'> {
  /** In bytes; absent until the MTU of the underlay is known. */
  mtu?: number;
  peers: string[];
  endpoints: Location[];
}

export interface TapPlan {
  /** Device name; for an `fd` without one, `fdN`. */
  name: string;
  fd?: number;
  netns?: string;
  /** One address, or a list of several. */
  address?: string | readonly string[];
  /** Absent for an `fd` without one. */
  mac?: string;
  mtu?: number;
  vni?: number;
  vlans?: Record<string, number>;
  native?: number;
}

/** An address or host name, and a port. */
export interface HostPort {
  host: string;
  port: number;
}

export interface GossipPlan {
  name: string;
  bind: HostPort;
  advertise: HostPort;
  tunnel: string;
  join: HostPort[];
  /** Each a key in base64, or a file of keys. */
  keys: string[];
  networks: GossipNetwork[];
}

export interface Plan {
  local: string;
  port: number;
  /** The UDP port of ESP, which encrypted segments use. */
  espPort: number;
  sourcePorts: number;
  engine: EngineName;
  workers: number;
  busyPoll: number;
  udpChecksum: boolean;
  zeroChecksum: boolean;
  peersOnly: boolean;
  keepTaps: boolean;
  control?: string;
  gossip?: GossipPlan;
  networks: NetworkPlan[];
  segments: SegmentPlan[];
  /** One for each key group. */
  keyFiles: KeyFilePlan[];
  taps: TapPlan[];
}

/**
 * Checks the form and the rules of a configuration, and fills in the defaults.
 * @throws SchemaError with every problem.
 */
export function plan(value: unknown): Plan {
  const problems = findProblems(CONFIG, value);
  if (problems.length > 0) throw new SchemaError(problems);
  const config = value as Config;
  const contradicting = contradictions(config);
  if (contradicting.length > 0) throw new SchemaError(contradicting);
  const local = canonicalIp(config.local);
  const groups = groupsOf(config);
  return {
    local,
    port: config.port ?? PORT,
    espPort: config.espPort ?? ESP_PORT,
    sourcePorts: config.sourcePorts ?? 8,
    engine: engineOf(config),
    workers: config.workers ?? 1,
    busyPoll: config.busyPoll ?? 0,
    udpChecksum: config.udpChecksum ?? true,
    zeroChecksum: config.zeroChecksum ?? false,
    peersOnly: config.peersOnly ?? true,
    keepTaps: config.keepTaps ?? config.gossip !== undefined,
    ...given({ control: config.control }),
    ...given({ gossip: config.gossip === undefined ? undefined : gossipPlan(config.gossip, local) }),
    networks: (config.networks ?? []).map(networkPlan),
    segments: withNetworks(config).map((segment) => segmentPlan(segment, local, groups.get(segment.vni))),
    keyFiles: keyFilesOf(config).map(({ group, path }) => ({ group, path })),
    taps: config.taps.map((tap) => tapPlan(tap, config)),
  };
}

/**
 * A segment with its defaults.
 * @param group The key group of its network, if that has a key file.
 * @internal
 */
export function segmentPlan(
  { vni, mac, keyFile, peers = [], endpoints = [], ...settings }: Segment,
  local: string,
  group = keyFile === undefined ? undefined : vniGroup(vni),
): SegmentPlan {
  return {
    vni,
    ...SEGMENT_DEFAULTS,
    ...given(settings),
    ...given({ mac: mac === undefined ? undefined : canonicalMac(mac), group }),
    peers: peers.map(canonicalIp),
    endpoints: endpoints.map((endpoint) => canonicalEndpoint(endpoint, local)),
  };
}

/**
 * A TAP with its defaults.
 * @internal
 */
export function tapPlan(tap: Tap, config: Pick<Config, 'local' | 'segments'>): TapPlan {
  const { name, address: _address, ...rest } = tap;
  const addresses = addressesOf(tap);
  const address = addresses.length > 1 ? addresses : addresses[0];
  return { name: name ?? `fd${tap.fd}`, ...given({ address, ...rest }), ...given({ mac: macOf(tap, config) }) };
}

/**
 * The MAC address of a TAP: its own, or that of this host's endpoint with one of the TAP's IP addresses. Otherwise it is
 * derived, of several addresses from the first IPv4 address, so that it stays the same for the peers after a restart. For
 * an `fd`, the program that opened the TAP has set the address.
 */
function macOf(tap: Tap, { local, segments }: Pick<Config, 'local' | 'segments'>): string | undefined {
  const { name, fd, netns, mac, vni, native } = tap;
  if (mac !== undefined) return canonicalMac(mac);
  if (fd !== undefined) return undefined;
  const untagged = vni ?? native;
  const ips = addressesOf(tap).map(prefixAddress);
  const [first = ips[0]] = ips.filter((ip) => family(ip) === 4);
  if (first === undefined || untagged === undefined)
    return macToText(deriveMacFromText(`${canonicalIp(local)} ${netns ?? ''} ${name} ${untagged ?? ''}`));
  const own = segments
    .find((segment) => segment.vni === untagged)
    ?.endpoints?.map((endpoint) => canonicalEndpoint(endpoint, canonicalIp(local)))
    .find((endpoint) => endpoint.vtep === undefined && ips.includes(endpoint.ip));
  return own?.mac ?? macToText(deriveMac(untagged, first));
}

/** The configured engine; for `auto`, `linux` if the configuration uses options that only this engine has. */
function engineOf(config: Config): EngineName {
  const engine = config.engine ?? 'auto';
  return engine === 'auto' && linuxOnly(config).length > 0 ? 'linux' : engine;
}

/** The segments, plus one for each VNI of a network without a segment. */
function withNetworks(config: Config): Segment[] {
  const known = new Set(config.segments.map(({ vni }) => vni));
  return [...config.segments, ...networkVnis(config).flatMap((vni) => (known.has(vni) ? [] : [{ vni }]))];
}

function gossipPlan(gossip: Gossip, local: string): GossipPlan {
  const bind = parseHostPort(gossip.bind ?? local)!;
  const reachable = isUnicast(bind.host) ? bind.host : local;
  const advertise =
    gossip.advertise === undefined ? { host: reachable, port: bind.port } : parseHostPort(gossip.advertise, bind.port)!;
  return {
    name: gossip.name ?? (advertise.port === GOSSIP_PORT ? advertise.host : `${advertise.host}:${advertise.port}`),
    bind,
    advertise,
    tunnel: gossip.tunnel === undefined ? local : canonicalIp(gossip.tunnel),
    join: (gossip.join ?? []).map((host) => parseHostPort(host)!),
    keys: gossip.keys ?? [],
    networks: (gossip.networks ?? []).map(gossipNetworkPlan),
  };
}

/** An endpoint in canonical text; without a VTEP if that is `local` itself. */
export function canonicalEndpoint({ ip, mac, vtep }: Location, local: string): Location {
  const place = vtep === undefined ? undefined : canonicalIp(vtep);
  return { ip: canonicalIp(ip), mac: canonicalMac(mac), ...given({ vtep: place === local ? undefined : place }) };
}

/** The endpoints of a TAP's own addresses, one for each IP address; none if the MAC address is unknown. */
export function ownEndpoints(tap: TapPlan): Location[] {
  const { mac } = tap;
  return mac === undefined ? [] : addressesOf(tap).map((address) => ({ ip: prefixAddress(address), mac }));
}

/**
 * Drops the fields that are undefined.
 * @internal
 */
export function given<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as never;
}

/** A configuration with all defaults filled in and all addresses in canonical text, as the program uses it. */
import { deriveMac, deriveMacFromText, macToText } from '../address/index.js';
import { SEGMENT_DEFAULTS, type Location, type Segment as ModelSegment } from '../model/index.js';
import { PORT } from '../vxlan/index.js';
import { CONFIG } from './config.js';
import { gossipNetworkPlan, networkPlan, networkVnis, type NetworkPlan } from './networks.js';
import { findProblems, SchemaError } from './problem.js';
import { contradictions, linuxOnly } from './rules.js';
import { canonicalIp, isUnicast, parseHostPort, prefixAddress } from './addresses.js';
import { canonicalMac } from './mac.js';
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
  address?: string;
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
  return {
    local,
    port: config.port ?? PORT,
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
    segments: withNetworks(config).map((segment) => segmentPlan(segment, local)),
    taps: config.taps.map((tap) => tapPlan(tap, config)),
  };
}

/**
 * A segment with its defaults.
 * @internal
 */
export function segmentPlan(
  { vni, mac, peers = [], endpoints = [], ...settings }: Segment,
  local: string,
): SegmentPlan {
  return {
    vni,
    ...SEGMENT_DEFAULTS,
    ...given(settings),
    ...given({ mac: mac === undefined ? undefined : canonicalMac(mac) }),
    peers: peers.map(canonicalIp),
    endpoints: endpoints.map((endpoint) => canonicalEndpoint(endpoint, local)),
  };
}

/**
 * A TAP with its defaults.
 * @internal
 */
export function tapPlan(tap: Tap, config: Pick<Config, 'local' | 'segments'>): TapPlan {
  const { name, ...rest } = tap;
  return { name: name ?? `fd${tap.fd}`, ...given(rest), ...given({ mac: macOf(tap, config) }) };
}

/**
 * The MAC address of a TAP: its own, or that of this host's endpoint with the TAP's IP address. Otherwise it is
 * derived, so that it stays the same for the peers after a restart. For an `fd`, the program that opened the TAP has
 * set the address.
 */
function macOf(
  { name, fd, netns, address, mac, vni, native }: Tap,
  { local, segments }: Pick<Config, 'local' | 'segments'>,
): string | undefined {
  if (mac !== undefined) return canonicalMac(mac);
  if (fd !== undefined) return undefined;
  const untagged = vni ?? native;
  if (address === undefined || untagged === undefined)
    return macToText(deriveMacFromText(`${canonicalIp(local)} ${netns ?? ''} ${name} ${untagged ?? ''}`));
  const ip = prefixAddress(address);
  const own = segments
    .find((segment) => segment.vni === untagged)
    ?.endpoints?.map((endpoint) => canonicalEndpoint(endpoint, canonicalIp(local)))
    .find((endpoint) => endpoint.vtep === undefined && endpoint.ip === ip);
  return own?.mac ?? macToText(deriveMac(untagged, ip));
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

/** The endpoint of a TAP's own addresses, if both are known. */
export function ownEndpoint(tap: TapPlan): Location | undefined {
  if (tap.address === undefined || tap.mac === undefined) return undefined;
  return { ip: prefixAddress(tap.address), mac: tap.mac };
}

/**
 * Drops the fields that are undefined.
 * @internal
 */
export function given<T extends object>(value: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as never;
}

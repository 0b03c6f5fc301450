/** Records of the peer and the waiting table as placements, and back: the rules for what a record must contain. */
import {
  formatIpv6,
  ipv4ToText,
  isGroupMac,
  isIpv6Text,
  isMulticastIpv4,
  macToText,
  parseIpv4,
  parseIpv4Prefix,
  parseIpv6,
  parseMac,
} from '../../address/index.js';
import { WireError } from '../../wire/index.js';
import { parametersOf, type Placement } from './placements.js';
import {
  OVERLAY_PEER_TABLE,
  PEER_TABLE6,
  peerExtension,
  peerRecord,
  WAITING_TABLE,
  type PeerExtension,
} from './records.js';

/** An endpoint of this host. */
export interface LocalEndpoint {
  /** Docker's ids have 64 hexadecimal digits. */
  id: string;
  /** With the subnet's prefix length, `10.0.0.2/24`; an IPv6 address with length 128. */
  ip: string;
  mac: string;
  /** Of an endpoint with an IPv6 address: the network's subnet, `10.0.0.0/24`, or `fd00::/64` if it has none of IPv4. */
  subnet?: string;
}

/** The tables in which endpoints are announced. */
export const PEER_TABLES = [OVERLAY_PEER_TABLE, PEER_TABLE6] as const;

/** The table in which an endpoint with this IP address is announced. */
export function peerTableOf(ip: string): string {
  return isIpv6Text(ip) ? PEER_TABLE6 : OVERLAY_PEER_TABLE;
}

/** Ends the key of a placement from {@link PEER_TABLE6}. No key of a record has a slash. */
const SUFFIX6 = '/6';

/** The key of a placement: that of its record, made different from those of the other table. */
export function placementKey(table: string, key: string): string {
  return table === PEER_TABLE6 ? key + SUFFIX6 : key;
}

/** The key of the record of a placement. */
export function recordKey({ key }: Placement): string {
  return key.endsWith(SUFFIX6) ? key.slice(0, -SUFFIX6.length) : key;
}

/** This host, as its records name it. */
export interface LocalHost {
  /** The node's name. */
  readonly node: string;
  /** Underlay address of its VTEP, as `underlay` returns it. */
  readonly vtep: string;
  readonly vni: number;
}

/**
 * The placement of an endpoint of this host.
 * @param since Milliseconds since 1970; 0 if this host has no clock: the placement has no parameters then.
 * @throws RangeError if an address is invalid.
 */
export function placementOf(endpoint: LocalEndpoint, { node, vtep, vni }: LocalHost, since: number): Placement {
  const { id, subnet } = endpoint;
  const ip = hostOf(endpoint.ip);
  const mac = macToText(parseMac(endpoint.mac));
  const parameters = since === 0 ? '' : parametersIn(vni, isIpv6Text(ip) ? (subnet ?? '') : endpoint.ip);
  return { key: placementKey(peerTableOf(ip), id), owner: node, ip, mac, vtep, parameters, since, attached: 0 };
}

/** The address of `10.0.0.2/24` or `fd00::2/128`. @throws RangeError if it is not that of a host. */
function hostOf(prefix: string): string {
  const [text, length] = prefix.split('/') as [string, string?];
  if (isIpv6Text(text)) {
    if (length !== '128' || prefix.length !== text.length + 4)
      throw new RangeError(`${prefix} must have the prefix length 128`);
    return underlay(text);
  }
  parseIpv4Prefix(prefix);
  return underlay(text);
}

/**
 * The parameters of a network, of which `prefix` is an address with its prefix length. An IPv6 record may have none: it
 * then states no parameters.
 */
function parametersIn(vni: number, prefix: string): string {
  if (prefix === '') return '';
  if (isIpv6Text(prefix)) return parametersOf(vni, ipv6SubnetOf(prefix));
  const { address, length } = parseIpv4Prefix(prefix);
  return parametersOf(vni, subnetOf(address, length));
}

/** Encodes the record of an endpoint of this host. Without a time it is like those of Docker. */
export function encodePlacement(
  { ip, mac, subnet = '' }: LocalEndpoint,
  { vtep, vni }: LocalHost,
  { since, attached }: Placement,
): Uint8Array {
  const record = { endpointIp: ip, endpointMac: mac, tunnelIp: vtep };
  if (since === 0) return peerRecord.encode(record);
  const extension = { since, attached, vni, subnet: isIpv6Text(ip) ? subnet : '' };
  return peerRecord.encode({ ...record, unknown: peerExtension.encode(extension) });
}

/** What the records of a node have in common. */
type Origin = Pick<Placement, 'owner' | 'vtep' | 'parameters' | 'attached'>;

/** The origins of the records of a network. Records that share them take less memory than those with copies. */
export class Origins {
  readonly #known = new Map<string, Origin>();

  /** Returns an origin that is like this one, if there was one before. */
  get(origin: Origin): Origin {
    const { owner, vtep, parameters, attached } = origin;
    const name = `${attached} ${vtep} ${parameters} ${owner}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    // A node that attaches again has another origin.
    if (this.#known.size >= MAX_ORIGINS) this.#known.clear();
    this.#known.set(name, origin);
    return origin;
  }
}

/** The most origins to remember. */
const MAX_ORIGINS = 4096;

/** The placement of a record. */
class RecordPlacement implements Placement {
  readonly key: string;
  readonly ip: string;
  readonly mac: string;
  readonly since: number;
  readonly #origin: Origin;

  constructor(key: string, ip: string, mac: string, since: number, origin: Origin) {
    this.key = key;
    this.ip = ip;
    this.mac = mac;
    this.since = since;
    this.#origin = origin;
  }

  get owner(): string {
    return this.#origin.owner;
  }

  get vtep(): string {
    return this.#origin.vtep;
  }

  get parameters(): string {
    return this.#origin.parameters;
  }

  get attached(): number {
    return this.#origin.attached;
  }
}

/**
 * Decodes a record.
 * @param origins Those of the records decoded so far.
 * @returns `null` for a record of another node that names this host's VTEP.
 * @throws WireError or RangeError if it is malformed, or an address is not that of a host.
 */
export function decodePlacement(
  table: string,
  key: string,
  owner: string,
  value: Uint8Array,
  self: LocalHost,
  origins: Origins,
): Placement | null {
  const record = peerRecord.decode(value);
  const vtep = underlay(record.tunnelIp);
  if (vtep === self.vtep && owner !== self.node) return null;
  const ip = hostOf(record.endpointIp);
  if (table !== WAITING_TABLE && table !== peerTableOf(ip)) throw new RangeError('an address of another family');
  const mac = parseMac(record.endpointMac);
  if (mac === 0 || isGroupMac(mac)) throw new RangeError('not the address of a host');
  const { since, attached, vni, subnet } = extensionOf(record.unknown);
  const canonical = macToText(mac);
  const parameters = since === 0 ? '' : parametersIn(vni, isIpv6Text(ip) ? subnet : record.endpointIp);
  const origin = origins.get({ owner, vtep, parameters, attached });
  // The text of the record takes less memory than one that was put together from parts.
  const text = canonical === record.endpointMac ? record.endpointMac : canonical;
  return new RecordPlacement(placementKey(table, key), ip, text, since, origin);
}

/** Returns an underlay address in canonical text. @throws RangeError unless it is the address of a host. */
export function underlay(text: string): string {
  if (isIpv6Text(text)) {
    const bytes = parseIpv6(text);
    if (bytes[0] === 0xff || bytes.every((octet) => octet === 0))
      throw new RangeError(`${text} is not the address of a host`);
    return formatIpv6(bytes);
  }
  const address = parseIpv4(text);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
    throw new RangeError(`${text} is not the address of a host`);
  return text;
}

const NO_EXTENSION = { since: 0, attached: 0, vni: 0, subnet: '' };

/** Ignores an extension that does not decode: a later Docker may use these fields for something else. */
function extensionOf(unknown: Uint8Array | undefined): Omit<PeerExtension, 'unknown'> {
  if (unknown === undefined) return NO_EXTENSION;
  try {
    return peerExtension.decode(unknown);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return NO_EXTENSION;
  }
}

/** @throws RangeError if it is not an IPv6 prefix. */
function ipv6SubnetOf(prefix: string): string {
  const [text = '', length = '', more] = prefix.split('/');
  const bits = Number(length);
  if (more !== undefined || !/^\d{1,3}$/.test(length) || bits > 128)
    throw new RangeError(`${prefix} is not an IPv6 prefix`);
  const bytes = parseIpv6(text);
  for (let i = 0; i < bytes.length; i++) bytes[i]! &= (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))) & 0xff;
  return `${formatIpv6(bytes)}/${bits}`;
}

function subnetOf(address: number, length: number): string {
  const mask = length === 0 ? 0 : (0xffff_ffff << (32 - length)) >>> 0;
  return `${ipv4ToText((address & mask) >>> 0)}/${length}`;
}

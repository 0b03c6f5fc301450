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
import { peerExtension, peerRecord } from './records.js';

/** An endpoint of this host. */
export interface LocalEndpoint {
  /** Docker's ids have 64 hexadecimal digits. */
  id: string;
  /** With the subnet's prefix length: `10.0.0.2/24`. */
  ip: string;
  mac: string;
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
export function placementOf({ id, ip, mac }: LocalEndpoint, { node, vtep, vni }: LocalHost, since: number): Placement {
  const { address, length } = parseIpv4Prefix(ip);
  const parameters = since === 0 ? '' : parametersOf(vni, subnetOf(address, length));
  const [host] = ip.split('/') as [string];
  const name = macToText(parseMac(mac));
  return { key: id, owner: node, ip: host, mac: name, vtep, parameters, since, attached: 0 };
}

/** Encodes the record of an endpoint of this host. Without a time it is like those of Docker. */
export function encodePlacement(
  { ip, mac }: LocalEndpoint,
  { vtep, vni }: LocalHost,
  { since, attached }: Placement,
): Uint8Array {
  const record = { endpointIp: ip, endpointMac: mac, tunnelIp: vtep };
  if (since === 0) return peerRecord.encode(record);
  return peerRecord.encode({ ...record, unknown: peerExtension.encode({ since, attached, vni }) });
}

/** Strings that many records have in common. Records that share them take less memory than those with copies. */
export class SharedStrings {
  readonly #known = new Map<string, string>();

  /** Returns the first string that had this text. Beyond `MAX_SHARED` texts, returns the given one. */
  get(text: string): string {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    if (this.#known.size < MAX_SHARED) this.#known.set(text, text);
    return text;
  }
}

/** VTEPs of a network, and its parameters. */
const MAX_SHARED = 4096;

/**
 * Decodes a record.
 * @param shared The strings of the records decoded so far.
 * @returns `null` for a record of another node that names this host's VTEP.
 * @throws WireError or RangeError if it is malformed, or an address is not that of a host.
 */
export function decodePlacement(
  key: string,
  owner: string,
  value: Uint8Array,
  self: LocalHost,
  shared: SharedStrings,
): Placement | null {
  const record = peerRecord.decode(value);
  const vtep = underlay(record.tunnelIp);
  if (vtep === self.vtep && owner !== self.node) return null;
  const { address, length } = parseIpv4Prefix(record.endpointIp);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
    throw new RangeError('not the address of a host');
  const mac = parseMac(record.endpointMac);
  if (mac === 0 || isGroupMac(mac)) throw new RangeError('not the address of a host');
  const { since, attached, vni } = extensionOf(record.unknown);
  const canonical = macToText(mac);
  return {
    key,
    owner,
    ip: record.endpointIp.split('/')[0]!,
    // The text of the record takes less memory than one that was put together from parts.
    mac: canonical === record.endpointMac ? record.endpointMac : canonical,
    vtep: shared.get(vtep),
    parameters: since === 0 ? '' : shared.get(parametersOf(vni, subnetOf(address, length))),
    since,
    attached,
  };
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

const NO_EXTENSION = { since: 0, attached: 0, vni: 0 };

/** Ignores an extension that does not decode: a later Docker may use these fields for something else. */
function extensionOf(unknown: Uint8Array | undefined): { since: number; attached: number; vni: number } {
  if (unknown === undefined) return NO_EXTENSION;
  try {
    return peerExtension.decode(unknown);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return NO_EXTENSION;
  }
}

function subnetOf(address: number, length: number): string {
  const mask = length === 0 ? 0 : (0xffff_ffff << (32 - length)) >>> 0;
  return `${ipv4ToText((address & mask) >>> 0)}/${length}`;
}

/** Records of the endpoint tables as names of an address, and back: the rules for what a record must contain. */
import { formatIpv6, isIpv6Text, isMulticastIpv4, parseIpv4, parseIpv6 } from '../../address/index.js';
import { ENDPOINT_TABLE, ENDPOINT_TABLE6, endpointRecord } from './records.js';

/** An endpoint of this host, and how others may call it. */
export interface EndpointNames {
  /** Without a prefix length. */
  readonly ip: string;
  readonly name: string;
  /** Further names of this endpoint, which others may have too. */
  readonly aliases: readonly string[];
  /** The service that it is a replica of. */
  readonly service?: { readonly id: string; readonly name: string } | undefined;
}

/** What a record says: an address and its names. */
export interface NamedAddress {
  readonly ip: string;
  /** The name of the endpoint itself, as its node writes it. */
  readonly name: string;
  /** All names that stand for the address, in lower case, each once: its own, its aliases, and those of its service. */
  readonly names: readonly string[];
}

/** The tables in which the names of endpoints are announced. */
export const NAME_TABLES = [ENDPOINT_TABLE, ENDPOINT_TABLE6] as const;

/** Most names of one address; a record with more is refused. */
export const MAX_NAMES = 256;
/** Characters of a name and of a label (RFC 1035, section 2.3.4), without the root's. */
const MAX_LENGTH = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;
/** Before the name of a service: the addresses of its tasks, in Docker. All services have just these here. */
const TASKS = 'tasks.';
/** An absent address, as Docker writes it: the text of Go's empty IP address. */
const NO_ADDRESS = '<nil>';

/** The table in which the names of an address are announced. */
export function nameTableOf(ip: string): string {
  return isIpv6Text(ip) ? ENDPOINT_TABLE6 : ENDPOINT_TABLE;
}

/**
 * Whether a text can be asked of a DNS server as a name: labels of letters, digits, hyphens and underscores, with dots
 * between them (RFC 1123, section 2.1; Docker's names may have underscores).
 */
export function isEndpointName(text: string): boolean {
  return text.length <= MAX_LENGTH && text.split('.').every((label) => LABEL.test(label));
}

/**
 * Encodes the record of an endpoint of this host. In Docker, an endpoint without a virtual address of its service counts
 * as one of those among which the service's name alternates.
 */
export function encodeNames({ ip, name, aliases, service }: EndpointNames): Uint8Array {
  return endpointRecord.encode({
    name,
    ...(service === undefined ? {} : { serviceName: service.name, serviceId: service.id }),
    virtualIp: NO_ADDRESS,
    endpointIp: ip,
    taskAliases: [...aliases],
  });
}

/**
 * Decodes a record. A service's virtual address is ignored: Docker's nodes balance it within each container, and here the
 * name of a service stands for the addresses of its tasks. A name that cannot be asked for is left out, unless it is the
 * endpoint's own.
 * @throws WireError or RangeError if it is malformed, names no host, has no name, or has too many.
 */
export function decodeNames(table: string, value: Uint8Array): NamedAddress {
  const record = endpointRecord.decode(value);
  const { name, serviceName, aliases, taskAliases, serviceDisabled } = record;
  if (!isEndpointName(name)) throw new RangeError('the name is not one that can be asked for');
  const ip = hostAddress(record.endpointIp);
  if (table !== nameTableOf(ip)) throw new RangeError('an address of another family');
  const ofService = serviceName === '' || serviceDisabled ? [] : [serviceName, TASKS + serviceName, ...aliases];
  const all = [name, ...taskAliases, ...ofService];
  if (all.length > MAX_NAMES) throw new RangeError(`the endpoint has more than ${MAX_NAMES} names`);
  return { ip, name, names: [...new Set(all.filter(isEndpointName).map((one) => one.toLowerCase()))] };
}

/** The address of a host in canonical text. @throws RangeError for any other text. */
function hostAddress(text: string): string {
  if (isIpv6Text(text)) {
    const bytes = parseIpv6(text);
    if (bytes[0] === 0xff || bytes.every((octet) => octet === 0)) throw new RangeError(`${text} is no host's address`);
    return formatIpv6(bytes);
  }
  const address = parseIpv4(text);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
    throw new RangeError(`${text} is no host's address`);
  return text;
}

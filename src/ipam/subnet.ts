import { IpamError, type IpamField } from './error.js';
import {
  addressToText,
  lastOf,
  parseAddress,
  parsePrefix,
  prefixesOverlap,
  prefixHas,
  prefixIncludes,
  prefixToText,
  sizeOf,
  type Address,
  type Prefix,
} from './prefix.js';
import { requireUsable } from './pools.js';

/** A subnet that somebody asks for. */
export interface SubnetRequest {
  readonly subnet: string;
  /** Absent: the first address. */
  readonly gateway?: string | undefined;
  /** The part of the subnet out of which addresses are given automatically. Absent: all of it. */
  readonly ipRange?: string | undefined;
  /** Addresses of other devices, which no endpoint gets, by name. */
  readonly aux?: Readonly<Record<string, string>> | undefined;
}

/** A checked subnet, in canonical text. */
export interface SubnetPlan {
  readonly subnet: string;
  readonly gateway: string;
  readonly ipRange?: string;
  readonly aux: Readonly<Record<string, string>>;
}

/** The longest prefixes that have room for a gateway and an endpoint, beside the addresses that hosts cannot have. */
const LONGEST = { 4: 30, 6: 126 } as const;

/**
 * Checks one subnet, and chooses its gateway.
 * @throws IpamError
 */
export function planSubnet(request: SubnetRequest): SubnetPlan {
  const prefix = parsePrefix(request.subnet, 'subnet');
  const subnet = prefixToText(prefix);
  requireUsable(prefix, 'subnet');
  const longest = LONGEST[prefix.family];
  if (prefix.length > longest)
    throw new IpamError(
      'invalid',
      'subnet',
      `${subnet} has no room for a gateway and an endpoint; the prefix length must be ${longest} or less`,
    );
  const gateway =
    request.gateway === undefined
      ? addressToText({ family: prefix.family, value: prefix.first + 1n })
      : addressToText(hostIn(prefix, request.gateway, 'gateway', 'the gateway'));
  const others: [name: string, address: string][] = [];
  const names = new Map([[gateway, 'the gateway']]);
  for (const [name, text] of Object.entries(request.aux ?? {})) {
    if (name === '')
      throw new IpamError('invalid', 'aux', `the auxiliary address ${text} has no name; write it as router=${text}`);
    const address = addressToText(hostIn(prefix, text, 'aux', `the auxiliary address ${name}`));
    const other = names.get(address);
    if (other !== undefined)
      throw new IpamError(
        'conflict',
        'aux',
        `the auxiliary address ${name} is ${address}, which is also ${other}; choose another`,
      );
    names.set(address, `the auxiliary address ${name}`);
    others.push([name, address]);
  }
  const aux = Object.fromEntries(others);
  if (request.ipRange === undefined) {
    requireRoom(prefix, prefix, [...names.keys()], 'aux');
    return { subnet, gateway, aux };
  }
  const range = parsePrefix(request.ipRange, 'ipRange');
  if (!prefixIncludes(prefix, range))
    throw new IpamError(
      'invalid',
      'ipRange',
      `the range ${prefixToText(range)} is not within the subnet ${subnet}; choose a part of it`,
    );
  requireRoom(prefix, range, [...names.keys()], 'ipRange');
  return { subnet, gateway, ipRange: prefixToText(range), aux };
}

/** @param taken Addresses of the gateway and of other devices. */
function requireRoom(prefix: Prefix, range: Prefix, taken: readonly string[], field: IpamField): void {
  const reserved = taken.filter((text) => prefixHas(range, parseAddress(text, 'aux'))).length;
  const edges = [prefix.first, ...(prefix.family === 4 ? [lastOf(prefix)] : [])].filter((value) =>
    prefixHas(range, { family: prefix.family, value }),
  ).length;
  if (sizeOf(range) <= BigInt(reserved + edges))
    throw new IpamError(
      'invalid',
      field,
      `${prefixToText(range)} has no address for an endpoint: all of its addresses are reserved; choose a larger one, or reserve fewer`,
    );
}

/**
 * Checks the subnets of one network, which must not overlap.
 * @throws IpamError
 */
export function planSubnets(requests: readonly SubnetRequest[]): SubnetPlan[] {
  const plans = requests.map(planSubnet);
  plans.forEach(({ subnet }, i) => {
    const other = plans
      .slice(0, i)
      .find((earlier) => prefixesOverlap(parsePrefix(earlier.subnet, 'subnet'), parsePrefix(subnet, 'subnet')));
    if (other !== undefined)
      throw new IpamError(
        'conflict',
        'subnet',
        `the subnets ${other.subnet} and ${subnet} of one network overlap; leave one of them out`,
      );
  });
  return plans;
}

/**
 * Finds the subnet of each gateway, range and auxiliary address, as Docker does for those of one command.
 * @throws IpamError `invalid` if one is in no subnet, or is the second of its kind in one.
 */
export function sortIntoSubnets(given: {
  readonly subnets: readonly string[];
  readonly gateways?: readonly string[] | undefined;
  readonly ipRanges?: readonly string[] | undefined;
  readonly aux?: Readonly<Record<string, string>> | undefined;
}): SubnetRequest[] {
  const requests = given.subnets.map((subnet) => {
    const aux: Record<string, string> = Object.create(null) as Record<string, string>;
    const request: { subnet: string; gateway?: string; ipRange?: string; aux: typeof aux } = { subnet, aux };
    return { prefix: parsePrefix(subnet, 'subnet'), request };
  });
  const requestOf = (text: string, field: IpamField, what: string, isIn: (prefix: Prefix) => boolean) => {
    const found = requests.find(({ prefix }) => isIn(prefix));
    if (found !== undefined) return found.request;
    const why = given.subnets.length === 0 ? 'goes with a subnet' : `is in no subnet: ${given.subnets.join(', ')}`;
    throw new IpamError('invalid', field, `${what} ${text} ${why}; give the subnet that it belongs to as well`);
  };
  const second = (field: IpamField, what: string, a: string, b: string, subnet: string) =>
    new IpamError('invalid', field, `the subnet ${subnet} has two ${what}, ${a} and ${b}; leave one of them out`);
  for (const gateway of given.gateways ?? []) {
    const address = parseAddress(gateway, 'gateway');
    const request = requestOf(gateway, 'gateway', 'the gateway', (prefix) => prefixHas(prefix, address));
    if (request.gateway !== undefined) throw second('gateway', 'gateways', request.gateway, gateway, request.subnet);
    request.gateway = gateway;
  }
  for (const range of given.ipRanges ?? []) {
    const inner = parsePrefix(range, 'ipRange');
    const request = requestOf(range, 'ipRange', 'the range', (prefix) => prefixIncludes(prefix, inner));
    if (request.ipRange !== undefined) throw second('ipRange', 'ranges', request.ipRange, range, request.subnet);
    request.ipRange = range;
  }
  for (const [name, text] of Object.entries(given.aux ?? {})) {
    const address = parseAddress(text, 'aux');
    requestOf(text, 'aux', `the auxiliary address ${name}`, (prefix) => prefixHas(prefix, address)).aux[name] = text;
  }
  return requests.map(({ request }) => request);
}

/**
 * An address of a subnet that a host can have.
 * @param what The address in words.
 */
function hostIn(prefix: Prefix, text: string, field: IpamField, what: string): Address {
  const address = parseAddress(text, field);
  const shown = `${what}, ${addressToText(address)},`;
  if (!prefixHas(prefix, address))
    throw new IpamError('invalid', field, `${shown} is not in the subnet ${prefixToText(prefix)}; choose one of it`);
  const why = unusableIn(prefix, address.value);
  if (why !== undefined) throw new IpamError('invalid', field, `${shown} is ${why}; choose another`);
  return address;
}

/** Why no host of a subnet can have an address, as a noun phrase; `undefined` if one can. */
export function unusableIn(prefix: Prefix, value: bigint): string | undefined {
  const subnet = prefixToText(prefix);
  if (value === prefix.first)
    return prefix.family === 4
      ? `the network address of ${subnet}`
      : `the subnet-router anycast address of ${subnet} (RFC 4291, section 2.6.1)`;
  return prefix.family === 4 && value === lastOf(prefix) ? `the broadcast address of ${subnet}` : undefined;
}

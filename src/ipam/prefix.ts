/** Prefixes of both families as numbers, so that they can be compared, nested and cut. */
import { formatIpv6, ipv4ToText, isIpv6Text, parseIpv4, parseIpv6 } from '../address/index.js';
import { IpamError, type IpamField } from './error.js';

export type Family = 4 | 6;

/** A network: its first address, and how many leading bits all its addresses share. */
export interface Prefix {
  readonly family: Family;
  /** Its host bits are zero. */
  readonly first: bigint;
  /** 0 to 32, or 0 to 128. */
  readonly length: number;
}

/** Bits of an address. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** How many addresses a prefix has. */
export function sizeOf({ family, length }: Prefix): bigint {
  return 1n << BigInt(bitsOf(family) - length);
}

/** The last address of a prefix. */
export function lastOf(prefix: Prefix): bigint {
  return prefix.first + sizeOf(prefix) - 1n;
}

/** An address as a number, with its family. */
export interface Address {
  readonly family: Family;
  readonly value: bigint;
}

/** @throws RangeError naming the text. */
export function addressOf(text: string): Address {
  if (!isIpv6Text(text)) return { family: 4, value: BigInt(parseIpv4(text)) };
  const octets = parseIpv6(text);
  const view = new DataView(octets.buffer, octets.byteOffset);
  return { family: 6, value: (view.getBigUint64(0) << 64n) | view.getBigUint64(8) };
}

/** The canonical text of an address. */
export function addressToText({ family, value }: Address): string {
  if (family === 4) return ipv4ToText(Number(value));
  const octets = new Uint8Array(16);
  const view = new DataView(octets.buffer);
  view.setBigUint64(0, value >> 64n);
  view.setBigUint64(8, BigInt.asUintN(64, value));
  return formatIpv6(octets);
}

/**
 * An address that somebody asked for.
 * @throws IpamError `invalid` naming the text.
 */
export function parseAddress(text: string, field: IpamField): Address {
  try {
    return addressOf(text);
  } catch (error) {
    throw new IpamError('invalid', field, (error as Error).message);
  }
}

/** The prefix of so many bits that an address is in. */
export function prefixAround({ family, value }: Address, length: number): Prefix {
  const host = BigInt(bitsOf(family) - length);
  return { family, first: (value >> host) << host, length };
}

/**
 * Reads `10.0.0.0/24` or `fd00::/64`.
 * @throws IpamError `invalid` naming the text: also if it has host bits, because it is then unclear which network is meant.
 */
export function parsePrefix(text: string, field: IpamField): Prefix {
  const [address = '', length = '', ...more] = text.split('/');
  const family = isIpv6Text(address) ? 6 : 4;
  const bits = bitsOf(family);
  const example = family === 6 ? 'fd00::/64' : '10.0.0.0/24';
  if (more.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bits)
    throw new IpamError(
      'invalid',
      field,
      `"${text}" is not a prefix: an address, "/" and 0 to ${bits}; write it as ${example}`,
    );
  const parsed = parseAddress(address, field);
  const prefix = prefixAround(parsed, Number(length));
  if (prefix.first !== parsed.value)
    throw new IpamError(
      'invalid',
      field,
      `${text} is an address in a network; write the network itself, ${prefixToText(prefix)}`,
    );
  return prefix;
}

/** Writes `10.0.0.0/24`. */
export function prefixToText({ family, first, length }: Prefix): string {
  return `${addressToText({ family, value: first })}/${length}`;
}

/** The order of prefixes: IPv4 first, then by address, and a network before those within it. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.length - b.length;
}

/** Whether every address of `inner` is one of `outer`. */
export function prefixIncludes(outer: Prefix, inner: Prefix): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false;
  const host = BigInt(bitsOf(outer.family) - outer.length);
  return outer.first >> host === inner.first >> host;
}

/** Whether an address is one of a prefix. */
export function prefixHas(prefix: Prefix, { family, value }: Address): boolean {
  return prefixIncludes(prefix, { family, first: value, length: bitsOf(family) });
}

/** Whether two prefixes have an address in common: then one includes the other. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return prefixIncludes(a, b) || prefixIncludes(b, a);
}

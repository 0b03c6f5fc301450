import { ipv4ToText, parseIpv4 } from './ipv4.js';

/** An IPv4 address with a prefix length, as an interface has it: the address keeps its host bits. */
export interface Ipv4Prefix {
  /** Unsigned 32 bits. */
  address: number;
  /** Leading bits that name the network, 0 to 32. */
  length: number;
}

/** The mask of a prefix length as an unsigned 32-bit number: 24 gives 0xffffff00. */
export function ipv4Mask(length: number): number {
  return length === 0 ? 0 : (-1 << (32 - length)) >>> 0;
}

/**
 * Reads `10.0.0.3/24`.
 * @throws RangeError naming the text.
 */
export function parseIpv4Prefix(text: string): Ipv4Prefix {
  const [address, length, more] = text.split('/');
  if (length === undefined || more !== undefined || !/^\d{1,2}$/.test(length) || Number(length) > 32)
    throw new RangeError(`"${text}" is not an IPv4 prefix; write it as 10.0.0.3/24`);
  return { address: parseIpv4(address!), length: Number(length) };
}

/** Writes `10.0.0.3/24`. */
export function ipv4PrefixToText(prefix: Ipv4Prefix): string {
  return `${ipv4ToText(prefix.address)}/${prefix.length}`;
}

/** Whether `address` (unsigned 32 bits) lies in the prefix's network. */
export function ipv4PrefixContains(prefix: Ipv4Prefix, address: number): boolean {
  return ((prefix.address ^ address) & ipv4Mask(prefix.length)) === 0;
}

import { parseIpv4 } from './ipv4.js';
import { parseIpv6 } from './ipv6.js';

/** The two addresses of a packet as text, both IPv4 or both IPv6. UDP and TCP checksums cover them. */
export interface Addresses {
  source: string;
  destination: string;
}

/** Whether the text can only be an IPv6 address. */
export function isIpv6Text(text: string): boolean {
  return text.includes(':');
}

/** Sum of the 16-bit words of an address in text. */
function words(text: string): number {
  if (!isIpv6Text(text)) {
    const address = parseIpv4(text);
    return (address >>> 16) + (address & 0xffff);
  }
  const bytes = parseIpv6(text);
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | bytes[i + 1]!;
  return total;
}

/**
 * The partial checksum sum of the pseudo-header (RFC 768; RFC 8200, section 8.1), for `finish` and `sum` of `wire`.
 * @param length bytes of the upper-layer header and its data.
 * @throws RangeError naming the address that is invalid, or both where their families differ.
 */
export function pseudoHeaderSum(addresses: Addresses, protocol: number, length: number): number {
  const { source, destination } = addresses;
  if (isIpv6Text(source) !== isIpv6Text(destination))
    throw new RangeError(`"${source}" and "${destination}" are of different address families`);
  return words(source) + words(destination) + protocol + (length >>> 16) + (length & 0xffff);
}

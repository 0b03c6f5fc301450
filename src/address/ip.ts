import { ipv4ToText, parseIpv4 } from './ipv4.js';
import { formatIpv6, parseIpv6 } from './ipv6.js';
import { isIpv6Text } from './pseudo.js';

/** An IP address: IPv4 as a number, unsigned 32 bits; IPv6 as its 16 octets, which nobody changes. */
export type Ip = number | Uint8Array;

/** An IP address as text: `10.0.0.4` or `fd00::4`. */
export function ipToText(ip: Ip): string {
  return typeof ip === 'number' ? ipv4ToText(ip) : formatIpv6(ip);
}

/**
 * The IP address in a text.
 * @throws RangeError naming the text.
 */
export function parseIp(text: string): Ip {
  return isIpv6Text(text) ? parseIpv6(text) : parseIpv4(text);
}

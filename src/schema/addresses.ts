/** IP addresses in configuration: their canonical text and their properties. */
import ipaddr from 'ipaddr.js';

/** 4 or 6, or 0 if `text` is not the address of one host in plain notation (no zone, no octal, no short forms). */
export function family(text: string): 4 | 6 | 0 {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return 4;
  return ipaddr.IPv6.isValid(text) && !text.includes('%') ? 6 : 0;
}

/** An accepted IP address in its canonical text (RFC 5952). */
export function canonicalIp(text: string): string {
  return ipaddr.parse(text).toString();
}

/** Whether an address is that of no host, 0.0.0.0 or ::, which stands for all addresses of this one where a socket is bound. */
export function isUnspecified(address: string): boolean {
  return ipaddr.parse(address).range() === 'unspecified';
}

/** Whether an address is neither multicast, broadcast nor unspecified. */
export function isUnicast(text: string): boolean {
  const range = ipaddr.parse(text).range();
  return range !== 'multicast' && range !== 'broadcast' && range !== 'unspecified';
}

/** The address of `10.0.0.3/24`, in canonical text. */
export function prefixAddress(text: string): string {
  return canonicalIp(text.slice(0, text.indexOf('/')));
}

/**
 * Parses a host (address or name) with an optional port; `null` if it is neither. IPv6 with a port requires brackets.
 */
export function parseHostPort(text: string, port = 7946): { host: string; port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]]*?))(?::(\d{1,5}))?$/.exec(text);
  const host = family(text) === 6 ? text : (match?.[1] ?? match?.[2] ?? '');
  const given = family(text) === 6 ? undefined : match?.[3];
  const number = given === undefined ? port : Number(given);
  if (number < 1 || number > 65_535) return null;
  if (family(host) !== 0) return { host: canonicalIp(host), port: number };
  return /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?$/i.test(host) && !/^[0-9.]+$/.test(host)
    ? { host, port: number }
    : null;
}

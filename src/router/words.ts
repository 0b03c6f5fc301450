/**
 * Addresses of both families as four words of 32 bits, signed, so that one table holds both. An IPv4 address has the form
 * of a mapped one, ::ffff:10.0.0.4 (RFC 4291, section 2.5.5.2).
 */
import { IPV4_LENGTH, IPV6_LENGTH, isIpv6Text, parseIpv4, parseIpv6 } from '../address/index.js';
import { getI32, hashWords, setU32 } from '../wire/index.js';

/** The third word of an IPv4 address. */
const MAPPED = 0xffff;
/** Bits in front of an IPv4 address. */
const MAPPED_BITS = 96;

/** fe80::/10 in the first word. */
const LINK_LOCAL = 0xfe80_0000 | 0;
const LINK_LOCAL_MASK = 0xffc0_0000 | 0;

/** Reads the address at `at`, which has 4 or 16 octets, into `words`. */
export function readWords(words: Int32Array, bytes: Uint8Array, at: number, length: number): void {
  if (length === IPV4_LENGTH) {
    words[0] = 0;
    words[1] = 0;
    words[2] = MAPPED;
    words[3] = getI32(bytes, at);
    return;
  }
  for (let i = 0; i < 4; i++) words[i] = getI32(bytes, at + i * 4);
}

/** The octets of an address in text, 4 or 16. @throws RangeError naming the text. */
export function octetsOf(text: string): Uint8Array {
  if (isIpv6Text(text)) return parseIpv6(text);
  const octets = new Uint8Array(IPV4_LENGTH);
  setU32(octets, 0, parseIpv4(text));
  return octets;
}

/** The words of an address in octets. */
export function wordsOf(octets: Uint8Array): Int32Array {
  const words = new Int32Array(4);
  readWords(words, octets, 0, octets.length);
  return words;
}

/** The mask of a prefix length of an address with `octets` octets. */
export function maskOf(length: number, octets: number): Int32Array {
  const bits = octets === IPV4_LENGTH ? MAPPED_BITS + length : length;
  return Int32Array.from([0, 32, 64, 96], (before) => {
    const ones = Math.min(Math.max(bits - before, 0), 32);
    return ones === 0 ? 0 : -1 << (32 - ones);
  });
}

/** Whether an IPv6 address is in fe80::/10. */
export function isLinkLocal(words: Int32Array): boolean {
  return (words[0]! & LINK_LOCAL_MASK) === LINK_LOCAL;
}

export function areEqual(a: Int32Array, b: Int32Array): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}

/** A key of a table: see `hashWords`. */
export function hashOf(vni: number, words: Int32Array): number {
  return hashWords(vni, words[0]!, words[1]!, words[2]!, words[3]!);
}

/**
 * Reads `10.0.0.1/24` or `fd00::1/64`.
 * @throws RangeError naming the text.
 */
export function parsePrefix(text: string): { octets: Uint8Array; length: number } {
  const [address = '', length, more] = text.split('/');
  const octets = octetsOf(address);
  if (length === undefined || more !== undefined || !/^\d{1,3}$/.test(length) || Number(length) > octets.length * 8)
    throw new RangeError(`"${text}" is not a prefix; write it as 10.0.0.1/24 or fd00::1/64`);
  return { octets, length: Number(length) };
}

export { IPV4_LENGTH, IPV6_LENGTH };

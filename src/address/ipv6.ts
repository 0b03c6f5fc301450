import { formatIpv4, parseIpv4 } from './ipv4.js';

/** IPv6 addresses: 16 octets, or the text of RFC 5952: lower case, the longest run of zero groups as `::`. */

/** Octets in an IPv6 address. */
export const IPV6_LENGTH = 16;

/** The IPv6 address at `offset` as text in the form of RFC 5952, with `::ffff:10.0.0.4` for mapped addresses (section 5). */
export function formatIpv6(bytes: Uint8Array, offset = 0): string {
  const group = (index: number): number => (bytes[offset + index * 2]! << 8) | bytes[offset + index * 2 + 1]!;
  let best = 8;
  let length = 1; // section 4.2.2: a single zero group is not shortened
  for (let i = 0, run = 0; i < 8; i++) {
    run = group(i) === 0 ? run + 1 : 0;
    if (run > length) best = i + 1 - (length = run);
  }
  if (best === 0 && length === 5 && group(5) === 0xffff) return '::ffff:' + formatIpv4(bytes, offset + 12);
  let text = '';
  for (let i = 0; i < 8; i++) {
    if (i === best) {
      text += '::';
      i += length - 1;
    } else text += (i === 0 || i === best + length ? '' : ':') + group(i).toString(16);
  }
  return text;
}

/**
 * The 16 octets of an IPv6 address in text (RFC 4291, section 2.2), `::` and a dotted IPv4 tail included, without a zone.
 * @throws RangeError naming the text.
 */
export function parseIpv6(text: string): Uint8Array {
  const refuse = (): never => {
    throw new RangeError(`"${text}" is not an IPv6 address; write it as fd00::4`);
  };
  let rest = text;
  const tail: number[] = [];
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    let address = 0;
    try {
      address = parseIpv4(dotted[2]!);
    } catch {
      refuse();
    }
    tail.push(address >>> 16, address & 0xffff);
    rest = dotted[1]!.endsWith('::') ? dotted[1]! : dotted[1]!.slice(0, -1);
  }
  const groups = (part: string): number[] =>
    part === ''
      ? []
      : part.split(':').map((group) => (/^[0-9a-f]{1,4}$/i.test(group) ? parseInt(group, 16) : refuse()));
  const halves = rest.split('::');
  if (halves.length > 2) refuse();
  const head = groups(halves[0]!);
  const last = [...(halves.length === 2 ? groups(halves[1]!) : []), ...tail];
  const gap = 8 - head.length - last.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) refuse();
  const bytes = new Uint8Array(IPV6_LENGTH);
  [...head, ...new Array<number>(gap).fill(0), ...last].forEach((group, i) => {
    bytes[i * 2] = group >>> 8;
    bytes[i * 2 + 1] = group;
  });
  return bytes;
}

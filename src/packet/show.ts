import { HEX } from '../address/index.js';
import type { Layer } from './layers.js';
import { etherTypeName, protocolName } from './names.js';

/** Bytes in a row of a hex dump. */
const ROW = 16;
/** Maximum number of bytes of a field that {@link tree} shows. */
const MAX_SHOWN = 32;

/** Fields that are shown in hexadecimal, with their number of digits. */
const HEXADECIMAL: Readonly<Record<string, number>> = { checksum: 4, identification: 4, flags: 2, reserved1: 6 };

/** Bytes as hexadecimal digits, without spaces. */
export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const octet of bytes) text += HEX[octet]!;
  return text;
}

/** Bytes in the format of tcpdump's `-X`: offset, pairs in hexadecimal, ASCII; 16 bytes per line. */
export function hexdump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += ROW) {
    let digits = '';
    let characters = '';
    for (let i = at; i < Math.min(at + ROW, bytes.length); i++) {
      const octet = bytes[i]!;
      digits += HEX[octet]! + (i % 2 === 1 ? ' ' : '');
      characters += octet >= 0x20 && octet < 0x7f ? String.fromCharCode(octet) : '.';
    }
    lines.push(`0x${at.toString(16).padStart(4, '0')}:  ${digits.padEnd(ROW * 2.5)} ${characters}`);
  }
  return lines.join('\n');
}

/** The layers of a packet with all their fields, one per line. */
export function tree(layers: readonly Layer[]): string {
  const lines: string[] = [];
  for (const { protocol, offset, size, ...fields } of layers) {
    lines.push(`${protocol}, ${size} bytes at ${offset}`);
    for (const [name, value] of Object.entries(fields)) lines.push(`    ${name}: ${show(name, value)}`);
  }
  return lines.join('\n');
}

function show(name: string, value: unknown): string {
  if (value instanceof Uint8Array) {
    const more = value.length > MAX_SHOWN ? `… (${value.length} bytes)` : '';
    return hex(value.subarray(0, MAX_SHOWN)) + more;
  }
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map((item) => show('', item)).join(', ');
  if (typeof value === 'object' && value !== null)
    return Object.entries(value)
      .filter(([, part]) => !(part instanceof Uint8Array && part.length === 0))
      .map(([key, part]) => `${key} ${show(key, part)}`)
      .join(' ');
  if (typeof value !== 'number') return String(value);
  if (name === 'etherType') return etherTypeName(value);
  if (name === 'protocolNumber' || name === 'nextHeader') return `${value} (${protocolName(value)})`;
  const digits = HEXADECIMAL[name];
  return digits === undefined ? String(value) : `0x${value.toString(16).padStart(digits, '0')}`;
}

/** Reads how many datagrams the kernel has dropped at a UDP socket: the last column of `/proc/net/udp`. */
import { readFile } from 'node:fs/promises';
import { parseIpv4, parseIpv6 } from '../address/index.js';

/** @returns 0 if the system does not report it. */
export async function droppedAt(local: string, port: number): Promise<number> {
  try {
    return dropsIn(await readFile(`/proc/self/net/udp${local.includes(':') ? '6' : ''}`, 'utf8'), local, port);
  } catch {
    return 0;
  }
}

/** Finds the drops of the socket that is bound to an address and port, in the text of such a file. */
export function dropsIn(text: string, local: string, port: number): number {
  const place = `${hexAddress(local)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of text.split('\n')) {
    const columns = line.trim().split(/\s+/);
    if (columns[1] === place) return Number(columns.at(-1));
  }
  return 0;
}

/** The kernel prints each 32-bit word of an address in host byte order, which is little-endian here. */
function hexAddress(text: string): string {
  const bytes = text.includes(':') ? parseIpv6(text) : ipv4Bytes(parseIpv4(text));
  let hex = '';
  for (let word = 0; word < bytes.length; word += 4)
    for (let i = 3; i >= 0; i--) hex += bytes[word + i]!.toString(16).toUpperCase().padStart(2, '0');
  return hex;
}

function ipv4Bytes(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, (address >>> 16) & 0xff, (address >>> 8) & 0xff, address & 0xff);
}

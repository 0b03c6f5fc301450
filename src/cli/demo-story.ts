/** Shared by both variants of the demo: headings, and a packet layer by layer. */
import { dissect, hexdump, summarize, tree } from '../packet/index.js';
import { LINKTYPE_RAW } from '../pcap/index.js';
import { print } from './streams.js';

export function heading(text: string): void {
  print(['', `== ${text}`]);
}

export function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `   ${line}`));
}

/** Prints a frame, and the datagram that carries it layer by layer. */
export function encapsulation(sender: string, frame: Uint8Array, packet: Uint8Array): void {
  print([
    `   ${sender} sent a frame of ${frame.length} bytes: ${summarize(dissect(frame).layers)}`,
    `   The packet that carries it, ${packet.length} bytes from its IP header on:`,
  ]);
  print(indent(compact(tree(dissect(packet, { linkType: LINKTYPE_RAW }).layers).split('\n'))));
  print(indent(hexdump(packet).split('\n')));
}

/** Most characters of a line of fields. */
const WIDTH = 120;

/** The lines of a tree, with as many fields on a line as it has room for. */
function compact(lines: readonly string[]): string[] {
  const short: string[] = [];
  let isField = false;
  for (const line of lines) {
    const last = short.at(-1) ?? '';
    const wasField = isField;
    isField = line.startsWith(' ');
    if (isField && wasField && last.length + line.length < WIDTH) short[short.length - 1] = `${last}, ${line.trim()}`;
    else short.push(line);
  }
  return short;
}

/** Shared by both variants of the demo: the picture, the addresses and the headings. */
import { dissect, hexdump, tree } from '../packet/index.js';
import { LINKTYPE_RAW } from '../pcap/index.js';
import { print } from './streams.js';

export const VNI = 4097;
export const C1 = { name: 'C1', ip: '10.0.0.3', mac: '02:42:0a:00:00:03', host: '172.31.1.5' };
export const C2 = { name: 'C2', ip: '10.0.0.4', mac: '02:42:0a:00:00:04', host: '192.168.1.25' };

export function heading(text: string): void {
  print(['', `== ${text}`]);
}

export function picture(): void {
  print([
    `weft: C1 on host 1 pings C2 on host 2 through an overlay of its own, VNI ${VNI}`,
    '',
    `   C1 ${C1.ip}                                      C2 ${C2.ip}`,
    '        |                                                 |',
    `   VTEP, host 1 ${C1.host} --- underlay --- ${C2.host} host 2, VTEP`,
  ]);
}

export function indent(lines: readonly string[]): string[] {
  return lines.map((line) => (line === '' ? '' : `   ${line}`));
}

/** Prints a frame and the datagram that carries it, layer by layer. */
export function encapsulation(frame: Uint8Array, packet: Uint8Array): void {
  print(`   the frame, ${frame.length} bytes, as C1 sent it:`);
  print(indent(tree(dissect(frame).layers).split('\n')));
  print(`   the packet that carries it, ${packet.length} bytes from its IP header on:`);
  print(indent(tree(dissect(packet, { linkType: LINKTYPE_RAW }).layers).split('\n')));
  print(indent(hexdump(packet).split('\n')));
}

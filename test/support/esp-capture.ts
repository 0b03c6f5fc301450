/** What an eavesdropper finds in a capture by tcpdump: ESP packets in UDP over Ethernet. */
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { waitFor, type Lab, type Running } from './lab.js';

const HEADER = 24;
const RECORD = 16;
const ETHERNET = 14;
const UDP = 8;
const ESP_PORT = 4500;

/** Starts tcpdump on a device, with everything that it sees. @param length Most bytes of a packet. */
export async function eavesdrop(lab: Lab, ns: string, device: string, file: string, length = 65_535): Promise<Running> {
  const flags = ['-i', device, '-s', String(length), '-B', '16384', '-U', '--immediate-mode', '-Z', 'root', '-w', file];
  const tcpdump = lab.spawn(['tcpdump', ...flags], { ns });
  await waitFor('tcpdump to listen', () => {
    assert.ok(tcpdump.running, tcpdump.stderr);
    return /listening on/.test(tcpdump.stderr);
  });
  return tcpdump;
}

/** The frames of a file of tcpdump: the classic format, in the byte order of this machine. */
export function framesOf(file: string): Buffer[] {
  const bytes = readFileSync(file);
  assert.is(bytes.readUInt32LE(0), 0xa1b2c3d4, 'a file of tcpdump');
  const frames: Buffer[] = [];
  for (let at = HEADER; at + RECORD <= bytes.length;) {
    const length = bytes.readUInt32LE(at + 8);
    frames.push(bytes.subarray(at + RECORD, at + RECORD + length));
    at += RECORD + length;
  }
  return frames;
}

/** The UDP header in a frame, or -1 for what is no whole UDP datagram over IPv4 or IPv6. */
export function udpIn(frame: Buffer): number {
  const type = frame.readUInt16BE(12);
  if (type === 0x0800 && frame[ETHERNET + 9] === 17) return ETHERNET + (frame[ETHERNET]! & 15) * 4;
  if (type === 0x86dd && frame[ETHERNET + 6] === 17) return ETHERNET + 40;
  return -1;
}

/** An ESP packet on the wire. */
export interface SeenEsp {
  from: string;
  spi: number;
  sequence: number;
  iv: string;
}

/** The ESP packets in frames. */
export function espIn(frames: readonly Buffer[]): SeenEsp[] {
  const seen: SeenEsp[] = [];
  for (const frame of frames) {
    const udp = udpIn(frame);
    if (udp < 0 || frame.readUInt16BE(udp + 2) !== ESP_PORT || frame.length < udp + UDP + 16) continue;
    const at = udp + UDP;
    const spi = frame.readUInt32BE(at);
    if (spi === 0) continue; // the non-ESP marker
    const isV4 = frame.readUInt16BE(12) === 0x0800;
    const from = isV4 ? [...frame.subarray(26, 30)].join('.') : frame.subarray(22, 38).toString('hex');
    const iv = frame.subarray(at + 8, at + 16).toString('hex');
    seen.push({ from, spi, sequence: frame.readUInt32BE(at + 4), iv });
  }
  return seen;
}

/** Fails if two packets of one association have the same IV. @returns the SPIs. */
export function requireFreshIvs(seen: readonly SeenEsp[]): Set<number> {
  const nonces = new Set<string>();
  const spis = new Set<number>();
  for (const { spi, iv } of seen) {
    const nonce = `${spi} ${iv}`;
    assert.not(nonces.has(nonce), `SPI ${spi} has IV ${iv} twice`);
    nonces.add(nonce);
    spis.add(spi);
  }
  return spis;
}

/** The pieces of `length` bytes of a text that occur in a frame. */
export function piecesIn(frames: readonly Buffer[], text: Buffer, length = 8): string[] {
  const found = new Set<string>();
  for (let at = 0; at + length <= text.length; at++) {
    const piece = text.subarray(at, at + length);
    if (frames.some((frame) => frame.includes(piece))) found.add(piece.toString('latin1'));
  }
  return [...found];
}

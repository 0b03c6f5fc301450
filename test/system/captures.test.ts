/**
 * Compares every packet of every capture with `tshark -T json`, layer by layer: captures in `test/captures`, and in the
 * directory WEFT_CAPTURES (default `../shared/captures`) if it exists.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { dissect } from '../../src/packet/index.js';
import { CaptureReader, type CapturedPacket } from '../../src/pcap/index.js';
import { suiteWith } from '../support/needs.js';
import { differences, field, tshark } from '../support/tshark.js';

const own = fileURLToPath(new URL('../captures', import.meta.url));
const others = process.env['WEFT_CAPTURES'] ?? fileURLToPath(new URL('../../../shared/captures', import.meta.url));

/** Chunk size for the reader in bytes: small, so that packets span chunks. */
const CHUNK = 1000;

function filesIn(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[])
    .filter((name) => /\.(pcap|pcapng|cap)$/.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/** weft reads each packet separately. */
const NO_REASSEMBLY = ['-o', 'ip.defragment:FALSE', '-o', 'ipv6.defragment:FALSE'];

interface Outcome {
  packets: number;
  findings: string[];
}

async function compare(file: string): Promise<Outcome> {
  const reader = new CaptureReader();
  const bytes = Uint8Array.from(readFileSync(file));
  const packets: CapturedPacket[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK) packets.push(...reader.push(bytes.subarray(at, at + CHUNK)));
  const problem = reader.finish();
  const theirs = await tshark(file, NO_REASSEMBLY);
  const findings: string[] = [];
  if (packets.length !== theirs.length)
    findings.push(`${packets.length} packets, ${theirs.length} to tshark (${problem?.message ?? 'no problem'})`);
  packets.slice(0, theirs.length).forEach((packet, i) => {
    const { number, length, captured, linkType, data } = packet;
    const frame = theirs[i]!.find(({ name }) => name === 'frame')!;
    const found: string[] = [];
    if (Number(field(frame, 'frame.number')) !== number) found.push(`number ${field(frame, 'frame.number')} to tshark`);
    if (Number(field(frame, 'frame.len')) !== length)
      found.push(`length ${length}, ${field(frame, 'frame.len')} to tshark`);
    if (Number(field(frame, 'frame.cap_len')) !== captured)
      found.push(`captured ${captured}, ${field(frame, 'frame.cap_len')} to tshark`);
    if (!sameTime(packet, field(frame, 'frame.time_epoch')))
      found.push(`time ${packet.timestamp}, ${field(frame, 'frame.time_epoch')} to tshark`);
    found.push(...differences(dissect(data, { linkType, originalLength: length }), theirs[i]!));
    findings.push(...found.map((finding) => `packet ${number}: ${finding}`));
  });
  return { packets: packets.length, findings };
}

/** Whether the times are equal. tshark wraps a fraction of more than a second, as in damaged files, to 32 bits. */
function sameTime({ timestamp, interface: { unitsPerSecond } }: CapturedPacket, theirs: string | undefined): boolean {
  if (timestamp === null || theirs === undefined) return timestamp === null && theirs === undefined;
  const [seconds, fraction] = theirs.split('.');
  if (theirs.startsWith('-') || Number(seconds) > 0xffff_0000) return true;
  const difference = BigInt(seconds!) * 1_000_000_000n + BigInt(fraction!) - timestamp;
  return (
    difference === 0n ||
    (unitsPerSecond === 1_000_000n &&
      difference % 1_000_000_000n !== 0n &&
      timestamp % 1000n === 0n &&
      wraps(difference))
  );
}

function wraps(difference: bigint): boolean {
  return difference % (1n << 32n) === 0n;
}

const captures = suiteWith('captures', ['tshark']);

for (const [what, folder] of [
  ['made by this project', own],
  ['made by others', others],
] as const) {
  if (!existsSync(folder)) {
    console.log(`skipped captures ${what}: WEFT_CAPTURES names no folder`);
    continue;
  }
  captures(`${what}: weft and tshark agree on every packet of every file`, async () => {
    const files = filesIn(folder);
    const queue = [...files];
    const findings: string[] = [];
    let packets = 0;
    const drain = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
        const outcome = await compare(file);
        packets += outcome.packets;
        findings.push(...outcome.findings.map((finding) => `${file!.slice(folder.length + 1)}: ${finding}`));
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, drain));
    assert.is(findings.join('\n'), '');
    assert.ok(files.length > 0 && packets > files.length / 2, `${packets} packets of ${files.length} files`);
    console.log(`# ${packets} packets of ${files.length} files, ${what}`);
  });
}

captures.run();

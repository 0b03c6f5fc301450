import { CaptureReader, PcapngWriter, PcapWriter, type CapturedPacket } from '../src/pcap/index.js';
import { ensure, equal, wireError } from '../test/support/contract.js';

interface Result {
  packets: CapturedPacket[];
  problem: string | null;
}

/** Reads a file in pieces whose lengths cycle through `sizes`. */
function read(data: Uint8Array, sizes: readonly number[]): Result {
  const reader = new CaptureReader({ maxCaptured: 4096 });
  const packets: CapturedPacket[] = [];
  for (let at = 0, turn = 0; at < data.length; turn++) {
    const size = sizes[turn % sizes.length]!;
    packets.push(...reader.push(data.slice(at, at + size)));
    at += size;
  }
  const problem = reader.finish();
  ensure(reader.count === packets.length, `the reader counts ${reader.count} packets but returned ${packets.length}`);
  return { packets, problem: problem === null ? null : wireError(problem).message };
}

/**
 * A reader gives the same packets and the same problem, whatever the pieces; and packets round-trip through both
 * writers.
 */
export function fuzz(data: Uint8Array): void {
  const whole = read(data, [Math.max(1, data.length)]);
  equal(read(data, [1]), whole, 'read octet by octet, compared with read at once');
  equal(read(data, [7, 64, 3]), whole, 'read in pieces, compared with read at once');
  for (const { captured, data: bytes } of whole.packets)
    ensure(captured === bytes.length && captured <= 4096, 'the lengths of a packet disagree');

  const linkType = whole.packets[0]?.linkType;
  const kept = whole.packets
    .filter((packet) => packet.linkType === linkType)
    .map(({ timestamp, length, data }) => ({
      timestamp: (timestamp ?? 0n) & 0x1fff_ffff_ffff_ffffn,
      length: Math.max(length, data.length), // writers reject less
      data,
    }));
  if (linkType === undefined) return;
  const next = new PcapngWriter();
  const blocks = [next.header(), next.addInterface({ linkType }), ...kept.map((packet) => next.packet(packet))];
  const old = new PcapWriter({ linkType });
  const records = [old.header(), ...kept.map((packet) => old.packet(packet))];
  for (const file of [blocks, records]) {
    const again = read(Uint8Array.from(Buffer.concat(file)), [1000]);
    equal(again.problem, null, 'the problem in the written file');
    equal(
      again.packets.map(({ timestamp, length, data }) => ({ timestamp, length, data })),
      kept,
      'the packets, written and read again',
    );
  }
}

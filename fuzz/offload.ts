/**
 * The input is a series of frames: a kind octet, a GSO size and a length in two octets each, and as many bytes. The
 * target segments each as a super-frame, and coalesces the segments and the frames that cannot be segmented, in order.
 * Segmenting the result again must give the same frames.
 *
 * Bits 0 to 2 of the kind choose the GSO type, bit 3 is the tag, and bit 4 says not to segment the frame.
 */
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4 } from '../src/virtio/index.js';
import { ensure, equal } from '../test/support/contract.js';
import { coalesceAll, segmentAll } from '../test/support/offload.js';

const TYPES = [GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN, GSO_NONE, GSO_UDP, 0x42, GSO_TCPV6 | GSO_ECN];
/** Most frames: a few bytes of input could ask for thousands. */
const MOST = 200;

export function fuzz(data: Uint8Array): void {
  const frames: Uint8Array[] = [];
  const tags: number[] = [];
  for (let at = 0; at + 5 <= data.length && frames.length < MOST;) {
    const kind = data[at]!;
    const size = (data[at + 1]! << 8) | data[at + 2]!;
    const frame = data.subarray(at + 5, at + 5 + ((data[at + 3]! << 8) | data[at + 4]!));
    at += 5 + frame.length;
    const segments = (kind & 16) === 0 ? segmentAll(frame, TYPES[kind & 7]!, size) : -1;
    for (const one of typeof segments === 'number' ? [frame] : segments.slice(0, MOST)) {
      frames.push(one);
      tags.push((kind >>> 3) & 1);
    }
  }
  for (const options of [
    { udp: true, flows: 2 },
    { prefix: 8, segments: 3 },
  ]) {
    const { out } = coalesceAll(frames, options, tags);
    const { prefix = 0 } = options as { prefix?: number };
    const again: { bytes: Uint8Array; tag: number }[] = [];
    for (const { bytes, tag, count, fixedId, header } of out) {
      if (header === null) {
        again.push({ bytes, tag });
        continue;
      }
      const segments = segmentAll(bytes, header.gsoType, header.gsoSize, { prefix, fixedId });
      if (typeof segments === 'number') throw new Error(`the segmenter rejects a merged frame: ${segments}`);
      ensure(segments.length === count, `${count} frames were merged into one that has ${segments.length} segments`);
      again.push(...segments.map((segment) => ({ bytes: segment, tag })));
    }
    const input = frames.map((frame, i) => line(frame, tags[i]!));
    equal(
      again.map(({ bytes, tag }) => line(bytes, tag)).sort(),
      [...input].sort(),
      'the frames, coalesced and segmented again',
    );
  }
}

function line(bytes: Uint8Array, tag: number): string {
  return `${tag} ${bytes.join(' ')}`;
}

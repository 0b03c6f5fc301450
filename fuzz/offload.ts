/**
 * Frames of a kind octet, a GSO size and a length in two octets each, and as many bytes: each is segmented as a super-frame
 * of the kind's GSO type, and all that is not refused and all segments are coalesced, in the order in which they come.
 * What comes out has to be what went in, as soon as it is segmented again.
 *
 * The kind: the three low bits choose the GSO type, the next the tag, and the one above that the frame alone, so that it
 * is not segmented.
 */
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, GSO_UDP_L4 } from '../src/virtio/index.js';
import { ensure, equal } from '../test/support/contract.js';
import { coalesceAll, segmentAll } from '../test/support/offload.js';

const TYPES = [GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_TCPV4 | GSO_ECN, GSO_NONE, GSO_UDP, 0x42, GSO_TCPV6 | GSO_ECN];
/** Frames at most, since an input of a few bytes may ask for thousands. */
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
      if (typeof segments === 'number') throw new Error(`what was merged is refused: ${segments}`);
      ensure(segments.length === count, `${count} frames were merged, and ${segments.length} come out`);
      again.push(...segments.map((segment) => ({ bytes: segment, tag })));
    }
    const went = frames.map((frame, i) => line(frame, tags[i]!));
    equal(again.map(({ bytes, tag }) => line(bytes, tag)).sort(), [...went].sort(), 'the frames that came out');
  }
}

function line(bytes: Uint8Array, tag: number): string {
  return `${tag} ${bytes.join(' ')}`;
}

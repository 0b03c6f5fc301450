/**
 * Sends the datagrams of frames that a path carries in fragments only, one call each. They are few: inner IPv6 packets of 1280
 * bytes at most, on paths that do not carry them whole.
 */
import { segmentsStart, type Segmenter } from '../../offload/index.js';
import { type Frame, type Remote } from '../../vtep/index.js';
import * as vxlan from '../../vxlan/index.js';
import { type Sums } from '../simd.js';
import { type ProbeSender } from './probe-sender.js';

const PREFIX = vxlan.HEADER_LENGTH;
/** Segments made at a time. */
const MOST = 16;

/**
 * @param scratch Room for `MOST` segments.
 * @param lose Counts datagrams that were not sent.
 */
export function sendFragmented(
  sender: ProbeSender,
  segmenter: Segmenter,
  { cut }: Pick<Sums, 'cut'>,
  scratch: number,
  remote: Remote,
  { bytes, start, end, superFrame }: Frame,
  lose: (remote: Remote, errno: number, datagrams: number) => void,
): void {
  const send = (from: number, to: number): void => {
    const errno = sender.send(remote, bytes.subarray(from, to), 0);
    if (errno !== 0) lose(remote, errno, 1);
  };
  if (superFrame === null) return send(start, end);
  const { gsoType, gsoSize } = superFrame;
  if (segmenter.open(start + PREFIX, end, gsoType, gsoSize, PREFIX) < 0) return;
  const length = segmenter.headLength + gsoSize;
  while (segmenter.segmentInto(cut, MOST, scratch) > 0)
    for (let at = segmentsStart(scratch); at < segmenter.segmentsEnd; at += length)
      send(at, Math.min(at + length, segmenter.segmentsEnd));
}

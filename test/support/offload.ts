/** Segmentation and coalescing of whole frames, with all that no input may make them do looked for on the way. */
import {
  Coalescer,
  coalesceScratch,
  HEAD_ROOM,
  jsSum,
  Segmenter,
  segmentScratch,
  type CoalescerOptions,
  type Run,
} from '../../src/offload/index.js';
import * as virtio from '../../src/virtio/index.js';
import { ensure, equal } from './contract.js';

/** Bytes around everything, which are to stay as they are. */
const CANARY = 37;
const FILL = 0xa5;

function arena(parts: readonly (number | Uint8Array)[]): { bytes: Uint8Array; at: number[] } {
  const lengths = parts.map((part) => (typeof part === 'number' ? part : part.length));
  const whole = lengths.reduce((sum, length) => sum + length + CANARY, CANARY);
  // Not at the start of its memory either.
  const bytes = new Uint8Array(new ArrayBuffer(whole + 7), 5, whole).fill(FILL);
  const at: number[] = [];
  let next = CANARY;
  for (const [i, part] of parts.entries()) {
    at.push(next);
    if (typeof part !== 'number') bytes.set(part, next);
    next += lengths[i]! + CANARY;
  }
  return { bytes, at };
}

/** All but `[from, to)` is as before. */
function unchanged(bytes: Uint8Array, before: Uint8Array, from: number, to: number): void {
  equal(bytes.subarray(0, from), before.subarray(0, from), 'what is before the scratch');
  equal(bytes.subarray(to), before.subarray(to), 'what is behind the scratch');
}

export interface SegmentOptions {
  prefix?: number;
  /** Segments at most a call of `next`. */
  limit?: number;
}

/** The frames that a super-frame is segmented to, or the code that says why not. */
export function segmentAll(
  superFrame: Uint8Array,
  gsoType: number,
  gsoSize: number,
  { prefix = 0, limit = 7 }: SegmentOptions = {},
): Uint8Array[] | number {
  const scratch = segmentScratch(limit);
  const { bytes, at } = arena([scratch, superFrame]);
  const [room = 0, start = 0] = at;
  const before = bytes.slice();
  const segmenter = new Segmenter(bytes, jsSum(bytes), limit);
  const total = segmenter.open(start + prefix, start + superFrame.length, gsoType, gsoSize, prefix);
  if (total < 0) {
    equal(bytes, before, 'the buffer after a refusal');
    ensure(segmenter.next(limit, room) === 0, 'segments of what was refused');
    return total;
  }
  const frames: Uint8Array[] = [];
  for (let count; (count = segmenter.next(limit, room)) > 0;) {
    for (let i = 0; i < count; i++) {
      const head = segmenter.headOffset[i]!;
      const data = segmenter.dataOffset[i]!;
      const length = segmenter.dataLength[i]!;
      ensure(head >= room && head + segmenter.headLength <= room + scratch, 'a head outside of the scratch');
      ensure(data >= start && data + length <= start + superFrame.length, 'data outside of the super-frame');
      const frame = new Uint8Array(segmenter.headLength + length);
      frame.set(bytes.subarray(head, head + segmenter.headLength));
      frame.set(bytes.subarray(data, data + length), segmenter.headLength);
      frames.push(frame);
    }
    unchanged(bytes, before, room, room + scratch);
    ensure(frames.length <= total, 'more segments than were announced');
  }
  ensure(frames.length === total, `${frames.length} segments, and ${total} were announced`);
  return frames;
}

export interface Coalesced {
  /** The whole frame with its prefix. */
  bytes: Uint8Array;
  tag: number;
  /** How many it is made of. */
  count: number;
  /** Of a merged one: its virtio header. */
  header: Omit<Required<virtio.Virtio>, 'payload'> | null;
}

/** What comes out when the frames go in, one after the other. */
export function coalesceAll(
  frames: readonly Uint8Array[],
  options: CoalescerOptions = {},
  tags: readonly number[] = [],
): { out: Coalesced[]; coalescer: Coalescer } {
  const scratch = coalesceScratch(options.flows ?? 8);
  const { bytes, at } = arena([scratch, ...frames]);
  const [room = 0, ...starts] = at;
  const before = bytes.slice();
  const prefix = options.prefix ?? 0;
  const coalescer = new Coalescer(bytes, room, jsSum(bytes), options);
  const out: Coalesced[] = [];
  const sink = {
    single(offset: number, end: number, tag: number): void {
      const index = starts.indexOf(offset);
      ensure(index >= 0 && end - offset === frames[index]!.length, `${offset} to ${end} is no frame that went in`);
      out.push({ bytes: bytes.slice(offset, end), tag, count: 1, header: null });
    },
    merged(run: Run): void {
      ensure(run.count > 1, `a run of ${run.count}`);
      ensure(run.head - HEAD_ROOM >= room && run.headEnd <= room + scratch, 'a head outside of the scratch');
      ensure(run.frame === run.head + prefix, 'the frame does not begin behind its prefix');
      const whole = new Uint8Array(run.headEnd - run.head + run.dataBytes);
      whole.set(bytes.subarray(run.head, run.headEnd));
      let end = run.headEnd - run.head;
      for (let i = run.first; i < run.first + run.count; i++) {
        const from = coalescer.dataOffset[i]!;
        const length = coalescer.dataLength[i]!;
        ensure(from >= room + scratch && from + length <= bytes.length - CANARY, 'data outside of the frames');
        whole.set(bytes.subarray(from, from + length), end);
        end += length;
      }
      ensure(end === whole.length, 'the ranges are not all of the data');
      const wire = run.count * (run.headEnd - run.head) + run.dataBytes;
      ensure(run.wireBytes === wire, `${run.wireBytes} bytes on the wire, not ${wire}`);
      run.writeVirtio(bytes, run.head - virtio.HEADER_LENGTH);
      const { payload: _, ...header } = virtio.decode(bytes, run.head - virtio.HEADER_LENGTH, run.head);
      out.push({ bytes: whole, tag: run.tag, count: run.count, header });
    },
  };
  for (const [i, frame] of frames.entries()) coalescer.add(starts[i]!, starts[i]! + frame.length, tags[i] ?? 0, sink);
  coalescer.flush(sink);
  unchanged(bytes, before, room, room + scratch);
  return { out, coalescer };
}

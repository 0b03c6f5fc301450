/** Segments and coalesces whole frames, and checks on the way that no input makes the code violate its bounds. */
import {
  Coalescer,
  coalesceScratch,
  HEAD_ROOM,
  joinScratch,
  jsBulk,
  jsCopySum,
  jsSum,
  segmentsStart,
  segmentIntoScratch,
  Segmenter,
  segmentScratch,
  type CoalescerOptions,
  type Joining,
  type Run,
} from '../../src/offload/index.js';
import { sums, type Sums } from '../../src/host/simd.js';
import * as virtio from '../../src/virtio/index.js';
import { ensure, equal } from './contract.js';

/** Bytes of a cache line. */
const LINE = 64;
/** Guard bytes around every buffer, which must not change. */
const CANARY = 37;
const FILL = 0xa5;

function arena(parts: readonly (number | Uint8Array)[]): { bytes: Uint8Array; at: number[] } {
  const lengths = parts.map((part) => (typeof part === 'number' ? part : part.length));
  const whole = lengths.reduce((sum, length) => sum + length + CANARY, CANARY);
  // The view does not start at offset 0 of its ArrayBuffer.
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

/** Memory for the WebAssembly code and for its JavaScript equivalent. */
const memory = new (
  globalThis as unknown as { WebAssembly: { Memory: new (how: object) => { buffer: ArrayBuffer } } }
).WebAssembly.Memory({ initial: 128, maximum: 128 });
export const shared = new Uint8Array(memory.buffer);
const wasm = sums(memory);
export const twins: Sums[] = [wasm, { ...wasm, simd: false, ...jsBulk(shared, jsCopySum(shared)), sum: jsSum(shared) }];

/** Checks that only `[from, to)` has changed. */
function unchanged(bytes: Uint8Array, before: Uint8Array, from: number, to: number): void {
  equal(bytes.subarray(0, from), before.subarray(0, from), 'the bytes before the scratch');
  equal(bytes.subarray(to), before.subarray(to), 'the bytes behind the scratch');
}

export interface SegmentOptions {
  prefix?: number;
  /** Most segments per call of `next`. */
  limit?: number;
  fixedId?: boolean;
}

/** The segments of a super-frame, or the error code of the segmenter. */
export function segmentAll(
  superFrame: Uint8Array,
  gsoType: number,
  gsoSize: number,
  { prefix = 0, limit = 7, fixedId = false }: SegmentOptions = {},
): Uint8Array[] | number {
  const scratch = segmentScratch(limit);
  const { bytes, at } = arena([scratch, superFrame]);
  const [room = 0, start = 0] = at;
  const before = bytes.slice();
  const segmenter = new Segmenter(bytes, jsSum(bytes), limit);
  const total = segmenter.open(start + prefix, start + superFrame.length, gsoType, gsoSize, prefix, fixedId);
  if (total < 0) {
    equal(bytes, before, 'the buffer after a rejection');
    ensure(segmenter.next(limit, room) === 0, 'segments of a rejected frame');
    return total;
  }
  const frames: Uint8Array[] = [];
  for (let count; (count = segmenter.next(limit, room)) > 0;) {
    for (let i = 0; i < count; i++) {
      const head = segmenter.headOffset[i]!;
      const data = segmenter.dataOffset[i]!;
      const length = segmenter.dataLength[i]!;
      ensure(head >= room && head + segmenter.headLength <= room + scratch, 'a header outside the scratch');
      ensure(data >= start && data + length <= start + superFrame.length, 'data outside the super-frame');
      const frame = new Uint8Array(segmenter.headLength + length);
      frame.set(bytes.subarray(head, head + segmenter.headLength));
      frame.set(bytes.subarray(data, data + length), segmenter.headLength);
      frames.push(frame);
    }
    unchanged(bytes, before, room, room + scratch);
    ensure(frames.length <= total, 'more segments than open() returned');
  }
  ensure(frames.length === total, `${frames.length} segments, but open() returned ${total}`);
  for (const one of twins) checkSegmentInto(one, superFrame, gsoType, gsoSize, { prefix, limit, fixedId }, frames);
  return frames;
}

/** Checks that `segmentInto` writes the same segments. */
function checkSegmentInto(
  { sum, cut }: Sums,
  superFrame: Uint8Array,
  gsoType: number,
  gsoSize: number,
  { prefix, limit, fixedId }: Required<SegmentOptions>,
  expected: readonly Uint8Array[],
): void {
  const longest = Math.max(...expected.map((frame) => frame.length));
  const room = segmentIntoScratch(limit * longest);
  const start = 3 + room + CANARY;
  const all = shared.subarray(0, start + superFrame.length + CANARY).fill(FILL);
  all.set(superFrame, start);
  const segmenter = new Segmenter(shared, sum, limit);
  segmenter.open(start + prefix, start + superFrame.length, gsoType, gsoSize, prefix, fixedId);
  const frames: Uint8Array[] = [];
  for (let count; (count = segmenter.segmentInto(cut, limit, 3)) > 0;) {
    let at = segmentsStart(3);
    ensure((at - 3) % LINE === 0, 'the first segment is not aligned to a cache line');
    for (let i = 0; i < count; i++) {
      const length = expected[frames.length]!.length;
      frames.push(shared.slice(at, at + length));
      at += length;
    }
    ensure(at === segmenter.segmentsEnd, 'the segments are not contiguous');
  }
  equal(frames.length, expected.length, 'the number of segments');
  for (const [i, frame] of frames.entries()) equal(frame, expected[i]!, `segment ${i}`);
  equal(shared.subarray(start, start + superFrame.length), superFrame, 'the super-frame');
  ensure(
    all.subarray(3 + room, start).every((octet) => octet === FILL),
    'a write behind the scratch',
  );
  ensure(
    all.subarray(0, 3).every((octet) => octet === FILL),
    'a write before the scratch',
  );
}

export interface Coalesced {
  /** The whole frame with its prefix. */
  bytes: Uint8Array;
  tag: number;
  /** Number of segments in it. */
  count: number;
  /** Whether all its packets have the same IPv4 identification. */
  fixedId: boolean;
  /** The virtio header of a merged frame. */
  header: Omit<Required<virtio.Virtio>, 'payload'> | null;
}

/** The output of the coalescer for frames added one by one. */
export function coalesceAll(
  frames: readonly Uint8Array[],
  options: CoalescerOptions = {},
  tags: readonly number[] = [],
): { out: Coalesced[]; coalescer: Coalescer } {
  const scratch = coalesceScratch(options.flows ?? 8);
  const { bytes, at } = arena([scratch, ...frames]);
  const [room = 0, ...starts] = at;
  const before = bytes.slice();
  const coalescer = new Coalescer(bytes, room, jsSum(bytes), options);
  const { sink, out } = collector(
    bytes,
    coalescer,
    options,
    room,
    [room + scratch, bytes.length - CANARY],
    starts,
    frames,
  );
  for (const [i, frame] of frames.entries()) coalescer.add(starts[i]!, starts[i]! + frame.length, tags[i] ?? 0, sink);
  coalescer.flush(sink);
  unchanged(bytes, before, room, room + scratch);
  for (const one of twins)
    for (const most of [Infinity, 3, 2])
      for (const gap of [0, 37]) checkAddMany(one, frames, options, tags, { most, gap }, out, coalescer);
  return { out, coalescer };
}

/** Checks that `addMany`, with at most `most` frames of one length per call, and `gap` bytes between them, gives the same output. */
function checkAddMany(
  { sum, join }: Sums,
  frames: readonly Uint8Array[],
  options: CoalescerOptions,
  tags: readonly number[],
  { most, gap }: { most: number; gap: number },
  expected: readonly Coalesced[],
  { mergedFrames, mergedRuns, badChecksums }: Coalescer,
): void {
  const flows = options.flows ?? 8;
  const room = 5;
  const joining: Joining = { join, scratch: room + coalesceScratch(flows) };
  const first = joining.scratch + joinScratch(flows) + CANARY;
  const starts: number[] = [];
  let end = first;
  shared.fill(FILL, 0, first);
  for (const frame of frames) {
    starts.push(end);
    shared.set(frame, end);
    end += frame.length;
    shared.fill(FILL, end, end + gap);
    end += gap;
  }
  shared.fill(FILL, end, end + CANARY);
  const before = shared.slice(first, end);
  const coalescer = new Coalescer(shared, room, sum, options, joining);
  const data: [number, number] = [joining.scratch, end];
  const { sink, out } = collector(shared, coalescer, options, room, data, starts, frames);
  for (let i = 0; i < frames.length;) {
    const size = frames[i]!.length;
    const tag = tags[i] ?? 0;
    let next = i + 1;
    const stop = Math.min(frames.length, i + most);
    while (size > 0 && next < stop && frames[next]!.length === size && (tags[next] ?? 0) === tag) next++;
    // The last one may be shorter.
    if (next < stop && frames[next]!.length > 0 && frames[next]!.length < size && (tags[next] ?? 0) === tag) next++;
    coalescer.addMany(starts[i]!, starts[next - 1]! + frames[next - 1]!.length, size, tag, sink, gap);
    i = next;
  }
  coalescer.flush(sink);
  equal(shared.subarray(first, end), before, 'the frames');
  equal(out, expected, 'the output with addMany');
  equal(
    [coalescer.mergedFrames, coalescer.mergedRuns, coalescer.badChecksums],
    [mergedFrames, mergedRuns, badChecksums],
    'the counts',
  );
}

function collector(
  bytes: Uint8Array,
  coalescer: Coalescer,
  options: CoalescerOptions,
  room: number,
  [dataStart, dataEnd]: readonly [number, number],
  starts: readonly number[],
  frames: readonly Uint8Array[],
) {
  const scratch = coalesceScratch(options.flows ?? 8);
  const prefix = options.prefix ?? 0;
  const out: Coalesced[] = [];
  const sink = {
    single(offset: number, end: number, tag: number): void {
      const index = starts.findIndex((start, i) => start === offset && frames[i]!.length === end - offset);
      ensure(index >= 0, `${offset} to ${end} is not an input frame`);
      out.push({ bytes: bytes.slice(offset, end), tag, count: 1, fixedId: false, header: null });
    },
    merged(run: Run): void {
      ensure(run.count > 1, `a run of ${run.count}`);
      ensure(run.head - HEAD_ROOM >= room && run.headEnd <= room + scratch, 'a header outside the scratch');
      ensure(run.frame === run.head + prefix, 'the frame does not start behind its prefix');
      const whole = new Uint8Array(run.headEnd - run.head + run.dataBytes);
      whole.set(bytes.subarray(run.head, run.headEnd));
      let end = run.headEnd - run.head;
      for (let i = run.first; i < run.first + run.pieces; i++) {
        const from = coalescer.dataOffset[i]!;
        const length = coalescer.dataLength[i]!;
        ensure(from >= dataStart && from + length <= dataEnd, 'data outside the frames');
        // Alignment lets the next copy run at full speed.
        const before = end - (run.headEnd - run.head);
        ensure(from >= starts[0]! || (from - dataStart - before) % LINE === 0, 'joined data is unaligned');
        whole.set(bytes.subarray(from, from + length), end);
        end += length;
      }
      ensure(end === whole.length, 'the ranges do not cover the data');
      const wire = run.count * (run.headEnd - run.head) + run.dataBytes;
      ensure(run.wireBytes === wire, `${run.wireBytes} bytes on the wire, not ${wire}`);
      run.writeVirtio(bytes, run.head - virtio.HEADER_LENGTH);
      const { payload: _, ...header } = virtio.decode(bytes, run.head - virtio.HEADER_LENGTH, run.head);
      out.push({ bytes: whole, tag: run.tag, count: run.count, fixedId: run.fixedId, header });
    },
  };
  return { sink, out };
}

/**
 * `npm run bench -- offload`: the checksum in WebAssembly SIMD and in JavaScript, and the cost per segment of
 * segmenting and coalescing a super-frame of 64 KiB.
 */
import { do_not_optimize } from 'mitata';
import * as ethernet from '../src/ethernet/index.js';
import { sums } from '../src/host/simd.js';
import * as ipv4 from '../src/ipv4/index.js';
import {
  Coalescer,
  coalesceScratch,
  jsBulk,
  jsCopySum,
  jsSum,
  Segmenter,
  segmentScratch,
  type Bulk,
  type CoalescerSink,
  type Sum,
} from '../src/offload/index.js';
import * as tcp from '../src/tcp/index.js';
import { GSO_TCPV4 } from '../src/virtio/index.js';
import { HEADER_LENGTH, writeHeader } from '../src/vxlan/index.js';
import { allocated, median, nanoseconds, ROUNDS, type Figure } from './library.js';

/** Payload of a segment with TCP timestamps at an MTU of 1500. */
const SIZE = 1448;
const SEGMENTS = 45;
const FRAME = 64;
const SCRATCH = 80 * 1024;
const FRAMES = 128 * 1024;
/** Between the super-frame and the scratch, so that copies do not overlap. */
const TARGET = 70 * 1024;
/** Output of `segmentInto`, and scratch of the joining coalescer. */
const SEGMENTED = 208 * 1024;
const JOINED = 288 * 1024;

const { Memory } = (
  globalThis as unknown as {
    WebAssembly: { Memory: new (how: { initial: number; maximum: number }) => { buffer: ArrayBuffer } };
  }
).WebAssembly;

export async function offload(): Promise<Figure[]> {
  const memory = new Memory({ initial: 6, maximum: 6 });
  const bytes = new Uint8Array(memory.buffer);
  const wasm = sums(memory);
  const js = jsSum(bytes);
  const jsCopy = jsCopySum(bytes);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.imul(i, 2_654_435_761) >>> 24;

  const figures: Figure[] = [];
  const add = async (name: string, target: number, run: () => unknown, each = 1): Promise<void> => {
    const medians: number[] = [];
    for (let round = 0; round < ROUNDS; round++) medians.push((await nanoseconds(run)) / each);
    figures.push({ name, nanoseconds: median(medians), bytes: allocated(run) / each, target });
  };
  // Unaligned, like data behind headers.
  await add('sum of 1448 bytes, WebAssembly', 60, () => wasm.sum(FRAME + 2, SIZE, 0));
  await add('sum of 1448 bytes, JavaScript', 300, () => js(FRAME + 2, SIZE, 0));
  await add('copy and sum of 1448 bytes, WebAssembly', 80, () => wasm.copySum(FRAME + 2, TARGET, SIZE, 0));
  await add('copy and sum of 1448 bytes, JavaScript', 350, () => jsCopy(FRAME + 2, TARGET, SIZE, 0));
  for (const [sum, how] of [
    [wasm.sum, 'WebAssembly'],
    [js, 'JavaScript'],
  ] as const) {
    const bulk = sum === js ? jsBulk(bytes, jsCopy) : wasm;
    const { segment, coalesce, segmentInto, join } = superFrames(bytes, sum, bulk);
    const more = sum === js ? 200 : 0;
    await add(`segment a 64 KiB super-frame, per segment, ${how}`, 150 + more, segment, SEGMENTS);
    await add(`coalesce into a 64 KiB super-frame, per segment, ${how}`, 300 + more, coalesce, SEGMENTS);
    await add(`segment and copy, many per call, per segment, ${how}`, 100 + 3 * more, segmentInto, SEGMENTS);
    await add(`coalesce and copy, many per call, per segment, ${how}`, 100 + 3 * more, join, SEGMENTS);
  }
  return figures;
}

/** Prepares a super-frame and its segments in the layout of UDP_GRO. The functions convert one into the other. */
function superFrames(
  bytes: Uint8Array,
  sum: Sum,
  bulk: Bulk,
): Record<'segment' | 'coalesce' | 'segmentInto' | 'join', () => unknown> {
  const addresses = { source: '10.0.0.3', destination: '10.0.0.4' };
  const frame = ethernet.encode({
    destination: '02:42:0a:00:00:04',
    source: '02:42:0a:00:00:03',
    etherType: ethernet.TYPE_IPV4,
    payload: ipv4.encode({
      ...addresses,
      protocol: tcp.PROTOCOL,
      dontFragment: true,
      payload: tcp.encode(
        {
          sourcePort: 40_000,
          destinationPort: 5201,
          sequence: 1,
          flags: tcp.FLAG_ACK,
          window: 500,
          options: [
            { kind: 1, data: new Uint8Array(0) },
            { kind: 1, data: new Uint8Array(0) },
            { kind: tcp.OPTION_TIMESTAMPS, data: new Uint8Array(8) },
          ],
          payload: bytes.slice(0, SIZE * SEGMENTS),
        },
        addresses,
      ),
    }),
  });
  bytes.set(frame, FRAME);
  writeHeader(bytes, FRAME - HEADER_LENGTH, 4097);
  const segmenter = new Segmenter(bytes, sum);
  const segment = (): number => {
    segmenter.open(FRAME, FRAME + frame.length, GSO_TCPV4, SIZE, HEADER_LENGTH);
    return segmenter.next(SEGMENTS, SCRATCH);
  };
  if (segment() !== SEGMENTS) throw new Error(`the super-frame does not yield ${SEGMENTS} segments`);

  const stride = segmenter.headLength + SIZE;
  for (let i = 0; i < SEGMENTS; i++) {
    const at = FRAMES + i * stride;
    bytes.copyWithin(at, segmenter.headOffset[i]!, segmenter.headOffset[i]! + segmenter.headLength);
    const from = segmenter.dataOffset[i]!;
    bytes.copyWithin(at + segmenter.headLength, from, from + SIZE);
  }
  const scratch = SCRATCH + segmentScratch(SEGMENTS);
  if (scratch + coalesceScratch(8) > FRAMES) throw new Error('the scratch overlaps the frames');
  const coalescer = new Coalescer(bytes, scratch, sum, { prefix: HEADER_LENGTH });
  let runs = 0;
  const sink: CoalescerSink = {
    single: () => {
      throw new Error('a segment was not merged');
    },
    merged: (run) => {
      runs = run.count;
    },
  };
  const coalesce = (): number => {
    for (let i = 0; i < SEGMENTS; i++) coalescer.add(FRAMES + i * stride, FRAMES + (i + 1) * stride, 0, sink);
    coalescer.flush(sink);
    return runs;
  };
  do_not_optimize(coalesce());
  const segmentInto = (): number => {
    segmenter.open(FRAME, FRAME + frame.length, GSO_TCPV4, SIZE, HEADER_LENGTH);
    return segmenter.segmentInto(bulk.cut, SEGMENTS, SEGMENTED);
  };
  const joiner = new Coalescer(
    bytes,
    scratch,
    sum,
    { flows: 1, prefix: HEADER_LENGTH },
    { join: bulk.join, scratch: JOINED },
  );
  const join = (): number => {
    joiner.addMany(FRAMES, FRAMES + SEGMENTS * stride, stride, 0, sink);
    joiner.flush(sink);
    return runs;
  };
  if (segmentInto() !== SEGMENTS || join() !== SEGMENTS) throw new Error('one call did not process all segments');
  return { segment, coalesce, segmentInto, join };
}

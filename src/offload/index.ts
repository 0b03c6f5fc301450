/** Segmentation of super-frames, and the way back: what lets a host move 64 KiB a call instead of a packet. */
export { finishChecksum } from './checksum.js';
export {
  Coalescer,
  coalesceScratch,
  HEAD_ROOM,
  type CoalescerOptions,
  type CoalescerSink,
  type Run,
} from './coalescer.js';
export { MAX_HEADER } from './layout.js';
export { MAX_PREFIX, Segmenter, segmentScratch } from './segmenter.js';
export { SIMD_MODULE } from './wasm/module.generated.js';
export { jsCopySum, jsSum, type CopySum, type Sum } from './sum.js';

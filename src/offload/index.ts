/** Segmentation and coalescing of super-frames. They let a host move 64 KiB per system call instead of one packet. */
export { jsBulk, SLACK, type Bulk, type Cut, type Join } from './bulk.js';
export { finishChecksum } from './checksum.js';
export {
  Coalescer,
  coalesceScratch,
  HEAD_ROOM,
  joinScratch,
  type CoalescerOptions,
  type CoalescerSink,
  type Joining,
} from './coalescer.js';
export { MAX_HEADER } from './layout.js';
export { MAX_RUN, type Run } from './run.js';
export { segmentsStart, segmentIntoScratch, MAX_PREFIX, Segmenter, segmentScratch } from './segmenter.js';
export { SuperFrame } from './super-frame.js';
export { SIMD_MODULE } from './wasm/module.generated.js';
export { jsCopySum, jsSum, TCP_CHECKSUM, UDP_CHECKSUM, type CopySum, type Sum } from './sum.js';

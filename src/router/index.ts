/** The distributed gateway between the subnets of a network, without I/O. */
export {
  ANSWERED,
  DROPPED,
  FRAGMENTED,
  LEARNED,
  NOT_OURS,
  PENDING,
  TUNNEL,
  type Lookup,
  type RouterSink,
  type RouterTally,
} from './context.js';
export { COUNTS, DROPS, type RouterCount, type RouterDrop } from './drops.js';
export { Router, type RouterCounters, type RouterNeighbor, type RouterOptions } from './router.js';
export type { InterfaceOptions, RouteEntry, RouteOptions } from './routes.js';

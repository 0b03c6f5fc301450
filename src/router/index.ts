/** The distributed gateway between the subnets of a network, without I/O. */
export {
  ANSWERED,
  DROPPED,
  FRAGMENTED,
  LEARNED,
  NOT_OURS,
  PENDING,
  TAKEN,
  TUNNEL,
  type Lookup,
  type RouterSink,
  type RouterTally,
  type ServiceRequest,
  type Services,
} from './context.js';
export { COUNTS, DROPS, type RouterCount, type RouterDrop } from './drops.js';
export type { ServiceAnswer } from './service.js';
export { Router, type RouterCounters, type RouterNeighbor, type RouterOptions } from './router.js';
export type { InterfaceOptions, RouteEntry, RouteOptions } from './routes.js';

/** Schemas of the configuration file and of the control socket, with their types, checks and messages. No I/O. */
export { Config, Endpoint, Engine, MAX_MTU, MIN_MTU, Proxy, Segment, Tap, type EngineName } from './config.js';
export { parseRequest, REQUESTS, type Command, type Reply, type Request } from './control.js';
export { canonicalEndpoint, ownEndpoint, plan, type Plan, type SegmentPlan, type TapPlan } from './plan.js';
export { findProblems, problemText, SchemaError, type Problem } from './problem.js';
export { closest } from './suggest.js';
export { canonicalIp, canonicalMac, family, isDeviceName } from './text.js';

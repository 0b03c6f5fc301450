/** Schemas of the configuration file and of the control socket, with their types, checks and messages. No I/O. */
export { CONFIG, MAX_MTU, MIN_MTU } from './config.js';
export { type CommandEntry, type Kind, type Method } from './command-entry.js';
export { COMMANDS, MAX_COUNT, MAX_PACKET, MAX_SECONDS } from './commands.js';
export { ERROR_BODY, errorField, ERRORS, type ErrorBody, type ErrorCode, type ErrorField } from './errors.js';
export { EVENTS_TYPE, JSON_TYPE, openApi } from './openapi.js';
export { isNodeRequest } from './node-commands.js';
export { MAX_LINE } from './node-results.js';
export type * from './node-types.js';
export { NOTICE_TYPES, noticeSchema } from './notices.js';
export {
  type Notice,
  type NoticeFields,
  type NoticeHead,
  type NoticePlace,
  type NoticeRival,
  type NoticeType,
  type Reloaded,
} from './notice-types.js';
export { MAX_SNAP } from './results.js';
export { httpRequestOf, parseRequest, requestOf, routeOf, type HttpRequest, type Route } from './routes.js';
export {
  canonicalEndpoint,
  ownEndpoints,
  plan,
  type GossipPlan,
  type HostPort,
  type Plan,
  type SegmentPlan,
  type TapPlan,
} from './plan.js';
export { ATTACHED_RECORD, PLACE_FILE, RUN_RECORD } from './state-files.js';
export { addressesOf } from './tap-addresses.js';
export { planSegment, planTap, requireBeside, type Beside } from './live.js';
export { newNetwork, planNetwork, requireInSubnet, requireNoSettings, settingsOfSegments } from './live-networks.js';
export { configOf } from './config-of.js';
export { ESP_PORT, type KeyFilePlan } from './key-files.js';
export {
  isOfGossip,
  isSameNetwork,
  networkFields,
  networkNamed,
  networkOf,
  networksOf,
  networkVnis,
  routerOf,
  routersOf,
  routesOf,
  subnetIn,
  vnisOfNetwork,
  type AnyNetwork,
  type AnySubnet,
  type NetworkPlan,
  type Route as SubnetRoute,
} from './networks.js';
export { findWarnings } from './rules.js';
export { isLinkLocal, isLoopback, shareAddresses, subnetText, unusable, unusableHost, unusableVtep } from './ranges.js';
export { findProblems, knownVni, listed, problemText, SchemaError, show, type Place, type Problem } from './problem.js';
export { closest } from './suggest.js';
export { valueProblem, type ValueKind } from './value.js';
export { canonicalIp, family, isUnicast, isUnspecified, parseHostPort, prefixAddress } from './addresses.js';
export { isDeviceName } from './device-name.js';
export { canonicalMac } from './mac.js';
export type {
  CaptureRequest,
  Command,
  Config,
  ControlRequest,
  EngineName,
  EventsRequest,
  Gossip,
  GossipNetwork,
  GossipRequest,
  JsonSchema,
  ListRequest,
  Network,
  NetworkSubnet,
  NewNetwork,
  PartRequest,
  Request,
  Segment,
  SegmentSettings,
  Tap,
} from './types.js';

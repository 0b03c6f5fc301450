/** Docker's NetworkDB: tables that all nodes attached to a network share, over a membership layer. */
export { Attachment } from './attachment.js';
export { type ConflictParty, type OverlayConflict } from './conflicts.js';
export { isEndpointName, type EndpointNames } from './endpoint-records.js';
export * from './messages.js';
export { NetworkDb } from './networkdb.js';
export type { NetworkPart, OverlayPeersOptions } from './overlay-options.js';
export { OverlayNames, type OverlayNamesOptions } from './overlay-names.js';
export { OverlayPeers } from './overlay-peers.js';
export { type OverlayEndpoint, type OverlaySink } from './overlay-sink.js';
export { type LocalEndpoint } from './placement-records.js';
export { parametersOf } from './placements.js';
export { type Extensible, type MessageCodec } from './protobuf.js';
export * from './records.js';
export { type StoreLimits } from './store.js';
export {
  COUNTS,
  MAX_NAME,
  MAX_VALUE,
  type CountName,
  type EntryListing,
  type Membership,
  type NetworkDbOptions,
  type NodeListing,
  type Peer,
  type TableChange,
  type Watcher,
} from './types.js';

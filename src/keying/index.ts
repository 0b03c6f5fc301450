/**
 * Agreement on the keys of associations between two hosts that share the keys of a group: messages in the port of ESP, and a machine
 * that sends and answers them.
 */
export type { AssociationChange, AssociationKey } from './association.js';
export {
  Keying,
  type AssociationSecret,
  type KeyingOptions,
  type KeyingReport,
  type KeyingSink,
  type WayListing,
} from './keying.js';
export { type KeyingCrypto } from './derive.js';
export { MAX_GROUP_KEYS } from './limits.js';
export * as message from './message.js';

/** memberlist's protocol: SWIM with Lifeguard, as used by Docker's networks and Serf. */
export { Allowance, SharedAllowance } from './allowance.js';
export { LAN, LOCAL, WAN, type Timing } from './config.js';
export { failureOf } from './exchanges.js';
export { expectedConfirmations, pushPullScale, retransmitLimit, suspicionTimeout, suspicionTimes } from './formula.js';
export { crc32 } from './crc32.js';
export { compress, decompress } from './lzw.js';
export {
  addressBytes,
  addressToText,
  decodeMessage,
  encodeMessage,
  MAX_META,
  STATE,
  TYPE,
  type Ack,
  type Alive,
  type Compress,
  type Dead,
  type Err,
  type IndirectPing,
  type Message,
  type Nack,
  type NodeState,
  type Ping,
  type Suspect,
} from './message.js';
export {
  addCrc,
  addLabel,
  decodeCompound,
  deflate,
  encodeCompound,
  encodePacket,
  inflate,
  MAX_INFLATED,
  MAX_MESSAGES,
  MAX_NESTING,
  MAX_PARTS,
  openPacket,
  packetOverhead,
  takeCrc,
  takeLabel,
  walk,
  type PacketVisitor,
  type Security,
} from './packet.js';
export { Places, sourceOf, Tally, type Admission, type PlaceLimits } from './places.js';
export { type Refusal } from './refusal.js';
export { Keyring, open, OVERHEAD, seal, sealedLength, UNREADABLE, type Aead, type SealVersion } from './seal.js';
export {
  decodeStream,
  encodePushPull,
  encodeStream,
  encodeUser,
  STREAM_LIMITS,
  StreamReader,
  type PushPull,
  type StreamLimits,
  type StreamMessage,
  type UserMessage,
} from './stream.js';
export { isLive, placeOf, type Member, type MemberState } from './member.js';
export { Memberlist } from './memberlist.js';
export { WORK, type StreamSink } from './sessions.js';
export {
  COUNTS,
  type CountName,
  type Delegate,
  type Joined,
  type MemberlistOptions,
  type MemberlistSink,
} from './types.js';
export { Work, type Task } from './work.js';

/**
 * The messages of Docker's NetworkDB. On the wire, each is a {@link GossipMessage}: a type, and the encoded message of
 * that type. Enumerations are numbers here, so that unknown values are preserved.
 */
import { unsupported } from '../../wire/index.js';
import { fieldsOf, message, type Extensible, type MessageCodec } from './protobuf.js';

/** Types of {@link GossipMessage}. */
export const NETWORK_EVENT = 1;
export const TABLE_EVENT = 2;
export const PUSH_PULL = 3;
export const BULK_SYNC = 4;
export const COMPOUND = 5;
export const NODE_EVENT = 6;

/** Types of {@link NodeEvent} and {@link NetworkEvent}. */
export const JOIN = 1;
export const LEAVE = 2;

/** Types of {@link TableEvent}. */
export const CREATE = 1;
export const UPDATE = 2;
export const DELETE = 3;

/** Maximum number of messages in one compound, and of attachments in one exchange of states. */
export const MAX_MEMBERS = 262_144;
/** Maximum number of networks in one bulk sync. */
export const MAX_NETWORKS = 16_384;

/** The envelope of every message. */
export interface GossipMessage extends Extensible {
  type: number;
  data: Uint8Array;
}

/** A node joined, or leaves. */
export interface NodeEvent extends Extensible {
  type: number;
  /** Lamport time. */
  time: number;
  node: string;
}

/** A node attached to a network, or left it. */
export interface NetworkEvent extends Extensible {
  type: number;
  time: number;
  node: string;
  network: string;
}

/** One attachment in the exchange of states. */
export interface NetworkEntry extends Extensible {
  network: string;
  time: number;
  node: string;
  leaving: boolean;
}

/** The state in memberlist's push/pull: all attachments that a node knows. */
export interface NetworkPushPull extends Extensible {
  time: number;
  networks: NetworkEntry[];
  node: string;
}

/** An entry of a table was created, changed or deleted. */
export interface TableEvent extends Extensible {
  type: number;
  time: number;
  /** The node that wrote the entry, and owns it from then on. */
  node: string;
  network: string;
  table: string;
  key: string;
  value: Uint8Array;
  /** For a deletion: remaining lifetime of the tombstone, in seconds. */
  residual: number;
}

/** All entries of some networks. */
export interface BulkSyncMessage extends Extensible {
  time: number;
  /** Whether the receiver must answer with its own entries. */
  unsolicited: boolean;
  node: string;
  networks: string[];
  /** A {@link GossipMessage} of type `COMPOUND`, encoded. */
  payload: Uint8Array;
}

/**
 * Fields of a message that is only a part of a bulk sync. Docker skips them, and treats each message as a bulk sync of
 * its own; this implementation treats all messages with one number as one bulk sync.
 */
export interface BulkSyncPart extends Extensible {
  /** Whether these are entries that the sender has just written, not its tables. */
  partial: boolean;
  /** The number of the bulk sync: the Lamport time of its first message. */
  sync: number;
  /** The number of this message, from 1; 0 if there is only one. */
  part: number;
  last: boolean;
}

/** One message of a compound. */
export interface SimpleMessage extends Extensible {
  /** A {@link GossipMessage}, encoded. */
  payload: Uint8Array;
}

/** Several messages in one message. */
export interface CompoundMessage extends Extensible {
  messages: SimpleMessage[];
}

export const gossipMessage: MessageCodec<GossipMessage> = message('gossipMessage', [
  { number: 1, name: 'type', kind: 'int32' },
  { number: 2, name: 'data', kind: 'bytes' },
]);

export const nodeEvent: MessageCodec<NodeEvent> = message('nodeEvent', [
  { number: 1, name: 'type', kind: 'int32' },
  { number: 2, name: 'time', kind: 'uint64' },
  { number: 3, name: 'node', kind: 'text' },
]);

export const networkEvent: MessageCodec<NetworkEvent> = message('networkEvent', [
  { number: 1, name: 'type', kind: 'int32' },
  { number: 2, name: 'time', kind: 'uint64' },
  { number: 3, name: 'node', kind: 'text' },
  { number: 4, name: 'network', kind: 'text' },
]);

export const networkEntry: MessageCodec<NetworkEntry> = message('networkEntry', [
  { number: 1, name: 'network', kind: 'text' },
  { number: 2, name: 'time', kind: 'uint64' },
  { number: 3, name: 'node', kind: 'text' },
  { number: 4, name: 'leaving', kind: 'bool' },
]);

export const networkPushPull: MessageCodec<NetworkPushPull> = message('networkPushPull', [
  { number: 1, name: 'time', kind: 'uint64' },
  { number: 2, name: 'networks', kind: networkEntry as MessageCodec<object>, list: MAX_MEMBERS },
  { number: 3, name: 'node', kind: 'text' },
]);

export const tableEvent: MessageCodec<TableEvent> = message('tableEvent', [
  { number: 1, name: 'type', kind: 'int32' },
  { number: 2, name: 'time', kind: 'uint64' },
  { number: 3, name: 'node', kind: 'text' },
  { number: 4, name: 'network', kind: 'text' },
  { number: 5, name: 'table', kind: 'text' },
  { number: 6, name: 'key', kind: 'text' },
  { number: 7, name: 'value', kind: 'bytes' },
  { number: 8, name: 'residual', kind: 'int32' },
]);

export const bulkSyncMessage: MessageCodec<BulkSyncMessage> = message('bulkSyncMessage', [
  { number: 1, name: 'time', kind: 'uint64' },
  { number: 2, name: 'unsolicited', kind: 'bool' },
  { number: 3, name: 'node', kind: 'text' },
  { number: 4, name: 'networks', kind: 'text', list: MAX_NETWORKS },
  { number: 5, name: 'payload', kind: 'bytes' },
]);

export const bulkSyncPart: MessageCodec<BulkSyncPart> = message('bulkSyncPart', [
  { number: 12, name: 'partial', kind: 'bool' },
  { number: 13, name: 'sync', kind: 'uint64' },
  { number: 14, name: 'part', kind: 'uint32' },
  { number: 15, name: 'last', kind: 'bool' },
]);

export const simpleMessage: MessageCodec<SimpleMessage> = message('simpleMessage', [
  { number: 1, name: 'payload', kind: 'bytes' },
]);

export const compoundMessage: MessageCodec<CompoundMessage> = message('compoundMessage', [
  { number: 1, name: 'messages', kind: simpleMessage as MessageCodec<object>, list: MAX_MEMBERS },
]);

/** As {@link networkPushPull}, with encoded entries. */
const encodedPushPull: MessageCodec<Omit<NetworkPushPull, 'networks'> & { networks: Uint8Array[] }> = message(
  'networkPushPull',
  [
    { number: 1, name: 'time', kind: 'uint64' },
    { number: 2, name: 'networks', kind: 'bytes', list: MAX_MEMBERS },
    { number: 3, name: 'node', kind: 'text' },
  ],
);

/** Wraps a {@link NetworkPushPull} whose entries are encoded already. */
export function pushPullOf(time: number, networks: Uint8Array[], node: string): Uint8Array {
  return wrap(PUSH_PULL, encodedPushPull, { time, networks, node });
}

/**
 * Finds the messages of a repeated field, to decode them one at a time. @throws WireError
 * @returns alternately the start and the end of each.
 */
export function membersOf(protocol: string, bytes: Uint8Array, field: number): number[] {
  const places: number[] = [];
  for (const [number, from, to] of fieldsOf(protocol, bytes)) if (number === field) places.push(from, to);
  if (places.length > 2 * MAX_MEMBERS) throw unsupported(protocol, 0, `more than ${MAX_MEMBERS} members`);
  return places;
}

/** Encodes and wraps a message. */
export function wrap<V extends object>(type: number, codec: MessageCodec<V>, value: Partial<V>): Uint8Array {
  return gossipMessage.encode({ type, data: codec.encode(value) });
}

/** Wraps several wrapped messages as one compound. */
export function compound(messages: readonly Uint8Array[]): Uint8Array {
  return wrap(COMPOUND, compoundMessage, { messages: messages.map((payload) => ({ payload })) });
}

/** Maximum overhead of a compound, and of each message in it, in octets (for compounds up to 2 MiB). */
export const COMPOUND_OVERHEAD = 6;
export const MEMBER_OVERHEAD = 8;

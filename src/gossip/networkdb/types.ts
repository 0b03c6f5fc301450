import type { StoreLimits } from './store.js';

/** Maximum length of the name of a node, a network, a table or a key, in characters. */
export const MAX_NAME = 256;
/** Maximum length of a value, in octets. */
export const MAX_VALUE = 65_536;

/** The time of the input that the machine handles, in milliseconds; its parts share one object. */
export interface Moment {
  now: number;
}

/** A node, as the membership layer reports it. */
export interface Peer {
  name: string;
  address: string;
  port: number;
}

/**
 * The membership layer below the machine, for example memberlist. That layer in turn calls `nodeJoined`, `nodeLeft`,
 * `receive`, `broadcasts`, `localState` and `mergeState`. The machine may call it from within any of these.
 */
export interface Membership {
  /** Sends one packet, best effort. */
  sendPacket(node: string, message: Uint8Array): void;
  /** Sends over a stream. It need not report failures: requests have timeouts. */
  sendReliable(node: string, message: Uint8Array): void;
  /** Exchanges states with the node at that address, as for joining a cluster. Need not succeed. */
  contact(address: string, port: number): void;
  /**
   * An event of a node is refused, because of a name in it.
   * @param problem What is wrong with the name, in words that follow it.
   */
  misnamed?(name: string, problem: string, node: string): void;
}

/** All times in milliseconds. */
export interface NetworkDbOptions {
  /** This node's name in the membership layer. */
  name: string;
  /** Returns a random number from 0 up to but not including 1. */
  random: () => number;
  /** Returns the time in milliseconds. With it, slices of long work are limited by time, not only by entries. */
  clock?: (() => number) | undefined;
  /** Gossip interval of table events, and number of nodes of each network to send to. Default 200 and 3. */
  gossipInterval?: number;
  gossipNodes?: number;
  /** Interval of bulk syncs with another node, and timeout of its answer. Default 30,000 both. */
  bulkSyncInterval?: number;
  answerTimeout?: number;
  /** Interval between removals of expired entries and nodes. Default 5000. */
  reapInterval?: number;
  /** Lifetime of deleted entries, and of entries whose owner is gone. Default 30 minutes. */
  tombstoneLife?: number;
  /** How long failed nodes are kept and contacted. Default 24 hours. */
  nodeLife?: number;
  /** Interval of attempts to contact a failed node. Default 1000. */
  reconnectInterval?: number;
  /** Addresses through which this node joined the cluster; absent ones are contacted from time to time. */
  bootstrap?: readonly { address: string; port: number }[];
  /** Maximum length of a packet, in octets. Default 1400. */
  packetSize?: number;
  /** See memberlist's `retransmitLimit`. Default 4. */
  retransmitMult?: number;
  /** Limits for entries of other nodes. Default 131,072 entries, 64 MiB, and 4096 entries of owners not attached. */
  limits?: Partial<StoreLimits>;
  /** Maximum number of attachments of other nodes, in all networks. Default 65,536. */
  maxAttachments?: number;
}

/** A change of a visible entry. */
export interface TableChange {
  kind: 'create' | 'update' | 'delete';
  network: string;
  table: string;
  key: string;
  /** The new value; for `delete` the last one. */
  value: Uint8Array;
  /** The previous value; `null` for `create`. */
  previous: Uint8Array | null;
  /** The node that wrote the entry. */
  owner: string;
}

/** Called with changes. It must not throw, and may write entries. */
export type Watcher = (change: TableChange, now: number) => void;

/** An entry as listings show it. */
export interface EntryListing {
  network: string;
  table: string;
  key: string;
  value: Uint8Array;
  owner: string;
  /** Lamport time of the event that wrote it. */
  time: number;
}

/** A node as listings show it. `failed` nodes may return; `left` nodes have announced that they leave. */
export interface NodeListing extends Peer {
  state: 'active' | 'failed' | 'left';
}

/** Names of the counters. */
export const COUNTS = [
  // accepted
  'table-events',
  'network-events',
  'node-events',
  'push-pulls',
  'bulk-syncs',
  // rejected, by reason
  'malformed',
  'unknown-type',
  'nested',
  'name-too-long',
  'misnamed', // a name that is not printable, empty, or has a slash
  'value-too-long',
  'time-beyond-reason',
  'stale',
  'not-attached',
  'owner-left',
  'unknown-node',
  'no-room',
  'bulk-unanswered',
  'bulk-unmerged',
  'unmerged', // compounds, while too many wait
  // actions
  'held',
  'refuted',
  'oversized',
  'queue-full',
  'bulk-timeouts',
] as const;
export type CountName = (typeof COUNTS)[number];

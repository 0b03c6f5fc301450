import type { StoreLimits } from './store.js';

/** A node as the membership layer tells of it. */
export interface Peer {
  name: string;
  address: string;
  port: number;
}

/**
 * What the machine needs of the membership layer below it, as memberlist is. That layer in turn calls `nodeJoined`,
 * `nodeLeft`, `receive`, `broadcasts`, `localState` and `mergeState`. It may be called from within any of these.
 */
export interface Membership {
  /** Sends one packet, best effort. */
  sendPacket(node: string, message: Uint8Array): void;
  /** Sends by a stream. Where that fails nothing has to be said: what expects an answer waits for it. */
  sendReliable(node: string, message: Uint8Array): void;
  /** Exchanges states with whoever is at that address, as one does to join a cluster. Need not succeed. */
  contact(address: string, port: number): void;
}

/** All times in milliseconds. */
export interface NetworkDbOptions {
  /** This node's name in the membership layer. */
  name: string;
  /** A number from 0 up to but not including 1, another one each time. */
  random: () => number;
  /** The time in milliseconds, so that long work is cut after some of them and not after so many entries only. */
  clock?: (() => number) | undefined;
  /** How often table events go out, and to how many nodes of each network. Default 200 and 3. */
  gossipInterval?: number;
  gossipNodes?: number;
  /** How often the tables are compared with another node's, and how long its answer may take. Default 30,000 both. */
  bulkSyncInterval?: number;
  answerTimeout?: number;
  /** How often one looks for what has to be forgotten. Default 5000. */
  reapInterval?: number;
  /** How long withdrawn entries are remembered, and entries of nodes that are gone. Default 30 minutes. */
  tombstoneLife?: number;
  /** How long nodes that are gone are remembered, and called. Default 24 hours. */
  nodeLife?: number;
  /** How often a node that is gone is called. Default 1000. */
  reconnectInterval?: number;
  /** Addresses through which this node came into the cluster; those that are not there are called now and then. */
  bootstrap?: readonly { address: string; port: number }[];
  /** Octets of a packet at most. Default 1400. */
  packetSize?: number;
  /** See memberlist's `retransmitLimit`. Default 4. */
  retransmitMult?: number;
  /** What is kept of others at most. Default 131,072 entries, 64 MiB, and 4096 entries of owners not attached. */
  limits?: Partial<StoreLimits>;
  /** Attachments of others at most, all networks together. Default 65,536. */
  maxAttachments?: number;
}

/** What became of an entry that watchers see. */
export interface TableChange {
  kind: 'create' | 'update' | 'delete';
  network: string;
  table: string;
  key: string;
  /** The value now; for `delete` the last one. */
  value: Uint8Array;
  /** The value before; `null` for `create`. */
  previous: Uint8Array | null;
  /** The node that wrote the entry. */
  owner: string;
}

/** Is told of changes, and must not throw. It may write entries. */
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

/** A node as listings show it. `failed` ones may come back; `left` ones said farewell. */
export interface NodeListing extends Peer {
  state: 'active' | 'failed' | 'left';
}

/** What is counted. */
export const COUNTS = [
  // taken
  'table-events',
  'network-events',
  'node-events',
  'push-pulls',
  'bulk-syncs',
  // not taken, and why
  'malformed',
  'unknown-type',
  'nested',
  'name-too-long',
  'value-too-long',
  'time-beyond-reason',
  'stale',
  'not-attached',
  'owner-left',
  'unknown-node',
  'no-room',
  'bulk-unanswered',
  'bulk-unmerged',
  // done
  'held',
  'refuted',
  'oversized',
  'queue-full',
  'bulk-timeouts',
] as const;
export type CountName = (typeof COUNTS)[number];

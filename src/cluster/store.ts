/**
 * The store in which managers keep what they know. Its semantics are those of etcd v3: a transaction makes all its writes
 * if all its conditions hold, and none otherwise. Values are JSON text. A revision is an integer: 1 for the first
 * transaction that writes, and one more with each further one.
 *
 * This room has the types only. Implementations do I/O and belong to a higher layer.
 */

/** A key and its value. */
export interface Item {
  readonly key: string;
  readonly value: string;
  /** The revision at which the key was created. */
  readonly created: number;
  /** The revision of its last change. */
  readonly modified: number;
  /** The id of the lease that it lives with; absent: it stays until it is deleted. */
  readonly lease?: string;
}

/** Holds if the key was last changed at this revision; 0: if the key does not exist. */
export interface Condition {
  readonly key: string;
  readonly modified: number;
}

export type Write =
  | { readonly put: string; readonly value: string; /** The id of a lease. */ readonly lease?: string }
  | { readonly delete: string };

/** All conditions hold and all writes are made, or none. Each key is written once at most. */
export interface Transaction {
  readonly conditions: readonly Condition[];
  readonly writes: readonly Write[];
}

/** The revision of a transaction, or the first key whose condition did not hold: then nothing was written. */
export type Committed = { readonly revision: number } | { readonly conflict: string };

export interface StoreChange {
  readonly key: string;
  /** `null`: the key was deleted. */
  readonly item: Item | null;
}

/** What a watcher is told. */
export interface Watcher {
  /** The changes of one revision. */
  changed(revision: number, changes: readonly StoreChange[]): void;
  /** The store no longer has the changes that follow: list again, and watch from there. */
  lost(): void;
}

/** Keys written with a lease are deleted when it ends: when it is revoked, or was not renewed in time. */
export interface Lease {
  readonly id: string;
  /** Resolves to whether the lease still lived, and begins its time again. */
  renew(): Promise<boolean>;
  revoke(): Promise<void>;
}

export interface Store {
  /** All items whose keys begin with `prefix`, as of one revision. */
  list(prefix: string): Promise<{ readonly revision: number; readonly items: Item[] }>;
  commit(transaction: Transaction): Promise<Committed>;
  /** Reports the changes after `revision` of keys that begin with `prefix`, in order, one call for each revision. */
  watch(prefix: string, revision: number, on: Watcher): { stop(): void };
  lease(seconds: number): Promise<Lease>;
  close(): Promise<void>;
}

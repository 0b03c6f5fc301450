/** The content of a store in memory, and how each entry of its journal changes it. */
import { type Condition, type Item, type StoreChange, type Write } from '../../cluster/index.js';

/** What a journal records. */
export type Entry =
  /** A transaction that changed something. */
  | { readonly revision: number; readonly writes: readonly Write[] }
  | { readonly lease: string; readonly seconds: number }
  /** A lease ended. Its keys are deleted as of `revision`; absent: it had none. */
  | { readonly ended: string; readonly revision?: number };

/** The changes of one revision. */
export interface Revision {
  readonly revision: number;
  readonly changes: readonly StoreChange[];
}

interface LeaseState {
  readonly seconds: number;
  /** Of the items that live with it. */
  readonly keys: Set<string>;
}

/** All items and leases as of one revision. */
export class Contents {
  readonly items = new Map<string, Item>();
  readonly leases = new Map<string, LeaseState>();
  revision = 0;

  /** The first key whose condition does not hold. */
  conflict(conditions: readonly Condition[]): string | undefined {
    return conditions.find(({ key, modified }) => (this.items.get(key)?.modified ?? 0) !== modified)?.key;
  }

  /** The entry that makes these writes; `null` if they change nothing. */
  entryOf(writes: readonly Write[]): Entry | null {
    const effective = writes.filter((write) => 'put' in write || this.items.has(write.delete));
    return effective.length === 0 ? null : { revision: this.revision + 1, writes: effective };
  }

  /** The entry that ends a lease; `null` if there is no such lease. */
  endOf(lease: string): Entry | null {
    const state = this.leases.get(lease);
    if (state === undefined) return null;
    return state.keys.size === 0 ? { ended: lease } : { ended: lease, revision: this.revision + 1 };
  }

  /**
   * @returns the changes of items; `null` if it changes none.
   * @throws RangeError if the entry cannot follow what is here.
   */
  apply(entry: Entry): Revision | null {
    if ('lease' in entry) {
      this.leases.set(entry.lease, { seconds: entry.seconds, keys: new Set() });
      return null;
    }
    const { revision } = entry;
    if (revision !== undefined && revision !== this.revision + 1)
      throw new RangeError(`revision ${revision} follows ${this.revision}`);
    let changes: StoreChange[];
    if ('ended' in entry) {
      const keys = [...(this.leases.get(entry.ended)?.keys ?? [])];
      this.leases.delete(entry.ended);
      changes = keys.map((key) => this.#delete(key));
    } else
      changes = entry.writes.map((write) =>
        'put' in write ? this.#put(write, entry.revision) : this.#delete(write.delete),
      );
    if (revision === undefined) return null;
    this.revision = revision;
    return { revision, changes };
  }

  /** Adds an item as it was in another store. */
  restore(item: Item): void {
    this.items.set(item.key, item);
    if (item.lease !== undefined) this.leases.get(item.lease)?.keys.add(item.key);
  }

  #put(write: { put: string; value: string; lease?: string }, revision: number): StoreChange {
    const { put: key, value, lease } = write;
    const old = this.items.get(key);
    if (old?.lease !== undefined) this.leases.get(old.lease)?.keys.delete(key);
    const item: Item = {
      key,
      value,
      created: old?.created ?? revision,
      modified: revision,
      ...(lease === undefined ? {} : { lease }),
    };
    this.restore(item);
    return { key, item };
  }

  #delete(key: string): StoreChange {
    const old = this.items.get(key);
    if (old?.lease !== undefined) this.leases.get(old.lease)?.keys.delete(key);
    this.items.delete(key);
    return { key, item: null };
  }
}

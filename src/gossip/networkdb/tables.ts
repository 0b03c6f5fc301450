import { unpack, type Packed } from './packed.js';
import { Store, type Entry, type StoreLimits } from './store.js';
import { type EntryListing, type TableChange, type Watcher } from './types.js';

interface Watch {
  readonly table: string | undefined;
  readonly watcher: Watcher;
}

/** The entries, and the ones that watchers see: those that are not deleted and whose owner is present. */
export class Tables {
  readonly store: Store;
  readonly #tombstoneLife: number;
  readonly #present: (network: string, owner: string) => boolean;
  readonly #self: string;
  /** By network; those of all networks under `undefined`. */
  readonly #watches = new Map<string | undefined, Set<Watch>>();

  /** @param present Whether the entries of an owner in a network are visible. */
  constructor(
    self: string,
    limits: StoreLimits,
    tombstoneLife: number,
    present: (network: string, owner: string) => boolean,
  ) {
    this.#self = self;
    this.store = new Store(self, limits);
    this.#tombstoneLife = tombstoneLife;
    this.#present = present;
  }

  /** Reports the visible entries, as created, and from then on every change. @returns what ends it. */
  watch({ table, network }: { table?: string; network?: string }, watcher: Watcher, now: number): () => void {
    const watch: Watch = { table, watcher };
    let watches = this.#watches.get(network);
    if (watches === undefined) this.#watches.set(network, (watches = new Set<Watch>()));
    watches.add(watch);
    const entries = network === undefined ? this.store.all() : this.store.of(network);
    for (const entry of [...entries])
      if (entry.shown !== null && (table === undefined || table === entry.table))
        watcher(
          { kind: 'create', ...place(entry), value: unpack(entry.shown), previous: null, owner: entry.owner },
          now,
        );
    return () => {
      if (watches.delete(watch) && watches.size === 0) this.#watches.delete(network);
    };
  }

  *entries(network: string, table?: string): Generator<EntryListing, void> {
    for (const entry of this.store.of(network))
      if (entry.shown !== null && (table === undefined || entry.table === table)) yield listing(entry);
  }

  entry(network: string, table: string, key: string): EntryListing | undefined {
    const entry = this.store.get(network, table, key);
    return entry === undefined || entry.shown === null ? undefined : listing(entry);
  }

  /** The entries that watchers do not see. */
  remembered(network: string, now: number): (EntryListing & { state: 'withdrawn' | 'hidden'; expiresIn: number })[] {
    const found = [];
    for (const entry of this.store.of(network)) {
      if (entry.shown !== null) continue;
      const { value, owner, time, expires } = entry;
      const state = entry.deleting ? ('withdrawn' as const) : ('hidden' as const);
      found.push({ ...place(entry), value: unpack(value), owner, time, state, expiresIn: (expires ?? Infinity) - now });
    }
    return found;
  }

  /**
   * Adds or replaces an entry, and shows or hides it.
   * @returns whether the entry is still stored: a watcher may have left the network, or written the entry again.
   */
  put(entry: Entry, now: number): boolean {
    const before = this.store.get(entry.network, entry.table, entry.key);
    if (before !== undefined) entry.shown = before.shown;
    this.store.put(entry);
    this.show(entry, now);
    return this.store.holds(entry);
  }

  /** Updates what watchers see of an entry. */
  show(entry: Entry, now: number): void {
    const present = this.#present(entry.network, entry.owner);
    if (present && entry.owner !== this.#self) this.store.release(entry);
    if (!entry.deleting) {
      if (present) entry.expires = null;
      else if (entry.expires === null) this.store.expire(entry, now + this.#tombstoneLife);
    }
    this.#notify(entry, present && !entry.deleting ? entry.value : null, now);
  }

  forget(entry: Entry, now: number): void {
    this.store.remove(entry);
    this.#notify(entry, null, now);
  }

  /** Removes a network with all its entries. */
  drop(network: string, now: number): void {
    for (const entry of this.store.drop(network)) this.#notify(entry, null, now);
  }

  /** Updates what watchers see of the entries of an owner, in one network or in all. */
  *refresh(owner: string, network: string | undefined, now: () => number): Generator<number, void> {
    for (const entry of this.store.ownedBy(owner, network)) {
      if (this.store.holds(entry)) this.show(entry, now());
      yield 1;
    }
  }

  /** Removes the entries of an owner that has left, but no tombstones: the deleted entries may still circulate. */
  *forgetOwner(owner: string, network: string | undefined, latest: number, now: () => number): Generator<number, void> {
    for (const entry of this.store.ownedBy(owner, network)) {
      if (!entry.deleting && entry.order <= latest && this.store.holds(entry)) this.forget(entry, now());
      yield 1;
    }
  }

  /** Removes expired entries. */
  *reap(now: () => number): Generator<number, void> {
    for (const entry of this.store.expired(now())) {
      if (entry.deleting) this.store.bury(entry);
      else this.forget(entry, now());
      yield 1;
    }
  }

  #notify(entry: Entry, value: Packed | null, now: number): void {
    const { shown, owner } = entry;
    entry.shown = value;
    if (shown === value) return;
    const change = changeOf(entry, shown === null ? null : unpack(shown), value === null ? null : unpack(value), owner);
    for (const network of [entry.network, undefined]) {
      const watches = this.#watches.get(network);
      if (watches === undefined) continue;
      for (const { table, watcher } of [...watches])
        if (table === undefined || table === entry.table) watcher(change, now);
    }
  }
}

function place({ network, table, key }: Entry): { network: string; table: string; key: string } {
  return { network, table, key };
}

function listing(entry: Entry): EntryListing {
  return { ...place(entry), value: unpack(entry.shown!), owner: entry.owner, time: entry.time };
}

function changeOf(entry: Entry, previous: Uint8Array | null, value: Uint8Array | null, owner: string): TableChange {
  if (value === null) return { kind: 'delete', ...place(entry), value: previous!, previous, owner };
  return { kind: previous === null ? 'create' : 'update', ...place(entry), value, previous, owner };
}

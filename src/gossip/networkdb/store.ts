import type { Packed } from './packed.js';

/** One entry of a table, or a tombstone. */
export interface Entry {
  readonly network: string;
  readonly table: string;
  readonly key: string;
  /** Lamport time of the event that wrote it. */
  time: number;
  /** The node that wrote it. */
  owner: string;
  value: Packed;
  /** Whether it was deleted, and is a tombstone. */
  deleting: boolean;
  /** When it expires: for tombstones, and entries whose owner is gone. `null` otherwise, which takes no memory of its own. */
  expires: number | null;
  /**
   * Whether it is unconfirmed: its owner was not known to be attached when it arrived, and has not been attached since;
   * or it deletes an entry that other nodes attribute to this node.
   */
  held: boolean;
  /** The value that watchers know; `null` while the entry is invisible. */
  shown: Packed | null;
  /** Which entry of the store it is, in the order of arrival; set by the store. */
  order: number;
}

/** Limits for the entries of other nodes. */
export interface StoreLimits {
  /** Entries, tombstones included. */
  entries: number;
  /** Octets of values and names. */
  bytes: number;
  /** Unconfirmed entries: see `held`. */
  held: number;
}

/** The entries of one owner, and their size. */
interface Share {
  readonly owner: string;
  /** Its entries by network. */
  readonly networks: Map<string, Set<Entry>>;
  entries: number;
  bytes: number;
}

/** What an entry shares with others. */
interface Names {
  network: string;
  table: string;
  /** See `subjectOf`. */
  subject: string;
  owner: string;
}

/** How the subjects of the events of a table begin, in the queues of a network: `18:overlay_peer_table`. A key follows. */
export function subjectOf(table: string): string {
  return `${table.length}:${table}`;
}

/** Approximate memory of an entry in addition to its value and names, in octets. */
const FIXED = 200;

/** Maximum number of owners in a network for which the time of a removed tombstone is remembered. */
const MAX_REAPED = 1024;

interface Table {
  readonly name: string;
  /** See `subjectOf`. */
  readonly subject: string;
  /** By key. */
  readonly entries: Map<string, Entry>;
}

interface Network {
  readonly id: string;
  /** By name. */
  readonly tables: Map<string, Table>;
}

/**
 * The entries of all networks, by network and by owner. The entries of other nodes are bounded, and no owner gets more
 * than half of the limit; entries of this node are not counted.
 */
export class Store {
  readonly #self: string;
  readonly #limits: StoreLimits;
  readonly #networks = new Map<string, Network>();
  readonly #shares = new Map<string, Share>();
  /** Entries that expire, or did until they were replaced. */
  readonly #mortal = new Set<Entry>();
  #foreign = 0;
  #bytes = 0;
  /** By network and owner, the Lamport time of the latest tombstone that was removed; oldest removal first. */
  readonly #reaped = new Map<string, Map<string, number>>();
  #held = 0;
  #order = 0;

  constructor(self: string, limits: StoreLimits) {
    this.#self = self;
    this.#limits = limits;
  }

  /** Entries, tombstones included. */
  get size(): number {
    return this.#foreign + (this.#shares.get(this.#self)?.entries ?? 0);
  }

  /** The `order` of the latest entry. */
  get latest(): number {
    return this.#order;
  }

  add(network: string): void {
    this.#networks.set(network, { id: network, tables: new Map() });
  }

  /** Removes a network with all entries, and returns them. */
  drop(network: string): Entry[] {
    const entries = [...this.of(network)];
    for (const entry of entries) this.remove(entry);
    this.#networks.delete(network);
    this.#reaped.delete(network);
    return entries;
  }

  get(network: string, table: string, key: string): Entry | undefined {
    return this.#networks.get(network)?.tables.get(table)?.entries.get(key);
  }

  *of(network: string): Generator<Entry> {
    for (const { entries } of this.#networks.get(network)?.tables.values() ?? []) yield* entries.values();
  }

  /** Number of entries of a network. */
  count(network: string): number {
    let count = 0;
    for (const { entries } of this.#networks.get(network)?.tables.values() ?? []) count += entries.size;
    return count;
  }

  *all(): Generator<Entry> {
    for (const network of this.#networks.keys()) yield* this.of(network);
  }

  /** Returns a list of the entries of an owner, in one network or in all. */
  ownedBy(owner: string, network?: string): Entry[] {
    const networks = this.#shares.get(owner)?.networks;
    if (networks === undefined) return [];
    if (network !== undefined) return [...(networks.get(network) ?? [])];
    return [...networks.values()].flatMap((entries) => [...entries]);
  }

  /** Whether an entry is stored and was not replaced. */
  holds(entry: Entry): boolean {
    return this.get(entry.network, entry.table, entry.key) === entry;
  }

  /** Sets when an entry expires. */
  expire(entry: Entry, time: number): void {
    entry.expires = time;
    this.#mortal.add(entry);
  }

  /** Returns the entries that have expired. */
  *expired(now: number): Generator<Entry> {
    for (const entry of this.#mortal)
      if (entry.expires === null || !this.holds(entry)) this.#mortal.delete(entry);
      else if (entry.expires <= now) yield entry;
  }

  /** Whether there is room for a new entry of another node, or for another value of one. */
  admits(owner: string, size: number, held: boolean, replaced: Entry | undefined): boolean {
    if (owner === this.#self) return true;
    const share = this.#shares.get(owner);
    const own = replaced?.owner === owner;
    const count = replaced === undefined || replaced.owner === this.#self ? 1 : 0;
    const bytes = FIXED + size - (count === 1 ? 0 : cost(replaced!));
    const { entries, bytes: most } = this.#limits;
    return (
      this.#foreign + count <= entries &&
      this.#bytes + bytes <= most &&
      (own || (share?.entries ?? 0) < entries / 2) &&
      (share?.bytes ?? 0) + FIXED + size - (own ? cost(replaced!) : 0) <= most / 2 &&
      (!held || replaced?.held === true || this.admitsHeld)
    );
  }

  /** Whether there is room for one more unconfirmed entry. */
  get admitsHeld(): boolean {
    return this.#held < this.#limits.held;
  }

  /**
   * The strings of the entries that have these names already, if there are any: entries that share them take less memory
   * than those with copies of their own, as they arrive in messages.
   */
  names(network: string, table: string, owner: string): Names {
    const known = this.#networks.get(network);
    const knownTable = known?.tables.get(table);
    return {
      network: known?.id ?? network,
      table: knownTable?.name ?? table,
      subject: knownTable?.subject ?? subjectOf(table),
      owner: this.#shares.get(owner)?.owner ?? owner,
    };
  }

  /** Adds or replaces an entry. Its network must exist. */
  put(entry: Entry): void {
    const { tables } = this.#networks.get(entry.network)!;
    let table = tables.get(entry.table);
    if (table === undefined) {
      table = { name: entry.table, subject: subjectOf(entry.table), entries: new Map() };
      tables.set(entry.table, table);
    }
    const before = table.entries.get(entry.key);
    if (before !== undefined) this.#count(before, -1);
    entry.order = ++this.#order;
    table.entries.set(entry.key, entry);
    this.#count(entry, 1);
    if (entry.expires !== null) this.#mortal.add(entry);
  }

  remove(entry: Entry): void {
    this.#count(entry, -1);
    const tables = this.#networks.get(entry.network)?.tables;
    const entries = tables?.get(entry.table)?.entries;
    if (entries?.delete(entry.key) === true && entries.size === 0) tables!.delete(entry.table);
  }

  /** Removes a tombstone that has expired, and remembers its time: see `isOutdated`. */
  bury(entry: Entry): void {
    this.remove(entry);
    let owners = this.#reaped.get(entry.network);
    if (owners === undefined) this.#reaped.set(entry.network, (owners = new Map<string, number>()));
    const time = Math.max(entry.time, owners.get(entry.owner) ?? 0);
    owners.delete(entry.owner);
    owners.set(entry.owner, time);
    for (const oldest of owners.keys()) {
      if (owners.size <= MAX_REAPED) break;
      owners.delete(oldest);
    }
  }

  /**
   * Whether an event is not later than a tombstone of its owner that was removed: it may be a repetition of an old
   * event, about an entry that was deleted since.
   */
  isOutdated(network: string, owner: string, time: number): boolean {
    return time <= (this.#reaped.get(network)?.get(owner) ?? -1);
  }

  /** Confirms an entry, because its owner is attached. */
  release(entry: Entry): void {
    if (!entry.held) return;
    entry.held = false;
    this.#held--;
  }

  #count(entry: Entry, by: 1 | -1): void {
    let share = this.#shares.get(entry.owner);
    if (share === undefined) {
      share = { owner: entry.owner, networks: new Map(), entries: 0, bytes: 0 };
      this.#shares.set(entry.owner, share);
    }
    share.bytes += by * cost(entry);
    share.entries += by;
    let entries = share.networks.get(entry.network);
    if (by === 1) {
      if (entries === undefined) share.networks.set(entry.network, (entries = new Set<Entry>()));
      entries.add(entry);
    } else if (entries?.delete(entry) === true && entries.size === 0) share.networks.delete(entry.network);
    if (share.entries === 0) this.#shares.delete(entry.owner);
    if (entry.held) this.#held += by;
    if (entry.owner === this.#self) return;
    this.#foreign += by;
    this.#bytes += by * cost(entry);
  }
}

function cost(entry: Entry): number {
  return FIXED + entry.value.length + entry.table.length + entry.key.length;
}

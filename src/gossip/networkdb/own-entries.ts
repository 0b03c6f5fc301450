import type { Gossip } from './gossip.js';
import type { Lamport } from './lamport.js';
import { CREATE, DELETE, TABLE_EVENT, tableEvent, UPDATE, wrap, type TableEvent } from './messages.js';
import { subjectOf, type Entry } from './store.js';
import { checkName } from './names.js';
import { pack, unpack } from './packed.js';
import { type Tables } from './tables.js';
import { MAX_VALUE, type CountName, type Moment } from './types.js';

const EMPTY = new Uint8Array(0);

/** Whether a record that this node wrote before a restart is still correct. */
export type Reclaimer = (key: string, value: Uint8Array) => boolean;

interface Claim {
  readonly table: string;
  readonly network: string;
  readonly reclaimer: Reclaimer;
}

/** What the entries of this node need from the machine. */
export interface OwnEntriesHost {
  /** Whether this node is attached to a network. */
  attached(network: string): boolean;
  count(name: CountName): void;
}

/** The entries of this node: it writes them, and refutes events of other nodes that attribute different ones to it. */
export class OwnEntries {
  readonly #self: string;
  readonly #tombstoneLife: number;
  readonly #host: OwnEntriesHost;
  readonly #clock: Lamport;
  readonly #tables: Tables;
  readonly #gossip: Gossip;
  readonly #moment: Moment;
  readonly #claims = new Set<Claim>();

  /**
   * @param tombstoneLife Milliseconds.
   * @param clock The clock of table events.
   */
  constructor(
    self: string,
    tombstoneLife: number,
    host: OwnEntriesHost,
    clock: Lamport,
    tables: Tables,
    gossip: Gossip,
    moment: Moment,
  ) {
    this.#self = self;
    this.#tombstoneLife = tombstoneLife;
    this.#host = host;
    this.#clock = clock;
    this.#tables = tables;
    this.#gossip = gossip;
    this.#moment = moment;
  }

  // ---- Writing, as described at `NetworkDb` ----

  create(network: string, table: string, key: string, value: Uint8Array): void {
    const entry = this.#check(network, table, key, value);
    if (entry !== undefined && entry.shown !== null)
      throw new RangeError(
        `table ${table} of network ${network} already has an entry ${key}; call updateEntry to change it`,
      );
    this.#write(CREATE, network, table, key, value);
  }

  update(network: string, table: string, key: string, value: Uint8Array): void {
    this.#existing(network, table, key, value);
    this.#write(UPDATE, network, table, key, value);
  }

  replace(network: string, table: string, key: string, value: Uint8Array): void {
    const before = this.#existing(network, table, key, value);
    this.#rewrite(network, table, key, value, unpack(before.value));
  }

  delete(network: string, table: string, key: string): void {
    const entry = this.#existing(network, table, key, EMPTY);
    this.#write(DELETE, network, table, key, unpack(entry.value));
  }

  /** Checks that this node may write an entry. @returns the present entry. */
  #check(network: string, table: string, key: string, value: Uint8Array): Entry | undefined {
    checkName('table', table);
    checkName('key', key);
    if (value.length > MAX_VALUE)
      throw new RangeError(`value must have at most ${MAX_VALUE} octets, not ${value.length}`);
    if (!this.#host.attached(network))
      throw new RangeError(`this node is not attached to network ${network}; call joinNetwork first`);
    return this.#tables.store.get(network, table, key);
  }

  #existing(network: string, table: string, key: string, value: Uint8Array): Entry {
    const entry = this.#check(network, table, key, value);
    if (entry === undefined || entry.shown === null)
      throw new RangeError(`table ${table} of network ${network} has no entry ${key}`);
    return entry;
  }

  // ---- Entries that other nodes attribute to this node ----

  /** Adds a function that decides about entries of a process before a restart. @returns a function that removes it. */
  reclaim(filter: { table: string; network: string }, reclaimer: Reclaimer): () => void {
    const claim = { ...filter, reclaimer };
    this.#claims.add(claim);
    return () => void this.#claims.delete(claim);
  }

  /**
   * An event with this node as its owner: ignores own events that return, and refutes those that it did not send.
   * @param entry The present entry.
   */
  receive({ type, time, network, table, key, value }: TableEvent, entry: Entry | undefined): void {
    const deleting = type === DELETE;
    // An entry of an absent node counts as missing.
    const known = entry?.deleting === false && entry.shown === null ? undefined : entry;
    if (known !== undefined) {
      if (time < known.time) return this.#host.count('stale');
      const same =
        known.owner === this.#self && known.deleting === deleting && (deleting || known.value === pack(value));
      if (same) {
        // This node wrote the same before a restart, with a later time.
        known.time = time;
        return;
      }
    }
    if (known?.owner === this.#self && !known.deleting) {
      this.#host.count('refuted');
      const own = unpack(known.value);
      this.#rewrite(network, table, key, own, deleting ? own : value);
      return;
    }
    // This node wrote it before a restart, or another node forged it: the entry does not exist. It is deleted even if
    // another node has an entry with that key, because some nodes take this one for the later one; that node may write
    // it again.
    if (deleting) return;
    if (known === undefined && this.#reclaims(network, table, key, value)) {
      const own = { network, table, key, time, owner: this.#self, value: pack(value), deleting: false };
      this.#tables.put({ ...own, expires: null, held: false, shown: null, order: 0 }, this.#moment.now);
      return;
    }
    if (!this.#tables.store.admitsHeld) return this.#host.count('no-room');
    this.#host.count('refuted');
    this.#write(DELETE, network, table, key, value, true);
  }

  #reclaims(network: string, table: string, key: string, value: Uint8Array): boolean {
    for (const claim of this.#claims)
      if (claim.network === network && claim.table === table && claim.reclaimer(key, value)) return true;
    return false;
  }

  /**
   * Announces all entries of this node in a network again.
   * @param later Whether to write them again with later times.
   */
  reannounce(network: string, later: boolean): void {
    for (const { table, key, time, value, deleting } of this.#tables.store.ownedBy(this.#self, network)) {
      if (deleting) continue;
      if (later) this.#write(CREATE, network, table, key, unpack(value));
      else this.#announce(aboutEntry(table, key), { type: CREATE, time, network, table, key, value: unpack(value) });
    }
  }

  // ---- Events ----

  /**
   * Writes an entry of this node again.
   * @param before The value that other nodes have; if it differs, a deletion goes first.
   */
  #rewrite(network: string, table: string, key: string, value: Uint8Array, before: Uint8Array): void {
    if (pack(value) !== pack(before)) {
      const event = { type: DELETE, time: this.#clock.increment(), network, table, key, value: before };
      this.#announce(`-${aboutEntry(table, key)}`, event);
      // Another node with this entry may write it again because of the deletion: the creation must be later than that.
      this.#clock.increment();
    }
    this.#write(CREATE, network, table, key, value);
  }

  /**
   * Writes an entry of this node and announces it.
   * @param disowned Whether it deletes an entry that this node never wrote: such events are sent last, and are bounded.
   */
  #write(type: number, network: string, table: string, key: string, value: Uint8Array, disowned = false): void {
    const time = this.#clock.increment();
    const deleting = type === DELETE;
    const { now } = this.#moment;
    const expires = deleting ? now + this.#tombstoneLife : null;
    const names = this.#tables.store.names(network, table, this.#self);
    const entry: Entry = {
      network: names.network,
      table: names.table,
      key,
      time,
      owner: names.owner,
      value: pack(value),
      deleting,
      expires,
      held: disowned,
      shown: null,
      order: 0,
    };
    if (!this.#tables.put(entry, now)) return;
    this.#announce(aboutEntry(table, key), { type, time, network, table, key, value }, disowned);
  }

  /** Queues an event of this node for gossip. */
  #announce(about: string, event: Omit<TableEvent, 'node' | 'residual'>, disowned = false): void {
    const residual = event.type === DELETE ? Math.round(this.#tombstoneLife / 1000) : 0;
    const message = wrap(TABLE_EVENT, tableEvent, { ...event, node: this.#self, residual });
    if (disowned) this.#gossip.relay(event.network, about, message);
    else this.#gossip.announce(event.network, about, message);
  }
}

/** The subject of an entry's events in the queues of its network. */
export function aboutEntry(table: string, key: string): string {
  return subjectOf(table) + key;
}

import { WireError } from '../../wire/index.js';
import { decodeNames, encodeNames, NAME_TABLES, nameTableOf, type EndpointNames } from './endpoint-records.js';
import { NameTable } from './name-table.js';
import type { NetworkDb } from './networkdb.js';
import type { TableChange } from './types.js';

/** Milliseconds before this node writes records again that another node has overwritten or deleted. */
const REWRITE = 1000;

export interface OverlayNamesOptions {
  /** The id of the network in the tables. */
  readonly network: string;
  /**
   * Whether the peer table places an address at a node, and this placement holds. A name counts only while the node that
   * announces it also has the endpoint: no node can give a name to an address of another one. Must not throw.
   */
  isPlaced(ip: string, owner: string): boolean;
}

interface Own {
  readonly table: string;
  readonly value: Uint8Array;
}

/**
 * Translates between the endpoint tables of one overlay network and names: records become names, and names of this host's
 * endpoints become records. A record is of its node, as those of `OverlayPeers` are: it goes when the node fails or leaves.
 *
 * A node in the network may give any name to its own endpoints, also the name of an endpoint of another node. The name then
 * stands for all their addresses.
 */
export class OverlayNames {
  readonly #network: string;
  readonly #isPlaced: OverlayNamesOptions['isPlaced'];
  readonly #db: NetworkDb;
  readonly #names = new NameTable();
  /** What this node announces, by the key of the record. */
  #own: ReadonlyMap<string, Own> = new Map();
  /** When records that were overwritten are written again. */
  #rewrite = -Infinity;
  #rejected = 0;
  readonly #unsubscribes: (() => void)[];

  constructor({ network, isPlaced }: OverlayNamesOptions, db: NetworkDb) {
    this.#network = network;
    this.#isPlaced = isPlaced;
    this.#db = db;
    this.#unsubscribes = NAME_TABLES.flatMap((table) => [
      db.watch({ table, network }, (change, now) => this.#changed(change, now)),
      db.reclaim({ table, network }, (key, value) => isSame(this.#own.get(key), table, value)),
    ]);
  }

  /** Number of records that are malformed, or for which there is no room. */
  get rejected(): number {
    return this.#rejected;
  }

  /** Number of known records, including those of this host. */
  get size(): number {
    return this.#names.size;
  }

  /** The addresses that a name stands for, in the order of their text. */
  addressesOf(name: string): string[] {
    const found = new Set<string>();
    for (const { ip, owner } of this.#names.named(name)) if (this.#isPlaced(ip, owner)) found.add(ip);
    return [...found].sort();
  }

  /** The names of the endpoints with an address, without their aliases, in the order of their text. */
  namesOf(ip: string): string[] {
    const found = new Set<string>();
    for (const { name, owner } of this.#names.at(ip)) if (this.#isPlaced(ip, owner)) found.add(name);
    return [...found].sort();
  }

  /**
   * Makes the records of this node exactly these, while it is attached to the network.
   * @param names By the id of the endpoint, which is the key of its record in the peer table too.
   * @throws RangeError if a name or an id cannot be written.
   */
  announce(names: ReadonlyMap<string, EndpointNames>, now: number): void {
    const before = this.#own;
    this.#own = new Map(
      [...names].map(([id, one]) => [id, { table: nameTableOf(one.ip), value: encodeNames(one) } satisfies Own]),
    );
    for (const [id, { table }] of before) if (this.#own.get(id)?.table !== table) this.#erase(table, id, now);
    this.attached(now);
  }

  /** This node may have attached to the network since: writes the records that are missing. */
  attached(now: number): void {
    const network = this.#network;
    if (!this.#db.networks().some((one) => one.network === network)) return;
    for (const [id, own] of this.#own) {
      const { table, value } = own;
      const entry = this.#db.entry(network, table, id);
      if (entry === undefined) this.#db.createEntry(network, table, id, value, now);
      else if (entry.owner !== this.#db.name || !isSame(own, table, entry.value))
        this.#db.replaceEntry(network, table, id, value, now);
    }
  }

  /** Withdraws the names of this host, and forgets all others. */
  close(now: number): void {
    this.announce(new Map(), now);
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
  }

  #erase(table: string, id: string, now: number): void {
    if (this.#db.entry(this.#network, table, id)?.owner === this.#db.name)
      this.#db.deleteEntry(this.#network, table, id, now);
  }

  #changed({ kind, table, key, value, owner }: TableChange, now: number): void {
    const place = `${table}/${key}`;
    if (kind === 'delete') this.#names.set(place, null);
    else this.#read(place, table, owner, value);
    const own = this.#own.get(key);
    if (own?.table !== table || (kind !== 'delete' && owner === this.#db.name) || now < this.#rewrite) return;
    // Not at once: two nodes that both want the record would never stop.
    this.#rewrite = now + REWRITE;
    this.#db.after(this.#network, REWRITE, now, (then) => this.attached(then));
  }

  #read(place: string, table: string, owner: string, value: Uint8Array): void {
    try {
      if (this.#names.set(place, { ...decodeNames(table, value), owner })) return;
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof RangeError)) throw error;
      this.#names.set(place, null);
    }
    this.#rejected++;
  }
}

function isSame(own: Own | undefined, table: string, value: Uint8Array): boolean {
  return own?.table === table && own.value.length === value.length && own.value.every((octet, i) => octet === value[i]);
}

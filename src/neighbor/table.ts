import { ipToText, macHigh, macToText, type Ip } from '../address/index.js';
import { getI32 } from '../wire/index.js';
import {
  areSameBinding,
  familyOf,
  HIGH,
  ipAt,
  KEY,
  LOCATION,
  MAC,
  macAt,
  NEWER,
  OLDER,
  setKey,
  STRIDE,
} from './record.js';
import { Records } from './records.js';
import { Index } from './slots.js';

/** The location of an endpoint on this host, which answers ARP and neighbor solicitations itself. */
export const LOCAL = -1;

/** One endpoint as the control plane announced it. */
export interface Binding {
  readonly ip: Ip;
  /** MAC address, 48 bits. */
  readonly mac: number;
  readonly location: number;
}

/** One endpoint of a listing. */
export interface NeighborEntry {
  ip: string;
  mac: string;
  location: number;
}

/** The binding that a look-up has found: one object for all look-ups of a table, so that none is allocated. */
class Found implements Binding {
  readonly #records: Records;
  record = 0;
  location = LOCAL;
  /** Begins as a number of more than 32 bits, like those that follow: V8 gives the field room for these. */
  mac = 2 ** 48;

  constructor(records: Records) {
    this.#records = records;
  }

  get ip(): Ip {
    return ipAt(this.#records.wordsOf(this.record), this.#records.placeOf(this.record));
  }
}

/**
 * The endpoint table: one binding for an IP address. Several IP addresses may share a MAC address, which is where the binding
 * that was added last says; when that one is gone, where the one before it says.
 *
 * Who wants which binding, and which one is in effect where they differ, is decided above (`src/state`).
 *
 * The time of a change does not depend on how many bindings there are, nor on how many share a MAC address, because other
 * hosts decide that.
 *
 * A binding takes some 60 octets, in arrays. A table without bindings has no arrays; otherwise it keeps those of the most
 * bindings that it has had.
 */
export class Neighbors {
  readonly #index: Index;
  readonly #records = new Records();
  readonly #found = new Found(this.#records);
  #size = 0;

  /** @param seed An integer that outsiders cannot guess, so that they cannot choose addresses with equal hashes. */
  constructor(seed = 0) {
    this.#index = new Index(this.#records, seed);
  }

  /** Number of bindings. */
  get size(): number {
    return this.#size;
  }

  /** What its arrays take, some 40 to 110 for a binding. */
  get octets(): number {
    return this.#records.octets + this.#index.octets;
  }

  /**
   * Adds a binding, which replaces the one of its IP address, and is the newest of its MAC address.
   * @throws RangeError if there are 2^24 - 1 others already.
   */
  add({ ip, mac, location }: Binding): void {
    setKey(ip, mac, location);
    let record = this.#index.find(familyOf(KEY, 0), KEY, 0);
    const isNew = record === 0;
    if (isNew) record = this.#records.take();
    else this.#unlink(record);
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    for (let i = 0; i < STRIDE; i++) words[at + i] = KEY[i]!;
    if (isNew) {
      this.#index.put(familyOf(KEY, 0), record);
      this.#size++;
    }
    this.#link(record);
  }

  /** Withdraws a binding. @returns whether it was there; if its IP address has another one, nothing changes. */
  remove({ ip, mac, location }: Binding): boolean {
    setKey(ip, mac, location);
    const by = familyOf(KEY, 0);
    const record = this.#index.find(by, KEY, 0);
    if (record === 0) return false;
    if (!areSameBinding(this.#records.wordsOf(record), this.#records.placeOf(record), KEY, 0)) return false;
    this.#index.delete(by, record);
    this.#unlink(record);
    this.#set(record, HIGH, 0);
    this.#records.give(record);
    this.#size--;
    if (this.#size === 0) {
      this.#records.clear();
      this.#index.clear();
    }
    return true;
  }

  /** The binding of an IP address. Like those of the other look-ups, it is valid until the next call of a method. */
  byIp(ip: Ip): Binding | undefined {
    return typeof ip === 'number' ? this.byIpv4(ip) : this.byIpv6(ip, 0);
  }

  /** The binding of an IPv4 address. Does not allocate. */
  byIpv4(ip: number): Binding | undefined {
    return this.#show(this.#index.ofIpv4(ip | 0));
  }

  /** The binding of the IPv6 address at `offset`. Does not allocate. */
  byIpv6(bytes: Uint8Array, offset: number): Binding | undefined {
    const a = getI32(bytes, offset);
    const b = getI32(bytes, offset + 4);
    const c = getI32(bytes, offset + 8);
    return this.#show(this.#index.ofIpv6(a, b, c, getI32(bytes, offset + 12)));
  }

  /** The newest binding of a MAC address, which may have several IP addresses. Does not allocate. */
  byMac(mac: number): Binding | undefined {
    return this.#show(this.#index.ofMac(mac | 0, macHigh(mac)));
  }

  /**
   * All bindings. The table may change during the iteration: a binding that exists throughout is listed exactly once; one that
   * is added or removed meanwhile may be missing.
   */
  *bindings(): Generator<Binding> {
    for (let record = 1; record <= this.#records.last; record++) {
      const words = this.#records.wordsOf(record);
      const at = this.#records.placeOf(record);
      if (words[at + HIGH] !== 0) yield { ip: ipAt(words, at), mac: macAt(words, at), location: words[at + LOCATION]! };
    }
  }

  /** All bindings for listings. */
  *entries(): Generator<NeighborEntry> {
    for (const { ip, mac, location } of this.bindings()) yield { ip: ipToText(ip), mac: macToText(mac), location };
  }

  #show(record: number): Binding | undefined {
    if (record === 0) return undefined;
    const found = this.#found;
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    found.record = record;
    found.location = words[at + LOCATION]!;
    found.mac = macAt(words, at);
    return found;
  }

  /** Makes a record the newest of its MAC address. */
  #link(record: number): void {
    const before = this.#index.put(MAC, record);
    this.#set(record, OLDER, before);
    if (before !== 0) this.#set(before, NEWER, record);
  }

  /** Takes a record out of those of its MAC address. */
  #unlink(record: number): void {
    const before = this.#get(record, OLDER);
    const after = this.#get(record, NEWER);
    if (before !== 0) this.#set(before, NEWER, after);
    if (after !== 0) this.#set(after, OLDER, before);
    else if (before !== 0) this.#index.put(MAC, before);
    else this.#index.delete(MAC, record);
  }

  #get(record: number, word: number): number {
    return this.#records.wordsOf(record)[this.#records.placeOf(record) + word]!;
  }

  #set(record: number, word: number, value: number): void {
    this.#records.wordsOf(record)[this.#records.placeOf(record) + word] = value;
  }
}

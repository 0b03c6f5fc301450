import { ipToText, macHigh, macToText, type Ip } from '../address/index.js';
import { getI32 } from '../wire/index.js';
import {
  areSame,
  BINDING,
  familyOf,
  HIGH,
  ipAt,
  KEY,
  LOCATION,
  MAC,
  macAt,
  NEWER,
  OLDER_IP,
  OLDER_MAC,
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
  /** Whether a newer binding of the same IP address hides this one. */
  hidden: boolean;
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
 * The endpoint table. While a container moves, its old and new bindings may both exist for a while. The one added last
 * is in effect. When it is withdrawn, the one before it is in effect again. (Docker's kernel tables refuse the second
 * and lose the first, which drops all packets to the endpoint.)
 *
 * The time of a change does not depend on how many bindings there are, nor on how many share an address, because other hosts
 * decide that.
 *
 * A binding takes some 70 octets, in arrays. A table without bindings has no arrays; otherwise it keeps those of the most
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

  /** Number of bindings, hidden ones included. */
  get size(): number {
    return this.#size;
  }

  /** What its arrays take, some 50 to 120 for a binding. */
  get octets(): number {
    return this.#records.octets + this.#index.octets;
  }

  /** Adds a binding, or makes an existing one the newest. @throws RangeError if there are 2^24 - 1 already. */
  add({ ip, mac, location }: Binding): void {
    this.#remove(ip, mac, location);
    const record = this.#records.take();
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    for (let i = 0; i < STRIDE; i++) words[at + i] = KEY[i]!;
    const before = this.#link(familyOf(KEY, 0), OLDER_IP, record);
    if (before !== 0) {
      if (this.#get(before, OLDER_IP) === 0) this.#index.put(BINDING, before);
      this.#index.put(BINDING, record);
    }
    this.#link(MAC, OLDER_MAC, record);
    this.#size++;
  }

  /** Withdraws a binding and returns whether it existed. */
  remove({ ip, mac, location }: Binding): boolean {
    const isKnown = this.#remove(ip, mac, location);
    if (isKnown && this.#size === 0) {
      this.#records.clear();
      this.#index.clear();
    }
    return isKnown;
  }

  #remove(ip: Ip, mac: number, location: number): boolean {
    setKey(ip, mac, location);
    const record = this.#find();
    if (record === 0) return false;
    const older = this.#get(record, OLDER_IP);
    const newer = this.#get(record, OLDER_IP + NEWER);
    this.#unlink(familyOf(KEY, 0), OLDER_IP, record);
    this.#unlink(MAC, OLDER_MAC, record);
    if (older !== 0 || newer !== 0) {
      this.#index.delete(BINDING, record);
      const other = older === 0 ? newer : older;
      if (this.#get(other, OLDER_IP) === 0 && this.#get(other, OLDER_IP + NEWER) === 0)
        this.#index.delete(BINDING, other);
    }
    this.#set(record, HIGH, 0);
    this.#records.give(record);
    this.#size--;
    return true;
  }

  /** The record of the binding in `KEY`; 0 if there is none. Only those that share their IP address are indexed as a whole. */
  #find(): number {
    const newest = this.#index.find(familyOf(KEY, 0), KEY, 0);
    if (newest === 0) return 0;
    if (this.#get(newest, OLDER_IP) !== 0) return this.#index.find(BINDING, KEY, 0);
    return areSame(BINDING, this.#records.wordsOf(newest), this.#records.placeOf(newest), KEY, 0) ? newest : 0;
  }

  /** The binding in effect for an IP address. Like those of the other look-ups, it is valid until the next call of a method. */
  byIp(ip: Ip): Binding | undefined {
    return typeof ip === 'number' ? this.byIpv4(ip) : this.byIpv6(ip, 0);
  }

  /** The binding in effect for an IPv4 address. Does not allocate. */
  byIpv4(ip: number): Binding | undefined {
    return this.#show(this.#index.ofIpv4(ip | 0));
  }

  /** The binding in effect for the IPv6 address at `offset`. Does not allocate. */
  byIpv6(bytes: Uint8Array, offset: number): Binding | undefined {
    const a = getI32(bytes, offset);
    const b = getI32(bytes, offset + 4);
    const c = getI32(bytes, offset + 8);
    return this.#show(this.#index.ofIpv6(a, b, c, getI32(bytes, offset + 12)));
  }

  /** The binding in effect for a MAC address, which may have several IP addresses. Does not allocate. */
  byMac(mac: number): Binding | undefined {
    return this.#show(this.#index.ofMac(mac | 0, macHigh(mac)));
  }

  /**
   * All bindings; for each IP address the one in effect comes first. The table may change during the iteration: a binding that
   * exists throughout is listed exactly once; one that is added or removed meanwhile may be missing.
   */
  *bindings(): Generator<Binding & { hidden: boolean }> {
    const hidden: (Binding & { hidden: boolean })[] = [];
    for (let record = 1; record <= this.#records.last; record++) {
      const words = this.#records.wordsOf(record);
      const at = this.#records.placeOf(record);
      if (words[at + HIGH] === 0) continue;
      const isHidden = words[at + OLDER_IP + NEWER] !== 0;
      const binding = {
        ip: ipAt(words, at),
        mac: macAt(words, at),
        location: words[at + LOCATION]!,
        hidden: isHidden,
      };
      if (isHidden) hidden.push(binding);
      else yield binding;
    }
    yield* hidden;
  }

  /** All bindings for listings. */
  *entries(): Generator<NeighborEntry> {
    for (const { ip, mac, location, hidden } of this.bindings())
      yield { ip: ipToText(ip), mac: macToText(mac), location, hidden };
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

  /**
   * Makes a record the newest of its address.
   * @param older The word that has the next older one.
   * @returns the record that was the newest before; 0 if there was none.
   */
  #link(by: number, older: number, record: number): number {
    const before = this.#index.put(by, record);
    this.#set(record, older, before);
    if (before !== 0) this.#set(before, older + NEWER, record);
    return before;
  }

  #unlink(by: number, older: number, record: number): void {
    const before = this.#get(record, older);
    const after = this.#get(record, older + NEWER);
    if (before !== 0) this.#set(before, older + NEWER, after);
    if (after !== 0) this.#set(after, older, before);
    else if (before !== 0) this.#index.put(by, before);
    else this.#index.delete(by, record);
  }

  #get(record: number, word: number): number {
    return this.#records.wordsOf(record)[this.#records.placeOf(record) + word]!;
  }

  #set(record: number, word: number, value: number): void {
    this.#records.wordsOf(record)[this.#records.placeOf(record) + word] = value;
  }
}

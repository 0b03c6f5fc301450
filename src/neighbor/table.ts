import { ipToText, macToText, type Ip } from '../address/index.js';
import {
  BINDING,
  familyOf,
  HIGH,
  IPV4,
  ipAt,
  IPV6,
  KEY,
  LOCATION,
  MAC,
  macAt,
  NEWER,
  OLDER_IP,
  OLDER_MAC,
  setBinding,
  setIpv4,
  setIpv6,
  setMac,
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

/** The binding that a look-up has found: one object for all of them, so that none is allocated. */
class Found implements Binding {
  words: Int32Array = KEY;
  at = 0;

  get ip(): Ip {
    return ipAt(this.words, this.at);
  }

  get mac(): number {
    return macAt(this.words, this.at);
  }

  get location(): number {
    return this.words[this.at + LOCATION]!;
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
  readonly #found = new Found();
  #size = 0;

  /** @param seed An integer that outsiders cannot guess, so that they cannot choose addresses with equal hashes. */
  constructor(seed = 0) {
    this.#index = new Index(this.#records, seed);
  }

  /** Number of bindings, hidden ones included. */
  get size(): number {
    return this.#size;
  }

  /** Adds a binding, or makes an existing one the newest. @throws RangeError if there are 2^24 - 1 already. */
  add({ ip, mac, location }: Binding): void {
    this.#remove(ip, mac, location);
    const by = setBinding(ip, mac, location);
    const record = this.#records.take();
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    for (let i = 0; i < STRIDE; i++) words[at + i] = KEY[i]!;
    this.#link(by, OLDER_IP, record, words, at);
    this.#link(MAC, OLDER_MAC, record, words, at);
    this.#index.put(BINDING, words, at, record);
    this.#size++;
  }

  /** Withdraws a binding and returns whether it existed. */
  remove({ ip, mac, location }: Binding): boolean {
    const isKnown = this.#remove(ip, mac, location);
    if (isKnown && this.#size === 0) {
      this.#records.clear();
      this.#index.clear();
      this.#found.words = KEY;
    }
    return isKnown;
  }

  #remove(ip: Ip, mac: number, location: number): boolean {
    setBinding(ip, mac, location);
    const record = this.#index.find(BINDING, KEY, 0);
    if (record === 0) return false;
    const words = this.#records.wordsOf(record);
    const at = this.#records.placeOf(record);
    this.#unlink(familyOf(words, at), OLDER_IP, words, at);
    this.#unlink(MAC, OLDER_MAC, words, at);
    this.#index.delete(BINDING, words, at);
    words[at + HIGH] = 0;
    this.#records.give(record);
    this.#size--;
    return true;
  }

  /** The binding in effect for an IP address. Like those of the other look-ups, it is valid until the next call of a method. */
  byIp(ip: Ip): Binding | undefined {
    return typeof ip === 'number' ? this.byIpv4(ip) : this.byIpv6(ip, 0);
  }

  /** The binding in effect for an IPv4 address. Does not allocate. */
  byIpv4(ip: number): Binding | undefined {
    setIpv4(ip);
    return this.#find(IPV4);
  }

  /** The binding in effect for the IPv6 address at `offset`. Does not allocate. */
  byIpv6(bytes: Uint8Array, offset: number): Binding | undefined {
    setIpv6(bytes, offset);
    return this.#find(IPV6);
  }

  /** The binding in effect for a MAC address, which may have several IP addresses. Does not allocate. */
  byMac(mac: number): Binding | undefined {
    setMac(mac);
    return this.#find(MAC);
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

  #find(by: number): Binding | undefined {
    const record = this.#index.find(by, KEY, 0);
    if (record === 0) return undefined;
    const found = this.#found;
    found.words = this.#records.wordsOf(record);
    found.at = this.#records.placeOf(record);
    return found;
  }

  /**
   * Makes a record the newest of its address.
   * @param older The word that has the next older one.
   */
  #link(by: number, older: number, record: number, words: Int32Array, at: number): void {
    const before = this.#index.put(by, words, at, record);
    words[at + older] = before;
    if (before !== 0) this.#set(before, older + NEWER, record);
  }

  #unlink(by: number, older: number, words: Int32Array, at: number): void {
    const before = words[at + older]!;
    const after = words[at + older + NEWER]!;
    if (before !== 0) this.#set(before, older + NEWER, after);
    if (after !== 0) this.#set(after, older, before);
    else if (before !== 0) this.#index.put(by, words, at, before);
    else this.#index.delete(by, words, at);
  }

  #set(record: number, word: number, value: number): void {
    this.#records.wordsOf(record)[this.#records.placeOf(record) + word] = value;
  }
}

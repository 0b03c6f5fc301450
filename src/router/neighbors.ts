/**
 * The addresses that have answered the router's questions, or are being asked: ARP of RFC 826, and neighbor discovery of
 * RFC 4861, section 7.3, in bounded tables.
 */
import { areEqual, hashOf } from './words.js';
import type { Interface, Segment } from './routes.js';

/** Milliseconds between two questions (RFC 4861, section 10: RETRANS_TIMER). */
export const RETRY_INTERVAL = 1000;
/** Questions without an answer after which an address is unreachable (MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT). */
export const MAX_QUESTIONS = 3;
/** Milliseconds for which an answer counts (REACHABLE_TIME). An address in use is then asked again, another is forgotten. */
export const REACHABLE_TIME = 30_000;

/** Addresses that are asked for the first time, at most. Another one displaces the oldest. */
const MAX_INCOMPLETE = 256;
/** Packets that wait for one address, and their bytes for all addresses, at most. */
const MAX_HELD = 8;
const MAX_HELD_BYTES = 1 << 20;

/** A packet that waits for the MAC address of its next hop: `headroom` free bytes, and the frame behind them. */
export interface Held {
  readonly bytes: Uint8Array;
  /** Where it came from. */
  readonly segment: Segment;
  readonly from: number;
  /** Its sender's MAC address. */
  readonly sender: number;
}

/** The address has not answered yet. */
export const INCOMPLETE = 0;
/** The address answered within {@link REACHABLE_TIME}. */
export const REACHABLE = 1;
/** The address is asked whether it is still there; packets are sent to it meanwhile. */
export const PROBING = 2;

/** An address in a subnet. */
export class Neighbor {
  readonly out: Interface;
  readonly octets: Uint8Array;
  readonly words: Int32Array;
  /** 48 bits; 0 while `INCOMPLETE`. */
  mac = 0;
  state = INCOMPLETE;
  /** Questions since the last answer. */
  questions = 0;
  /** Milliseconds at which something is due: the next question, or the end of `REACHABLE`. */
  due = 0;
  /** Whether a packet was sent to it since its last answer. */
  used = false;
  readonly held: Held[] = [];
  /** The next one with the same hash. */
  next: Neighbor | undefined;

  constructor(out: Interface, octets: Uint8Array, words: Int32Array, next: Neighbor | undefined) {
    this.out = out;
    this.octets = octets;
    this.words = words;
    this.next = next;
  }
}

/** The table. It changes states; the router sends what follows from them. */
export class NeighborTable {
  readonly #capacity: number;
  readonly #byHash = new Map<number, Neighbor>();
  /** In the order of their creation. */
  readonly #incomplete = new Set<Neighbor>();
  /** In the order of their last answer. */
  readonly #known = new Set<Neighbor>();
  #heldBytes = 0;

  /** @param capacity Addresses that have answered, at most. Another one displaces the one whose answer is the oldest. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#incomplete.size + this.#known.size;
  }

  find(vni: number, words: Int32Array): Neighbor | undefined {
    let entry = this.#byHash.get(hashOf(vni, words));
    while (entry !== undefined && !(areEqual(entry.words, words) && entry.out.vni === vni)) entry = entry.next;
    return entry;
  }

  /** Adds an address that is to be asked. Returns the packets of the address that it displaces. */
  add(out: Interface, octets: Uint8Array, words: Int32Array): { entry: Neighbor; displaced: readonly Held[] } {
    let displaced: readonly Held[] = [];
    if (this.#incomplete.size >= MAX_INCOMPLETE) {
      const [oldest] = this.#incomplete;
      displaced = this.remove(oldest!);
    }
    const hash = hashOf(out.vni, words);
    const entry = new Neighbor(out, octets, words, this.#byHash.get(hash));
    this.#byHash.set(hash, entry);
    this.#incomplete.add(entry);
    return { entry, displaced };
  }

  /** Lets a packet wait, and returns the number of packets that are dropped for it: old ones, or itself. */
  hold(entry: Neighbor, packet: Held): number {
    let dropped = 0;
    while (entry.held.length > 0 && (entry.held.length >= MAX_HELD || !this.#fits(packet))) {
      this.#heldBytes -= entry.held.shift()!.bytes.length;
      dropped++;
    }
    if (!this.#fits(packet)) return dropped + 1;
    this.#heldBytes += packet.bytes.length;
    entry.held.push(packet);
    return dropped;
  }

  #fits(packet: Held): boolean {
    return this.#heldBytes + packet.bytes.length <= MAX_HELD_BYTES;
  }

  /** Records that an address is at `mac`, and returns the packets that waited for it. */
  confirm(entry: Neighbor, mac: number, now: number): readonly Held[] {
    const held = this.#release(entry);
    this.#incomplete.delete(entry);
    this.#known.delete(entry);
    if (this.#known.size >= this.#capacity) {
      const [oldest] = this.#known;
      this.remove(oldest!);
    }
    this.#known.add(entry);
    entry.mac = mac;
    entry.state = REACHABLE;
    entry.questions = 0;
    entry.used = false;
    entry.due = now + REACHABLE_TIME;
    return held;
  }

  /** Removes an address, and returns the packets that waited for it. */
  remove(entry: Neighbor): readonly Held[] {
    this.#incomplete.delete(entry);
    this.#known.delete(entry);
    const hash = hashOf(entry.out.vni, entry.words);
    const first = this.#byHash.get(hash);
    if (first === entry) {
      if (entry.next === undefined) this.#byHash.delete(hash);
      else this.#byHash.set(hash, entry.next);
    } else {
      let before = first;
      while (before !== undefined && before.next !== entry) before = before.next;
      if (before !== undefined) before.next = entry.next;
    }
    return this.#release(entry);
  }

  #release(entry: Neighbor): readonly Held[] {
    const held = entry.held.splice(0);
    for (const { bytes } of held) this.#heldBytes -= bytes.length;
    return held;
  }

  /** All addresses, for listings and for what is due. The caller may remove an address while it iterates. */
  *entries(): Generator<Neighbor> {
    yield* [...this.#incomplete, ...this.#known];
  }
}

/**
 * What nearly all frames read and count of a segment, in one cache line: a row of one array for all segments.
 *
 * With thousands of networks, a frame waits for memory most of its time: for the segment's object, for its table's object, for
 * its counters, and for two slots of the table. The rows of 4000 segments take 256 KiB, which the caches of a processor hold;
 * the slots remain.
 */
import { macHigh } from '../address/index.js';
import type { Slots } from '../fdb/index.js';

/** The words of a row, 32 bits each. */
export const WORDS = 16;
const ROW_SHIFT = 4;
/** The table of the forwarding database: an index of `HotRows.tables`. */
export const TABLE = 0;
/** Its first word in there. */
export const BASE = 1;
/** Its number of slots minus one. Negative if a frame must go through the bridge: the other words have no meaning then. */
export const MASK = 2;
/** The age in ticks from which an entry is expired. */
export const AGE = 3;
export const VNI = 4;
export const MTU = 5;
/** The MAC address of the gateway: its low 32 bits and its high 16 bits. */
export const GATEWAY_LOW = 6;
export const GATEWAY_HIGH = 7;
/** Counters, as words of 64 bits behind these: packets and bytes of frames from ports to tunnels, and the other way. */
const FIRST_COUNT = 4;
export const OUT_PACKETS = FIRST_COUNT;
export const OUT_BYTES = FIRST_COUNT + 1;
export const IN_PACKETS = FIRST_COUNT + 2;
export const IN_BYTES = FIRST_COUNT + 3;

/** `GATEWAY_HIGH` without a gateway: no address has so many bits. */
const NO_GATEWAY = 0x1_0000;
/** `MASK` if a frame must go through the bridge. */
const BRIDGE = -1;
/** No row. It stays empty, and its `MASK` is `BRIDGE`. */
export const NO_ROW = 0;
const FEWEST = 16;

/** The rows. A row is known by the index of its first word, which does not change. */
export class HotRows<T> {
  words = new Int32Array(FEWEST * WORDS);
  /** The same memory, for the counters: those of a row begin at half its index. */
  counts = new Float64Array(this.words.buffer);
  /** The arrays that tables have their slots in. */
  readonly tables: Int32Array[] = [];
  /** By array, its index in `tables`, and how many rows refer to it. */
  readonly #uses = new Map<Int32Array, { index: number; rows: number }>();
  readonly #freeTables: number[] = [];
  readonly #free: number[] = [];
  #next = WORDS;
  /** By row, divided by `WORDS`. */
  readonly #owners: (T | null)[] = [null];

  constructor() {
    this.words[NO_ROW + MASK] = BRIDGE;
  }

  /** What a row is of, or `null`. */
  ownerOf(row: number): T | null {
    return this.#owners[row >> ROW_SHIFT]!;
  }

  /** A row, of which `publish` has not been called yet. */
  take(owner: T, vni: number, mtu: number): number {
    const row = this.#free.pop() ?? this.#append();
    const { words } = this;
    this.#owners[row >> ROW_SHIFT] = owner;
    words[row + MASK] = BRIDGE;
    words[row + TABLE] = -1;
    words[row + VNI] = vni;
    words[row + MTU] = mtu;
    this.setGateway(row, null);
    return row;
  }

  /** Takes back a row that `take` returned. */
  give(row: number): void {
    this.publish(row, null);
    this.#release(row);
    this.words.fill(0, row, row + WORDS);
    this.words[row + MASK] = BRIDGE;
    this.#owners[row >> ROW_SHIFT] = null;
    this.#free.push(row);
  }

  /** Where the entries of the segment's table are; `null` if only the table's methods find all of them. */
  publish(row: number, slots: Slots | null): void {
    const { words } = this;
    if (slots === null) {
      words[row + MASK] = BRIDGE;
      return;
    }
    if (this.tables[words[row + TABLE]!] !== slots.words) {
      this.#release(row);
      words[row + TABLE] = this.#use(slots.words);
    }
    words[row + BASE] = slots.base;
    words[row + MASK] = slots.count - 1;
  }

  setAge(row: number, ticks: number): void {
    this.words[row + AGE] = ticks;
  }

  /** @param mac The gateway's MAC address, 48 bits, or `null`. */
  setGateway(row: number, mac: number | null): void {
    this.words[row + GATEWAY_LOW] = mac === null ? 0 : mac | 0;
    this.words[row + GATEWAY_HIGH] = mac === null ? NO_GATEWAY : macHigh(mac);
  }

  #append(): number {
    const row = this.#next;
    this.#next += WORDS;
    if (this.#next > this.words.length) {
      const grown = new Int32Array(this.words.length * 2);
      grown.set(this.words);
      this.words = grown;
      this.counts = new Float64Array(grown.buffer);
    }
    return row;
  }

  #use(table: Int32Array): number {
    let use = this.#uses.get(table);
    if (use === undefined) {
      use = { index: this.#freeTables.pop() ?? this.tables.length, rows: 0 };
      this.tables[use.index] = table;
      this.#uses.set(table, use);
    }
    use.rows++;
    return use.index;
  }

  /** A row refers to its array no more. */
  #release(row: number): void {
    const index = this.words[row + TABLE]!;
    this.words[row + TABLE] = -1;
    const table = this.tables[index];
    const use = table === undefined ? undefined : this.#uses.get(table);
    if (use === undefined || --use.rows > 0) return;
    this.#uses.delete(table!);
    this.tables[index] = NO_SLOTS;
    this.#freeTables.push(index);
  }
}

const NO_SLOTS = new Int32Array(0);

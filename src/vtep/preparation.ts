import * as ethernet from '../ethernet/index.js';
import { homeOf } from '../fdb/index.js';
import * as vxlan from '../vxlan/index.js';
import { getI32, getU16 } from '../wire/index.js';
import type { Context } from './context.js';
import { BASE, MASK, NO_ROW, TABLE } from './hot-rows.js';
import { isUntagged } from './tags.js';

const { getId } = ethernet.vlan; // see tags.ts

const ETHERNET = ethernet.HEADER_LENGTH;
const SOURCE = ethernet.SOURCE_OFFSET;
/** What is read of a frame. */
const LENGTH_READ = ETHERNET + ethernet.vlan.HEADER_LENGTH;
/** Most frames that one call prepares. */
export const MAX_PREPARED = 64;

/**
 * Reads the tables for several frames that have arrived together, before a `Vtep` receives them one by one. It changes
 * nothing, and the machine forwards the frames in the same way without it.
 *
 * With thousands of networks, a frame waits some five times for memory: for its segment, for what the segment refers to, and
 * for the slots of its addresses. The processor waits for several of these at a time if they are close to each other in the
 * program. Therefore each loop does one step for all frames, and no more: with two steps in one, the loops took 40 % longer.
 *
 * Where the tables fit into the caches, it only takes time, some 40 ns a frame: see `pays`.
 */
export class Preparation {
  readonly #context: Context;
  /** The rows of the segments: see hot-rows.ts. */
  readonly #rows = new Int32Array(MAX_PREPARED);
  /** Where the search for the addresses begins in the FDB; negative if the frame does not take the fast path. */
  readonly #sources = new Int32Array(MAX_PREPARED);
  readonly #destinations = new Int32Array(MAX_PREPARED);
  /** Depends on all that was read, so that the compiler leaves out none of it. */
  readonly #sum = new Float64Array(1);

  constructor(context: Context) {
    this.#context = context;
  }

  /** Whether it saves time: the tables of the machine are larger than the processor's caches. */
  get pays(): boolean {
    return this.#context.common.memory.isLarge;
  }

  /**
   * Prepares frames for `Vtep.receiveFrame`: up to `MAX_PREPARED` of them.
   * @param bytes The buffer that all of them are in.
   * @param ports The port of each.
   * @param starts The start of each in `bytes`. A frame may be cut; what is behind it is read then.
   */
  frames(bytes: Uint8Array, ports: Int32Array, starts: Int32Array, count: number): void {
    const { ports: known } = this.#context;
    const most = Math.min(count, MAX_PREPARED);
    for (let i = 0; i < most; i++) {
      const start = starts[i]!;
      const port = ports[i]!;
      this.#rows[i] = NO_ROW;
      if (start + LENGTH_READ > bytes.length) continue;
      const isPlain = isUntagged(ethernet.getEtherType(bytes, start));
      this.#rows[i] = isPlain ? known.rowOf(port) : known.rowOnTrunk(port, getId(bytes, start + ETHERNET));
    }
    this.#read(bytes, starts, 0, most);
  }

  /**
   * Prepares VXLAN datagrams for `Vtep.receiveDatagram`: up to `MAX_PREPARED` of them.
   * @param bytes The buffer that all of them are in.
   * @param starts The start of the UDP payload of each in `bytes`.
   */
  datagrams(bytes: Uint8Array, starts: Int32Array, count: number): void {
    const most = Math.min(count, MAX_PREPARED);
    for (let i = 0; i < most; i++) {
      const start = starts[i]!;
      const isRead = start + vxlan.HEADER_LENGTH + LENGTH_READ <= bytes.length;
      this.#rows[i] = isRead ? this.#context.rowOf(vxlan.getVni(bytes, start)) : NO_ROW;
    }
    this.#read(bytes, starts, vxlan.HEADER_LENGTH, most);
  }

  /** @param offset From the start of what arrived to its inner frame. */
  #read(bytes: Uint8Array, starts: Int32Array, offset: number, count: number): void {
    const { hot, common } = this.#context;
    const { words, tables } = hot;
    const { seed } = common;
    const rows = this.#rows;
    const sources = this.#sources;
    const destinations = this.#destinations;
    for (let i = 0; i < count; i++) {
      const row = rows[i]!;
      const mask = words[row + MASK]!;
      sources[i] = -1;
      if (mask < 0) continue;
      const start = starts[i]! + offset;
      const base = words[row + BASE]!;
      sources[i] = homeOf(base, mask, seed, getI32(bytes, start + SOURCE + 2), getU16(bytes, start + SOURCE));
      destinations[i] = homeOf(base, mask, seed, getI32(bytes, start + 2), getU16(bytes, start));
    }
    let sum = 0;
    for (let i = 0; i < count; i++) {
      const source = sources[i]!;
      if (source < 0) continue;
      const table = tables[words[rows[i]! + TABLE]!]!;
      sum += table[source]! + table[destinations[i]!]!;
    }
    this.#sum[0] = sum;
  }
}

/**
 * The memory that the kernel and the loop share: frames, headers and the structures of system calls. It is a
 * `WebAssembly.Memory`, so that the checksum module reads frames in place.
 */
import { type Libc, type Pointer } from './libc.js';
import { CMSG, IOVEC, MADV_HUGEPAGE, SOCKADDR } from './abi.js';

const PAGE = 65_536;
const WORD = 2 ** 32;

/** `WebAssembly.Memory`, which the types of Node leave out. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

const { Memory } = (
  globalThis as unknown as {
    WebAssembly: { Memory: new (pages: { initial: number; maximum: number }) => WasmMemory };
  }
).WebAssembly;

export class Arena {
  readonly memory: WasmMemory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #base: Pointer;
  readonly #low: number;
  readonly #high: number;
  #end: number;

  /**
   * @param size Bytes; fixed, since the kernel holds addresses in it.
   * @param reserved Bytes at the beginning that `take` does not allocate.
   */
  constructor(libc: Libc, size: number, reserved = 0) {
    const pages = Math.ceil(size / PAGE);
    this.memory = new Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.#base = libc.address(this.memory.buffer);
    // Large pages: a frame of 64 KiB touches one page instead of sixteen. Optional.
    libc.madvise(this.#base, this.bytes.length, MADV_HUGEPAGE);
    this.#low = Number(this.#base % BigInt(WORD));
    this.#high = Number(this.#base / BigInt(WORD));
    this.#end = reserved;
  }

  /** Allocates zeroed bytes at a multiple of `align`. */
  take(length: number, align = 64): number {
    const offset = Math.ceil(this.#end / align) * align;
    this.#end = offset + length;
    if (this.#end > this.bytes.length) throw new RangeError(`the arena of ${this.bytes.length} bytes is full`);
    return offset;
  }

  /** Returns the address of an offset. Allocates a bigint: call it once and keep the result. */
  pointer(offset: number): Pointer {
    return this.#base + BigInt(offset);
  }

  /** Writes the address of `offset` into memory at `at`, without allocating. */
  setPointer(at: number, offset: number): void {
    const low = this.#low + offset;
    const carry = low >= WORD ? 1 : 0;
    this.view.setUint32(at, carry === 1 ? low - WORD : low, true);
    this.view.setUint32(at + 4, this.#high + carry, true);
  }

  /** Writes a 64-bit length or count. */
  setSize(at: number, size: number): void {
    this.view.setUint32(at, size, true);
    this.view.setUint32(at + 4, 0, true);
  }

  setIovec(at: number, offset: number, length: number): void {
    this.setPointer(at + IOVEC.base, offset);
    this.setSize(at + IOVEC.size, length);
  }

  /** Writes a control message with a 16- or 32-bit value and returns the offset of the next one. */
  setControl(at: number, level: number, type: number, value: number, bytes: 2 | 4): number {
    this.setSize(at + CMSG.size, CMSG.data + bytes);
    this.view.setInt32(at + CMSG.level, level, true);
    this.view.setInt32(at + CMSG.type, type, true);
    this.view.setInt32(at + CMSG.data, value, true);
    return at + CMSG.data + 8;
  }

  /** Writes an underlay address and returns its length. */
  setSocketAddress(at: number, words: Int32Array, port: number, v6: boolean, family: number): number {
    const { view } = this;
    view.setUint16(at + SOCKADDR.family, family, true);
    view.setUint16(at + SOCKADDR.port, port);
    if (!v6) {
      view.setInt32(at + SOCKADDR.ipv4, words[3]!);
      return SOCKADDR.length4;
    }
    view.setUint32(at + 4, 0); // flow label
    for (let i = 0; i < 4; i++) view.setInt32(at + SOCKADDR.ipv6 + i * 4, words[i]!);
    view.setUint32(at + SOCKADDR.ipv6 + 16, 0); // scope
    return SOCKADDR.length6;
  }
}

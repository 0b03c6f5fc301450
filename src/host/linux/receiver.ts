/**
 * Receives datagrams: many per call, and many of one flow as one message if the kernel joined them (`UDP_GRO`). The
 * size of the last messages determines how many the next call requests. For large messages that is few, so that they
 * are still in the processor cache when they are processed.
 */
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { COUNT, countError, OVERFLOW } from './counts.js';
import { EAGAIN, EINTR, type Libc, type Pointer } from './libc.js';

/** Most messages in a call. */
const MESSAGES = 64;
/** Size of the largest datagram, or of the largest message of joined datagrams, in bytes. */
const ROOM = 65_536;
/** Bytes between the buffers, so that their beginnings do not map to the same cache lines. */
const STAGGER = 192;
const CONTROL_ROOM = 96;
/** Bytes to request per call. */
const BUDGET = 1 << 17;

export interface ReceiverEvents {
  /** Several messages arrived in one call: `starts` has the offsets of the first `count` of them. `datagrams` follows for each. */
  arrived(starts: Int32Array, count: number): void;
  /**
   * Datagrams of one sender arrived, all of `size` bytes but the last, which may be shorter.
   * @param source Where the sender's socket address is.
   */
  datagrams(source: number, offset: number, end: number, size: number, ecn: number): void;
}

export class Receiver {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #fd: number;
  readonly #counts: Float64Array;
  /** Buffer for `SO_MEMINFO`, followed by its length. */
  readonly #memory: number;
  readonly #messages: number;
  readonly #pointer: Pointer;
  readonly #null: Pointer = BigInt(0);
  readonly #names: number;
  readonly #controls: number;
  /** The offset of each message's bytes. */
  readonly #buffers: Int32Array;
  /** How many messages the next call requests. */
  #ask = 4;
  /** The socket's own 32-bit count of dropped datagrams, as last read. */
  #lost = 0;

  /**
   * @param shared A receiver of another socket, whose buffers this one uses too: what either has received is then valid until the
   * next call of either.
   */
  constructor(libc: Libc, arena: Arena, fd: number, counts: Float64Array, shared?: Receiver) {
    this.#libc = libc;
    this.#arena = arena;
    this.#fd = fd;
    this.#counts = counts;
    if (shared !== undefined) {
      this.#memory = shared.#memory;
      this.#messages = shared.#messages;
      this.#pointer = shared.#pointer;
      this.#names = shared.#names;
      this.#controls = shared.#controls;
      this.#buffers = shared.#buffers;
      return;
    }
    this.#buffers = new Int32Array(MESSAGES);
    this.#memory = arena.take(abi.SK_MEMINFO.length + 4);
    this.#messages = arena.take(MESSAGES * abi.MSGHDR.mmsgLength);
    this.#pointer = arena.pointer(this.#messages);
    this.#names = arena.take(MESSAGES * abi.SOCKADDR.room);
    this.#controls = arena.take(MESSAGES * CONTROL_ROOM);
    const buffers = arena.take(MESSAGES * (ROOM + STAGGER));
    const pieces = arena.take(MESSAGES * abi.IOVEC.length);
    for (let i = 0; i < MESSAGES; i++) {
      const at = this.#messages + i * abi.MSGHDR.mmsgLength;
      const piece = pieces + i * abi.IOVEC.length;
      this.#buffers[i] = buffers + i * (ROOM + STAGGER);
      arena.setIovec(piece, this.#buffers[i]!, ROOM);
      arena.setPointer(at + abi.MSGHDR.name, this.#names + i * abi.SOCKADDR.room);
      arena.setPointer(at + abi.MSGHDR.iov, piece);
      arena.setSize(at + abi.MSGHDR.iovCount, 1);
      arena.setPointer(at + abi.MSGHDR.control, this.#controls + i * CONTROL_ROOM);
      this.#ready(at);
    }
  }

  /** Receives once; returns whether there may be more. The bytes are valid until the next call. */
  receive(events: ReceiverEvents): boolean {
    const counts = this.#counts;
    const ask = this.#ask;
    counts[COUNT.receiveCalls]! += 1;
    const got = this.#libc.recvmmsg(this.#fd, this.#pointer, ask, abi.MSG_DONTWAIT, this.#null);
    if (got < 0) {
      const errno = this.#libc.errno();
      if (errno === EAGAIN) return false;
      if (errno !== EINTR) countError(counts, 'receiveErrors', errno); // reading the error has cleared it
      return true;
    }
    const { view } = this.#arena;
    if (got > 1) events.arrived(this.#buffers, got);
    let bytes = 0;
    for (let i = 0; i < got; i++) {
      const at = this.#messages + i * abi.MSGHDR.mmsgLength;
      const length = view.getUint32(at + abi.MSGHDR.moved, true);
      const buffer = this.#buffers[i]!;
      bytes += length;
      this.#control(at, i, length);
      this.#ready(at);
      events.datagrams(this.#names + i * abi.SOCKADDR.room, buffer, buffer + length, this.#size, this.#ecn);
    }
    const fit = Math.floor(BUDGET / (bytes / got + 1));
    this.#ask = fit < 2 ? 2 : fit > MESSAGES ? MESSAGES : fit;
    return got === ask;
  }

  /** Reads the socket's count of dropped datagrams. Otherwise the count arrives only with a later datagram. */
  lookForLosses(): void {
    const { view } = this.#arena;
    view.setInt32(this.#memory + abi.SK_MEMINFO.length, abi.SK_MEMINFO.length, true);
    const length = this.#arena.pointer(this.#memory + abi.SK_MEMINFO.length);
    const values = this.#arena.pointer(this.#memory);
    if (this.#libc.getsockopt(this.#fd, abi.SOL_SOCKET, abi.SO_MEMINFO, values, length) < 0) return; // before Linux 4.12
    this.#overflow(view.getInt32(this.#memory + abi.SK_MEMINFO.drops, true));
  }

  #overflow(lost: number): void {
    if (lost === this.#lost) return;
    countError(this.#counts, 'receiveErrors', OVERFLOW, (lost - this.#lost) >>> 0);
    this.#lost = lost;
  }

  #size = 0;
  #ecn = 0;

  /** Reads a message's control messages. */
  #control(message: number, index: number, length: number): void {
    const { view } = this.#arena;
    let at = this.#controls + index * CONTROL_ROOM;
    const end = at + view.getUint32(message + abi.MSGHDR.controlLength, true);
    this.#size = length;
    this.#ecn = 0;
    while (at + abi.CMSG.data < end) {
      const size = view.getUint32(at + abi.CMSG.size, true);
      if (size < abi.CMSG.data) break;
      const level = view.getInt32(at + abi.CMSG.level, true);
      const type = view.getInt32(at + abi.CMSG.type, true);
      if (level === abi.SOL_UDP) {
        if (type === abi.UDP_GRO) this.#size = view.getInt32(at + abi.CMSG.data, true);
      } else if (level === abi.SOL_IP) {
        if (type === abi.IP_TOS) this.#ecn = this.#arena.bytes[at + abi.CMSG.data]! & 3;
      } else if (level === abi.SOL_IPV6) {
        if (type === abi.IPV6_TCLASS) this.#ecn = view.getInt32(at + abi.CMSG.data, true) & 3;
      } else if (level === abi.SOL_SOCKET && type === abi.SO_RXQ_OVFL) {
        this.#overflow(view.getInt32(at + abi.CMSG.data, true));
      }
      at += (size + 7) & ~7;
    }
  }

  /** Resets the fields of a message header that the kernel has written to. */
  #ready(at: number): void {
    const { view } = this.#arena;
    view.setUint32(at + abi.MSGHDR.nameLength, abi.SOCKADDR.room, true);
    view.setUint32(at + abi.MSGHDR.controlLength, CONTROL_ROOM, true);
  }
}

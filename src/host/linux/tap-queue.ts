/** Reads and writes the frames of one TAP, one per call, preceded by a `virtio_net_hdr` if the device uses it. */
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { COUNT, countError } from './counts.js';
import { EAGAIN, EINTR, type Libc, type Pointer } from './libc.js';

/** Length of `struct virtio_net_hdr` without `num_buffers`, which TAPs do not use. */
export const VIRTIO_LENGTH = 10;
/** Most pieces that the kernel accepts per call. */
const PIECES = 1024;
/** Longest frame: an IP packet of 65,535 bytes, with an Ethernet header and two VLAN tags. */
export const MAX_FRAME = 65_535 + 14 + 8;

/** `read`: no frame is queued. */
export const NOTHING = -1;
/** `read`: the device cannot be read any more; see `errno`. */
export const LOST = -2;

/**
 * The structures of system calls, which all TAPs of a thread share: a frame is begun and ended before the next one. So a
 * TAP takes no room in the arena, which cannot be given back.
 */
export class TapCalls {
  readonly arena: Arena;
  readonly readPiece: number;
  readonly readPointer: Pointer;
  readonly pieces: number;
  readonly piecesPointer: Pointer;
  /** A zero header, for frames without offload. */
  readonly plain: number;

  constructor(arena: Arena) {
    this.arena = arena;
    this.readPiece = arena.take(abi.IOVEC.length);
    this.readPointer = arena.pointer(this.readPiece);
    this.pieces = arena.take(PIECES * abi.IOVEC.length);
    this.piecesPointer = arena.pointer(this.pieces);
    this.plain = arena.take(VIRTIO_LENGTH);
  }
}

export class TapQueue {
  readonly fd: number;
  readonly #writer: number;
  /** Bytes of the header in front of each frame. */
  readonly header: 0 | typeof VIRTIO_LENGTH;
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #counts: Float64Array;
  readonly #readPiece: number;
  readonly #readPointer: Pointer;
  readonly #pieces: number;
  readonly #piecesPointer: Pointer;
  readonly #plain: number;
  #used = 0;
  /** The error of the last `read` that returned `LOST`; 0 for end of file. */
  errno = 0;

  /** @param writer The file descriptor to write frames to. */
  constructor(libc: Libc, calls: TapCalls, fd: number, vnet: boolean, counts: Float64Array, writer = fd) {
    this.fd = fd;
    this.#writer = writer;
    this.header = vnet ? VIRTIO_LENGTH : 0;
    this.#libc = libc;
    this.#arena = calls.arena;
    this.#counts = counts;
    this.#readPiece = calls.readPiece;
    this.#readPointer = calls.readPointer;
    this.#pieces = calls.pieces;
    this.#piecesPointer = calls.piecesPointer;
    this.#plain = calls.plain;
  }

  /** Reads the next frame to `offset` and its header in front of it; returns the frame's length, `NOTHING` or `LOST`. */
  read(offset: number): number {
    const { header } = this;
    this.#arena.setIovec(this.#readPiece, offset - header, header + MAX_FRAME);
    this.#counts[COUNT.readCalls]! += 1;
    for (;;) {
      const length = this.#libc.readv(this.fd, this.#readPointer, 1);
      if (length >= header) return length - header;
      const errno = length < 0 ? this.#libc.errno() : 0;
      if (errno === EAGAIN) return NOTHING;
      if (errno === EINTR) continue;
      this.errno = errno;
      return LOST;
    }
  }

  /** Writes a plain frame of one piece. */
  write(offset: number, length: number): void {
    this.begin(offset, length);
    this.end();
  }

  /** Begins a plain frame with its first piece; `piece` adds others, `end` writes them. */
  begin(offset: number, length: number): void {
    this.#used = 0;
    if (this.header !== 0) this.piece(this.#plain, VIRTIO_LENGTH);
    this.piece(offset, length);
  }

  /** Begins a frame whose first piece starts with its virtio header. */
  beginWithHeader(offset: number, length: number): void {
    this.#used = 0;
    this.piece(offset, length);
  }

  piece(offset: number, length: number): void {
    this.#arena.setIovec(this.#pieces + this.#used++ * abi.IOVEC.length, offset, length);
  }

  /** Writes the frame begun last. */
  end(): void {
    const counts = this.#counts;
    counts[COUNT.writeCalls]! += 1;
    for (;;) {
      if (this.#libc.writev(this.#writer, this.#piecesPointer, this.#used) >= 0) {
        counts[COUNT.framesWritten]! += 1;
        return;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      countError(counts, 'writeErrors', errno);
      return;
    }
  }
}

/**
 * Enables segmentation and checksum offload of a TAP, as far as the kernel supports it.
 * @returns whether it accepts UDP super-frames.
 */
export function enableOffloads(libc: Libc, queue: number): boolean {
  const tcp = abi.TUN_F_CSUM | abi.TUN_F_TSO4 | abi.TUN_F_TSO6 | abi.TUN_F_TSO_ECN;
  const enable = (flags: number): boolean => libc.ioctl(queue, abi.TUNSETOFFLOAD, flags) >= 0;
  if (enable(tcp | abi.TUN_F_USO4 | abi.TUN_F_USO6)) return true;
  enable(tcp); // a kernel that does not know a flag refuses all
  return false;
}

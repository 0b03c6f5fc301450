/** Frames in and out of one TAP: a `virtio_net_hdr` and a frame a call, where the device has such headers. */
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { COUNT, countError } from './counts.js';
import { EAGAIN, EINTR, type Libc, type Pointer } from './libc.js';

/** `struct virtio_net_hdr`, without the count of buffers that is for another kind of device. */
export const VIRTIO_LENGTH = 10;
/** The kernel takes 1024 pieces a call. */
const PIECES = 1024;
/** Longest frame: an IP packet of 65,535 bytes, with an Ethernet header and two VLAN tags. */
export const MAX_FRAME = 65_535 + 14 + 8;

/** `read` found nothing more, or an error that it counted. */
export const NOTHING = -1;
/** The device is gone. */
export const LOST = -2;

export class TapQueue {
  readonly fd: number;
  readonly #writer: number;
  /** Bytes in front of each frame that the device reads and writes. */
  readonly header: 0 | typeof VIRTIO_LENGTH;
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #counts: Float64Array;
  readonly #readPiece: number;
  readonly #readPointer: Pointer;
  readonly #pieces: number;
  readonly #piecesPointer: Pointer;
  /** Where headers of frames without any offload are: zero. */
  readonly #plain: number;
  #used = 0;
  /** The error of the last `read` that answered `LOST`. */
  errno = 0;

  /** @param writer Where frames are written to: the same file descriptor, or another of the device. */
  constructor(libc: Libc, arena: Arena, fd: number, vnet: boolean, counts: Float64Array, writer = fd) {
    this.fd = fd;
    this.#writer = writer;
    this.header = vnet ? VIRTIO_LENGTH : 0;
    this.#libc = libc;
    this.#arena = arena;
    this.#counts = counts;
    this.#readPiece = arena.take(abi.IOVEC.length);
    this.#readPointer = arena.pointer(this.#readPiece);
    this.#pieces = arena.take(PIECES * abi.IOVEC.length);
    this.#piecesPointer = arena.pointer(this.#pieces);
    this.#plain = arena.take(VIRTIO_LENGTH);
  }

  /** Reads the next frame to `offset`, its header in front; returns the frame's length, `NOTHING` or `LOST`. */
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

  /** Writes a plain frame that lies in one piece. */
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

  /** Begins a frame whose own header begins the first piece, for a device that has such. */
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

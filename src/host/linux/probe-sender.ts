/**
 * Sends single datagrams past the queues: probes of path MTUs, the answers to them, what must be fragmented, and messages about keys. A probe in a
 * queue would count as traffic to its remote, and a device that refuses it would cost the datagrams beside it a second call.
 */
import { type ProbePlace } from '../../vtep/index.js';
import * as abi from './abi.js';
import { addressWords } from './address.js';
import { type Arena } from './arena.js';
import { COUNT } from './counts.js';
import { type Libc, type Pointer } from './libc.js';

/** Bytes for the longest datagram. */
const ROOM = 65_536;

export class ProbeSender {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #fds: readonly number[];
  readonly #v6: boolean;
  readonly #message: number;
  readonly #pointer: Pointer;
  readonly #name: number;
  readonly #piece: number;
  readonly #bytes: number;
  readonly #words = new Int32Array(4);
  readonly #counts: Float64Array;
  readonly #readErrors: (fd: number) => void;

  /**
   * @param readErrors Reads a socket's error queue, which clears an error that an earlier datagram has left there.
   */
  constructor(
    libc: Libc,
    arena: Arena,
    fds: readonly number[],
    v6: boolean,
    counts: Float64Array,
    readErrors: (fd: number) => void = () => undefined,
  ) {
    this.#libc = libc;
    this.#arena = arena;
    this.#fds = fds;
    this.#v6 = v6;
    this.#counts = counts;
    this.#readErrors = readErrors;
    this.#message = arena.take(abi.MSGHDR.mmsgLength);
    this.#pointer = arena.pointer(this.#message);
    this.#name = arena.take(abi.SOCKADDR.room);
    this.#piece = arena.take(abi.IOVEC.length);
    this.#bytes = arena.take(ROOM);
    arena.setPointer(this.#message + abi.MSGHDR.name, this.#name);
    arena.setPointer(this.#message + abi.MSGHDR.iov, this.#piece);
    arena.setSize(this.#message + abi.MSGHDR.iovCount, 1);
  }

  /**
   * Sends a datagram, and counts it.
   * @returns 0, or the error because of which it was not sent.
   */
  send({ address, port }: ProbePlace, bytes: Uint8Array, sourcePort: number): number {
    const arena = this.#arena;
    addressWords(address, this.#words);
    const family = this.#v6 ? abi.AF_INET6 : abi.AF_INET;
    const length = arena.setSocketAddress(this.#name, this.#words, port, this.#v6, family);
    arena.view.setUint32(this.#message + abi.MSGHDR.nameLength, length, true);
    arena.bytes.set(bytes, this.#bytes);
    arena.setIovec(this.#piece, this.#bytes, bytes.length);
    const fd = this.#fds[sourcePort % this.#fds.length]!;
    if (this.#pass(fd)) return 0;
    this.#readErrors(fd);
    if (this.#pass(fd)) return 0;
    const errno = this.#libc.errno();
    this.#readErrors(fd);
    return errno;
  }

  #pass(fd: number): boolean {
    if (this.#libc.sendmmsg(fd, this.#pointer, 1, abi.MSG_DONTWAIT) <= 0) return false;
    this.#counts[COUNT.datagramsSent]! += 1;
    return true;
  }
}

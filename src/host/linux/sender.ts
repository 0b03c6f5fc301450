/**
 * Sends datagrams: queues them by socket, joins datagrams that the kernel can segment again (`UDP_SEGMENT`), and passes
 * many to the kernel in one call. It references bytes and does not copy them: they must stay in place until `flush`.
 *
 * A flow leaves by one socket, and a socket's datagrams leave in order. When a socket is full (`full`), its datagrams stay
 * queued until it is writable, and the caller adds nothing meanwhile.
 */
import { type Remote } from '../../vtep/index.js';
import * as abi from './abi.js';
import { addressWords } from './address.js';
import { type Arena } from './arena.js';
import { COUNT, countError } from './counts.js';
import { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM, type Libc, type Pointer } from './libc.js';

/** Most messages queued for one socket. */
const MESSAGES = 64;
/** Most memory pieces for all messages of one socket; the kernel accepts 1024 per message. */
const PIECES = 1024;
/** Most datagrams in a message, and most bytes with headers, that every kernel with `UDP_SEGMENT` accepts. */
export const MAX_SEGMENTS = 64;
export const MAX_BYTES = 65_535 - 40 - 8;
/** Remotes whose socket addresses are cached: a flood list needs up to 4096. */
const REMOTES = 4096;
/** Milliseconds to wait for a full socket in the middle of a message, and how often, before dropping the rest. */
const PATIENCE = 2;
const RETRIES = 5;
/** `full`: no socket is full. */
export const NONE = -1;
/** Bytes for two control messages: the segment size and the TOS. */
const CONTROL_ROOM = 48;

/** No open message. */
const NOTHING = -1;

/** One socket and the messages queued for it. */
class Queue {
  readonly fd: number;
  /** `struct mmsghdr` array, and the address of each. */
  readonly messages: number;
  readonly pointers: Pointer[];
  readonly controls: number;
  readonly pieces: number;
  /** Number of datagrams in each message, and the size of each datagram but the last. */
  readonly segments = new Int32Array(MESSAGES);
  readonly sizes = new Int32Array(MESSAGES);
  /** Destination of each message. */
  readonly remotes = new Array<Remote | null>(MESSAGES).fill(null);
  /** Offset of each piece. */
  readonly offsets = new Int32Array(PIECES);
  count = 0;
  used = 0;
  /** Messages already sent, while the others wait until the socket is writable. */
  sent = 0;
  /** The socket was full for too long: nothing is queued for it until it accepts a message again. */
  overdue = false;
  /** Whether the queue is in the list that `flush` processes. */
  listed = false;
  // The last message, which may still grow.
  remote: Remote | null = null;
  tos = 0;
  size = NOTHING;
  total = 0;
  first = 0;
  open = false;

  constructor(fd: number, arena: Arena) {
    this.fd = fd;
    this.messages = arena.take(MESSAGES * abi.MSGHDR.mmsgLength);
    this.controls = arena.take(MESSAGES * CONTROL_ROOM);
    this.pieces = arena.take(PIECES * abi.IOVEC.length);
    this.pointers = Array.from({ length: MESSAGES }, (_, i) =>
      arena.pointer(this.messages + i * abi.MSGHDR.mmsgLength),
    );
  }
}

export interface SenderEvents {
  /** The caller must read this socket's error queue. */
  errors(fd: number): void;
  /** This host dropped datagrams to a remote: the kernel did not accept them. They are already counted. */
  unsent?(remote: Remote, errno: number, datagrams: number): void;
}

export class Sender {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #v6: boolean;
  readonly #counts: Float64Array;
  readonly #events: SenderEvents;
  readonly #queues: readonly Queue[];
  /** Queues that are not empty. */
  readonly #waiting: Queue[];
  #waits = 0;
  // Cached socket addresses, indexed by the low bits of the remote's id.
  readonly #addresses: number;
  readonly #known: (Remote | null)[] = new Array<Remote | null>(REMOTES).fill(null);
  readonly #ports = new Int32Array(REMOTES);
  readonly #words = new Int32Array(4);
  /** Structures for a datagram sent alone, and for poll(2). */
  readonly #single: number;
  readonly #singlePointer: Pointer;
  readonly #singlePiece: number;
  readonly #poll: number;
  readonly #pollPointer: Pointer;
  /** Whether the kernel segments messages. */
  #joins: boolean;
  readonly #port: number | undefined;
  #queue: Queue;
  #full: Queue | null = null;
  /** The length of the largest datagram to each remote, by id: since the last `age`, and in the time before. */
  #largest = new Uint16Array(REMOTES);
  #largestBefore = new Uint16Array(REMOTES);

  /**
   * @param joins False without UDP checksums: the kernel does not segment then.
   * @param port The port that all datagrams go to; absent: that of the remote.
   */
  constructor(
    libc: Libc,
    arena: Arena,
    fds: readonly number[],
    v6: boolean,
    counts: Float64Array,
    events: SenderEvents,
    joins = true,
    port?: number,
  ) {
    this.#joins = joins;
    this.#port = port;
    this.#libc = libc;
    this.#arena = arena;
    this.#v6 = v6;
    this.#counts = counts;
    this.#events = events;
    this.#queues = fds.map((fd) => new Queue(fd, arena));
    this.#queue = this.#queues[0]!;
    this.#waiting = [...this.#queues];
    this.#addresses = arena.take(REMOTES * abi.SOCKADDR.room);
    this.#single = arena.take(abi.MSGHDR.mmsgLength);
    this.#singlePointer = arena.pointer(this.#single);
    this.#singlePiece = arena.take(abi.IOVEC.length);
    this.#poll = arena.take(abi.POLLFD.length);
    this.#pollPointer = arena.pointer(this.#poll);
  }

  /** Whether a message may hold several datagrams. */
  get joins(): boolean {
    return this.#joins;
  }

  get pending(): boolean {
    return this.#waits > 0;
  }

  /** The full socket, or `NONE`. Add nothing until it is writable. */
  get full(): number {
    return this.#full === null ? NONE : this.#full.fd;
  }

  /** The length of the largest datagram to a remote since the call before the last one of `age`; 0 for none. */
  largestTo({ id }: Remote): number {
    return Math.max(this.#largest[id] ?? 0, this.#largestBefore[id] ?? 0);
  }

  /** Begins a new period of `largestTo`. */
  age(): void {
    [this.#largest, this.#largestBefore] = [this.#largestBefore.fill(0), this.#largest];
  }

  /** Queues one datagram, in one piece of the arena. */
  transmit(remote: Remote, offset: number, length: number, sourcePort: number, tos: number): void {
    const queue = this.#queues[sourcePort % this.#queues.length]!;
    if (
      queue.open &&
      queue.remote === remote &&
      queue.tos === tos &&
      length <= queue.size &&
      queue.total + length <= MAX_BYTES &&
      queue.segments[queue.count - 1]! < MAX_SEGMENTS &&
      queue.used < PIECES
    ) {
      queue.offsets[queue.used] = offset;
      this.#arena.setIovec(queue.pieces + queue.used++ * abi.IOVEC.length, offset, length);
      queue.total += length;
      queue.segments[queue.count - 1]!++;
      if (length < queue.size) queue.open = false;
      return;
    }
    if (!this.begin(remote, length, sourcePort, tos, 1)) return this.lose(remote, EAGAIN, 1);
    this.piece(offset, length);
    queue.segments[queue.count - 1] = 1;
    queue.open = this.#joins;
  }

  /**
   * Begins a message of several datagrams of `size` bytes, of which the last may be shorter. `piece` adds their bytes in
   * order; a piece holds one or more whole datagrams.
   * @returns false if a socket is full.
   */
  begin(remote: Remote, size: number, sourcePort: number, tos: number, pieces: number): boolean {
    if (this.#full !== null) return false;
    const queue = this.#queues[sourcePort % this.#queues.length]!;
    if (queue.count > 0) this.#finish(queue);
    const place = remote.id % REMOTES;
    if (queue.count === MESSAGES || queue.used + pieces > PIECES) this.#send(queue);
    if (this.#known[place] !== remote || this.#ports[place] !== remote.port) {
      this.flush(); // queued messages may use this place's old address
      if (this.#full === null) this.#know(remote, place);
    }
    if (this.#full !== null) return false;
    if (!queue.listed) {
      queue.listed = true;
      this.#waiting[this.#waits++] = queue;
    }
    if (size > this.#largest[remote.id]!) this.#largest[remote.id] = size;
    queue.remote = remote;
    queue.tos = tos;
    queue.size = size;
    queue.sizes[queue.count] = size;
    queue.remotes[queue.count] = remote;
    queue.total = 0;
    queue.first = queue.used;
    queue.open = false;
    queue.segments[queue.count] = 0;
    queue.count++;
    this.#queue = queue;
    return true;
  }

  /** Adds bytes to the message begun last. */
  piece(offset: number, length: number): void {
    const queue = this.#queue;
    queue.offsets[queue.used] = offset;
    this.#arena.setIovec(queue.pieces + queue.used++ * abi.IOVEC.length, offset, length);
    queue.total += length;
  }

  /** Ends the message begun last. */
  end(segments: number): void {
    this.#queue.segments[this.#queue.count - 1] = segments;
  }

  /**
   * Passes all queued messages to the kernel. Messages of a full socket (`full`) stay queued, with their bytes in use.
   */
  flush(): void {
    const waits = this.#waits;
    this.#waits = 0;
    this.#full = null;
    for (let i = 0; i < waits; i++) {
      const queue = this.#waiting[i]!;
      if (queue.count > 0) {
        this.#finish(queue);
        this.#send(queue);
      }
      if (queue.count > 0) this.#waiting[this.#waits++] = queue;
      else queue.listed = false;
    }
  }

  /** Drops and counts the messages of full sockets, so that they no longer delay other flows. */
  abandon(): void {
    this.flush();
    for (let i = 0; i < this.#waits; i++) {
      const queue = this.#waiting[i]!;
      queue.overdue = true;
      queue.listed = false;
      this.#drop(queue);
    }
    this.#waits = 0;
    this.#full = null;
  }

  #drop(queue: Queue): void {
    for (let i = queue.sent; i < queue.count; i++) this.lose(queue.remotes[i]!, EAGAIN, queue.segments[i]!);
    this.#empty(queue);
  }

  #empty(queue: Queue): void {
    queue.count = 0;
    queue.used = 0;
    queue.sent = 0;
    queue.open = false;
  }

  #know(remote: Remote, place: number): void {
    addressWords(remote.address, this.#words);
    const family = this.#v6 ? abi.AF_INET6 : abi.AF_INET;
    const at = this.#addresses + place * abi.SOCKADDR.room;
    this.#arena.setSocketAddress(at, this.#words, this.#port ?? remote.port, this.#v6, family);
    this.#known[place] = remote;
    if (remote.id >= this.#largest.length) {
      const length = 2 * remote.id;
      [this.#largest, this.#largestBefore] = [grown(this.#largest, length), grown(this.#largestBefore, length)];
    }
    this.#ports[place] = remote.port;
  }

  /** Writes the header of a queue's last message. */
  #finish(queue: Queue): void {
    const arena = this.#arena;
    const { view } = arena;
    const last = queue.count - 1;
    const at = queue.messages + last * abi.MSGHDR.mmsgLength;
    const place = queue.remote!.id % REMOTES;
    arena.setPointer(at + abi.MSGHDR.name, this.#addresses + place * abi.SOCKADDR.room);
    view.setUint32(at + abi.MSGHDR.nameLength, this.#v6 ? abi.SOCKADDR.length6 : abi.SOCKADDR.length4, true);
    arena.setPointer(at + abi.MSGHDR.iov, queue.pieces + queue.first * abi.IOVEC.length);
    arena.setSize(at + abi.MSGHDR.iovCount, queue.used - queue.first);
    const control = queue.controls + last * CONTROL_ROOM;
    let end = control;
    if (queue.segments[last]! > 1) {
      end = arena.setControl(end, abi.SOL_UDP, abi.UDP_SEGMENT, queue.size, 2);
    }
    if (queue.tos !== 0) end = this.#tos(end, queue.tos);
    arena.setPointer(at + abi.MSGHDR.control, control);
    arena.setSize(at + abi.MSGHDR.controlLength, end - control);
    queue.open = false;
  }

  #tos(at: number, tos: number): number {
    return this.#v6
      ? this.#arena.setControl(at, abi.SOL_IPV6, abi.IPV6_TCLASS, tos, 4)
      : this.#arena.setControl(at, abi.SOL_IP, abi.IP_TOS, tos, 4);
  }

  /** Sends a queue's messages, or drops and counts them. If the socket is full, they stay queued. */
  #send(queue: Queue): void {
    const counts = this.#counts;
    let next = queue.sent;
    let tries = 0;
    while (next < queue.count) {
      counts[COUNT.sendCalls]! += 1;
      const sent = this.#libc.sendmmsg(queue.fd, queue.pointers[next]!, queue.count - next, abi.MSG_DONTWAIT);
      if (sent > 0) {
        for (const end = next + sent; next < end; next++) counts[COUNT.datagramsSent]! += queue.segments[next]!;
        tries = 0;
        queue.overdue = false;
        continue;
      }
      const errno = this.#libc.errno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN) {
        queue.sent = next;
        if (queue.overdue) this.#drop(queue);
        else this.#full = queue;
        return;
      }
      if (errno !== ENOBUFS && errno !== ENOMEM && tries++ === 0) {
        // The error may belong to an earlier datagram; reading the error queue clears it. A message that the kernel
        // cannot segment is sent as single datagrams.
        this.#events.errors(queue.fd);
        if (queue.segments[next]! > 1 && (errno === EIO || errno === EINVAL || errno === EMSGSIZE)) {
          // If no datagram can be sent alone either, segmentation is not the cause: the local address may be gone.
          if (this.#sendApart(queue, next++) && errno !== EMSGSIZE) this.#joins = false;
          tries = 0;
        }
        continue;
      }
      this.lose(queue.remotes[next]!, errno, queue.segments[next]!);
      next++;
      tries = 0;
    }
    this.#empty(queue);
  }

  /** Drops and counts datagrams to a remote. */
  lose(remote: Remote, errno: number, datagrams: number): void {
    countError(this.#counts, 'sendErrors', errno, datagrams);
    this.#events.unsent?.(remote, errno, datagrams);
  }

  /** Sends the datagrams of one message one by one; returns whether at least one was sent. */
  #sendApart(queue: Queue, index: number): boolean {
    const { view } = this.#arena;
    const arena = this.#arena;
    const from = queue.messages + index * abi.MSGHDR.mmsgLength;
    const at = this.#single;
    arena.bytes.copyWithin(at, from, from + abi.MSGHDR.mmsgLength);
    // The segment size is the first control message; skip it.
    const skipped = abi.CMSG.data + 8;
    arena.setPointer(at + abi.MSGHDR.control, queue.controls + index * CONTROL_ROOM + skipped);
    arena.setSize(at + abi.MSGHDR.controlLength, view.getUint32(from + abi.MSGHDR.controlLength, true) - skipped);
    arena.setPointer(at + abi.MSGHDR.iov, this.#singlePiece);
    arena.setSize(at + abi.MSGHDR.iovCount, 1);
    // The message's first piece follows the pieces of the messages before it.
    let piece = 0;
    for (let i = 0; i < index; i++)
      piece += view.getUint32(queue.messages + i * abi.MSGHDR.mmsgLength + abi.MSGHDR.iovCount, true);
    const pieces = piece + view.getUint32(from + abi.MSGHDR.iovCount, true);
    const size = queue.sizes[index]!;
    let any = false;
    for (; piece < pieces; piece++) {
      let offset = queue.offsets[piece]!;
      let left = view.getUint32(queue.pieces + piece * abi.IOVEC.length + abi.IOVEC.size, true);
      for (; left > 0; offset += size, left -= size) {
        arena.setIovec(this.#singlePiece, offset, left < size ? left : size);
        if (this.#sendOne(queue.fd, queue.remotes[index]!)) any = true;
      }
    }
    return any;
  }

  #sendOne(fd: number, remote: Remote): boolean {
    const counts = this.#counts;
    for (let tries = 0; ; tries++) {
      counts[COUNT.sendCalls]! += 1;
      if (this.#libc.sendmmsg(fd, this.#singlePointer, 1, abi.MSG_DONTWAIT) > 0) {
        counts[COUNT.datagramsSent]! += 1;
        return true;
      }
      const errno = this.#libc.errno();
      if (errno === EAGAIN && tries < RETRIES) this.#wait(fd);
      else if (errno !== ENOBUFS && errno !== EAGAIN && tries === 0) this.#events.errors(fd);
      else if (errno !== EINTR) {
        this.lose(remote, errno, 1);
        return false;
      }
    }
  }

  /** Waits briefly until a socket has room. The TAPs' queues fill meanwhile, which slows their senders down. */
  #wait(fd: number): void {
    const { view } = this.#arena;
    view.setInt32(this.#poll + abi.POLLFD.fd, fd, true);
    view.setInt16(this.#poll + abi.POLLFD.events, abi.POLLOUT, true);
    this.#libc.poll(this.#pollPointer, 1, PATIENCE);
  }
}

function grown(values: Uint16Array<ArrayBuffer>, length: number): Uint16Array<ArrayBuffer> {
  const larger = new Uint16Array(length);
  larger.set(values);
  return larger;
}

/**
 * Waits for frames on TAPs through koffi: epoll_wait(2) for all TAPs on one thread of libuv's pool, read(2) on the
 * event loop. Node has no public call that polls a character device; Deno and Bun do not have the internal one either.
 */
import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_EVENT, POLLIN } from './linux/abi.js';
import { Arena } from './linux/arena.js';
import { EAGAIN, EBADFD, EINTR, errorName, loadLibc, type Libc } from './linux/libc.js';
import { HostError } from './error.js';

/** Reports one event per TAP until it is armed again. */
const EPOLLONESHOT = 1 << 30;
const EFD_CLOEXEC = 0o2000000;
/** Most frames read from one TAP in a turn of the event loop. */
const FRAMES = 64;
/** Frames and datagrams out after which a turn ends, because one frame may become thousands. */
const OUTPUT = 128;
/** Most TAPs reported by one call. */
const EVENTS = 16;
/** Longest frame: the largest MTU of a TAP, an Ethernet header and two VLAN tags. */
export const MAX_FRAME = 65_521 + 14 + 8;

type Async = (
  epoll: number,
  events: bigint,
  most: number,
  timeout: number,
  done: (error: unknown, count: number) => void,
) => void;

interface Watched {
  readonly fd: number;
  /** Returns how many frames and datagrams it became, if that may be many. */
  frame(bytes: Uint8Array, length: number): number | void;
  lost(reason: string): void;
}

export class TapPoller {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #epoll: number;
  /** Eventfd that ends the wait when the poller closes. */
  readonly #wake: number;
  readonly #events: number;
  readonly #control: number;
  readonly #frame: number;
  readonly #wait: Async;
  readonly #watched = new Map<number, Watched>();
  #closed = false;

  /** Creates a poller; `undefined` if koffi is missing or this is not a 64-bit Linux. */
  static async create(): Promise<TapPoller | undefined> {
    if (process.platform !== 'linux') return undefined;
    let libc: Libc;
    try {
      libc = await loadLibc();
    } catch (error) {
      if (error instanceof HostError) return undefined;
      throw error;
    }
    return new TapPoller(libc);
  }

  private constructor(libc: Libc) {
    this.#libc = libc;
    this.#arena = new Arena(libc, 2 * MAX_FRAME);
    this.#events = this.#arena.take(EVENTS * EPOLL_EVENT.length);
    this.#control = this.#arena.take(EPOLL_EVENT.length);
    this.#frame = this.#arena.take(MAX_FRAME);
    this.#wait = (libc.epoll_wait as unknown as { async: Async }).async;
    this.#epoll = libc.epoll_create1(EPOLL_CLOEXEC);
    this.#wake = libc.eventfd(0, EFD_CLOEXEC);
    if (this.#epoll < 0 || this.#wake < 0) throw new HostError(`cannot poll TAPs: ${errorName(libc.errno())}`);
    this.#arm(EPOLL_CTL_ADD, this.#wake, POLLIN);
    this.#next();
  }

  /**
   * Calls `frame` for each frame until `unwatch`; the frame's bytes are valid during the call only.
   * @param fd A non-blocking TAP.
   */
  watch(fd: number, events: Omit<Watched, 'fd'>): void {
    this.#arm(EPOLL_CTL_ADD, fd, POLLIN | EPOLLONESHOT);
    this.#watched.set(fd, { fd, ...events });
  }

  /** Stops watching a TAP, without closing it. */
  unwatch(fd: number): void {
    if (!this.#watched.delete(fd)) return;
    this.#libc.epoll_ctl(this.#epoll, EPOLL_CTL_DEL, fd, this.#arena.pointer(this.#control));
  }

  /** Ends the wait. Does not close the TAPs. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#arena.view.setBigUint64(this.#control, 1n, true);
    this.#libc.write(this.#wake, this.#arena.pointer(this.#control), 8);
  }

  #arm(operation: number, fd: number, events: number): void {
    const { view } = this.#arena;
    view.setUint32(this.#control + EPOLL_EVENT.events, events, true);
    view.setUint32(this.#control + EPOLL_EVENT.data, fd, true);
    const pointer = this.#arena.pointer(this.#control);
    if (this.#libc.epoll_ctl(this.#epoll, operation, fd, pointer) < 0)
      throw new HostError(`file descriptor ${fd} cannot be polled: ${errorName(this.#libc.errno())}`);
  }

  #next(): void {
    this.#wait(this.#epoll, this.#arena.pointer(this.#events), EVENTS, -1, (_, count) => {
      if (this.#closed) {
        this.#libc.close(this.#epoll);
        this.#libc.close(this.#wake);
        return;
      }
      for (let i = 0; i < count; i++) {
        const at = this.#events + i * EPOLL_EVENT.length + EPOLL_EVENT.data;
        const watched = this.#watched.get(this.#arena.view.getUint32(at, true));
        if (watched !== undefined) this.#read(watched);
      }
      this.#next();
    });
  }

  /** Reads a bounded number of frames of a TAP, then continues in the next turn of the event loop or waits for more. */
  #read(watched: Watched): void {
    const { fd } = watched;
    const pointer = this.#arena.pointer(this.#frame);
    let output = 0;
    for (let frames = 0; frames < FRAMES && output < OUTPUT;) {
      if (this.#watched.get(fd) !== watched || this.#closed) return;
      const length = this.#libc.read(fd, pointer, MAX_FRAME);
      if (length > 0) {
        output += watched.frame(this.#arena.bytes.subarray(this.#frame, this.#frame + length), length) ?? 0;
        frames++;
        continue;
      }
      const errno = length < 0 ? this.#libc.errno() : 0;
      if (errno === EINTR) continue;
      if (errno === EAGAIN) return this.#arm(EPOLL_CTL_MOD, fd, POLLIN | EPOLLONESHOT);
      this.unwatch(fd);
      return watched.lost(
        errno === EBADFD ? 'the device has been removed' : errno === 0 ? 'end of file' : errorName(errno),
      );
    }
    setImmediate(() => this.#read(watched));
  }
}

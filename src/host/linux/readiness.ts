/**
 * Waits on many file descriptors: epoll(7), level-triggered. The cost of a wake-up grows with the number of ready
 * descriptors, while poll(2) pays for all watched ones: most of these are sockets that only send.
 */
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { type Libc, type Pointer } from './libc.js';
import { SocketError } from './udp.js';

export class Readiness {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #most: number;
  readonly #fd: number;
  /** The ready events, as the kernel writes them. */
  readonly #ready: number;
  readonly #readyPointer: Pointer;
  readonly #one: number;
  readonly #onePointer: Pointer;

  /**
   * @param most Most file descriptors reported by one `wait`.
   * @throws SocketError
   */
  constructor(libc: Libc, arena: Arena, most: number) {
    this.#libc = libc;
    this.#arena = arena;
    this.#most = most;
    this.#ready = arena.take(most * abi.EPOLL_EVENT.length);
    this.#readyPointer = arena.pointer(this.#ready);
    this.#one = arena.take(abi.EPOLL_EVENT.length);
    this.#onePointer = arena.pointer(this.#one);
    this.#fd = libc.epoll_create1(abi.EPOLL_CLOEXEC);
    if (this.#fd < 0) throw new SocketError('epoll_create1', libc.errno());
  }

  /**
   * Watches a file descriptor for `events` (`POLLIN`, `POLLOUT`), and always for errors.
   * @param place The value that `place` returns for it when it is ready.
   * @throws SocketError
   */
  add(fd: number, place: number, events: number): void {
    this.#control(abi.EPOLL_CTL_ADD, fd, place, events);
  }

  change(fd: number, place: number, events: number): void {
    this.#control(abi.EPOLL_CTL_MOD, fd, place, events);
  }

  remove(fd: number): void {
    this.#libc.epoll_ctl(this.#fd, abi.EPOLL_CTL_DEL, fd, this.#onePointer);
  }

  /**
   * @param timeout Whole milliseconds.
   * @returns how many are ready, for `place` and `events` by index; 0 after the timeout or a signal.
   */
  wait(timeout: number): number {
    const count = this.#libc.epoll_wait(this.#fd, this.#readyPointer, this.#most, timeout);
    return count > 0 ? count : 0;
  }

  place(index: number): number {
    return this.#arena.view.getUint32(this.#ready + index * abi.EPOLL_EVENT.length + abi.EPOLL_EVENT.data, true);
  }

  events(index: number): number {
    return this.#arena.view.getUint32(this.#ready + index * abi.EPOLL_EVENT.length + abi.EPOLL_EVENT.events, true);
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  #control(operation: number, fd: number, place: number, events: number): void {
    const { view } = this.#arena;
    view.setUint32(this.#one + abi.EPOLL_EVENT.events, events, true);
    view.setUint32(this.#one + abi.EPOLL_EVENT.data, place, true);
    if (this.#libc.epoll_ctl(this.#fd, operation, fd, this.#onePointer) < 0)
      throw new SocketError('epoll_ctl', this.#libc.errno());
  }
}

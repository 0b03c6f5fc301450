/** Opens the underlay's sockets: one that receives, and a pool that sends. */
import { FIRST_SOURCE_PORT } from '../underlay.js';
import * as abi from './abi.js';
import { addressWords } from './address.js';
import { type Arena } from './arena.js';
import { errorName, type Libc } from './libc.js';

/** Size of receive and send buffers to request, in bytes. */
const SOCKET_BUFFER = 8 << 20;
/** Size of the receive buffer of sockets that only send, in bytes. */
const SMALL_BUFFER = 4096;
const ATTEMPTS = 16;

/** A system call failed while a socket was opened. */
export class SocketError extends Error {
  /** The system's code: `EADDRINUSE`. */
  readonly code: string;
  constructor(call: string, errno: number) {
    super(`${call}: ${errorName(errno)}`);
    this.code = errorName(errno);
  }
}

export interface SocketOptions {
  /** Whether to send datagrams with a UDP checksum. */
  checksum: boolean;
  /** Whether to accept datagrams without one over IPv6. */
  zeroChecksum: boolean;
}

/** Opens sockets on one local address. */
export class Sockets {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #v6: boolean;
  readonly #words = new Int32Array(4);
  readonly #scratch: number;
  readonly #open: number[] = [];
  readonly #options: SocketOptions;

  constructor(libc: Libc, arena: Arena, local: string, options: SocketOptions) {
    this.#libc = libc;
    this.#arena = arena;
    this.#v6 = local.includes(':');
    this.#scratch = arena.take(64);
    this.#options = options;
    addressWords(local, this.#words);
  }

  /**
   * Opens sockets that receive on one port, with `UDP_GRO` if the kernel has it. The kernel delivers all datagrams from
   * one address and port to the same socket.
   */
  receivers(port: number, count: number): { fds: number[]; buffer: number } {
    // The first bind is exclusive, which fails if the port is in use; the port is shared afterwards.
    const first = this.#receiver(port, false);
    if (count > 1) this.#require(first, abi.SOL_SOCKET, abi.SO_REUSEPORT);
    const fds = [first, ...Array.from({ length: count - 1 }, () => this.#receiver(port, true))];
    return { fds, buffer: this.#get(first, abi.SOL_SOCKET, abi.SO_RCVBUF) };
  }

  #receiver(port: number, shared: boolean): number {
    const fd = this.#make(port, shared);
    this.#buffer(fd, abi.SO_RCVBUFFORCE, abi.SO_RCVBUF, SOCKET_BUFFER);
    this.#optional(fd, abi.SOL_UDP, abi.UDP_GRO, 1);
    this.#optional(fd, abi.SOL_SOCKET, abi.SO_RXQ_OVFL, 1);
    if (this.#v6) {
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_RECVTCLASS, 1);
      if (this.#options.zeroChecksum) this.#require(fd, abi.SOL_UDP, abi.UDP_NO_CHECK6_RX);
    } else this.#optional(fd, abi.SOL_IP, abi.IP_RECVTOS, 1);
    return fd;
  }

  /** Opens a socket that sends, from a free port of the source range, or from any free port if many are in use. */
  sender(): { fd: number; port: number } {
    for (let attempt = 0; ; attempt++) {
      const port =
        attempt === ATTEMPTS ? 0 : FIRST_SOURCE_PORT + Math.floor(Math.random() * (65_536 - FIRST_SOURCE_PORT));
      try {
        const fd = this.#make(port);
        this.#optional(fd, abi.SOL_SOCKET, abi.SO_RCVBUF, SMALL_BUFFER);
        return { fd, port: port === 0 ? this.#port(fd) : port };
      } catch (error) {
        if (attempt === ATTEMPTS || !(error instanceof SocketError) || error.code !== 'EADDRINUSE') throw error;
      }
    }
  }

  /**
   * Opens a socket whose datagrams may be fragmented, by this host and over IPv4 by routers. Over IPv6, where routers do not
   * fragment, this host makes fragments that every path carries.
   */
  fragmenter(): number {
    const { fd } = this.sender();
    if (this.#v6) {
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_MTU_DISCOVER, abi.PMTUDISC_DONT);
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_MTU, abi.IPV6_MIN_MTU);
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_RECVERR, 0);
    } else {
      this.#optional(fd, abi.SOL_IP, abi.IP_MTU_DISCOVER, abi.PMTUDISC_DONT);
      this.#optional(fd, abi.SOL_IP, abi.IP_RECVERR, 0);
    }
    return fd;
  }

  close(): void {
    for (const fd of this.#open.splice(0)) this.#libc.close(fd);
  }

  /** Opens a socket with the common options, bound to the local address only. */
  #make(port: number, shared = false): number {
    const libc = this.#libc;
    const type = abi.SOCK_DGRAM | abi.SOCK_NONBLOCK | abi.SOCK_CLOEXEC;
    const fd = libc.socket(this.#v6 ? abi.AF_INET6 : abi.AF_INET, type, abi.IPPROTO_UDP);
    if (fd < 0) throw new SocketError('socket', libc.errno());
    if (this.#v6) this.#optional(fd, abi.SOL_IPV6, abi.IPV6_V6ONLY, 1);
    if (shared) this.#optional(fd, abi.SOL_SOCKET, abi.SO_REUSEPORT, 1);
    const family = this.#v6 ? abi.AF_INET6 : abi.AF_INET;
    const length = this.#arena.setSocketAddress(this.#scratch, this.#words, port, this.#v6, family);
    if (libc.bind(fd, this.#arena.pointer(this.#scratch), length) < 0) {
      const errno = libc.errno();
      libc.close(fd);
      throw new SocketError('bind', errno);
    }
    this.#open.push(fd);
    this.#buffer(fd, abi.SO_SNDBUFFORCE, abi.SO_SNDBUF, SOCKET_BUFFER);
    if (!this.#options.checksum) {
      if (this.#v6) this.#require(fd, abi.SOL_UDP, abi.UDP_NO_CHECK6_TX);
      else this.#require(fd, abi.SOL_SOCKET, abi.SO_NO_CHECK);
    }
    // A VTEP must not fragment (RFC 7348, section 4.3). The error queue reports the path MTU with what the error quotes,
    // which the kernel does not check: with PMTUDISC_DO, it would drop what is larger than any stranger claims.
    if (this.#v6) {
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_MTU_DISCOVER, abi.PMTUDISC_PROBE);
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_RECVERR, 1);
    } else {
      this.#optional(fd, abi.SOL_IP, abi.IP_MTU_DISCOVER, abi.PMTUDISC_PROBE);
      this.#optional(fd, abi.SOL_IP, abi.IP_RECVERR, 1);
    }
    return fd;
  }

  /** Sets a buffer size, as far as the process's privileges allow. */
  #buffer(fd: number, force: number, plain: number, size: number): void {
    if (this.#optional(fd, abi.SOL_SOCKET, force, size) < 0) this.#optional(fd, abi.SOL_SOCKET, plain, size);
  }

  /** Sets an option that the engine can work without. */
  #optional(fd: number, level: number, name: number, value: number): number {
    this.#arena.view.setInt32(this.#scratch, value, true);
    return this.#libc.setsockopt(fd, level, name, this.#arena.pointer(this.#scratch), 4);
  }

  /** Sets an option that the plan requires. */
  #require(fd: number, level: number, name: number): void {
    if (this.#optional(fd, level, name, 1) < 0) throw new SocketError('setsockopt', this.#libc.errno());
  }

  #get(fd: number, level: number, name: number): number {
    const { view } = this.#arena;
    view.setInt32(this.#scratch + 8, 4, true);
    this.#libc.getsockopt(fd, level, name, this.#arena.pointer(this.#scratch), this.#arena.pointer(this.#scratch + 8));
    return view.getInt32(this.#scratch, true);
  }

  #port(fd: number): number {
    const { view } = this.#arena;
    view.setInt32(this.#scratch + 40, abi.SOCKADDR.room, true);
    this.#libc.getsockname(fd, this.#arena.pointer(this.#scratch), this.#arena.pointer(this.#scratch + 40));
    return view.getUint16(this.#scratch + abi.SOCKADDR.port);
  }
}

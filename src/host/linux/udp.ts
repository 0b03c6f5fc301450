/** The underlay's sockets: one that receives, and a pool to send from. */
import { FIRST_SOURCE_PORT } from '../underlay.js';
import * as abi from './abi.js';
import { addressWords } from './address.js';
import { type Arena } from './arena.js';
import { errorName, type Libc } from './libc.js';

/** Receive and send buffer to ask for, in bytes. */
const SOCKET_BUFFER = 8 << 20;
/** What the sockets that only send may keep of what is sent to them. */
const SMALL_BUFFER = 4096;
const ATTEMPTS = 16;

/** A call failed while the sockets were made. */
export class SocketError extends Error {
  /** The system's code: `EADDRINUSE`. */
  readonly code: string;
  constructor(call: string, errno: number) {
    super(`${call}: ${errorName(errno)}`);
    this.code = errorName(errno);
  }
}

/** Makes sockets on one local address. */
export class Sockets {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #v6: boolean;
  readonly #words = new Int32Array(4);
  readonly #scratch: number;
  readonly #open: number[] = [];

  constructor(libc: Libc, arena: Arena, local: string) {
    this.#libc = libc;
    this.#arena = arena;
    this.#v6 = local.includes(':');
    this.#scratch = arena.take(64);
    addressWords(local, this.#words);
  }

  /** A socket that receives, many datagrams of one flow as one where the kernel can. */
  receiver(port: number): { fd: number; buffer: number } {
    const fd = this.#make(port);
    this.#buffer(fd, abi.SO_RCVBUFFORCE, abi.SO_RCVBUF, SOCKET_BUFFER);
    this.#optional(fd, abi.SOL_UDP, abi.UDP_GRO, 1);
    this.#optional(fd, abi.SOL_SOCKET, abi.SO_RXQ_OVFL, 1);
    if (this.#v6) this.#optional(fd, abi.SOL_IPV6, abi.IPV6_RECVTCLASS, 1);
    else this.#optional(fd, abi.SOL_IP, abi.IP_RECVTOS, 1);
    return { fd, buffer: this.#get(fd, abi.SOL_SOCKET, abi.SO_RCVBUF) };
  }

  /** A socket that sends, from a free port of the range for sources or from any free port where many are taken. */
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

  close(): void {
    for (const fd of this.#open.splice(0)) this.#libc.close(fd);
  }

  /** Bound to the local address and to no other, and with what all have in common. */
  #make(port: number): number {
    const libc = this.#libc;
    const type = abi.SOCK_DGRAM | abi.SOCK_NONBLOCK | abi.SOCK_CLOEXEC;
    const fd = libc.socket(this.#v6 ? abi.AF_INET6 : abi.AF_INET, type, abi.IPPROTO_UDP);
    if (fd < 0) throw new SocketError('socket', libc.errno());
    if (this.#v6) this.#optional(fd, abi.SOL_IPV6, abi.IPV6_V6ONLY, 1);
    const family = this.#v6 ? abi.AF_INET6 : abi.AF_INET;
    const length = this.#arena.setSocketAddress(this.#scratch, this.#words, port, this.#v6, family);
    if (libc.bind(fd, this.#arena.pointer(this.#scratch), length) < 0) {
      const errno = libc.errno();
      libc.close(fd);
      throw new SocketError('bind', errno);
    }
    this.#open.push(fd);
    this.#buffer(fd, abi.SO_SNDBUFFORCE, abi.SO_SNDBUF, SOCKET_BUFFER);
    // A VTEP does not fragment (RFC 7348, section 4.3); what the way says of its MTU comes by the error queue.
    if (this.#v6) {
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_MTU_DISCOVER, abi.PMTUDISC_DO);
      this.#optional(fd, abi.SOL_IPV6, abi.IPV6_RECVERR, 1);
    } else {
      this.#optional(fd, abi.SOL_IP, abi.IP_MTU_DISCOVER, abi.PMTUDISC_DO);
      this.#optional(fd, abi.SOL_IP, abi.IP_RECVERR, 1);
    }
    return fd;
  }

  /** As much as the privilege allows. */
  #buffer(fd: number, force: number, plain: number, size: number): void {
    if (this.#optional(fd, abi.SOL_SOCKET, force, size) < 0) this.#optional(fd, abi.SOL_SOCKET, plain, size);
  }

  /** An option that the engine works without. */
  #optional(fd: number, level: number, name: number, value: number): number {
    this.#arena.view.setInt32(this.#scratch, value, true);
    return this.#libc.setsockopt(fd, level, name, this.#arena.pointer(this.#scratch), 4);
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

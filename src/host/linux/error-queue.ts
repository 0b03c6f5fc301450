/** Reads a socket's error queue (ip(7), `IP_RECVERR`): ICMP errors for datagrams sent before, and path MTUs. */
import * as abi from './abi.js';
import { addressText } from './address.js';
import { type Arena } from './arena.js';
import { EMSGSIZE, type Libc, type Pointer } from './libc.js';

/** Bytes of the quoted datagram to read: VXLAN and Ethernet with two VLAN tags, and the inner IP header. */
const DATA_ROOM = 96;
const CONTROL_ROOM = 256;
/** Most errors read in a turn. */
const BOUND = 64;

/** The datagram that an error is about, as far as the error quotes it. */
export interface Quote {
  /** Its destination. */
  address: string;
  port: number;
  /** Its beginning, behind the UDP header, in the arena. */
  offset: number;
  end: number;
}

export interface ErrorEvents {
  /**
   * The path of a datagram carries packets of `mtu` bytes at most.
   * @param here Whether this host's kernel reported it, rather than a router on the path.
   */
  tooBig(quote: Quote, mtu: number, here: boolean): void;
  /** A router or the host at the destination reported a datagram as not delivered. */
  refused(quote: Quote, errno: number): void;
}

export class ErrorQueue {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #v6: boolean;
  readonly #message: number;
  readonly #pointer: Pointer;
  readonly #name: number;
  readonly #data: number;
  readonly #control: number;

  constructor(libc: Libc, arena: Arena, v6: boolean) {
    this.#libc = libc;
    this.#arena = arena;
    this.#v6 = v6;
    this.#message = arena.take(abi.MSGHDR.mmsgLength);
    this.#pointer = arena.pointer(this.#message);
    this.#name = arena.take(abi.SOCKADDR.room);
    this.#control = arena.take(CONTROL_ROOM);
    const piece = arena.take(abi.IOVEC.length);
    this.#data = arena.take(DATA_ROOM);
    arena.setIovec(piece, this.#data, DATA_ROOM);
    arena.setPointer(this.#message + abi.MSGHDR.name, this.#name);
    arena.setPointer(this.#message + abi.MSGHDR.iov, piece);
    arena.setSize(this.#message + abi.MSGHDR.iovCount, 1);
    arena.setPointer(this.#message + abi.MSGHDR.control, this.#control);
  }

  /** Reads a socket's error queue, up to the bound. */
  drain(fd: number, events: ErrorEvents): void {
    const { view } = this.#arena;
    const message = this.#message;
    for (let i = 0; i < BOUND; i++) {
      view.setUint32(message + abi.MSGHDR.nameLength, abi.SOCKADDR.room, true);
      view.setUint32(message + abi.MSGHDR.controlLength, CONTROL_ROOM, true);
      const length = this.#libc.recvmsg(fd, this.#pointer, abi.MSG_ERRQUEUE | abi.MSG_DONTWAIT);
      if (length < 0) return;
      this.#read(view, length, events);
    }
  }

  #read(view: DataView, length: number, events: ErrorEvents): void {
    let at = this.#control;
    const end = at + view.getUint32(this.#message + abi.MSGHDR.controlLength, true);
    while (at + abi.CMSG.data < end) {
      const size = view.getUint32(at + abi.CMSG.size, true);
      if (size < abi.CMSG.data) return;
      const level = view.getInt32(at + abi.CMSG.level, true);
      const type = view.getInt32(at + abi.CMSG.type, true);
      if (
        size >= abi.CMSG.data + abi.EXTENDED_ERROR.length &&
        ((level === abi.SOL_IP && type === abi.IP_RECVERR) || (level === abi.SOL_IPV6 && type === abi.IPV6_RECVERR))
      ) {
        const error = at + abi.CMSG.data;
        const errno = view.getUint32(error + abi.EXTENDED_ERROR.errno, true);
        const quote = {
          address: addressText(this.#arena, this.#name, this.#v6),
          port: view.getUint16(this.#name + abi.SOCKADDR.port),
          offset: this.#data,
          end: this.#data + Math.min(length, DATA_ROOM),
        };
        if (errno === EMSGSIZE) {
          const here = view.getUint8(error + abi.EXTENDED_ERROR.origin) === abi.SO_EE_ORIGIN_LOCAL;
          events.tooBig(quote, view.getUint32(error + abi.EXTENDED_ERROR.info, true), here);
        } else events.refused(quote, errno);
      }
      at += (size + 7) & ~7;
    }
  }
}

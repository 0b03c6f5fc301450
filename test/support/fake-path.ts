/** The data path of the fast engine over a fake C library: the TAPs and the underlay are arrays. */
import { type Recorder } from '../../src/host/recorder.js';
import * as abi from '../../src/host/linux/abi.js';
import { Arena } from '../../src/host/linux/arena.js';
import { EspPath } from '../../src/host/linux/esp-path.js';
import { nodeAead } from '../../src/host/esp/node.js';
import { newCounts } from '../../src/host/linux/counts.js';
import { EAGAIN, type Libc } from '../../src/host/linux/libc.js';
import { DataPath } from '../../src/host/linux/path.js';
import { Receiver } from '../../src/host/linux/receiver.js';
import { ProbeSender } from '../../src/host/linux/probe-sender.js';
import { Sender } from '../../src/host/linux/sender.js';
import { TapCalls, TapQueue } from '../../src/host/linux/tap-queue.js';
import { sums } from '../../src/host/simd.js';
import { Vtep } from '../../src/vtep/index.js';

export const VNI = 7;
export const PEER = '192.0.2.2';
/** File descriptor of the first TAP; the others follow. */
const FIRST_TAP = 3;

const recorder = { active: false, records: () => false } as unknown as Recorder;

export interface FakeOptions {
  /** Number of TAPs. Default 1. */
  taps?: number;
  /** Whether frames on the TAPs have a virtio header. Default true. */
  vnet?: boolean;
  /** Peers besides `PEER`. */
  peers?: readonly string[];
  /** Whether to keep what is sent and written, instead of only counting it. Default true. */
  keep?: boolean;
}

export class FakePath {
  /** Frames that the TAPs return, with virtio headers. */
  readonly toRead: Uint8Array[] = [];
  /** Frames written to TAPs, with virtio headers. */
  readonly written: Uint8Array[] = [];
  /** Datagrams sent in hex, of a message with several only the first piece; and whether the socket accepts any. */
  readonly sent: string[] = [];
  full = false;
  /** Datagrams received from the peer. */
  readonly toReceive: Uint8Array[] = [];
  readonly counts = newCounts();
  readonly path: DataPath;
  readonly vtep: Vtep;
  /** What `Arena.take` returned, and how much it was asked for. */
  readonly taken: [offset: number, length: number][] = [];
  /** Pieces of memory passed to the kernel that are not inside one allocation. */
  readonly outside: [offset: number, length: number][] = [];
  readonly #keep: boolean;
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #source: number;
  readonly #buffer: number;

  constructor({ taps = 1, vnet = true, peers = [], keep = true }: FakeOptions = {}) {
    this.#keep = keep;
    const libc = {
      address: () => 0n, // makes pointers offsets in the arena
      madvise: () => 0,
      errno: () => EAGAIN,
      readv: (_fd: number, vector: bigint) => this.#read(Number(vector)),
      writev: (_fd: number, vector: bigint, count: number) => this.#write(Number(vector), count),
      sendmmsg: (_fd: number, messages: bigint, count: number) => this.#send(Number(messages), count),
    } as unknown as Libc;
    this.#libc = libc;
    const arena = new Arena(libc, 32 << 20);
    this.#arena = arena;
    const take = arena.take.bind(arena);
    arena.take = (length, align) => {
      const offset = take(length, align);
      this.taken.push([offset, length]);
      return offset;
    };
    const vtep = new Vtep();
    this.vtep = vtep;
    vtep.addSegment({ vni: VNI });
    for (let i = 0; i < taps; i++) vtep.addPort({ name: `eth${i}`, vni: VNI });
    for (const peer of [PEER, ...peers]) vtep.addPeer(VNI, peer);
    this.#source = arena.take(abi.SOCKADDR.room);
    this.#buffer = arena.take(131_072);
    arena.bytes.set([192, 0, 2, 2], this.#source + abi.SOCKADDR.ipv4);
    const calls = new TapCalls(arena);
    this.path = new DataPath({
      ...{ arena, vtep, v6: false, counts: this.counts, sums: sums(arena.memory) },
      taps: Array.from({ length: taps }, (_, i) => new TapQueue(libc, calls, FIRST_TAP + i, vnet, this.counts)),
      sender: new Sender(libc, arena, [FIRST_TAP + taps], false, this.counts, { errors: () => undefined }),
      prober: new ProbeSender(libc, arena, [FIRST_TAP + taps], false, this.counts),
      fragmenter: new ProbeSender(libc, arena, [FIRST_TAP + taps], false, this.counts),
      receiver: { receive: (path: DataPath) => this.#receive(path) } as unknown as Receiver,
      recorder,
      ...{ local: { address: '192.0.2.1', port: 4789 }, sourcePorts: [50_000] },
      lost: () => undefined,
      request: () => undefined,
    });
  }

  /** Opens the port of ESP, from which nothing is received. */
  secure(): EspPath {
    const { vtep, counts } = this;
    const arena = this.#arena;
    const esp = new EspPath({
      ...{ libc: this.#libc, arena, vtep, counts, recorder, sums: sums(arena.memory), aead: nodeAead(arena.bytes) },
      ...this.path.shared,
      ...{ fds: [0], sourcePorts: [50_000], fd: 1, worker: 0, workers: 1, joins: false },
      clear: new Receiver(this.#libc, arena, 1, counts),
      local: { address: '192.0.2.1', port: 4500 },
      sink: this.path,
      events: { errors: () => undefined },
      received: () => undefined,
    });
    this.path.secure(esp);
    return esp;
  }

  /** Receives adjacent datagrams of `size` bytes each from the peer, as `UDP_GRO` delivers them. */
  receiveMany(data: Uint8Array, size: number): void {
    this.#arena.bytes.set(data, this.#buffer);
    let more = true;
    const receive = (path: DataPath): boolean => {
      if (more) path.datagrams(this.#source, this.#buffer, this.#buffer + data.length, size, 0);
      more = false;
      return false;
    };
    this.#receive = receive;
    this.path.fromUnderlay(0);
  }

  #piece(vector: number, i: number): [offset: number, length: number] {
    const at = vector + i * abi.IOVEC.length;
    return [this.#arena.view.getUint32(at, true), this.#arena.view.getUint32(at + abi.IOVEC.size, true)];
  }

  #read(vector: number): number {
    const frame = this.toRead.shift();
    if (frame === undefined) return -1;
    this.#arena.bytes.set(frame, this.#piece(vector, 0)[0]);
    return frame.length;
  }

  #write(vector: number, count: number): number {
    const pieces = Array.from({ length: count }, (_, i) => this.#piece(vector, i));
    for (const [offset, length] of pieces)
      if (!this.taken.some(([start, room]) => offset >= start && offset + length <= start + room))
        this.outside.push([offset, length]);
    if (this.#keep)
      this.written.push(
        Buffer.concat(pieces.map(([offset, length]) => this.#arena.bytes.slice(offset, offset + length))),
      );
    return 1;
  }

  #send(messages: number, count: number): number {
    if (this.full) return -1;
    for (let i = 0; i < count && this.#keep; i++) {
      const iov = this.#arena.view.getUint32(messages + i * abi.MSGHDR.mmsgLength + abi.MSGHDR.iov, true);
      const [offset, length] = this.#piece(iov, 0);
      this.sent.push(Buffer.from(this.#arena.bytes.slice(offset, offset + length)).toString('hex'));
    }
    return count;
  }

  #receive = (path: DataPath): boolean => {
    const data = this.toReceive.shift();
    if (data === undefined) return false;
    this.#arena.bytes.set(data, this.#buffer);
    path.datagrams(this.#source, this.#buffer, this.#buffer + data.length, data.length, 0);
    return true;
  };
}

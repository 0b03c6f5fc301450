/**
 * The loop: waits for TAPs, the underlay and the control thread at once, and moves what is there through the machine.
 * One turn moves a bounded amount from each place, so that none keeps the others waiting.
 */
import { performance } from 'node:perf_hooks';
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { SchemaError } from '../../schema/index.js';
import { type Remote, type Vtep } from '../../vtep/index.js';
import { Recorder } from '../capture.js';
import { answer, buildVtep } from '../machine.js';
import { overhead } from '../underlay.js';
import * as abi from './abi.js';
import { Arena } from './arena.js';
import { COUNT, countError } from './counts.js';
import { ErrorQueue, type ErrorEvents } from './error-queue.js';
import { EBADFD, errorName, type Libc, type Pointer } from './libc.js';
import { type FromLoop, type Setup, type ToLoop } from './protocol.js';
import { DataPath } from './path.js';
import { Receiver } from './receiver.js';
import { Sender, type SenderEvents } from './sender.js';
import { TapQueue } from './tap-queue.js';
import { sums } from '../simd.js';
import { Sockets } from './udp.js';

/** Milliseconds between two looks at what has aged. */
const TICK = 1000;
/** Milliseconds after which a smaller MTU of a way is doubted (RFC 1191, section 6.3). */
const MTU_AGE = 600_000;
/** Bytes for structures and buffers. */
const ARENA = 8 << 20;

export class Loop implements SenderEvents, ErrorEvents {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #setup: Setup;
  readonly #port: MessagePort;
  readonly #vtep: Vtep;
  readonly #counts: Float64Array;
  readonly #v6: boolean;
  readonly #sockets: Sockets;
  readonly #errors: ErrorQueue;
  readonly #recorder: Recorder;
  readonly #wake: number;
  readonly #eight: Pointer;
  readonly #taps: (TapQueue | null)[];
  readonly #mtus = new Map<Remote, number>();
  readonly #fds: number[];
  readonly #poll: number;
  readonly #pollPointer: Pointer;
  #path!: DataPath;
  #now = 0;
  #running = true;

  /** @throws SocketError where the underlay's sockets are not to be had. */
  constructor(libc: Libc, setup: Setup, port: MessagePort) {
    const { plan, taps, counts } = setup;
    this.#libc = libc;
    this.#setup = setup;
    this.#port = port;
    this.#counts = counts;
    this.#arena = new Arena(libc, ARENA);
    const arena = this.#arena;
    this.#v6 = plan.local.includes(':');
    this.#vtep = buildVtep(plan);
    this.#errors = new ErrorQueue(libc, arena, this.#v6);
    this.#recorder = new Recorder(plan, (packet) => this.#say({ type: 'captured', packet }));
    this.#eight = arena.pointer(arena.take(8));
    this.#wake = libc.eventfd(0, abi.EFD_NONBLOCK | abi.EFD_CLOEXEC);
    this.#taps = taps.map((fd, i) => new TapQueue(libc, arena, fd, plan.taps[i]!.fd === undefined, counts));
    this.#sockets = new Sockets(libc, arena, plan.local);
    // One place in the poll set each: the control thread, the TAPs, the socket that receives, those that only send.
    this.#fds = [this.#wake, ...taps];
    this.#poll = arena.take((2 + taps.length + plan.sourcePorts) * abi.POLLFD.length);
    this.#pollPointer = arena.pointer(this.#poll);
  }

  /** Takes over the TAPs and makes the sockets. */
  start(): void {
    const { plan, taps } = this.#setup;
    const { view } = this.#arena;
    const one = this.#arena.take(4);
    view.setInt32(one, 1, true);
    for (const fd of taps) this.#libc.ioctl(fd, abi.FIONBIO, this.#arena.pointer(one)); // one passed on may block
    const offloads = this.#offload();
    const { fd, buffer } = this.#sockets.receiver(plan.port);
    const pool = Array.from({ length: plan.sourcePorts }, () => this.#sockets.sender());
    const senders = pool.length === 0 ? [fd] : pool.map((socket) => socket.fd);
    const sourcePorts = pool.length === 0 ? [plan.port] : pool.map((socket) => socket.port);
    this.#path = new DataPath({
      arena: this.#arena,
      sum: sums(this.#arena.memory).sum,
      vtep: this.#vtep,
      v6: this.#v6,
      counts: this.#counts,
      taps: this.#taps,
      sender: new Sender(this.#libc, this.#arena, senders, this.#v6, this.#counts, this),
      receiver: new Receiver(this.#libc, this.#arena, fd, this.#counts),
      recorder: this.#recorder,
      local: { address: plan.local, port: plan.port },
      sourcePorts,
      udp: offloads.includes('USO'),
      lost: (port, errno) => this.#lose(port, errno),
    });
    this.#fds.push(fd, ...pool.map((socket) => socket.fd));
    for (const [i, one] of this.#fds.entries()) {
      const at = this.#poll + i * abi.POLLFD.length;
      view.setInt32(at + abi.POLLFD.fd, one, true);
      // Those that only send have errors to tell of, which poll reports unasked.
      view.setInt16(at + abi.POLLFD.events, i < 2 + taps.length ? abi.POLLIN : 0, true);
    }
    const facts = { receiveBuffer: buffer, sourcePorts };
    this.#say({ type: 'started', facts, wake: this.#wake, offloads });
  }

  /** Runs until it is told to stop. */
  run(): void {
    const { view } = this.#arena;
    const taps = this.#taps.length;
    let due = performance.now() + TICK;
    while (this.#running) {
      const wait = due - performance.now();
      this.#counts[COUNT.pollCalls]! += 1;
      let left = this.#libc.poll(this.#pollPointer, this.#fds.length, wait > 0 ? Math.ceil(wait) : 0);
      this.#now = performance.now();
      if (this.#now >= due) {
        due = this.#now + TICK;
        this.#tick();
      }
      for (let i = 0; left > 0 && i < this.#fds.length; i++) {
        const events = view.getInt16(this.#poll + i * abi.POLLFD.length + abi.POLLFD.revents, true);
        if (events === 0) continue;
        left--;
        if (i === 0) this.#listen();
        else if (i <= taps) this.#path.fromTap(i - 1, this.#now);
        else {
          if ((events & abi.POLLERR) !== 0) this.#errors.drain(this.#fds[i]!, this);
          if (i === taps + 1 && (events & abi.POLLIN) !== 0) this.#path.fromUnderlay(this.#now);
        }
      }
    }
  }

  /** Closes every socket and TAP; the machine stays. */
  stop(): void {
    this.closeSockets();
    for (const fd of this.#setup.taps) this.#libc.close(fd);
  }

  closeSockets(): void {
    this.#sockets.close();
  }

  /** What the control thread says. */
  handle(message: ToLoop): void {
    if (message.type === 'stop') this.#running = false;
    else if (message.type === 'capture') this.#recorder.limit = message.packets;
    else {
      const { id, request } = message;
      try {
        const result = answer(this.#vtep, this.#setup.plan, request, performance.now());
        this.#path.forget(); // a peer may be another remote now
        this.#say({ type: 'answer', id, result });
      } catch (error) {
        const { message: text } = error as Error;
        const problems = error instanceof SchemaError ? { problems: error.problems } : {};
        this.#say({ type: 'refusal', id, message: text, ...problems });
      }
    }
  }

  // ---- What the kernel tells ----

  errors(fd: number): void {
    this.#errors.drain(fd, this);
  }

  tooBig(address: string, mtu: number): void {
    const remote = this.#vtep.remote(address);
    if (remote === undefined) return;
    remote.mtu = Math.max(MIN_MTU, mtu - overhead(this.#setup.plan.local));
    this.#mtus.set(remote, this.#now);
  }

  refused(_address: string, errno: number): void {
    countError(this.#counts, 'receiveErrors', errno);
  }

  // ---- A turn ----

  #tick(): void {
    this.#vtep.tick(this.#now);
    this.#path.forget();
    for (const [remote, time] of this.#mtus) {
      if (this.#now - time < MTU_AGE) continue;
      remote.mtu = 65_535;
      this.#mtus.delete(remote);
    }
  }

  /** Lets the TAPs hand out what is segmented and summed up later, as far as the kernel can; returns the names of that. */
  #offload(): string[] {
    const taps = this.#taps.filter((tap) => tap !== null && tap.header !== 0) as TapQueue[];
    const every = (flags: number): boolean =>
      taps.length > 0 && taps.every(({ fd }) => this.#libc.ioctl(fd, abi.TUNSETOFFLOAD, flags) >= 0);
    const tcp = abi.TUN_F_CSUM | abi.TUN_F_TSO4 | abi.TUN_F_TSO6 | abi.TUN_F_TSO_ECN;
    if (every(tcp | abi.TUN_F_USO4 | abi.TUN_F_USO6)) return ['TSO', 'USO'];
    return every(tcp) ? ['TSO'] : [];
  }

  #listen(): void {
    this.#libc.read(this.#wake, this.#eight, 8);
    for (let got = receiveMessageOnPort(this.#port); got !== undefined; got = receiveMessageOnPort(this.#port))
      this.handle(got.message as ToLoop);
  }

  #lose(port: number, errno: number): void {
    this.#taps[port] = null;
    this.#arena.view.setInt32(this.#poll + (1 + port) * abi.POLLFD.length + abi.POLLFD.fd, -1, true);
    const reason = errno === EBADFD ? 'the device has been removed' : errorName(errno);
    this.#say({ type: 'lost', port, reason: errno === 0 ? 'end of file' : reason });
  }

  #say(message: FromLoop): void {
    this.#port.postMessage(message);
  }
}

/** The smallest MTU that a way is believed to have: what IPv4 requires of every link (RFC 791). */
const MIN_MTU = 68;

/** The TAPs of a loop: attaches them to the machine, watches their queues, and detaches them. */
import { type Machine } from '../machine.js';
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { EBADFD, errorName, type Libc, type Pointer } from './libc.js';
import { Disagreement, type QueueFiles, type Task } from './protocol.js';
import { type Readiness } from './readiness.js';
import { enableOffloads, TapCalls, TapQueue } from './tap-queue.js';
import { SocketError } from './udp.js';

export interface LoopTapsParts {
  libc: Libc;
  arena: Arena;
  machine: Machine;
  readiness: Readiness;
  counts: Float64Array;
}

export class LoopTaps {
  /** By port; `null` for ports that are detached or whose device has gone. */
  readonly queues: (TapQueue | null)[] = [];
  /** The place of port 0 in the readiness. */
  firstPlace = 0;
  readonly #parts: LoopTapsParts;
  readonly #calls: TapCalls;
  /** An integer for ioctls. */
  readonly #one: number;
  readonly #onePointer: Pointer;
  #events = abi.POLLIN;

  constructor(parts: LoopTapsParts) {
    this.#parts = parts;
    this.#calls = new TapCalls(parts.arena);
    this.#one = parts.arena.take(4);
    this.#onePointer = parts.arena.pointer(this.#one);
  }

  /**
   * @param offloads Called if the kernel writes merged UDP to the device.
   * @returns the number of the port.
   */
  attach({ plan, files, port: expected }: Extract<Task, { type: 'attach' }>, offloads: () => void): number {
    const { machine, readiness } = this.#parts;
    // The first worker watches the queue before its machine gives a number to the port, in which the others would not
    // follow. In them the port stays, if they cannot watch theirs, until the control thread detaches it from all.
    if (expected === undefined) this.#watch(plan.name, files.queue);
    const port = machine.attach(plan);
    if (expected !== undefined && port !== expected) throw new Disagreement(`port ${expected} has number ${port} here`);
    while (this.queues.length <= port) this.queues.push(null);
    if (expected !== undefined) this.#watch(plan.name, files.queue);
    readiness.change(files.queue, this.firstPlace + port, this.#events);
    this.queues[port] = this.#open(files, offloads);
    return port;
  }

  /** @returns whether there was such a port. */
  detach(port: number): boolean {
    const { machine, readiness } = this.#parts;
    const tap = this.queues[port];
    if (tap === undefined) return false;
    if (tap !== null) readiness.remove(tap.fd);
    this.queues[port] = null;
    machine.detach(port);
    return true;
  }

  /** The device of a port has gone. @returns why. */
  lose(port: number, errno: number): string {
    const { machine, readiness } = this.#parts;
    readiness.remove(this.queues[port]!.fd);
    this.queues[port] = null;
    machine.vtep.forgetPort(port);
    if (errno === 0) return 'end of file';
    return errno === EBADFD ? 'the device has been removed' : errorName(errno);
  }

  /** Reads all TAPs, or none, which slows their senders down. */
  read(on: boolean): void {
    this.#events = on ? abi.POLLIN : 0;
    for (const [port, tap] of this.queues.entries())
      if (tap !== null) this.#parts.readiness.change(tap.fd, this.firstPlace + port, this.#events);
  }

  /** Begins to watch the queue of a TAP, whose place is not yet known, for nothing. */
  #watch(name: string, queue: number): void {
    try {
      this.#parts.readiness.add(queue, 0, 0);
    } catch (error) {
      if (!(error instanceof SocketError)) throw error;
      throw new RangeError(`TAP "${name}" cannot be polled: ${error.code}`);
    }
  }

  /** Configures a TAP, and enables segmentation and checksum offload as far as the kernel supports it. */
  #open({ queue, writer, vnet }: QueueFiles, offloads: () => void): TapQueue {
    const { arena, libc, counts } = this.#parts;
    arena.view.setInt32(this.#one, 1, true);
    libc.ioctl(queue, abi.FIONBIO, this.#onePointer); // an inherited one may be blocking
    if (vnet && enableOffloads(libc, queue)) offloads();
    return new TapQueue(libc, this.#calls, queue, vnet, counts, writer);
  }
}

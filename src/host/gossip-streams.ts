/**
 * The TCP sockets of the gossip. Each has a place from the moment it is open until its descriptor is closed, and at most
 * `timeout` to live, whatever its peer sends or does not read: a peer cannot extend that.
 */
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { Places, sourceOf, Tally } from '../gossip/memberlist/index.js';
import { codeOf } from './error.js';
import { descriptorShare } from './open-files.js';
import { type Pacer } from './pacer.js';

/** Limits of the sockets of one member. */
export interface StreamSocketLimits {
  /** Most accepted sockets, in total and for one source: see `sourceOf`. */
  accepted: number;
  acceptedPerSource: number;
  /** Most dialled sockets, in total and to one source. Further ones wait in a queue. */
  dialled: number;
  dialledPerSource: number;
  /**
   * Most bytes of streams that are dialled or wait for it; those to one source get half of it. A stream beyond it is
   * dropped, as if it were lost.
   */
  queued: number;
  /** Milliseconds that a stream may wait in the queue. */
  patience: number;
}

const LIMITS: StreamSocketLimits = {
  accepted: 128,
  // More than one host dials at a time: several members may have one address, and a container can use its host's.
  acceptedPerSource: 32,
  dialled: 128,
  dialledPerSource: 16,
  queued: 64 << 20,
  patience: 60_000,
};
/** Bytes of memory that a stream in the queue takes besides its data: it bounds their number. */
const OVERHEAD = 512;
/** Bytes of an answer that the system may go on sending for a socket without a place. */
const SMALL = 16 << 10;
/** Least accepted sockets, and dialled ones, however small the limit of open files is. */
const LEAST = 8;

/** The machine behind the sockets. */
export interface StreamEvents {
  /** @returns the number of an accepted stream; 0 to close it at once. */
  accept(address: string): number;
  /** An accepted stream was refused for lack of a place. */
  refused(): void;
  data(id: number, bytes: Uint8Array): void;
  /** A stream that the machine has not closed is over. */
  closed(id: number, reason: string): void;
}

/** A stream to dial. */
interface Dial {
  readonly id: number;
  readonly address: string;
  readonly port: number;
  readonly source: string;
  readonly bytes: Uint8Array;
  /** Whether the peer answers. Otherwise it closes the connection when it has read everything. */
  readonly answered: boolean;
  /** Until when it may wait, in milliseconds. */
  readonly until: number;
}

/** An open socket. */
interface Open {
  readonly id: number;
  readonly socket: Socket;
  readonly places: Places<Socket>;
  readonly expiry: NodeJS.Timeout;
  /** What it was dialled for. */
  readonly dial?: Dial;
  /** Number of bytes that the machine has written to an accepted one. */
  written: number;
}

/** The limits for this process: fewer sockets if it may open few files. */
function limitsHere(): StreamSocketLimits {
  const share = descriptorShare(2, LEAST, LIMITS.accepted);
  return { ...LIMITS, accepted: share, dialled: share };
}

/** The streams of one member over TCP. */
export class StreamSockets {
  readonly #events: StreamEvents;
  readonly #pacer: Pacer;
  readonly #timeout: number;
  readonly #from: () => string | undefined;
  readonly #limits: StreamSocketLimits;
  readonly #accepted: Places<Socket>;
  readonly #dialled: Places<Socket>;
  /** The sockets whose stream the machine has not closed, by its number. */
  readonly #streams = new Map<number, Open>();
  readonly #open = new Map<Socket, Open>();
  /** The streams that wait to be dialled, by number. */
  readonly #queue = new Map<number, Dial>();
  /** Bytes of streams in the queue and of those that are dialled, in total and by source. */
  #queued = 0;
  readonly #queuedBy = new Tally();
  #closed = false;

  /**
   * @param timeout Life of a socket, in milliseconds.
   * @param from Returns the address to dial from, because peers recognise a member by it; `undefined`: the route's.
   */
  constructor(
    events: StreamEvents,
    pacer: Pacer,
    timeout: number,
    from: () => string | undefined,
    limits: Partial<StreamSocketLimits> = {},
  ) {
    this.#from = from;
    this.#events = events;
    this.#pacer = pacer;
    this.#timeout = timeout;
    this.#limits = { ...limitsHere(), ...limits };
    this.#accepted = new Places({ most: this.#limits.accepted, mostPerSource: this.#limits.acceptedPerSource });
    this.#dialled = new Places({ most: this.#limits.dialled, mostPerSource: this.#limits.dialledPerSource });
  }

  /** Number of open sockets, and of bytes of the streams that are dialled or wait for it. */
  sizes(): { accepted: number; dialled: number; queued: number } {
    return { accepted: this.#accepted.size, dialled: this.#dialled.size, queued: this.#queued };
  }

  /** Takes a socket of the server, or resets it. */
  accept(socket: Socket): void {
    socket.on('error', () => undefined);
    const { remoteAddress } = socket;
    if (remoteAddress === undefined || this.#closed) return void socket.destroy(); // its peer has reset it
    const now = performance.now();
    const { admitted, leaves } = this.#accepted.admit(sourceOf(remoteAddress), now);
    const id = admitted ? this.#events.accept(remoteAddress) : 0;
    if (!admitted) this.#events.refused();
    if (id === 0) return reset(socket);
    const leaving = leaves === undefined ? undefined : this.#open.get(leaves); // unless the machine has closed it
    if (leaving !== undefined) this.#fail(leaving, 'too many streams');
    this.#accepted.add(socket, sourceOf(remoteAddress), now);
    this.#read(this.#watch(id, socket, this.#accepted));
  }

  /** Dials a peer and sends the bytes, at once or when there is a place. */
  dial(id: number, address: string, port: number, bytes: Uint8Array, answered: boolean): void {
    const source = sourceOf(address);
    const dial = { id, address, port, source, bytes, answered, until: performance.now() + this.#limits.patience };
    const { queued } = this.#limits;
    const size = sizeOf(dial);
    if (this.#queued + size > queued || this.#queuedBy.of(source) + size > queued / 2) {
      if (answered) setImmediate(() => this.#events.closed(id, 'too many streams'));
      return;
    }
    this.#queue.set(id, dial);
    this.#count(dial, 1);
    this.#dialNext();
  }

  write(id: number, bytes: Uint8Array): void {
    const open = this.#streams.get(id);
    if (open === undefined) return;
    open.written += bytes.length;
    open.socket.write(bytes);
  }

  /**
   * The machine is done with a stream: its socket sends what is written, accepts no more, and closes.
   * @param failed Whether a reset is as good.
   */
  close(id: number, failed: boolean): void {
    const dial = this.#queue.get(id);
    if (dial !== undefined) this.#unqueue(dial);
    const open = this.#streams.get(id);
    if (open === undefined) return;
    this.#streams.delete(id);
    const { socket, written } = open;
    socket.removeAllListeners('data');
    if (written === 0) return failed ? this.#fail(open, '') : this.#release(open);
    if (written <= SMALL || socket.readableEnded) {
      socket.pause();
      return void socket.end(() => this.#release(open));
    }
    // What the peer does not read remains ours, and counts until its end or the end of its time.
    socket.on('data', () => this.#fail(open, CLOSED)).on('end', () => this.#release(open));
    socket.end();
    socket.resume();
  }

  /** Closes all sockets without reports. */
  destroy(): void {
    this.#closed = true;
    for (const dial of this.#queue.values()) this.#unqueue(dial);
    for (const open of this.#open.values()) this.#release(open);
    this.#streams.clear();
  }

  #dialNext(): void {
    const now = performance.now();
    for (const dial of this.#queue.values()) {
      if (this.#dialled.size >= this.#limits.dialled) return;
      if (dial.until >= now && this.#dialled.heldBy(dial.source) >= this.#limits.dialledPerSource) continue;
      if (dial.until < now) this.#unqueue(dial);
      else this.#connect(dial, now);
    }
  }

  #unqueue(dial: Dial): void {
    if (this.#queue.delete(dial.id)) this.#count(dial, -1);
  }

  #count(dial: Dial, sign: 1 | -1): void {
    const amount = sign * sizeOf(dial);
    this.#queued += amount;
    this.#queuedBy.add(dial.source, amount);
  }

  #connect(dial: Dial, now: number): void {
    const { id, address, port, source, bytes, answered } = dial;
    this.#queue.delete(id);
    const from = this.#from();
    const socket = connect({
      ...{ host: address, port, allowHalfOpen: true },
      ...(from === undefined ? {} : { localAddress: from }),
    });
    this.#dialled.add(socket, source, now);
    const open = this.#watch(id, socket, this.#dialled, dial);
    socket.write(bytes);
    if (answered) return this.#read(open);
    // The place is free again when the peer has read everything, so that it is not dialled faster than it reads.
    socket.end();
    socket.resume();
    socket.on('end', () => this.#release(open));
  }

  #watch(id: number, socket: Socket, places: Places<Socket>, dial?: Dial): Open {
    const expiry = setTimeout(() => this.#fail(open, 'no answer'), this.#timeout);
    const open: Open = { id, socket, places, expiry, written: 0, ...(dial === undefined ? {} : { dial }) };
    this.#open.set(socket, open);
    socket.on('error', (error) => this.#fail(open, dialError(error)));
    socket.on('close', () => this.#release(open));
    return open;
  }

  /** Passes what the peer sends to the machine. */
  #read(open: Open): void {
    const { id, socket } = open;
    this.#streams.set(id, open);
    const isOpen = (): boolean => this.#streams.get(id) === open;
    let waiting = 0;
    let isOver = false;
    const over = (): void => {
      isOver = true;
      if (waiting > 0 || !isOpen()) return; // called again after the data that the pacer holds
      this.#fail(open, CLOSED);
    };
    socket.on('end', over);
    socket.on('data', (data) => {
      const bytes = octets(data as Buffer);
      waiting++;
      this.#pacer.add(bytes.length, () => {
        this.#events.data(id, bytes);
        if (--waiting > 0 || !isOpen()) return;
        if (isOver) over();
        else socket.resume();
      });
      if (waiting > 0) socket.pause();
    });
  }

  /** Resets a socket: the system discards what the peer has not read. Reports it, unless the machine has closed it. */
  #fail(open: Open, reason: string): void {
    const { id, socket } = open;
    if (!this.#open.has(socket)) return;
    const isReported = this.#streams.get(id) === open;
    this.#streams.delete(id);
    reset(socket);
    this.#release(open);
    if (isReported && !this.#closed) this.#events.closed(id, reason);
  }

  /** Closes the socket's descriptor, and frees its place. */
  #release({ socket, places, expiry, dial }: Open): void {
    if (!this.#open.delete(socket)) return;
    clearTimeout(expiry);
    socket.destroy();
    places.delete(socket);
    if (dial === undefined) return;
    this.#count(dial, -1);
    if (!this.#closed) setImmediate(() => this.#dialNext());
  }
}

/** Bytes of memory that a stream to dial takes. */
function sizeOf({ bytes }: Dial): number {
  return bytes.length + OVERHEAD;
}

const CLOSED = 'it closed the connection without an answer';

/** Describes why a connection failed. */
export function dialError(error: Error): string {
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
      return 'no process listens there';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'there is no route to it';
    case 'ETIMEDOUT':
      return 'no answer';
    case 'ECONNRESET':
    case 'EPIPE':
      return CLOSED;
    default:
      return error.message;
  }
}

/**
 * Closes a socket at once, with a TCP reset: without one, the system would keep what the peer does not read, and a state
 * of the connection, for minutes.
 */
function reset(socket: Socket): void {
  // libuv refuses to reset a socket while it shuts down the sending side, which takes one turn of the event loop.
  const isShuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (socket.connecting || isShuttingDown) socket.destroy();
  else socket.resetAndDestroy();
}

/** Converts to a plain `Uint8Array`: `slice` of a `Buffer` does not copy. */
export function octets(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

import type { Clock } from './clock.js';
import type { Network } from './network.js';
import type { Random } from './random.js';

/** One end of a stream. */
export interface StreamEnd {
  write(bytes: Uint8Array): void;
  /** Closes this end: written data still arrives, then the other end is notified. This end receives nothing more. */
  close(): void;
}

/** Events of one end. */
export interface StreamEvents {
  data(bytes: Uint8Array): void;
  /** The other end closed, or nothing listens there. */
  closed(): void;
}

/** Accepts a stream: receives this side's end and returns the handler of its events. */
export type StreamAcceptor = (end: StreamEnd, source: string) => StreamEvents;

/** Milliseconds until lost data is retransmitted. */
const RETRANSMIT = 200;

/**
 * Streams over a network that behave like TCP: octets arrive once and in order, in pieces of any length. Packet loss
 * delays them. If either direction is cut or an end is down, they never arrive, and no error is reported.
 */
export class Streams {
  readonly #clock: Clock;
  readonly #network: Network;
  readonly #random: Random;
  readonly #acceptors = new Map<string, StreamAcceptor>();

  constructor(clock: Clock, network: Network, random: Random) {
    this.#clock = clock;
    this.#network = network;
    this.#random = random;
  }

  /** Accepts streams at a port from now on, replacing any other listener; `null` removes it. */
  listen(address: string, port: number, acceptor: StreamAcceptor | null): void {
    const key = `${address} ${port}`;
    if (acceptor === null) this.#acceptors.delete(key);
    else this.#acceptors.set(key, acceptor);
  }

  /** Dials; data written at once arrives when the stream is established. */
  dial(source: string, address: string, port: number, events: StreamEvents): StreamEnd {
    const there = new Direction(this.#clock, this.#network, this.#random, source, address);
    const back = new Direction(this.#clock, this.#network, this.#random, address, source);
    back.receiver = events;
    there.send(() => {
      const acceptor = this.#acceptors.get(`${address} ${port}`);
      if (acceptor === undefined) back.close();
      else there.receiver = acceptor(ending(back, there), source);
    });
    return ending(there, back);
  }
}

function ending(out: Direction, into: Direction): StreamEnd {
  return {
    write: (bytes) => out.write(bytes),
    close: () => {
      into.receiver = null;
      out.close();
    },
  };
}

class Direction {
  receiver: StreamEvents | null = null;
  readonly #clock: Clock;
  readonly #network: Network;
  readonly #random: Random;
  readonly #from: string;
  readonly #to: string;
  #last = 0;
  #broken = false;

  constructor(clock: Clock, network: Network, random: Random, from: string, to: string) {
    this.#clock = clock;
    this.#network = network;
    this.#random = random;
    this.#from = from;
    this.#to = to;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const length = 1 + this.#random.integer(bytes.length - at);
      const piece = bytes.slice(at, at + length);
      this.send(() => this.receiver?.data(piece));
      at += length;
    }
  }

  close(): void {
    this.send(() => {
      const { receiver } = this;
      this.receiver = null;
      receiver?.closed();
    });
  }

  /** Runs `arrive` at the other end, after everything sent before has arrived. */
  send(arrive: () => void): void {
    const options = this.#network.node(this.#from)?.link.options;
    if (options === undefined) return;
    let delay = options.latency + options.jitter * this.#random.float();
    while (this.#random.chance(Math.min(options.loss, 0.9))) delay += RETRANSMIT;
    this.#last = Math.max(this.#last, this.#clock.now + delay);
    this.#clock.at(this.#last, () => {
      // Data that was not delivered blocks all data behind it.
      this.#broken ||= !this.#open();
      if (!this.#broken) arrive();
    });
  }

  #open(): boolean {
    const network = this.#network;
    const up = (address: string): boolean => network.node(address)?.up === true;
    const [from, to] = [this.#from, this.#to];
    return up(from) && up(to) && network.connected(from, to) && network.connected(to, from);
  }
}

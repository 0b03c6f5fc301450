/**
 * The places of the control socket. A client that finds none waits for one: most clients have their answer within
 * milliseconds. One that gets none, or that must leave, is told so by a whole response: a connection that is closed while
 * its request is on the way is reset, and the client does not learn why.
 */
import { type Socket } from 'node:net';
import { rawError, type Client, type ControlLimits } from './control-client.js';
import { RequestError } from './error.js';
import { openFilesLimit } from './open-files.js';

/** Milliseconds between two looks for a place, while somebody waits. */
const LOOK = 50;
/** Descriptors that the connections without a place leave to others: TAPs, engine, gossip, and those with a place. */
const OTHERS = 512;
/** Fewest such connections of a kind, with however few open files. */
const LEAST = 8;

/** Number of connections that may wait and that may be leaving, if this process may open `files`. */
export function placelessLimits(files = openFilesLimit()): { waiting: number; leaving: number } {
  const part = (of: number, most: number): number =>
    Math.max(LEAST, Math.min(most, Math.floor(((files ?? Infinity) - OTHERS) / of)));
  return { waiting: part(4, 192), leaving: part(2, 512) };
}

export class Places {
  readonly #limits: ControlLimits;
  /** Begins to serve a connection. */
  readonly #serve: (socket: Socket) => Client;
  readonly #clients = new Map<Socket, Client>();
  /** The connections that wait, in order, of which nothing is read; and when each of them gives up. */
  readonly #waiting = new Map<Socket, number>();
  /** Connections that have got a last response, and may still be sending. */
  readonly #leaving = new Set<Socket>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: ControlLimits, serve: (socket: Socket) => Client) {
    this.#limits = limits;
    this.#serve = serve;
  }

  /** The client of a connection that has a place. */
  get(socket: Socket): Client | undefined {
    return this.#clients.get(socket);
  }

  /** Takes a new connection, of which nothing has been read yet. */
  add(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    if (this.#waiting.size >= this.#limits.waiting && !this.#takeIdle()) return this.#refuse(socket);
    this.#waiting.set(socket, performance.now() + this.#limits.wait);
    socket.on('close', () => this.#waiting.delete(socket));
    this.#fill();
  }

  /** Ends every connection; those with a request in progress end by themselves. */
  end(): void {
    clearInterval(this.#timer);
    for (const socket of [...this.#waiting.keys(), ...this.#leaving]) socket.destroy();
    for (const client of this.#clients.values()) client.end();
  }

  destroy(): void {
    for (const client of this.#clients.values()) client.destroy();
  }

  /** Gives places to those who wait, as long as there are any. */
  #fill(): void {
    for (const socket of this.#waiting.keys()) {
      if (this.#clients.size >= this.#limits.clients && !this.#takeIdle()) break;
      this.#waiting.delete(socket);
      this.#enter(socket);
    }
    if (this.#waiting.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    } else this.#timer ??= setInterval(() => this.#look(), LOOK).unref();
  }

  #enter(socket: Socket): void {
    this.#clients.set(socket, this.#serve(socket));
    socket.on('close', () => {
      if (this.#clients.delete(socket)) this.#fill();
    });
    socket.resume();
  }

  #look(): void {
    this.#fill();
    const now = performance.now();
    for (const [socket, end] of this.#waiting) {
      if (end > now) break;
      this.#waiting.delete(socket);
      this.#refuse(socket);
    }
  }

  /**
   * Ends the connection that has been idle longest. One that has just come is about to send its request.
   * @returns false if there is none.
   */
  #takeIdle(): boolean {
    let oldest: Client | undefined;
    for (const client of this.#clients.values())
      if (client.idleSince < (oldest?.idleSince ?? performance.now() - this.#limits.fresh)) oldest = client;
    if (oldest === undefined) return false;
    this.#clients.delete(oldest.socket);
    this.#letLeave(oldest.socket);
    oldest.refuse(this.#full('this connection had no request for longest'));
    return true;
  }

  /** Answers a connection that has never had a place, and closes it when the client has sent what it is sending. */
  #refuse(socket: Socket): void {
    this.#letLeave(socket);
    socket.end(rawError(this.#full('close one of them')));
    socket.resume();
    socket.on('end', () => socket.destroy());
    setTimeout(() => socket.destroy(), this.#limits.grace).unref();
  }

  /** Those who do not leave by themselves make room for others. */
  #letLeave(socket: Socket): void {
    if (this.#leaving.size >= this.#limits.leaving) this.#leaving.values().next().value?.destroy();
    this.#leaving.add(socket);
    socket.on('close', () => this.#leaving.delete(socket));
  }

  #full(remedy: string): RequestError {
    return new RequestError(
      'unavailable',
      `${this.#limits.clients} clients are connected, which is the limit; ${remedy}`,
    );
  }
}

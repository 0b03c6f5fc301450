import { WireError } from '../../wire/index.js';
import { encodeMessage } from './message.js';
import { encodeStream, STREAM_LIMITS, StreamReader, type StreamLimits, type StreamMessage } from './stream.js';
import type { Security } from './packet.js';
import type { Timer, Timers } from './timers.js';

/** Streams as whoever has sockets makes them. Numbers name them. */
export interface StreamSink {
  /**
   * Dials, and sends the bytes. Where no answer is wanted the stream is to be closed once they are sent, and nothing more
   * said of it; else what happens is told to `streamData` and `streamClosed`.
   */
  openStream(id: number, address: string, port: number, bytes: Uint8Array, answered: boolean): void;
  /** Sends by a stream that is open. */
  writeStream(id: number, bytes: Uint8Array): void;
  /** Closes a stream once what was written is sent; nothing more is to be said of it. */
  closeStream(id: number): void;
}

interface Session {
  readonly reader: StreamReader;
  readonly timer: Timer;
  /** Octets that are counted for it. */
  kept: number;
  /** Of a stream that was dialled: gets the answer, `null` where there is none. Absent for one that was accepted. */
  readonly done: ((answer: StreamMessage | null, now: number) => void) | null;
}

/** What `Sessions` asks of the machine. */
export interface SessionHost {
  /** A request came; `reply` answers it, once. What it throws as `WireError` is told to the peer. */
  request(message: StreamMessage, reply: (message: Uint8Array) => void, now: number): void;
  refused(error: unknown): void;
}

export interface SessionOptions {
  security: Security;
  compressed: boolean;
  timeout: number;
  /** Accepted at the same time at most, and dialled. Default 128 both. */
  maxStreams?: number;
  /** Octets at most that all streams together keep of messages that are not whole yet. Default 64 MiB. */
  maxKept?: number;
  limits?: StreamLimits;
}

/** The streams of a member: one request each, and maybe an answer. */
export class Sessions {
  readonly #options: Required<SessionOptions>;
  readonly #sink: StreamSink;
  readonly #host: SessionHost;
  readonly #timers: Timers;
  readonly #sessions = new Map<number, Session>();
  #accepted = 0;
  #kept = 0;
  #next = 1;

  constructor(options: SessionOptions, sink: StreamSink, host: SessionHost, timers: Timers) {
    this.#options = { maxStreams: 128, maxKept: 64 * 1024 * 1024, limits: STREAM_LIMITS, ...options };
    this.#sink = sink;
    this.#host = host;
    this.#timers = timers;
  }

  /** Streams that are open, as far as this side knows. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Octets kept of messages that are not whole. */
  get kept(): number {
    return this.#kept;
  }

  /** Sends a message that wants no answer. */
  tell(address: string, port: number, message: Uint8Array): void {
    this.#sink.openStream(this.#next++, address, port, this.#encode(message, true), false);
  }

  /** Sends a message, and gives back the answer; `null` where none comes by the deadline. */
  ask(
    address: string,
    port: number,
    message: Uint8Array,
    deadline: number,
    done: (answer: StreamMessage | null, now: number) => void,
    now: number,
  ): void {
    if (this.#sessions.size - this.#accepted >= this.#options.maxStreams) return done(null, now);
    const id = this.#open(deadline, done);
    this.#sink.openStream(id, address, port, this.#encode(message, true), true);
  }

  /** A peer has dialled. @returns the stream's number; 0 where it is to be closed at once. */
  accept(now: number): number {
    if (this.#accepted >= this.#options.maxStreams) return 0;
    this.#accepted++;
    return this.#open(now + this.#options.timeout, null);
  }

  data(id: number, bytes: Uint8Array, now: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    try {
      const message = session.reader.push(bytes);
      this.#kept += session.reader.kept - session.kept;
      session.kept = session.reader.kept;
      if (message === null) {
        if (this.#kept > this.#options.maxKept) this.#end(id, session, null, now);
        return;
      }
      if (session.done !== null) return this.#end(id, session, message, now);
      this.#host.request(message, (reply) => this.#sink.writeStream(id, this.#encode(reply, false)), now);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#host.refused(error);
      if (session.done === null)
        this.#sink.writeStream(id, this.#encode(encodeMessage({ type: 'err', error: error.message }), false));
    }
    this.#end(id, session, null, now);
  }

  closed(id: number, now: number): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#end(id, session, null, now);
  }

  /** Closes all streams, and answers nobody. */
  clear(): void {
    for (const [id, session] of this.#sessions) {
      this.#forget(id, session);
      this.#sink.closeStream(id);
    }
  }

  #open(deadline: number, done: Session['done']): number {
    const id = this.#next++;
    const timer = this.#timers.set(deadline, (now) => this.closed(id, now));
    const reader = new StreamReader(this.#options.security, done !== null, this.#options.limits);
    this.#sessions.set(id, { reader, timer, kept: 0, done });
    return id;
  }

  #end(id: number, session: Session, answer: StreamMessage | null, now: number): void {
    if (!this.#forget(id, session)) return;
    this.#sink.closeStream(id);
    session.done?.(answer, now);
  }

  #forget(id: number, session: Session): boolean {
    if (!this.#sessions.delete(id)) return false;
    this.#timers.cancel(session.timer);
    this.#kept -= session.kept;
    if (session.done === null) this.#accepted--;
    return true;
  }

  #encode(message: Uint8Array, dialler: boolean): Uint8Array {
    const { security, compressed } = this.#options;
    return encodeStream(message, security, { compressed, dialler });
  }
}

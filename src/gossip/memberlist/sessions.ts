import { WireError } from '../../wire/index.js';
import { Allowance } from './allowance.js';
import { encodeMessage } from './message.js';
import { encodeStream, STREAM_LIMITS, StreamReader, type StreamLimits, type StreamMessage } from './stream.js';
import type { Security } from './packet.js';
import type { Timer, Timers } from './timers.js';

/** Opens and closes streams for `Sessions`. Each stream has a number. */
export interface StreamSink {
  /**
   * Opens a stream and sends the bytes. If no answer is expected, the sink closes the stream once they are sent, and
   * reports nothing more about it. Otherwise it reports to `streamData` and `streamClosed`.
   */
  openStream(id: number, address: string, port: number, bytes: Uint8Array, answered: boolean): void;
  /** Sends over an open stream. */
  writeStream(id: number, bytes: Uint8Array): void;
  /** Closes a stream once everything written is sent, and reports nothing more about it. */
  closeStream(id: number): void;
}

interface Session {
  readonly reader: StreamReader;
  readonly timer: Timer;
  /** Buffered octets that are counted for it. */
  kept: number;
  /** Of the peer; empty if unknown. */
  readonly address: string;
  /** For a dialled stream. `null` for an accepted one. */
  readonly done: Answered | null;
}

/** Receives the answer on a dialled stream, or `null` and the reason for the failure. */
export type Answered = (answer: StreamMessage | null, now: number, failure: string) => void;

/** What `Sessions` needs from the machine. */
export interface SessionHost {
  /** Handles a request; it may call `reply` once. If it throws a `WireError`, the peer gets an `err` message. */
  request(message: StreamMessage, address: string, reply: (message: Uint8Array) => void, now: number): void;
  /** Data from this address cannot be read. */
  refused(error: WireError, address: string, now: number): void;
}

export interface SessionOptions {
  security: Security;
  compressed: boolean;
  timeout: number;
  /** Maximum number of accepted streams, and of dialled ones. Default 128 each. */
  maxStreams?: number;
  /** Maximum memory for incomplete messages of all streams, in octets. Default 64 MiB. */
  maxKept?: number;
  limits?: StreamLimits;
  /** See {@link WORK}. */
  work?: number;
  workPerSecond?: number;
}

/**
 * Budget for answering streams, as a burst and per second. A decompressed octet costs 1 unit, an octet of an answer 16,
 * a received member 1024. A unit takes about 4 ns.
 */
export const WORK = { most: 512 * 1024 * 1024, perSecond: 32 * 1024 * 1024 } as const;
const ANSWER_WORK = 16;
const MEMBER_WORK = 1024;

/** The streams of this member. Each carries one request and at most one answer. */
export class Sessions {
  readonly #options: Required<SessionOptions>;
  readonly #sink: StreamSink;
  readonly #host: SessionHost;
  readonly #timers: Timers;
  readonly #sessions = new Map<number, Session>();
  readonly #work: Allowance;
  #accepted = 0;
  #kept = 0;
  #next = 1;

  constructor(options: SessionOptions, sink: StreamSink, host: SessionHost, timers: Timers) {
    this.#options = {
      maxStreams: 128,
      maxKept: 64 * 1024 * 1024,
      limits: STREAM_LIMITS,
      work: WORK.most,
      workPerSecond: WORK.perSecond,
      ...options,
    };
    this.#work = new Allowance(this.#options.work, this.#options.workPerSecond);
    this.#sink = sink;
    this.#host = host;
    this.#timers = timers;
  }

  /** Number of open streams, as far as this side knows. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Buffered octets of incomplete messages. */
  get kept(): number {
    return this.#kept;
  }

  /** Sends a message and expects no answer. */
  send(address: string, port: number, message: Uint8Array): void {
    this.#sink.openStream(this.#next++, address, port, this.#encode(message, true), false);
  }

  /** Sends a message and passes the answer to `done`; `null` if none arrives by the deadline. */
  ask(address: string, port: number, message: Uint8Array, deadline: number, done: Answered, now: number): void {
    if (this.#sessions.size - this.#accepted >= this.#options.maxStreams) return done(null, now, 'too many streams');
    const id = this.#open(deadline, address, done);
    this.#sink.openStream(id, address, port, this.#encode(message, true), true);
  }

  /** Accepts a stream from a peer. @returns its number; 0 if the caller must close it at once. */
  accept(address: string, now: number): number {
    if (this.#work.left(now) <= 0) return 0;
    if (this.#accepted >= this.#options.maxStreams && !this.#makeRoom(address, now)) return 0;
    this.#accepted++;
    return this.#open(now + this.#options.timeout, address, null);
  }

  /** Closes the oldest stream of the address with the most streams, if it has at least two more than `address`. */
  #makeRoom(address: string, now: number): boolean {
    const counts = new Map<string, number>();
    for (const one of this.#sessions.values())
      if (one.done === null) counts.set(one.address, (counts.get(one.address) ?? 0) + 1);
    const most = Math.max(...counts.values());
    if (most <= (counts.get(address) ?? 0) + 1) return false;
    for (const [id, one] of this.#sessions)
      if (one.done === null && counts.get(one.address) === most) {
        this.#end(id, one, null, now, 'too many streams');
        return true;
      }
    return false;
  }

  data(id: number, bytes: Uint8Array, now: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    let failure = '';
    try {
      if (session.done === null && this.#work.left(now) <= 0)
        return this.#end(id, session, null, now, 'too many requests');
      const message = this.#push(session, bytes);
      this.#kept += session.reader.kept - session.kept;
      session.kept = session.reader.kept;
      if (message === null) {
        if (this.#kept > this.#options.maxKept)
          this.#end(id, session, null, now, 'too many octets of incomplete messages');
        return;
      }
      if (session.done !== null) return this.#end(id, session, message, now, '');
      if (message.type === 'pushPull') this.#work.spend(message.nodes.length * MEMBER_WORK);
      const reply = (answer: Uint8Array): void => {
        this.#work.spend(answer.length * ANSWER_WORK);
        this.#sink.writeStream(id, this.#encode(answer, false));
      };
      this.#host.request(message, session.address, reply, now);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      failure = error.detail;
      this.#host.refused(error, session.address, now);
      if (session.done === null)
        this.#sink.writeStream(id, this.#encode(encodeMessage({ type: 'err', error: error.message }), false));
    }
    this.#end(id, session, null, now, failure);
  }

  #push({ reader }: Session, bytes: Uint8Array): StreamMessage | null {
    try {
      return reader.push(bytes);
    } finally {
      this.#work.spend(reader.inflated);
    }
  }

  closed(id: number, reason: string, now: number): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#end(id, session, null, now, reason);
  }

  /** Closes all streams without answers. */
  clear(): void {
    for (const [id, session] of this.#sessions) {
      this.#forget(id, session);
      this.#sink.closeStream(id);
    }
  }

  #open(deadline: number, address: string, done: Session['done']): number {
    const id = this.#next++;
    const timer = this.#timers.set(deadline, (now) => this.closed(id, 'no answer', now));
    const reader = new StreamReader(this.#options.security, done !== null, this.#options.limits);
    this.#sessions.set(id, { reader, timer, kept: 0, address, done });
    return id;
  }

  #end(id: number, session: Session, answer: StreamMessage | null, now: number, failure: string): void {
    if (!this.#forget(id, session)) return;
    this.#sink.closeStream(id);
    session.done?.(answer, now, failure);
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

import { WireError } from '../../wire/index.js';
import { Allowance } from './allowance.js';
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
  /** Of the peer; empty where nobody said. */
  readonly address: string;
  /** Of a stream that was dialled. `null` for one that was accepted. */
  readonly done: Answered | null;
}

/** Gets the answer of a stream that was dialled; `null` where there is none, and why. */
export type Answered = (answer: StreamMessage | null, now: number, failure: string) => void;

/** What `Sessions` asks of the machine. */
export interface SessionHost {
  /** A request came; `reply` answers it, once. What it throws as `WireError` is told to the peer. */
  request(message: StreamMessage, address: string, reply: (message: Uint8Array) => void, now: number): void;
  /** What came from there cannot be read. */
  refused(error: WireError, address: string, now: number): void;
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
  /** See {@link WORK}. */
  work?: number;
  workPerSecond?: number;
}

/**
 * What answering streams may cost at once, and a second: an octet that comes out of what is compressed counts as 1, an
 * octet of an answer as 16, a member heard of as 1024, each of which takes about 4 ns.
 */
export const WORK = { most: 512 * 1024 * 1024, perSecond: 32 * 1024 * 1024 } as const;
const ANSWER_WORK = 16;
const MEMBER_WORK = 1024;

/** The streams of a member: one request each, and maybe an answer. */
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
  ask(address: string, port: number, message: Uint8Array, deadline: number, done: Answered, now: number): void {
    if (this.#sessions.size - this.#accepted >= this.#options.maxStreams) return done(null, now, 'too many streams');
    const id = this.#open(deadline, address, done);
    this.#sink.openStream(id, address, port, this.#encode(message, true), true);
  }

  /** A peer has dialled. @returns the stream's number; 0 where it is to be closed at once. */
  accept(address: string, now: number): number {
    if (this.#work.left(now) <= 0) return 0;
    if (this.#accepted >= this.#options.maxStreams && !this.#makeRoom(address, now)) return 0;
    this.#accepted++;
    return this.#open(now + this.#options.timeout, address, null);
  }

  /** Closes the oldest stream from the address that has most, unless that is hardly more than the new one's has. */
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
        return this.#end(id, session, null, now, 'too much to do');
      const message = this.#push(session, bytes);
      this.#kept += session.reader.kept - session.kept;
      session.kept = session.reader.kept;
      if (message === null) {
        if (this.#kept > this.#options.maxKept) this.#end(id, session, null, now, 'too much is kept');
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

  /** Closes all streams, and answers nobody. */
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

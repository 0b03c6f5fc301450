import { WireError } from '../../wire/index.js';
import { SharedAllowance } from './allowance.js';
import { encodeMessage } from './message.js';
import { Places, sourceOf, Tally } from './places.js';
import { encodeStream, STREAM_LIMITS, StreamReader, type StreamLimits, type StreamMessage } from './stream.js';
import type { Security } from './packet.js';
import type { Timer, Timers } from './timers.js';
import type { Work } from './work.js';

/** Opens and closes streams for `Sessions`. Each stream has a number. */
export interface StreamSink {
  /**
   * Opens a stream and sends the bytes. If no answer is expected, the sink closes the stream once they are sent, and
   * reports nothing more about it. Otherwise it reports to `streamData` and `streamClosed`.
   */
  openStream(id: number, address: string, port: number, bytes: Uint8Array, answered: boolean): void;
  /** Sends over an open stream. */
  writeStream(id: number, bytes: Uint8Array): void;
  /**
   * Closes a stream once everything written is sent, and reports nothing more about it.
   * @param failed Whether no complete and valid message has arrived: if nothing is written, the peer may get a reset.
   */
  closeStream(id: number, failed: boolean): void;
}

interface Session {
  readonly reader: StreamReader;
  readonly timer: Timer;
  /** Octets of memory that are counted for it. */
  kept: number;
  /** Whether a task parses the message, and why the stream closed since it began. */
  isParsing: boolean;
  closed: string | null;
  /** Of the peer; empty if unknown. */
  readonly address: string;
  /** {@link sourceOf} the address. */
  readonly source: string;
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
  /**
   * Maximum memory for incomplete messages of all streams, in octets. Default 64 MiB. The streams of one source get half
   * of it. Beyond either limit, the largest stream of the source that holds the most is closed.
   */
  maxKept?: number;
  limits?: StreamLimits;
  /** See {@link WORK}. */
  work?: number;
  workPerSecond?: number;
}

/**
 * Budget for answering streams, as a burst and per second. A decompressed octet costs 1 unit, an octet of an answer 16,
 * a received member 4096. A unit takes about 4 ns. A quarter more is reserved for sources that spent little.
 */
export const WORK = { most: 512 * 1024 * 1024, perSecond: 32 * 1024 * 1024 } as const;
const ANSWER_WORK = 16;
const MEMBER_WORK = 4096;
/** Cost of a step of a parser in units of {@link Work}: about a millisecond. */
const STEP_COST = 100;

/** The streams of this member. Each carries one request and at most one answer. */
export class Sessions {
  readonly #options: Required<SessionOptions>;
  readonly #sink: StreamSink;
  readonly #host: SessionHost;
  readonly #timers: Timers;
  readonly #tasks: Work;
  readonly #sessions = new Map<number, Session>();
  readonly #work: SharedAllowance;
  readonly #accepted: Places<number>;
  #kept = 0;
  /** `#kept` by source. */
  readonly #keptBy = new Tally();
  #next = 1;

  constructor(options: SessionOptions, sink: StreamSink, host: SessionHost, timers: Timers, tasks: Work) {
    this.#options = {
      maxStreams: 128,
      maxKept: 64 * 1024 * 1024,
      limits: STREAM_LIMITS,
      work: WORK.most,
      workPerSecond: WORK.perSecond,
      ...options,
    };
    this.#work = new SharedAllowance(this.#options.work, this.#options.workPerSecond);
    this.#accepted = new Places({ most: this.#options.maxStreams });
    this.#sink = sink;
    this.#host = host;
    this.#timers = timers;
    this.#tasks = tasks;
  }

  /** Number of open streams, as far as this side knows. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Octets of memory for incomplete messages. */
  get kept(): number {
    return this.#kept;
  }

  /** Sends a message and expects no answer. */
  send(address: string, port: number, message: Uint8Array): void {
    this.#sink.openStream(this.#next++, address, port, this.#encode(message, true), false);
  }

  /** Sends a message and passes the answer to `done`; `null` if none arrives by the deadline. */
  ask(address: string, port: number, message: Uint8Array, deadline: number, done: Answered, now: number): void {
    if (this.#sessions.size - this.#accepted.size >= this.#options.maxStreams)
      return done(null, now, 'too many streams');
    const id = this.#open(deadline, address, done);
    this.#sink.openStream(id, address, port, this.#encode(message, true), true);
  }

  /** Accepts a stream from a peer. @returns its number; 0 if the caller must close it at once. */
  accept(address: string, now: number): number {
    const source = sourceOf(address);
    if (this.#work.left(source, now) <= 0) return 0;
    const { admitted, leaves } = this.#accepted.admit(source, now);
    if (!admitted) return 0;
    if (leaves !== undefined) this.closed(leaves, 'too many streams', now);
    const id = this.#open(now + this.#options.timeout, address, null);
    this.#accepted.add(id, source, now);
    return id;
  }

  data(id: number, bytes: Uint8Array, now: number): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#read(id, session, now, () => session.reader.push(bytes));
  }

  /** Parses the rest of a long message. */
  *#parse(id: number, session: Session): Generator<number, void> {
    const { reader } = session;
    while (reader.paused && this.#sessions.get(id) === session) {
      this.#read(id, session, this.#tasks.now, () => reader.resume());
      yield STEP_COST;
    }
    session.isParsing = false;
    if (session.closed !== null) this.closed(id, session.closed, this.#tasks.now);
  }

  /** Reads a part of a message, and handles the message if it is complete. */
  #read(id: number, session: Session, now: number, read: () => StreamMessage | null): void {
    let failure = '';
    try {
      if (session.done === null && this.#work.left(session.source, now) <= 0)
        return this.#end(id, session, null, now, 'too many requests');
      const message = this.#charged(session, read, now);
      this.#keep(session, session.reader.kept);
      if (message === null) {
        this.#limitKept(session.source, now);
        if (!session.reader.paused || session.isParsing) return;
        session.isParsing = true;
        return this.#tasks.add(this.#parse(id, session), now);
      }
      if (session.done !== null) return this.#end(id, session, message, now, '');
      if (message.type === 'pushPull') this.#work.spend(session.source, message.nodes.length * MEMBER_WORK, now);
      const reply = (answer: Uint8Array): void => {
        this.#work.spend(session.source, answer.length * ANSWER_WORK, now);
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

  /** Charges what is decompressed, at the end: until then it is counted as memory. */
  #charged({ reader, source }: Session, read: () => StreamMessage | null, now: number): StreamMessage | null {
    try {
      return read();
    } finally {
      if (!reader.paused) this.#work.spend(source, reader.inflated, now);
    }
  }

  #keep(session: Session, octets: number): void {
    this.#kept += octets - session.kept;
    this.#keptBy.add(session.source, octets - session.kept);
    session.kept = octets;
  }

  /** Closes streams until the memory of all, and that of a source, are within their limits. */
  #limitKept(source: string, now: number): void {
    const { maxKept } = this.#options;
    while (source !== '' && this.#keptBy.of(source) > maxKept / 2) this.#endLargest((one) => one === source, now);
    while (this.#kept > maxKept) {
      const most = this.#keptBy.largest();
      this.#endLargest((one) => this.#keptBy.of(one) === most, now);
    }
  }

  /** Closes the stream that holds the most among those of some sources. */
  #endLargest(isOne: (source: string) => boolean, now: number): void {
    let largest: [number, Session] | undefined;
    for (const entry of this.#sessions)
      if (isOne(entry[1].source) && entry[1].kept > (largest?.[1].kept ?? -1)) largest = entry;
    this.#end(...largest!, null, now, 'too many octets of incomplete messages');
  }

  closed(id: number, reason: string, now: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    // The peer may close the stream after a complete message, which is handled all the same.
    if (session.isParsing) session.closed ??= reason;
    else this.#end(id, session, null, now, reason);
  }

  /** Closes all streams without answers. */
  clear(): void {
    for (const [id, session] of this.#sessions) {
      this.#forget(id, session);
      this.#sink.closeStream(id, false);
    }
  }

  #open(deadline: number, address: string, done: Session['done']): number {
    const id = this.#next++;
    const timer = this.#timers.set(deadline, (now) => this.closed(id, 'no answer', now));
    const reader = new StreamReader(this.#options.security, done !== null, this.#options.limits);
    this.#sessions.set(id, {
      reader,
      timer,
      kept: 0,
      isParsing: false,
      closed: null,
      address,
      source: sourceOf(address),
      done,
    });
    return id;
  }

  #end(id: number, session: Session, answer: StreamMessage | null, now: number, failure: string): void {
    if (!this.#forget(id, session)) return;
    this.#sink.closeStream(id, failure !== '');
    session.done?.(answer, now, failure);
  }

  #forget(id: number, session: Session): boolean {
    if (!this.#sessions.delete(id)) return false;
    this.#timers.cancel(session.timer);
    this.#keep(session, 0);
    this.#accepted.delete(id);
    return true;
  }

  #encode(message: Uint8Array, dialler: boolean): Uint8Array {
    const { security, compressed } = this.#options;
    return encodeStream(message, security, { compressed, dialler });
  }
}

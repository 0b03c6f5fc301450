import { uint } from '../wire/index.js';
import type { Agenda, Timer } from './agenda.js';

export interface PingOptions {
  /** Echo requests to send, 1 to 65,536. Default 1. */
  count?: number;
  /** Bytes of data in each, 0 to 65,507. Default 56. */
  size?: number;
  /** Milliseconds between two requests. Default 1000. */
  interval?: number;
  /** Milliseconds to wait for answers after the last request. Default 5000, so that ARP gives up first. */
  timeout?: number;
}

/** Why a packet could not be sent or delivered. */
export interface PacketError {
  /**
   * `down`: the station has no address yet, or no longer; `no-route`: off the subnet, and there is no gateway;
   * `too-big`: more than the path carries; `no-neighbor`: no answer to ARP; `unreachable`, `expired`, `malformed`:
   * reported by ICMP.
   */
  reason: 'down' | 'no-route' | 'too-big' | 'no-neighbor' | 'unreachable' | 'expired' | 'malformed';
  /** Sender of the ICMP error, if any. */
  from?: string;
  /** Its code. */
  code?: number;
  /** With `too-big`: the path's MTU in bytes. */
  mtu?: number;
}

/** Result of a ping. */
export interface PingResult {
  sent: number;
  /** Requests answered. */
  received: number;
  lost: number;
  /** Further answers to the same request. */
  duplicates: number;
  /** Answers with different data. */
  damaged: number;
  /** Round-trip times of first answers in milliseconds, in the order of their arrival. */
  rtts: number[];
  errors: (PacketError & { sequence: number })[];
}

/** What a ping needs from its station. */
export interface PingHost {
  now(): number;
  agenda: Agenda;
  /** Sends an echo request; returns the reason if it cannot, or `null`. */
  echo(sequence: number, data: Uint8Array): PacketError | null;
  finished(result: PingResult): void;
}

/** A series of echo requests and their results. */
export class Ping {
  readonly #count: number;
  readonly #size: number;
  readonly #interval: number;
  readonly #timeout: number;
  readonly #host: PingHost;
  readonly #outstanding = new Map<number, number>();
  readonly #answered = new Set<number>();
  readonly #result: PingResult = { sent: 0, received: 0, lost: 0, duplicates: 0, damaged: 0, rtts: [], errors: [] };
  #timer: Timer | null = null;

  /** @throws RangeError naming the option that is out of bounds. */
  constructor(options: PingOptions, host: PingHost) {
    this.#count = uint('ping.count', options.count ?? 1, 0x1_0000);
    this.#size = uint('ping.size', options.size ?? 56, 65_507);
    this.#interval = options.interval ?? 1000;
    this.#timeout = options.timeout ?? 5000;
    this.#host = host;
  }

  /** Sends the next request and schedules the one after it. */
  next(): void {
    const sequence = this.#result.sent++;
    const last = this.#result.sent >= this.#count;
    const now = this.#host.now();
    this.#timer = this.#host.agenda.add(now + (last ? this.#timeout : this.#interval), () =>
      last ? this.finish() : this.next(),
    );
    this.#outstanding.set(sequence, now);
    const error = this.#host.echo(sequence, pattern(sequence, this.#size));
    if (error !== null) this.fail(sequence, error);
  }

  reply(sequence: number, bytes: Uint8Array, offset: number, end: number): void {
    const sent = this.#outstanding.get(sequence);
    if (!matches(sequence, this.#size, bytes, offset, end)) {
      this.#result.damaged++;
    } else if (sent !== undefined) {
      this.#outstanding.delete(sequence);
      this.#answered.add(sequence);
      this.#result.received++;
      this.#result.rtts.push(this.#host.now() - sent);
      this.#settle();
    } else if (this.#answered.has(sequence)) this.#result.duplicates++;
  }

  /** Records that a request will not be answered. */
  fail(sequence: number, error: PacketError): void {
    if (!this.#outstanding.delete(sequence)) return;
    this.#result.errors.push({ ...error, sequence });
    this.#settle();
  }

  /** Ends the series early. */
  finish(): void {
    if (this.#timer !== null) this.#host.agenda.cancel(this.#timer);
    this.#result.lost = this.#result.sent - this.#result.received;
    this.#host.finished(this.#result);
  }

  #settle(): void {
    if (this.#outstanding.size === 0 && this.#result.sent >= this.#count) this.finish();
  }
}

/** Data that differ between requests and between offsets. */
function pattern(sequence: number, size: number): Uint8Array {
  const data = new Uint8Array(size);
  for (let i = 0; i < size; i++) data[i] = sequence + i;
  return data;
}

function matches(sequence: number, size: number, bytes: Uint8Array, offset: number, end: number): boolean {
  if (end - offset !== size) return false;
  for (let i = 0; i < size; i++) if (bytes[offset + i] !== ((sequence + i) & 0xff)) return false;
  return true;
}

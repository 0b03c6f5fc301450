import type { Timing } from './config.js';
import type { IndirectPing, Message, Ping } from './message.js';
import type { Outbox } from './outbox.js';
import type { Pings } from './pings.js';
import type { Roster } from './roster.js';
import type { Timer, Timers } from './timers.js';

const NOTHING = new Uint8Array(0);
/** Maximum number of outstanding indirect pings on behalf of other members. */
const MAX_RELAYED = 1024;

/** An outstanding indirect ping: who asked for it. */
interface Relay {
  readonly address: string;
  readonly port: number;
  readonly seqNo: number;
  readonly timer: Timer;
}

/** What the answers need from the machine. */
export interface ResponderHost {
  /** Returns the payload of the answer to a ping. */
  payload(): Uint8Array;
  rejected(reason: 'invalid' | 'relays-full'): void;
}

/** Answers the pings of other members, and pings a third member if they ask for it. */
export class Responder {
  readonly #timing: Timing;
  readonly #host: ResponderHost;
  readonly #pings: Pings;
  readonly #roster: Roster;
  readonly #outbox: Outbox;
  readonly #timers: Timers;
  /** Pings on behalf of other members, by their sequence number here. */
  readonly #relays = new Map<number, Relay>();

  constructor(timing: Timing, host: ResponderHost, pings: Pings, roster: Roster, outbox: Outbox, timers: Timers) {
    this.#timing = timing;
    this.#host = host;
    this.#pings = pings;
    this.#roster = roster;
    this.#outbox = outbox;
    this.#timers = timers;
  }

  /** Number of outstanding indirect pings. */
  get relays(): number {
    return this.#relays.size;
  }

  clear(): void {
    this.#relays.clear();
  }

  /** Answers a ping from an address. @returns whether it is for this member. */
  answer(ping: Ping, address: string, port: number, now: number): boolean {
    if (!this.isTarget(ping)) return false;
    const payload = this.#host.payload();
    this.#reply(ping, address, port, { type: 'ack', seqNo: ping.seqNo, payload }, now);
    return true;
  }

  /** Whether a ping is for this member: the process that had its address before may have had another name. */
  isTarget({ node }: Ping): boolean {
    return node === '' || node === this.#roster.self.name;
  }

  /** Pings another member for the one that asks, and passes the answer on; a nack if none arrives in time. */
  relay(ask: IndirectPing, address: string, port: number, now: number): void {
    if (ask.target === '') return this.#host.rejected('invalid');
    if (this.#relays.size >= MAX_RELAYED) return this.#host.rejected('relays-full');
    const ping = this.#pings.create(ask.node);
    const timer = this.#timers.set(now + this.#timing.probeTimeout, (then) => {
      this.#relays.delete(ping.seqNo);
      if (ask.nack) this.#reply(ask, address, port, { type: 'nack', seqNo: ask.seqNo }, then);
    });
    this.#relays.set(ping.seqNo, { ...sourceOf(ask, address, port), seqNo: ask.seqNo, timer });
    this.#outbox.send(ask.target, ask.port === 0 ? this.#roster.self.port : ask.port, ping, now);
  }

  /** An answer arrived. @returns whether it is for a member that asked for an indirect ping. */
  acknowledged(seqNo: number, now: number): boolean {
    const relay = this.#relays.get(seqNo);
    if (relay === undefined) return false;
    this.#relays.delete(seqNo);
    this.#timers.cancel(relay.timer);
    this.#outbox.send(relay.address, relay.port, { type: 'ack', seqNo: relay.seqNo, payload: NOTHING }, now);
    return true;
  }

  #reply(ping: Ping | IndirectPing, from: string, fromPort: number, message: Message, now: number): void {
    const { address, port } = sourceOf(ping, from, fromPort);
    this.#outbox.send(address, port, message, now);
  }
}

/** Where to answer: the address in the ping, or else the one it came from. */
export function sourceOf(
  { sourceAddr, sourcePort }: Ping | IndirectPing,
  address: string,
  port: number,
): { address: string; port: number } {
  return sourceAddr !== '' && sourcePort !== 0 ? { address: sourceAddr, port: sourcePort } : { address, port };
}

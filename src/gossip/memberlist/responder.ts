import { Budgets, STRANGERS, type Credit } from './budgets.js';
import type { Timing } from './config.js';
import { isLive, placeOf, type Entry } from './member.js';
import { encodeMessage, type Ack, type IndirectPing, type Ping } from './message.js';
import type { Outbox } from './outbox.js';
import { encodeCompound } from './packet.js';
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

/** Where a datagram came from, and what it may cause. */
export interface Origin {
  readonly address: string;
  readonly port: number;
  /** Whether one that has the key encrypted it, now or earlier: it may be a repetition. */
  readonly authentic: boolean;
  /** Whether a member sent it, as far as is known: it is authentic, or comes from the place of a verified member. */
  trusted: boolean;
  /** The member at its source, if there is one. */
  member: Entry | undefined;
  readonly credit: Credit;
  /** Whether a ping or an indirect ping in it was handled: a datagram has at most one. */
  asked: boolean;
}

/** What the answers need from the machine. */
export interface ResponderHost {
  /** Returns the payload of the answer to a ping. */
  payload(): Uint8Array;
  rejected(reason: 'invalid' | 'relays-full' | 'strangers' | 'over-budget'): void;
}

/**
 * Answers pings, and pings a third member if another one asks for it. Only members at their own address get broadcasts
 * with an answer. Any other answer is not longer than the credit of the datagram, and counts against the budget of its
 * receiver.
 */
export class Responder {
  readonly #timing: Timing;
  readonly #host: ResponderHost;
  readonly #pings: Pings;
  readonly #roster: Roster;
  readonly #outbox: Outbox;
  readonly #timers: Timers;
  /** Pings on behalf of other members, by their sequence number here. */
  readonly #relays = new Map<number, Relay>();
  readonly #memberBudgets = new Budgets(null);
  readonly #strangerBudgets = new Budgets(STRANGERS);

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

  /** Answers a ping. @returns whether it was answered. */
  answer(ping: Ping, origin: Origin, now: number): boolean {
    if (!this.isTarget(ping) || origin.asked) return false;
    origin.asked = true;
    const { address, port } = replyAddress(ping, origin);
    const ack: Ack = { type: 'ack', seqNo: ping.seqNo, payload: this.#host.payload() };
    const member = this.#roster.at(address, port);
    if (member?.verified === true && this.#memberBudgets.take(placeOf(address, port), now)) {
      const end = isLive(member) || member.name !== ping.sourceNode ? null : this.#roster.endOf(member);
      // A member that is not gone must learn who says so, so that it can refute it.
      if (end !== null) this.#outbox.sendTo(member, encodeCompound([encodeMessage(ack), encodeMessage(end)]));
      else this.#outbox.send(address, port, ack, now);
      return true;
    }
    if (this.#strangerBudgets.take(address, now) && this.#outbox.sendPlain(address, port, [ack], origin.credit))
      return true;
    this.#host.rejected('over-budget');
    return false;
  }

  /** Whether a ping is for this member: the process that had its address before may have had another name. */
  isTarget({ node }: Ping): boolean {
    return node === '' || node === this.#roster.self.name;
  }

  /**
   * Pings another member for the one that asks, and passes the answer on; a nack if none arrives in time. Both must be
   * verified members at their addresses.
   */
  relay(ask: IndirectPing, origin: Origin, now: number): void {
    if (ask.target === '') return this.#host.rejected('invalid');
    const target = this.#roster.at(ask.target, ask.port === 0 ? this.#roster.self.port : ask.port);
    const { address, port } = replyAddress(ask, origin);
    const asker = this.#roster.at(address, port);
    if (!origin.trusted || asker?.verified !== true) return this.#host.rejected('strangers');
    if (origin.asked) return this.#host.rejected('invalid');
    origin.asked = true;
    if (!this.#memberBudgets.take(placeOf(address, port), now)) return this.#host.rejected('over-budget');
    if (target?.verified !== true || (ask.node !== '' && ask.node !== target.name)) {
      // The one that asks must not conclude that this member is out of order.
      if (ask.nack) this.#outbox.send(address, port, { type: 'nack', seqNo: ask.seqNo }, now);
      return this.#host.rejected('invalid');
    }
    if (this.#relays.size >= MAX_RELAYED) return this.#host.rejected('relays-full');
    const ping = this.#pings.create(ask.node);
    const timer = this.#timers.set(now + this.#timing.probeTimeout, (then) => {
      this.#relays.delete(ping.seqNo);
      if (ask.nack) this.#outbox.send(address, port, { type: 'nack', seqNo: ask.seqNo }, then);
    });
    this.#relays.set(ping.seqNo, { address, port, seqNo: ask.seqNo, timer });
    this.#outbox.send(target.address, target.port, ping, now);
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
}

/** Where to answer: the address in the ping, or else the one it came from. */
export function replyAddress(
  { sourceAddr, sourcePort }: Ping | IndirectPing,
  { address, port }: { address: string; port: number },
): { address: string; port: number } {
  return sourceAddr !== '' && sourcePort !== 0 ? { address: sourceAddr, port: sourcePort } : { address, port };
}

import type { Broadcasts } from './broadcasts.js';
import type { Credit } from './budgets.js';
import type { Timing } from './config.js';
import { greatestProtocol, isLive, type Entry } from './member.js';
import { encodeMessage, TYPE, type Message } from './message.js';
import {
  COMPOUND_HEADER,
  COMPOUND_PART,
  encodeCompound,
  encodePacket,
  MAX_PARTS,
  packetOverhead,
  type Security,
} from './packet.js';
import type { Roster } from './roster.js';
import type { Timers } from './timers.js';
import type { Delegate, MemberlistSink } from './types.js';

/** The protocol version from which members verify checksums. */
const CRC = 5;
/** Factor by which a member gossips more often while the application has messages that were never sent. */
const PRESSING = 10;

export interface OutboxOptions {
  timing: Timing;
  security: Security;
  /** Whether to compress messages. */
  compressed: boolean;
  /** Maximum length of a datagram, in octets. */
  packetSize: number;
}

/**
 * Sends packets. Queued broadcasts and messages of the application fill the free room of packets that are sent anyway;
 * in every gossip interval they also get packets of their own.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #overhead: number;
  readonly #sink: Pick<MemberlistSink, 'sendPacket'>;
  readonly #application: Pick<Delegate, 'broadcasts' | 'pressing'>;
  readonly #broadcasts: Broadcasts;
  readonly #roster: Roster;
  readonly #timers: Timers;

  constructor(
    options: OutboxOptions,
    sink: Pick<MemberlistSink, 'sendPacket'>,
    application: Pick<Delegate, 'broadcasts' | 'pressing'>,
    broadcasts: Broadcasts,
    roster: Roster,
    timers: Timers,
  ) {
    this.#options = options;
    this.#overhead = packetOverhead(options.security);
    this.#sink = sink;
    this.#application = application;
    this.#broadcasts = broadcasts;
    this.#roster = roster;
    this.#timers = timers;
  }

  /** Gossips at a time, and from then on in every interval. */
  start(at: number): void {
    this.#timers.set(at, (now) => this.#gossip(now));
  }

  /**
   * Sends a message. If a verified member is at the address, as many queued broadcasts as fit go with it: a false
   * address must not multiply what it gets.
   */
  send(address: string, port: number, message: Message, now: number): void {
    if (this.#roster.at(address, port)?.verified !== true) return void this.sendPlain(address, port, [message], null);
    const bytes = encodeMessage(message);
    const { packetSize } = this.#options;
    const room = packetSize - bytes.length - COMPOUND_PART - COMPOUND_HEADER - this.#overhead;
    const piggybacked = this.#take(room, now).slice(0, MAX_PARTS - 1);
    this.#transmit(address, port, piggybacked.length === 0 ? bytes : encodeCompound([bytes, ...piggybacked]), null);
  }

  /**
   * Sends messages without broadcasts.
   * @param credit Pays for the datagram; `null` if nothing has to.
   * @returns false if the credit does not suffice.
   */
  sendPlain(address: string, port: number, messages: readonly Message[], credit: Credit | null): boolean {
    const parts = messages.map(encodeMessage);
    const packet = this.#encode(parts.length === 1 ? parts[0]! : encodeCompound(parts), null);
    if (credit?.spend(packet.length) === false) return false;
    this.#sink.sendPacket(address, port, packet);
    return true;
  }

  /** Sends an encoded message or compound to a member, without broadcasts. */
  sendTo(member: Entry, bytes: Uint8Array): void {
    this.#transmit(member.address, member.port, bytes, member);
  }

  /** Sends a message of the application to a member, without broadcasts. */
  sendUser(member: Entry, message: Uint8Array): void {
    this.sendTo(member, userMessage(message));
  }

  /** Sends queued messages to some members. @returns whether there were any messages. */
  spread(now: number): boolean {
    const { timing, packetSize } = this.#options;
    const { gossipNodes, gossipToTheDeadTime } = timing;
    const fits = (member: Entry): boolean =>
      member.verified && (isLive(member) || (member.state === 'dead' && now - member.since <= gossipToTheDeadTime));
    // Picks one member at a time, because there is usually nothing to send.
    const receivers: Entry[] = [];
    while (receivers.length < gossipNodes) {
      const [member] = this.#roster.pick(1, (one) => fits(one) && !receivers.includes(one));
      if (member === undefined) break;
      const messages = this.#take(packetSize - COMPOUND_HEADER - this.#overhead, now);
      if (messages.length === 0) break;
      receivers.push(member);
      if (messages.length === 1) this.sendTo(member, messages[0]!);
      else
        for (let at = 0; at < messages.length; at += MAX_PARTS)
          this.sendTo(member, encodeCompound(messages.slice(at, at + MAX_PARTS)));
    }
    return receivers.length > 0;
  }

  #gossip(now: number): void {
    const { gossipInterval } = this.#options.timing;
    const pressing = this.spread(now) && this.#application.pressing?.() === true;
    this.start(now + (pressing ? gossipInterval / PRESSING : gossipInterval));
  }

  /** Takes queued broadcasts for one packet with this much room, own messages first. */
  #take(room: number, now: number): Uint8Array[] {
    const messages = this.#broadcasts.take(room, COMPOUND_PART, this.#roster.verified);
    if (this.#application.broadcasts === undefined) return messages;
    const overhead = COMPOUND_PART + 1;
    let left = messages.reduce((rest, message) => rest - message.length - COMPOUND_PART, room);
    if (left <= overhead) return messages;
    for (const message of this.#application.broadcasts(overhead, left, now)) {
      left -= message.length + overhead;
      if (left < 0) break;
      messages.push(userMessage(message));
    }
    return messages;
  }

  #transmit(address: string, port: number, bytes: Uint8Array, member: Entry | null): void {
    this.#sink.sendPacket(address, port, this.#encode(bytes, member));
  }

  /** @param member The receiver, if known: packets to one that supports it have a checksum. */
  #encode(bytes: Uint8Array, member: Entry | null): Uint8Array {
    const { security, compressed } = this.#options;
    const checksum = member !== null && greatestProtocol(member) >= CRC;
    return encodePacket(bytes, security, { compressed, checksum });
  }
}

function userMessage(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + message.length);
  bytes[0] = TYPE.user;
  bytes.set(message, 1);
  return bytes;
}

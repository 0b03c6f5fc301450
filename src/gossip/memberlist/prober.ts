import type { Timing } from './config.js';
import { greatestProtocol, placeOf, type Entry, type Member } from './member.js';
import { encodeMessage, type IndirectPing, type Ping, type Suspect } from './message.js';
import type { Outbox } from './outbox.js';
import { encodeCompound } from './packet.js';
import type { Pings } from './pings.js';
import type { Roster } from './roster.js';
import type { Sessions } from './sessions.js';
import type { Timer, Timers } from './timers.js';

/** The protocol versions from which members answer pings over streams, and send nacks. */
const STREAM_PING = 3;
const NACK = 4;

interface Probe {
  readonly member: Entry;
  readonly ping: Ping;
  readonly sent: number;
  /** Where the ping was sent. */
  readonly place: string;
  /** Whether other members have the number of the ping. */
  isShared: boolean;
  /** Number of members that should send a nack if they get no answer, and of those that did. */
  nacksExpected: number;
  nacks: number;
  timer: Timer | null;
}

/** What probes need from the machine. */
export interface ProberHost {
  /** A probe begins. */
  began(): void;
  /** A member has answered a ping, after this many milliseconds. */
  answered(member: Member, milliseconds: number, payload: Uint8Array, now: number): void;
  /** A member did not answer its probe, so this one suspects it. */
  failed(suspicion: Suspect, now: number): void;
}

/**
 * Probes one member in every interval: with a ping, and if that is not answered, through other members and over a stream.
 * While this member's own health is in doubt, it waits longer for answers: see Lifeguard's local health score.
 */
export class Prober {
  readonly #timing: Timing;
  readonly #streamPings: boolean;
  readonly #host: ProberHost;
  readonly #pings: Pings;
  readonly #roster: Roster;
  readonly #outbox: Outbox;
  readonly #sessions: Sessions;
  readonly #timers: Timers;
  #probe: Probe | null = null;
  #score = 0;

  /** @param streamPings Whether to ping a silent member over a stream, too. */
  constructor(
    timing: Timing,
    streamPings: boolean,
    host: ProberHost,
    pings: Pings,
    roster: Roster,
    outbox: Outbox,
    sessions: Sessions,
    timers: Timers,
  ) {
    this.#timing = timing;
    this.#streamPings = streamPings;
    this.#host = host;
    this.#pings = pings;
    this.#roster = roster;
    this.#outbox = outbox;
    this.#sessions = sessions;
    this.#timers = timers;
  }

  /** Begins a probe at a time, and from then on one in every interval. */
  start(at: number): void {
    this.#timers.set(at, (now) => this.#begin(now));
  }

  /** The local health score: 0 is healthy. */
  get awareness(): number {
    return this.#score;
  }

  /** Changes the score, within its bounds. */
  aware(change: number): void {
    this.#score = Math.min(this.#timing.awarenessMax - 1, Math.max(0, this.#score + change));
  }

  /** An answer arrived, from the member itself or through another one. */
  acknowledged(seqNo: number, payload: Uint8Array, now: number): void {
    const probe = this.#probe;
    if (probe === null || probe.ping.seqNo !== seqNo) return;
    const { member, place, sent } = probe;
    // Once others have the number of the ping, its answer proves nothing.
    if (!probe.isShared && place === placeOf(member.address, member.port)) this.#roster.verify(member, now);
    this.#host.answered(member, now - sent, payload, now);
    this.#end(probe, true, now);
  }

  /** A member that was asked for an indirect ping got no answer. */
  nacked(seqNo: number): void {
    if (this.#probe !== null && this.#probe.ping.seqNo === seqNo) this.#probe.nacks++;
  }

  #begin(now: number): void {
    const member = this.#roster.next(now);
    if (member === null) return this.start(now + this.#timing.probeInterval);
    this.#host.began();
    const ping = this.#pings.create(member.name);
    const place = placeOf(member.address, member.port);
    const probe: Probe = { member, ping, sent: now, place, isShared: false, nacksExpected: 0, nacks: 0, timer: null };
    this.#probe = probe;
    const deadline = now + this.#timing.probeInterval * (this.#score + 1);
    probe.timer = this.#timers.set(now + this.#timing.probeTimeout, (then) => this.#askOthers(probe, deadline, then));
    if (member.state === 'alive') return this.#outbox.send(member.address, member.port, ping, now);
    // The suspect must learn of the suspicion, so that it can refute it.
    this.#outbox.sendTo(member, encodeCompound([encodeMessage(ping), encodeMessage(this.#suspicionOf(member))]));
  }

  /** The member is silent: other members ping it, and this one does over a stream. */
  #askOthers(probe: Probe, deadline: number, now: number): void {
    const { member, ping } = probe;
    probe.timer = this.#timers.set(Math.max(now, deadline), (then) => this.#end(probe, false, then));
    const others = this.#roster.pick(
      this.#timing.indirectChecks,
      (other) => other !== member && other.verified && other.state === 'alive',
    );
    probe.isShared = others.length > 0;
    for (const other of others) {
      const nack = greatestProtocol(other) >= NACK;
      if (nack) probe.nacksExpected++;
      const { address: target, port } = member;
      const ask: IndirectPing = { ...ping, type: 'indirectPing', target, port, nack };
      this.#outbox.send(other.address, other.port, ask, now);
    }
    if (!this.#streamPings || greatestProtocol(member) < STREAM_PING) return;
    this.#sessions.ask(
      member.address,
      member.port,
      encodeMessage(ping),
      deadline,
      (answer, then) => {
        if (answer?.type !== 'ack' || answer.seqNo !== ping.seqNo) return;
        if (probe.place === placeOf(member.address, member.port)) this.#roster.verify(member, then);
        this.#end(probe, true, then);
      },
      now,
    );
  }

  #end(probe: Probe, answered: boolean, now: number): void {
    if (this.#probe !== probe) return;
    this.#probe = null;
    this.#timers.cancel(probe.timer);
    this.start(Math.max(now, probe.sent + this.#timing.probeInterval));
    if (answered) return this.aware(-1);
    const { member, nacksExpected: expected, nacks } = probe;
    this.aware(expected > 0 ? Math.max(0, expected - nacks) : 1);
    this.#host.failed(this.#suspicionOf(member), now);
  }

  #suspicionOf({ name: node, incarnation }: Member): Suspect {
    return { type: 'suspect', incarnation, node, from: this.#roster.self.name };
  }
}

import { uint, WireError } from '../../wire/index.js';
import { Broadcasts } from './broadcasts.js';
import { Credit } from './budgets.js';
import { checkOptions } from './check-options.js';
import { LAN, type Timing } from './config.js';
import { Exchanges } from './exchanges.js';
import { Held } from './held.js';
import { Lonely } from './lonely.js';
import { isLive, isVouched, type Member } from './member.js';
import { encodeMessage, MAX_META, type Alive, type Message, type NodeState } from './message.js';
import { Outbox } from './outbox.js';
import { openAny, walk, type Security } from './packet.js';
import { Pings } from './pings.js';
import { Prober } from './prober.js';
import { Reconnects } from './reconnects.js';
import { refusalOf } from './refusal.js';
import { Responder, type Origin } from './responder.js';
import { Roster, type Verdict } from './roster.js';
import { Sessions } from './sessions.js';
import { encodeUser, type StreamMessage } from './stream.js';
import { Timers } from './timers.js';
import {
  COUNTS,
  type CountName,
  type Delegate,
  type Joined,
  type MemberlistOptions,
  type MemberlistSink,
} from './types.js';
import { Verifier } from './verifier.js';
import { Work } from './work.js';

const NOTHING = new Uint8Array(0);
/** A datagram without the key causes at most this many times its own octets, apart from what members get of it. */
const MAX_FACTOR = 3;

/**
 * A member of a cluster with memberlist's protocol: SWIM (Das, Gupta and Motivala, 2002) with Lifeguard (Dadgar,
 * Phillips and Currey, 2018). A machine: its inputs are packets, streams and the time, its output goes to a sink. The
 * caller must call `wake` at `due`.
 */
export class Memberlist {
  readonly timing: Timing;
  readonly #security: Security;
  readonly #delegate: Delegate;
  readonly #timers = new Timers();
  readonly #broadcasts: Broadcasts;
  readonly #roster: Roster;
  readonly #sessions: Sessions;
  readonly #outbox: Outbox;
  readonly #prober: Prober;
  readonly #responder: Responder;
  readonly #exchanges: Exchanges;
  readonly #reconnects: Reconnects;
  readonly #lonely: Lonely;
  readonly #verifier: Verifier;
  readonly #work: Work;
  readonly #held = new Held();
  /** Whether only members that have the key are heard. */
  readonly #isKeyed: boolean;
  readonly #counts = new Map<CountName, number>(COUNTS.map((name) => [name, 0]));
  #now: number;
  #stopped = false;

  /** @throws RangeError for an invalid name, address, port or meta data. */
  constructor(options: MemberlistOptions, sink: MemberlistSink, delegate: Delegate, now: number) {
    const { name, address, port = 7946, meta = NOTHING, vsn = Uint8Array.of(1, 5, 2, 0, 0, 0) } = options;
    checkOptions(options);
    this.timing = { ...LAN, ...options.timing };
    this.#security = options.security ?? {};
    this.#delegate = delegate;
    this.#now = now;
    this.#broadcasts = new Broadcasts(this.timing.retransmitMult);
    const { random, deadNodeReclaimTime = 0, failedMemberLife = 86_400_000, maxMembers = 16_384 } = options;
    const { incarnation = 1 } = options;
    this.#roster = new Roster(
      {
        name,
        address,
        port,
        meta,
        vsn,
        incarnation,
        timing: this.timing,
        deadNodeReclaimTime,
        failedMemberLife,
        maxMembers,
        random,
      },
      {
        broadcast: (about, message, finished) => this.#broadcasts.put(about, message, finished),
        joined: (member, then) => {
          this.#reconnects.joined(member.name);
          this.#delegate.nodeJoined?.(member, then);
        },
        updated: (member, then) => this.#delegate.nodeUpdated?.(member, then),
        left: (member, then) => {
          this.#reconnects.gone(member, then);
          this.#delegate.nodeLeft?.(member.name, then, member);
        },
        verified: ({ address, port }) => {
          for (const message of this.#held.take(address, port, this.#now)) this.#user(message, this.#now);
        },
        conflict: (name, address, then) => this.#delegate.conflict?.(name, address, then),
        misnamed: (name, address, then) => this.#delegate.misnamed?.(name, address, then),
        refuted: () => {
          this.#count('refuted');
          this.#prober.aware(1);
        },
      },
      this.#timers,
      now,
    );
    const compressed = options.compressed ?? true;
    this.#work = new Work(options.clock);
    this.#sessions = new Sessions(
      {
        security: this.#security,
        compressed,
        timeout: this.timing.streamTimeout,
        ...(options.maxKept === undefined ? {} : { maxKept: options.maxKept }),
        ...(options.limits === undefined ? {} : { limits: options.limits }),
        ...(options.work === undefined ? {} : { work: options.work }),
        ...(options.workPerSecond === undefined ? {} : { workPerSecond: options.workPerSecond }),
      },
      sink,
      {
        request: (message, address, reply, then) => this.#request(message, address, reply, then),
        refused: (error, address, then) => this.#refused(error, address, then),
      },
      this.#timers,
      this.#work,
    );
    this.#outbox = new Outbox(
      { timing: this.timing, security: this.#security, compressed, packetSize: options.packetSize ?? 1400 },
      sink,
      delegate,
      this.#broadcasts,
      this.#roster,
      this.#timers,
    );
    const pings = new Pings(this.#roster.self, random);
    this.#isKeyed = this.#security.keyring !== undefined && this.#security.verifyIncoming !== false;
    this.#verifier = new Verifier(
      this.timing,
      { judged: (verdict) => this.#judged(verdict) },
      pings,
      this.#roster,
      this.#outbox,
      this.#timers,
    );
    this.#responder = new Responder(
      this.timing,
      { payload: () => this.#delegate.ackPayload?.() ?? NOTHING, rejected: (reason) => this.#count(reason) },
      pings,
      this.#roster,
      this.#outbox,
      this.#timers,
    );
    this.#prober = new Prober(
      this.timing,
      options.streamPings ?? true,
      {
        began: () => this.#count('probes'),
        answered: (member, milliseconds, payload, then) =>
          this.#delegate.answered?.(member, milliseconds, payload, then),
        failed: (suspicion, then) => {
          this.#count('probes-failed');
          this.#judged(this.#roster.suspect(suspicion, then, true));
        },
      },
      pings,
      this.#roster,
      this.#outbox,
      this.#sessions,
      this.#timers,
    );
    this.#exchanges = new Exchanges(
      this.timing,
      { judged: (verdict) => this.#judged(verdict), busy: () => this.#count('busy') },
      delegate,
      this.#roster,
      this.#sessions,
      this.#timers,
      this.#verifier,
      this.#work,
      this.#isKeyed,
    );
    this.#lonely = new Lonely(this.timing.probeInterval, this.#roster, this.#verifier, this.#exchanges);
    const { reconnectInterval = 0, reconnectTimeout = 86_400_000 } = options;
    this.#reconnects = new Reconnects(
      { interval: reconnectInterval, timeout: reconnectTimeout, random },
      this.#exchanges,
      this.#timers,
    );
    const { probeInterval, gossipInterval, pushPullInterval } = this.timing;
    this.#prober.start(now + random() * probeInterval);
    this.#outbox.start(now + random() * gossipInterval);
    if (pushPullInterval > 0) this.#exchanges.start(now + random() * pushPullInterval);
    if (reconnectInterval > 0) this.#reconnects.start(now + random() * reconnectInterval);
  }

  /** When `wake` must be called next; `Infinity` after `stop`. */
  get due(): number {
    return this.#stopped ? Infinity : Math.min(this.#timers.next, this.#work.due);
  }

  /** Performs everything that is due. */
  wake(now: number): void {
    this.#now = now;
    if (this.#stopped) return;
    if (this.#work.due <= now) this.#work.run(now);
    this.#timers.run(now);
  }

  /** This member, as others see it. */
  get self(): Member {
    return this.#roster.self;
  }

  /** All known members, including this one, those that left recently, and those that failed within `failedMemberLife`. */
  members(): readonly Member[] {
    return this.#roster.listing(this.#now);
  }

  /** A member that the protocol knows. A dead member is removed after `gossipToTheDeadTime`. */
  member(name: string): Member | undefined {
    return this.#roster.get(name);
  }

  /** Local health score of Lifeguard: 0 is healthy; higher values slow down the probes. */
  get awareness(): number {
    return this.#prober.awareness;
  }

  counters(): Record<CountName, number> {
    return Object.fromEntries(this.#counts) as Record<CountName, number>;
  }

  /** Current sizes of the state; all are bounded. */
  sizes(): { members: number; broadcasts: number; streams: number; streamOctets: number; relays: number } {
    return {
      members: this.#roster.size,
      broadcasts: this.#broadcasts.size,
      streams: this.#sessions.size,
      streamOctets: this.#sessions.kept,
      relays: this.#responder.relays,
    };
  }

  /** Number of members that did not prove their address, of pings for it that await answers, octets of messages that wait for it. */
  unproven(): { members: number; checks: number; octets: number } {
    return { members: this.#roster.unverified, checks: this.#verifier.size, octets: this.#held.octets };
  }

  /** The state of all members, for `restore` in a later run. */
  state(): NodeState[] {
    return this.#roster.state();
  }

  /**
   * Starts with the state of an earlier run. Members that were alive or suspected then count as alive. The delegate is
   * informed, other members are not. Probes detect the members that are gone. The state's entry for this member is
   * handled like a message of another member.
   */
  restore(nodes: readonly NodeState[], now: number): void {
    this.#now = now;
    for (const verdict of this.#roster.restore(nodes, now)) this.#judged(verdict);
  }

  /** Joins a cluster through some of its members; `done` is called when all have answered or timed out. */
  join(addresses: readonly { address: string; port: number }[], now: number, done?: (joined: Joined) => void): void {
    this.#now = now;
    this.#exchanges.join(addresses, now, done);
  }

  /** Exchanges the whole state with the member at an address; need not succeed. */
  contact(address: string, port: number, now = this.#now): void {
    this.#exchanges.contact(address, port, now);
  }

  /**
   * Leaves the cluster. Queued messages are sent first, and the dead message one gossip interval later. Otherwise the
   * dead message could arrive before the application's own leave message, and the application would report a failure.
   * The machine runs until `stop`.
   * @param timeout Milliseconds after the dead message after which `done` is called in any case.
   * @param done Called when all members should know.
   */
  leave(now: number, timeout = 1000, done?: () => void): void {
    this.#now = now;
    if (this.#roster.leaving) return;
    this.#roster.leave(now);
    let finished = false;
    const finish = (): void => {
      if (!finished) done?.();
      finished = true;
    };
    const announceLeave = (then: number): void => {
      this.#roster.announceLeave(finish);
      if (this.#roster.all().some((member) => member !== this.#roster.self && isLive(member)))
        this.#timers.set(then + timeout, finish);
      else finish();
    };
    if (this.#outbox.spread(now)) this.#timers.set(now + this.timing.gossipInterval, announceLeave);
    else announceLeave(now);
  }

  /** Stops at once, without a message. Afterwards nothing is due, and all input is ignored. */
  stop(): void {
    this.#stopped = true;
    this.#exchanges.stop();
    this.#sessions.clear();
    this.#timers.clear();
    this.#responder.clear();
    this.#verifier.clear();
    this.#work.clear();
    this.#held.clear();
  }

  /** Announces new meta data to all members. @throws RangeError for more than 512 octets. */
  updateMeta(meta: Uint8Array, now: number): void {
    this.#now = now;
    uint('memberlist.meta', meta.length, MAX_META);
    this.#roster.update(meta);
  }

  /** Sends a message of the application in one packet, which may be lost. @returns whether the member is known and verified. */
  sendPacket(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || !member.verified || this.#stopped) return false;
    this.#outbox.sendUser(member, message);
    return true;
  }

  /** Sends a message of the application over a stream. @returns whether the member is known, and not from a stranger's state alone. */
  sendReliable(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || !isVouched(member) || this.#stopped) return false;
    this.#sessions.send(member.address, member.port, encodeUser(message));
    return true;
  }

  /** Takes a received datagram. Never throws because of its contents. */
  receivePacket(address: string, port: number, bytes: Uint8Array, now: number): void {
    if (this.#stopped) return;
    this.#now = now;
    this.#count('packets');
    let opened: { plain: Uint8Array; authentic: boolean };
    try {
      opened = openAny(bytes, this.#security);
    } catch (error) {
      if (error instanceof WireError) return this.#refused(error, address, now);
      return this.#count('malformed');
    }
    const { plain, authentic } = opened;
    const credit = new Credit(authentic ? Infinity : bytes.length * MAX_FACTOR);
    const origin: Origin = { address, port, authentic, trusted: false, member: undefined, credit, asked: false };
    this.#identify(origin);
    walk(plain, {
      message: (message) => this.#message(message, origin, now),
      user: (message) => {
        if (origin.trusted) return this.#user(message, now);
        this.#held.add(address, port, message, now);
        this.#stranger(origin, now);
      },
      refused: () => this.#count('malformed'),
    });
  }

  /**
   * Accepts an incoming stream.
   * @param address Of the client: without a key, messages of the application are taken from members' addresses only.
   * @returns the number of the stream; 0 if the caller must close it at once.
   */
  acceptStream(now: number, address = ''): number {
    if (this.#stopped) return 0;
    this.#now = now;
    this.#count('streams');
    const id = this.#sessions.accept(address, now);
    if (id === 0) this.#count('busy');
    return id;
  }

  /** Counts an incoming stream that the host closed at once, because too many are open. */
  refuseStream(): void {
    this.#count('streams');
    this.#count('busy');
  }

  /** Takes bytes from a stream. Never throws because of their contents. */
  streamData(id: number, bytes: Uint8Array, now: number): void {
    this.#now = now;
    this.#sessions.data(id, bytes, now);
  }

  /** A stream could not be opened, broke, or was closed by the other side. */
  streamClosed(id: number, now: number, reason = 'no answer'): void {
    this.#now = now;
    this.#sessions.closed(id, reason, now);
  }

  // ---- Input ----

  #message(message: Message, origin: Origin, now: number): void {
    switch (message.type) {
      case 'ping':
        if (!this.#responder.answer(message, origin, now)) return;
        this.#check(origin, now);
        return this.#lonely.pinged(message, origin, now);
      case 'indirectPing':
        return this.#responder.relay(message, origin, now);
      case 'ack':
        // Its number proves that it comes from one that has the ping.
        if (this.#responder.acknowledged(message.seqNo, now)) return;
        if (this.#verifier.acknowledged(message.seqNo, now)) return this.#identify(origin);
        return this.#prober.acknowledged(message.seqNo, message.payload, now);
      case 'nack':
        return this.#prober.nacked(message.seqNo);
      case 'alive':
        return this.#judged(this.#announced(message, origin, now));
      case 'suspect':
        if (!origin.trusted) return this.#stranger(origin, now);
        return this.#judged(this.#roster.suspect(message, now));
      case 'dead':
        if (!origin.trusted) return this.#stranger(origin, now);
        return this.#judged(this.#roster.dead(message, now));
      default:
        return this.#count('unexpected');
    }
  }

  /**
   * Finds the member that a datagram came from. Again after an answer that verifies one: what follows the answer in the
   * same datagram is that member's.
   */
  #identify(origin: Origin): void {
    origin.member = this.#roster.at(origin.address, origin.port);
    origin.trusted = origin.authentic || origin.member?.verified === true;
  }

  /** A message of the application in a packet. */
  #user(message: Uint8Array, now: number): void {
    if (this.#delegate.receivePacket === undefined) this.#delegate.receive?.(message, now);
    else this.#delegate.receivePacket(message, now);
  }

  /** A message of one that is not known to be a member. If it is at the address of one, it may prove that. */
  #stranger(origin: Origin, now: number): void {
    this.#count('strangers');
    this.#check(origin, now);
  }

  #check({ member, credit }: Origin, now: number): void {
    if (member !== undefined && isLive(member)) this.#verifier.check(member, credit, now);
  }

  /**
   * A datagram announces a member: one that is new here must answer before it is believed. What is known changes only
   * through members.
   */
  #announced(message: Alive, origin: Origin, now: number): Verdict | 'strangers' {
    const alive = message.port === 0 ? { ...message, port: this.self.port } : message;
    const objection = this.#roster.objection(alive);
    if (objection !== null) return objection;
    if (!origin.trusted) this.#check(origin, now);
    const how = { vouched: origin.trusted, keyless: !origin.authentic };
    if (this.#roster.isNews(alive, now)) return this.#verifier.announced(alive, how, origin.credit, now);
    return origin.trusted ? this.#roster.alive(alive, now, how) : 'strangers';
  }

  #refused(error: WireError, address: string, now: number): void {
    this.#count('malformed');
    this.#delegate.refused?.(error, address, now, refusalOf(error));
  }

  #judged(verdict: Verdict | 'strangers'): void {
    if (verdict !== 'taken') this.#count(verdict);
  }

  #request(message: StreamMessage, address: string, reply: (message: Uint8Array) => void, now: number): void {
    switch (message.type) {
      case 'pushPull':
        return this.#exchanges.answer(message, address, reply, now);
      case 'user':
        if (!this.#isKeyed && !this.#roster.hasAddress(address)) return this.#count('strangers');
        return this.#delegate.receive?.(message.payload, now);
      case 'ping':
        if (!this.#responder.isTarget(message)) return;
        return reply(encodeMessage({ type: 'ack', seqNo: message.seqNo, payload: NOTHING }));
      default:
        return this.#count('unexpected');
    }
  }

  #count(name: CountName): void {
    this.#counts.set(name, this.#counts.get(name)! + 1);
  }
}

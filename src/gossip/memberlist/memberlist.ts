import { uint, unsupported, WireError } from '../../wire/index.js';
import { Broadcasts } from './broadcasts.js';
import { LAN, type Timing } from './config.js';
import { pushPullScale } from './formula.js';
import { greatestProtocol, incompatible, isLive, type Entry, type Member } from './member.js';
import {
  addressBytes,
  encodeMessage,
  MAX_META,
  TYPE,
  type IndirectPing,
  type Message,
  type NodeState,
  type Ping,
} from './message.js';
import {
  COMPOUND_HEADER,
  COMPOUND_PART,
  encodeCompound,
  encodePacket,
  MAX_PARTS,
  openPacket,
  packetOverhead,
  walk,
  type Security,
} from './packet.js';
import { refusalOf, type Refusal } from './refusal.js';
import { MAX_NAME, Roster, type Verdict } from './roster.js';
import { Sessions, type StreamSink } from './sessions.js';
import { encodePushPull, encodeUser, type PushPull, type StreamLimits, type StreamMessage } from './stream.js';
import { Timers, type Timer } from './timers.js';

const NOTHING = new Uint8Array(0);
/** The protocol versions from which members answer pings over streams, send nacks, and verify checksums. */
const STREAM_PING = 3;
const NACK = 4;
const CRC = 5;
/** Factor by which a member gossips more often while the application has messages that were never sent. */
const PRESSING = 10;
/** Maximum number of outstanding indirect pings on behalf of other members. */
const MAX_RELAYED = 1024;
/** Maximum number of dead members to reconnect to. */
const MAX_LOST = 1024;

/** The output of a `Memberlist`. */
export interface MemberlistSink extends StreamSink {
  /** Sends a UDP datagram. The sink may keep the bytes. */
  sendPacket(address: string, port: number, bytes: Uint8Array): void;
}

/**
 * The application on top of the cluster. Every method is optional, and may call the machine. Byte arrays are valid only
 * during the call.
 */
export interface Delegate {
  /** A message of the application arrived, in a packet or over a stream. */
  receive?(message: Uint8Array, now: number): void;
  /** Returns messages for a packet with `limit` free octets; each takes `overhead` octets in addition. */
  broadcasts?(overhead: number, limit: number, now: number): Uint8Array[];
  /** Whether some of these messages were never sent: the machine then gossips more often. */
  pressing?(): boolean;
  /** Returns the application's state for another member; `join` if that one or this one is joining. */
  localState?(join: boolean, now: number): Uint8Array;
  /** The application's state of the member at `address` arrived; empty if it has none, or another application. */
  mergeState?(state: Uint8Array, now: number, join: boolean, address: string): void;
  /** Another member joined, or returned. */
  nodeJoined?(member: Member, now: number): void;
  /** Another member is gone: `member.state` is `dead` or `left`. */
  nodeLeft?(name: string, now: number, member: Member): void;
  /** The meta data of another member changed. */
  nodeUpdated?(member: Member, now: number): void;
  /** Traffic from an address was rejected. The source address of a packet may be forged. */
  refused?(error: WireError, address: string, now: number, kind: Refusal): void;
  /** Two members have the same name: this one is known at another address. */
  conflict?(name: string, address: string, now: number): void;
  /** Returns the payload of the answer to a ping. */
  ackPayload?(): Uint8Array;
  /** A member has answered a ping, after this many milliseconds. */
  answered?(member: Member, milliseconds: number, payload: Uint8Array, now: number): void;
}

export interface MemberlistOptions {
  name: string;
  /** The address at which other members reach this one. */
  address: string;
  /** Default 7946. */
  port?: number;
  meta?: Uint8Array;
  /** Minimum, maximum and current version of the protocol, then of the application. Default 1, 5, 2, 0, 0, 0. */
  vsn?: Uint8Array;
  /** Overrides of {@link LAN}. */
  timing?: Partial<Timing>;
  security?: Security;
  /** Whether to compress messages. Default true. */
  compressed?: boolean;
  /** Maximum length of a datagram, in octets. Default 1400. */
  packetSize?: number;
  /** Whether to ping a silent member over a stream, too. Default true. */
  streamPings?: boolean;
  /** How long `members` lists a member that failed, in milliseconds. Default 24 hours. */
  failedMemberLife?: number;
  /** How long a name stays bound to its address after its member died; 0, the default, means forever. */
  deadNodeReclaimTime?: number;
  /** Interval of attempts to reconnect to a dead member; 0, the default, means never. */
  reconnectInterval?: number;
  /** How long to try to reconnect. Default 24 hours. */
  reconnectTimeout?: number;
  /** Maximum number of members, including this one. Default 16,384. */
  maxMembers?: number;
  /** Maximum memory for incomplete messages of all streams, in octets. Default 64 MiB. */
  maxKept?: number;
  limits?: StreamLimits;
  /** Budget for answering streams, as a burst and per second: see {@link WORK}. */
  work?: number;
  workPerSecond?: number;
  /** Returns a random number from 0 up to but not including 1. */
  random: () => number;
}

/** Names of the counters. */
export const COUNTS = [
  'packets',
  'streams',
  'malformed', // packets, parts of them, and streams
  'unexpected', // messages that are not valid in their context
  'unknown', // accusations of unknown members
  'old', // already known
  'invalid',
  'conflict', // a name with another address
  'full',
  'unbelievable', // accusations that could not be refuted
  'busy', // streams beyond the limits of number or work
  'relays-full',
  'incompatible',
  'probes',
  'probes-failed',
  'refuted',
] as const;
export type CountName = (typeof COUNTS)[number];

/** The result of a join. */
export interface Joined {
  /** Number of addresses that answered. */
  reached: number;
  /** Why the others failed, as far as known. */
  failures: string[];
}

interface Probe {
  readonly member: Entry;
  readonly seqNo: number;
  readonly sent: number;
  /** Number of members that should send a nack if they get no answer, and of those that did. */
  nacksExpected: number;
  nacks: number;
  timer: Timer | null;
}

interface Relay {
  readonly address: string;
  readonly port: number;
  readonly seqNo: number;
  readonly timer: Timer;
}

/**
 * A member of a cluster with memberlist's protocol: SWIM (Das, Gupta and Motivala, 2002) with Lifeguard (Dadgar,
 * Phillips and Currey, 2018). A machine: its inputs are packets, streams and the time, its output goes to a sink. The
 * caller must call `wake` at `due`.
 */
export class Memberlist {
  readonly timing: Timing;
  readonly #options: MemberlistOptions;
  readonly #security: Security;
  readonly #sink: MemberlistSink;
  readonly #delegate: Delegate;
  readonly #timers = new Timers();
  readonly #broadcasts: Broadcasts;
  readonly #roster: Roster;
  readonly #sessions: Sessions;
  readonly #packetSize: number;
  readonly #overhead: number;
  readonly #counts = new Map<CountName, number>(COUNTS.map((name) => [name, 0]));
  /** Pings on behalf of other members, by their sequence number here. */
  readonly #relays = new Map<number, Relay>();
  /** Dead members to reconnect to. */
  readonly #lost = new Map<string, { address: string; port: number; since: number; called: boolean }>();
  #probe: Probe | null = null;
  #seqNo = 0;
  /** When a ping may next cause an exchange: see `#returnTo`. */
  #returnsAfter = -Infinity;
  #score = 0;
  #now: number;
  #stopped = false;

  /** @throws RangeError for an invalid name, address, port or meta data. */
  constructor(options: MemberlistOptions, sink: MemberlistSink, delegate: Delegate, now: number) {
    const { name, address, port = 7946, meta = NOTHING, vsn = Uint8Array.of(1, 5, 2, 0, 0, 0) } = options;
    if (name === '' || name.length > MAX_NAME)
      throw new RangeError(`a member's name must have 1 to ${MAX_NAME} characters, not ${name.length}`);
    if (vsn.length !== 6) throw new RangeError(`memberlist.vsn must have 6 octets, not ${vsn.length}`);
    if (addressBytes(address).length === 0) throw new RangeError('memberlist.address must not be empty');
    uint('memberlist.port', port, 0xffff);
    uint('memberlist.meta', meta.length, MAX_META);
    this.timing = { ...LAN, ...options.timing };
    this.#options = options;
    this.#security = options.security ?? {};
    this.#sink = sink;
    this.#delegate = delegate;
    this.#now = now;
    this.#packetSize = options.packetSize ?? 1400;
    this.#overhead = packetOverhead(this.#security);
    this.#broadcasts = new Broadcasts(this.timing.retransmitMult);
    const { random, deadNodeReclaimTime = 0, failedMemberLife = 86_400_000, maxMembers = 16_384 } = options;
    this.#roster = new Roster(
      {
        name,
        address,
        port,
        meta,
        vsn,
        timing: this.timing,
        deadNodeReclaimTime,
        failedMemberLife,
        maxMembers,
        random,
      },
      {
        broadcast: (about, message, finished) => this.#broadcasts.put(about, message, finished),
        joined: (member, then) => {
          this.#lost.delete(member.name);
          this.#delegate.nodeJoined?.(member, then);
        },
        updated: (member, then) => this.#delegate.nodeUpdated?.(member, then),
        left: (member, then) => this.#gone(member, then),
        conflict: (name, address, then) => this.#delegate.conflict?.(name, address, then),
        refuted: () => {
          this.#count('refuted');
          this.#aware(1);
        },
      },
      this.#timers,
      now,
    );
    this.#sessions = new Sessions(
      {
        security: this.#security,
        compressed: options.compressed ?? true,
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
    );
    const { probeInterval, gossipInterval, pushPullInterval } = this.timing;
    this.#timers.set(now + random() * probeInterval, (then) => this.#startProbe(then));
    this.#timers.set(now + random() * gossipInterval, (then) => this.#gossip(then));
    if (pushPullInterval > 0) this.#timers.set(now + random() * pushPullInterval, (then) => this.#pushPullRound(then));
    const { reconnectInterval = 0 } = options;
    if (reconnectInterval > 0) this.#timers.set(now + random() * reconnectInterval, (then) => this.#reconnect(then));
  }

  /** When `wake` must be called next; `Infinity` after `stop`. */
  get due(): number {
    return this.#stopped ? Infinity : this.#timers.next;
  }

  /** Performs everything that is due. */
  wake(now: number): void {
    this.#now = now;
    if (!this.#stopped) this.#timers.run(now);
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
    return this.#score;
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
      relays: this.#relays.size,
    };
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
    const joined: Joined = { reached: 0, failures: [] };
    let open = addresses.length;
    if (open === 0) done?.(joined);
    for (const { address, port } of addresses)
      this.#joinExchange(address, port, now, (failure) => {
        if (failure === null) joined.reached++;
        else joined.failures.push(`${address}: ${failure}`);
        if (--open === 0) done?.(joined);
      });
  }

  /** Exchanges the whole state with the member at an address; need not succeed. */
  contact(address: string, port: number, now = this.#now): void {
    this.#joinExchange(address, port, now, () => undefined);
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
    if (this.#spread(now)) this.#timers.set(now + this.timing.gossipInterval, announceLeave);
    else announceLeave(now);
  }

  /** Stops at once, without a message. Afterwards nothing is due, and all input is ignored. */
  stop(): void {
    this.#stopped = true;
    this.#sessions.clear();
    this.#timers.clear();
    this.#relays.clear();
  }

  /** Announces new meta data to all members. @throws RangeError for more than 512 octets. */
  updateMeta(meta: Uint8Array, now: number): void {
    this.#now = now;
    uint('memberlist.meta', meta.length, MAX_META);
    this.#roster.update(meta);
  }

  /** Sends a message of the application in one packet, which may be lost. @returns whether the member is known. */
  sendPacket(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || this.#stopped) return false;
    this.#transmit(member.address, member.port, prefixed(TYPE.user, message), member);
    return true;
  }

  /** Sends a message of the application over a stream. @returns whether the member is known. */
  sendReliable(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || this.#stopped) return false;
    this.#sessions.send(member.address, member.port, encodeUser(message));
    return true;
  }

  /** Takes a received datagram. Never throws because of its contents. */
  receivePacket(address: string, port: number, bytes: Uint8Array, now: number): void {
    if (this.#stopped) return;
    this.#now = now;
    this.#count('packets');
    let plain: Uint8Array;
    try {
      plain = openPacket(bytes, this.#security);
    } catch (error) {
      if (error instanceof WireError) return this.#refused(error, address, now);
      return this.#count('malformed');
    }
    walk(plain, {
      message: (message) => this.#message(message, address, port, now),
      user: (message) => this.#delegate.receive?.(message, now),
      refused: () => this.#count('malformed'),
    });
  }

  /**
   * Accepts an incoming stream.
   * @param address Of the client, for reports.
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

  // Incoming messages

  #message(message: Message, address: string, port: number, now: number): void {
    switch (message.type) {
      case 'ping':
        return this.#answer(message, address, port, now);
      case 'indirectPing':
        return this.#relay(message, address, port, now);
      case 'ack':
        return this.#acknowledged(message.seqNo, message.payload, now);
      case 'nack':
        if (this.#probe !== null && this.#probe.seqNo === message.seqNo) this.#probe.nacks++;
        return;
      case 'alive':
        return this.#judged(this.#roster.alive(message, now));
      case 'suspect':
        return this.#judged(this.#roster.suspect(message, now));
      case 'dead':
        return this.#judged(this.#roster.dead(message, now));
      default:
        return this.#count('unexpected');
    }
  }

  #refused(error: WireError, address: string, now: number): void {
    this.#count('malformed');
    this.#delegate.refused?.(error, address, now, refusalOf(error));
  }

  #judged(verdict: Verdict): void {
    if (verdict !== 'taken') this.#count(verdict);
  }

  #answer(ping: Ping, address: string, port: number, now: number): void {
    if (ping.node !== '' && ping.node !== this.#roster.self.name) return;
    const payload = this.#delegate.ackPayload?.() ?? NOTHING;
    this.#reply(ping, address, port, { type: 'ack', seqNo: ping.seqNo, payload });
    this.#returnTo(ping, address, port, now);
  }

  /**
   * Exchanges the whole state with a prober if no other member is known. This happens if a process restarts before the
   * others notice, and has no member to join. Without the exchange it would know no one until the next periodic exchange
   * of another member, up to 30 s later.
   */
  #returnTo(ping: Ping, address: string, port: number, now: number): void {
    if (now < this.#returnsAfter || this.#roster.leaving) return;
    this.#returnsAfter = now + this.timing.probeInterval;
    if (this.#roster.all().some((member) => member !== this.#roster.self && isLive(member))) return;
    const named = ping.sourceAddr !== '' && ping.sourcePort !== 0;
    this.contact(named ? ping.sourceAddr : address, named ? ping.sourcePort : port, now);
  }

  /** Answers to the address in the ping, or else to its source. */
  #reply(ping: Ping | IndirectPing, address: string, port: number, message: Message): void {
    if (ping.sourceAddr !== '' && ping.sourcePort !== 0) this.#send(ping.sourceAddr, ping.sourcePort, message);
    else this.#send(address, port, message);
  }

  #relay(ask: IndirectPing, address: string, port: number, now: number): void {
    if (ask.target === '') return this.#count('invalid');
    if (this.#relays.size >= MAX_RELAYED) return this.#count('relays-full');
    const seqNo = this.#nextSeqNo();
    const back = ask.sourceAddr !== '' && ask.sourcePort !== 0;
    const timer = this.#timers.set(now + this.timing.probeTimeout, () => {
      this.#relays.delete(seqNo);
      if (ask.nack) this.#reply(ask, address, port, { type: 'nack', seqNo: ask.seqNo });
    });
    this.#relays.set(seqNo, {
      address: back ? ask.sourceAddr : address,
      port: back ? ask.sourcePort : port,
      seqNo: ask.seqNo,
      timer,
    });
    this.#send(ask.target, ask.port === 0 ? this.#roster.self.port : ask.port, this.#ping(ask.node, seqNo));
  }

  #acknowledged(seqNo: number, payload: Uint8Array, now: number): void {
    const relay = this.#relays.get(seqNo);
    if (relay !== undefined) {
      this.#relays.delete(seqNo);
      this.#timers.cancel(relay.timer);
      this.#send(relay.address, relay.port, { type: 'ack', seqNo: relay.seqNo, payload: NOTHING });
      return;
    }
    const probe = this.#probe;
    if (probe === null || probe.seqNo !== seqNo) return;
    this.#delegate.answered?.(probe.member, now - probe.sent, payload, now);
    this.#endProbe(probe, true, now);
  }

  // Probes

  #nextSeqNo(): number {
    this.#seqNo = (this.#seqNo + 1) % 0x1_0000_0000;
    return this.#seqNo;
  }

  #ping(node: string, seqNo: number): Ping {
    const { name, address, port } = this.#roster.self;
    return { type: 'ping', node, seqNo, sourceAddr: address, sourcePort: port, sourceNode: name };
  }

  #startProbe(now: number): void {
    const member = this.#roster.next(now);
    if (member === null) {
      this.#timers.set(now + this.timing.probeInterval, (then) => this.#startProbe(then));
      return;
    }
    this.#count('probes');
    const seqNo = this.#nextSeqNo();
    const probe: Probe = { member, seqNo, sent: now, nacksExpected: 0, nacks: 0, timer: null };
    this.#probe = probe;
    const deadline = now + this.timing.probeInterval * (this.#score + 1);
    probe.timer = this.#timers.set(now + this.timing.probeTimeout, (then) =>
      this.#probeIndirectly(probe, deadline, then),
    );
    const ping = this.#ping(member.name, seqNo);
    if (member.state === 'alive') return this.#send(member.address, member.port, ping);
    // The suspect must learn of the suspicion, so that it can refute it.
    const { name: node, incarnation } = member;
    const suspect = encodeMessage({ type: 'suspect', incarnation, node, from: this.#roster.self.name });
    this.#transmit(member.address, member.port, encodeCompound([encodeMessage(ping), suspect]), member);
  }

  #probeIndirectly(probe: Probe, deadline: number, now: number): void {
    const { member, seqNo } = probe;
    probe.timer = this.#timers.set(Math.max(now, deadline), (then) => this.#endProbe(probe, false, then));
    const { name: sourceNode, address: sourceAddr, port: sourcePort } = this.#roster.self;
    const others = this.#roster.pick(
      this.timing.indirectChecks,
      (other) => other !== member && other.state === 'alive',
    );
    for (const other of others) {
      const nack = greatestProtocol(other) >= NACK;
      if (nack) probe.nacksExpected++;
      const { name: node, address: target, port } = member;
      const ask = {
        type: 'indirectPing',
        seqNo,
        target,
        port,
        node,
        nack,
        sourceAddr,
        sourcePort,
        sourceNode,
      } as const;
      this.#send(other.address, other.port, ask);
    }
    if (this.#options.streamPings === false || greatestProtocol(member) < STREAM_PING) return;
    const ping = encodeMessage(this.#ping(member.name, seqNo));
    this.#sessions.ask(
      member.address,
      member.port,
      ping,
      deadline,
      (answer, then) => {
        if (answer?.type === 'ack' && answer.seqNo === seqNo) this.#endProbe(probe, true, then);
      },
      now,
    );
  }

  #endProbe(probe: Probe, answered: boolean, now: number): void {
    if (this.#probe !== probe) return;
    this.#probe = null;
    this.#timers.cancel(probe.timer);
    this.#timers.set(Math.max(now, probe.sent + this.timing.probeInterval), (then) => this.#startProbe(then));
    if (answered) return this.#aware(-1);
    this.#count('probes-failed');
    const { nacksExpected: expected, nacks } = probe;
    this.#aware(expected > 0 ? Math.max(0, expected - nacks) : 1);
    const { name: node, incarnation } = probe.member;
    this.#judged(this.#roster.suspect({ type: 'suspect', incarnation, node, from: this.#roster.self.name }, now, true));
  }

  #aware(change: number): void {
    this.#score = Math.min(this.timing.awarenessMax - 1, Math.max(0, this.#score + change));
  }

  // Gossip

  #gossip(now: number): void {
    const { gossipInterval } = this.timing;
    const pressing = this.#spread(now) && this.#delegate.pressing?.() === true;
    this.#timers.set(now + (pressing ? gossipInterval / PRESSING : gossipInterval), (then) => this.#gossip(then));
  }

  /** Sends queued messages to some members. @returns whether there were any messages. */
  #spread(now: number): boolean {
    const { gossipNodes, gossipToTheDeadTime } = this.timing;
    const fits = (member: Entry): boolean =>
      isLive(member) || (member.state === 'dead' && now - member.since <= gossipToTheDeadTime);
    // Picks one member at a time, because there is usually nothing to send.
    const receivers: Entry[] = [];
    while (receivers.length < gossipNodes) {
      const [member] = this.#roster.pick(1, (one) => fits(one) && !receivers.includes(one));
      if (member === undefined) break;
      const messages = this.#take(this.#packetSize - COMPOUND_HEADER - this.#overhead);
      if (messages.length === 0) break;
      receivers.push(member);
      const { address, port } = member;
      if (messages.length === 1) this.#transmit(address, port, messages[0]!, member);
      else
        for (let at = 0; at < messages.length; at += MAX_PARTS)
          this.#transmit(address, port, encodeCompound(messages.slice(at, at + MAX_PARTS)), member);
    }
    return receivers.length > 0;
  }

  /** Takes queued broadcasts for one packet with this much room, own messages first. */
  #take(room: number): Uint8Array[] {
    const messages = this.#broadcasts.take(room, COMPOUND_PART, this.#roster.size);
    if (this.#delegate.broadcasts === undefined) return messages;
    const overhead = COMPOUND_PART + 1;
    let left = messages.reduce((rest, message) => rest - message.length - COMPOUND_PART, room);
    if (left <= overhead) return messages;
    for (const message of this.#delegate.broadcasts(overhead, left, this.#now)) {
      left -= message.length + overhead;
      if (left < 0) break;
      messages.push(prefixed(TYPE.user, message));
    }
    return messages;
  }

  /** Sends a message together with as many queued broadcasts as fit. */
  #send(address: string, port: number, message: Message): void {
    const bytes = encodeMessage(message);
    const room = this.#packetSize - bytes.length - COMPOUND_PART - COMPOUND_HEADER - this.#overhead;
    const piggybacked = this.#take(room).slice(0, MAX_PARTS - 1);
    this.#transmit(address, port, piggybacked.length === 0 ? bytes : encodeCompound([bytes, ...piggybacked]), null);
  }

  /** @param member The receiver, if known: packets to one that supports it have a checksum. */
  #transmit(address: string, port: number, bytes: Uint8Array, member: Entry | null): void {
    const compressed = this.#options.compressed ?? true;
    const checksum = member !== null && greatestProtocol(member) >= CRC;
    this.#sink.sendPacket(address, port, encodePacket(bytes, this.#security, { compressed, checksum }));
  }

  // The whole state

  #pushPullRound(now: number): void {
    const period = this.timing.pushPullInterval * pushPullScale(this.#roster.size);
    this.#timers.set(now + period, (then) => this.#pushPullRound(then));
    const [member] = this.#roster.pick(1, (one) => one.state === 'alive');
    if (member !== undefined) this.#exchange(member.address, member.port, false, now, () => undefined);
  }

  #state(join: boolean, now: number): Uint8Array {
    const userState = this.#delegate.localState?.(join, now) ?? NOTHING;
    return encodePushPull({ type: 'pushPull', join, nodes: this.#roster.state(), userState });
  }

  /**
   * Exchanges the whole state to join. A member that still considers this one dead, because of its former process, does
   * not accept its state. A second exchange then announces that it is alive, because packets may be late or lost.
   */
  #joinExchange(address: string, port: number, now: number, done: (failure: string | null) => void): void {
    const { incarnation } = this.#roster.self;
    this.#exchange(address, port, true, now, (failure, then) => {
      if (failure !== null || this.#roster.self.incarnation === incarnation) done(failure);
      else this.#exchange(address, port, true, then, done);
    });
  }

  #exchange(
    address: string,
    port: number,
    join: boolean,
    now: number,
    done: (failure: string | null, now: number) => void,
  ): void {
    if (this.#stopped) return done('this member has stopped', now);
    const failed = (answer: StreamMessage | null, failure: string): string => {
      if (answer === null) return failure;
      return answer.type === 'err' ? answer.error : `unexpected answer of type ${answer.type}`;
    };
    this.#sessions.ask(
      address,
      port,
      this.#state(join, now),
      now + this.timing.streamTimeout,
      (answer, then, failure) => {
        if (answer?.type !== 'pushPull') return done(failed(answer, failure), then);
        done(this.#merge(answer, address, then), then);
      },
      now,
    );
  }

  /** Merges the state of another member. @returns the reason if it rejects the state. */
  #merge(remote: PushPull, address: string, now: number): string | null {
    const trouble = incompatible(remote.nodes, this.#roster.all());
    if (trouble !== null) {
      this.#count('incompatible');
      this.#delegate.refused?.(unsupported('memberlist', 0, trouble), address, now, 'version');
      return trouble;
    }
    for (const verdict of this.#roster.merge(remote.nodes, now)) this.#judged(verdict);
    // A request of a program that is not a member contains no members.
    if (remote.nodes.length > 0 || remote.userState.length > 0)
      this.#delegate.mergeState?.(remote.userState, now, remote.join, address);
    return null;
  }

  #request(message: StreamMessage, address: string, reply: (message: Uint8Array) => void, now: number): void {
    switch (message.type) {
      case 'pushPull':
        reply(this.#state(message.join, now)); // the state before the merge
        this.#merge(message, address, now);
        return;
      case 'user':
        return this.#delegate.receive?.(message.payload, now);
      case 'ping':
        if (message.node !== '' && message.node !== this.#roster.self.name) return;
        return reply(encodeMessage({ type: 'ack', seqNo: message.seqNo, payload: NOTHING }));
      default:
        return this.#count('unexpected');
    }
  }

  // Members that are gone

  #gone(member: Member, now: number): void {
    if (member.state === 'dead' && (this.#options.reconnectInterval ?? 0) > 0 && this.#lost.size < MAX_LOST)
      this.#lost.set(member.name, { address: member.address, port: member.port, since: now, called: false });
    this.#delegate.nodeLeft?.(member.name, now, member);
  }

  #reconnect(now: number): void {
    const { reconnectInterval = 0, reconnectTimeout = 86_400_000, random } = this.#options;
    this.#timers.set(now + reconnectInterval, (then) => this.#reconnect(then));
    for (const [name, { since }] of this.#lost) if (now - since > reconnectTimeout) this.#lost.delete(name);
    const idle = [...this.#lost.values()].filter((one) => !one.called);
    const one = idle[Math.floor(random() * idle.length)];
    if (one === undefined) return;
    one.called = true;
    this.#exchange(one.address, one.port, false, now, () => {
      one.called = false;
    });
  }

  #count(name: CountName): void {
    this.#counts.set(name, this.#counts.get(name)! + 1);
  }
}

function prefixed(type: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(1 + bytes.length);
  out[0] = type;
  out.set(bytes, 1);
  return out;
}

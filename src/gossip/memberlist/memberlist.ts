import { uint, unsupported, WireError } from '../../wire/index.js';
import { Broadcasts } from './broadcasts.js';
import { LAN, type Timing } from './config.js';
import { pushPullScale } from './formula.js';
import { greatestProtocol, incompatible, isThere, type Entry, type Member } from './member.js';
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
/** From these versions on, members answer a stream's ping, send a nack, and read a checksum. */
const STREAM_PING = 3;
const NACK = 4;
const CRC = 5;
/** How many times as often a member gossips while messages of the application have not been sent at all. */
const PRESSING = 10;
/** Pings for others that are waited for at most. */
const MAX_RELAYED = 1024;
/** Members that died and are called again, at most. */
const MAX_LOST = 1024;

/** Where a `Memberlist` puts what it sends. */
export interface MemberlistSink extends StreamSink {
  /** A UDP datagram. The bytes are the sink's to keep. */
  sendPacket(address: string, port: number, bytes: Uint8Array): void;
}

/**
 * What rides on the cluster. All of it may be absent, and may call the machine back. Bytes are the delegate's during the
 * call only.
 */
export interface Delegate {
  /** A message of the application has come, by packet or by stream. */
  receive?(message: Uint8Array, now: number): void;
  /** Messages to ride on a packet that has room for `limit` octets, where each takes `overhead` on top. */
  broadcasts?(overhead: number, limit: number, now: number): Uint8Array[];
  /** Whether some of these have not been sent at all: they go soon, and not only with the next gossip. */
  pressing?(): boolean;
  /** The application's state, for another member; `join` where that one or this one is joining. */
  localState?(join: boolean, now: number): Uint8Array;
  /** The application's state of the member at `address`; empty where its application has none, or is another one. */
  mergeState?(state: Uint8Array, now: number, join: boolean, address: string): void;
  /** Another member is there, for the first time or again. */
  nodeJoined?(member: Member, now: number): void;
  /** Another member is gone: `member.state` says whether it is dead or has left. */
  nodeLeft?(name: string, now: number, member: Member): void;
  /** Another member's meta data has changed. */
  nodeUpdated?(member: Member, now: number): void;
  /** Traffic from an address is refused. A packet's source address may be forged. */
  refused?(error: WireError, address: string, now: number, kind: Refusal): void;
  /** Two members have one name: this one is known at another address. */
  conflict?(name: string, address: string, now: number): void;
  /** What goes with the answer to a ping. */
  ackPayload?(): Uint8Array;
  /** A member has answered a ping, after so many milliseconds. */
  answered?(member: Member, milliseconds: number, payload: Uint8Array, now: number): void;
}

export interface MemberlistOptions {
  name: string;
  /** Where others reach this member. */
  address: string;
  /** Default 7946. */
  port?: number;
  meta?: Uint8Array;
  /** Versions: least, greatest, present of the protocol, then of the application. Default 1, 5, 2, 0, 0, 0. */
  vsn?: Uint8Array;
  /** Over those of {@link LAN}. */
  timing?: Partial<Timing>;
  security?: Security;
  /** Whether what is sent is compressed. Default true. */
  compressed?: boolean;
  /** Octets of a datagram at most. Default 1400. */
  packetSize?: number;
  /** Whether a member that is silent is asked by stream too. Default true. */
  streamPings?: boolean;
  /** How long `members` lists a member that failed, in milliseconds. Default 24 hours. */
  failedMemberLife?: number;
  /** How long a name stays with its address after its member died; 0, the default, for ever. */
  deadNodeReclaimTime?: number;
  /** How often one of the members that died is called; 0, the default, for never. */
  reconnectInterval?: number;
  /** How long that is tried. Default 24 hours. */
  reconnectTimeout?: number;
  /** Members at most, oneself included. Default 16,384. */
  maxMembers?: number;
  /** Octets at most that streams keep of messages that are not whole, all together. Default 64 MiB. */
  maxKept?: number;
  limits?: StreamLimits;
  /** What answering streams may cost at once, and a second: see {@link WORK}. */
  work?: number;
  workPerSecond?: number;
  /** A number from 0 up to but not including 1, another one each time. */
  random: () => number;
}

/** What is counted. */
export const COUNTS = [
  'packets',
  'streams',
  'malformed', // packets, parts of them, and streams
  'unexpected', // messages that make no sense where they came
  'unknown', // accusations of members that are not known
  'old', // what was known already
  'invalid',
  'conflict', // a name with another address
  'full',
  'unbelievable', // accusations that nobody could refute
  'busy', // streams that were too many, or too much work
  'relays-full',
  'incompatible',
  'probes',
  'probes-failed',
  'refuted',
] as const;
export type CountName = (typeof COUNTS)[number];

/** What became of a join. */
export interface Joined {
  /** How many of the addresses answered. */
  reached: number;
  /** Why the others did not serve, as far as one knows. */
  failures: string[];
}

interface Probe {
  readonly member: Entry;
  readonly seqNo: number;
  readonly sent: number;
  /** Members that are to say so where they get no answer either, and those that did. */
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
 * A member of a cluster that keeps its list of members by memberlist's protocol: SWIM (Das, Gupta and Motivala, 2002)
 * with Lifeguard (Dadgar, Phillips and Currey, 2018). A machine: it is told of packets, streams and the time, and answers
 * through its sink. It is to be woken at `due`.
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
  /** Pings sent for others, by their number here. */
  readonly #relays = new Map<number, Relay>();
  /** Members that died, to be called again. */
  readonly #lost = new Map<string, { address: string; port: number; since: number; called: boolean }>();
  #probe: Probe | null = null;
  #seqNo = 0;
  /** When a ping may next cause an exchange: see `#returnTo`. */
  #returnsAfter = -Infinity;
  #score = 0;
  #now: number;
  #stopped = false;

  /** @throws RangeError for a name, address, port or meta data that cannot be. */
  constructor(options: MemberlistOptions, sink: MemberlistSink, delegate: Delegate, now: number) {
    const { name, address, port = 7946, meta = NOTHING, vsn = Uint8Array.of(1, 5, 2, 0, 0, 0) } = options;
    if (name === '' || name.length > MAX_NAME)
      throw new RangeError(`a member's name has 1 to ${MAX_NAME} characters, not ${name.length}`);
    if (vsn.length !== 6) throw new RangeError(`memberlist.vsn has 6 octets, not ${vsn.length}`);
    if (addressBytes(address).length === 0) throw new RangeError('a member has an address');
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

  /** When it is to be woken; `Infinity` once it has stopped. */
  get due(): number {
    return this.#stopped ? Infinity : this.#timers.next;
  }

  /** Does what is due. */
  wake(now: number): void {
    this.#now = now;
    if (!this.#stopped) this.#timers.run(now);
  }

  /** Oneself as others see it. */
  get self(): Member {
    return this.#roster.self;
  }

  /** All known members, this one included; those that left lately, and those that failed within `failedMemberLife`. */
  members(): readonly Member[] {
    return this.#roster.listing(this.#now);
  }

  /** A member that the protocol knows; it forgets one that is gone after `gossipToTheDeadTime`. */
  member(name: string): Member | undefined {
    return this.#roster.get(name);
  }

  /** How much this member doubts itself, from 0: it probes more slowly the more it does. */
  get awareness(): number {
    return this.#score;
  }

  counters(): Record<CountName, number> {
    return Object.fromEntries(this.#counts) as Record<CountName, number>;
  }

  /** What is kept at the moment: bounded all of it. */
  sizes(): { members: number; broadcasts: number; streams: number; streamOctets: number; relays: number } {
    return {
      members: this.#roster.size,
      broadcasts: this.#broadcasts.size,
      streams: this.#sessions.size,
      streamOctets: this.#sessions.kept,
      relays: this.#relays.size,
    };
  }

  /** What is known of all members, for `restore` in another run. */
  state(): NodeState[] {
    return this.#roster.state();
  }

  /**
   * Begins with what an earlier run knew: members that lived then are taken to live, and the delegate is told of them, but
   * no other member. Probes find out who is gone. What it says of this member itself counts as if another one said so.
   */
  restore(nodes: readonly NodeState[], now: number): void {
    this.#now = now;
    for (const verdict of this.#roster.restore(nodes, now)) this.#judged(verdict);
  }

  /** Calls members of a cluster to become one too; `done` is told when all have answered, or had time to. */
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

  /** Exchanges the whole state with whoever is at that address; need not succeed. */
  contact(address: string, port: number, now = this.#now): void {
    this.#joinExchange(address, port, now, () => undefined);
  }

  /**
   * Says farewell. What waits to be told goes first, and the death a gossip interval later: a layer above takes a member
   * whose death it hears of before its farewell there for one that failed. It goes on until `stop`.
   * @param timeout Milliseconds from the death on after which it is done in any case.
   * @param done Says when everybody should have heard.
   */
  leave(now: number, timeout = 1000, done?: () => void): void {
    this.#now = now;
    if (this.#roster.leaving) return;
    this.#roster.leave(now);
    let told = false;
    const finish = (): void => {
      if (!told) done?.();
      told = true;
    };
    const farewell = (then: number): void => {
      this.#roster.farewell(finish);
      if (this.#roster.all().some((member) => member !== this.#roster.self && isThere(member)))
        this.#timers.set(then + timeout, finish);
      else finish();
    };
    if (this.#spread(now)) this.#timers.set(now + this.timing.gossipInterval, farewell);
    else farewell(now);
  }

  /** Ends at once and says nothing: nothing is due any more, and nothing that comes is looked at. */
  stop(): void {
    this.#stopped = true;
    this.#sessions.clear();
    this.#timers.clear();
    this.#relays.clear();
  }

  /** Tells everybody of new meta data. @throws RangeError for more than 512 octets. */
  updateMeta(meta: Uint8Array, now: number): void {
    this.#now = now;
    uint('memberlist.meta', meta.length, MAX_META);
    this.#roster.update(meta);
  }

  /** Sends a message of the application to a member by one packet, which may be lost. Says whether it is known. */
  sendPacket(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || this.#stopped) return false;
    this.#transmit(member.address, member.port, prefixed(TYPE.user, message), member);
    return true;
  }

  /** Sends a message of the application to a member by a stream. Says whether it is known. */
  sendReliable(node: string, message: Uint8Array): boolean {
    const member = this.#roster.get(node);
    if (member === undefined || this.#stopped) return false;
    this.#sessions.tell(member.address, member.port, encodeUser(message));
    return true;
  }

  /** A datagram has come. Never throws for what is in it. */
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
   * Somebody has dialled.
   * @param address Of whoever did, to tell of.
   * @returns the number of the stream; 0 where it is to be closed at once.
   */
  acceptStream(now: number, address = ''): number {
    if (this.#stopped) return 0;
    this.#now = now;
    this.#count('streams');
    const id = this.#sessions.accept(address, now);
    if (id === 0) this.#count('busy');
    return id;
  }

  /** Bytes have come by a stream. Never throws for what is in them. */
  streamData(id: number, bytes: Uint8Array, now: number): void {
    this.#now = now;
    this.#sessions.data(id, bytes, now);
  }

  /** A stream could not be opened, broke, or was closed by the other side. */
  streamClosed(id: number, now: number, reason = 'no answer'): void {
    this.#now = now;
    this.#sessions.closed(id, reason, now);
  }

  // What comes

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
   * Exchanges the whole state with a prober if no other member is known. This process has then restarted before the others
   * missed it, and joined nobody: they would not contact it before their next periodic exchange, up to 30 s later.
   */
  #returnTo(ping: Ping, address: string, port: number, now: number): void {
    if (now < this.#returnsAfter || this.#roster.leaving) return;
    this.#returnsAfter = now + this.timing.probeInterval;
    if (this.#roster.all().some((member) => member !== this.#roster.self && isThere(member))) return;
    const named = ping.sourceAddr !== '' && ping.sourcePort !== 0;
    this.contact(named ? ping.sourceAddr : address, named ? ping.sourcePort : port, now);
  }

  /** Answers to where the ping says, or else to where it came from. */
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
    // Who is suspected is to hear of it, so that it can refute.
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

  /** Tells some members what waits to be told, and says whether there was anything. */
  #spread(now: number): boolean {
    const { gossipNodes, gossipToTheDeadTime } = this.timing;
    const fits = (member: Entry): boolean =>
      isThere(member) || (member.state === 'dead' && now - member.since <= gossipToTheDeadTime);
    // One at a time, as there is mostly nothing to tell.
    const told: Entry[] = [];
    while (told.length < gossipNodes) {
      const [member] = this.#roster.pick(1, (one) => fits(one) && !told.includes(one));
      if (member === undefined) break;
      const messages = this.#take(this.#packetSize - COMPOUND_HEADER - this.#overhead);
      if (messages.length === 0) break;
      told.push(member);
      const { address, port } = member;
      if (messages.length === 1) this.#transmit(address, port, messages[0]!, member);
      else
        for (let at = 0; at < messages.length; at += MAX_PARTS)
          this.#transmit(address, port, encodeCompound(messages.slice(at, at + MAX_PARTS)), member);
    }
    return told.length > 0;
  }

  /** Takes what is to be told to everybody, own messages first, for one packet with so much room. */
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

  /** Sends a message, and with it what is to be told to everybody, as far as there is room. */
  #send(address: string, port: number, message: Message): void {
    const bytes = encodeMessage(message);
    const room = this.#packetSize - bytes.length - COMPOUND_PART - COMPOUND_HEADER - this.#overhead;
    const riders = this.#take(room).slice(0, MAX_PARTS - 1);
    this.#transmit(address, port, riders.length === 0 ? bytes : encodeCompound([bytes, ...riders]), null);
  }

  /** @param member Where it goes, if that is known: then a checksum goes with it. */
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
   * Exchanges the whole state to join. Who takes this member for gone, under this name in an earlier life, does not take up
   * what it says; so it says by another exchange that it is there, and not only by packets, which come late or never.
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
      return answer.type === 'err' ? answer.error : `an answer of type ${answer.type}`;
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

  /** Takes in what another member knows. @returns why not. */
  #merge(remote: PushPull, address: string, now: number): string | null {
    const trouble = incompatible(remote.nodes, this.#roster.all());
    if (trouble !== null) {
      this.#count('incompatible');
      this.#delegate.refused?.(unsupported('memberlist', 0, trouble), address, now, 'version');
      return trouble;
    }
    for (const verdict of this.#roster.merge(remote.nodes, now)) this.#judged(verdict);
    // A question of a program that is no member names no members.
    if (remote.nodes.length > 0 || remote.userState.length > 0)
      this.#delegate.mergeState?.(remote.userState, now, remote.join, address);
    return null;
  }

  #request(message: StreamMessage, address: string, reply: (message: Uint8Array) => void, now: number): void {
    switch (message.type) {
      case 'pushPull':
        reply(this.#state(message.join, now)); // what was known before
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

  // Who is gone

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

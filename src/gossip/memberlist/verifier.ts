import type { Credit } from './budgets.js';
import type { Timing } from './config.js';
import { announcementOf, isLive, type Entry } from './member.js';
import type { Alive, Message } from './message.js';
import type { Outbox } from './outbox.js';
import type { Pings } from './pings.js';
import type { Announcement, Roster, Verdict } from './roster.js';
import type { Timers } from './timers.js';

/** Maximum number of pings whose answers are awaited, and so of announced members that are not in the roster yet. */
export const MAX_CHECKS = 1024;
/** Number of members from a state to ping at once, at the address that it came from. */
const FIRST = 4;
/** Interval in milliseconds between pings to other members, and number of these in each, by who announced them. */
const INTERVAL = 200;
const BATCH = { vouched: 32, strangers: 8 };
/**
 * Number of pings to a member, each a second after the last one at the earliest. One that a stranger announced is then
 * removed; any other is left to the probes.
 */
const ASKS = 6;
/** Maximum number of members that wait for their turn in each queue. */
const MAX_QUEUE = 16_384;

/** A ping whose answer proves that a node is at an address. */
interface Check {
  readonly until: number;
  /** The announcement of a member that is not in the roster; `null` for a member that is, or a prober. */
  announced: Alive | null;
  how: Announcement;
  /** Called with the answer. */
  readonly proved: (now: number) => void;
}

/** What verification needs from the machine. */
export interface VerifierHost {
  /** An announced member was added, or rejected. */
  judged(verdict: Verdict): void;
}

/**
 * Verifies members. An announcement may name any address, and a datagram may have a false source. So a member counts as
 * verified once it has answered a ping that was sent to its address. Only verified members get gossip and relayed pings.
 * A member that a datagram announces is added once it answers; one in the state of another member is added at once.
 */
export class Verifier {
  readonly #timeout: number;
  readonly #host: VerifierHost;
  readonly #pings: Pings;
  readonly #roster: Roster;
  readonly #outbox: Outbox;
  readonly #timers: Timers;
  /** By the number of the ping, oldest first. */
  readonly #checks = new Map<number, Check>();
  /** By name, the checks of announced members. */
  readonly #announced = new Map<string, Check>();
  /** Members from states that have not answered yet: those that members announced, and those of strangers. */
  #vouched: Entry[] = [];
  #strangers: Entry[] = [];
  #scheduled = false;

  constructor(timing: Timing, host: VerifierHost, pings: Pings, roster: Roster, outbox: Outbox, timers: Timers) {
    this.#timeout = 2 * timing.probeTimeout;
    this.#host = host;
    this.#pings = pings;
    this.#roster = roster;
    this.#outbox = outbox;
    this.#timers = timers;
  }

  /** Number of answers that are awaited. */
  get size(): number {
    return this.#checks.size;
  }

  clear(): void {
    this.#checks.clear();
    this.#announced.clear();
    this.#vouched = [];
    this.#strangers = [];
  }

  /**
   * A datagram announces a member that must prove its address before it is added.
   * @param how As for `Roster.alive`.
   */
  announced(alive: Alive, how: Announcement, credit: Credit, now: number): Verdict {
    this.#expire(now);
    const pending = this.#announced.get(alive.node);
    if (pending !== undefined) {
      const known = pending.announced!;
      if (known.addr !== alive.addr || known.port !== alive.port) return 'conflict';
      if (how.vouched === true) pending.how = how;
      if (alive.incarnation <= known.incarnation) return 'old';
      pending.announced = kept(alive);
      return 'taken';
    }
    const check: Check = {
      until: now + this.#timeout,
      announced: kept(alive),
      how,
      proved: (then) => {
        this.#announced.delete(alive.node);
        this.#host.judged(this.#roster.alive(check.announced!, then, { ...check.how, proven: true }));
      },
    };
    if (!this.#ping(alive.node, alive.addr, alive.port, check, credit)) return 'full';
    this.#announced.set(alive.node, check);
    return 'taken';
  }

  /** A datagram came from the address of a member that is not verified. */
  check(member: Entry, credit: Credit | null, now: number): void {
    if (member.verified || now - member.asked < this.#timeout) return;
    this.#expire(now);
    const { address, port } = member;
    const proved = (then: number): void => {
      if (member.address === address && member.port === port) this.#roster.verify(member, then);
    };
    const check: Check = { until: now + this.#timeout, announced: null, how: {}, proved };
    if (!this.#ping(member.name, address, port, check, credit)) return;
    member.asked = now;
    member.asks++;
  }

  /** Calls `proved` once a node at an address has answered a ping. */
  probe(name: string, address: string, port: number, credit: Credit, now: number, proved: (now: number) => void): void {
    this.#expire(now);
    this.#ping(name, address, port, { until: now + this.#timeout, announced: null, how: {}, proved }, credit);
  }

  /**
   * Members from a state were added: verifies some of those at the address it came from at once, because one of them
   * has just joined, and the others a few at a time.
   */
  verifyLater(members: readonly Entry[], address: string, now: number): void {
    let first = FIRST;
    for (const member of members) {
      if (member.address === address && first-- > 0) this.check(member, null, now);
      const queue = member.quiet ? this.#strangers : this.#vouched;
      if (queue.length < MAX_QUEUE) queue.push(member);
    }
    if (!this.#scheduled) this.#next(now);
  }

  /** An answer arrived. @returns whether it is for one of these pings. */
  acknowledged(seqNo: number, now: number): boolean {
    const check = this.#checks.get(seqNo);
    if (check === undefined) return false;
    this.#checks.delete(seqNo);
    if (check.until < now) this.#forget(check);
    else check.proved(now);
    return true;
  }

  #next(now: number): void {
    this.#vouched = this.#turn(this.#vouched, BATCH.vouched, now);
    this.#strangers = this.#turn(this.#strangers, BATCH.strangers, now);
    this.#scheduled = this.#vouched.length + this.#strangers.length > 0;
    if (this.#scheduled) this.#timers.set(now + INTERVAL, (then) => this.#next(then));
  }

  /** The first members of a queue have their turn. @returns the queue, with those at its end that did not answer yet. */
  #turn(queue: Entry[], count: number, now: number): Entry[] {
    const again: Entry[] = [];
    for (const member of queue.slice(0, count)) {
      if (member.verified || this.#roster.get(member.name) !== member || !isLive(member)) continue;
      if (now - member.asked >= this.#timeout) {
        if (member.asks >= ASKS) {
          this.#roster.abandon(member, now);
          continue;
        }
        this.check(member, null, now);
      }
      again.push(member);
    }
    return [...queue.slice(count), ...again];
  }

  /**
   * Pings a node, and announces this member to it, so that it can verify this one in turn.
   * @param credit Pays for the ping; `null` if nothing has to.
   */
  #ping(node: string, address: string, port: number, check: Check, credit: Credit | null): boolean {
    // Datagrams leave room for the members that join by stream.
    if (this.#checks.size >= (credit === null ? 2 : 1) * MAX_CHECKS || credit?.isExhausted === true) return false;
    const ping = this.#pings.create(node);
    const send = (...messages: Message[]): boolean => this.#outbox.sendPlain(address, port, messages, credit);
    this.#checks.set(ping.seqNo, check);
    const isSent = send(ping, announcementOf(this.#roster.self)) || send(ping);
    if (!isSent) {
      this.#checks.delete(ping.seqNo);
      credit?.exhaust();
    }
    return isSent;
  }

  #expire(now: number): void {
    for (const [seqNo, check] of this.#checks) {
      if (check.until >= now) return;
      this.#checks.delete(seqNo);
      this.#forget(check);
    }
  }

  #forget({ announced }: Check): void {
    if (announced !== null) this.#announced.delete(announced.node);
  }
}

/** A copy that does not keep the datagram alive. */
function kept(alive: Alive): Alive {
  return { ...alive, meta: alive.meta.slice(), vsn: alive.vsn.slice() };
}

import type { Timing } from './config.js';
import { expectedConfirmations, suspicionTimes } from './formula.js';
import { isLive, toNodeState, type Entry, type Member } from './member.js';
import {
  addressBytes,
  encodeMessage,
  MAX_META,
  STATE,
  type Alive,
  type Dead,
  type Message,
  type NodeState,
  type Suspect,
} from './message.js';
import { Suspicion } from './suspicion.js';
import type { Timers } from './timers.js';

/**
 * The highest incarnation. A member cannot refute an accusation at this incarnation. Honest refuting takes more than a
 * hundred years to reach it, but one forged message is enough. So the roster believes such an accusation only if this
 * member's own probes failed, too; otherwise it probes the accused member next. At this incarnation an `alive`
 * overrides any accusation.
 */
const MAX_INCARNATION = 0xffff_ffff;
/** Maximum number of failed members to list after the protocol has forgotten them. */
const MAX_FAILED = 1024;
/** Maximum length of a member's name, in characters. */
export const MAX_NAME = 255;
const NOTHING = new Uint8Array(0);

export interface RosterOptions {
  name: string;
  address: string;
  port: number;
  meta: Uint8Array;
  vsn: Uint8Array;
  timing: Timing;
  /** How long a name stays bound to its address after its member died, in milliseconds; 0 means forever. */
  deadNodeReclaimTime: number;
  /** How long to list a failed member, in milliseconds. */
  failedMemberLife: number;
  maxMembers: number;
  /** Returns a number from 0 up to but not including 1. */
  random: () => number;
}

/** The outcome of a message about a member. */
export type Verdict = 'taken' | 'old' | 'invalid' | 'conflict' | 'full' | 'unknown' | 'unbelievable';

/** What the roster needs from the machine. */
export interface RosterHost {
  /** Queues a broadcast, which replaces an earlier one about the same member. */
  broadcast(about: string, message: Uint8Array, finished: (() => void) | null): void;
  joined(member: Member, now: number): void;
  updated(member: Member, now: number): void;
  /** A member is gone: `member.state` is `dead` or `left`. */
  left(member: Member, now: number): void;
  /** A message gave another address for a known member. */
  conflict(name: string, address: string, now: number): void;
  /** This member had to refute a message about itself. */
  refuted(now: number): void;
}

/**
 * All known members, this one included, and the rules for messages about them: the higher incarnation wins, and only
 * the member itself raises its own.
 */
export class Roster {
  readonly self: Entry;
  /** Set once this member is leaving: from then on it does not refute its death. */
  leaving = false;
  readonly #options: RosterOptions;
  readonly #host: RosterHost;
  readonly #timers: Timers;
  readonly #members = new Map<string, Entry>();
  /** Failed members that the protocol has forgotten, oldest first; for listings only. */
  readonly #failed = new Map<string, Entry>();
  /** All members, in the order of their probes. */
  #order: Entry[] = [];
  #index = 0;
  /** A member to probe before its turn, and whether the last probe was such a one. */
  #urgent: Entry | null = null;
  #wasUrgent = false;

  constructor(options: RosterOptions, host: RosterHost, timers: Timers, now: number) {
    this.#options = options;
    this.#host = host;
    this.#timers = timers;
    const { name, address, port, meta, vsn } = options;
    this.self = entry(name, address, port, now);
    Object.assign(this.self, { meta, vsn, incarnation: 1, state: 'alive' });
    this.#add(this.self);
    this.#announce(null);
  }

  /** Number of members, including this one and dead ones that are not forgotten yet. */
  get size(): number {
    return this.#members.size;
  }

  get(name: string): Entry | undefined {
    return this.#members.get(name);
  }

  all(): readonly Entry[] {
    return this.#order;
  }

  /** All members, and those that failed a while ago: the protocol forgets them soon, users do not. */
  listing(now: number): readonly Member[] {
    for (const [name, { since }] of this.#failed)
      if (now - since > this.#options.failedMemberLife) this.#failed.delete(name);
    return this.#failed.size === 0 ? this.#order : [...this.#order, ...this.#failed.values()];
  }

  /** Announces a change of this member's meta data. */
  update(meta: Uint8Array): void {
    this.self.meta = meta.slice();
    this.#raise(0);
    this.#announce(null);
  }

  /** Marks this member as leaving. */
  leave(now: number): void {
    this.leaving = true;
    this.self.state = 'left';
    this.self.since = now;
  }

  /** Announces that this member left; calls `finished` once the broadcast has been sent often enough. */
  announceLeave(finished: () => void): void {
    const { name, incarnation } = this.self;
    this.#broadcast(name, { type: 'dead', incarnation, node: name, from: name }, finished);
  }

  /**
   * Handles a member's announcement of itself.
   * @param broadcast Whether to broadcast the message.
   * @param secondHand Whether it came from another member, whose information may be outdated.
   */
  alive(message: Alive, now: number, broadcast = true, secondHand = false): Verdict {
    const { node, addr, meta, vsn, incarnation } = message;
    const port = message.port === 0 ? this.#options.port : message.port;
    if (addr === '' || node === '' || node.length > MAX_NAME || meta.length > MAX_META) return 'invalid';
    if (vsn.length > 0 && (vsn.length < 6 || vsn[0] === 0 || vsn[1] === 0 || vsn[0]! > vsn[1]!)) return 'invalid';
    const own = node === this.self.name;
    if (own && this.leaving) return 'old';
    let member = this.#members.get(node);
    let moved = false;
    if (member === undefined) {
      if (this.size >= this.#options.maxMembers) return 'full';
      member = entry(node, addr, port, now);
      this.#add(member);
    } else if (member.address !== addr || member.port !== port) {
      const { deadNodeReclaimTime: reclaim } = this.#options;
      moved = member.state === 'left' || (member.state === 'dead' && reclaim > 0 && now - member.since > reclaim);
      if (!moved) {
        this.#host.conflict(node, addr, now);
        return 'conflict';
      }
    }
    if (own) {
      if (incarnation < member.incarnation) return 'old';
      if (incarnation === member.incarnation && same(meta, member.meta) && same(vsn, member.vsn)) return 'old';
      this.#refute(incarnation, now);
      return 'taken';
    }
    const overrides = incarnation === MAX_INCARNATION && member.state !== 'alive' && !secondHand;
    if (incarnation <= member.incarnation && !moved && !overrides) return 'old';
    this.#clearSuspicion(member);
    const changed = !same(meta, member.meta);
    const back = !isLive(member);
    if (member.state !== 'alive') member.since = now;
    member.address = addr;
    member.port = port;
    if (changed) member.meta = meta.slice();
    // Nearly all members have the same versions: they share one array.
    if (!same(vsn, member.vsn)) member.vsn = same(vsn, this.self.vsn) ? this.self.vsn : vsn.slice();
    member.incarnation = incarnation;
    member.state = 'alive';
    if (broadcast) this.#broadcast(node, { ...message, port }, null);
    if (back) this.#host.joined(member, now);
    else if (changed) this.#host.updated(member, now);
    return 'taken';
  }

  /**
   * Handles the suspicion of a member.
   * @param own Whether this member's own probe failed.
   */
  suspect(message: Suspect, now: number, own = false): Verdict {
    const member = this.#members.get(message.node);
    if (member === undefined) return 'unknown';
    if (message.from.length > MAX_NAME) return 'invalid';
    if (message.incarnation < member.incarnation) return 'old';
    if (member.suspicion !== null) {
      member.suspicion.own ||= own;
      if (!member.suspicion.confirm(message.from)) return 'old';
      this.#broadcast(member.name, message, null);
      this.#await(member, now);
      return 'taken';
    }
    if (member.state !== 'alive') return 'old';
    if (member === this.self) {
      this.#refute(message.incarnation, now);
      return 'taken';
    }
    if (this.#unbelievable(member, message, own)) return 'unbelievable';
    this.#broadcast(member.name, message, null);
    member.incarnation = message.incarnation;
    member.state = 'suspect';
    member.since = now;
    const { suspicionMult, suspicionMaxTimeoutMult, probeInterval } = this.#options.timing;
    const { min, max } = suspicionTimes(suspicionMult, suspicionMaxTimeoutMult, this.size, probeInterval);
    const expected = expectedConfirmations(suspicionMult, this.size);
    member.suspicion = new Suspicion(message.from, expected, min, max, now);
    member.suspicion.own = own;
    this.#await(member, now);
    return 'taken';
  }

  /** Handles the death of a member, or its announcement that it leaves. */
  dead(message: Dead, now: number, own = false): Verdict {
    const member = this.#members.get(message.node);
    if (member === undefined) return 'unknown';
    if (message.from.length > MAX_NAME) return 'invalid';
    if (message.incarnation < member.incarnation || !isLive(member)) return 'old';
    if (member === this.self) {
      this.#refute(message.incarnation, now);
      return 'taken';
    }
    if (this.#unbelievable(member, message, own)) return 'unbelievable';
    this.#clearSuspicion(member);
    this.#broadcast(member.name, message, null);
    member.incarnation = message.incarnation;
    member.state = message.node === message.from ? 'left' : 'dead';
    member.since = now;
    this.#host.left(member, now);
    return 'taken';
  }

  /**
   * Merges another member's state. Members that are dead there are only suspected here, so that a live one can refute
   * it.
   */
  merge(nodes: readonly NodeState[], now: number): Verdict[] {
    return nodes.map((node) => {
      const { name, incarnation } = node;
      if (node.state === STATE.alive) {
        const { addr, port, meta, vsn } = node;
        return this.alive({ type: 'alive', incarnation, node: name, addr, port, meta, vsn }, now, true, true);
      }
      if (node.state === STATE.left) return this.dead({ type: 'dead', incarnation, node: name, from: name }, now);
      return this.suspect({ type: 'suspect', incarnation, node: name, from: this.self.name }, now);
    });
  }

  /**
   * Restores an earlier state: members alive or suspected then count as alive, all others are ignored. Nothing is
   * broadcast.
   */
  restore(nodes: readonly NodeState[], now: number): Verdict[] {
    return nodes
      .filter(({ state }) => state === STATE.alive || state === STATE.suspect)
      .map(({ name: node, incarnation, addr, port, meta, vsn }) =>
        this.alive({ type: 'alive', incarnation, node, addr, port, meta, vsn }, now, false),
      );
  }

  /** All members, as entries of a `pushPull`. */
  state(): NodeState[] {
    return this.#order.map(toNodeState);
  }

  /** Whether an accusation cannot be refuted and has no other support. */
  #unbelievable(member: Entry, { incarnation }: Suspect | Dead, own: boolean): boolean {
    if (incarnation < MAX_INCARNATION || own || member.suspicion?.own === true) return false;
    this.#urgent ??= member;
    return true;
  }

  /** The next member to probe; `null` if there is none. */
  next(now: number): Entry | null {
    // At most every other time, so that accusations cannot starve the probes of other members.
    const urgent = this.#wasUrgent ? null : this.#urgent;
    this.#wasUrgent = urgent !== null;
    if (urgent !== null) {
      this.#urgent = null;
      if (isLive(urgent)) return urgent;
    }
    for (let looked = 0; looked <= this.#order.length; looked++) {
      if (this.#index >= this.#order.length) {
        this.#forget(now);
        this.#shuffle();
        this.#index = 0;
      }
      const member = this.#order[this.#index++]!;
      if (member !== this.self && isLive(member)) return member;
    }
    return null;
  }

  /** Up to `count` different random members that `fits` accepts. It tries three times the number of members. */
  pick(count: number, fits: (member: Entry) => boolean): Entry[] {
    const picked: Entry[] = [];
    const order = this.#order;
    for (let tries = 3 * order.length; tries > 0 && picked.length < count; tries--) {
      const member = order[this.#random(order.length)]!;
      if (member !== this.self && fits(member) && !picked.includes(member)) picked.push(member);
    }
    return picked;
  }

  #random(count: number): number {
    return Math.floor(this.#options.random() * count);
  }

  #add(member: Entry): void {
    this.#failed.delete(member.name);
    this.#members.set(member.name, member);
    const order = this.#order;
    const at = this.#random(order.length + 1);
    order.push(member);
    order[order.length - 1] = order[at]!;
    order[at] = member;
  }

  /** Removes members that have been gone for long. */
  #forget(now: number): void {
    const { gossipToTheDeadTime } = this.#options.timing;
    this.#order = this.#order.filter((member) => {
      if (member === this.self || isLive(member) || now - member.since <= gossipToTheDeadTime) return true;
      this.#members.delete(member.name);
      if (member.state === 'dead') this.#keepFailed(member);
      return false;
    });
  }

  #keepFailed(member: Entry): void {
    for (const oldest of this.#failed.keys()) if (this.#failed.size >= MAX_FAILED) this.#failed.delete(oldest);
    this.#failed.set(member.name, member);
  }

  #shuffle(): void {
    const order = this.#order;
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.#random(i + 1);
      const member = order[i]!;
      order[i] = order[j]!;
      order[j] = member;
    }
  }

  /** Sets the timer that declares a suspected member dead. */
  #await(member: Entry, now: number): void {
    this.#timers.cancel(member.timer);
    const { incarnation, name } = member;
    member.timer = this.#timers.set(Math.max(now, member.suspicion!.deadline), (then) => {
      member.timer = null;
      member.suspicion = null;
      if (member.state === 'suspect')
        this.dead(
          { type: 'dead', incarnation: Math.max(incarnation, member.incarnation), node: name, from: this.self.name },
          then,
          true,
        );
    });
  }

  #clearSuspicion(member: Entry): void {
    this.#timers.cancel(member.timer);
    member.timer = null;
    member.suspicion = null;
  }

  #refute(accused: number, now: number): void {
    this.#raise(accused);
    this.#announce(null);
    this.#host.refuted(now);
  }

  #raise(accused: number): void {
    this.self.incarnation = Math.min(Math.max(this.self.incarnation, accused) + 1, MAX_INCARNATION);
  }

  #announce(finished: (() => void) | null): void {
    const { name: node, address: addr, port, meta, vsn, incarnation } = this.self;
    this.#broadcast(node, { type: 'alive', incarnation, node, addr, port, meta, vsn }, finished);
  }

  #broadcast(about: string, message: Message, finished: (() => void) | null): void {
    this.#host.broadcast(about, encodeMessage(message).slice(), finished); // a copy, without the spare room behind it
  }
}

function entry(name: string, address: string, port: number, now: number): Entry {
  addressBytes(address); // throws for an invalid address
  return {
    name,
    address,
    port,
    meta: NOTHING,
    vsn: NOTHING,
    incarnation: 0,
    state: 'dead',
    since: now,
    suspicion: null,
    timer: null,
  };
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

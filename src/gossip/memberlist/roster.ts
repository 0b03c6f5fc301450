import { nameTrouble } from '../../wire/index.js';
import type { Timing } from './config.js';
import { expectedConfirmations, suspicionTimes } from './formula.js';
import {
  announcementOf,
  incompatible,
  isLive,
  isVouched,
  newEntry,
  toNodeState,
  type Entry,
  type Member,
} from './member.js';
import {
  encodeMessage,
  MAX_META,
  STATE,
  type Alive,
  type Dead,
  type Message,
  type NodeState,
  type Suspect,
} from './message.js';
import { Order } from './order.js';
import { PlaceIndex } from './place-index.js';
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
/** Maximum number of members that are in the list but not verified, if they were announced without a key. */
export const MAX_UNVERIFIED = 1024;
/** Maximum number of members at one address, if they were announced without a key. */
export const MAX_AT_ADDRESS = 256;
/** Maximum length of a member's name, in characters. */
export const MAX_NAME = 255;

export interface RosterOptions {
  name: string;
  address: string;
  port: number;
  meta: Uint8Array;
  vsn: Uint8Array;
  /** The first incarnation of this member. */
  incarnation: number;
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
export type Verdict =
  'taken' | 'old' | 'invalid' | 'conflict' | 'full' | 'unknown' | 'unbelievable' | 'incompatible' | 'misnamed';

/** How a member is announced, apart from its message. */
export interface Announcement {
  /** Whether the member has proved that it is at the address in the message. Default: false. */
  proven?: boolean;
  /** Whether a trusted member announces it, so that it is broadcast at once. Default: false. */
  vouched?: boolean;
  /** Whether members that have no key announce it: their number is then bounded. Default: false. */
  keyless?: boolean;
  /** Whether it comes from another member, whose information may be outdated. Default: false. */
  secondHand?: boolean;
  /** Whether to broadcast it at all. Default: true. */
  broadcast?: boolean;
}

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
  /** `nameTrouble` rejects a new member's name, which would reach every member's terminal and log. */
  misnamed(name: string, address: string, now: number): void;
  /** A member has proved that it is at its address. It is in the list, and may not be reported as joined yet. */
  verified(member: Member): void;
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
  readonly #places = new PlaceIndex();
  /** Number of members that are not verified. */
  #unverified = 0;
  /** Failed members that the protocol has forgotten, oldest first; for listings only. */
  readonly #failed = new Map<string, Entry>();
  readonly #order: Order;

  constructor(options: RosterOptions, host: RosterHost, timers: Timers, now: number) {
    this.#options = options;
    this.#host = host;
    this.#timers = timers;
    const { name, address, port, meta, vsn, incarnation } = options;
    this.self = newEntry(name, address, port, now);
    this.#order = new Order(this.self, options.random);
    Object.assign(this.self, { meta, vsn, incarnation, state: 'alive', verified: true });
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
    return this.#order.all();
  }

  /**
   * The members that are known for certain, and those that failed a while ago: the protocol forgets them soon, users do
   * not.
   */
  listing(now: number): readonly Member[] {
    for (const [name, { since }] of this.#failed)
      if (now - since > this.#options.failedMemberLife) this.#failed.delete(name);
    const all = this.#order.all();
    const members = this.#unverified === 0 ? all : all.filter(isVouched);
    return this.#failed.size === 0 ? members : [...members, ...this.#failed.values()];
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

  /** The other member at an address: a verified one if there are several. */
  at(address: string, port: number): Entry | undefined {
    const member = this.#places.at(address, port);
    return member === this.self ? undefined : member;
  }

  /** Whether a member has an address, with any port; not one that only a stranger announced. */
  hasAddress(address: string): boolean {
    return this.#places.isMembers(address);
  }

  /** The message that a member is dead, or has left, as far as this one knows. */
  endOf({ name: node, incarnation, state }: Member): Dead {
    return { type: 'dead', incarnation, node, from: state === 'left' ? node : this.self.name };
  }

  /** Number of verified members: the size of the cluster in the protocol's formulas, which strangers cannot change. */
  get verified(): number {
    return this.#members.size - this.#unverified;
  }

  /** Number of members that are not verified. */
  get unverified(): number {
    return this.#unverified;
  }

  /** A member has proved that it is at its address. */
  verify(member: Entry, now: number): void {
    if (member.verified || this.#members.get(member.name) !== member) return;
    member.verified = true;
    this.#unverified--;
    this.#places.verified(member);
    this.#announceQuiet(member, now);
    if (isLive(member)) this.#host.verified(member);
  }

  #announceQuiet(member: Entry, now: number): void {
    if (member.quiet && member.state === 'alive') this.#broadcast(member.name, announcementOf(member), null);
    member.quiet = false;
    this.#report(member, now);
  }

  /** Reports a member that joined, or is gone. A stranger's state alone tells the application nothing. */
  #report(member: Entry, now: number): void {
    const isThere = isLive(member) && isVouched(member);
    if (member.reported === isThere || member === this.self) return;
    member.reported = isThere;
    if (isThere) this.#host.joined(member, now);
    else this.#host.left(member, now);
  }

  /** Why a member's announcement cannot be accepted, whatever is known; `null` if it can. */
  objection({ node, addr, meta, vsn }: Alive): Verdict | null {
    if (addr === '' || node === '' || node.length > MAX_NAME || meta.length > MAX_META) return 'invalid';
    if (vsn.length === 0) return null;
    if (vsn.length < 6 || vsn[0] === 0 || vsn[1] === 0 || vsn[0]! > vsn[1]!) return 'invalid';
    // A false message about this member must reach the rule that refutes it.
    return node === this.self.name || incompatible({ name: node, vsn }, this.self) === null ? null : 'incompatible';
  }

  /** Whether a message is about a member that must prove its address first: a new one, or one that has moved. */
  isNews({ node, addr, port }: Alive, now: number): boolean {
    const member = this.#members.get(node);
    if (member === undefined) return true;
    if (member.address === addr && member.port === (port || this.#options.port)) return false;
    return this.#mayMove(member, now, true);
  }

  /** Handles a member's announcement of itself. */
  alive(message: Alive, now: number, how: Announcement = {}): Verdict {
    const objection = this.objection(message);
    if (objection !== null) return objection;
    const { node, addr, meta, vsn, incarnation } = message;
    const port = message.port === 0 ? this.#options.port : message.port;
    const own = node === this.self.name;
    if (own && this.leaving) return 'old';
    let member = this.#members.get(node);
    let moved = false;
    if (member === undefined) {
      if (nameTrouble(node) !== undefined) {
        this.#host.misnamed(node, addr, now);
        return 'misnamed';
      }
      if (!this.#hasRoom(addr, how)) return 'full';
      member = newEntry(node, addr, port, now);
      this.#add(member);
    } else if (member.address !== addr || member.port !== port) {
      moved = this.#mayMove(member, now, how.proven === true);
      if (!moved) {
        this.#host.conflict(node, addr, now);
        return 'conflict';
      }
      if (!this.#hasRoom(addr, how, true)) return 'full';
    }
    if (own) {
      if (incarnation < member.incarnation) return 'old';
      if (incarnation === member.incarnation && same(meta, member.meta) && same(vsn, member.vsn)) return 'old';
      this.#refute(incarnation, now);
      return 'taken';
    }
    const overrides = incarnation === MAX_INCARNATION && member.state !== 'alive' && how.secondHand !== true;
    if (incarnation <= member.incarnation && !moved && !overrides) {
      if (incarnation < member.incarnation || how.vouched !== true || !member.quiet) return 'old';
      this.#announceQuiet(member, now);
      return 'taken';
    }
    this.#clearSuspicion(member);
    const changed = !same(meta, member.meta);
    const back = !isLive(member);
    if (member.state !== 'alive') member.since = now;
    if (moved) this.#move(member, addr, port);
    if (changed) member.meta = meta.slice();
    // Nearly all members have the same versions: they share one array.
    if (!same(vsn, member.vsn)) member.vsn = same(vsn, this.self.vsn) ? this.self.vsn : vsn.slice();
    member.incarnation = incarnation;
    // Before the state changes: one that returns is reported as joined first, and then as verified.
    if (how.proven === true) this.verify(member, now);
    member.state = 'alive';
    const isStrangers = how.vouched !== true && how.broadcast !== false;
    member.quiet = isStrangers && (back || member.quiet);
    if (how.vouched === true) this.#broadcast(node, { ...message, port }, null);
    this.#report(member, now);
    if (back && member.verified) this.#host.verified(member);
    else if (!back && changed && member.reported) this.#host.updated(member, now);
    return 'taken';
  }

  /**
   * Whether a member may have another address: it has left, or has been dead for long enough, or never answered at the
   * one that is known.
   */
  #mayMove({ state, since, verified }: Entry, now: number, proven: boolean): boolean {
    const { deadNodeReclaimTime: reclaim } = this.#options;
    if (proven && !verified) return true;
    return state === 'left' || (state === 'dead' && reclaim > 0 && now - since > reclaim);
  }

  #hasRoom(address: string, { keyless, proven }: Announcement, known = false): boolean {
    if (!known && this.size >= this.#options.maxMembers) return false;
    if (keyless !== true) return true;
    return (proven === true || this.#unverified < MAX_UNVERIFIED) && this.#places.verifiedAt(address) < MAX_AT_ADDRESS;
  }

  /** Gives a member that returns another address, which it must prove. */
  #move(member: Entry, address: string, port: number): void {
    this.#places.remove(member);
    if (member.verified) this.#unverified++;
    member.verified = false;
    member.address = address;
    member.port = port;
    member.asks = 0;
    member.asked = -Infinity;
    this.#places.add(member);
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
      if (!member.quiet) this.#broadcast(member.name, message, null);
      this.#await(member, now);
      return 'taken';
    }
    if (member.state !== 'alive') return 'old';
    if (member === this.self) {
      this.#refute(message.incarnation, now);
      return 'taken';
    }
    if (this.#unbelievable(member, message, own)) return 'unbelievable';
    if (!member.quiet) this.#broadcast(member.name, message, null);
    member.incarnation = message.incarnation;
    member.state = 'suspect';
    member.since = now;
    const { suspicionMult, suspicionMaxTimeoutMult, probeInterval } = this.#options.timing;
    const { min, max } = suspicionTimes(suspicionMult, suspicionMaxTimeoutMult, this.verified, probeInterval);
    const expected = expectedConfirmations(suspicionMult, this.verified);
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
    if (!member.quiet) this.#broadcast(member.name, message, null);
    member.incarnation = message.incarnation;
    member.state = message.node === message.from ? 'left' : 'dead';
    member.since = now;
    this.#report(member, now);
    return 'taken';
  }

  /**
   * Merges one member of another member's state. One that is dead there is only suspected here, so that a live one can
   * refute it. A state that no one vouches for counts only where it is about this member, about the one at `address`,
   * from which it came, or about members that are not known here.
   */
  merge(node: NodeState, now: number, how: Announcement, address: string): Verdict {
    const { name, incarnation } = node;
    const known = this.#members.get(name);
    if (how.vouched !== true && known !== undefined && known !== this.self) {
      const isItself = known.address === address;
      if (node.state === STATE.alive ? known.address === node.addr && !isItself : !isItself) return 'old';
    }
    if (node.state === STATE.alive) {
      const { addr, port, meta, vsn } = node;
      return this.alive({ type: 'alive', incarnation, node: name, addr, port, meta, vsn }, now, how);
    }
    if (node.state === STATE.left) return this.dead({ type: 'dead', incarnation, node: name, from: name }, now);
    return this.suspect({ type: 'suspect', incarnation, node: name, from: this.self.name }, now);
  }

  /**
   * Restores an earlier state: members alive or suspected then count as alive, and as verified; all others are ignored.
   * Nothing is broadcast.
   */
  restore(nodes: readonly NodeState[], now: number): Verdict[] {
    return nodes
      .filter(({ state }) => state === STATE.alive || state === STATE.suspect)
      .map(({ name: node, incarnation, addr, port, meta, vsn }) =>
        this.alive({ type: 'alive', incarnation, node, addr, port, meta, vsn }, now, {
          proven: true,
          broadcast: false,
        }),
      );
  }

  /** All members, as entries of a `pushPull`. */
  state(): NodeState[] {
    return this.#order.all().map(toNodeState);
  }

  /** Whether an accusation cannot be refuted and has no other support. */
  #unbelievable(member: Entry, { incarnation }: Suspect | Dead, own: boolean): boolean {
    if (incarnation < MAX_INCARNATION || own || member.suspicion?.own === true) return false;
    this.#order.hurry(member);
    return true;
  }

  /** The next member to probe; `null` if there is none. At the end of a round, forgets those that are gone for long. */
  next(now: number): Entry | null {
    const { gossipToTheDeadTime } = this.#options.timing;
    return this.#order.next((member) => {
      if (member === this.self || isLive(member) || now - member.since <= gossipToTheDeadTime) return true;
      this.#remove(member);
      if (member.state === 'dead' && member.verified) this.#keepFailed(member);
      return false;
    });
  }

  /** Up to `count` different random members that `fits` accepts. */
  pick(count: number, fits: (member: Entry) => boolean): Entry[] {
    return this.#order.pick(count, fits);
  }

  /** Removes a member that a stranger announced, and that does not answer at its address. */
  abandon(member: Entry, now: number): void {
    if (member.verified || !member.quiet || this.#members.get(member.name) !== member) return;
    this.#clearSuspicion(member);
    member.state = 'dead';
    member.since = now;
    this.#remove(member);
    this.#order.remove(member);
  }

  #add(member: Entry): void {
    this.#failed.delete(member.name);
    this.#members.set(member.name, member);
    this.#places.add(member);
    if (!member.verified) this.#unverified++;
    this.#order.add(member);
  }

  #remove(member: Entry): void {
    this.#members.delete(member.name);
    this.#places.remove(member);
    if (!member.verified) this.#unverified--;
  }

  #keepFailed(member: Entry): void {
    for (const oldest of this.#failed.keys()) if (this.#failed.size >= MAX_FAILED) this.#failed.delete(oldest);
    this.#failed.set(member.name, member);
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
    this.#broadcast(this.self.name, announcementOf(this.self), finished);
  }

  #broadcast(about: string, message: Message, finished: (() => void) | null): void {
    this.#host.broadcast(about, encodeMessage(message).slice(), finished); // a copy, without the spare room behind it
  }
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

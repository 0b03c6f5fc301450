import type { Timing } from './config.js';
import { expectedConfirmations, suspicionTimes } from './formula.js';
import { isThere, toNodeState, type Entry, type Member } from './member.js';
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
 * Nobody comes here by honest refuting in a hundred years, but one lie brings a member here; and what is said of it here
 * it cannot outbid. So accusations at this incarnation are not believed: a member that is accused so is probed next,
 * and what one has found out oneself counts. An `alive` counts as later than any accusation.
 */
const MAX_INCARNATION = 0xffff_ffff;
/** Failed members that are listed after the protocol has forgotten them, at most. */
const MAX_FAILED = 1024;
/** Characters of a member's name at most. */
export const MAX_NAME = 255;
const NOTHING = new Uint8Array(0);

export interface RosterOptions {
  name: string;
  address: string;
  port: number;
  meta: Uint8Array;
  vsn: Uint8Array;
  timing: Timing;
  /** How long a name stays with its address after its member died, in milliseconds; 0 for ever. */
  deadNodeReclaimTime: number;
  /** How long a member that failed is listed, in milliseconds. */
  failedMemberLife: number;
  maxMembers: number;
  /** From 0 up to but not including 1. */
  random: () => number;
}

/** What becomes of what others say of members. */
export type Verdict = 'taken' | 'old' | 'invalid' | 'conflict' | 'full' | 'unknown' | 'unbelievable';

/** What the list of members tells the machine. */
export interface RosterHost {
  /** To be told to everybody, in place of what was to be told of the member before. */
  broadcast(about: string, message: Uint8Array, finished: (() => void) | null): void;
  joined(member: Member, now: number): void;
  updated(member: Member, now: number): void;
  /** It is dead, or has left: `member.state` says which. */
  left(member: Member, now: number): void;
  /** A member of that name is known, and at another address. */
  conflict(name: string, address: string, now: number): void;
  /** Somebody thought this member gone, or something else than it is. */
  refuted(now: number): void;
}

/**
 * All members that one knows, oneself among them, and the rules by which what is said of them is believed: the higher
 * incarnation wins, and only a member itself raises its own.
 */
export class Roster {
  readonly self: Entry;
  /** Set once this member is on its way out: from then on it lets others call it dead. */
  leaving = false;
  readonly #options: RosterOptions;
  readonly #host: RosterHost;
  readonly #timers: Timers;
  readonly #members = new Map<string, Entry>();
  /** Members that failed, which the protocol has forgotten: for listings only. The oldest first. */
  readonly #failed = new Map<string, Entry>();
  /** All members, in the order in which they are probed. */
  #order: Entry[] = [];
  #index = 0;
  /** A member to be probed before its turn, and whether the last one was. */
  #urgent: Entry | null = null;
  #hurried = false;

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

  /** Members, the dead that are not forgotten yet and oneself included. */
  get size(): number {
    return this.#members.size;
  }

  get(name: string): Entry | undefined {
    return this.#members.get(name);
  }

  all(): readonly Entry[] {
    return this.#order;
  }

  /** All members, and those that failed a while ago: the protocol forgets them soon, people do not. */
  listing(now: number): readonly Member[] {
    for (const [name, { since }] of this.#failed)
      if (now - since > this.#options.failedMemberLife) this.#failed.delete(name);
    return this.#failed.size === 0 ? this.#order : [...this.#order, ...this.#failed.values()];
  }

  /** Says to everybody what has changed of this member. */
  update(meta: Uint8Array): void {
    this.self.meta = meta.slice();
    this.#raise(0);
    this.#announce(null);
  }

  /** This member goes. */
  leave(now: number): void {
    this.leaving = true;
    this.self.state = 'left';
    this.self.since = now;
  }

  /** Says to everybody that this member went; `finished` runs once that has been said often enough. */
  farewell(finished: () => void): void {
    const { name, incarnation } = this.self;
    this.#say(name, { type: 'dead', incarnation, node: name, from: name }, finished);
  }

  /**
   * A member is there, at an address, as it says itself.
   * @param told Whether others are to hear of it from here.
   * @param hearsay Whether another member told of it, who may not know the latest.
   */
  alive(message: Alive, now: number, told = true, hearsay = false): Verdict {
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
    const outbids = incarnation === MAX_INCARNATION && member.state !== 'alive' && !hearsay;
    if (incarnation <= member.incarnation && !moved && !outbids) return 'old';
    this.#absolve(member);
    const changed = !same(meta, member.meta);
    const back = !isThere(member);
    if (member.state !== 'alive') member.since = now;
    member.address = addr;
    member.port = port;
    if (changed) member.meta = meta.slice();
    // Nearly all members say the same of their versions: one array for all of them.
    if (!same(vsn, member.vsn)) member.vsn = same(vsn, this.self.vsn) ? this.self.vsn : vsn.slice();
    member.incarnation = incarnation;
    member.state = 'alive';
    if (told) this.#say(node, { ...message, port }, null);
    if (back) this.#host.joined(member, now);
    else if (changed) this.#host.updated(member, now);
    return 'taken';
  }

  /**
   * Somebody suspects a member.
   * @param own Whether this member has found out by itself.
   */
  suspect(message: Suspect, now: number, own = false): Verdict {
    const member = this.#members.get(message.node);
    if (member === undefined) return 'unknown';
    if (message.from.length > MAX_NAME) return 'invalid';
    if (message.incarnation < member.incarnation) return 'old';
    if (member.suspicion !== null) {
      member.suspicion.own ||= own;
      if (!member.suspicion.confirm(message.from)) return 'old';
      this.#say(member.name, message, null);
      this.#await(member, now);
      return 'taken';
    }
    if (member.state !== 'alive') return 'old';
    if (member === this.self) {
      this.#refute(message.incarnation, now);
      return 'taken';
    }
    if (this.#unbelievable(member, message, own)) return 'unbelievable';
    this.#say(member.name, message, null);
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

  /** Somebody is sure that a member is gone, or a member says so of itself. */
  dead(message: Dead, now: number, own = false): Verdict {
    const member = this.#members.get(message.node);
    if (member === undefined) return 'unknown';
    if (message.from.length > MAX_NAME) return 'invalid';
    if (message.incarnation < member.incarnation || !isThere(member)) return 'old';
    if (member === this.self) {
      this.#refute(message.incarnation, now);
      return 'taken';
    }
    if (this.#unbelievable(member, message, own)) return 'unbelievable';
    this.#absolve(member);
    this.#say(member.name, message, null);
    member.incarnation = message.incarnation;
    member.state = message.node === message.from ? 'left' : 'dead';
    member.since = now;
    this.#host.left(member, now);
    return 'taken';
  }

  /** What another member knows. Whom it takes for dead is suspected only, so that who lives can say so. */
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

  /** What was known earlier: who lived then is taken to live, and the rest is left out. Nobody is told. */
  restore(nodes: readonly NodeState[], now: number): Verdict[] {
    return nodes
      .filter(({ state }) => state === STATE.alive || state === STATE.suspect)
      .map(({ name: node, incarnation, addr, port, meta, vsn }) =>
        this.alive({ type: 'alive', incarnation, node, addr, port, meta, vsn }, now, false),
      );
  }

  /** All members, as a `pushPull` has them. */
  state(): NodeState[] {
    return this.#order.map(toNodeState);
  }

  /** Whether an accusation is one that nobody could refute, and nothing else speaks for it. */
  #unbelievable(member: Entry, { incarnation }: Suspect | Dead, own: boolean): boolean {
    if (incarnation < MAX_INCARNATION || own || member.suspicion?.own === true) return false;
    this.#urgent ??= member;
    return true;
  }

  /** The next member to be probed; `null` where there is none. */
  next(now: number): Entry | null {
    // Every other time at most, so that nobody can keep the others from their turn.
    const urgent = this.#hurried ? null : this.#urgent;
    this.#hurried = urgent !== null;
    if (urgent !== null) {
      this.#urgent = null;
      if (isThere(urgent)) return urgent;
    }
    for (let looked = 0; looked <= this.#order.length; looked++) {
      if (this.#index >= this.#order.length) {
        this.#forget(now);
        this.#shuffle();
        this.#index = 0;
      }
      const member = this.#order[this.#index++]!;
      if (member !== this.self && isThere(member)) return member;
    }
    return null;
  }

  /** Up to `count` different members that `fits` accepts, at random. It looks at three times as many as there are. */
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

  /** Forgets who has been gone for long. */
  #forget(now: number): void {
    const { gossipToTheDeadTime } = this.#options.timing;
    this.#order = this.#order.filter((member) => {
      if (member === this.self || isThere(member) || now - member.since <= gossipToTheDeadTime) return true;
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

  /** Sets when a suspected member is taken for dead. */
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

  #absolve(member: Entry): void {
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
    this.#say(node, { type: 'alive', incarnation, node, addr, port, meta, vsn }, finished);
  }

  #say(about: string, message: Message, finished: (() => void) | null): void {
    this.#host.broadcast(about, encodeMessage(message).slice(), finished); // without the room behind it
  }
}

function entry(name: string, address: string, port: number, now: number): Entry {
  addressBytes(address); // refuses what is no address
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

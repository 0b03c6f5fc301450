import { unsupported } from '../../wire/index.js';
import type { Timing } from './config.js';
import { pushPullScale } from './formula.js';
import { incompatible, isVouched, type Entry } from './member.js';
import { STATE, type NodeState } from './message.js';
import type { Announcement, Roster, Verdict } from './roster.js';
import type { Sessions } from './sessions.js';
import { encodePushPull, type PushPull, type StreamMessage } from './stream.js';
import type { Timers } from './timers.js';
import type { Delegate, Joined } from './types.js';
import type { Verifier } from './verifier.js';
import type { Work } from './work.js';

const NOTHING = new Uint8Array(0);
/** Maximum number of members in states that wait to be merged. */
const MAX_WAITING = 65_536;
/** What a member of a state costs in units of {@link Work}. */
const MERGE_COST = 2;

/** Called at the end of an exchange, with the reason if it failed. */
type Done = (failure: string | null, now: number) => void;

/** What exchanges need from the machine. */
export interface ExchangeHost {
  /** A message about a member, from the state of another one, was handled. */
  judged(verdict: Verdict): void;
  /** A state was dropped, because too many wait to be merged. */
  busy(): void;
}

/** Where a state came from. */
interface StateSource {
  readonly address: string;
  /** The port that this member dialled; `null` if the other one did. */
  readonly port: number | null;
  /** Whether the caller gave the address, to join a cluster through it. */
  readonly isChosen: boolean;
}

/** Exchanges the whole state with other members over streams: to join, in every interval, and when they ask. */
export class Exchanges {
  readonly #timing: Timing;
  readonly #host: ExchangeHost;
  readonly #application: Pick<Delegate, 'localState' | 'mergeState' | 'refused'>;
  readonly #roster: Roster;
  readonly #sessions: Sessions;
  readonly #timers: Timers;
  readonly #verifier: Verifier;
  readonly #work: Work;
  readonly #isKeyed: boolean;
  #stopped = false;
  #waiting = 0;

  /** @param isKeyed Whether only members that have the key can open streams. */
  constructor(
    timing: Timing,
    host: ExchangeHost,
    application: Pick<Delegate, 'localState' | 'mergeState' | 'refused'>,
    roster: Roster,
    sessions: Sessions,
    timers: Timers,
    verifier: Verifier,
    work: Work,
    isKeyed: boolean,
  ) {
    this.#timing = timing;
    this.#host = host;
    this.#application = application;
    this.#roster = roster;
    this.#sessions = sessions;
    this.#timers = timers;
    this.#verifier = verifier;
    this.#work = work;
    this.#isKeyed = isKeyed;
  }

  /** Exchanges states with a random member at a time, and from then on in every interval. */
  start(at: number): void {
    this.#timers.set(at, (now) => this.#round(now));
  }

  /** From now on every exchange fails. */
  stop(): void {
    this.#stopped = true;
  }

  /** Joins through some addresses; `done` is called when all have answered or timed out. */
  join(addresses: readonly { address: string; port: number }[], now: number, done?: (joined: Joined) => void): void {
    const joined: Joined = { reached: 0, failures: [] };
    let open = addresses.length;
    if (open === 0) done?.(joined);
    for (const { address, port } of addresses)
      this.#join(address, port, true, now, (failure) => {
        if (failure === null) joined.reached++;
        else joined.failures.push(`${address}: ${failure}`);
        if (--open === 0) done?.(joined);
      });
  }

  /** Exchanges states with the member at an address, as for joining. */
  contact(address: string, port: number, now: number): void {
    this.#join(address, port, false, now, () => undefined);
  }

  /**
   * @param join Whether this member is joining: the other one announces it to its application.
   * @param isChosen Whether the caller gave the address.
   */
  exchange(address: string, port: number, join: boolean, now: number, done: Done, isChosen = false): void {
    if (this.#stopped) return done('this member has stopped', now);
    this.#sessions.ask(
      address,
      port,
      this.#state(join, now),
      now + this.#timing.streamTimeout,
      (answer, then, failure) => {
        if (answer?.type !== 'pushPull') return done(answer === null ? failure : failureOf(answer), then);
        this.#merge(answer, { address, port, isChosen }, then, done);
      },
      now,
    );
  }

  /** Answers the request of another member. */
  answer(request: PushPull, address: string, reply: (state: Uint8Array) => void, now: number): void {
    reply(this.#state(request.join, now)); // the state before the merge
    this.#merge(request, { address, port: null, isChosen: false }, now, () => undefined);
  }

  #round(now: number): void {
    this.start(now + this.#timing.pushPullInterval * pushPullScale(this.#roster.verified));
    const [member] = this.#roster.pick(1, (one) => one.state === 'alive' && isVouched(one));
    if (member !== undefined) this.exchange(member.address, member.port, false, now, () => undefined);
  }

  /**
   * Exchanges the whole state to join. A member that still considers this one dead, because of its former process, does
   * not accept its state. A second exchange then announces that it is alive, because packets may be late or lost.
   */
  #join(address: string, port: number, isChosen: boolean, now: number, done: Done): void {
    const { incarnation } = this.#roster.self;
    const again: Done = (failure, then) => {
      if (failure !== null || this.#roster.self.incarnation === incarnation) done(failure, then);
      else this.exchange(address, port, true, then, done, isChosen);
    };
    this.exchange(address, port, true, now, again, isChosen);
  }

  #state(join: boolean, now: number): Uint8Array {
    const userState = this.#application.localState?.(join, now) ?? NOTHING;
    return encodePushPull({ type: 'pushPull', join, nodes: this.#roster.state(), userState });
  }

  /**
   * Merges the state of another member, a slice at a time. Members whose versions do not match those of this one are
   * left out. If no other remains, or the sender is one of them, the whole state is rejected.
   */
  #merge(remote: PushPull, source: StateSource, now: number, done: Done): void {
    const { nodes } = remote;
    if (this.#waiting > 0 && this.#waiting + nodes.length > MAX_WAITING) {
      this.#host.busy();
      return done('too many states wait to be merged', now);
    }
    this.#waiting += nodes.length;
    this.#work.add(this.#merging(remote, source, done), now);
  }

  *#merging(remote: PushPull, source: StateSource, done: Done): Generator<number, void> {
    const { nodes } = remote;
    const { address, port, isChosen } = source;
    const vouched = this.#isKeyed || port !== null || this.#roster.hasAddress(address);
    const how: Announcement = { vouched, keyless: !this.#isKeyed && !isChosen, secondHand: true };
    let trouble: string | null = null;
    let accepted = nodes.length === 0;
    let isRejected = false;
    const compatible: NodeState[] = [];
    const names = new Set<string>();
    for (const node of nodes) {
      // A name counts once: each change would be reported.
      if (names.has(node.name)) continue;
      names.add(node.name);
      const objection = node.state === STATE.alive ? incompatible(node, this.#roster.self) : null;
      if (objection === null) {
        compatible.push(node);
        accepted ||= node.name !== this.#roster.self.name;
      } else {
        this.#host.judged('incompatible');
        trouble ??= objection;
        isRejected ||= port !== null && node.addr === address && node.port === port;
      }
    }
    yield 1 + nodes.length / 64;
    isRejected ||= trouble !== null && !accepted;
    if (trouble !== null)
      this.#application.refused?.(unsupported('memberlist', 0, trouble), address, this.#work.now, 'version');
    const added: Entry[] = [];
    if (!isRejected)
      for (const node of compatible) {
        this.#waiting--;
        // A stream proves the address that it comes from. It does not prove the port, which belongs to the same host.
        const proven = node.addr === address && (port === null || node.port === port);
        this.#host.judged(this.#roster.merge(node, this.#work.now, { ...how, proven }, address));
        const member = this.#roster.get(node.name);
        if (member !== undefined && !member.verified) added.push(member);
        yield MERGE_COST;
      }
    this.#waiting -= isRejected ? nodes.length : nodes.length - compatible.length;
    const { now } = this.#work;
    this.#verifier.verifyLater(added, address, now);
    // A request of a program that is not a member contains no members. The tables of one whose address is not proven
    // come with a later exchange.
    const isMember = vouched || this.#roster.hasAddress(address);
    if (!isRejected && isMember && (nodes.length > 0 || remote.userState.length > 0))
      this.#application.mergeState?.(remote.userState, now, remote.join, address);
    done(isRejected ? trouble : null, now);
  }
}

/** Most UTF-16 code units of another member's error text: it may be as long as a message, and reaches the log. */
const MAX_ERROR = 200;

/** Why an answer that is not a state ends an exchange. */
export function failureOf(answer: StreamMessage): string {
  if (answer.type !== 'err') return `unexpected answer of type ${answer.type}`;
  return answer.error.length > MAX_ERROR ? `${answer.error.slice(0, MAX_ERROR)}…` : answer.error;
}

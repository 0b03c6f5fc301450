import { unsupported } from '../../wire/index.js';
import type { Timing } from './config.js';
import { pushPullScale } from './formula.js';
import { incompatible } from './member.js';
import type { Roster, Verdict } from './roster.js';
import type { Sessions } from './sessions.js';
import { encodePushPull, type PushPull, type StreamMessage } from './stream.js';
import type { Timers } from './timers.js';
import type { Delegate, Joined } from './types.js';

const NOTHING = new Uint8Array(0);

/** Called at the end of an exchange, with the reason if it failed. */
type Done = (failure: string | null, now: number) => void;

/** What exchanges need from the machine. */
export interface ExchangeHost {
  /** A message about a member, from the state of another one, was handled. */
  judged(verdict: Verdict): void;
  /** A state was rejected, because its members cannot be in one cluster with those known here. */
  incompatible(): void;
}

/** Exchanges the whole state with other members over streams: to join, in every interval, and when they ask. */
export class Exchanges {
  readonly #timing: Timing;
  readonly #host: ExchangeHost;
  readonly #application: Pick<Delegate, 'localState' | 'mergeState' | 'refused'>;
  readonly #roster: Roster;
  readonly #sessions: Sessions;
  readonly #timers: Timers;
  #stopped = false;

  constructor(
    timing: Timing,
    host: ExchangeHost,
    application: Pick<Delegate, 'localState' | 'mergeState' | 'refused'>,
    roster: Roster,
    sessions: Sessions,
    timers: Timers,
  ) {
    this.#timing = timing;
    this.#host = host;
    this.#application = application;
    this.#roster = roster;
    this.#sessions = sessions;
    this.#timers = timers;
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
      this.#join(address, port, now, (failure) => {
        if (failure === null) joined.reached++;
        else joined.failures.push(`${address}: ${failure}`);
        if (--open === 0) done?.(joined);
      });
  }

  /** Exchanges states with the member at an address, as for joining. */
  contact(address: string, port: number, now: number): void {
    this.#join(address, port, now, () => undefined);
  }

  /** @param join Whether this member is joining: the other one announces it to its application. */
  exchange(address: string, port: number, join: boolean, now: number, done: Done): void {
    if (this.#stopped) return done('this member has stopped', now);
    this.#sessions.ask(
      address,
      port,
      this.#state(join, now),
      now + this.#timing.streamTimeout,
      (answer, then, failure) => {
        if (answer?.type !== 'pushPull') return done(answer === null ? failure : failureOf(answer), then);
        done(this.#merge(answer, address, then), then);
      },
      now,
    );
  }

  /** Answers the request of another member. */
  answer(request: PushPull, address: string, reply: (state: Uint8Array) => void, now: number): void {
    reply(this.#state(request.join, now)); // the state before the merge
    this.#merge(request, address, now);
  }

  #round(now: number): void {
    this.start(now + this.#timing.pushPullInterval * pushPullScale(this.#roster.size));
    const [member] = this.#roster.pick(1, (one) => one.state === 'alive');
    if (member !== undefined) this.exchange(member.address, member.port, false, now, () => undefined);
  }

  /**
   * Exchanges the whole state to join. A member that still considers this one dead, because of its former process, does
   * not accept its state. A second exchange then announces that it is alive, because packets may be late or lost.
   */
  #join(address: string, port: number, now: number, done: Done): void {
    const { incarnation } = this.#roster.self;
    this.exchange(address, port, true, now, (failure, then) => {
      if (failure !== null || this.#roster.self.incarnation === incarnation) done(failure, then);
      else this.exchange(address, port, true, then, done);
    });
  }

  #state(join: boolean, now: number): Uint8Array {
    const userState = this.#application.localState?.(join, now) ?? NOTHING;
    return encodePushPull({ type: 'pushPull', join, nodes: this.#roster.state(), userState });
  }

  /** Merges the state of another member. @returns the reason if it rejects the state. */
  #merge(remote: PushPull, address: string, now: number): string | null {
    const trouble = incompatible(remote.nodes, this.#roster.all());
    if (trouble !== null) {
      this.#host.incompatible();
      this.#application.refused?.(unsupported('memberlist', 0, trouble), address, now, 'version');
      return trouble;
    }
    for (const verdict of this.#roster.merge(remote.nodes, now)) this.#host.judged(verdict);
    // A request of a program that is not a member contains no members.
    if (remote.nodes.length > 0 || remote.userState.length > 0)
      this.#application.mergeState?.(remote.userState, now, remote.join, address);
    return null;
  }
}

/** Why an answer that is not a state ends an exchange. */
function failureOf(answer: StreamMessage): string {
  return answer.type === 'err' ? answer.error : `unexpected answer of type ${answer.type}`;
}

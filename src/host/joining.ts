/** Joins a cluster, with retries, and periodically contacts the hosts to join that are not members. */
import { isLive, TYPE, UNREADABLE } from '../gossip/memberlist/index.js';
import { family, type HostPort } from '../schema/index.js';
import { resolveHost } from './gossip-address.js';
import { type GossipHost } from './gossip.js';

/** Milliseconds until the second attempt; the delay doubles up to the maximum. */
const FIRST_DELAY = 1000;
const LAST_DELAY = 30_000;
/**
 * Milliseconds after which hosts that are not members are contacted again: after a split, each half may have forgotten
 * the other.
 */
const RECALL = 60_000;

/** Others may have sent what cannot be read, so that these texts say nothing about them for certain, and give nothing away. */
const OTHER_KEY =
  'its keys differ from ours, or it may not be gossip at all; give your agents the same `gossip.keys`, and in a rotation run ' +
  '"vtep gossip install" with the new key on each of them first';
const PLAIN = 'it is not encrypted; if it is one of your agents, start it with the key of this cluster';

export interface JoinEvents {
  /** The first host answered, after as many attempts that reached no host. */
  joined(through: string, failed: number): void;
  /** All addresses to join turned out to be this host itself. */
  onlySelf?(): void;
  /** Some hosts answered, others did not; these are contacted again after `delay` milliseconds. */
  partly(failures: readonly string[], delay: number): void;
  /** No host answered; the next attempt follows after `delay` milliseconds. */
  failed(failures: readonly string[], delay: number): void;
}

/** The result of contacting all hosts. */
interface Round {
  reached: number;
  failures: string[];
  /** Number of addresses that are this host itself. */
  own: number;
}

export class Joining {
  readonly #host: GossipHost;
  readonly #places: readonly HostPort[];
  readonly #events: JoinEvents;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;
  #joined = false;

  constructor(host: GossipHost, places: readonly HostPort[], events: JoinEvents) {
    this.#host = host;
    this.#places = places;
    this.#events = events;
  }

  /** Contacts all hosts at once. Resolves with the first answer, or when all have failed. Continues until `stop`. */
  start(): Promise<void> {
    if (this.#places.length === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#run(0, resolve));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(failed: number, first: () => void): Promise<void> {
    const { reached, failures, own } = await this.#round(failed, first);
    if (this.#stopped) return first();
    let delay = RECALL;
    if (failed === 0 && own === this.#places.length) this.#events.onlySelf?.();
    if (reached > 0 && !this.#joined) {
      this.#joined = true;
      if (failures.length > 0) this.#events.partly(failures, delay);
    } else if (!this.#joined && failures.length > 0) {
      delay = Math.min(LAST_DELAY, FIRST_DELAY * 2 ** failed);
      this.#events.failed(failures, delay);
    }
    first();
    this.#timer = setTimeout(() => void this.#run(failed + 1, first), delay);
  }

  /** Contacts every host that is not a member yet. */
  async #round(failed: number, first: () => void): Promise<Round> {
    const round: Round = { reached: 0, failures: [], own: 0 };
    const { self } = this.#host.machine;
    const tried = new Set<string>();
    await Promise.all(
      this.#places.map(async (place) => {
        try {
          const kind = family(self.address) as 4 | 6;
          const addresses = await resolveHost(place, kind);
          const others = addresses.filter(({ address, port }) => address !== self.address || port !== self.port);
          if (others.length === 0) round.own++;
          const targets = others.filter(({ address, port }) => {
            const key = `${address} ${port}`;
            return !tried.has(key) && tried.add(key) && !this.#isLiveAt(address, port);
          });
          if (this.#stopped) return;
          // A member already: it has joined this one.
          const isMember = others.some(({ address, port }) => this.#isLiveAt(address, port));
          if (targets.length === 0 && !isMember) return;
          const { reached, failures } = await this.#host.join(targets);
          if (reached > 0 || isMember) {
            if (!this.#joined && round.reached === 0) this.#events.joined(nameOf(place), failed);
            round.reached++;
            first();
          } else round.failures.push(...failures.map((failure) => `${nameOf(place)}: ${readable(failure)}`));
        } catch (error) {
          round.failures.push((error as Error).message);
        }
      }),
    );
    return round;
  }

  /** Whether an address belongs to a member. */
  #isLiveAt(address: string, port: number): boolean {
    return this.#host.machine
      .members()
      .some((member) => member.address === address && member.port === port && isLive(member));
  }
}

/** The reason why a join failed, without the leading address. */
function readable(failure: string): string {
  const reason = failure.slice(failure.indexOf(': ') + 2);
  return keyTrouble(reason) ?? reason;
}

/**
 * Explains a reason for a refusal that is about keys (also of a `refused` event); `null` if it is about something else.
 */
export function keyTrouble(reason: string): string | null {
  if (reason.includes(UNREADABLE.otherKey)) return OTHER_KEY;
  if (reason.includes(UNREADABLE.encrypted)) return 'it encrypts its gossip, and we have no key; give `gossip.keys`';
  if (reason.includes(UNREADABLE.plain)) return PLAIN;
  // The first octet of a datagram: one that is not encrypted begins with the type of its message.
  const [, version] = /encryption version (\d+)/.exec(reason) ?? [];
  if (version === undefined) return null;
  return Object.values<number>(TYPE).includes(Number(version)) ? PLAIN : 'it may not be gossip at all';
}

function nameOf({ host, port }: HostPort): string {
  const shown = host.includes(':') ? `[${host}]` : host;
  return port === 7946 ? host : `${shown}:${port}`;
}

import type { Clock } from './clock.js';
import type { Random } from './random.js';

/** How a link treats what it carries, in one direction. */
export interface LinkOptions {
  /** Milliseconds on the way. Default 1. */
  latency?: number;
  /** Milliseconds more at most, each time another number; what was sent first still arrives first. Default 0. */
  jitter?: number;
  /** Bits a second; `Infinity` by default. */
  bandwidth?: number;
  /** Bytes that may wait for a link with a bandwidth at most; what comes on top is dropped. Default 262,144. */
  queue?: number;
  /** Part of the packets that is lost, 0 to 1. Default 0. */
  loss?: number;
  /** Part of the packets, among those not lost, that arrives twice. Default 0. */
  duplicate?: number;
  /** Part of the packets, among those not lost, that is held up by `reorderDelay`, so that later ones overtake it. Default 0. */
  reorder?: number;
  /** Milliseconds. Default 10. */
  reorderDelay?: number;
  /** The largest packet, in bytes, its IP header included and that of Ethernet not. Default 1500. */
  mtu?: number;
}

const DEFAULTS: Required<LinkOptions> = {
  latency: 1,
  jitter: 0,
  bandwidth: Infinity,
  queue: 262_144,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  reorderDelay: 10,
  mtu: 1500,
};

/** What a link has done so far. */
export interface LinkCounters {
  /** Packets handed to the link, and their bytes. */
  sent: number;
  bytes: number;
  /** Arrivals, the second ones of duplicates included. */
  delivered: number;
  lost: number;
  duplicated: number;
  reordered: number;
  tooBig: number;
  /** Dropped since too many bytes were waiting. */
  overflowed: number;
}

/** What becomes of a packet; `sent` where it arrives. */
export type Fate = 'sent' | 'lost' | 'too-big' | 'overflow';

/** One direction of a link. */
export class Link {
  readonly counters: LinkCounters = {
    sent: 0,
    bytes: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    tooBig: 0,
    overflowed: 0,
  };
  readonly #clock: Clock;
  readonly #random: Random;
  #options: Required<LinkOptions> = DEFAULTS;
  /** When the last bit of what was sent so far leaves. */
  #free = 0;
  /** When the last of what keeps its order arrives. */
  #last = 0;

  /** @throws RangeError naming the option that is out of bounds. */
  constructor(clock: Clock, random: Random, options: LinkOptions = {}) {
    this.#clock = clock;
    this.#random = random;
    this.set(options);
  }

  get options(): Readonly<Required<LinkOptions>> {
    return this.#options;
  }

  /**
   * Changes the options given, for what is sent from now on.
   * @throws RangeError naming the option that is out of bounds.
   */
  set(options: LinkOptions): void {
    const changed = { ...this.#options, ...options };
    for (const name of ['latency', 'jitter', 'queue', 'reorderDelay', 'mtu'] as const)
      if (!(changed[name] >= 0)) throw new RangeError(`link.${name} is to be a number from 0 on, not ${changed[name]}`);
    for (const name of ['loss', 'duplicate', 'reorder'] as const)
      if (!(changed[name] >= 0 && changed[name] <= 1))
        throw new RangeError(`link.${name} is to be a number from 0 to 1, not ${changed[name]}`);
    if (!(changed.bandwidth > 0)) throw new RangeError(`link.bandwidth is to be above 0, not ${changed.bandwidth}`);
    this.#options = changed;
  }

  /**
   * Sends a packet of `size` bytes: `arrive` runs at the far end when it arrives, once, twice or never.
   * @returns what becomes of it, which a sender is to learn only of `too-big`.
   */
  send(size: number, arrive: () => void): Fate {
    const { latency, jitter, bandwidth, queue, loss, duplicate, reorder, reorderDelay, mtu } = this.#options;
    const { counters } = this;
    const random = this.#random;
    const { now } = this.#clock;
    counters.sent++;
    counters.bytes += size;
    if (size > mtu) {
      counters.tooBig++;
      return 'too-big';
    }
    let leaves = now;
    if (bandwidth !== Infinity) {
      const begins = Math.max(now, this.#free);
      if (((begins - now) * bandwidth) / 8000 > queue) {
        counters.overflowed++;
        return 'overflow';
      }
      leaves = this.#free = begins + (size * 8000) / bandwidth;
    }
    if (random.chance(loss)) {
      counters.lost++;
      return 'lost';
    }
    let arrives = leaves + latency + (jitter === 0 ? 0 : jitter * random.float());
    if (random.chance(reorder)) {
      counters.reordered++;
      arrives += reorderDelay;
    } else {
      arrives = this.#last = Math.max(arrives, this.#last);
    }
    const arrival = (): void => {
      counters.delivered++;
      arrive();
    };
    this.#clock.at(arrives, arrival);
    if (random.chance(duplicate)) {
      counters.duplicated++;
      this.#clock.at(arrives, arrival);
    }
    return 'sent';
  }
}

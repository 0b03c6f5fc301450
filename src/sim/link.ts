import type { Clock } from './clock.js';
import type { Random } from './random.js';

/** Conditions of a link, in one direction. */
export interface LinkOptions {
  /** Latency in milliseconds. Default 1. */
  latency?: number;
  /** Most milliseconds of random additional latency; packets stay in order. Default 0. */
  jitter?: number;
  /** Bits per second. Default `Infinity`. */
  bandwidth?: number;
  /** Queue limit in bytes of a link with a bandwidth; packets beyond it are dropped. Default 262,144. */
  queue?: number;
  /** Fraction of packets lost, 0 to 1. Default 0. */
  loss?: number;
  /** Fraction of packets, among those not lost, that arrive twice. Default 0. */
  duplicate?: number;
  /** Fraction of packets, among those not lost, delayed by `reorderDelay`, so that later ones overtake them. Default 0. */
  reorder?: number;
  /** Milliseconds. Default 10. */
  reorderDelay?: number;
  /** The largest IP packet, in bytes. Default 1500. */
  mtu?: number;
  /** Whether larger packets vanish without an ICMP error. Default false. */
  silent?: boolean;
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
  silent: false,
};

/** Counters of a link. */
export interface LinkCounters {
  /** Packets handed to the link, and their bytes. */
  sent: number;
  bytes: number;
  /** Arrivals, including the copies of duplicates. */
  delivered: number;
  lost: number;
  duplicated: number;
  reordered: number;
  tooBig: number;
  /** Dropped because the queue was full. */
  overflowed: number;
}

/** The outcome for a packet; `sent` if it arrives. */
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
  /** When the last bit sent so far leaves. */
  #free = 0;
  /** When the last packet that keeps its order arrives. */
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
   * Changes the given options for packets sent from now on.
   * @throws RangeError naming the option that is out of bounds.
   */
  set(options: LinkOptions): void {
    const changed = { ...this.#options, ...options };
    for (const name of ['latency', 'jitter', 'queue', 'reorderDelay', 'mtu'] as const)
      if (!(changed[name] >= 0)) throw new RangeError(`link.${name} must be 0 or more, not ${changed[name]}`);
    for (const name of ['loss', 'duplicate', 'reorder'] as const)
      if (!(changed[name] >= 0 && changed[name] <= 1))
        throw new RangeError(`link.${name} must be from 0 to 1, not ${changed[name]}`);
    if (!(changed.bandwidth > 0)) throw new RangeError(`link.bandwidth must be above 0, not ${changed.bandwidth}`);
    this.#options = changed;
  }

  /**
   * Sends a packet of `size` bytes: `arrive` runs at the far end when it arrives, once, twice or never.
   * @returns the outcome; a real sender would only learn of `too-big`.
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

/** Random network conditions: loss, delay, duplicates, reordering, cuts, partitions, and replayed packets. */
import type { Datagram, Link, LinkOptions, Network, Random } from '../../src/sim/index.js';
import type { Log } from './seeds.js';

/** The share of packets kept for replay, and most packets kept. */
const KEPT = 0.05;
const MAX_KEPT = 64;

/** A random link. */
export function anyLink(random: Random): LinkOptions {
  return {
    latency: 0.2 + 40 * random.float(),
    jitter: random.pick([0, 5, 40, 100]),
    loss: random.pick([0, 0, 0.05, 0.2]),
    duplicate: random.pick([0, 0.1, 0.2]),
    reorder: random.pick([0, 0.2]),
    reorderDelay: random.pick([10, 500]),
  };
}

export class Weather {
  readonly #network: Network;
  readonly #random: Random;
  readonly #log: Log;
  readonly #bad = new Set<Link>();
  readonly #kept: Datagram[] = [];

  constructor(network: Network, random: Random, log: Log) {
    this.#network = network;
    this.#random = random;
    this.#log = log;
  }

  /** Records a packet that arrived, for replay. */
  received(datagram: Datagram): void {
    if (!this.#random.chance(KEPT)) return;
    if (this.#kept.length < MAX_KEPT) this.#kept.push(datagram);
    else this.#kept[this.#random.integer(MAX_KEPT)] = datagram;
  }

  /** Forgets the packets kept for replay. */
  forget(): void {
    this.#kept.length = 0;
  }

  /** Applies a random event to the nodes at these addresses. */
  mishap(addresses: readonly string[]): void {
    const random = this.#random;
    const network = this.#network;
    const [one, other] = [random.pick(addresses), random.pick(addresses)];
    const what = random.pick(['cut', 'cut', 'deaf', 'mute', 'partition', 'path', 'replay', 'heal', 'heal'] as const);
    this.#log(`${network.clock.now.toFixed(0)} ${what} ${one} ${other}`);
    if (what === 'cut') network.cut(one, other);
    else if (what === 'deaf') for (const from of addresses) network.cut(from, one);
    else if (what === 'mute') for (const to of addresses) network.cut(one, to);
    else if (what === 'partition') {
      const sides: [string[], string[]] = [[], []];
      for (const address of addresses) sides[random.integer(2)]!.push(address);
      network.partition(...sides);
    } else if (what === 'path') {
      const path = network.path(one, other);
      path.set({ latency: 400 * random.float(), jitter: 200, loss: random.pick([0.3, 0.6, 0.9]) });
      this.#bad.add(path);
    } else if (what === 'replay') this.#replay();
    else network.heal();
  }

  /** Ends all cuts and losses, and limits delays to less than a probe's timeout. */
  calm(): void {
    this.#network.heal();
    for (const { link } of this.#network.nodes()) {
      const { jitter, reorderDelay } = link.options;
      link.set({ loss: 0, jitter: Math.min(jitter, 40), reorderDelay: Math.min(reorderDelay, 10) });
    }
    for (const path of this.#bad) path.set({ latency: 5, jitter: 5, loss: 0 });
  }

  /** Replays a recorded packet to its destination, as an eavesdropper could. */
  #replay(): void {
    for (const datagram of this.#random.shuffle([...this.#kept]).slice(0, 20)) {
      const node = this.#network.node(datagram.destination);
      if (node?.up === true) node.receiver(datagram.destinationPort)?.(datagram);
    }
  }
}

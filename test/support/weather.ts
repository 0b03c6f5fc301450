/** What may happen to a network, at random: what is lost, late, doubled or disordered, cuts, splits, and old packets again. */
import type { Datagram, Link, LinkOptions, Network, Random } from '../../src/sim/index.js';
import type { Log } from './seeds.js';

/** Of all packets, those that are kept to come again; and how many of them at most. */
const KEPT = 0.05;
const MAX_KEPT = 64;

/** A link as a seed has it. */
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

  /** A packet has arrived, and may do so again. */
  heard(datagram: Datagram): void {
    if (!this.#random.chance(KEPT)) return;
    if (this.#kept.length < MAX_KEPT) this.#kept.push(datagram);
    else this.#kept[this.#random.integer(MAX_KEPT)] = datagram;
  }

  /** What was heard so far does not come again. */
  forget(): void {
    this.#kept.length = 0;
  }

  /** Something happens between the nodes at some addresses. */
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

  /** Nothing is cut or lost any more, and nothing late for longer than a probe waits. */
  calm(): void {
    this.#network.heal();
    for (const { link } of this.#network.nodes()) {
      const { jitter, reorderDelay } = link.options;
      link.set({ loss: 0, jitter: Math.min(jitter, 40), reorderDelay: Math.min(reorderDelay, 10) });
    }
    for (const path of this.#bad) path.set({ latency: 5, jitter: 5, loss: 0 });
  }

  /** Whoever listens in on a network can send what it heard once more, to whom it was. */
  #replay(): void {
    for (const datagram of this.#random.shuffle([...this.#kept]).slice(0, 20)) {
      const node = this.#network.node(datagram.destination);
      if (node?.up === true) node.receiver(datagram.destinationPort)?.(datagram);
    }
  }
}

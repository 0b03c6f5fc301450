import type { Nodes } from './registry.js';
import type { Membership } from './types.js';

/**
 * Interval of attempts to contact absent bootstrap nodes, in milliseconds. If all are absent, the attempts repeat in
 * every `reconnectInterval` for BOOTSTRAP_PATIENCE.
 */
const BOOTSTRAP_CHECK = 60_000;
const BOOTSTRAP_PATIENCE = 10_000;

export interface ContactOptions {
  /** Interval of attempts, in milliseconds. */
  reconnectInterval: number;
  /** How long to contact a failed node, in milliseconds. */
  nodeLife: number;
  bootstrap: readonly { address: string; port: number }[];
  /** Returns a random number from 0 up to but not including 1. */
  random: () => number;
}

/** Contacts nodes that are absent: they may be alive on the other side of a split. */
export class Contacts {
  readonly #options: ContactOptions;
  readonly #nodes: Nodes;
  readonly #membership: Pick<Membership, 'contact'>;
  #nextCall = Infinity;
  #nextBootstrap = Infinity;
  #bootstrapUntil = 0;

  constructor(options: ContactOptions, nodes: Nodes, membership: Pick<Membership, 'contact'>) {
    this.#options = options;
    this.#nodes = nodes;
    this.#membership = membership;
  }

  /** The first attempt follows at a random time of the interval. */
  start(now: number): void {
    const { reconnectInterval, bootstrap, random } = this.#options;
    this.#nextCall = now + random() * reconnectInterval;
    if (bootstrap.length > 0) this.#nextBootstrap = now + BOOTSTRAP_CHECK;
  }

  stop(): void {
    this.#nextCall = this.#nextBootstrap = Infinity;
  }

  /** When `tick` must be called next. */
  get next(): number {
    return Math.min(this.#nextCall, this.#nextBootstrap);
  }

  tick(now: number): void {
    if (now >= this.#nextBootstrap) {
      this.#nextBootstrap = now + BOOTSTRAP_CHECK;
      this.#bootstrapUntil = now + BOOTSTRAP_PATIENCE;
    }
    if (now >= this.#nextCall) {
      this.#nextCall = now + this.#options.reconnectInterval;
      this.#call(now);
    }
  }

  /** Contacts one of the failed nodes, and the absent bootstrap nodes every `BOOTSTRAP_CHECK`. */
  #call(now: number): void {
    const { nodeLife, bootstrap, random } = this.#options;
    const failed = [...this.#nodes.failed()].filter((node) => now - node.since < nodeLife);
    if (failed.length > 0) {
      const { address, port } = failed[Math.floor(random() * failed.length)]!;
      this.#membership.contact(address, port);
    }
    if (now >= this.#bootstrapUntil) return;
    const absent = bootstrap.filter(({ address, port }) => !this.#isAt(address, port));
    for (const { address, port } of absent) this.#membership.contact(address, port);
    // While one is present, the others are contacted once: after a split they may be a cluster of their own.
    if (absent.length < bootstrap.length) this.#bootstrapUntil = 0;
  }

  /** Whether a node at an address is alive. */
  #isAt(address: string, port: number): boolean {
    return this.#nodes.at(address, port).some(({ alive }) => alive);
  }
}

/** A node as its membership and its own events tell of it. */
export interface NodeRecord {
  readonly name: string;
  address: string;
  port: number;
  /** Whether the membership layer holds it for alive. */
  alive: boolean;
  /** Whether it said that it goes for good, or another node has its address now. */
  left: boolean;
  /** Lamport time of its last event. */
  time: number;
  /** When `alive` or `left` changed last. */
  since: number;
}

/** That a node is in a network. */
export interface Attachment {
  /** Lamport time; 0 where it was concluded, and not told. */
  time: number;
  leaving: boolean;
  /** When it changed last. */
  since: number;
}

/** Who is attached to which network. The number of all attachments is bounded. */
export class Attachments {
  readonly #capacity: number;
  readonly #networks = new Map<string, Map<string, Attachment>>();
  #size = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#size;
  }

  get(network: string, node: string): Attachment | undefined {
    return this.#networks.get(network)?.get(node);
  }

  /** Changes or adds one, and says whether there was room for it. */
  set(network: string, node: string, attachment: Attachment, needed = false): boolean {
    let nodes = this.#networks.get(network);
    if (nodes?.has(node) !== true) {
      if (this.#size >= this.#capacity && !needed) return false;
      this.#size++;
    }
    if (nodes === undefined) this.#networks.set(network, (nodes = new Map<string, Attachment>()));
    nodes.set(node, attachment);
    return true;
  }

  remove(network: string, node: string): void {
    const nodes = this.#networks.get(network);
    if (nodes?.delete(node) !== true) return;
    this.#size--;
    if (nodes.size === 0) this.#networks.delete(network);
  }

  of(network: string): Iterable<[node: string, attachment: Attachment]> {
    return this.#networks.get(network) ?? [];
  }

  *all(): Generator<[network: string, node: string, attachment: Attachment]> {
    for (const [network, nodes] of this.#networks)
      for (const [node, attachment] of nodes) yield [network, node, attachment];
  }
}

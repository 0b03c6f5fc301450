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
  /** Another one at the same address, whatever its port. */
  beside: NodeRecord | null;
}

/** All other nodes, by name and by address; and those that failed, apart. */
export class Nodes {
  readonly #byName = new Map<string, NodeRecord>();
  /** The first of those at each address. */
  readonly #byAddress = new Map<string, NodeRecord>();
  readonly #failed = new Set<NodeRecord>();

  get size(): number {
    return this.#byName.size;
  }

  get(name: string): NodeRecord | undefined {
    return this.#byName.get(name);
  }

  all(): Iterable<NodeRecord> {
    return this.#byName.values();
  }

  /** Those that are not alive and did not say that they go. */
  failed(): Iterable<NodeRecord> {
    return this.#failed;
  }

  /** Those at an address and a port. */
  at(address: string, port: number): NodeRecord[] {
    const found: NodeRecord[] = [];
    for (let one = this.#byAddress.get(address) ?? null; one !== null; one = one.beside)
      if (one.port === port) found.push(one);
    return found;
  }

  add(node: NodeRecord): void {
    this.#byName.set(node.name, node);
    this.#house(node);
    this.changed(node);
  }

  /** A node has another address or port now. */
  move(node: NodeRecord, address: string, port: number): void {
    node.port = port;
    if (node.address === address) return;
    this.#unhouse(node);
    node.address = address;
    this.#house(node);
  }

  /** To be told where `alive` or `left` of a node changed. */
  changed(node: NodeRecord): void {
    if (node.alive || node.left) this.#failed.delete(node);
    else this.#failed.add(node);
  }

  remove(node: NodeRecord): void {
    this.#byName.delete(node.name);
    this.#failed.delete(node);
    this.#unhouse(node);
  }

  #house(node: NodeRecord): void {
    node.beside = this.#byAddress.get(node.address) ?? null;
    this.#byAddress.set(node.address, node);
  }

  #unhouse(node: NodeRecord): void {
    let one = this.#byAddress.get(node.address)!;
    if (one !== node) {
      while (one.beside !== node) one = one.beside!;
      one.beside = node.beside;
    } else if (node.beside === null) this.#byAddress.delete(node.address);
    else this.#byAddress.set(node.address, node.beside);
    node.beside = null;
  }
}

/** That a node is in a network. */
export interface Attachment {
  /** Lamport time; 0 where it was concluded, and not told. */
  time: number;
  leaving: boolean;
  /** When it changed last. */
  since: number;
  /** As a `NetworkEntry`, once that was needed; to be dropped with every change of `time` or `leaving`. */
  encoded: Uint8Array | null;
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

  /** The networks that anybody is attached to. */
  networks(): Iterable<string> {
    return this.#networks.keys();
  }

  *all(): Generator<[network: string, node: string, attachment: Attachment]> {
    for (const [network, nodes] of this.#networks)
      for (const [node, attachment] of nodes) yield [network, node, attachment];
  }
}

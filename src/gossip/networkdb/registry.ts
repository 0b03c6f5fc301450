/** A node, according to the membership layer and its own events. */
export interface NodeRecord {
  readonly name: string;
  address: string;
  port: number;
  /** Whether it is alive according to the membership layer. */
  alive: boolean;
  /** Whether it announced that it leaves, or another node has its address now. */
  left: boolean;
  /** Lamport time of its last event. */
  time: number;
  /** When `alive` or `left` last changed. */
  since: number;
  /** The next node at the same address, with any port. */
  beside: NodeRecord | null;
}

/** All other nodes, by name and by address, and a set of those that failed. */
export class Nodes {
  readonly #byName = new Map<string, NodeRecord>();
  /** The first node at each address. */
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

  /** The nodes that are not alive and did not announce that they leave. */
  failed(): Iterable<NodeRecord> {
    return this.#failed;
  }

  /** The nodes at an address and a port. */
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

  /** Moves a node to another address or port. */
  move(node: NodeRecord, address: string, port: number): void {
    node.port = port;
    if (node.address === address) return;
    this.#unhouse(node);
    node.address = address;
    this.#house(node);
  }

  /** Must be called after `alive` or `left` of a node changed. */
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

/** The attachment of a node to a network. */
export interface Attachment {
  /** Lamport time; 0 if it was concluded, and not announced. */
  time: number;
  leaving: boolean;
  /** When it last changed. */
  since: number;
  /** A cached `NetworkEntry`; every change of `time` or `leaving` must drop it. */
  encoded: Uint8Array | null;
}

/** The attachments of all nodes. Their number is bounded. */
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

  /** Changes or adds an attachment. @returns whether there was room for it. */
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

  /** The networks that any node is attached to. */
  networks(): Iterable<string> {
    return this.#networks.keys();
  }

  *all(): Generator<[network: string, node: string, attachment: Attachment]> {
    for (const [network, nodes] of this.#networks)
      for (const [node, attachment] of nodes) yield [network, node, attachment];
  }
}

import { placeOf } from '../memberlist/index.js';

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
  /** Lamport time of its latest attachment to a network: it had not left before. */
  attached: number;
  /** When `alive` or `left` last changed. */
  since: number;
}

/** All other nodes, by name and by address, and sets of those that are not alive and of those that failed. */
export class Nodes {
  readonly #byName = new Map<string, NodeRecord>();
  /** By address and port, the nodes that did not announce that they leave: seldom more than one. */
  readonly #byPlace = new Map<string, Set<NodeRecord>>();
  /** In the order in which they went. */
  readonly #gone = new Set<NodeRecord>();
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

  /** The nodes that are not alive, the one that has been gone for longest first. */
  gone(): Iterable<NodeRecord> {
    return this.#gone;
  }

  /** The nodes that are not alive and did not announce that they leave. */
  failed(): Iterable<NodeRecord> {
    return this.#failed;
  }

  /** The nodes at an address and a port that have not left. */
  at(address: string, port: number): NodeRecord[] {
    return [...(this.#byPlace.get(placeOf(address, port)) ?? [])];
  }

  add(node: NodeRecord): void {
    this.#byName.set(node.name, node);
    this.changed(node);
  }

  /** Moves a node to another address or port. */
  move(node: NodeRecord, address: string, port: number): void {
    if (node.address === address && node.port === port) return;
    this.#unhouse(node);
    node.address = address;
    node.port = port;
    this.changed(node);
  }

  /** Must be called after `alive` or `left` of a node changed. */
  changed(node: NodeRecord): void {
    if (node.alive) this.#gone.delete(node);
    else this.#gone.add(node);
    if (node.alive || node.left) this.#failed.delete(node);
    else this.#failed.add(node);
    if (node.left) this.#unhouse(node);
    else this.#house(node);
  }

  remove(node: NodeRecord): void {
    this.#byName.delete(node.name);
    this.#gone.delete(node);
    this.#failed.delete(node);
    this.#unhouse(node);
  }

  #house(node: NodeRecord): void {
    const place = placeOf(node.address, node.port);
    const there = this.#byPlace.get(place);
    if (there === undefined) this.#byPlace.set(place, new Set([node]));
    else there.add(node);
  }

  #unhouse(node: NodeRecord): void {
    const place = placeOf(node.address, node.port);
    const there = this.#byPlace.get(place);
    if (there?.delete(node) === true && there.size === 0) this.#byPlace.delete(place);
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

/** Maximum number of networks of one node. */
const MAX_OF_NODE = 16_384;

/** The attachments of all nodes. Their number is bounded, in total and for one node. */
export class Attachments {
  readonly #capacity: number;
  readonly #networks = new Map<string, Map<string, Attachment>>();
  /** The networks of each node. */
  readonly #byNode = new Map<string, Set<string>>();
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
      let networks = this.#byNode.get(node);
      if (!needed && (this.#size >= this.#capacity || (networks?.size ?? 0) >= MAX_OF_NODE)) return false;
      this.#size++;
      if (networks === undefined) this.#byNode.set(node, (networks = new Set<string>()));
      networks.add(network);
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
    const networks = this.#byNode.get(node)!;
    networks.delete(network);
    if (networks.size === 0) this.#byNode.delete(node);
  }

  of(network: string): Iterable<[node: string, attachment: Attachment]> {
    return this.#networks.get(network) ?? [];
  }

  /** A list of the networks of a node. */
  networksOf(node: string): string[] {
    return [...(this.#byNode.get(node) ?? [])];
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

import { Attachments, Nodes, type Attachment, type NodeRecord } from './registry.js';

/** A network that this node is attached to. */
export interface LocalNetwork {
  readonly id: string;
  /** Whether no tables of other nodes have arrived since this node joined. */
  fresh: boolean;
  /** When all entries of this node were last announced again. */
  reannounced: number;
}

/** Which nodes are active, and attached to which networks: whose entries are visible, and who gets them. */
export class Presence {
  /** The other nodes. Changes of their state go through `change`. */
  readonly nodes = new Nodes();
  /** The networks that this node is attached to. */
  readonly networks = new Map<string, LocalNetwork>();
  readonly #self: string;
  readonly #attachments: Attachments;
  /** A cache of the other nodes in a network, in any order; a node that comes or goes invalidates it. */
  readonly #peers = new Map<string, string[]>();

  /** @param capacity Maximum number of attachments of other nodes. */
  constructor(self: string, capacity: number) {
    this.#self = self;
    this.#attachments = new Attachments(capacity);
  }

  // ---- State ----

  /** Whether the entries of an owner in a network are visible. */
  present(network: string, owner: string): boolean {
    if (owner === this.#self) return this.networks.has(network);
    const attachment = this.#attachments.get(network, owner);
    return attachment !== undefined && !attachment.leaving && this.isActive(owner);
  }

  isActive(name: string): boolean {
    const node = this.nodes.get(name);
    return node !== undefined && node.alive && !node.left;
  }

  /** The other nodes in a network, from the cache: a caller that reorders the list reorders it for all. */
  peersOf(network: string): string[] {
    let peers = this.#peers.get(network);
    if (peers !== undefined) return peers;
    peers = [];
    for (const [node, { leaving }] of this.#attachments.of(network))
      if (!leaving && node !== this.#self && this.isActive(node)) peers.push(node);
    if (this.networks.has(network)) this.#peers.set(network, peers);
    return peers;
  }

  /** The networks that both this node and another one are attached to. */
  common(peer: string): string[] {
    return [...this.networks.keys()].filter((network) => this.present(network, peer));
  }

  /** The networks that any known node is attached to, those of this node first. */
  known(): string[] {
    return [...new Set([...this.networks.keys(), ...this.#attachments.networks()])];
  }

  // ---- Nodes ----

  add(node: NodeRecord): void {
    this.nodes.add(node);
    this.#peers.clear();
  }

  /** Changes the state of a node. */
  change(node: NodeRecord, alive: boolean, left: boolean, now: number): void {
    node.alive = alive;
    node.left = left;
    node.since = now;
    this.nodes.changed(node);
    this.#peers.clear();
  }

  // ---- Attachments ----

  /** Number of attachments, including those of this node. */
  get size(): number {
    return this.#attachments.size;
  }

  attachment(network: string, node: string): Attachment | undefined {
    return this.#attachments.get(network, node);
  }

  attachments(): Iterable<[network: string, node: string, attachment: Attachment]> {
    return this.#attachments.all();
  }

  /** Changes or adds an attachment. @returns whether there was room for it. */
  attach(network: string, node: string, attachment: Attachment, needed = false): boolean {
    this.#peers.delete(network);
    return this.#attachments.set(network, node, attachment, needed);
  }

  detach(network: string, node: string): void {
    this.#peers.delete(network);
    this.#attachments.remove(network, node);
  }

  /** A list of the networks that a node is attached to, or has left recently. */
  networksOf(node: string): string[] {
    return this.#attachments.networksOf(node);
  }

  /** Removes all attachments of a node. */
  detachAll(node: string): void {
    for (const network of this.#attachments.networksOf(node)) this.detach(network, node);
  }
}

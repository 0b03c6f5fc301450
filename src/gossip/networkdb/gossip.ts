import { retransmitLimit } from '../memberlist/index.js';
import { asciiCreationLength, CompoundWriter } from './compound-writer.js';
import { COMPOUND_OVERHEAD, MEMBER_OVERHEAD } from './messages.js';
import { pack, type Packed } from './packed.js';
import { BroadcastQueue } from './queue.js';
import { Rounds } from './rounds.js';
import { sample } from './sample.js';
import type { Entry } from './store.js';
import type { CountName } from './types.js';

/** Maximum number of queued messages in each queue. */
const QUEUE = 4096;
/** Maximum number of nodes of a network to which many new entries are pushed over streams. */
const PUSHED = 5;

export interface GossipOptions {
  /** Interval of table events in milliseconds, and number of nodes of each network to send to. */
  gossipInterval: number;
  gossipNodes: number;
  /** Maximum length of a packet, in octets. */
  packetSize: number;
  retransmitMult: number;
  /** Returns the time in milliseconds. */
  clock?: (() => number) | undefined;
}

/** What gossip needs from the machine. */
export interface GossipHost {
  /** The other nodes in a network; gossip reorders the list. */
  peersOf(network: string): string[];
  sendPacket(node: string, packet: Uint8Array): void;
  /** Returns the Lamport time of the latest table event. */
  time(): number;
  /** Sends a node the entries of this node in some networks over a stream: those later than a Lamport time for each. */
  push(node: string, networks: ReadonlyMap<string, number>, now: number): void;
  count(name: CountName): void;
  /** Returns a random number from 0 up to but not including 1. */
  random(): number;
}

/**
 * A table event: as it is sent, or as the entry that it creates, which is stored anyway. After a bulk sync there may be one
 * for each entry.
 */
type Queued = Packed | Entry;

/** The table events of a network that this node is attached to. */
interface Queues {
  readonly id: string;
  /** Events of this node, sent before those of other nodes. */
  readonly own: BroadcastQueue<Queued>;
  readonly relayed: BroadcastQueue<Queued>;
  /** Lamport time of the last push: it had the events up to then. */
  pushed: number;
}

/**
 * What this node announces: events of nodes and networks, which travel in packets of the membership layer to all nodes,
 * and events of tables, which this node sends to some nodes of the network in every interval.
 */
export class Gossip {
  readonly #options: GossipOptions;
  readonly #host: GossipHost;
  readonly #rounds: Rounds<Queues>;
  readonly #networks = new Map<string, Queues>();
  readonly #events: BroadcastQueue<Uint8Array>;
  readonly #packet = new CompoundWriter();

  constructor(options: GossipOptions, host: GossipHost) {
    this.#options = options;
    this.#host = host;
    this.#rounds = new Rounds(options.gossipInterval, options.clock);
    this.#events = new BroadcastQueue(QUEUE, options.retransmitMult, ({ length }) => length);
  }

  // ---- Events of nodes and networks ----

  /** Queues an event of a node or a network, which replaces an earlier one with the same subject. */
  broadcast(about: string, message: Uint8Array): void {
    if (this.#events.put(about, message)) this.#host.count('queue-full');
  }

  /**
   * Takes such events for a packet.
   * @param overhead Octets that each message takes in addition.
   * @param limit Octets that are free in the packet.
   * @param nodes Number of nodes of the cluster.
   */
  take(overhead: number, limit: number, nodes: number): Uint8Array[] {
    return this.#events.take(limit, overhead, nodes);
  }

  /** Whether there are such events that have not been sent at all. */
  get pressing(): boolean {
    return this.#events.hasNew;
  }

  // ---- Events of tables ----

  /** Adds a network, without events. */
  open(network: string): void {
    const { retransmitMult } = this.#options;
    this.#networks.set(network, {
      id: network,
      own: new BroadcastQueue(QUEUE, retransmitMult, lengthOf),
      relayed: new BroadcastQueue(QUEUE, retransmitMult, lengthOf),
      pushed: 0,
    });
  }

  close(network: string): void {
    this.#networks.delete(network);
  }

  /** Queues an event of this node. */
  announce(network: string, about: string, message: Uint8Array): void {
    this.#enqueue(this.#networks.get(network)!.own, about, message, null);
  }

  /**
   * Queues an event that may wait for those of this node. The caller may reuse the bytes.
   * @param entry The entry that the event creates, if it does.
   */
  relay(network: string, about: string, message: Uint8Array, entry: Entry | null = null): void {
    this.#enqueue(this.#networks.get(network)!.relayed, about, message, entry);
  }

  /** Number of queued events that are not this node's own. */
  backlog(network: string): number {
    return this.#networks.get(network)!.relayed.size;
  }

  #enqueue(queue: BroadcastQueue<Queued>, about: string, message: Uint8Array, entry: Entry | null): void {
    // An event that does not fit into any packet travels by bulk sync only.
    if (message.length + MEMBER_OVERHEAD + COMPOUND_OVERHEAD > this.#options.packetSize)
      return this.#host.count('oversized');
    // With another length it has fields that the entry lacks, or names that are not of ASCII.
    const isWhole = entry !== null && lengthOf(entry) === message.length;
    if (queue.put(about, isWhole ? entry : pack(message))) this.#host.count('queue-full');
  }

  /** Number of all queued events. */
  get size(): number {
    let size = this.#events.size;
    for (const { own, relayed } of this.#networks.values()) size += own.size + relayed.size;
    return size;
  }

  // ---- Time ----

  /** The first round follows at a random time of the interval. */
  start(now: number): void {
    this.#rounds.start(now + this.#host.random() * this.#options.gossipInterval);
  }

  stop(): void {
    this.#rounds.stop();
  }

  /** When `tick` must be called next. */
  get next(): number {
    return this.#rounds.next;
  }

  tick(now: number): void {
    this.#rounds.tick(
      now,
      () =>
        [...this.#networks.values()].filter(
          ({ id, own, relayed }) => (own.size > 0 || relayed.size > 0) && this.#host.peersOf(id).length > 0,
        ),
      (network) => this.#send(network),
      (round) => this.#push(round, now),
    );
  }

  /** Sends queued events of a network, in one packet, to some of the other nodes there. */
  #send({ id, own, relayed }: Queues): void {
    if (own.size === 0 && relayed.size === 0) return;
    const peers = this.#host.peersOf(id);
    if (peers.length === 0) return;
    const budget = this.#options.packetSize - COMPOUND_OVERHEAD;
    const nodes = peers.length + 1;
    const messages = own.take(budget, MEMBER_OVERHEAD, nodes);
    const used = messages.reduce((sum, message) => sum + lengthOf(message) + MEMBER_OVERHEAD, 0);
    messages.push(...relayed.take(budget - used, MEMBER_OVERHEAD, nodes));
    if (messages.length === 0) return;
    for (const message of messages)
      if (typeof message === 'string') this.#packet.add(message);
      else this.#packet.addCreation(message);
    const packet = this.#packet.take();
    for (const peer of this.#sample(peers, this.#options.gossipNodes)) this.#host.sendPacket(peer, packet);
  }

  /**
   * Sends entries of this node that did not fit into a packet to some of the other nodes over streams: after many
   * writes at once, gossip alone would take seconds.
   */
  #push(round: readonly Queues[], now: number): void {
    const time = this.#host.time();
    const networks = new Map<string, Map<string, number>>();
    for (const queues of round) {
      const { id, own, pushed } = queues;
      if (!own.hasNew) continue;
      const peers = this.#host.peersOf(id);
      // If every node gets them, a single repetition by gossip is left, in case a stream fails.
      own.markSent(peers.length <= PUSHED ? retransmitLimit(this.#options.retransmitMult, peers.length + 1) - 1 : 1);
      queues.pushed = time;
      for (const peer of this.#sample(peers, PUSHED)) {
        const those = networks.get(peer);
        if (those === undefined) networks.set(peer, new Map([[id, pushed]]));
        else those.set(id, pushed);
      }
    }
    for (const [peer, those] of networks) this.#host.push(peer, those, now);
  }

  #sample(peers: string[], count: number): string[] {
    return sample(peers, count, () => this.#host.random());
  }
}

function lengthOf(message: Queued): number {
  return typeof message === 'string' ? message.length : asciiCreationLength(message);
}

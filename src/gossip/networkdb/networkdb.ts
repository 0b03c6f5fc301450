import { Contacts } from './contacts.js';
import { Gossip } from './gossip.js';
import { Inbox } from './inbox.js';
import { Lamport } from './lamport.js';
import { type BulkSyncMessage } from './messages.js';
import { NodeEvents } from './node-events.js';
import { checkName } from './names.js';
import { OwnEntries, type Reclaimer } from './own-entries.js';
import { Presence } from './presence.js';
import { sample } from './sample.js';
import { Syncs } from './syncs.js';
import { TableEvents } from './table-events.js';
import { Tables } from './tables.js';
import {
  COUNTS,
  type CountName,
  type EntryListing,
  type Membership,
  type Moment,
  type NetworkDbOptions,
  type NodeListing,
  type Peer,
  type Watcher,
} from './types.js';
import { Waiters } from './waiters.js';
import { Work } from '../memberlist/index.js';

/**
 * Docker's NetworkDB as a machine: tables of entries, replicated to all nodes that are attached to a network. Its
 * inputs are messages, nodes that come and go, and the time; its output goes to a {@link Membership}.
 *
 * The state is three maps in which the later event wins, by Lamport time: entries, attachments, and nodes. An entry is
 * visible while its owner is attached to the network and active, so the order in which these arrive does not matter.
 * The node refutes wrong events about itself with a later event of its own.
 */
export class NetworkDb {
  readonly name: string;
  readonly #moment: Moment = { now: 0 };
  readonly #random: () => number;
  readonly #counts = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Record<CountName, number>;
  readonly #count = (name: CountName): void => void this.#counts[name]++;
  /** The clock of table events and bulk syncs. */
  readonly #tableClock = new Lamport();
  readonly #presence: Presence;
  readonly #tables: Tables;
  readonly #own: OwnEntries;
  readonly #tableEvents: TableEvents;
  readonly #nodeEvents: NodeEvents;
  readonly #inbox: Inbox;
  readonly #gossip: Gossip;
  readonly #syncs: Syncs;
  readonly #waiters: Waiters;
  readonly #contacts: Contacts;
  readonly #work: Work;
  readonly #bulkSyncInterval: number;
  readonly #reapInterval: number;
  #nextBulk = Infinity;
  #nextReap = Infinity;
  #running = false;

  constructor(options: NetworkDbOptions, membership: Membership) {
    const all = {
      gossipInterval: 200,
      gossipNodes: 3,
      bulkSyncInterval: 30_000,
      answerTimeout: 30_000,
      reapInterval: 5000,
      tombstoneLife: 1_800_000,
      nodeLife: 86_400_000,
      reconnectInterval: 1000,
      bootstrap: [],
      packetSize: 1400,
      retransmitMult: 4,
      maxAttachments: 65_536,
      ...options,
      limits: { entries: 131_072, bytes: 64 << 20, held: 4096, ...options.limits },
    };
    const { name, random, tombstoneLife } = all;
    this.name = name;
    this.#random = random;
    this.#bulkSyncInterval = all.bulkSyncInterval;
    this.#reapInterval = all.reapInterval;
    const moment = this.#moment;
    const count = this.#count;
    const misnamed = (name: string, problem: string, node: string): void => {
      count('misnamed');
      membership.misnamed?.(name, problem, node);
    };
    const presence = new Presence(name, all.maxAttachments);
    const tables = new Tables(name, all.limits, tombstoneLife, (network, owner) => presence.present(network, owner));
    const work = new Work(options.clock);
    const syncs = new Syncs(
      name,
      all.answerTimeout,
      {
        present: (network, node) => presence.present(network, node),
        isActive: (node) => presence.isActive(node),
        common: (node) => presence.common(node),
        attached: (network) => presence.networks.has(network),
        entries: (network) => tables.store.of(network),
        size: (network) => tables.store.count(network),
        increment: () => this.#tableClock.increment(),
        conclude: (node, networks) => this.#nodeEvents.conclude(node, networks),
        merge: (bytes, from, to, member) => this.#inbox.bulkMember(bytes, from, to, member),
        synced: (network) => {
          const local = presence.networks.get(network);
          if (local !== undefined) local.fresh = false;
        },
        settled: (networks) => {
          for (const network of networks) this.#waiters.check(network);
        },
        send: (node, message) => membership.sendReliable(node, message),
        count,
        random,
      },
      work,
    );
    const gossip = new Gossip(all, {
      peersOf: (network) => presence.peersOf(network),
      sendPacket: (node, packet) => membership.sendPacket(node, packet),
      time: () => this.#tableClock.time,
      push: (node, networks, now) => syncs.push(node, networks, now),
      count,
      random,
    });
    this.#own = new OwnEntries(
      name,
      tombstoneLife,
      { attached: (network) => presence.networks.has(network), count },
      this.#tableClock,
      tables,
      gossip,
      moment,
    );
    this.#tableEvents = new TableEvents(
      name,
      tombstoneLife,
      { inSync: (network) => syncs.inSync(network), misnamed, count },
      this.#tableClock,
      presence,
      tables,
      this.#own,
      gossip,
      moment,
    );
    this.#nodeEvents = new NodeEvents(
      all,
      { reannounce: (network, later) => this.#own.reannounce(network, later), misnamed, count },
      new Lamport(),
      presence,
      tables,
      syncs,
      gossip,
      work,
      moment,
    );
    this.#inbox = new Inbox(
      {
        tableEvent: (event, message, origin) => this.#tableEvents.receive(event, message, origin),
        networkEvent: (type, time, node, network, relay) =>
          this.#nodeEvents.receiveAttachment(type, time, node, network, relay),
        nodeEvent: (type, time, node) => this.#nodeEvents.receiveNode(type, time, node),
        bulkSync: (sync) => this.#bulkSync(sync),
        state: (time, node) => this.#nodeEvents.receiveState(time, node),
        count,
      },
      work,
      moment,
    );
    this.#presence = presence;
    this.#tables = tables;
    this.#work = work;
    this.#syncs = syncs;
    this.#gossip = gossip;
    this.#waiters = new Waiters((network) => syncs.inSync(network), work, moment);
    this.#contacts = new Contacts(all, presence.nodes, membership);
  }

  // ---- Actions of this node ----

  /** Starts, after the membership layer has joined or created a cluster. */
  start(now: number): void {
    this.#moment.now = now;
    this.#running = true;
    // Each at a random time of its interval, so that nodes that start together do not all ask at the same moment.
    this.#gossip.start(now);
    this.#nextBulk = now + this.#random() * this.#bulkSyncInterval;
    this.#nextReap = now + this.#random() * this.#reapInterval;
    this.#contacts.start(now);
    this.#nodeEvents.start();
  }

  /** Announces that this node leaves. The caller lets the membership layer send broadcasts for a while, then leave. */
  close(now: number): void {
    this.#moment.now = now;
    this.#running = false;
    this.#gossip.stop();
    this.#syncs.stop();
    this.#work.clear();
    this.#contacts.stop();
    this.#nextBulk = this.#nextReap = Infinity;
    this.#nodeEvents.close();
  }

  /**
   * Attaches this node to a network. The next `tick` starts a bulk sync with all other nodes there, one for each node
   * and all networks joined since the last `tick`. It includes the entries created until then.
   */
  joinNetwork(network: string, now: number): void {
    checkName('network', network);
    this.#moment.now = now;
    const { networks } = this.#presence;
    if (networks.has(network)) return;
    networks.set(network, { id: network, fresh: true, reannounced: -Infinity });
    this.#gossip.open(network);
    this.#tables.store.add(network);
    this.#nodeEvents.announceAttachment(network);
    this.#syncs.begin(network, this.#presence.peersOf(network), now);
  }

  /** Leaves a network, which removes all entries of this node there. */
  leaveNetwork(network: string, now: number): void {
    this.#moment.now = now;
    if (!this.#presence.networks.delete(network)) return;
    this.#gossip.close(network);
    this.#waiters.cancel(network);
    this.#nodeEvents.announceAttachment(network);
    this.#syncs.end(network);
    this.#tables.drop(network, now);
  }

  /**
   * Creates an entry, owned by this node.
   * @throws RangeError if it exists, this node is not attached, or a name or the value is too long.
   */
  createEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    this.#moment.now = now;
    this.#own.create(network, table, key, value);
  }

  /** Changes an entry; this node becomes its owner. @throws RangeError as `createEntry`, but if it does not exist. */
  updateEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    this.#moment.now = now;
    this.#own.update(network, table, key, value);
  }

  /**
   * Replaces an entry, as a deletion and a creation; this node becomes its owner. Docker up to release 28 treats an
   * update of an endpoint as its withdrawal.
   * @throws RangeError as `updateEntry`.
   */
  replaceEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    this.#moment.now = now;
    this.#own.replace(network, table, key, value);
  }

  /** Deletes an entry. @throws RangeError if it does not exist. */
  deleteEntry(network: string, table: string, key: string, now: number): void {
    this.#moment.now = now;
    this.#own.delete(network, table, key);
  }

  /**
   * Calls the watcher with a creation for each present entry, and then with every change.
   * @param filter Without a field: all tables, all networks.
   * @returns a function that stops it.
   */
  watch(filter: { table?: string; network?: string }, watcher: Watcher): () => void {
    return this.#tables.watch(filter, watcher, this.#moment.now);
  }

  /**
   * Calls back when the tables of the other nodes in a network are known, or after `patience` milliseconds; immediately
   * if they are known already. Leaving the network cancels it.
   */
  whenSynced(network: string, patience: number, now: number, then: (now: number) => void): void {
    if (!this.#presence.networks.has(network)) return;
    if (this.#syncs.inSync(network)) return then(now);
    this.#waiters.add(network, now + patience, false, then);
  }

  /** Calls back after `delay` milliseconds, unless this node leaves the network before. */
  after(network: string, delay: number, now: number, then: (now: number) => void): void {
    if (this.#presence.networks.has(network)) this.#waiters.add(network, now + delay, true, then);
  }

  /**
   * Registers a function that decides about entries that this node wrote before a restart, that others still have and
   * that it has not written again. If it returns true, the entry stays with its time; otherwise it is deleted.
   * @returns a function that removes it.
   */
  reclaim(filter: { table: string; network: string }, reclaimer: Reclaimer): () => void {
    return this.#own.reclaim(filter, reclaimer);
  }

  // ---- State ----

  /** The networks that this node is attached to, and whether the tables of the other nodes there are known. */
  networks(): { network: string; inSync: boolean }[] {
    return [...this.#presence.networks.keys()].map((network) => ({ network, inSync: this.#syncs.inSync(network) }));
  }

  /** The networks that any known node is attached to. */
  known(): string[] {
    return this.#presence.known();
  }

  /** The nodes attached to a network, including this one. */
  peers(network: string): string[] {
    const peers = this.#presence.peersOf(network);
    return this.#presence.networks.has(network) ? [this.name, ...peers] : [...peers];
  }

  /** The visible entries. */
  entries(network: string, table?: string): EntryListing[] {
    return [...this.#tables.entries(network, table)];
  }

  /** As `entries`, one after the other, so that the caller can interrupt a long listing. */
  eachEntry(network: string, table?: string): Iterable<EntryListing> {
    return this.#tables.entries(network, table);
  }

  /** The invisible entries, with the reason: deleted ones, and those whose owner is absent. */
  remembered(network: string, now: number): (EntryListing & { state: 'withdrawn' | 'hidden'; expiresIn: number })[] {
    return this.#tables.remembered(network, now);
  }

  /** Returns a visible entry. */
  entry(network: string, table: string, key: string): EntryListing | undefined {
    return this.#tables.entry(network, table, key);
  }

  /** All known other nodes. */
  nodes(): NodeListing[] {
    return [...this.#presence.nodes.all()].map(({ name, address, port, alive, left }) => {
      return { name, address, port, state: left ? 'left' : alive ? 'active' : 'failed' };
    });
  }

  /** Counters of events, and sizes. */
  counters(): { counts: Record<CountName, number>; entries: number; attachments: number; queued: number } {
    return {
      counts: { ...this.#counts },
      entries: this.#tables.store.size,
      attachments: this.#presence.size,
      queued: this.#gossip.size,
    };
  }

  // ---- Time ----

  /** When `tick` must be called next. */
  get next(): number {
    return Math.min(
      this.#gossip.next,
      this.#nextBulk,
      this.#nextReap,
      this.#contacts.next,
      this.#work.due,
      this.#waiters.next,
      this.#running ? this.#syncs.next : Infinity,
    );
  }

  /** Performs what is due. */
  tick(now: number): void {
    this.#moment.now = now;
    if (!this.#running) return;
    this.#work.run(now);
    this.#syncs.tick(now);
    this.#waiters.tick();
    this.#gossip.tick(now);
    if (now >= this.#nextBulk) {
      this.#nextBulk = now + this.#bulkSyncInterval;
      this.#syncRound(now);
    }
    if (now >= this.#nextReap) {
      this.#nextReap = now + this.#reapInterval;
      this.#work.add(this.#reap(), now);
    }
    this.#contacts.tick(now);
  }

  #syncRound(now: number): void {
    const networks = [...this.#presence.networks.keys()];
    const twoPeers = (network: string): string[] => sample(this.#presence.peersOf(network), 2, this.#random);
    this.#syncs.round(sample(networks, networks.length, this.#random), twoPeers, now);
  }

  /** Removes deleted entries, attachments and nodes after their lifetimes. */
  *#reap(): Generator<number, void> {
    yield* this.#tables.reap(() => this.#moment.now);
    this.#nodeEvents.reap();
  }

  // ---- Input of the membership layer ----

  /** A node is alive: it joined, or returned. */
  nodeJoined(peer: Peer, now: number): void {
    this.#moment.now = now;
    this.#nodeEvents.joined(peer);
  }

  /**
   * A node is dead, or left: its entries are hidden until it returns.
   * @param node Whether it was ever found at its address: otherwise it is forgotten, and not contacted.
   */
  nodeLeft(name: string, now: number, node: { verified: boolean } = { verified: true }): void {
    this.#moment.now = now;
    this.#nodeEvents.left(name, node.verified);
  }

  /** Takes a user message from a packet, which may be a repetition of an old one: see `Inbox.packet`. */
  receivePacket(bytes: Uint8Array, now: number): void {
    this.#moment.now = now;
    if (this.#running) this.#inbox.packet(bytes);
  }

  /** Takes a user message from a stream, `bytes[offset, end)`. The caller may reuse the buffer afterwards. */
  receive(bytes: Uint8Array, now: number, offset = 0, end = bytes.length): void {
    this.#moment.now = now;
    if (this.#running) this.#inbox.message(bytes, offset, end);
  }

  #bulkSync(sync: BulkSyncMessage): void {
    if (sync.node === this.name) return;
    if (!this.#tableClock.witness(sync.time)) return this.#count('time-beyond-reason');
    this.#count('bulk-syncs');
    this.#syncs.receive(sync, this.#presence.nodes.get(sync.node)?.alive === true, this.#moment.now);
  }

  /**
   * Returns events of nodes and networks for a packet.
   * @param overhead Octets that each message takes in addition.
   * @param limit Octets that are free in the packet.
   */
  broadcasts(overhead: number, limit: number): Uint8Array[] {
    return this.#gossip.take(overhead, limit, this.#presence.nodes.size + 1);
  }

  /** Whether there are events of nodes and networks that have not been sent at all. */
  pressing(): boolean {
    return this.#gossip.pressing;
  }

  /** Returns the known attachments, for a push/pull. */
  localState(join: boolean, now: number): Uint8Array {
    this.#moment.now = now;
    return this.#nodeEvents.state(join);
  }

  /** Merges the `localState` of another node. @returns whether it is a state of NetworkDB. */
  mergeState(state: Uint8Array, now: number): boolean {
    this.#moment.now = now;
    return this.#inbox.state(state, true);
  }

  /** As `mergeState`, for the state of an earlier run: attachments of other nodes are not relayed. */
  restore(state: Uint8Array, now: number): void {
    this.#moment.now = now;
    this.#inbox.state(state, false);
  }
}

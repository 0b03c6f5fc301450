import { WireError } from '../../wire/index.js';
import { Lamport } from './lamport.js';
import {
  BULK_SYNC,
  bulkSyncMessage,
  COMPOUND,
  compound,
  COMPOUND_OVERHEAD,
  compoundMessage,
  CREATE,
  DELETE,
  gossipMessage,
  JOIN,
  LEAVE,
  MEMBER_OVERHEAD,
  membersOf,
  NETWORK_EVENT,
  networkEntry,
  networkEvent,
  networkPushPull,
  NODE_EVENT,
  nodeEvent,
  PUSH_PULL,
  pushPullOf,
  simpleMessage,
  TABLE_EVENT,
  tableEvent,
  UPDATE,
  wrap,
  type TableEvent,
} from './messages.js';
import { fieldsOf } from './protobuf.js';
import { BroadcastQueue } from './queue.js';
import { Attachments, Nodes, type Attachment, type NodeRecord } from './registry.js';
import { Rounds } from './rounds.js';
import { type Entry, type StoreLimits } from './store.js';
import { Syncs } from './syncs.js';
import { equal, Tables } from './tables.js';
import {
  COUNTS,
  type CountName,
  type EntryListing,
  type Membership,
  type NetworkDbOptions,
  type NodeListing,
  type Peer,
  type Watcher,
} from './types.js';
import { Work } from './work.js';

/** Maximum length of the name of a node, a network, a table or a key, in characters. */
export const MAX_NAME = 256;
/** Maximum length of a value, in octets. */
export const MAX_VALUE = 65_536;

/** Maximum nesting of compounds. */
const DEPTH = 2;
/** Maximum number of queued messages in each gossip queue. */
const QUEUE = 4096;
/** Entries of a bulk sync are not relayed by gossip while the queue has more events than this. */
const QUEUE_ON_SYNC = 500;
/** Number of bulk sync rounds for which an attachment stays that `#conclude` added and no event confirmed. */
const CONCLUDED = 4;
/** Maximum number of nodes of a network to which many new entries are pushed over streams. */
const PUSHED = 5;
/** Cost of a callback of `whenSynced`, in units of {@link Work}: it announces some endpoints. */
const WAITER_COST = 20;
/** A deletion of an unknown entry in a bulk sync is relayed only if more than this part of its lifetime is left. */
const MIN_RELAY_LIFE = 1 / 6;
/** How long a network that was left is kept after its entries are removed, in milliseconds. */
const NETWORK_GRACE = 25_000;
/** Interval of calls to absent bootstrap nodes, in ms; if all are absent, one each second for BOOTSTRAP_PATIENCE. */
const BOOTSTRAP_CHECK = 60_000;
const BOOTSTRAP_PATIENCE = 10_000;

/** A network that this node is attached to. */
interface LocalNetwork {
  readonly id: string;
  /** Events of this node, sent before those of other nodes. */
  readonly own: BroadcastQueue;
  readonly relayed: BroadcastQueue;
  /** Whether no tables of other nodes have arrived since this node joined. */
  fresh: boolean;
  /** When all entries of this node were last announced again. */
  reannounced: number;
  /** Callbacks of `whenSynced`. */
  waiters: Waiter[];
}

interface Waiter {
  readonly deadline: number;
  readonly then: (now: number) => void;
}

/** Whether a record that this node wrote before a restart is still correct. */
type Reclaimer = (key: string, value: Uint8Array) => boolean;

interface Claim {
  readonly table: string;
  readonly network: string;
  readonly reclaimer: Reclaimer;
}

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
  readonly #options: Required<Omit<NetworkDbOptions, 'limits' | 'clock'>> & { limits: StoreLimits };
  readonly #membership: Membership;
  readonly #networkClock = new Lamport();
  readonly #tableClock = new Lamport();
  readonly #nodes = new Nodes();
  readonly #attachments: Attachments;
  readonly #networks = new Map<string, LocalNetwork>();
  /** A cache of the other nodes in a network, in any order; a node that comes or goes invalidates it. */
  readonly #peers = new Map<string, string[]>();
  readonly #tables: Tables;
  readonly #syncs: Syncs;
  readonly #work: Work;
  readonly #rounds: Rounds<LocalNetwork>;
  /** Events of nodes and networks, which travel in packets of memberlist. */
  readonly #events: BroadcastQueue;
  readonly #claims = new Set<Claim>();
  /** The networks with callbacks of `whenSynced`. */
  readonly #awaited = new Set<LocalNetwork>();
  readonly #counts = Object.fromEntries(COUNTS.map((name) => [name, 0])) as Record<CountName, number>;
  #now = 0;
  readonly #clock = (): number => this.#now;
  #running = false;
  /** Lamport time of the last event about this node. */
  #ownTime = 0;
  #nextBulk = Infinity;
  #nextReap = Infinity;
  #nextCall = Infinity;
  #nextBootstrap = Infinity;
  #bootstrapUntil = 0;

  constructor(options: NetworkDbOptions, membership: Membership) {
    this.name = options.name;
    this.#membership = membership;
    this.#options = {
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
    this.#attachments = new Attachments(this.#options.maxAttachments);
    const { limits, tombstoneLife } = this.#options;
    this.#tables = new Tables(this.name, limits, tombstoneLife, (network, owner) => this.#present(network, owner));
    this.#work = new Work(options.clock);
    this.#rounds = new Rounds(this.#options.gossipInterval, options.clock);
    this.#syncs = new Syncs(
      this.name,
      this.#options.answerTimeout,
      {
        present: (network, node) => this.#present(network, node),
        isActive: (node) => this.#isActive(node),
        common: (node) => this.#common(node),
        attached: (network) => this.#networks.has(network),
        entries: (network) => this.#tables.store.of(network),
        size: (network) => this.#tables.store.count(network),
        increment: () => this.#tableClock.increment(),
        conclude: (node, networks) => this.#conclude(node, networks),
        merge: (bytes, from, to, member, sender) => this.#mergeMember(bytes, from, to, member, sender),
        synced: (network) => {
          const local = this.#networks.get(network);
          if (local !== undefined) local.fresh = false;
        },
        settled: (networks) => {
          for (const network of networks) {
            const local = this.#networks.get(network);
            if (local !== undefined && this.#awaited.has(local)) this.#callWaiters(local);
          }
        },
        send: (node, message) => this.#membership.sendReliable(node, message),
        count: (name) => this.#count(name),
        random: () => this.#random(),
      },
      this.#work,
    );
    this.#events = new BroadcastQueue(QUEUE, this.#options.retransmitMult);
  }

  // ---- Actions of this node ----

  /** Starts, after the membership layer has joined or created a cluster. */
  start(now: number): void {
    this.#now = now;
    this.#running = true;
    // Each at a random time of its interval, so that nodes that start together do not all ask at the same moment.
    const { gossipInterval, bulkSyncInterval, reapInterval, reconnectInterval, bootstrap } = this.#options;
    this.#rounds.start(now + this.#random() * gossipInterval);
    this.#nextBulk = now + this.#random() * bulkSyncInterval;
    this.#nextReap = now + this.#random() * reapInterval;
    this.#nextCall = now + this.#random() * reconnectInterval;
    if (bootstrap.length > 0) this.#nextBootstrap = now + BOOTSTRAP_CHECK;
    this.#announce(JOIN);
  }

  /** Announces that this node leaves. The caller lets the membership layer send broadcasts for a while, then leave. */
  close(now: number): void {
    this.#now = now;
    this.#running = false;
    this.#rounds.stop();
    this.#syncs.stop();
    this.#work.clear();
    this.#nextBulk = this.#nextReap = this.#nextCall = this.#nextBootstrap = Infinity;
    this.#announce(LEAVE);
  }

  /**
   * Attaches this node to a network. The next `tick` starts a bulk sync with all other nodes there, one for each node
   * and all networks joined since the last `tick`. It includes the entries created until then.
   */
  joinNetwork(network: string, now: number): void {
    checkName('network', network);
    this.#now = now;
    if (this.#networks.has(network)) return;
    const { retransmitMult } = this.#options;
    const local: LocalNetwork = {
      id: network,
      own: new BroadcastQueue(QUEUE, retransmitMult),
      relayed: new BroadcastQueue(QUEUE, retransmitMult),
      fresh: true,
      reannounced: -Infinity,
      waiters: [],
    };
    this.#networks.set(network, local);
    this.#tables.store.add(network);
    this.#attach(network, JOIN);
    this.#syncs.begin(network, this.#peersOf(network), now);
  }

  /** Leaves a network, which removes all entries of this node there. */
  leaveNetwork(network: string, now: number): void {
    this.#now = now;
    const local = this.#networks.get(network);
    if (local === undefined) return;
    this.#networks.delete(network);
    this.#awaited.delete(local);
    this.#attach(network, LEAVE);
    this.#syncs.end(network);
    this.#tables.drop(network, now);
  }

  /**
   * Creates an entry, owned by this node.
   * @throws RangeError if it exists, this node is not attached, or a name or the value is too long.
   */
  createEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry !== undefined && entry.shown !== null)
      throw new RangeError(
        `table ${table} of network ${network} already has an entry ${key}; call updateEntry to change it`,
      );
    this.#write(CREATE, network, table, key, value);
  }

  /** Changes an entry; this node becomes its owner. @throws RangeError as `createEntry`, but if it does not exist. */
  updateEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry === undefined || entry.shown === null)
      throw new RangeError(`table ${table} of network ${network} has no entry ${key}`);
    this.#write(UPDATE, network, table, key, value);
  }

  /**
   * Replaces an entry, as a deletion and a creation; this node becomes its owner. Docker up to release 28 treats an
   * update of an endpoint as its withdrawal.
   * @throws RangeError as `updateEntry`.
   */
  replaceEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry === undefined || entry.shown === null)
      throw new RangeError(`table ${table} of network ${network} has no entry ${key}`);
    this.#rewrite(network, table, key, value, entry.value);
  }

  /** Deletes an entry. @throws RangeError if it does not exist. */
  deleteEntry(network: string, table: string, key: string, now: number): void {
    const entry = this.#own(network, table, key, EMPTY, now);
    if (entry === undefined || entry.shown === null)
      throw new RangeError(`table ${table} of network ${network} has no entry ${key}`);
    this.#write(DELETE, network, table, key, entry.value);
  }

  /**
   * Calls the watcher with a creation for each present entry, and then with every change.
   * @param filter Without a field: all tables, all networks.
   * @returns a function that stops it.
   */
  watch(filter: { table?: string; network?: string }, watcher: Watcher): () => void {
    return this.#tables.watch(filter, watcher, this.#now);
  }

  /**
   * Calls back when the tables of the other nodes in a network are known, or after `patience` milliseconds; immediately
   * if they are known already. Leaving the network cancels it.
   */
  whenSynced(network: string, patience: number, now: number, then: (now: number) => void): void {
    const local = this.#networks.get(network);
    if (local === undefined) return;
    if (this.#syncs.inSync(network)) return then(now);
    local.waiters.push({ deadline: now + patience, then });
    this.#awaited.add(local);
  }

  /**
   * Registers a function that decides about entries that this node wrote before a restart, that others still have and
   * that it has not written again. If it returns true, the entry stays with its time; otherwise it is deleted.
   * @returns a function that removes it.
   */
  reclaim(filter: { table: string; network: string }, reclaimer: Reclaimer): () => void {
    const claim = { ...filter, reclaimer };
    this.#claims.add(claim);
    return () => void this.#claims.delete(claim);
  }

  // ---- State ----

  /** The networks that this node is attached to, and whether the tables of the other nodes there are known. */
  networks(): { network: string; inSync: boolean }[] {
    return [...this.#networks.keys()].map((network) => ({ network, inSync: this.#syncs.inSync(network) }));
  }

  /** The networks that any known node is attached to. */
  known(): string[] {
    return [...new Set([...this.#networks.keys(), ...[...this.#attachments.all()].map(([network]) => network)])];
  }

  /** The nodes attached to a network, including this one. */
  peers(network: string): string[] {
    const peers = this.#peersOf(network);
    return this.#networks.has(network) ? [this.name, ...peers] : [...peers];
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
    return [...this.#nodes.all()].map(({ name, address, port, alive, left }) => {
      return { name, address, port, state: left ? 'left' : alive ? 'active' : 'failed' };
    });
  }

  /** Counters of events, and sizes. */
  counters(): { counts: Record<CountName, number>; entries: number; attachments: number; queued: number } {
    let queued = this.#events.size;
    for (const { own, relayed } of this.#networks.values()) queued += own.size + relayed.size;
    return {
      counts: { ...this.#counts },
      entries: this.#tables.store.size,
      attachments: this.#attachments.size,
      queued,
    };
  }

  /** When `tick` must be called next. */
  get next(): number {
    const { next } = this.#rounds;
    const times = [this.#nextBulk, this.#nextReap, this.#nextCall, this.#nextBootstrap, this.#work.due];
    for (const { waiters } of this.#awaited) for (const { deadline } of waiters) times.push(deadline);
    return Math.min(next, ...times, this.#running ? this.#syncs.next : Infinity);
  }

  /** Performs what is due. */
  tick(now: number): void {
    this.#now = now;
    if (!this.#running) return;
    const { bulkSyncInterval, reapInterval, reconnectInterval } = this.#options;
    this.#work.run(now);
    this.#syncs.tick(now);
    for (const local of this.#awaited) this.#callWaiters(local);
    this.#rounds.tick(
      now,
      () =>
        [...this.#networks.values()].filter(
          ({ id, own, relayed }) => (own.size > 0 || relayed.size > 0) && this.#peersOf(id).length > 0,
        ),
      (network) => this.#gossip(network),
      (round) => this.#push(round),
    );
    if (now >= this.#nextBulk) {
      this.#nextBulk = now + bulkSyncInterval;
      this.#syncs.round(this.#sample([...this.#networks.keys()]), (one) => this.#sample(this.#peersOf(one), 2), now);
    }
    if (now >= this.#nextReap) {
      this.#nextReap = now + reapInterval;
      this.#work.add(this.#reap(), now);
    }
    if (now >= this.#nextBootstrap) {
      this.#nextBootstrap = now + BOOTSTRAP_CHECK;
      this.#bootstrapUntil = now + BOOTSTRAP_PATIENCE;
    }
    if (now >= this.#nextCall) {
      this.#nextCall = now + reconnectInterval;
      this.#call();
    }
  }

  // ---- Input of the membership layer ----

  /** A node is alive: it joined, or returned. */
  nodeJoined(peer: Peer, now: number): void {
    this.#now = now;
    const { name, address, port } = peer;
    if (name === this.name) return;
    for (const other of this.#nodes.at(address, port))
      // A new name at the same address: the process with the old name has ended.
      if (other.name !== name && !other.left) this.#changeNode(other, other.alive, true);
    const known = this.#nodes.get(name);
    if (known !== undefined) {
      this.#nodes.move(known, address, port);
      this.#changeNode(known, true, false);
    } else {
      this.#nodes.add({ name, address, port, alive: true, left: false, time: 0, since: now, beside: null });
      this.#peers.clear();
      this.#refreshOwner(name);
    }
    this.#syncs.known(name, now);
  }

  /** A node is dead, or left: its entries are hidden until it returns. */
  nodeLeft(name: string, now: number): void {
    this.#now = now;
    const node = this.#nodes.get(name);
    if (node !== undefined) this.#changeNode(node, false, node.left);
  }

  /** Takes a user message, `bytes[offset, end)`. The caller may reuse the buffer afterwards. */
  receive(bytes: Uint8Array, now: number, offset = 0, end = bytes.length): void {
    this.#now = now;
    if (!this.#running) return;
    this.#read(() => this.#message(bytes, offset, end, 0, null));
  }

  /**
   * Returns events of nodes and networks for a packet.
   * @param overhead Octets that each message takes in addition.
   * @param limit Octets that are free in the packet.
   */
  broadcasts(overhead: number, limit: number): Uint8Array[] {
    return this.#events.take(limit, overhead, this.#nodes.size + 1);
  }

  /** Whether there are events of nodes and networks that have not been sent at all. */
  pressing(): boolean {
    return this.#events.hasNew;
  }

  /** Returns the known attachments, for a push/pull. */
  localState(join: boolean, now: number): Uint8Array {
    this.#now = now;
    const networks: Uint8Array[] = [];
    const stamp = join ? this.#networkClock.increment() : 0;
    for (const [network, node, attachment] of this.#attachments.all()) {
      if (node === this.name) {
        if (join) stampWith(attachment, stamp);
      } else if (attachment.time === 0 || this.#nodes.get(node)?.alive !== true) continue;
      const { time, leaving } = attachment;
      networks.push((attachment.encoded ??= networkEntry.encode({ network, time, node, leaving })));
    }
    return pushPullOf(this.#networkClock.time, networks, this.name);
  }

  /** Merges the `localState` of another node. @returns whether it is a state of NetworkDB. */
  mergeState(state: Uint8Array, now: number): boolean {
    return this.#merge(state, true, now);
  }

  /** As `mergeState`, for the state of an earlier run: attachments of other nodes are not relayed. */
  restore(state: Uint8Array, now: number): void {
    this.#merge(state, false, now);
  }

  #merge(state: Uint8Array, relay: boolean, now: number): boolean {
    this.#now = now;
    let read = false;
    this.#read(() => {
      const { type, data } = gossipMessage.decode(state);
      if (type !== PUSH_PULL) return this.#count('unknown-type');
      this.#pushPull(data.slice(), relay);
      read = true;
    });
    return read;
  }

  // ---- Messages ----

  /** Runs a decoder, and counts malformed input. */
  #read(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#count('malformed');
    }
  }

  /** @param sender The node whose bulk sync contains the message, or `null`. */
  #message(bytes: Uint8Array, offset: number, end: number, depth: number, sender: string | null): void {
    const { type, data } = gossipMessage.decode(bytes, offset, end);
    if (type === TABLE_EVENT) {
      const event = tableEvent.decode(data);
      this.#tableEvent(event, bytes.subarray(offset, end), sender !== null);
    } else if (type === COMPOUND) {
      if (depth === DEPTH) return this.#count('nested');
      for (const { payload } of compoundMessage.decode(data).messages)
        this.#read(() => this.#message(payload, 0, payload.length, depth + 1, sender));
    } else if (sender !== null) this.#count('unknown-type');
    else if (type === NETWORK_EVENT) {
      const event = networkEvent.decode(data);
      this.#networkEvent(event.type, event.time, event.node, event.network);
    } else if (type === NODE_EVENT) {
      const event = nodeEvent.decode(data);
      this.#nodeEvent(event.type, event.time, event.node);
    } else if (type === BULK_SYNC) {
      const sync = bulkSyncMessage.decode(data);
      if (sync.node === this.name) return;
      if (!this.#tableClock.witness(sync.time)) return this.#count('time-beyond-reason');
      this.#count('bulk-syncs');
      this.#syncs.receive(sync, this.#nodes.get(sync.node)?.alive === true, this.#now);
    } else this.#count('unknown-type');
  }

  /** Takes a state, and merges its entries a few at a time. */
  #pushPull(state: Uint8Array, relay: boolean): void {
    this.#count('push-pulls');
    const places = membersOf('networkPushPull', state, 2);
    const { time, node } = networkPushPull.decode(withoutMembers(state));
    if (!this.#networkClock.witness(time)) return this.#count('time-beyond-reason');
    if (node !== this.name) this.#nodeEvent(JOIN, time, node);
    this.#work.add(this.#mergeEntries(state, places, relay), this.#now);
  }

  *#mergeEntries(state: Uint8Array, places: readonly number[], relay: boolean): Generator<number, void> {
    for (let i = 0; i < places.length; i += 2) {
      this.#read(() => {
        const entry = networkEntry.decode(state, places[i], places[i + 1]);
        this.#networkEvent(entry.leaving ? LEAVE : JOIN, entry.time, entry.node, entry.network, relay);
      });
      yield 1;
    }
  }

  /** Merges a message of a bulk sync's compound, or a payload that is not a compound. */
  #mergeMember(bytes: Uint8Array, from: number, to: number, member: boolean, sender: string): void {
    this.#read(() => {
      if (!member) return this.#message(bytes, from, to, 0, sender);
      const { payload } = simpleMessage.decode(bytes, from, to);
      this.#message(payload, 0, payload.length, 1, sender);
    });
  }

  #nodeEvent(type: number, time: number, name: string): void {
    if (type !== JOIN && type !== LEAVE) return this.#count('unknown-type');
    if (!this.#networkClock.witness(time)) return this.#count('time-beyond-reason');
    if (name === this.name) {
      if (time < this.#ownTime) return this.#count('stale');
      if (type === LEAVE && this.#running) {
        this.#count('refuted');
        this.#announce(JOIN);
        for (const local of this.#networks.values()) this.#refuteLeave(local, false);
      }
      return;
    }
    const node = this.#nodes.get(name);
    if (node === undefined) return this.#count('unknown-node');
    if (time <= node.time) return this.#count('stale');
    this.#count('node-events');
    node.time = time;
    if (!node.alive || node.left === (type === LEAVE)) return;
    this.#changeNode(node, node.alive, type === LEAVE);
    this.#broadcast(name, wrap(NODE_EVENT, nodeEvent, { type, time, node: name }));
  }

  #networkEvent(type: number, time: number, node: string, network: string, relay = true): void {
    if (type !== JOIN && type !== LEAVE) return this.#count('unknown-type');
    if (node.length > MAX_NAME || network.length > MAX_NAME) return this.#count('name-too-long');
    if (!this.#networkClock.witness(time)) return this.#count('time-beyond-reason');
    const leaving = type === LEAVE;
    const known = this.#attachments.get(network, node);
    if (node === this.name) return this.#ownAttachment(network, time, leaving);
    if (this.#nodes.get(node)?.left === true) return this.#count('owner-left');
    if (known === undefined ? leaving : time <= known.time) return this.#count('stale');
    // Uses the name in the node's record, so that there is one string for each node, not one for each network.
    if (!this.#setAttachment(network, this.#nodes.get(node)?.name ?? node, time, leaving))
      return this.#count('no-room');
    this.#count('network-events');
    this.#detachOrRefresh(network, node, leaving);
    if (!relay) return;
    this.#broadcast(
      `${network.length}:${network}${node}`,
      wrap(NETWORK_EVENT, networkEvent, { type, time, node, network }),
    );
  }

  /** An event from others about an attachment of this node. */
  #ownAttachment(network: string, time: number, leaving: boolean): void {
    const known = this.#attachments.get(network, this.name);
    if (known !== undefined && time < known.time) return this.#count('stale');
    const local = this.#networks.get(network);
    if ((local === undefined) === leaving) {
      if (known !== undefined) stampWith(known, time);
      return;
    }
    if (!this.#running) return;
    this.#count('refuted');
    if (local === undefined) this.#attach(network, LEAVE);
    else this.#refuteLeave(local, true);
  }

  /**
   * Refutes that this node left a network, and announces its entries there again, because nodes that believed it have
   * dropped them.
   * @param later Whether to write the entries again with later times: nodes that dropped them because this node left
   *   the network may have kept their times. Nodes that believed that this node left the cluster have not.
   */
  #refuteLeave(local: LocalNetwork, later: boolean): void {
    this.#attach(local.id, JOIN);
    if (this.#now - local.reannounced < this.#options.bulkSyncInterval) return;
    local.reannounced = this.#now;
    for (const { network, table, key, time, value, deleting } of this.#tables.store.ownedBy(this.name, local.id)) {
      if (deleting) continue;
      if (later) this.#write(CREATE, network, table, key, value);
      else this.#queueEvent({ type: CREATE, time, network, table, key, value }, local.own, aboutEntry(table, key));
    }
  }

  #tableEvent(event: TableEvent, message: Uint8Array, bulk: boolean): void {
    const { type, time, node, network, table, key, value } = event;
    if (type !== CREATE && type !== UPDATE && type !== DELETE) return this.#count('unknown-type');
    if (node.length > MAX_NAME || network.length > MAX_NAME || table.length > MAX_NAME || key.length > MAX_NAME)
      return this.#count('name-too-long');
    if (value.length > MAX_VALUE) return this.#count('value-too-long');
    if (!this.#tableClock.witness(time)) return this.#count('time-beyond-reason');
    const local = this.#networks.get(network);
    if (local === undefined) return this.#count('not-attached');
    const deleting = type === DELETE;
    const known = this.#tables.store.get(network, table, key);
    if (node === this.name) return this.#ownEntry(event, known);
    // A deletion holds even if its author is absent: otherwise only some nodes would know of it.
    const left = this.#nodes.get(node)?.left === true || this.#attachments.get(network, node)?.leaving === true;
    if (left && !deleting) return this.#count('owner-left');
    const held = !this.#present(network, node);
    if (known !== undefined && !this.#supersedes(event, known, held)) return this.#count('stale');
    if (!this.#tables.store.admits(node, value.length + table.length + key.length, held, known))
      return this.#count('no-room');
    this.#count('table-events');
    if (held) this.#count('held');
    const life = this.#options.tombstoneLife;
    const residual = event.residual <= 0 ? life : Math.min(event.residual * 1000, life);
    const expires = this.#now + (deleting ? residual : held ? life : 0);
    this.#tables.put(
      {
        network,
        table,
        key,
        time,
        owner: node,
        value: value.slice(), // a copy does not keep a large buffer alive
        deleting,
        expires: deleting || held ? expires : Infinity,
        held,
        shown: null,
      },
      this.#now,
    );
    if (!this.#syncs.inSync(network)) return;
    if (known === undefined && deleting && (!bulk || residual <= life * MIN_RELAY_LIFE)) return;
    if (bulk && local.relayed.size > QUEUE_ON_SYNC) return;
    this.#enqueue(local.relayed, aboutEntry(table, key), message.slice());
  }

  /**
   * Whether an event replaces an entry: the later one does, and of two with the same time, at every node the one with
   * the higher name. But an entry of an absent node neither hides nor replaces an older one of a present node: an
   * absent node brings its entries when it returns.
   */
  #supersedes({ type, time, node }: TableEvent, known: Entry, held: boolean): boolean {
    if (type !== DELETE && !known.deleting && held !== (known.shown === null)) return !held;
    return time > known.time || (time === known.time && node > known.owner);
  }

  /** An event with this node as its owner: ignores own events that return, and refutes those that it did not send. */
  #ownEntry({ type, time, network, table, key, value }: TableEvent, entry: Entry | undefined): void {
    const deleting = type === DELETE;
    // An entry of an absent node counts as missing.
    const known = entry?.deleting === false && entry.shown === null ? undefined : entry;
    if (known !== undefined) {
      if (time < known.time) return this.#count('stale');
      const same = known.owner === this.name && known.deleting === deleting && (deleting || equal(known.value, value));
      if (same) {
        // This node wrote the same before a restart, with a later time.
        known.time = time;
        return;
      }
    }
    if (known?.owner === this.name && !known.deleting) {
      this.#count('refuted');
      this.#rewrite(network, table, key, known.value, deleting ? known.value : value);
      return;
    }
    // This node wrote it before a restart, or another node forged it: the entry does not exist. It is deleted even if
    // another node has an entry with that key, because some nodes take this one for the later one; that node may write
    // it again.
    if (deleting) return;
    if (known === undefined && this.#reclaims(network, table, key, value)) {
      const own = { network, table, key, time, owner: this.name, value: value.slice(), deleting: false };
      return this.#tables.put({ ...own, expires: Infinity, held: false, shown: null }, this.#now);
    }
    if (!this.#tables.store.admitsHeld) return this.#count('no-room');
    this.#count('refuted');
    this.#write(DELETE, network, table, key, value.slice(), true);
  }

  #reclaims(network: string, table: string, key: string, value: Uint8Array): boolean {
    for (const claim of this.#claims)
      if (claim.network === network && claim.table === table && claim.reclaimer(key, value)) return true;
    return false;
  }

  // ---- Bulk sync ----

  /**
   * Concludes that a node that asks for the tables of a network is attached to it, even if no event said so yet. This
   * expires unless it is confirmed, because the message may have been in flight while the node left. An answer proves
   * nothing: every node answers any request, and the request may have been for an earlier process at its address.
   */
  #conclude(name: string, networks: readonly string[]): void {
    for (const network of networks) {
      if (!this.#networks.has(network)) continue;
      const known = this.#attachments.get(network, name);
      if (known !== undefined) {
        if (known.time === 0) known.since = this.#now;
      } else if (this.#setAttachment(network, name, 0, false)) this.#refresh(network, name);
    }
  }

  /** Runs the callbacks of networks that are in sync, and those whose deadline has passed. */
  #callWaiters(local: LocalNetwork): void {
    const synced = this.#syncs.inSync(local.id);
    const due = local.waiters.filter(({ deadline }) => synced || deadline <= this.#now);
    if (due.length === 0) return;
    local.waiters = local.waiters.filter((waiter) => !due.includes(waiter));
    if (local.waiters.length === 0) this.#awaited.delete(local);
    this.#work.add(this.#calls(local, due), this.#now);
  }

  *#calls(local: LocalNetwork, waiters: readonly Waiter[]): Generator<number, void> {
    for (const { then } of waiters) {
      if (this.#networks.get(local.id) === local) then(this.#now);
      yield WAITER_COST;
    }
  }

  /** The networks that both this node and another one are attached to. */
  #common(peer: string): string[] {
    return [...this.#networks.keys()].filter((network) => this.#present(network, peer));
  }

  // ---- Gossip ----

  /** Sends queued events of a network, in one packet, to some of the other nodes there. */
  #gossip(local: LocalNetwork): void {
    if (local.own.size === 0 && local.relayed.size === 0) return;
    const peers = this.#peersOf(local.id);
    if (peers.length === 0) return;
    const budget = this.#options.packetSize - COMPOUND_OVERHEAD;
    const nodes = peers.length + 1;
    const messages = local.own.take(budget, MEMBER_OVERHEAD, nodes);
    const used = messages.reduce((sum, message) => sum + message.length + MEMBER_OVERHEAD, 0);
    messages.push(...local.relayed.take(budget - used, MEMBER_OVERHEAD, nodes));
    if (messages.length === 0) return;
    const packet = compound(messages);
    for (const peer of this.#sample(peers, this.#options.gossipNodes)) this.#membership.sendPacket(peer, packet);
  }

  /**
   * Sends entries of this node that did not fit into a packet to some of the other nodes over streams: after many
   * writes at once, gossip alone would take seconds.
   */
  #push(round: readonly LocalNetwork[]): void {
    const networks = new Map<string, string[]>();
    for (const { id, own } of round) {
      if (!own.hasNew) continue;
      own.markSent();
      for (const peer of this.#sample(this.#peersOf(id), PUSHED)) {
        const those = networks.get(peer);
        if (those === undefined) networks.set(peer, [id]);
        else those.push(id);
      }
    }
    for (const [peer, those] of networks) this.#syncs.push(peer, those, this.#now);
  }

  #enqueue(queue: BroadcastQueue, about: string, message: Uint8Array): void {
    // An event that does not fit into any packet travels by bulk sync only.
    if (message.length + MEMBER_OVERHEAD + COMPOUND_OVERHEAD > this.#options.packetSize) this.#count('oversized');
    else if (queue.put(about, message)) this.#count('queue-full');
  }

  #broadcast(about: string, message: Uint8Array): void {
    if (this.#events.put(about, message)) this.#count('queue-full');
  }

  /** Announces this node. */
  #announce(type: number): void {
    this.#ownTime = this.#networkClock.increment();
    this.#broadcast(this.name, wrap(NODE_EVENT, nodeEvent, { type, time: this.#ownTime, node: this.name }));
  }

  /** Announces an attachment of this node. */
  #attach(network: string, type: number): void {
    const time = this.#networkClock.increment();
    const { name: node } = this;
    this.#setAttachment(network, node, time, type === LEAVE, this.#networks.has(network));
    const message = wrap(NETWORK_EVENT, networkEvent, { type, time, node, network });
    this.#broadcast(`${network.length}:${network}${node}`, message);
  }

  // ---- Entries ----

  /** Checks that this node may write an entry. @returns the present entry. */
  #own(network: string, table: string, key: string, value: Uint8Array, now: number): Entry | undefined {
    this.#now = now;
    checkName('table', table);
    checkName('key', key);
    if (value.length > MAX_VALUE)
      throw new RangeError(`value must have at most ${MAX_VALUE} octets, not ${value.length}`);
    if (!this.#networks.has(network))
      throw new RangeError(`this node is not attached to network ${network}; call joinNetwork first`);
    return this.#tables.store.get(network, table, key);
  }

  /**
   * Writes an entry of this node again.
   * @param before The value that other nodes have; if it differs, a deletion goes first.
   */
  #rewrite(network: string, table: string, key: string, value: Uint8Array, before: Uint8Array): void {
    if (!equal(value, before)) {
      const event = { type: DELETE, time: this.#tableClock.increment(), network, table, key, value: before.slice() };
      this.#queueEvent(event, this.#networks.get(network)!.own, `-${aboutEntry(table, key)}`);
      // Another node with this entry may write it again because of the deletion: the creation must be later than that.
      this.#tableClock.increment();
    }
    this.#write(CREATE, network, table, key, value);
  }

  /**
   * Writes an entry of this node and announces it.
   * @param disowned Whether it deletes an entry that this node never wrote: such events are sent last, and are bounded.
   */
  #write(type: number, network: string, table: string, key: string, value: Uint8Array, disowned = false): void {
    const time = this.#tableClock.increment();
    const deleting = type === DELETE;
    const { tombstoneLife } = this.#options;
    this.#tables.put(
      {
        network,
        table,
        key,
        time,
        owner: this.name,
        value,
        deleting,
        expires: deleting ? this.#now + tombstoneLife : Infinity,
        held: disowned,
        shown: null,
      },
      this.#now,
    );
    const local = this.#networks.get(network)!;
    const event = { type, time, network, table, key, value };
    this.#queueEvent(event, disowned ? local.relayed : local.own, aboutEntry(table, key));
  }

  /** Queues an event of this node for gossip. */
  #queueEvent(event: Omit<TableEvent, 'node' | 'residual'>, queue: BroadcastQueue, about: string): void {
    const residual = event.type === DELETE ? Math.round(this.#options.tombstoneLife / 1000) : 0;
    this.#enqueue(queue, about, wrap(TABLE_EVENT, tableEvent, { ...event, node: this.name, residual }));
  }

  /** Whether the entries of an owner in a network are visible. */
  #present(network: string, owner: string): boolean {
    if (owner === this.name) return this.#networks.has(network);
    const attachment = this.#attachments.get(network, owner);
    return attachment !== undefined && !attachment.leaving && this.#isActive(owner);
  }

  #isActive(name: string): boolean {
    const node = this.#nodes.get(name);
    return node !== undefined && node.alive && !node.left;
  }

  /** Updates visibility after an owner's attachment to a network, or the owner's state, may have changed. */
  #refresh(network: string, owner: string): void {
    const local = this.#networks.get(network);
    if (local === undefined) return;
    this.#work.add(this.#tables.refresh(owner, network, this.#clock), this.#now);
    this.#appeared(local, owner);
  }

  /** A node may have joined a network in which this one was alone, or be gone. */
  #appeared(local: LocalNetwork, node: string): void {
    if (node === this.name) return;
    if (!this.#present(local.id, node)) this.#syncs.gone(local.id, node);
    else if (local.fresh) this.#syncs.expect(local.id, node, this.#now);
  }

  #refreshOwner(owner: string): void {
    this.#work.add(this.#tables.refresh(owner, undefined, this.#clock), this.#now);
    for (const local of this.#networks.values()) this.#appeared(local, owner);
  }

  /** An attachment changed: removes the entries of a node that left, and shows those of one that joined. */
  #detachOrRefresh(network: string, owner: string, leaving: boolean): void {
    if (!leaving) return this.#refresh(network, owner);
    this.#work.add(this.#tables.forgetOwner(owner, network, this.#clock), this.#now);
    this.#syncs.gone(network, owner);
  }

  // ---- Nodes ----

  #changeNode(node: NodeRecord, alive: boolean, left: boolean): void {
    if (node.alive === alive && node.left === left) return;
    const gone = left && !node.left;
    node.alive = alive;
    node.left = left;
    node.since = this.#now;
    this.#nodes.changed(node);
    this.#peers.clear();
    if (!gone) return this.#refreshOwner(node.name);
    this.#work.add(this.#tables.forgetOwner(node.name, undefined, this.#clock), this.#now);
    for (const network of [...this.#attachments.networks()]) this.#removeAttachment(network, node.name);
    this.#refreshOwner(node.name);
  }

  /** The other nodes in a network, from the cache: a caller that reorders the list reorders it for all. */
  #peersOf(network: string): string[] {
    let peers = this.#peers.get(network);
    if (peers !== undefined) return peers;
    peers = [];
    for (const [node, { leaving }] of this.#attachments.of(network))
      if (!leaving && node !== this.name && this.#isActive(node)) peers.push(node);
    if (this.#networks.has(network)) this.#peers.set(network, peers);
    return peers;
  }

  /** Changes or adds an attachment. @returns whether there was room for it. */
  #setAttachment(network: string, node: string, time: number, leaving: boolean, needed = false): boolean {
    this.#peers.delete(network);
    return this.#attachments.set(network, node, { time, leaving, since: this.#now, encoded: null }, needed);
  }

  #removeAttachment(network: string, node: string): void {
    this.#peers.delete(network);
    this.#attachments.remove(network, node);
  }

  /** Contacts one of the failed nodes, and the absent bootstrap nodes every `BOOTSTRAP_CHECK`. */
  #call(): void {
    const failed = [...this.#nodes.failed()].filter((node) => this.#now - node.since < this.#options.nodeLife);
    if (failed.length > 0) {
      const { address, port } = failed[Math.floor(this.#random() * failed.length)]!;
      this.#membership.contact(address, port);
    }
    if (this.#now >= this.#bootstrapUntil) return;
    const { bootstrap } = this.#options;
    const absent = bootstrap.filter(({ address, port }) => !this.#isAt(address, port));
    for (const { address, port } of absent) this.#membership.contact(address, port);
    // While one is present, the others are contacted once: after a split they may be a cluster of their own.
    if (absent.length < bootstrap.length) this.#bootstrapUntil = 0;
  }

  /** Whether a node at an address is alive. */
  #isAt(address: string, port: number): boolean {
    return this.#nodes.at(address, port).some(({ alive }) => alive);
  }

  /** Removes deleted entries, nodes and networks after their lifetimes. */
  *#reap(): Generator<number, void> {
    yield* this.#tables.reap(this.#clock);
    const now = this.#now;
    const { tombstoneLife, nodeLife } = this.#options;
    for (const [network, node, { time, leaving, since }] of this.#attachments.all()) {
      if (time === 0 && now - since >= this.#options.bulkSyncInterval * CONCLUDED) {
        this.#removeAttachment(network, node);
        this.#refresh(network, node);
        continue;
      }
      const own = node === this.name;
      const record = this.#nodes.get(node);
      const gone = leaving ? since : own || record?.alive === true ? Infinity : Math.max(since, record?.since ?? 0);
      if (now - gone >= tombstoneLife + NETWORK_GRACE) this.#removeAttachment(network, node);
    }
    for (const node of this.#nodes.all()) if (!node.alive && now - node.since >= nodeLife) this.#nodes.remove(node);
  }

  #random(): number {
    return this.#options.random();
  }

  /** Moves `count` random items to the front and returns them; all items if there are no more than that. */
  #sample<T>(items: T[], count = items.length): T[] {
    for (let i = 0; i < count && i < items.length; i++) {
      const j = i + Math.floor(this.#random() * (items.length - i));
      const item = items[i]!;
      items[i] = items[j]!;
      items[j] = item;
    }
    return items.slice(0, count);
  }

  #count(name: CountName): void {
    this.#counts[name]++;
  }
}

const EMPTY = new Uint8Array(0);

/** The subject of an entry's events in the queues of its network. */
function aboutEntry(table: string, key: string): string {
  return `${table.length}:${table}${key}`;
}

/** Sets the Lamport time of an attachment. */
function stampWith(attachment: Attachment, time: number): void {
  attachment.time = time;
  attachment.encoded = null;
}

/** The fields of a push/pull except its entries. */
function withoutMembers(state: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let start = 0;
  for (const [number, , to] of fieldsOf('networkPushPull', state)) {
    if (number !== 2) parts.push(state.subarray(start, to));
    start = to;
  }
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Names contain no slash, because peers store an entry under the path of its names. */
function checkName(field: string, name: string): void {
  if (name === '' || name.length > MAX_NAME || name.includes('/'))
    throw new RangeError(`${field} must have 1 to ${MAX_NAME} characters and no slash, not "${name.slice(0, 40)}"`);
}

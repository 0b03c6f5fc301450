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

/** Characters of a name of a node, a network, a table or a key at most. */
export const MAX_NAME = 256;
/** Octets of a value at most. */
export const MAX_VALUE = 65_536;

/** Compounds in compounds at most. */
const DEPTH = 2;
/** Messages that wait to be gossiped, in each queue, at most. */
const QUEUE = 4096;
/** Entries of a bulk sync are not gossiped on where so many events wait already. */
const QUEUE_ON_SYNC = 500;
/** An attachment that was concluded and not told holds for so many rounds of bulk syncs. */
const CONCLUDED = 4;
/** Nodes of a network that entries are sent to by stream where there are many new ones, at most. */
const PUSHED = 5;
/** What a caller that waits for a network costs, in the measure of {@link Work}: it announces some endpoints. */
const WAITER_COST = 20;
/** Withdrawals that nobody knew are passed on while this part of their life is left. */
const WORTH_TELLING = 1 / 6;
/** How long a network that was left is remembered after its entries are forgotten. */
const NETWORK_GRACE = 25_000;
/** Every so often the nodes of the bootstrap that are not there are called; while none is, each second for so long. */
const BOOTSTRAP_CHECK = 60_000;
const BOOTSTRAP_PATIENCE = 10_000;

/** A network that this node is attached to. */
interface LocalNetwork {
  readonly id: string;
  /** Events of this node, which go before those of others. */
  readonly own: BroadcastQueue;
  readonly relayed: BroadcastQueue;
  /** Whether no tables of others have come since this node joined. */
  fresh: boolean;
  /** When all own entries were told again last. */
  retold: number;
  /** Callers that wait until the network is in sync. */
  waiters: Waiter[];
}

interface Waiter {
  readonly deadline: number;
  readonly then: (now: number) => void;
}

/** Whether a record that an earlier life of this node wrote is still true. */
type Reclaimer = (key: string, value: Uint8Array) => boolean;

interface Claim {
  readonly table: string;
  readonly network: string;
  readonly reclaimer: Reclaimer;
}

/**
 * Docker's NetworkDB as a machine: tables of entries that all nodes attached to a network come to share. It is told of
 * messages, of nodes that come and go, and of the time, and answers through a {@link Membership}.
 *
 * What a node knows is three maps in which the later event wins, by Lamport time: entries, attachments, and nodes. An
 * entry is seen while its owner is attached to the network and active; so it does not matter in which order these are
 * heard of. What is said of this node itself, by others and wrongly, it puts right with a later event of its own.
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
  /** The other nodes in a network, in any order, until one comes or goes. */
  readonly #peers = new Map<string, string[]>();
  readonly #tables: Tables;
  readonly #syncs: Syncs;
  readonly #work: Work;
  readonly #rounds: Rounds<LocalNetwork>;
  /** Events of nodes and networks, which memberlist carries. */
  readonly #events: BroadcastQueue;
  readonly #claims = new Set<Claim>();
  /** The networks that somebody waits for. */
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
    this.#rounds = new Rounds(this.#options.gossipInterval);
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

  // ---- What this node does ----

  /** Begins, once the membership layer has joined a cluster, or begun one. */
  start(now: number): void {
    this.#now = now;
    this.#running = true;
    // Each at a random time of its interval, so that nodes that start together do not all ask at once.
    const { gossipInterval, bulkSyncInterval, reapInterval, reconnectInterval, bootstrap } = this.#options;
    this.#rounds.start(now + this.#random() * gossipInterval);
    this.#nextBulk = now + this.#random() * bulkSyncInterval;
    this.#nextReap = now + this.#random() * reapInterval;
    this.#nextCall = now + this.#random() * reconnectInterval;
    if (bootstrap.length > 0) this.#nextBootstrap = now + BOOTSTRAP_CHECK;
    this.#announce(JOIN);
  }

  /** Says farewell. The membership layer is to send its broadcasts for a while, and to leave. */
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
   * Attaches this node to a network. With the next `tick` it asks all others there for their tables, one question to each
   * node for all networks that it joins in one go, and tells them of the entries that it has by then.
   */
  joinNetwork(network: string, now: number): void {
    nameOf('network', network);
    this.#now = now;
    if (this.#networks.has(network)) return;
    const { retransmitMult } = this.#options;
    const local: LocalNetwork = {
      id: network,
      own: new BroadcastQueue(QUEUE, retransmitMult),
      relayed: new BroadcastQueue(QUEUE, retransmitMult),
      fresh: true,
      retold: -Infinity,
      waiters: [],
    };
    this.#networks.set(network, local);
    this.#tables.store.add(network);
    this.#attach(network, JOIN);
    this.#syncs.begin(network, this.#peersOf(network), now);
  }

  /** Leaves a network, which takes all entries of this node there with it. */
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
   * Makes an entry, owned by this node.
   * @throws RangeError where there is one, or this node is not attached, or a name or the value is too long.
   */
  createEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry !== undefined && entry.shown !== null)
      throw new RangeError(`${table} of ${network} has an entry ${key} already`);
    this.#write(CREATE, network, table, key, value);
  }

  /** Changes an entry, which this node owns from then on. @throws RangeError as `createEntry`, and where there is none. */
  updateEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry === undefined || entry.shown === null) throw new RangeError(`${table} of ${network} has no entry ${key}`);
    this.#write(UPDATE, network, table, key, value);
  }

  /**
   * Writes an entry anew, which this node owns from then on: withdraws what there was, and makes it again. Docker up to
   * release 28 takes a mere change of an endpoint for its withdrawal.
   * @throws RangeError as `updateEntry`.
   */
  replaceEntry(network: string, table: string, key: string, value: Uint8Array, now: number): void {
    const entry = this.#own(network, table, key, value, now);
    if (entry === undefined || entry.shown === null) throw new RangeError(`${table} of ${network} has no entry ${key}`);
    this.#rewrite(network, table, key, value, entry.value);
  }

  /** Withdraws an entry. @throws RangeError where there is none. */
  deleteEntry(network: string, table: string, key: string, now: number): void {
    const entry = this.#own(network, table, key, EMPTY, now);
    if (entry === undefined || entry.shown === null) throw new RangeError(`${table} of ${network} has no entry ${key}`);
    this.#write(DELETE, network, table, key, entry.value);
  }

  /**
   * Tells of the entries there are, as created, and from then on of every change.
   * @param filter Absent: all tables, all networks.
   * @returns what ends it.
   */
  watch(filter: { table?: string; network?: string }, watcher: Watcher): () => void {
    return this.#tables.watch(filter, watcher, this.#now);
  }

  /**
   * Calls back once the tables of the others in a network are known, or `patience` milliseconds have passed; at once where
   * they are known already. Leaving the network forgets it.
   */
  whenSynced(network: string, patience: number, now: number, then: (now: number) => void): void {
    const local = this.#networks.get(network);
    if (local === undefined) return;
    if (this.#syncs.inSync(network)) return then(now);
    local.waiters.push({ deadline: now + patience, then });
    this.#awaited.add(local);
  }

  /**
   * Is asked about each entry of an earlier life of this node that others still have and this node has not written: whether
   * it is still true. If so it stays as it is, with its time; else it is withdrawn.
   * @returns what ends it.
   */
  reclaim(filter: { table: string; network: string }, reclaimer: Reclaimer): () => void {
    const claim = { ...filter, reclaimer };
    this.#claims.add(claim);
    return () => void this.#claims.delete(claim);
  }

  // ---- What there is ----

  /** The networks that this node is attached to, and whether it has heard from the others there. */
  networks(): { network: string; inSync: boolean }[] {
    return [...this.#networks.keys()].map((network) => ({ network, inSync: this.#syncs.inSync(network) }));
  }

  /** The networks that anybody has been heard to be in. */
  known(): string[] {
    return [...new Set([...this.#networks.keys(), ...[...this.#attachments.all()].map(([network]) => network)])];
  }

  /** The nodes attached to a network, this one too. */
  peers(network: string): string[] {
    const peers = this.#peersOf(network);
    return this.#networks.has(network) ? [this.name, ...peers] : [...peers];
  }

  /** The entries that watchers see. */
  entries(network: string, table?: string): EntryListing[] {
    return [...this.#tables.entries(network, table)];
  }

  /** As `entries`, one after the other, so that a long listing need not be made in one go. */
  eachEntry(network: string, table?: string): Iterable<EntryListing> {
    return this.#tables.entries(network, table);
  }

  /** The entries that nobody sees, and why: withdrawn ones, and those whose owner is not there. */
  remembered(network: string, now: number): (EntryListing & { state: 'withdrawn' | 'hidden'; expiresIn: number })[] {
    return this.#tables.remembered(network, now);
  }

  /** One entry that watchers see. */
  entry(network: string, table: string, key: string): EntryListing | undefined {
    return this.#tables.entry(network, table, key);
  }

  /** All other nodes known. */
  nodes(): NodeListing[] {
    return [...this.#nodes.all()].map(({ name, address, port, alive, left }) => {
      return { name, address, port, state: left ? 'left' : alive ? 'active' : 'failed' };
    });
  }

  /** What has been counted, and how much there is. */
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

  /** When `tick` is to be called next. */
  get next(): number {
    const { next } = this.#rounds;
    const times = [this.#nextBulk, this.#nextReap, this.#nextCall, this.#nextBootstrap, this.#work.due];
    for (const { waiters } of this.#awaited) for (const { deadline } of waiters) times.push(deadline);
    return Math.min(next, ...times, this.#running ? this.#syncs.next : Infinity);
  }

  /** Does what is due. */
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

  // ---- What the membership layer says ----

  /** A node is alive: it came, or came back. */
  nodeJoined(peer: Peer, now: number): void {
    this.#now = now;
    const { name, address, port } = peer;
    if (name === this.name) return;
    for (const other of this.#nodes.at(address, port))
      // A new name at the same place: the process behind the old one is no more.
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

  /** A node is dead, or left: its entries are hidden until it comes back. */
  nodeLeft(name: string, now: number): void {
    this.#now = now;
    const node = this.#nodes.get(name);
    if (node !== undefined) this.#changeNode(node, false, node.left);
  }

  /** A user message came: `bytes[offset, end)`, which may be the caller's again afterwards. */
  receive(bytes: Uint8Array, now: number, offset = 0, end = bytes.length): void {
    this.#now = now;
    if (!this.#running) return;
    this.#read(() => this.#message(bytes, offset, end, 0, null));
  }

  /**
   * Events of nodes and networks for a packet.
   * @param overhead Octets that each takes on top.
   * @param limit Octets that there are.
   */
  broadcasts(overhead: number, limit: number): Uint8Array[] {
    return this.#events.take(limit, overhead, this.#nodes.size + 1);
  }

  /** Whether there are events of nodes and networks that have not been sent at all. */
  pressing(): boolean {
    return this.#events.hasNew;
  }

  /** The attachments that this node knows, for a push/pull. */
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

  /** Merges another node's `localState`. @returns whether it is a state of NetworkDB at all. */
  mergeState(state: Uint8Array, now: number): boolean {
    return this.#merge(state, true, now);
  }

  /** As `mergeState`, of what an earlier run knew: nobody is told of the attachments of others. */
  restore(state: Uint8Array, now: number): void {
    this.#merge(state, false, now);
  }

  #merge(state: Uint8Array, told: boolean, now: number): boolean {
    this.#now = now;
    let read = false;
    this.#read(() => {
      const { type, data } = gossipMessage.decode(state);
      if (type !== PUSH_PULL) return this.#count('unknown-type');
      this.#pushPull(data.slice(), told);
      read = true;
    });
    return read;
  }

  // ---- Messages ----

  /** Counts what cannot be read. */
  #read(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#count('malformed');
    }
  }

  /** @param sender The node whose bulk sync this is part of, or `null`. */
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
  #pushPull(state: Uint8Array, told: boolean): void {
    this.#count('push-pulls');
    const places = membersOf('networkPushPull', state, 2);
    const { time, node } = networkPushPull.decode(withoutMembers(state));
    if (!this.#networkClock.witness(time)) return this.#count('time-beyond-reason');
    if (node !== this.name) this.#nodeEvent(JOIN, time, node);
    this.#work.add(this.#mergeEntries(state, places, told), this.#now);
  }

  *#mergeEntries(state: Uint8Array, places: readonly number[], told: boolean): Generator<number, void> {
    for (let i = 0; i < places.length; i += 2) {
      this.#read(() => {
        const entry = networkEntry.decode(state, places[i], places[i + 1]);
        this.#networkEvent(entry.leaving ? LEAVE : JOIN, entry.time, entry.node, entry.network, told);
      });
      yield 1;
    }
  }

  /** Merges a member of a bulk sync's compound, or what is there instead of a compound. */
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
        for (const local of this.#networks.values()) this.#insist(local, false);
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

  #networkEvent(type: number, time: number, node: string, network: string, told = true): void {
    if (type !== JOIN && type !== LEAVE) return this.#count('unknown-type');
    if (node.length > MAX_NAME || network.length > MAX_NAME) return this.#count('name-too-long');
    if (!this.#networkClock.witness(time)) return this.#count('time-beyond-reason');
    const leaving = type === LEAVE;
    const known = this.#attachments.get(network, node);
    if (node === this.name) return this.#ownAttachment(network, time, leaving);
    if (this.#nodes.get(node)?.left === true) return this.#count('owner-left');
    if (known === undefined ? leaving : time <= known.time) return this.#count('stale');
    // By the name that the node's record has: one text for each node, not one for each network.
    if (!this.#setAttachment(network, this.#nodes.get(node)?.name ?? node, time, leaving))
      return this.#count('no-room');
    this.#count('network-events');
    this.#detachOrRefresh(network, node, leaving);
    if (!told) return;
    this.#broadcast(
      `${network.length}:${network}${node}`,
      wrap(NETWORK_EVENT, networkEvent, { type, time, node, network }),
    );
  }

  /** What others say about an attachment of this node. */
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
    else this.#insist(local, true);
  }

  /**
   * Tells that this node is in a network, against what others say, and of its entries there, which are dropped by whoever
   * believed it.
   * @param later Whether the entries are written again, with later times: who dropped them for a network that was left may
   *   have kept their times. Who took this node for one that had left has not, and for who never did nothing changes then.
   */
  #insist(local: LocalNetwork, later: boolean): void {
    this.#attach(local.id, JOIN);
    if (this.#now - local.retold < this.#options.bulkSyncInterval) return;
    local.retold = this.#now;
    for (const { network, table, key, time, value, deleting } of this.#tables.store.ownedBy(this.name, local.id)) {
      if (deleting) continue;
      if (later) this.#write(CREATE, network, table, key, value);
      else this.#tellOf({ type: CREATE, time, network, table, key, value }, local.own, aboutEntry(table, key));
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
    // A withdrawal holds, wherever who withdrew it is now: else some would know of it and some would not.
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
        value: value.slice(), // out of a buffer that may be large
        deleting,
        expires: deleting || held ? expires : Infinity,
        held,
        shown: null,
      },
      this.#now,
    );
    if (!this.#syncs.inSync(network)) return;
    if (known === undefined && deleting && (!bulk || residual <= life * WORTH_TELLING)) return;
    if (bulk && local.relayed.size > QUEUE_ON_SYNC) return;
    this.#enqueue(local.relayed, aboutEntry(table, key), message.slice());
  }

  /**
   * Whether an event takes the place of an entry: the later one does. Of two that were written at the same time, the one
   * of the higher name does, everywhere. But what an absent node wrote neither hides nor replaces what one that is there
   * wrote before: when that node comes back, it brings its own.
   */
  #supersedes({ type, time, node }: TableEvent, known: Entry, held: boolean): boolean {
    if (type !== DELETE && !known.deleting && held !== (known.shown === null)) return !held;
    return time > known.time || (time === known.time && node > known.owner);
  }

  /** An event said to be of this node: its own come back, but those that it did not send it puts right. */
  #ownEntry({ type, time, network, table, key, value }: TableEvent, entry: Entry | undefined): void {
    const deleting = type === DELETE;
    // What an absent node wrote is not there.
    const known = entry?.deleting === false && entry.shown === null ? undefined : entry;
    if (known !== undefined) {
      if (time < known.time) return this.#count('stale');
      const same = known.owner === this.name && known.deleting === deleting && (deleting || equal(known.value, value));
      if (same) {
        // An earlier life of this node wrote the same, with a later time.
        known.time = time;
        return;
      }
    }
    if (known?.owner === this.name && !known.deleting) {
      this.#count('refuted');
      this.#rewrite(network, table, key, known.value, deleting ? known.value : value);
      return;
    }
    // An earlier life of this node made it, or nobody did: either way it is not there. Where another node has an entry of
    // that name it is withdrawn all the same, since some hold this one for later; that node may write it again.
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
   * Who asks for the tables of a network is in it, even if nobody has said so yet. It has to be said or shown again, as
   * the message may have been under way while that node left. An answer shows nothing: every node answers what it is
   * asked, and the question may have been for the process that had its address before.
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

  /** Calls those that wait for a network to be in sync, and no longer than they said. */
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

  /** The networks that this node and another one are both in. */
  #common(peer: string): string[] {
    return [...this.#networks.keys()].filter((network) => this.#present(network, peer));
  }

  // ---- Gossip ----

  /** Sends what waits in a network, in one packet, to some of the others there. */
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
   * Own entries that did not fit into a packet, as this node has written many at once, go to some of the others by stream:
   * gossip alone would take seconds.
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
    // What no packet can hold goes by bulk sync alone.
    if (message.length + MEMBER_OVERHEAD + COMPOUND_OVERHEAD > this.#options.packetSize) this.#count('oversized');
    else if (queue.put(about, message)) this.#count('queue-full');
  }

  #broadcast(about: string, message: Uint8Array): void {
    if (this.#events.put(about, message)) this.#count('queue-full');
  }

  /** Tells of this node. */
  #announce(type: number): void {
    this.#ownTime = this.#networkClock.increment();
    this.#broadcast(this.name, wrap(NODE_EVENT, nodeEvent, { type, time: this.#ownTime, node: this.name }));
  }

  /** Tells of an attachment of this node. */
  #attach(network: string, type: number): void {
    const time = this.#networkClock.increment();
    const { name: node } = this;
    this.#setAttachment(network, node, time, type === LEAVE, this.#networks.has(network));
    const message = wrap(NETWORK_EVENT, networkEvent, { type, time, node, network });
    this.#broadcast(`${network.length}:${network}${node}`, message);
  }

  // ---- Entries ----

  /** What an own event is about; checks that it may be. */
  #own(network: string, table: string, key: string, value: Uint8Array, now: number): Entry | undefined {
    this.#now = now;
    nameOf('table', table);
    nameOf('key', key);
    if (value.length > MAX_VALUE)
      throw new RangeError(`value is to have ${MAX_VALUE} octets at most, not ${value.length}`);
    if (!this.#networks.has(network))
      throw new RangeError(`network ${network} is not one that this node is attached to`);
    return this.#tables.store.get(network, table, key);
  }

  /**
   * Writes an own entry again.
   * @param before What others take it for; where that is something else, they are told first that it is withdrawn.
   */
  #rewrite(network: string, table: string, key: string, value: Uint8Array, before: Uint8Array): void {
    if (!equal(value, before)) {
      const event = { type: DELETE, time: this.#tableClock.increment(), network, table, key, value: before.slice() };
      this.#tellOf(event, this.#networks.get(network)!.own, `-${aboutEntry(table, key)}`);
      // Who has it too and writes it again, as it seems to be withdrawn, is to be older than what follows.
      this.#tableClock.increment();
    }
    this.#write(CREATE, network, table, key, value);
  }

  /**
   * Writes an own entry and tells of it.
   * @param disowned Whether it withdraws what this node never wrote: such events go behind, and their number is bounded.
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
    this.#tellOf(event, disowned ? local.relayed : local.own, aboutEntry(table, key));
  }

  /** Gossips an event of this node. */
  #tellOf(event: Omit<TableEvent, 'node' | 'residual'>, queue: BroadcastQueue, about: string): void {
    const residual = event.type === DELETE ? Math.round(this.#options.tombstoneLife / 1000) : 0;
    this.#enqueue(queue, about, wrap(TABLE_EVENT, tableEvent, { ...event, node: this.name, residual }));
  }

  /** Whether an owner's entries in a network are to be seen. */
  #present(network: string, owner: string): boolean {
    if (owner === this.name) return this.#networks.has(network);
    const attachment = this.#attachments.get(network, owner);
    return attachment !== undefined && !attachment.leaving && this.#isActive(owner);
  }

  #isActive(name: string): boolean {
    const node = this.#nodes.get(name);
    return node !== undefined && node.alive && !node.left;
  }

  /** An owner's attachment to a network, or the owner's state, may have changed. */
  #refresh(network: string, owner: string): void {
    const local = this.#networks.get(network);
    if (local === undefined) return;
    this.#work.add(this.#tables.refresh(owner, network, this.#clock), this.#now);
    this.#appeared(local, owner);
  }

  /** A node may have come into a network in which this one was alone, or be gone. */
  #appeared(local: LocalNetwork, node: string): void {
    if (node === this.name) return;
    if (!this.#present(local.id, node)) this.#syncs.gone(local.id, node);
    else if (local.fresh) this.#syncs.expect(local.id, node, this.#now);
  }

  #refreshOwner(owner: string): void {
    this.#work.add(this.#tables.refresh(owner, undefined, this.#clock), this.#now);
    for (const local of this.#networks.values()) this.#appeared(local, owner);
  }

  /** An attachment changed: the entries of a node that left are gone, those of one that came are seen. */
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

  /** The other nodes in a network; whoever changes their order changes it for all. */
  #peersOf(network: string): string[] {
    let peers = this.#peers.get(network);
    if (peers !== undefined) return peers;
    peers = [];
    for (const [node, { leaving }] of this.#attachments.of(network))
      if (!leaving && node !== this.name && this.#isActive(node)) peers.push(node);
    if (this.#networks.has(network)) this.#peers.set(network, peers);
    return peers;
  }

  /** Changes or adds an attachment, and says whether there was room for it. */
  #setAttachment(network: string, node: string, time: number, leaving: boolean, needed = false): boolean {
    this.#peers.delete(network);
    return this.#attachments.set(network, node, { time, leaving, since: this.#now, encoded: null }, needed);
  }

  #removeAttachment(network: string, node: string): void {
    this.#peers.delete(network);
    this.#attachments.remove(network, node);
  }

  /** Calls one of the nodes that failed, and now and then those of the bootstrap that are not there. */
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
    // While one is there, the others are called once: they may be a cluster of their own, after a split.
    if (absent.length < bootstrap.length) this.#bootstrapUntil = 0;
  }

  /** Whether a node at an address is alive. */
  #isAt(address: string, port: number): boolean {
    return this.#nodes.at(address, port).some(({ alive }) => alive);
  }

  /** Forgets what has been remembered long enough. */
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

  /** Some of the items at random, all of them where `count` is not less: brings them to the front. */
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

/** What an event of an entry is about, in the queues of its network. */
function aboutEntry(table: string, key: string): string {
  return `${table.length}:${table}${key}`;
}

/** Sets the Lamport time of an attachment. */
function stampWith(attachment: Attachment, time: number): void {
  attachment.time = time;
  attachment.encoded = null;
}

/** The fields of a push/pull but for its entries. */
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

/** Peers find an entry by a path of its names, so that these hold no slash. */
function nameOf(field: string, name: string): void {
  if (name === '' || name.length > MAX_NAME || name.includes('/'))
    throw new RangeError(`${field} is to have 1 to ${MAX_NAME} characters and no slash, not "${name.slice(0, 40)}"`);
}

import { unprintable } from '../../wire/index.js';
import type { Gossip } from './gossip.js';
import type { Lamport } from './lamport.js';
import {
  JOIN,
  LEAVE,
  NETWORK_EVENT,
  networkEntry,
  networkEvent,
  NODE_EVENT,
  nodeEvent,
  pushPullOf,
  wrap,
} from './messages.js';
import { nameProblem } from './names.js';
import type { LocalNetwork, Presence } from './presence.js';
import type { Attachment, NodeRecord } from './registry.js';
import type { Syncs } from './syncs.js';
import type { Tables } from './tables.js';
import { MAX_NAME, type CountName, type Moment, type Peer } from './types.js';
import type { Work } from '../memberlist/index.js';

/** Number of bulk sync rounds for which an attachment stays that `conclude` added and no event confirmed. */
const CONCLUDED = 4;
/** How long a network that was left is kept after its entries are removed, in milliseconds. */
const NETWORK_GRACE = 25_000;

/** Minimum interval between announcements of this node because of its former farewells, in milliseconds. */
const REPEAT = 1000;
/** Maximum number of attachments of nodes that are not known: their names may be invented. */
const MAX_UNATTRIBUTED = 4096;
/** Maximum number of records of nodes; beyond it, those that are gone make room. */
const MAX_NODES = 32_768;

export interface NodeEventsOptions {
  /** This node's name. */
  name: string;
  /** Milliseconds, as in `NetworkDbOptions`. */
  bulkSyncInterval: number;
  tombstoneLife: number;
  nodeLife: number;
}

/** What the rules for nodes and attachments need from the machine. */
export interface NodeEventsHost {
  /**
   * Announces the entries of this node in a network again.
   * @param later Whether to write them again with later times.
   */
  reannounce(network: string, later: boolean): void;
  /** An event of a node is refused, because of a name in it. */
  misnamed(name: string, problem: string, node: string): void;
  count(name: CountName): void;
}

/** A pass through the entries of an owner. */
interface Sweep {
  /** The `order` of the last entry that it concerns. */
  latest: number;
  /** Whether it has to begin again. */
  again: boolean;
}

/**
 * The rules for events of nodes and attachments: the later one wins, by Lamport time. This node announces itself and
 * its attachments, and refutes events of other nodes that contradict this.
 */
export class NodeEvents {
  readonly #options: NodeEventsOptions;
  readonly #self: string;
  readonly #host: NodeEventsHost;
  readonly #presence: Presence;
  readonly #tables: Tables;
  readonly #syncs: Syncs;
  readonly #gossip: Gossip;
  readonly #work: Work;
  readonly #moment: Moment;
  readonly #now = (): number => this.#moment.now;
  /** The clock of these events. */
  readonly #clock: Lamport;
  /** Lamport time of the last event about this node. */
  #ownTime = 0;
  /** When this node last announced itself because of a former farewell. */
  #repeated = -Infinity;
  #running = false;
  /** Number of attachments of nodes that are not known; counted again by `reap`. */
  #unattributed = 0;
  /** The sweeps that are under way. */
  readonly #sweeps = new Map<string, Sweep>();

  constructor(
    options: NodeEventsOptions,
    host: NodeEventsHost,
    clock: Lamport,
    presence: Presence,
    tables: Tables,
    syncs: Syncs,
    gossip: Gossip,
    work: Work,
    moment: Moment,
  ) {
    this.#options = options;
    this.#self = options.name;
    this.#host = host;
    this.#clock = clock;
    this.#presence = presence;
    this.#tables = tables;
    this.#syncs = syncs;
    this.#gossip = gossip;
    this.#work = work;
    this.#moment = moment;
  }

  // ---- This node ----

  /** Announces this node. */
  start(): void {
    this.#running = true;
    this.#announce(JOIN);
  }

  /** Announces that this node leaves: from now on it refutes nothing. */
  close(): void {
    this.#running = false;
    this.#announce(LEAVE);
  }

  /** Announces that this node is attached to a network, or has left it. */
  announceAttachment(network: string): void {
    const attached = this.#presence.networks.has(network);
    const time = this.#clock.increment();
    this.#setAttachment(network, this.#self, time, !attached, attached);
    this.#broadcastAttachment(attached ? JOIN : LEAVE, time, this.#self, network);
  }

  #announce(type: number): void {
    this.#ownTime = this.#clock.increment();
    this.#broadcastNode(type, this.#ownTime, this.#self);
  }

  /**
   * Refutes that this node left a network, and announces its entries there again, because nodes that believed it have
   * dropped them.
   * @param later Whether to write the entries again with later times: nodes that dropped them because this node left
   *   the network may have kept their times. Nodes that believed that this node left the cluster have not.
   */
  #refuteLeave(local: LocalNetwork, later: boolean): void {
    this.announceAttachment(local.id);
    if (this.#moment.now - local.reannounced < this.#options.bulkSyncInterval) return;
    local.reannounced = this.#moment.now;
    this.#host.reannounce(local.id, later);
  }

  // ---- From the membership layer ----

  /** A node is alive: it joined, or returned. */
  joined({ name, address, port }: Peer): void {
    const { nodes } = this.#presence;
    if (name === this.#self) return;
    for (const other of nodes.at(address, port))
      // A new name at the same address: the process with the old name has ended.
      if (other.name !== name && !other.left) this.#change(other, other.alive, true);
    const known = nodes.get(name);
    if (known !== undefined) {
      nodes.move(known, address, port);
      this.#change(known, true, false);
    } else {
      const since = this.#moment.now;
      if (nodes.size >= MAX_NODES) this.#makeRoom();
      this.#presence.add({ name, address, port, alive: true, left: false, time: 0, attached: 0, since });
      this.#refreshOwner(name);
    }
    this.#syncs.known(name, this.#moment.now);
  }

  /** Forgets the node that has been gone for longest, if there is one. */
  #makeRoom(): void {
    const { nodes } = this.#presence;
    for (const node of nodes.gone()) {
      this.#presence.detachAll(node.name);
      return nodes.remove(node);
    }
  }

  /** A node is dead, or left: its entries are hidden until it returns. @param existed Whether it ever answered. */
  left(name: string, existed: boolean): void {
    const node = this.#presence.nodes.get(name);
    if (node !== undefined) this.#change(node, false, node.left || !existed);
  }

  // ---- From other nodes ----

  /** A node joined, or leaves. */
  receiveNode(type: number, time: number, name: string): void {
    if (type !== JOIN && type !== LEAVE) return this.#host.count('unknown-type');
    if (!this.#clock.witness(time)) return this.#host.count('time-beyond-reason');
    if (name === this.#self) return this.#receiveSelf(type, time);
    const node = this.#presence.nodes.get(name);
    if (node === undefined) return this.#host.count('unknown-node');
    if (time <= node.time || (type === LEAVE && time < node.attached)) return this.#host.count('stale');
    this.#host.count('node-events');
    node.time = time;
    if (!node.alive || node.left === (type === LEAVE)) return;
    this.#change(node, node.alive, type === LEAVE);
    this.#broadcastNode(type, time, name);
  }

  #receiveSelf(type: number, time: number): void {
    if (time < this.#ownTime) {
      this.#host.count('stale');
      // A repetition of a former farewell: a node that has just started may believe it.
      if (type !== LEAVE || !this.#running || this.#moment.now - this.#repeated < REPEAT) return;
      this.#repeated = this.#moment.now;
      return this.#announce(JOIN);
    }
    if (type !== LEAVE || !this.#running) return;
    this.#host.count('refuted');
    this.#announce(JOIN);
    for (const local of this.#presence.networks.values()) this.#refuteLeave(local, false);
  }

  /** A node attached to a network, or left it. @param relay Whether to pass the event on. */
  receiveAttachment(type: number, time: number, node: string, network: string, relay: boolean): void {
    if (type !== JOIN && type !== LEAVE) return this.#host.count('unknown-type');
    if (node.length > MAX_NAME || network.length > MAX_NAME) return this.#host.count('name-too-long');
    if (!this.#clock.witness(time)) return this.#host.count('time-beyond-reason');
    const leaving = type === LEAVE;
    const known = this.#presence.attachment(network, node);
    if (node === this.#self) return this.#receiveOwnAttachment(network, time, leaving);
    const record = this.#presence.nodes.get(node);
    if (record?.left === true) return this.#host.count('owner-left');
    if (known === undefined ? leaving : time <= known.time) return this.#host.count('stale');
    if (known === undefined && this.#misnamed(node, network)) return;
    if (known === undefined && record === undefined && ++this.#unattributed > MAX_UNATTRIBUTED)
      return this.#host.count('no-room');
    // Uses the name in the node's record, so that there is one string for each node, not one for each network.
    if (!this.#setAttachment(network, record?.name ?? node, time, leaving)) return this.#host.count('no-room');
    this.#host.count('network-events');
    if (record !== undefined && !leaving) record.attached = Math.max(record.attached, time);
    if (leaving) this.#forget(network, node);
    else this.#refresh(network, node);
    if (relay) this.#broadcastAttachment(type, time, node, network);
  }

  /** Whether an attachment has a name that is refused: other nodes would join that network, and show the names. */
  #misnamed(node: string, network: string): boolean {
    const problem = nameProblem(network);
    if (problem !== undefined) this.#host.misnamed(network, problem, node);
    const nodeProblem = unprintable(node);
    if (problem === undefined && nodeProblem !== undefined) this.#host.misnamed(node, nodeProblem, node);
    return problem !== undefined || nodeProblem !== undefined;
  }

  #receiveOwnAttachment(network: string, time: number, leaving: boolean): void {
    const known = this.#presence.attachment(network, this.#self);
    if (known !== undefined && time < known.time) return this.#host.count('stale');
    const local = this.#presence.networks.get(network);
    if ((local === undefined) === leaving) {
      if (known !== undefined) stampWith(known, time);
      return;
    }
    if (!this.#running) return;
    this.#host.count('refuted');
    if (local === undefined) this.announceAttachment(network);
    else this.#refuteLeave(local, true);
  }

  /**
   * Concludes that a node that asks for the tables of a network is attached to it, even if no event said so yet. This
   * expires unless it is confirmed, because the message may have been in flight while the node left. An answer proves
   * nothing: every node answers any request, and the request may have been for an earlier process at its address.
   */
  conclude(name: string, networks: readonly string[]): void {
    for (const network of networks) {
      if (!this.#presence.networks.has(network)) continue;
      const known = this.#presence.attachment(network, name);
      if (known !== undefined) {
        if (known.time === 0) known.since = this.#moment.now;
      } else if (this.#setAttachment(network, name, 0, false)) this.#refresh(network, name);
    }
  }

  // ---- States ----

  /** Returns the known attachments, for a push/pull. @param join Whether a node joins: own events are new to it. */
  state(join: boolean): Uint8Array {
    const networks: Uint8Array[] = [];
    const stamp = join ? this.#clock.increment() : 0;
    for (const [network, node, attachment] of this.#presence.attachments()) {
      if (node === this.#self) {
        if (join) stampWith(attachment, stamp);
      } else if (attachment.time === 0 || this.#presence.nodes.get(node)?.alive !== true) continue;
      const { time, leaving } = attachment;
      networks.push((attachment.encoded ??= networkEntry.encode({ network, time, node, leaving })));
    }
    return pushPullOf(this.#clock.time, networks, this.#self);
  }

  /** The state of a node arrived. @returns whether to take its attachments, with `receiveAttachment`. */
  receiveState(time: number, node: string): boolean {
    if (!this.#clock.witness(time)) {
      this.#host.count('time-beyond-reason');
      return false;
    }
    if (node !== this.#self) this.receiveNode(JOIN, time, node);
    return true;
  }

  // ---- Consequences ----

  #change(node: NodeRecord, alive: boolean, left: boolean): void {
    if (node.alive === alive && node.left === left) return;
    const gone = left && !node.left;
    this.#presence.change(node, alive, left, this.#moment.now);
    if (gone) {
      this.#sweep('forget', node.name, undefined);
      this.#presence.detachAll(node.name);
    }
    this.#refreshOwner(node.name);
  }

  /** Updates the visibility of all entries of an owner whose state has changed. */
  #refreshOwner(owner: string): void {
    this.#sweep('refresh', owner, undefined);
    for (const local of this.#presence.networks.values()) this.#appeared(local, owner);
  }

  /** Updates the visibility of an owner's entries in a network to which it is attached now, or no longer. */
  #refresh(network: string, owner: string): void {
    const local = this.#presence.networks.get(network);
    if (local === undefined) return;
    this.#sweep('refresh', owner, network);
    this.#appeared(local, owner);
  }

  /** A node may have joined a network in which this one was alone, or be gone. */
  #appeared(local: LocalNetwork, node: string): void {
    if (node === this.#self) return;
    if (!this.#presence.present(local.id, node)) this.#syncs.gone(local.id, node);
    else if (local.fresh) this.#syncs.expect(local.id, node, this.#moment.now);
  }

  /** Removes the entries of an owner that has left a network. */
  #forget(network: string, owner: string): void {
    this.#sweep('forget', owner, network);
    this.#syncs.gone(network, owner);
  }

  /**
   * Goes through the entries of an owner, in slices. A call for the same entries while one is under way makes that one
   * start again at its end: a flood of events does not queue a task for each.
   */
  #sweep(what: 'refresh' | 'forget', owner: string, network: string | undefined): void {
    const key = `${what} ${network === undefined ? '' : `${network.length}:${network}`} ${owner}`;
    const sweep = this.#sweeps.get(key);
    // Entries that arrive later are not those of the process that left.
    const { latest } = this.#tables.store;
    if (sweep !== undefined) {
      sweep.latest = latest;
      sweep.again = true;
      return;
    }
    const begun: Sweep = { latest, again: true };
    this.#sweeps.set(key, begun);
    this.#work.add(this.#sweeping(what, owner, network, key, begun), this.#moment.now);
  }

  *#sweeping(
    what: 'refresh' | 'forget',
    owner: string,
    network: string | undefined,
    key: string,
    sweep: Sweep,
  ): Generator<number, void> {
    while (sweep.again) {
      sweep.again = false;
      if (what === 'refresh') yield* this.#tables.refresh(owner, network, this.#now);
      else yield* this.#tables.forgetOwner(owner, network, sweep.latest, this.#now);
    }
    this.#sweeps.delete(key);
  }

  #setAttachment(network: string, node: string, time: number, leaving: boolean, needed = false): boolean {
    return this.#presence.attach(network, node, { time, leaving, since: this.#moment.now, encoded: null }, needed);
  }

  #broadcastNode(type: number, time: number, node: string): void {
    this.#gossip.broadcast(node, wrap(NODE_EVENT, nodeEvent, { type, time, node }));
  }

  #broadcastAttachment(type: number, time: number, node: string, network: string): void {
    const message = wrap(NETWORK_EVENT, networkEvent, { type, time, node, network });
    this.#gossip.broadcast(`${network.length}:${network}${node}`, message);
  }

  // ---- Time ----

  /** Removes attachments and nodes after their lifetimes. */
  reap(): void {
    const { now } = this.#moment;
    const { bulkSyncInterval, tombstoneLife, nodeLife } = this.#options;
    const { nodes } = this.#presence;
    this.#unattributed = 0;
    for (const [network, node, { time, leaving, since }] of this.#presence.attachments()) {
      if (time === 0 && now - since >= bulkSyncInterval * CONCLUDED) {
        this.#presence.detach(network, node);
        this.#refresh(network, node);
        continue;
      }
      const own = node === this.#self;
      const record = nodes.get(node);
      if (!own && record === undefined) this.#unattributed++;
      const gone = leaving ? since : own || record?.alive === true ? Infinity : Math.max(since, record?.since ?? 0);
      if (now - gone >= tombstoneLife + NETWORK_GRACE) this.#presence.detach(network, node);
    }
    for (const node of nodes.all()) if (!node.alive && now - node.since >= nodeLife) nodes.remove(node);
  }
}

/** Sets the Lamport time of an attachment. */
function stampWith(attachment: Attachment, time: number): void {
  attachment.time = time;
  attachment.encoded = null;
}

import { CompoundWriter } from './compound-writer.js';
import {
  BULK_SYNC,
  bulkSyncMessage,
  bulkSyncPart,
  COMPOUND,
  CREATE,
  DELETE,
  gossipMessage,
  membersOf,
  wrap,
  type BulkSyncMessage,
  type BulkSyncPart,
} from './messages.js';
import { type Entry } from './store.js';
import { type CountName } from './types.js';
import { type Work } from '../memberlist/index.js';

/**
 * Approximate octets of entries in one message of a bulk sync; more entries go into several messages. Building or
 * merging one takes a few milliseconds.
 */
const BULK = 64 << 10;
/** Cost to compress, encrypt and send one message, in addition to its entries, in units of {@link Work}. */
const SEND_COST = 100;
/** Maximum number of simultaneous requests to nodes of networks that this node joins. */
const JOINING = 3;
/** Limits for answers to bulk syncs: entries in a burst, entries per second, and what one answer counts in addition. */
const ANSWERS = 200_000;
const ANSWERS_PER_SECOND = 20_000;
const ANSWER_COST = 500;
/**
 * A node that does not answer while this node joins a network is asked again after this time, in milliseconds, and then
 * each time after three times as long: Docker's nodes answer only nodes that they know to be alive, which they may
 * learn a little later.
 */
const ASK_AGAIN = 2000;
/**
 * A node that joins a network asks the nodes there. So a node that was alone waits for this long, in milliseconds, and
 * asks only if no request arrives. Docker up to at least 28 stores one pending acknowledgement for each node, and its
 * answer to a request of that node overwrites it: the acknowledgement is lost then, and Docker's join takes 30 s.
 */
const GRACE = 1000;
/** Maximum number of requests to store from nodes that are not known to be alive yet. */
const MAX_DEFERRED = 64;
/** Maximum number of incoming bulk syncs in several messages, and maximum number of octets that wait to be merged. */
const ARRIVING = 256;
const UNMERGED = 64 << 20;

/** What bulk syncs need from the tables and the membership. */
export interface SyncHost {
  /** Whether a node is attached to a network and active. */
  present(network: string, node: string): boolean;
  isActive(node: string): boolean;
  /** The networks that this node and another one are both attached to. */
  common(node: string): string[];
  attached(network: string): boolean;
  entries(network: string): Iterable<Entry>;
  /** Number of entries of a network. */
  size(network: string): number;
  /** Returns the Lamport time for a new event. */
  increment(): number;
  /** A node asked for the tables of networks, so it is attached to them. */
  conclude(node: string, networks: readonly string[]): void;
  /**
   * Merges `bytes[from, to)` of a bulk sync, and counts it if it is malformed.
   * @param member Whether this is one message of the bulk sync's compound, or the whole payload.
   */
  merge(bytes: Uint8Array, from: number, to: number, member: boolean): void;
  /** The tables of another node in a network have been merged. */
  synced(network: string): void;
  /** Nothing more is expected from a node about some networks: they may be in sync now. */
  settled(networks: Iterable<string>): void;
  send(node: string, message: Uint8Array): void;
  count(name: CountName): void;
  random(): number;
}

/** A bulk sync that waits for an answer. */
interface Request {
  readonly peer: string;
  readonly networks: Set<string>;
  deadline: number;
  /** When the request is repeated, and the interval since the previous one. */
  again: number;
  wait: number;
  /** Whether this node sent it to join networks. */
  readonly joining: boolean;
  /** For a periodic bulk sync: the node to try next. */
  readonly next: string | undefined;
}

/** A request to a node, not sent yet, for the tables of networks. */
interface Question {
  readonly networks: Set<string>;
  at: number;
}

/** A bulk sync of which some messages have arrived. */
interface Arrival {
  readonly parts: Set<number>;
  /** The number of the last message; 0 before it has arrived. */
  last: number;
}

/** Exchanges whole tables with other nodes: with all nodes of a network on joining it, and with one in every round. */
export class Syncs {
  readonly #name: string;
  readonly #host: SyncHost;
  readonly #work: Work;
  readonly #answerTimeout: number;
  /** By network, the nodes whose tables must arrive before this node relays events of others. */
  readonly #unsynced = new Map<string, Set<string>>();
  readonly #questions = new Map<string, Question>();
  #requests: Request[] = [];
  /** When each node last asked for tables. */
  readonly #asked = new Map<string, number>();
  readonly #arrivals = new Map<string, Arrival>();
  #unmerged = 0;
  #answers = ANSWERS;
  #answersAt = 0;
  /** Requests of nodes that are not known to be alive yet. */
  readonly #deferred = new Map<string, { networks: readonly string[]; complete: boolean }>();

  constructor(name: string, answerTimeout: number, host: SyncHost, work: Work) {
    this.#name = name;
    this.#answerTimeout = answerTimeout;
    this.#host = host;
    this.#work = work;
  }

  // ---- Joining networks ----

  /** This node has joined a network with these nodes: it asks them all at the next `tick`. */
  begin(network: string, peers: readonly string[], now: number): void {
    this.#unsynced.set(network, new Set(peers));
    for (const peer of peers) this.#question(peer, network, now);
  }

  /** A node has joined a network in which this one was alone. It should ask; if it does not, this node does. */
  expect(network: string, peer: string, now: number): void {
    const unsynced = this.#unsynced.get(network);
    if (unsynced === undefined || unsynced.size >= JOINING || unsynced.has(peer)) return;
    unsynced.add(peer);
    this.#question(peer, network, now + GRACE * (1 + this.#host.random() / 2));
  }

  /** This node has left a network. */
  end(network: string): void {
    for (const peer of this.#unsynced.get(network) ?? []) this.#settle(peer, [network]);
    this.#unsynced.delete(network);
  }

  /** A node has left a network. */
  gone(network: string, peer: string): void {
    if (this.#unsynced.get(network)?.has(peer) === true) this.#settle(peer, [network]);
  }

  /** Whether the tables of all known nodes of a network have arrived. */
  inSync(network: string): boolean {
    const unsynced = this.#unsynced.get(network);
    return unsynced !== undefined && unsynced.size === 0;
  }

  #question(peer: string, network: string, at: number): void {
    const question = this.#questions.get(peer);
    if (question === undefined) this.#questions.set(peer, { networks: new Set([network]), at });
    else {
      question.networks.add(network);
      question.at = Math.min(question.at, at);
    }
  }

  /** Stops waiting for the tables of a node in some networks. */
  #settle(peer: string, networks: readonly string[]): void {
    const question = this.#questions.get(peer);
    for (const network of networks) {
      this.#unsynced.get(network)?.delete(peer);
      question?.networks.delete(network);
      for (const request of this.#requests) if (request.peer === peer) request.networks.delete(network);
    }
    if (question?.networks.size === 0) this.#questions.delete(peer);
    this.#requests = this.#requests.filter((request) => request.networks.size > 0);
    this.#host.settled(networks);
  }

  // ---- Time ----

  get next(): number {
    let next = Infinity;
    for (const { deadline, again } of this.#requests) next = Math.min(next, deadline, again);
    if (this.#open() < JOINING) for (const { at } of this.#questions.values()) next = Math.min(next, at);
    return next;
  }

  tick(now: number): void {
    this.#expire(now);
    this.#repeat(now);
    this.#ask(now);
  }

  stop(): void {
    this.#requests = [];
    this.#questions.clear();
    this.#arrivals.clear();
  }

  /** Chooses one other node for every network, and starts a bulk sync of all common networks with it. */
  round(networks: readonly string[], twoPeers: (network: string) => readonly string[], now: number): void {
    const done = new Set<string>();
    for (const [peer, at] of this.#asked) if (now - at >= GRACE) this.#asked.delete(peer);
    for (const network of networks) {
      if (done.has(network)) continue;
      const [first, second] = twoPeers(network);
      if (first === undefined) continue;
      const common = this.#host.common(first);
      for (const one of common) done.add(one);
      if (!this.#asked.has(first)) this.#request(first, common, false, now, second);
    }
  }

  #expire(now: number): void {
    const late = this.#requests.filter((request) => request.deadline <= now);
    for (const { peer, networks, joining, next } of late) {
      this.#host.count('bulk-timeouts');
      const rest = [...networks];
      this.#requests = this.#requests.filter((one) => one.peer !== peer || one.deadline > now);
      if (joining) this.#settle(peer, rest);
      else if (next !== undefined && this.#host.isActive(next)) {
        const common = this.#host.common(next);
        if (common.length > 0) this.#request(next, common, false, now);
      }
    }
  }

  /** Repeats requests to nodes of networks that this node joins. */
  #repeat(now: number): void {
    for (const request of this.#requests) {
      if (request.again > now) continue;
      const { peer, networks } = request;
      if (this.#isAsking(peer, now)) {
        request.again = now + GRACE;
        continue;
      }
      request.wait *= 3;
      request.again = now + request.wait;
      const present = [...networks].filter((network) => this.#host.present(network, peer));
      if (present.length > 0) this.#send(peer, present, true, now);
    }
  }

  /** Asks the next nodes, each for all networks that are due. */
  #ask(now: number): void {
    for (let open = this.#open(); open < JOINING; open++) {
      const due = [...this.#questions].filter(([, { at }]) => at <= now);
      if (due.length === 0) return;
      const [peer, question] = due[Math.floor(this.#host.random() * due.length)]!;
      if (this.#isAsking(peer, now)) {
        question.at = now + GRACE;
        continue;
      }
      this.#questions.delete(peer);
      const all = [...question.networks];
      const present = all.filter((network) => this.#host.present(network, peer));
      this.#settle(
        peer,
        all.filter((network) => !present.includes(network)),
      );
      if (present.length > 0) this.#request(peer, present, true, now);
    }
  }

  /** Number of requests for networks that this node joins, without those that are unanswered for a long time. */
  #open(): number {
    return this.#requests.filter(({ joining, wait }) => joining && wait === ASK_AGAIN).length;
  }

  /** Whether a node asked recently, and may still wait for an acknowledgement that a request would make it lose. */
  #isAsking(peer: string, now: number): boolean {
    return now - (this.#asked.get(peer) ?? -Infinity) < GRACE;
  }

  #request(peer: string, networks: readonly string[], joining: boolean, now: number, next?: string): void {
    const wait = joining ? ASK_AGAIN : Infinity;
    const deadline = now + this.#answerTimeout;
    this.#requests.push({ peer, networks: new Set(networks), deadline, again: now + wait, wait, joining, next });
    this.#send(peer, networks, true, now);
  }

  /**
   * Sends a node the entries of this node in some networks, without asking for an answer.
   * @param networks By network, a Lamport time: only later entries are sent.
   */
  push(peer: string, networks: ReadonlyMap<string, number>, now: number): void {
    this.#work.add(this.#tables(peer, [...networks.keys()], false, now, networks), now);
  }

  // ---- Incoming ----

  /** @param alive Whether the sender is known to be alive. */
  receive(sync: BulkSyncMessage, alive: boolean, now: number): void {
    const { unsolicited, node: peer, networks } = sync;
    if (unsolicited) {
      this.#asked.delete(peer);
      this.#asked.set(peer, now);
      for (const oldest of this.#asked.keys()) if (this.#asked.size > ARRIVING) this.#asked.delete(oldest);
      if (alive) {
        this.#host.conclude(peer, networks);
        // The answer goes first, because the node waits for it.
        this.#answer(peer, networks, now);
      } else this.#defer(sync);
    }
    for (const request of this.#requests)
      if (request.peer === peer) {
        request.again = Math.max(request.again, now + request.wait);
        request.deadline = now + this.#answerTimeout;
      }
    this.#take(sync, now);
  }

  /** Stores the request of a node that knows this node before this node knows it; `known` answers it. */
  #defer({ node: peer, networks, unknown }: BulkSyncMessage): void {
    this.#host.count('unknown-node');
    this.#deferred.delete(peer);
    for (const first of this.#deferred.keys()) if (this.#deferred.size >= MAX_DEFERRED) this.#deferred.delete(first);
    const attached = networks.filter((network) => this.#host.attached(network));
    this.#deferred.set(peer, { networks: attached, complete: unknown === undefined });
  }

  /** A node is known to be alive. */
  known(peer: string, now: number): void {
    const deferred = this.#deferred.get(peer);
    if (deferred === undefined) return;
    this.#deferred.delete(peer);
    this.#answer(peer, deferred.networks, now);
    if (deferred.complete) this.#complete(peer, deferred.networks);
  }

  #take(sync: BulkSyncMessage, now: number): void {
    const { node: peer, networks, payload } = sync;
    const part = sync.unknown === undefined ? null : bulkSyncPart.decode(sync.unknown.slice());
    if (payload.length === 0) return this.#arrived(peer, networks, part);
    if (this.#unmerged + payload.length > UNMERGED) return this.#host.count('bulk-unmerged');
    this.#unmerged += payload.length;
    // A copy, because the caller may reuse the bytes before everything is merged.
    this.#work.add(this.#merge(peer, networks, payload.slice(), part), now);
  }

  *#merge(
    peer: string,
    networks: readonly string[],
    payload: Uint8Array,
    part: BulkSyncPart | null,
  ): Generator<number, void> {
    let members: number[] | null = null;
    let data = payload;
    try {
      const outer = gossipMessage.decode(payload);
      if (outer.type === COMPOUND) {
        data = outer.data;
        members = membersOf('compoundMessage', data, 1);
      }
    } catch {
      // The decoder below counts the error.
    }
    if (members === null) this.#host.merge(payload, 0, payload.length, false);
    else
      for (let i = 0; i < members.length; i += 2) {
        this.#host.merge(data, members[i]!, members[i + 1]!, true);
        yield 1;
      }
    this.#unmerged -= payload.length;
    this.#arrived(peer, networks, part);
  }

  /** A message of a bulk sync has been merged. */
  #arrived(peer: string, networks: readonly string[], message: BulkSyncPart | null): void {
    if (message?.partial === true) return;
    if (message === null || message.part === 0) return this.#complete(peer, networks);
    const { sync, part, last } = message;
    const key = `${sync} ${peer}`;
    let arrival = this.#arrivals.get(key);
    if (arrival === undefined) {
      for (const oldest of this.#arrivals.keys()) if (this.#arrivals.size >= ARRIVING) this.#arrivals.delete(oldest);
      this.#arrivals.set(key, (arrival = { parts: new Set(), last: 0 }));
    }
    arrival.parts.add(part);
    if (last) arrival.last = part;
    if (arrival.last === 0 || arrival.parts.size < arrival.last) return;
    this.#arrivals.delete(key);
    this.#complete(peer, networks);
  }

  /** The tables of a node in some networks have been merged, from its answer or its request. */
  #complete(peer: string, networks: readonly string[]): void {
    if (!this.#host.isActive(peer)) return;
    this.#settle(peer, networks);
    for (const network of networks) this.#host.synced(network);
  }

  // ---- Outgoing ----

  #answer(peer: string, networks: readonly string[], now: number): void {
    this.#answers = Math.min(ANSWERS, this.#answers + ((now - this.#answersAt) / 1000) * ANSWERS_PER_SECOND);
    this.#answersAt = now;
    if (this.#answers <= 0) return this.#host.count('bulk-unanswered');
    this.#answers -= ANSWER_COST;
    for (const network of new Set(networks)) this.#answers -= this.#host.size(network);
    this.#send(peer, networks, false, now);
  }

  #send(peer: string, networks: readonly string[], asking: boolean, now: number): void {
    this.#work.add(this.#tables(peer, [...networks], asking, now), now);
  }

  /**
   * Sends the entries of some networks in messages of which the first may ask back.
   * @param since Only entries of this node are sent, and only those later than this Lamport time of their network.
   */
  *#tables(
    peer: string,
    networks: string[],
    asking: boolean,
    now: number,
    since?: ReadonlyMap<string, number>,
  ): Generator<number, void> {
    const host = this.#host;
    const ownOnly = since !== undefined;
    const members = new CompoundWriter();
    let sync = 0;
    let part = 0;
    const flush = (last: boolean): number => {
      const time = host.increment();
      const cost = 1 + Math.ceil((SEND_COST * members.length) / BULK);
      if (!last || part > 0) part++;
      if (part === 1) sync = time;
      host.send(
        peer,
        wrap(BULK_SYNC, bulkSyncMessage, {
          time,
          unsolicited: asking && part <= 1,
          node: this.#name,
          networks,
          payload: members.take(),
          ...(part === 0 && !ownOnly ? {} : { unknown: bulkSyncPart.encode({ partial: ownOnly, sync, part, last }) }),
        }),
      );
      return cost;
    };
    for (const network of new Set(networks)) {
      for (const entry of host.entries(network)) {
        if (ownOnly && (entry.owner !== this.#name || entry.time <= since.get(network)!)) continue;
        // The lifetime of a tombstone shrinks with every hop, so that it ends. In whole seconds, and never 0, which
        // stands for the full lifetime.
        const residual = entry.deleting ? Math.floor((entry.expires! - now) / 1000) : 0;
        if (entry.deleting ? residual < 1 : entry.shown === null) continue;
        const { time, owner: node, table, key, value } = entry;
        const type = entry.deleting ? DELETE : CREATE;
        members.addEvent({ type, time, node, network, table, key, value, residual });
        if (members.length >= BULK) yield flush(false);
        yield 1;
      }
      yield 1;
    }
    yield flush(true);
  }
}

import { unprintable } from '../../wire/index.js';
import type { Gossip } from './gossip.js';
import type { Origin } from './inbox.js';
import type { Lamport } from './lamport.js';
import { CREATE, DELETE, UPDATE, type TableEvent } from './messages.js';
import type { OwnEntries } from './own-entries.js';
import { pack } from './packed.js';
import type { Presence } from './presence.js';
import type { Entry } from './store.js';
import type { Tables } from './tables.js';
import { MAX_NAME, MAX_VALUE, type CountName, type Moment } from './types.js';

/** Entries of a bulk sync are not relayed by gossip while the queue has more events than this. */
const QUEUE_ON_SYNC = 500;
/** A deletion of an unknown entry in a bulk sync is relayed only if more than this part of its lifetime is left. */
const MIN_RELAY_LIFE = 1 / 6;

/** What the rules for table events need from the machine. */
export interface TableEventsHost {
  /** Whether the tables of the other nodes in a network are known. */
  inSync(network: string): boolean;
  /** An event of a node is refused, because of a name in it. */
  misnamed(name: string, problem: string, node: string): void;
  count(name: CountName): void;
}

/**
 * The rules by which events of tables are merged. An entry is visible while its owner is attached to the network and
 * active, so the order in which its event and those of the owner arrive does not matter.
 */
export class TableEvents {
  readonly #self: string;
  readonly #tombstoneLife: number;
  readonly #host: TableEventsHost;
  readonly #clock: Lamport;
  readonly #presence: Presence;
  readonly #tables: Tables;
  readonly #own: OwnEntries;
  readonly #gossip: Gossip;
  readonly #moment: Moment;

  /**
   * @param tombstoneLife Milliseconds.
   * @param clock The clock of table events.
   */
  constructor(
    self: string,
    tombstoneLife: number,
    host: TableEventsHost,
    clock: Lamport,
    presence: Presence,
    tables: Tables,
    own: OwnEntries,
    gossip: Gossip,
    moment: Moment,
  ) {
    this.#self = self;
    this.#tombstoneLife = tombstoneLife;
    this.#host = host;
    this.#clock = clock;
    this.#presence = presence;
    this.#tables = tables;
    this.#own = own;
    this.#gossip = gossip;
    this.#moment = moment;
  }

  /** @param message The event as it arrived, to relay it. */
  receive(event: TableEvent, message: Uint8Array, origin: Origin): void {
    const bulk = origin === 'bulk';
    const { type, time, node, network, table, key, value } = event;
    if (type !== CREATE && type !== UPDATE && type !== DELETE) return this.#host.count('unknown-type');
    if (node.length > MAX_NAME || network.length > MAX_NAME || table.length > MAX_NAME || key.length > MAX_NAME)
      return this.#host.count('name-too-long');
    if (value.length > MAX_VALUE) return this.#host.count('value-too-long');
    if (!this.#clock.witness(time)) return this.#host.count('time-beyond-reason');
    if (!this.#presence.networks.has(network)) return this.#host.count('not-attached');
    const deleting = type === DELETE;
    const known = this.#tables.store.get(network, table, key);
    for (const name of [...(known === undefined ? [table, key] : []), ...(known?.owner === node ? [] : [node])]) {
      const problem = unprintable(name);
      if (problem !== undefined) return this.#host.misnamed(name, problem, node);
    }
    if (node === this.#self) return this.#own.receive(event, known);
    // A deletion holds even if its author is absent: otherwise only some nodes would know of it.
    if (!deleting && this.#hasLeft(network, node)) return this.#host.count('owner-left');
    // Packets can be repeated. An entry that is old and still exists comes by bulk sync.
    if (origin === 'packet' && known === undefined && !deleting && this.#tables.store.isOutdated(network, node, time))
      return this.#host.count('stale');
    const held = !this.#presence.present(network, node);
    if (known !== undefined && !supersedes(event, known, held)) return this.#host.count('stale');
    if (!this.#tables.store.admits(node, value.length + table.length + key.length, held, known))
      return this.#host.count('no-room');
    this.#host.count('table-events');
    if (held) this.#host.count('held');
    const life = this.#tombstoneLife;
    const residual = event.residual <= 0 ? life : Math.min(event.residual * 1000, life);
    const { now } = this.#moment;
    const expires = now + (deleting ? residual : held ? life : 0);
    const names = this.#tables.store.names(network, table, node);
    const entry: Entry = {
      network: names.network,
      table: names.table,
      key: known?.key ?? key,
      time,
      owner: names.owner,
      value: pack(value),
      deleting,
      expires: deleting || held ? expires : null,
      held,
      shown: null,
      order: 0,
    };
    if (!this.#tables.put(entry, now)) return;
    if (!this.#host.inSync(network)) return;
    if (known === undefined && deleting && (!bulk || residual <= life * MIN_RELAY_LIFE)) return;
    if (bulk && this.#gossip.backlog(network) > QUEUE_ON_SYNC) return;
    if (bulk && !deleting && this.#isAlone(network, node)) return;
    this.#gossip.relay(network, names.subject + key, message, type === CREATE ? entry : null);
  }

  /** Whether the author of an entry is the only other node in a network: nobody is there to relay the entry to. */
  #isAlone(network: string, node: string): boolean {
    const peers = this.#presence.peersOf(network);
    return peers.length === 1 && peers[0] === node;
  }

  /** Whether a node announced that it left a network, or the cluster. */
  #hasLeft(network: string, node: string): boolean {
    return this.#presence.nodes.get(node)?.left === true || this.#presence.attachment(network, node)?.leaving === true;
  }
}

/**
 * Whether an event replaces an entry: the later one does, and of two with the same time, at every node the one with the
 * higher name. But an entry of an absent node neither hides nor replaces an older one of a present node: an absent node
 * brings its entries when it returns.
 */
function supersedes({ type, time, node }: TableEvent, known: Entry, held: boolean): boolean {
  if (type !== DELETE && !known.deleting && held !== (known.shown === null)) return !held;
  return time > known.time || (time === known.time && node > known.owner);
}

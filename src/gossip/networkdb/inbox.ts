import { WireError } from '../../wire/index.js';
import {
  BULK_SYNC,
  bulkSyncMessage,
  COMPOUND,
  gossipMessage,
  JOIN,
  LEAVE,
  membersOf,
  NETWORK_EVENT,
  networkEntry,
  networkEvent,
  networkPushPull,
  NODE_EVENT,
  nodeEvent,
  PUSH_PULL,
  simpleMessage,
  TABLE_EVENT,
  tableEvent,
  type BulkSyncMessage,
  type TableEvent,
} from './messages.js';
import { fieldsOf } from './protobuf.js';
import type { CountName, Moment } from './types.js';
import type { Work } from '../memberlist/index.js';

/** Maximum nesting of compounds. */
const DEPTH = 2;

/** Number of messages of a compound that are handled at once; each takes about 10 us. */
const AT_ONCE = 128;
/** Maximum number of octets of compounds that wait to be merged. */
const UNMERGED = 16 << 20;

/** How a message arrived: in a packet, in a stream of its own, or in a bulk sync. */
export type Origin = 'packet' | 'stream' | 'bulk';

/** Receives decoded messages. */
export interface InboxHost {
  /** @param message The event as it arrived. */
  tableEvent(event: TableEvent, message: Uint8Array, origin: Origin): void;
  /** @param relay Whether to pass the event on. */
  networkEvent(type: number, time: number, node: string, network: string, relay: boolean): void;
  nodeEvent(type: number, time: number, node: string): void;
  bulkSync(sync: BulkSyncMessage): void;
  /** A state of a node arrived. @returns whether to take its attachments, as network events. */
  state(time: number, node: string): boolean;
  count(name: CountName): void;
}

/** Decodes messages and dispatches them. Malformed ones are counted, and never throw. */
export class Inbox {
  readonly #host: InboxHost;
  readonly #work: Work;
  readonly #moment: Moment;
  #unmerged = 0;

  constructor(host: InboxHost, work: Work, moment: Moment) {
    this.#host = host;
    this.#work = work;
    this.#moment = moment;
  }

  /** Takes a message of any type, `bytes[from, to)`. A long compound is merged in slices. */
  message(bytes: Uint8Array, from: number, to: number): void {
    this.#read(() => this.#dispatch(bytes, from, to, 0, 'stream'));
  }

  /**
   * Takes a message from a packet. A bulk sync is dropped: peers send it over a stream, and the answer to one packet
   * would be whole tables.
   */
  packet(bytes: Uint8Array): void {
    this.#read(() => this.#dispatch(bytes, 0, bytes.length, 0, 'packet'));
  }

  /**
   * Takes `bytes[from, to)` of a bulk sync.
   * @param member Whether this is one message of the bulk sync's compound, or the whole payload.
   */
  bulkMember(bytes: Uint8Array, from: number, to: number, member: boolean): void {
    this.#read(() => {
      if (!member) return this.#dispatch(bytes, from, to, 0, 'bulk');
      const { payload } = simpleMessage.decode(bytes, from, to);
      this.#dispatch(payload, 0, payload.length, 1, 'bulk');
    });
  }

  /**
   * Takes a state, and merges its attachments a few at a time.
   * @param relay Whether to pass their events on.
   * @returns whether it is a state of NetworkDB.
   */
  state(state: Uint8Array, relay: boolean): boolean {
    let read = false;
    this.#read(() => {
      const { type, data } = gossipMessage.decode(state);
      if (type !== PUSH_PULL) return this.#host.count('unknown-type');
      this.#pushPull(data.slice(), relay);
      read = true;
    });
    return read;
  }

  /** Runs a decoder, and counts malformed input. */
  #read(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#host.count('malformed');
    }
  }

  #dispatch(bytes: Uint8Array, from: number, to: number, depth: number, origin: Origin): void {
    const { type, data } = gossipMessage.decode(bytes, from, to);
    if (type === TABLE_EVENT) this.#host.tableEvent(tableEvent.decode(data), bytes.subarray(from, to), origin);
    else if (type === COMPOUND) {
      if (depth === DEPTH) return this.#host.count('nested');
      this.#compound(data, depth, origin);
    } else if (origin === 'bulk') this.#host.count('unknown-type');
    else if (type === NETWORK_EVENT) {
      const event = networkEvent.decode(data);
      this.#host.networkEvent(event.type, event.time, event.node, event.network, true);
    } else if (type === NODE_EVENT) {
      const event = nodeEvent.decode(data);
      this.#host.nodeEvent(event.type, event.time, event.node);
    } else if (type === BULK_SYNC && origin === 'stream') this.#host.bulkSync(bulkSyncMessage.decode(data));
    else this.#host.count('unknown-type');
  }

  /** A compound of a few messages is handled at once, a longer one in slices. */
  #compound(data: Uint8Array, depth: number, origin: Origin): void {
    const places = membersOf('compoundMessage', data, 1);
    if (places.length <= 2 * AT_ONCE) {
      for (let i = 0; i < places.length; i += 2) this.#member(data, places[i]!, places[i + 1]!, depth, origin);
      return;
    }
    if (this.#unmerged + data.length > UNMERGED) return this.#host.count('unmerged');
    this.#unmerged += data.length;
    // A copy, because the caller may reuse the bytes before everything is merged.
    this.#work.add(this.#members(data.slice(), places, depth, origin), this.#moment.now);
  }

  *#members(data: Uint8Array, places: readonly number[], depth: number, origin: Origin): Generator<number, void> {
    for (let i = 0; i < places.length; i += 2) {
      this.#member(data, places[i]!, places[i + 1]!, depth, origin);
      yield 1;
    }
    this.#unmerged -= data.length;
  }

  #member(data: Uint8Array, from: number, to: number, depth: number, origin: Origin): void {
    this.#read(() => {
      const { payload } = simpleMessage.decode(data, from, to);
      this.#dispatch(payload, 0, payload.length, depth + 1, origin);
    });
  }

  #pushPull(state: Uint8Array, relay: boolean): void {
    this.#host.count('push-pulls');
    const places = membersOf('networkPushPull', state, 2);
    const { time, node } = networkPushPull.decode(withoutMembers(state));
    if (this.#host.state(time, node)) this.#work.add(this.#attachments(state, places, relay), this.#moment.now);
  }

  *#attachments(state: Uint8Array, places: readonly number[], relay: boolean): Generator<number, void> {
    for (let i = 0; i < places.length; i += 2) {
      this.#read(() => {
        const { leaving, time, node, network } = networkEntry.decode(state, places[i], places[i + 1]);
        this.#host.networkEvent(leaving ? LEAVE : JOIN, time, node, network, relay);
      });
      yield 1;
    }
  }
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

import { WireError } from '../../wire/index.js';
import {
  BULK_SYNC,
  bulkSyncMessage,
  COMPOUND,
  compoundMessage,
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
import type { Work } from './work.js';

/** Maximum nesting of compounds. */
const DEPTH = 2;

/** Receives decoded messages. */
export interface InboxHost {
  /**
   * @param message The event as it arrived.
   * @param bulk Whether it was in a bulk sync.
   */
  tableEvent(event: TableEvent, message: Uint8Array, bulk: boolean): void;
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

  constructor(host: InboxHost, work: Work, moment: Moment) {
    this.#host = host;
    this.#work = work;
    this.#moment = moment;
  }

  /** Takes a message of any type, `bytes[from, to)`. */
  message(bytes: Uint8Array, from: number, to: number): void {
    this.#read(() => this.#dispatch(bytes, from, to, 0, false));
  }

  /**
   * Takes `bytes[from, to)` of a bulk sync.
   * @param member Whether this is one message of the bulk sync's compound, or the whole payload.
   */
  bulkMember(bytes: Uint8Array, from: number, to: number, member: boolean): void {
    this.#read(() => {
      if (!member) return this.#dispatch(bytes, from, to, 0, true);
      const { payload } = simpleMessage.decode(bytes, from, to);
      this.#dispatch(payload, 0, payload.length, 1, true);
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

  /** @param bulk Whether the message is in a bulk sync, which may contain table events only. */
  #dispatch(bytes: Uint8Array, from: number, to: number, depth: number, bulk: boolean): void {
    const { type, data } = gossipMessage.decode(bytes, from, to);
    if (type === TABLE_EVENT) this.#host.tableEvent(tableEvent.decode(data), bytes.subarray(from, to), bulk);
    else if (type === COMPOUND) {
      if (depth === DEPTH) return this.#host.count('nested');
      for (const { payload } of compoundMessage.decode(data).messages)
        this.#read(() => this.#dispatch(payload, 0, payload.length, depth + 1, bulk));
    } else if (bulk) this.#host.count('unknown-type');
    else if (type === NETWORK_EVENT) {
      const event = networkEvent.decode(data);
      this.#host.networkEvent(event.type, event.time, event.node, event.network, true);
    } else if (type === NODE_EVENT) {
      const event = nodeEvent.decode(data);
      this.#host.nodeEvent(event.type, event.time, event.node);
    } else if (type === BULK_SYNC) this.#host.bulkSync(bulkSyncMessage.decode(data));
    else this.#host.count('unknown-type');
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

/**
 * A model of the bulk syncs of Docker's NetworkDB: `bulkSync`, `bulkSyncNode` and `handleBulkSync` of moby 20.10's
 * networkdb/cluster.go and delegate.go, unchanged up to 28. Docker keeps one channel per node, which an acknowledgement
 * closes. An answer to that node's own request overwrites it: the pending acknowledgement is lost, and its waiter times
 * out after 30 s.
 */
import * as db from '../../src/gossip/networkdb/index.js';
import { type Clock } from '../../src/sim/index.js';

const TIMEOUT = 30_000;

interface Channel {
  close(): void;
}

export class DockerNode {
  readonly name: string;
  readonly #clock: Clock;
  readonly #send: (node: string, message: Uint8Array) => void;
  readonly #broadcast: (message: Uint8Array) => void;
  /** `bulkSyncAckTbl` */
  readonly #acks = new Map<string, Channel>();
  /** The nodes that it considers alive, and those attached to each network. */
  readonly nodes = new Set<string>();
  readonly networkNodes = new Map<string, Set<string>>();
  readonly entries: Uint8Array[] = [];
  readonly received: Uint8Array[] = [];
  readonly #networks = new Set<string>();
  #time = 1;

  constructor(
    name: string,
    clock: Clock,
    send: (node: string, message: Uint8Array) => void,
    broadcast: (message: Uint8Array) => void,
  ) {
    this.name = name;
    this.#clock = clock;
    this.#send = send;
    this.#broadcast = broadcast;
  }

  /** `JoinNetwork`. @returns its duration in milliseconds. */
  async joinNetwork(network: string): Promise<number> {
    const began = this.#clock.now;
    this.#networks.add(network);
    const event = { type: db.JOIN, time: this.#time++, node: this.name, network };
    this.#broadcast(db.wrap(db.NETWORK_EVENT, db.networkEvent, event));
    for (const node of this.networkNodes.get(network) ?? []) await this.#bulkSyncNode(this.#common(node), node, true);
    return this.#clock.now - began;
  }

  receive(message: Uint8Array): void {
    const { type, data } = db.gossipMessage.decode(message);
    if (type === db.NETWORK_EVENT) {
      const event = db.networkEvent.decode(data);
      this.attached(event.network, event.node);
    } else if (type === db.BULK_SYNC) this.#handleBulkSync(db.bulkSyncMessage.decode(data));
  }

  attached(network: string, node: string): void {
    const nodes = this.networkNodes.get(network) ?? new Set<string>();
    this.networkNodes.set(network, nodes.add(node));
  }

  #common(node: string): string[] {
    return [...this.#networks].filter((network) => this.networkNodes.get(network)?.has(node) === true);
  }

  async #bulkSyncNode(networks: string[], node: string, unsolicited: boolean): Promise<void> {
    if (!this.nodes.has(node)) return;
    const payload = db.compound(this.entries);
    const sync = { time: this.#time++, unsolicited, node: this.name, networks, payload };
    const closed = new Promise<void>((resolve) => this.#acks.set(node, { close: resolve }));
    this.#send(node, db.wrap(db.BULK_SYNC, db.bulkSyncMessage, sync));
    if (!unsolicited) return;
    await Promise.race([closed, new Promise<void>((resolve) => void this.#clock.after(TIMEOUT, resolve))]);
  }

  #handleBulkSync({ unsolicited, node, networks, payload }: db.BulkSyncMessage): void {
    const { data } = db.gossipMessage.decode(payload);
    for (const member of db.compoundMessage.decode(data).messages) this.received.push(member.payload);
    if (unsolicited) return void this.#bulkSyncNode(networks, node, false);
    this.#acks.get(node)?.close();
    this.#acks.delete(node);
  }
}

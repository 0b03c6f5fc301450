/** A cluster member that announces nothing and reports changes. */
import {
  ENDPOINT_TABLE,
  ENDPOINT_TABLE6,
  endpointRecord,
  OVERLAY_PEER_TABLE,
  PEER_TABLE6,
  peerRecord,
  WAITING_TABLE,
  type NetworkDb,
  type TableChange,
} from '../gossip/networkdb/index.js';
import { type Member } from '../gossip/memberlist/index.js';
import { type HostPort } from '../schema/index.js';
import { WireError } from '../wire/index.js';
import { type GossipHost } from './gossip.js';
import { openMember, type MemberOptions } from './gossip-member.js';
import { Joining } from './joining.js';

/** Milliseconds between two comparisons of members and networks. */
const INTERVAL = 100;
const LEAVE_TIMEOUT = 1000;

/** A change in a cluster. */
export type Change =
  | { event: 'member'; name: string; address: string; port: number; state: Member['state'] | 'forgotten' }
  | { event: 'network'; network: string; member: string; state: 'in' | 'out' }
  | ({ event: 'entry'; kind: TableChange['kind'] } & EntryChange);

export interface EntryChange {
  network: string;
  table: string;
  key: string;
  owner: string;
  /** The decoded record if the table is known; else the value in hexadecimal. */
  value: object | string;
}

export interface ObserverOptions extends MemberOptions {
  join: readonly HostPort[];
  /** The networks to attach to. Default: all networks that any member is attached to. */
  networks?: readonly string[];
}

export interface ObserverEvents {
  changed(change: Change): void;
  warn(message: string): void;
}

export class GossipObserver {
  readonly #host: GossipHost;
  readonly #db: NetworkDb;
  readonly #events: ObserverEvents;
  readonly #joining: Joining;
  readonly #only: readonly string[] | undefined;
  readonly #timer: NodeJS.Timeout;
  /** The last report of each member, and of each member of each network. */
  #members = new Map<string, Change & { event: 'member' }>();
  #attached = new Map<string, Change & { event: 'network' }>();

  /** @throws HostError if the port is in use. */
  static async start(options: ObserverOptions, events: ObserverEvents): Promise<GossipObserver> {
    const { host, db } = await openMember(options, events);
    return new GossipObserver(options, events, host, db);
  }

  private constructor(options: ObserverOptions, events: ObserverEvents, host: GossipHost, db: NetworkDb) {
    this.#host = host;
    this.#db = db;
    this.#events = events;
    this.#only = options.networks;
    host.act((_, now) => {
      db.start(now);
      for (const network of options.networks ?? []) db.joinNetwork(network, now);
    });
    db.watch({}, ({ kind, network, table, key, owner, value }) =>
      events.changed({ event: 'entry', kind, network, table, key, owner, value: readable(table, value) }),
    );
    this.#joining = new Joining(host, options.join, {
      joined: () => undefined,
      partly: (failures, delay) =>
        events.warn(
          `some hosts of \`gossip.join\` do not answer: ${failures.join('; ')}; trying them again every ${Math.round(delay / 1000)} s`,
        ),
      failed: (failures, delay) =>
        events.warn(`no member answers yet: ${failures.join('; ')}; trying again in ${Math.round(delay / 1000)} s`),
    });
    void this.#joining.start();
    this.#timer = setInterval(() => this.#compare(), INTERVAL);
  }

  /** Leaves the cluster and closes. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#joining.stop();
    this.#host.act((_, now) => this.#db.close(now));
    await this.#host.leave(LEAVE_TIMEOUT);
  }

  /** Reports what has changed since the last comparison. */
  #compare(): void {
    const { self } = this.#host.machine;
    const members = new Map<string, Change & { event: 'member' }>();
    for (const { name, address, port, state } of this.#host.machine.members())
      if (name !== self.name) members.set(name, { event: 'member', name, address, port, state });
    for (const [name, member] of this.#members)
      if (!members.has(name)) this.#events.changed({ ...member, state: 'forgotten' });
    for (const [name, member] of members) {
      const before = this.#members.get(name);
      if (before?.state !== member.state || before.address !== member.address) this.#events.changed(member);
    }
    this.#members = members;

    const attached = new Map<string, Change & { event: 'network' }>();
    for (const network of this.#db.known()) {
      for (const member of this.#db.peers(network))
        if (member !== self.name)
          attached.set(`${network} ${member}`, { event: 'network', network, member, state: 'in' });
      if (this.#only === undefined) this.#host.act((_, now) => this.#db.joinNetwork(network, now));
    }
    for (const [key, change] of this.#attached)
      if (!attached.has(key)) this.#events.changed({ ...change, state: 'out' });
    for (const [key, change] of attached) if (!this.#attached.has(key)) this.#events.changed(change);
    this.#attached = attached;
  }
}

/** The tables whose values are records of endpoints. */
const PEER_RECORDS = [OVERLAY_PEER_TABLE, PEER_TABLE6, WAITING_TABLE];

function readable(table: string, value: Uint8Array): object | string {
  try {
    if (PEER_RECORDS.includes(table)) {
      const { endpointIp: ip, endpointMac: mac, tunnelIp: vtep } = peerRecord.decode(value);
      return { ip, mac, vtep };
    }
    if (table === ENDPOINT_TABLE || table === ENDPOINT_TABLE6) {
      const { name, serviceName, virtualIp, endpointIp } = endpointRecord.decode(value);
      return { name, service: serviceName, virtualIp, ip: endpointIp };
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
  return Buffer.from(value).toString('hex');
}

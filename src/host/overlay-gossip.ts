/**
 * The gossip of a running VTEP: a member of a cluster that tells of this host's endpoints, and programs the VTEP with
 * those of others.
 */
import { createHash } from 'node:crypto';
import { isThere, type CountName, type Keyring, type Member } from '../gossip/memberlist/index.js';
import { OverlayPeers, type CountName as TableCountName, type NetworkDb } from '../gossip/networkdb/index.js';
import {
  canonicalEndpoint,
  isWithin,
  SchemaError,
  type Endpoint,
  type GossipNetwork,
  type GossipPlan,
  type GossipRequest,
  type Plan,
  type Request,
} from '../schema/index.js';
import { type Engine } from './engine.js';
import { HostError } from './error.js';
import { findKey, fingerprint, keyringOf, listKeys, requireKey, type KeyListing } from './gossip-keys.js';
import { type GossipHost } from './gossip.js';
import { openMember, type GossipMember } from './gossip-member.js';
import { GossipTables } from './gossip-tables.js';
import { Joining } from './joining.js';
import { type Logger } from './log.js';
import { type MachineRequest } from './machine.js';

/** Milliseconds that the first attempt to join has before the endpoints are told of all the same. */
const FIRST_JOIN = 1000;
/** Milliseconds that the farewell may take. */
const FAREWELL = 1000;

/** A member as listings show it. */
export interface MemberListing {
  name: string;
  address: string;
  port: number;
  state: Member['state'];
  incarnation: number;
  /** Whether it is the one that was asked. */
  self: boolean;
}

/** A network as listings show it. */
export interface NetworkListing {
  network: string;
  vni: number;
  subnet: string;
  /** Whether there is an endpoint here, so that this host takes part. */
  attached: boolean;
  /** Whether it has heard from the others there. */
  inSync: boolean;
  /** Endpoints of this host, and of others. */
  local: number;
  remote: number;
  /** The members that take part, as far as this host hears of it. */
  members: string[];
}

/** What the gossip counts. */
export interface GossipCounters {
  members: Record<Member['state'], number>;
  /** How much this member doubts itself, from 0. */
  awareness: number;
  entries: number;
  queued: number;
  memberlist: Record<CountName, number>;
  networkdb: Record<TableCountName, number>;
}

/** Something that happened in the gossip, for programs and for people. */
export interface GossipEvent {
  event: 'joined' | 'member';
  fields: object;
  line: string;
}

export interface GossipEvents {
  warn(message: string): void;
  /** For events with a name and fields of their own. */
  log: Logger;
  tell?(event: GossipEvent): void;
}

/** A network, and what stands between its tables and the VTEP. */
interface Network extends GossipNetwork {
  readonly peers: OverlayPeers;
  /** Endpoints of this host, by their names. */
  readonly local: Map<string, Endpoint>;
}

export class OverlayGossip {
  readonly plan: GossipPlan;
  readonly #local: string;
  readonly #host: GossipHost;
  readonly #db: NetworkDb;
  readonly #keyring: Keyring | undefined;
  readonly #tables: GossipTables;
  readonly #networks: Network[];
  readonly #joining: Joining;
  /** Whether endpoints are told of already. */
  #telling = false;
  #closed = false;

  /**
   * Opens the sockets, calls the hosts to join, and tells of the plan's endpoints.
   * @throws HostError where the port is not to be had, or a key is none.
   */
  static async start(plan: Plan, engine: Engine, events: GossipEvents): Promise<OverlayGossip> {
    const gossip = plan.gossip!;
    const keyring = keyringOf(gossip.keys);
    const { name, bind, advertise } = gossip;
    const tell = (member: Member, state: string): void =>
      events.tell?.({
        event: 'member',
        fields: { name: member.name, address: member.address, port: member.port, state },
        line: `member ${member.name} (${member.address}): ${state}`,
      });
    const member = await openMember(
      { name, bind, advertise, keyring },
      {
        warn: (message) => events.warn(message),
        came: (other) => tell(other, 'alive'),
        went: (other) => tell(other, other.state === 'left' ? 'left' : 'failed'),
      },
    );
    return new OverlayGossip(plan, engine, events, member, keyring);
  }

  private constructor(
    plan: Plan,
    engine: Engine,
    events: GossipEvents,
    { host, db, warn }: GossipMember,
    keyring: Keyring | undefined,
  ) {
    this.plan = plan.gossip!;
    this.#local = plan.local;
    this.#host = host;
    this.#db = db;
    this.#keyring = keyring;
    this.#tables = new GossipTables(plan, engine, (message) => warn(`what the gossip tells is not taken: ${message}`));
    this.#networks = this.plan.networks.map((network) => ({
      ...network,
      peers: new OverlayPeers({ network: network.id, vni: network.vni, local: this.plan.tunnel }, db, this.#tables),
      local: new Map<string, Endpoint>(),
    }));
    for (const { vni, endpoints } of plan.segments)
      for (const endpoint of endpoints) if (endpoint.vtep === undefined) this.#keep(vni, endpoint);
    host.act((_, now) => db.start(now));
    this.#joining = new Joining(host, this.plan.join, {
      joined: (through) => {
        const members = host.machine.members().filter(isThere).length;
        const line = `joined through ${through}: ${members} members`;
        events.tell?.({ event: 'joined', fields: { through, members }, line });
      },
      partly: (failures) => events.warn(`some hosts to join do not serve: ${failures.join('; ')}`),
      failed: (failures, delay) =>
        events.warn(`no member answers yet: ${failures.join('; ')}; trying again in ${Math.round(delay / 1000)} s`),
    });
    const patience = new Promise<void>((resolve) => setTimeout(resolve, FIRST_JOIN).unref());
    // Who has joined asks all members of a network for their tables, and tells them its own with that.
    void Promise.race([this.#joining.start(), patience]).then(() => this.#tellAll());
  }

  /** Meets a request about the gossip. */
  answer(request: GossipRequest): unknown {
    switch (request.command) {
      case 'members':
        return this.members();
      case 'networks':
        return this.networks();
      case 'keys':
        return listKeys(this.#ring());
      case 'install-key':
        return this.#changeKeys((ring) => ring.add(requireKey(request.key)));
      case 'use-key':
        return this.#changeKeys((ring) => ring.use(findKey(ring, request.key)));
      case 'remove-key':
        return this.#changeKeys((ring) => {
          const key = findKey(ring, request.key);
          if (key === ring.primary)
            throw new HostError(`key ${fingerprint(key)} encrypts what is sent; use another one first`);
          ring.remove(key);
        });
    }
  }

  /** Lets the engine do what was asked over the control socket, and tells others of endpoints of this host. */
  async change(request: Parameters<GossipTables['change']>[0]): Promise<unknown> {
    const { vni, command } = request;
    if (command === 'add-peer' || command === 'remove-peer') return this.#tables.change(request);
    const endpoint = canonicalEndpoint(request, this.#local);
    if (endpoint.vtep !== undefined) return this.#tables.change(request);
    const network = this.#networks.find((candidate) => candidate.vni === vni);
    if (command === 'add-endpoint' && network !== undefined && !isWithin(endpoint.ip, network.subnet))
      throw new SchemaError([
        {
          path: 'ip',
          expected: `an address of ${network.subnet}, the subnet of network ${network.id}`,
          given: endpoint.ip,
        },
      ]);
    const result = await this.#tables.change(request);
    if (command === 'add-endpoint') {
      if (this.#keep(vni, endpoint) && this.#telling) this.#publish(network!, endpoint);
    } else if (network?.local.delete(idOf(network.id, endpoint)) === true && this.#telling)
      this.#host.act((_, now) => network.peers.removeLocal(idOf(network.id, endpoint), now));
    return result;
  }

  members(): MemberListing[] {
    const { self } = this.#host.machine;
    return this.#host.machine
      .members()
      .map(({ name, address, port, state, incarnation }) => ({
        name,
        address,
        port,
        state,
        incarnation,
        self: name === self.name,
      }))
      .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  }

  networks(): NetworkListing[] {
    const attached = new Map(this.#db.networks().map(({ network, inSync }) => [network, inSync]));
    return this.#networks.map(({ id, vni, subnet, peers, local }) => ({
      network: id,
      vni,
      subnet,
      attached: attached.has(id),
      inSync: attached.get(id) ?? false,
      local: local.size,
      remote: peers.size,
      members: this.#db.peers(id).sort((a, b) => a.localeCompare(b, 'en', { numeric: true })),
    }));
  }

  counters(): GossipCounters {
    const { machine } = this.#host;
    const members = { alive: 0, suspect: 0, dead: 0, left: 0 };
    for (const { state } of machine.members()) members[state]++;
    const { counts, entries, queued } = this.#db.counters();
    return {
      members,
      awareness: machine.awareness,
      entries,
      queued,
      memberlist: machine.counters(),
      networkdb: counts,
    };
  }

  /** Withdraws this host's endpoints, says farewell, and closes the sockets. */
  async leave(): Promise<void> {
    this.#joining.stop();
    this.#closed = true;
    this.#telling = false;
    this.#host.act((_, now) => {
      for (const { peers } of this.#networks) peers.close(now);
      this.#db.close(now);
    });
    await this.#host.leave(FAREWELL);
  }

  /** Closes the sockets without a word. */
  close(): void {
    this.#joining.stop();
    this.#closed = true;
    this.#host.close();
  }

  /** Keeps an endpoint of this host; whether it is of a network, and new. */
  #keep(vni: number, endpoint: Endpoint): boolean {
    const network = this.#networks.find((candidate) => candidate.vni === vni);
    if (network === undefined) return false;
    const id = idOf(network.id, endpoint);
    if (network.local.has(id)) return false;
    network.local.set(id, endpoint);
    return true;
  }

  #tellAll(): void {
    if (this.#telling || this.#closed) return;
    this.#telling = true;
    for (const network of this.#networks)
      for (const endpoint of network.local.values()) this.#publish(network, endpoint);
  }

  #publish({ id, subnet, peers }: Network, endpoint: Endpoint): void {
    const length = subnet.slice(subnet.indexOf('/'));
    this.#host.act((_, now) =>
      peers.addLocal({ id: idOf(id, endpoint), ip: endpoint.ip + length, mac: endpoint.mac }, now),
    );
  }

  #ring(): Keyring {
    if (this.#keyring === undefined)
      throw new HostError('this agent does not encrypt its gossip: it was started without --key');
    return this.#keyring;
  }

  #changeKeys(change: (ring: Keyring) => void): KeyListing[] {
    const ring = this.#ring();
    change(ring);
    return listKeys(ring);
  }
}

/** Whether the gossip meets a request. */
export function isGossipRequest(request: Request): request is GossipRequest {
  return ['members', 'networks', 'keys', 'install-key', 'use-key', 'remove-key'].includes(request.command);
}

/** Whether the gossip has to know of a request that the engine meets. */
export function isChange(request: MachineRequest): request is Parameters<GossipTables['change']>[0] {
  return ['add-peer', 'remove-peer', 'add-endpoint', 'remove-endpoint'].includes(request.command);
}

/**
 * The id of an endpoint in the tables: the same on every host, so that one that moves is moved there too, and of the form
 * of Docker's.
 */
function idOf(network: string, { ip, mac }: Endpoint): string {
  return createHash('sha256').update(`${network} ${ip} ${mac}`).digest('hex');
}

/**
 * The gossip of a running VTEP: a member of a cluster that tells of this host's endpoints, and programs the VTEP with
 * those of others.
 */
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { isThere, type CountName, type Keyring, type Member } from '../gossip/memberlist/index.js';
import {
  OverlayPeers,
  type CountName as TableCountName,
  type LocalEndpoint,
  type NetworkDb,
  type OverlayConflict,
} from '../gossip/networkdb/index.js';
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
import { conflictOverText, conflictText } from './conflict-text.js';
import { type Engine } from './engine.js';
import { HostError } from './error.js';
import {
  exposedKeyFiles,
  findKey,
  fingerprint,
  keyringOf,
  listKeys,
  requireKey,
  type KeyListing,
} from './gossip-keys.js';
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
  /** When its state changed last, in RFC 3339: of a dead one, when it failed. */
  since: string;
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
  /** The members that take part, as far as this host knows. */
  members: string[];
  /** Endpoints of this host that are not announced, because an older attachment holds what they have. */
  refused: number;
  /** Conflicts in this network, of this host and of others. */
  conflicts: OverlayConflict[];
}

/** What the gossip counts. */
export interface GossipCounters {
  members: Record<Member['state'], number>;
  /** How much this member doubts itself, from 0. */
  awareness: number;
  entries: number;
  queued: number;
  /** Conflicts between hosts: those that there are now, and all since the start. */
  conflicts: number;
  conflictsSeen: number;
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
  readonly log: Logger;
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
  readonly #vtep: string;
  readonly #host: GossipHost;
  readonly #db: NetworkDb;
  readonly #keyring: Keyring | undefined;
  readonly #tables: GossipTables;
  readonly #networks: Network[];
  readonly #joining: Joining;
  readonly #log: Logger;
  /** Whether endpoints are announced already. */
  #telling = false;
  #conflictsSeen = 0;
  #closed = false;

  /**
   * Opens the sockets, calls the hosts to join, and tells of the plan's endpoints.
   * @throws HostError where the port is not to be had, or a key is none.
   */
  static async start(plan: Plan, engine: Engine, events: GossipEvents): Promise<OverlayGossip> {
    const gossip = plan.gossip!;
    const keyring = keyringOf(gossip.keys);
    for (const warning of exposedKeyFiles(gossip.keys)) events.log.warning('key-file', warning);
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
        warn: (message) => events.log.warning('gossip', message),
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
    this.#vtep = plan.local;
    this.#host = host;
    this.#db = db;
    this.#keyring = keyring;
    this.#log = events.log;
    this.#tables = new GossipTables(plan, engine, (message) => warn(`what the gossip tells is not taken: ${message}`));
    this.#networks = this.plan.networks.map((network) => ({
      ...network,
      peers: new OverlayPeers(
        {
          network: network.id,
          vni: network.vni,
          local: this.plan.tunnel,
          time: Date.now,
          conflict: (conflict, over) => this.#reportConflict(conflict, over),
        },
        db,
        this.#tables,
      ),
      local: new Map<string, Endpoint>(),
    }));
    for (const { vni, endpoints } of plan.segments)
      for (const endpoint of endpoints) if (endpoint.vtep === undefined) this.#keep(vni, endpoint);
    this.#warnOfAbsence();
    host.act((_, now) => db.start(now));
    this.#joining = new Joining(host, this.plan.join, {
      joined: (through) => {
        const members = host.machine.members().filter(isThere).length;
        const line = `joined through ${through}: ${members} members`;
        events.tell?.({ event: 'joined', fields: { through, members }, line });
      },
      onlySelf: () =>
        events.log.warning(
          'join',
          'every host of --join is this agent itself: it joins no other, and waits to be joined; name another member, unless this is the first one',
        ),
      partly: (failures) => events.log.warning('join', `some hosts to join do not serve: ${failures.join('; ')}`),
      failed: (failures, delay) =>
        events.log.warning(
          'join',
          `no member answers yet: ${failures.join('; ')}; trying again in ${Math.round(delay / 1000)} s`,
        ),
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
    const endpoint = canonicalEndpoint(request, this.#vtep);
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
    if (command === 'add-endpoint' && network?.local.has(this.#idOf(network.id, endpoint)) === false) {
      const conflict = network.peers.conflictOf(this.#localEndpoint(network, endpoint));
      if (conflict !== null) throw new HostError(conflictText(conflict, this.plan.name));
    }
    const result = await this.#tables.change(request);
    if (command === 'add-endpoint') {
      if (this.#keep(vni, endpoint) && this.#telling) this.#publish(network!, endpoint);
    } else if (network !== undefined) {
      const id = this.#idOf(network.id, endpoint);
      if (network.local.delete(id) && this.#telling) this.#host.act((_, now) => network.peers.removeLocal(id, now));
    }
    return result;
  }

  members(): MemberListing[] {
    const { self } = this.#host.machine;
    const epoch = Date.now() - performance.now();
    return this.#host.machine
      .members()
      .map(({ name, address, port, state, incarnation, since }) => ({
        name,
        address,
        port,
        state,
        incarnation,
        since: new Date(epoch + since).toISOString(),
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
      refused: peers.refused,
      conflicts: peers.conflicts(),
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
      conflicts: this.#networks.reduce((sum, { peers }) => sum + peers.conflicts().length, 0),
      conflictsSeen: this.#conflictsSeen,
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
    const id = this.#idOf(network.id, endpoint);
    if (network.local.has(id)) return false;
    network.local.set(id, endpoint);
    return true;
  }

  /** Warns of networks that this host takes no part in, since it has no endpoint there. */
  #warnOfAbsence(): void {
    const absent = this.#networks.filter(({ local }) => local.size === 0);
    if (absent.length === 0) return;
    const list = absent.map(({ id }) => id).join(', ');
    this.#log.warning(
      'no-endpoint',
      `this host has no endpoint in ${absent.length === 1 ? 'network' : 'networks'} ${list}: it takes no part there, ` +
        'and other hosts send it nothing, until one is added; give the TAP an --address, or an --endpoint with --local',
      { networks: absent.map(({ id }) => id) },
    );
  }

  #tellAll(): void {
    if (this.#telling || this.#closed) return;
    this.#telling = true;
    for (const network of this.#networks)
      for (const endpoint of network.local.values()) this.#publish(network, endpoint);
  }

  #publish(network: Network, endpoint: Endpoint): void {
    this.#host.act((_, now) => network.peers.addLocal(this.#localEndpoint(network, endpoint), now));
  }

  #localEndpoint({ id, subnet }: Network, endpoint: Endpoint): LocalEndpoint {
    const length = subnet.slice(subnet.indexOf('/'));
    return { id: this.#idOf(id, endpoint), ip: endpoint.ip + length, mac: endpoint.mac };
  }

  /** The id of an endpoint in the tables: of the form of Docker's, and the same after a restart of this host. */
  #idOf(network: string, { ip, mac }: Endpoint): string {
    return createHash('sha256').update(`${network} ${ip} ${mac} ${this.plan.tunnel}`).digest('hex');
  }

  /** Logs a conflict that begins or is over: a warning where this host is one of the two. */
  #reportConflict(conflict: OverlayConflict, over: boolean): void {
    if (this.#closed) return;
    const { name } = this.plan;
    const fields = { ...conflict };
    if (over) return this.#log.info('conflict-over', conflictOverText(conflict, name), fields);
    this.#conflictsSeen++;
    const isOurs = conflict.refused.node === name || conflict.holder.node === name;
    this.#log.log(isOurs ? 'warning' : 'info', 'conflict', conflictText(conflict, name), fields);
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

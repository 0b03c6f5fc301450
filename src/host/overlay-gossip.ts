/**
 * The gossip of a running VTEP: a cluster member that announces this host's endpoints, and programs the VTEP with the
 * endpoints of other hosts.
 */
import { performance } from 'node:perf_hooks';
import { isLive, type CountName, type Keyring, type Member } from '../gossip/memberlist/index.js';
import {
  type CountName as TableCountName,
  type NetworkDb,
  type OverlayConflict,
  type OverlayNames,
} from '../gossip/networkdb/index.js';
import { type Location } from '../model/index.js';
import {
  canonicalEndpoint,
  networksOf,
  prefixAddress,
  type AnyNetwork,
  type GossipPlan,
  type GossipRequest,
  type Plan,
  type Request,
} from '../schema/index.js';
import { conflictOverText, conflictText } from './conflict-text.js';
import { RequestError } from './error.js';
import { FailedMembers } from './failed-members.js';
import { BY_NAME, GossipNetworks, type GossipNetworkListing, type NamedLocation } from './gossip-networks.js';
import { findKey, fingerprint, keyringOf, listKeys, requireKey, type KeyListing } from './gossip-keys.js';
import { type GossipHost } from './gossip.js';
import { openMember, type GossipMember } from './gossip-member.js';
import { type Changed, type Intent } from './intent.js';
import { Joining } from './joining.js';
import { type Logger } from './log.js';
import { Notices } from './notices.js';
import { pagesOf } from './pages.js';
import { type TableRequest } from './requests.js';

/** Milliseconds to wait for the first attempt to join. After that, endpoints are announced whatever its outcome. */
const FIRST_JOIN = 1000;
/** Milliseconds that the report of a join waits for the tables of the networks. */
const JOINED_PATIENCE = 3000;
/** Timeout of leaving the cluster, in milliseconds. */
const LEAVE_TIMEOUT = 1000;

/** A member as listings show it. */
export interface MemberListing {
  name: string;
  address: string;
  port: number;
  state: Member['state'];
  incarnation: number;
  /** Time of the last state change, in RFC 3339; for a dead member, when it failed. */
  since: string;
  /** Whether this is the answering agent itself. */
  self: boolean;
}

export interface GossipCounters {
  members: Record<Member['state'], number>;
  /** Local health score of Lifeguard: 0 is healthy; higher values slow down the probes. */
  awareness: number;
  entries: number;
  queued: number;
  /** Conflicts between hosts: now, and in total since the start. */
  conflicts: number;
  conflictsSeen: number;
  memberlist: Record<CountName, number>;
  networkdb: Record<TableCountName, number>;
}

/** An event of the gossip, for programs (`fields`) and for people (`line`). */
export interface GossipEvent {
  event: 'joined' | 'member';
  fields: object;
  line: string;
}

export interface GossipEvents {
  readonly log: Logger;
  report?(event: GossipEvent): void;
}

export class OverlayGossip {
  readonly plan: GossipPlan;
  readonly #vtep: string;
  readonly #host: GossipHost;
  readonly #db: NetworkDb;
  readonly #keyring: Keyring | undefined;
  readonly #intent: Intent;
  readonly #networks: GossipNetworks;
  readonly #joining: Joining;
  readonly #log: Logger;
  #conflictsSeen = 0;
  #closed = false;
  /** Aborts pending waits when the gossip ends. */
  readonly #ended = new AbortController();

  /**
   * Opens the sockets, joins the cluster, and announces the plan's endpoints.
   * @throws HostError if the port is in use, or a key is invalid.
   */
  static async start(
    plan: Plan,
    intent: Intent,
    events: GossipEvents,
    notices = new Notices(),
  ): Promise<OverlayGossip> {
    const gossip = plan.gossip!;
    const keyring = keyringOf(gossip.keys, (warning) => events.log.warning('key-file', warning));
    const { name, bind, advertise } = gossip;
    const failed = new FailedMembers();
    const report = (member: Member): void => {
      const { name: other, address, port } = member;
      const state = isLive(member) ? 'alive' : member.state === 'left' ? 'left' : 'failed';
      const line = `member ${other} (${address}): ${state}`;
      events.report?.({ event: 'member', fields: { name: other, address, port, state }, line });
      notices.tell(`member-${failed.follow(other, state)}`, { name: other, address, port });
    };
    // A newcomer sends before its endpoints are known here. Several members may have one address.
    const living = new Map<string, number>();
    const accept = (command: 'add-member' | 'remove-member', { address }: Member): void => {
      const count = (living.get(address) ?? 0) + (command === 'add-member' ? 1 : -1);
      if (count > 0) living.set(address, count);
      else living.delete(address);
      if (count > 0 && command === 'remove-member') return;
      intent.member(address, command === 'add-member');
    };
    const member = await openMember(
      { name, bind, advertise, keyring },
      {
        warn: (message) => events.log.warning('gossip', message),
        joined: (other) => {
          accept('add-member', other);
          report(other);
        },
        left: (other) => {
          accept('remove-member', other);
          report(other);
        },
      },
    );
    return new OverlayGossip(plan, intent, events, member, keyring);
  }

  private constructor(
    plan: Plan,
    intent: Intent,
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
    this.#intent = intent;
    const sink = intent.gossip((reason) => warn(`an announcement was rejected: ${reason}`));
    this.#networks = new GossipNetworks({
      ...{ host, db, sink, tunnel: this.plan.tunnel },
      events: {
        conflict: (conflict, over) => this.#reportConflict(conflict, over),
        announced: (vni, { ip, mac }, since) => intent.announced(vni, { ip: prefixAddress(ip), mac }, since),
        refused: (reason, fields) => events.log.warning('endpoint-refused', reason, fields),
      },
    });
    this.#networks.add(networksOf({ gossip: this.plan }));
    for (const { vni, endpoints } of plan.segments)
      for (const endpoint of endpoints) if (endpoint.vtep === undefined) this.#networks.keep(vni, endpoint);
    this.#warnOfAbsence();
    host.act((_, now) => db.start(now));
    this.#joining = new Joining(host, this.plan.join, {
      joined: (through, failed) => {
        if (failed > 0)
          events.log.info(
            'join',
            `${through} answers, after ${failed} failed ${failed === 1 ? 'attempt' : 'attempts'} to join`,
            {
              through,
              failed,
            },
          );
        const { signal } = this.#ended;
        void whenTrue(() => this.#networks.inSync, JOINED_PATIENCE, signal).then(() => {
          if (signal.aborted) return;
          const members = host.machine.members().filter(isLive).length;
          const line = `joined through ${through}: ${members} members`;
          events.report?.({ event: 'joined', fields: { through, members }, line });
        });
      },
      onlySelf: () =>
        events.log.warning(
          'join',
          'every host of `gossip.join` is this agent itself: it joins no other member, and waits until others join it; name another member, unless this is the first one',
        ),
      partly: (failures, delay) =>
        events.log.warning(
          'join',
          `some hosts of \`gossip.join\` do not answer: ${failures.join('; ')}; trying them again every ${Math.round(delay / 1000)} s`,
        ),
      failed: (failures, delay) =>
        events.log.warning(
          'join',
          `no member answers yet: ${failures.join('; ')}; trying again in ${Math.round(delay / 1000)} s`,
        ),
    });
    if (this.plan.join.length === 0)
      events.log.info(
        'join',
        'there is no host to join (`gossip.join`): this agent contacts no member, and waits until another agent joins it',
      );
    const patience = new Promise<void>((resolve) => setTimeout(resolve, FIRST_JOIN).unref());
    // After a join, a bulk sync with all members of a network exchanges the tables at once.
    void Promise.race([this.#joining.start(), patience]).then(() => this.#networks.announceAll());
  }

  answer(request: GossipRequest): unknown {
    switch (request.command) {
      case 'members':
        return pagesOf(this.members());
      case 'keys':
        return listKeys(this.#ring());
      case 'install-key':
        return this.#changeKeys((ring) => ring.add(requireKey(request.key)));
      case 'use-key':
        return this.#changeKeys((ring) => ring.use(findKey(ring, request.key, '; install it first')));
      case 'remove-key':
        return this.#changeKeys((ring) => {
          const key = findKey(ring, request.key);
          if (key === ring.primary)
            throw new RequestError(
              'key-in-use',
              `key ${fingerprint(key)} encrypts outgoing messages: use another one first`,
            );
          ring.remove(key);
        });
    }
  }

  /**
   * Makes the keys of the ring exactly these.
   * @param texts In base64, one or more. The first one encrypts.
   * @throws RequestError if one is no key, or if the gossip does not encrypt.
   */
  setKeys(texts: readonly string[]): void {
    const keys = texts.map(requireKey);
    this.#changeKeys((ring) => {
      for (const key of keys) ring.add(key);
      ring.use(keys[0]!);
      for (const old of ring.keys) if (!keys.some((key) => Buffer.compare(key, old) === 0)) ring.remove(old);
    });
  }

  /**
   * Like `Intent.change`; announces or withdraws an endpoint of this host.
   * @throws RequestError if another host holds one of the endpoint's addresses; SchemaError if it is outside the subnet.
   */
  async change(request: TableRequest, source: 'configuration' | 'api'): Promise<Changed> {
    const { vni, command } = request;
    if (command === 'add-peer' || command === 'remove-peer') return this.#intent.change(request, source);
    const endpoint = canonicalEndpoint(request, this.#vtep);
    if (endpoint.vtep !== undefined) return this.#intent.change(request, source);
    const network = this.#networks.partOf(vni);
    if (command === 'add-endpoint' && network !== undefined) {
      this.#intent.check(request);
      const conflict = this.#networks.conflictOf(network, endpoint);
      if (conflict !== null) throw new RequestError('conflict', conflictText(conflict, this.plan.name));
    }
    const result = await this.#intent.change(request, source);
    // Its network may have been removed meanwhile, and the endpoint with it.
    if (command === 'remove-endpoint') {
      if (result.wantedBy === undefined) this.#networks.withdraw(vni, endpoint);
    } else if (this.#intent.wants(vni, endpoint)) this.#networks.keep(vni, endpoint);
    return result;
  }

  /** Adds a network. This host takes part in it once it has an endpoint there. */
  addNetwork(network: AnyNetwork): void {
    this.#networks.add([network]);
  }

  /** Announces endpoints of this host that were in a segment before its network, if they are in its subnets. */
  keep(vni: number, endpoints: readonly Location[]): void {
    for (const endpoint of endpoints) this.#networks.keep(vni, endpoint);
  }

  /** Leaves a network: withdraws this host's endpoints there, and forgets those of other hosts. */
  removeNetwork(id: string): void {
    this.#networks.remove(id);
  }

  /** Announces names of endpoints of this host in a network, exactly these; those that are not attached get none. */
  announceNames(network: string, names: readonly NamedLocation[]): void {
    this.#networks.announceNames(network, names);
  }

  /** The names in a network, of all its hosts. */
  namesIn(network: string): Pick<OverlayNames, 'addressesOf' | 'namesOf'> | undefined {
    return this.#networks.namesIn(network);
  }

  members(): MemberListing[] {
    const { self } = this.#host.machine;
    return this.#host.machine
      .members()
      .map(({ name, address, port, state, incarnation, since }) => ({
        name,
        address,
        port,
        state,
        incarnation,
        since: new Date(performance.timeOrigin + since).toISOString(),
        self: name === self.name,
      }))
      .sort((a, b) => BY_NAME.compare(a.name, b.name));
  }

  networks(): GossipNetworkListing[] {
    return [...this.networkEntries()];
  }

  /** Like `networks`, one entry at a time. */
  networkEntries(): Iterable<GossipNetworkListing> {
    return this.#networks.entries();
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
      conflicts: this.#networks.conflictCount,
      conflictsSeen: this.#conflictsSeen,
      memberlist: machine.counters(),
      networkdb: counts,
    };
  }

  /** Withdraws this host's endpoints, leaves the cluster, and closes the sockets. */
  async leave(): Promise<void> {
    this.#joining.stop();
    this.#closed = true;
    this.#ended.abort();
    this.#host.act((_, now) => {
      this.#networks.close(now);
      this.#db.close(now);
    });
    await this.#host.leave(LEAVE_TIMEOUT);
  }

  /** Closes the sockets without leaving the cluster. */
  close(): void {
    this.#joining.stop();
    this.#closed = true;
    this.#ended.abort();
    this.#networks.end();
    this.#host.close();
  }

  /** Logs a warning for networks that this host does not join because it has no endpoint there. */
  #warnOfAbsence(): void {
    const absent = this.#networks.absent();
    if (absent.length === 0) return;
    const list = absent.join(', ');
    this.#log.warning(
      'no-endpoint',
      `this host has no endpoint in ${absent.length === 1 ? 'network' : 'networks'} ${list}: it takes no part there, ` +
        'and other hosts send it nothing, until one is added; give the TAP an address, or add an endpoint of this host',
      { networks: absent },
    );
  }

  /** Logs the start or the end of a conflict: as a warning if this host is one of the two parties. */
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
      throw new RequestError('no-keys', 'this agent does not encrypt its gossip: it has no keys');
    return this.#keyring;
  }

  #changeKeys(change: (ring: Keyring) => void): KeyListing[] {
    const ring = this.#ring();
    change(ring);
    return listKeys(ring);
  }
}

/** Whether the gossip answers this request. */
export function isGossipRequest(request: Request): request is GossipRequest {
  return ['members', 'keys', 'install-key', 'use-key', 'remove-key'].includes(request.command);
}

/** Resolves when `check` is true, and at the latest after `patience` milliseconds or when `signal` aborts. */
async function whenTrue(check: () => boolean, patience: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + patience;
  while (!check() && performance.now() < end && !signal.aborted)
    await new Promise((resolve) => setTimeout(resolve, 20).unref());
}

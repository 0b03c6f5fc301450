/**
 * A cluster of `NetworkDb`s on a virtual clock, over a network that drops, delays, duplicates and reorders packets,
 * with a minimal membership layer: every node probes every other, and considers one dead after four unanswered probes.
 * Each node's clock has its own rate.
 */
import {
  NetworkDb,
  OverlayPeers,
  type LocalEndpoint,
  type Membership,
  type OverlaySink,
} from '../../src/gossip/networkdb/index.js';
import { SEGMENT_DEFAULTS } from '../../src/model/index.js';
import { Network, Random, type Clock, type Datagram, type LinkOptions } from '../../src/sim/index.js';
import { HostState, type Entry } from '../../src/state/index.js';
import { nameOf, RecordingVtep } from './recording-vtep.js';

const PORT = 7946;
const PROBE = 1000;
const GOSSIP = 200;
const PUSH_PULL = 30_000;
const PATIENCE = 4;

export interface LabNetwork {
  id: string;
  vni: number;
}

/** A host: the endpoints that it wants to announce, and its process, if one runs. */
export class LabHost {
  readonly address: string;
  readonly lab: GossipLab;
  process: LabProcess | null = null;
  /** Its endpoints, by network and id, with their addresses. */
  readonly endpoints = new Map<string, Map<string, Omit<LocalEndpoint, 'id'>>>();
  /** Its wall clock; absent: its records have no times, like Docker's. */
  time: (() => number) | undefined;
  /** Networks for which it has another VNI. */
  readonly vnis = new Map<string, number>();

  constructor(lab: GossipLab, address: string) {
    this.lab = lab;
    this.address = address;
    lab.network.join(address).bind(PORT, (datagram) => {
      if (this.process === null) return;
      lab.received?.(datagram);
      this.process.packet(datagram.payload);
    });
  }

  get node() {
    return this.lab.network.node(this.address)!;
  }

  /** Starts a process without state that joins through the others. */
  boot(name: string): LabProcess {
    const process = new LabProcess(this, name);
    this.process = process;
    for (const other of this.lab.hosts) if (other !== this) process.contact(other.address);
    process.db.start(process.now);
    for (const [network, endpoints] of this.endpoints)
      for (const [id, endpoint] of endpoints) process.addLocal(network, { id, ...endpoint });
    return process;
  }

  /** The process stops without leaving. */
  crash(): void {
    this.process?.stop();
    this.process = null;
  }

  add(network: string, id: string, endpoint: Omit<LocalEndpoint, 'id'>): void {
    let endpoints = this.endpoints.get(network);
    if (endpoints === undefined)
      this.endpoints.set(network, (endpoints = new Map<string, Omit<LocalEndpoint, 'id'>>()));
    endpoints.set(id, endpoint);
    this.process?.addLocal(network, { id, ...endpoint });
  }

  remove(network: string, id: string): void {
    const endpoints = this.endpoints.get(network);
    const endpoint = endpoints?.get(id);
    if (endpoints === undefined || endpoint === undefined) return;
    endpoints.delete(id);
    if (endpoints.size === 0) this.endpoints.delete(network);
    this.process?.removeLocal(network, { id, ...endpoint });
  }
}

/** A process: the machine and the membership layer below it. */
export class LabProcess implements Membership {
  readonly host: LabHost;
  readonly name: string;
  readonly db: NetworkDb;
  readonly overlays = new Map<string, OverlayPeers>();
  /** The endpoints and peers of its VTEP, by network. */
  readonly vteps = new Map<number, RecordingVtep>();
  /** What its host wants, and what is in effect. */
  readonly state: HostState;
  readonly random: Random;
  /** Whether it runs. A frozen one neither receives nor sends, and resumes later with its state. */
  frozen = false;
  readonly #members = new Map<string, { address: string; alive: boolean; missed: number }>();
  readonly #offset: number;
  readonly #rate: number;
  readonly #cancels: (() => void)[] = [];

  constructor(host: LabHost, name: string) {
    this.host = host;
    this.name = name;
    const { clock, random } = host.lab;
    this.random = random.fork();
    this.state = new HostState(host.address);
    this.#offset = this.random.integer(1_000_000_000);
    this.#rate = 0.98 + 0.04 * this.random.float();
    const bootstrap = host.lab.hosts.filter((other) => other !== host).map(({ address }) => ({ address, port: PORT }));
    this.db = new NetworkDb({ name, random: () => this.random.float(), bootstrap }, this);
    for (const [interval, action] of [
      [GOSSIP, () => this.#tick()],
      [PROBE, () => this.#probe()],
      [PUSH_PULL, () => this.#exchange()],
    ] as const) {
      const cancel = { every: () => {} };
      const first = clock.after(this.random.float() * interval, () => {
        cancel.every = clock.every(interval / this.#rate, () => this.frozen || action());
      });
      this.#cancels.push(() => (clock.cancel(first), cancel.every()));
    }
  }

  get now(): number {
    return this.#offset + this.host.lab.clock.now * this.#rate;
  }

  stop(): void {
    for (const cancel of this.#cancels) cancel();
    this.frozen = true;
  }

  freeze(frozen: boolean): void {
    this.frozen = frozen;
  }

  /** Like a host: its state wants the endpoint, which is younger than all others until it is announced. */
  addLocal(network: string, endpoint: LocalEndpoint): void {
    this.state.want('local', this.#entryOf(network, endpoint), Infinity);
    this.overlay(network).addLocal(endpoint, this.now);
  }

  removeLocal(network: string, endpoint: LocalEndpoint): void {
    this.overlay(network).removeLocal(endpoint.id, this.now);
    this.state.withdraw('local', this.#entryOf(network, endpoint));
  }

  /** What its state has in effect, with this host's own endpoints: `10.0.0.2 02:42:0a:00:00:02 192.0.2.1`. */
  inEffect(network: string): string[] {
    while (this.state.isDue) if (this.state.take().length > 0) this.state.applied();
    return [...this.state.list('endpoint', this.#vniOf(network))].flatMap(({ entry, outcome }) => {
      if (entry.kind !== 'endpoint' || outcome !== 'in-effect') return [];
      return nameOf({ vtep: this.host.address, ...entry.endpoint });
    });
  }

  #vniOf(network: string): number {
    return this.host.lab.networks.find(({ id }) => id === network)!.vni;
  }

  #entryOf(
    network: string,
    { ip, mac, vtep }: { ip: string; mac: string; vtep?: string },
  ): Entry & { kind: 'endpoint' } {
    const endpoint = { ip: ip.split('/')[0]!, mac, ...(vtep === undefined ? {} : { vtep }) };
    return { kind: 'endpoint', vni: this.#vniOf(network), endpoint };
  }

  /** Passes what the VTEP gets on to the state of the host. */
  #sink(network: string, vtep: RecordingVtep): OverlaySink {
    return {
      addEndpoint: (vni, endpoint, since) => {
        vtep.addEndpoint(vni, endpoint);
        this.state.want('gossip', this.#entryOf(network, endpoint), since);
      },
      removeEndpoint: (vni, endpoint) => {
        vtep.removeEndpoint(vni, endpoint);
        this.state.withdraw('gossip', this.#entryOf(network, endpoint));
      },
      addPeer: (vni, address) => vtep.addPeer(vni, address),
      removePeer: (vni, address) => vtep.removePeer(vni, address),
    };
  }

  overlay(network: string): OverlayPeers {
    let overlay = this.overlays.get(network);
    if (overlay === undefined) {
      const vni = this.#vniOf(network);
      const vtep = new RecordingVtep(`${this.name} in ${network}`);
      this.vteps.set(vni, vtep);
      const { address: local, time, vnis } = this.host;
      this.state.want('local', { kind: 'segment', segment: { vni, mtu: 1450, ...SEGMENT_DEFAULTS } });
      const announced = (endpoint: LocalEndpoint, since: number | null): void => {
        const entry = this.#entryOf(network, endpoint);
        if (this.state.isWanted(entry)) this.state.want('local', entry, since ?? Infinity);
      };
      const options = {
        network,
        vni: vnis.get(network) ?? vni,
        local,
        announced,
        ...(time === undefined ? {} : { time }),
      };
      overlay = new OverlayPeers(options, this.db, this.#sink(network, vtep));
      this.overlays.set(network, overlay);
    }
    return overlay;
  }

  packet(payload: Uint8Array): void {
    if (!this.frozen) this.db.receive(payload, this.now);
  }

  // ---- Membership ----

  sendPacket(node: string, message: Uint8Array): void {
    const member = this.#members.get(node);
    if (member !== undefined) this.host.node.send(member.address, PORT, PORT, message);
  }

  sendReliable(node: string, message: Uint8Array): void {
    const member = this.#members.get(node);
    if (member === undefined) return;
    const copy = message.slice();
    this.#stream(member.address, (peer) => {
      if (peer.name === node) peer.db.receive(copy, peer.now);
    });
  }

  contact(address: string): void {
    this.#stream(address, (peer) => this.#pushPull(peer, true));
  }

  // ---- Minimal membership layer ----

  /** Runs `then` with the process at an address, if the path is open in both directions at that time. */
  #stream(address: string, then: (peer: LabProcess) => void): void {
    const { clock, network } = this.host.lab;
    clock.after(2 + 20 * this.random.float(), () => {
      const peer = this.host.lab.host(address)?.process;
      if (peer == null || peer.frozen || this.frozen || this.host.process !== this) return;
      const here = this.host.address;
      if (network.connected(here, address) && network.connected(address, here)) then(peer);
    });
  }

  /** A push/pull: both sides exchange their states and the nodes that they consider alive. */
  #pushPull(peer: LabProcess, join: boolean): void {
    if (peer === this) return;
    this.#alive(peer);
    peer.#alive(this);
    const [mine, theirs] = [this.db.localState(join, this.now), peer.db.localState(join, peer.now)];
    peer.db.mergeState(mine, peer.now);
    this.db.mergeState(theirs, this.now);
    for (const [one, other] of [
      [this, peer],
      [peer, this],
    ] as const)
      for (const [name, { address, alive }] of other.#members) {
        const third = this.host.lab.host(address)?.process;
        if (alive && third?.name === name && one.#reaches(third)) one.#alive(third);
      }
  }

  #alive(peer: LabProcess): void {
    const member = this.#members.get(peer.name);
    const { address } = peer.host;
    if (peer === this || member?.alive === true) return;
    this.#members.set(peer.name, { address, alive: true, missed: 0 });
    this.db.nodeJoined({ name: peer.name, address, port: PORT }, this.now);
  }

  /** Whether a probe is answered, directly or through another node. */
  #reaches(peer: LabProcess): boolean {
    if (peer.frozen || peer.host.process !== peer) return false;
    const { network } = this.host.lab;
    const open = (a: string, b: string): boolean => network.connected(a, b) && network.connected(b, a);
    const [here, there] = [this.host.address, peer.host.address];
    if (open(here, there)) return true;
    return [...this.#members.values()].some(
      ({ address, alive }) => alive && open(here, address) && open(address, there),
    );
  }

  #probe(): void {
    for (const [name, member] of this.#members) {
      if (!member.alive) continue;
      const peer = this.host.lab.host(member.address)?.process;
      const { loss = 0 } = this.host.node.link.options;
      if (peer?.name === name && this.#reaches(peer) && !this.random.chance(loss * loss)) member.missed = 0;
      else if (++member.missed >= PATIENCE) {
        member.alive = false;
        this.db.nodeLeft(name, this.now);
      }
    }
  }

  #tick(): void {
    this.db.tick(this.now);
    let messages = this.db.broadcasts(3, 1300);
    if (messages.length === 0) return;
    const peers = [...this.#members].filter(([, { alive }]) => alive).map(([name]) => name);
    for (const peer of this.random.shuffle(peers).slice(0, 3)) {
      for (const message of messages) this.sendPacket(peer, message);
      messages = this.db.broadcasts(3, 1300);
    }
  }

  #exchange(): void {
    const peers = [...this.#members.values()].filter(({ alive }) => alive);
    if (peers.length > 0) this.#stream(this.random.pick(peers).address, (peer) => this.#pushPull(peer, false));
  }
}

export class GossipLab {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly networks: readonly LabNetwork[];
  readonly hosts: LabHost[] = [];
  /** Called for every packet that reaches a process. */
  received: ((datagram: Datagram) => void) | undefined;

  constructor(clock: Clock, random: Random, networks: readonly LabNetwork[], count: number, link: LinkOptions) {
    this.clock = clock;
    this.random = random;
    this.network = new Network(clock, random.fork(), link);
    this.networks = networks;
    for (let i = 1; i <= count; i++) this.hosts.push(new LabHost(this, `192.0.2.${i}`));
  }

  host(address: string): LabHost | undefined {
    return this.hosts.find((host) => host.address === address);
  }

  /** Errors: every table must hold exactly the endpoints of the hosts whose process runs. */
  findings(): string[] {
    const found: string[] = [];
    const running = this.hosts.filter(({ process }) => process !== null && !process.frozen);
    for (const { id, vni } of this.networks) {
      const wanted = running.flatMap((host) =>
        [...(host.endpoints.get(id) ?? [])].map(([key, { ip, mac }]) => ({
          key,
          host,
          name: `${ip.split('/')[0]} ${mac} ${host.address}`,
        })),
      );
      for (const { process, address, endpoints } of running) {
        const local = endpoints.has(id);
        const say = (what: string, is: Iterable<string>, should: Iterable<string>): void => {
          const [a, b] = [[...new Set(is)].sort().join('; '), [...new Set(should)].sort().join('; ')];
          if (a !== b) found.push(`${process!.name} (${address}) in ${id}: ${what}\n    has    ${a}\n    not    ${b}`);
        };
        const entries = process!.db.entries(id);
        say(
          'entries',
          entries.map(({ key, owner }) => `${key} of ${owner}`),
          local ? wanted.map(({ key, host }) => `${key} of ${host.process!.name}`) : [],
        );
        const others = local ? wanted.filter(({ host }) => host.address !== address) : [];
        say(
          'endpoints',
          process!.vteps.get(vni)?.endpoints ?? [],
          others.map(({ name }) => name),
        );
        say(
          'flood list',
          process!.vteps.get(vni)?.flood ?? [],
          others.map(({ host }) => host.address),
        );
        say(
          'peers',
          process!.db.peers(id),
          running.filter((host) => host.endpoints.has(id)).map((host) => host.process!.name),
        );
      }
    }
    return found;
  }
}

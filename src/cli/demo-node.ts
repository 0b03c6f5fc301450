/**
 * A host in this process: the program's own VTEP and gossip, without devices. Its underlay is a UDP socket on the loopback,
 * and its endpoints are stations of the simulation.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { encryptingKey, type Assignment } from '../cluster/index.js';
import { Intent, Logger, Machine, OverlayGossip } from '../host/index.js';
import { prefixContains, type Change, type Rejection } from '../model/index.js';
import { newNetwork, plan as planOf, planNetwork, routerOf, type Plan } from '../schema/index.js';
import { Random, SimHost, Station, type TraceEvent } from '../sim/index.js';

export const LOOPBACK = '127.0.0.1';

/** What the demo looks at. */
export interface DemoTrace {
  frame(event: TraceEvent): void;
  /** A datagram, from its VXLAN header on. */
  datagram(source: string, destination: string, sourcePort: number, payload: Uint8Array): void;
}

export class DemoNode {
  readonly name: string;
  readonly address: string;
  readonly id: string;
  readonly socket: Socket;
  readonly stations = new Map<string, Station>();
  readonly #plan: Plan;
  readonly #machine: Machine;
  readonly #intent: Intent;
  readonly #host: SimHost;
  /** The sockets of the other hosts, by their underlay addresses. */
  readonly #others = new Map<string, Socket>();
  readonly #networks = new Set<string>();
  #gossip: OverlayGossip | undefined;
  #timer: NodeJS.Timeout | undefined;
  #due = Infinity;

  /** Starts a host. @param seed Gives the gossip a member to join; absent: this host is the first one. */
  static async start(
    name: string,
    address: string,
    assignment: Assignment,
    trace: DemoTrace,
    seed?: DemoNode,
  ): Promise<DemoNode> {
    const socket = createSocket('udp4');
    socket.bind(0, LOOPBACK);
    await once(socket, 'listening');
    const node = new DemoNode(name, address, assignment, trace, socket, seed?.gossipPort);
    await node.#intent.start();
    node.#gossip = await OverlayGossip.start(node.#plan, node.#intent, { log: new Logger(() => undefined) });
    node.#host.start(performance.now());
    return node;
  }

  private constructor(
    name: string,
    address: string,
    { node, gossipKeys }: Assignment,
    trace: DemoTrace,
    socket: Socket,
    join: number | undefined,
  ) {
    this.name = name;
    this.address = address;
    this.id = node;
    this.socket = socket;
    const place = `${LOOPBACK}:1`;
    this.#plan = planOf({
      ...{ local: address, segments: [], taps: [] },
      gossip: {
        ...{ name: node, bind: place, advertise: place, tunnel: address },
        join: join === undefined ? [] : [`${LOOPBACK}:${join}`],
        keys: [encryptingKey(gossipKeys)!.key],
      },
    });
    // Any free port, which no configuration can ask for.
    this.#plan.gossip!.bind.port = this.#plan.gossip!.advertise.port = 0;
    this.#machine = new Machine(this.#plan);
    this.#intent = new Intent(this.#plan, (changes) => this.#apply(changes));
    this.#host = new SimHost({
      name,
      trace: (event) => trace.frame(event),
      makeVtep: () => this.#machine.vtep,
      port: {
        send: (to, _port, sourcePort, bytes, offset, end) => {
          const payload = Buffer.from(bytes.slice(offset, end));
          trace.datagram(this.address, to, sourcePort, payload);
          const other = this.#others.get(to);
          if (other !== undefined) this.socket.send(payload, other.address().port, LOOPBACK);
        },
        wake: (at) => this.#wake(at),
      },
    });
    socket.on('message', (bytes, { port }) => {
      for (const [source, other] of this.#others)
        if (other.address().port === port) this.#host.receive(source, bytes, 0, performance.now());
    });
  }

  /** Makes the changes that the gossip and the manager want. */
  #apply(changes: readonly Change[]): Promise<Rejection[]> {
    const rejected: Rejection[] = [];
    for (const [index, change] of changes.entries())
      try {
        this.#machine.apply(change);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        rejected.push({ index, reason: error.message });
      }
    return Promise.resolve(rejected);
  }

  #wake(at: number): void {
    if (at >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = at;
    const fire = (): void => {
      this.#due = Infinity;
      this.#host.wake(performance.now());
    };
    this.#timer = setTimeout(fire, Math.max(0, at - performance.now())).unref();
  }

  /** The port of its gossip on the loopback. */
  get gossipPort(): number {
    return this.#gossip!.members().find(({ self }) => self)!.port;
  }

  /** The number of living members that it knows. */
  get members(): number {
    return this.#gossip!.members().filter(({ state }) => state === 'alive').length;
  }

  /** Lets datagrams reach another host, as routes of an underlay do. */
  reach({ address, socket }: DemoNode): void {
    this.#others.set(address, socket);
  }

  /** Does what it is assigned: takes part in networks, and makes endpoints. */
  async assign({ networks, endpoints }: Assignment): Promise<void> {
    for (const { id, subnets } of networks) {
      if (this.#networks.has(id)) continue;
      this.#networks.add(id);
      const parts = subnets.map(({ prefix, gateway, vni }) => ({ prefix, gateway, vni }));
      const network = newNetwork({ name: id, subnets: parts, gossip: true }, this.#plan);
      const segments = planNetwork(network, {}, this.#plan);
      await this.#intent.addNetwork({ segments, taken: [], router: routerOf(network), gossip: true }, 'api');
      this.#gossip!.addNetwork(network);
    }
    for (const { id, name, network: of, addresses, mac } of endpoints) {
      if (this.stations.has(id)) continue;
      const [ip] = addresses as [string];
      const { subnets } = networks.find((one) => one.id === of)!;
      const { prefix, gateway, vni } = subnets.find((subnet) => prefixContains(subnet.prefix, ip))!;
      const length = prefix.slice(prefix.indexOf('/'));
      const random = new Random(this.stations.size);
      const station = new Station({ name, ip: `${ip}${length}`, mac, gateway, probe: false, announce: false, random });
      this.stations.set(id, station);
      this.#host.attach(station, vni, performance.now());
      await this.#gossip!.change({ command: 'add-endpoint', vni, ip, mac }, 'api');
    }
  }

  /** What its VTEP knows of a segment. */
  neighbors(vni: number): { ip: string; mac: string; vtep: string | null }[] {
    return this.#machine.vtep.hasSegment(vni) ? this.#machine.vtep.neighbors(vni) : [];
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#host.stop(performance.now());
    this.#gossip?.close();
    this.socket.close();
  }
}

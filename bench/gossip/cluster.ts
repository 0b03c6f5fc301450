/**
 * A cluster on the virtual clock. Each node runs memberlist with NetworkDB on top, connected as a host connects them.
 * The simulated network counts traffic. The cluster starts converged: all nodes know each other and are attached to one
 * network.
 */
import {
  decodeStream,
  encodePushPull,
  Memberlist,
  STATE,
  type MemberlistOptions,
  type NodeState,
  type PushPull,
} from '../../src/gossip/memberlist/index.js';
import {
  BULK_SYNC,
  bulkSyncMessage,
  compound,
  CREATE,
  NetworkDb,
  networkPushPull,
  OVERLAY_PEER_TABLE,
  peerRecord,
  PUSH_PULL,
  TABLE_EVENT,
  tableEvent,
  wrap,
} from '../../src/gossip/networkdb/index.js';
import { Alarm, Clock, Network, Random, Streams, type LinkOptions, type StreamEnd } from '../../src/sim/index.js';

const PORT = 7946;
/** 25 characters, like Docker's network ids. */
export const NETWORK = 'kd3vnqg1b2x0w9s8r7t6y5u4i';
const NONE = new Uint8Array(0);
const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
/**
 * Octets of headers before a datagram's payload (IPv4, UDP) and a segment's (IPv4, TCP with timestamps), and of a full
 * segment.
 */
const UDP_HEADERS = 28;
const TCP_HEADERS = 52;
const SEGMENT = 1448;
/** Segments without data: three to open a connection, and two FINs with their acknowledgements. */
const BARE_SEGMENTS = 7;

export interface ClusterOptions {
  nodes: number;
  seed: number;
  link?: LinkOptions;
  memberlist?: Partial<MemberlistOptions>;
  /** Whether nodes run NetworkDB. Default true. */
  tables?: boolean;
  /** Whether each node has an endpoint from the start. Default false. */
  endpoints?: boolean;
}

/** Traffic sent, with headers. Streams count the segments that TCP takes without loss. */
export interface Traffic {
  packets: number;
  packetOctets: number;
  streams: number;
  streamOctets: number;
}

/** Callbacks for what nodes learn about others. */
export interface Witness {
  /** `node` learned an entry of the table. */
  learned?(key: string, node: number, now: number): void;
  /** `node` declares a member dead. */
  died?(name: string, node: number, now: number): void;
  /** `node` learned a member's new metadata. */
  updated?(name: string, node: number, now: number): void;
}

export function addressOf(number: number): string {
  return `10.${number >>> 16}.${(number >>> 8) & 255}.${number & 255}`;
}

/** Twelve hexadecimal digits, like Docker's node names, in no order. */
export function nameOf(number: number): string {
  const mixed = Math.imul(number + 1, 0x9e37_79b1) >>> 0;
  return mixed.toString(16).padStart(8, '0') + number.toString(16).padStart(4, '0');
}

/** The state that all nodes share at the start: the members, their attachments and their endpoints. */
export interface Known {
  members: NodeState[];
  attachments: Uint8Array;
  entries: Uint8Array;
}

export function known({ nodes, endpoints, memberlist }: ClusterOptions): Known {
  const numbers = Array.from({ length: nodes }, (_, number) => number);
  const members = numbers.map((number) => ({
    name: nameOf(number),
    addr: addressOf(number),
    port: PORT,
    meta: NONE,
    incarnation: 1,
    state: STATE.alive,
    vsn: memberlist?.vsn ?? VSN,
  }));
  const events = numbers.map((number) =>
    wrap(TABLE_EVENT, tableEvent, {
      type: CREATE,
      time: 1,
      node: nameOf(number),
      network: NETWORK,
      table: OVERLAY_PEER_TABLE,
      key: endpointOf(number),
      value: recordOf(number),
    }),
  );
  return { members, attachments: attached(numbers), entries: compound(endpoints === true ? events : []) };
}

/** A copy with strings and arrays of its own, as in a process that received them. */
export function copyOf({ members, attachments, entries }: Known): Known {
  const bytes = encodePushPull({ type: 'pushPull', join: false, nodes: members, userState: NONE });
  return { members: (decodeStream(bytes) as PushPull).nodes, attachments, entries };
}

function attached(numbers: readonly number[]): Uint8Array {
  const networks = numbers.map((number) => ({ network: NETWORK, time: 3, node: nameOf(number), leaving: false }));
  return wrap(PUSH_PULL, networkPushPull, { time: 3, node: nameOf(numbers[0]!), networks });
}

/** Id of the endpoint that a node has from the start, as long as Docker's. */
function endpointOf(number: number): string {
  return nameOf(number).padEnd(64, 'e');
}

function recordOf(number: number): Uint8Array {
  const [high, low] = [(number >>> 8) & 255, number & 255];
  const endpointMac = `02:42:0a:01:${hex(high)}:${hex(low)}`;
  return peerRecord.encode({ endpointIp: `10.1.${high}.${low}/16`, endpointMac, tunnelIp: addressOf(number) });
}

export class Cluster {
  readonly clock = new Clock();
  readonly nodes: ClusterNode[] = [];
  readonly traffic: Traffic = { packets: 0, packetOctets: 0, streams: 0, streamOctets: 0 };
  readonly network: Network;
  readonly streams: Streams;
  readonly random: Random;
  readonly options: ClusterOptions;
  witness: Witness = {};

  /** @param count How many of the nodes run; the others are only known as members. */
  constructor(options: ClusterOptions, count = options.nodes) {
    this.options = options;
    this.random = new Random(options.seed);
    this.network = new Network(this.clock, this.random.fork(), options.link);
    this.streams = new Streams(this.clock, this.network, this.random.fork());
    const all = known(options);
    for (let number = 0; number < count; number++) this.add(all);
  }

  /** Starts the next node. */
  add(all: Known): void {
    this.nodes.push(new ClusterNode(this, this.nodes.length, all));
  }

  get running(): ClusterNode[] {
    return this.nodes.filter(({ running }) => running);
  }

  /** Octets carried by the links: an independent count of `packetOctets`. Streams do not use links. */
  get linkOctets(): number {
    let sum = 0;
    for (const { link } of this.network.nodes()) sum += link.counters.bytes;
    return sum;
  }
}

export class ClusterNode {
  readonly number: number;
  readonly name: string;
  readonly address: string;
  readonly machine: Memberlist;
  readonly db: NetworkDb | null;
  running = true;
  readonly #cluster: Cluster;
  readonly #alarm: Alarm;

  constructor(cluster: Cluster, number: number, all: Known) {
    const { clock, network, streams, options } = cluster;
    this.#cluster = cluster;
    this.number = number;
    this.name = nameOf(number);
    this.address = addressOf(number);
    this.#alarm = new Alarm(clock, () => this.act(() => this.#wake()));
    const source = cluster.random.fork();
    const random = (): number => source.float();
    const node = network.join(this.address);
    const ends = new Map<number, StreamEnd>();
    const events = (id: number) => ({
      data: (bytes: Uint8Array): void => this.act((now) => this.machine.streamData(id, bytes, now)),
      closed: (): void => this.act((now) => this.machine.streamClosed(id, now)),
    });
    let db: NetworkDb | null = null;
    this.machine = new Memberlist(
      { ...options.memberlist, name: this.name, address: this.address, port: PORT, random },
      {
        sendPacket: (address, port, bytes) => {
          cluster.traffic.packets++;
          cluster.traffic.packetOctets += UDP_HEADERS + bytes.length;
          node.send(address, port, PORT, bytes);
        },
        openStream: (id, address, port, bytes, answered) => {
          const end = streams.dial(this.address, address, port, answered ? events(id) : { data() {}, closed() {} });
          cluster.traffic.streams++;
          cluster.traffic.streamOctets += BARE_SEGMENTS * TCP_HEADERS;
          this.#write(end, bytes);
          if (answered) ends.set(id, end);
          else end.close();
        },
        writeStream: (id, bytes) => this.#write(ends.get(id)!, bytes),
        closeStream: (id) => {
          ends.get(id)!.close();
          ends.delete(id);
        },
      },
      {
        nodeJoined: (member, now) => db?.nodeJoined(member, now),
        nodeUpdated: (member, now) => cluster.witness.updated?.(member.name, number, now),
        nodeLeft: (name, now, { state }) => {
          db?.nodeLeft(name, now);
          if (state === 'dead') cluster.witness.died?.(name, number, now);
        },
        ...(options.tables === false
          ? {}
          : {
              receive: (message, now) => db!.receive(message, now),
              broadcasts: (overhead, limit) => db!.broadcasts(overhead, limit),
              localState: (join, now) => db!.localState(join, now),
              mergeState: (state, now) => db!.mergeState(state, now),
            }),
      },
      clock.now,
    );
    node.bind(PORT, ({ source: from, sourcePort, payload }) =>
      this.act((now) => this.machine.receivePacket(from, sourcePort, payload, now)),
    );
    streams.listen(this.address, PORT, (end, source) => {
      const id = this.running ? this.machine.acceptStream(clock.now, source) : 0;
      if (id === 0) end.close();
      else ends.set(id, end);
      this.#rearm();
      return events(id);
    });
    if (options.tables !== false) {
      db = new NetworkDb({ name: this.name, random }, this.machine);
      db.start(clock.now);
      // Joins before it knows others, so that it does not start a bulk sync with all of them.
      db.joinNetwork(NETWORK, clock.now);
      db.watch({ network: NETWORK }, ({ key }, now) => cluster.witness.learned?.(key, number, now));
      if (options.endpoints === true)
        db.createEntry(NETWORK, OVERLAY_PEER_TABLE, endpointOf(number), recordOf(number), clock.now);
    }
    this.db = db;
    this.machine.restore(all.members, clock.now);
    if (db !== null) {
      // A node asks the first member it sees for the tables: let that be another one for each, and let it have
      // answered.
      const next = (number + 1) % options.nodes;
      db.restore(attached([next]), clock.now);
      db.restore(all.attachments, clock.now);
      const answer = { time: 2, node: nameOf(next), networks: [NETWORK], payload: all.entries };
      db.receive(wrap(BULK_SYNC, bulkSyncMessage, answer), clock.now);
    }
    this.#rearm();
  }

  /** Announces one more endpoint, whose id is the key of its entry. */
  addEndpoint(id: string): void {
    this.act((now) => this.db!.createEntry(NETWORK, OVERLAY_PEER_TABLE, id, recordOf(this.number), now));
  }

  /** Runs an action if the node is running, and sets its alarm again. */
  act(action: (now: number) => void): void {
    if (!this.running) return;
    action(this.#cluster.clock.now);
    this.#rearm();
  }

  /** Stops without leaving the cluster. */
  kill(): void {
    this.running = false;
    this.#cluster.network.node(this.address)!.up = false;
    this.machine.stop();
    this.#alarm.clear();
  }

  #wake(): void {
    const { now } = this.#cluster.clock;
    if (this.machine.due <= now) this.machine.wake(now);
    if (this.db !== null && this.db.next <= now) this.db.tick(now);
  }

  #rearm(): void {
    if (!this.running) return;
    const due = this.db === null ? this.machine.due : Math.min(this.machine.due, this.db.next);
    if (due !== Infinity) this.#alarm.set(due);
  }

  #write(end: StreamEnd, bytes: Uint8Array): void {
    const segments = Math.ceil(bytes.length / SEGMENT);
    // TCP acknowledges every second segment.
    this.#cluster.traffic.streamOctets += bytes.length + (segments + Math.ceil(segments / 2)) * TCP_HEADERS;
    end.write(bytes);
  }
}

function hex(octet: number): string {
  return octet.toString(16).padStart(2, '0');
}

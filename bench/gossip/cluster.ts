/**
 * A cluster on the virtual clock: on each node memberlist's machine and NetworkDB's on it, as a host joins them, over a
 * network that counts what passes. It begins settled: all know all, and all are attached to one network.
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
/** As Docker's: 25 characters. */
export const NETWORK = 'kd3vnqg1b2x0w9s8r7t6y5u4i';
const NONE = new Uint8Array(0);
const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
/** Octets of IPv4 and UDP before a datagram's payload; of IPv4 and TCP with timestamps, and those that a segment carries. */
const UDP_HEADERS = 28;
const TCP_HEADERS = 52;
const SEGMENT = 1448;
/** Segments without data: three to open, and two ends with their acknowledgements. */
const BARE_SEGMENTS = 7;

export interface ClusterOptions {
  nodes: number;
  seed: number;
  link?: LinkOptions;
  memberlist?: Partial<MemberlistOptions>;
  /** Whether NetworkDB runs on it. Default true. */
  tables?: boolean;
  /** Whether each node has an endpoint from the start. Default false. */
  endpoints?: boolean;
}

/** What has been sent, headers included; of a stream as many segments as TCP takes where nothing is lost. */
export interface Traffic {
  packets: number;
  packetOctets: number;
  streams: number;
  streamOctets: number;
}

/** What members are told of others. */
export interface Witness {
  /** An entry of the table came to `node`. */
  learned?(key: string, node: number, now: number): void;
  /** `node` takes a member for dead. */
  died?(name: string, node: number, now: number): void;
  /** `node` heard of a member's new meta data. */
  updated?(name: string, node: number, now: number): void;
}

export function addressOf(number: number): string {
  return `10.${number >>> 16}.${(number >>> 8) & 255}.${number & 255}`;
}

/** As Docker's names of nodes: twelve hexadecimal digits, in no order. */
export function nameOf(number: number): string {
  const mixed = Math.imul(number + 1, 0x9e37_79b1) >>> 0;
  return mixed.toString(16).padStart(8, '0') + number.toString(16).padStart(4, '0');
}

/** What everybody knows at the start: all members, that all are attached, and the endpoints that there are. */
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

/** The same, in texts and arrays of its own, as a process has them that was told. */
export function copyOf({ members, attachments, entries }: Known): Known {
  const bytes = encodePushPull({ type: 'pushPull', join: false, nodes: members, userState: NONE });
  return { members: (decodeStream(bytes) as PushPull).nodes, attachments, entries };
}

function attached(numbers: readonly number[]): Uint8Array {
  const networks = numbers.map((number) => ({ network: NETWORK, time: 3, node: nameOf(number), leaving: false }));
  return wrap(PUSH_PULL, networkPushPull, { time: 3, node: nameOf(numbers[0]!), networks });
}

/** The endpoint that a node has from the start, by an id as long as Docker's. */
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

  /** @param count Of the nodes that there are, those that run here. */
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

  /** What the links have carried: another count of `packetOctets`. Streams do not go by links. */
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
    streams.listen(this.address, PORT, (end) => {
      const id = this.running ? this.machine.acceptStream(clock.now) : 0;
      if (id === 0) end.close();
      else ends.set(id, end);
      this.#rearm();
      return events(id);
    });
    if (options.tables !== false) {
      db = new NetworkDb({ name: this.name, random }, this.machine);
      db.start(clock.now);
      // Alone at first, so that it does not compare its tables with everybody's.
      db.joinNetwork(NETWORK, clock.now);
      db.watch({ network: NETWORK }, ({ key }, now) => cluster.witness.learned?.(key, number, now));
      if (options.endpoints === true)
        db.createEntry(NETWORK, OVERLAY_PEER_TABLE, endpointOf(number), recordOf(number), clock.now);
    }
    this.db = db;
    this.machine.restore(all.members, clock.now);
    if (db !== null) {
      // The node that it sees first is the one that it asks for the tables: not the same one for all, and it has answered.
      const next = (number + 1) % options.nodes;
      db.restore(attached([next]), clock.now);
      db.restore(all.attachments, clock.now);
      const answer = { time: 2, node: nameOf(next), networks: [NETWORK], payload: all.entries };
      db.receive(wrap(BULK_SYNC, bulkSyncMessage, answer), clock.now);
    }
    this.#rearm();
  }

  /** Tells of one more endpoint, whose id is the key of its entry. */
  addEndpoint(id: string): void {
    this.act((now) => this.db!.createEntry(NETWORK, OVERLAY_PEER_TABLE, id, recordOf(this.number), now));
  }

  /** Lets something happen to a node that runs. */
  act(what: (now: number) => void): void {
    if (!this.running) return;
    what(this.#cluster.clock.now);
    this.#rearm();
  }

  /** Ends without a word. */
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
    // Every second one is acknowledged.
    this.#cluster.traffic.streamOctets += bytes.length + (segments + Math.ceil(segments / 2)) * TCP_HEADERS;
    end.write(bytes);
  }
}

function hex(octet: number): string {
  return octet.toString(16).padStart(2, '0');
}

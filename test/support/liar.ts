/**
 * A member of a gossip cluster that lies: it answers pings and state exchanges like a member, with names of the test's
 * choice, which no honest implementation would send. It writes the wire format itself, without memberlist's machine.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import { encodeMessage, encodePushPull, STATE, walk, type NodeState } from '../../src/gossip/memberlist/index.js';
import * as db from '../../src/gossip/networkdb/index.js';

const NOTHING = new Uint8Array(0);
const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
const USER = 8;

export interface Lies {
  /** Names of further members, all at the liar's address. */
  members?: readonly string[];
  /** Networks to which the liar is attached. */
  networks?: readonly string[];
  /** If given, it answers every exchange with this error. */
  error?: string;
}

export class Liar {
  readonly name = 'liar';
  readonly address = '127.0.0.1';
  readonly #server: Server;
  readonly #udp: UdpSocket;
  readonly #lies: Lies;
  #time = 1_000_000;
  /** Ports of those that sent a datagram. */
  readonly known = new Set<number>();

  private constructor(server: Server, udp: UdpSocket, lies: Lies) {
    this.#server = server;
    this.#udp = udp;
    this.#lies = lies;
    server.on('connection', (socket) => {
      socket.on('error', () => undefined);
      // Whatever it asks, the answer is the same.
      socket.once('data', () => socket.end(this.#answer()));
    });
    udp.on('message', (bytes, from) => {
      this.known.add(from.port);
      walk(new Uint8Array(bytes), {
        message: (message) => {
          if (message.type !== 'ping') return;
          udp.send(encodeMessage({ type: 'ack', seqNo: message.seqNo, payload: NOTHING }), from.port, from.address);
        },
        user: () => undefined,
        refused: () => undefined,
      });
    });
  }

  static async start(lies: Lies): Promise<Liar> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const udp = createSocket('udp4');
    const { port } = server.address() as { port: number };
    await new Promise<void>((done) => udp.bind(port, '127.0.0.1', done));
    return new Liar(server, udp, lies);
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  close(): void {
    this.#server.close();
    this.#udp.close();
  }

  #answer(): Uint8Array {
    const { members = [], networks = [], error } = this.#lies;
    if (error !== undefined) return encodeMessage({ type: 'err', error });
    const node = (name: string, port: number): NodeState => ({
      name,
      addr: this.address,
      port,
      meta: NOTHING,
      incarnation: 5,
      state: STATE.alive,
      vsn: VSN,
    });
    const entries = networks.map((network) =>
      db.networkEntry.encode({ network, time: ++this.#time, node: this.name, leaving: false }),
    );
    return encodePushPull({
      type: 'pushPull',
      join: true,
      nodes: [node(this.name, this.port), ...members.map((name) => node(name, this.port))],
      userState: db.pushPullOf(++this.#time, entries, this.name),
    });
  }

  /** Tells a member at a port that another one is alive. */
  alive(port: number, name: string): void {
    const { address: addr } = this;
    this.#send(
      port,
      encodeMessage({ type: 'alive', incarnation: 9, node: name, addr, port: this.port, meta: NOTHING, vsn: VSN }),
    );
  }

  attach(port: number, network: string, node: string = this.name): void {
    const event = { type: db.JOIN, time: ++this.#time, node, network };
    this.#user(port, db.wrap(db.NETWORK_EVENT, db.networkEvent, event));
  }

  write(port: number, event: Partial<db.TableEvent>): void {
    const all = { type: db.CREATE, time: ++this.#time, node: this.name, value: NOTHING, residual: 0, ...event };
    this.#user(port, db.wrap(db.TABLE_EVENT, db.tableEvent, all));
  }

  #user(port: number, message: Uint8Array): void {
    this.#send(port, Uint8Array.of(USER, ...message));
  }

  #send(port: number, bytes: Uint8Array): void {
    this.#udp.send(bytes, port, this.address);
  }
}

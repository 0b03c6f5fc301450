import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { randomBytes, randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { performance } from 'node:perf_hooks';
import {
  Memberlist,
  type Delegate,
  type Joined,
  type MemberlistOptions,
  type MemberlistSink,
  type Security,
} from '../gossip/memberlist/index.js';
import { isIpv6Text } from '../address/index.js';
import { isUnspecified } from '../schema/index.js';
import { aesGcm } from './aead.js';
import { codeOf, HostError } from './error.js';
import { octets, StreamSockets, type StreamEvents } from './gossip-streams.js';
import { Pacer } from './pacer.js';
import { enlargeReceiveBuffer } from './receive-buffer.js';
import { isOwnAddress, notLocal } from './underlay.js';

/** Like `MemberlistOptions`, without what the host provides. */
export interface GossipOptions extends Omit<MemberlistOptions, 'random' | 'security'> {
  /** The address to listen on, if it differs from the advertised one. */
  bind?: string;
  /** The port to listen on, if it differs; 0 for any free port, which is then advertised. */
  bindPort?: number;
  security?: Omit<Security, 'aead' | 'nonce'>;
  /** A second state machine that shares this one's timer, with its own deadlines. */
  companion?: Companion;
}

/** A state machine with a deadline: `tick` is called at `next`. */
export interface Companion {
  readonly next: number;
  tick(now: number): void;
}

/** Longest delay that `setTimeout` supports, in milliseconds. */
const MAX_DELAY = 0x7fff_ffff;
/**
 * Receive buffer to request, in bytes: a packet of 1400 bytes occupies at least 2304, and 300 networks of 100 nodes
 * send a thousand packets within one gossip interval.
 */
export const RECEIVE_BUFFER = 4 << 20;
/** Bytes of memory for what is received and not processed yet: incomplete messages of streams, and the pacer's queue. */
const MEMORY = 64 << 20;
/** Number of ports to try if any port will do. */
const ATTEMPTS = 16;

/** A gossip cluster member on this host's sockets: UDP and TCP on the same port. */
export class GossipHost {
  readonly machine: Memberlist;
  /** Receive buffer that the system granted, in bytes; the host requests `RECEIVE_BUFFER`. */
  readonly receiveBuffer: number;
  readonly #udp: UdpSocket;
  readonly #server: Server;
  readonly #companion: Companion | undefined;
  readonly #pacer = new Pacer(RECEIVE_BUFFER);
  readonly #streams: StreamSockets;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer calls `#wake`, in milliseconds. */
  #due = Infinity;
  #closed = false;

  /**
   * Opens the sockets.
   * @throws HostError if the address is not local, or the port is in use.
   */
  static async open(options: GossipOptions, delegate: Delegate = {}): Promise<GossipHost> {
    const { bind = options.address, port = 7946, bindPort = port } = options;
    const { udp, server, port: bound } = await listen(bind, ownAddress(options) ?? bind, bindPort);
    const buffer = await enlargeReceiveBuffer(udp, RECEIVE_BUFFER);
    return new GossipHost({ ...options, port: port === 0 ? bound : port }, delegate, udp, server, buffer);
  }

  private constructor(options: GossipOptions, delegate: Delegate, udp: UdpSocket, server: Server, buffer: number) {
    this.receiveBuffer = buffer;
    this.#udp = udp;
    this.#server = server;
    this.#companion = options.companion;
    const sink: MemberlistSink = {
      // Datagrams that cannot be sent are dropped; the protocol tolerates loss.
      sendPacket: (address, port, bytes) => {
        if (!this.#closed) udp.send(bytes, port, address, () => undefined);
      },
      openStream: (id, address, port, bytes, answered) => this.#streams.dial(id, address, port, bytes, answered),
      writeStream: (id, bytes) => this.#streams.write(id, bytes),
      closeStream: (id, failed) => this.#streams.close(id, failed),
    };
    const security = { aead: aesGcm, nonce: () => new Uint8Array(randomBytes(12)), ...options.security };
    const clock = (): number => performance.now();
    const incarnation = Math.floor(Date.now() / 1000);
    const ours = { maxKept: MEMORY - RECEIVE_BUFFER, incarnation, clock, ...options, security, random };
    this.machine = new Memberlist(ours, sink, delegate, clock());
    const events: StreamEvents = {
      accept: (address) => this.act((machine, now) => machine.acceptStream(now, address)),
      refused: () => this.machine.refuseStream(),
      data: (id, bytes) => this.act((machine, now) => machine.streamData(id, bytes, now)),
      closed: (id, reason) => this.act((machine, now) => machine.streamClosed(id, now, reason)),
    };
    this.#streams = new StreamSockets(events, this.#pacer, this.machine.timing.streamTimeout, () =>
      ownAddress(options),
    );
    udp.on('message', (bytes, from) =>
      this.#pacer.add(bytes.length, () =>
        this.act((machine, now) => machine.receivePacket(from.address, from.port, octets(bytes), now)),
      ),
    );
    udp.on('error', () => undefined);
    server.on('error', () => undefined);
    server.on('connection', (socket) => this.#streams.accept(socket));
    this.#rearm();
  }

  /** Number of open TCP sockets, accepted and dialled, and of bytes of streams that are dialled or wait for it. */
  get sockets(): { accepted: number; dialled: number; queued: number } {
    return this.#streams.sizes();
  }

  /** Runs an operation of the state machine at the current time. */
  act<T>(what: (machine: Memberlist, now: number) => T): T {
    const result = what(this.machine, performance.now());
    this.#rearm();
    return result;
  }

  /** Contacts members of a cluster; resolves with the number that answered. */
  join(addresses: readonly { address: string; port: number }[]): Promise<Joined> {
    return new Promise((done) => this.act((machine, now) => machine.join(addresses, now, done)));
  }

  /** Leaves the cluster, then closes the sockets. */
  async leave(timeout = 1000): Promise<void> {
    await new Promise<void>((done) => this.act((machine, now) => machine.leave(now, timeout, done)));
    this.close();
  }

  /** Closes the sockets without leaving the cluster. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#pacer.stop();
    this.machine.stop();
    this.#udp.close();
    this.#server.close();
    this.#streams.destroy();
  }

  #wake(): void {
    this.#due = Infinity;
    this.act((machine, now) => {
      machine.wake(now);
      if (this.#companion !== undefined && this.#companion.next <= now) this.#companion.tick(now);
    });
  }

  #rearm(): void {
    const due = Math.min(this.machine.due, this.#companion?.next ?? Infinity);
    if (due === this.#due && !this.#closed) return;
    this.#due = due;
    clearTimeout(this.#timer);
    if (this.#closed || due === Infinity) return;
    const delay = Math.min(MAX_DELAY, Math.max(0, Math.ceil(due - performance.now())));
    this.#timer = setTimeout(() => this.#wake(), delay);
  }
}

/**
 * The address that streams and datagrams come from: without a key, peers accept a member's messages from its own address
 * only. Where the member is bound to all addresses, that is the advertised one, unless a NAT has it. Datagrams then arrive
 * there only, because a socket for all addresses would send from that of the route.
 */
function ownAddress({ bind, address }: GossipOptions): string | undefined {
  if (bind === undefined || !isUnspecified(bind)) return bind ?? address;
  return isOwnAddress(address) ? address : undefined;
}

/** A random number in [0, 1). */
export function random(): number {
  return randomInt(0x1_0000_0000) / 0x1_0000_0000;
}

/** Opens TCP at `address` and UDP at `source` on one port; for port 0, on a port that is free for both. */
async function listen(
  address: string,
  source: string,
  port: number,
): Promise<{ udp: UdpSocket; server: Server; port: number }> {
  for (let attempt = 1; ; attempt++) {
    const server = createServer({ allowHalfOpen: true });
    const v6 = isIpv6Text(address);
    const udp = createSocket({ type: v6 ? 'udp6' : 'udp4', ipv6Only: v6 });
    let bound = port;
    try {
      await new Promise<void>((done, failed) =>
        server.once('error', failed).listen({ host: address, port, ipv6Only: v6 }, done),
      );
      bound = (server.address() as { port: number }).port;
      await new Promise<void>((done, failed) =>
        udp.once('error', failed).bind({ address: source, port: bound, exclusive: true }, done),
      );
      server.removeAllListeners('error');
      udp.removeAllListeners('error');
      return { udp, server, port: bound };
    } catch (error) {
      udp.close();
      server.close();
      if (port === 0 && codeOf(error) === 'EADDRINUSE' && attempt < ATTEMPTS) continue;
      throw listenError(error as Error, address, bound);
    }
  }
}

function listenError(error: Error, address: string, port: number): HostError {
  const place = `gossip on ${address.includes(':') ? `[${address}]` : address}:${port}`;
  const code = codeOf(error);
  if (code === 'EADDRINUSE')
    return new HostError(
      `${place}: the port is in use, by another agent, serf or Docker ("ss -lntup"); stop it, or choose another port with \`gossip.bind\``,
      { cause: error },
    );
  if (code === 'EADDRNOTAVAIL') return notLocal(address, [], 'gossip.bind');
  if (code === 'EACCES')
    return new HostError(`${place}: permission denied; choose a port above 1023, or run as root`, { cause: error });
  return new HostError(`${place}: cannot listen: ${error.message}`, { cause: error });
}

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { randomBytes, randomInt } from 'node:crypto';
import { createServer, connect, type Server, type Socket } from 'node:net';
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
import { aesGcm } from './aead.js';

/** As `MemberlistOptions`, with what a host can provide left out. */
export interface GossipOptions extends Omit<MemberlistOptions, 'random' | 'security'> {
  /** The address to listen at, where that is another one than that which others are told. */
  bind?: string;
  security?: Omit<Security, 'aead' | 'nonce'>;
}

/** Longest that `setTimeout` waits, in milliseconds. */
const MAX_DELAY = 0x7fff_ffff;

/** A member of a gossip cluster on this host's sockets: UDP and TCP at the same port. */
export class GossipHost {
  readonly machine: Memberlist;
  readonly #udp: UdpSocket;
  readonly #server: Server;
  readonly #streams = new Map<number, Socket>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Opens the sockets. @throws where the address or the port cannot be had. */
  static async open(options: GossipOptions, delegate: Delegate = {}): Promise<GossipHost> {
    const { bind = options.address, port = 7946 } = options;
    const udp = createSocket({ type: isIpv6Text(bind) ? 'udp6' : 'udp4' });
    const server = createServer({ allowHalfOpen: true });
    try {
      await new Promise<void>((done, failed) => udp.once('error', failed).bind(port, bind, done));
      await new Promise<void>((done, failed) => server.once('error', failed).listen(port, bind, done));
    } catch (error) {
      udp.close();
      server.close();
      throw error;
    }
    return new GossipHost(options, delegate, udp, server);
  }

  private constructor(options: GossipOptions, delegate: Delegate, udp: UdpSocket, server: Server) {
    this.#udp = udp;
    this.#server = server;
    const sink: MemberlistSink = {
      // What cannot be sent is lost, as any datagram may be.
      sendPacket: (address, port, bytes) => udp.send(bytes, port, address, () => undefined),
      openStream: (id, address, port, bytes, answered) => this.#dial(id, address, port, bytes, answered),
      writeStream: (id, bytes) => void this.#streams.get(id)?.write(bytes),
      closeStream: (id) => {
        this.#streams.get(id)?.end();
        this.#streams.delete(id);
      },
    };
    const security = { aead: aesGcm, nonce: () => new Uint8Array(randomBytes(12)), ...options.security };
    const random = (): number => randomInt(0x1_0000_0000) / 0x1_0000_0000;
    this.machine = new Memberlist({ ...options, security, random }, sink, delegate, performance.now());
    udp.on('message', (bytes, from) =>
      this.act((machine, now) => machine.receivePacket(from.address, from.port, octets(bytes), now)),
    );
    udp.on('error', () => undefined);
    server.on('connection', (socket) => this.#accept(socket));
    this.#rearm();
  }

  /** Does something with the machine, at the present time. */
  act<T>(what: (machine: Memberlist, now: number) => T): T {
    const result = what(this.machine, performance.now());
    this.#rearm();
    return result;
  }

  /** Calls members of a cluster, and says how many answered. */
  join(addresses: readonly { address: string; port: number }[]): Promise<Joined> {
    return new Promise((done) => this.act((machine, now) => machine.join(addresses, now, done)));
  }

  /** Says farewell and closes. */
  async leave(timeout = 1000): Promise<void> {
    await new Promise<void>((done) => this.act((machine, now) => machine.leave(now, timeout, done)));
    this.close();
  }

  /** Closes without a word. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.machine.stop();
    this.#udp.close();
    this.#server.close();
  }

  #rearm(): void {
    clearTimeout(this.#timer);
    const { due } = this.machine;
    if (this.#closed || due === Infinity) return;
    const delay = Math.min(MAX_DELAY, Math.max(0, Math.ceil(due - performance.now())));
    this.#timer = setTimeout(() => this.act((machine, now) => machine.wake(now)), delay);
  }

  #accept(socket: Socket): void {
    const id = this.act((machine, now) => machine.acceptStream(now));
    if (id === 0) return void socket.destroy();
    this.#watch(id, socket, true);
  }

  #dial(id: number, address: string, port: number, bytes: Uint8Array, answered: boolean): void {
    const socket = connect({ host: address, port, allowHalfOpen: true });
    this.#watch(id, socket, answered);
    socket.write(bytes);
    if (!answered) {
      socket.end();
      this.#streams.delete(id);
      socket.resume();
    }
  }

  #watch(id: number, socket: Socket, told: boolean): void {
    this.#streams.set(id, socket);
    // Whoever has not closed its side by then does not any more.
    socket.setTimeout(this.machine.timing.streamTimeout, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    const over = (): void => {
      if (this.#streams.get(id) !== socket) return void socket.end();
      if (told) this.act((machine, now) => machine.streamClosed(id, now));
      socket.end();
      this.#streams.delete(id);
    };
    socket.on('end', over);
    socket.on('close', over);
    if (told)
      socket.on('data', (bytes) => this.act((machine, now) => machine.streamData(id, octets(bytes as Buffer), now)));
  }
}

/** A `Buffer` would do but for `slice`, which does not copy there. */
function octets(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

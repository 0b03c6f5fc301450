/** The underlay's sockets of the portable engine. */
import { createSocket, type Socket } from 'node:dgram';
import { codeOf } from './error.js';
import { setFragmenting } from './probe-socket.js';
import { bindError, FIRST_SOURCE_PORT } from './underlay.js';

/** Size of receive and send buffers to request, in bytes; `net.core.rmem_max` and `wmem_max` limit it. */
const SOCKET_BUFFER = 4 << 20;
/** How often to look for a free port in the source range. */
const ATTEMPTS = 16;

/** Sockets on one local address, never on all addresses. */
export class DgramSockets {
  /** Bound to the VTEP's port. */
  receiver: Socket | undefined;
  /** Each flow uses one. The receiving socket itself if the plan has no source ports. */
  senders: readonly Socket[] = [];
  /** Probes of path MTUs leave by it. */
  prober: Socket | undefined;
  /** For datagrams that may be fragmented. */
  fragmenter: Socket | undefined;
  readonly #local: string;
  readonly #failed: (code: string) => void;
  readonly #all = new Set<Socket>();

  /** @param failed Receives the codes of errors of bound sockets. */
  constructor(local: string, failed: (code: string) => void) {
    this.#local = local;
    this.#failed = failed;
  }

  /** Opens all of them. If this fails, none remains. @throws HostError */
  async open(port: number, sourcePorts: number): Promise<Socket> {
    try {
      const receiver = await this.bind(port);
      const senders: Socket[] = [];
      for (let i = 0; i < sourcePorts; i++) senders.push(await this.#bindSource());
      const v6 = this.#local.includes(':');
      this.prober = await this.#bindSource();
      await setFragmenting(this.prober, v6, false);
      this.fragmenter = await this.#bindSource();
      await setFragmenting(this.fragmenter, v6, true);
      this.senders = sourcePorts === 0 ? [receiver] : senders;
      this.receiver = receiver;
      return receiver;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Opens a socket. @param refused Makes the error from that of the system. @throws that error */
  bind(port: number, refused = (error: Error): Error => bindError(error, this.#local, port)): Promise<Socket> {
    const v6 = this.#local.includes(':');
    const socket = createSocket({
      type: v6 ? 'udp6' : 'udp4',
      ipv6Only: v6,
      recvBufferSize: SOCKET_BUFFER,
      sendBufferSize: SOCKET_BUFFER,
      // Remotes are already addresses; Node's own lookup would delay each datagram to the next tick.
      lookup: (address, _options, done) => done(null, address, v6 ? 6 : 4),
    });
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(refused(error));
      });
      socket.bind({ address: this.#local, port, exclusive: true }, () => {
        socket.removeAllListeners('error');
        socket.on('error', (error) => this.#failed(codeOf(error) || 'UNKNOWN'));
        this.#all.add(socket);
        resolve(socket);
      });
    });
  }

  /** Opens a socket on a free port of the source range, or on any free port if many are in use. */
  async #bindSource(): Promise<Socket> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const port = FIRST_SOURCE_PORT + Math.floor(Math.random() * (65_536 - FIRST_SOURCE_PORT));
      try {
        return await this.bind(port);
      } catch (error) {
        if (codeOf((error as Error).cause) !== 'EADDRINUSE') throw error;
      }
    }
    return this.bind(0);
  }

  async close(): Promise<void> {
    const sockets = [...this.#all];
    this.#all.clear();
    this.senders = [];
    this.prober = undefined;
    this.fragmenter = undefined;
    this.receiver = undefined;
    await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  }
}

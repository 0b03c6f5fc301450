/** The connections to a manager, and the limits on their number and time. */
import { type Socket } from 'node:net';
import { formatIpv6, IPV6_LENGTH, parseIpv6 } from '../../address/index.js';
import { SharedAllowance } from '../../gossip/memberlist/index.js';
import { type CertificateFacts } from './certificate.js';

export interface ConnectionLimits {
  /** Most connections in all. */
  connections: number;
  /**
   * Most connections that have presented no certificate of the cluster, and of these most of one address (of one /64, for
   * IPv6). A further one replaces the oldest.
   */
  strangers: number;
  strangersPerAddress: number;
  /**
   * Most connections that are accepted at once, and per second. A handshake takes the processor a millisecond. A quarter is
   * reserved for addresses that connect seldom.
   */
  arrivals: number;
  arrivalsPerSecond: number;
  /** Most connections of one node. A further one replaces the oldest. */
  perNode: number;
  /** Milliseconds after which a connection without a certificate of the cluster is closed, whatever it does. */
  strangerTime: number;
}

export interface Connection {
  readonly raw: Socket;
  readonly address: string;
  /** The address, for limits: hosts have whole /64 of IPv6. */
  readonly key: string;
  /** Its TLS socket, once the handshake is complete. */
  secure: Socket | undefined;
  /** Whose certificate it presented; `undefined` for a stranger. */
  peer: CertificateFacts | undefined;
  /** Why its certificate is not accepted. */
  trouble: 'wrong-cluster' | 'expired' | undefined;
  /** A request is in progress. */
  busy: boolean;
  timer: NodeJS.Timeout | undefined;
}

export class Connections {
  readonly #limits: ConnectionLimits;
  /** By the raw socket, oldest first. */
  readonly #all = new Map<Socket, Connection>();
  /** By the client's address and port: a TLS socket does not tell its raw socket. */
  readonly #byPeer = new Map<string, Connection>();
  readonly #secure = new WeakMap<Socket, Connection>();
  readonly #arrivals: SharedAllowance;
  #closed = 0;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
    this.#arrivals = new SharedAllowance(limits.arrivals, limits.arrivalsPerSecond);
  }

  get size(): number {
    return this.#all.size;
  }

  /** Number of connections that were closed because of a limit. */
  get closed(): number {
    return this.#closed;
  }

  [Symbol.iterator](): IterableIterator<Connection> {
    return this.#all.values();
  }

  /** Takes in a connection, before its TLS handshake. */
  add(raw: Socket): void {
    const { remoteAddress } = raw;
    if (remoteAddress === undefined) return void raw.destroy(); // it has gone
    const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/, '');
    const connection: Connection = {
      raw,
      key: addressKey(address),
      address,
      secure: undefined,
      peer: undefined,
      trouble: undefined,
      busy: false,
      timer: undefined,
    };
    const { connections, strangers, strangersPerAddress, strangerTime } = this.#limits;
    const isStranger = ({ peer }: Connection): boolean => peer === undefined;
    this.#makeRoom(strangersPerAddress, (other) => isStranger(other) && other.key === connection.key);
    this.#makeRoom(strangers, isStranger);
    const now = performance.now();
    if (this.#all.size >= connections || this.#arrivals.left(connection.key, now) <= 0) {
      this.#closed++;
      return void raw.destroy();
    }
    this.#arrivals.spend(connection.key, 1, now);
    connection.timer = setTimeout(() => this.#cut(connection), strangerTime);
    connection.timer.unref();
    const peer = peerOf(raw);
    this.#all.set(raw, connection);
    this.#byPeer.set(peer, connection);
    raw.on('close', () => {
      clearTimeout(connection.timer);
      this.#all.delete(raw);
      if (this.#byPeer.get(peer) === connection) this.#byPeer.delete(peer);
    });
  }

  /** The TLS handshake of a connection is complete. @returns `undefined` if it has been closed. */
  secured(secure: Socket): Connection | undefined {
    const connection = this.#byPeer.get(peerOf(secure));
    if (connection === undefined) return void secure.destroy();
    connection.secure = secure;
    this.#secure.set(secure, connection);
    return connection;
  }

  /** A connection has presented a certificate of the cluster. */
  known(connection: Connection, peer: CertificateFacts): void {
    this.#makeRoom(this.#limits.perNode, (other) => other.peer?.node === peer.node);
    clearTimeout(connection.timer);
    connection.peer = peer;
  }

  of(secure: Socket): Connection | undefined {
    return this.#secure.get(secure);
  }

  /** Closes the oldest connection of a kind if there are as many as there may be. */
  #makeRoom(most: number, isOne: (connection: Connection) => boolean): void {
    const ones = [...this.#all.values()].filter(isOne);
    if (ones.length >= most) this.#cut(ones[0]!);
  }

  #cut(connection: Connection): void {
    this.#closed++;
    destroy(connection);
  }
}

const peerOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

function addressKey(address: string): string {
  if (!address.includes(':')) return address;
  return formatIpv6(parseIpv6(address.replace(/%.*/, '')).fill(0, IPV6_LENGTH / 2));
}

/** Closes a connection at once, with what it has not read yet. */
export function destroy({ raw, secure }: Connection): void {
  secure?.destroy();
  raw.destroy();
}

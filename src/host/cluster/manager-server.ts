/**
 * A manager's server: protocol.ts has its requests. TLS 1.3 only. A client certificate is optional, because a node that
 * joins has none. The server itself checks the certificate of every request, so that a refused client receives the reason.
 *
 * A request counts for the node, the role and the cluster of its certificate, and for nothing that it says itself. When a
 * certificate is revoked, its connections end at once, in the middle of a stream or a command.
 */
import { constants, X509Certificate } from 'node:crypto';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type Server } from 'node:https';
import { createServer, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { type SecureContextOptions, type TLSSocket } from 'node:tls';
import { text } from '../control-text.js';
import { codeOf, HostError } from '../error.js';
import { EVENTS_TYPE, JSON_TYPE } from '../../schema/index.js';
import { AssignmentStream } from './assignment-stream.js';
import { nodeIdOf, requestedKey, type Authority, type Issued } from './authority.js';
import { type ManagerBackend, type Reply } from './backend.js';
import { certificateFacts, type CertificateFacts, type Identity, type Role } from './certificate.js';
import { Connections, destroy, type Connection, type ConnectionLimits } from './connections.js';
import { ClusterError, type Refusal } from './error.js';
import { LogRelay, RELAY_LIMITS, type RelayLimits } from './log-relay.js';
import {
  MANAGER_PORT,
  readRequest,
  routeOf,
  statusOf,
  type JoinBody,
  type Joined,
  type ManagerRequest,
  type Route,
} from './protocol.js';
import { sameSecret } from './token.js';
import { WrongTokens } from './wrong-tokens.js';

export interface ManagerLimits extends ConnectionLimits {
  /** Of what nodes read of the output of others. */
  output: RelayLimits;
  /** Milliseconds for the TLS handshake, for the headers of a request, for a whole request, and until the next one. */
  handshake: number;
  headers: number;
  request: number;
  idle: number;
  /** Most octets of the headers, of the body of a request to join, and of another body. */
  headerSize: number;
  joinSize: number;
  bodySize: number;
  /** Milliseconds between two heartbeats of a stream, and that a reader may take for what was written. */
  heartbeat: number;
  stall: number;
  /** Milliseconds after which a request to join that is refused is answered, whatever the reason. */
  refusal: number;
  /** Most wrong tokens of one address per minute. */
  wrongTokens: number;
  /** Milliseconds that a client has to read an answer to a request that was not read to its end. */
  grace: number;
}

const LIMITS: ManagerLimits = {
  connections: 4096,
  strangers: 256,
  strangersPerAddress: 32,
  arrivals: 400,
  arrivalsPerSecond: 200,
  perNode: 128,
  strangerTime: 15_000,
  handshake: 5000,
  headers: 5000,
  request: 30_000,
  idle: 15_000,
  headerSize: 8192,
  joinSize: 16_384,
  bodySize: 262_144,
  heartbeat: 10_000,
  stall: 60_000,
  refusal: 500,
  wrongTokens: 10,
  grace: 500,
  output: RELAY_LIMITS,
};

/** In which `wrongTokens` counts. */
const MINUTE = 60_000;

const NOT_ADMITTED =
  'the manager does not accept this token; print the current one with "vtep token worker" or "vtep token manager" on a ' +
  'manager, and wait a minute after several wrong ones';

export interface ManagerOptions {
  /** The address to listen on. */
  host: string;
  /** Default: 2377. */
  port?: number;
  /** The manager's own key and certificate. */
  identity: Identity;
  authority: Authority;
  backend: ManagerBackend;
  limits?: Partial<ManagerLimits>;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Receives what is a defect of this program, or of the backend. */
  failed?: (error: unknown) => void;
}

/** What a server has refused so far. */
export interface ManagerCounts {
  connections: number;
  /** Connections closed because of a limit, or that never were one of TLS. */
  closed: number;
  /** TLS handshakes that failed. */
  handshakes: number;
  /** Requests refused because of their certificate, and requests to join with a wrong token. */
  certificates: number;
  tokens: number;
}

/**
 * Listens for nodes.
 * @throws HostError if it cannot listen.
 */
export async function serveManager(options: ManagerOptions): Promise<ManagerServer> {
  const { host, port = MANAGER_PORT } = options;
  const tcp = createServer();
  const server = new ManagerServer(options, tcp);
  await new Promise<void>((resolve, reject) => {
    tcp.once('error', (error) => reject(new HostError(`${host} port ${port}: ${whyNot(error)}`, { cause: error })));
    tcp.listen({ host, port }, resolve);
  });
  tcp.removeAllListeners('error').on('error', () => undefined); // failing to accept one client must not end the manager
  return server;
}

function whyNot(error: Error): string {
  switch (codeOf(error)) {
    case 'EADDRINUSE':
      return 'another program listens there; stop it ("ss -tlnp" shows it), or choose another address';
    case 'EADDRNOTAVAIL':
      return 'this host does not have that address; choose one that "ip address" shows';
    case 'EACCES':
      return 'permission denied; choose a port above 1023, or run as root';
    default:
      return `the manager cannot listen there: ${error.message}`;
  }
}

export class ManagerServer {
  readonly #tcp: TcpServer;
  readonly #https: Server;
  readonly #authority: Authority;
  readonly #backend: ManagerBackend;
  readonly #limits: ManagerLimits;
  readonly #now: () => number;
  readonly #failed: (error: unknown) => void;
  readonly #connections: Connections;
  readonly #wrong: WrongTokens;
  readonly #relay: LogRelay;
  /** The streams of assignments of each node, the newest one last. */
  readonly #streams = new Map<string, AssignmentStream[]>();
  readonly #revocations: { stop(): void };
  readonly #counts = { handshakes: 0, certificates: 0, tokens: 0 };

  /** @internal Use `serveManager`. */
  constructor(options: ManagerOptions, tcp: TcpServer) {
    const { identity, authority, backend, limits = {}, now = Date.now, failed = () => undefined } = options;
    this.#tcp = tcp;
    this.#authority = authority;
    this.#backend = backend;
    this.#limits = { ...LIMITS, ...limits };
    this.#now = now;
    this.#failed = failed;
    this.#connections = new Connections(this.#limits);
    this.#wrong = new WrongTokens(this.#limits.wrongTokens, MINUTE);
    this.#relay = new LogRelay({
      backend,
      limits: this.#limits.output,
      request: (node, asked) => this.#streams.get(node)?.at(-1)?.request(asked) === true,
    });
    const { handshake, headers, request, idle, headerSize } = this.#limits;
    this.#https = createHttpsServer({
      ...contextOf(identity),
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: handshake,
      maxHeaderSize: headerSize,
      headersTimeout: headers,
      requestTimeout: request,
      keepAliveTimeout: idle,
      connectionsCheckingInterval: Math.min(1000, headers / 2),
    });
    tcp.on('connection', (raw: Socket) => {
      raw.on('error', () => raw.destroy());
      this.#connections.add(raw);
      if (!raw.destroyed) this.#https.emit('connection', raw);
    });
    this.#https
      .on('secureConnection', (socket: TLSSocket) => this.#secured(socket))
      .on('tlsClientError', (_error: Error, socket: TLSSocket) => {
        this.#counts.handshakes++;
        socket.destroy();
      })
      .on('clientError', (_error: Error, socket: Socket) => socket.destroy())
      .on('request', (request: IncomingMessage, response: ServerResponse) => this.#accept(request, response));
    // Node starts its timeouts of requests with this event, which a server that does not listen itself never sends.
    this.#https.emit('listening');
    this.#revocations = backend.onRevoked(() => this.#sweep());
  }

  get address(): string {
    return (this.#tcp.address() as AddressInfo).address;
  }

  get port(): number {
    return (this.#tcp.address() as AddressInfo).port;
  }

  get counts(): ManagerCounts {
    return { connections: this.#connections.size, closed: this.#connections.closed, ...this.#counts };
  }

  /** Presents another certificate from now on. */
  renewed(identity: Identity): void {
    this.#https.setSecureContext(contextOf(identity));
  }

  /** Closes every connection. */
  async close(): Promise<void> {
    this.#revocations.stop();
    const closed = new Promise((resolve) => this.#tcp.close(resolve));
    for (const connection of this.#connections) destroy(connection);
    await closed;
    this.#https.close();
  }

  #secured(socket: TLSSocket): void {
    const connection = this.#connections.secured(socket);
    if (connection === undefined) return;
    socket.on('error', () => destroy(connection));
    const certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
    if (certificate === undefined) return;
    const facts = certificateFacts(certificate);
    if (socket.authorized && facts?.cluster === this.#authority.cluster) this.#connections.known(connection, facts);
    else
      connection.trouble =
        String(socket.authorizationError) === 'CERT_HAS_EXPIRED' && facts?.cluster === this.#authority.cluster
          ? 'expired'
          : 'wrong-cluster';
  }

  /** Ends the connections of removed nodes. */
  #sweep(): void {
    for (const connection of this.#connections)
      if (connection.peer !== undefined && this.#backend.isRevoked(connection.peer)) destroy(connection);
  }

  #accept(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.of(request.socket);
    // Node passes on every request of one read, however many these are: one at a time.
    if (connection === undefined || connection.busy) return void request.socket.destroy();
    connection.busy = true;
    response.on('close', () => (connection.busy = false)).on('error', () => destroy(connection));
    void this.#answer(connection, request, response);
  }

  async #answer(connection: Connection, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now();
    let route: Route | undefined;
    try {
      const { method = '', url = '' } = request;
      route = /^\/v1\/join($|\?)/.test(url) ? routeOf(method, url) : undefined;
      const peer = route === 'join' ? undefined : this.#requirePeer(connection);
      route ??= routeOf(method, url);
      const body = await this.#body(request, route === 'join' ? this.#limits.joinSize : this.#limits.bodySize);
      if (body === undefined) return; // the client has gone
      const asked = readRequest(route, body);
      if (peer !== undefined) this.#requirePeer(connection); // it may have been removed in the meantime
      if (peer === undefined) await this.#join(connection, (asked as { body: JoinBody }).body, response);
      else await this.#serve(peer, asked, response);
    } catch (error) {
      // Neither the kind of a refusal nor its time tells anything about the secret.
      if (route === 'join') await this.#wait(started + this.#limits.refusal - performance.now(), request.socket);
      this.#refuse(request, response, error);
    }
  }

  /** @throws ClusterError if the connection has no certificate that is valid now. */
  #requirePeer({ peer, trouble }: Connection): CertificateFacts {
    const code = peer === undefined ? (trouble ?? 'no-certificate') : this.#trouble(peer);
    if (peer !== undefined && code === undefined) return peer;
    this.#counts.certificates++;
    throw new ClusterError(code!, CERTIFICATE_TROUBLES[code!]);
  }

  #trouble(peer: CertificateFacts): CertificateTrouble | undefined {
    if (this.#backend.isRevoked(peer)) return 'revoked';
    return this.#now() >= peer.until ? 'expired' : undefined;
  }

  /** Reads a body. @returns `undefined` if the client has gone. @throws ClusterError if the body is too large. */
  async #body(request: IncomingMessage, most: number): Promise<Uint8Array | undefined> {
    const tooLarge = new ClusterError('too-large', `the body must have at most ${most} octets`);
    if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge;
    // Not a list of the chunks: each may have a single octet.
    let buffer = Buffer.alloc(4096);
    let length = 0;
    const end = await new Promise<'end' | 'gone' | 'large'>((resolve) => {
      request
        .on('data', (chunk: Buffer) => {
          const at = length;
          length += chunk.length;
          if (length > most) return resolve('large');
          if (length > buffer.length) buffer = Buffer.concat([buffer], Math.min(most, 2 * length));
          chunk.copy(buffer, at);
        })
        .on('end', () => resolve('end'))
        .on('error', () => resolve('gone'))
        .on('close', () => resolve('gone'));
    });
    if (end === 'large') throw tooLarge;
    return end === 'gone' ? undefined : buffer.subarray(0, length);
  }

  async #join(connection: Connection, body: JoinBody, response: ServerResponse): Promise<void> {
    const role = this.#roleOf(connection, body.secret);
    const key = await requestedKey(body.csr);
    const node = nodeIdOf(key);
    const { certificate, fingerprint, until } = await this.#authority.issue(key, { node, role });
    const { secret, name, address = connection.address, port } = body;
    const cluster = answerOf(
      await this.#backend.join({
        node,
        role,
        name,
        address,
        fingerprint,
        until,
        secret,
        ...(port === undefined ? {} : { port }),
      }),
    );
    const joined: Joined = { certificate, managers: this.#backend.managers(), cluster };
    send(response, 200, joined, false);
  }

  /** The role that a secret admits to. @throws ClusterError, always the same. */
  #roleOf({ key }: Connection, secret: string): Role {
    const now = this.#now();
    const { worker, manager } = this.#backend.secrets();
    const [isWorker, isManager] = [sameSecret(secret, worker), sameSecret(secret, manager)];
    const isAllowed = this.#wrong.allow(key, now);
    if (isAllowed && isManager) return 'manager';
    if (isAllowed && isWorker) return 'worker';
    this.#counts.tokens++;
    if (!isManager && !isWorker) this.#wrong.wrong(key, now);
    throw new ClusterError('not-admitted', NOT_ADMITTED);
  }

  async #serve(peer: CertificateFacts, asked: ManagerRequest, response: ServerResponse): Promise<void> {
    const actor = { node: peer.node, role: peer.role };
    switch (asked.route) {
      case 'renew': {
        const role = this.#backend.roleOf(peer.node);
        if (role === undefined) throw new ClusterError('revoked', CERTIFICATE_TROUBLES.revoked);
        const issued: Issued = await this.#authority.sign(asked.body.csr, { node: peer.node, role });
        const { fingerprint, until } = issued;
        answerOf(await this.#backend.renew(actor, { fingerprint, until }));
        return send(response, 200, { certificate: issued.certificate }, true);
      }
      case 'commands':
        return send(response, 200, { answer: answerOf(await this.#backend.command(actor, asked.body)) ?? null }, true);
      case 'assignments':
        return this.#stream(peer, response);
      case 'logs':
        return this.#relay.read(actor, asked.body, response, {
          begin: () => response.writeHead(200, { 'Content-Type': EVENTS_TYPE, ...COMMON }).flushHeaders(),
          isValid: () => this.#trouble(peer) === undefined,
        });
      case 'output':
        return send(response, 200, this.#relay.take(peer.node, asked.body), true);
      case 'join':
        throw new Error('a request to join is answered elsewhere');
    }
  }

  #stream(peer: CertificateFacts, response: ServerResponse): void {
    const { heartbeat, stall } = this.#limits;
    response.writeHead(200, { 'Content-Type': EVENTS_TYPE, ...COMMON });
    const stream = new AssignmentStream(response, stall);
    const timer = setInterval(() => {
      if (this.#trouble(peer) !== undefined || !stream.beat(performance.now())) response.destroy();
    }, heartbeat);
    timer.unref();
    let source: { stop(): void } | undefined;
    const { node } = peer;
    this.#streams.set(node, [...(this.#streams.get(node) ?? []), stream]);
    response.on('close', () => {
      clearInterval(timer);
      source?.stop();
      const left = this.#streams.get(node)!.filter((other) => other !== stream);
      if (left.length > 0) this.#streams.set(node, left);
      else this.#streams.delete(node);
    });
    source = this.#backend.assignments(peer.node, (news) => {
      if (!response.destroyed) stream.push(news);
    });
    if (response.destroyed) source.stop();
    else this.#relay.returned(node);
  }

  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const { socket } = request;
    if (socket.destroyed) return;
    if (response.headersSent) return void socket.destroy();
    if (!(error instanceof HostError)) this.#failed(error);
    const peer = this.#connections.of(socket)?.peer;
    const stays = request.complete && peer !== undefined && this.#trouble(peer) === undefined;
    send(response, ...failureOf(error), stays);
    if (request.complete) return;
    // The client may still be sending: if the connection were closed now, it might not read the answer.
    request.resume();
    setTimeout(() => socket.destroy(), this.#limits.grace).unref();
  }

  /** Waits, or until the client has gone. */
  #wait(milliseconds: number, socket: Socket): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        socket.off('close', done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, milliseconds));
      socket.on('close', done);
    });
  }
}

type CertificateTrouble = 'no-certificate' | 'wrong-cluster' | 'expired' | 'revoked';

const CERTIFICATE_TROUBLES: Readonly<Record<CertificateTrouble, string>> = {
  'no-certificate': 'the request needs a client certificate of the cluster; "vtep join" gets one',
  'wrong-cluster':
    "the client certificate is not one of this manager's cluster; connect to a manager of the node's own cluster, or " +
    'run "vtep leave" and join this one',
  expired:
    'the client certificate has expired, or the clocks of the hosts differ; correct the clocks, or run "vtep leave" and ' +
    '"vtep join" on the node',
  revoked: 'the node has been removed from the cluster; run "vtep leave" and "vtep join" on it to admit it again',
};

/** Headers of every response. */
const COMMON = { 'Cache-Control': 'no-store' } as const;

function contextOf({ key, certificate, ca }: Identity): SecureContextOptions {
  return {
    key,
    // With the CA's certificate in the chain: a node that joins compares it with the digest of its token.
    cert: `${certificate.trimEnd()}\n${ca}`,
    ca,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    // A session that is resumed would bring its certificate along unchecked.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

function answerOf(reply: Reply): unknown {
  if ('answer' in reply) return reply.answer;
  const { code, message, fields } = reply.refusal;
  throw new ClusterError(code, message, { fields });
}

/** @param stays Whether the connection may have another request. */
function send(response: ServerResponse, status: number, value: unknown, stays: boolean): void {
  if (response.destroyed) return;
  const body = `${text(value)}\n`;
  response.writeHead(status, {
    'Content-Type': JSON_TYPE,
    'Content-Length': Buffer.byteLength(body),
    ...COMMON,
    ...(stays ? {} : { Connection: 'close' }),
  });
  response.end(body);
}

function failureOf(error: unknown): [status: number, body: { error: Refusal }] {
  const { code, message, fields }: Refusal =
    error instanceof ClusterError
      ? error
      : error instanceof HostError
        ? { code: 'unavailable', message: error.message }
        : { code: 'internal', message: 'a defect of the manager; its log has more' };
  return [
    statusOf(code),
    { error: { code, message, ...(fields === undefined || fields.length === 0 ? {} : { fields }) } },
  ];
}

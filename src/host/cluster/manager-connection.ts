/**
 * Connections to a manager. Nothing is sent before the manager has proved who it is: by the digest of its CA's certificate
 * in a token, or by a certificate of the node's own cluster with the role of a manager.
 */
import { X509Certificate } from 'node:crypto';
import { Agent, request as httpRequest, type ClientRequestArgs, type IncomingMessage } from 'node:http';
import { type Duplex } from 'node:stream';
import { connect, type ConnectionOptions, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { printable } from '../../wire/index.js';
import { parseHostPort } from '../../schema/index.js';
import { codeOf, HostError } from '../error.js';
import { certificateFacts, clusterOf, validity, type Identity } from './certificate.js';
import { ClusterError } from './error.js';
import { MANAGER_PORT, ROUTES, type Route } from './protocol.js';
import { digestOf } from './token.js';

/** Where a manager is. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

export interface ClientLimits {
  /** Milliseconds to connect, TLS handshake included, and to answer a request. */
  connect: number;
  answer: number;
  /** Most octets of an answer, and of one line of a stream. */
  size: number;
}

export const CLIENT_LIMITS: ClientLimits = { connect: 10_000, answer: 30_000, size: 1 << 24 };

/** Most certificates in a chain. */
const CHAIN = 10;
/** Most characters of a text of a manager in an error. */
const SHOWN = 1000;

/** @throws HostError if a text is not the place of a manager. */
export function managerPlace(text: string): Place {
  const place = parseHostPort(text, MANAGER_PORT);
  if (place === null) {
    const example = `172.31.1.5, 172.31.1.5:${MANAGER_PORT} or [fd00::5]:${MANAGER_PORT}`;
    throw new HostError(`${printable(text.slice(0, 80))} is not the address of a manager, such as ${example}`);
  }
  return place;
}

export function placeText({ host, port }: Place): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The CA of a cluster. */
export interface Trust {
  /** Its certificate, in PEM. */
  readonly ca: string;
  readonly cluster: string;
}

/**
 * Gets the certificate of the CA that a manager presents, and sends the manager nothing.
 * @param digest The digest of the token.
 * @throws ClusterError, also if the certificate has another digest.
 */
export async function authorityOf(place: Place, digest: string, limits: ClientLimits): Promise<Trust> {
  const socket = await handshake(place, { rejectUnauthorized: false }, limits);
  const chain = chainOf(socket.getPeerCertificate(true));
  socket.destroy();
  // A name proves nothing. It tells what a person connected to.
  const authorities = chain.filter((one) => clusterOf(one) !== null);
  if (authorities.length === 0) throw notAManager(place, 'it presents no certificate of a cluster of weft');
  const found = authorities.find((one) => digestOf(one.raw) === digest);
  if (found === undefined)
    throw new ClusterError(
      'digest',
      `${placeText(place)}: the CA of this manager is not the one of the token: the token is of another cluster, or another ` +
        'host answers in place of the manager. The secret was not sent. Print the token again on a manager, with "vtep ' +
        'token worker" or "vtep token manager", and check the address',
    );
  return { ca: found.toString(), cluster: clusterOf(found)! };
}

function chainOf(first: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let at: DetailedPeerCertificate | undefined = first;
  while (at?.raw !== undefined && chain.length < CHAIN) {
    chain.push(new X509Certificate(at.raw));
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate;
  }
  return chain;
}

/**
 * Connects to a manager of a cluster.
 * @param identity The node's own key and certificate; absent for a node that joins.
 * @returns a connection whose other end has proved that it is a manager.
 * @throws ClusterError
 */
export async function connectManager(
  place: Place,
  { ca, cluster }: Trust,
  identity: Pick<Identity, 'key' | 'certificate'> | undefined,
  limits: ClientLimits,
): Promise<TLSSocket> {
  const own = identity === undefined ? {} : { key: identity.key, cert: identity.certificate };
  const checkServerIdentity = (_host: string, { raw }: { raw: Buffer }): Error | undefined => {
    const facts = certificateFacts(new X509Certificate(raw));
    if (facts?.cluster !== cluster) return otherCluster(place);
    return facts.role === 'manager' ? undefined : notAManager(place, 'its certificate is that of a worker');
  };
  try {
    return await handshake(place, { ...own, ca, rejectUnauthorized: true, checkServerIdentity }, limits);
  } catch (error) {
    const { code } = error as ClusterError;
    if (code === 'expired' || code === 'clock') throw await withTimes(error as ClusterError, place, limits);
    throw error;
  }
}

/** Adds to an error when the certificate of a manager is valid, and what time it is. */
async function withTimes(error: ClusterError, place: Place, limits: ClientLimits): Promise<ClusterError> {
  let times: string;
  try {
    const socket = await handshake(place, { rejectUnauthorized: false }, limits);
    const { from, until } = validity(socket.getPeerX509Certificate()!);
    socket.destroy();
    times = `it is valid from ${iso(from)} to ${iso(until)}, and the clock of this host says ${iso(Date.now())}`;
  } catch {
    return error;
  }
  const remedy =
    'correct the clock that is wrong ("timedatectl" shows it); if none is, the agent of the manager could not renew its certificate: restart it';
  return new ClusterError(error.code, `${error.message}: ${times}; ${remedy}`, { cause: error.cause });
}

function handshake(place: Place, options: ConnectionOptions, { connect: most }: ClientLimits): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      ...place,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      servername: 'manager.weft', // the certificates name no hosts
      ...options,
    });
    let isReached = false;
    const fail = (error: ClusterError): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(
      () => fail(isReached ? notAManager(place, `it answers no TLS handshake in ${most} ms`) : silent(place, most)),
      most,
    );
    socket.on('connect', () => (isReached = true));
    socket.on('error', (error) => fail(isReached ? tlsTrouble(place, error) : unreachable(place, error)));
    socket.on('close', () => fail(notAManager(place, 'it ends the connection'))); // too late once it has resolved
    socket.on('secureConnect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

/** Milliseconds that a connection to a manager is kept for the next request; the manager keeps it longer. */
const KEPT = 4000;
/** Most requests of a node at a time; further ones wait. */
const AT_ONCE = 8;

/** The connections of a node to managers for requests, of which each is kept for a while. */
export class Requests extends Agent {
  readonly #identity: Identity;
  readonly #limits: ClientLimits;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(identity: Identity, limits: ClientLimits) {
    super({ keepAlive: true, timeout: KEPT });
    this.#identity = identity;
    this.#limits = limits;
  }

  /**
   * Runs a step when its turn comes. `maxSockets` of an agent would not limit connections whose handshake is in progress,
   * and would leave requests without an answer when one fails.
   */
  async inTurn<T>(step: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await step();
    } finally {
      const next = this.#waiting.shift(); // which takes over the place
      if (next === undefined) this.#running--;
      else next();
    }
  }

  override createConnection(
    { host, port }: ClientRequestArgs,
    done?: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    const place = { host: String(host), port: Number(port) };
    connectManager(place, this.#identity, this.#identity, this.#limits).then(
      (socket) => done?.(null, socket),
      (error: Error) => (done as ((error: Error) => void) | undefined)?.(error),
    );
  }
}

/**
 * Sends a request to a manager.
 * @param through A connection, or those from which one is taken.
 * @throws ClusterError if there is no answer, or with the manager's refusal.
 */
export async function respond(
  through: TLSSocket | Requests,
  place: Place,
  route: Route,
  body: object | undefined,
  { answer, size }: ClientLimits,
): Promise<IncomingMessage> {
  const [method, path] = ROUTES[route];
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const call = httpRequest({
    ...(through instanceof Requests ? { agent: through, ...place } : { createConnection: () => through }),
    method,
    path,
    headers: {
      Host: 'manager.weft',
      ...(sent === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(sent) }),
    },
  });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const fail = (error: ClusterError): void => {
      clearTimeout(timer);
      reject(error);
      call.destroy();
    };
    const timer = setTimeout(() => fail(lost(place, `within ${answer} ms`)), answer);
    call.on('response', (received) => {
      clearTimeout(timer);
      resolve(received);
    });
    call.on('error', (error) => {
      if (error instanceof ClusterError) return fail(error); // it has not been sent
      const isOther = codeOf(error).startsWith('HPE_');
      fail(isOther ? unreadable(place, 'it is not HTTP') : lost(place, 'before the connection ended'));
    });
    call.on('upgrade', () => fail(unreadable(place, 'it is not HTTP')));
    call.end(sent);
  });
  if (response.statusCode === 200) return response;
  // The body is read to its end, or the connection is destroyed.
  throw refusalOf(place, await valueOf(response, place, { answer, size }));
}

/** Sends a request, and returns the whole answer. */
export async function ask(
  through: TLSSocket | Requests,
  place: Place,
  route: Route,
  body: object,
  limits: ClientLimits,
): Promise<unknown> {
  try {
    return await valueOf(await respond(through, place, route, body, limits), place, limits);
  } finally {
    if (!(through instanceof Requests)) through.destroy();
  }
}

async function valueOf(
  response: IncomingMessage,
  place: Place,
  { answer, size }: Pick<ClientLimits, 'answer' | 'size'>,
): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => response.destroy(), answer);
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > size) throw unreadable(place, `it has more than ${size} octets`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof ClusterError ? error : lost(place, 'to its end');
  } finally {
    clearTimeout(timer);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw unreadable(place, 'it is not JSON');
  }
}

/** What a manager answers in place of a result. */
function refusalOf(place: Place, body: unknown): ClusterError {
  const { code, message, fields } = ((body as { error?: unknown } | null)?.error ?? {}) as Record<string, unknown>;
  if (typeof code !== 'string' || !/^[a-z-]{1,64}$/.test(code) || typeof message !== 'string')
    return unreadable(place, 'it is not one of a manager');
  const wrong = Array.isArray(fields) ? fields.filter((field): field is string => typeof field === 'string') : [];
  return new ClusterError(code, shown(message), { fields: wrong.map(shown) });
}

const shown = (text: string): string => printable(text.slice(0, SHOWN));

/** The request may have been carried out. */
function lost(place: Place, when: string): ClusterError {
  return new ClusterError(
    'lost',
    `${placeText(place)}: the manager did not answer ${when}; the request may have been carried out: look before you ` +
      'repeat it',
  );
}

/** The other end has proved that it is a manager, and the request may have been carried out. */
export function unreadable(place: Place, why: string): ClusterError {
  return new ClusterError(
    'lost',
    `${placeText(place)}: the answer of the manager cannot be read: ${why}; use one version of this program on all hosts`,
  );
}

function silent(place: Place, most: number): ClusterError {
  return new ClusterError(
    'timeout',
    `${placeText(place)}: no answer in ${most} ms; check the address, the route ("ip route get"), and that firewalls let ` +
      `TCP port ${place.port} pass`,
  );
}

function unreachable(place: Place, error: Error): ClusterError {
  const at = placeText(place);
  switch (codeOf(error)) {
    case 'ECONNREFUSED':
      return new ClusterError(
        'unreachable',
        `${at}: nothing listens there; check address and port (a manager's is ${MANAGER_PORT}), and that the agent of the ` +
          'manager runs',
        { cause: error },
      );
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new ClusterError('unreachable', `${at}: the name ${place.host} has no address; use an address`, {
        cause: error,
      });
    default:
      return new ClusterError(
        'unreachable',
        `${at} cannot be reached (${codeOf(error) || error.message}); check the address, and the route ("ip route get")`,
        { cause: error },
      );
  }
}

function tlsTrouble(place: Place, error: Error): ClusterError {
  if (error instanceof ClusterError) return error;
  const at = placeText(place);
  const code = codeOf(error);
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return new ClusterError('expired', `${at}: the manager's certificate has expired`, { cause: error });
    case 'CERT_NOT_YET_VALID':
      return new ClusterError('clock', `${at}: the manager's certificate is not valid yet`, { cause: error });
    case 'INVALID_PURPOSE':
      return notAManager(place, 'its certificate is that of a worker');
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'CERT_SIGNATURE_FAILURE':
      return otherCluster(place);
    default:
      return notAManager(place, `the TLS handshake fails (${code || error.message})`);
  }
}

function otherCluster(place: Place): ClusterError {
  return new ClusterError(
    'wrong-cluster',
    `${placeText(place)}: the certificate of this host is not one of a manager of this cluster; check the address: the ` +
      'manager may have left, and another cluster may use its address now',
  );
}

function notAManager(place: Place, why: string): ClusterError {
  return new ClusterError(
    'not-a-manager',
    `${placeText(place)} is not a manager of weft: ${why}; check address and port (a manager's is ${MANAGER_PORT})`,
  );
}

const iso = (time: number): string => new Date(time).toISOString().replace(/\.\d+/, '');

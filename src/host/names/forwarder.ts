/**
 * Passes questions on to other name servers. Each question has a socket, a source port and an id of its own, so that an answer
 * of somebody else has to guess both (RFC 5452); the socket is connected, so that a server that is not there says so at once.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP } from 'node:net';
import { setU16 } from '../../wire/index.js';
import { isResponseTo, isTruncated, NOERROR, NXDOMAIN, rcodeOf, withId, type Query } from './message.js';

export interface ForwarderLimits {
  /** Questions that wait for an answer, in all and of one client. Each takes a socket. */
  readonly waiting: number;
  readonly waitingOfOne: number;
  /** Milliseconds: for one server, and for all tries of a question. Clients usually wait for 5 s. */
  readonly perTry: number;
  readonly total: number;
  /** For how long a server that has not answered is asked after the others, in milliseconds. */
  readonly avoided: number;
}

export const FORWARDER_LIMITS: ForwarderLimits = {
  waiting: 256,
  waitingOfOne: 32,
  perTry: 1500,
  total: 4500,
  avoided: 30_000,
};

/** With fewer milliseconds left, no server is asked any more. */
const LEAST = 20;

export interface ForwarderOptions {
  /** The addresses of the name servers, in the order in which they are asked. */
  servers(): Promise<readonly string[]>;
  readonly limits?: Partial<ForwarderLimits>;
  /** The port of the name servers; 53 by default. */
  readonly port?: number;
}

/** What was passed on, and what became of it. */
export interface ForwarderCounts {
  readonly waiting: number;
  readonly asked: number;
  readonly answered: number;
  /** Without an answer of any server. */
  readonly failed: number;
  /** Because too many were waiting. */
  readonly refused: number;
}

export class Forwarder {
  readonly #servers: ForwarderOptions['servers'];
  readonly #limits: ForwarderLimits;
  readonly #port: number;
  readonly #waiting = new Map<string, number>();
  /** Ends the exchanges that are under way. */
  readonly #ends = new Set<() => void>();
  /** Servers that have not answered: until when the others are asked first. */
  readonly #avoided = new Map<string, number>();
  #closed = false;
  readonly #counts = { waiting: 0, asked: 0, answered: 0, failed: 0, refused: 0 };

  constructor({ servers, limits, port = 53 }: ForwarderOptions) {
    this.#servers = servers;
    this.#limits = { ...FORWARDER_LIMITS, ...limits };
    this.#port = port;
  }

  get counts(): ForwarderCounts {
    return { ...this.#counts };
  }

  /**
   * Asks the servers in turn.
   * @param client The address of the client, by which the limits count.
   * @returns the response of the first that has one; `undefined` if there is none, or no room to wait for it.
   */
  async ask(query: Query, client: string): Promise<Uint8Array | undefined> {
    const { waiting, waitingOfOne } = this.#limits;
    const own = this.#waiting.get(client) ?? 0;
    if (this.#closed || this.#counts.waiting >= waiting || own >= waitingOfOne) {
      this.#counts.refused++;
      return undefined;
    }
    this.#counts.waiting++;
    this.#waiting.set(client, own + 1);
    this.#counts.asked++;
    try {
      const answer = await this.#askAll(query);
      this.#counts[answer === undefined ? 'failed' : 'answered']++;
      return answer;
    } finally {
      this.#counts.waiting--;
      const left = this.#waiting.get(client)! - 1;
      if (left > 0) this.#waiting.set(client, left);
      else this.#waiting.delete(client);
    }
  }

  async #askAll(query: Query): Promise<Uint8Array | undefined> {
    const servers = this.#inOrder(await this.#servers());
    const end = performance.now() + this.#limits.total;
    /** The servers that may answer if they are asked again: those that have said nothing. */
    let left = servers;
    let last: Uint8Array | undefined;
    while (left.length > 0) {
      const silent: string[] = [];
      for (const server of left) {
        const time = Math.min(this.#limits.perTry, end - performance.now());
        if (time < LEAST || this.#closed) return last;
        const answer = await this.#askOne(server, query, time);
        if (answer === 'silent') silent.push(server);
        if (typeof answer === 'string') {
          this.#avoided.set(server, performance.now() + this.#limits.avoided);
          continue;
        }
        this.#avoided.delete(server);
        if ([NOERROR, NXDOMAIN].includes(rcodeOf(answer))) return answer;
        last = answer; // another server may know more
      }
      left = silent;
    }
    return last;
  }

  /** First those that have answered, or have not been asked. */
  #inOrder(servers: readonly string[]): string[] {
    const now = performance.now();
    for (const [server, until] of this.#avoided)
      if (until <= now || !servers.includes(server)) this.#avoided.delete(server);
    const isAvoided = (server: string): number => Number(this.#avoided.has(server));
    return [...new Set(servers)].sort((a, b) => isAvoided(a) - isAvoided(b));
  }

  /** @returns `silent` if there is no answer in time, `gone` if there cannot be one. */
  async #askOne(server: string, query: Query, time: number): Promise<Uint8Array | 'silent' | 'gone'> {
    const end = performance.now() + time;
    const bytes = withId(query.bytes, randomInt(0x1_0000));
    const question = { bytes, end: query.end };
    const isAnswer = (message: Uint8Array): boolean => isResponseTo(message, question);
    const answer = await this.#exchange(time, (done) => overUdp(server, this.#port, bytes, isAnswer, done));
    if (typeof answer === 'string' || !isTruncated(answer)) return answer;
    const whole = await this.#exchange(end - performance.now(), (done) =>
      overTcp(server, this.#port, bytes, isAnswer, done),
    );
    return typeof whole === 'string' ? answer : whole;
  }

  /** @param start Starts an exchange, and returns what ends it. */
  #exchange(time: number, start: (done: Done) => () => void): Promise<Outcome> {
    return new Promise((resolve) => {
      let end = (): void => undefined;
      const done = (outcome: Outcome): void => {
        clearTimeout(timer);
        this.#ends.delete(abort);
        end();
        resolve(outcome);
      };
      const abort = (): void => done('gone');
      const timer = setTimeout(() => done('silent'), Math.max(0, time));
      this.#ends.add(abort);
      end = start(done);
    });
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed = true;
    for (const end of [...this.#ends]) end();
  }
}

type Outcome = Uint8Array | 'silent' | 'gone';
type Done = (outcome: Outcome) => void;
type Check = (message: Uint8Array) => boolean;

function overUdp(server: string, port: number, query: Uint8Array, isAnswer: Check, done: Done): () => void {
  const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
  let isOpen = true;
  socket.on('error', () => done('gone')); // an ICMP error, or no route
  socket.on('message', (bytes) => {
    if (isAnswer(bytes)) done(new Uint8Array(bytes));
  });
  socket.on('connect', () => {
    if (isOpen) socket.send(query, (error) => error !== null && done('gone'));
  });
  socket.connect(port, server);
  return () => {
    if (isOpen) socket.close();
    isOpen = false;
  };
}

/** A message over TCP has its length before it (RFC 1035, section 4.2.2). */
function overTcp(server: string, port: number, query: Uint8Array, isAnswer: Check, done: Done): () => void {
  const socket = connect({ host: server, port });
  let received = Buffer.alloc(0);
  socket.on('connect', () => {
    const message = new Uint8Array(2 + query.length);
    setU16(message, 0, query.length);
    message.set(query, 2);
    socket.write(message);
  });
  socket.on('data', (data: Buffer) => {
    received = Buffer.concat([received, data]);
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
    const message = new Uint8Array(received.subarray(2, 2 + received.readUInt16BE(0)));
    done(isAnswer(message) ? message : 'gone');
  });
  socket.on('error', () => done('gone'));
  socket.on('close', () => done('gone'));
  return () => void socket.destroy();
}

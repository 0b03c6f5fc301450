/** Services of this host at the gateways' addresses: their requests, which wait for answers within bounds. */
import { macToText } from '../address/index.js';
import { uint } from '../wire/index.js';
import type { ServiceAnswer, ServiceRequest, Services } from '../router/index.js';
import type { Context } from './context.js';
import { DROP } from './drops.js';
import { FIRST_DROP } from './segment.js';
import type { GatewayDatagram, VtepSink } from './sink.js';

/** Requests that may wait for an answer, unless said otherwise. */
export const MAX_REQUESTS = 256;
/** Milliseconds for which a request waits: DNS clients ask again after five seconds (`RES_TIMEOUT` of the GNU C library). */
const PATIENCE = 10_000;
/** A port may have this part of the free places. Some are left for every other port, however many send too much. */
const SHARE = 4;

interface Waiting {
  readonly request: ServiceRequest;
  /** Milliseconds. */
  readonly since: number;
}

/**
 * The services at all gateways of a VTEP. `serve` opens a port; datagrams to it reach the sink as `request`, and the owner
 * gives each one an answer, or none.
 */
export class GatewayServices implements Services {
  readonly ports = new Set<number>();
  readonly #context: Context;
  readonly #limit: number;
  /** By the number of the request, the oldest first. */
  readonly #waiting = new Map<number, Waiting>();
  /** How many wait, by port. */
  readonly #byPort = new Map<number, number>();
  #next = 0;

  /** @param limit Most requests that wait. */
  constructor(context: Context, limit: number) {
    this.#context = context;
    this.#limit = limit;
  }

  /**
   * Serves a UDP port at the addresses of all gateways, also of those that are added later.
   * @throws RangeError for a number that is no port.
   */
  serve(port: number): void {
    if (uint('port', port, 65_535) === 0) throw new RangeError('port must be from 1 to 65535, not 0');
    this.ports.add(port);
  }

  /** Ends a service. Answers to its requests may still be sent. @returns whether there was one. */
  unserve(port: number): boolean {
    return this.ports.delete(port);
  }

  /** How many requests wait for an answer. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Answers a request, which then waits no more.
   * @param id Its number.
   * @param payload The UDP payload; `null` to send no answer.
   * @returns what became of the answer; `null` if there was none to send.
   */
  answer(id: number, payload: Uint8Array | null, now: number, sink: VtepSink): ServiceAnswer | null {
    const context = this.#context;
    const request = this.#take(id);
    if (payload === null) return null;
    context.begin(now, sink);
    const segment = request === undefined ? undefined : context.segments.get(request.vni);
    const { router = null } = segment ?? {};
    if (router !== null && segment!.hasMember(request!.from)) return router.respond(request!, payload);
    context.counters[FIRST_DROP + DROP['router-gateway-late']]! += 1;
    return 'late';
  }

  /** Gives up the requests that have waited for too long. */
  expire(now: number): void {
    for (const [id, { since }] of this.#waiting) {
      if (now - since < PATIENCE) return;
      this.#take(id);
    }
  }

  /** Gives up the requests of a port. */
  forgetPort(port: number): void {
    if (!this.#byPort.has(port)) return;
    for (const [id, { request }] of this.#waiting) if (request.from === port) this.#take(id);
  }

  #take(id: number): ServiceRequest | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    const { request } = waiting;
    this.#waiting.delete(id);
    const left = this.#byPort.get(request.from)! - 1;
    if (left === 0) this.#byPort.delete(request.from);
    else this.#byPort.set(request.from, left);
    return request;
  }

  // ---- From the routers ----

  admits(from: number, now: number): boolean {
    if (this.#context.sink.request === undefined) return false; // nobody answers
    if ((this.#byPort.get(from) ?? 0) * SHARE >= this.#limit - this.#waiting.size) return false;
    const bucket = this.#context.ports.find(from)?.requests;
    if (bucket === undefined || !bucket.has(now)) return false;
    bucket.take();
    return true;
  }

  take(request: ServiceRequest): void {
    const { sink, now } = this.#context;
    const id = this.#next++;
    this.#waiting.set(id, { request, since: now });
    this.#byPort.set(request.from, (this.#byPort.get(request.from) ?? 0) + 1);
    const { from, mac, ...rest } = request;
    sink.request!({ id, port: from, mac: macToText(mac), ...rest } satisfies GatewayDatagram);
  }
}

/**
 * Services of this host at the gateways' addresses, on the control thread: each request goes to the handler of its port,
 * and the answers of a turn go back together. The data plane bounds how many requests wait.
 */
import { type GatewayDatagram } from '../vtep/index.js';
import { type DataPlane, type GatewayAnswer } from './data-plane.js';
import { HostError } from './error.js';
import { type Logger } from './log.js';

/** A datagram from a station of this host to a service at a gateway. */
export interface GatewayRequest {
  /** The segment of the station. */
  readonly vni: number;
  /** The gateway's address, which may be that of another subnet of the network. */
  readonly gateway: string;
  /** The station's address: in a subnet of its segment, or an IPv6 link-local one. */
  readonly source: string;
  readonly sourcePort: number;
  readonly payload: Uint8Array;
  /** Most bytes of an answer: what the MTU of the segment leaves. A longer one is not sent, but counted. */
  readonly room: number;
}

/**
 * Answers a request: the UDP payload, or `undefined` for no answer. An answer after more than 10 seconds is dropped.
 * A handler that fails gives none, and is reported in the log.
 */
export type GatewayHandler = (request: GatewayRequest) => Promise<Uint8Array | undefined>;

/** More than any segment has room for. So much of a longer answer is enough to refuse and count it. */
const MOST = 0xffff;

export class GatewayServices {
  readonly #engine: Pick<DataPlane, 'serve' | 'answer'>;
  readonly #log: Logger;
  readonly #handlers = new Map<number, GatewayHandler>();
  /** Answers that the next turn of the event loop sends, by thread. */
  readonly #answers = new Map<number, GatewayAnswer[]>();

  constructor(engine: Pick<DataPlane, 'serve' | 'answer'>, log: Logger) {
    this.#engine = engine;
    this.#log = log;
  }

  /**
   * Serves a UDP port at the addresses of all gateways, for the stations of this host.
   * @returns a function that ends the service; it resolves when no request arrives any more.
   * @throws RangeError for a number that is no port; HostError if the port is served already, or the data plane has ended.
   */
  async serve(port: number, handle: GatewayHandler): Promise<() => Promise<void>> {
    if (!Number.isInteger(port) || port < 1 || port > 0xffff)
      throw new RangeError(`port must be an integer from 1 to 65535, not ${port}`);
    if (this.#handlers.has(port))
      throw new HostError(`UDP port ${port} of the gateways is served already; end that service first`);
    this.#handlers.set(port, handle);
    try {
      await this.#engine.serve(port, true);
    } catch (error) {
      this.#handlers.delete(port);
      throw error;
    }
    let ended: Promise<void> | undefined;
    return () => (ended ??= this.#end(port));
  }

  async #end(port: number): Promise<void> {
    // Requests that are under way get no answer from now on.
    const handle = this.#handlers.get(port);
    this.#handlers.set(port, async () => undefined);
    if (handle === undefined) return;
    // It fails if the data plane has ended, and the service with it.
    await this.#engine.serve(port, false).catch(() => undefined);
    this.#handlers.delete(port);
  }

  /** Receives requests of a thread. */
  take(worker: number, requests: readonly GatewayDatagram[]): void {
    for (const request of requests) void this.#handle(worker, request);
  }

  async #handle(worker: number, request: GatewayDatagram): Promise<void> {
    const { id, gatewayPort, vni, gateway, source, sourcePort, payload, room } = request;
    const handle = this.#handlers.get(gatewayPort);
    let answer: Uint8Array | undefined;
    try {
      answer = await handle?.({ vni, gateway, source, sourcePort, payload, room });
      if (answer !== undefined && !(answer instanceof Uint8Array))
        throw new TypeError('its answer is neither bytes nor undefined');
    } catch (error) {
      answer = undefined;
      this.#failed(gatewayPort, error);
    }
    // A service that has ended says nothing more.
    if (this.#handlers.get(gatewayPort) !== handle) answer = undefined;
    // A copy of the answer alone: the bytes may be part of a larger buffer, which another thread would get whole.
    this.#queue(worker, { id, payload: answer === undefined ? null : new Uint8Array(answer.subarray(0, MOST)) });
  }

  #queue(worker: number, answer: GatewayAnswer): void {
    const answers = this.#answers.get(worker);
    if (answers !== undefined) return void answers.push(answer);
    this.#answers.set(worker, [answer]);
    setImmediate(() => {
      const all = this.#answers.get(worker)!;
      this.#answers.delete(worker);
      this.#engine.answer(worker, all);
    });
  }

  #failed(port: number, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `the service at UDP port ${port} of the gateways could not answer a request: ${reason}`;
    this.#log.warning('gateway-service', message, { port, reason }, { key: String(port) });
  }
}

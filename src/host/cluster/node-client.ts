/**
 * A node's connection to its managers: one stream of assignments from one of them, commands, and the renewal of the node's
 * certificate. It never gives up: what runs continues without a manager.
 */
import { JsonParts } from '../json-parts.js';
import { certificateRequest, newKey } from './authority.js';
import { identityOf, renewalTime, type Identity } from './certificate.js';
import { ClusterError } from './error.js';
import {
  ask,
  CLIENT_LIMITS,
  connectManager,
  managerPlace,
  placeText,
  Requests,
  respond,
  type ClientLimits,
  type Place,
} from './manager-connection.js';
import {
  isOutputRequest,
  type Command,
  type LogsBody,
  type OutputBatch,
  type OutputReply,
  type OutputRequest,
  type Route,
  type StreamLine,
} from './protocol.js';
import { type OpenStream } from './remote-output.js';
import { isManagers, type StateFiles } from './state-files.js';

export interface NodeTimes {
  /** Milliseconds until the second attempt to connect; the delay doubles up to `last`. Each is shortened at random. */
  first: number;
  last: number;
  /** Milliseconds without a line, after which a stream is given up. */
  silence: number;
  /** Most milliseconds between two looks at the clock for the renewal, and after one that failed. */
  renewal: number;
}

const TIMES: NodeTimes = { first: 500, last: 30_000, silence: 30_000, renewal: 3_600_000 };

export interface NodeEvents {
  /** What this node has to do, whenever that changes. */
  assignment(assignment: unknown): void;
  /** The manager requests the output of tasks on this node. */
  output?(request: OutputRequest): void;
  /** The stream has begun. */
  connected?(manager: string): void;
  /** There is no stream; the next attempt follows after `delay` milliseconds. */
  disconnected?(error: ClusterError, delay: number): void;
  /** The certificate was renewed, and is in the state directory. */
  renewed?(identity: Identity): void;
  /** The certificate could not be renewed; this is tried again. */
  notRenewed?(error: Error): void;
  /** The list of managers could not be written to the state directory. */
  notKept?(error: Error): void;
}

export interface NodeOptions {
  files: StateFiles;
  identity: Identity;
  /** Where managers are; default: those that the state directory lists. */
  managers?: readonly string[];
  events: NodeEvents;
  limits?: Partial<ClientLimits>;
  times?: Partial<NodeTimes>;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** From 0 to 1. */
  random?: () => number;
}

export class NodeClient {
  readonly #files: StateFiles;
  readonly #events: NodeEvents;
  readonly #limits: ClientLimits;
  readonly #times: NodeTimes;
  readonly #now: () => number;
  readonly #random: () => number;
  #identity: Identity;
  #requests: Requests;
  #managers: readonly Place[];
  /** The manager of the stream, or the one to try next. */
  #current: Place | undefined;
  #stopped = false;
  /** Ends the stream, or the delay before the next attempt. */
  #interrupt: () => void = () => undefined;
  #renewAt: number;
  #renewing: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(options: NodeOptions) {
    const { files, identity, events, managers = files.managers(), now = Date.now, random = Math.random } = options;
    this.#files = files;
    this.#identity = identity;
    this.#events = events;
    this.#limits = { ...CLIENT_LIMITS, ...options.limits };
    this.#requests = new Requests(identity, this.#limits);
    this.#times = { ...TIMES, ...options.times };
    this.#now = now;
    this.#random = random;
    this.#managers = managers.map(managerPlace);
    this.#current = this.#managers[Math.floor(random() * this.#managers.length)];
    this.#renewAt = renewalTime(identity, random());
  }

  get identity(): Identity {
    return this.#identity;
  }

  get managers(): readonly string[] {
    return this.#managers.map(placeText);
  }

  /** Connects, and stays connected until `close`. */
  start(): void {
    this.#running ??= this.#run();
    this.#watchClock(0);
  }

  async close(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#renewing);
    this.#interrupt();
    this.#requests.destroy();
    await this.#running;
  }

  /**
   * Sends a command to a manager, or to the next one if it cannot be reached.
   * @throws ClusterError with the refusal, or with what is wrong with the managers. After `lost`, the command may have been
   * carried out.
   */
  async command(command: Command): Promise<unknown> {
    const answer = (await this.#ask('commands', command)) as { answer?: unknown } | null;
    return answer?.answer;
  }

  /** Sends a batch of output that a manager has requested. @throws ClusterError */
  async output(batch: OutputBatch): Promise<OutputReply> {
    const { taken, more } = ((await this.#ask('output', batch)) ?? {}) as { taken?: unknown; more?: unknown };
    return { taken: taken !== false, more: more === true };
  }

  /**
   * Begins to read the output of tasks on other nodes. The caller closes it.
   * @throws ClusterError with the refusal, or because no manager answers.
   */
  logs(body: LogsBody): Promise<OpenStream> {
    return this.#eachInTurn(async (place) => {
      const socket = await connectManager(place, this.#identity, this.#identity, this.#limits);
      try {
        const response = await respond(socket, place, 'logs', body, this.#limits);
        return { response, manager: placeText(place), close: () => socket.destroy() };
      } catch (error) {
        socket.destroy();
        throw error;
      }
    });
  }

  /** Renews the certificate now. @throws ClusterError, HostError */
  async renew(): Promise<Identity> {
    const key = await newKey();
    const answer = (await this.#ask('renew', { csr: await certificateRequest(key) })) as { certificate?: unknown };
    if (typeof answer?.certificate !== 'string')
      throw new ClusterError('lost', 'the answer to a renewal has no certificate');
    const identity = identityOf(key, answer.certificate, this.#identity.ca);
    const { cluster, node } = this.#identity;
    if (identity.cluster !== cluster || identity.node !== node)
      throw new ClusterError('lost', 'the answer to a renewal has a certificate of another node');
    this.#files.write(identity);
    this.#identity = identity;
    this.#requests = new Requests(identity, this.#limits); // the connections of the old one end when they are idle
    this.#renewAt = renewalTime(identity, this.#random());
    this.#events.renewed?.(identity);
    this.#interrupt(); // the stream of the old certificate would end with it
    return identity;
  }

  /** A timer of Node has at most 25 days, and none counts the time that a host sleeps: look at the clock now and then. */
  #watchClock(delay: number): void {
    clearTimeout(this.#renewing);
    if (this.#stopped) return;
    this.#renewing = setTimeout(() => {
      const left = this.#renewAt - this.#now();
      if (left > 0) return this.#watchClock(Math.min(left, this.#times.renewal));
      void this.renew()
        .catch((error: Error) => this.#events.notRenewed?.(error))
        .then(() => this.#watchClock(Math.min(this.#times.renewal, 1 + Math.max(0, this.#renewAt - this.#now()))));
    }, delay);
    this.#renewing.unref();
  }

  #ask(route: Route, body: object): Promise<unknown> {
    return this.#eachInTurn((place) => {
      const requests = this.#requests;
      return requests.inTurn(() => ask(requests, place, route, body, this.#limits));
    });
  }

  /** Carries out a step with a manager, or with the next one if it cannot be reached. */
  async #eachInTurn<T>(step: (place: Place) => Promise<T>): Promise<T> {
    const troubles: ClusterError[] = [];
    for (const place of this.#inTurn()) {
      try {
        return await step(place);
      } catch (error) {
        // The next one is asked only if this one cannot have carried out the request.
        if (!(error instanceof ClusterError) || !UNREACHED.includes(error.code)) throw error;
        troubles.push(error);
      }
    }
    if (troubles.length === 1) throw troubles[0]!;
    if (troubles.length === 0) throw noManagers();
    throw new ClusterError(troubles[0]!.code, troubles.map(({ message }) => message).join('; '));
  }

  /** The managers, that of the stream first. */
  #inTurn(): Place[] {
    const at = Math.max(0, this.#indexOf(this.#current));
    return [...this.#managers.slice(at), ...this.#managers.slice(0, at)];
  }

  #indexOf(place: Place | undefined): number {
    return this.#managers.findIndex((one) => one.host === place?.host && one.port === place.port);
  }

  async #run(): Promise<void> {
    let delay = this.#times.first;
    while (!this.#stopped) {
      const identity = this.#identity;
      const place = this.#inTurn()[0];
      let error: ClusterError;
      try {
        if (place === undefined) throw noManagers();
        await this.#follow(place, identity, () => {
          delay = this.#times.first;
          this.#events.connected?.(placeText(place));
        });
        continue; // interrupted: by a renewal, or the end
      } catch (thrown) {
        error = thrown instanceof ClusterError ? thrown : defect(thrown);
      }
      if (this.#stopped) return;
      const wait = delay * (0.5 + 0.5 * this.#random());
      delay = Math.min(2 * delay, this.#times.last);
      this.#current = this.#inTurn()[1] ?? place;
      this.#events.disconnected?.(error, wait);
      await this.#pause(wait);
    }
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopped) this.#interrupt();
    });
  }

  /**
   * Follows the stream of a manager.
   * @param begun Called with the first line.
   * @returns when interrupted. @throws ClusterError when the stream ends or is none.
   */
  async #follow(place: Place, identity: Identity, begun: () => void): Promise<void> {
    let isInterrupted = false;
    let end: () => void = () => undefined;
    this.#interrupt = () => {
      isInterrupted = true;
      end();
    };
    let timer: NodeJS.Timeout | undefined;
    try {
      const socket = await connectManager(place, identity, identity, this.#limits);
      end = () => socket.destroy();
      if (isInterrupted || this.#stopped) return end();
      const response = await respond(socket, place, 'assignments', undefined, this.#limits);
      let isSilent = false;
      let hasBegun = false;
      const restart = (): void => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          isSilent = true;
          socket.destroy();
        }, this.#times.silence);
      };
      restart();
      try {
        const { size } = this.#limits;
        const parts = new JsonParts('lines', { ...ENDLESS, entry: size });
        response.setEncoding('utf8');
        for await (const piece of response as AsyncIterable<string>) {
          restart();
          for (const line of parts.push(piece)) {
            if (!hasBegun) begun();
            hasBegun = true;
            this.#line(line as StreamLine, place);
          }
          if (isInterrupted) return;
        }
      } catch (error) {
        if (isInterrupted) return;
        if (error instanceof ClusterError) throw error;
        throw ended(place, isSilent ? `nothing arrived in ${this.#times.silence} ms` : (error as Error).message);
      }
      if (!isInterrupted) throw ended(place, 'the manager has ended it');
    } catch (error) {
      if (!isInterrupted) throw error;
    } finally {
      clearTimeout(timer);
      end();
    }
  }

  #line(line: StreamLine, place: Place): void {
    if (line?.event === 'heartbeat') return;
    if (line?.event === 'logs' && isOutputRequest(line.request)) return this.#events.output?.(line.request);
    if (line?.event !== 'assignment' || !isManagers(line.managers))
      throw ended(place, 'a line is not one of a manager of this version');
    this.#follows(line.managers, place);
    this.#events.assignment(line.assignment);
  }

  /** Takes over a list of managers. */
  #follows(managers: readonly string[], place: Place): void {
    this.#current = place;
    const places = managers.map(managerPlace);
    const texts = places.map(placeText);
    if (places.length === 0 || texts.join() === this.managers.join()) return;
    this.#managers = places;
    try {
      this.#files.writeManagers(texts);
    } catch (error) {
      this.#events.notKept?.(error as Error);
    }
  }
}

/** A request was not carried out. */
const UNREACHED = ['unreachable', 'timeout', 'not-a-manager', 'wrong-cluster', 'expired', 'clock'];

/** Of a stream: only its lines are limited. */
const ENDLESS = { length: Infinity, entries: Infinity, values: Infinity, depth: 64 };

function noManagers(): ClusterError {
  return new ClusterError(
    'unreachable',
    'no manager is known; run "vtep leave" and "vtep join" with the address of one',
  );
}

function ended(place: Place, why: string): ClusterError {
  return new ClusterError('unreachable', `${placeText(place)}: the stream of assignments has ended: ${why}`);
}

function defect(error: unknown): ClusterError {
  return new ClusterError('internal', (error as Error).message, { cause: error });
}

/**
 * The fast engine for Linux, as the control thread sees it. It moves super-frames instead of packets, several per
 * system call, on its own threads.
 *
 * Each worker has its own machine, one queue of every TAP and one socket on the VTEP's port. The kernel keeps a flow on
 * one queue and one socket, so its packets stay in order. A worker sends the addresses that it learns to the others.
 */
import { endianness } from 'node:os';
import { type AssociationChange } from '../../keying/index.js';
import { type Change } from '../../model/index.js';
import { type CaptureRequest, type ListRequest } from '../../schema/index.js';
import { namedCounters, type Counters, type Counts, type Explanation } from '../../vtep/index.js';
import { packChanges } from '../batch.js';
import { Captures } from '../capture.js';
import {
  type Applied,
  type AttachedLink,
  type DataPlane,
  type EngineCounters,
  type EngineFacts,
  type ExplainRequest,
  type GatewayAnswer,
  type KeyingMessage,
  type LinkPlan,
  type PlaneEvents,
  type Settings,
  type RefusedSenderListing,
} from '../data-plane.js';
import { codeOf, HostError } from '../error.js';
import { espBindError } from '../underlay.js';
import { type Query } from '../machine.js';
import { type Page } from '../pages.js';
import { RouteMtus } from '../route-mtus.js';
import { attachedLink, Taps } from '../taps.js';
import { IFF_VNET_HDR, tunFeatures } from '../tun.js';
import { readCounts } from './counts.js';
import { addCounts, gatherCounts, gatherFdb, gatherRemotes } from './gather.js';
import { loadLibc } from './libc.js';
import { type FromLoop, type Setup, type Task, type TaskResults, type ToLoop } from './protocol.js';
import { ENDED, findProgram, LoopThread, type TaskOf, type Told } from './thread.js';

/** Most changes in a message. A thread handles a message as a whole before the next one. */
const BATCH = 4096;

export class LinuxEngine implements DataPlane {
  readonly name = 'linux';
  #threads: LoopThread[] = [];
  #taps!: Taps;
  #settings!: Settings;
  #captures!: Captures;
  #events!: PlaneEvents;
  #routes!: RouteMtus;
  #running = false;
  #failed = false;
  /** Whether the workers read the underlay. */
  #receives = false;
  #stopping: Promise<void> | undefined;
  /** Settles when the port of ESP is open; absent if no segment is encrypted. */
  #secured: Promise<void> | undefined;
  /** Settles when the other workers have received everything that the first one has answered so far. */
  #passedOn: Promise<unknown> = Promise.resolve();
  readonly #onExit = (): void => this.#tellAll({ type: 'stop' });

  async start(settings: Settings, events: PlaneEvents): Promise<EngineFacts> {
    const { local, workers } = settings;
    this.#events = events;
    this.#settings = settings;
    this.#taps = new Taps(IFF_VNET_HDR, workers);
    this.#routes = new RouteMtus(local, (mtus) => this.#tellAll({ type: 'routes', mtus }));
    const nameOf = (port: number): string => this.#taps.nameOf(port);
    this.#captures = new Captures({ local, workers, nameOf }, (worker, message) =>
      this.#threads[worker]!.post({ type: 'recorder', message }),
    );
    const libc = await loadLibc();
    this.#threads = Array.from(
      { length: workers },
      (_, worker) =>
        new LoopThread(
          { receive: (message) => this.#receive(worker, message), failed: (reason) => this.#fail(reason) },
          libc,
        ),
    );
    const facts = await this.#startAll(settings);
    this.#running = true;
    process.on('exit', this.#onExit);
    return facts;
  }

  /** The first thread creates the sockets of all threads. */
  async #startAll(settings: Settings): Promise<EngineFacts> {
    const [leader, ...rest] = this.#threads;
    const { facts, sockets } = await leader!.start({ settings, worker: 0 });
    const starts = rest.map((thread, i) =>
      thread.start({ settings, worker: i + 1, sockets: sockets[i + 1]! } as Omit<Setup, 'counts'>),
    );
    const failure = (await Promise.allSettled(starts)).find((outcome) => outcome.status === 'rejected');
    if (failure === undefined) return facts;
    await this.#stopThreads();
    throw failure.reason;
  }

  #receive(worker: number, message: Extract<FromLoop, { type: Told }>): void {
    switch (message.type) {
      case 'records':
        return this.#captures.take(worker, message.records);
      case 'report':
        return this.#events.report?.(message.report);
      case 'requests':
        return this.#events.requests?.(worker, message.requests);
      case 'keying':
        return this.#events.keying?.(message.events);
      case 'look-up':
        return this.#routes.look(message.addresses);
      case 'lost':
        return void this.#lose(message.port, message.reason);
      default:
        this.#tellAll(message, worker);
    }
  }

  /** Every worker reports a lost TAP. The files are closed at once: they may keep the namespace of a removed container. */
  async #lose(port: number, reason: string): Promise<void> {
    if (!this.#taps.has(port)) return;
    await this.detach([port]).catch(() => undefined); // the engine has ended meanwhile
    this.#events.linkLost(port, reason);
  }

  #fail(reason: string): void {
    this.#captures.stop();
    if (!this.#failed) this.#events.failed(reason);
    this.#failed = true;
  }

  // ---- Changes ----

  async apply(changes: readonly Change[]): Promise<Applied> {
    this.#requireRunning();
    const parts: Promise<Applied>[] = [];
    for (let at = 0; at < changes.length; at += BATCH) parts.push(this.#applyPart(changes.slice(at, at + BATCH), at));
    const applied = await Promise.all(parts);
    return {
      rejected: applied.flatMap(({ rejected }) => rejected),
      unchanged: applied.flatMap(({ unchanged }) => unchanged),
    };
  }

  /** @param first Place of its first change in the batch. */
  async #applyPart(changes: readonly Change[], first: number): Promise<Applied> {
    const text = packChanges(changes);
    const { rejected, unchanged } = await this.#inOrder<'apply'>(
      { type: 'apply', changes: text, first: true },
      (result) => {
        const not = new Set(result.rejected.map(({ index }) => index));
        const accepted = not.size === 0 ? text : packChanges(changes.filter((_, i) => !not.has(i)));
        return () => ({ type: 'apply', changes: accepted, first: false });
      },
    );
    return {
      rejected: rejected.map(({ index, reason }) => ({ index: first + index, reason })),
      unchanged: unchanged.map((index) => first + index),
    };
  }

  async attach(links: readonly LinkPlan[]): Promise<AttachedLink[]> {
    this.#requireRunning();
    const opened = await this.#taps.open(links);
    const attached: AttachedLink[] = [];
    const ports: number[] = [];
    try {
      for (const [i, tap] of opened.entries()) {
        const { device, path: _path, ...plan } = links[i]!;
        const task = (worker: number): TaskOf<'attach'> => ({
          ...{ type: 'attach', plan },
          files: { queue: tap.queues[worker]!, writer: tap.writer, vnet: !('fd' in device) },
        });
        const port = await this.#inOrder<'attach'>(task(0), (given) => {
          this.#taps.add(given, links[i]!, tap);
          ports.push(given);
          return (worker) => ({ ...task(worker), port: given });
        });
        attached.push(attachedLink(port, tap));
      }
      if (!this.#receives) this.#tellAll({ type: 'receive' });
      this.#receives = true;
      return attached;
    } catch (error) {
      // Also the port that only some of the workers could attach.
      await this.detach(ports).catch(() => undefined);
      await this.#taps.close(opened.slice(ports.length));
      throw error;
    }
  }

  async detach(ports: readonly number[]): Promise<void> {
    // All workers use the files until they have detached the ports.
    const known = ports.flatMap((port) => this.#taps.take(port) ?? []);
    const tasks = known.map(({ port }) =>
      this.#inOrder<'detach'>({ type: 'detach', port }, () => () => ({ type: 'detach', port })),
    );
    const outcomes = await Promise.allSettled(tasks);
    await this.#taps.close(known.map(({ files }) => files));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  keep(ports: readonly number[], on: boolean): Promise<void> {
    return this.#taps.keep(ports, on);
  }

  /**
   * Gives a task to the first worker, and after its answer one to each of the others, in the order of the calls.
   * @param others Makes the tasks of the other workers from the first one's answer.
   */
  async #inOrder<T extends Task['type']>(
    first: TaskOf<T>,
    others: (result: TaskResults[T]) => (worker: number) => TaskOf<T>,
  ): Promise<TaskResults[T]> {
    const [leader, ...rest] = this.#threads;
    const answer = leader!.do<T>(first);
    const passing = this.#passedOn
      .then(() => answer)
      .then((result) => {
        const taskOf = others(result);
        return rest.map((thread, i) => thread.do<T>(taskOf(i + 1)));
      });
    this.#passedOn = passing.catch(() => undefined);
    await Promise.all(await passing);
    return answer;
  }

  // ---- Encrypted segments ----

  secure(): Promise<void> {
    this.#requireRunning();
    this.#secured ??= this.#inOrder<'secure'>({ type: 'secure' }, (fds) => (worker) => ({
      type: 'secure',
      fd: fds[worker]!,
    }))
      .then(() => undefined)
      .catch((error: unknown) => {
        this.#secured = undefined;
        throw codeOf(error) === '' ? error : espBindError(error as Error, this.#settings);
      });
    return this.#secured;
  }

  async associate(changes: readonly AssociationChange[]): Promise<void> {
    this.#requireRunning();
    await this.#inOrder<'associate'>({ type: 'associate', changes }, () => () => ({ type: 'associate', changes }));
  }

  sendKeying(messages: readonly KeyingMessage[]): void {
    if (this.#running && !this.#failed) this.#threads[0]!.post({ type: 'keying', messages });
  }

  // ---- Requests ----

  async *list(request: ListRequest): AsyncGenerator<Page> {
    this.#requireRunning();
    const [first, ...others] = this.#threads;
    if (others.length > 0 && request.command === 'fdb') yield* gatherFdb(this.#threads, request);
    else if (others.length > 0 && request.command === 'remotes') yield* gatherRemotes(this.#threads, request);
    else yield* first!.pages(request);
  }

  async explain(request: ExplainRequest): Promise<Explanation> {
    this.#requireRunning();
    return (await this.#threads[0]!.ask(request)) as Explanation;
  }

  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page> {
    this.#requireRunning();
    return this.#captures.open(request, gone);
  }

  async refusedSenders(): Promise<RefusedSenderListing[]> {
    return ((await this.#askAll({ command: 'refused-senders' })) as RefusedSenderListing[][]).flat();
  }

  async machineCounters(): Promise<Counters> {
    return namedCounters(gatherCounts((await this.#askAll({ command: 'counts' })) as Counts[]));
  }

  async serve(port: number, on: boolean): Promise<void> {
    await this.#askAll({ command: 'serve', port, on });
  }

  answer(worker: number, answers: readonly GatewayAnswer[]): void {
    this.#threads[worker]?.post({ type: 'answers', answers });
  }

  counters(): EngineCounters {
    return readCounts(addCounts(this.#threads.map(({ counts }) => counts)));
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#captures.stop();
    this.#routes.close();
    await (this.#stopping ??= this.#stopThreads());
    this.#running = false;
    process.off('exit', this.#onExit);
    await this.#taps.closeAll();
  }

  /** The first thread closes the sockets that all threads use, so it ends last. */
  async #stopThreads(): Promise<void> {
    const [first, ...others] = this.#threads;
    await Promise.all(others.map((thread) => thread.stop()));
    await first!.stop();
  }

  #askAll(request: Query): Promise<unknown[]> {
    this.#requireRunning();
    return Promise.all(this.#threads.map((thread) => thread.ask(request)));
  }

  #tellAll(message: ToLoop, except = -1): void {
    this.#threads.forEach((thread, i) => {
      if (i !== except) thread.post(message);
    });
  }

  #requireRunning(): void {
    if (!this.#running) throw new HostError(ENDED);
  }
}

/** 64-bit little-endian architectures for which koffi ships binaries. */
const MACHINES = ['x64', 'arm64', 'riscv64', 'loong64'];

/**
 * Checks that the engine runs on this host.
 * @param taps Whether the engine creates TAPs; TAPs passed as file descriptors require fewer kernel features.
 * @throws HostError that names what is missing.
 */
export async function requireLinux(taps: boolean): Promise<void> {
  if (process.platform !== 'linux') throw new HostError(`engine "linux" runs on Linux and not on ${process.platform}`);
  if (!MACHINES.includes(process.arch) || endianness() !== 'LE')
    throw new HostError(`engine "linux" runs on ${MACHINES.join(', ')} and not on ${process.arch}`);
  await loadLibc();
  findProgram();
  if (taps && ((await tunFeatures()) & IFF_VNET_HDR) === 0)
    throw new HostError('engine "linux" needs a kernel with IFF_VNET_HDR, which this kernel does not have');
}

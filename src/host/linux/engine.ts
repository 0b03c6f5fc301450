/**
 * The fast engine for Linux, as the control thread sees it. It moves super-frames instead of packets, several per
 * system call, on its own threads.
 *
 * Each worker has its own machine, one queue of every TAP and one socket on the VTEP's port. The kernel keeps a flow on
 * one queue and one socket, so its packets stay in order. A worker sends the addresses that it learns to the others.
 */
import { endianness } from 'node:os';
import { type CaptureRequest, type ListRequest, type Plan } from '../../schema/index.js';
import { namedCounters, type Counters, type Counts } from '../../vtep/index.js';
import { Captures } from '../capture.js';
import { type Engine, type EngineCounters, type EngineEvents, type EngineFacts } from '../engine.js';
import { HostError } from '../error.js';
import { type InternalRequest, type MachineRequest } from '../machine.js';
import { type Page } from '../pages.js';
import { IFF_VNET_HDR, tunFeatures, type TapFiles } from '../tun.js';
import { readCounts } from './counts.js';
import { addCounts, gatherCounts, gatherFdb, gatherRemotes } from './gather.js';
import { loadLibc } from './libc.js';
import { type Setup, type ToLoop } from './protocol.js';
import { closeFiles, ENDED, findProgram, LoopThread, type ThreadEvents } from './thread.js';

export class LinuxEngine implements Engine {
  readonly name = 'linux';
  readonly tapFlags = IFF_VNET_HDR;
  #threads: LoopThread[] = [];
  #captures!: Captures;
  #running = false;
  #stopping: Promise<void> | undefined;
  readonly #onExit = (): void => this.#tellAll({ type: 'stop' });

  async start(plan: Plan, taps: readonly TapFiles[], events: EngineEvents): Promise<EngineFacts> {
    this.#captures = new Captures(plan, (worker, message) =>
      this.#threads[worker]!.post({ type: 'recorder', message }),
    );
    const lost = new Set<number>();
    let failed = false;
    const eventsOf = (worker: number): ThreadEvents => ({
      receive: (message) => {
        if (message.type === 'records') this.#captures.take(worker, message.records);
        else if (message.type === 'report') events.report?.(message.report);
        else if (message.type !== 'lost') this.#tellAll(message, worker);
        else if (!lost.has(message.port)) {
          lost.add(message.port); // every worker reports it
          events.tapLost(message.port, message.reason);
        }
      },
      failed: (reason) => {
        this.#captures.stop();
        if (!failed) events.failed(reason);
        failed = true;
      },
    });
    const setups = Array.from({ length: plan.workers }, (_, i) => ({
      plan,
      taps: taps.map(({ queues }) => queues[i]!),
      writers: taps.map(({ writer }) => writer),
    }));
    const libc = await loadLibc();
    this.#threads = setups.map((_, i) => new LoopThread(eventsOf(i), libc));
    const facts = await this.#startAll(setups);
    this.#running = true;
    process.on('exit', this.#onExit);
    return facts;
  }

  /** The first thread creates the sockets of all threads. */
  async #startAll([first, ...others]: readonly Omit<Setup, 'counts'>[]): Promise<EngineFacts> {
    const [leader, ...rest] = this.#threads;
    const waiting = { sockets: { receiver: -1, senders: [], sourcePorts: [] } };
    const { facts, sockets } = await leader!.start(first!).catch((error: unknown) => {
      for (const setup of others) closeFiles({ ...setup, ...waiting });
      throw error;
    });
    const outcomes = await Promise.allSettled(
      rest.map((thread, i) => thread.start({ ...others[i]!, sockets: sockets[i + 1]! })),
    );
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure === undefined) return facts;
    await this.#stopThreads();
    throw failure.reason;
  }

  async ask(request: MachineRequest): Promise<unknown> {
    if (!this.#running) throw new HostError(ENDED);
    if (request.command === 'explain') return this.#threads[0]!.ask(request);
    if (request.command === 'refused-senders') return (await this.#askAll(request)).flat();
    return (await this.#askAll(request))[0]; // a change: every machine has made it
  }

  async *list(request: ListRequest): AsyncGenerator<Page> {
    if (!this.#running) throw new HostError(ENDED);
    const [first, ...others] = this.#threads;
    if (others.length > 0 && request.command === 'fdb') yield* gatherFdb(this.#threads, request);
    else if (others.length > 0 && request.command === 'remotes') yield* gatherRemotes(this.#threads, request);
    else yield* first!.pages(request);
  }

  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page> {
    if (!this.#running) throw new HostError(ENDED);
    return this.#captures.open(request, gone);
  }

  async machineCounters(): Promise<Counters> {
    if (!this.#running) throw new HostError(ENDED);
    return namedCounters(gatherCounts((await this.#askAll({ command: 'counts' })) as Counts[]));
  }

  counters(): EngineCounters {
    return readCounts(addCounts(this.#threads.map(({ counts }) => counts)));
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#captures.stop();
    await (this.#stopping ??= this.#stopThreads());
    this.#running = false;
    process.off('exit', this.#onExit);
  }

  /** The first thread closes the sockets that all threads use, so it ends last. */
  async #stopThreads(): Promise<void> {
    const [first, ...others] = this.#threads;
    await Promise.all(others.map((thread) => thread.stop()));
    await first!.stop();
  }

  #askAll(request: MachineRequest | InternalRequest): Promise<unknown[]> {
    return Promise.all(this.#threads.map((thread) => thread.ask(request)));
  }

  #tellAll(message: ToLoop, except = -1): void {
    this.#threads.forEach((thread, i) => {
      if (i !== except) thread.post(message);
    });
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

/**
 * The fast engine for Linux: super-frames instead of packets, many a system call, on a thread of its own. This is the
 * control thread's side of it.
 */
import { closeSync, existsSync, writeSync } from 'node:fs';
import { MessageChannel, Worker, type MessagePort, type WorkerOptions } from 'node:worker_threads';
import { SchemaError, type Plan, type Problem } from '../../schema/index.js';
import { Captures } from '../capture.js';
import { type Engine, type EngineCounters, type EngineEvents, type EngineFacts } from '../engine.js';
import { HostError } from '../error.js';
import { type MachineRequest } from '../machine.js';
import { IFF_VNET_HDR } from '../tun.js';
import { bindError } from '../underlay.js';
import { newCounts, readCounts } from './counts.js';
import { type FromLoop, type Setup, type ToLoop } from './protocol.js';

/** Where the thread's program may be, from where this one is: a source, or a piece of a bundle. */
const PROGRAMS = ['./worker.ts', './linux-worker.js', './host/linux-worker.js', '../host/linux-worker.js'];
/** Megabytes of JavaScript's heap for what is new; the loop makes next to nothing. */
const YOUNG = 4;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export class LinuxEngine implements Engine {
  readonly name = 'linux';
  readonly tapFlags = IFF_VNET_HDR;
  readonly #counts = newCounts();
  readonly #pending = new Map<number, Pending>();
  #captures!: Captures;
  #worker: Worker | undefined;
  #port: MessagePort | undefined;
  #wake = -1;
  #next = 0;
  #running = false;
  #stopped!: () => void;
  readonly #onExit = (): void => this.#tell({ type: 'stop' });

  async start(plan: Plan, taps: readonly number[], events: EngineEvents): Promise<EngineFacts> {
    this.#captures = new Captures((packets) => this.#tell({ type: 'capture', packets }));
    const setup: Setup = { plan, taps, counts: this.#counts };
    const { port1, port2 } = new MessageChannel();
    const program = findProgram();
    this.#worker = startThread(program, {
      name: 'vtep',
      workerData: { setup, port: port2 },
      transferList: [port2],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG },
      execArgv: [],
    });
    this.#port = port1;
    return new Promise<EngineFacts>((resolve, reject) => {
      this.#worker!.on('error', (error) => {
        if (!this.#running)
          return reject(new HostError(`engine "linux" does not start: ${error.message}`, { cause: error }));
        this.#end();
        for (const port of taps.keys()) events.tapLost(port, `the thread that reads it has failed: ${error.message}`);
      });
      port1.on('message', (message: FromLoop) => {
        switch (message.type) {
          case 'started':
            this.#wake = message.wake;
            this.#running = true;
            process.on('exit', this.#onExit);
            return resolve(message.facts);
          case 'failed': {
            const { code, message: text } = message;
            this.#close();
            for (const fd of taps) closeQuietly(fd);
            const cause = Object.assign(new Error(text), code === undefined ? {} : { code });
            return reject(code === undefined ? new HostError(text) : bindError(cause, plan.local, plan.port));
          }
          case 'lost':
            return events.tapLost(message.port, message.reason);
          case 'captured':
            return this.#captures.add(message.packet);
          case 'answer':
            return this.#settle(message.id)?.resolve(message.result);
          case 'refusal': {
            const { problems, message: text } = message;
            const error = problems === undefined ? new RangeError(text) : new SchemaError(problems as Problem[]);
            return this.#settle(message.id)?.reject(error);
          }
          case 'stopped':
            return this.#end();
        }
      });
    });
  }

  async ask(request: MachineRequest): Promise<unknown> {
    if (request.command === 'capture') return this.#captures.collect(request.count, request.seconds);
    if (this.#port === undefined) throw new HostError('the engine has ended');
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#pending.set(id, { resolve, reject });
      this.#port!.ref();
      this.#tell({ type: 'ask', id, request });
    });
  }

  counters(): EngineCounters {
    return readCounts(this.#counts);
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#captures.stop();
    await new Promise<void>((resolve) => {
      this.#stopped = resolve;
      this.#tell({ type: 'stop' });
    });
  }

  /** A message to the loop, which may be asleep. */
  #tell(message: ToLoop): void {
    this.#port?.postMessage(message);
    if (this.#wake >= 0) writeSync(this.#wake, ONE);
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (!this.#running && this.#pending.size === 0) this.#port?.unref();
    return pending;
  }

  /** The loop has ended; the thread lives on, and answers, until the process ends. */
  #end(): void {
    this.#running = false;
    process.off('exit', this.#onExit);
    if (this.#wake >= 0) closeSync(this.#wake);
    this.#wake = -1;
    this.#worker?.unref();
    this.#port?.unref();
    this.#stopped?.();
  }

  #close(): void {
    this.#port?.close();
    this.#port = undefined;
  }
}

/** What an eventfd takes: a number of 64 bits. */
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** @throws HostError in a bundle that left the thread's program out. */
function findProgram(): URL {
  const found = PROGRAMS.map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  if (found === undefined)
    throw new HostError(
      'engine "linux" does not find its thread’s program (linux-worker.js); install weft again, or use --engine dgram',
    );
  return found;
}

/** Starts a program on a thread; one in TypeScript, as in the sources' own tests, through tsx, which threads do not inherit. */
function startThread(program: URL, options: WorkerOptions): Worker {
  if (!program.pathname.endsWith('.ts')) return new Worker(program, options);
  const tsx = import.meta.resolve('tsx/esm/api');
  const bootstrap = `import(${JSON.stringify(tsx)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(program.href)});
  });`;
  return new Worker(bootstrap, { ...options, eval: true });
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // the loop had closed it
  }
}

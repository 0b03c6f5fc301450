/** One thread that moves frames, as the control thread sees it. */
import { existsSync } from 'node:fs';
import {
  MessageChannel,
  receiveMessageOnPort,
  Worker,
  type MessagePort,
  type WorkerOptions,
} from 'node:worker_threads';
import { SchemaError, type ListRequest, type Problem } from '../../schema/index.js';
import { type FdbListing } from '../../vtep/index.js';
import { HostError } from '../error.js';
import { type Query } from '../machine.js';
import { type Page } from '../pages.js';
import { bindError } from '../underlay.js';
import { newCounts } from './counts.js';
import { type Libc } from './libc.js';
import { type FromLoop, type Setup, type Started, type Task, type TaskResults, type ToLoop } from './protocol.js';

/** Paths of the thread's program relative to this file, in the sources and in the bundle. */
const PROGRAMS = ['./worker.ts', './linux-worker.js', './host/linux-worker.js', '../host/linux-worker.js'];
/** MiB of JavaScript heap for new objects; the loop allocates almost nothing. */
const YOUNG = 4;
/** The error for requests after the engine has ended. */
export const ENDED = 'the engine has ended';
/** The value written to an eventfd: a 64-bit integer. */
const ONE = new BigUint64Array([1n]).buffer;

/** Milliseconds between two pages of listings; a page takes at most half as long. */
const PAUSE = 1;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** A task without the number of its message. */
export type TaskOf<T extends Task['type']> = Omit<Extract<Task, { type: T }>, 'id'>;

/** The messages of a thread that are no answers. */
export type Told =
  | 'records'
  | 'requests'
  | 'lost'
  | 'learned'
  | 'path'
  | 'probe-answer'
  | 'probe-refused'
  | 'look-up'
  | 'report'
  | 'keying';

export interface ThreadEvents {
  /** Receives a message that is not an answer. */
  receive(message: Extract<FromLoop, { type: Told }>): void;
  /** The thread ended without a request to stop. */
  failed(reason: string): void;
}

export class LoopThread {
  readonly counts = newCounts();
  readonly #events: ThreadEvents;
  readonly #libc: Libc;
  readonly #pending = new Map<number, Pending>();
  #port: MessagePort | undefined;
  #wake = -1;
  #next = 0;
  #nextListing = 0;
  /** Settles when the next page may be requested. */
  #pause: Promise<unknown> = Promise.resolve();
  #running = false;
  #stopping: Promise<void> | undefined;
  #stopped: (() => void) | undefined;

  /** @param libc Writes to the thread's eventfd: Deno's file functions take only descriptors that Deno opened. */
  constructor(events: ThreadEvents, libc: Libc) {
    this.#events = events;
    this.#libc = libc;
  }

  /**
   * Starts the thread, which runs until `stop`. It owns its sockets from then on, even if it fails to start.
   * @throws HostError if the thread does not start.
   */
  start(setup: Omit<Setup, 'counts'>): Promise<Started> {
    const { port1, port2 } = new MessageChannel();
    const { settings } = setup;
    const worker = startThread(findProgram(), {
      name: 'vtep',
      workerData: { setup: { ...setup, counts: this.counts } satisfies Setup, port: port2 },
      transferList: [port2],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG },
      execArgv: [],
    });
    this.#port = port1;
    return new Promise((resolve, reject) => {
      let failure: Error | undefined;
      const receive = (message: FromLoop): void => {
        switch (message.type) {
          case 'started':
            this.#wake = message.wake;
            this.#running = true;
            return resolve(message);
          case 'failed': {
            const { code, message: text } = message;
            const cause = Object.assign(new Error(text), code === undefined ? {} : { code });
            failure = code === undefined ? new HostError(text) : bindError(cause, settings.local, settings.port);
            return;
          }
          case 'answer':
            return this.#settle(message.id)?.resolve(message.result);
          case 'refusal': {
            const { problems, code, message: text } = message;
            const error = problems === undefined ? new RangeError(text) : new SchemaError(problems as Problem[]);
            return this.#settle(message.id)?.reject(code === undefined ? error : Object.assign(error, { code }));
          }
          default:
            return this.#events.receive(message);
        }
      };
      port1.on('message', receive);
      worker.on('error', (error) => (failure = error));
      worker.on('exit', () => {
        // The thread's last messages may not have been delivered yet.
        for (let got = receiveMessageOnPort(port1); got !== undefined; got = receiveMessageOnPort(port1))
          receive(got.message as FromLoop);
        const { message } = failure ?? new Error('its thread ended unexpectedly');
        const [started, stopping] = [this.#running, this.#stopped !== undefined];
        this.#end();
        if (!started)
          reject(failure instanceof HostError ? failure : new HostError(`engine "linux" cannot start: ${message}`));
        else if (!stopping) this.#events.failed(`the thread that moves the frames has failed: ${message}`);
      });
    });
  }

  /** The pages of a listing. The thread makes each one on request. */
  async *pages(of: ListRequest): AsyncGenerator<Page> {
    const listing = this.#nextListing++;
    let page: Page = { result: [] };
    try {
      for (let first = true; page.last !== true; first = false) {
        page = (await this.#paced({ command: 'page', listing, ...(first ? { of } : {}) })) as Page;
        yield page;
      }
    } finally {
      if (page.last !== true) this.ask({ command: 'close', listing }).catch(() => undefined); // the listing may have ended
    }
  }

  /** Looks up these addresses in the FDB; `null` for each that is not there. */
  find(entries: readonly { vni: number; mac: string }[]): Promise<(FdbListing | null)[]> {
    return this.#paced({ command: 'find', entries }) as Promise<(FdbListing | null)[]>;
  }

  /** Requests one page at a time across all callers, with pauses in which the thread moves frames. */
  #paced(request: Query): Promise<unknown> {
    const answer = this.#pause.then(() => this.ask(request));
    this.#pause = answer.then(pause, pause);
    return answer;
  }

  ask(request: Query): Promise<unknown> {
    return this.#send((id) => ({ type: 'ask', id, request }));
  }

  /** Makes the thread's machine change. The messages of a thread are handled in order, a whole batch before the next. */
  do<T extends Task['type']>(task: TaskOf<T>): Promise<TaskResults[T]> {
    return this.#send((id) => ({ ...task, id }) as unknown as Task) as Promise<TaskResults[T]>;
  }

  #send(message: (id: number) => ToLoop): Promise<unknown> {
    if (this.#port === undefined) return Promise.reject(new HostError(ENDED));
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#pending.set(id, { resolve, reject });
      this.post(message(id));
    });
  }

  /** Sends a message to the loop and wakes it. */
  post(message: ToLoop): void {
    this.#port?.postMessage(message);
    if (this.#wake >= 0) this.#libc.write(this.#wake, this.#libc.address(ONE), ONE.byteLength);
  }

  /** Stops the thread if it runs. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#stopping ??= new Promise<void>((resolve) => {
      this.#stopped = resolve;
      this.post({ type: 'stop' });
    });
    await this.#stopping;
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  /** Cleans up after the thread has ended. */
  #end(): void {
    this.#running = false;
    if (this.#wake >= 0) this.#libc.close(this.#wake);
    this.#wake = -1;
    this.#port?.close();
    this.#port = undefined;
    for (const { reject } of this.#pending.values()) reject(new HostError(ENDED));
    this.#pending.clear();
    this.#stopped?.();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE));
}

/** @throws HostError if the bundle does not contain the thread's program. */
export function findProgram(): URL {
  const found = PROGRAMS.map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  if (found === undefined)
    throw new HostError('engine "linux" cannot find linux-worker.js, the program of its threads; reinstall weftnet');
  return found;
}

/** Starts a program on a thread. TypeScript sources run through tsx, which threads do not inherit from the process. */
function startThread(program: URL, options: WorkerOptions): Worker {
  if (!program.pathname.endsWith('.ts')) return new Worker(program, options);
  const tsx = import.meta.resolve('tsx/esm/api');
  const bootstrap = `import(${JSON.stringify(tsx)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(program.href)});
  });`;
  return new Worker(bootstrap, { ...options, eval: true });
}

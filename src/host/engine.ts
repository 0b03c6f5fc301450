/**
 * What moves frames between TAPs and the underlay. An engine builds the machine of a plan and runs it where it likes,
 * on this thread or another, which is why `ask` answers later.
 */
import { type CaptureRequest, type EngineName, type ListRequest, type Plan } from '../schema/index.js';
import { type Counters } from '../vtep/index.js';
import { DgramEngine } from './dgram.js';
import { HostError } from './error.js';
import { LinuxEngine, requireLinux } from './linux/engine.js';
import { requireAddressSpace } from './linux/limits.js';
import { type EngineReport } from './troubles.js';
import { type TapFiles } from './tun.js';
import { type MachineRequest } from './machine.js';
import { type Page } from './pages.js';

/** What an engine counts beside its machine. */
export interface EngineCounters {
  framesRead: number;
  framesWritten: number;
  datagramsReceived: number;
  datagramsSent: number;
  /** Bytes of datagrams that could not be sent at once, now. */
  sendQueue: number;
  /** Frames that a TAP did not take, by the system's code: `EIO` while the device is down. */
  writeErrors: Record<string, number>;
  /** Datagrams that the underlay did not take, by the system's code: `ENETUNREACH`, `EMSGSIZE`, …; `QUEUE` where too many waited. */
  sendErrors: Record<string, number>;
  receiveErrors: Record<string, number>;
  /** Super-frames read from and written to TAPs, each of many frames, where the engine knows such. */
  superFramesRead?: number;
  superFramesWritten?: number;
  /** System calls by what they do, where the engine makes them itself. */
  readCalls?: number;
  writeCalls?: number;
  sendCalls?: number;
  receiveCalls?: number;
  pollCalls?: number;
}

export interface EngineEvents {
  /** A TAP cannot be read any more; the others go on. `port` is its place in the plan. */
  tapLost(port: number, reason: string): void;
  /** Nothing is moved any more. */
  failed(reason: string): void;
  /** Something that the log may tell of. Each kind comes about once a second at most for one address. */
  report?(report: EngineReport): void;
}

/** Facts of a running engine, for the lines that the program prints. */
export interface EngineFacts {
  /** The receive buffer that the system granted, in bytes. */
  receiveBuffer: number;
  /** UDP ports that datagrams leave from. */
  sourcePorts: number[];
}

export interface Engine {
  readonly name: string;
  /** Flags that its TAPs are to be opened with, beside `IFF_TAP | IFF_NO_PI`. */
  readonly tapFlags: number;
  /**
   * Binds the underlay's socket and starts to move frames. The TAPs' file descriptors, in the order of the plan's TAPs and
   * with a queue for each of its workers, are the engine's from then on, even where it fails.
   * @throws HostError where the address or the port is not to be had.
   */
  start(plan: Plan, taps: readonly TapFiles[], events: EngineEvents): Promise<EngineFacts>;
  /** @throws SchemaError or RangeError that names what is wrong with the request; HostError where the engine has ended. */
  ask(request: MachineRequest): Promise<unknown>;
  /**
   * A listing, in pages that do not keep the frames waiting. Errors come with the first page, as those of `ask`.
   */
  list(request: ListRequest): AsyncIterable<Page>;
  /**
   * Packets as they pass, in pages. The first page comes when packets are recorded, and one at least each second.
   * @throws HostError where too many captures run.
   */
  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page>;
  /** What the machine counts. @throws HostError where the engine has ended. */
  machineCounters(): Promise<Counters>;
  counters(): EngineCounters;
  /** Closes every socket and TAP. The counters stay; `ask` is for an engine that runs. */
  stop(): Promise<void>;
}

/** The engine of that name; for `auto`, `chooseEngine` finds out which. */
export function createEngine(name: Exclude<EngineName, 'auto'>): Engine {
  return name === 'linux' ? new LinuxEngine() : new DgramEngine();
}

/**
 * The engine that a plan asks for, `auto` being the fast one where it runs and else the portable one.
 * @returns with a `note` where it is not the fast one: why, and what to do.
 * @throws HostError where the plan asks for one that does not run here.
 */
export async function chooseEngine({ engine, taps, workers }: Plan): Promise<{ engine: Engine; note?: string }> {
  if (engine === 'dgram') return { engine: createEngine('dgram') };
  try {
    await requireLinux(taps.some(({ fd }) => fd === undefined));
    requireAddressSpace(workers);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    const { message } = error;
    if (engine === 'linux') throw new HostError(`${message}, or use --engine dgram`, { cause: error });
    const note = `engine "dgram" moves the frames, many times slower than "linux" would: ${message}`;
    return { engine: createEngine('dgram'), note };
  }
  return { engine: createEngine('linux') };
}

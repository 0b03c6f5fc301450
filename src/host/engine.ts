/**
 * An engine moves frames between TAPs and the underlay. It builds the machine of a plan and runs it on this thread or
 * on others, so `ask` is asynchronous.
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

/** The engine's own counters, besides those of its machine. */
export interface EngineCounters {
  framesRead: number;
  framesWritten: number;
  datagramsReceived: number;
  datagramsSent: number;
  /** Bytes of datagrams currently queued for the socket. */
  sendQueue: number;
  /** Frames that could not be written to a TAP, by the system's error code: `EIO` while the device is down. */
  writeErrors: Record<string, number>;
  /** Datagrams that could not be sent, by error code: `ENETUNREACH`, `EMSGSIZE`, …; `QUEUE`: the queue was full. */
  sendErrors: Record<string, number>;
  receiveErrors: Record<string, number>;
  /** Frames that the kernel dropped at TAPs since the engine started; a super-frame counts as one. `Overlay` adds it. */
  tapDrops?: number;
  /** Super-frames read from and written to TAPs, each of many frames; only if the engine supports them. */
  superFramesRead?: number;
  superFramesWritten?: number;
  /** System calls; only if the engine makes them itself. */
  readCalls?: number;
  writeCalls?: number;
  sendCalls?: number;
  receiveCalls?: number;
  pollCalls?: number;
}

export interface EngineEvents {
  /** A TAP can no longer be read; the other TAPs keep working. `port` is its index in the plan. */
  tapLost(port: number, reason: string): void;
  /** The engine has failed and no longer moves frames. */
  failed(reason: string): void;
  /** Reports something for the log, about once a second at most for each address and kind. */
  report?(report: EngineReport): void;
}

/** Facts about a running engine that the program prints. */
export interface EngineFacts {
  /** The receive buffer that the system granted, in bytes. */
  receiveBuffer: number;
  /** UDP source ports. */
  sourcePorts: number[];
}

export interface Engine {
  readonly name: string;
  /** Flags for its TAPs, in addition to `IFF_TAP | IFF_NO_PI`. */
  readonly tapFlags: number;
  /**
   * Binds the underlay's sockets and starts to move frames. Takes ownership of the TAPs' file descriptors, even on
   * failure. They are in the order of the plan's TAPs, each with one queue per worker.
   * @throws HostError if the address is not local or the port is already in use.
   */
  start(plan: Plan, taps: readonly TapFiles[], events: EngineEvents): Promise<EngineFacts>;
  /** @throws SchemaError or RangeError with the invalid field; HostError if the engine has ended. */
  ask(request: MachineRequest): Promise<unknown>;
  /**
   * Returns a listing in pages, without delaying the frames. The first page throws the errors that `ask` would throw.
   */
  list(request: ListRequest): AsyncIterable<Page>;
  /**
   * Captures packets, in pages. The first page arrives when recording starts, and at least one page each second.
   * @throws HostError if too many captures are running.
   */
  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page>;
  /** The machine's counters. @throws HostError if the engine has ended. */
  machineCounters(): Promise<Counters>;
  counters(): EngineCounters;
  /** Closes all sockets and TAPs. The counters remain readable; `ask` fails from then on. */
  stop(): Promise<void>;
}

/** Creates the engine of that name; `chooseEngine` resolves `auto`. */
export function createEngine(name: Exclude<EngineName, 'auto'>): Engine {
  return name === 'linux' ? new LinuxEngine() : new DgramEngine();
}

/**
 * Creates the engine that a plan names. `auto` selects the fast engine if it runs here, otherwise the portable one.
 * @returns a `note` with the reason and the remedy if `auto` does not select the fast engine.
 * @throws HostError if the plan names an engine that does not run here.
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

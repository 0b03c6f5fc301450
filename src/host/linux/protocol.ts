/** What the control thread and the threads that move frames say to each other. */
import { type Plan } from '../../schema/index.js';
import { type Learned } from '../../vtep/index.js';
import { type EngineFacts } from '../engine.js';
import { type InternalRequest, type MachineRequest } from '../machine.js';
import { type Records, type ToRecorder } from '../recorder.js';
import { type EngineReport } from '../troubles.js';

/** The underlay's sockets of one worker. All send by the same, so that a flow's source port is the same for all. */
export interface LoopSockets {
  receiver: number;
  senders: readonly number[];
  /** Of each sender. */
  sourcePorts: readonly number[];
}

/** What a loop starts with. */
export interface Setup {
  plan: Plan;
  /** The worker's queues in the order of the plan's TAPs; the loop closes them. */
  taps: readonly number[];
  /** Where frames are written to, likewise; the first worker closes those that are no queue. */
  writers: readonly number[];
  /** See counts.ts. */
  counts: Float64Array;
  /** Absent for the first worker, which makes the sockets of all and closes them. */
  sockets?: LoopSockets;
}

/** What one worker tells all others. */
export type News =
  | { type: 'learned'; what: readonly Learned[] }
  /** The way to `address` carries packets of `mtu` bytes at most. */
  | { type: 'path'; address: string; mtu: number };

/** To the loop. After each, its eventfd is to be written to. */
export type ToLoop =
  | { type: 'ask'; id: number; request: MachineRequest | InternalRequest }
  | { type: 'recorder'; message: ToRecorder }
  | News
  | { type: 'stop' };

/** `sockets`: of each worker, where this is the first. */
export type Started = { type: 'started'; facts: EngineFacts; wake: number; offloads: string[]; sockets: LoopSockets[] };

export type FromLoop =
  | Started
  /** `code`: the system's, where a socket could not be bound to `port`. */
  | { type: 'failed'; message: string; code?: string; port?: number }
  | { type: 'answer'; id: number; result: unknown }
  | { type: 'refusal'; id: number; message: string; problems?: unknown }
  | { type: 'records'; records: Records }
  | News
  | { type: 'report'; report: EngineReport }
  | { type: 'lost'; port: number; reason: string };

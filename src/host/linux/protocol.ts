/** Messages between the control thread and the threads that move frames. */
import { type Plan } from '../../schema/index.js';
import { type Learned } from '../../vtep/index.js';
import { type EngineFacts } from '../engine.js';
import { type InternalRequest, type MachineRequest } from '../machine.js';
import { type Claim } from './path-mtu.js';
import { type Records, type ToRecorder } from '../recorder.js';
import { type EngineReport } from '../troubles.js';

/** The underlay sockets of one worker. All workers send through the same ones, so a flow has one source port. */
export interface LoopSockets {
  receiver: number;
  senders: readonly number[];
  /** The port of each sender. */
  sourcePorts: readonly number[];
}

/** The input of a loop. */
export interface Setup {
  plan: Plan;
  /** The worker's TAP queues in the order of the plan; the loop closes them. */
  taps: readonly number[];
  /** Files to write frames to, in the same order. The first worker closes those that are not queues. */
  writers: readonly number[];
  /** See counts.ts. */
  counts: Float64Array;
  /** Absent for the first worker, which creates and closes the sockets of all workers. */
  sockets?: LoopSockets;
}

/** Messages from one worker to all others. */
export type News =
  | { type: 'learned'; what: readonly Learned[] }
  /** An ICMP error about the path to `address`. */
  | { type: 'path'; address: string; claim: Claim };

/** Messages to the loop. The sender writes to the loop's eventfd after each one. */
export type ToLoop =
  | { type: 'ask'; id: number; request: MachineRequest | InternalRequest }
  | { type: 'recorder'; message: ToRecorder }
  | News
  | { type: 'stop' };

/** `sockets`: those of each worker; present for the first worker only. */
export type Started = { type: 'started'; facts: EngineFacts; wake: number; offloads: string[]; sockets: LoopSockets[] };

export type FromLoop =
  | Started
  /** `code`: the system's error code if a socket could not be bound to `port`. */
  | { type: 'failed'; message: string; code?: string; port?: number }
  | { type: 'answer'; id: number; result: unknown }
  | { type: 'refusal'; id: number; message: string; problems?: unknown }
  | { type: 'records'; records: Records }
  | News
  | { type: 'report'; report: EngineReport }
  | { type: 'lost'; port: number; reason: string };

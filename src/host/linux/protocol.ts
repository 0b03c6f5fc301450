/** Messages between the control thread and the threads that move frames. */
import { type AssociationChange } from '../../keying/index.js';
import {
  type Answered,
  type GatewayDatagram,
  type Learned,
  type ProbeAnswer,
  type RouteMtu,
} from '../../vtep/index.js';
import {
  type Applied,
  type EngineFacts,
  type GatewayAnswer,
  type KeyingMessage,
  type PortPlan,
  type Settings,
} from '../data-plane.js';
import { type KeyingEvent } from '../esp/keying-events.js';
import { type Query } from '../machine.js';
import { type Claim } from './path-mtu.js';
import { type Records, type ToRecorder } from '../recorder.js';
import { type EngineReport } from '../troubles.js';

/** The underlay sockets of one worker. All workers send through the same ones, so a flow has one source port. */
export interface LoopSockets {
  receiver: number;
  senders: readonly number[];
  /** Sends datagrams that may be fragmented. */
  fragmenter: number;
  /** The port of each sender. */
  sourcePorts: readonly number[];
}

/** The input of a loop. */
export interface Setup {
  settings: Settings;
  /** See counts.ts. */
  counts: Float64Array;
  /** The number of the worker, from 0. */
  worker: number;
  /** Absent for the first worker, which creates and closes the sockets of all workers. */
  sockets?: LoopSockets;
}

/** The files of one worker for a TAP. The control thread closes them when every worker has detached the port. */
export interface QueueFiles {
  /** The worker's queue. */
  queue: number;
  /** Write frames to this. */
  writer: number;
  /** Whether a virtio header precedes each frame. */
  vnet: boolean;
}

/** Messages from one worker to all others. */
export type News =
  | { type: 'learned'; what: readonly (Learned | Answered)[] }
  /** An ICMP error about the path to `address`. */
  | { type: 'path'; address: string; claim: Claim }
  /** An answer to a probe of a path MTU that this worker has not sent. */
  | { type: 'probe-answer'; answer: ProbeAnswer }
  /** An ICMP error that quotes a probe that this worker has not sent to `address`. */
  | { type: 'probe-refused'; address: string; quote: Uint8Array; mtu: number };

/** Messages to the loop. The sender writes to the loop's eventfd after each one. */
export type ToLoop =
  | { type: 'ask'; id: number; request: Query }
  | Task
  | { type: 'recorder'; message: ToRecorder }
  /** Read the underlay from now on. */
  | { type: 'receive' }
  /** The answers to requests of this worker. */
  | { type: 'answers'; answers: readonly GatewayAnswer[] }
  /** Messages about keys to send; only for the first worker. */
  | { type: 'keying'; messages: readonly KeyingMessage[] }
  /** What `look-up` asked for. */
  | { type: 'routes'; mtus: readonly RouteMtu[] }
  | News
  | { type: 'stop' };

/**
 * A change of the machine, which the first worker makes before the others. They must make the same: if one does not, it
 * ends with an error, and the engine with it.
 */
export type Task =
  /** The answer is `Applied`. @see packChanges */
  | { type: 'apply'; id: number; changes: string; first: boolean }
  /** The answer is the number of the port; `port`: the number that the first worker has given to it. */
  | { type: 'attach'; id: number; plan: PortPlan; files: QueueFiles; port?: number }
  | { type: 'detach'; id: number; port: number }
  /** Opens the port of ESP. The answer of the first worker are the sockets of all; `fd`: that of another worker. */
  | { type: 'secure'; id: number; fd?: number }
  | { type: 'associate'; id: number; changes: readonly AssociationChange[] };

/** A worker cannot do what the first one has done. */
export class Disagreement extends Error {
  constructor(reason: string) {
    super(`a worker cannot make a change that another one has made: ${reason}`);
  }
}

/** What the answers of workers to a task are. */
export interface TaskResults {
  apply: Pick<Applied, 'rejected' | 'unchanged'>;
  attach: number;
  detach: undefined;
  secure: readonly number[];
  associate: undefined;
}

/** `sockets`: those of each worker; present for the first worker only. */
export type Started = { type: 'started'; facts: EngineFacts; wake: number; sockets: LoopSockets[] };

export type FromLoop =
  | Started
  /** `code`: the system's error code if a socket could not be bound to `port`. */
  | { type: 'failed'; message: string; code?: string; port?: number }
  | { type: 'answer'; id: number; result: unknown }
  | { type: 'refusal'; id: number; message: string; problems?: unknown; code?: string }
  | { type: 'records'; records: Records }
  /** Datagrams to services at gateways. */
  | { type: 'requests'; requests: readonly GatewayDatagram[] }
  | { type: 'keying'; events: readonly KeyingEvent[] }
  | News
  /** Addresses of remotes whose routes are to be looked up. */
  | { type: 'look-up'; addresses: readonly string[] }
  | { type: 'report'; report: EngineReport }
  | { type: 'lost'; port: number; reason: string };

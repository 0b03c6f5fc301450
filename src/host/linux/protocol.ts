/** What the two threads say to each other. */
import { type Plan } from '../../schema/index.js';
import { type Captured } from '../capture.js';
import { type EngineFacts } from '../engine.js';
import { type MachineRequest } from '../machine.js';

/** What the loop starts with. */
export interface Setup {
  plan: Plan;
  /** File descriptors in the order of the plan's TAPs; the loop closes them. */
  taps: readonly number[];
  /** See counts.ts. */
  counts: Float64Array;
}

/** To the loop. After each, its eventfd is to be written to. */
export type ToLoop =
  | { type: 'ask'; id: number; request: Exclude<MachineRequest, { command: 'capture' }> }
  /** Tell of this many packets from now on; 0: of none. */
  | { type: 'capture'; packets: number }
  | { type: 'stop' };

export type FromLoop =
  | { type: 'started'; facts: EngineFacts; wake: number; offloads: string[] }
  /** `code`: the system's, where a socket could not be bound to `port`. */
  | { type: 'failed'; message: string; code?: string; port?: number }
  | { type: 'answer'; id: number; result: unknown }
  | { type: 'refusal'; id: number; message: string; problems?: unknown }
  | { type: 'captured'; packet: Captured }
  | { type: 'lost'; port: number; reason: string }
  | { type: 'stopped' };

/** What a running VTEP takes and gives. */
import { type Notice, type Plan, type TapPlan } from '../schema/index.js';
import { type Counters } from '../vtep/index.js';
import { type EngineCounters } from './data-plane.js';
import { type Logger } from './log.js';
import { type LossReason } from './losses.js';
import { type GossipCounters, type GossipEvent } from './overlay-gossip.js';

/** All counters of a running VTEP. */
export interface AllCounters {
  vtep: Counters;
  engine: EngineCounters;
  /** Losses of the engine, after the machine let a frame or datagram pass. */
  losses?: Record<LossReason, number>;
  /** For an agent. */
  gossip?: GossipCounters;
}

export interface OverlayEvents {
  /** Receives problems that do not stop the VTEP. */
  log: Logger;
  /**
   * The VTEP must stop: a client requested it (`null`), or the last TAP of the configuration is lost and nobody can attach
   * another one. The caller calls `stop`.
   */
  end(reason: string | null): void;
  /** Receives events of the gossip. */
  report?(event: GossipEvent): void;
  /**
   * Reads the configuration again. Absent: there is none to read.
   * @throws SchemaError, or HostError, with what is wrong with it.
   */
  reread?(): Plan | Promise<Plan>;
  /** The file that `reread` reads, for errors about its fields. */
  file?: string;
  /** A reload begins or ends. */
  reloading?(begins: boolean): void;
  /** Receives what changes, as the clients of the control socket do. It must neither block nor throw. */
  notice?(notice: Notice): void;
}

/** What the caller has arranged for a TAP that it attaches. */
export interface AttachHow {
  /** The namespace makes its devices keep their neighbors while no process reads them. This saves a thread for each TAP. */
  readonly keepsNeighbors?: boolean;
}

/** A TAP that was attached: its configuration with the defaults, and its device. */
export interface AttachedTap extends TapPlan {
  device: string;
}

/** What a data path is made of. */
import { type Answered, type GatewayDatagram, type Learned, type ProbeAnswer, type Vtep } from '../../vtep/index.js';
import { type Recorder } from '../recorder.js';
import { type Sums } from '../simd.js';
import { type Arena } from './arena.js';
import { type ProbeSender } from './probe-sender.js';
import { type Receiver } from './receiver.js';
import { type Sender } from './sender.js';
import { type TapQueue } from './tap-queue.js';

export interface PathParts {
  arena: Arena;
  /** Checksum functions over the arena. */
  sums: Sums;
  vtep: Vtep;
  v6: boolean;
  counts: Float64Array;
  /** By port; `null` for ports that are detached or whose device has gone. The owner changes it between two turns. */
  taps: (TapQueue | null)[];
  sender: Sender;
  prober: ProbeSender;
  /** Sends datagrams that may be fragmented. */
  fragmenter: ProbeSender;
  receiver: Receiver;
  recorder: Recorder;
  /** This VTEP's address and port, for the recorder. */
  local: { address: string; port: number };
  sourcePorts: readonly number[];
  /** A TAP can no longer be read. */
  lost(port: number, errno: number): void;
  /** Receives the datagrams to services at gateways. */
  request(what: GatewayDatagram): void;
  /** Receives what the machine learns; absent if this is the only worker. */
  learned?(what: Learned | Answered): void;
  /** Receives answers to unknown probes; absent if this is the only worker. */
  probeAnswered?(answer: ProbeAnswer): void;
}

/**
 * A data plane makes segments, ports, peers and endpoints real: it moves frames between the ports of this host and the
 * underlay. It starts empty, and changes while other frames flow. It may work on other threads or in the kernel, so every
 * call that reads or changes its state is asynchronous.
 */
import { type AssociationChange } from '../keying/index.js';
import { type Change, type Rejection } from '../model/index.js';
import { type CaptureRequest, type ListRequest, type Plan, type Request, type SubnetRoute } from '../schema/index.js';
import { type Counters, type Explanation, type GatewayDatagram } from '../vtep/index.js';
import { type KeyingEvent } from './esp/keying-events.js';
import { type Overlap } from './overlap.js';
import { type Page } from './pages.js';
import { type EngineReport } from './troubles.js';

/** An address that sent datagrams to a segment that does not have it as a peer. */
export interface RefusedSenderListing {
  vni: number;
  address: string;
  packets: number;
}

/** The settings of a data plane, which stay as they are until it stops. */
export type Settings = Pick<
  Plan,
  'local' | 'port' | 'espPort' | 'sourcePorts' | 'workers' | 'busyPoll' | 'udpChecksum' | 'zeroChecksum' | 'peersOnly'
>;

/** The engine's own counters, besides those of its machine. They never decrease, whatever comes and goes. */
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

export interface PlaneEvents {
  /** The device of a port has gone. The data plane has detached the port; the others keep working. */
  linkLost(port: number, reason: string): void;
  /** The data plane has failed and no longer moves frames. */
  failed(reason: string): void;
  /** Reports something for the log, about once a second at most for each address and kind. */
  report?(report: EngineReport): void;
  /**
   * Datagrams have arrived for ports of gateways that `serve` has opened. Each one waits for `answer`, or for 10 seconds.
   * @param worker The thread that waits for the answers.
   */
  requests?(worker: number, requests: readonly GatewayDatagram[]): void;
  /** Reports what the agreement on keys of encrypted segments needs to know. */
  keying?(events: readonly KeyingEvent[]): void;
}

/** What a thread does with a request to a service at a gateway: it sends the payload, or nothing. */
export interface GatewayAnswer {
  /** The number of the request. */
  readonly id: number;
  readonly payload: Uint8Array | null;
}

/** Facts about a running data plane that the program prints. */
export interface EngineFacts {
  /** The receive buffer that the system granted, in bytes. */
  receiveBuffer: number;
  /** UDP source ports. */
  sourcePorts: number[];
  /** How many threads send, each by associations of its own. */
  senders: number;
}

/** The segment of a port, or the segments of a trunk: VNI by VLAN id, and the VNI of untagged frames. */
export type PortSegments =
  { readonly vni: number } | { readonly vlans: Readonly<Record<string, number>>; readonly native?: number };

/** A port of this host, and the station behind it. */
export interface PortPlan {
  readonly name: string;
  readonly segments: PortSegments;
  /** The station's MAC address: no frame from elsewhere moves it. */
  readonly mac?: string;
  /** The station's IP addresses with prefix lengths. If the MAC address is known too, attaching announces them. */
  readonly addresses?: readonly string[];
}

/** A port and its device. */
export interface LinkPlan extends PortPlan {
  readonly device: DevicePlan;
  /** The configuration value that describes it, for errors: `taps[0]`; empty for a request about this link only. */
  readonly path: string;
}

export type DevicePlan =
  /** A TAP that another program opened and configured: its file descriptor in this process, which `attach` takes over. */
  | { readonly fd: number }
  /** A device to create, or to continue with. It has the name, the MAC address and the IP addresses of the port. */
  | {
      /** The namespace that it belongs to, by name or path; absent: that of this process. */
      readonly netns?: string;
      /** In bytes. */
      readonly mtu: number;
      /** Routes through it, to the other subnets of its network. */
      readonly routes?: readonly SubnetRoute[];
      /** Whether a segment of the port is encrypted, so that its datagrams are longer. */
      readonly encrypted?: boolean;
      /** Whether to continue with a device that an earlier process kept, and whether `keep` may follow. */
      readonly keep: boolean;
    };

/** An attached link. */
export interface AttachedLink {
  /** The number of the port. */
  readonly port: number;
  /** The device's current name. */
  readonly device: string;
  /** The station's MAC address; absent if it is unknown. */
  readonly mac?: string;
  /** Whether an earlier process created the device. */
  readonly adopted: boolean;
  /** Frames that the kernel dropped at the device before. */
  readonly dropped: number;
  /** Other interfaces of its namespace that have addresses of its subnet. */
  readonly overlaps: readonly Overlap[];
}

/** The outcome of a batch of changes. Every other change of the batch is in effect. */
export interface Applied {
  /** The changes that were not made, in order, each with its place in the batch. */
  readonly rejected: readonly Rejection[];
  /** Places of removals of what was not there, and of additions of segments that were there already. */
  readonly unchanged: readonly number[];
}

export interface DataPlane {
  readonly name: string;
  /**
   * Binds the underlay's sockets. There are no segments and no ports yet, so it does not read datagrams before the first
   * `attach`; they wait in the receive buffer.
   * @throws HostError if the address is not local or the port is already in use; nothing remains then.
   */
  start(settings: Settings, events: PlaneEvents): Promise<EngineFacts>;
  /**
   * Makes changes, in order and after those of earlier calls. A large batch delays no frame: it takes effect in parts.
   * Resolves when the whole batch is in effect on every thread. Every thread makes the same changes.
   *
   * It rejects a segment whose VNI exists with other properties; the removal of a segment that a port uses; a peer or an
   * endpoint without a segment, or with an address that cannot be a remote VTEP's; and a peer beyond `MAX_PEERS`.
   * @throws HostError if the data plane has ended.
   */
  apply(changes: readonly Change[]): Promise<Applied>;
  /**
   * Attaches links to their segments: opens or creates their devices, brings them up, and announces their stations.
   * Attaches all of them or none. The first call, also with no links, begins to read the underlay.
   * @throws HostError or RangeError with what is wrong. It then has removed the devices that it created, and left kept
   * ones as they were.
   */
  attach(links: readonly LinkPlan[]): Promise<AttachedLink[]>;
  /**
   * Detaches ports, forgets the addresses behind them, and closes their devices, which removes them unless they are kept.
   * Ignores ports that are not attached (any more).
   */
  detach(ports: readonly number[]): Promise<void>;
  /** Makes the devices of ports outlive this process, or not; not those that other programs opened. */
  keep(ports: readonly number[], on: boolean): Promise<void>;
  /**
   * Returns a listing in pages, without delaying the frames. The first page throws SchemaError for a VNI without a segment.
   */
  list(request: ListRequest): AsyncIterable<Page>;
  /** @throws SchemaError with the invalid field; HostError if the data plane has ended. */
  explain(request: ExplainRequest): Promise<Explanation>;
  /**
   * Captures packets, in pages. The first page arrives when recording starts, and at least one page each second.
   * @throws HostError if too many captures are running.
   */
  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page>;
  /** The senders of datagrams that were dropped since the last call because no peer has their address. */
  refusedSenders(): Promise<RefusedSenderListing[]>;
  /** The machine's counters. The totals include removed segments. @throws HostError if the data plane has ended. */
  machineCounters(): Promise<Counters>;
  counters(): EngineCounters;
  /**
   * Opens a UDP port at the addresses of all gateways, for the stations of this host; or closes it. Resolves when it is in
   * effect on every thread. @throws HostError if the data plane has ended.
   */
  serve(port: number, on: boolean): Promise<void>;
  /** Answers requests of `PlaneEvents.requests`. Does nothing after the end. */
  answer(worker: number, answers: readonly GatewayAnswer[]): void;
  /**
   * Opens the port of ESP, unless it is open.
   * @throws HostError if the port is in use, or the data plane has ended.
   */
  secure(): Promise<void>;
  /** Changes associations, in order. Resolves when it is in effect on every thread. @throws HostError if the data plane has ended. */
  associate(changes: readonly AssociationChange[]): Promise<void>;
  /** Sends messages about keys to the port of ESP of other hosts. Those that cannot be sent are lost. */
  sendKeying(messages: readonly KeyingMessage[]): void;
  /** Detaches all ports and closes all sockets. The counters of the engine remain readable; the other calls fail. */
  stop(): Promise<void>;
}

/** A message about keys to another host. */
export interface KeyingMessage {
  readonly address: string;
  readonly bytes: Uint8Array;
}

export type ExplainRequest = Extract<Request, { command: 'explain' }>;

/** The settings of a plan's data plane. */
export function settingsOf(plan: Plan): Settings {
  const { local, port, espPort, sourcePorts, workers, busyPoll, udpChecksum, zeroChecksum, peersOnly } = plan;
  return { local, port, espPort, sourcePorts, workers, busyPoll, udpChecksum, zeroChecksum, peersOnly };
}

import type { Datagram } from './network.js';

/** A frame at a station's port: `location` is `host/station`. */
export interface FrameEvent {
  kind: 'frame';
  time: number;
  location: string;
  /** As the station sees it. */
  event: 'send' | 'receive';
  /** The whole frame, to be read only. */
  frame: Uint8Array;
}

/** A datagram in the underlay: `location` is an underlay address. */
export interface DatagramEvent {
  kind: 'datagram';
  time: number;
  location: string;
  /**
   * What happened to it: sent; received; lost on the way, or at a full queue; cut off by a partition; too big for the
   * path; arrived where nobody is, or where nobody listens at its port.
   */
  event: 'send' | 'receive' | 'lost' | 'overflow' | 'cut' | 'too-big' | 'no-node' | 'no-port';
  datagram: Datagram;
}

/** Something that happened, at a time in milliseconds and a location. */
export type TraceEvent = FrameEvent | DatagramEvent;

/** Is told of every frame and datagram, in the order in which things happen. */
export type Trace = (event: TraceEvent) => void;

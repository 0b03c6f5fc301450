import type { Datagram } from './datagram.js';

/** A frame at a station's port: `location` is `host/station`. */
export interface FrameEvent {
  kind: 'frame';
  time: number;
  location: string;
  /** As the station sees it. */
  event: 'send' | 'receive';
  /** The whole frame, read-only. */
  frame: Uint8Array;
}

/** A datagram in the underlay: `location` is an underlay address. */
export interface DatagramEvent {
  kind: 'datagram';
  time: number;
  location: string;
  /**
   * What happened to it: sent; received; lost in transit, or at a full queue; cut off by a partition; too big for the
   * path; no node at its destination, or no listener at its port.
   */
  event: 'send' | 'receive' | 'lost' | 'overflow' | 'cut' | 'too-big' | 'no-node' | 'no-port';
  datagram: Datagram;
}

/** An event at a time in milliseconds and a location. */
export type TraceEvent = FrameEvent | DatagramEvent;

/** Receives every frame and datagram event in order. */
export type Trace = (event: TraceEvent) => void;

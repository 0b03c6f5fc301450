import type { Outbound } from '../esp/index.js';
import type { ServiceRequest } from '../router/index.js';
import type { Frame } from './frame.js';
import type { Remote } from './remote.js';

/** Receives the output of a `Vtep`. The frame and its bytes are valid only during the call. */
export interface VtepSink {
  /** Sends a frame through a local port. */
  deliver(port: number, frame: Frame): void;
  /**
   * Sends a VXLAN datagram, from its VXLAN header on, to a remote.
   * @param sourcePort The outer UDP source port of the inner flow, 49152 to 65535.
   * @param tos The outer TOS or traffic class: the inner ECN field (RFC 6040), DSCP 0.
   */
  transmit(remote: Remote, frame: Frame, sourcePort: number, tos: number): void;
  /**
   * Like `transmit`, for a segment that is encrypted: sends the datagram in an ESP packet of an association. The sink adds the
   * UDP header between ESP and VXLAN. Without this method, frames of such segments are dropped.
   */
  transmitSealed?(remote: Remote, association: Outbound, frame: Frame, sourcePort: number, tos: number): void;
  /**
   * Like `transmit`, for a datagram that the path carries in fragments only: they are made outside of it, by this host's IP and
   * by routers. Without this method, the machine drops such frames.
   */
  transmitFragmented?(remote: Remote, frame: Frame, sourcePort: number, tos: number): void;
  /**
   * Sends a probe of the path MTU, or an answer to one: a UDP payload that no host and no router may fragment.
   * @returns false if this host cannot send a packet of that size.
   */
  probe?(to: ProbePlace, bytes: Uint8Array, sourcePort: number): boolean;
  /** The length of the largest datagram sent to a remote lately, from its VXLAN header on; 0 for none. */
  largestTo?(remote: Remote): number;
  /** Reports an answer to an unknown probe, so that other machines, one of which may have sent it, can `paths.adopt` it. */
  probeAnswered?(answer: ProbeAnswer): void;
  /** Reports that an address was learned or has moved, so that other machines can `adopt` it. */
  learned?(what: Learned): void;
  /** Reports an answer to a gateway's question, so that other machines, one of which may have asked, can `adoptAnswer` it. */
  answered?(what: Answered): void;
  /** Reports a datagram to a service at a gateway, for `Vtep.services.answer`. It must not call the `Vtep`. */
  request?(what: GatewayDatagram): void;
}

/** A datagram from a station to a service at a gateway. The payload is the receiver's. */
export interface GatewayDatagram extends Omit<ServiceRequest, 'from' | 'mac'> {
  /** Its number, for the answer. */
  id: number;
  /** The local port that it came from. */
  port: number;
  /** The station's MAC address. */
  mac: string;
}

/** An address that answered a question of a gateway. */
export interface Answered {
  vni: number;
  /** IPv4 or IPv6 address. */
  ip: string;
  /** 48 bits. */
  mac: number;
}

/** An address that was learned by one of several machines with the same segments and ports. */
export interface Learned {
  vni: number;
  /** 48 bits. */
  mac: number;
  /** Where it is: the local port, or the underlay address of the remote. */
  location: number | string;
  /** Milliseconds since it was seen. */
  age: number;
  /** Whether the frame announced the address to all, which may move it away from a local port. */
  announced?: boolean;
}

/** Where a datagram goes. */
export type ProbePlace = Pick<Remote, 'address' | 'port'>;

/** An answer to a probe that this machine has not sent. */
export interface ProbeAnswer {
  /** The sender. */
  address: string;
  size: number;
  high: number;
  low: number;
}

/** What a station takes, counts and reports, and the port that it is on. */
import { type ArpCacheOptions } from './arp-cache.js';
import { type PacketError } from './ping.js';
import { type Random } from './random.js';

/** The network side of a station. */
export interface StationPort {
  /** Sends a frame. The buffer belongs to the port from then on, with the `HEADROOM` bytes before `offset` that a VTEP needs. */
  transmit(bytes: Uint8Array, offset: number, end: number, now: number): void;
  /** Asks to call `wake` at this time, in the clock's milliseconds, or as soon as possible after it. */
  wake(at: number): void;
}

export interface StationOptions {
  /** MAC address: `02:42:0a:00:00:03`. */
  mac: string;
  /** Address and prefix: `10.0.0.3/24`. */
  ip: string;
  /** IPv6 address and prefix: `fd00::3/64`. Default: the station has no IPv6. */
  ip6?: string;
  /** Gateway for other IPv6 subnets. */
  gateway6?: string;
  /** Name in traces. Default: the address. */
  name?: string;
  /** Gateway for other subnets. */
  gateway?: string;
  /** The largest IP packet that its interface takes, in bytes. Default 1450. */
  mtu?: number;
  /** Whether it probes for its address before using it (RFC 5227), which takes some seconds. Default true. */
  probe?: boolean;
  /** Whether it announces its address when it starts. Default true. */
  announce?: boolean;
  /** Of ARP and of neighbor discovery. */
  arp?: ArpCacheOptions;
  /** For the times of probes. */
  random: Random;
}

/** A delivered UDP datagram. */
export interface StationDatagram {
  source: string;
  sourcePort: number;
  destination: string;
  destinationPort: number;
  /** Valid during the call only. */
  payload: Uint8Array;
}

/** Receives the datagrams and errors for a UDP port. */
export interface UdpReceiver {
  receive(datagram: StationDatagram, now: number): void;
  /** A datagram sent from this port to `destination` was not delivered. */
  error?(error: PacketError, destination: string, destinationPort: number, now: number): void;
}

/** Counters of a station. */
export interface StationCounters {
  framesIn: number;
  framesOut: number;
  /** Flooded frames for another MAC address. */
  otherMac: number;
  /** Packets for another IP address. */
  otherIp: number;
  /** Frames and ICMP messages of types that it does not handle. */
  ignored: number;
  malformed: number;
  badChecksum: number;
  /** Fragments, which it does not reassemble. */
  fragments: number;
  echoesAnswered: number;
  /** Echo replies of no ping in progress. */
  strayReplies: number;
  errorsSent: number;
  errorsReceived: number;
  /** ARP packets, and messages of neighbor discovery, that claimed an address of it. */
  conflicts: number;
}

/** Counters at their start. */
export function newCounters(): StationCounters {
  return {
    framesIn: 0,
    framesOut: 0,
    otherMac: 0,
    otherIp: 0,
    ignored: 0,
    malformed: 0,
    badChecksum: 0,
    fragments: 0,
    echoesAnswered: 0,
    strayReplies: 0,
    errorsSent: 0,
    errorsReceived: 0,
    conflicts: 0,
  };
}

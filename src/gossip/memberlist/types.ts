import type { WireError } from '../../wire/index.js';
import type { LAN, Timing } from './config.js';
import type { Member } from './member.js';
import type { Security } from './packet.js';
import type { Refusal } from './refusal.js';
import type { StreamSink, WORK } from './sessions.js';
import type { StreamLimits } from './stream.js';

/** The output of a `Memberlist`. */
export interface MemberlistSink extends StreamSink {
  /** Sends a UDP datagram. The sink may keep the bytes. */
  sendPacket(address: string, port: number, bytes: Uint8Array): void;
}

/**
 * The application on top of the cluster. Every method is optional, and may call the machine. Byte arrays are valid only
 * during the call.
 */
export interface Delegate {
  /** A message of the application arrived, in a packet or over a stream. */
  receive?(message: Uint8Array, now: number): void;
  /** As `receive`, instead of it, for messages in packets: anyone may repeat a packet, also one that is encrypted. */
  receivePacket?(message: Uint8Array, now: number): void;
  /** Returns messages for a packet with `limit` free octets; each takes `overhead` octets in addition. */
  broadcasts?(overhead: number, limit: number, now: number): Uint8Array[];
  /** Whether some of these messages were never sent: the machine then gossips more often. */
  pressing?(): boolean;
  /** Returns the application's state for another member; `join` if that one or this one is joining. */
  localState?(join: boolean, now: number): Uint8Array;
  /** The application's state of the member at `address` arrived; empty if it has none, or another application. */
  mergeState?(state: Uint8Array, now: number, join: boolean, address: string): void;
  /** Another member joined, or returned. */
  nodeJoined?(member: Member, now: number): void;
  /** Another member is gone: `member.state` is `dead` or `left`. */
  nodeLeft?(name: string, now: number, member: Member): void;
  /** The meta data of another member changed. */
  nodeUpdated?(member: Member, now: number): void;
  /** Traffic from an address was rejected. The source address of a packet may be forged. */
  refused?(error: WireError, address: string, now: number, kind: Refusal): void;
  /** Two members have the same name: this one is known at another address. */
  conflict?(name: string, address: string, now: number): void;
  /** A member with this name and address is refused, because `nameTrouble` rejects its name. */
  misnamed?(name: string, address: string, now: number): void;
  /** Returns the payload of the answer to a ping. */
  ackPayload?(): Uint8Array;
  /** A member has answered a ping, after this many milliseconds. */
  answered?(member: Member, milliseconds: number, payload: Uint8Array, now: number): void;
}

export interface MemberlistOptions {
  name: string;
  /** The address at which other members reach this one. */
  address: string;
  /** Default 7946. */
  port?: number;
  meta?: Uint8Array;
  /** Minimum, maximum and current version of the protocol, then of the application. Default 1, 5, 2, 0, 0, 0. */
  vsn?: Uint8Array;
  /** Overrides of {@link LAN}. */
  timing?: Partial<Timing>;
  security?: Security;
  /** Whether to compress messages. Default true. */
  compressed?: boolean;
  /** Maximum length of a datagram, in octets. Default 1400. */
  packetSize?: number;
  /** Whether to ping a silent member over a stream, too. Default true. */
  streamPings?: boolean;
  /** How long `members` lists a member that failed, in milliseconds. Default 24 hours. */
  failedMemberLife?: number;
  /** How long a name stays bound to its address after its member died; 0, the default, means forever. */
  deadNodeReclaimTime?: number;
  /** Interval of attempts to reconnect to a dead member; 0, the default, means never. */
  reconnectInterval?: number;
  /** How long to try to reconnect. Default 24 hours. */
  reconnectTimeout?: number;
  /** Maximum number of members, including this one. Default 16,384. */
  maxMembers?: number;
  /** Maximum memory for incomplete messages of all streams, in octets. Default 64 MiB. */
  maxKept?: number;
  limits?: StreamLimits;
  /** Budget for answering streams, as a burst and per second: see {@link WORK}. */
  work?: number;
  workPerSecond?: number;
  /**
   * The first incarnation. Default 1. If each process of a member begins with a higher one than the last, for example
   * with the time in seconds, messages about the last process are outdated and cannot be replayed.
   */
  incarnation?: number;
  /** Returns the time in milliseconds. With it, slices of long work are limited by time, not only by members. */
  clock?: () => number;
  /** Returns a random number from 0 up to but not including 1. */
  random: () => number;
}

/** Names of the counters. */
export const COUNTS = [
  'packets',
  'streams',
  'malformed', // packets, parts of them, and streams
  'unexpected', // messages that are not valid in their context
  'unknown', // accusations of unknown members
  'old', // already known
  'invalid',
  'conflict', // a name with another address
  'full',
  'unbelievable', // accusations that could not be refuted
  'misnamed', // members whose names are not printable
  'busy', // streams beyond the limits of number or work
  'relays-full',
  'strangers', // messages that only members may send
  'over-budget', // pings, answers to which would exceed the budget of an address or the length of their datagram
  'incompatible', // members with other versions
  'probes',
  'probes-failed',
  'refuted',
] as const;
export type CountName = (typeof COUNTS)[number];

/** The result of a join. */
export interface Joined {
  /** Number of addresses that answered. */
  reached: number;
  /** Why the others failed, as far as known. */
  failures: string[];
}

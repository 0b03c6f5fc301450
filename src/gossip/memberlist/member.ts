import { addressBytes, STATE, type Alive, type NodeState } from './message.js';
import type { Suspicion } from './suspicion.js';
import type { Timer } from './timers.js';

/** The states of a member, by name. */
export type MemberState = keyof typeof STATE;

/** A member as others see it. */
export interface Member {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly meta: Uint8Array;
  /** Minimum, maximum and current version of the protocol, then of the application; empty if unknown. */
  readonly vsn: Uint8Array;
  readonly incarnation: number;
  readonly state: MemberState;
  /** When its state last changed, in milliseconds on the caller's clock. For a dead member: when it failed. */
  readonly since: number;
  /** Whether it has proved that it is at its address: it answered a ping, or a stream, that was sent there. */
  readonly verified: boolean;
}

/** A member as the machine stores it. */
export interface Entry extends Member {
  address: string;
  port: number;
  meta: Uint8Array;
  vsn: Uint8Array;
  incarnation: number;
  state: MemberState;
  since: number;
  suspicion: Suspicion | null;
  timer: Timer | null;
  verified: boolean;
  /** Whether its announcement waits to be broadcast until it is verified, or a trusted member announces it too. */
  quiet: boolean;
  /** Whether the application knows it: it was reported as joined, and not as gone since. */
  reported: boolean;
  /** When it was last pinged to verify it, and how often. */
  asked: number;
  asks: number;
}

/** A member that is not known to be alive yet. @throws RangeError for an invalid address. */
export function newEntry(name: string, address: string, port: number, now: number): Entry {
  addressBytes(address);
  return {
    name,
    address,
    port,
    meta: new Uint8Array(0),
    vsn: new Uint8Array(0),
    incarnation: 0,
    state: 'dead',
    since: now,
    suspicion: null,
    timer: null,
    verified: false,
    quiet: false,
    reported: false,
    asked: -Infinity,
    asks: 0,
  };
}

/** Whether a member has proved its address, or a trusted member announces it: not one of a stranger's state alone. */
export function isVouched({ verified, quiet }: Entry): boolean {
  return verified || !quiet;
}

/** The key of an address and a port. */
export function placeOf(address: string, port: number): string {
  return `${address} ${port}`;
}

/** The highest version of the protocol that a member supports; 0 if unknown. */
export function greatestProtocol(member: Member): number {
  return member.vsn[1] ?? 0;
}

/** Whether a member is alive or suspected. */
export function isLive(member: Member): boolean {
  return member.state === 'alive' || member.state === 'suspect';
}

/** A member's announcement of itself. */
export function announcementOf({ name: node, address: addr, port, meta, vsn, incarnation }: Member): Alive {
  return { type: 'alive', incarnation, node, addr, port, meta, vsn };
}

/** A member as an entry of a `pushPull`. */
export function toNodeState(member: Member): NodeState {
  return {
    name: member.name,
    addr: member.address,
    port: member.port,
    meta: member.meta,
    incarnation: member.incarnation,
    state: STATE[member.state],
    vsn: member.vsn,
  };
}

/**
 * Why a member cannot be in one cluster with this one, or `null` if it can: the current version of each must be among
 * those that the other supports. Peers compare the versions of all members instead, so that one false announcement
 * keeps all others apart.
 */
export function incompatible({ name, vsn }: { name: string; vsn: Uint8Array }, self: Member): string | null {
  for (const [what, at] of [
    ['protocol', 0],
    ['application', 3],
  ] as const) {
    const least = Math.max(vsn[at] ?? 0, self.vsn[at]!);
    const greatest = Math.min(vsn[at + 1] ?? 0, self.vsn[at + 1]!);
    for (const [who, current] of [
      [name, vsn[at + 2] ?? 0],
      [self.name, self.vsn[at + 2]!],
    ] as const)
      if (current < least || current > greatest)
        return `${who} uses version ${current} of the ${what}, but the live members have ${least > greatest ? 'no version' : `only ${least} to ${greatest}`} in common`;
  }
  return null;
}

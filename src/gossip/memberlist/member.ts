import { STATE, type NodeState } from './message.js';
import type { Suspicion } from './suspicion.js';
import type { Timer } from './timers.js';

/** Where a member stands, in words. */
export type MemberState = keyof typeof STATE;

/** A member as others see it. */
export interface Member {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly meta: Uint8Array;
  /** Least, greatest and present version of the protocol, then of the application; empty where it did not say. */
  readonly vsn: Uint8Array;
  readonly incarnation: number;
  readonly state: MemberState;
  /** When its state changed last, in milliseconds on the clock of the machine's caller. Of a dead member: when it failed. */
  readonly since: number;
}

/** A member as the machine keeps it. */
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
}

/** The greatest version of the protocol that a member speaks; 0 where it did not say. */
export function greatestProtocol(member: Member): number {
  return member.vsn[1] ?? 0;
}

/** Whether a member takes part, or may: alive or suspected. */
export function isThere(member: Member): boolean {
  return member.state === 'alive' || member.state === 'suspect';
}

/** What a `pushPull` says of a member. */
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
 * Why members cannot be in one cluster; `null` where they can. Every member's present versions have to lie between the
 * greatest of the least and the least of the greatest versions of all that are alive.
 */
export function incompatible(remote: readonly NodeState[], local: Iterable<Member>): string | null {
  const ours = [...local];
  const all = [
    ...remote.map(({ name, state, vsn }) => ({ name, vsn, alive: state === STATE.alive && vsn.length >= 6 })),
    ...ours.map(({ name, state, vsn }) => ({ name, vsn, alive: state === 'alive' && vsn.length >= 6 })),
  ];
  for (const [what, at] of [
    ['protocol', 0],
    ['application', 3],
  ] as const) {
    let least = 0;
    let greatest = 255;
    for (const { vsn, alive } of all) {
      if (!alive) continue;
      least = Math.max(least, vsn[at]!);
      greatest = Math.min(greatest, vsn[at + 1]!);
    }
    for (const { name, vsn } of all) {
      const current = vsn[at + 2] ?? 0;
      if (current < least || current > greatest)
        return `${name} speaks version ${current} of the ${what}, and ${least} to ${greatest} can be spoken`;
    }
  }
  return null;
}

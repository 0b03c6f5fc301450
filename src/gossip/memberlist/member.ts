import { STATE, type NodeState } from './message.js';
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
}

/** The highest version of the protocol that a member supports; 0 if unknown. */
export function greatestProtocol(member: Member): number {
  return member.vsn[1] ?? 0;
}

/** Whether a member is alive or suspected. */
export function isLive(member: Member): boolean {
  return member.state === 'alive' || member.state === 'suspect';
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
 * Why members cannot be in one cluster, or `null` if they can. The current versions of every member must be within the
 * versions that all live members support.
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
        return `${name} uses version ${current} of the ${what}, but the live members have ${least > greatest ? 'no version' : `only ${least} to ${greatest}`} in common`;
    }
  }
  return null;
}

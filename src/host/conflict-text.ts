/** Texts about conflicts between the hosts of a network. */
import { type ConflictParty, type OverlayConflict } from '../gossip/networkdb/index.js';

/**
 * Describes a conflict to one of the nodes that detected it, with the remedy.
 * @param self The name of that node.
 */
export function conflictText(conflict: OverlayConflict, self: string): string {
  const { network, kind, value, holds, holder, refused } = conflict;
  const first = `${nameOf(holder, self)} attached first${at(holder)}`;
  const where = refused.node === self ? 'here' : `at ${nameOf(refused, self)}`;
  const isOurs = refused.node === self || holder.node === self;
  if (kind === 'parameters')
    return (
      `network ${network}: ${value}, as configured ${where}, is refused: ${first} with ${holds}` +
      (isOurs ? '; correct `gossip.networks` at one of the two' : '')
    );
  if (kind === 'place')
    return (
      `network ${network}: ${value} with one MAC address is attached twice, and not in effect ${where}: ` +
      `${nameOf(holder, self)} attached it last${at(holder)}` +
      (isOurs ? '; detach it at one of the two' : '')
    );
  return (
    `network ${network}: ${value} is attached twice, and is refused ${where}: ${first}` +
    (isOurs ? `; give one of the two endpoints another ${kind === 'ip' ? 'IP' : 'MAC'} address` : '')
  );
}

/** Says that a conflict is over, to one of the nodes that detected it. */
export function conflictOverText({ network, kind, value, refused, holder }: OverlayConflict, self: string): string {
  const parties = `${nameOf(refused, self)} and ${nameOf(holder, self)}`;
  return kind === 'parameters'
    ? `network ${network}: ${parties} no longer differ in VNI or subnet`
    : `network ${network}: ${parties} no longer both have ${value}`;
}

function nameOf({ node, vtep }: ConflictParty, self: string): string {
  if (node === self) return 'this host';
  return vtep === undefined || vtep === node ? node : `${node} (${vtep})`;
}

function at({ since }: ConflictParty): string {
  return since === 0 ? ' (its record has no time, like Docker’s)' : ` (${new Date(since).toISOString()})`;
}

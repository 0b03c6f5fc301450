/**
 * The forwarding database of one segment. It maps a MAC address to a destination: learned from frames, with ageing, or set
 * by the control plane, which takes precedence.
 *
 * A destination is an integer from 0 to 2^30 - 1 whose meaning is the caller's: a port, a remote VTEP.
 *
 * Open addressing with linear probing over one `Int32Array`, four words an entry, so that a look-up touches one cache
 * line in most cases and allocates nothing. (3.5 ns a look-up against 25 for a Map of numbers and 157 for one of
 * strings; among a million entries what counts is the cache line.)
 */
import { parseMac, setMac } from '../address/index.js';

export { Fdb } from './fdb.js';
export { FdbMemory } from './memory.js';
export type { FdbOptions } from './options.js';
export { CONFIRMED, CONTRADICTED, FULL, INVALID, LEARNED, MOVED, NONE, QUOTA, REFRESHED } from './outcome.js';
export {
  DESTINATION as SLOT_DESTINATION,
  HIGH as SLOT_HIGH,
  homeOf,
  SEEN as SLOT_SEEN,
  slotOf,
  STATIC as SLOT_STATIC,
  TICK,
  ticks,
  type FdbEntry,
  type Slots,
} from './slot.js';

/** The six octets of a MAC address given as text, for `lookup` and `learn`. */
export function macBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(6);
  setMac(bytes, 0, parseMac(text));
  return bytes;
}

import { FdbMemory } from './memory.js';
import { TICK, type Slots } from './slot.js';

export interface FdbOptions {
  /** Maximum number of learned entries; static ones do not count. Default 65,536. */
  capacity?: number;
  /**
   * Maximum number of learned entries behind one destination. It keeps a flood of source addresses from one port or
   * remote from filling the table. Default: half the capacity.
   */
  perDestination?: number;
  /** Milliseconds after which a learned entry that was not refreshed expires; 0 for never. Default 300,000, as in Linux. */
  ageing?: number;
  /** An integer; if outsiders cannot guess it, they cannot choose addresses that collide in the hash table. Default 0. */
  seed?: number;
  /** Memory that the table shares with others. Default: its own. */
  memory?: FdbMemory;
  /**
   * Is called with the slots when all entries are in there, and with `null` when only the table's methods find all of them:
   * see `slotOf`.
   */
  publish?: ((slots: Slots | null) => void) | undefined;
}

/** Most ticks that an age is compared with: of an entry that never expires. */
const NEVER = 0x7fff_ffff;

/** The options with their defaults, and the ageing time in ticks. @throws RangeError for one out of bounds. */
export function complete({ capacity = 65_536, perDestination, ageing = 300_000, seed = 0, memory }: FdbOptions) {
  if (!Number.isInteger(capacity) || capacity < 0 || capacity > 1 << 24)
    throw new RangeError(`fdb.capacity must be an integer from 0 to ${1 << 24}, not ${capacity}`);
  if (!(ageing >= 0)) throw new RangeError(`fdb.ageing must be 0 or more milliseconds, not ${ageing}`);
  return {
    capacity,
    perDestination: perDestination ?? Math.ceil(capacity / 2),
    ageTicks: ageing === 0 ? NEVER : Math.min(Math.ceil(ageing / TICK), NEVER),
    seed: seed | 0,
    memory: memory ?? new FdbMemory(),
  };
}

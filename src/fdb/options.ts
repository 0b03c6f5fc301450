import type { FdbMemory } from './memory.js';

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
}

/** An endpoint of this host, as `OverlayPeers` keeps it. */
import { peerTableOf, type LocalEndpoint } from './placement-records.js';
import type { Placement } from './placements.js';

/** An endpoint of this host and its state. */
export interface Local extends LocalEndpoint {
  /** Its placement, dated from when it began to wait for its announcement. */
  waiting: Placement;
  /** Whether that is later than the other places of the endpoint, as far as this node knows them at its first attempt. */
  isDated: boolean;
  /** What the host knows of the time from which it counts. */
  told: number | null;
  /** Its record while the table contains one. */
  announced: { readonly value: Uint8Array; readonly placement: Placement } | null;
}

/** The table of the record of an endpoint of this host. */
export function tableOf({ ip }: Local): string {
  return peerTableOf(ip);
}

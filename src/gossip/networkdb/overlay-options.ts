/** The options of `OverlayPeers`. */
import type { Attachment } from './attachment.js';
import type { OverlayConflict } from './conflicts.js';
import type { LocalEndpoint } from './placement-records.js';
import type { Placement } from './placements.js';

export interface OverlayPeersOptions {
  /** The id of the network in the tables. */
  network: string;
  vni: number;
  /** For one of several subnets of the network. */
  part?: NetworkPart;
  /** This host's own underlay address. */
  local: string;
  /**
   * Returns the time of the host's clock, in milliseconds since 1970. Without it, records have neither times nor a VNI,
   * like those of Docker.
   */
  time?: () => number;
  /** Called when a conflict begins, of this node or of others, and with `over` when it ends. Must not throw. */
  conflict?: (conflict: OverlayConflict, over: boolean) => void;
  /**
   * Called with the time from which the attachment of an endpoint of this host counts, when that changes: `null` while it is
   * not announced, so that all others are older. While the endpoint is in effect at another host, it is -1: older than that
   * place. Must not throw.
   */
  announced?: (endpoint: LocalEndpoint, since: number | null) => void;
}

/** The subnet of one of several VNIs of a network, each of which has its `OverlayPeers`. */
export interface NetworkPart {
  /** `10.0.0.0/24`, or `fd00::/64` if there is none of IPv4. The endpoints of both families state it. */
  readonly subnet: string;
  /** Shared by all parts of the network. */
  readonly attachment: Attachment;
  /** Whether the endpoint of a record belongs to this part; all others are ignored. Must not throw. */
  accepts(endpoint: Pick<Placement, 'ip' | 'mac' | 'owner' | 'parameters'>): boolean;
}
